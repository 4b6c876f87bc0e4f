//! `lib/apk/db/scripts.tar`: the scripts of all packages, each named `NAME-VERSION.Q1….KIND`.

use std::collections::HashMap;
use std::io::Read;

use kiln_model::GuestPath;

use super::Record;
use crate::apk::archive::ControlFile;
use crate::apk::package::SCRIPTS;
use crate::deb::package::{BadPackage, Kind, Tar};

const BLOCK: usize = 512;

/// Gives packages the scripts that an archive holds for them; those of others are passed over.
pub fn read(archive: impl Read, records: &mut [Record]) -> Result<(), BadPackage> {
    let mut wanted: HashMap<GuestPath, (usize, &'static str)> = HashMap::new();
    for (at, record) in records.iter().enumerate() {
        // The sum may have slashes; whoever reads the archive sees a path.
        let paths = SCRIPTS.into_iter().map(|kind| (GuestPath::new(name(record, kind)), kind));
        wanted.extend(paths.filter_map(|(path, kind)| Some((path.ok()?, (at, kind)))));
    }
    let mut tar = Tar::new(archive, "scripts.tar");
    while let Some(member) = tar.next_member()? {
        let Some(&(at, kind)) = wanted.get(&member.path).filter(|_| matches!(member.kind, Kind::File(_))) else {
            continue;
        };
        let bytes = tar.content()?;
        let script = ControlFile { name: format!(".{kind}"), mode: member.mode, mtime: member.mtime, bytes };
        records[at].scripts.insert(kind, script);
    }
    Ok(())
}

fn name(record: &Record, kind: &str) -> String {
    format!("{}.{}.{kind}", record.info.full_name(), record.identity)
}

pub(super) fn tar<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<u8> {
    let mut tar = Vec::new();
    for record in records {
        for (kind, script) in &record.scripts {
            entry(&mut tar, name(record, kind).as_bytes(), script.mtime, &script.bytes);
        }
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

/// Adds a file; a name that does not fit its header comes before it as a file of its own, as GNU tar writes it.
fn entry(tar: &mut Vec<u8>, name: &[u8], mtime: i64, bytes: &[u8]) {
    if name.len() > 100 {
        let long = [name, b"\0"].concat();
        tar.extend(header(b"././@LongLink", b'L', 0, long.len()));
        padded(tar, &long);
    }
    tar.extend(header(&name[..name.len().min(100)], b'0', mtime, bytes.len()));
    padded(tar, bytes);
}

fn padded(tar: &mut Vec<u8>, bytes: &[u8]) {
    tar.extend_from_slice(bytes);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

fn header(name: &[u8], kind: u8, mtime: i64, size: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, b"0000755\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, format!("{:011o}\0", mtime.clamp(0, (1 << 33) - 1)).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar  \0root");
    put(297, b"root");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
