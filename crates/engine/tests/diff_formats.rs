//! One tree in every format, written by the formats' own tools, is one view.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_disk::btrfs;
use kiln_engine::diff::{first_difference, open};
use kiln_model::View;
use kiln_model::action::{Size, Subvolume};
use kiln_model::tree::Body;
use kiln_model::view::PartitionView;
use kiln_model::{Digest, Entry, GuestPath, Kind, Source, Tree};
use uuid::Uuid;

/// A folder with a tree that has one of everything an ordinary user can make, and room for artifacts.
struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let ground = Self { folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() };
        let root = ground.tree();
        let put = |path: &str, content: &[u8]| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        put("etc/hostname", b"one\n");
        put("var/lib/dpkg/status", b"Package: base\nStatus: install ok installed\nVersion: 1.2-3\n");
        put("usr/bin/tool", &[7; 100_000]);
        put("usr/empty", b"");
        let noise: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        put("usr/noise", &noise);
        fs::set_permissions(root.join("usr/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/alias")).unwrap();
        // Holes at the start, in the middle and at the end.
        let sparse = fs::File::create(root.join("sparse")).unwrap();
        sparse.set_len(40 << 20).unwrap();
        sparse.write_all_at(b"middle", 20 << 20).unwrap();
        symlink("../usr/bin/tool", root.join("etc/short")).unwrap();
        symlink("x".repeat(200), root.join("etc/long")).unwrap();
        fs::create_dir_all(root.join("etc/systemd/system/multi-user.target.wants")).unwrap();
        symlink("/usr/lib/systemd/system/a.service", root.join("etc/systemd/system/multi-user.target.wants/a.service"))
            .unwrap();
        symlink("/dev/null", root.join("etc/systemd/system/b.service")).unwrap();
        // Enough names for a directory of several blocks.
        (0..800).for_each(|i| put(&format!("many/a-name-that-is-not-short-{i:04}"), b""));
        tool("mkfifo", &[root.join("fifo").to_str().unwrap()]);
        ground
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn ext4(&self, name: &str, more: &[&str]) -> String {
        let (image, tree) = (self.at(name), self.tree());
        let args = ["-q", "-t", "ext4", "-L", "root", "-U", "11111111-2222-3333-4444-555555555555"];
        tool("mke2fs", &[&args[..], more, &["-d", tree.to_str().unwrap(), &image, "64M"]].concat());
        image
    }
}

