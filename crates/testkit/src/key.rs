//! A signing key of a test's own.

use pgp::composed::SignedSecretKey;
use pgp::composed::{ArmorOptions, CleartextSignedMessage, DetachedSignature, KeyType, SecretKeyParamsBuilder};
use pgp::crypto::hash::HashAlgorithm;
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails as _, Password};

/// An Ed25519 key, fresh each time.
pub struct Key {
    secret: SignedSecretKey,
}

impl Default for Key {
    fn default() -> Self {
        Self::new()
    }
}

impl Key {
    /// Makes a key.
    pub fn new() -> Self {
        let mut params = SecretKeyParamsBuilder::default();
        params.key_type(KeyType::Ed25519Legacy).can_certify(true).can_sign(true);
        params.primary_user_id("Test archive <archive@invalid.example>".to_owned());
        let params = params.build().expect("these parameters are complete");
        Self { secret: params.generate(rand::thread_rng()).expect("a key is made of chance alone") }
    }

    /// Returns the fingerprint in uppercase hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        self.secret.fingerprint().to_string().to_uppercase()
    }

    /// Returns the public key in armor, as `Signed-By` files hold it.
    pub fn armored(&self) -> String {
        self.secret.to_public_key().to_armored_string(ArmorOptions::default()).expect("a public key can be written")
    }

    /// Returns the public key in binary, as a keyring file.
    pub fn keyring(&self) -> Vec<u8> {
        self.secret.to_public_key().to_bytes().expect("a public key can be written")
    }

    /// Signs as `InRelease` is signed: the text stays readable.
    pub fn sign_inline(&self, text: &str) -> String {
        let key = &self.secret.primary_key;
        let signed = CleartextSignedMessage::sign(rand::thread_rng(), text, key, &Password::empty());
        let armored = signed.and_then(|signed| signed.to_armored_string(ArmorOptions::default()));
        armored.expect("a key without password signs")
    }

    /// Signs as `Release.gpg` signs `Release`.
    pub fn sign_detached(&self, bytes: &[u8]) -> String {
        let (key, password) = (&self.secret.primary_key, Password::empty());
        let hash = HashAlgorithm::Sha512;
        let signature = DetachedSignature::sign_binary_data(rand::thread_rng(), key, &password, hash, bytes);
        let armored = signature.and_then(|signature| signature.to_armored_string(ArmorOptions::default()));
        armored.expect("a key without password signs")
    }
}
