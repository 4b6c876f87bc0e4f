//! Archives in pax form.

mod header;

use kiln_model::{Entry, Extents, GuestPath, Kind, Tree};

use self::header::{Member, headers};
use crate::view::resolve;
use crate::{Error, body};

/// Length of a block in bytes; headers and content fill whole ones.
const BLOCK: usize = 512;
/// Archives end on a multiple of this many bytes, as tar's own do.
const RECORD: u64 = 20 * BLOCK as u64;

/// Returns the archive of `tree`: names as `./a/b`, numeric owners, in the tree's order, no time but the entries' own.
///
/// Sockets are left out, as other archivers do: the format has none, and who needs one makes it.
pub fn layout(tree: &Tree) -> Result<Extents, Error> {
    let mut archive = Archive { extents: Extents::default(), at: 0 };
    for entry in &tree.entries {
        archive.add(tree, entry)?;
    }
    Ok(archive.finish())
}

/// Returns the archive of plain files under exactly these names, in this order: root's, mode 0644, all of the time `epoch` in
/// seconds since 1970.
pub fn files(members: Vec<(&str, Extents)>, epoch: i64) -> Extents {
    let mut archive = Archive { extents: Extents::default(), at: 0 };
    for (name, content) in members {
        let entry = Entry::inline(GuestPath::root(), 0o644, epoch, Vec::new());
        let member = Member { entry: &entry, name: name.as_bytes(), link: b"", size: content.size, kind: b'0' };
        archive.bytes(headers(&member));
        let size = content.size;
        archive.extents.embed(archive.at, content);
        archive.at += size.next_multiple_of(BLOCK as u64);
    }
    archive.finish()
}

struct Archive {
    extents: Extents,
    at: u64,
}

impl Archive {
    fn add(&mut self, tree: &Tree, entry: &Entry) -> Result<(), Error> {
        let mut name = [b".", entry.path.as_bytes()].concat();
        let mut target = Vec::new();
        let (kind, size, real) = match &entry.kind {
            Kind::File(body) => (b'0', body.size, entry),
            Kind::Hardlink(path) => {
                target = [b".", path.as_bytes()].concat();
                (b'1', 0, resolve(tree, entry)?)
            }
            Kind::Symlink(to) => {
                target = to.clone();
                (b'2', 0, entry)
            }
            Kind::Char { .. } => (b'3', 0, entry),
            Kind::Block { .. } => (b'4', 0, entry),
            Kind::Dir => (b'5', 0, entry),
            Kind::Fifo => (b'6', 0, entry),
            Kind::Socket => return Ok(()),
        };
        if kind == b'5' && !name.ends_with(b"/") {
            name.push(b'/');
        }
        if kind == b'1' && real.kind == Kind::Socket {
            return Ok(());
        }
        self.bytes(headers(&Member { entry: real, name: &name, link: &target, size, kind }));
        if let Kind::File(body) = &entry.kind {
            body::Content::new(body).put(&mut self.extents, self.at, 0, size);
        }
        self.at += size.next_multiple_of(BLOCK as u64);
        Ok(())
    }

    fn bytes(&mut self, bytes: Vec<u8>) {
        let length = bytes.len() as u64;
        self.extents.bytes(self.at, bytes);
        self.at += length;
    }

    /// Two empty blocks end an archive.
    fn finish(mut self) -> Extents {
        self.extents.size = (self.at + 2 * BLOCK as u64).next_multiple_of(RECORD);
        self.extents.seal()
    }
}