fn tool(program: &str, args: &[&str]) -> String {
    let done = Command::new(program).args(args).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
    let done = done.unwrap_or_else(|error| panic!("`{program}` must be installed for this test: {error}"));
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn view(path: &str) -> View {
    open(Path::new(path)).unwrap_or_else(|fault| panic!("{path}: {}", fault.chain()))
}

/// What two readings of a tree must agree on; times of directories differ by tool.
fn facts(entries: &[Entry]) -> Vec<String> {
    let fact = |entry: &Entry| {
        let kind = match &entry.kind {
            Kind::File(Body { size, digest, .. }) => format!("file {size} {}", digest.unwrap()),
            other => format!("{other:?}"),
        };
        let time = if entry.kind == Kind::Dir { 0 } else { entry.mtime };
        format!("{} {:o} {}:{} {time} {:?} {kind}", entry.path, entry.mode, entry.uid, entry.gid, entry.xattrs)
    };
    entries.iter().map(fact).collect()
}

fn assert_same(path: &str, wanted: &View) {
    let found = view(path);
    let (ours, theirs) = (facts(&found.tree.entries), facts(&wanted.tree.entries));
    let parted = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
    assert_eq!(parted, None, "{path}");
    assert_eq!(ours.len(), theirs.len(), "{path}");
    assert_eq!((&found.packages, &found.units), (&wanted.packages, &wanted.units), "{path}");
}

#[test]
fn a_folder_is_read_as_it_is() {
    let ground = Ground::new();
    let view = view(ground.tree().to_str().unwrap());
    assert_eq!(view.packages, BTreeMap::from([("base".to_owned(), "1.2-3".to_owned())]));
    assert_eq!(serde_json::to_string(&view.units).unwrap(), r#"{"a.service":"enabled","b.service":"masked"}"#);
    let get = |path: &str| &view.tree.get(&path.parse().unwrap()).unwrap().kind;
    assert_eq!(*get("/usr/bin/tool"), Kind::Hardlink("/usr/bin/alias".parse().unwrap()));
    let Kind::File(body) = get("/usr/bin/alias") else { panic!("a file") };
    assert_eq!((body.size, body.digest), (100_000, Some(Digest::of([7; 100_000]))));
}

#[test]
fn every_format_says_what_the_folder_says() {
    let ground = Ground::new();
    let tree = ground.tree();
    let tree = tree.to_str().unwrap();
    let wanted = view(tree);
    let tar = ground.at("x.tar");
    tool("tar", &["--format=pax", "--pax-option=delete=atime,delete=ctime", "-C", tree, "-cf", &tar, "."]);
    assert_same(&tar, &wanted);
    for (program, ending) in [("zstd", "zst"), ("xz", "xz"), ("gzip", "gz"), ("bzip2", "bz2")] {
        tool(program, &["-k", "-1", &tar]);
        assert_same(&format!("{tar}.{ending}"), &wanted);
    }
    for compressor in ["gzip", "xz", "lz4", "zstd"] {
        let image = ground.at(&format!("{compressor}.sqfs"));
        tool("mksquashfs", &[tree, &image, "-comp", compressor, "-quiet", "-no-progress"]);
        assert_same(&image, &wanted);
    }
    let compressed: &[&[&str]] = &[
        &[],
        &["-zlz4"],
        &["-zlz4hc", "-C65536"],
        &["-zlz4hc", "-C16384", "-Elegacy-compress"],
        &["-zlz4hc", "-Eztailpacking"],
    ];
    for (number, options) in compressed.iter().enumerate() {
        let erofs = ground.at(&format!("{number}.erofs"));
        tool("mkfs.erofs", &[options, &[erofs.as_str(), tree][..]].concat());
        assert_same(&erofs, &wanted);
    }
    let btrfs = ground.at("x.btrfs");
    tool("mkfs.btrfs", &["--quiet", "--rootdir", tree, &btrfs]);
    assert_same(&btrfs, &wanted);
    assert_same(&ground.ext4("plain.ext4", &[]), &wanted);
    assert_same(&ground.ext4("maps.ext4", &["-b", "1024", "-O", "^extents,^64bit"]), &wanted);
    // mke2fs loses a hole at the end of a file when it also puts data into inodes.
    fs::remove_file(ground.tree().join("sparse")).unwrap();
    assert_same(&ground.ext4("inline.ext4", &["-O", "inline_data"]), &view(tree));
}

/// What only root can put into a tree is put in by the tools: owners, devices, attributes.
#[test]
fn owners_devices_and_attributes_are_read() {
    let ground = Ground::new();
    let capability = "01000002002000000000000000000000000000";
    let ext4 = ground.ext4("x.ext4", &[]);
    let orders = ground.at("orders");
    let large = "y".repeat(900);
    let script = format!(
        "mknod console c 5 1\nmknod big b 200 300\nsif etc/hostname uid 70001\nsif etc/hostname gid 8\n\
         ea_set usr/empty security.capability {capability}\nea_set usr/empty user.large {large}\n"
    );
    fs::write(&orders, script).unwrap();
    tool("debugfs", &["-w", "-f", &orders, &ext4]);
    let view = view(&ext4);
    let get = |path: &str| view.tree.get(&path.parse().unwrap()).unwrap();
    assert_eq!(get("/console").kind, Kind::Char { major: 5, minor: 1 });
    assert_eq!(get("/big").kind, Kind::Block { major: 200, minor: 300 });
    assert_eq!((get("/etc/hostname").uid, get("/etc/hostname").gid), (70001, 8));
    let attributes = &get("/usr/empty").xattrs;
    assert_eq!(attributes["user.large"], large.as_bytes());
    assert_eq!(attributes["security.capability"], capability.as_bytes());
}

/// A tar written here, read back and through sqfstar.
#[test]
fn archives_of_root_are_read() {
    let ground = Ground::new();
    let tar = ground.at("root.tar");
    let mut builder = tar::Builder::new(fs::File::create(&tar).unwrap());
    let header = |kind: tar::EntryType, size: u64| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o640);
        header.set_uid(70001);
        header.set_gid(8);
        header.set_mtime(1_700_000_000);
        header
    };
    let mut device = header(tar::EntryType::Char, 0);
    device.set_device_major(5).unwrap();
    device.set_device_minor(1).unwrap();
    builder.append_data(&mut device, "dev/console", &[][..]).unwrap();
    builder.append_pax_extensions([("SCHILY.xattr.security.capability", &[1, 0, 0, 2, 0, 32, 0, 0][..])]).unwrap();
    builder.append_data(&mut header(tar::EntryType::Regular, 2), "z/first", &b"hi"[..]).unwrap();
    builder.append_link(&mut header(tar::EntryType::Link, 0), "a-link", "z/first").unwrap();
    builder.into_inner().unwrap();
    let squashfs = ground.at("root.sqfs");
    let mut sqfstar = Command::new("sqfstar");
    sqfstar.args(["-quiet", "-no-progress", &squashfs]).stdin(fs::File::open(&tar).unwrap()).stdout(Stdio::null());
    let done = sqfstar.status().expect("sqfstar of squashfs-tools is installed");
    assert!(done.success());
    for path in [tar, squashfs] {
        let view = view(&path);
        let get = |path: &str| view.tree.get(&path.parse().unwrap()).unwrap();
        assert_eq!(get("/dev/console").kind, Kind::Char { major: 5, minor: 1 }, "{path}");
        let file = get("/a-link");
        assert!(matches!(&file.kind, Kind::File(body) if body.digest == Some(Digest::of("hi"))), "{path}: {file:?}");
        assert_eq!(get("/z/first").kind, Kind::Hardlink("/a-link".parse().unwrap()), "{path}");
        assert_eq!((file.uid, file.gid, file.mode, file.mtime), (70001, 8, 0o640, 1_700_000_000), "{path}");
        assert_eq!(file.xattrs["security.capability"], [1, 0, 0, 2, 0, 32, 0, 0], "{path}");
    }
}

