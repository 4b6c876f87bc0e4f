//! The files of this checkout as [`Sources`], and goldens beside them.
#![allow(dead_code)]

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kiln_model::Digest;
use kiln_recipe::spec::Family;
use kiln_recipe::{Local, Sources};

/// Paths are from `root`.
pub struct Folder(pub PathBuf);

impl Sources for Folder {
    fn read(&self, path: &str) -> io::Result<String> {
        std::fs::read_to_string(self.0.join(path)).map_err(plain)
    }

    fn read_bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.0.join(path)).map_err(plain)
    }

    fn digest(&self, path: &str) -> io::Result<Local> {
        let path = self.0.join(path);
        let meta = path.metadata().map_err(plain)?;
        let (folder, executable) = (meta.is_dir(), meta.permissions().mode() & 0o100 != 0);
        let digest = if folder { Digest::of(listing(&path)?) } else { Digest::of(std::fs::read(&path)?) };
        Ok(Local { digest, folder, executable })
    }

    /// Of trees the name stands for all that they have.
    fn tree(&self, path: &str, family: Family) -> io::Result<Digest> {
        let status = match family {
            Family::Deb => self.0.join(path).join("var/lib/dpkg/status"),
            Family::Apk => self.0.join(path).join("lib/apk/db/installed"),
        };
        status.metadata().map(|_| Digest::of(path)).map_err(plain)
    }
}

/// Operating systems word their errors differently; goldens do not.
fn plain(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::other("no such file"),
        kind => io::Error::other(kind.to_string()),
    }
}

fn listing(folder: &Path) -> io::Result<String> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let inner = entry.path();
        let digest = if inner.is_dir() { Digest::of(listing(&inner)?) } else { Digest::of(std::fs::read(&inner)?) };
        lines.push(format!("{} {digest}\n", entry.file_name().display()));
    }
    lines.sort();
    Ok(lines.concat())
}

/// Returns the top of the checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// Returns the stems of the recipes in a folder, sorted.
pub fn recipes(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("list `{}`: {error}", folder.display()));
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut stems: Vec<String> = names.filter_map(|name| name.strip_suffix(".toml").map(str::to_owned)).collect();
    stems.sort();
    stems
}

/// Compares `text` with a file, or writes it there under `KILN_BLESS=1`; no text means that there must be no file.
/// Returns what is different.
pub fn golden(path: &Path, text: Option<&str>) -> Option<String> {
    let known = std::fs::read_to_string(path).ok();
    if known.as_deref() == text {
        return None;
    }
    if std::env::var_os("KILN_BLESS").is_none() {
        let (known, text) = (known.unwrap_or("(no file)\n".into()), text.unwrap_or("(nothing)\n"));
        return Some(format!("--- {}\n{known}+++ now (KILN_BLESS=1 accepts it)\n{text}", path.display()));
    }
    match text {
        Some(text) => std::fs::write(path, text).unwrap_or_else(|error| panic!("write `{}`: {error}", path.display())),
        None => std::fs::remove_file(path).unwrap_or_else(|error| panic!("remove `{}`: {error}", path.display())),
    }
    None
}
