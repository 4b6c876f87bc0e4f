//! Small archives unpacked into small trees: who wins, what is contained, what dpkg makes of it.

#[path = "../../domain/family/tests/builder/mod.rs"]
mod builder;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use builder::Package;
use kiln_engine::unpack::{Arrival, Options, Unpacked, unpack};
use kiln_model::action::PackageRef;
use kiln_model::{Arch, Digest, Fault, FaultKind};
use tempfile::TempDir;

const EPOCH: i64 = 1_700_000_000;

/// A tree and the archives that go into it.
struct Bench {
    folder: TempDir,
    options: Options,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        let links = vec![("/lib".parse().unwrap(), "usr/lib".to_owned())];
        let options = Options {
            threads: 2,
            epoch: EPOCH,
            bare: false,
            only: vec![],
            base: true,
            arch: Arch::Amd64,
            merged_usr: links,
        };
        Self { folder, options }
    }

    fn further() -> Self {
        let mut bench = Self::new();
        bench.options.base = false;
        bench
    }

    fn arrival(&self, package: &Package) -> Arrival {
        let bytes = package.deb();
        let path = self.folder.path().join(format!("{}_{}.deb", package.name, package.architecture));
        fs::write(&path, &bytes).unwrap();
        let (name, architecture) = (package.name.clone(), package.architecture.clone());
        let size = bytes.len() as u64;
        Arrival {
            package: PackageRef {
                name,
                version: "1.0".into(),
                architecture,
                sha256: Digest::of(&bytes),
                size,
                automatic: false,
            },
            path,
        }
    }

    fn unpack(&self, packages: &[&Package]) -> Result<Unpacked, Fault> {
        let arrivals: Vec<_> = packages.iter().map(|package| Ok(self.arrival(package))).collect();
        unpack(arrivals, &self.root(), &self.options, &|_| {})
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("root")
    }

    fn text(&self, path: &str) -> String {
        let bytes = fs::read(self.root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn dpkg(&self, arguments: &[&str]) -> String {
        let root = format!("--root={}", self.root().display());
        let mut dpkg = Command::new("dpkg");
        dpkg.args([&root, "--force-not-root", "--force-unsafe-io", "--log=/dev/null"]).args(arguments);
        let output = dpkg.output().expect("`dpkg` is needed: apt-get install dpkg");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "dpkg {arguments:?}: {text}");
        text
    }
}

/// Returns every name below `root` with kind, mode, time and content.
fn listing(root: &Path) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, found) = (entry.path(), entry.metadata().unwrap());
            let content = if found.is_file() {
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
            } else {
                String::new()
            };
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            names.insert(name, format!("{:o} {} {content}", found.mode(), found.mtime()));
            if found.is_dir() {
                folders.push(path);
            }
        }
    }
    names
}

#[test]
fn links_that_point_out_lead_back_in() {
    let bench = Bench::new();
    let outside = bench.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let (up, absolute) = (format!("../../..{}", outside.display()), outside.display().to_string());
    let mirror = format!(".{absolute}/");
    let folders: Vec<String> = (0..=mirror.matches('/').count())
        .filter_map(|n| Some(mirror.match_indices('/').nth(n)?.0))
        .map(|at| mirror[..=at].to_owned())
        .collect();
    let first = Package::new("first").data(|tar| {
        for folder in folders.iter().skip(1) {
            tar.dir(folder);
        }
        tar.symlink("./up", &up).symlink("./absolute", &absolute).file("./up/one", b"1")
    });
    bench.unpack(&[&first]).unwrap();
    let second = Package::new("second").data(|tar| tar.file("./absolute/two", b"2"));
    let further = Bench { options: Options { base: false, ..bench.options.clone() }, ..bench };
    further.unpack(&[&second]).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "something left the tree");
    assert_eq!(further.text(&format!("{}/one", &absolute[1..])), "1");
    assert_eq!(further.text(&format!("{}/two", &absolute[1..])), "2");
}

#[test]
fn a_link_to_nowhere_is_no_directory() {
    let package = Package::new("evil").data(|tar| tar.symlink("./etc", "/proc/self/cwd").file("./etc/x", b"x"));
    let fault = Bench::new().unpack(&[&package]).unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Package);
    assert_eq!(
        fault.chain(),
        "unpack `evil 1.0`: unpack: open the directory `/etc` in the tree: No such file or directory (os error 2)"
    );
}

