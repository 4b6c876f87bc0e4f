//! A Raspberry Pi that takes updates by Mender: its card and the update, as Mender's and U-Boot's own tools read them, and as the
//! device takes one.

mod common;

use std::fs;

use common::{Bench, tool};

const RECIPE: &str = r#"
edition = 1
name = "field"

[base]
distribution = "debian"
release = "13"
architecture = "arm64"
board = "rpi-3-b"
security = false
updates = false

# Each line on the screen and each further processor takes the emulator its time.
[system]
hostname = "field"
kernel-arguments = ["quiet", "maxcpus=1"]

[services]
mask = ["e2scrub_reap", "getty@tty1", "ldconfig", "modprobe@drm", "modprobe@efi_pstore", "modprobe@fuse",
  "systemd-journal-catalog-update", "systemd-pstore"]

[mender]
artifact-name = "release-7"
server-url = "https://updates.example.org"
tenant-token = { secret = "token" }

[secrets]
token = { env = "TOKEN" }

[disk]
table = "mbr"

[[disk.partition]]
name = "firmware"
role = "firmware"
mount = "/boot/firmware"
filesystem = "fat"
size = "128MiB"

[[disk.partition]]
name = "root-a"
role = "root"
mount = "/"
filesystem = "ext4"
size = { free = "8MiB" }

[[disk.partition]]
name = "root-b"
role = "root"
slot-of = "root-a"
filled = false

[[disk.partition]]
name = "data"
role = "data"
mount = "/data"
filesystem = "ext4"
size = { free = "32MiB" }
grow = true

# What kiln writes into the card's first root to come in, for the other one too.
[[file]]
path = "/etc/systemd/system/serial-getty@ttyS1.service.d/in.conf"
text = "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 - $TERM\n"

[[file]]
path = "/etc/systemd/system.conf.d/patience.conf"
text = "[Manager]\nDefaultTimeoutStartSec=15min\nDefaultDeviceTimeoutSec=15min\n"

# Other devices' drivers are not needed, but for the watchdog's, by which the board restarts.
[[file]]
path = "/etc/modules-load.d/restart.conf"
text = "bcm2835_wdt\n"

[[file]]
path = "/etc/systemd/system/systemd-udev-trigger.service.d/few.conf"
text = "[Service]\nExecStart=\nExecStart=udevadm trigger --type=devices --action=add --sysname-match=mmcblk* --sysname-match=ttyS1\n"

[[script]]
after = "packages"
name = "what the guest needs of a kernel"
text = """
echo MODULES=list >/etc/initramfs-tools/conf.d/own
printf '%s\\n' bcm2835 mmc_block ext4 >/etc/initramfs-tools/modules
cd /usr/lib/modules/*
mkdir kept
for part in fs/ext4 fs/jbd2 fs/mbcache* fs/fat fs/nls fs/autofs fs/configfs fs/fuse lib crypto drivers/mmc drivers/char drivers/clk \
  drivers/dma drivers/soc drivers/gpio drivers/watchdog drivers/firmware drivers/mailbox drivers/pinctrl; do
  [ ! -e kernel/$part ] || cp -a --parents kernel/$part kept
done
cp -a modules.builtin* modules.order kept
rm -r kernel modules.*
mv kept/* .
rmdir kept
"""

[[script]]
after = "cleanup"
name = "what the guest has no use for, and would write for minutes"
text = """
cd /usr/lib/aarch64-linux-gnu
rm -r gconv perl-base libapt*
cd /usr/lib
rm -r apt firmware klibc linux-image-* raspi-firmware u-boot udev/hwdb.*
cd /usr/share
rm -r locale man zoneinfo ../bin/perl* ../bin/sqv ../bin/openssl
find doc -mindepth 1 -maxdepth 1 ! -name mender-client -exec rm -r {} +
"""

[[output]]
format = "raw"

[[output]]
format = "mender"
"#;

/// Bytes of a partition of a disk, and where it begins.
fn partition(disk: &str, number: usize) -> (u64, u64) {
    let table: serde_json::Value = serde_json::from_str(&tool("sfdisk", &["--json", disk])).unwrap();
    let row = &table["partitiontable"]["partitions"][number - 1];
    let bytes = |key: &str| row[key].as_u64().unwrap() * 512;
    (bytes("start"), bytes("size"))
}

/// What holds one after the other: Mender's client writes the update into the root that does not run; that one starts and is
/// confirmed. Then the other one counts as new and as started once, which nobody confirmed, so the confirmed one starts again; and once
/// more when its variables are lost.
const LIFE: [(&str, &str); 11] = [
    (ROOT, "/dev/mmcblk0p2\nrelease-7\nbootcount=0\nmender_boot_part=2\nmender_boot_part_hex=2\nupgrade_available=0"),
    (
        "mender install /data/update.mender && fw_printenv",
        "bootcount=0\nmender_boot_part=3\nmender_boot_part_hex=3\nupgrade_available=1",
    ),
    (RESTART, ""),
    (
        ROOT,
        "/dev/mmcblk0p3\nrelease-8\nbootcount=1\nmender_boot_part=3\nmender_boot_part_hex=3\nupgrade_available=1\npanic=30",
    ),
    ("mender commit && mender show-artifact", "release-8"),
    (
        "fw_printenv upgrade_available; printf '%s\\n' mender_boot_part=2 mender_boot_part_hex=2 bootcount=1 upgrade_available=1 | \
         fw_setenv -s -",
        "upgrade_available=0",
    ),
    (RESTART, ""),
    (ROOT, "/dev/mmcblk0p3\nrelease-8\nbootcount=0\nmender_boot_part=3\nmender_boot_part_hex=3\nupgrade_available=0"),
    ("cd /boot/firmware && cmp mender.env mender.old && echo damaged >mender.env && cat mender.env", "damaged"),
    (RESTART, ""),
    (ROOT, "/dev/mmcblk0p3\nrelease-8\nbootcount=0\nmender_boot_part=3\nmender_boot_part_hex=3\nupgrade_available=0"),
];
const RESTART: &str = "RESTART";
const ROOT: &str = "findmnt -no SOURCE /; sed -n s/artifact_name=//p /etc/mender/artifact_info; fw_printenv; \
                    grep -o panic=30 /proc/cmdline || true";

fn asserts() -> String {
    let one = |(command, contains): &(&str, &str)| match *command {
        RESTART => "\n[[verify.assert]]\nrestart = true\n".to_owned(),
        command => {
            format!("\n[[verify.assert]]\ncommand = {command:?}\ncontains = {contains:?}\ntimeout = \"20min\"\n")
        }
    };
    LIFE.iter().map(one).collect()
}

#[test]
fn boot_a_card_and_its_update_by_mender() {
    let bench = Bench::shared();
    let update =
        RECIPE.replace("name = \"field\"\n\n[base]", "name = \"update\"\n\n[base]").replace("release-7", "release-8");
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
    let console = fs::read(bench.path("out/field.console.log")).unwrap();
    let console = String::from_utf8_lossy(&console);
    for line in ["the new root did not come up, the old one starts", "mender.env cannot be read, its copy counts"] {
        assert_eq!(console.matches(&format!("kiln: {line}")).count(), 1, "{console}");
    }
}
