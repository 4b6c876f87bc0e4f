//! Signatures over a text: reading them, and holding them to the policy.

use std::io::Cursor;

use pgp::composed::{Deserializable, DetachedSignature};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, PublicParams};

use super::keyring::{Found, show};
use super::{CLOCK_SKEW, Error, Policy, Signer};

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END: &str = "-----END PGP SIGNATURE-----";

/// Splits a clear-signed message into the text that was signed, escapes undone, and its signatures.
///
/// Everything in the file must belong to the one message: whatever stood before or after it would be read by a careless
/// parser as if it had been signed.
pub(super) fn clearsigned(file: &[u8]) -> Result<(String, Vec<Signature>), Error> {
    let text = super::super::deb822::text(file).map_err(|_| Error::NotClearsigned)?;
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    if first.trim_end() != BEGIN {
        let inside = text.lines().any(|line| line.trim_end() == BEGIN);
        return Err(if inside { Error::TextOutside } else { Error::NotClearsigned });
    }
    let mut at = first.len();
    for line in lines.by_ref() {
        at += line.len();
        match line.trim_end() {
            "" => break,
            header if header.starts_with("Hash:") => {}
            _ => return Err(Error::Malformed("a header other than `Hash` before the text".to_owned())),
        }
    }
    let (mut signed, mut rest) = (String::with_capacity(file.len()), None);
    for line in lines {
        if line.trim_end() == SIGNATURE {
            rest = Some(&text[at..]);
            break;
        }
        at += line.len();
        match line.strip_prefix("- ") {
            Some(escaped) => signed.push_str(escaped),
            None if line.starts_with('-') => {
                return Err(Error::Malformed("a line of dashes inside the text".to_owned()));
            }
            None => signed.push_str(line),
        }
    }
    let block = rest.ok_or(Error::NoSignature)?;
    let end =
        block.find(END).ok_or_else(|| Error::Malformed("the signature block does not end".to_owned()))? + END.len();
    if !block[end..].trim_ascii().is_empty() {
        return Err(Error::TextOutside);
    }
    Ok((signed, detached(&block.as_bytes()[..end])?))
}

/// Reads the signatures of a block, armored or binary.
pub(super) fn detached(bytes: &[u8]) -> Result<Vec<Signature>, Error> {
    let wrong = |error: pgp::errors::Error| Error::Malformed(error.to_string());
    let collect = |found: Box<dyn Iterator<Item = pgp::errors::Result<DetachedSignature>> + '_>| {
        found.map(|one| one.map(|one| one.signature)).collect::<Result<Vec<_>, _>>().map_err(wrong)
    };
    if bytes.trim_ascii().is_empty() {
        return Err(Error::NoSignature);
    }
    let signatures = if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
        let (found, _) = DetachedSignature::from_armor_many(Cursor::new(bytes)).map_err(wrong)?;
        collect(found)?
    } else {
        collect(DetachedSignature::from_bytes_many(bytes).map_err(wrong)?)?
    };
    if signatures.is_empty() { Err(Error::NoSignature) } else { Ok(signatures) }
}

/// Returns the form of a text that clear signatures are made over: CRLF, no blanks at line ends, no line break at the end.
pub(super) fn canonical(text: &str) -> String {
    let mut canonical = String::with_capacity(text.len() + text.len() / 40);
    for (at, line) in text.lines().enumerate() {
        if at > 0 {
            canonical.push_str("\r\n");
        }
        canonical.push_str(line.trim_end_matches([' ', '\t', '\r']));
    }
    canonical
}

/// Returns the good signatures; when there is none, why the most telling one is bad.
pub(super) fn check(signatures: &[Signature], signed: &[u8], policy: &Policy<'_>) -> Result<Vec<Signer>, Error> {
    let mut signers = Vec::new();
    let mut worst: Option<Error> = None;
    for signature in signatures {
        match check_one(signature, signed, policy) {
            Ok(signer) => signers.push(signer),
            Err(error) => {
                if worst.as_ref().is_none_or(|known| telling(&error) > telling(known)) {
                    worst = Some(error);
                }
            }
        }
    }
    if signers.is_empty() { Err(worst.unwrap_or(Error::NoSignature)) } else { Ok(signers) }
}

/// An archive signs with several keys, of which we know some: a known key's trouble tells more than an unknown key.
fn telling(error: &Error) -> u8 {
    match error {
        Error::UnknownKey { .. } => 0,
        Error::NotPinned { .. } => 1,
        Error::BadSignature { .. } => 3,
        _ => 2,
    }
}

