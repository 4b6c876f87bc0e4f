//! Checksums as apk writes them: `Q1` and base64 for SHA-1, `Q2` and base64 for SHA-256, or hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// What identifies a package (its control stream) or a file (its content).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Checksum {
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

/// Why a text is not a checksum.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a checksum: they are `Q1…`, `Q2…` or hexadecimal digits")]
pub struct NotAChecksum(pub String);

impl Checksum {
    pub fn sha1(bytes: &[u8]) -> Self {
        Self::Sha1(Sha1::digest(bytes).into())
    }

    pub fn sha256(bytes: &[u8]) -> Self {
        Self::Sha256(Sha256::digest(bytes).into())
    }

    /// Whether the bytes are those that were summed.
    pub fn fits(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Sha1(_) => *self == Self::sha1(bytes),
            Self::Sha256(_) => *self == Self::sha256(bytes),
        }
    }

    /// Returns the bytes of the sum.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let sha1 = bytes.try_into().map(Self::Sha1).ok();
        sha1.or_else(|| bytes.try_into().map(Self::Sha256).ok())
    }

    /// Returns the sum in hexadecimal digits.
    pub fn hex(&self) -> String {
        self.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads hexadecimal digits, as in `datahash` and in pax records.
    pub fn from_hex(text: &str) -> Result<Self, NotAChecksum> {
        let pair = |pair: &[u8]| {
            let digits = pair.iter().all(u8::is_ascii_hexdigit) && pair.len() == 2;
            digits.then(|| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())?
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
        bytes.and_then(|bytes| Self::from_bytes(&bytes)).ok_or_else(|| NotAChecksum(text.to_owned()))
    }
}

impl FromStr for Checksum {
    type Err = NotAChecksum;

    fn from_str(text: &str) -> Result<Self, NotAChecksum> {
        let read = || {
            let length = if text.starts_with("Q1") { 20 } else { 32 };
            let coded = text.strip_prefix("Q1").or_else(|| text.strip_prefix("Q2"))?;
            let bytes = STANDARD.decode(coded).ok()?;
            (bytes.len() == length).then(|| Self::from_bytes(&bytes))?
        };
        read().ok_or_else(|| NotAChecksum(text.to_owned()))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if matches!(self, Self::Sha1(_)) { "Q1" } else { "Q2" };
        write!(f, "{mark}{}", STANDARD.encode(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for sum in [Checksum::sha1(b"a"), Checksum::sha256(b"a")] {
            assert_eq!(sum.to_string().parse(), Ok(sum));
            assert_eq!(Checksum::from_hex(&sum.hex()), Ok(sum));
            assert!(sum.fits(b"a") && !sum.fits(b"b"));
        }
        assert_eq!(Checksum::sha1(b"").to_string(), "Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=");
    }

    #[test]
    fn damage_is_refused() {
        for bad in [
            "",
            "Q1",
            "Q12jmj7l5rSw0yVb/vlWAYkK/YBw=",
            "X12jmj7l5rSw0yVb/vlWAYkK/YBwk=",
            "Q22jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        ] {
            assert_eq!(bad.parse::<Checksum>(), Err(NotAChecksum(bad.to_owned())));
        }
        for bad in ["", "0", "+1", &"0".repeat(41), &"g".repeat(40), &"é".repeat(20)] {
            assert!(Checksum::from_hex(bad).is_err(), "{bad}");
        }
    }
}
