//! A signing key of a test's own.

use pgp::composed::{ArmorOptions, CleartextSignedMessage, DetachedSignature, KeyType, SecretKeyParamsBuilder};
use pgp::composed::{SignedSecretKey, SubkeyParamsBuilder};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, SignatureConfig, SignatureType, Subpacket, SubpacketData, UserId};
use pgp::ser::Serialize as _;
use pgp::types::{Duration, KeyDetails as _, Password, SignedUser, SigningKey, Tag, Timestamp};

/// An Ed25519 key, fresh each time.
pub struct Key {
    secret: SignedSecretKey,
}

/// What a key says of a key, its own or another, under a user id.
#[derive(Clone, Copy, Debug)]
pub enum Says {
    /// That the key is the user's and certifies, whether it signs, and for how many seconds from when it was made.
    Mine { sign: bool, life: Option<u32> },
    /// That what was said before counts no longer.
    Revoked,
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

    /// Makes a key as old as the test wants it (in seconds since 1970), of which nothing is said yet; with a subkey, that
    /// one signs.
    pub fn silent(made: i64, subkey: bool) -> Self {
        let (made, kind) = (timestamp(made), KeyType::Ed25519Legacy);
        let mut params = SecretKeyParamsBuilder::default();
        params.key_type(kind.clone()).created_at(made);
        if subkey {
            let subkey = SubkeyParamsBuilder::default().key_type(kind).can_sign(true).created_at(made).build();
            params.subkey(subkey.expect("these parameters are complete"));
        }
        let params = params.build().expect("these parameters are complete");
        Self { secret: params.generate(rand::thread_rng()).expect("a key is made of chance alone") }
    }

    /// Lets the key say something of itself at a time, in seconds since 1970.
    pub fn say(&mut self, user: &str, says: Says, at: i64) {
        let signer = self.secret.primary_key.clone();
        self.bear(&signer, user, says, at);
    }

    /// Lets another key say something of this one.
    pub fn hear(&mut self, other: &Self, user: &str, says: Says, at: i64) {
        self.bear(&other.secret.primary_key, user, says, at);
    }

    fn bear(&mut self, signer: &impl SigningKey, user: &str, says: Says, at: i64) {
        let id = UserId::from_str(Default::default(), user).expect("a short text is a user id");
        let config = says.config(signer, at);
        let (password, key) = (Password::empty(), self.secret.primary_key.public_key());
        let signature = config.sign_certification_third_party(signer, &password, key, Tag::UserId, &id);
        let signature = signature.expect("a key without password signs");
        let users = &mut self.secret.details.users;
        match users.iter_mut().find(|known| known.id == id) {
            Some(known) => known.signatures.push(signature),
            None => users.push(SignedUser::new(id, vec![signature])),
        }
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

    /// Signs likewise at a time, in seconds since 1970; with the subkey if there is one.
    pub fn sign_inline_at(&self, text: &str, at: i64) -> String {
        match self.secret.secret_subkeys.first() {
            Some(subkey) => inline(text, &subkey.key, at),
            None => inline(text, &self.secret.primary_key, at),
        }
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

impl Says {
    fn config(self, signer: &impl SigningKey, at: i64) -> SignatureConfig {
        let Self::Mine { sign, life } = self else { return config(SignatureType::CertRevocation, signer, at, vec![]) };
        let mut flags = KeyFlags::default();
        flags.set_certify(true);
        flags.set_sign(sign);
        let life = life.map(|seconds| SubpacketData::KeyExpirationTime(Duration::from_secs(seconds)));
        let more = std::iter::once(SubpacketData::KeyFlags(flags)).chain(life).collect();
        config(SignatureType::CertPositive, signer, at, more)
    }
}

fn timestamp(at: i64) -> Timestamp {
    Timestamp::from_secs(at.try_into().expect("OpenPGP's times end in 2106"))
}

/// Describes a signature made at a time.
fn config(kind: SignatureType, signer: &impl SigningKey, at: i64, more: Vec<SubpacketData>) -> SignatureConfig {
    let regular = |data| Subpacket::regular(data).expect("small subpackets can be written");
    let mut config = SignatureConfig::v4(kind, signer.algorithm(), HashAlgorithm::Sha512);
    let who = SubpacketData::IssuerFingerprint(signer.fingerprint());
    let head = [SubpacketData::SignatureCreationTime(timestamp(at)), who];
    config.hashed_subpackets = head.into_iter().chain(more).map(regular).collect();
    config.unhashed_subpackets = vec![regular(SubpacketData::IssuerKeyId(signer.legacy_key_id()))];
    config
}

fn inline(text: &str, key: &impl SigningKey, at: i64) -> String {
    let signed =
        CleartextSignedMessage::new(text, config(SignatureType::Text, key, at, vec![]), key, &Password::empty());
    let armored = signed.and_then(|signed| signed.to_armored_string(ArmorOptions::default()));
    armored.expect("a key without password signs")
}
