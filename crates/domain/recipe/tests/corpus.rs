//! Every recipe of corpus/recipes has what it becomes beside it: `.out` what is said about it, `.json` its spec.

mod common;

use common::{Folder, checkout, golden, recipes};
use kiln_model::Arch;
use kiln_recipe::{Look, Options, complete, render};

/// Returns what is said, and the spec.
fn outcome(root: &Folder, name: &str) -> (Option<String>, Option<String>) {
    match complete(root, &format!("{name}.toml"), &Options::new(Arch::Amd64)) {
        Ok(completed) => {
            let said = render(&completed.warnings, &completed.files, Look::PLAIN);
            let spec = serde_json::to_string_pretty(&completed.spec).unwrap() + "\n";
            ((!said.is_empty()).then_some(said), Some(spec))
        }
        Err(rejected) => (Some(rejected.render(Look::PLAIN)), None),
    }
}

#[test]
fn every_recipe_becomes_what_lies_beside_it() {
    let folder = checkout().join("corpus/recipes");
    let root = Folder(folder.clone());
    let names = recipes(&folder);
    assert!(names.len() >= 50, "corpus/recipes has only {} recipes", names.len());
    let mut different = Vec::new();
    for name in names {
        let (said, spec) = outcome(&root, &name);
        different.extend(golden(&folder.join(format!("{name}.out")), said.as_deref()));
        different.extend(golden(&folder.join(format!("{name}.json")), spec.as_deref()));
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn examples_and_templates_complete_without_a_word() {
    let root = Folder(checkout());
    for name in recipes(&checkout().join("examples")) {
        let completed = complete(&root, &format!("examples/{name}.toml"), &Options::new(Arch::Amd64));
        let completed = completed.unwrap_or_else(|rejected| panic!("{}", rejected.render(Look::PLAIN)));
        assert_eq!(completed.warnings, [], "{name}");
        assert_eq!(completed.spec.name, name);
    }
    for template in kiln_recipe::templates() {
        let completed = kiln_recipe::complete_text(template.text);
        let completed = completed.unwrap_or_else(|rejected| panic!("{}", rejected.render(Look::PLAIN)));
        assert_eq!(completed.warnings, [], "{}", template.name);
    }
}
