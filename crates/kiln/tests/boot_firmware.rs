//! A PC from its first start on: its identity is made once, and the kernel of an update is started, under UEFI and under a BIOS.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Bench, share, tool};
use serde_json::Value;

/// Tells on the console what must stay and how the machine was started, updates the kernel, and switches the machine off; its
/// third start is ours.
const TELL: &str = "#!/bin/sh\ntest ! -e /var/lib/second || exit 0\ncloud-init status --wait >/dev/null\nexec >/dev/ttyS0\n\
     echo \"told machine $(cat /etc/machine-id)\"\n\
     for key in /etc/ssh/ssh_host_*.pub; do echo \"told key $(ssh-keygen -lf $key)\"; done\n\
     echo \"told runs $(wc -l </var/lib/runs)\"\n\
     echo \"told kernel $(uname -r)\"\n\
     if test -d /sys/firmware/efi; then echo told firmware uefi; else echo told firmware bios; fi\n\
     echo \"told grub $(grep -c BOOT_IMAGE=/debian/$(uname -r)/linux /proc/cmdline)\"\n\
     if test -e /var/lib/first; then touch /var/lib/second; else touch /var/lib/first; dpkg -i /root/newer.deb; fi\n\
     echo \"told all $?\"\nsystemctl poweroff\n";
const UNIT: &str = "[Service]\nExecStart=/usr/local/bin/tell\n\n[Install]\nWantedBy=multi-user.target\n";

/// Without the archives of updates, the kernel is an older one. The guest's own initrd is for its own machine: an emulated one takes
/// minutes over the usual.
fn recipe(asserts: &str) -> String {
    format!(
        "edition = 1\nname = \"pc\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\nboard = \"generic-x86_64\"\n\
         security = false\nupdates = false\n\n[packages]\ninclude = [\"openssh-server\"]\n\n[cloud-init]\nuser-data = \"user-data\"\n\n\
         [[file]]\npath = \"/usr/local/bin/tell\"\nmode = \"0755\"\ntext = '''{TELL}'''\n\n\
         [[file]]\npath = \"/etc/systemd/system/tell.service\"\ntext = '''{UNIT}'''\n\n\
         [services]\nenable = [\"tell\"]\n\n[[output]]\nformat = \"raw\"\n\n\
         [[file]]\npath = \"/root/newer.deb\"\nsource = \"newer.deb\"\n\n\
         [[file]]\npath = \"/etc/initramfs-tools/conf.d/own\"\ntext = \"MODULES=dep\\n\"\n\n{asserts}"
    )
}

/// Fetches the newest kernel, of the smaller kind that Debian makes for virtual machines; returns its version.
fn newer_kernel(bench: &Bench) -> String {
    let recipe = "edition = 1\nname = \"newer\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\n[packages]\n\
                  base = \"minbase\"\ninclude = [\"linux-image-cloud-amd64\"]\n\n[[output]]\nformat = \"tar\"\n";
    bench.write("newer.toml", recipe);
    bench.ok(&["lock", "--fetch", "newer.toml"]);
    let (name, file) = bench.package("newer.lock", "linux-image-6");
    fs::copy(file, bench.path("newer.deb")).expect("the package is in the cache");
    name.strip_prefix("linux-image-").unwrap().to_owned()
}

/// What the guest must hold when all was updated, one after the other.
fn asserts(newer: &str) -> String {
    let others = "dpkg-query -W -f '${Package} ' 'linux-image-*' | sed 's/[^ ]*-cloud-[^ ]*//'";
    let entries = "grep -h -e ^menuentry -e ^version /boot/efi/grub/entries.cfg /boot/efi/loader/entries/*";
    let commands = [
        ("test -d /sys/firmware/efi; uname -r", newer),
        (&format!("dpkg --purge $({others})"), "Removing"),
        (&format!("{entries}; test $({entries} | wc -l) = 2"), newer),
    ];
    let assert = |(command, contains): (&str, &str)| {
        format!("[[verify.assert]]\ncommand = '''{command}'''\ncontains = \"{contains}\"\ntimeout = \"20min\"\n\n")
    };
    "[verify]\nfirmware = [\"uefi\"]\n\n[[verify.assert]]\nno-failed-units = true\n\n".to_owned()
        + &commands.map(assert).concat()
}

