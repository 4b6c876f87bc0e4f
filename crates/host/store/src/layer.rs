//! Layers: the trees that stages left, ready to be lowers of an overlay.
//!
//! `layers/<stage>/` holds `root` (the files), `manifest` (all of them with fingerprints), `about` and, once somebody
//! had the time to read every file, `digests`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_model::{Digest, StageId, StageKind};
use serde::{Deserialize, Serialize};

use crate::boot::Stored;
use crate::files::{make_folder, read_if_there, remove_tree, touch, write_atomically};
use crate::scan::{Scanned, scan};
use crate::{Error, Manifest, Result, Store, check, codec, session};

/// A stage's own files. The folder stays the store's: nothing in it may change, not even by a hard link elsewhere.
#[derive(Clone, Debug)]
pub struct Layer {
    pub id: StageId,
    pub path: PathBuf,
    pub manifest: Manifest,
    pub meta: Meta,
}

impl Layer {
    /// The same after its files were moved.
    fn at(mut self, path: PathBuf) -> Self {
        self.manifest.root.clone_from(&path);
        Self { path, ..self }
    }
}

/// What is said about a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub kind: StageKind,
    /// Bytes on disk; counted when the layer is published.
    #[serde(default)]
    pub size: u64,
    /// For people: the image's name, say.
    pub note: String,
    /// The stage whose layer lies below.
    pub parent: Option<StageId>,
}

/// What is written beside a layer.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct About {
    pub meta: Meta,
    pub stored: Stored,
}

impl Store {
    /// Returns the layer of a stage that is there and unchanged.
    ///
    /// Every name is looked at again. When a fingerprint differs, or the machine may have crashed since, the files are
    /// read and compared by digest; a layer that cannot prove itself that way is removed with a warning.
    pub fn tree(&self, id: &StageId) -> Result<Option<Layer>> {
        let folder = self.layer_path(id);
        if !self.lease(&lease(id), &folder)? {
            return Ok(None);
        }
        match self.load(id)? {
            Some((layer, about)) if !self.doubts(about.stored) && check::untouched(&layer.manifest)? => {
                touch(&folder.join("about"));
                Ok(Some(layer))
            }
            Some((layer, about)) => self.prove(layer, about),
            None => self.reject_layer(id, "its manifest is not readable").map(|()| None),
        }
    }

    /// Moves the folder `upper`, which is in the store's filesystem, into the store as the layer of `id`. When another
    /// kiln was faster, theirs is returned and ours removed. Where a changed layer cannot go since another kiln works with it,
    /// ours lives as long as this `Store`, outside of the cache.
    pub fn publish(&self, id: &StageId, upper: &Path, meta: Meta) -> Result<Layer> {
        let (draft, layer) = self.draft(id, upper, meta)?;
        match self.place(id, &draft)? {
            Placed::Ours => Ok(layer.at(self.layer_path(id).join("root"))),
            Placed::Theirs(theirs) => remove_tree(&draft).map(|()| *theirs),
            Placed::Nowhere => Ok(layer),
        }
    }

    /// The same in place of what was there. When another kiln works with the old layer that one stays, and ours lives as
    /// long as this `Store`, outside of the cache.
    pub fn replace(&self, id: &StageId, upper: &Path, meta: Meta) -> Result<Layer> {
        let (draft, layer) = self.draft(id, upper, meta)?;
        let (folder, lease) = (self.layer_path(id), lease(id));
        make_folder(&self.root().join("layers"))?;
        let old = {
            let _store = session::exclusive(self.root())?;
            if self.session.others_hold(&lease)? {
                self.warn(format!(
                    "another kiln uses the stored layer of stage `{}`: it is not replaced",
                    id.0.short()
                ));
                return Ok(layer);
            }
            let old = self.session.trash(&folder)?;
            self.session.hold(lease)?;
            fs::rename(&draft, &folder).map_err(Error::io("rename to", &folder))?;
            old
        };
        remove_tree(&old)?;
        Ok(layer.at(folder.join("root")))
    }

    /// Makes in a scratch folder what is to be the layer's, and returns the folder and the layer there.
    fn draft(&self, id: &StageId, upper: &Path, meta: Meta) -> Result<(PathBuf, Layer)> {
        let draft = self.scratch("layer")?;
        fs::rename(upper, draft.join("root")).map_err(Error::io("take", upper))?;
        let path = draft.join("root");
        let Scanned { manifest, bytes } = scan(*id, &path)?;
        let meta = Meta { size: bytes, ..meta };
        write(&draft.join("manifest"), &codec::encode(&manifest))?;
        let about = About { meta: meta.clone(), stored: Stored::now(self.boot) };
        write(&draft.join("about"), &serde_json::to_vec(&about).expect("plain values serialise"))?;
        Ok((draft, Layer { id: *id, path, manifest, meta }))
    }

