//! Public keys to trust, and what they say about themselves.

use std::io::Cursor;

use pgp::composed::{Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::packet::{PacketHeader, RevocationCode, Signature, SignatureType};
use pgp::types::{Fingerprint, KeyDetails, KeyId, Tag};

use super::Error;

/// A set of public keys.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

/// The key that a signature names, found in a keyring.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub primary: &'a SignedPublicKey,
    /// The subkey, if it is not the primary key itself.
    pub subkey: Option<&'a SignedPublicSubKey>,
}

impl Keyring {
    /// Parses keys, armored (one block or several) or binary.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |error: pgp::errors::Error| Error::Keyring(error.to_string());
        let mut keys = Vec::new();
        if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            for block in armored_blocks(bytes) {
                let (found, _) = SignedPublicKey::from_armor_many(block).map_err(wrong)?;
                keys.extend(found.collect::<Result<Vec<_>, _>>().map_err(wrong)?);
            }
        } else {
            let found = SignedPublicKey::from_bytes_many(Cursor::new(without_trust(bytes))).map_err(wrong)?;
            keys.extend(found.collect::<Result<Vec<_>, _>>().map_err(wrong)?);
        }
        if keys.is_empty() {
            return Err(Error::Keyring("it holds no public key".to_owned()));
        }
        Ok(Self { keys })
    }

    /// Puts the keys of several keyrings together.
    pub fn join(keyrings: impl IntoIterator<Item = Self>) -> Self {
        Self { keys: keyrings.into_iter().flat_map(|keyring| keyring.keys).collect() }
    }

    /// Returns the fingerprints of the primary keys, in capitals.
    pub fn fingerprints(&self) -> Vec<String> {
        self.keys.iter().map(|key| show(&key.fingerprint())).collect()
    }

    /// Returns the keys that a signature says it is by: by fingerprint, else by key id.
    pub(super) fn issuers(&self, signature: &Signature) -> Vec<Found<'_>> {
        let fingerprints = signature.issuer_fingerprint();
        let ids = signature.issuer_key_id();
        let named = |fingerprint: &Fingerprint, id: &KeyId| {
            if fingerprints.is_empty() { ids.contains(&id) } else { fingerprints.contains(&fingerprint) }
        };
        let mut found = Vec::new();
        for primary in &self.keys {
            if named(&primary.fingerprint(), &primary.legacy_key_id()) {
                found.push(Found { primary, subkey: None });
            }
            let subkeys = primary.public_subkeys.iter().filter(|key| named(&key.fingerprint(), &key.legacy_key_id()));
            found.extend(subkeys.map(|subkey| Found { primary, subkey: Some(subkey) }));
        }
        found
    }
}

/// Splits a file of several armored blocks, as keyrings made with `cat` are.
fn armored_blocks(bytes: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";
    let starts: Vec<usize> = memchr::memmem::find_iter(bytes, BEGIN).collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts.iter().zip(ends).map(|(&start, end)| bytes[start..end].trim_ascii_end()).collect()
}

