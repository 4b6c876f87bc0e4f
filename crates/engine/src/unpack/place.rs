//! Puts one name of an archive into the tree.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, PoisonError};

use kiln_family::deb::install::replaces::{Claimant, Verdict, settle};
use kiln_family::deb::package::{Deb, Kind, Member};
use kiln_model::GuestPath;
use md5::{Digest as _, Md5};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags, fchmod, fchown, fsetxattr, futimens};
use rustix::fs::{linkat, mknodat, openat, readlinkat, statat, symlinkat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::directories::{Looks, dress, times};
use super::error::Error;
use super::handles::Handles;
use super::shared::{Shared, Waiting};

/// One package on its way into the tree.
pub struct Place<'a, 's> {
    pub shared: &'s Shared,
    pub handles: &'a mut Handles<'s>,
    pub package: Arc<Claimant>,
    pub conffiles: HashSet<GuestPath>,
    /// Whether the digest of every file is wanted, because the archive brings none.
    pub digest_all: bool,
    pub placed: Placed,
}

/// What was put where.
#[derive(Default)]
pub struct Placed {
    pub list: Vec<GuestPath>,
    pub digests: HashMap<GuestPath, [u8; 16]>,
    /// Conffiles that were left as `.dpkg-new`.
    pub beside: HashSet<GuestPath>,
    pub privileged: Vec<(GuestPath, u32)>,
    pub bytes: u64,
    /// Where files lie whose places were taken, or are diverted.
    moved: HashMap<GuestPath, GuestPath>,
}

impl Place<'_, '_> {
    /// Puts `member` into the tree, its content out of `deb`.
    pub fn put(&mut self, deb: &mut Deb<impl BufRead>, member: &Member) -> Result<(), Error> {
        if member.kind == Kind::Dir {
            return self.directory(member);
        }
        let to = self.shared.existing.diverted(&member.path, &self.package.name);
        if to != &member.path {
            self.placed.moved.insert(member.path.clone(), to.clone());
        }
        let claim = self.shared.canonical(to);
        let verdict = match self.shared.claims.take(&claim, &self.package) {
            None => return self.here(deb, member, to),
            Some(owner) => self.verdict(&owner, &claim)?,
        };
        match verdict {
            Verdict::Theirs => Ok(()),
            Verdict::Shared => self.beside(deb, member, to, true),
            Verdict::Mine | Verdict::Neither => {
                self.shared.claims.give(&claim, &self.package);
                self.beside(deb, member, to, false)
            }
        }
    }

    /// Decides about a path that another package has, and takes it from the list of the one that loses it.
    fn verdict(&self, owner: &Arc<Claimant>, path: &GuestPath) -> Result<Verdict, Error> {
        let verdict = settle(&self.package, owner);
        match verdict {
            Verdict::Neither => {
                let (mine, theirs) = (self.package.name.clone(), owner.name.clone());
                return Err(Error::Conflict { path: path.clone(), mine, theirs });
            }
            Verdict::Mine => {
                let mut lost = self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner);
                lost.push((owner.filed_as.clone(), path.clone()));
            }
            Verdict::Theirs | Verdict::Shared => {}
        }
        Ok(verdict)
    }

    fn directory(&mut self, member: &Member) -> Result<(), Error> {
        self.placed.list.push(member.path.clone());
        let path = self.shared.canonical(&member.path);
        let known = self.shared.directories.ship(&path, &self.package, self.looks(member));
        if known || member.path.parent().is_none() || self.handles.make(&path)? || self.handles.is_directory(&path) {
            return Ok(());
        }
        Err(Error::NotADirectory { path: member.path.clone(), package: self.package.name.clone() })
    }

    /// Puts a name where it belongs.
    fn here(&mut self, deb: &mut Deb<impl BufRead>, member: &Member, to: &GuestPath) -> Result<(), Error> {
        if self.write(deb, member, to)? || self.occupied(deb, member, to)? {
            self.placed.list.push(member.path.clone());
        }
        Ok(())
    }

    /// Puts a name beside its place until all archives are read.
    fn beside(
        &mut self,
        deb: &mut Deb<impl BufRead>,
        member: &Member,
        place: &GuestPath,
        compare: bool,
    ) -> Result<(), Error> {
        self.placed.list.push(member.path.clone());
        if compare && matches!(member.kind, Kind::Hardlink(_)) {
            return Ok(());
        }
        let written = self.shared.beside(place)?;
        self.write(deb, member, &written)?;
        if !compare {
            self.placed.moved.insert(member.path.clone(), written.clone());
        }
        let waiting = Waiting { written, place: place.clone(), package: Arc::clone(&self.package), compare };
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
        Ok(())
    }

    /// Deals with a place that something in the tree has already; returns whether the name is this package's now.
    fn occupied(&mut self, deb: &mut Deb<impl BufRead>, member: &Member, place: &GuestPath) -> Result<bool, Error> {
        let folder = self.handles.parent(place)?;
        let failed = |doing| move |errno| Error::tree(doing, place, errno);
        let found = statat(&folder, place.name(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look at"))?;
        match (FileType::from_raw_mode(found.st_mode), &member.kind) {
            // dpkg keeps a directory where a link would go; one that this run made is another package's idea, though.
            (FileType::Directory, Kind::Symlink(_))
                if !self.shared.directories.was_made(&self.shared.canonical(place)) =>
            {
                return Ok(true);
            }
            (FileType::Directory, _) => return Err(self.is_a_directory(place)),
            (FileType::Symlink, Kind::Symlink(target)) => {
                let there = readlinkat(&folder, place.name(), Vec::new()).map_err(failed("read the link"))?;
                if there.as_bytes() == target {
                    dress(self.handles, place, self.looks(member), false)?;
                    return Ok(true);
                }
            }
            _ => {}
        }
        if self.conffiles.contains(&member.path) {
            return self.conffile_beside(deb, member, place).map(|()| true);
        }
        let path = self.shared.canonical(place);
        let owner = self.shared.existing.owner(&path, |path| self.shared.canonical(path))?;
        let verdict =
            owner.filter(|owner| owner.filed_as != self.package.filed_as).map(|owner| self.verdict(&owner, &path));
        match verdict.transpose()? {
            Some(Verdict::Theirs) => return Ok(false),
            Some(Verdict::Shared) => {
                self.beside(deb, member, place, true)?;
                self.placed.list.pop();
                return Ok(true);
            }
            Some(Verdict::Mine | Verdict::Neither) | None => {}
        }
        unlinkat(&folder, place.name(), AtFlags::empty()).map_err(failed("replace"))?;
        self.write_new(deb, member, place).map(|()| true)
    }

    fn is_a_directory(&self, place: &GuestPath) -> Error {
        Error::IsADirectory { path: place.clone(), package: self.package.name.clone() }
    }

    /// Leaves a conffile to dpkg, which compares it with what is there.
    fn conffile_beside(
        &mut self,
        deb: &mut Deb<impl BufRead>,
        member: &Member,
        place: &GuestPath,
    ) -> Result<(), Error> {
        let new =
            GuestPath::new([place.as_bytes(), b".dpkg-new"].concat()).map_err(|error| Error::Package(error.into()))?;
        let folder = self.handles.parent(&new)?;
        match unlinkat(&folder, new.name(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::tree("replace", &new, errno)),
        }
        self.placed.beside.insert(member.path.clone());
        self.placed.moved.insert(member.path.clone(), new.clone());
        self.write_new(deb, member, &new)
    }

    fn write_new(&mut self, deb: &mut Deb<impl BufRead>, member: &Member, path: &GuestPath) -> Result<(), Error> {
        if self.write(deb, member, path)? { Ok(()) } else { Err(Error::tree("make", path, Errno::EXIST)) }
    }

    /// Makes a name; returns false, with the content still to be read, when something has it.
    fn write(&mut self, deb: &mut Deb<impl BufRead>, member: &Member, path: &GuestPath) -> Result<bool, Error> {
        let folder = self.handles.parent(path)?;
        let looks = self.looks(member);
        let mode = Mode::from_raw_mode(looks.mode & 0o777);
        let made = match &member.kind {
            Kind::File(_) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match openat(&folder, path.name(), flags, mode) {
                    Ok(file) => return self.fill(deb, member, path, file).map(|()| true),
                    Err(errno) => Err(errno),
                }
            }
            Kind::Symlink(target) => symlinkat(target.as_slice(), &folder, path.name()),
            Kind::Hardlink(target) => {
                let target = self.placed.moved.get(target).unwrap_or(target).clone();
                let from = self.handles.parent(&target)?;
                linkat(&from, target.name(), &folder, path.name(), AtFlags::empty())
            }
            Kind::Fifo => mknodat(&folder, path.name(), FileType::Fifo, mode, 0).and_then(|()| {
                // Opened to read it does not wait; a mode given by name would follow a link.
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                fchmod(openat(&folder, path.name(), flags, Mode::empty())?, Mode::from_raw_mode(looks.mode))
            }),
            Kind::Dir => Ok(()),
        };
        match (made, &member.kind) {
            (Ok(()), Kind::Hardlink(_)) => Ok(true),
            (Ok(()), _) => dress(self.handles, path, looks, self.fresh()).map(|()| true),
            (Err(Errno::EXIST), _) => Ok(false),
            (Err(errno), _) => Err(Error::tree("make", path, errno)),
        }
    }

    /// Writes a file's content and gives it owner, mode and time, with as few calls as will do.
    fn fill(
        &mut self,
        deb: &mut Deb<impl BufRead>,
        member: &Member,
        path: &GuestPath,
        file: OwnedFd,
    ) -> Result<(), Error> {
        let mut file = File::from(file);
        let mut digest = (self.digest_all || self.conffiles.contains(&member.path)).then(Md5::new);
        loop {
            let chunk = deb.chunk()?;
            if chunk.is_empty() {
                break;
            }
            file.write_all(chunk).map_err(|source| Error::Tree { doing: "write", path: path.clone(), source })?;
            self.placed.bytes += chunk.len() as u64;
            if let Some(digest) = &mut digest {
                digest.update(chunk);
            }
        }
        if let Some(digest) = digest {
            self.placed.digests.insert(member.path.clone(), digest.finalize().into());
        }
        let looks = self.looks(member);
        if looks.mode & 0o6000 != 0 {
            self.placed.privileged.push((member.path.clone(), looks.mode));
        }
        self.dress_file(&file, member, looks).map_err(|errno| Error::tree("set mode, owner and time of", path, errno))
    }

    fn dress_file(&self, file: &File, member: &Member, looks: Looks) -> Result<(), Errno> {
        let file = file.as_fd();
        if !self.fresh() || (looks.uid, looks.gid) != (0, 0) {
            fchown(file, Some(Uid::from_raw(looks.uid)), Some(Gid::from_raw(looks.gid)))?;
        }
        if looks.mode & (0o7000 | self.shared.umask) != 0 {
            fchmod(file, Mode::from_raw_mode(looks.mode))?;
        }
        for (name, value) in &member.xattrs {
            fsetxattr(file, name.as_str(), value, XattrFlags::empty())?;
        }
        futimens(file, &times(looks.mtime))
    }

    /// Whether new files belong to root without a word: a directory that was there may hand its group on, but here all
    /// are made by this run and get such bits in the end.
    fn fresh(&self) -> bool {
        self.shared.options.base || self.shared.options.bare
    }

    fn looks(&self, member: &Member) -> Looks {
        let existing = &self.shared.existing;
        let (uid, gid) = (existing.user(&member.user, member.uid), existing.group(&member.group, member.gid));
        let (uid, gid, mode) = existing.overridden(&member.path).unwrap_or((uid, gid, member.mode));
        Looks { mode, uid, gid, mtime: member.mtime }
    }
}
