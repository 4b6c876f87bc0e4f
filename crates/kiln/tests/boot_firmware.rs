//! PCs with UEFI and with a BIOS, and what a kernel update on the device leads to, under both.

mod common;

use std::fs;

use common::{Bench, tool};
use serde_json::Value;

/// Without the archives of updates, the kernel is an older one. The guest's own initrd is for its own machine: an emulated one takes
/// minutes over the usual.
const RECIPE: &str = "edition = 1\nname = \"update\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\
                      board = \"generic-x86_64\"\nsecurity = false\nupdates = false\n\n[network]\ndhcp = true\n\n\
                      [[output]]\nformat = \"raw\"\n\n[[file]]\npath = \"/root/newer.deb\"\nsource = \"newer.deb\"\n\n\
                      [[file]]\npath = \"/etc/initramfs-tools/conf.d/own\"\ntext = \"MODULES=dep\\n\"\n\n\
                      [verify]\nfirmware = [\"uefi\", \"bios\"]\n\n[[verify.assert]]\nno-failed-units = true\n\n";

/// Fetches the newest kernel, of the smaller kind that Debian makes for virtual machines, by building a tree that has it; returns
/// its version.
fn newer_kernel(bench: &Bench) -> String {
    let recipe = "edition = 1\nname = \"newer\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\n[packages]\n\
                  base = \"minbase\"\ninclude = [\"linux-image-cloud-amd64\"]\n\n[[output]]\nformat = \"tar\"\n";
    bench.write("newer.toml", recipe);
    bench.ok(&["build", "newer.toml"]);
    let (name, file) = bench.package("newer.lock", "linux-image-6");
    fs::copy(file, bench.path("newer.deb")).expect("the package is in the cache");
    name.strip_prefix("linux-image-").unwrap().to_owned()
}

/// What the guest must hold, one after the other.
fn asserts(newer: &str) -> String {
    // GRUB tells the kernel what it loaded, which a serial console may garble.
    let firmware = "if grep -q SeaBIOS /sys/class/dmi/id/bios_vendor; \
                    then test ! -d /sys/firmware/efi && grep -q BOOT_IMAGE=/debian/$(uname -r)/linux /proc/cmdline; \
                    else test -d /sys/firmware/efi && ! grep -q BOOT_IMAGE= /proc/cmdline; fi";
    let others = "dpkg-query -W -f '${Package} ' 'linux-image-*' | sed 's/[^ ]*-cloud-[^ ]*//'";
    let entries = "grep -h -e ^menuentry -e ^version /boot/efi/grub/entries.cfg /boot/efi/loader/entries/*";
    let commands = [
        (firmware, ""),
        (&format!("test $(uname -r) != {newer}"), ""),
        ("dpkg -i /root/newer.deb", "Setting up"),
        ("RESTART", ""),
        (firmware, ""),
        ("uname -r", newer),
        (&format!("dpkg --purge $({others})"), "Removing"),
        (&format!("{entries}; test $({entries} | wc -l) = 2"), newer),
    ];
    let assert = |(command, contains): (&str, &str)| match command {
        "RESTART" => "[[verify.assert]]\nrestart = true\n\n".to_owned(),
        command => {
            let contains = if contains.is_empty() { String::new() } else { format!("contains = \"{contains}\"\n") };
            format!("[[verify.assert]]\ncommand = '''{command}'''\n{contains}timeout = \"20min\"\n\n")
        }
    };
    commands.map(assert).concat()
}

/// What others think of the disk.
fn the_disk_starts_both_ways(bench: &Bench) {
    let image = bench.path("out/update.raw").display().to_string();
    let table: Value = serde_json::from_str(&tool("sfdisk", &["--json", &image])).unwrap();
    let bios = &table["partitiontable"]["partitions"][2];
    assert_eq!((&bios["type"], &bios["start"]), (&"21686148-6449-6E6F-744E-656564454649".into(), &40.into()));
    assert!(tool("sgdisk", &["--verify", &image]).contains("No problems found"));
}

#[test]
fn boot_a_kernel_update_on_the_device_is_started_under_uefi_and_bios() {
    let bench = Bench::shared();
    let newer = newer_kernel(&bench);
    bench.write("update.toml", &(RECIPE.to_owned() + &asserts(&newer)));
    bench.ok(&["build", "update.toml"]);
    the_disk_starts_both_ways(&bench);
    let checked = bench.ok(&["boot", "out/update.raw", "--check", "--json"]).stdout;
    let uefi: Value = serde_json::from_str(&checked).unwrap();
    let bios = &uefi["also"][0];
    assert_eq!((&uefi["firmware"], &bios["firmware"]), (&"uefi".into(), &"bios".into()), "{uefi}");
    for verified in [&uefi, bios] {
        assert_eq!((&verified["state"], verified["held"].as_array().unwrap().len()), (&"running".into(), 9), "{uefi}");
    }
    assert!(bench.path("out/update.bios.console.log").exists() && bench.path("out/update.console.log").exists());
}