/// Drops the notes on trust that gpg puts between the packets of a keyring it works on, as Ubuntu's is: rPGP takes the
/// first of them for the end of the key, and reads no user id, no subkey and no revocation behind it.
fn without_trust(bytes: &[u8]) -> Vec<u8> {
    let (mut kept, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some((tag, packet)) = packet(rest) {
        if tag != Tag::Trust {
            kept.extend_from_slice(packet);
        }
        rest = &rest[packet.len()..];
    }
    // What is no packet is rPGP's to judge.
    kept.extend_from_slice(rest);
    kept
}

/// Returns the kind and the bytes of the packet that `bytes` begin with.
fn packet(bytes: &[u8]) -> Option<(Tag, &[u8])> {
    let mut body = bytes;
    let header = PacketHeader::try_from_reader(&mut body).ok()?;
    let end = bytes.len() - body.len() + header.packet_length().maybe_len()? as usize;
    Some((header.tag(), bytes.get(..end)?))
}

/// Shows a fingerprint as `gpg --fingerprint` does, without blanks.
pub(super) fn show(fingerprint: &Fingerprint) -> String {
    fingerprint.to_string().to_ascii_uppercase()
}

impl<'a> Found<'a> {
    pub(super) fn primary_fingerprint(&self) -> String {
        show(&self.primary.fingerprint())
    }

    pub(super) fn fingerprint(&self) -> String {
        self.subkey.map_or_else(|| self.primary_fingerprint(), |subkey| show(&subkey.fingerprint()))
    }

    /// Returns when the key was made, in seconds since 1970.
    pub(super) fn created(&self) -> i64 {
        let created = self.subkey.map_or(self.primary.created_at(), |subkey| subkey.created_at());
        i64::from(created.as_secs())
    }

    /// Returns what the primary key says of itself and of the key, as far as its signatures are good.
    pub(super) fn says(&self) -> Said<'a> {
        Said { key: *self, of_primary: self.self_signature(), of_subkey: self.binding() }
    }

    /// Whether the key, or the primary key above it, was revoked for signatures made at a time.
    ///
    /// A key that was only retired or replaced still vouches for what it signed before; a compromised one for nothing.
    pub(super) fn revoked_at(&self, at: i64) -> bool {
        let primary = self
            .primary
            .details
            .revocation_signatures
            .iter()
            .filter(|s| s.verify_key(&self.primary.primary_key).is_ok());
        let own = self.subkey.iter().flat_map(|subkey| {
            let of = |s: &&Signature| s.typ() == Some(SignatureType::SubkeyRevocation);
            subkey
                .signatures
                .iter()
                .filter(of)
                .filter(|s| s.verify_subkey_binding(&self.primary.primary_key, &subkey.key).is_ok())
        });
        primary.chain(own).any(|signature| {
            let soft = matches!(
                signature.revocation_reason_code(),
                Some(RevocationCode::KeyRetired | RevocationCode::KeySuperseded)
            );
            !soft || signature.created().is_none_or(|created| i64::from(created.as_secs()) <= at)
        })
    }

    /// Returns the primary key's newest good signature over itself or one of its user ids that it did not revoke.
    fn self_signature(&self) -> Option<&'a Signature> {
        let (key, details) = (&self.primary.primary_key, &self.primary.details);
        let direct = details.direct_signatures.iter().map(|signature| (signature, None));
        let users = details.users.iter().flat_map(|user| {
            let certifying = user.signatures.iter().filter(|signature| signature.typ().is_some_and(certifies));
            certifying.map(move |signature| (signature, Some(user)))
        });
        let own = direct.chain(users).filter(|(signature, _)| self.is_own(signature));
        newest(own, |signature, user| match user {
            None => signature.verify_key(key).is_ok(),
            Some(user) => {
                let good = |one: &Signature| one.verify_certification(key, Tag::UserId, &user.id).is_ok();
                let revokes = |one: &&Signature| {
                    one.typ() == Some(SignatureType::CertRevocation)
                        && self.is_own(one)
                        && one.created() >= signature.created()
                        && good(one)
                };
                good(signature) && user.signatures.iter().find(revokes).is_none()
            }
        })
    }

    /// Whether a signature says that the primary key made it; a popular key bears those of many others.
    fn is_own(&self, signature: &Signature) -> bool {
        let (ids, fingerprints) = (signature.issuer_key_id(), signature.issuer_fingerprint());
        let primary = self.primary;
        ids.is_empty() && fingerprints.is_empty()
            || ids.contains(&&primary.legacy_key_id())
            || fingerprints.contains(&&primary.fingerprint())
    }

    /// Returns the primary key's newest good signature that binds the subkey; for a primary key, none.
    fn binding(&self) -> Option<&'a Signature> {
        let subkey = self.subkey?;
        let binding = subkey.signatures.iter().filter(|s| s.typ() == Some(SignatureType::SubkeyBinding));
        newest(binding.map(|signature| (signature, ())), |signature, ()| {
            signature.verify_subkey_binding(&self.primary.primary_key, &subkey.key).is_ok()
        })
    }
}

