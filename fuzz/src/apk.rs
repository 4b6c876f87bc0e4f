//! Alpine's formats. What lies behind gzip and checksums is packed here, so that mutations reach it.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::sync::LazyLock;

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use kiln_family::apk::install::change::Change;
use kiln_family::apk::install::database::Settings;
use kiln_family::apk::install::{Record, conflicts, database, installed as listed, scripts, triggers, world};
use kiln_family::apk::{
    Archive, Atom, Checksum, Index, Keys, Limits, Package, PkgInfo, Repository, Request, Version, relation, solve,
    trust,
};
use kiln_testkit::{Apk, ApkHash, ApkKey};

/// What packages of the targets may grow to: enough for whatever a mutation makes of a seed.
const LIMITS: Limits = Limits { names: 10_000, control: 1 << 20, times: 1, over: 4 << 20 };

pub fn key(bytes: &[u8]) {
    let _ = std::str::from_utf8(bytes).map(|text| Keys::default().add("a.rsa.pub", text).is_ok());
}

/// What can be read must be written as it can be read again.
pub fn relation(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(atom) = Atom::parse_world(text) {
        let shown = atom.to_string();
        assert_eq!(Atom::parse_world(&shown), Ok(atom));
    }
    if let Ok(atoms) = relation::parse(text) {
        let shown = atoms.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(relation::parse(&shown), Ok(atoms));
    }
}

pub fn version(bytes: &[u8]) {
    let Some((one, two)) = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once('\n')) else { return };
    let (one, two) = (Version::raw(one), Version::raw(two));
    assert_eq!(one.cmp(&two), two.cmp(&one).reverse());
    let _ = (one.begins_with(two), Version::parse(one.as_str()).is_ok());
}

pub fn checksum(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for sum in [text.parse::<Checksum>().ok(), Checksum::from_hex(text).ok()].into_iter().flatten() {
        assert_eq!((sum.to_string().parse(), Checksum::from_hex(&sum.hex())), (Ok(sum), Ok(sum)));
    }
}

/// The first line is the world, with what is to be kept after a `|`; the rest is a package list.
pub fn world(bytes: &[u8]) {
    let Some((world, list)) = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once('\n')) else { return };
    let Ok(index) = Index::parse(list.as_bytes()) else { return };
    let (world, keep) = world.split_once('|').unwrap_or((world, ""));
    let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let pair = |word: &String| word.split_once('=').map(|(name, version)| (name.to_owned(), version.to_owned()));
    let (world, keep) = (words(world), words(keep).iter().filter_map(pair).collect::<Vec<_>>());
    let repositories = [Repository { name: "a".into(), tag: None, index }];
    let _ = solve(&repositories, &Request { world: &world, keep: &keep, arch: "x86_64" });
}

/// The text of `.PKGINFO`, and what is done with all that it says.
pub fn pkginfo(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = PkgInfo::parse(&text);
    let _ = installed(&text, &DATA);
}

/// The first section of an archive, unpacked: signatures before an index, or a package's control data.
pub fn section(bytes: &[u8]) {
    let packed = gzip(bytes);
    for rest in [&INDEX[..], &gzip(&DATA)] {
        let whole = [&packed, rest].concat();
        let Ok(archive) = Archive::split(&whole, LIMITS.control) else { continue };
        let _ = trust::verify(&archive.signatures, archive.control, &KEYS);
        let _ = trust::verify_index(&whole, &archive, &KEYS);
        let _ = Index::verified(&whole, &KEYS);
        let _ = Package::open(&whole, LIMITS).map(|package| Record::of(&package, 1, None).is_ok());
    }
}

/// A package's data, unpacked.
pub fn data(bytes: &[u8]) {
    let _ = installed("pkgname = b\npkgver = 2\nreplaces = a\ntriggers = /bin /usr/*\n", bytes);
}

/// A database of what is installed, with the triggers and the world beside it. What can be read must be written as it can be read
/// again.
pub fn tree(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ =
        (triggers::read(&text, &mut [OTHER.clone()]).is_ok(), world::parse(&text).map(|all| world::merged(&all, &all)));
    let Ok(records) = listed::parse(bytes) else { return };
    let written = |records: &[Record]| {
        let tree = conflicts::Tree { kept: records.len(), gone: &[OTHER.clone()] };
        let owners = conflicts::owners_upon(records, tree, &|_| None).expect("what is installed is settled");
        database::installed(records, &owners)
    };
    let text = written(&records);
    let again = listed::parse(text.as_bytes()).expect("what was written can be read");
    assert_eq!(written(&again), text);
    let names: Vec<String> = records.iter().step_by(2).map(|record| record.info.name.clone()).collect();
    let change = Change::new(records, vec![OTHER.clone()], &names);
    assert_eq!(
        change.steps.len(),
        change.gone.len() + usize::from(change.gone.iter().all(|gone| gone.info.name != "a"))
    );
}

