//! One more of something: copies the example its page names, to be changed, and says what is next.

use std::fs;

use crate::tool::{Done, root};

/// A kind of thing, the good example of it, its page.
const KINDS: &[(&str, &str, &str)] = &[
    ("release", "data/releases/debian-13.toml", "docs/adding/release.md"),
    ("board", "data/boards/generic-x86_64.toml", "docs/adding/board.md"),
    ("layout", "data/layouts/efi.toml", "docs/adding/layout.md"),
    ("format", "crates/domain/plan/src/format/tar.rs", "docs/adding/format.md"),
    ("stage", "crates/domain/plan/src/stage/timezone.rs", "docs/adding/stage.md"),
];

pub fn run(arguments: &[String]) -> Done {
    let kinds = || KINDS.iter().map(|(kind, ..)| *kind).collect::<Vec<_>>().join("|");
    let [kind, name] = arguments else { return Err(format!("cargo xtask new {} NAME", kinds())) };
    let known = KINDS.iter().find(|(known, ..)| known == kind);
    let (_, example, page) = known.ok_or_else(|| format!("`{kind}` is none of {}", kinds()))?;
    let target = beside(example, name);
    if root().join(&target).exists() {
        return Err(format!("`{target}` is there already"));
    }
    fs::copy(root().join(example), root().join(&target)).map_err(|error| format!("copy `{example}`: {error}"))?;
    println!("wrote {target} from {example}\nwhat else to do: {page}");
    Ok(())
}

/// Returns the path of `name` in the folder of `example`, with its ending.
fn beside(example: &str, name: &str) -> String {
    let (folder, file) = example.rsplit_once('/').unwrap_or(("", example));
    let ending = file.rsplit_once('.').map_or("", |(_, ending)| ending);
    format!("{folder}/{name}.{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_and_page_is_there() {
        for (_, example, page) in KINDS {
            assert!(root().join(example).is_file(), "{example}");
            assert!(root().join(page).is_file(), "{page}");
        }
        assert_eq!(beside("data/boards/x.toml", "rock"), "data/boards/rock.toml");
    }
}
