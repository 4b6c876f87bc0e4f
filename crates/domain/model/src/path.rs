//! Paths inside a target tree.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// An absolute, normalised path inside the target tree: `/`, or `/a/b` without empty, `.` or `..` parts.
///
/// Kept as bytes, since archives may hold names that are not UTF-8; such names serialise with `\xNN` escapes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPath(Vec<u8>);

/// Why bytes are not a path inside a tree.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadPath {
    #[error("`{0}` climbs out of the tree with `..`")]
    Climbs(String),
    #[error("`{0}` holds a NUL byte")]
    Nul(String),
    #[error("`{0}` has a name longer than 255 bytes or is longer than 4095 bytes")]
    TooLong(String),
}

impl GuestPath {
    /// Returns the root, `/`.
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// Normalises `bytes` (`./usr//bin/`, `usr/bin` and `/usr/bin` are one path) and refuses `..`, NUL and over-long names.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, BadPath> {
        let bytes = bytes.as_ref();
        let shown = || String::from_utf8_lossy(bytes).replace('\0', "\\0");
        if bytes.contains(&0) {
            return Err(BadPath::Nul(shown()));
        }
        let mut path = Vec::with_capacity(bytes.len() + 1);
        for name in bytes.split(|&b| b == b'/').filter(|name| !name.is_empty() && *name != b".") {
            if name == b".." {
                return Err(BadPath::Climbs(shown()));
            }
            if name.len() > 255 {
                return Err(BadPath::TooLong(shown()));
            }
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.len() > 4095 {
            return Err(BadPath::TooLong(shown()));
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(Self(path))
    }

    /// Returns the path as bytes, with its leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path without its leading slash; empty for the root.
    pub fn relative(&self) -> &[u8] {
        &self.0[1..]
    }

    /// Returns the path below `root` on the host. Symbolic links inside are not followed by this function, and
    /// whoever opens the result must see to it that the kernel does not either.
    pub fn under(&self, root: &Path) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        root.join(std::ffi::OsStr::from_bytes(self.relative()))
    }

    /// Returns the last name; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }

    /// Returns the directory that holds this path; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.0 == b"/" {
            return None;
        }
        let cut = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(if cut == 0 { b"/".to_vec() } else { self.0[..cut].to_vec() }))
    }

    /// Returns `self/name`, normalised.
    pub fn join(&self, name: impl AsRef<[u8]>) -> Result<Self, BadPath> {
        let mut bytes = self.0.clone();
        bytes.push(b'/');
        bytes.extend_from_slice(name.as_ref());
        Self::new(bytes)
    }

    /// Whether `self` is `ancestor` or lies below it.
    pub fn is_under(&self, ancestor: &Self) -> bool {
        ancestor.0 == b"/"
            || self.0 == ancestor.0
            || (self.0.starts_with(&ancestor.0) && self.0.get(ancestor.0.len()) == Some(&b'/'))
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl std::str::FromStr for GuestPath {
    type Err = BadPath;

    /// Reads what `Display` prints: `\xNN` is one byte.
    fn from_str(text: &str) -> Result<Self, BadPath> {
        let raw = text.as_bytes();
        let mut bytes = Vec::with_capacity(raw.len());
        let mut at = 0;
        while at < raw.len() {
            let escaped = raw[at..]
                .strip_prefix(b"\\x")
                .and_then(|rest| std::str::from_utf8(rest.get(..2)?).ok())
                .and_then(|hex| u8::from_str_radix(hex, 16).ok());
            match escaped {
                Some(byte) => {
                    bytes.push(byte);
                    at += 4;
                }
                None => {
                    bytes.push(raw[at]);
                    at += 1;
                }
            }
        }
        Self::new(bytes)
    }
}

impl Serialize for GuestPath {
    /// As `Display`, but names that hold `\xNN` as text, as those of systemd's units do, are read back as they are.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            text.push_str(&chunk.valid().replace("\\x", "\\x5cx"));
            chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for GuestPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_normalise_and_refuse_to_climb() {
        let cases: &[(&[u8], Result<&str, ()>)] = &[
            (b"./", Ok("/")),
            (b"", Ok("/")),
            (b"./usr//bin/", Ok("/usr/bin")),
            (b"/etc/./passwd", Ok("/etc/passwd")),
            (b"../etc", Err(())),
            (b"a/../../b", Err(())),
            (b"a\0b", Err(())),
            (b"..a/b..", Ok("/..a/b..")),
            (b"caf\xe9", Ok("/caf\\xe9")),
        ];
        for (given, wanted) in cases {
            let got = GuestPath::new(given).map(|path| path.to_string()).map_err(|_| ());
            assert_eq!(got, wanted.map(str::to_owned), "{given:?}");
        }
    }

    #[test]
    fn display_reads_back() {
        let path = GuestPath::new(b"/caf\xe9/x").unwrap();
        assert_eq!(path.to_string().parse(), Ok(path));
    }

    #[test]
    fn every_name_reads_back_from_json() {
        for name in ["/caf\u{e9}", r"/system-a\x2db.slice", r"/a\x00b", r"/\x2e\x2e/\\x5c", r"/\"] {
            let path = GuestPath::new(name).unwrap();
            let json = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<GuestPath>(&json).unwrap(), path, "{json}");
        }
        let odd = GuestPath::new(b"/\\\xe9\\x2d\xff").unwrap();
        assert_eq!(serde_json::from_value::<GuestPath>(serde_json::to_value(&odd).unwrap()).unwrap(), odd);
    }

    #[test]
    fn under_is_by_whole_names() {
        let path = |text: &str| text.parse::<GuestPath>().unwrap();
        assert!(path("/usr/bin").is_under(&path("/usr")));
        assert!(!path("/usrx").is_under(&path("/usr")));
        assert_eq!(path("/usr").parent(), Some(GuestPath::root()));
    }
}
