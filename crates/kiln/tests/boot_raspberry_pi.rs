//! Raspberry Pis: what their ROM and firmware read, a boot with kiln in the firmware's place, and a kernel update on the device.

mod common;

use std::fs;

use common::{Bench, CALM, json, tool};
use serde_json::Value;

fn recipe(board: &str, more: &str) -> String {
    format!(
        "edition = 1\nname = \"{board}\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\nboard = \"{board}\"\n\
         security = false\nupdates = false\n\n[[output]]\nformat = \"raw\"\n\n{more}"
    )
}

/// The first partition of an image.
fn fat(bench: &Bench, board: &str) -> String {
    format!("{}@@1M", bench.path(&format!("out/{board}.raw")).display())
}

fn read(fat: &str, name: &str) -> String {
    tool("mtype", &["-i", fat, &format!("::{name}")])
}

/// Checks table and filesystems, and what the ROM and its firmware look for on the FAT.
#[track_caller]
fn the_card_is_what_the_firmware_reads(bench: &Bench, board: &str, device_tree: &str, console: &str) {
    let image = bench.path(&format!("out/{board}.raw")).display().to_string();
    tool("sfdisk", &["--verify", &image]);
    let table = tool("sfdisk", &["--dump", &image]);
    assert!(table.contains("start=        2048, size=     1048576, type=c"), "{table}");
    let alone = bench.path("fat").display().to_string();
    tool(
        "dd",
        &[&format!("if={image}"), &format!("of={alone}"), "bs=1M", "skip=1", "count=512", "conv=sparse", "status=none"],
    );
    tool("fsck.vfat", &["-n", &alone]);
    tool("e2fsck", &["-fn", &format!("{image}?offset={}", 513 << 20)]);
    let fat = fat(bench, board);
    // The ROM reads names of eight letters and three.
    let listed = tool("mdir", &["-i", &fat, "::"]);
    for wanted in ["BOOTCODE BIN", "START    ELF", "FIXUP    DAT", "START4   ELF", "CONFIG   TXT", "CMDLINE  TXT"] {
        assert!(listed.contains(wanted), "{wanted}: {listed}");
    }
    assert!(listed.contains(device_tree), "{device_tree}: {listed}");
    let (config, cmdline) = (read(&fat, "config.txt"), read(&fat, "cmdline.txt"));
    let loaded = |word: &str| {
        let line =
            config.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_else(|| panic!("{word}: {config}"));
        assert!(listed.contains(line), "{line}: {listed}");
    };
    loaded("kernel=");
    loaded("initramfs ");
    assert!(config.lines().any(|line| line == "upstream_kernel=1"), "{config}");
    let words: Vec<&str> = cmdline.split_whitespace().collect();
    for wanted in [console, "rw", "rootwait"] {
        assert!(words.contains(&wanted), "{wanted}: {cmdline}");
    }
    let root = words.iter().find_map(|word| word.strip_prefix("root=UUID=")).expect("the root is named");
    let label = tool("blkid", &["-p", "-O", &(513 << 20).to_string(), "-s", "UUID", "-o", "value", &image]);
    assert_eq!(label.trim(), root);
}

/// Checks what Raspberry Pi Imager is told of an image and of the same one compressed.
#[track_caller]
fn the_imager_is_told(bench: &Bench, board: &str, device: &str, init_format: &str, files: &[&str]) {
    let list = json(&bench.path(&format!("out/{board}.os_list.json")));
    let entries = list["os_list"].as_array().unwrap();
    assert_eq!(entries.len(), files.len(), "{list}");
    let sum = |words: &str| tool("sh", &["-c", &format!("{words} | sha256sum")]).split(' ').next().unwrap().to_owned();
    for (entry, file) in entries.iter().zip(files) {
        let path = bench.path(&format!("out/{file}"));
        let (image, here) = (bench.path(&format!("out/{board}.raw")), path.display().to_string());
        let size = |path: &std::path::Path| fs::metadata(path).unwrap().len();
        let unpacked = if file.ends_with("zst") { format!("zstd -dcq {here}") } else { format!("cat {here}") };
        assert_eq!(entry["url"], format!("file://{here}"));
        assert_eq!(
            (&entry["extract_size"], &entry["image_download_size"]),
            (&size(&image).into(), &size(&path).into())
        );
        assert_eq!(entry["extract_sha256"], sum(&unpacked));
        assert_eq!(entry["image_download_sha256"], sum(&format!("cat {here}")));
        assert_eq!((&entry["devices"], &entry["init_format"]), (&serde_json::json!([device]), &init_format.into()));
    }
}

