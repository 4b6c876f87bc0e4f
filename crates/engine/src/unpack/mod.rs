//! Unpacks package archives into a tree by several threads, while downloads may still run, and writes dpkg's database
//! so that `dpkg --configure -a` simply goes on.
//!
//! Whatever thread is faster, the result is the same: where packages meet (directories both ship, files one replaces),
//! they are ranked by name, `base-files` first. Every path is resolved by the kernel below the tree's root
//! (`openat2` with `RESOLVE_IN_ROOT`), so a link that points out of the tree leads back into it, as under chroot.
//! Nothing is synced: a tree that was not finished is thrown away.

mod claims;
mod directories;
mod error;
mod existing;
mod finish;
mod handles;
mod package;
mod place;
mod shared;
mod workers;

use std::path::{Path, PathBuf};

use kiln_family::deb::package::Control;
use kiln_model::action::PackageRef;
use kiln_model::{Arch, Fault, GuestPath};

pub use error::Error;

/// How to unpack.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that unpack; a large xz archive may use as many more to decode.
    pub threads: usize,
    /// Time of files that no archive brings (the database), in seconds since 1970.
    pub epoch: i64,
    /// Only files, no database and no thought of maintainer scripts (tools trees).
    pub bare: bool,
    /// Of bare packages, the files that are wanted (neither links nor what links lead to); empty: all.
    pub only: Vec<GuestPath>,
    /// Into an empty tree. Directories that are there already get what the archives say of them.
    pub base: bool,
    /// The tree's architecture.
    pub arch: Arch,
    /// Links to make before anything is unpacked, with their targets; see [`usr_merge`].
    pub merged_usr: Vec<(GuestPath, String)>,
}

/// An archive that is ready to be unpacked.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub package: PackageRef,
    pub path: PathBuf,
}

/// What was unpacked.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// Packages that are in the tree, by name and architecture; what [`kiln_family::deb::install::configure::steps`] asks for.
    pub packages: Vec<Control>,
    /// Archives that dpkg must unpack itself, in the sandbox, with their control data.
    pub real: Vec<(Control, Arrival)>,
    /// Programs with setuid or setgid bits: package, path, mode.
    pub privileged: Vec<(String, GuestPath, u32)>,
    /// Names and content bytes written.
    pub names: u64,
    pub bytes: u64,
}

/// Unpacks `packages` as they come into the tree at `root`; `progress` hears of each when it is done.
///
/// The iterator may block, as a channel's does. An error it yields, and the first one met here, ends the work.
pub fn unpack<I>(
    packages: I,
    root: &Path,
    options: &Options,
    progress: &(dyn Fn(&PackageRef) + Sync),
) -> Result<Unpacked, Fault>
where
    I: IntoIterator<Item = Result<Arrival, Fault>>,
    I::IntoIter: Send,
{
    let shared = shared::Shared::open(root, options)?;
    shared.make_links()?;
    let done = workers::run(packages.into_iter(), &shared, progress)?;
    Ok(finish::finish(&shared, done)?)
}

/// Returns the links of a merged `/usr` for an architecture, for [`Options::merged_usr`]: the ones `base-files` ships in
/// Debian 13, and debootstrap makes for releases before.
pub fn usr_merge(arch: Arch) -> Vec<(GuestPath, String)> {
    let more: &[&str] = match arch {
        Arch::Amd64 | Arch::Ppc64el => &["lib64"],
        Arch::Arm64 | Arch::Armel | Arch::Armhf | Arch::I386 | Arch::Riscv64 => &[],
    };
    let names = ["bin", "lib", "sbin"].iter().chain(more);
    names.map(|name| (GuestPath::new(name).expect("a plain name"), format!("usr/{name}"))).collect()
}