#[test]
fn modes_are_kept_and_privileged_files_listed() {
    let bench = Bench::new();
    let package = Package::new("su").data(|tar| {
        tar.dir("./bin/")
            .file_mode("./bin/su", 0o4755, b"#!")
            .file_mode("./secret", 0o600, b"s")
            .file(b"./caf\xe9".as_slice(), b"x")
    });
    let done = bench.unpack(&[&package]).unwrap();
    let privileged: Vec<_> =
        done.privileged.iter().map(|(name, path, mode)| format!("{name} {path} {mode:o}")).collect();
    assert_eq!(privileged, ["su /bin/su 4755"]);
    let mode = |path: &str| bench.root().join(path).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("bin/su"), mode("secret"), mode("bin")), (0o4755, 0o600, 0o755));
    assert!(bench.root().join(std::ffi::OsString::from_vec(b"caf\xe9".to_vec())).exists());
    assert_eq!(bench.text("var/lib/dpkg/info/su.list").lines().take(3).collect::<Vec<_>>(), ["/.", "/bin", "/bin/su"]);
    assert_eq!(bench.text("var/lib/dpkg/info/su.md5sums").lines().count(), 3);
}

#[test]
fn a_path_of_two_packages_names_both() {
    let one = Package::new("one").data(|tar| tar.dir("./usr/").dir("./usr/lib/").file("./usr/lib/x", b"1"));
    let two = Package::new("two").data(|tar| tar.file("./lib/x", b"2"));
    let fault = Bench { options: Options { threads: 1, ..Bench::new().options }, ..Bench::new() }
        .unpack(&[&one, &two])
        .unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Package);
    assert_eq!(
        fault.chain(),
        "unpack `two 1.0`: unpack: `/usr/lib/x` is in `two` and in `one`, and neither replaces the other"
    );
}

#[test]
fn replaces_decides_whoever_comes_first() {
    let old = Package::new("old").data(|tar| {
        tar.dir("./usr/").file("./usr/x", b"old").file("./usr/old", b"").hardlink("./usr/also-old", "./usr/x")
    });
    let new = Package::new("new")
        .control("Replaces: old (<< 2)\n")
        .data(|tar| tar.dir("./usr/").file("./usr/x", b"new").hardlink("./usr/also-new", "./usr/x"));
    let mut trees = Vec::new();
    for (packages, threads) in [([&old, &new], 1), ([&new, &old], 1), ([&new, &old], 2)] {
        let bench = Bench { options: Options { threads, ..Bench::new().options }, ..Bench::new() };
        bench.unpack(&packages).unwrap();
        assert_eq!(bench.text("usr/x"), "new");
        assert_eq!(bench.text("usr/also-new"), "new");
        assert!(!bench.text("var/lib/dpkg/info/old.list").contains("/usr/x\n"));
        assert!(bench.text("var/lib/dpkg/info/new.list").contains("/usr/x\n"));
        trees.push(listing(&bench.root()).into_keys().collect::<Vec<_>>());
    }
    assert_eq!(trees[0], trees[1]);
    assert_eq!(trees[1], trees[2]);
}

#[test]
fn instances_of_two_architectures_share_equal_files() {
    let instance = |arch: &str, text: &str| {
        let content = text.to_owned();
        Package::new("libx")
            .architecture(arch)
            .control("Multi-Arch: same\n")
            .data(|tar| tar.dir("./usr/").file("./usr/doc", content.as_bytes()))
    };
    let bench = Bench::new();
    bench.unpack(&[&instance("amd64", "same"), &instance("i386", "same")]).unwrap();
    assert_eq!(bench.text("usr/doc"), "same");
    assert_eq!(bench.text("var/lib/dpkg/arch"), "amd64\ni386\n");
    let lists = ["libx:amd64", "libx:i386"].map(|name| bench.text(&format!("var/lib/dpkg/info/{name}.list")));
    assert_eq!(lists, ["/.\n/usr\n/usr/doc\n", "/.\n/usr\n/usr/doc\n"]);
    let fault = Bench::new().unpack(&[&instance("amd64", "one"), &instance("i386", "two")]).unwrap_err();
    assert_eq!(fault.chain(), "unpack: `/usr/doc` differs between the architectures of `libx`");
}

