//! The crates and their arrows: drawn into docs/architecture.md, and only ever downwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::tool::{Done, cargo_output, generated, root};

/// How high a crate stands, by the folder it lies in; an arrow must lead to a lower floor.
const FLOORS: &[(&str, u32)] = &[
    ("crates/domain/model", 0),
    ("crates/domain/recipe", 1),
    ("crates/domain/disk", 1),
    ("crates/domain/family", 2),
    ("crates/domain/plan", 3),
    ("crates/host/store", 4),
    ("crates/host/sandbox", 4),
    ("crates/host/fetch", 5),
    ("crates/engine", 6),
    ("crates/farm/api", 7),
    ("crates/adapters", 8),
    ("crates/farm", 8),
    ("crates/kiln", 9),
];

const PICTURE: &str = "docs/architecture.md";
const BEGIN: &str = "<!-- crates: drawn by `cargo xtask deps` -->\n";
const END: &str = "<!-- crates: end -->";

/// A crate of the workspace with what it needs to be built, tests aside.
type Crates = BTreeMap<String, Crate>;

#[derive(Debug, PartialEq)]
struct Crate {
    folder: String,
    needs: BTreeSet<String>,
}

pub fn run(arguments: &[String]) -> Done {
    let metadata = cargo_output(&["metadata", "--format-version", "1", "--no-deps"])?;
    let crates = read(&serde_json::from_str(&metadata).map_err(|error| format!("read cargo's metadata: {error}"))?);
    let wrong = arrows_up(&crates);
    if !wrong.is_empty() {
        return Err(wrong.join("\nerror: "));
    }
    let page = fs::read_to_string(root().join(PICTURE)).map_err(|error| format!("read `{PICTURE}`: {error}"))?;
    generated(PICTURE, &placed(&page, &draw(&crates))?, arguments)
}

/// Reads the product's crates from cargo's metadata; tools that are not part of it (xtask, testkit, fuzz) are left out.
fn read(metadata: &Value) -> Crates {
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let one = |package: &Value| {
        let manifest = package["manifest_path"].as_str()?;
        let folder = manifest.strip_prefix(root)?.trim_start_matches('/').strip_suffix("/Cargo.toml")?.to_owned();
        floor(&folder)?;
        Some((package["name"].as_str()?.to_owned(), Crate { folder, needs: needs(package) }))
    };
    let mut crates: Crates = packages.filter_map(one).collect();
    let names: BTreeSet<String> = crates.keys().cloned().collect();
    crates.values_mut().for_each(|crate_| crate_.needs.retain(|need| names.contains(need)));
    crates
}

fn needs(package: &Value) -> BTreeSet<String> {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let wanted = dependencies.filter(|dependency| dependency["kind"].as_str() != Some("dev"));
    wanted.filter_map(|dependency| Some(dependency["name"].as_str()?.to_owned())).collect()
}

/// Returns the floor of the longest folder in the table that `folder` lies in.
fn floor(folder: &str) -> Option<u32> {
    let within = |base: &str| folder == base || folder.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
    FLOORS.iter().filter(|(base, _)| within(base)).max_by_key(|(base, _)| base.len()).map(|(_, floor)| *floor)
}

/// Returns a sentence for every arrow that does not lead down, and for every host crate that knows more than `model`.
fn arrows_up(crates: &Crates) -> Vec<String> {
    let mut wrong = vec![];
    for (name, from) in crates {
        for to in from.needs.iter().filter_map(|need| Some((need, crates.get(need)?))) {
            if floor(&to.1.folder) >= floor(&from.folder) {
                wrong.push(format!("`{name}` needs `{}`: arrows run downwards only", to.0));
            }
            let decides = to.1.folder.starts_with("crates/domain/") && to.1.folder != "crates/domain/model";
            if from.folder.starts_with("crates/host/") && decides {
                wrong.push(format!("`{name}` needs `{}`: the host knows only `model`", to.0));
            }
        }
    }
    wrong
}

