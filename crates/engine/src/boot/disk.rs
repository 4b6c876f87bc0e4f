//! An artifact made ready for QEMU.

use std::path::{Path, PathBuf};

use kiln_model::Fault;

use crate::diff::{block, packed};

/// A disk that QEMU can open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    pub path: PathBuf,
    /// `raw` or `qcow2`.
    pub format: &'static str,
}

/// Returns the artifact itself, or its content unpacked into `scratch` where it is compressed.
pub fn ready(image: &Path, scratch: &Path) -> Result<Disk, Fault> {
    let doing = || format!("open `{}`", image.display());
    if image.is_dir() {
        return Err(Fault::recipe(format!("`{}` is a folder, not a disk", image.display()))
            .hint("boot wants a raw or qcow2 output"));
    }
    let path = match packed::compression(image).map_err(|fault| fault.doing(doing()))? {
        None => image.to_owned(),
        Some(_) => {
            let whole = scratch.join("unpacked.img");
            packed::unpack(image, &whole)?;
            whole
        }
    };
    let format = if block::is_qcow2(&path)? { "qcow2" } else { "raw" };
    Ok(Disk { path, format })
}
