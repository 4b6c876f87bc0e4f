//! Sizes: `"auto"`, `"4GiB"`, or a minimum with room to spare.

use kiln_model::action::Size;

use crate::desk::{Desk, Note};
use crate::forms::{SIZE, size};
use crate::shape::{Shape, Table, key};
use crate::view::View;

pub static KEYS: Table = Table {
    name: "size",
    doc: "",
    keys: &[
        key("minimum", Shape::Text(&SIZE), "No smaller than this.").default("0").example("\"2GiB\""),
        key("free", Shape::Text(&SIZE), "What is to be free for use.").default("0").example("\"500MiB\""),
    ],
    more: None,
};

/// Returns the size under `key`; a size of nothing is a mistake.
pub fn read(view: View<'_>, key: &str, desk: &Desk<'_>) -> Option<Size> {
    if let Some(table) = view.table(key) {
        let bytes = |key: &str| table.text(key).and_then(|said| size(said.value).ok()).unwrap_or(0);
        return Some(Size::Roomy { minimum: bytes("minimum"), free: bytes("free") });
    }
    let said = view.text(key)?;
    if said.value == "auto" {
        return Some(Size::Auto);
    }
    let bytes = size(said.value).ok()?;
    if bytes == 0 {
        desk.say(
            Note::error(said.span, "bad-value", "a size of nothing").hint("say \"auto\" for what the content needs"),
        );
    }
    Some(Size::Fixed(bytes))
}
