//! A Raspberry Pi that takes updates by Mender: its card and the update, as Mender's and U-Boot's own tools read them.

mod common;

use std::fs;

use common::{Bench, tool};

const RECIPE: &str = "edition = 1\nname = \"field\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\narchitecture = \"arm64\"\n\
     board = \"rpi-3-b\"\nsecurity = false\nupdates = false\n\n[mender]\nartifact-name = \"release-7\"\n\
     server-url = \"https://updates.example.org\"\ntenant-token = { secret = \"token\" }\n\n[secrets]\ntoken = { env = \"TOKEN\" }\n\n\
     [[output]]\nformat = \"raw\"\n\n[[output]]\nformat = \"mender\"\n";

/// Bytes of a partition of a disk, and where it begins.
fn partition(disk: &str, number: usize) -> (u64, u64) {
    let table: serde_json::Value = serde_json::from_str(&tool("sfdisk", &["--json", disk])).unwrap();
    let row = &table["partitiontable"]["partitions"][number - 1];
    let bytes = |key: &str| row[key].as_u64().unwrap() * 512;
    (bytes("start"), bytes("size"))
}

#[test]
fn boot_a_card_and_its_update_by_mender() {
    let bench = Bench::shared();
    bench.write("field.toml", RECIPE);
    let built = bench.kiln(&["build", "--no-verify", "field.toml"]).env("TOKEN", "a-secret \"word\"").output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let at = |name: &str| bench.path(name).display().to_string();
    let (disk, update) = (at("out/field.raw"), at("out/field.mender"));

    tool("mender-artifact", &["validate", &update]);
    let read = tool("mender-artifact", &["read", &update]);
    for wanted in ["Name: release-7", "Compatible devices: '[raspberrypi3]'", "rootfs-image.version: release-7"] {
        assert!(read.contains(wanted), "`{wanted}` is not in\n{read}");
    }
    // What the update brings is what the card's first root has.
    let (start, size) = partition(&disk, 2);
    let root = at("root.ext4");
    let words = ["iflag=skip_bytes,count_bytes", "bs=4M", "status=none"];
    let place = [format!("if={disk}"), format!("of={root}"), format!("skip={start}"), format!("count={size}")];
    tool("dd", &[&words[..], &place.each_ref().map(String::as_str)].concat());
    let sum = tool("sha256sum", &[&root]);
    assert!(read.contains(&format!("rootfs-image.checksum: {}", &sum[..64])), "{sum} is not in\n{read}");
    tool("e2fsck", &["-fn", &root]);

    let (start, _) = partition(&disk, 1);
    for name in ["boot.scr", "mender.env", "u-boot.bin", "config.txt"] {
        tool("mcopy", &["-n", "-i", &format!("{disk}@@{start}"), &format!("::{name}"), &at(name)]);
    }
    let script = tool("mkimage", &["-l", &at("boot.scr")]);
    assert!(script.contains("AArch64 Linux Script"), "{script}");
    bench.write("fw_env.config", &format!("{} 0x0000 0x4000\n", at("mender.env")));
    let variables = tool("fw_printenv", &["-c", &at("fw_env.config")]);
    assert_eq!(variables, "bootcount=0\nmender_boot_part=2\nmender_boot_part_hex=2\nupgrade_available=0\n");
    assert!(fs::read_to_string(bench.path("config.txt")).unwrap().contains("kernel=u-boot.bin"));

    let said = |file: &str| tool("debugfs", &["-R", &format!("cat {file}"), &root]);
    let configuration = said("/etc/mender/mender.conf");
    let json: serde_json::Value =
        serde_json::from_str(&configuration[configuration.find('{').unwrap()..=configuration.rfind('}').unwrap()])
            .unwrap();
    assert_eq!(json["ServerURL"], "https://updates.example.org");
    assert_eq!(json["TenantToken"], "a-secret \"word\"");
    assert!(said("/etc/fw_env.config").contains("mender.env 0x0000 0x4000"));
    for file in ["field.lock", "out/field.report.json", "out/field.log", "out/field.provenance.json"] {
        let text = fs::read_to_string(bench.path(file)).unwrap_or_default();
        assert!(!text.contains("a-secret"), "{file}");
    }
}
