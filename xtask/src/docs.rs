//! What docs/ has from code: the command line, the schema, the picture of the crates.

use crate::deps;
use crate::tool::{Done, cargo_with};

/// Writes all of it, or with `--check` tells what is stale.
pub fn run(arguments: &[String]) -> Done {
    deps::run(arguments)?;
    references(arguments, "")
}

pub fn schema(arguments: &[String]) -> Done {
    references(arguments, "schema")
}

/// The test that compares them writes them too. The workspace's features are the tests' own: with others all would be compiled once more.
fn references(arguments: &[String], filter: &str) -> Done {
    let check = arguments.iter().any(|word| word == "--check");
    let words = ["test", "--quiet", "--workspace", "--test", "references", "--", filter];
    cargo_with(&words, &[("KILN_BLESS", if check { "0" } else { "1" })])
}
