//! The bytes of a file as extents, without reading them.

use std::path::PathBuf;
use std::sync::Arc;

use kiln_model::tree::{Body, Place};
use kiln_model::{Extent, Extents, Source};

/// A file's content, ready to be put into an image in one or more parts.
pub(crate) struct Content<'a> {
    body: &'a Body,
    path: Option<Arc<PathBuf>>,
    token: Option<Arc<str>>,
}

impl<'a> Content<'a> {
    pub fn new(body: &'a Body) -> Self {
        let path = match &body.place {
            Place::Host(path) => Some(Arc::new(path.clone())),
            Place::Inline(_) => None,
        };
        Self { body, path, token: body.token.as_deref().map(Arc::from) }
    }

    /// Puts `len` bytes of the content, from `from` on, at `offset`; what passes its end is zero.
    pub fn put(&self, extents: &mut Extents, offset: u64, from: u64, len: u64) {
        let len = len.min(self.body.size.saturating_sub(from));
        if len == 0 {
            return;
        }
        match (&self.path, &self.body.place) {
            (None, Place::Inline(bytes)) if from == 0 && bytes.len() as u64 == len => {
                extents.bytes(offset, bytes.clone())
            }
            (None, Place::Inline(bytes)) => {
                let cut = |at: u64| (at as usize).min(bytes.len());
                extents.bytes(offset, &bytes[cut(from)..cut(from + len)]);
            }
            (Some(path), _) => {
                let source = Source::File { path: path.clone(), from, token: self.token.clone() };
                extents.list.push(Extent { offset, len, source });
            }
            (None, Place::Host(_)) => unreachable!("a host body has a path"),
        }
    }
}
