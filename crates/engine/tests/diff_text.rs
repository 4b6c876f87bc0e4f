//! What `kiln diff` says of two small archives, to people and to scripts.

use std::path::Path;

use kiln_engine::diff::open;
use kiln_model::View;
use kiln_model::diff::{Diff, diff, text};
use kiln_model::view::{PartitionView, UnitState};

enum Member {
    Dir(&'static str),
    File(&'static str, u32, Vec<u8>),
    Link(&'static str, &'static str),
}
use Member::{Dir, File, Link};

fn archive(folder: &Path, name: &str, mtime: u64, members: &[Member]) -> View {
    let path = folder.join(name);
    let mut builder = tar::Builder::new(std::fs::File::create(&path).unwrap());
    for member in members {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(mtime);
        header.set_uid(0);
        header.set_gid(0);
        let (name, kind, mode, content) = match member {
            Dir(name) => (name, tar::EntryType::Directory, 0o755, &[][..]),
            File(name, mode, content) => (name, tar::EntryType::Regular, *mode, &content[..]),
            Link(name, _) => (name, tar::EntryType::Symlink, 0o777, &[][..]),
        };
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        match member {
            Link(_, target) => builder.append_link(&mut header, name, target).unwrap(),
            _ => builder.append_data(&mut header, name, content).unwrap(),
        }
    }
    builder.into_inner().unwrap();
    open(&path).unwrap()
}

fn status(packages: &[(&str, &str)]) -> Vec<u8> {
    let paragraph = |(name, version): &(&str, &str)| {
        format!("Package: {name}\nStatus: install ok installed\nVersion: {version}\n\n")
    };
    packages.iter().map(paragraph).collect::<String>().into_bytes()
}

const WANTS: &str = "etc/systemd/system/multi-user.target.wants/ssh.service";

fn pair() -> (View, View) {
    let folder = tempfile::tempdir().unwrap();
    let before = [
        Dir("./"),
        Dir("etc"),
        File("etc/hostname", 0o644, b"one\n".to_vec()),
        File("etc/same", 0o644, b"same\n".to_vec()),
        Link("etc/link", "a"),
        File("usr/bin/old", 0o755, vec![1; 3000]),
        File("usr/bin/mode", 0o755, vec![1; 10]),
        File("var/lib/dpkg/status", 0o644, status(&[("apt", "2.9"), ("base", "1"), ("gone", "3")])),
        Link(WANTS, "/usr/lib/systemd/system/ssh.service"),
    ];
    let after = [
        Dir("./"),
        Dir("etc"),
        File("etc/hostname", 0o644, b"second\n".to_vec()),
        File("etc/same", 0o644, b"same\n".to_vec()),
        Link("etc/link", "b"),
        Dir("etc/mode"),
        File("usr/bin/mode", 0o4755, vec![1; 10]),
        File("usr/share/new", 0o644, vec![2; 2 << 20]),
        File("var/lib/dpkg/status", 0o644, status(&[("apt", "3.0"), ("base", "1"), ("new", "1:2-1")])),
        Link("etc/systemd/system/ssh.service", "/dev/null"),
    ];
    (archive(folder.path(), "a.tar", 100, &before), archive(folder.path(), "b.tar", 200, &after))
}

#[test]
fn people_read_it_grouped() {
    let (before, after) = pair();
    let wanted = "\
packages: 1 added, 1 removed, 1 changed
  ~ apt 2.9 → 3.0
  - gone 3
  + new 1:2-1
units: 1 changed
  ~ ssh.service enabled → masked
files: 3 added, 2 removed, 4 changed, 3 differ only in time (+2.0 MiB)
  + /etc/mode
  + /etc/systemd/system/ssh.service
  + /usr/share/new
  - /etc/systemd/system/multi-user.target.wants/ssh.service
  - /usr/bin/old
  ~ /etc/hostname: content, size 4 → 7
  ~ /etc/link: target a → b
  ~ /usr/bin/mode: mode 0755 → 4755
  ~ /var/lib/dpkg/status: content, size 166 → 169
directories:
  /usr/share +2.0 MiB (0 B → 2.0 MiB)
  / +2.0 MiB (3.1 KiB → 2.0 MiB)
  /usr +2.0 MiB (2.9 KiB → 2.0 MiB)
  /usr/bin -2.9 KiB (2.9 KiB → 10 B)
  /etc +3 B (9 B → 12 B)
  /var/lib/dpkg +3 B (166 B → 169 B)
";
    assert_eq!(text::render(&diff(&before, &after), false), wanted);
}

#[test]
fn nothing_is_one_line() {
    let (before, _) = pair();
    let same = diff(&before, &before);
    assert!(same.is_empty());
    assert_eq!(text::render(&same, true), "no differences\n");
}

#[test]
fn scripts_read_json() {
    let folder = tempfile::tempdir().unwrap();
    let before = archive(folder.path(), "a.tar", 1, &[Dir("./"), File("a", 0o644, b"1".to_vec())]);
    let mut after = archive(folder.path(), "b.tar", 1, &[Dir("./"), File("a", 0o600, b"12".to_vec())]);
    after.units.insert("x.service".into(), UnitState::Enabled);
    after.packages.insert("p".into(), "1".into());
    let mut with_disk = before.clone();
    let partition =
        PartitionView { number: 2, name: "root".into(), offset: 4096, size: 8192, ..PartitionView::default() };
    with_disk.partitions = vec![partition.clone()];
    after.partitions = vec![PartitionView { size: 16384, ..partition }];
    let found = diff(&with_disk, &after);
    let wanted = serde_json::json!({
        "packages": [{ "name": "p", "before": null, "after": "1" }],
        "units": [{ "name": "x.service", "before": null, "after": "enabled" }],
        "partitions": [{
            "number": 2, "name": "root", "what": "changed",
            "fields": [{ "name": "size", "before": "8192", "after": "16384" }],
        }],
        "files": [{
            "path": "/a", "what": "changed",
            "fields": [
                { "name": "content", "before": "6b86b273ff34", "after": "6b51d431df5d" },
                { "name": "mode", "before": "0644", "after": "0600" },
                { "name": "size", "before": "1", "after": "2" },
            ],
            "grew": 1,
        }],
        "sizes": [{ "path": "/", "before": 1, "after": 2 }],
    });
    assert_eq!(serde_json::to_value(&found).unwrap(), wanted);
    assert_eq!(serde_json::from_value::<Diff>(wanted).unwrap(), found);
}

#[test]
fn long_lists_are_cut_unless_all_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<&'static str> = (0..50).map(|i| &*Box::leak(format!("f{i:02}").into_boxed_str())).collect();
    let files = names.iter().map(|name| File(name, 0o644, Vec::new()));
    let members: Vec<Member> = std::iter::once(Dir("./")).chain(files).collect();
    let (none, many) = (archive(folder.path(), "a.tar", 1, &[Dir("./")]), archive(folder.path(), "b.tar", 1, &members));
    let found = diff(&none, &many);
    let short = text::render(&found, false);
    assert!(short.contains("\n  + /f19\n  … 30 more (--all shows them)\n"), "{short}");
    assert!(text::render(&found, true).contains("\n  + /f49\n"));
}
