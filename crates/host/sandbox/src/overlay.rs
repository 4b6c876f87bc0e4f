//! Overlay and bind mounts in kiln's own mount namespace; nobody else sees them.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A mounted overlay; unmounted on drop.
#[derive(Debug)]
pub struct Overlay {
    target: PathBuf,
}

impl Overlay {
    /// Mounts `lowers` (topmost first; may be empty, then `target` simply shows `upper`) with changes going to `upper`.
    ///
    /// `upper` and `work` are on one filesystem; `work` is made when missing. Whiteouts in `upper` are character devices
    /// 0:0; opaque directories carry `user.overlay.opaque=y`. Nothing is synced to disk.
    pub fn mount(_lowers: &[&Path], _upper: &Path, _work: &Path, target: &Path) -> Result<Self> {
        Err(Error::Refused { what: format!("mount `{}`", target.display()), mend: None, source: None })
    }

    /// Mounts `lowers` (topmost first, at least one) read-only.
    pub fn read_only(_lowers: &[&Path], target: &Path) -> Result<Self> {
        Err(Error::Refused { what: format!("mount `{}`", target.display()), mend: None, source: None })
    }

    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Unmounts and tells when that failed.
    pub fn unmount(self) -> Result<()> {
        Ok(())
    }
}

/// A bind mount; unmounted on drop.
#[derive(Debug)]
pub struct Bound {
    target: PathBuf,
}

impl Bound {
    /// Shows `host` at `target` too.
    pub fn mount(_host: &Path, target: &Path, _read_only: bool) -> Result<Self> {
        Err(Error::Refused { what: format!("mount `{}`", target.display()), mend: None, source: None })
    }

    pub fn target(&self) -> &Path {
        &self.target
    }
}
