//! `[disk]`: the partition table and what is in it.

use kiln_model::GuestPath;
use kiln_model::action::{ALIGN, Blob, FilesystemKind, Size, TableKind};

use super::base::Ground;
use super::{division, size};
use crate::catalogue::{Layout, layout};
use crate::desk::{Desk, Note};
use crate::forms::{GUEST_PATH, LABEL, LINE, MOUNT_POINT, NAME, SIZE, SIZE_OR_AUTO};
use crate::needs::Needs;
use crate::node::Span;
use crate::shape::{Form, Shape, Table, Wrong, did_you_mean, key};
use crate::spec::{BoardSpec, Disk, Family, Loader, PartitionSpec};
use crate::view::{Said, View};

pub static KEYS: Table = Table {
    name: "[disk]",
    doc: "The disk of `raw` and `qcow2` outputs.",
    keys: &[
        key("layout", Shape::Text(&LAYOUT), "A division from the catalogue.").default("the board's").example("\"efi\""),
        key("table", Shape::Word(TABLES), "The kind of partition table.").default("the layout's: \"gpt\""),
        key(
            "size",
            Shape::Either(&[Shape::Text(&SIZE_OR_AUTO), Shape::Table(&size::KEYS)]),
            "The whole disk: what the content needs, so much, or a minimum with room in the root.",
        )
        .default("\"auto\"")
        .example("{ minimum = \"2GiB\", free = \"500MiB\" }"),
        key("filesystem", Shape::Word(ROOTS), "The root's filesystem.").default("the layout's: \"ext4\""),
        key("label", Shape::Text(&LABEL), "The root filesystem's label.").default("the layout's: \"root\""),
        key("esp-size", Shape::Text(&SIZE), "The size of the EFI system partition.")
            .default("room for three kernels, 256MiB at least")
            .example("\"512MiB\""),
        key("partition", Shape::Tables(&PARTITION), ""),
        key("blob", Shape::Tables(&BLOB), ""),
    ],
    more: None,
};

static BLOB: Table = Table {
    name: "[[disk.blob]]",
    doc: "A file of the image that also lies at a fixed byte of the disk, between the table and the first partition: what a board's \
          ROM starts.",
    keys: &[
        key(
            "path",
            Shape::Text(&GUEST_PATH),
            "Where it is in the image. One at the same byte as the board's takes its place.",
        )
        .here()
        .example("\"/usr/lib/u-boot/spl.bin\""),
        key("offset", Shape::Integer { from: 512, to: ALIGN as i64 - 1 }, "Its first byte on the disk.")
            .here()
            .example("8192"),
    ],
    more: None,
};

static PARTITION: Table = Table {
    name: "[[disk.partition]]",
    doc: "A partition of a division of your own, in the order on the disk; they take the layout's place.",
    keys: &[
        key("name", Shape::Text(&NAME), "Its name in the table.").here().example("\"root\""),
        key("role", Shape::Word(ROLES), "What it is for; decides its type.").default("as its mount point says"),
        key("mount", Shape::Text(&MOUNT_POINT), "Where it is mounted; it holds what the image has there.")
            .default("nowhere, which only swap and slots can be")
            .example("\"/\""),
        key("filesystem", Shape::Word(FILESYSTEMS), "Its filesystem.")
            .default("\"ext4\"; \"fat\" for an esp and a firmware; that of the partition that it is a slot of"),
        key("label", Shape::Text(&LABEL), "The filesystem's label.").default("its name"),
        key("size", Shape::Either(&[Shape::Text(&SIZE_OR_AUTO), Shape::Table(&size::KEYS)]), "Its size.")
            .default("\"auto\""),
        key("mount-options", Shape::Text(&LINE), "Its options in fstab(5).").default("those that suit it"),
        key("grow", Shape::Bool, "Whether it takes what the others leave of the disk.").default("the root does"),
        key(
            "subvolumes",
            Shape::Tables(&division::SUBVOLUME),
            "The subvolumes at the top level of a btrfs, each mounted where it says.",
        )
        .default("none: the top level holds everything")
        .example("[{ name = \"@\", mount = \"/\" }, { name = \"@home\", mount = \"/home\" }]"),
        key(
            "slot-of",
            Shape::Text(&NAME),
            "The partition that this one is a second slot of: as large, and of its kind.",
        )
        .example("\"root-a\""),
        key(
            "filled",
            Shape::Bool,
            "Whether a slot holds what the first one does, with its own entry in the boot menu.",
        )
        .default("true"),
    ],
    more: None,
};