/// What of a kernel's modules the guest needs; with all of them, making the initrd takes emulation a quarter of an hour.
const MODULES: &str = "kernel/fs kernel/lib kernel/crypto kernel/arch kernel/drivers/mmc kernel/drivers/usb kernel/drivers/net/usb \
                       kernel/drivers/net/mii* kernel/drivers/net/wireless/virtual kernel/net/wireless kernel/net/mac80211 \
                       kernel/net/rfkill kernel/drivers/char kernel/drivers/clk kernel/drivers/dma kernel/drivers/soc \
                       kernel/drivers/gpio kernel/drivers/watchdog kernel/drivers/hwmon kernel/drivers/thermal";

/// Fetches the kernel of the other kind that Debian makes for Arm, whose name comes later, and leaves out most of its modules; returns its
/// version. The image's own may be the newest that there is.
fn newer_kernel(bench: &Bench) -> String {
    let recipe = "edition = 1\nname = \"newer\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\narchitecture = \"arm64\"\n\n\
                  [packages]\nbase = \"minbase\"\ninclude = [\"linux-image-rt-arm64\"]\n\n[[output]]\nformat = \"tar\"\n";
    bench.write("newer.toml", recipe);
    bench.ok(&["lock", "--fetch", "newer.toml"]);
    let (name, file) = bench.package("newer.lock", "linux-image-6");
    let version = name.strip_prefix("linux-image-").unwrap().to_owned();
    let (file, folder) = (file.display().to_string(), bench.path("newer").display().to_string());
    let script = format!(
        "dpkg-deb -R {file} {folder}; cd {folder}/usr/lib/modules/{version}; mkdir kept; cp -a --parents {MODULES} modules.builtin* \
         modules.order kept; rm -r kernel modules.*; mv kept/* .; rmdir kept; rm {folder}/DEBIAN/md5sums; \
         dpkg-deb --root-owner-group -Zgzip -b {folder} {folder}.deb"
    );
    tool("sh", &["-ec", &script]);
    version
}

/// Writes onto the FAT what Imager 2 does for `init_format` `cloudinit`, of a user who gave a name, a country, an account and a wireless
/// network. (It also has `avahi-daemon` installed, which the image has and which asks a network that the guest is not given.)
fn as_imager_writes(bench: &Bench, fat: &str) {
    let user_data = format!(
        "#cloud-config\nhostname: shed\nmanage_etc_hosts: true\napt:\n  preserve_sources_list: true\n  conf: |\n    Acquire {{\n      \
         Check-Date \"false\";\n    }};\n\ntimezone: Europe/Vienna\nkeyboard:\n  model: pc105\n  layout: \"de\"\nuser:\n  name: \
         {USER}\n  shell: /bin/bash\n  lock_passwd: false\n  passwd: \"{HASH}\"\n  ssh_authorized_keys:\n    - \"{KEY}\"\n  sudo: \
         ALL=(ALL) NOPASSWD:ALL\n\nssh_pwauth: false\n\nruncmd:\n  - [ systemctl, enable, --now, ssh ]\n  - [ rfkill, unblock, wifi ]\n"
    );
    let network = format!(
        "network:\n  version: 2\n  ethernets:\n    eth0:\n      dhcp4: true\n      dhcp6: true\n      optional: true\n  wifis:\n    wlan0:\n      \
         dhcp4: true\n      regulatory-domain: \"AT\"\n      access-points:\n        \"garden\":\n          password: \"{PSK}\"\n      \
         optional: true\n"
    );
    let meta_data = "instance-id: rpi-imager-1763780000000\n";
    let cmdline = read(fat, "cmdline.txt");
    let cmdline = format!("{} cfg80211.ieee80211_regdom=AT ds=nocloud;i=rpi-imager-1763780000000", cmdline.trim());
    for (name, text) in
        [("user-data", &*user_data), ("network-config", &network), ("meta-data", meta_data), ("cmdline.txt", &cmdline)]
    {
        let file = bench.write(&format!("imager/{name}"), text).display().to_string();
        tool("mcopy", &["-o", "-i", fat, &file, &format!("::{name}")]);
    }
}

const USER: &str = "gardener";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g tester@desk";
/// Of the password `shears`, by SHA-256.
const HASH: &str = "$5$kilnkiln$Zz2Zg6gx14jajZlHJrG8dx6kZ5fq0TAKfrjIeC6JEyD";
/// Of the passphrase `roses and thorns` for the network `garden`.
const PSK: &str = "dc014630296225be1aa572550e93e5f37b8306f2a49ff3826876e5d8ff613f58";