/// As a machine would mount them: the top level is nobody's root.
#[test]
fn subvolumes_are_read_where_they_are_mounted() {
    let ground = Ground::new();
    let fstab = "UUID=00000000-0000-0000-0000-000000000007 / btrfs subvol=@ 0 0\n\
                 UUID=00000000-0000-0000-0000-000000000007 /var/log btrfs subvol=@log 0 0\n/dev/sdb1 /home ext4 defaults 0 2\n";
    let path = |path: &str| path.parse::<GuestPath>().unwrap();
    let dir = |name: &str| Entry::dir(path(name), 0o755, 5);
    let file = |name: &str, text: &str| Entry::inline(path(name), 0o644, 5, text.as_bytes().to_vec());
    let mut tree = Tree {
        entries: vec![
            dir("/"),
            dir("/etc"),
            file("/etc/fstab", fstab),
            dir("/home"),
            dir("/var"),
            dir("/var/log"),
            file("/var/log/first", &"kept ".repeat(5000)),
        ],
    };
    tree.sort();
    let subvolumes = [("@", "/"), ("@log", "/var/log"), ("@more", "/home")];
    let subvolumes = subvolumes.map(|(name, mount)| Subvolume { name: name.into(), mount: path(mount) });
    let options = btrfs::Options {
        uuid: Uuid::from_u128(7),
        label: "root".into(),
        epoch: 5,
        size: Size::Auto,
        subvolumes: subvolumes.into(),
    };
    let extents = btrfs::layout(&tree, &GuestPath::root(), &[], &options, &btrfs::Sums::new()).unwrap();
    let image = ground.at("x.btrfs");
    let disk = fs::File::create(&image).unwrap();
    disk.set_len(extents.size).unwrap();
    for extent in &extents.list {
        let Source::Bytes(bytes) = &extent.source else { continue };
        disk.write_all_at(bytes, extent.offset).unwrap();
    }
    let wanted: Vec<String> = tree.entries.iter().map(|entry| entry.path.to_string()).collect();
    let found = view(&image);
    assert_eq!(found.tree.entries.iter().map(|entry| entry.path.to_string()).collect::<Vec<_>>(), wanted);
    let Kind::File(body) = &found.tree.get(&path("/var/log/first")).unwrap().kind else { panic!("a file") };
    assert_eq!(body.digest, Some(Digest::of("kept ".repeat(5000))));
}