static TABLES: &[(&str, &str)] = &[
    ("gpt", "the GUID partition table"),
    ("mbr", "the old table, four partitions at most"),
    ("hybrid", "a GPT whose MBR shows its FAT partitions too, three at most: for firmware that reads no GPT"),
];

static ROOTS: &[(&str, &str)] = &[
    ("ext4", "writable; grows"),
    ("btrfs", "writable; grows; has subvolumes and snapshots"),
    ("erofs", "read-only, compressed; what the running system writes is kept in memory"),
    ("squashfs", "read-only, compressed; what the running system writes is kept in memory"),
];

static FILESYSTEMS: &[(&str, &str)] = &[
    ("ext4", "writable; grows"),
    ("btrfs", "writable; grows; has subvolumes and snapshots"),
    ("fat", "what firmware reads"),
    ("erofs", "read-only"),
    ("squashfs", "read-only"),
    ("swap", "what memory is swapped to"),
];

static ROLES: &[(&str, &str)] = &[
    ("esp", "what a UEFI firmware starts from"),
    ("firmware", "what a Raspberry Pi's firmware starts from"),
    ("root", "the root"),
    ("boot", "kernels"),
    ("home", "people's files"),
    ("srv", "what is served to others"),
    ("var", "what programs keep"),
    ("swap", "what memory is swapped to"),
    ("data", "anything else"),
];

static LAYOUT: Form = Form {
    what: "a layout",
    pattern: None,
    check: |text| {
        if layout::find(text).is_some() {
            return Ok(());
        }
        let names: Vec<&str> = layout::all().iter().map(|layout| layout.name.as_str()).collect();
        let wrong = Wrong::new(format!("kiln knows no layout `{text}`")).code("unknown-word");
        Err(wrong.maybe_hint(did_you_mean(text, names)))
    },
    hint: None,
};

/// Returns the disk when an output is one; otherwise tells that `[disk]` has no effect.
pub fn read(
    root: View<'_>,
    wanted: bool,
    ground: &Ground,
    board: Option<&BoardSpec>,
    needs: &Needs,
    desk: &Desk<'_>,
) -> Option<Disk> {
    let view = root.section("disk");
    if !wanted {
        if let Some(span) = root.key_span("disk") {
            let note = Note::warning(span, "without-effect", "`[disk]` without an output that is one");
            desk.say(note.hint("outputs that are disks: `raw` and `qcow2`"));
        }
        return None;
    }
    let layout = the_layout(root, view, ground)?;
    let table = table(view).unwrap_or(layout.table);
    let own = view.tables("partition");
    let mut partitions = if own.is_empty() {
        layout.partitions.iter().map(|partition| partition.spec()).collect()
    } else {
        own_partitions(view, &own, desk)
    };
    let size = size::read(view, "size", desk).unwrap_or(Size::Auto);
    adjust(view, size, &mut partitions, desk);
    let blobs = blobs(view);
    division::check(view, &partitions, table, (board, &blobs), desk);
    division::sizes(view, &partitions, desk);
    if ground.release.family == Family::Apk {
        of_alpine(view, &partitions, board, ground, desk);
    }
    features(&mut partitions, ground);
    division::needs(view, &partitions, ground, needs);
    if let Some(fat) = partitions.iter().find(|partition| partition.filesystem == FilesystemKind::Fat) {
        let span = view.key_span("partition").unwrap_or(ground.span);
        needs.feature("fat-check", format!("partition `{}`", fat.name), span);
    }
    let name = if own.is_empty() { layout.name.clone() } else { "own".into() };
    Some(Disk { layout: name, table, size, partitions, blobs })
}

fn blobs(view: View<'_>) -> Vec<Blob> {
    let one = |view: View<'_>| {
        let path = GuestPath::new(view.text("path")?.value).ok()?;
        Some(Blob { path, offset: view.integer("offset")?.value.try_into().ok()? })
    };
    view.tables("blob").into_iter().filter_map(one).collect()
}

