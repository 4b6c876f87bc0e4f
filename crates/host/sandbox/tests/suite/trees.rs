//! Trees: overlays, binds, scratch directories.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use kiln_model::GuestPath;
use kiln_sandbox::{Bound, Overlay, Scratch, sweep};

use crate::{Case, Ground};

pub const CASES: &[Case] = &[
    ("twenty layers show as one tree", twenty_layers),
    ("removals land in the upper layer", removals),
    ("an upper layer is at rest once unmounted", at_rest),
    ("an overlay without lowers is its upper", no_lowers),
    ("a layer can be read-only", read_only_layers),
    ("a read-only root cannot be changed", read_only_root),
    ("a read-only root gets its mount points in memory", read_only_root_without_mount_points),
    ("binds appear, obey, and leave no trace", binds),
    ("a bind stays while another command with it ends", shared_binds),
    ("a scratch directory goes with its owner", scratch),
    ("a scratch directory deeper than files may be open goes too", deep_scratch),
    ("a sweep takes what is abandoned", abandoned),
    ("what is mounted in a scratch directory survives its end", mounted_scratch),
];

fn list(directory: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(directory).unwrap().map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

/// Layers 0 (lowest) to 19; each adds a file of its own and says its number in `common`.
fn layers(ground: &Ground) -> Vec<PathBuf> {
    let long = "a-rather-long-name,with:odd-letters-in-it-".repeat(4);
    let make = |number: usize| {
        let layer = ground.folder.join(format!("{long}{number}"));
        fs::create_dir_all(layer.join("dir")).unwrap();
        fs::write(layer.join(format!("file{number:02}")), "x").unwrap();
        fs::write(layer.join("common"), number.to_string()).unwrap();
        fs::write(layer.join(format!("dir/in{number:02}")), "x").unwrap();
        layer
    };
    (0..20).map(make).collect()
}

fn whiteout(path: &Path) {
    let whiteout = rustix::fs::makedev(0, 0);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::empty(),
        whiteout,
    )
    .unwrap();
}

