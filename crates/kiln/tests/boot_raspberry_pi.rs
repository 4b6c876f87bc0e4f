//! Raspberry Pis: what their ROM and firmware read, a boot with kiln in the firmware's place, and a kernel update on the device.

mod common;

use std::fs;

use common::{Bench, json, tool};

fn recipe(board: &str, more: &str) -> String {
    format!(
        "edition = 1\nname = \"{board}\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\nboard = \"{board}\"\n\
         security = false\nupdates = false\n\n[network]\ndhcp = true\n\n[[output]]\nformat = \"raw\"\n\n{more}"
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
fn the_imager_is_told(bench: &Bench, board: &str, device: &str) {
    let list = json(&bench.path(&format!("out/{board}.os_list.json")));
    let entries = list["os_list"].as_array().unwrap();
    let files: Vec<String> = [format!("{board}.raw"), format!("{board}.raw.zst")].into();
    assert_eq!(entries.len(), files.len(), "{list}");
    let sum = |words: &str| tool("sh", &["-c", &format!("{words} | sha256sum")]).split(' ').next().unwrap().to_owned();
    for (entry, file) in entries.iter().zip(&files) {
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
        assert_eq!((&entry["devices"], &entry["init_format"]), (&serde_json::json!([device]), &"none".into()));
    }
}

/// What of a kernel's modules the guest needs; with all of them, making the initrd takes emulation a quarter of an hour.
const MODULES: &str = "kernel/fs kernel/lib kernel/crypto kernel/arch kernel/drivers/mmc kernel/drivers/usb kernel/drivers/net/usb \
                       kernel/drivers/net/mii* kernel/drivers/char kernel/drivers/clk kernel/drivers/dma kernel/drivers/soc \
                       kernel/drivers/gpio kernel/drivers/watchdog kernel/drivers/hwmon kernel/drivers/thermal";

/// Fetches the newest kernel by building a tree that has it, and leaves out most of its modules; returns its version.
fn newer_kernel(bench: &Bench) -> String {
    let recipe = "edition = 1\nname = \"newer\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\narchitecture = \"arm64\"\n\n\
                  [packages]\nbase = \"minbase\"\ninclude = [\"linux-image-arm64\"]\n\n[[output]]\nformat = \"tar\"\n";
    bench.write("newer.toml", recipe);
    bench.ok(&["build", "newer.toml"]);
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

#[test]
fn boot_a_raspberry_pi_starts_the_kernel_of_an_update_on_the_device() {
    let bench = Bench::shared();
    let newer = newer_kernel(&bench);
    let others = "dpkg-query -W -f '${Package}\\n' 'linux-image-*' | grep -v ";
    let more = [
        ("cat /proc/device-tree/model", "Raspberry Pi 3 Model B"),
        ("findmnt -no FSTYPE /boot/firmware", "vfat"),
        ("dpkg -i /root/newer.deb", "Setting up"),
        (&format!("grep -x kernel=vmlinuz-{newer} /boot/firmware/config.txt"), &newer),
        ("RESTART", ""),
        ("uname -r", &newer),
        (&format!("dpkg --purge $({others}{newer})"), "Removing"),
        (
            &format!("test $(ls /boot/firmware | grep -c -e ^vmlinuz -e ^initrd) = 2; ls /boot/firmware"),
            &format!("vmlinuz-{newer}"),
        ),
    ];
    let assert = |(command, contains): (&str, &str)| match command {
        "RESTART" => "[[verify.assert]]\nrestart = true\n\n".to_owned(),
        _ => {
            format!("[[verify.assert]]\ncommand = '''{command}'''\ncontains = \"{contains}\"\ntimeout = \"20min\"\n\n")
        }
    };
    let file = "[[file]]\npath = \"/root/newer.deb\"\nsource = \"newer.deb\"\n\n[verify]\nboot = true\ntimeout = \"20min\"\n\n";
    bench.write("rpi-3-b.toml", &recipe("rpi-3-b", &(file.to_owned() + &more.map(assert).concat())));
    bench.ok(&["build", "rpi-3-b.toml"]);
    the_card_is_what_the_firmware_reads(&bench, "rpi-3-b", "bcm2837-rpi-3-b.dtb", "console=ttyS1,115200");
    let verified = &json(&bench.path("out/rpi-3-b.report.json"))["verified"];
    assert_eq!((&verified["state"], verified["held"].as_array().unwrap().len()), (&"running".into(), 8), "{verified}");
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
    bench.write("rpi-zero.toml", &recipe("rpi-zero", "[[output]]\nformat = \"raw\"\ncompression = \"zst\"\n"));
    bench.ok(&["build", "rpi-zero.toml"]);
    the_card_is_what_the_firmware_reads(&bench, "rpi-zero", "bcm2835-rpi-zero.dtb", "console=ttyAMA0,115200");
    the_imager_is_told(&bench, "rpi-zero", "pi1-32bit");
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
