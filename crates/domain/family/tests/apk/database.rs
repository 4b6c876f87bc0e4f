//! What the installed tree is told.

use std::collections::BTreeSet;

use kiln_family::apk::install::database::{self, Settings, Source, files};
use kiln_family::apk::install::{Record, conflicts, installed, scripts, triggers};
use kiln_family::apk::{Limits, Package};
use kiln_family::deb::package::Tar;
use kiln_model::GuestPath;
use kiln_testkit::Apk;

use crate::archives::sample;

fn record(apk: &Apk) -> Record {
    let bytes = apk.build(None);
    let package = Package::open(&bytes, Limits::default()).unwrap();
    Record::of(&package, 1234, None).unwrap()
}

#[test]
fn the_database_is_in_apks_form() {
    let records = [record(&sample())];
    let owners = conflicts::owners(&records, &|_| None).unwrap();
    let source = |uri: &str, tag: Option<&str>| Source { uri: uri.into(), tag: tag.map(str::to_owned) };
    let sources =
        [source("http://mirror.example/main", None), source("http://mirror.example/testing", Some("testing"))];
    let world = ["busybox".to_owned(), "a@testing>=1".to_owned()];
    let settings = Settings { world: &world, sources: &sources, arch: "x86_64", by_name: false };
    let files = files(&records, &owners, &settings).unwrap();
    let text = |path: &str| {
        let file = files.iter().find(|file| file.path.to_string() == path);
        String::from_utf8_lossy(&file.unwrap_or_else(|| panic!("`{path}` is written")).bytes).into_owned()
    };
    assert_eq!(text("/etc/apk/world"), "a@testing>=1\nbusybox\n");
    assert_eq!(text("/etc/apk/repositories"), "http://mirror.example/main\n@testing http://mirror.example/testing\n");
    assert_eq!(text("/etc/apk/arch"), "x86_64\n");
    let sum = records[0].identity.to_string();
    assert_eq!(text("/lib/apk/db/triggers"), format!("{sum} /bin /usr/bin /lib/modules/*\n"));
    let wanted = format!(
        "C:{sum}\nP:busybox\nV:1.36.1-r2\nA:x86_64\nS:1234\nI:12\nT:busybox of a test\nL:GPL-2.0-only\n\
         D:so:libc.musl-x86_64.so.1\np:/bin/sh cmd:busybox=1.36.1-r2\nr:old\n\
         F:bin\nR:busybox\na:0:0:755\nZ:{}\nR:sh\na:0:0:777\nZ:{}\nF:tmp\nM:0:0:1777\nF:etc\nR:securetty\na:0:0:640\nZ:{}\n\n",
        sum_of("\x7fELF"),
        sum_of("/bin/busybox"),
        sum_of("console\n")
    );
    assert_eq!(text("/lib/apk/db/installed"), wanted);
    let tar = files.iter().find(|file| file.path.name() == b"scripts.tar").unwrap();
    let mut tar = Tar::new(&tar.bytes[..], "scripts.tar");
    let first = tar.next_member().unwrap().unwrap();
    assert_eq!(first.path.to_string(), format!("/busybox-1.36.1-r2.{sum}.post-install"));
    assert_eq!((first.mode, tar.content().unwrap()), (0o755, b"#!/bin/sh\nexit 0\n".to_vec()));
    assert!(tar.next_member().unwrap().is_some() && tar.next_member().unwrap().is_none());
}