fn check_one(signature: &Signature, signed: &[u8], policy: &Policy<'_>) -> Result<Signer, Error> {
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(Error::Malformed("it is not a signature over a document".to_owned()));
    }
    let issuers = policy.keyring.issuers(signature);
    let verified = issuers.iter().find(|key| verifies(signature, key, signed));
    let Some(key) = verified.or(issuers.first()).copied() else {
        return Err(Error::UnknownKey { fingerprint: issuer(signature) });
    };
    let fingerprint = key.fingerprint();
    if !is_pinned(&key, policy.pinned) {
        return Err(Error::NotPinned { fingerprint });
    }
    check_hash(signature)?;
    check_strength(&key)?;
    if verified.is_none() {
        return Err(Error::BadSignature { fingerprint });
    }
    let at = signature.created().map(|created| i64::from(created.as_secs()));
    let at = at.ok_or_else(|| Error::Malformed("it does not say when it was made".to_owned()))?;
    check_life(signature, &key, at, policy.now)?;
    Ok(Signer { primary: key.primary_fingerprint(), fingerprint, at })
}

fn verifies(signature: &Signature, key: &Found<'_>, signed: &[u8]) -> bool {
    match key.subkey {
        Some(subkey) => signature.verify(&subkey.key, signed).is_ok(),
        None => signature.verify(&key.primary.primary_key, signed).is_ok(),
    }
}

/// Returns whom a signature says it is by.
fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|fingerprint| show(fingerprint));
    let id = || signature.issuer_key_id().first().map(|id| id.to_string().to_ascii_uppercase());
    fingerprint.or_else(id).unwrap_or_else(|| "not named".to_owned())
}

fn is_pinned(key: &Found<'_>, pinned: &[String]) -> bool {
    let same = |pin: &String, fingerprint: &str| {
        let pin: String = pin.chars().filter(|c| !c.is_whitespace()).collect();
        pin.trim_start_matches("0x").eq_ignore_ascii_case(fingerprint)
    };
    pinned.is_empty() || pinned.iter().any(|pin| same(pin, &key.primary_fingerprint()) || same(pin, &key.fingerprint()))
}

fn check_hash(signature: &Signature) -> Result<(), Error> {
    match signature.hash_alg() {
        Some(
            HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512,
        ) => Ok(()),
        Some(other) => Err(Error::WeakHash { hash: other.to_string() }),
        None => Err(Error::Malformed("it names no hash".to_owned())),
    }
}

fn check_strength(key: &Found<'_>) -> Result<(), Error> {
    let params = key.subkey.map_or(key.primary.primary_key.public_params(), |subkey| subkey.key.public_params());
    let weak = |why: String| Err(Error::WeakKey { fingerprint: key.fingerprint(), why });
    match params {
        PublicParams::RSA(rsa) => match rsa_bits(rsa) {
            bits if bits < 2048 => weak(format!("RSA of {bits} bits")),
            _ => Ok(()),
        },
        PublicParams::DSA(_) | PublicParams::Elgamal(_) => weak("DSA".to_owned()),
        _ => Ok(()),
    }
}

/// Returns the length of the modulus: the first two bytes of the key as it is sent.
fn rsa_bits(params: &pgp::types::RsaPublicParams) -> u16 {
    match pgp::ser::Serialize::to_bytes(params) {
        Ok(bytes) if bytes.len() > 2 => u16::from_be_bytes([bytes[0], bytes[1]]),
        _ => 0,
    }
}

/// Checks that key and signature were alive when the signature was made, and the signature still is.
fn check_life(signature: &Signature, key: &Found<'_>, at: i64, now: i64) -> Result<(), Error> {
    let fingerprint = key.fingerprint();
    if at > now + CLOCK_SKEW || at < key.created() {
        return Err(Error::NotYetValid { date: at });
    }
    if key.revoked_at(at) {
        return Err(Error::KeyRevoked { fingerprint });
    }
    let said = key.says();
    if !said.may_sign() {
        return Err(Error::KeyUnfit { fingerprint });
    }
    if let Some(expired) = said.expires().filter(|&expires| expires <= at) {
        return Err(Error::KeyExpired { fingerprint, expired });
    }
    let lifetime = signature.signature_expiration_time().map(|d| i64::from(d.as_secs())).filter(|&seconds| seconds > 0);
    match lifetime.map(|seconds| at + seconds) {
        Some(expired) if expired <= now => Err(Error::SignatureExpired { fingerprint, expired }),
        _ => Ok(()),
    }
}
