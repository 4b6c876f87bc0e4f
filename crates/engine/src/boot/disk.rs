//! An artifact made ready for QEMU.

use std::path::{Path, PathBuf};

use kiln_model::Fault;
use kiln_model::fault::OrFault as _;

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

/// Returns a disk that the guest may change for good: a copy of it.
pub fn to_write(disk: &Disk, scratch: &Path) -> Result<Disk, Fault> {
    let copy = scratch.join("changed.img");
    block::copy_sparse(&*block::open(&disk.path)?, &copy)?;
    Ok(Disk { path: copy, format: "raw" })
}

/// Returns the disk as a memory card: QEMU wants its size to be a power of two, so a copy is made longer.
pub fn as_card(disk: Disk, scratch: &Path) -> Result<Disk, Fault> {
    let bytes = block::open(&disk.path)?;
    let size = bytes.size();
    if disk.format == "raw" && size.is_power_of_two() {
        return Ok(disk);
    }
    let copy = scratch.join("copy.img");
    if disk.path != copy {
        block::copy_sparse(&*bytes, &copy)?;
    }
    let longer =
        std::fs::File::options().write(true).open(&copy).and_then(|file| file.set_len(size.next_power_of_two()));
    longer.farm(|| "make a memory card's size a power of two".into())?;
    Ok(Disk { path: copy, format: "raw" })
}
