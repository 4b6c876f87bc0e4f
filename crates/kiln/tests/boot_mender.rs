//! A Raspberry Pi that takes updates by Mender: its card and the update, as Mender's and U-Boot's own tools read them, and as the
//! device takes one.

mod common;

use std::fs;

use common::{Bench, tool};

const RECIPE: &str = "edition = 1\nname = \"field\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\narchitecture = \"arm64\"\n\
     board = \"rpi-3-b\"\nsecurity = false\nupdates = false\n\n[mender]\nartifact-name = \"release-7\"\n\
     server-url = \"https://updates.example.org\"\ntenant-token = { secret = \"token\" }\n\n[secrets]\ntoken = { env = \"TOKEN\" }\n\n\
     [disk]\ntable = \"mbr\"\n\n\
     [[disk.partition]]\nname = \"firmware\"\nrole = \"firmware\"\nmount = \"/boot/firmware\"\nfilesystem = \"fat\"\nsize = \"128MiB\"\n\n\
     [[disk.partition]]\nname = \"root-a\"\nrole = \"root\"\nmount = \"/\"\nfilesystem = \"ext4\"\nsize = { free = \"24MiB\" }\n\n\
     [[disk.partition]]\nname = \"root-b\"\nrole = \"root\"\nslot-of = \"root-a\"\nfilled = false\n\n\
     [[disk.partition]]\nname = \"data\"\nrole = \"data\"\nmount = \"/data\"\nfilesystem = \"ext4\"\nsize = { free = \"32MiB\" }\ngrow = true\n\n\
     [[script]]\nafter = \"cleanup\"\nname = \"what the guest has no use for, and would write for minutes\"\n\
     text = \"cd /usr/lib; rm -rf firmware; cd modules/*/kernel; rm -rf sound drivers/gpu drivers/media drivers/infiniband drivers/net \
     drivers/scsi drivers/iio drivers/hwmon drivers/input net/netfilter fs/btrfs fs/xfs fs/ocfs2 fs/smb\"\n\n\
     [[output]]\nformat = \"raw\"\n\n[[output]]\nformat = \"mender\"\n";

/// Bytes of a partition of a disk, and where it begins.
fn partition(disk: &str, number: usize) -> (u64, u64) {
    let table: serde_json::Value = serde_json::from_str(&tool("sfdisk", &["--json", disk])).unwrap();
    let row = &table["partitiontable"]["partitions"][number - 1];
    let bytes = |key: &str| row[key].as_u64().unwrap() * 512;
    (bytes("start"), bytes("size"))
}

/// What holds one after the other: Mender's client writes the update into the root that does not run, and tells U-Boot so.
const LIFE: [(&str, &str); 2] = [
    ("findmnt -no SOURCE /; sed -n s/artifact_name=//p /etc/mender/artifact_info", "/dev/mmcblk0p2\nrelease-7"),
    (
        "mender install /data/update.mender && fw_printenv",
        "bootcount=0\nmender_boot_part=3\nmender_boot_part_hex=3\nupgrade_available=1",
    ),
];

fn asserts() -> String {
    let one = |(command, contains): &(&str, &str)| {
        format!("\n[[verify.assert]]\ncommand = {command:?}\ncontains = {contains:?}\ntimeout = \"20min\"\n")
    };
    LIFE.iter().map(one).collect()
}

#[test]
fn boot_a_card_and_its_update_by_mender() {
    let bench = Bench::shared();
    let update = RECIPE.replace("\"field\"", "\"update\"").replace("release-7", "release-8");
    bench.write("update.toml", &update.replace("[[output]]\nformat = \"raw\"\n\n", ""));
    let built =
        bench.kiln(&["build", "--no-verify", "update.toml"]).env("TOKEN", "a-secret \"word\"").output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let brings =
        "\n[[file]]\npath = \"/data/update.mender\"\nsource = \"out/update.mender\"\n\n[verify]\ntimeout = \"20min\"\n";
    bench.write("field.toml", &format!("{RECIPE}{brings}{}", asserts()));
    let built = bench.kiln(&["build", "--no-verify", "field.toml"]).env("TOKEN", "a-secret \"word\"").output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let at = |name: &str| bench.path(name).display().to_string();
    let (disk, update) = (at("out/field.raw"), at("out/field.mender"));

    tool("mender-artifact", &["validate", &update]);
    // Whoever signs updates does so by Mender's own tool.
    let [key, public, signed] = ["key.pem", "public.pem", "signed.mender"].map(at);
    tool("openssl", &["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", &key]);
    tool("openssl", &["ec", "-in", &key, "-pubout", "-out", &public]);
    tool("mender-artifact", &["sign", &update, "-k", &key, "-o", &signed]);
    tool("mender-artifact", &["validate", "-k", &public, &signed]);
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

    let verified = bench.ok(&["boot", "out/field.raw", "--check", "--json"]).stdout;
    let verified: serde_json::Value = serde_json::from_str(&verified).unwrap();
    assert_eq!(verified["held"].as_array().unwrap().len(), LIFE.len(), "{verified}");
}
