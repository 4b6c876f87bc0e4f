//! Verification: every byte is read again, which finds what a failing disk changed behind the kernel's back.

use std::time::Duration;

use kiln_model::StageId;
use serde::Serialize;

use crate::boot::{Durable, Stored, uptime};
use crate::files::read_if_there;
use crate::{Doc, EntryKind, Result, Store, boot, check, document, files};

/// Something wrong with an entry, which is removed: the next build makes or fetches it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: EntryKind,
    pub id: String,
    pub what: String,
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyProgress {
    pub done: u64,
    pub of: u64,
}

/// One entry to be read again.
type Task<'a> = Box<dyn Fn() -> Result<Option<Finding>> + 'a>;

impl Store {
    /// Reads every byte that is kept. What is not as it was stored is removed and told. The first time a layer is read
    /// its digests are noted, from then on they are compared.
    pub fn verify(&self, progress: &dyn Fn(VerifyProgress)) -> Result<Vec<Finding>> {
        let tasks = self.tasks()?;
        let (mut findings, of) = (Vec::new(), tasks.len() as u64);
        for (done, task) in tasks.iter().enumerate() {
            progress(VerifyProgress { done: done as u64, of });
            findings.extend(task()?);
        }
        progress(VerifyProgress { done: of, of });
        Ok(findings)
    }

    fn tasks(&self) -> Result<Vec<Task<'_>>> {
        let mut tasks: Vec<Task> = Vec::new();
        for digest in self.blob_digests()? {
            tasks.push(Box::new(move || {
                let rotted = self.lease(&format!("blob {digest}"), &self.blob_path(&digest))?
                    && self.has_blob_rotted(&digest)?;
                Ok(rotted.then(|| finding(EntryKind::Blob, &digest.to_string(), "its bytes have another digest")))
            }));
        }
        for id in self.layer_ids()? {
            tasks.push(Box::new(move || self.verify_layer(&id)));
        }
        for kind in Doc::ALL {
            for name in files::names(&self.root().join("documents").join(kind.name()))? {
                tasks.push(Box::new(move || self.verify_document(kind, &name)));
            }
        }
        Ok(tasks)
    }

    fn verify_layer(&self, id: &StageId) -> Result<Option<Finding>> {
        let bad = |what: &str| Ok(Some(finding(EntryKind::Layer, &id.to_string(), what)));
        if !self.lease(&format!("layer {id}"), &self.layer_path(id))? {
            return Ok(None);
        }
        let Some(layer) = self.tree(id)? else { return bad("its files changed since it was stored") };
        match check::digests(&self.layer_path(id))? {
            Some(known) if check::read_all(&layer.manifest)? != known => {
                self.reject_layer(id, "its bytes have other digests")?;
                bad("its bytes have other digests, though nobody wrote to them")
            }
            Some(_) => Ok(None),
            None if self.learn_digests(&layer)?.is_none() => {
                self.reject_layer(id, "it changed while it was read")?;
                bad("it changed while it was read")
            }
            None => Ok(None),
        }
    }

    fn verify_document(&self, kind: Doc, name: &str) -> Result<Option<Finding>> {
        let path = self.root().join("documents").join(kind.name()).join(name);
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        if document::parse(&text).is_some() {
            return Ok(None);
        }
        let what = format!("the {} document is corrupted", kind.name());
        self.reject(&path, what.clone())?;
        Ok(Some(finding(EntryKind::Document, name, &what)))
    }

    /// Makes everything that is stored durable, and reads the layers stored more than `age` ago whose digests are not
    /// known yet: work for idle moments, which spares the next boot its doubts.
    pub fn settle(&self, age: Duration) -> Result<()> {
        let began = uptime();
        boot::sync(self.root())?;
        Durable::extend(self.root(), self.session.scratch(), self.boot, began)?;
        *self.durable.lock().expect("no panic while held") = Durable::load(self.root());
        for id in self.layer_ids()? {
            let folder = self.layer_path(&id);
            if check::digests(&folder)?.is_some() {
                continue;
            }
            let settled = |stored: Stored| stored.boot != self.boot || stored.at + age.as_secs() <= began;
            let old = self.load(&id)?.is_some_and(|(_, about)| settled(about.stored));
            if let Some(layer) = if old { self.tree(&id)? } else { None } {
                self.learn_digests(&layer)?;
            }
        }
        Ok(())
    }
}

fn finding(kind: EntryKind, id: &str, what: &str) -> Finding {
    Finding { kind, id: id.to_owned(), what: what.to_owned() }
}
