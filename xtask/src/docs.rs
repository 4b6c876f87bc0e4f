//! What docs/ has from code: the command line, the schema, the picture of the crates.

use crate::deps;
use crate::tool::{Done, cargo_output, generated};

/// Writes all of it, or with `--check` tells what is stale.
pub fn run(arguments: &[String]) -> Done {
    deps::run(arguments)?;
    generated("docs/reference/cli.md", &kiln("reference")?, arguments)?;
    generated("docs/reference/openapi.json", &kiln("openapi")?, arguments)?;
    schema(arguments)
}

pub fn schema(arguments: &[String]) -> Done {
    generated("docs/reference/recipe.schema.json", &kiln("schema")?, arguments)
}

fn kiln(verb: &str) -> Result<String, String> {
    cargo_output(&["run", "--quiet", "--package", "kiln", "--", verb])
}