fn opaque(path: &Path) {
    rustix::fs::setxattr(path, "user.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).unwrap();
}

fn mount(ground: &Ground, layers: &[PathBuf]) -> Overlay {
    let topmost_first: Vec<&Path> = layers.iter().rev().map(PathBuf::as_path).collect();
    let [upper, work, target] = ["upper", "work", "target"].map(|name| ground.folder.join(name));
    Overlay::mount(&topmost_first, &upper, &work, &target).unwrap()
}

fn twenty_layers(ground: &Ground) {
    let layers = layers(ground);
    whiteout(&layers[10].join("file03"));
    opaque(&layers[15].join("dir"));
    let overlay = mount(ground, &layers);
    let mut wanted: Vec<String> =
        (0..20).filter(|&number| number != 3).map(|number| format!("file{number:02}")).collect();
    wanted.splice(0..0, ["common".to_owned(), "dir".to_owned()]);
    assert_eq!(list(overlay.target()), wanted);
    assert_eq!(fs::read_to_string(overlay.target().join("common")).unwrap(), "19");
    let wanted: Vec<String> = (15..20).map(|number| format!("in{number:02}")).collect();
    assert_eq!(list(&overlay.target().join("dir")), wanted);
    let target = overlay.target().to_owned();
    overlay.unmount().unwrap();
    assert_eq!(list(&target), Vec::<String>::new());
}

fn removals(ground: &Ground) {
    let mut layers = layers(ground);
    layers.push(ground.tree.clone());
    for round in 0..2 {
        // The second round reuses the work directory of an unsynced overlay.
        let overlay = mount(ground, &layers);
        let script = "rm -f /file00; rm -rf /dir; mkdir /dir; echo new > /dir/new; chown 7:8 /common; echo $? > /round";
        let mut command = ground.shell(script);
        command.root = overlay.target().into();
        let (exit, out, err) = ground.run(&command);
        assert!(exit.success(), "round {round}: {exit} {out}{err}");
        assert_eq!(list(&overlay.target().join("dir")), ["new"]);
    }
    let upper = ground.folder.join("upper");
    let gone = fs::symlink_metadata(upper.join("file00")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(upper.join("dir"), "user.overlay.opaque", &mut value).unwrap();
    assert_eq!(&value[..length], b"y");
    let common = upper.join("common").metadata().unwrap();
    assert_eq!((common.uid(), common.gid()), (7, 8));
    assert_eq!(fs::read_to_string(layers[0].join("file00")).unwrap(), "x");
}

/// The kernel makes one whiteout in `work` and links the others to it: whoever takes `upper` must not see that go.
fn at_rest(ground: &Ground) {
    let overlay = mount(ground, &layers(ground)[..2]);
    for name in ["file00", "file01"] {
        fs::remove_file(overlay.target().join(name)).unwrap();
    }
    overlay.unmount().unwrap();
    let changed = |name| {
        let data = fs::symlink_metadata(ground.folder.join("upper").join(name)).unwrap();
        assert!(data.file_type().is_char_device(), "{name}");
        (data.ctime(), data.ctime_nsec(), data.nlink())
    };
    let before = ["file00", "file01"].map(changed);
    let _ = fs::remove_dir_all(ground.folder.join("work"));
    assert_eq!(["file00", "file01"].map(changed), before);
}

fn no_lowers(ground: &Ground) {
    let overlay = mount(ground, &[]);
    fs::write(overlay.target().join("a"), "x").unwrap();
    drop(overlay);
    assert_eq!(list(&ground.folder.join("upper")), ["a"]);
    assert_eq!(list(&ground.folder.join("target")), Vec::<String>::new());
}

fn read_only_layers(ground: &Ground) {
    let layers = layers(ground);
    for count in [1, 2] {
        let lowers: Vec<&Path> = layers.iter().rev().take(count).map(PathBuf::as_path).collect();
        let overlay = Overlay::read_only(&lowers, &ground.folder.join("target")).unwrap();
        assert_eq!(fs::read_to_string(overlay.target().join("common")).unwrap(), "19");
        let error = fs::write(overlay.target().join("common"), "").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
}

fn read_only_root(ground: &Ground) {
    let mut command = ground.shell("echo x > /tmp/x; echo x > /run/x; echo x > /etc/x");
    command.read_only_root = true;
    let (exit, _, err) = ground.run(&command);
    assert!(!exit.success() && err.contains("/etc/x: Read-only file system"), "{err}");
}

/// Trees of a cache are known by the times that nobody can set.
fn read_only_root_without_mount_points(ground: &Ground) {
    let points = ["proc", "sys", "dev", "run", "tmp"];
    for point in points {
        let _ = fs::remove_dir(ground.tree.join(point));
    }
    let changed =
        || ["", "bin"].map(|name| fs::metadata(ground.tree.join(name)).map(|meta| (meta.ctime(), meta.ctime_nsec())));
    let before = changed().map(Result::unwrap);
    let host = ground.folder.join("host");
    fs::create_dir(&host).unwrap();
    let guest = |path: &str| path.parse::<GuestPath>().unwrap();
    let script =
        "echo given > /out/file && echo x > /tmp/x && cat /proc/self/comm /bin/busybox > /dev/null && echo x > /bin/x";
    let mut command = ground.shell(script).bind(&host, guest("/out"), false);
    command.read_only_root = true;
    let (exit, _, err) = ground.run(&command);
    assert!(!exit.success() && err.contains("/bin/x: Read-only file system"), "{err}");
    assert_eq!(list(&host), ["file"]);
    assert_eq!(changed().map(Result::unwrap), before);
    assert!(points.iter().all(|point| !ground.tree.join(point).exists()));
}

fn binds(ground: &Ground) {
    let host = ground.folder.join("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("given"), "x").unwrap();
    let guest = |path: &str| path.parse::<GuestPath>().unwrap();
    let script = "cat /a/b/given; echo made > /a/b/made; cat /etc/one /tmp/ro/given; echo no > /tmp/ro/no";
    let mut command = ground
        .shell(script)
        .bind(&host, guest("/a/b"), false)
        .bind(host.join("given"), guest("/etc/one"), true)
        .bind(&host, guest("/tmp/ro"), true);
    // The tree's own mount points are made by the first command.
    ground.say("mkdir -p /etc");
    let times = || ["", "etc"].map(|name| fs::metadata(ground.tree.join(name)).unwrap().modified().unwrap());
    let before = times();
    for read_only in [false, true] {
        command.read_only_root = read_only;
        let (exit, out, err) = ground.run(&command);
        assert_eq!(times(), before, "nor does it show in the times of directories");
        assert_eq!(out, "xxx");
        assert!(!exit.success() && err.contains("/tmp/ro/no: Read-only file system"), "{err}");
        assert_eq!(list(&host), ["given", "made"]);
        assert!(!ground.tree.join("a").exists() && !ground.tree.join("etc/one").exists());
    }
}

fn shared_binds(ground: &Ground) {
    let host = ground.folder.join("host");
    fs::create_dir(&host).unwrap();
    let long = ground.shell("touch /a/b/began; while [ ! -e /a/b/stop ]; do sleep 0.02; done; ls /a/b");
    let long = long.bind(&host, "/a/b".parse().unwrap(), false);
    let mut short = ground.shell("while [ ! -e /a/b/began ]; do sleep 0.02; done");
    short.binds = long.binds.clone();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(ground.run(&long).1, "began\nstop\n"));
        }
        for _ in 0..5 {
            assert!(ground.run(&short).0.success());
        }
        fs::write(host.join("stop"), "").unwrap();
    });
}

