//! Archives and trees that mean harm and are contained rather than refused, one named case each: whatever becomes of
//! them inside (`corpus/hostile-debs/contained.txt`), nothing outside the tree is read or changed.

#[path = "../../domain/family/tests/builder/mod.rs"]
mod builder;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use builder::{Head, Package, Tarball};
use kiln_engine::unpack::{Arrival, Options, unpack};
use kiln_model::action::PackageRef;
use kiln_model::{Arch, Digest};

/// A case: what lies in the tree already, and the packages to unpack, in order. Both know the folder outside.
struct Case {
    name: &'static str,
    base: bool,
    before: fn(&Path, &str),
    packages: fn(&str) -> Vec<Package>,
}

const CASES: [Case; 8] = [
    Case {
        name: "directory-over-a-link-that-points-out",
        base: true,
        before: nothing,
        packages: |out| {
            vec![
                Package::new("a").data(|tar| same_folders(tar, out).symlink("./x", out)),
                Package::new("b").data(|tar| open_to_all(tar, "./x/")),
            ]
        },
    },
    Case {
        name: "directory-over-a-link-that-climbs-out",
        base: true,
        before: nothing,
        packages: |out| {
            let climbs = format!("../../../..{out}");
            vec![
                Package::new("a").data(|tar| same_folders(tar, out).symlink("./x", &climbs)),
                Package::new("b").data(|tar| open_to_all(tar, "./x/")),
            ]
        },
    },
    Case {
        name: "directory-below-a-link-that-points-out",
        base: true,
        before: nothing,
        packages: |out| {
            vec![Package::new("a").data(|tar| open_to_all(same_folders(tar, out).symlink("./x", out), "./x/inner/"))]
        },
    },
    Case {
        name: "directory-over-a-link-of-the-tree",
        base: false,
        before: |root, out| {
            fs::create_dir_all(root.join(&out[1..])).unwrap();
            symlink(out, root.join("x")).unwrap();
        },
        packages: |_| vec![Package::new("b").data(|tar| open_to_all(tar, "./x/"))],
    },
    Case {
        name: "pipe-through-a-link-that-points-out",
        base: true,
        before: nothing,
        packages: |out| {
            vec![Package::new("a").data(|tar| {
                let pipe = Head { mode: 0o666, ..Head::new("./x/secret", b'6') };
                same_folders(tar, out).symlink("./x", out).header(&pipe)
            })]
        },
    },
    Case {
        name: "hard-link-through-a-link-that-points-out",
        base: true,
        before: nothing,
        packages: |out| {
            vec![Package::new("a").data(|tar| {
                let links = same_folders(tar, out).symlink("./x", out);
                links.file("./x/secret", b"own").hardlink("./copy", "./x/secret")
            })]
        },
    },
    Case {
        name: "database-behind-a-link-that-points-out",
        base: false,
        before: |root, out| {
            fs::create_dir_all(root.join("var/lib")).unwrap();
            fs::create_dir_all(root.join(&out[1..])).unwrap();
            symlink(out, root.join("var/lib/dpkg")).unwrap();
            symlink(out, root.join("etc")).unwrap();
        },
        packages: |_| vec![Package::new("a").data(|tar| tar.file("./a", b"a"))],
    },
    Case {
        name: "database-is-a-pipe",
        base: false,
        before: |root, _| {
            fs::create_dir_all(root.join("var/lib/dpkg")).unwrap();
            rustix::fs::mknodat(
                rustix::fs::CWD,
                root.join("var/lib/dpkg/status"),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o644),
                0,
            )
            .unwrap();
        },
        packages: |_| vec![Package::new("a").data(|tar| tar.file("./a", b"a"))],
    },
];

fn nothing(_: &Path, _: &str) {}

/// Ships the folders of `out` inside the tree too, so that a link to it leads somewhere.
fn same_folders<'t>(tar: &'t mut Tarball, out: &str) -> &'t mut Tarball {
    let ends: Vec<usize> = out.match_indices('/').map(|(at, _)| at).skip(1).chain([out.len()]).collect();
    for end in ends {
        tar.dir(&format!(".{}/", &out[..end]));
    }
    tar
}

fn open_to_all<'t>(tar: &'t mut Tarball, name: &str) -> &'t mut Tarball {
    tar.header(&Head { mode: 0o777, ..Head::new(name, b'5') })
}

/// Returns everything outside the tree that a package could want to change.
fn outside(folder: &Path) -> String {
    let mut text = String::new();
    let mut all: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(path) = all.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let content = found.is_file().then(|| fs::read_to_string(&path).unwrap());
        writeln!(text, "{} {:o} {} {} {content:?}", path.display(), found.mode(), found.uid(), found.mtime()).unwrap();
        if found.is_dir() {
            let mut names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            names.sort();
            all.extend(names);
        }
    }
    text
}

/// Fills the folder outside with what must not be seen inside.
fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("triggers")).unwrap();
    fs::create_dir_all(folder.join("info")).unwrap();
    fs::write(folder.join("secret"), "the host's secret\n").unwrap();
    fs::write(folder.join("triggers/File"), "/a secret-of-the-host\n").unwrap();
    fs::write(folder.join("triggers/other"), "secret-of-the-host\n").unwrap();
    fs::write(folder.join("passwd"), "root:x:4242:4242::/:/bin/sh\n").unwrap();
    fs::write(folder.join("status"), "Package: secret-of-the-host\nStatus: install ok installed\nVersion: 1\n\n")
        .unwrap();
}

fn arrival(folder: &Path, package: &Package) -> Arrival {
    let bytes = package.deb();
    let path = folder.join(format!("{}.deb", package.name));
    fs::write(&path, &bytes).unwrap();
    let (name, architecture) = (package.name.clone(), package.architecture.clone());
    let (sha256, size) = (Digest::of(&bytes), bytes.len() as u64);
    Arrival { package: PackageRef { name, version: "1.0".into(), architecture, sha256, size, automatic: false }, path }
}

fn run(case: &Case) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (root, out) = (folder.path().join("root"), folder.path().join("outside"));
    fs::create_dir(&root).unwrap();
    fill(&out);
    let shown = out.to_str().unwrap();
    (case.before)(&root, shown);
    let before = outside(&out);
    let options = Options {
        threads: 1,
        epoch: 1,
        bare: false,
        only: vec![],
        base: case.base,
        arch: Arch::Amd64,
        merged_usr: vec![],
    };
    let packages: Vec<_> = (case.packages)(shown).iter().map(|package| Ok(arrival(folder.path(), package))).collect();
    let result = unpack(packages, &root, &options, &|_| {});
    assert_eq!(outside(&out), before, "{}: something outside has changed", case.name);
    let inside = outside(&root);
    assert!(!inside.contains("secret-of-the-host"), "{}: something of outside is in the tree: {inside}", case.name);
    assert!(!inside.contains(" 4242 "), "{}: names are looked up outside: {inside}", case.name);
    match result {
        Ok(_) => "unpacked".into(),
        Err(fault) => fault.chain().replace(shown, "OUTSIDE"),
    }
}

#[test]
fn nothing_outside_the_tree_is_read_or_changed() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../corpus/hostile-debs/contained.txt");
    let got: String = CASES.iter().map(|case| format!("{}: {}\n", case.name, run(case))).collect();
    if std::env::var_os("KILN_BLESS").is_some() {
        fs::write(golden, &got).unwrap();
    }
    assert_eq!(got, fs::read_to_string(golden).unwrap_or_default(), "KILN_BLESS=1 accepts the new text");
}
