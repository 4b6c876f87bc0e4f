//! Orange Pi cards: what the ROM and U-Boot read on each, and the whole way of one of them, which QEMU imitates.

mod common;

use std::fs;

use common::{Bench, CALM, json, tool};

/// A board, the U-Boot that Debian builds for it, and the device tree it is to have.
///
/// U-Boot takes the tree that its own environment calls `fdtfile`, which stands in its program as text; `extlinux.conf` names
/// the tree only where that one would be wrong: the PC has the Plus's U-Boot.
const BOARDS: [(&str, &str, &str); 3] = [
    ("opi-pc", "orangepi_pc_plus", "sun8i-h3-orangepi-pc.dtb"),
    ("opi-pc-plus", "orangepi_pc_plus", "sun8i-h3-orangepi-pc-plus.dtb"),
    ("opi-zero", "orangepi_zero", "sun8i-h2-plus-orangepi-zero.dtb"),
];

fn recipe(board: &str) -> String {
    format!(
        "edition = 1\nname = \"{board}\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\nboard = \"{board}\"\n\
         security = false\nupdates = false\n\n[network]\ndhcp = true\n\n[[output]]\nformat = \"raw\"\n"
    )
}

/// SPL, U-Boot, `extlinux.conf`, kernel, login: six minutes of emulation on a busy machine.
#[test]
fn boot_an_orange_pi_comes_up() {
    let bench = Bench::shared();
    let verify = "\n[verify]\nboot = true\ntimeout = \"12min\"\n\n[[verify.assert]]\nno-failed-units = true\n\n\
                  [[verify.assert]]\ncommand = \"cat /proc/device-tree/model\"\ncontains = \"Xunlong Orange Pi PC\"\n\n\
                  [[verify.assert]]\nunit = \"systemd-networkd\"\n";
    bench.write("opi.toml", &[&*recipe("opi-pc"), verify, "\n", CALM].concat());
    bench.ok(&["build", "opi.toml"]);
    let verified = &json(&bench.path("out/opi-pc.report.json"))["verified"];
    assert_eq!(verified["state"], "running", "{verified}");
    assert_eq!(verified["held"].as_array().unwrap().len(), 3, "{verified}");
}

#[test]
fn boot_orange_pi_cards_are_what_their_rom_and_u_boot_read() {
    let bench = Bench::shared();
    for (board, blob, tree) in BOARDS {
        bench.write("opi.toml", &recipe(board));
        bench.ok(&["build", "opi.toml"]);
        let image = bench.path(&format!("out/{board}.raw")).display().to_string();
        Card { bench: &bench, root: format!("{image}?offset=1048576"), image }.is_right(blob, tree);
    }
}

struct Card<'b> {
    bench: &'b Bench,
    image: String,
    /// The root filesystem, as e2fsprogs find it in the image.
    root: String,
}

impl Card<'_> {
    fn is_right(&self, blob: &str, tree: &str) {
        tool("sfdisk", &["--verify", &self.image]);
        tool("e2fsck", &["-fn", &self.root]);
        let spl = self.file(&format!("/usr/lib/u-boot/{blob}/u-boot-sunxi-with-spl.bin"));
        assert_eq!(&spl[4..12], b"eGON.BT0", "what the ROM looks for");
        assert!(fs::read(&self.image).unwrap()[8192..].starts_with(&spl), "and where");
        self.u_boot_finds(&spl, tree);
        let name = self.debugfs("ls -p /boot");
        let name = name.split('/').find(|name| name.starts_with("initrd.img-")).unwrap();
        self.file(&format!("/boot/{name}"));
        let copy = self.bench.path("file").display().to_string();
        let list = format!("(zstd -dcq {copy} 2>/dev/null || cat {copy}) | cpio -t 2>/dev/null");
        let listed = tool("sh", &["-c", &list]);
        assert!(listed.contains("sunxi-mmc.ko"), "the initrd finds the card: {} names", listed.lines().count());
    }

    /// U-Boot's own choice, or the one that is said, is the board's tree, and it is there.
    fn u_boot_finds(&self, u_boot: &[u8], tree: &str) {
        let conf = self.debugfs("cat /boot/extlinux/extlinux.conf");
        for wanted in ["linux /boot/vmlinuz-", "initrd /boot/initrd.img-", "console=ttyS0,115200"] {
            assert!(conf.contains(wanted), "{wanted}: {conf}");
        }
        let said = |key: &str| conf.lines().find_map(|line| line.trim().strip_prefix(key));
        let own = format!("fdtfile={tree}\0");
        let own = u_boot.windows(own.len()).any(|window| window == own.as_bytes());
        let path = match (said("fdt "), said("fdtdir ")) {
            (Some(file), _) => file.to_owned(),
            (None, Some(folder)) => {
                assert!(own, "U-Boot would take another tree than `{tree}`");
                format!("{}/{tree}", folder.trim_end_matches('/'))
            }
            (None, None) => panic!("no device tree: {conf}"),
        };
        assert!(path.ends_with(&format!("/{tree}")), "{path}");
        assert_eq!(&self.file(&path)[..4], [0xd0, 0x0d, 0xfe, 0xed], "{path} is a device tree");
    }

    fn debugfs(&self, order: &str) -> String {
        tool("debugfs", &["-R", order, &self.root])
    }

    /// Returns a file of the root; its copy stays as `file`.
    fn file(&self, path: &str) -> Vec<u8> {
        let copy = self.bench.path("file");
        self.debugfs(&format!("dump {path} {}", copy.display()));
        fs::read(&copy).unwrap()
    }
}
