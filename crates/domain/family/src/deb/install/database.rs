//! The files of `/var/lib/dpkg` that unpacking leaves behind.

use kiln_model::GuestPath;

use super::{Error, File, Record, status, triggers};

/// Names of control files that dpkg keeps to itself.
const NOT_KEPT: [&str; 2] = ["control", "list"];

/// The database of the tree that packages are unpacked onto, as texts; all empty for an empty tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    pub status: String,
    pub triggers: triggers::Existing,
    /// `arch`: the architectures packages may have, the tree's own first.
    pub arch: String,
}

/// Returns the files of `info/` for one package.
pub fn info(record: &Record) -> Vec<File> {
    let stem = format!("/var/lib/dpkg/info/{}", record.control.filed_as());
    let kept = record.control.files.iter().filter(|(name, _)| !NOT_KEPT.contains(&name.as_str()));
    let mut files: Vec<File> = kept
        .map(|(name, file)| File {
            mode: file.mode,
            mtime: Some(file.mtime),
            ..File::new(&format!("{stem}.{name}"), file.bytes.clone())
        })
        .collect();
    files.push(list(&record.control.filed_as(), &record.list));
    if let Some(md5sums) = &record.md5sums {
        files.push(File::new(&format!("{stem}.md5sums"), md5sums.as_bytes()));
    }
    files
}

/// Returns `info/NAME.list`: dpkg writes the root as `/.`.
pub fn list(filed_as: &str, paths: &[GuestPath]) -> File {
    let mut text = Vec::new();
    for path in paths {
        let path = if path.relative().is_empty() { b"/." } else { path.as_bytes() };
        text.extend_from_slice(path);
        text.push(b'\n');
    }
    File::new(&format!("/var/lib/dpkg/info/{filed_as}.list"), text)
}

/// Returns the files that speak of all packages: `status`, the triggers, `arch`.
///
/// `native` is the tree's architecture. Files that other programs make on demand (`available`, `statoverride`) are left to them.
pub fn common(native: &str, existing: &Existing, records: &[Record]) -> Result<Vec<File>, Error> {
    let mut files = triggers::files(&existing.triggers, records)?;
    files.push(File::new("/var/lib/dpkg/status", status::merge(&existing.status, records)?));
    files.push(File::new("/var/lib/dpkg/info/format", "1\n"));
    if let Some(arch) = architectures(native, &existing.arch, records) {
        files.push(File::new("/var/lib/dpkg/arch", arch));
    }
    Ok(files)
}

/// Returns the text of `arch` where a package is foreign to the tree.
fn architectures(native: &str, existing: &str, records: &[Record]) -> Option<String> {
    let mut all: Vec<&str> = existing.lines().collect();
    if all.is_empty() {
        all.push(native);
    }
    for arch in records.iter().map(|record| record.control.architecture()) {
        if arch != "all" && !all.contains(&arch) {
            all.push(arch);
        }
    }
    (all.len() > 1).then(|| all.iter().map(|arch| format!("{arch}\n")).collect())
}