    /// Renames a draft into place, unless something is there that is good or must stay.
    fn place(&self, id: &StageId, draft: &Path) -> Result<Placed> {
        let folder = self.layer_path(id);
        make_folder(&self.root().join("layers"))?;
        for _ in 0..3 {
            let moved = {
                let _store = session::shared(self.root())?;
                self.session.hold(lease(id))?;
                fs::rename(draft, &folder)
            };
            match moved {
                Ok(()) => return Ok(Placed::Ours),
                Err(error) if taken(&error) => match self.tree(id)? {
                    Some(theirs) => return Ok(Placed::Theirs(Box::new(theirs))),
                    None if folder.exists() => break,
                    None => {}
                },
                Err(error) => return Err(Error::io("rename to", &folder)(error)),
            }
        }
        Ok(Placed::Nowhere)
    }

    pub(crate) fn load(&self, id: &StageId) -> Result<Option<(Layer, About)>> {
        let folder = self.layer_path(id);
        let path = folder.join("root");
        let about = read_if_there(&folder.join("about"))?.and_then(|text| serde_json::from_slice::<About>(&text).ok());
        let manifest = read_if_there(&folder.join("manifest"))?.and_then(|bytes| codec::decode(*id, &path, &bytes));
        let (Some(about), Some(manifest)) = (about, manifest) else { return Ok(None) };
        Ok(Some((Layer { id: *id, path, manifest, meta: about.meta.clone() }, about)))
    }

    /// Lets a doubtful layer show by its content that it is what was published.
    fn prove(&self, layer: Layer, about: About) -> Result<Option<Layer>> {
        let folder = self.layer_path(&layer.id);
        let Some(digests) = check::digests(&folder)? else {
            self.reject_layer(&layer.id, "its files changed and no digests are known")?;
            return Ok(None);
        };
        let Some(manifest) = check::same_content(&layer.manifest, &digests)? else {
            self.reject_layer(&layer.id, "its files changed")?;
            return Ok(None);
        };
        write_atomically(&folder.join("manifest"), self.session.scratch(), &codec::encode(&manifest))?;
        self.write_about(&layer.id, &About { stored: Stored::now(self.boot), ..about })?;
        Ok(Some(Layer { manifest, ..layer }))
    }

    /// Reads every file of a layer that is unchanged and keeps the digests; none when it changed meanwhile.
    pub(crate) fn learn_digests(&self, layer: &Layer) -> Result<Option<Vec<Digest>>> {
        let digests = check::read_all(&layer.manifest)?;
        if !check::untouched(&layer.manifest)? {
            return Ok(None);
        }
        let path = self.layer_path(&layer.id).join("digests");
        write_atomically(&path, self.session.scratch(), &check::encode_digests(&digests))?;
        Ok(Some(digests))
    }

    fn write_about(&self, id: &StageId, about: &About) -> Result<()> {
        let text = serde_json::to_vec(about).expect("plain values serialise");
        write_atomically(&self.layer_path(id).join("about"), self.session.scratch(), &text)
    }

    /// Takes a changed layer away for good, unless another kiln works with it: that one would find nothing there.
    pub(crate) fn reject_layer(&self, id: &StageId, why: &str) -> Result<()> {
        let trash = {
            let _store = session::exclusive(self.root())?;
            if self.session.others_hold(&lease(id))? {
                let what = format!(
                    "the stored layer of stage `{}` is not used, but in use by another kiln: {why}",
                    id.0.short()
                );
                self.warn(what);
                // Those who come after must not take us for one who works with it.
                return self.session.release(&lease(id));
            }
            self.session.trash(&self.layer_path(id))?
        };
        self.warn(format!("the stored layer of stage `{}` is dropped: {why}", id.0.short()));
        remove_tree(&trash)
    }

    pub(crate) fn layer_path(&self, id: &StageId) -> PathBuf {
        self.root().join("layers").join(id.to_string())
    }
}

/// Where a draft went.
enum Placed {
    Ours,
    Theirs(Box<Layer>),
    Nowhere,
}

/// Returns a layer's name among the leases.
fn lease(id: &StageId) -> String {
    format!("layer {id}")
}

/// Whether a rename failed because somebody else's layer is in the place.
fn taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(Error::io("write", path))
}