/// What kiln writes, kiln reads: from the database come the same files, byte for byte.
#[test]
fn what_is_written_is_read_back() {
    let long = Apk::new(&"long".repeat(24), "1.0-r0").script("pre-deinstall", "#!/bin/sh\n").depends("busybox");
    let more = Apk::new("more", "2").field("replaces", "old<1").field("replaces_priority", "7").field("origin", "src");
    let records = [record(&sample()), record(&long), record(&more.dir("srv/more", 0o700).file("top", 0o644, "top"))];
    let world = ["more".to_owned()];
    let written = |records: &[Record], by_name: bool| {
        let owners = conflicts::owners(records, &|_| None).unwrap();
        let settings = Settings { world: &world, sources: &[], arch: "x86_64", by_name };
        files(records, &owners, &settings).unwrap()
    };
    let first = written(&records, false);
    let bytes = |path: &str| &first.iter().find(|file| file.path.to_string() == path).unwrap().bytes[..];
    let mut read = installed::parse(bytes("/lib/apk/db/installed")).unwrap();
    scripts::read(bytes("/lib/apk/db/scripts.tar"), &mut read).unwrap();
    triggers::read(std::str::from_utf8(bytes("/lib/apk/db/triggers")).unwrap(), &mut read).unwrap();
    assert_eq!(written(&read, false), first);
    for (one, other) in records.iter().zip(&read) {
        assert_eq!(
            (&one.info.name, &one.info.version, one.identity),
            (&other.info.name, &other.info.version, other.identity)
        );
        assert_eq!(
            (&one.scripts, &one.info.triggers, &one.info.replaces),
            (&other.scripts, &other.info.triggers, &other.info.replaces)
        );
        assert!(other.files.iter().filter(|file| file.checksum.is_some()).count() > 0 || other.info.name != "busybox");
    }
    // As apk orders them.
    let names = |text: &[u8]| -> Vec<String> {
        let text = String::from_utf8(text.to_vec()).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("P:")).map(|name| name.chars().take(4).collect()).collect()
    };
    let turned: Vec<Record> = read.into_iter().rev().collect();
    let sorted = written(&turned, true);
    assert_eq!(names(&sorted[3].bytes), ["busy", "long", "more"]);
    assert_eq!(sorted, first, "the order of the records does not matter");
    let damaged = triggers::read("\nQ1 /bin\n", &mut []).unwrap_err();
    assert_eq!(damaged.to_string(), "line 2: `Q1` is not a checksum: they are `Q1…`, `Q2…` or hexadecimal digits");
    assert!(scripts::read(&bytes("/lib/apk/db/scripts.tar")[..700], &mut []).is_err());
}

/// What a tree has is settled: only what comes to it must say whom it replaces.
#[test]
fn the_files_of_a_tree_are_not_disputed_anew() {
    let apk = |name: &str| Apk::new(name, "1.0").file("files/test-file", 0o644, name);
    let records = [record(&apk("a")), record(&apk("b")), record(&apk("c"))];
    let gone = [record(&Apk::new("d", "1").file("lib/old", 0o644, ""))];
    let upon = |kept: usize, records: &[Record]| {
        let tree = conflicts::Tree { kept, gone: &gone };
        conflicts::owners_upon(records, tree, &|at| (*at == path("/lib")).then(|| b"usr/lib".to_vec()))
    };
    assert_eq!(upon(2, &records[..2]).unwrap().of(&path("/files/test-file")), Some(0));
    assert_eq!(upon(2, &records).unwrap_err().late, "c-1.0");
    // What is gone owns nothing, but it is known where it was.
    let new = record(&Apk::new("e", "1").file("usr/lib/old", 0o644, ""));
    let owners = upon(0, &[new]).unwrap();
    assert_eq!((owners.of(&path("/lib/old")), owners.has_folder(&path("/lib"))), (Some(0), true));
    assert!(!owners.has_folder(&path("/files")));
}

fn sum_of(text: &str) -> String {
    kiln_family::apk::Checksum::sha1(text.as_bytes()).to_string()
}

#[test]
fn a_file_of_two_packages_needs_a_word() {
    let apk = |name: &str| Apk::new(name, "1.0").file("files/test-file", 0o644, name);
    let owner = |one: &Apk, two: &Apk| {
        let owners = conflicts::owners(&[record(one), record(two)], &|_| None);
        owners.map(|owners| owners.of(&path("/files/test-file")).unwrap()).map_err(|error| error.to_string())
    };
    let (a, b) = (apk("a"), apk("b"));
    assert_eq!(owner(&a, &b), Err("`b-1.0` has `/files/test-file`, which belongs to `a-1.0` already".into()));
    assert_eq!(owner(&a, &b.clone().field("replaces", "a")), Ok(1));
    assert_eq!(owner(&a.clone().field("replaces", "b"), &b), Ok(0));
    assert!(owner(&a, &b.clone().field("replaces", "a<1")).is_err());
    assert_eq!(owner(&a.clone().field("origin", "d"), &b.clone().field("origin", "d")), Ok(1));
    let both = |one: &Apk, other: &str, priority: &str| {
        one.clone().field("replaces", other).field("replaces_priority", priority)
    };
    assert_eq!(owner(&both(&a, "b", "2"), &both(&b, "a", "1")), Ok(0));
    assert_eq!(owner(&both(&a, "b", "1"), &both(&b, "a", "2")), Ok(1));
}

