//! `[verify]`: what must hold before the build counts as done.

use crate::desk::{Desk, Note};
use crate::forms::{DURATION, LINE, TEXT, UNIT, full_unit, seconds};
use crate::shape::{Shape, Table, key};
use crate::spec::{Assert, BoardSpec, Loader, Output, Verify};
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
        key("assert", Shape::Tables(&ASSERT), ""),
    ],
    more: None,
};

static ASSERT: Table = Table {
    name: "[[verify.assert]]",
    doc: "Something that must hold in the started image; also what `kiln boot --check` looks at. Exactly one of `unit`, `command`, `port` \
          and `no-failed-units`.",
    keys: &[
        key("unit", Shape::Text(&UNIT), "This unit is active.").example("\"ssh\""),
        key("command", Shape::Text(&LINE), "This command ends with `status`.").example("\"hostname\""),
        key("status", Shape::Integer { from: 0, to: 255 }, "The command's exit status.").default("0"),
        key("contains", Shape::Text(&TEXT), "The command's output holds this."),
        key("port", Shape::Integer { from: 1, to: 65_535 }, "Something listens on this TCP port.").example("22"),
        key("no-failed-units", Shape::Bool, "`true`: no unit has failed."),
    ],
    more: None,
};

const KINDS: [&str; 4] = ["unit", "command", "port", "no-failed-units"];

pub fn read(root: View<'_>, board: Option<&BoardSpec>, outputs: &[Output], desk: &Desk<'_>) -> Verify {
    let view = root.section("verify");
    let boot = view.bool("boot").unwrap_or(false);
    if boot {
        bootable(root, view, board, outputs, desk);
    }
    let number = view.integer("timeout").and_then(|said| u32::try_from(said.value).ok());
    let timeout = number.or_else(|| seconds(view.text("timeout")?.value)).unwrap_or(600);
    Verify { boot, timeout, asserts: view.tables("assert").into_iter().filter_map(|view| assert(view, desk)).collect() }
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
    for key in ["status", "contains"] {
        if let (Some(span), false) = (view.key_span(key), view.has("command")) {
            desk.say(Note::error(span, "contradiction", format!("`{key}` is for a `command`")));
        }
    }
    if let (Some(span), Some(false)) = (view.key_span("no-failed-units"), view.bool("no-failed-units")) {
        desk.say(Note::error(span, "contradiction", "`no-failed-units = false` asserts nothing").hint("leave it out"));
    }
    let unit = view.text("unit").map(|said| Assert::UnitActive(full_unit(said.value)));
    let status = view.integer("status").map_or(0, |said| said.value as i32);
    unit.or_else(|| Some(Assert::Command { run: view.string("command")?, status, contains: view.string("contains") }))
        .or_else(|| Some(Assert::PortOpen(u16::try_from(view.integer("port")?.value).ok()?)))
        .or_else(|| view.bool("no-failed-units")?.then_some(Assert::NoFailedUnits))
}

fn one_kind(view: View<'_>, desk: &Desk<'_>) -> Option<()> {
    let said: Vec<_> = KINDS.iter().filter_map(|kind| Some((*kind, view.key_span(kind)?))).collect();
    match said.as_slice() {
        [_] => Some(()),
        [] => {
            let note = Note::error(view.span, "missing-key", "this assertion does not say what must hold");
            desk.say(note.hint("one of `unit`, `command`, `port`, `no-failed-units`"));
            None
        }
        [(first, at), (second, span), ..] => {
            let message = format!("`{first}` and `{second}` are two assertions");
            desk.say(Note::error(*span, "contradiction", message).also(*at, "the other").hint("write each by itself"));
            None
        }
    }
}
