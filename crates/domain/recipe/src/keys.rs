//! The top of a recipe: the table of all tables.

use crate::forms::{LOCAL_PATH, NAME};
use crate::section;
use crate::shape::{Shape, Table, key};

/// The editions that this kiln reads.
pub const EDITION: i64 = 1;

/// A recipe file.
pub static ROOT: Table = Table {
    name: "",
    doc: "",
    keys: &[
        key(
            "edition",
            Shape::Integer { from: 0, to: i64::MAX },
            "The language's edition; stands at the top of every recipe.",
        )
        .in_the_end()
        .example("1"),
        key(
            "include",
            Shape::List(&Shape::Text(&LOCAL_PATH)),
            "Recipe files that this one builds on, from this file's folder; they may include others.",
        )
        .example("[\"common.toml\"]"),
        key(
            "profile",
            Shape::Map(&NAME, &Shape::Table(&BODY)),
            "Parts that hold only with `--profile NAME`: the keys of a recipe once more, put over it as an including file is.",
        ),
    ],
    more: Some(&BODY),
};

/// What a recipe and its profiles may say.
pub static BODY: Table = Table {
    name: "",
    doc: "",
    keys: &[
        key("name", Shape::Text(&NAME), "The image's name: the stem of its artifacts and of its lock.")
            .default("the recipe file's name without `.toml`")
            .example("\"edge\""),
        key("base", Shape::Table(&section::base::KEYS), "").in_the_end(),
        key("packages", Shape::Table(&section::packages::KEYS), ""),
        key("system", Shape::Table(&section::system::KEYS), ""),
        key("user", Shape::Tables(&section::users::KEYS), ""),
        key("network", Shape::Table(&section::network::KEYS), ""),
        key("cloud-init", Shape::Table(&section::cloud_init::KEYS), ""),
        key("mender", Shape::Table(&section::mender::KEYS), ""),
        key("file", Shape::Tables(&section::files::KEYS), ""),
        key("script", Shape::Tables(&section::scripts::KEYS), ""),
        key("services", Shape::Table(&section::services::KEYS), ""),
        key("disk", Shape::Table(&section::disk::KEYS), ""),
        key("boot", Shape::Table(&section::boot::KEYS), ""),
        key("output", Shape::Tables(&section::outputs::KEYS), ""),
        key("verify", Shape::Table(&section::verify::KEYS), ""),
        key(
            "secrets",
            Shape::Map(&NAME, &Shape::Table(&section::secrets::KEYS)),
            "Where secrets come from when the image is built; the recipe itself never holds one.",
        )
        .example("{ admin = { env = \"ADMIN_PASSWORD\" } }"),
    ],
    more: None,
};

/// `{ secret = "NAME" }`.
pub static SECRET_REFERENCE: Table = Table {
    name: "{ secret = … }",
    doc: "",
    keys: &[key("secret", Shape::Text(&NAME), "A name in `[secrets]`.").here().example("\"NAME\"")],
    more: None,
};

#[cfg(test)]
pub mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::path::Path;

    use kiln_model::{Arch, Digest};

    use super::*;
    use crate::{Local, Look, Options, Sources};

    thread_local! {
        static READ: RefCell<BTreeSet<(&'static str, String)>> = RefCell::default();
    }

    /// Remembers that a key was read, to compare with the table.
    pub fn record(table: &'static str, key: &str) {
        READ.with_borrow_mut(|read| read.insert((table, key.to_owned())));
    }

    /// The recipes of the corpus.
    struct Corpus;

    impl Sources for Corpus {
        fn read(&self, path: &str) -> std::io::Result<String> {
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../corpus/recipes").join(path))
        }

        fn digest(&self, path: &str) -> std::io::Result<Local> {
            Ok(Local { digest: Digest::of(""), folder: path.ends_with(".d"), executable: false })
        }
    }

    fn collect(table: &'static Table, found: &mut BTreeSet<(&'static str, String)>) {
        for key in table.all() {
            if found.insert((table.name, key.name.to_owned())) {
                tables(&key.shape, &mut |table| collect(table, found));
            }
        }
    }

    fn tables(shape: &'static Shape, visit: &mut dyn FnMut(&'static Table)) {
        match shape {
            Shape::Table(table) | Shape::Tables(table) => visit(table),
            Shape::Map(_, of) | Shape::List(of) => tables(of, visit),
            Shape::Either(shapes) => shapes.iter().for_each(|of| tables(of, visit)),
            Shape::Secret => visit(&SECRET_REFERENCE),
            Shape::Bool | Shape::Integer { .. } | Shape::Text(_) | Shape::Word(_) => {}
        }
    }

    #[test]
    fn every_key_of_the_table_is_read() {
        for recipe in
            ["everything.toml", "own-partitions.toml", "cloud-init.toml", "mender.toml", "downloads-and-blobs.toml"]
        {
            let completed = crate::complete(&Corpus, recipe, &Options::new(Arch::Amd64));
            completed.unwrap_or_else(|rejected| panic!("{}", rejected.render(Look::PLAIN)));
        }
        let mut known = BTreeSet::new();
        collect(&ROOT, &mut known);
        // These three are the loader's, before there is a tree to read sections from.
        for key in ["edition", "include", "profile"] {
            assert!(known.remove(&("", key.to_owned())), "{key}");
        }
        let read = READ.take();
        let unread: Vec<_> = known.difference(&read).collect();
        assert!(unread.is_empty(), "in the table and never read: {unread:?}");
    }
}
