//! Updates by Mender, as mender-artifact(1) reads them.

use std::path::Path;
use std::process::Command;

use kiln_disk::mender::Label;
use kiln_engine::image::{artifact, write_file};
use kiln_model::{Digest, Extents};

const EPOCH: i64 = 1_760_000_000;
const MIB: u64 = 1 << 20;

/// A filesystem of more blocks than one, most of it empty.
fn filesystem() -> Extents {
    let mut image = Extents { size: 40 * MIB, list: vec![] };
    for at in [0, 5 * MIB, 39 * MIB] {
        let bytes: Vec<u8> = (0..MIB).map(|byte| (byte ^ (byte >> 9) ^ at) as u8).collect();
        image.bytes(at, bytes);
    }
    image
}

fn written(folder: &Path, name: &str, threads: usize) -> Digest {
    let label = Label { name: "release-1", device_type: "raspberrypi3" };
    let data = folder.join(format!("{name}.data"));
    let made = artifact(&label, filesystem(), EPOCH, &data, threads, &|_| ()).unwrap();
    write_file(&made, &[], &folder.join(name), None, &|_| ()).unwrap().sha256
}

fn said(program: &str, words: &[&str], file: &Path) -> String {
    let output = Command::new(program).args(words).arg(file).output().unwrap_or_else(|error| {
        panic!("{program}: {error}; `scripts/setup --tests` installs it");
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn menders_own_tool_reads_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), "a.mender", 2);
    let file = folder.path().join("a.mender");
    said("mender-artifact", &["validate"], &file);
    let read = said("mender-artifact", &["read"], &file);
    let image = folder.path().join("image");
    let root = write_file(&filesystem(), &[], &image, None, &|_| ()).unwrap().sha256;
    for line in [
        "Name: release-1",
        "Version: 3",
        "Compatible devices: '[raspberrypi3]'",
        "Type:   rootfs-image",
        "rootfs-image.version: release-1",
        &format!("rootfs-image.checksum: {root}"),
        "name:     root.ext4",
        "size:     41943040",
        "modified: 2025-10-09 08:53:20 +0000 UTC",
    ] {
        assert!(read.contains(line), "`{line}` is not in\n{read}");
    }
}

#[test]
fn its_bytes_do_not_depend_on_threads_or_places() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(written(folder.path(), "one", 1), written(folder.path(), "other", 3));
}