#[test]
fn threads_and_order_change_nothing() {
    let packages: Vec<Package> = (0..12)
        .map(|n| {
            let modes = [0o755, 0o700, 0o1777];
            let (name, shared) = (format!("p{n:02}"), modes[n % 3]);
            Package::new(&name).data(|tar| {
                let own = format!("./usr/{name}");
                tar.dir("./usr/")
                    .header(&builder::Head { mode: shared, ..builder::Head::new("./usr/shared/", b'5') })
                    .file(&own, name.as_bytes())
            })
        })
        .collect();
    let run = |threads, packages: Vec<&Package>| {
        let bench = Bench { options: Options { threads, ..Bench::new().options }, ..Bench::new() };
        bench.unpack(&packages).unwrap();
        listing(&bench.root())
    };
    let one = run(1, packages.iter().collect());
    assert!(one["usr/shared"].starts_with("40755 1676080896"), "{}", one["usr/shared"]);
    assert_eq!(one, run(3, packages.iter().rev().collect()));
}

#[test]
fn an_archive_that_is_not_the_locked_one_is_refused() {
    let bench = Bench::new();
    let package = Package::new("a").data(|tar| tar.file("./a", b"x"));
    let mut arrival = bench.arrival(&package);
    arrival.package.sha256 = Digest::of("other");
    let fault = unpack([Ok(arrival.clone())], &bench.root(), &bench.options, &|_| {}).unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Upstream);
    assert!(
        fault.chain().starts_with("unpack `a 1.0`: package archive is not the locked one: its SHA-256 is `"),
        "{}",
        fault.chain()
    );
    arrival.package.version = "2.0".into();
    let fault = unpack([Ok(arrival)], &bench.root(), &bench.options, &|_| {}).unwrap_err();
    assert!(
        fault.chain().contains("its control data says `a 1.0 amd64`, the lock says `a 2.0 amd64`"),
        "{}",
        fault.chain()
    );
}

#[test]
fn a_fault_of_the_downloads_ends_it() {
    let bench = Bench::new();
    let fault = unpack([Err(Fault::upstream("stalled"))], &bench.root(), &bench.options, &|_| {}).unwrap_err();
    assert_eq!((fault.kind(), fault.chain()), (FaultKind::Upstream, "stalled".to_owned()));
}

#[test]
fn dpkg_goes_on_from_here() {
    let bench = Bench::new();
    let package = Package::new("conf")
        .control("Section: misc\nPriority: optional\nHomepage: https://example.org/\n")
        .with("conffiles", "/etc/conf\n")
        .data(|tar| tar.dir("./etc/").file("./etc/conf", b"a = 1\n").dir("./usr/").file("./usr/doc", b"d"));
    bench.unpack(&[&package]).unwrap();
    assert_eq!(
        bench.dpkg(&["--audit"]).lines().next(),
        Some("The following packages have been unpacked but not yet configured.")
    );
    bench.dpkg(&["--configure", "-a"]);
    let status = "Package: conf\nStatus: install ok installed\nPriority: optional\nSection: misc\nInstalled-Size: 1\n\
                  Maintainer: Nobody <nobody@example.org>\nArchitecture: amd64\nVersion: 1.0\nConffiles:\n \
                  /etc/conf 7f2a0b91c09dd5cc1b4cc0fb0e5ae6a3\nDescription: made by a test\nHomepage: https://example.org/\n\n";
    let md5 = Command::new("md5sum").arg(bench.root().join("etc/conf")).output().unwrap().stdout;
    let status = status.replace("7f2a0b91c09dd5cc1b4cc0fb0e5ae6a3", std::str::from_utf8(&md5[..32]).unwrap());
    assert_eq!(bench.text("var/lib/dpkg/status"), status);
    assert_eq!(bench.dpkg(&["--audit"]), "");
    assert_eq!(bench.dpkg(&["--verify"]), "");
    assert_eq!(bench.text("var/lib/dpkg/info/conf.list"), "/.\n/etc\n/etc/conf\n/usr\n/usr/doc\n");
}