/// What holds once the system was set up as Imager asked.
fn as_asked() -> Vec<(String, String)> {
    let account =
        format!("getent shadow {USER}; cat ~{USER}/.ssh/authorized_keys; runuser -u {USER} -- sudo -n id -un");
    let places = "hostname; readlink /etc/localtime; grep XKBLAYOUT /etc/default/keyboard; \
                  cat /sys/module/cfg80211/parameters/ieee80211_regdom | tr -d '\\000'; systemctl is-active ssh";
    let radio = "systemctl is-active netplan-wpa-wlan0; cat /run/netplan/wpa-wlan0.conf";
    [
        ("cloud-init status --wait --long".to_owned(), "DataSourceNoCloud".to_owned()),
        (places.to_owned(), "shed\n/usr/share/zoneinfo/Europe/Vienna\nXKBLAYOUT=\\\"de\\\"\nAT\nactive".to_owned()),
        (account, format!("{KEY}\nroot")),
        (format!("getent shadow {USER}"), HASH.to_owned()),
        (radio.to_owned(), PSK.to_owned()),
        ("ls /sys/class/net".to_owned(), "wlan0".to_owned()),
    ]
    .into()
}

/// What a kernel update leads to.
fn as_updated(newer: &str) -> Vec<(String, String)> {
    let others = format!("dpkg-query -W -f '${{Package}}\\n' 'linux-image-*' | grep -v {newer}");
    let left = "test $(ls /boot/firmware | grep -c -e ^vmlinuz -e ^initrd) = 2; ls /boot/firmware";
    [
        ("cat /proc/device-tree/model".to_owned(), "Raspberry Pi 3 Model B"),
        ("findmnt -no FSTYPE /boot/firmware".to_owned(), "vfat"),
        // What Imager asked is done; cloud-init would take minutes of the next start to find that out.
        ("touch /etc/cloud/cloud-init.disabled; echo off".to_owned(), "off"),
        ("dpkg -i /root/newer.deb".to_owned(), "Setting up"),
        (format!("grep -x kernel=vmlinuz-{newer} /boot/firmware/config.txt"), newer),
        (RESTART.to_owned(), ""),
        ("uname -r".to_owned(), newer),
        (format!("dpkg --purge $({others}); hostname"), "shed"),
        (left.to_owned(), &format!("vmlinuz-{newer}")),
    ]
    .map(|(command, contains)| (command, contains.to_owned()))
    .into()
}

const RESTART: &str = "RESTART";

fn asserts(all: &[(String, String)]) -> String {
    let assert = |(command, contains): &(String, String)| match command.as_str() {
        RESTART => "[[verify.assert]]\nrestart = true\n\n".to_owned(),
        _ => {
            let contains = contains.replace('\n', "\\n");
            format!("[[verify.assert]]\ncommand = '''{command}'''\ncontains = \"{contains}\"\ntimeout = \"20min\"\n\n")
        }
    };
    all.iter().map(assert).collect()
}

#[test]
fn boot_a_raspberry_pi_is_what_imager_asks_and_starts_the_kernel_of_an_update() {
    let bench = Bench::shared();
    let newer = newer_kernel(&bench);
    let rest = "[cloud-init]\n\n[[file]]\npath = \"/root/newer.deb\"\nsource = \"newer.deb\"\n\n\
                [[file]]\npath = \"/etc/initramfs-tools/conf.d/own\"\ntext = \"MODULES=dep\\n\"\n\n\
                [[file]]\npath = \"/etc/modules-load.d/radio.conf\"\ntext = \"mac80211_hwsim\\n\"\n\n[verify]\ntimeout = \"20min\"\n\n";
    let all = [as_asked(), as_updated(&newer)].concat();
    bench.write("rpi-3-b.toml", &recipe("rpi-3-b", &[rest, CALM, &asserts(&all)].concat()));
    bench.ok(&["build", "rpi-3-b.toml"]);
    the_card_is_what_the_firmware_reads(&bench, "rpi-3-b", "bcm2837-rpi-3-b.dtb", "console=ttyS1,115200");
    the_imager_is_told(&bench, "rpi-3-b", "pi3-64bit", "cloudinit", &["rpi-3-b.raw"]);
    as_imager_writes(&bench, &fat(&bench, "rpi-3-b"));
    let verified = bench.ok(&["boot", "out/rpi-3-b.raw", "--check", "--json"]).stdout;
    let verified: Value = serde_json::from_str(&verified).unwrap();
    assert_eq!(
        (&verified["state"], verified["held"].as_array().unwrap().len()),
        (&"running".into(), all.len()),
        "{verified}"
    );
    let console = fs::read(bench.path("out/rpi-3-b.console.log")).unwrap();
    let console = String::from_utf8_lossy(&console);
    let started: Vec<&str> = console
        .lines()
        .filter_map(|line| line.split_once("Linux version "))
        .map(|(_, rest)| rest.split(' ').next().unwrap())
        .collect();
    assert_eq!(started.len(), 2, "{started:?}");
    assert!(started[0] != newer && started[1] == newer, "{started:?}");
}

