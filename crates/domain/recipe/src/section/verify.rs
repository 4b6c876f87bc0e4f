//! `[verify]`: what must hold before the build counts as done.

use crate::desk::{Desk, Note};
use crate::forms::{DURATION, LINE, TEXT, UNIT, full_unit, seconds};
use crate::shape::{Shape, Table, key};
use crate::spec::{Assert, BoardSpec, Firmware, Loader, Output, Verify};
use crate::view::View;

pub static KEYS: Table = Table {
    name: "[verify]",
    doc: "What must hold before the build counts as done.",
    keys: &[
        key(
            "boot",
            Shape::Bool,
            "Whether the image is started in QEMU; it must reach its login prompt without failed units.",
        )
        .default("false")
        .example("true"),
        key(
            "timeout",
            Shape::Either(&[Shape::Integer { from: 1, to: 86_400 }, Shape::Text(&DURATION)]),
            "How long that may take under emulation: seconds, or text such as \"5min\".",
        )
        .default("\"10min\""),
        key(
            "firmware",
            Shape::List(&Shape::Word(FIRMWARE)),
            "What starts the machine; all of it is verified under each, in this order.",
        )
        .default("the board's usual one")
        .example("[\"uefi\", \"bios\"]"),
        key("assert", Shape::Tables(&ASSERT), ""),
    ],
    more: None,
};

static FIRMWARE: &[(&str, &str)] = &[("uefi", "UEFI, by OVMF or its like"), ("bios", "a PC's BIOS, by SeaBIOS")];

static ASSERT: Table = Table {
    name: "[[verify.assert]]",
    doc: "Something that must hold in the started image; also what `kiln boot --check` looks at. Exactly one of `unit`, `command`, `port`, \
          `no-failed-units` and `restart`; they are looked at in this order.",
    keys: &[
        key("unit", Shape::Text(&UNIT), "This unit is active.").example("\"ssh\""),
        key("command", Shape::Text(&LINE), "This command ends with `status`.").example("\"hostname\""),
        key("status", Shape::Integer { from: 0, to: 255 }, "The command's exit status.").default("0"),
        key("contains", Shape::Text(&TEXT), "The command's output holds this."),
        key(
            "timeout",
            Shape::Either(&[Shape::Integer { from: 1, to: 86_400 }, Shape::Text(&DURATION)]),
            "How long the command may take: seconds, or text such as \"5min\".",
        )
        .default("\"2min\""),
        key("port", Shape::Integer { from: 1, to: 65_535 }, "Something listens on this TCP port.").example("22"),
        key("no-failed-units", Shape::Bool, "`true`: no unit has failed."),
        key(
            "restart",
            Shape::Bool,
            "`true`: the machine restarts and comes up again; what was changed in it so far is there.",
        ),
    ],
    more: None,
};

const KINDS: [&str; 5] = ["unit", "command", "port", "no-failed-units", "restart"];

pub fn read(root: View<'_>, board: Option<&BoardSpec>, outputs: &[Output], desk: &Desk<'_>) -> Verify {
    let view = root.section("verify");
    let boot = view.bool("boot").unwrap_or(false);
    if boot {
        bootable(root, view, board, outputs, desk);
    }
    let timeout = time(view).unwrap_or(600);
    let asserts = view.tables("assert").into_iter().filter_map(|view| assert(view, desk)).collect();
    Verify { boot, timeout, firmware: firmware(view, board, desk), asserts }
}

fn time(view: View<'_>) -> Option<u32> {
    let number = view.integer("timeout").and_then(|said| u32::try_from(said.value).ok());
    number.or_else(|| seconds(view.text("timeout")?.value))
}

