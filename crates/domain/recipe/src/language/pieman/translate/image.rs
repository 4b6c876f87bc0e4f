//! `[disk]` and `[[output]]`: the size of the root, the artifact's name, kind and compression.

use kiln_model::action::{FilesystemKind, Size, TableKind};

use super::{Made, Place, Work};
use crate::catalogue::layout;
use crate::language::pieman::tree::Tree;
use crate::node::Span;
use crate::spec::PartitionSpec;

/// The switches of compressors, what recipes call them, and their endings.
static COMPRESSORS: &[(&str, &str)] =
    &[("COMPRESS_WITH_BZIP2", "bz2"), ("COMPRESS_WITH_GZIP", "gz"), ("COMPRESS_WITH_XZ", "xz")];

impl Work<'_> {
    pub(super) fn image(&mut self) {
        let mut output = Tree::default();
        let span = self.parameters.span("PROJECT_NAME");
        if self.parameters.is_on("CREATE_ONLY_CHROOT") {
            output.set("format", "dir", self.parameters.span("CREATE_ONLY_CHROOT"));
            output.set("name", "chroot", span);
        } else {
            self.sizes();
            let artifact = self.parameters.is_on("CREATE_ONLY_MENDER_ARTIFACT");
            output.set("format", if artifact { "mender" } else { "raw" }, span);
            if !artifact {
                output.set("ending", "img", span);
            }
            if let Some((switch, word)) = self.compressor() {
                output.set("compression", word, self.parameters.span(switch));
            }
        }
        self.tree.add("output", output, span);
    }

    fn compressor(&self) -> Option<(&'static str, &'static str)> {
        COMPRESSORS.iter().copied().find(|(switch, _)| self.parameters.is_on(switch))
    }

    /// A root or data of a fixed size take a division of their own: the board's, with that size in it.
    fn sizes(&mut self) {
        let Some(board) = self.target.board else { return };
        let updated = self.mendered().is_some();
        let Some(layout) = layout::find(board.layout_in(self.target.release, updated)) else { return };
        let parameters = self.parameters;
        let root = parameters.text("IMAGE_ROOTFS_SIZE").trim_start_matches('0');
        let data = parameters.text("MENDER_DATA_SIZE");
        let usual = !updated || !parameters.is_given("MENDER_DATA_SIZE");
        if root.is_empty() && usual {
            return;
        }
        let fixed = |part: &PartitionSpec| match part.role.as_str() {
            "root" if !root.is_empty() => Some(("IMAGE_ROOTFS_SIZE", root)),
            "data" if !usual => Some(("MENDER_DATA_SIZE", data)),
            _ => None,
        };
        let span = parameters.span(if root.is_empty() { "MENDER_DATA_SIZE" } else { "IMAGE_ROOTFS_SIZE" });
        let table = if layout.table == TableKind::Mbr { "mbr" } else { "gpt" };
        self.tree.set("disk.table", table, span);
        for part in layout.partitions.iter().map(|part| part.spec()) {
            let (size, span) = match fixed(&part) {
                Some((name, size)) => (format!("{size}MiB").into(), parameters.span(name)),
                None => (written(part.size, span), span),
            };
            self.tree.add("disk.partition", partition(&part, size, span), span);
        }
    }

    /// Returns where Pieman puts the result.
    pub(super) fn place(&self) -> Place {
        let (folder, name) = (self.parameters.text("BUILD_DIR"), self.parameters.text("PROJECT_NAME"));
        if self.parameters.is_on("CREATE_ONLY_CHROOT") {
            let folder = format!("{folder}/{name}");
            return Place { result: format!("{folder}/chroot"), folder, made: Made::Chroot };
        }
        let artifact = self.parameters.is_on("CREATE_ONLY_MENDER_ARTIFACT");
        let (ending, made) = if artifact { ("mender", Made::Artifact) } else { ("img", Made::Image) };
        let packed = self.compressor().map(|(_, word)| format!(".{word}")).unwrap_or_default();
        Place { result: format!("{folder}/{name}.{ending}{packed}"), folder: folder.to_owned(), made }
    }
}

fn partition(part: &PartitionSpec, size: crate::node::Value, span: Span) -> Tree {
    let mut tree = Tree::default();
    tree.set("name", part.name.as_str(), span);
    if let Some(slot) = &part.slot {
        // All else is the first one's.
        tree.set("slot-of", slot.of.as_str(), span);
        tree.set("filled", slot.filled, span);
        tree.set("label", part.label.as_str(), span);
        return tree;
    }
    tree.set("role", part.role.as_str(), span);
    if let Some(mount) = &part.mount {
        tree.set("mount", mount.to_string(), span);
    }
    tree.set("filesystem", filesystem(part.filesystem), span);
    tree.set("label", part.label.as_str(), span);
    tree.set("size", size, span);
    if !part.mount_options.is_empty() {
        tree.set("mount-options", part.mount_options.as_str(), span);
    }
    if part.grow {
        tree.set("grow", true, span);
    }
    tree
}

fn filesystem(kind: FilesystemKind) -> &'static str {
    match kind {
        FilesystemKind::Ext4 => "ext4",
        FilesystemKind::Btrfs => "btrfs",
        FilesystemKind::Fat => "fat",
        FilesystemKind::Erofs => "erofs",
        FilesystemKind::Squashfs => "squashfs",
        FilesystemKind::Swap | FilesystemKind::Blank => "swap",
    }
}

/// Returns a size as recipes write it.
fn written(size: Size, span: Span) -> crate::node::Value {
    match size {
        Size::Auto => "auto".into(),
        Size::Fixed(bytes) => format!("{bytes}B").into(),
        Size::Roomy { minimum, free } => {
            let mut tree = Tree::default();
            tree.set("minimum", format!("{}MiB", minimum >> 20), span);
            tree.set("free", format!("{}MiB", free >> 20), span);
            crate::node::Value::Table(tree.0)
        }
    }
}