/// The first of them has a processor that no other architecture of Debian's runs on.
#[test]
fn boot_the_card_of_a_raspberry_pi_zero_is_what_its_firmware_reads() {
    let bench = Bench::shared();
    bench.write(
        "rpi-zero.toml",
        &recipe("rpi-zero", "[[output]]\nformat = \"raw\"\ncompression = \"zst\"\n\n[network]\ndhcp = true\n"),
    );
    bench.ok(&["build", "rpi-zero.toml"]);
    the_card_is_what_the_firmware_reads(&bench, "rpi-zero", "bcm2835-rpi-zero.dtb", "console=ttyAMA0,115200");
    the_imager_is_told(&bench, "rpi-zero", "pi1-32bit", "none", &["rpi-zero.raw", "rpi-zero.raw.zst"]);
    let dpkg = tool(
        "debugfs",
        &[
            "-R",
            "cat /var/lib/dpkg/arch",
            &format!("{}?offset={}", bench.path("out/rpi-zero.raw").display(), 513 << 20),
        ],
    );
    assert!(!dpkg.contains("armhf"), "{dpkg}");
}

/// On a processor that runs 32 bits alone.
#[test]
fn boot_the_card_of_a_raspberry_pi_2() {
    let bench = Bench::shared();
    let rest =
        "[network]\ndhcp = true\n\n[system]\nkernel-arguments = [\"quiet\"]\n\n[verify]\ntimeout = \"15min\"\n\n";
    let all = [
        ("tr -d '\\000' </proc/device-tree/model; uname -m".to_owned(), "Raspberry Pi 2 Model Barmv7l".to_owned()),
        ("findmnt -no FSTYPE /boot/firmware".to_owned(), "vfat".to_owned()),
    ];
    bench.write("rpi-2-b.toml", &recipe("rpi-2-b", &[rest, CALM, &asserts(&all)].concat()));
    bench.ok(&["build", "--no-verify", "rpi-2-b.toml"]);
    the_card_is_what_the_firmware_reads(&bench, "rpi-2-b", "bcm2836-rpi-2-b.dtb", "console=ttyAMA0,115200");
    let verified = bench.ok(&["boot", "out/rpi-2-b.raw", "--check", "--json"]).stdout;
    let verified: Value = serde_json::from_str(&verified).unwrap();
    assert_eq!(verified["held"].as_array().unwrap().len(), all.len(), "{verified}");
}

/// Those that QEMU does not imitate, or whose like was started above; their packages are the others'.
#[test]
fn boot_the_cards_of_the_other_raspberry_pis_are_what_their_firmware_reads() {
    let bench = Bench::shared();
    for (board, device_tree, console) in [
        ("rpi-b", "bcm2835-rpi-b.dtb", "console=ttyAMA0,115200"),
        ("rpi-zero-w", "bcm2835-rpi-zero-w.dtb", "console=ttyS1,115200"),
        ("rpi-3-b-plus", "bcm2837-rpi-3-b-plus.dtb", "console=ttyS1,115200"),
        ("rpi-zero-2-w", "bcm2837-rpi-zero-2-w.dtb", "console=ttyS1,115200"),
        ("rpi-4-b", "bcm2711-rpi-4-b.dtb", "console=ttyS1,115200"),
    ] {
        bench.write(&format!("{board}.toml"), &recipe(board, "[network]\ndhcp = true\n"));
        bench.ok(&["build", "--no-verify", &format!("{board}.toml")]);
        the_card_is_what_the_firmware_reads(&bench, board, device_tree, console);
        fs::remove_file(bench.path(&format!("out/{board}.raw"))).unwrap();
    }
}
