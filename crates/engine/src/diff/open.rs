//! Any artifact into a view: what it is, is told by its bytes.

use std::path::Path;
use std::sync::Arc;

use kiln_model::fault::OrFault;
use kiln_model::tree::{Body, Place};
use kiln_model::view::PartitionView;
use kiln_model::{Entry, Fault, FaultKind, GuestPath, Kind, Report, Tree, View};

use super::block::{self, Bytes, Window};
use super::{dir, facts, fat, filesystem, packed, table, tar, walk};

/// Reads an artifact: a raw or qcow2 disk, a tar, squashfs or erofs (each also compressed), a folder, a `report.json`, or the document
/// of an artifact's contents.
pub fn open(path: &Path) -> Result<View, Fault> {
    let doing = || format!("read `{}`", path.display());
    if path.is_dir() {
        let entries = dir::walk(path, &facts::wanted).farm(doing)?;
        return Ok(view("dir", Vec::new(), entries));
    }
    let mut head = Vec::new();
    let mut reader = std::io::Read::take(packed::reader(path)?, 1 << 16);
    std::io::Read::read_to_end(&mut reader, &mut head).fault(FaultKind::Recipe, doing)?;
    if tar::is(&head) {
        let entries = tar::walk(packed::reader(path)?, path, &facts::wanted).fault(FaultKind::Recipe, doing)?;
        return Ok(view("tar", Vec::new(), entries));
    }
    if head.first() == Some(&b'{') {
        return document(path);
    }
    if packed::compression(path)?.is_some() {
        return open_packed(path);
    }
    disk(path, block::open(path)?.into()).map_err(|fault| fault.doing(doing()))
}

/// Unpacks into a temporary file first, since disks and filesystems are read anywhere.
fn open_packed(path: &Path) -> Result<View, Fault> {
    let whole = tempfile::NamedTempFile::new_in(temporary(path)).farm(|| "make a temporary file".into())?;
    packed::unpack(path, whole.path())?;
    disk(path, block::open(whole.path())?.into()).map_err(|fault| fault.doing(format!("read `{}`", path.display())))
}

/// Returns a folder that is likely on a real disk: the artifact's own where it can be written to.
fn temporary(path: &Path) -> std::path::PathBuf {
    let own = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let writable = rustix::fs::access(own, rustix::fs::Access::WRITE_OK).is_ok();
    if writable { own.to_owned() } else { std::env::temp_dir() }
}

fn disk(path: &Path, bytes: Arc<dyn Bytes>) -> Result<View, Fault> {
    let mut partitions = table::read(&*bytes).fault(FaultKind::Recipe, || "read the partition table".into())?;
    if partitions.is_empty() {
        return bare(path, bytes);
    }
    let mut parts = Vec::new();
    for partition in &mut partitions {
        let window: Arc<dyn Bytes> = Arc::new(Window::new(bytes.clone(), partition.offset, partition.size));
        identify(partition, window.clone());
        parts.push(window);
    }
    let root = root(&partitions);
    let mut entries = Vec::new();
    for (at, (partition, window)) in partitions.iter().zip(parts).enumerate() {
        let mount = if Some(at) == root { GuestPath::root() } else { mount(partition) };
        let doing = || format!("partition {} (`{}`)", partition.number, partition.name);
        entries.push((mount.clone(), files(partition, window, &mount, path).fault(FaultKind::Recipe, doing)?));
    }
    let format = if block::is_qcow2(path)? { "qcow2" } else { "raw" };
    Ok(view(format, partitions, join(entries)))
}

/// A filesystem without a partition table around it.
fn bare(path: &Path, bytes: Arc<dyn Bytes>) -> Result<View, Fault> {
    let mut partition = PartitionView { size: bytes.size(), ..PartitionView::default() };
    identify(&mut partition, bytes.clone());
    if partition.filesystem.is_empty() {
        return Err(Fault::recipe("it is no disk, filesystem, archive or report that kiln knows")
            .hint("diff reads raw, qcow2, tar, squashfs, erofs, folders, report.json and contents.json"));
    }
    let read = files(&partition, bytes, &GuestPath::root(), path);
    let entries = read.fault(FaultKind::Recipe, || format!("read its {}", partition.filesystem))?;
    Ok(view(&partition.filesystem, Vec::new(), entries))
}

fn identify(partition: &mut PartitionView, window: Arc<dyn Bytes>) {
    if let Some(identity) = filesystem::identity(&*window) {
        partition.filesystem = identity.kind.to_owned();
        (partition.label, partition.uuid) = (identity.label, identity.uuid);
    } else if let Some((label, id)) = fat::identity(window) {
        partition.filesystem = "vfat".into();
        (partition.label, partition.uuid) = (label, id);
    }
}

fn files(
    partition: &PartitionView,
    window: Arc<dyn Bytes>,
    at: &GuestPath,
    path: &Path,
) -> std::io::Result<Vec<Entry>> {
    if partition.filesystem == "vfat" {
        return fat::walk(window, at, path);
    }
    let Some(fs) = filesystem::open(window)? else { return Ok(Vec::new()) };
    let mut entries = walk::walk(&*fs, at, path, &facts::wanted)?;
    if partition.filesystem == "ext4" {
        // Furniture of the filesystem: no file of the image.
        entries.retain(|entry| !(entry.path.name() == b"lost+found" && entry.path.parent().as_ref() == Some(at)));
    }
    Ok(entries)
}