#[test]
fn a_conffile_that_is_there_is_left_to_dpkg() {
    let bench = Bench::further();
    bench.write("etc/conf", "mine\n");
    bench.write("var/lib/dpkg/status", "");
    let package = Package::new("conf")
        .with("conffiles", "/etc/conf\n")
        .data(|tar| tar.dir("./etc/").file("./etc/conf", b"theirs\n"));
    bench.unpack(&[&package]).unwrap();
    assert_eq!((bench.text("etc/conf"), bench.text("etc/conf.dpkg-new")), ("mine\n".into(), "theirs\n".into()));
    assert!(bench.text("var/lib/dpkg/status").contains("\n /etc/conf newconffile\n"));
    bench.dpkg(&["--force-confdef", "--force-confold", "--configure", "-a"]);
    assert_eq!((bench.text("etc/conf"), bench.text("etc/conf.dpkg-dist")), ("mine\n".into(), "theirs\n".into()));
}

#[test]
fn the_tree_has_its_say() {
    let bench = Bench::further();
    let installed = "Package: there\nStatus: install ok installed\nMaintainer: N <n@example.org>\nArchitecture: amd64\nVersion: 1\nDescription: x\n\n";
    bench.write("var/lib/dpkg/status", installed);
    bench.write("var/lib/dpkg/info/there.list", "/.\n/usr\n/usr/x\n/usr/y\n");
    bench.write("var/lib/dpkg/triggers/File", "/usr/share/icons there/noawait\n/usr/y there\n");
    bench.write("var/lib/dpkg/triggers/ldconfig", "there/noawait\n");
    bench.write("var/lib/dpkg/diversions", "/usr/moved\n/usr/moved.orig\nthere\n");
    bench.write("var/lib/dpkg/statoverride", "root root 0640 /usr/over\n");
    bench.write("etc/passwd", "root:x:0:0::/:/bin/sh\n");
    bench.write("etc/group", "root:x:0:\n");
    bench.write("usr/x", "there");
    bench.write("usr/y", "there");
    bench.write("usr/nobody-owns-this", "old");
    let package = Package::new("new")
        .control("Replaces: there\n")
        .with("triggers", "activate-noawait ldconfig\ninterest /opt\n")
        .data(|tar| {
            tar.dir("./usr/")
                .dir("./usr/share/")
                .dir("./usr/share/icons/")
                .file("./usr/x", b"new")
                .file("./usr/moved", b"m");
            tar.file("./usr/over", b"o").file("./usr/nobody-owns-this", b"new").file("./usr/y", b"new")
        });
    bench.unpack(&[&package]).unwrap();
    assert_eq!((bench.text("usr/x"), bench.text("usr/nobody-owns-this")), ("new".into(), "new".into()));
    assert_eq!((bench.text("usr/moved.orig"), bench.root().join("usr/moved").exists()), ("m".into(), false));
    assert_eq!(bench.root().join("usr/over").metadata().unwrap().mode() & 0o7777, 0o640);
    assert_eq!(bench.text("var/lib/dpkg/info/there.list"), "/.\n/usr\n");
    assert_eq!(bench.text("var/lib/dpkg/triggers/Unincorp"), "/usr/share/icons -\n/usr/y new\nldconfig -\n");
    assert_eq!(bench.text("var/lib/dpkg/triggers/File"), "/usr/share/icons there/noawait\n/usr/y there\n/opt new\n");
    let other = Package::new("other").data(|tar| tar.dir("./usr/").file("./usr/x", b"!"));
    let fault = bench.unpack(&[&other]).unwrap_err();
    assert!(
        fault.chain().ends_with("`/usr/x` is in `other` and in `new`, and neither replaces the other"),
        "{}",
        fault.chain()
    );
}

