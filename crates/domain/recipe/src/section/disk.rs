//! `[disk]`: the partition table and what is in it.

use kiln_model::GuestPath;
use kiln_model::action::{FilesystemKind, Size, TableKind};

use super::base::Ground;
use super::size;
use crate::catalogue::{Layout, layout};
use crate::desk::{Desk, Note};
use crate::forms::{LABEL, LINE, MOUNT_POINT, NAME, SIZE, SIZE_OR_AUTO};
use crate::needs::Needs;
use crate::node::Span;
use crate::shape::{Form, Shape, Table, Wrong, did_you_mean, key};
use crate::spec::{BoardSpec, Disk, Loader, PartitionSpec};
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
            .here()
            .example("\"/\""),
        key("filesystem", Shape::Word(FILESYSTEMS), "Its filesystem.")
            .default("\"ext4\"; \"fat\" for an esp and a firmware"),
        key("label", Shape::Text(&LABEL), "The filesystem's label.").default("its name"),
        key("size", Shape::Either(&[Shape::Text(&SIZE_OR_AUTO), Shape::Table(&size::KEYS)]), "Its size.")
            .default("\"auto\""),
        key("mount-options", Shape::Text(&LINE), "Its options in fstab(5).").default("those that suit it"),
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
    ("erofs", "read-only, compressed; what the running system writes is kept in memory"),
    ("squashfs", "read-only, compressed; what the running system writes is kept in memory"),
];

static FILESYSTEMS: &[(&str, &str)] =
    &[("ext4", "writable; grows"), ("fat", "what firmware reads"), ("erofs", "read-only"), ("squashfs", "read-only")];

static ROLES: &[(&str, &str)] = &[
    ("esp", "what a UEFI firmware starts from"),
    ("firmware", "what a Raspberry Pi's firmware starts from"),
    ("root", "the root"),
    ("boot", "kernels"),
    ("home", "people's files"),
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
    let layout = the_layout(view, ground)?;
    let table = table(view).unwrap_or(layout.table);
    let own = view.tables("partition");
    let mut partitions = if own.is_empty() {
        layout.partitions.iter().map(|partition| partition.spec()).collect()
    } else {
        own_partitions(view, &own, desk)
    };
    let size = size::read(view, "size", desk).unwrap_or(Size::Auto);
    adjust(view, size, &mut partitions, desk);
    check(view, &partitions, table, board, desk);
    features(&mut partitions, ground);
    if let Some(fat) = partitions.iter().find(|partition| partition.filesystem == FilesystemKind::Fat) {
        let span = view.key_span("partition").unwrap_or(ground.span);
        needs.feature("fat-check", format!("partition `{}`", fat.name), span);
    }
    let name = if own.is_empty() { layout.name.clone() } else { "own".into() };
    Some(Disk { layout: name, table, size, partitions })
}

fn the_layout(view: View<'_>, ground: &Ground) -> Option<&'static Layout> {
    let said = view.text("layout").map(|said| said.value);
    let of_board = || ground.board.map(|board| board.value.layout.as_str());
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
        "fat" => FilesystemKind::Fat,
        "erofs" => FilesystemKind::Erofs,
        "squashfs" => FilesystemKind::Squashfs,
        _ => FilesystemKind::Ext4,
    }
}

fn is_root(partition: &PartitionSpec) -> bool {
    partition.mount == GuestPath::root()
}

fn own_partitions(view: View<'_>, own: &[View<'_>], desk: &Desk<'_>) -> Vec<PartitionSpec> {
    if let (Some(layout), Some(first)) = (view.key_span("layout"), own.first()) {
        let note = Note::error(layout, "contradiction", "`layout` and partitions of your own cannot both be");
        desk.say(note.also(first.span, "a partition of your own"));
    }
    let mut found: Vec<PartitionSpec> = Vec::new();
    for partition in own {
        let (Some(name), Some(mount)) = (partition.text("name"), partition.text("mount")) else { continue };
        let Ok(path) = GuestPath::new(mount.value) else { continue };
        for (same, said, what) in [
            (found.iter().any(|other| other.name == name.value), name, "name"),
            (found.iter().any(|other| other.mount == path), mount, "mount point"),
        ] {
            if same {
                let message = format!("there are two partitions with the {what} `{}`", said.value);
                desk.say(Note::error(said.span, "duplicate", message));
            }
        }
        found.push(own_partition(*partition, name, path, desk));
    }
    found
}

fn own_partition(view: View<'_>, name: Said<&str>, mount: GuestPath, desk: &Desk<'_>) -> PartitionSpec {
    let role = view.string("role").unwrap_or_else(|| role_of(&mount).to_owned());
    let usual = if ["esp", "firmware"].contains(&role.as_str()) { FilesystemKind::Fat } else { FilesystemKind::Ext4 };
    let filesystem = view.text("filesystem").map_or(usual, |said| kind(said.value));
    let options = match (filesystem, mount == GuestPath::root()) {
        (FilesystemKind::Fat, _) => "umask=0077",
        (FilesystemKind::Ext4, true) => "errors=remount-ro",
        (FilesystemKind::Erofs | FilesystemKind::Squashfs, _) => "ro",
        _ => "",
    };
    PartitionSpec {
        name: name.value.to_owned(),
        role,
        mount,
        filesystem,
        label: view.string("label").unwrap_or_else(|| name.value.chars().take(16).collect()),
        size: size::read(view, "size", desk).unwrap_or(Size::Auto),
        features: Vec::new(),
        mount_options: view.string("mount-options").unwrap_or_else(|| options.into()),
    }
}

