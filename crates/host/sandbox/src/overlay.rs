//! Overlay and bind mounts in kiln's own mount namespace; nobody else sees them.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, move_mount, open_tree, unmount};

use crate::error::Doing;
use crate::{Result, container, sys};

/// A mounted overlay; unmounted on drop.
#[derive(Debug)]
pub struct Overlay {
    mounted: Bound,
    work: Option<PathBuf>,
}

impl Overlay {
    /// Mounts `lowers` (topmost first; may be empty, then `target` simply shows `upper`) with changes going to `upper`.
    ///
    /// `upper` and `work` are on one filesystem; both and `target` are made when missing. Whiteouts in `upper` are
    /// character devices 0:0; opaque directories carry `user.overlay.opaque=y`. Nothing is synced to disk: after a power
    /// cut `upper` is worth nothing.
    pub fn mount(lowers: &[&Path], upper: &Path, work: &Path, target: &Path) -> Result<Self> {
        let doing = || format!("mount an overlay at `{}`", target.display());
        for directory in [upper, work, target] {
            fs::create_dir_all(directory).doing(|| format!("make `{}`", directory.display()))?;
        }
        if lowers.is_empty() {
            return Ok(Self { mounted: Bound::mount(upper, target, false)?, work: None });
        }
        // The kernel's note that an earlier unsynced overlay used this directory; we know and do not mind.
        let _ = fs::remove_dir_all(work.join("work/incompat"));
        let lowers = Handles::of(lowers)?;
        let (upper, place) = (Handles::of(&[upper])?, Handles::of(&[work])?);
        let options = format!("userxattr,volatile,lowerdir={lowers},upperdir={upper},workdir={place}");
        overlay(target, MountFlags::NODEV, &options)
            .map_err(|error| container::upon_overlay(&upper.0[0], doing(), error))?;
        Ok(Self { mounted: Bound { target: target.into(), mounted: true }, work: Some(work.into()) })
    }

    /// Mounts `lowers` (topmost first, at least one) read-only; `target` is made when missing.
    pub fn read_only(lowers: &[&Path], target: &Path) -> Result<Self> {
        if let [only] = lowers {
            return Ok(Self { mounted: Bound::mount(only, target, true)?, work: None });
        }
        let doing = || format!("mount a read-only overlay at `{}`", target.display());
        fs::create_dir_all(target).doing(doing)?;
        let lowers = Handles::of(lowers)?;
        let options = format!("userxattr,lowerdir={lowers}");
        overlay(target, MountFlags::NODEV | MountFlags::RDONLY, &options).doing(doing)?;
        Ok(Self { mounted: Bound { target: target.into(), mounted: true }, work: None })
    }

    pub fn target(&self) -> &Path {
        self.mounted.target()
    }

    /// Unmounts and tells when that failed; nothing changes `upper` after this.
    ///
    /// The whiteouts in `upper` are links to one that waits in `work`: were that removed later, theirs would show the
    /// change.
    pub fn unmount(self) -> Result<()> {
        self.mounted.unmount()?;
        let Some(work) = self.work else { return Ok(()) };
        fs::remove_dir_all(&work).doing(|| format!("remove `{}`", work.display()))
    }
}

fn overlay(target: &Path, flags: MountFlags, options: &str) -> io::Result<()> {
    let options = std::ffi::CString::new(options)?;
    Ok(mount("overlay", target, "overlay", flags, options.as_c_str())?)
}

/// Open directories, named by descriptor: mount options hold one page, and no path may hold a colon or comma there.
struct Handles(Vec<OwnedFd>);

impl Handles {
    fn of(directories: &[&Path]) -> Result<Self> {
        let handle = |directory: &&Path| {
            open(*directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .doing(|| format!("open `{}`", directory.display()))
        };
        Ok(Self(directories.iter().map(handle).collect::<Result<_>>()?))
    }
}

impl std::fmt::Display for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, handle) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}/proc/self/fd/{}", handle.as_raw_fd())?;
        }
        Ok(())
    }
}

/// A bind mount; unmounted on drop.
#[derive(Debug)]
pub struct Bound {
    target: PathBuf,
    mounted: bool,
}

impl Bound {
    /// Shows `host`, a file or directory, at `target` too; `target` is made when missing.
    pub fn mount(host: &Path, target: &Path, read_only: bool) -> Result<Self> {
        let doing = || format!("bind `{}` to `{}`", host.display(), target.display());
        make_point(host, target).doing(doing)?;
        let tree = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, host, tree).doing(doing)?;
        if read_only {
            sys::mount_add(&tree, libc::MOUNT_ATTR_RDONLY, true).doing(doing)?;
        }
        move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).doing(doing)?;
        Ok(Self { target: target.into(), mounted: true })
    }

    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Unmounts and tells when that failed.
    pub fn unmount(mut self) -> Result<()> {
        let result = unmount(&self.target, UnmountFlags::NOFOLLOW);
        self.mounted = result.is_err();
        result.doing(|| format!("unmount `{}`", self.target.display()))
    }
}

impl Drop for Bound {
    /// Somebody may still have a file open: the mount then goes when they close it.
    fn drop(&mut self) {
        if self.mounted && unmount(&self.target, UnmountFlags::NOFOLLOW).is_err() {
            let _ = unmount(&self.target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
        }
    }
}

fn make_point(host: &Path, target: &Path) -> io::Result<()> {
    if fs::metadata(host)?.is_dir() {
        return fs::create_dir_all(target);
    }
    if !target.exists() {
        fs::create_dir_all(target.parent().unwrap_or(Path::new("/")))?;
        File::create(target)?;
    }
    Ok(())
}
