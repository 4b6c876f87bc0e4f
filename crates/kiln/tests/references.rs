//! What docs/reference has from the program is what the program says now; `cargo xtask docs` writes it anew.

use std::path::Path;
use std::process::Command;

use kiln_testkit::golden;

fn is_fresh(verb: &str, file: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_kiln")).arg(verb).output().unwrap();
    assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(file);
    golden(path, &String::from_utf8(output.stdout).unwrap());
}

#[test]
fn command_line() {
    is_fresh("reference", "cli.md");
}

#[test]
fn openapi() {
    is_fresh("openapi", "openapi.json");
}

#[test]
fn schema() {
    is_fresh("schema", "recipe.schema.json");
}
