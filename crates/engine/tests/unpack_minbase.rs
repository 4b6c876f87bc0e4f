//! Debian 13's minbase set: unpacked here and configured by dpkg in a chroot, compared with what mmdebstrap makes of the
//! same archives. Needs root (of a user namespace will do), mmdebstrap and the mirror; what came once stays in `target`.
//!
//! `expected-differences.txt` explains every name that may differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kiln_engine::unpack::{Arrival, Options, unpack, usr_merge};
use kiln_family::deb::install::configure::steps;
use kiln_family::deb::install::{Phase, Step};
use kiln_family::deb::package::{Control, Deb, Limits};
use kiln_model::action::PackageRef;
use kiln_model::{Arch, Digest};

/// Makes `/dev` and `/proc` as scripts expect them and enters the tree.
const ENTER: &str = r#"set -e
mount --make-rprivate /
mount -t tmpfs none "$1/dev"
for name in null zero full random urandom; do touch "$1/dev/$name"; mount --bind "/dev/$name" "$1/dev/$name"; done
mount -t proc proc "$1/proc"
root=$1; shift
exec chroot "$root" "$@""#;

/// Returns the host's own mirror, as the product does.
fn mirror() -> String {
    let folder = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let texts = folder.chain([PathBuf::from("/etc/apt/sources.list")]).filter_map(|path| fs::read_to_string(path).ok());
    let words: Vec<String> =
        texts.flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    let found =
        words.into_iter().find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"));
    found.unwrap_or_else(|| "http://ftp.debian.org/debian".into())
}

/// Runs mmdebstrap once and keeps its tree as a tar, and the archives it used.
fn reference() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fixtures/minbase-trixie");
    if folder.join("tree.tar").exists() {
        return folder;
    }
    fs::create_dir_all(folder.join("debs")).unwrap();
    let keep = format!("--customize-hook=cp \"$1\"/var/cache/apt/archives/*.deb {}", folder.join("debs").display());
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--variant=minbase", "--skip=essential/unlink", "--skip=cleanup/apt/cache", &keep, "trixie"]);
    let made = mmdebstrap.arg(folder.join("new.tar")).arg(format!("deb {} trixie main", mirror())).output();
    succeeded(&made.expect("`mmdebstrap` is needed: apt-get install mmdebstrap"));
    fs::rename(folder.join("new.tar"), folder.join("tree.tar")).unwrap();
    folder
}

fn succeeded(output: &Output) -> String {
    let text = String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

fn arrivals(folder: &Path) -> Vec<Arrival> {
    let arrival = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        let deb = Deb::open(&bytes[..], Limits::default()).unwrap();
        let control = deb.control();
        let (name, version) = (control.name().to_owned(), control.version().to_owned());
        let (architecture, size) = (control.architecture().to_owned(), bytes.len() as u64);
        Arrival {
            package: PackageRef { name, version, architecture, sha256: Digest::of(&bytes), size, automatic: false },
            path,
        }
    };
    fs::read_dir(folder).unwrap().map(|entry| arrival(entry.unwrap().path())).collect()
}

/// Runs a step on the day that the other tree was made: `/etc/shadow` says when its passwords were changed.
fn run(root: &Path, step: &Step) -> String {
    let made = reference().join("tree.tar").metadata().unwrap().mtime();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "--kill-child", "sh", "-c", ENTER, "sh"]);
    command.arg(root).args(&step.argv).env_clear().envs(&step.env);
    command.env("SOURCE_DATE_EPOCH", made.to_string());
    succeeded(&command.output().unwrap())
}

fn dpkg(root: &Path, argv: &[&str]) -> String {
    let env = kiln_family::deb::install::configure::environment();
    run(root, &Step { name: argv.join(" "), argv: argv.iter().map(|&word| word.to_owned()).collect(), env })
}