fn the_layout(root: View<'_>, view: View<'_>, ground: &Ground) -> Option<&'static Layout> {
    let said = view.text("layout").map(|said| said.value);
    let of_board = || Some(ground.board?.value.layout_in(ground.release, root.has("mender")));
    layout::find(said.or_else(of_board).unwrap_or("efi"))
}

fn table(view: View<'_>) -> Option<TableKind> {
    match view.text("table")?.value {
        "mbr" => Some(TableKind::Mbr),
        "hybrid" => Some(TableKind::Hybrid),
        _ => Some(TableKind::Gpt),
    }
}

fn kind(word: &str) -> FilesystemKind {
    match word {
        "btrfs" => FilesystemKind::Btrfs,
        "swap" => FilesystemKind::Swap,
        "fat" => FilesystemKind::Fat,
        "erofs" => FilesystemKind::Erofs,
        "squashfs" => FilesystemKind::Squashfs,
        _ => FilesystemKind::Ext4,
    }
}

fn own_partitions(view: View<'_>, own: &[View<'_>], desk: &Desk<'_>) -> Vec<PartitionSpec> {
    if let (Some(layout), Some(first)) = (view.key_span("layout"), own.first()) {
        let note = Note::error(layout, "contradiction", "`layout` and partitions of your own cannot both be");
        desk.say(note.also(first.span, "a partition of your own"));
    }
    let mut found: Vec<PartitionSpec> = Vec::new();
    for partition in own {
        let (Some(name), mount) = (partition.text("name"), partition.text("mount")) else { continue };
        let path = mount.and_then(|mount| GuestPath::new(mount.value).ok());
        let same_mount = path.is_some() && found.iter().any(|other| other.mount == path);
        for (same, said, what) in [
            (found.iter().any(|other| other.name == name.value), Some(name), "name"),
            (same_mount, mount, "mount point"),
        ] {
            if let Some(said) = said.filter(|_| same) {
                let message = format!("there are two partitions with the {what} `{}`", said.value);
                desk.say(Note::error(said.span, "duplicate", message));
            }
        }
        let spec = own_partition(*partition, name, path, &found, desk);
        found.push(spec);
    }
    found
}

fn own_partition(
    view: View<'_>,
    name: Said<&str>,
    mount: Option<GuestPath>,
    before: &[PartitionSpec],
    desk: &Desk<'_>,
) -> PartitionSpec {
    let slot = division::slot(view, before, desk);
    let first = slot.as_ref().and_then(|slot| before.iter().find(|other| other.name == slot.of));
    let said = view.text("filesystem").map(|said| kind(said.value));
    let swap = said == Some(FilesystemKind::Swap);
    let usual = || first.map_or_else(|| role_of(mount.as_ref(), swap).to_owned(), |first| first.role.clone());
    let role = view.string("role").unwrap_or_else(usual);
    let usual = match role.as_str() {
        "esp" | "firmware" => FilesystemKind::Fat,
        "swap" => FilesystemKind::Swap,
        _ => first.map_or(FilesystemKind::Ext4, |first| first.filesystem),
    };
    let filesystem = said.unwrap_or(usual);
    let options = match (filesystem, mount == Some(GuestPath::root()) || first.is_some_and(PartitionSpec::is_root)) {
        (FilesystemKind::Fat, _) => "umask=0077",
        (FilesystemKind::Ext4, true) => "errors=remount-ro",
        (FilesystemKind::Erofs | FilesystemKind::Squashfs, _) => "ro",
        _ => "",
    };
    let size = size::read(view, "size", desk).or(first.map(|first| first.size));
    PartitionSpec {
        name: name.value.to_owned(),
        role,
        mount,
        filesystem,
        label: view.string("label").unwrap_or_else(|| name.value.chars().take(16).collect()),
        size: size.unwrap_or(Size::Auto),
        features: Vec::new(),
        mount_options: view.string("mount-options").unwrap_or_else(|| options.into()),
        subvolumes: division::subvolumes(view),
        grow: view.bool("grow").unwrap_or(false),
        slot,
    }
}

fn role_of(mount: Option<&GuestPath>, swap: bool) -> &'static str {
    match mount.map(GuestPath::as_bytes) {
        None if swap => "swap",
        Some(b"/") => "root",
        Some(b"/efi" | b"/boot/efi") => "esp",
        Some(b"/boot/firmware") => "firmware",
        Some(b"/boot") => "boot",
        Some(b"/home") => "home",
        Some(b"/srv") => "srv",
        Some(b"/var") => "var",
        _ => "data",
    }
}

