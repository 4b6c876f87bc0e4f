//! `[boot]`: how the machine starts.

use kiln_model::Arch;

use super::base::Ground;
use crate::catalogue::Board;
use crate::desk::{Desk, Note};
use crate::needs::Needs;
use crate::shape::{Form, Shape, Table, Wrong, key};
use crate::spec::{BoardSpec, Loader};
use crate::view::View;

pub static KEYS: Table = Table {
    name: "[boot]",
    doc: "How the machine starts.",
    keys: &[
        key("loader", Shape::Word(LOADERS), "What starts the kernel.")
            .default("the board's")
            .example("\"systemd-boot\""),
        key("bios", Shape::Bool, "Whether a PC's BIOS starts the disk too, with systemd-boot's entries.")
            .default("true where the board has one and the loader is systemd-boot"),
        key(
            "config-txt",
            Shape::List(&Shape::Text(&CONFIG_LINE)),
            "Further lines of a Raspberry Pi's `config.txt`, in this order. They come last; a kernel update on the device keeps them.",
        )
        .example("[\"dtparam=i2c_arm=on\", \"dtoverlay=disable-bt\"]"),
    ],
    more: None,
};

static LOADERS: &[(&str, &str)] = &[
    ("systemd-boot", "systemd-boot with an entry for each kernel; kernel updates on the device keep working"),
    ("uki", "one unified kernel image at the firmware's own path, which is UEFI's: a BIOS does not start it"),
    ("extlinux", "`extlinux.conf`, for boards with U-Boot; kernel updates on the device keep working"),
    ("none", "nothing: something outside starts the kernel"),
];

/// A line of `config.txt`: `[pi4]` begins a part for some models, `#` a comment. The firmware reads 98 characters of it.
static CONFIG_LINE: Form = Form {
    what: "a line of config.txt, such as \"dtparam=i2c_arm=on\"",
    pattern: Some(r"^[ -~]{1,98}$"),
    check: |text| {
        let plain = text.chars().all(|c| matches!(c, ' '..='~'));
        match text.len() {
            1..=98 if plain => Ok(()),
            0 => Err(Wrong::new("an empty line says nothing")),
            length if plain => {
                Err(Wrong::new(format!("the firmware reads 98 characters of a line, and here are {length}")))
            }
            _ => Err(Wrong::new("the firmware reads plain ASCII")),
        }
    },
    hint: None,
};

/// Returns the board for this release, and adds what it needs.
pub fn board(root: View<'_>, ground: &Ground, needs: &Needs, desk: &Desk<'_>) -> Option<BoardSpec> {
    let view = root.section("boot");
    let Some(said) = ground.board else {
        if let Some(span) = view.key_span("loader") {
            let note = Note::warning(span, "without-effect", "`loader` starts no kernel: `[base]` names no board");
            desk.say(note);
        }
        return None;
    };
    let board = said.value;
    let kernel = board.kernel_in(ground.release, ground.architecture)?;
    let loader = loader(view).unwrap_or_else(|| usual(board, ground));
    let why = format!("board `{}`", board.name);
    needs.package(&kernel, &*why, said.span);
    for feature in ["init", "initrd", "filesystem-check"] {
        needs.feature(feature, &*why, said.span);
    }
    board.packages_in(ground.release).into_iter().for_each(|package| needs.package(package, &*why, said.span));
    let span = view.text("loader").map_or(said.span, |loader| loader.span);
    match loader {
        Loader::SystemdBoot => needs.feature("systemd-boot", "boot loader `systemd-boot`", span),
        Loader::Uki => needs.feature("uki", "boot loader `uki`", span),
        Loader::Extlinux => needs.feature("extlinux", "boot loader `extlinux`", span),
        Loader::RaspiFirmware | Loader::ConfigTxt | Loader::None => {}
    }
    Some(BoardSpec {
        name: board.name.clone(),
        kernel,
        loader,
        bios: bios(view, board, loader, desk),
        kernel_arguments: board.kernel_arguments.clone(),
        config_txt: config_txt(view, board, loader, desk),
        device_tree: board.device_tree.clone(),
        blobs: board.blobs.clone(),
        imager: board.imager.as_ref().map(|tag| {
            let bits = if ground.architecture == Arch::Arm64 { 64 } else { 32 };
            format!("{tag}-{bits}bit")
        }),
        qemu: board.qemu.clone(),
    })
}

/// Returns the lines for the firmware; an error where nothing reads them.
fn config_txt(view: View<'_>, board: &Board, loader: Loader, desk: &Desk<'_>) -> Vec<String> {
    if let (Some(span), false) =
        (view.key_span("config-txt"), matches!(loader, Loader::RaspiFirmware | Loader::ConfigTxt))
    {
        let message = format!("nothing on `{}` reads a `config.txt` with this loader", board.name);
        let note = Note::error(span, "contradiction", message);
        desk.say(note.hint("Raspberry Pis do, with the loader that they have without being told: board = \"rpi-4-b\""));
    }
    view.strings("config-txt")
}

/// The same firmware with another hook: Raspberry Pi OS leaves `config.txt` to the owner.
fn usual(board: &Board, ground: &Ground) -> Loader {
    match board.loader {
        Loader::RaspiFirmware if ground.release.keeps_config_txt => Loader::ConfigTxt,
        loader => loader,
    }
}

/// A BIOS knows nothing of EFI programs: GRUB reads the entries, so there must be some.
fn bios(view: View<'_>, board: &Board, loader: Loader, desk: &Desk<'_>) -> bool {
    let able = board.bios && loader == Loader::SystemdBoot;
    let Some((true, span)) = view.bool("bios").zip(view.key_span("bios")) else {
        return view.bool("bios").unwrap_or(able);
    };
    let say = |message: String, hint: &str| desk.say(Note::error(span, "contradiction", message).hint(hint));
    if !board.bios {
        say(format!("there is no `{}` with a BIOS", board.name), "for example: board = \"generic-x86_64\"");
    } else if !able {
        say(
            "a BIOS starts kernels by the entries of systemd-boot".into(),
            "say loader = \"systemd-boot\", or leave `bios` out",
        );
    }
    able
}

fn loader(view: View<'_>) -> Option<Loader> {
    Some(match view.text("loader")?.value {
        "systemd-boot" => Loader::SystemdBoot,
        "uki" => Loader::Uki,
        "extlinux" => Loader::Extlinux,
        _ => Loader::None,
    })
}
