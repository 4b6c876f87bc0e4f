//! An artifact as a value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::tree::{Body, Place};
use crate::{Kind, Tree};

/// What ends the name of the document that holds a view, kept beside an artifact or in its place; compressed as zstd.
pub const ENDING: &str = ".contents.json.zst";

/// The form of such a document.
const EDITION: u32 = 1;

/// What an artifact holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// `raw`, `qcow2`, `tar`, `squashfs`, `erofs`, `dir`, `report`.
    pub format: String,
    /// Empty unless the artifact is a disk.
    pub partitions: Vec<PartitionView>,
    /// Every file with the digest of its content; the partitions of a disk are joined where they are mounted.
    pub tree: Tree,
    /// Package (with `:arch` where it is not the tree's own) → version.
    pub packages: BTreeMap<String, String>,
    /// systemd unit → what the tree's administrator links say of it.
    pub units: BTreeMap<String, UnitState>,
}

/// One partition of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionView {
    /// From one, in table order.
    pub number: u32,
    /// The table's name for it; empty in an MBR table.
    pub name: String,
    /// Bytes from the start of the disk.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// GPT type, or the one-byte type of MBR (`0x0c`).
    pub r#type: String,
    /// The partition's own UUID; in an MBR table disk id and number (`1234abcd-01`).
    pub id: String,
    /// `ext4`, `btrfs`, `vfat`, `squashfs`, `erofs`, or empty when not known.
    pub filesystem: String,
    pub label: String,
    /// The filesystem's UUID, for FAT `ABCD-1234`.
    pub uuid: String,
}

/// What the links below `/etc/systemd/system` say of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitState {
    Enabled,
    Masked,
}

/// A view as a document.
#[derive(Serialize, Deserialize)]
struct Contents {
    /// [`EDITION`]; tells such a document from others.
    contents: u32,
    view: View,
}

/// Why a document of contents is not read.
#[derive(Debug, thiserror::Error)]
pub enum BadContents {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("it is of the edition {0}, and this kiln knows {EDITION}")]
    Edition(u32),
    #[error("it has {0} than any image")]
    TooMuch(&'static str),
}

/// Most partitions of a document.
const PARTITIONS: usize = 1024;
/// Most bytes of content of all files together.
const CONTENT: u64 = 1 << 60;
/// Most names.
const NAMES: usize = 2_000_000;
/// Most bytes of the paths of all directories, counted for each that is below them.
const PATHS: u64 = 1 << 29;
/// Most bytes of attributes and of targets of links, counted for each name that shows them.
const SHOWN: u64 = 1 << 28;

impl View {
    /// Returns the view as JSON: what is said of files, and none of their bytes.
    pub fn to_json(mut self) -> Vec<u8> {
        for entry in &mut self.tree.entries {
            if let Kind::File(Body { token, place, .. }) = &mut entry.kind {
                (*token, *place) = (None, Place::Host("".into()));
            }
        }
        serde_json::to_vec(&Contents { contents: EDITION, view: self }).expect("views serialise")
    }

    /// Reads back what [`to_json`](Self::to_json) gave; none: it is another document. The JSON may be anybody's; what to compare would take
    /// no end of memory is refused.
    pub fn from_json(json: &[u8]) -> Result<Option<Self>, BadContents> {
        #[derive(Deserialize)]
        struct Head {
            contents: Option<u32>,
        }
        match serde_json::from_slice::<Head>(json)?.contents {
            None => return Ok(None),
            Some(EDITION) => {}
            Some(other) => return Err(BadContents::Edition(other)),
        }
        let mut view = serde_json::from_slice::<Contents>(json)?.view;
        view.tree.sort();
        view.tree.entries.dedup_by(|b, a| a.path == b.path);
        view.bounded()?;
        Ok(Some(view))
    }

