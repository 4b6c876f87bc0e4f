//! What secrets are kept with: AES-256-GCM under a key that is in a file and never in the database.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_farm_api::secret::Value;
use kiln_farm_api::{Name, Variable};
use kiln_model::Digest;

use crate::error::{Error, Result};
use crate::secret;
use crate::serve::private_file;

/// The key's file in the server's folder.
const FILE: &str = "secrets.key";

/// A key, and what it is told from others by.
#[derive(Clone)]
pub struct Vault {
    key: Arc<RandomizedNonceKey>,
    name: Arc<str>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({})", self.name)
    }
}

/// Whose secret it is, and which: what was sealed for one is nothing in the place of another.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a>(pub &'a Name, pub &'a Variable);

impl Owner<'_> {
    fn words(self) -> String {
        format!("kiln secret\0{}\0{}", self.0, self.1)
    }
}

impl Vault {
    /// Reads the key in a server's folder; where there is none it makes one. Of several servers that do so at once all get the same.
    pub fn in_folder(data: &Path) -> Result<Self> {
        let path = data.join(FILE);
        let doing = || format!("keep the key of secrets in `{}`", path.display());
        if !fs::exists(&path).map_err(|error| Error::failed(doing(), error))? {
            make(data, &path).map_err(|error| Error::failed(doing(), error))?;
        }
        let text = fs::read_to_string(&path).map_err(|error| Error::failed(doing(), error))?;
        Self::read(&text).map_err(|why| Error::failed(doing(), why))
    }

    /// Reads a key: 32 bytes in base64.
    pub fn read(text: &str) -> Result<Self, String> {
        let bytes = STANDARD.decode(text.trim()).ok().filter(|bytes| bytes.len() == 32);
        let bytes = bytes.ok_or("a key of secrets is 32 bytes in base64")?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|error| error.to_string())?;
        let name = Digest::of([b"kiln key of secrets\0".as_slice(), &bytes].concat()).short().into();
        Ok(Self { key: Arc::new(key), name })
    }

    /// Returns what its key is called beside what it sealed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a value as the database keeps it.
    pub fn seal(&self, owner: Owner<'_>, value: &Value) -> Result<String> {
        self.sealed(&owner.words(), &value.0)
    }

    /// Returns a value that was sealed for this owner.
    pub fn open(&self, owner: Owner<'_>, sealed: &str) -> Result<Value> {
        let failed = || Error::failed(format!("open the secret `{}` of `{}`", owner.1, owner.0), "it was changed");
        self.opened(&owner.words(), sealed).map(Value).ok_or_else(failed)
    }

    /// Seals a text with the words that say whose it is.
    pub(crate) fn sealed(&self, words: &str, text: &str) -> Result<String> {
        let mut bytes = text.as_bytes().to_vec();
        let sealed = self.key.seal_in_place_append_tag(Aad::from(words), &mut bytes);
        let nonce = sealed.map_err(|error| Error::failed("seal a secret", error.to_string()))?;
        let nonce: &[u8; NONCE_LEN] = nonce.as_ref();
        Ok(STANDARD.encode([nonce.as_slice(), &bytes].concat()))
    }

    /// Opens a text that was sealed with these words; none: it was not, or was changed since.
    pub(crate) fn opened(&self, words: &str, sealed: &str) -> Option<String> {
        let mut bytes = STANDARD.decode(sealed).ok().filter(|bytes| bytes.len() > NONCE_LEN)?;
        let mut sealed = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).ok()?;
        let plain = self.key.open_in_place(nonce, Aad::from(words), &mut sealed).ok()?;
        String::from_utf8(plain.to_vec()).ok()
    }
}

/// Makes a key, unless somebody else just did.
fn make(data: &Path, path: &Path) -> io::Result<()> {
    let bytes = secret::random().map_err(io::Error::other)?;
    match private_file(data, &STANDARD.encode(bytes))?.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => return Err(error.error),
        _ => {}
    }
    fs::File::open(data)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_sealed_is_opened_by_its_key_for_its_owner_alone() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [vault, other] = folders.each_ref().map(|folder| Vault::in_folder(folder.path()).unwrap());
        let (edge, lab): (Name, Name) = ("edge".parse().unwrap(), "lab".parse().unwrap());
        let (psk, pin): (Variable, Variable) = ("PSK".parse().unwrap(), "PIN".parse().unwrap());
        let value = Value("correct horse".into());
        let sealed = vault.seal(Owner(&edge, &psk), &value).unwrap();
        assert_eq!(vault.open(Owner(&edge, &psk), &sealed).unwrap(), value);
        assert_ne!(vault.seal(Owner(&edge, &psk), &value).unwrap(), sealed, "the same value does not look the same");
        assert!(!STANDARD.decode(&sealed).unwrap().windows(5).any(|some| some == b"horse"));
        let changed = STANDARD.encode(STANDARD.decode(&sealed).unwrap().iter().rev().copied().collect::<Vec<_>>());
        for (vault, owner, sealed) in [
            (&vault, Owner(&lab, &psk), sealed.as_str()),
            (&vault, Owner(&edge, &pin), &sealed),
            (&other, Owner(&edge, &psk), &sealed),
            (&vault, Owner(&edge, &psk), &changed),
            (&vault, Owner(&edge, &psk), ""),
        ] {
            assert!(vault.open(owner, sealed).is_err(), "{owner:?}");
        }
        assert_ne!(vault.name(), other.name());
        let file = folders[0].path().join(FILE);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Vault::in_folder(folders[0].path()).unwrap().name(), vault.name());
        assert_eq!(Vault::read(&fs::read_to_string(file).unwrap()).unwrap().name(), vault.name());
    }

    #[test]
    fn servers_that_begin_at_once_have_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let begin = || Vault::in_folder(folder.path()).unwrap().name().to_owned();
        let names: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    }

    #[test]
    fn what_is_no_key() {
        for text in ["", "secret", &STANDARD.encode([7; 16])] {
            assert!(Vault::read(text).unwrap_err().contains("32 bytes"), "{text}");
        }
    }
}
