//! Boards of other architectures, built on this machine and started in QEMU.

mod common;

use common::{Bench, json};

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
