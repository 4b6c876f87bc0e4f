//! Golden tables: how every layout of the catalogue divides disks, for little content and for much, as large as it needs and
//! on a medium of a given size. `tests/layouts.txt` is read by people; `cargo xtask bless` accepts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_disk::btrfs::Sums;
use kiln_disk::layout::Premade;
use kiln_disk::table::types;
use kiln_family::lock::Lock;
use kiln_model::action::{DiskLayout, ImageAction};
use kiln_model::tree::{Body, Place};
use kiln_model::{Action, Arch, Digest, Entry, GuestPath, Kind, Tree};
use kiln_plan::Inputs;
use kiln_recipe::catalogue::layout;

const MIB: u64 = 1 << 20;

fn path(text: &str) -> GuestPath {
    text.parse().unwrap()
}

/// A file of so many bytes; nobody reads it.
fn file(at: &str, size: u64) -> Entry {
    let body = Body { size, digest: None, token: None, place: Place::Host(PathBuf::from(at)) };
    Entry { kind: Kind::File(body), ..Entry::dir(path(at), 0o644, 0) }
}

/// A tree with `content` bytes in files of 64 KiB, and a kernel and its initrd on the ESP.
fn tree(content: u64) -> Tree {
    let folders = [
        "/",
        "/boot",
        "/boot/efi",
        "/boot/firmware",
        "/data",
        "/etc",
        "/etc/kernel",
        "/home",
        "/usr",
        "/var",
        "/var/log",
    ];
    let mut entries: Vec<Entry> = folders.iter().map(|at| Entry::dir(path(at), 0o755, 0)).collect();
    entries.extend((0..content >> 16).map(|at| file(&format!("/usr/{at:06}"), 1 << 16)));
    entries.push(file("/boot/efi/linux", 12 * MIB));
    entries.push(file("/boot/efi/initrd", 48 * MIB));
    let mut tree = Tree { entries };
    tree.sort();
    tree
}

fn sums(tree: &Tree) -> Sums {
    let of = |entry: &Entry| {
        let Kind::File(body) = &entry.kind else { return None };
        let Place::Host(path) = &body.place else { return None };
        let sums: Arc<[u32]> = vec![0; body.size.div_ceil(4096) as usize].into();
        Some((path.clone(), sums))
    };
    tree.entries.iter().filter_map(of).collect()
}

fn planned(layout: &str, size: &str) -> DiskLayout {
    let board = match layout {
        layout if layout.starts_with("raspberry-pi") => "rpi-3-b",
        layout if layout.starts_with("card") => "opi-pc",
        _ => "generic-x86_64",
    };
    let text = format!(
        "edition = 1\nname = \"x\"\n\n[base]\nrelease = \"13\"\nboard = \"{board}\"\n\n\
         [disk]\nlayout = \"{layout}\"\nsize = \"{size}\"\n\n[[output]]\nformat = \"raw\"\n"
    );
    let completed = kiln_recipe::complete_text(&text).unwrap_or_else(|rejected| panic!("{rejected}"));
    let (packages, tools, repositories) = (vec![], vec![], vec![]);
    let lock = Lock {
        edition: 1,
        spec: Digest::of(""),
        architecture: Arch::Amd64,
        repositories,
        packages,
        tools,
        downloads: vec![],
    };
    let plan = kiln_plan::plan(&Inputs { spec: &completed.spec, lock: &lock, secrets: &BTreeMap::new() });
    let actions = plan.pipelines.iter().flat_map(|pipeline| &pipeline.stages).flat_map(|stage| stage.actions.clone());
    let mut disks = actions.filter_map(|action| match action {
        Action::Image(ImageAction::Disk { disk, .. }) => Some(disk),
        _ => None,
    });
    // What lies before the partitions divides nothing.
    DiskLayout { blobs: vec![], bios: None, ..disks.next_back().expect("the recipe has a disk") }
}

fn kind(r#type: &str) -> String {
    let guid = types::type_guid(r#type);
    let known = types::TYPES.iter().find(|(_, known)| Some(*known) == guid);
    known.map_or_else(|| r#type.to_owned(), |(name, _)| (*name).to_owned())
}

#[test]
fn every_layout_divides_disks_as_its_table_says() {
    let mut text = String::new();
    for layout in layout::all() {
        writeln!(text, "{}: {}", layout.name, layout.title).unwrap();
        for (content, size) in [(300, "auto"), (3000, "auto"), (3000, "16GiB")] {
            let tree = tree(content * MIB);
            let planned = planned(&layout.name, size);
            let disk = kiln_disk::disk_with_sums(&tree, &planned, 1, &Premade::new(), &sums(&tree));
            let disk = disk.unwrap_or_else(|error| panic!("{} {content} {size}: {error}", layout.name));
            writeln!(text, "  {content} MiB of files, disk {size}: {} MiB", disk.extents.size / MIB).unwrap();
            for (part, placed) in planned.partitions.iter().zip(&disk.partitions) {
                assert_eq!((placed.offset % MIB, placed.size % MIB), (0, 0), "{}", part.name);
                let mount = part.mount.as_ref().map(ToString::to_string).unwrap_or_default();
                let [start, size] = [placed.offset / MIB, placed.size / MIB];
                let filesystem = format!("{:?}", part.filesystem.kind).to_lowercase();
                let line = format!(
                    "    {start:>6} {size:>6} {:<14} {filesystem:<6} {:<7} {mount}",
                    kind(&part.r#type),
                    part.name
                );
                writeln!(text, "{}", line.trim_end()).unwrap();
            }
        }
        text.push('\n');
    }
    kiln_testkit::golden(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layouts.txt"), &text);
}
