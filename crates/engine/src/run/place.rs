//! The files of Alpine's packages on their way into the tree, and what apk leaves alone of what is there.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::Path;

use kiln_family::apk::install::Record;
use kiln_family::apk::install::conflicts::Owners;
use kiln_family::apk::package::{File, Files};
use kiln_family::apk::{Limits, Package};
use kiln_family::deb::package::{Kind, Member};
use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, GuestPath};
use kiln_plan::accounts::id_of;
use kiln_plan::context::path;

use crate::target::{Ids, Target};

/// Whether apk gives a file another name where somebody else's is already: all of `/etc`, but for what is its own.
pub fn is_protected(path: &GuestPath) -> bool {
    path.as_bytes().starts_with(b"/etc/") && !path.as_bytes().starts_with(b"/etc/apk/")
}

/// Returns the name beside a file that apk gives what may not replace it.
pub fn beside(own: &GuestPath) -> Result<GuestPath, Fault> {
    let beside = GuestPath::new([own.as_bytes(), b".apk-new"].concat());
    beside.map_err(|error| Fault::package(format!("place `{own}`")).because(error))
}

/// Returns what apk's sums are of: the bytes of a file, or where a link leads to.
pub fn content(path: &GuestPath, target: &Target) -> io::Result<Option<Vec<u8>>> {
    match target.link(path) {
        Some(to) => Ok(Some(to)),
        None => target.read(path),
    }
}

/// Returns which package gives a directory its looks: the first that has it.
pub fn dressers(records: &[Record]) -> HashMap<&GuestPath, usize> {
    let mut found = HashMap::new();
    for (at, record) in records.iter().enumerate() {
        let members = record.files.iter().map(|file| &file.member).filter(|member| member.kind == Kind::Dir);
        members.for_each(|member| {
            found.entry(&member.path).or_insert(at);
        });
    }
    found
}

/// What apk says of the files of a tree that has packages already.
pub struct Before<'a> {
    owners: &'a Owners,
    /// By where they really are.
    files: HashMap<GuestPath, (&'a Record, &'a File)>,
    /// Permission bits and owners.
    folders: HashMap<&'a GuestPath, (u32, Ids)>,
}

impl<'a> Before<'a> {
    pub fn new(records: impl Iterator<Item = &'a Record>, owners: &'a Owners) -> Self {
        let mut before = Self { owners, files: HashMap::new(), folders: HashMap::new() };
        for (record, file) in records.flat_map(|record| record.files.iter().map(move |file| (record, file))) {
            match file.member.kind {
                Kind::Dir => before.dress(&file.member),
                _ => drop(before.files.insert(owners.place(&file.member.path), (record, file))),
            }
        }
        before
    }

    /// Of several packages with a directory, the one with the lowest owner says its looks, and all say who is kept out.
    fn dress(&mut self, member: &'a Member) {
        let own = Ids { uid: member.uid, gid: member.gid };
        let (mode, ids) = self.folders.entry(&member.path).or_insert((member.mode, own));
        match (own.uid, own.gid).cmp(&(ids.uid, ids.gid)) {
            std::cmp::Ordering::Less => (*mode, *ids) = (member.mode, own),
            std::cmp::Ordering::Equal => *mode &= member.mode,
            std::cmp::Ordering::Greater => {}
        }
    }

    /// Whether what is there is a package's, and as it came.
    fn is_unchanged(&self, path: &GuestPath, target: &Target) -> io::Result<bool> {
        let Some((record, file)) = self.files.get(&self.owners.place(path)) else { return Ok(false) };
        Ok(content(path, target)?.is_some_and(|bytes| record.is_content(file, &bytes)))
    }

    /// Whether a directory may be given other looks: one that nobody has changed, or that is not there.
    fn may_dress(&self, folder: &GuestPath, target: &Target) -> io::Result<bool> {
        if !target.exists(folder) {
            return Ok(true);
        }
        let known = self.folders.get(folder).copied();
        known.map_or(Ok(false), |known| Ok(target.looks(folder)? == known))
    }
}

/// A package's files on their way into the tree.
pub struct Placed<'a> {
    target: &'a Target,
    records: &'a [Record],
    owners: &'a Owners,
    /// The package's place in the order.
    at: usize,
    dressers: &'a HashMap<&'a GuestPath, usize>,
    /// Where the tree had packages before.
    before: Option<&'a Before<'a>>,
    passwd: String,
    group: String,
    /// Where files went that did not get their own name.
    moved: HashMap<GuestPath, GuestPath>,
}