/// Only what can start the image.
fn firmware(view: View<'_>, board: Option<&BoardSpec>, desk: &Desk<'_>) -> Vec<Firmware> {
    let mut wanted: Vec<Firmware> = Vec::new();
    let able = board.map(BoardSpec::firmware);
    for said in view.texts("firmware") {
        let firmware = if said.value == "bios" { Firmware::Bios } else { Firmware::Uefi };
        if able.as_ref().is_some_and(|able| !able.contains(&firmware)) {
            let note = Note::error(said.span, "contradiction", format!("`{}` does not start this image", said.value));
            let names: Vec<&str> = able.iter().flatten().map(|firmware| firmware.name()).collect();
            desk.say(if names.is_empty() {
                note.hint("leave `firmware` out")
            } else {
                note.hint(format!("what starts it: {}", names.join(", ")))
            });
        }
        if !wanted.contains(&firmware) {
            wanted.push(firmware);
        }
    }
    wanted
}

/// Only a disk with kernel and loader starts.
fn bootable(root: View<'_>, view: View<'_>, board: Option<&BoardSpec>, outputs: &[Output], desk: &Desk<'_>) {
    let Some(span) = view.key_span("boot") else { return };
    let say = |message: &str, hint: &str| desk.say(Note::error(span, "contradiction", message).hint(hint));
    match board {
        // A board that is there but wrong was told already.
        None if root.section("base").has("board") => {}
        None => {
            say("`verify.boot` without a kernel: `[base]` names no board", "for example: board = \"generic-x86_64\"")
        }
        Some(board) if board.loader == Loader::None => {
            say("`verify.boot` without a boot loader", "leave `boot.loader` out")
        }
        Some(board) if board.qemu.is_none() => {
            say(
                &format!("`verify.boot` for board `{}`, which QEMU does not imitate", board.name),
                "leave it out, and start the board itself",
            );
        }
        Some(_) if !outputs.is_empty() && !outputs.iter().any(|output| output.format.is_disk()) => {
            say("`verify.boot` without an output that is a disk", "add an output with format = \"raw\"");
        }
        Some(_) => {}
    }
}

fn assert(view: View<'_>, desk: &Desk<'_>) -> Option<Assert> {
    one_kind(view, desk)?;
    for key in ["status", "contains", "timeout"] {
        if let (Some(span), false) = (view.key_span(key), view.has("command")) {
            desk.say(Note::error(span, "contradiction", format!("`{key}` is for a `command`")));
        }
    }
    for key in ["no-failed-units", "restart"] {
        if let (Some(span), Some(false)) = (view.key_span(key), view.bool(key)) {
            let message = format!("`{key} = false` asserts nothing");
            desk.say(Note::error(span, "contradiction", message).hint("leave it out"));
        }
    }
    let unit = view.text("unit").map(|said| Assert::UnitActive(full_unit(said.value)));
    let status = view.integer("status").map_or(0, |said| said.value as i32);
    let (contains, timeout) = (view.string("contains"), time(view));
    unit.or_else(|| Some(Assert::Command { run: view.string("command")?, status, contains, timeout }))
        .or_else(|| Some(Assert::PortOpen(u16::try_from(view.integer("port")?.value).ok()?)))
        .or_else(|| view.bool("no-failed-units")?.then_some(Assert::NoFailedUnits))
        .or_else(|| view.bool("restart")?.then_some(Assert::Restart))
}

fn one_kind(view: View<'_>, desk: &Desk<'_>) -> Option<()> {
    let said: Vec<_> = KINDS.iter().filter_map(|kind| Some((*kind, view.key_span(kind)?))).collect();
    match said.as_slice() {
        [_] => Some(()),
        [] => {
            let note = Note::error(view.span, "missing-key", "this assertion does not say what must hold");
            desk.say(note.hint("one of `unit`, `command`, `port`, `no-failed-units`, `restart`"));
            None
        }
        [(first, at), (second, span), ..] => {
            let message = format!("`{first}` and `{second}` are two assertions");
            desk.say(Note::error(*span, "contradiction", message).also(*at, "the other").hint("write each by itself"));
            None
        }
    }
}
