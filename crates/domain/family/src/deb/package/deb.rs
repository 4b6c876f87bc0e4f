//! A whole `.deb`: its control data at once, its files one by one.

use std::collections::{BTreeMap, HashSet};
use std::io::BufRead;

use kiln_model::GuestPath;

use super::ar::Ar;
use super::compression::Decoder;
use super::tar::{Kind, Member, Tar};
use super::{BadPackage, Control, ControlFile};

/// What an archive may grow to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names in `data.tar`.
    pub names: u64,
    /// Bytes of `control.tar`, unpacked.
    pub control: u64,
    /// Bytes of files are refused when they are more than `Installed-Size` times this …
    pub times: u64,
    /// … and also more than `Installed-Size` plus this many bytes.
    pub over: u64,
    /// Threads that decode one xz stream.
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { names: 2_000_000, control: 64 << 20, times: 8, over: 1 << 30, threads: 1 }
    }
}

/// An archive whose control data has been read and whose files come next.
pub struct Deb<R: BufRead> {
    control: Control,
    data: Tar<Decoder<Ar<R>>>,
    data_name: String,
    limits: Limits,
    seen: HashSet<GuestPath>,
    bytes: u64,
}

impl<R: BufRead> Deb<R> {
    /// Reads up to the beginning of `data.tar`.
    pub fn open(reader: R, limits: Limits) -> Result<Self, BadPackage> {
        let mut ar = Ar::open(reader)?;
        format_version(&mut ar)?;
        let name = next_of(&mut ar, "control.tar")?;
        let (control, ar) = read_control(ar, &name, limits)?;
        let mut ar = ar;
        let data_name = next_of(&mut ar, "data.tar")?;
        let data = Tar::new(decoder(ar, &data_name, "data.tar", limits.threads)?, data_name.clone());
        Ok(Self { control, data, data_name, limits, seen: HashSet::new(), bytes: 0 })
    }

    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Returns the next name; files' bytes follow through [`Deb::chunk`].
    pub fn next_member(&mut self) -> Result<Option<Member>, BadPackage> {
        let Some(member) = self.data.next_member()? else { return Ok(None) };
        if let Kind::File(size) = member.kind {
            self.bytes = self.bytes.saturating_add(size);
        }
        self.bounded()?;
        // A directory may be named again (`./usr/` by two tools that were run one after the other); a file may not.
        if !self.seen.insert(member.path.clone()) && member.kind != Kind::Dir {
            return Err(BadPackage::PathTwice { path: member.path.to_string() });
        }
        if let Kind::Hardlink(target) = &member.kind
            && !self.seen.contains(target)
        {
            return Err(BadPackage::LinkOutside { path: member.path.to_string(), target: target.to_string() });
        }
        Ok(Some(member))
    }

    fn bounded(&self) -> Result<(), BadPackage> {
        let claimed = self.control.installed_size();
        let size = claimed.saturating_mul(1024);
        let allowed = size.saturating_mul(self.limits.times).max(size.saturating_add(self.limits.over));
        if self.bytes > allowed {
            return Err(BadPackage::Bomb { allowed, claimed });
        }
        if self.seen.len() as u64 >= self.limits.names {
            return Err(BadPackage::TooMany { allowed: self.limits.names });
        }
        Ok(())
    }

    /// Returns the next bytes of the current file; empty at its end.
    pub fn chunk(&mut self) -> Result<&[u8], BadPackage> {
        self.data.chunk()
    }

    /// Reads what is left, so that every checksum is looked at, and returns the control data and the reader at its end.
    pub fn finish(self) -> Result<(Control, R), BadPackage> {
        let mut ar = end_of(self.data.finish()?, &self.data_name)?;
        // Later members are ignored (deb(5)), but a second one of the three would be read by nobody or by somebody else.
        while let Some((name, _)) = ar.next_member()? {
            if ["debian-binary", "control.tar", "data.tar"].iter().any(|one| name.starts_with(one)) {
                return Err(BadPackage::MemberTwice { member: name });
            }
        }
        Ok((self.control, ar.into_inner()))
    }

    /// Returns the control data and the reader, with the files unread.
    pub fn abandon(self) -> (Control, R) {
        (self.control, self.data.into_inner().into_inner().into_inner())
    }
}

