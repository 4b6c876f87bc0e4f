//! What will become an inode: an item of the tree with the blocks it wants.

use kiln_model::Kind;
use kiln_model::tree::Body;

use super::checksum::Sums;
use super::dir::Packed;
use super::geometry::BLOCK;
use super::inode::device;
use super::xattr::Attributes;
use crate::Error;
use crate::view::{Item, View};

/// Most names of one file, and most directories in one without the count given up.
pub(super) const MOST_LINKS: u32 = 65_000;
/// Longest link target that fits into the inode.
const SHORT: usize = 59;

/// An item with its content sorted out.
pub(super) struct Thing<'v> {
    pub item: &'v Item<'v>,
    pub content: Content<'v>,
    pub attributes: Attributes,
    /// Blocks of content.
    pub blocks: u64,
}

pub(super) enum Content<'v> {
    Dir(Packed<'v>),
    File(&'v Body),
    /// A link's target, too long for the inode.
    Link(&'v [u8]),
    /// What stands in the inode itself: a short link or a device.
    Short([u8; 60], usize),
    Nothing,
}

impl<'v> Thing<'v> {
    pub fn new(item: &'v Item<'v>, seed: Option<&[u8; 16]>, sums: Sums, spare: u64) -> Result<Self, Error> {
        let unfit = |why: String| Error::unfit(item.path(), "ext4", why);
        let content = Content::of(item, seed, sums, spare);
        let blocks = content.blocks();
        if blocks > u64::from(u32::MAX) {
            return Err(unfit("a file is shorter than 16 TiB".to_owned()));
        }
        if item.names > MOST_LINKS {
            return Err(unfit(format!("it has more than {MOST_LINKS} names")));
        }
        match &content {
            Content::Dir(packed) if packed.too_large() => {
                return Err(unfit("the directory has too many names".to_owned()));
            }
            Content::Link(target) if target.len() as u64 >= BLOCK => {
                return Err(unfit("the link's target is too long".to_owned()));
            }
            _ => {}
        }
        let attributes = Attributes::new(&item.entry.xattrs).map_err(unfit)?;
        Ok(Self { item, content, attributes, blocks })
    }

    /// Returns type and permissions.
    pub fn mode(&self) -> u32 {
        self.kind().0 << 12 | self.item.entry.mode & 0o7777
    }

    /// Returns the kind as directories name it.
    pub fn kind_in_directory(&self) -> u8 {
        self.kind().1
    }

    fn kind(&self) -> (u32, u8) {
        match &self.item.entry.kind {
            Kind::File(_) | Kind::Hardlink(_) => (0o10, 1),
            Kind::Dir => (0o4, super::dir::DIRECTORY),
            Kind::Char { .. } => (0o2, 3),
            Kind::Block { .. } => (0o6, 4),
            Kind::Fifo => (0o1, 5),
            Kind::Socket => (0o14, 6),
            Kind::Symlink(_) => (0o12, 7),
        }
    }

    pub fn size(&self) -> u64 {
        match &self.content {
            Content::Dir(_) => self.blocks * BLOCK,
            Content::File(body) => body.size,
            Content::Link(target) => target.len() as u64,
            Content::Short(_, len) => *len as u64,
            Content::Nothing => 0,
        }
    }

    /// Returns how many names lead here; for a directory, 1 where there are too many to count.
    pub fn links(&self, view: &View<'_>) -> u32 {
        if !self.item.is_dir() {
            return self.item.names;
        }
        let links = 2 + view.subdirs(self.item);
        if links > MOST_LINKS { 1 } else { links }
    }
}

impl<'v> Content<'v> {
    fn of(item: &'v Item<'v>, seed: Option<&[u8; 16]>, sums: Sums, spare: u64) -> Self {
        match &item.entry.kind {
            Kind::Dir => Self::Dir(Packed::new(&item.children, seed, sums, spare)),
            Kind::File(body) => Self::File(body),
            Kind::Symlink(target) if target.len() > SHORT => Self::Link(target),
            Kind::Symlink(target) => {
                let mut block = [0; 60];
                block[..target.len()].copy_from_slice(target);
                Self::Short(block, target.len())
            }
            Kind::Char { major, minor } | Kind::Block { major, minor } => Self::Short(device(*major, *minor), 0),
            Kind::Fifo | Kind::Socket | Kind::Hardlink(_) => Self::Nothing,
        }
    }

    fn blocks(&self) -> u64 {
        match self {
            Self::Dir(packed) => packed.blocks(),
            Self::File(body) => body.size.div_ceil(BLOCK),
            Self::Link(_) => 1,
            Self::Short(..) | Self::Nothing => 0,
        }
    }
}