/// The newest good signatures of a primary key over itself and over one of its subkeys.
pub(super) struct Said<'a> {
    key: Found<'a>,
    of_primary: Option<&'a Signature>,
    of_subkey: Option<&'a Signature>,
}

impl Said<'_> {
    /// Returns when the key, or the primary key above it, expires, in seconds since 1970.
    pub(super) fn expires(&self) -> Option<i64> {
        let lifetime =
            |signature: &Signature| signature.key_expiration_time().map(|d| i64::from(d.as_secs())).filter(|&s| s > 0);
        let made = i64::from(self.key.primary.created_at().as_secs());
        let primary = self.of_primary.and_then(lifetime).map(|seconds| made + seconds);
        let own = self.of_subkey.and_then(lifetime).map(|seconds| self.key.created() + seconds);
        [primary, own].into_iter().flatten().min()
    }

    /// Whether the primary key bound the key, for signing.
    pub(super) fn may_sign(&self) -> bool {
        match self.key.subkey {
            // Keys older than key flags say nothing, and may.
            None => self.of_primary.is_some_and(|s| s.key_flags().sign() || !has_flags(s)),
            // A primary key that says nothing of itself would not say either that it expired.
            Some(subkey) => self.of_subkey.filter(|_| self.of_primary.is_some()).is_some_and(|binding| {
                let back = binding.embedded_signature();
                let cross =
                    |s: &Signature| s.verify_primary_key_binding(&subkey.key, &self.key.primary.primary_key).is_ok();
                binding.key_flags().sign() && back.is_some_and(cross)
            }),
        }
    }
}

/// Bindings are held to SHA-1 at least: many archive keys of before 2015 are bound with it, and a collision there needs the key's owner.
fn strong(signature: &Signature) -> bool {
    use pgp::crypto::hash::HashAlgorithm;
    !matches!(signature.hash_alg(), None | Some(HashAlgorithm::Md5))
}

/// Whether a signature of this type binds a user id to its key.
fn certifies(kind: SignatureType) -> bool {
    use SignatureType::{CertCasual, CertGeneric, CertPersona, CertPositive};
    matches!(kind, CertGeneric | CertPersona | CertCasual | CertPositive)
}

fn has_flags(signature: &Signature) -> bool {
    let Some(config) = signature.config() else { return false };
    let is_flags =
        |subpacket: &pgp::packet::Subpacket| matches!(subpacket.data, pgp::packet::SubpacketData::KeyFlags(_));
    config.hashed_subpackets.iter().any(is_flags)
}

/// Returns the newest of the strong signatures that is good: to verify one takes long, and older ones do not matter.
fn newest<'a, T: Copy>(
    signatures: impl Iterator<Item = (&'a Signature, T)>,
    good: impl Fn(&Signature, T) -> bool,
) -> Option<&'a Signature> {
    let mut strong: Vec<_> = signatures.filter(|(signature, _)| strong(signature)).collect();
    strong.sort_by_key(|(signature, _)| signature.created());
    strong.into_iter().rev().find(|(signature, of)| good(signature, *of)).map(|(signature, _)| signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_kiln_carries_may_sign() {
        let keyrings = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../data/keyrings");
        for name in ["debian.pgp", "ubuntu.pgp"] {
            let keyring = Keyring::parse(&std::fs::read(format!("{keyrings}/{name}")).unwrap()).unwrap();
            for primary in &keyring.keys {
                let subkeys = primary.public_subkeys.iter().map(Some).chain([None]);
                let may_sign = subkeys.map(|subkey| Found { primary, subkey }).any(|key| key.says().may_sign());
                assert!(may_sign, "{name}: {}", show(&primary.fingerprint()));
            }
        }
    }
}
