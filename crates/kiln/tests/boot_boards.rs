//! Boards of other architectures, built on this machine and started in QEMU.

mod common;

use common::{Bench, json};

/// A board, the release that is built for it, and what a command tells of the machine.
struct Case {
    board: &'static str,
    release: &'static str,
    firmware: &'static str,
    command: &'static str,
    contains: &'static str,
}

fn recipe(case: &Case) -> String {
    let Case { board, release, firmware, command, contains } = case;
    format!(
        "edition = 1\nname = \"{board}\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"{release}\"\nboard = \"{board}\"\n\
         security = false\nupdates = false\n\n[network]\ndhcp = true\n\n[[output]]\nformat = \"raw\"\n\n\
         [verify]\nboot = true\nfirmware = [\"{firmware}\"]\n\n[[verify.assert]]\nno-failed-units = true\n\n\
         [[verify.assert]]\ncommand = \"{command}\"\ncontains = \"{contains}\"\n\n\
         [[verify.assert]]\nunit = \"systemd-networkd\"\n"
    )
}

/// Builds the board's image, boots it, and returns once it is up and holds what it must.
fn comes_up(case: &Case) {
    let bench = Bench::shared();
    bench.write("board.toml", &recipe(case));
    bench.ok(&["build", "board.toml"]);
    let verified = &json(&bench.path(&format!("out/{}.report.json", case.board)))["verified"];
    assert_eq!(verified["state"], "running", "{verified}");
    assert_eq!(verified["held"].as_array().unwrap().len(), 3, "{verified}");
}

/// Where UEFI has started the machine, it says by which file.
const UEFI: &str = "uname -m; bootctl --print-loader-path";

#[test]
fn boot_generic_arm64_comes_up() {
    comes_up(&Case { board: "generic-arm64", release: "13", firmware: "uefi", command: UEFI, contains: "aarch64" });
}

#[test]
fn boot_generic_riscv64_comes_up() {
    comes_up(&Case { board: "generic-riscv64", release: "13", firmware: "uefi", command: UEFI, contains: "riscv64" });
}

/// Debian's last release that has a kernel for them.
#[test]
fn boot_generic_i386_comes_up_under_a_bios() {
    let command = "dpkg --print-architecture; uname -m; test ! -d /sys/firmware/efi";
    comes_up(&Case { board: "generic-i386", release: "12", firmware: "bios", command, contains: "i386\\ni686" });
}