impl<'a> Placed<'a> {
    pub fn new(
        target: &'a Target,
        records: &'a [Record],
        owners: &'a Owners,
        dressers: &'a HashMap<&'a GuestPath, usize>,
        at: usize,
    ) -> Result<Self, Fault> {
        let text = |file: &str| target.text(&path(file)).farm(|| format!("read `{file}` of the tree"));
        let (passwd, group) = (text("/etc/passwd")?, text("/etc/group")?);
        Ok(Self { target, records, owners, at, dressers, before: None, passwd, group, moved: HashMap::new() })
    }

    /// Leaves alone what somebody changed in a tree that has packages.
    pub fn upon(self, before: &'a Before<'a>) -> Self {
        Self { before: Some(before), ..self }
    }

    /// Places all files of an archive.
    pub fn all_of(mut self, archive: &Path) -> Result<(), Fault> {
        let bytes = std::fs::read(archive).farm(|| format!("read `{}`", archive.display()))?;
        let package = Package::open(&bytes, Limits::default())?;
        let name = self.records[self.at].info.full_name();
        self.all(package.files()).map_err(|fault| fault.doing(format!("unpack `{name}`")))
    }

    fn all(&mut self, mut files: Files<'_>) -> Result<(), Fault> {
        while let Some(file) = files.next_file()? {
            let path = &file.member.path;
            if path.relative().is_empty() || self.owners.of(path).is_some_and(|owner| owner != self.at) {
                continue;
            }
            self.one(&file, &mut files)?;
        }
        Ok(())
    }

    fn one(&mut self, file: &File, files: &mut Files<'_>) -> Result<(), Fault> {
        let (member, target) = (&file.member, self.target);
        let ids = self.ids(member);
        let doing = || format!("write `{}` in the tree", member.path);
        if member.kind == Kind::Dir {
            return self.folder(member, ids).farm(doing);
        }
        let Some(place) = self.place(file)? else { return Ok(()) };
        match &member.kind {
            Kind::File(_) => {
                let mut pending = target.create(&place, member.mode, ids).farm(doing)?;
                loop {
                    let chunk = files.chunk()?;
                    if chunk.is_empty() {
                        break;
                    }
                    pending.file.write_all(chunk).farm(doing)?;
                }
                pending.finish_as(member.mtime, &member.xattrs).farm(doing)
            }
            Kind::Symlink(to) => target.symlink(&place, to, ids).farm(doing),
            Kind::Hardlink(first) => {
                let first = self.moved.get(first).unwrap_or(first);
                target.hardlink(first, &place).farm(doing)
            }
            Kind::Fifo => Err(Fault::package(doing()).because("apk's packages hold no pipes")),
            Kind::Dir => Ok(()),
        }
    }

    fn folder(&self, member: &Member, ids: Ids) -> io::Result<()> {
        let first = self.dressers.get(&member.path).copied();
        if first.is_some_and(|first| first < self.at) && self.target.exists(&member.path) {
            return Ok(());
        }
        match self.before {
            Some(before) if !before.may_dress(&member.path, self.target)? => Ok(()),
            _ => self.target.mkdir(&member.path, member.mode, ids),
        }
    }

    /// Returns the name that a file gets: beside its own in `/etc`, where something has that which is no package's, or which somebody
    /// changed; none where that is the same.
    fn place(&mut self, file: &File) -> Result<Option<GuestPath>, Fault> {
        let (own, target) = (&file.member.path, self.target);
        let doing = || format!("read `{own}` of the tree");
        let taken = target.exists(own);
        let folder = taken && target.facts(own).is_ok_and(|facts| facts.is_folder);
        if folder {
            let text = format!("`{own}` is a directory in the tree");
            return Err(Fault::package(text));
        }
        if !taken || !is_protected(own) {
            return Ok(Some(own.clone()));
        }
        let replaced = match self.before {
            Some(before) => before.is_unchanged(own, target).farm(doing)?,
            None => self.is_packaged(own),
        };
        if replaced {
            return Ok(Some(own.clone()));
        }
        let is_same = |bytes: Vec<u8>| self.records[self.at].is_content(file, &bytes);
        if self.before.is_some() && content(own, target).farm(doing)?.is_some_and(is_same) {
            return Ok(None);
        }
        let beside = beside(own)?;
        self.moved.insert(own.clone(), beside.clone());
        Ok(Some(beside))
    }

    /// Whether a file is an earlier package's, which this one may replace.
    fn is_packaged(&self, own: &GuestPath) -> bool {
        self.records[..self.at].iter().flat_map(|record| &record.files).any(|file| file.member.path == *own)
    }

    /// Looks names up in the tree's own account files, as apk does; numbers stand in where they are not known.
    fn ids(&self, member: &Member) -> Ids {
        let known = |text: &str, name: &[u8], number: u32| {
            let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
            name.and_then(|name| id_of(text, name)).unwrap_or(number)
        };
        Ids { uid: known(&self.passwd, &member.user, member.uid), gid: known(&self.group, &member.group, member.gid) }
    }
}
