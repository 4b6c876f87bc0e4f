//! Whether a release file is what the archive signed: signatures, keys, times, rollbacks.
//!
//! The rule: at least one good signature, by a key of the pinned keyring, that was neither expired nor revoked when it signed, over
//! at least SHA-256; and only the text under that signature is ever read.

use kiln_model::{Digest, Fault};

use super::release::{self, Release, show_date};

mod keyring;
mod signature;

pub use keyring::Keyring;

/// What a release file must satisfy.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    pub keyring: &'a Keyring,
    /// Fingerprints (40 or 64 hexadecimal digits) of the only keys allowed to sign; empty allows every key of the keyring.
    pub pinned: &'a [String],
    /// The suite asked for: a validly signed release file of another is not believed.
    pub suite: &'a str,
    /// The time, in seconds since 1970.
    pub now: i64,
    /// Whether `Valid-Until` counts; off for a snapshot of the past.
    pub valid_until: bool,
    /// The `Date` of the newest release file seen from this suite, in seconds since 1970.
    pub last_seen: Option<i64>,
}

/// A release file that may be believed.
#[derive(Clone, Debug)]
pub struct Verified {
    pub release: Release,
    /// The text that was signed, and nothing else.
    pub text: String,
    pub signers: Vec<Signer>,
    /// Digest of the file as fetched.
    pub digest: Digest,
}

/// A good signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Fingerprint of the primary key, in capitals.
    pub primary: String,
    /// Fingerprint of the key that signed: the primary's or a subkey's.
    pub fingerprint: String,
    /// When it signed, in seconds since 1970.
    pub at: i64,
}

/// Why a release file is not believed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("keyring: {0}")]
    Keyring(String),
    #[error("the file is not a clear-signed message")]
    NotClearsigned,
    #[error("the file holds text outside of its signature")]
    TextOutside,
    #[error("the signature cannot be read: {0}")]
    Malformed(String),
    #[error("the file has no signature")]
    NoSignature,
    #[error("signed by the unknown key `{fingerprint}`")]
    UnknownKey { fingerprint: String },
    #[error("signed by key `{fingerprint}`, which is in the keyring but not pinned for this repository")]
    NotPinned { fingerprint: String },
    #[error("signed by key `{fingerprint}`, which expired on {}", show_date(*.expired))]
    KeyExpired { fingerprint: String, expired: i64 },
    #[error("signed by key `{fingerprint}`, which is revoked")]
    KeyRevoked { fingerprint: String },
    #[error("signed by key `{fingerprint}`, which is not meant for signing")]
    KeyUnfit { fingerprint: String },
    #[error("signed by key `{fingerprint}`, which is too weak: {why}")]
    WeakKey { fingerprint: String, why: String },
    #[error("signed over {hash}, which no longer protects")]
    WeakHash { hash: String },
    #[error("the signature of key `{fingerprint}` does not fit the file")]
    BadSignature { fingerprint: String },
    #[error("the signature of key `{fingerprint}` expired on {}", show_date(*.expired))]
    SignatureExpired { fingerprint: String, expired: i64 },
    #[error("the release file was valid until {}", show_date(*.valid_until))]
    Expired { valid_until: i64 },
    #[error("the release file is dated {}, which is still to come", show_date(*.date))]
    NotYetValid { date: i64 },
    #[error("the release file is dated {}, older than the one of {} seen before", show_date(*.date), show_date(*.seen))]
    Rollback { date: i64, seen: i64 },
    #[error("the release file is that of {got}, not of `{asked}`")]
    OtherSuite { asked: String, got: String },
    #[error("the release file has no date")]
    NoDate,
    #[error(transparent)]
    Release(#[from] release::Error),
}

