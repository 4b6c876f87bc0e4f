//! Files and folders of the recipe into the tree.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kiln_model::action::LocalInput;
use kiln_model::fault::OrFault as _;
use kiln_model::{Digest, Fault, FaultKind, GuestPath};

use super::Run;
use crate::target::{Ids, Target};

impl Run<'_> {
    /// Copies what the plan pinned; a file that changed since is an error, not a surprise.
    pub fn copy(
        &self,
        to: &GuestPath,
        from: &LocalInput,
        mode: Option<u32>,
        ids: Ids,
        target: &Target,
    ) -> Result<(), Fault> {
        let path = self.loaded.folder.join(&from.path);
        let doing = || format!("copy `{}` to `{to}`", path.display());
        let digest = if path.is_dir() {
            Digest::of(crate::load::listing(&path).fault(FaultKind::Recipe, doing)?)
        } else {
            Digest::of(fs::read(&path).fault(FaultKind::Recipe, doing)?)
        };
        if digest != from.digest {
            let what = format!("`{}` changed while the build ran", path.display());
            return Err(Fault::recipe(what).hint("build again"));
        }
        put(&path, to, mode, ids, target).fault(FaultKind::Recipe, doing)
    }
}

/// A folder's files keep their permissions; `mode` is for a single file, or for the folder itself.
fn put(from: &Path, to: &GuestPath, mode: Option<u32>, ids: Ids, target: &Target) -> std::io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    let own = || meta.permissions().mode() & 0o755 | 0o400;
    if meta.is_symlink() {
        return target.symlink(to, fs::read_link(from)?.as_os_str().as_bytes(), ids);
    }
    if !meta.is_dir() {
        let plain = if own() & 0o100 != 0 { 0o755 } else { 0o644 };
        return target.write(to, mode.unwrap_or(plain), ids, &fs::read(from)?);
    }
    target.mkdir(to, mode.unwrap_or(0o755), ids)?;
    let mut names: Vec<_> = fs::read_dir(from)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<_>>()?;
    names.sort();
    names.iter().try_for_each(|name| {
        let inner = to.join(name.as_bytes());
        let inner = inner.map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
        put(&from.join(name), &inner, None, ids, target)
    })
}