fn format_version<R: BufRead>(ar: &mut Ar<R>) -> Result<(), BadPackage> {
    let (name, size) = ar.next_member()?.ok_or(BadPackage::MemberMissing("debian-binary"))?;
    if name != "debian-binary" {
        return Err(BadPackage::OutOfOrder { expected: "debian-binary", found: name });
    }
    let mut text = vec![0; size.min(64) as usize];
    std::io::Read::read_exact(ar, &mut text).map_err(|_| BadPackage::Truncated { member: name })?;
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    if line.starts_with(b"2.") && line[2..].iter().all(u8::is_ascii_digit) && text.contains(&b'\n') {
        return Ok(());
    }
    Err(BadPackage::FormatVersion(String::from_utf8_lossy(line).into_owned()))
}

/// Goes to the next member that is not one of those whose names begin with `_`, which deb(5) lets anyone add.
fn next_of<R: BufRead>(ar: &mut Ar<R>, expected: &'static str) -> Result<String, BadPackage> {
    loop {
        let (name, _) = ar.next_member()?.ok_or(BadPackage::MemberMissing(expected))?;
        if name.starts_with('_') {
            continue;
        }
        let earlier = ["debian-binary", "control.tar"].iter().any(|one| name.starts_with(one));
        return match name {
            name if name.starts_with(expected) => Ok(name),
            name if earlier => Err(BadPackage::MemberTwice { member: name }),
            found => Err(BadPackage::OutOfOrder { expected, found }),
        };
    }
}

fn decoder<R: BufRead>(reader: R, name: &str, stem: &str, threads: usize) -> Result<Decoder<R>, BadPackage> {
    let damaged = |source| BadPackage::Damaged { member: name.to_owned(), source };
    let decoder = Decoder::new(&name[stem.len()..], reader, threads).map_err(damaged)?;
    decoder.ok_or_else(|| BadPackage::Compression(name.to_owned()))
}

/// Returns the reader below a decoder that has come to its end; bytes it did not want are refused.
fn end_of<R: BufRead>(decoder: Decoder<Ar<R>>, name: &str) -> Result<Ar<R>, BadPackage> {
    let mut ar = decoder.into_inner();
    match ar.fill_buf() {
        Ok([]) => Ok(ar),
        Ok(_) => Err(BadPackage::Trailing { member: name.to_owned() }),
        Err(_) => Err(BadPackage::Truncated { member: name.to_owned() }),
    }
}

fn read_control<R: BufRead>(ar: Ar<R>, name: &str, limits: Limits) -> Result<(Control, Ar<R>), BadPackage> {
    let mut tar = Tar::new(decoder(ar, name, "control.tar", 1)?, name);
    let (mut files, mut bytes) = (BTreeMap::new(), 0);
    while let Some(member) = tar.next_member()? {
        let shown = member.path.to_string();
        match member.kind {
            Kind::Dir if member.path.relative().is_empty() => continue,
            Kind::File(size) if plain(member.path.relative()) => bytes += size.saturating_add(512),
            _ => return Err(BadPackage::ControlFile(shown)),
        }
        if bytes > limits.control {
            return Err(BadPackage::ControlTooLarge { member: name.to_owned(), allowed: limits.control });
        }
        let file = ControlFile { mode: member.mode, mtime: member.mtime, bytes: tar.content()? };
        if files.insert(shown[1..].to_owned(), file).is_some() {
            return Err(BadPackage::PathTwice { path: shown });
        }
    }
    let ar = end_of(tar.finish()?, name)?;
    let control = files.remove("control").ok_or(BadPackage::ControlFile("control".into()))?;
    Ok((Control::new(&control.bytes, files)?, ar))
}

/// Whether a control file's name can become part of a file name in dpkg's database.
fn plain(name: &[u8]) -> bool {
    name.len() <= 100
        && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte))
        && !name.starts_with(b".")
}

/// Feeds arbitrary bytes to the reader; for fuzzing, must neither panic nor use much memory.
pub fn fuzz(bytes: &[u8]) {
    let limits = Limits { names: 10_000, control: 1 << 20, times: 1, over: 4 << 20, threads: 1 };
    let Ok(mut deb) = Deb::open(bytes, limits) else { return };
    while let Ok(Some(_)) = deb.next_member() {
        while deb.chunk().is_ok_and(|chunk| !chunk.is_empty()) {}
    }
    drop(deb.finish());
}
