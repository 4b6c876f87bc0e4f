//! Whether an index or a package is signed by a key that is trusted.
//!
//! A signature is a file `.SIGN.ALGORITHM.KEY` whose key is known by its file name (apk-v2(5), apk-keys(5)); one good
//! signature of a trusted key is enough. The algorithms are RSA PKCS#1 v1.5 over SHA-1 (`RSA`), SHA-256 and SHA-512.

use std::collections::BTreeMap;

use kiln_model::Fault;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use sha1::{Digest as _, Sha1};
use sha2::{Sha256, Sha512};

use super::archive::{Archive, ControlFile};
use super::error::BadArchive;

/// The trusted keys by their file names, as in `/etc/apk/keys`.
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<String, RsaPublicKey>);

/// A signature that nobody looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    hash: Hash,
    key: String,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha1,
    Sha256,
    Sha512,
    /// An algorithm that kiln does not check, as `DSA`.
    Other,
}

/// Why something is not trusted.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("`{0}` is no key's file name")]
    KeyName(String),
    #[error("the key `{name}` is not a PEM public RSA key: {why}")]
    Key { name: String, why: String },
    #[error("the key `{name}` has only {bits} bits")]
    WeakKey { name: String, bits: usize },
    #[error("it is not signed")]
    Unsigned,
    #[error("signed by the unknown key {}; known are {}", list(.signed), list(.known))]
    UnknownKey { signed: Vec<String>, known: Vec<String> },
    #[error("the signature of key `{key}` does not fit")]
    BadSignature { key: String },
}

fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let hint = match error {
            Error::KeyName(_) | Error::Key { .. } | Error::WeakKey { .. } => {
                return Fault::recipe(error.to_string())
                    .hint("take the repository's public key, as in `/etc/apk/keys`");
            }
            Error::UnknownKey { .. } => {
                "if this key is really the repository's, name it (`key = …`) in the recipe; otherwise use another mirror"
            }
            Error::Unsigned => "an unsigned repository needs an explicit word in the recipe",
            Error::BadSignature { .. } => "the mirror is damaged or hostile: try another one",
        };
        Fault::upstream(error.to_string()).hint(hint)
    }
}

/// Fewest bits of a key that is believed.
const BITS: usize = 2048;

impl Keys {
    /// Adds a key as it lies in `/etc/apk/keys`: its file name and its PEM text.
    pub fn add(&mut self, name: &str, pem: &str) -> Result<(), Error> {
        if !is_key_name(name) {
            return Err(Error::KeyName(name.to_owned()));
        }
        let key = RsaPublicKey::from_public_key_pem(pem);
        let key = key.map_err(|error| Error::Key { name: name.to_owned(), why: error.to_string() })?;
        let bits = rsa::traits::PublicKeyParts::size(&key) * 8;
        if bits < BITS {
            return Err(Error::WeakKey { name: name.to_owned(), bits });
        }
        self.0.insert(name.to_owned(), key);
        Ok(())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Whether a name stays in its folder and is one that lists and messages can show.
fn is_key_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b'\\';
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.bytes().all(fits)
}

impl Signature {
    pub(super) fn new(file: ControlFile) -> Result<Self, BadArchive> {
        let wrong = || BadArchive::SignatureName(file.name.clone());
        let rest = file.name.strip_prefix(".SIGN.").ok_or_else(wrong)?;
        let (algorithm, key) = rest.split_once('.').filter(|(_, key)| is_key_name(key)).ok_or_else(wrong)?;
        let hash = match algorithm {
            "RSA" => Hash::Sha1,
            "RSA256" => Hash::Sha256,
            "RSA512" => Hash::Sha512,
            _ => Hash::Other,
        };
        Ok(Self { hash, key: key.to_owned(), bytes: file.bytes })
    }

    /// Returns the file name of the key that is said to have signed.
    pub fn key(&self) -> &str {
        &self.key
    }

    fn fits(&self, signed: &[u8], key: &RsaPublicKey) -> bool {
        let (prefix, sum): (&[u8], Vec<u8>) = match self.hash {
            Hash::Sha1 => (&SHA1, Sha1::digest(signed).to_vec()),
            Hash::Sha256 => (&SHA256, Sha256::digest(signed).to_vec()),
            Hash::Sha512 => (&SHA512, Sha512::digest(signed).to_vec()),
            Hash::Other => return false,
        };
        let scheme = Pkcs1v15Sign { hash_len: Some(sum.len()), prefix: prefix.into() };
        key.verify(scheme, &sum, &self.bytes).is_ok()
    }
}

/// What stands before the sum inside a signature: DigestInfo in DER, RFC 8017 §9.2 note 1.
const SHA1: [u8; 15] = *b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14";
const SHA256: [u8; 19] = *b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
const SHA512: [u8; 19] = *b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40";

/// Returns the key that signed.
pub fn verify(signatures: &[Signature], signed: &[u8], keys: &Keys) -> Result<String, Error> {
    let usable: Vec<&Signature> = signatures.iter().filter(|one| one.hash != Hash::Other).collect();
    if usable.is_empty() {
        return Err(Error::Unsigned);
    }
    let known = || usable.iter().filter_map(|one| Some((one, keys.0.get(&one.key)?)));
    if let Some((good, _)) = known().find(|(signature, key)| signature.fits(signed, key)) {
        return Ok(good.key.clone());
    }
    match known().next() {
        Some((bad, _)) => Err(Error::BadSignature { key: bad.key.clone() }),
        None => Err(Error::UnknownKey {
            signed: usable.iter().map(|one| one.key.clone()).collect(),
            known: keys.names().map(str::to_owned).collect(),
        }),
    }
}

/// Verifies an `APKINDEX.tar.gz`, which is signed over all that follows the signatures.
pub fn verify_index(bytes: &[u8], archive: &Archive<'_>, keys: &Keys) -> Result<String, Error> {
    let signed = &bytes[bytes.len() - archive.data.len() - archive.control.len()..];
    verify(&archive.signatures, signed, keys)
}
