//! `lib/apk/db/installed` read back: for each package the lines that it is listed by, then its directories and files.
//!
//! What stays is written again as it was found, byte for byte. What apk would not write is damage, and told with its line.

use std::collections::BTreeMap;

use kiln_model::GuestPath;

use super::Record;
use crate::apk::checksum::Checksum;
use crate::apk::index::{self, Entry};
use crate::apk::package::File;
use crate::apk::pkginfo::PkgInfo;
use crate::deb::package::{Kind, Member};

/// Why a database cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error(transparent)]
    Listed(#[from] index::Error),
    #[error("line {line}: `{text}` says nothing of a directory or a file")]
    Misplaced { line: usize, text: String },
    #[error("line {line}: the package `{name}` is there twice")]
    Twice { line: usize, name: String },
}

/// Reads a database. Scripts and triggers lie elsewhere: [`super::scripts::read`], [`super::triggers::read`].
pub fn parse(bytes: &[u8]) -> Result<Vec<Record>, Error> {
    let mut records: Vec<Record> = vec![];
    index::each_block(index::utf8(bytes)?, |_, block, line| {
        let record = record(block, line)?;
        if records.iter().any(|known| known.info.name == record.info.name) {
            return Err(Error::Twice { line, name: record.info.name });
        }
        records.push(record);
        Ok(())
    })?;
    Ok(records)
}

/// Reads one package, whose first line has the number `first`.
fn record(block: &str, first: usize) -> Result<Record, Error> {
    let head = block.split_inclusive('\n').take_while(|line| !line.starts_with("F:")).map(str::len).sum();
    let (head, paths) = block.split_at(head);
    let entry = index::read(head, first)?;
    let identity = entry.checksum.ok_or(index::Error::Missing { line: first, field: 'C' })?;
    let end = if head.ends_with('\n') { "" } else { "\n" };
    Ok(Record {
        info: info(&entry, head, first)?,
        identity,
        size: entry.size,
        tag: field(head, "s:").map(|(_, tag)| tag.to_owned()),
        files: files(paths, first + head.lines().count())?,
        scripts: BTreeMap::new(),
        listed: Some(format!("{head}{end}")),
    })
}

fn info(entry: &Entry<'_>, head: &str, first: usize) -> Result<PkgInfo, Error> {
    let text = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let priority = field(head, "q:").map(|(at, value)| {
        let wrong = |_| index::Error::Value { line: first + at, field: 'q', value: value.to_owned() };
        value.parse().map_err(wrong)
    });
    Ok(PkgInfo {
        name: entry.name.to_owned(),
        version: entry.version.to_owned(),
        arch: entry.arch.to_owned(),
        description: entry.description.to_owned(),
        url: entry.url.to_owned(),
        license: entry.license.to_owned(),
        origin: text(entry.origin),
        maintainer: text(entry.maintainer),
        commit: text(entry.commit),
        build_date: entry.build_time,
        size: entry.installed_size,
        provider_priority: entry.provider_priority,
        depends: list(&entry.depends),
        provides: list(&entry.provides),
        install_if: list(&entry.install_if),
        replaces: list(&entry.replaces),
        replaces_priority: priority.transpose()?,
        triggers: vec![],
        data_hash: None,
    })
}

/// Returns which line of the text a field is, and what it says.
fn field<'a>(head: &'a str, field: &str) -> Option<(usize, &'a str)> {
    head.lines().enumerate().find_map(|(at, line)| Some((at, line.strip_prefix(field)?)))
}

/// Reads `F:` with `M:` for each directory, and `R:` with `a:` and `Z:` for each file in it.
fn files(text: &str, first: usize) -> Result<Vec<File>, Error> {
    let (mut folder, mut files) = (GuestPath::root(), Vec::new());
    for (line, text) in (first..).zip(text.lines()) {
        take(text, &mut folder, &mut files)
            .ok_or_else(|| Error::Misplaced { line, text: text.chars().take(40).collect() })?;
    }
    Ok(files)
}

/// Takes one line; none where it makes no sense after the others.
fn take(text: &str, folder: &mut GuestPath, files: &mut Vec<File>) -> Option<()> {
    let (field, value) = text.split_once(':').filter(|(_, value)| !value.contains(char::is_control))?;
    let is_folder = |file: &File| file.member.kind == Kind::Dir;
    match field {
        "F" => {
            *folder = GuestPath::new(value).ok().filter(|path| path.relative() == value.as_bytes())?;
            files.push(named(folder.clone(), Kind::Dir, 0o755));
        }
        "R" => {
            let path = folder.join(value).ok().filter(|path| path.name() == value.as_bytes() && !value.is_empty())?;
            files.push(named(path, Kind::File(0), 0o644));
        }
        "M" => dress(files.last_mut().filter(|file| is_folder(file))?, value)?,
        "a" => dress(files.last_mut().filter(|file| !is_folder(file))?, value)?,
        "Z" => files.last_mut().filter(|file| !is_folder(file))?.checksum = Some(value.parse().ok()?),
        _ => return None,
    }
    Some(())
}

/// What is not a directory may be a link just as well: the database does not say.
fn named(path: GuestPath, kind: Kind, mode: u32) -> File {
    let member = Member {
        path,
        mode,
        uid: 0,
        gid: 0,
        user: vec![],
        group: vec![],
        mtime: 0,
        xattrs: BTreeMap::new(),
        apk: BTreeMap::new(),
        kind,
    };
    File { member, checksum: None, xattrs: None }
}