/// The scripts of what is installed, unpacked.
pub fn scripts(bytes: &[u8]) {
    let _ = scripts::read(bytes, &mut [OTHER.clone()]);
}

/// Goes the way of a package into a tree, beside one that has files of its own; says whether it came there.
fn installed(info: &str, data: &[u8]) -> bool {
    let apk = packed(info, data);
    let Ok(package) = Package::open(&apk, LIMITS) else { return false };
    let Ok(record) = Record::of(&package, apk.len() as u64, None) else { return false };
    let records = [OTHER.clone(), record];
    let link = |path: &kiln_model::GuestPath| (path.as_bytes() == b"/bin").then(|| b"usr/bin".to_vec());
    let fired = triggers::fired(&records, 1, &BTreeSet::from(["/bin".to_owned()]));
    assert!(fired.iter().all(|fired| fired.package < records.len() && !fired.directories.is_empty()));
    let Ok(owners) = conflicts::owners(&records, &link) else { return false };
    let world = ["b".to_owned()];
    database::files(&records, &owners, &Settings { world: &world, sources: &[], arch: "x86_64", by_name: true }).is_ok()
}

/// Returns a package of control data, which vouches for the data, and both.
fn packed(info: &str, data: &[u8]) -> Vec<u8> {
    let data = gzip(data);
    let info = format!("{info}\ndatahash = {}\n", Checksum::sha256(&data).hex());
    let mut tar = tar::Builder::new(vec![]);
    for (name, content) in [(".PKGINFO", info.as_str()), (".trigger", "#!/bin/sh\n")] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, content.as_bytes()).expect("a file fits");
    }
    [gzip(&tar.into_inner().expect("a vector takes all")), data].concat()
}

fn other() -> Apk {
    let package = Apk::new("a", "1").field("triggers", "/usr/bin").script("trigger", "#!/bin/sh\n");
    package.dir("usr/bin", 0o755).file("usr/bin/a", 0o755, "a").symlink("bin/b", "../usr/bin/a")
}

fn signing_key() -> ApkKey {
    ApkKey::new("a.rsa.pub", false)
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let mut keys = Keys::default();
    keys.add("a.rsa.pub", &signing_key().pem()).expect("the key is one");
    keys
});
static INDEX: LazyLock<Vec<u8>> = LazyLock::new(|| kiln_testkit::apk_index("v1", &[other()], None));
static DATA: LazyLock<Vec<u8>> = LazyLock::new(|| sections(&other().build(None)).remove(1));
static OTHER: LazyLock<Record> = LazyLock::new(|| {
    let bytes = other().build(None);
    let package = Package::open(&bytes, Limits::default()).expect("the package is one");
    Record::of(&package, 1, None).expect("its files are good")
});

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).and_then(|()| out.finish()).expect("writing to memory does not fail")
}

/// Returns what the streams of an archive hold.
fn sections(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![];
    while !bytes.is_empty() {
        let (mut decoder, mut section) = (GzDecoder::new(bytes), vec![]);
        decoder.read_to_end(&mut section).expect("the stream is whole");
        all.push(section);
        bytes = decoder.into_inner();
    }
    all
}

/// Well-formed inputs, small ones.
pub mod seeds {
    use super::*;
    use crate::seeds::texts;

    /// An Alpine package: its control data and its data.
    pub fn packages() -> Vec<Vec<u8>> {
        let package = Apk::new("a", "1-r0").script("post-install", "#!/bin/sh\n").file("usr/a", 0o644, "text");
        vec![package.build(None), package.symlink("b", "usr/a").build(None)]
    }

    pub fn indexes() -> Vec<Vec<u8>> {
        let package = Apk::new("a", "1-r0").depends("b>=1").field("provides", "so:a.so.1=1");
        vec![package.entry(None).into_bytes(), kiln_testkit::apk_index("v1", &[package], None)]
    }

    pub fn keys() -> Vec<Vec<u8>> {
        let short = "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK==\n-----END PUBLIC KEY-----\n";
        texts(&[short, &signing_key().pem()])
    }

    pub fn relations() -> Vec<Vec<u8>> {
        texts(&[
            "a",
            "!a>1",
            "so:libc.so.1=1.2",
            "a@edge>=1_rc1-r0",
            "a<~1.2",
            "a><Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=",
            "a b>=1 !c so:d.so.1=2",
        ])
    }

