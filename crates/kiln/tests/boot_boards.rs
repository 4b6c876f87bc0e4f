//! Boards of other architectures, built on this machine: those that start in QEMU, and what the ROM of others reads.

mod common;

use std::fs;

use common::{Bench, json, tool};

fn recipe(board: &str) -> String {
    format!(
        "edition = 1\nname = \"{board}\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\nboard = \"{board}\"\n\
         security = false\nupdates = false\n\n[network]\ndhcp = true\n\n[[output]]\nformat = \"raw\"\n"
    )
}

/// Builds the board's image, boots it, and returns once it is up and holds what it must.
fn comes_up(board: &str, machine: &str) {
    let bench = Bench::shared();
    let verify = format!(
        "\n[verify]\nboot = true\n\n[[verify.assert]]\nno-failed-units = true\n\n\
         [[verify.assert]]\ncommand = \"uname -m; bootctl --print-loader-path\"\ncontains = \"{machine}\"\n\n\
         [[verify.assert]]\nunit = \"systemd-networkd\"\n"
    );
    bench.write("board.toml", &(recipe(board) + &verify));
    bench.ok(&["build", "board.toml"]);
    let verified = &json(&bench.path(&format!("out/{board}.report.json")))["verified"];
    assert_eq!(verified["state"], "running", "{verified}");
    assert_eq!(verified["held"].as_array().unwrap().len(), 3, "{verified}");
}

#[test]
fn boot_generic_arm64_comes_up() {
    comes_up("generic-arm64", "aarch64");
}

#[test]
fn boot_generic_riscv64_comes_up() {
    comes_up("generic-riscv64", "riscv64");
}

/// The whole way of this one, U-Boot and all, takes QEMU four minutes to the prompt.
#[test]
fn boot_an_orange_pi_card_is_what_its_rom_and_u_boot_read() {
    let bench = Bench::shared();
    bench.write("opi.toml", &recipe("opi-pc"));
    bench.ok(&["build", "opi.toml"]);
    let image = bench.path("out/opi-pc.raw").display().to_string();
    let root = format!("{image}?offset=1048576");
    tool("sfdisk", &["--verify", &image]);
    tool("e2fsck", &["-fn", &root]);
    let first = bench.path("spl").display().to_string();
    let spl = "/usr/lib/u-boot/orangepi_pc_plus/u-boot-sunxi-with-spl.bin";
    tool("debugfs", &["-R", &format!("dump {spl} {first}"), &root]);
    let (spl, disk) = (fs::read(first).unwrap(), fs::read(&image).unwrap());
    assert_eq!(&spl[4..12], b"eGON.BT0", "what the ROM looks for");
    assert!(disk[8192..].starts_with(&spl), "and where");
    let conf = tool("debugfs", &["-R", "cat /boot/extlinux/extlinux.conf", &root]);
    for wanted in
        ["linux /boot/vmlinuz-", "initrd /boot/initrd.img-", "/sun8i-h3-orangepi-pc.dtb", "console=ttyS0,115200"]
    {
        assert!(conf.contains(wanted), "{wanted}: {conf}");
    }
    let initrd = tool("debugfs", &["-R", "ls -p /boot", &root]);
    let name = initrd.split('/').find(|name| name.starts_with("initrd.img-")).unwrap();
    let copy = bench.path("initrd").display().to_string();
    tool("debugfs", &["-R", &format!("dump /boot/{name} {copy}"), &root]);
    let listed = tool("sh", &["-c", &format!("(zstd -dcq {copy} 2>/dev/null || cat {copy}) | cpio -t 2>/dev/null")]);
    assert!(listed.contains("sunxi-mmc.ko"), "the initrd finds the card: {} names", listed.lines().count());
}
