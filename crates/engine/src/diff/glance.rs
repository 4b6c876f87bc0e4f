//! A quick look into a disk: enough to boot it, without reading it all.

use std::path::Path;
use std::sync::Arc;

use kiln_model::fault::OrFault;
use kiln_model::{Fault, GuestPath};

use super::block::{self, Bytes, Window};
use super::walk::{self, Filesystem};
use super::{ext4, facts, filesystem, table};

/// What a quick look shows; what it does not show is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    pub hostname: Option<String>,
    /// systemd's major version, by the package database.
    pub systemd: Option<u32>,
    /// What busybox's init reads, where that is what starts the system.
    pub inittab: Option<String>,
    /// Where the ext4 filesystem that is the root begins, in bytes.
    pub root: Option<u64>,
}

/// Looks for the partition that holds a root.
pub fn look(disk: Arc<dyn Bytes>) -> Glance {
    let partitions = table::read(&*disk).unwrap_or_default();
    let mut windows = partitions.iter().map(|part| (part.offset, Window::new(disk.clone(), part.offset, part.size)));
    windows.find_map(|(offset, window)| glance(offset, Arc::new(window))).unwrap_or_default()
}

fn glance(offset: u64, window: Arc<dyn Bytes>) -> Option<Glance> {
    let root = ext4::identity(&*window).map(|_| offset);
    let fs = filesystem::open(window).ok()??;
    let status = text(&*fs, "/var/lib/dpkg/status");
    let hostname = text(&*fs, "/etc/hostname").map(|text| text.trim().to_owned()).filter(|name| !name.is_empty());
    if status.is_none() && hostname.is_none() {
        return None;
    }
    let mut packages = status.map(|status| facts::packages(status.as_bytes())).unwrap_or_default();
    let version = packages.remove("systemd");
    // With cloud-init the machine is called what its cloud says.
    let hostname = hostname.filter(|_| !packages.contains_key("cloud-init"));
    let systemd = version.and_then(|version| version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    let inittab = text(&*fs, "/etc/inittab").filter(|text| text.lines().any(|line| line.starts_with("::sysinit:")));
    Some(Glance { hostname, systemd, inittab, root })
}

fn text(fs: &dyn Filesystem, path: &str) -> Option<String> {
    let file = walk::lookup(fs, &GuestPath::new(path).ok()?).ok()??;
    Some(String::from_utf8_lossy(&walk::read(fs, &file).ok()?).into_owned())
}

/// Returns a file of the filesystem that begins at `offset` of a disk; none when it is not there.
pub fn file(disk: &Path, offset: u64, path: &str) -> Result<Option<Vec<u8>>, Fault> {
    let doing = || format!("read `{path}` in `{}`", disk.display());
    let path = GuestPath::new(path).farm(doing)?;
    let bytes: Arc<dyn Bytes> = block::open(disk)?.into();
    let window = Arc::new(Window::new(bytes, offset, u64::MAX));
    let Some(fs) = filesystem::open(window).farm(doing)? else { return Ok(None) };
    let Some(file) = walk::lookup(&*fs, &path).farm(doing)? else { return Ok(None) };
    walk::read(&*fs, &file).map(Some).farm(doing)
}