/// An ESP and a root in a GPT; the same as qcow2 in several forms.
#[test]
fn disks_are_read() {
    let ground = Ground::new();
    let (disk, root, esp) = (ground.at("x.img"), ground.ext4("root.ext4", &[]), ground.at("esp.fat"));
    fs::File::create(&esp).unwrap().set_len(40 << 20).unwrap();
    tool("mkfs.vfat", &["-F", "32", "-n", "ESP", "-i", "1234abcd", &esp]);
    let hello = ground.at("hello.efi");
    fs::write(&hello, [9; 70_000]).unwrap();
    tool("mmd", &["-i", &esp, "::/EFI"]);
    tool("mcopy", &["-i", &esp, &hello, "::/EFI/A long name.efi"]);
    partitioned(
        &disk,
        "label: gpt\nstart=2048, size=81920, type=U, name=esp, uuid=AAAAAAAA-0000-4000-8000-000000000001\n\
         start=83968, size=131072, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root, uuid=AAAAAAAA-0000-4000-8000-000000000002\n",
        &[(2048, &esp), (83968, &root)],
    );
    let text = str::to_owned;
    let found = view(&disk);
    let wanted = [
        PartitionView {
            number: 1,
            name: text("esp"),
            offset: 1 << 20,
            size: 40 << 20,
            r#type: text("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
            id: text("aaaaaaaa-0000-4000-8000-000000000001"),
            filesystem: text("vfat"),
            label: text("ESP"),
            uuid: text("1234-ABCD"),
        },
        PartitionView {
            number: 2,
            name: text("root"),
            offset: 41 << 20,
            size: 64 << 20,
            r#type: text("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
            id: text("aaaaaaaa-0000-4000-8000-000000000002"),
            filesystem: text("ext4"),
            label: text("root"),
            uuid: text("11111111-2222-3333-4444-555555555555"),
        },
    ];
    assert_eq!(found.partitions, wanted);
    let program = found.tree.get(&"/boot/efi/EFI/A long name.efi".parse().unwrap()).unwrap();
    assert!(
        matches!(&program.kind, Kind::File(body) if body.size == 70_000 && body.digest == Some(Digest::of([9; 70_000])))
    );
    assert_eq!(found.packages.len(), 1);
    for (name, options) in
        [("a", &[][..]), ("b", &["-c"][..]), ("c", &["-c", "-o", "compression_type=zstd,cluster_size=4096"][..])]
    {
        let qcow2 = ground.at(&format!("{name}.qcow2"));
        tool("qemu-img", &[&["convert", "-O", "qcow2"], options, &[&disk, &qcow2]].concat());
        let other = view(&qcow2);
        assert_eq!(facts(&other.tree.entries), facts(&found.tree.entries), "{name}");
        assert_eq!((other.partitions, other.format.as_str()), (found.partitions.clone(), "qcow2"), "{name}");
    }
    tool("zstd", &["-q", "-1", &disk]);
    assert_eq!(facts(&view(&format!("{disk}.zst")).tree.entries), facts(&found.tree.entries));
}