fn role_of(mount: &GuestPath) -> &'static str {
    match mount.as_bytes() {
        b"/" => "root",
        b"/efi" | b"/boot/efi" => "esp",
        b"/boot/firmware" => "firmware",
        b"/boot" => "boot",
        b"/home" => "home",
        _ => "data",
    }
}

/// Applies what `[disk]` says about root and ESP. On a disk of a given size the root takes what the others leave.
fn adjust(view: View<'_>, size: Size, partitions: &mut [PartitionSpec], desk: &Desk<'_>) {
    let own = view.has("partition");
    if let Some(esp_size) = size::read(view, "esp-size", desk) {
        match partitions.iter_mut().find(|partition| partition.role == "esp") {
            Some(esp) => esp.size = esp_size,
            None => no_such(view.key_span("esp-size"), "an EFI system partition", desk),
        }
    }
    let Some(root) = partitions.iter_mut().find(|partition| is_root(partition)) else { return };
    if !own && size != Size::Auto {
        root.size = if let Size::Roomy { free, .. } = size { Size::Roomy { minimum: 0, free } } else { Size::Auto };
    }
    root.label = view.string("label").unwrap_or_else(|| root.label.clone());
    if let Some(said) = view.text("filesystem") {
        root.filesystem = kind(said.value);
        if root.filesystem != FilesystemKind::Ext4 {
            root.mount_options = "ro".into();
            root.size = Size::Auto;
        }
    }
}

fn no_such(span: Option<Span>, what: &str, desk: &Desk<'_>) {
    if let Some(span) = span {
        desk.say(Note::error(span, "contradiction", format!("the disk has no {}", what.trim_start_matches("an "))));
    }
}

fn check(view: View<'_>, partitions: &[PartitionSpec], table: TableKind, board: Option<&BoardSpec>, desk: &Desk<'_>) {
    let span = view.key_span("partition").unwrap_or(view.span);
    let say = |message: String, hint: &str| desk.say(Note::error(span, "contradiction", message).hint(hint));
    if !partitions.iter().any(is_root) {
        say("no partition holds the root".into(), "give one the mount point `/`");
    }
    let loads = board.is_some_and(|board| matches!(board.loader, Loader::SystemdBoot | Loader::Uki));
    if loads && !partitions.iter().any(|partition| partition.role == "esp") {
        say(
            "the boot loader needs an EFI system partition".into(),
            "give one the role `esp` and the mount point `/boot/efi`",
        );
    }
    let on_fat = board.is_some_and(|board| matches!(board.loader, Loader::RaspiFirmware | Loader::ConfigTxt));
    if on_fat && !partitions.iter().any(|partition| partition.role == "firmware") {
        say(
            "the board's firmware reads nothing but a FAT of its own".into(),
            "give the first partition the role `firmware`, filesystem = \"fat\" and the mount point `/boot/firmware`",
        );
    }
    if table == TableKind::Mbr && partitions.len() > 4 {
        say(format!("{} partitions, and an MBR has four", partitions.len()), "say table = \"gpt\"");
    }
    let fat = partitions.iter().filter(|partition| partition.filesystem == FilesystemKind::Fat).count();
    if table == TableKind::Hybrid && !(1..=3).contains(&fat) {
        let message = format!("a hybrid table shows FAT partitions, three at most, and there are {fat}");
        let span = view.key_span("table").unwrap_or(span);
        desk.say(Note::error(span, "contradiction", message).hint("say table = \"gpt\""));
    }
    let of_firmware = |partition: &&PartitionSpec| ["esp", "firmware"].contains(&partition.role.as_str());
    let esp = partitions.iter().filter(of_firmware).find(|partition| partition.filesystem != FilesystemKind::Fat);
    if let Some(esp) = esp {
        say(format!("firmware reads `{}` only as FAT", esp.name), "say filesystem = \"fat\"");
    }
    too_small(view, partitions, desk);
}

/// What no content could make fit is told now; what the content needs is known when the image is made.
fn too_small(view: View<'_>, partitions: &[PartitionSpec], desk: &Desk<'_>) {
    let (Some(said), Some(Size::Fixed(disk))) = (view.text("size"), size::read(view, "size", desk)) else { return };
    let least = |partition: &PartitionSpec| match partition.size {
        Size::Fixed(bytes) => bytes,
        Size::Roomy { minimum, free } => minimum.max(free),
        Size::Auto => 0,
    };
    // Room for the table itself at both ends, and for a root that holds anything at all.
    let needed: u64 = partitions.iter().map(least).sum::<u64>() + (32 << 20);
    if disk > 0 && disk < needed {
        let message = format!("a disk of {} cannot hold its partitions", said.value);
        let note = Note::error(said.span, "contradiction", message);
        desk.say(note.label(format!("at least {}MiB are needed", needed.div_ceil(1 << 20))));
    }
}

/// Filesystems leave out what the release's own tools do not know.
fn features(partitions: &mut [PartitionSpec], ground: &Ground) {
    for partition in partitions.iter_mut().filter(|partition| partition.filesystem == FilesystemKind::Ext4) {
        partition.features = ground.release.ext4_features.clone();
    }
}
