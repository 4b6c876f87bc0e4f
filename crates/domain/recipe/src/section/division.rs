//! Whether the partitions of a disk can be as they are: with each other, with the board, and with the disk's size.

use kiln_model::GuestPath;
use kiln_model::action::{ALIGN, Blob, FilesystemKind, Size, Subvolume, TableKind};

use super::base::Ground;
use super::size;
use crate::catalogue::layout;
use crate::complete::{SIZE_OF_DISK, size_of};
use crate::desk::{Desk, Note};
use crate::forms::{MOUNT_POINT, NAME};
use crate::needs::Needs;
use crate::node::Span;
use crate::shape::{Shape, Table, did_you_mean, key};
use crate::spec::{BoardSpec, Loader, PartitionSpec, Slot};
use crate::view::View;

pub static SUBVOLUME: Table = Table {
    name: "[[disk.partition.subvolumes]]",
    doc: "A subvolume at the top level of a btrfs.",
    keys: &[
        key("name", Shape::Text(&SUBVOLUME_NAME), "Its name.").here().example("\"@home\""),
        key("mount", Shape::Text(&MOUNT_POINT), "Where it is mounted; it holds what the image has there.")
            .here()
            .example("\"/home\""),
    ],
    more: None,
};

static SUBVOLUME_NAME: crate::shape::Form = crate::shape::Form {
    what: "a name of letters, digits, `@`, `-`, `_` and `.`",
    pattern: Some(r"^[A-Za-z0-9_@][A-Za-z0-9._@-]*$"),
    check: |text| (NAME.check)(&text.replace('@', "_")),
    hint: None,
};

const MIB: u64 = 1 << 20;
/// A FAT of fewer bytes has fewer clusters than FAT16.
const LEAST_FAT: u64 = 3 * MIB;
/// Bytes that kernel, initrd and loader of a distribution take at the very least.
const LEAST_BOOT: u64 = 32 * MIB;
/// Bytes of table and root at the very least.
const LEAST_REST: u64 = 32 * MIB;

/// Reads `slot-of` and `filled`; a slot of a partition that does not come before it is a mistake.
pub fn slot(view: View<'_>, before: &[PartitionSpec], desk: &Desk<'_>) -> Option<Slot> {
    let filled = view.bool("filled");
    let Some(of) = view.text("slot-of") else {
        if let Some(span) = view.key_span("filled") {
            desk.say(Note::warning(span, "without-effect", "`filled` without `slot-of`: only slots can be empty"));
        }
        return None;
    };
    if !before.iter().any(|other| other.name == of.value) {
        let message = format!("there is no partition `{}` before this one to be a slot of", of.value);
        let names: Vec<&str> = before.iter().map(|other| other.name.as_str()).collect();
        desk.say(Note::error(of.span, "contradiction", message).maybe_hint(did_you_mean(of.value, names)));
        return None;
    }
    Some(Slot { of: of.value.to_owned(), filled: filled.unwrap_or(true) })
}

pub fn subvolumes(view: View<'_>) -> Vec<Subvolume> {
    let subvolume = |view: View<'_>| {
        let (name, mount) = (view.string("name")?, view.text("mount")?);
        Some(Subvolume { name, mount: GuestPath::new(mount.value).ok()? })
    };
    view.tables("subvolumes").into_iter().filter_map(subvolume).collect()
}

/// Adds what the filesystems need in the image.
pub fn needs(view: View<'_>, partitions: &[PartitionSpec], ground: &Ground, needs: &Needs) {
    let span = view.key_span("partition").unwrap_or(ground.span);
    if let Some(btrfs) = partitions.iter().find(|partition| partition.filesystem == FilesystemKind::Btrfs) {
        needs.feature("btrfs", format!("partition `{}`", btrfs.name), span);
    }
}

/// Remembers where sizes are said, for what is too small once the packages are known.
pub fn sizes(view: View<'_>, partitions: &[PartitionSpec], desk: &Desk<'_>) {
    if let Some(said) = view.node("size") {
        desk.package(SIZE_OF_DISK, said.span);
    }
    let esp = partitions.iter().find(|part| part.role == "esp");
    if let (Some(said), Some(esp)) = (view.node("esp-size"), esp) {
        desk.package(&size_of(&esp.name), said.span);
    }
    for own in view.tables("partition") {
        if let (Some(name), Some(said)) = (own.text("name"), own.node("size")) {
            desk.package(&size_of(name.value), said.span);
        }
    }
}