#[test]
fn mbr_tables_are_read_with_their_logical_partitions() {
    let ground = Ground::new();
    let disk = ground.at("x.img");
    let table = "label: dos\nlabel-id: 0x1234abcd\nstart=2048, size=2048, type=c\nstart=4096, size=12288, type=5\n\
                 start=6144, size=2048, type=83\nstart=10240, size=4096, type=82\n";
    partitioned(&disk, table, &[]);
    let found = view(&disk);
    let rows: Vec<_> = found
        .partitions
        .iter()
        .map(|part| (part.number, part.offset / 512, part.size / 512, part.r#type.as_str(), part.id.as_str()))
        .collect();
    let wanted = [
        (1, 2048, 2048, "0x0c", "1234abcd-01"),
        (5, 6144, 2048, "0x83", "1234abcd-05"),
        (6, 10240, 4096, "0x82", "1234abcd-06"),
    ];
    assert_eq!(rows, wanted);
}

fn partitioned(disk: &str, table: &str, parts: &[(u64, &String)]) {
    let file = fs::File::create(disk).unwrap();
    file.set_len(128 << 20).unwrap();
    let mut sfdisk =
        Command::new("sfdisk").args(["-q", disk]).env("PATH", "/usr/sbin:/sbin:/usr/bin").stdin(Stdio::piped()).spawn();
    let sfdisk = sfdisk.as_mut().expect("sfdisk of fdisk is installed");
    std::io::Write::write_all(&mut sfdisk.stdin.take().unwrap(), table.as_bytes()).unwrap();
    assert!(sfdisk.wait().unwrap().success());
    for (sector, part) in parts {
        file.write_all_at(&fs::read(part).unwrap(), sector * 512).unwrap();
    }
}

#[test]
fn the_first_difference_names_byte_and_file() {
    let ground = Ground::new();
    let one = ground.ext4("one.ext4", &["-E", "hash_seed=11111111-2222-3333-4444-555555555555"]);
    let copy = ground.at("copy.ext4");
    fs::copy(&one, &copy).unwrap();
    assert_eq!(first_difference(one.as_ref(), copy.as_ref()).unwrap(), None);
    let image = fs::read(&copy).unwrap();
    let at = image.windows(12).position(|bytes| bytes == [7; 12]).expect("the tool's content") as u64;
    fs::File::options().write(true).open(&copy).unwrap().write_all_at(b"!", at + 5).unwrap();
    let found = first_difference(one.as_ref(), copy.as_ref()).unwrap().unwrap();
    // Both names of the file hold the content.
    let wanted = format!("differs first at byte {}\n  `/usr/bin/alias`: content\n  `/usr/bin/tool`: content", at + 5);
    assert_eq!(found.to_string(), wanted);
}

#[test]
fn what_is_no_artifact_or_damaged_is_a_fault() {
    let ground = Ground::new();
    let cases: &[(&str, &[u8], &str)] = &[
        ("text", b"hello\n", "it is no disk, filesystem, archive or report that kiln knows"),
        ("empty", b"", "it is no disk, filesystem, archive or report that kiln knows"),
        ("json", b"{}\n", "missing field"),
        ("qcow2", b"QFI\xfb\0\0\0\x09", "the qcow2 header makes no sense"),
        ("zst", &[0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3], ""),
    ];
    for (name, bytes, wanted) in cases {
        let path = ground.at(name);
        fs::write(&path, bytes).unwrap();
        let fault = open(Path::new(&path)).expect_err(name);
        assert!(fault.chain().contains(wanted), "{name}: {}", fault.chain());
    }
    // Every filesystem with bytes of its metadata turned: an answer or a fault, never a panic or an endless loop.
    let squashfs = ground.at("x.sqfs");
    tool("mksquashfs", &[ground.tree().to_str().unwrap(), &squashfs, "-quiet", "-no-progress"]);
    let erofs = ground.at("x.erofs");
    tool("mkfs.erofs", &["-zlz4hc", &erofs, ground.tree().to_str().unwrap()]);
    let btrfs = ground.at("x.btrfs");
    tool("mkfs.btrfs", &["--quiet", "--rootdir", ground.tree().to_str().unwrap(), &btrfs]);
    for image in [squashfs, erofs, btrfs, ground.ext4("x.ext4", &[])] {
        let bytes = fs::read(&image).unwrap();
        let end = bytes.len();
        let places = (1024..1152)
            .step_by(9)
            .chain((end.saturating_sub(3000)..end).step_by(331))
            .chain((4096..40_000).step_by(2777))
            .chain((65_536..66_600).step_by(23));
        for at in places.filter(|at| *at < end) {
            let file = fs::File::options().write(true).open(&image).unwrap();
            file.write_all_at(&[bytes[at] ^ 0xff], at as u64).unwrap();
            let _ = open(Path::new(&image));
            file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
    }
}