/// GPT types of the Discoverable Partitions Specification and where they are mounted.
const MOUNTS: &[(&str, &str)] = &[
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "/boot/efi"),
    ("bc13c2ff-59e6-4262-a352-b275fd6f7172", "/boot"),
    ("933ac7e1-2eb4-4f13-b844-0e14e2aef915", "/home"),
    ("3b8f8425-20e0-4f3b-907f-1a25a76f98e8", "/srv"),
    ("4d21b016-b534-45c2-a9fb-5c16e091fd2d", "/var"),
    ("7ec6f557-3bc5-4aca-b293-16ef5df639d1", "/var/tmp"),
];

/// GPT root types: amd64, i386, arm64, arm, riscv64, ppc64le.
const ROOTS: [&str; 6] = [
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
    "44479540-f297-41b2-9af7-d131d5f0458a",
    "b921b045-1df0-41c3-af44-4c6f280d3fae",
    "69dad710-2ce4-4e3c-b16c-21a1d49abed3",
    "72ec70a6-cf74-40e6-bd49-4bda08e8f224",
    "c31c45e6-3f39-412e-80fb-4809c4980599",
];

/// Returns which partition is the root: by its type, else the largest with Unix files.
fn root(partitions: &[PartitionView]) -> Option<usize> {
    let typed = partitions.iter().position(|partition| ROOTS.contains(&partition.r#type.as_str()));
    let unix =
        partitions.iter().enumerate().filter(|(_, part)| !part.filesystem.is_empty() && part.filesystem != "vfat");
    typed.or_else(|| unix.max_by_key(|(_, partition)| partition.size).map(|(at, _)| at))
}

/// Returns where a partition's files are shown: where its type is mounted, else below its number.
fn mount(partition: &PartitionView) -> GuestPath {
    let known = MOUNTS.iter().find(|(r#type, _)| *r#type == partition.r#type).map(|(_, mount)| (*mount).to_owned());
    let path = known.unwrap_or_else(|| format!("/partition-{}", partition.number));
    GuestPath::new(path).expect("our own paths are good")
}

/// Joins the filesystems: what is mounted hides the directory it is mounted on.
fn join(parts: Vec<(GuestPath, Vec<Entry>)>) -> Vec<Entry> {
    let mounts: Vec<GuestPath> = parts.iter().map(|(mount, _)| mount.clone()).collect();
    let hidden = |mount: &GuestPath, entry: &Entry| {
        mounts.iter().any(|other| other != mount && other.is_under(mount) && entry.path.is_under(other))
    };
    let shown = parts
        .into_iter()
        .flat_map(|(mount, entries)| entries.into_iter().filter(|entry| !hidden(&mount, entry)).collect::<Vec<_>>());
    shown.collect()
}

fn view(format: &str, partitions: Vec<PartitionView>, entries: Vec<Entry>) -> View {
    let mut tree = Tree { entries };
    tree.sort();
    tree.entries.dedup_by(|b, a| a.path == b.path);
    let (packages, units) = (facts::of_packages(&tree), facts::of_units(&tree));
    View { format: format.to_owned(), partitions, tree, packages, units }
}

/// Reads what was written of an artifact.
fn document(path: &Path) -> Result<View, Fault> {
    let doing = || format!("read `{}`", path.display());
    let mut text = Vec::new();
    let mut reader = packed::reader(path)?;
    std::io::Read::read_to_end(&mut reader, &mut text).fault(FaultKind::Recipe, doing)?;
    match View::from_json(&text).fault(FaultKind::Recipe, doing)? {
        Some(view) => Ok(view),
        None => report(path, &text),
    }
}

/// A report shows its artifacts as files, and the packages of its lock.
fn report(path: &Path, text: &[u8]) -> Result<View, Fault> {
    let doing = || format!("read `{}`", path.display());
    let report: Report = serde_json::from_slice(text).fault(FaultKind::Recipe, doing)?;
    let mut entries = vec![Entry::dir(GuestPath::root(), 0o755, 0)];
    for artifact in &report.artifacts {
        let mut entry = Entry::dir(GuestPath::new(&artifact.name).fault(FaultKind::Recipe, doing)?, 0o644, 0);
        let place = Place::Host(path.to_owned());
        entry.kind = Kind::File(Body { size: artifact.size, digest: Some(artifact.sha256), token: None, place });
        entries.push(entry);
    }
    let mut view = view("report", Vec::new(), entries);
    let packages = report.lock.get("packages").and_then(|packages| packages.as_array()).into_iter().flatten();
    let named =
        packages.filter_map(|package| Some((package.get("name")?.as_str()?, package.get("version")?.as_str()?)));
    view.packages = named.map(|(name, version)| (name.to_owned(), version.to_owned())).collect();
    Ok(view)
}
