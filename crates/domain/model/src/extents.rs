//! A disk image, filesystem or archive as a value: which bytes stand where.
//!
//! Writers of formats decide the layout and return [`Extents`]; the engine writes them, in parallel, sparse, into a
//! raw file, a qcow2 or a stream, and rewrites only what differs from an image it wrote before.

use std::path::PathBuf;
use std::sync::Arc;

/// One run of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it starts, in bytes.
    pub offset: u64,
    /// How long it is, in bytes; never zero.
    pub len: u64,
    pub source: Source,
}

/// Where a run's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `len` bytes kept in memory.
    Bytes(Arc<[u8]>),
    /// `len` bytes of a file on the host, from `from` on.
    File {
        path: Arc<PathBuf>,
        from: u64,
        /// [`crate::tree::Body::token`] of the file: equal tokens and ranges mean equal bytes.
        token: Option<Arc<str>>,
    },
}

/// An image of `size` bytes; what no extent covers is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    /// The image's length in bytes.
    pub size: u64,
    /// In order of offset, without overlap.
    pub list: Vec<Extent>,
}

impl Extents {
    /// Appends bytes at `offset`; empty ones are left out.
    pub fn bytes(&mut self, offset: u64, bytes: impl Into<Arc<[u8]>>) {
        let bytes = bytes.into();
        if !bytes.is_empty() {
            self.list.push(Extent { offset, len: bytes.len() as u64, source: Source::Bytes(bytes) });
        }
    }

    /// Puts `inner` into this image, `offset` bytes from its start.
    pub fn embed(&mut self, offset: u64, inner: Self) {
        self.list.extend(inner.list.into_iter().map(|extent| Extent { offset: extent.offset + offset, ..extent }));
    }

    /// Sorts by offset, as the type promises; panics where two extents overlap, which is a layout's mistake.
    pub fn seal(mut self) -> Self {
        self.list.sort_by_key(|extent| extent.offset);
        for pair in self.list.windows(2) {
            assert!(pair[0].offset + pair[0].len <= pair[1].offset, "extents overlap at {}", pair[1].offset);
        }
        if let Some(last) = self.list.last() {
            assert!(last.offset + last.len <= self.size, "extents pass the end at {}", self.size);
        }
        self
    }
}