impl Error {
    /// Returns the way out.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Keyring(_) => "export the key again, armored or binary",
            Self::UnknownKey { .. } | Self::NotPinned { .. } => {
                "if this key is really the repository's, name it (`key = …`) in the recipe; otherwise use another mirror"
            }
            Self::KeyExpired { .. } | Self::KeyRevoked { .. } => {
                "take the repository's current key, or a newer kiln that carries it"
            }
            Self::Expired { .. } => {
                "the mirror is stale: try another one; for the past on purpose, set a snapshot date"
            }
            Self::NotYetValid { .. } => "check this machine's clock",
            Self::Rollback { .. } => "the mirror is behind or lies: try another one",
            Self::OtherSuite { .. } => {
                "the mirror gives another suite, perhaps to hold back updates: try another one; a repository's `suite` in the \
                 recipe must be a name it has itself"
            }
            _ => "the mirror is damaged or hostile: try another one",
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let hint = error.hint();
        match error {
            Error::Keyring(_) => Fault::recipe(error.to_string()).hint(hint),
            _ => Fault::upstream(error.to_string()).hint(hint),
        }
    }
}

/// How far ahead of us a mirror's clock may run, in seconds.
const CLOCK_SKEW: i64 = 300;

/// Verifies an `InRelease` file.
pub fn verify(in_release: &[u8], policy: &Policy<'_>) -> Result<Verified, Error> {
    let (text, signatures) = signature::clearsigned(in_release)?;
    let signers = signature::check(&signatures, signature::canonical(&text).as_bytes(), policy)?;
    signed(in_release, text, signers, policy)
}

/// Verifies a `Release` file with the signature beside it (`Release.gpg`, armored or binary).
pub fn verify_detached(release: &[u8], signature: &[u8], policy: &Policy<'_>) -> Result<Verified, Error> {
    let signatures = signature::detached(signature)?;
    let signers = signature::check(&signatures, release, policy)?;
    let text = super::deb822::text(release).map_err(release::Error::from)?.to_owned();
    signed(release, text, signers, policy)
}

/// Reads a release file that nobody signed, which a recipe must allow in so many words; its times still count.
pub fn unsigned(release: &[u8], policy: &Policy<'_>) -> Result<Verified, Error> {
    let text = super::deb822::text(release).map_err(release::Error::from)?.to_owned();
    finish(release, text, Vec::new(), policy)
}

/// One key signs many suites, so a signature alone does not tell which was sent. Where nobody signs, a name proves nothing.
fn signed(file: &[u8], text: String, signers: Vec<Signer>, policy: &Policy<'_>) -> Result<Verified, Error> {
    let verified = finish(file, text, signers, policy)?;
    check_suite(policy.suite, &verified.release)?;
    Ok(verified)
}

fn finish(file: &[u8], text: String, signers: Vec<Signer>, policy: &Policy<'_>) -> Result<Verified, Error> {
    let release = Release::parse(&text)?;
    check_times(&release, policy.now, policy.valid_until)?;
    check_rollback(policy.last_seen, &release)?;
    Ok(Verified { release, text, signers, digest: Digest::of(file) })
}

/// Checks `Date` and, if it counts, `Valid-Until`.
pub fn check_times(release: &Release, now: i64, valid_until: bool) -> Result<(), Error> {
    match release.date {
        Some(date) if date > now + CLOCK_SKEW => return Err(Error::NotYetValid { date }),
        _ => {}
    }
    match release.valid_until {
        Some(valid_until_date) if valid_until && valid_until_date < now => {
            Err(Error::Expired { valid_until: valid_until_date })
        }
        _ => Ok(()),
    }
}

fn check_suite(asked: &str, release: &Release) -> Result<(), Error> {
    if release.is_suite(asked) {
        return Ok(());
    }
    let names: Vec<_> =
        [&release.suite, &release.codename].into_iter().flatten().map(|name| format!("`{name}`")).collect();
    Err(Error::OtherSuite { asked: asked.to_owned(), got: names.join(" alias ") })
}

/// Refuses a release file older than one already seen from the same suite.
pub fn check_rollback(last_seen: Option<i64>, release: &Release) -> Result<(), Error> {
    match (last_seen, release.date) {
        (Some(_), None) => Err(Error::NoDate),
        (Some(seen), Some(date)) if date < seen => Err(Error::Rollback { date, seen }),
        _ => Ok(()),
    }
}

/// Feeds arbitrary bytes to the parsers; for fuzzing, must never panic.
pub fn fuzz(bytes: &[u8]) {
    let _ = signature::clearsigned(bytes);
    let _ = signature::detached(bytes);
    let _ = Keyring::parse(bytes);
}
