//! One header of 512 bytes, and what it cannot say, which goes into a pax record before it.

use kiln_model::{Entry, Kind};

use super::BLOCK;
use crate::put::Put as _;

/// Largest number in seven and in eleven octal digits.
const SEVEN: u64 = 0o777_7777;
const ELEVEN: u64 = 0o777_7777_7777;

/// What a member is called and holds.
pub(super) struct Member<'m> {
    pub entry: &'m Entry,
    /// As in the archive, `./a/b`; directories end with a slash.
    pub name: &'m [u8],
    /// Target of a link, or nothing.
    pub link: &'m [u8],
    /// In bytes.
    pub size: u64,
    /// Type as a character.
    pub kind: u8,
}

/// Returns the headers of a member: a pax member where its fields need one, then its own.
pub(super) fn headers(member: &Member<'_>) -> Vec<u8> {
    let records = records(member);
    let mut bytes = Vec::new();
    if !records.is_empty() {
        let mut pax = plain(b'x', records.len() as u64);
        pax.put(0, b"./PaxHeaders/");
        let name = member.entry.path.name();
        pax.put(13, &name[..name.len().min(80)]);
        pax.put(100, b"0000644\0");
        seal(&mut pax);
        bytes.extend(pax);
        bytes.extend(&records);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.extend(header(member));
    bytes
}

fn header(member: &Member<'_>) -> Vec<u8> {
    let entry = member.entry;
    let mut bytes = plain(member.kind, if member.size > ELEVEN { 0 } else { member.size });
    let (prefix, name) = split(member.name).unwrap_or((b"", &member.name[..member.name.len().min(100)]));
    bytes.put(0, name);
    bytes.put(345, prefix);
    octal(&mut bytes, 100, 7, u64::from(entry.mode & 0o7777));
    octal(&mut bytes, 108, 7, u64::from(entry.uid).min(SEVEN));
    octal(&mut bytes, 116, 7, u64::from(entry.gid).min(SEVEN));
    octal(&mut bytes, 136, 11, (entry.mtime.max(0) as u64).min(ELEVEN));
    bytes.put(157, &member.link[..member.link.len().min(100)]);
    for (at, id) in [(265, entry.uid), (297, entry.gid)] {
        bytes.put(at, if id == 0 { b"root" } else { b"" });
    }
    if let Kind::Char { major, minor } | Kind::Block { major, minor } = entry.kind {
        octal(&mut bytes, 329, 7, u64::from(major));
        octal(&mut bytes, 337, 7, u64::from(minor));
    }
    seal(&mut bytes);
    bytes
}

fn plain(kind: u8, size: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    [108, 116].into_iter().for_each(|at| octal(&mut bytes, at, 7, 0));
    octal(&mut bytes, 124, 11, size);
    octal(&mut bytes, 136, 11, 0);
    bytes.u8(156, kind);
    bytes.put(257, b"ustar\x0000");
    bytes
}

fn seal(bytes: &mut [u8]) {
    bytes.put(148, b"        ");
    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    octal(bytes, 148, 6, sum);
    bytes.put(154, b"\0 ");
}

fn octal(bytes: &mut [u8], at: usize, digits: usize, value: u64) {
    bytes.put(at, format!("{value:0digits$o}").as_bytes());
}

/// Splits a name into prefix and name at a slash, as short names may be.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    let fits = |at: &usize| name[*at] == b'/' && *at <= 155 && (1..=100).contains(&(name.len() - at - 1));
    (0..name.len()).find(fits).map(|at| (&name[..at], &name[at + 1..]))
}

fn records(member: &Member<'_>) -> Vec<u8> {
    let entry = member.entry;
    let mut records = Vec::new();
    let in_record =
        [member.name, member.link].iter().any(|name| name.len() > 100 && std::str::from_utf8(name).is_err());
    if in_record {
        // Records are UTF-8 unless they say so; GNU tar does not mind, libarchive does.
        record(&mut records, "hdrcharset", b"BINARY");
    }
    let mut number = |key: &str, value: i128, most: u64| {
        if value < 0 || value > i128::from(most) {
            record(&mut records, key, value.to_string().as_bytes());
        }
    };
    number("gid", entry.gid.into(), SEVEN);
    number("mtime", entry.mtime.into(), ELEVEN);
    number("size", member.size.into(), ELEVEN);
    number("uid", entry.uid.into(), SEVEN);
    if member.link.len() > 100 {
        record(&mut records, "linkpath", member.link);
    }
    if split(member.name).is_none() {
        record(&mut records, "path", member.name);
    }
    if member.kind != b'1' {
        for (name, value) in &entry.xattrs {
            let name = name.replace('%', "%25").replace('=', "%3D");
            record(&mut records, &format!("SCHILY.xattr.{name}"), value);
        }
    }
    records
}

/// Appends `LENGTH KEY=VALUE\n`, whose length counts its own digits.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend(format!("{length} {key}=").as_bytes());
    records.extend(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for (value, wanted) in [("v", "6 k=v\n"), ("vvvv", "9 k=vvvv\n"), ("vvvvv", "11 k=vvvvv\n")] {
            let mut records = Vec::new();
            record(&mut records, "k", value.as_bytes());
            assert_eq!(String::from_utf8(records).unwrap(), wanted);
        }
    }

    #[test]
    fn names_split_at_a_slash_or_not_at_all() {
        let long = |a: usize, b: usize| [vec![b'a'; a], vec![b'b'; b]].join(&b'/');
        assert!(split(&long(50, 100)).is_some_and(|(prefix, name)| (prefix.len(), name.len()) == (50, 100)));
        assert!(split(&long(155, 100)).is_some());
        assert!(split(&long(156, 90)).is_none());
        assert!(split(&long(10, 101)).is_none());
    }
}