fn scratch(ground: &Ground) {
    let parent = ground.folder.join("scratches");
    let dropped = Scratch::new(&parent, "x").unwrap();
    let mut command = ground.shell("mkdir -p /s/a/b; touch /s/a/b/c; chown -R 1000:2000 /s/a; chmod 0 /s/a/b /s/a");
    command = command.bind(dropped.path(), "/s".parse().unwrap(), false);
    assert!(ground.run(&command).0.success());
    assert_eq!(list(dropped.path()), ["a"]);
    let kept = Scratch::new(&parent, "x").unwrap();
    assert_eq!(sweep(&parent).unwrap(), 0);
    drop(dropped);
    let kept = kept.keep().unwrap();
    assert_eq!(sweep(&parent).unwrap(), 0);
    assert_eq!(list(&parent), [kept.file_name().unwrap().to_str().unwrap()]);
}

fn deep_scratch(ground: &Ground) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let scratch = Scratch::new(&ground.folder.join("scratches"), "deep").unwrap();
    let deep = scratch.path().join("d/".repeat(900));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "x").unwrap();
    fs::write(scratch.path().join("raised-0"), "x").unwrap();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), ..before }).unwrap();
    let removed = scratch.remove();
    setrlimit(Resource::Nofile, before).unwrap();
    removed.unwrap();
    assert_eq!(list(&ground.folder.join("scratches")), Vec::<String>::new());
}

fn abandoned(ground: &Ground) {
    let parent = ground.folder.join("scratches");
    fs::create_dir_all(parent.join("x.1-1.scratch/sub")).unwrap();
    fs::write(parent.join("x.1-1.scratch/sub/file"), "x").unwrap();
    std::os::unix::fs::symlink("/etc", parent.join("x.1-1.scratch/link")).unwrap();
    std::os::unix::fs::symlink("/etc", parent.join("y.1-1.scratch")).unwrap();
    fs::create_dir_all(parent.join("other")).unwrap();
    let owned = Scratch::new(&parent, "mine").unwrap();
    assert_eq!(sweep(&parent).unwrap(), 1);
    let mine = owned.path().file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(list(&parent), [mine, "other".into(), "y.1-1.scratch".into()]);
}

fn mounted_scratch(ground: &Ground) {
    let precious = ground.folder.join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "x").unwrap();
    let scratch = Scratch::new(&ground.folder, "x").unwrap();
    let bound = Bound::mount(&precious, &scratch.path().join("bound"), false).unwrap();
    scratch.remove().unwrap_err();
    assert_eq!(list(&precious), ["file"]);
    drop(bound);
}
