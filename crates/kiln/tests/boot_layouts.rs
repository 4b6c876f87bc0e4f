//! Disks that are divided otherwise: subvolumes, swap, a home of its own, two roots to switch between.

mod common;

use std::fs;
use std::path::Path;

use common::{Bench, json, tool};
use serde_json::Value;

const HEAD: &str = "edition = 1\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\nboard = \"generic-x86_64\"\n\
                    security = false\nupdates = false\n\n[[output]]\nformat = \"raw\"\n\n[verify]\nboot = true\n\n\
                    [[verify.assert]]\nno-failed-units = true\n";

fn assert(command: &str, contains: &str) -> String {
    format!("\n[[verify.assert]]\ncommand = \"{command}\"\ncontains = \"{contains}\"\n")
}

/// The type of the partition that GRUB's core lies in.
const BIOS_BOOT: &str = "21686148-6449-6E6F-744E-656564454649";

/// Copies the partitions of a disk into files of these names, that of a PC's BIOS left out.
fn parts(bench: &Bench, image: &Path, names: &[&'static str]) -> Vec<(&'static str, String)> {
    let image = image.to_str().unwrap();
    tool("sfdisk", &["--verify", image]);
    let table: Value = serde_json::from_str(&tool("sfdisk", &["--json", image])).unwrap();
    let part = |(name, part): (&&'static str, &Value)| {
        let mib = |key: &str| part[key].as_u64().unwrap() / 2048;
        let file = bench.path(name).display().to_string();
        let words = [format!("if={image}"), format!("of={file}"), "bs=1M".into(), "conv=sparse".into()];
        let place = [format!("skip={}", mib("start")), format!("count={}", mib("size"))];
        tool("dd", &words.iter().chain(&place).map(String::as_str).collect::<Vec<_>>());
        (*name, file)
    };
    let rows = table["partitiontable"]["partitions"].as_array().unwrap();
    let rows: Vec<&Value> = rows.iter().filter(|row| row["type"] != BIOS_BOOT).collect();
    assert_eq!(rows.len(), names.len());
    names.iter().zip(rows).map(part).collect()
}

fn held(bench: &Bench, name: &str) -> usize {
    let verified = &json(&bench.path(&format!("out/{name}.report.json")))["verified"];
    assert_eq!(verified["state"], "running", "{verified}");
    verified["held"].as_array().unwrap().len()
}

/// What `truncate --size +1G` does, or a larger medium.
fn larger_medium(image: &Path) {
    let file = fs::OpenOptions::new().write(true).open(image).unwrap();
    file.set_len(file.metadata().unwrap().len() + (1 << 30)).unwrap();
}

/// Writes other commands into the report than the recipe asserts.
fn instead(bench: &Bench, name: &str, commands: &[&str]) {
    let report = bench.path(&format!("out/{name}.report.json"));
    let mut text = json(&report);
    let asserts = &mut text["spec"]["verify"]["asserts"];
    assert!(asserts.is_array(), "{asserts}");
    let assert = |run: &&str| serde_json::json!({ "command": { "run": run, "status": 0, "contains": null } });
    *asserts = commands.iter().map(assert).collect();
    fs::write(&report, text.to_string()).unwrap();
}

#[test]
fn boot_subvolumes_with_swap_and_a_home_that_grows() {
    let bench = Bench::shared();
    let partition = |text: &str| format!("\n[[disk.partition]]\n{text}\n");
    let partitions = [
        "name = \"esp\"\nrole = \"esp\"\nmount = \"/boot/efi\"",
        "name = \"swap\"\nfilesystem = \"swap\"\nsize = \"256MiB\"",
        "name = \"root\"\nmount = \"/\"\nfilesystem = \"btrfs\"\nsize = { free = \"200MiB\" }\n\
         subvolumes = [{ name = \"@\", mount = \"/\" }, { name = \"@log\", mount = \"/var/log\" }, \
         { name = \"@snapshots\", mount = \"/.snapshots\" }]",
        "name = \"home\"\nmount = \"/home\"\nsize = { free = \"64MiB\" }",
    ];
    let asserts = [
        assert("findmnt -no FSTYPE,OPTIONS /", "subvol=/@"),
        assert("findmnt -no OPTIONS /var/log", "subvol=/@log"),
        assert("btrfs subvolume list / | grep -o 'path .*' | tr '\\\\n' ' '", "path @ path @log path @snapshots"),
        assert("btrfs subvolume snapshot / /.snapshots/first && ls /.snapshots/first/etc/hostname", "hostname"),
        assert("btrfs scrub start -B /", "no errors found"),
        assert("swapon --show=NAME,SIZE --noheadings", "256M"),
        assert("findmnt -no FSTYPE /home; cat /home/kept", "ext4\\nkept"),
    ];
    let file = "\n[[file]]\npath = \"/home/kept\"\ntext = \"kept\\n\"\n";
    let table = "\n[disk]\ntable = \"mbr\"\n";
    bench.write("sub.toml", &[HEAD, file, table, &partitions.map(partition).concat(), &asserts.concat()].concat());
    bench.ok(&["build", "sub.toml"]);
    assert_eq!(held(&bench, "sub"), 8);
    let image = bench.path("out/sub.raw");
    for (name, part) in parts(&bench, &image, &["esp", "swap", "root", "home"]) {
        let part = part.as_str();
        let (program, words, wanted) = match name {
            "root" => ("btrfs", vec!["check", "--readonly", "--check-data-csum", part], "no error found"),
            "swap" => ("swaplabel", vec![part], "LABEL: swap"),
            "home" => ("e2fsck", vec!["-fn", part], "home: "),
            _ => ("fsck.fat", vec!["-n", part], "clusters"),
        };
        let said = tool(program, &words);
        assert!(said.contains(wanted), "{said}");
        fs::remove_file(part).unwrap();
    }
    // In an MBR it is a unit of ours that gives the last partition the rest of a larger medium; GRUB's core has no partition there.
    larger_medium(&image);
    instead(&bench, "sub", &["test $(df -B1M --output=size /home | tail -1) -gt 1000", "test ! -d /sys/firmware/efi"]);
    bench.ok(&["boot", "out/sub.raw", "--check", "--firmware", "bios"]);
}

#[test]
fn boot_two_roots_each_by_its_entry() {
    let bench = Bench::shared();
    let asserts = [
        assert("findmnt -no PARTLABEL /", "root-a"),
        assert("cat /proc/cmdline /etc/kernel/cmdline | grep -o UUID=[^' ']* | sort -u | wc -l", "1"),
        assert("grep -c $(findmnt -no UUID /) /etc/fstab", "1"),
        assert("findmnt -no PARTLABEL,FSTYPE /data; cat /data/kept", "ext4\\nkept"),
        assert("ls /boot/efi/loader/entries", "debian-root-b-"),
        assert(
            "bootctl set-oneshot $(cd /boot/efi/loader/entries && echo debian-root-b-*) && bootctl status",
            "OneShot",
        ),
    ];
    let rest = "\n[disk]\nlayout = \"efi-ab\"\n\n[[file]]\npath = \"/data/kept\"\ntext = \"kept\\n\"\n";
    bench.write("ab.toml", &[HEAD, rest, &asserts.concat()].concat());
    bench.ok(&["build", "ab.toml"]);
    assert_eq!(held(&bench, "ab"), 7);
    let image = bench.path("out/ab.raw");
    let mut sizes = vec![];
    for (name, part) in parts(&bench, &image, &["esp", "root-a", "root-b", "data"]) {
        if name != "esp" {
            tool("e2fsck", &["-fn", &part]);
        }
        if name.starts_with("root") {
            sizes.push(fs::metadata(&part).unwrap().len());
        }
        fs::remove_file(part).unwrap();
    }
    assert_eq!(sizes[0], sizes[1]);
    // What `bootctl set-default` says to a machine's firmware, said to its loader; a BIOS knows no other way.
    let conf = bench.write("loader.conf", "timeout 0\ndefault debian-root-b-*\n").display().to_string();
    let esp = format!("{}@@1M", image.display());
    tool("mcopy", &["-o", "-i", &esp, &conf, "::/loader/loader.conf"]);
    instead(&bench, "ab", &["findmnt -no PARTLABEL / | grep -x root-b && test ! -d /sys/firmware/efi"]);
    bench.ok(&["boot", "out/ab.raw", "--check", "--firmware", "bios"]);
    larger_medium(&image);
    let asserts = [
        "findmnt -no PARTLABEL / | grep -x root-b",
        "test $(cat /proc/cmdline /etc/kernel/cmdline | grep -o UUID=[^' ']* | sort -u | wc -l) = 1",
        "grep $(findmnt -no UUID /) /etc/fstab && grep -x debian-root-b /etc/kernel/entry-token",
        "test $(df -B1M --output=size /data | tail -1) -gt 900 && grep kept /data/kept",
        "test $(systemctl --failed --no-legend | wc -l) = 0",
    ];
    instead(&bench, "ab", &asserts);
    bench.ok(&["boot", "out/ab.raw", "--check"]);
}