/// Applies what `[disk]` says about root and ESP. On a disk of a given size one partition takes what the others leave:
/// the root, unless the layout names another.
fn adjust(view: View<'_>, size: Size, partitions: &mut [PartitionSpec], desk: &Desk<'_>) {
    let own = view.has("partition");
    if let Some(esp_size) = size::read(view, "esp-size", desk) {
        match partitions.iter_mut().find(|partition| partition.role == "esp") {
            Some(esp) => esp.size = esp_size,
            None => no_such(view.key_span("esp-size"), "an EFI system partition", desk),
        }
    }
    let taker = partitions.iter().position(|partition| partition.grow);
    let taker = taker.or_else(|| partitions.iter().position(PartitionSpec::is_root));
    if let Some(taker) = taker.filter(|_| !own && size != Size::Auto) {
        let sized = if let Size::Roomy { free, .. } = size { Size::Roomy { minimum: 0, free } } else { Size::Auto };
        partitions[taker].size = sized;
    }
    let Some(root) = partitions.iter_mut().find(|partition| partition.is_root()) else { return };
    root.label = view.string("label").unwrap_or_else(|| root.label.clone());
    if let Some(said) = view.text("filesystem") {
        let before = std::mem::replace(&mut root.filesystem, kind(said.value));
        if root.filesystem.is_read_only() {
            root.mount_options = "ro".into();
            root.size = Size::Auto;
        } else if root.filesystem != before {
            root.mount_options = if root.filesystem == FilesystemKind::Ext4 { "errors=remount-ro" } else { "" }.into();
        }
        if root.filesystem != FilesystemKind::Btrfs {
            root.subvolumes.clear();
        }
        let (name, kind, options) = (root.name.clone(), root.filesystem, root.mount_options.clone());
        for slot in partitions.iter_mut().filter(|partition| partition.is_slot_of(&name)) {
            (slot.filesystem, slot.mount_options) = (kind, options.clone());
        }
    }
}

fn no_such(span: Option<Span>, what: &str, desk: &Desk<'_>) {
    if let Some(span) = span {
        desk.say(Note::error(span, "contradiction", format!("the disk has no {}", what.trim_start_matches("an "))));
    }
}

/// Says what Alpine's kernels and initrd cannot do.
fn of_alpine(
    view: View<'_>,
    partitions: &[PartitionSpec],
    board: Option<&BoardSpec>,
    ground: &Ground,
    desk: &Desk<'_>,
) {
    let Some(board) = board.filter(|board| board.loader != Loader::None) else { return };
    let span = |key: &str| view.key_span(key).or_else(|| view.key_span("layout")).unwrap_or(ground.span);
    let say = |span, message: String, hint: String| desk.say(Note::error(span, "contradiction", message).hint(hint));
    let reads = |part: &&PartitionSpec| matches!(part.role.as_str(), "esp" | "firmware");
    if !partitions.iter().filter(reads).any(|part| part.mount.as_ref().is_some_and(|at| at.as_bytes() == b"/boot")) {
        let layout = ground.board.map_or("efi-boot", |board| board.value.layout_in(ground.release, false));
        let message =
            format!("Alpine's kernels lie in `/boot`, and what starts `{}` reads another partition", board.name);
        say(span("partition"), message, format!("mount that one at \"/boot\", as layout = \"{layout}\" does"));
    }
    if let Some(root) = partitions.iter().find(|part| part.is_root() && part.filesystem.is_read_only()) {
        let message = format!("Alpine's initrd mounts no `{}` that nothing is written to", root.name);
        say(span("filesystem"), message, "take ext4 or btrfs".into());
    }
    if partitions.iter().any(|part| part.slot.is_some() && part.role == "root") {
        let message = "Alpine's kernels lie in one `/boot`, which two roots cannot share".to_owned();
        say(span("partition"), message, "take a layout with one root".into());
    }
}

/// Filesystems leave out what the release's own tools do not know.
fn features(partitions: &mut [PartitionSpec], ground: &Ground) {
    for partition in partitions.iter_mut().filter(|partition| partition.filesystem == FilesystemKind::Ext4) {
        partition.features = ground.release.ext4_features.clone();
    }
}
