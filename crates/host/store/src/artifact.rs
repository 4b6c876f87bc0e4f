//! Artifacts: finished files under a key, with an index that lets the next one be written incrementally.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_model::Digest;
use serde::{Deserialize, Serialize};

use crate::boot::Stored;
use crate::files::{make_folder, read_if_there, rename, touch};
use crate::store::key_name;
use crate::{Error, Fingerprint, Result, Store};

/// A kept file with its index. It stays the store's: read, reflink or copy it, never change or link it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    pub path: PathBuf,
    pub index: Vec<u8>,
}

/// What is written beside an artifact.
#[derive(Serialize, Deserialize)]
pub(crate) struct About {
    pub key: String,
    pub note: String,
    print: Fingerprint,
    index: Digest,
    stored: Stored,
}

impl Store {
    /// Returns the file kept under `key` if it is unchanged; else it is dropped with a warning.
    pub fn artifact(&self, key: &str) -> Result<Option<Artifact>> {
        let folder = self.artifact_path(key);
        if !self.lease(&format!("artifact {}", key_name(key)), &folder)? {
            return Ok(None);
        }
        match self.whole_artifact(&folder)? {
            Some((_, index)) => {
                touch(&folder.join("about"));
                Ok(Some(Artifact { path: folder.join("file"), index }))
            }
            None => {
                self.reject(&folder, format!("the kept file `{key}` was changed and is dropped"))?;
                Ok(None)
            }
        }
    }

    /// Takes the file kept under `key` out of the store into a scratch folder, to be changed at will.
    pub fn take_artifact(&self, key: &str) -> Result<Option<Artifact>> {
        let Some(Artifact { index, .. }) = self.artifact(key)? else { return Ok(None) };
        let folder = self.session.trash(&self.artifact_path(key))?;
        let path = folder.join("file");
        // Another kiln may have taken it in between.
        Ok(path.exists().then_some(Artifact { path, index }))
    }

    /// Moves `file`, which is in the store's filesystem, into the store under `key`, in place of what was there.
    pub fn put_artifact(&self, key: &str, file: &Path, index: &[u8], note: &str) -> Result<PathBuf> {
        let draft = self.scratch("artifact")?;
        rename(file, &draft.join("file"))?;
        let print = Fingerprint::of(&draft.join("file")).map_err(Error::io("look at", file))?;
        let (key_text, note) = (key.to_owned(), note.to_owned());
        let about = About { key: key_text, note, print, index: Digest::of(index), stored: Stored::now(self.boot) };
        write(&draft.join("index"), index)?;
        write(&draft.join("about"), &serde_json::to_vec(&about).expect("plain values serialise"))?;
        self.place_artifact(key, &draft)
    }

    fn place_artifact(&self, key: &str, draft: &Path) -> Result<PathBuf> {
        let folder = self.artifact_path(key);
        make_folder(&self.root().join("artifacts"))?;
        let old = {
            let _store = crate::session::exclusive(self.root())?;
            let old = self.session.trash(&folder)?;
            rename(draft, &folder)?;
            self.session.hold(format!("artifact {}", key_name(key)))?;
            old
        };
        crate::files::remove_tree(&old)?;
        Ok(folder.join("file"))
    }

    /// Returns what is said of an artifact, and its index, if both and the file are as they were stored.
    pub(crate) fn whole_artifact(&self, folder: &Path) -> Result<Option<(About, Vec<u8>)>> {
        let about: Option<About> =
            read_if_there(&folder.join("about"))?.and_then(|text| serde_json::from_slice(&text).ok());
        let (Some(about), Some(index)) = (about, read_if_there(&folder.join("index"))?) else { return Ok(None) };
        let same = Fingerprint::of(&folder.join("file")).is_ok_and(|print| print == about.print);
        let whole = same && Digest::of(&index) == about.index && !self.doubts(about.stored);
        Ok(whole.then_some((about, index)))
    }

    pub(crate) fn artifact_path(&self, key: &str) -> PathBuf {
        self.root().join("artifacts").join(key_name(key))
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(Error::io("write", path))
}