/// What others think of the disk.
fn the_disk_starts_both_ways(image: &str) {
    let table: Value = serde_json::from_str(&tool("sfdisk", &["--json", image])).unwrap();
    let bios = &table["partitiontable"]["partitions"][2];
    assert_eq!((&bios["type"], &bios["start"]), (&"21686148-6449-6E6F-744E-656564454649".into(), &40.into()));
    assert!(tool("sgdisk", &["--verify", image]).contains("No problems found"));
}

#[test]
fn boot_a_pc_stays_itself_and_starts_the_kernel_of_an_update_under_uefi_and_bios() {
    let bench = Bench::shared();
    let newer = newer_kernel(&bench);
    bench.write("user-data", "#cloud-config\nruncmd:\n  - echo ran >> /var/lib/runs\n");
    bench.write("pc.toml", &recipe(&asserts(&newer)));
    bench.ok(&["build", "--no-verify", "pc.toml"]);
    let image = bench.path("out/pc.raw");
    the_disk_starts_both_ways(image.to_str().unwrap());
    tool("truncate", &["--size", "3G", image.to_str().unwrap()]);

    let first = told(&bench, &image, Firmware::Uefi);
    let second = told(&bench, &image, Firmware::Bios);
    let [one, two] = [&first, &second].map(|told| {
        let stays = |line: &&String| ["machine", "key", "runs"].iter().any(|word| line.split(' ').nth(1) == Some(word));
        told.iter().filter(stays).collect::<Vec<_>>()
    });
    assert!(one[0].len() == "told machine ".len() + 32, "{one:?}");
    assert!(one.iter().any(|line| line.ends_with("(ED25519)")), "{one:?}");
    assert_eq!(one.last().unwrap().as_str(), "told runs 1");
    assert_eq!(one, two);
    // systemd-boot starts kernels under UEFI. GRUB, under a BIOS, tells the kernel what it loaded.
    let says = |told: &[String], line: &str| assert!(told.iter().any(|other| other == line), "{line}: {told:?}");
    ["told firmware uefi", "told grub 0", "told all 0"].iter().for_each(|line| says(&first, line));
    ["told firmware bios", "told grub 1", "told all 0"].iter().for_each(|line| says(&second, line));
    let updated = format!("told kernel {newer}");
    assert!(!first.contains(&updated) && second.contains(&updated), "{first:?} {second:?}");

    let checked = bench.ok(&["boot", "out/pc.raw", "--check", "--json"]).stdout;
    let verified: Value = serde_json::from_str(&checked).unwrap();
    assert_eq!((&verified["firmware"], &verified["state"]), (&"uefi".into(), &"running".into()), "{verified}");
    assert_eq!(verified["held"].as_array().unwrap().len(), 4, "{verified}");
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Firmware {
    Uefi,
    Bios,
}

/// Runs a machine on the disk itself until it is off, and returns what it told.
fn told(bench: &Bench, image: &Path, firmware: Firmware) -> Vec<String> {
    let (vars, console) = (bench.path("vars.fd"), bench.path("console"));
    let file = |path: &Path| format!("format=raw,file={}", path.display());
    let mut machine = Command::new("qemu-system-x86_64");
    machine.args(["-nodefaults", "-display", "none", "-machine", "q35", "-accel", "tcg", "-cpu", "max"]);
    machine.args(["-m", "1024", "-smp", &share().to_string(), "-serial", &format!("file:{}", console.display())]);
    // In kiln's order: cloud-init keeps what it calls its network card, and cards are called by their slots.
    machine.args(["-drive", &format!("if=none,id=disk,cache=unsafe,{}", file(image))]);
    machine.args(["-device", "virtio-blk-pci,drive=disk,bootindex=0", "-netdev", "user,id=net"]);
    machine.args(["-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"]);
    if firmware == Firmware::Uefi {
        fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &vars).unwrap();
        let code = "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd";
        machine.args(["-drive", code, "-drive", &format!("if=pflash,unit=1,{}", file(&vars))]);
    }
    let mut machine = machine.stdin(Stdio::null()).spawn().expect("`scripts/setup --tests` installs QEMU");
    let deadline = Instant::now() + Duration::from_secs(900);
    while machine.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            machine.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let text = fs::read_to_string(&console).map_or_else(|error| error.to_string(), |text| text.replace('\r', ""));
    let told: Vec<String> = text.lines().filter_map(|line| Some(line[line.find("told ")?..].to_owned())).collect();
    let end = || text.lines().rev().take(40).collect::<Vec<_>>().join("\n");
    assert!(told.last().is_some_and(|line| line.starts_with("told all")), "{firmware:?}: {}", end());
    told
}