/// Reads `0:0:755`, with the sum of extended attributes where there are any.
fn dress(file: &mut File, value: &str) -> Option<()> {
    let mut parts = value.splitn(4, ':');
    file.member.uid = parts.next()?.parse().ok()?;
    file.member.gid = parts.next()?.parse().ok()?;
    file.member.mode = u32::from_str_radix(parts.next()?, 8).ok().filter(|mode| *mode <= 0o7777)?;
    file.xattrs = parts.next().map(str::parse::<Checksum>).transpose().ok()?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::{conflicts, database};
    use super::*;

    /// As apk itself writes it, but for the sums.
    const LISTED: &str = "C:Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=\nP:a\nV:1.0-r0\nA:x86_64\nS:10\nI:20\nT:An a: b\nU:\nL:MIT\no:src\n\
                          m:A <a@example.org>\nt:7\nc:0fe\nk:3\nD:b>1 so:c.so.1\np:cmd:a=1.0-r0\ni:b c=1\ng:tag\nr:old\nq:9\ns:edge\nf:S\n\
                          F:\nR:top\na:0:0:755\nF:usr\nF:usr/bin\nM:1:2:1777:Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=\nR:a\n\
                          a:0:0:4755:Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=\nZ:Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=\nR:\u{e9}: b\n\n\
                          C:Q2ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=\nP:.virtual\nV:20260101.1\nA:noarch\nS:0\nI:0\nT:virtual meta package\n\
                          U:\nL:\nD:a\n\n";

    #[test]
    fn what_was_read_is_written_again() {
        let records = parse(LISTED.as_bytes()).unwrap();
        let owners = conflicts::owners(&records, &|_| None).unwrap();
        assert_eq!(database::installed(&records, &owners), LISTED);
        let a = &records[0];
        assert_eq!(
            (a.info.full_name().as_str(), a.size, a.tag.as_deref(), a.flags()),
            ("a-1.0-r0", 10, Some("edge"), "S")
        );
        assert_eq!((a.info.replaces_priority, a.info.origin.as_deref()), (Some(9), Some("src")));
        let told: Vec<String> =
            a.files.iter().map(|file| format!("{} {:o}", file.member.path, file.member.mode)).collect();
        assert_eq!(
            told,
            ["/ 755", "/top 755", "/usr 755", "/usr/bin 1777", "/usr/bin/a 4755", "/usr/bin/\u{e9}: b 644"]
        );
        assert_eq!((records[1].info.name.as_str(), records[1].files.len()), (".virtual", 0));
        // The last line may lack its end.
        assert_eq!(parse(LISTED.trim_end().as_bytes()).unwrap(), records);
        assert_eq!(parse(b"\n").unwrap(), []);
    }

    #[test]
    fn sums_are_of_the_kind_that_the_package_says() {
        let sum = Checksum::Sha1(Checksum::sha256(b"text").as_bytes()[..20].try_into().unwrap());
        let head = "C:Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=\nP:a\nV:1\n";
        let [short, plain] =
            ["f:S\n", ""].map(|flags| parse(format!("{head}{flags}F:\nR:a\nZ:{sum}\n").as_bytes()).unwrap().remove(0));
        assert!(short.is_content(&short.files[1], b"text") && !plain.is_content(&plain.files[1], b"text"));
        assert!(!short.is_content(&short.files[0], b"text"), "without a sum nothing is known");
    }

    #[test]
    fn damage_has_a_line() {
        let head = "C:Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=\nP:a\nV:1\n";
        let cases = [
            ("P:b\nV:1\n", "line 1: a package without `C`"),
            ("F:usr\n", "line 1: a package without `P`"),
            ("{}R:a\n", "line 4: the field `R` is unknown, so the list needs a newer reader"),
            ("{}q:x\n", "line 4: the field `q` is `x`"),
            ("{}F:usr\nP:b\n", "line 5: `P:b` says nothing of a directory or a file"),
            ("{}F:../usr\n", "line 4: `F:../usr` says nothing of a directory or a file"),
            ("{}F:usr/\n", "line 4: `F:usr/` says nothing of a directory or a file"),
            ("{}F:usr\nR:a/b\n", "line 5: `R:a/b` says nothing of a directory or a file"),
            ("{}F:usr\nR:..\n", "line 5: `R:..` says nothing of a directory or a file"),
            ("{}F:usr\nR:\n", "line 5: `R:` says nothing of a directory or a file"),
            ("{}F:usr\na:0:0:755\n", "line 5: `a:0:0:755` says nothing of a directory or a file"),
            ("{}F:usr\nR:a\nM:0:0:755\n", "line 6: `M:0:0:755` says nothing of a directory or a file"),
            ("{}F:usr\nM:0:0:799\n", "line 5: `M:0:0:799` says nothing of a directory or a file"),
            ("{}F:usr\nR:a\nZ:Q1\n", "line 6: `Z:Q1` says nothing of a directory or a file"),
            ("{}F:usr\nR:a\tb\n", "line 5: `R:a\tb` says nothing of a directory or a file"),
            ("{}F:usr\nnonsense\n", "line 5: `nonsense` says nothing of a directory or a file"),
            ("{}\n{}", "line 5: the package `a` is there twice"),
        ];
        for (text, wanted) in cases {
            assert_eq!(parse(text.replace("{}", head).as_bytes()).unwrap_err().to_string(), wanted, "{text}");
        }
        assert_eq!(parse(b"P:a\n\xff").unwrap_err(), Error::Listed(index::Error::NotUtf8 { line: 2 }));
    }
}
