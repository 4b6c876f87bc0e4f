//! Disks that are not the example's: other releases, other filesystems, packed, grown.

mod common;

use std::fs::OpenOptions;

use common::{Bench, json, tool};
use serde_json::Value;

/// Debian 12 lets root in by a drop-in, boots by an older loader, and is grown by an older systemd.
#[test]
fn boot_debian_12_comes_up_and_grows_to_its_medium() {
    let bench = Bench::shared();
    bench.write(
        "old.toml",
        "edition = 1\nname = \"old\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"12\"\n\
         board = \"generic-x86_64\"\n\n[[output]]\nformat = \"raw\"\n\n\
         [[verify.assert]]\nno-failed-units = true\n\n\
         [[verify.assert]]\ncommand = \". /etc/os-release; echo $PRETTY_NAME\"\ncontains = \"bookworm\"\n\n\
         [[verify.assert]]\ncommand = \"test $(df -B1M --output=size / | tail -1) -gt 2400\"\n",
    );
    bench.ok(&["build", "old.toml"]);
    let image = bench.path("out/old.raw");
    // What `truncate --size 3G` does, or a larger medium.
    OpenOptions::new().write(true).open(&image).unwrap().set_len(3 << 30).unwrap();
    let checked = bench.ok(&["boot", "out/old.raw", "--check", "--json"]).stdout;
    let verified: Value = serde_json::from_str(&checked).unwrap();
    assert_eq!(verified["state"], "running", "{verified}");
    assert_eq!(verified["held"].as_array().unwrap().len(), 3, "{verified}");
}

/// The build verifies what it packed; the root is EROFS under an overlay, and a squashfs is found without a UUID of its own.
#[test]
fn boot_a_packed_disk_with_filesystems_that_are_only_read() {
    let bench = Bench::shared();
    bench.write(
        "still.toml",
        "edition = 1\nname = \"still\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\
         board = \"generic-x86_64\"\n\n[[file]]\npath = \"/srv/data/file\"\ntext = \"packed twice\\n\"\n\n\
         [[disk.partition]]\nname = \"esp\"\nrole = \"esp\"\nmount = \"/boot/efi\"\n\n\
         [[disk.partition]]\nname = \"root\"\nmount = \"/\"\nfilesystem = \"erofs\"\n\n\
         [[disk.partition]]\nname = \"data\"\nmount = \"/srv/data\"\nfilesystem = \"squashfs\"\n\n\
         [[output]]\nformat = \"raw\"\ncompression = \"zst\"\n\n[verify]\nboot = true\n\n\
         [[verify.assert]]\nno-failed-units = true\n\n\
         [[verify.assert]]\ncommand = \"findmnt -no FSTYPE / && findmnt -no FSTYPE /run/kiln/image\"\n\
         contains = \"overlay\\nerofs\"\n\n\
         [[verify.assert]]\ncommand = \"findmnt -no FSTYPE /srv/data; cat /srv/data/file\"\n\
         contains = \"squashfs\\npacked twice\"\n\n\
         [[verify.assert]]\ncommand = \"touch /etc/written && ls /run/kiln/image/etc/written\"\nstatus = 2\n\n\
         [[verify.assert]]\ncommand = \"cd /run/kiln/image && test -z $(ls -A srv/data boot/efi | grep -v :)\"\n",
    );
    let done = bench.ok(&["build", "still.toml"]);
    assert_eq!(done.stdout, "out/still.raw.zst\n");
    let verified = &json(&bench.path("out/still.report.json"))["verified"];
    assert_eq!(verified["state"], "running", "{verified}");
    assert_eq!(verified["held"].as_array().unwrap().len(), 5, "{verified}");

    let path = |name: &str| bench.path(name).display().to_string();
    tool("zstd", &["--decompress", "--quiet", &path("out/still.raw.zst"), "-o", &path("still.raw")]);
    let table: Value = serde_json::from_str(&tool("sfdisk", &["--json", &path("still.raw")])).unwrap();
    for (number, check) in [(1, "fsck.erofs"), (2, "unsquashfs -s")] {
        let start = table["partitiontable"]["partitions"][number]["start"].as_u64().unwrap();
        let script = format!("tail -c +{} {} > {}", start * 512 + 1, path("still.raw"), path("part"));
        tool("sh", &["-c", &format!("{script} && {check} {}", path("part"))]);
    }
}
