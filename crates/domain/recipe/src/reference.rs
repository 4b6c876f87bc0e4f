//! The reference of recipes as Markdown, from the table that the check itself uses.

use std::fmt::Write as _;

use crate::catalogue::{board, layout, release};
use crate::codes::CODES;
use crate::keys::{BODY, ROOT};
use crate::shape::{Key, Needed, Shape, Table};

const HEAD: &str = "# The recipe\n\n\
    <!-- Made from the table in crates/domain/recipe: change it there, and `KILN_BLESS=1 cargo test -p kiln-recipe` writes this. -->\n\n\
    A recipe is a TOML file that says what an image shall be. `kiln check` tells every mistake in it at once, with its place; \
    `kiln schema` prints its JSON Schema for editors. The smallest one:\n\n\
    ```toml\nedition = 1\n\n[base]\nrelease = \"13\"\n\n[[output]]\nformat = \"tar\"\n```\n";

const LAYING: &str = "## How files and profiles go together\n\n\
    A file is laid over the files it includes, in their order; then each `--profile` is laid over the result, then each `--set KEY=VALUE`. \
    The rule is the same everywhere: tables go together key by key; lists are added at the end, unless the key says *replaced*; everything \
    else is as the later one says. An entry of `[secrets]` is taken whole. Included files need no `edition` of their own. Paths are from \
    the folder of the file they are written in.\n";

const SIZES: &str = "## Sizes\n\n\
    `\"512MiB\"`, `\"4GiB\"`, `\"2GB\"`: a number and `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB` or `TiB`. `\"auto\"` is what the content needs. \
    `{ minimum = \"2GiB\", free = \"500MiB\" }` is what the content needs and `free` to spare, and no less than `minimum` in all.\n";

/// Returns the reference page.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## The top of the file\n\n");
    keys(&mut page, ROOT.keys.iter().chain(BODY.keys.iter().filter(|key| plain(key))));
    page.push('\n');
    page.push_str(LAYING);
    for key in BODY.keys {
        if let Some(table) = key.shape.table() {
            section(&mut page, table, 2);
        }
    }
    page.push('\n');
    page.push_str(SIZES);
    catalogue(&mut page);
    codes(&mut page);
    page
}

/// Whether the key is told in the table of the top, not in a section of its own.
fn plain(key: &Key) -> bool {
    !matches!(key.shape, Shape::Table(_) | Shape::Tables(_))
}

fn section(page: &mut String, table: &'static Table, depth: usize) {
    let _ = writeln!(page, "\n{} `{}`\n", "#".repeat(depth), table.name);
    if !table.doc.is_empty() {
        let _ = writeln!(page, "{}\n", table.doc);
    }
    keys(page, table.all().filter(|key| !matches!(key.shape, Shape::Tables(_))));
    words(page, table);
    for key in table.all() {
        if let Shape::Tables(inner) = &key.shape {
            section(page, inner, depth + 1);
        }
    }
}

fn keys(page: &mut String, keys: impl Iterator<Item = &'static Key>) {
    page.push_str("| Key | Value | Meaning | Without it |\n|---|---|---|---|\n");
    for key in keys {
        let mut doc = key.doc.to_owned();
        if !key.example.is_empty() {
            let _ =
                write!(doc, " For example `{} = {}`.", key.name, key.example.replace('\n', "\\n").replace('|', "\\|"));
        }
        if key.replaces {
            doc.push_str(" *Replaced* by a later file.");
        }
        let without = match (key.needed, key.default) {
            (Needed::No, "") => "nothing".to_owned(),
            (Needed::No, default) => default.to_owned(),
            _ => "**must be there**".to_owned(),
        };
        let _ = writeln!(page, "| `{}` | {} | {} | {without} |", key.name, value(&key.shape), doc.trim());
    }
}

fn value(shape: &Shape) -> String {
    match shape {
        Shape::Bool => "`true` or `false`".into(),
        Shape::Integer { to, .. } if *to == i64::MAX => "an integer".into(),
        Shape::Integer { from, to } => format!("{from} to {to}"),
        Shape::Text(form) => form.what.replace('|', "\\|"),
        Shape::Word(words) => words.iter().map(|(word, _)| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "),
        Shape::List(of) => format!("a list; each {}", value(of)),
        Shape::Table(table) | Shape::Tables(table) => inline(table),
        Shape::Map(form, of) => format!("a table; each key {}, each value {}", form.what, value(of)),
        Shape::Secret => "`{ secret = \"NAME\" }`".into(),
        Shape::Either(shapes) => shapes.iter().map(value).collect::<Vec<_>>().join("; or "),
    }
}

fn inline(table: &'static Table) -> String {
    if table.name.is_empty() {
        return "a table of the keys of a recipe".into();
    }
    let keys: Vec<String> = table.all().map(|key| format!("{} = …", key.name)).collect();
    format!("`{{ {} }}`", keys.join(", "))
}

/// Explains the words of a table's keys, where they are explained.
fn words(page: &mut String, table: &'static Table) {
    for key in table.all() {
        let words = match &key.shape {
            Shape::Word(words) | Shape::List(Shape::Word(words)) => *words,
            _ => continue,
        };
        if words.iter().all(|(_, doc)| doc.is_empty()) {
            continue;
        }
        let _ = writeln!(page, "\n`{}`:\n", key.name);
        for (word, doc) in words {
            let _ = writeln!(page, "- `\"{word}\"`: {doc}");
        }
    }
}

fn catalogue(page: &mut String) {
    page.push_str("\n## Releases\n\n| Distribution | Release | Also called | Architectures |\n|---|---|---|---|\n");
    for release in release::all() {
        let also: Vec<String> = release.words().skip(1).map(|word| format!("`{word}`")).collect();
        let architectures: Vec<&str> = release.architectures.iter().map(|arch| arch.debian()).collect();
        let (distribution, number) = (&release.distribution, &release.release);
        let _ =
            writeln!(page, "| `{distribution}` | `{number}` | {} | {} |", also.join(", "), architectures.join(", "));
    }
    page.push_str("\n## Boards\n\n| Board | Machine | Distributions and architectures |\n|---|---|---|\n");
    for board in board::all() {
        let _ = writeln!(page, "| `{}` | {} | {} |", board.name, board.title, board.systems());
    }
    page.push_str("\n## Layouts\n\n");
    for layout in layout::all() {
        let _ = writeln!(page, "- `{}`: {}", layout.name, layout.title);
    }
}

fn codes(page: &mut String) {
    page.push_str("\n## Diagnostics\n\n`kiln check --json` gives each its code:\n\n");
    for (code, meaning) in CODES {
        let _ = writeln!(page, "- `{code}`: {meaning}");
    }
}
