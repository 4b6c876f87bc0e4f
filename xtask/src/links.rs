//! Links of our pages: what they lead to in this tree must be there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::tool::{Done, root};

/// Folders that hold no pages of ours.
const NOT_OURS: &[&str] = &["target", ".git", "corpus", "out"];

/// Tells every link that leads nowhere.
pub fn check() -> Done {
    let mut pages = vec![];
    collect(&root(), &mut pages);
    let broken: Vec<String> = pages.iter().flat_map(|page| broken(page)).collect();
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\nerror: ")) }
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let ours = !NOT_OURS.iter().any(|name| entry.file_name() == *name);
        if path.is_dir() && ours {
            collect(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            into.push(path);
        }
    }
}

fn broken(page: &Path) -> Vec<String> {
    let (text, folder) = (fs::read_to_string(page).unwrap_or_default(), page.parent().unwrap_or(page));
    let shown = page.strip_prefix(root()).unwrap_or(page).display().to_string();
    let missing = links(&text).into_iter().filter(|link| !folder.join(link).exists());
    missing.map(|link| format!("`{shown}` links to `{link}`, which is not there")).collect()
}

/// Returns the targets of links to files, without what follows a `#`.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.map(|target| target.split('#').next().unwrap_or_default());
    files.filter(|file| !file.is_empty() && !file.contains("://") && !file.contains(' ')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_are_found() {
        let text = "[a](b.md) and [c](d/e.rs#L3), [web](https://example.org/), [here](#there)";
        assert_eq!(links(text), ["b.md", "d/e.rs"]);
    }

    #[test]
    fn every_link_of_our_pages_leads_somewhere() {
        assert_eq!(check(), Ok(()));
    }
}
