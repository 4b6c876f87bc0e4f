//! The distributions' public keys, as data/keyrings keeps them.

use include_dir::{Dir, include_dir};

static KEYRINGS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../data/keyrings");

/// Returns a keyring by its file name, with or without ending.
pub fn get(name: &str) -> Option<&'static [u8]> {
    let named = |path: &std::path::Path| path.file_stem().is_some_and(|stem| stem == name);
    let file = KEYRINGS.get_file(name).or_else(|| KEYRINGS.files().find(|file| named(file.path())))?;
    Some(file.contents())
}
