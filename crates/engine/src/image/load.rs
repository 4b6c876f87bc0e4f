//! Bytes of windows from where they lie.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_model::{Extent, Extents, Source};
use rustix::fs::{Mode, OFlags};

use super::window::Window;

/// The file that was read last: long files reach over many windows.
#[derive(Default)]
pub(super) struct Files {
    last: Option<(Arc<PathBuf>, File)>,
}

impl Files {
    fn get(&mut self, path: &Arc<PathBuf>) -> io::Result<&File> {
        if self.last.as_ref().is_none_or(|(known, _)| known != path) {
            self.last = Some((path.clone(), open(path)?));
        }
        Ok(&self.last.as_ref().expect("just opened").1)
    }
}

/// Opens a file of a tree; a link in its place is none of ours.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| read_error(path, error.into()))?;
    Ok(file.into())
}

/// Fills `buffer` with the bytes of `window`.
pub(super) fn load(extents: &Extents, window: &Window, buffer: &mut Vec<u8>, files: &mut Files) -> io::Result<()> {
    buffer.clear();
    for extent in &extents.list[window.extents.clone()] {
        let from = extent.offset.max(window.offset);
        let to = (extent.offset + extent.len).min(window.end());
        buffer.resize((from - window.offset) as usize, 0);
        append(extent, from - extent.offset, (to - from) as usize, buffer, files)?;
    }
    buffer.resize(window.len as usize, 0);
    Ok(())
}

fn append(extent: &Extent, skip: u64, len: usize, buffer: &mut Vec<u8>, files: &mut Files) -> io::Result<()> {
    match &extent.source {
        Source::Bytes(bytes) => buffer.extend_from_slice(&bytes[skip as usize..skip as usize + len]),
        Source::File { path, from, .. } => {
            let start = buffer.len();
            buffer.resize(start + len, 0);
            let read = files.get(path)?.read_exact_at(&mut buffer[start..], from + skip);
            read.map_err(|error| read_error(path, error))?;
        }
    }
    Ok(())
}

fn read_error(path: &Path, error: io::Error) -> io::Error {
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it is shorter than it was".to_owned(),
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("read `{}`: {why}", path.display()))
}