/// Tells what cannot be.
pub fn check(
    view: View<'_>,
    parts: &[PartitionSpec],
    table: TableKind,
    (board, blobs): (Option<&BoardSpec>, &[Blob]),
    desk: &Desk<'_>,
) {
    let checked = Checked { view, own: view.tables("partition"), parts, table, desk };
    checked.whole();
    if let Some(board) = board {
        checked.board(board);
        checked.blobs(board);
    }
    checked.own_blobs(board, blobs);
    parts.iter().for_each(|part| checked.part(part, board));
    checked.size();
}

struct Checked<'a> {
    view: View<'a>,
    own: Vec<View<'a>>,
    parts: &'a [PartitionSpec],
    table: TableKind,
    desk: &'a Desk<'a>,
}

impl Checked<'_> {
    fn say(&self, span: Span, message: String, hint: &str) {
        self.desk.say(Note::error(span, "contradiction", message).hint(hint));
    }

    /// Where the partitions are said, or the layout that has them.
    fn span(&self) -> Span {
        let view = &self.view;
        view.key_span("partition").or_else(|| Some(view.text("layout")?.span)).unwrap_or(view.span)
    }

    /// Where a key of a partition is said, else the partition, else what stands for all of them.
    fn at(&self, part: &PartitionSpec, key: &str) -> Span {
        let own = self.own.iter().find(|own| own.text("name").is_some_and(|name| name.value == part.name));
        let Some(own) = own else { return self.span() };
        own.node(key).or_else(|| own.node("name")).map_or(own.span, |node| node.span)
    }

    fn says(&self, part: &PartitionSpec, key: &str) -> bool {
        let named = |own: &&View<'_>| own.text("name").is_some_and(|name| name.value == part.name);
        self.own.iter().find(named).is_some_and(|own| own.has(key))
    }

    fn whole(&self) {
        let count = |wanted: &dyn Fn(&PartitionSpec) -> bool| self.parts.iter().filter(|part| wanted(part)).count();
        if count(&PartitionSpec::is_root) == 0 {
            self.say(self.span(), "no partition holds the root".into(), "give one the mount point `/`");
        }
        if self.table == TableKind::Mbr && self.parts.len() > 4 {
            let message = format!("{} partitions, and an MBR has four", self.parts.len());
            self.say(self.span(), message, "say table = \"gpt\"");
        }
        let fat = count(&|part| part.filesystem == FilesystemKind::Fat);
        if self.table == TableKind::Hybrid && !(1..=3).contains(&fat) {
            let message = format!("a hybrid table shows FAT partitions, three at most, and there are {fat}");
            let span = self.view.text("table").map_or_else(|| self.span(), |said| said.span);
            self.say(span, message, "say table = \"gpt\"");
        }
        let mut growing = self.parts.iter().filter(|part| part.grow);
        if let (Some(first), Some(second)) = (growing.next(), growing.next()) {
            let message = format!("`{}` and `{}` cannot both take what the others leave", first.name, second.name);
            self.say(self.at(second, "grow"), message, "leave `grow` to one of them");
        }
    }

    fn board(&self, board: &BoardSpec) {
        let loads = matches!(board.loader, Loader::SystemdBoot | Loader::Uki);
        if loads && !self.parts.iter().any(|part| part.role == "esp") {
            self.say(
                self.span(),
                "the boot loader needs an EFI system partition".into(),
                "give one the role `esp` and the mount point `/boot/efi`",
            );
        }
        self.firmware(board);
        let root = self.parts.iter().find(|part| part.is_root());
        if let Some(root) = root.filter(|root| root.filesystem == FilesystemKind::Btrfs)
            && board.loader == Loader::Extlinux
        {
            let message = format!("U-Boot does not find `extlinux.conf` in `{}`, a btrfs", root.name);
            self.say(self.at(root, "filesystem"), message, "say filesystem = \"ext4\" for it");
        }
        let slot = self.parts.iter().find(|part| part.slot.as_ref().is_some_and(|slot| slot.filled));
        if let Some(slot) = slot.filter(|_| board.loader != Loader::SystemdBoot && board.loader != Loader::None) {
            let message = format!("the boot loader has no menu to choose the slot `{}` from", slot.name);
            let hint = "say loader = \"systemd-boot\" under `[boot]`, or filled = false for the slot";
            self.say(self.at(slot, "slot-of"), message, hint);
        }
    }

    /// What the firmware reads on the board's own layout must be here too.
    fn firmware(&self, board: &BoardSpec) {
        let Some(usual) = crate::catalogue::board::find(&board.name).and_then(|board| layout::find(&board.layout))
        else {
            return;
        };
        let usual = usual.partitions.iter().map(|part| part.spec());
        for wanted in usual.filter(|part| part.filesystem == FilesystemKind::Fat && part.role != "esp") {
            let there = |part: &&PartitionSpec| part.role == wanted.role && part.filesystem == FilesystemKind::Fat;
            if !self.parts.iter().any(|part| there(&part)) {
                let mount = wanted.mount.as_ref().map(|mount| format!(" and the mount point `{mount}`"));
                let message =
                    format!("board `{}` starts from a FAT partition, and the disk has none for it", board.name);
                let hint =
                    format!("give one the role `{}`, filesystem = \"fat\"{}", wanted.role, mount.unwrap_or_default());
                self.say(self.span(), message, &hint);
            }
        }
    }

    /// How long a blob is tells only the package; where it begins is known.
    fn blobs(&self, board: &BoardSpec) {
        for blob in &board.blobs {
            let (offset, length) = (blob.offset, self.table.length());
            let span = self.view.text("table").map_or_else(|| self.span(), |said| said.span);
            if offset < length {
                let message = format!("the ROM of board `{}` reads byte {offset}, where this table lies", board.name);
                let hint = match self.table {
                    TableKind::Gpt | TableKind::Hybrid => "a GPT takes the first 17408 bytes: say table = \"mbr\"",
                    TableKind::Mbr => "an MBR takes the first 512 bytes",
                };
                self.say(span, message, hint);
            } else if offset >= ALIGN {
                let message = format!("the ROM of board `{}` reads byte {offset}, in the first partition", board.name);
                self.say(span, message, "partitions begin at 1 MiB");
            }
        }
    }

    /// The recipe's own: not on the table, each at a byte of its own, and not where GRUB lies.
    fn own_blobs(&self, board: Option<&BoardSpec>, blobs: &[Blob]) {
        for (at, (blob, view)) in blobs.iter().zip(self.view.tables("blob")).enumerate() {
            let span = view.node("offset").map_or(view.span, |node| node.span);
            let Blob { path, offset } = blob;
            if *offset < self.table.length() {
                let length = self.table.length();
                self.say(
                    span,
                    format!("`{path}` would lie on the table"),
                    &format!("this table takes the first {length} bytes"),
                );
            }
            if blobs[..at].iter().any(|before| before.offset == *offset) {
                self.desk.say(Note::error(span, "duplicate", format!("two files begin at byte {offset} of the disk")));
            }
            if let Some(board) = board.filter(|board| board.bios) {
                let message = format!("between table and partitions of `{}` lies what a PC's BIOS starts", board.name);
                self.say(span, message, "say `bios = false` under `[boot]`, where no BIOS shall start it");
            }
        }
    }

    fn part(&self, part: &PartitionSpec, board: Option<&BoardSpec>) {
        let PartitionSpec { name, filesystem, .. } = part;
        match (filesystem, &part.mount) {
            (FilesystemKind::Swap, Some(_)) => {
                self.say(
                    self.at(part, "mount"),
                    format!("`{name}` is swap: nothing is mounted there"),
                    "leave `mount` out",
                );
            }
            (FilesystemKind::Swap, None) if part.size == Size::Auto => {
                self.say(
                    self.at(part, "size"),
                    format!("nobody knows how large `{name}` shall be"),
                    "for example: size = \"1GiB\"",
                );
            }
            (FilesystemKind::Swap | FilesystemKind::Blank, None) => {}
            (_, None) if part.slot.is_none() && !self.says(part, "slot-of") => {
                self.say(
                    self.at(part, "name"),
                    format!("`{name}` is mounted nowhere"),
                    "for example: mount = \"/srv\"",
                );
            }
            _ => {}
        }
        if ["esp", "firmware"].contains(&part.role.as_str()) && *filesystem != FilesystemKind::Fat {
            self.say(
                self.at(part, "filesystem"),
                format!("firmware reads `{name}` only as FAT"),
                "say filesystem = \"fat\"",
            );
        }
        self.slot(part);
        self.subvolumes(part);
        self.fat(part, board);
    }

    fn slot(&self, part: &PartitionSpec) {
        let Some(slot) = &part.slot else { return };
        let Some(first) = self.parts.iter().find(|other| other.name == slot.of) else { return };
        let name = &part.name;
        if part.mount.is_some() {
            let message =
                format!("`{name}` is a slot, which is mounted in the place of `{}` or not at all", first.name);
            self.say(self.at(part, "mount"), message, "leave `mount` out");
        }
        if part.filesystem != first.filesystem || part.size != first.size || part.role != first.role {
            let message = format!("`{name}` and `{}`, whose slot it is, are not alike", first.name);
            self.say(
                self.at(part, "slot-of"),
                message,
                "leave out its `role`, `filesystem` and `size`: they are the first one's",
            );
        }
        if first.slot.is_some() {
            let message = format!("`{}` is a slot itself", first.name);
            self.say(self.at(part, "slot-of"), message, "name the first one");
        }
        if let Some(grows) = [part, first].into_iter().find(|part| part.grow) {
            let message =
                format!("`{}` has a slot as large as itself, so it cannot take what the others leave", grows.name);
            self.say(self.at(grows, "grow"), message, "let another partition grow");
        }
    }

    fn subvolumes(&self, part: &PartitionSpec) {
        let (name, span) = (&part.name, self.at(part, "subvolumes"));
        if part.subvolumes.is_empty() {
            return;
        }
        if part.filesystem != FilesystemKind::Btrfs {
            self.say(span, format!("`{name}` has subvolumes, and only btrfs knows such"), "say filesystem = \"btrfs\"");
        }
        let Some(mount) = &part.mount else { return };
        if !part.subvolumes.iter().any(|one| one.mount == *mount) {
            self.say(
                span,
                format!("no subvolume of `{name}` holds `{mount}`"),
                &format!("give one the mount point `{mount}`"),
            );
        }
        for (at, one) in part.subvolumes.iter().enumerate() {
            let before = &part.subvolumes[..at];
            if before.iter().any(|other| other.name == one.name) {
                let note =
                    Note::error(span, "duplicate", format!("there are two subvolumes with the name `{}`", one.name));
                self.desk.say(note);
            }
            let elsewhere =
                self.parts.iter().any(|other| other.name != *name && other.mount.as_ref() == Some(&one.mount));
            if elsewhere || before.iter().any(|other| other.mount == one.mount) {
                let message = format!("`{}` is mounted twice", one.mount);
                self.desk.say(Note::error(span, "duplicate", message));
            }
            if !one.mount.is_under(mount) {
                let message = format!("subvolume `{}` is not below `{mount}`, where `{name}` is mounted", one.name);
                self.say(span, message, "give it a mount point below that, or a partition of its own");
            }
        }
    }

    /// Less than any content needs is told now; more is known when the packages are, and all when the image is made.
    fn fat(&self, part: &PartitionSpec, board: Option<&BoardSpec>) {
        let (FilesystemKind::Fat, Size::Fixed(size)) = (part.filesystem, part.size) else { return };
        let loads = board.is_some_and(|board| matches!(board.loader, Loader::SystemdBoot | Loader::Uki));
        let (least, why) = match part.role == "esp" && loads {
            true => (LEAST_BOOT, "cannot hold a kernel and its initrd"),
            false => (LEAST_FAT, "is smaller than FAT can be"),
        };
        if size > 0 && size < least {
            let key = if self.view.has("esp-size") && part.role == "esp" { self.view.node("esp-size") } else { None };
            let span = key.map_or_else(|| self.at(part, "size"), |node| node.span);
            let hint = format!("say \"{}MiB\" or more, or \"auto\"", if least == LEAST_BOOT { 256 } else { 3 });
            self.say(span, format!("`{}` {why}", part.name), &hint);
        }
    }

    /// What no content could make fit is told now; what the content needs is known when the image is made.
    fn size(&self) {
        let view = self.view;
        let (Some(said), Some(Size::Fixed(disk))) = (view.text("size"), size::read(view, "size", self.desk)) else {
            return;
        };
        let least = |part: &PartitionSpec| match part.size {
            Size::Fixed(bytes) => bytes,
            Size::Roomy { minimum, free } => minimum.max(free),
            Size::Auto => 0,
        };
        let needed: u64 = self.parts.iter().map(least).sum::<u64>() + LEAST_REST;
        if disk > 0 && disk < needed {
            let message = format!("a disk of {} cannot hold its partitions", said.value);
            let note = Note::error(said.span, "contradiction", message);
            self.desk.say(note.label(format!("at least {}MiB are needed", needed.div_ceil(MIB))));
        }
    }
}