    fn bounded(&self) -> Result<(), BadContents> {
        let (mut content, mut paths, mut shown) = (0_u64, 0_u64, 0_u64);
        let mut before = None;
        for entry in &self.tree.entries {
            let folder = entry.path.parent();
            if folder != before {
                let path = folder.as_ref().map_or(&b""[..], |folder| folder.as_bytes());
                let depth = path.iter().filter(|&&byte| byte == b'/').count();
                paths = paths.saturating_add(depth as u64 * path.len() as u64);
                before = folder;
            }
            // A hard link shows what its file shows.
            let real = match &entry.kind {
                Kind::Hardlink(target) => self.tree.get(target).unwrap_or(entry),
                _ => entry,
            };
            let attributes = real.xattrs.iter().map(|(name, value)| name.len() + value.len());
            shown = shown.saturating_add(attributes.sum::<usize>() as u64);
            match &real.kind {
                Kind::File(body) => content = content.saturating_add(body.size),
                Kind::Symlink(target) => shown = shown.saturating_add(target.len() as u64),
                _ => {}
            }
        }
        let bounds = [
            (self.tree.entries.len() > NAMES, "more names"),
            (self.partitions.len() > PARTITIONS, "more partitions"),
            (content > CONTENT, "more content"),
            (paths > PATHS, "more and deeper directories"),
            (shown > SHOWN, "more attributes and links"),
        ];
        bounds.into_iter().find(|(beyond, _)| *beyond).map_or(Ok(()), |(_, what)| Err(BadContents::TooMuch(what)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, GuestPath};

    fn view() -> View {
        let path = |bytes: &[u8]| GuestPath::new(bytes).unwrap();
        let mut device = Entry::dir(path(b"/dev/null"), 0o666, 0);
        device.kind = Kind::Char { major: 1, minor: 3 };
        device.xattrs.insert("security.x".into(), vec![0, 255]);
        let mut link = Entry::dir(path(b"/z"), 0o644, 7);
        link.kind = Kind::Hardlink(path(br"/a\x2db"));
        let mut entries = vec![
            Entry::dir(GuestPath::root(), 0o755, 0),
            Entry::inline(path(br"/a\x2db"), 0o644, 7, *b"text"),
            Entry::inline(path(b"/caf\xe9"), 0o600, 7, *b""),
            device,
            link,
        ];
        entries.sort_by(|a, b| crate::tree::by_parts(&a.path, &b.path));
        let partition = PartitionView { number: 1, size: 512, ..PartitionView::default() };
        View { format: "raw".into(), partitions: vec![partition], tree: Tree { entries }, ..View::default() }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let back = View::from_json(&view().to_json()).unwrap().unwrap();
        assert!(crate::diff::diff(&view(), &back).is_empty());
        assert_eq!(back.clone().to_json(), view().to_json());
        assert_eq!(back.tree.content_size(), 4);
    }

    #[test]
    fn other_documents_are_told_apart_and_no_end_is_refused() {
        assert!(View::from_json(b"{\"edition\": 1}").unwrap().is_none());
        assert!(matches!(View::from_json(b"{\"contents\": 2}"), Err(BadContents::Edition(2))));
        assert!(matches!(View::from_json(b"{\"contents\": 1}"), Err(BadContents::Json(_))));
        let refused = |change: fn(&mut View)| {
            let mut view = view();
            change(&mut view);
            View::from_json(&view.to_json()).unwrap_err().to_string()
        };
        let many = |view: &mut View| view.partitions = vec![PartitionView::default(); PARTITIONS + 1];
        assert_eq!(refused(many), "it has more partitions than any image");
        let large = |view: &mut View| {
            for entry in &mut view.tree.entries {
                if let Kind::File(body) = &mut entry.kind {
                    body.size = u64::MAX;
                }
            }
        };
        assert_eq!(refused(large), "it has more content than any image");
        let deep = |view: &mut View| {
            let names = (0..100).map(|at| GuestPath::new(format!("/{at}{}", "/a".repeat(2000))).unwrap());
            view.tree.entries = names.map(|path| Entry::dir(path, 0o755, 0)).collect();
        };
        assert_eq!(refused(deep), "it has more and deeper directories than any image");
        let linked = |view: &mut View| {
            let mut first = Entry::inline("/0".parse().unwrap(), 0o644, 0, *b"");
            first.xattrs.insert("user.much".into(), vec![0; 1 << 20]);
            let links = (1..300).map(|at| {
                let mut link = Entry::dir(GuestPath::new(format!("/{at}")).unwrap(), 0o644, 0);
                link.kind = Kind::Hardlink(first.path.clone());
                link
            });
            view.tree.entries = links.collect();
            view.tree.entries.push(first);
        };
        assert_eq!(refused(linked), "it has more attributes and links than any image");
    }
}