    pub fn versions() -> Vec<Vec<u8>> {
        texts(&["1.2.3b_rc1_p2~0fe-r4\n1.2", "0.01\n0.1", "1_alpha\n1"])
    }

    pub fn checksums() -> Vec<Vec<u8>> {
        let all = [Checksum::sha1(b"a"), Checksum::sha256(b"a")];
        all.iter().flat_map(|sum| [sum.to_string().into_bytes(), sum.hex().into_bytes()]).collect()
    }

    pub fn worlds() -> Vec<Vec<u8>> {
        texts(&[
            "a !c|b=1\nP:a\nV:1\nD:b>1 v\n\nP:b\nV:1\n\nP:b\nV:2\np:v=1\n\nP:c\nV:1\ni:a b\np:v\nk:1\n",
            "v\nP:a\nV:1\np:v\nk:1\nD:a b !c\n\nP:b\nV:1\nD:a\n\nP:c\nV:1\ni:a=1 !b\n",
        ])
    }

    pub fn trees() -> Vec<Vec<u8>> {
        let sum = "Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=";
        texts(&[
            &format!(
                "C:{sum}\nP:a\nV:1-r0\nA:x86_64\nS:1\nI:2\nT:a\nU:\nL:MIT\no:b\nD:b so:c\np:cmd:a=1\nr:c\nq:1\ns:edge\nf:S\n\
                 F:\nR:top\nF:usr/bin\nM:0:0:1777\nR:a\na:0:0:755:{sum}\nZ:{sum}\n\nC:{sum}\nP:.b\nV:2\nD:a\nF:usr\nF:usr/bin\nR:a\n\n"
            ),
            &format!("{sum} /bin +/usr/*\n\n{sum}\n"),
            "a b@edge>=1\n!c\n",
        ])
    }

    pub fn script_archives() -> Vec<Vec<u8>> {
        let mut tar = tar::Builder::new(vec![]);
        for name in [format!("a-1.{}.trigger", OTHER.identity), "b-1.Q1/x=.post-install".to_owned()] {
            let mut header = tar::Header::new_ustar();
            header.set_size(10);
            header.set_mode(0o755);
            tar.append_data(&mut header, name, &b"#!/bin/sh\n"[..]).expect("a file fits");
        }
        vec![tar.into_inner().expect("a vector takes all")]
    }

    pub fn pkginfos() -> Vec<Vec<u8>> {
        texts(&[
            "# made\npkgname = a\npkgver = 1-r0\narch = x86_64\nsize = 9\nreplaces = b>1\nreplaces_priority = 2\n",
            "pkgname = b\npkgver = 2\norigin = a\ndepend = so:a.so.1\nprovides = cmd:b=2 c\ninstall_if = a b\n\
             builddate = 7\nprovider_priority = 3\ntriggers = /bin +/usr/* /[a-u]*/b?n /\\usr\n",
        ])
    }

    pub fn first_sections() -> Vec<Vec<u8>> {
        let key = signing_key();
        let hashes = [ApkHash::Sha1, ApkHash::Sha256, ApkHash::Sha512];
        let index =
            hashes.map(|hash| sections(&kiln_testkit::apk_index("v1", &[other()], Some((&key, hash)))).remove(0));
        let control = sections(&other().script("post-install", "#!/bin/sh\n").build(None)).remove(0);
        index.into_iter().chain([control]).collect()
    }

    pub fn datas() -> Vec<Vec<u8>> {
        let more = other().file("etc/b", 0o640, "b").file("usr/bin/b", 0o755, "").dir("bin", 0o700);
        vec![DATA.clone(), sections(&more.build(None)).remove(1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_come_all_the_way() {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert!(seeds::datas().iter().all(|data| installed("pkgname = b\npkgver = 2\nreplaces = a\n", data)));
        assert!(seeds::pkginfos().iter().all(|info| installed(&(text(info) + "replaces = a\n"), &DATA)));
        assert!(listed::parse(&seeds::trees()[0]).is_ok_and(|records| records.len() == 2));
        let mut records = [Record { scripts: Default::default(), ..OTHER.clone() }];
        scripts::read(&seeds::script_archives()[0][..], &mut records).unwrap();
        assert!(records[0].scripts.contains_key("trigger"));
        let signed = |bytes: &Vec<u8>| Archive::split(&[&gzip(bytes), &INDEX[..]].concat(), LIMITS.control).is_ok();
        assert!(seeds::first_sections().iter().all(signed));
    }
}