#[test]
fn a_file_is_the_same_behind_every_link_to_its_folder() {
    let (a, b) =
        (Apk::new("a", "1.0").file("bin/tool", 0o755, "a"), Apk::new("b", "1.0").file("usr/bin/tool", 0o755, "b"));
    let merged = |at: &GuestPath| (*at == path("/bin")).then(|| b"usr/bin".to_vec());
    let owner = |packages: &[&Apk], link: &dyn Fn(&GuestPath) -> Option<Vec<u8>>| {
        let records: Vec<Record> = packages.iter().map(|apk| record(apk)).collect();
        let owners = conflicts::owners(&records, link).map_err(|error| error.to_string())?;
        let both = ["/bin/tool", "/usr/bin/tool"].map(|name| owners.of(&path(name)));
        let lists = database::installed(&records, &owners);
        let listed = lists.split("\n\n").filter(|package| package.contains("R:tool\n"));
        Ok((both, listed.count()))
    };
    assert_eq!(owner(&[&a, &b], &|_| None), Ok(([Some(0), Some(1)], 2)));
    let told = "`b-1.0` has `/usr/bin/tool`, which is `/bin/tool` and belongs to `a-1.0` already".to_owned();
    assert_eq!(owner(&[&a, &b], &merged), Err(told.clone()));
    // The link comes with a package, leads from the root, over another link.
    let layout = Apk::new("layout", "1").symlink("bin", "/system/bin").symlink("system", "./usr/sub/..");
    assert_eq!(owner(&[&layout, &a, &b], &|_| None), Err(told));
    assert_eq!(owner(&[&a, &b.clone().field("replaces", "a")], &merged), Ok(([Some(1), Some(1)], 1)));
    assert_eq!(owner(&[&a.clone().field("replaces", "b"), &b], &merged), Ok(([Some(0), Some(0)], 1)));
    let same = |apk: &Apk| apk.clone().field("origin", "o");
    assert_eq!(owner(&[&same(&a), &same(&b)], &merged), Ok(([Some(1), Some(1)], 1)));
    // One package may have both, and links to themselves end somewhere.
    assert_eq!(owner(&[&a.clone().file("usr/bin/tool", 0o755, "a")], &merged).unwrap().0, [Some(0), Some(0)]);
    assert_eq!(owner(&[&a, &b], &|at| Some(at.name().to_vec())).unwrap().1, 2);
}

fn path(text: &str) -> GuestPath {
    GuestPath::new(text).unwrap()
}

#[test]
fn triggers_fire_for_their_directories() {
    let module = Apk::new("linux", "6").file("lib/modules/6.1/a.ko", 0o644, "").dir("lib/modules/6.1", 0o755);
    let records = [record(&sample()), record(&module)];
    let told = |new: usize, before: &[&str]| {
        let before: BTreeSet<String> = before.iter().map(|path| (*path).to_owned()).collect();
        triggers::fired(&records, new, &before)
            .into_iter()
            .map(|one| (one.package, one.directories))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(0, &[]), [(0, vec!["/bin".to_owned(), "/lib/modules/6.1".to_owned()])]);
    assert_eq!(told(1, &["/bin"]), [(0, vec!["/lib/modules/6.1".to_owned()])]);
    assert_eq!(told(2, &["/bin"]), []);
    // What went was changed, too.
    let gone = BTreeSet::from(["/usr/bin".to_owned()]);
    let fired = triggers::fired_by(&records, 2, &gone, &triggers::directories(&records));
    assert_eq!(fired, [triggers::Fired { package: 0, directories: vec!["/usr/bin".into()] }]);
}
