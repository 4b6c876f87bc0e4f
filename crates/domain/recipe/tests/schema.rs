//! The JSON Schema says yes where the check does, and no to every mistake that a schema can see.

mod common;

use common::{Folder, checkout, golden, recipes};
use kiln_model::Arch;
use kiln_recipe::{Options, complete, schema};

/// What a schema sees: names and types.
const SEEN: [&str; 3] = ["unknown-key", "wrong-type", "unknown-word"];

fn as_json(text: &str) -> Option<serde_json::Value> {
    let value: toml::Value = toml::from_str(text).ok()?;
    serde_json::to_value(value).ok()
}

#[test]
fn schema_and_check_agree() {
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    let (mut accepted, mut refused) = (0, 0);
    for folder in ["corpus/recipes", "examples"] {
        let root = Folder(checkout().join(folder));
        for name in recipes(&root.0) {
            let file = format!("{name}.toml");
            let Some(json) = as_json(&std::fs::read_to_string(root.0.join(&file)).unwrap()) else { continue };
            let complaints: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
            match complete(&root, &file, &Options::new(Arch::Amd64)) {
                Ok(_) => {
                    assert!(complaints.is_empty(), "{file}: {complaints:?}");
                    accepted += 1;
                }
                Err(rejected) => {
                    let own = |place: &str| place == file;
                    let seen = rejected
                        .diagnostics
                        .iter()
                        .find(|diagnostic| SEEN.contains(&diagnostic.code.as_str()) && own(&diagnostic.place.file));
                    // Boards, distributions and layouts are the catalogue's words, not the schema's.
                    if let Some(seen) = seen.filter(|seen| !seen.message.starts_with("kiln knows no")) {
                        assert!(!complaints.is_empty(), "{file}: the schema does not see `{}`", seen.message);
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(accepted >= 15 && refused >= 8, "{accepted} accepted, {refused} refused");
}

#[test]
fn templates_have_the_schema() {
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    for template in kiln_recipe::templates() {
        let json = as_json(template.text).expect("TOML");
        assert!(validator.is_valid(&json), "{}", template.name);
    }
}

#[test]
fn the_reference_is_that_of_the_table() {
    let path = checkout().join("docs/reference/recipe.md");
    let stale = golden(&path, Some(&kiln_recipe::reference()));
    assert!(stale.is_none(), "docs/reference/recipe.md is stale: KILN_BLESS=1 writes it");
}