/// Returns the picture, without arrows that follow from others.
fn draw(crates: &Crates) -> String {
    let short = |name: &str| name.strip_prefix("kiln-").unwrap_or(name).to_owned();
    let mut text = "```mermaid\nflowchart TD\n".to_owned();
    for group in ["domain", "host", "farm", "adapters"] {
        let inside: Vec<String> = crates
            .iter()
            .filter(|(_, crate_)| crate_.folder.starts_with(&format!("crates/{group}/")))
            .map(|(name, _)| short(name))
            .collect();
        if !inside.is_empty() {
            text += &format!("    subgraph {group}\n        {}\n    end\n", inside.join("\n        "));
        }
    }
    for (name, from) in crates {
        let direct = from.needs.iter().filter(|need| !from.needs.iter().any(|other| reaches(crates, other, need)));
        direct.for_each(|need| text += &format!("    {} --> {}\n", short(name), short(need)));
    }
    text + "```\n"
}

/// Whether `from` needs `to`, at once or through others.
fn reaches(crates: &Crates, from: &str, to: &str) -> bool {
    let needs = crates.get(from).map(|crate_| &crate_.needs);
    needs.is_some_and(|needs| needs.contains(to) || needs.iter().any(|next| reaches(crates, next, to)))
}

/// Puts the picture between its marks.
fn placed(page: &str, picture: &str) -> Result<String, String> {
    let marks = || format!("`{PICTURE}` has lost its marks `{}` and `{END}`", BEGIN.trim_end());
    let (before, rest) = page.split_once(BEGIN).ok_or_else(marks)?;
    let (_, after) = rest.split_once(END).ok_or_else(marks)?;
    Ok(format!("{before}{BEGIN}{picture}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, folder: &str, needs: &[(&str, Option<&str>)]) -> Value {
        let needs: Vec<Value> = needs.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
        json!({"name": name, "manifest_path": format!("/w/{folder}/Cargo.toml"), "dependencies": needs})
    }

    fn house(engine_needs: &[(&str, Option<&str>)], store_needs: &[(&str, Option<&str>)]) -> Crates {
        let packages = [
            package("kiln-model", "crates/domain/model", &[("serde", None)]),
            package("kiln-recipe", "crates/domain/recipe", &[("kiln-model", None)]),
            package("kiln-store", "crates/host/store", store_needs),
            package("kiln-engine", "crates/engine", engine_needs),
            package("xtask", "xtask", &[]),
        ];
        read(&json!({"workspace_root": "/w", "packages": packages}))
    }

    #[test]
    fn arrows_run_down() {
        let engine = [("kiln-store", None), ("kiln-recipe", None), ("kiln-model", None)];
        assert_eq!(arrows_up(&house(&engine, &[("kiln-model", None), ("kiln-engine", Some("dev"))])), [""; 0]);
        let up = arrows_up(&house(&engine, &[("kiln-engine", None)]));
        assert_eq!(up, ["`kiln-store` needs `kiln-engine`: arrows run downwards only"]);
        let knows = arrows_up(&house(&engine, &[("kiln-recipe", None)]));
        assert_eq!(knows, ["`kiln-store` needs `kiln-recipe`: the host knows only `model`"]);
    }

    #[test]
    fn arrows_that_follow_are_not_drawn() {
        let engine = [("kiln-store", None), ("kiln-recipe", None), ("kiln-model", None)];
        let picture = draw(&house(&engine, &[("kiln-model", None)]));
        assert!(picture.contains("engine --> recipe\n    engine --> store\n    recipe --> model\n"), "{picture}");
        assert!(!picture.contains("engine --> model"), "{picture}");
    }

    #[test]
    fn the_picture_goes_between_its_marks() {
        let page = format!("a\n{BEGIN}old\n{END}\nb\n");
        assert_eq!(placed(&page, "new\n").unwrap(), format!("a\n{BEGIN}new\n{END}\nb\n"));
        assert!(placed("no marks", "").is_err());
    }
}