/// Returns every name with all that a tree is: kind, mode, owner, content, links, attributes, and its time where files
/// keep their archive's (before `made`, when the older of the two trees was made).
fn listing(root: &Path, made: i64) -> BTreeMap<String, String> {
    let (mut names, mut folders, mut links) = (BTreeMap::new(), vec![root.to_owned()], BTreeMap::<u64, String>::new());
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let found = path.symlink_metadata().unwrap();
            let name = String::from_utf8_lossy(path.strip_prefix(root).unwrap().as_os_str().as_bytes()).into_owned();
            let time =
                if found.is_dir() || found.mtime() >= made { String::new() } else { format!(" at {}", found.mtime()) };
            let content = match found.file_type() {
                kind if kind.is_file() => Digest::of(fs::read(&path).unwrap()).short(),
                kind if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
                kind if kind.is_dir() => "dir".into(),
                kind => format!("char {}", kind.is_char_device()),
            };
            let link = if found.is_file() && found.nlink() > 1 {
                let first = links.entry(found.ino()).or_insert_with(|| name.clone());
                *first = first.clone().min(name.clone());
                format!(" {} names", found.nlink())
            } else {
                String::new()
            };
            names.insert(
                name,
                format!(
                    "{:o} {}:{} {content}{link}{}{time}",
                    found.mode(),
                    found.uid(),
                    found.gid(),
                    attributes(&path)
                ),
            );
            if found.is_dir() {
                folders.push(path);
            }
        }
    }
    names
}

fn attributes(path: &Path) -> String {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    String::from_utf8_lossy(&names[..length]).replace('\0', " ").trim_end().to_owned()
}

/// Reads the names that may differ: a glob of one `*` at the end at most, then why.
fn expected() -> Vec<String> {
    let text = include_str!("expected-differences.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn privileged_minbase_is_as_mmdebstrap_makes_it() {
    let reference = reference();
    let folder = tempfile::tempdir().unwrap();
    let (root, theirs) = (folder.path().join("kiln"), folder.path().join("theirs"));
    for tree in [&root, &theirs] {
        fs::create_dir(tree).unwrap();
    }
    let extracted = Command::new("tar")
        .args(["-xp", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-f"])
        .arg(reference.join("tree.tar"))
        .arg("-C")
        .arg(&theirs)
        .output();
    succeeded(&extracted.unwrap());

    let made = reference.join("tree.tar").metadata().unwrap().mtime() - 86_400;
    let arrivals = arrivals(&reference.join("debs")).into_iter().map(Ok);
    let options = Options {
        threads: 2,
        epoch: made,
        bare: false,
        only: vec![],
        base: true,
        arch: Arch::host(),
        merged_usr: usr_merge(Arch::host()),
    };
    let unpacked = unpack(arrivals, &root, &options, &|_| {}).unwrap_or_else(|fault| panic!("{}", fault.chain()));
    assert!(unpacked.real.is_empty());
    let controls: Vec<&Control> = unpacked.packages.iter().collect();
    for step in steps(&controls, &[], Phase::Base, &BTreeMap::new()) {
        run(&root, &step);
    }

    assert_eq!(dpkg(&root, &["dpkg", "--audit"]), "");
    assert_eq!(dpkg(&root, &["dpkg", "--verify"]), "");
    dpkg(&root, &["apt-get", "check"]);
    for name in ["status", "diversions", "triggers/File", "triggers/ldconfig"] {
        let read = |root: &Path| fs::read_to_string(root.join("var/lib/dpkg").join(name)).unwrap();
        assert_eq!(read(&root), read(&theirs), "{name}");
    }

    let (ours, theirs) = (listing(&root, made), listing(&theirs, made));
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let expected = expected();
    let known = |name: &str| {
        expected.iter().any(|one| one.strip_suffix('*').map_or(name == one, |start| name.starts_with(start)))
    };
    let differing = names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name) && !known(name));
    let differing: Vec<_> =
        differing.map(|name| format!("{name}: kiln {:?}, mmdebstrap {:?}", ours.get(name), theirs.get(name))).collect();
    assert_eq!(differing, Vec::<String>::new());
}