#[test]
fn packages_that_must_prepare_the_tree_are_left_to_dpkg() {
    let bench = Bench::further();
    let loud = Package::new("loud")
        .with("preinst", "#!/bin/sh\nset -e\nmv /etc/a /etc/b\n")
        .data(|tar| tar.file("./loud", b"x"));
    let quiet = Package::new("quiet")
        .with("preinst", "#!/bin/sh\nset -e\ndpkg-maintscript-helper rm_conffile /etc/a 1 -- \"$@\"\n")
        .data(|tar| tar.file("./quiet", b"x"));
    let done = bench.unpack(&[&loud, &quiet]).unwrap();
    assert_eq!(done.packages.iter().map(|control| control.name()).collect::<Vec<_>>(), ["quiet"]);
    assert_eq!(done.real.iter().map(|(control, _)| control.name()).collect::<Vec<_>>(), ["loud"]);
    assert!(!bench.root().join("loud").exists() && bench.root().join("quiet").exists());
}

#[test]
fn bare_trees_hold_files_only() {
    let mut bench = Bench::new();
    bench.options.bare = true;
    let package = Package::new("tool")
        .with("conffiles", "/etc/tool\n")
        .with("preinst", "mv a b")
        .data(|tar| tar.dir("./etc/").file("./etc/tool", b"t"));
    bench.unpack(&[&package]).unwrap();
    assert_eq!(listing(&bench.root()).into_keys().collect::<Vec<_>>(), ["etc", "etc/tool", "lib", "usr", "usr/lib"]);
}

/// A bench for one file of packages.
fn only(path: &str) -> Bench {
    let mut bench = Bench::new();
    (bench.options.bare, bench.options.only) = (true, vec![path.parse().unwrap()]);
    bench
}

#[test]
fn one_file_of_bare_packages_comes_with_its_parents_alone() {
    let bench = only("/usr/bin/tool");
    let tool = Package::new("tool").data(|tar| {
        let private = builder::Head { mode: 0o700, ..builder::Head::new("./usr/bin/", b'5') };
        tar.dir("./etc/").file("./etc/tool", b"e").dir("./usr/").header(&private).file("./usr/bin/tool.old", b"o");
        tar.file_mode("./usr/bin/tool", 0o755, b"tool").hardlink("./usr/bin/alias", "./usr/bin/tool");
        tar.dir("./usr/share/").file("./usr/share/doc", b"d").file("./tool", b"t")
    });
    let other = Package::new("other").data(|tar| tar.dir("./usr/").file("./usr/other", b"o").symlink("./x", "usr"));
    let done = bench.unpack(&[&other, &tool]).unwrap();
    let listing = listing(&bench.root());
    assert_eq!(listing.keys().collect::<Vec<_>>(), ["lib", "usr", "usr/bin", "usr/bin/tool", "usr/lib"]);
    assert_eq!(listing["usr/bin/tool"], "100755 1676080896 tool");
    assert!(listing["usr/bin"].starts_with("40700 "), "{}", listing["usr/bin"]);
    assert_eq!(done.bytes, 4);
}

#[test]
fn an_archive_is_checked_to_its_end_when_one_file_of_it_is_wanted() {
    let package = Package::new("tool").data(|tar| tar.file("./tool", b"tool").file("./rest", &[b'r'; 100_000]));
    type Spoil = fn(&mut Vec<u8>);
    let spoil: [(&str, Spoil); 4] = [
        ("another byte in the rest", |bytes| *bytes.iter_mut().nth_back(2000).unwrap() ^= 1),
        ("the rest cut off", |bytes| bytes.truncate(bytes.len() - 50_000)),
        ("something added", |bytes| bytes.push(0)),
        ("another head of what is not wanted", |bytes| {
            let at = bytes.windows(6).position(|name| name == b"./rest").unwrap();
            bytes[at..at + 6].copy_from_slice(b"../etc");
        }),
    ];
    for (what, spoil) in spoil {
        let bench = only("/tool");
        let arrival = bench.arrival(&package);
        let mut bytes = fs::read(&arrival.path).unwrap();
        spoil(&mut bytes);
        fs::write(&arrival.path, bytes).unwrap();
        let fault = unpack([Ok(arrival)], &bench.root(), &bench.options, &|_| {}).unwrap_err();
        let told = fault.chain();
        assert_eq!(fault.kind(), FaultKind::Upstream, "{what}: {told}");
        assert!(told.starts_with("unpack `tool 1.0`: package archive is not the locked one"), "{what}: {told}");
    }
}
