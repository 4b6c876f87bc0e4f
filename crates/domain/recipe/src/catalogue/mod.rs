//! The catalogue: facts of `data/` that are not code, compiled in.

pub mod board;
pub mod layout;
pub mod names;
pub mod release;

use include_dir::{Dir, include_dir};
use serde::de::DeserializeOwned;

pub use board::Board;
pub use layout::Layout;
pub use release::Release;

static RELEASES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../../data/releases");
static BOARDS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../../data/boards");
static KEYRINGS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../../data/keyrings");
static LAYOUTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../../data/layouts");

/// Whether kiln brings the keyring that a release names.
pub fn has_keyring(name: &str) -> bool {
    KEYRINGS.get_file(name).is_some()
}

/// Reads every file of a folder, in the order of their names: the file's stem and its content.
fn all<T: DeserializeOwned>(folder: &'static Dir<'static>) -> Vec<(String, T)> {
    let mut files: Vec<_> = folder.files().collect();
    files.sort_by_key(|file| file.path());
    files
        .into_iter()
        .map(|file| {
            let path = file.path().display();
            let stem = file.path().file_stem().expect("a file has a name").to_string_lossy().into_owned();
            let text = file.contents_utf8().unwrap_or_else(|| panic!("data `{path}` is not UTF-8"));
            // A test reads the whole catalogue, so that no kiln with a broken one comes to be.
            (stem, toml::from_str(text).unwrap_or_else(|error| panic!("data `{path}`: {error}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_catalogue_reads_and_holds_together() {
        let releases = release::all();
        let names: Vec<&str> = releases.iter().map(|release| release.title.as_str()).collect();
        assert_eq!(
            names,
            [
                "Alpine 3.20",
                "Alpine 3.21",
                "Alpine 3.22",
                "Alpine 3.23",
                "Alpine edge",
                "Debian 12",
                "Debian 13",
                "Debian sid",
                "Devuan 5",
                "Devuan 6",
                "Kali Linux",
                "Raspberry Pi OS 12 (bookworm)",
                "Raspberry Pi OS 13 (trixie)",
                "Ubuntu 22.04",
                "Ubuntu 24.04"
            ]
        );
        for release in releases {
            for arch in &release.architectures {
                let repositories: Vec<_> = release.repositories_for(*arch).collect();
                assert!(repositories.iter().any(|repository| repository.option.is_none()), "{} {arch}", release.title);
                let unique: BTreeSet<_> = repositories.iter().map(|repository| &repository.name).collect();
                assert_eq!(unique.len(), repositories.len(), "{} {arch}", release.title);
            }
        }
        // Those of Alpine, Kali, Devuan and Raspberry Pi OS are the recipe's to bring.
        for name in ["debian.pgp", "ubuntu.pgp"] {
            assert!(has_keyring(name), "{name}");
        }
        for ended in release::ended() {
            assert!(release::find(&ended.distribution, &ended.successor).is_some(), "{ended:?}");
        }
        for board in board::all() {
            for release in releases {
                assert!(layout::find(board.layout_in(release, false)).is_some(), "{}", board.name);
            }
            // Both would lie before the first partition.
            assert!(!board.bios || board.blobs.is_empty(), "{}", board.name);
        }
    }

    #[test]
    fn names_of_forbidden_hosts_are_not_in_the_catalogue() {
        let text: String = RELEASES.files().filter_map(|file| file.contents_utf8()).collect();
        for host in [concat!("//deb", ".debian"), concat!("//security", ".debian")] {
            assert!(!text.contains(host), "{host}");
        }
    }
}
