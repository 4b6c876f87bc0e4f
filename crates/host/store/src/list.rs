//! What is in the store.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_model::{Digest, StageId};
use serde::Serialize;

use crate::files::{names, read_if_there};
use crate::{Doc, Error, Result, Store, document, layer};

/// The kinds of what a store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    Blob,
    Layer,
    Document,
}

/// One entry, as `kiln cache ls` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryInfo {
    pub kind: EntryKind,
    pub id: String,
    /// Bytes on disk.
    pub size: u64,
    pub last_used: SystemTime,
    pub note: String,
}

/// An entry with what collecting it takes.
pub(crate) struct Located {
    pub info: EntryInfo,
    pub path: PathBuf,
    /// Its name among the leases.
    pub lease: String,
    pub parent: Option<StageId>,
    pub may_go: bool,
}

impl Store {
    /// Returns every entry, by kind and id.
    pub fn list(&self) -> Result<Vec<EntryInfo>> {
        let mut all: Vec<EntryInfo> = self.located()?.into_iter().map(|entry| entry.info).collect();
        all.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
        Ok(all)
    }

    pub(crate) fn located(&self) -> Result<Vec<Located>> {
        let mut all = self.blobs()?;
        all.append(&mut self.layers()?);
        all.append(&mut self.documents()?);
        Ok(all)
    }

    pub(crate) fn blob_digests(&self) -> Result<Vec<Digest>> {
        let root = self.root().join("blobs/sha256");
        let mut digests = Vec::new();
        for head in names(&root)? {
            let inside = names(&root.join(&head))?;
            digests.extend(inside.iter().filter_map(|tail| format!("{head}{tail}").parse::<Digest>().ok()));
        }
        Ok(digests)
    }

    fn blobs(&self) -> Result<Vec<Located>> {
        let mut index = self.index.lock().expect("no panic while held");
        index.refresh()?;
        let mut all = Vec::new();
        for digest in self.blob_digests()? {
            let used = index.get(&digest)?.map(|known| UNIX_EPOCH + Duration::from_secs(known.used));
            all.extend(locate(EntryKind::Blob, &self.blob_path(&digest), &digest.to_string(), used));
        }
        Ok(all)
    }

    pub(crate) fn layer_ids(&self) -> Result<Vec<StageId>> {
        let names = names(&self.root().join("layers"))?;
        Ok(names.iter().filter_map(|name| name.parse().ok().map(StageId)).collect())
    }

    fn layers(&self) -> Result<Vec<Located>> {
        let mut all = Vec::new();
        for id in self.layer_ids()? {
            let folder = self.layer_path(&id);
            let used = fs::metadata(folder.join("about")).and_then(|meta| meta.modified()).ok();
            let Some(mut entry) = locate(EntryKind::Layer, &folder, &id.to_string(), used) else { continue };
            let about = read_if_there(&folder.join("about"))?;
            if let Some(about) = about.and_then(|text| serde_json::from_slice::<layer::About>(&text).ok()) {
                entry.info.size = about.meta.size;
                entry.info.note = format!("{} {}", about.meta.kind, about.meta.note);
                entry.parent = about.meta.parent;
            }
            all.push(entry);
        }
        Ok(all)
    }

    fn documents(&self) -> Result<Vec<Located>> {
        let mut all = Vec::new();
        for kind in Doc::ALL {
            let root = self.root().join("documents").join(kind.name());
            for name in names(&root)? {
                let path = root.join(&name);
                let Some(mut entry) = locate(EntryKind::Document, &path, &name, None) else { continue };
                entry.info.note = format!("{} {}", kind.name(), document::key(&path).unwrap_or_default());
                entry.may_go = kind.may_go();
                all.push(entry);
            }
        }
        Ok(all)
    }
}

/// Returns an entry as its file tells; none when it went meanwhile.
fn locate(kind: EntryKind, path: &Path, id: &str, used: Option<SystemTime>) -> Option<Located> {
    let meta = path.symlink_metadata().map_err(Error::io("look at", path)).ok()?;
    let last_used = used.or(meta.modified().ok()).unwrap_or(UNIX_EPOCH);
    let info = EntryInfo { kind, id: id.to_owned(), size: meta.blocks() * 512, last_used, note: String::new() };
    let word = match kind {
        EntryKind::Blob => "blob",
        EntryKind::Layer => "layer",
        EntryKind::Document => "document",
    };
    Some(Located { info, path: path.to_owned(), lease: format!("{word} {id}"), parent: None, may_go: true })
}
