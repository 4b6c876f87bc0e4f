//! Where QEMU and its firmware are: on the host, or in kiln's tools tree.

use std::path::{Path, PathBuf};

use kiln_model::{Fault, GuestPath};
use kiln_recipe::spec::Qemu;

/// A root that holds QEMU for a board, and the firmware when the board wants one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// `/`, or the tools tree.
    pub root: PathBuf,
    /// Absolute path below the root.
    pub qemu: GuestPath,
    /// None: QEMU brings what the board wants, SeaBIOS for a PC.
    pub firmware: Option<Firmware>,
}

/// A UEFI firmware: its code, and the variables a machine starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    pub code: GuestPath,
    pub vars: GuestPath,
}

/// Folders that hold programs.
const PATH: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];

/// By QEMU system: code and variables, the better first (the 4 MiB pair, without secure boot).
const FIRMWARE: &[(&str, &str, &str)] = &[
    ("x86_64", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("x86_64", "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("x86_64", "/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("x86_64", "/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    // Debian has it with what secure boot needs only; without keys among its variables it starts anything.
    ("i386", "/usr/share/OVMF/OVMF32_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF32_VARS_4M.fd"),
    ("aarch64", "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
    ("aarch64", "/usr/share/edk2/aarch64/QEMU_CODE.fd", "/usr/share/edk2/aarch64/QEMU_VARS.fd"),
    ("riscv64", "/usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd", "/usr/share/qemu-efi-riscv64/RISCV_VIRT_VARS.fd"),
];

/// Debian packages that hold QEMU and firmware, by QEMU system.
const PACKAGES: &[(&str, &str)] = &[
    ("x86_64", "qemu-system-x86 ovmf"),
    ("i386", "qemu-system-x86 ovmf-ia32"),
    ("aarch64", "qemu-system-arm qemu-efi-aarch64"),
    ("arm", "qemu-system-arm"),
    ("riscv64", "qemu-system-riscv opensbi qemu-efi-riscv64"),
    ("ppc64", "qemu-system-ppc"),
];

impl Programs {
    /// Returns the host's own programs when all that the board needs is there, else those of the tools tree.
    pub fn find(board: &Qemu, tools: Option<&Path>) -> Result<Self, Fault> {
        let roots = [Some(Path::new("/")), tools];
        let found = roots.into_iter().flatten().find_map(|root| Self::below(root, board));
        found.ok_or_else(|| missing(board))
    }

    /// Returns the programs below `root` when all that the board needs is there.
    pub fn below(root: &Path, board: &Qemu) -> Option<Self> {
        let name = format!("qemu-system-{}", board.system);
        let qemu =
            PATH.iter().map(|folder| guest(&format!("{folder}/{name}"))).find(|path| path.under(root).is_file())?;
        let firmware = match board.firmware.as_str() {
            "uefi" => Some(firmware(root, &board.system)?),
            _ => None,
        };
        Some(Self { root: root.to_owned(), qemu, firmware })
    }

    /// Returns the Debian packages that a tools tree needs for a board.
    pub fn packages(board: &Qemu) -> Vec<&'static str> {
        let row = PACKAGES.iter().find(|(system, _)| *system == board.system);
        row.map(|(_, names)| names.split(' ').collect()).unwrap_or_default()
    }

    /// Returns `the host's` or `kiln's own`, for messages.
    pub fn whose(&self) -> &'static str {
        if self.root == Path::new("/") { "the host's" } else { "kiln's own" }
    }
}

fn firmware(root: &Path, system: &str) -> Option<Firmware> {
    let candidates = FIRMWARE.iter().filter(|(wanted, _, _)| *wanted == system);
    let mut pairs = candidates.map(|(_, code, vars)| Firmware { code: guest(code), vars: guest(vars) });
    pairs.find(|pair| pair.code.under(root).is_file() && pair.vars.under(root).is_file())
}

fn guest(path: &str) -> GuestPath {
    GuestPath::new(path).expect("our own paths are good")
}

fn missing(board: &Qemu) -> Fault {
    let fault = Fault::farm(format!(
        "find `qemu-system-{}` and its firmware: neither on the host nor in a tools tree",
        board.system
    ));
    match Programs::packages(board).join(" ") {
        none if none.is_empty() => fault,
        packages => fault.hint(format!("apt-get install {packages}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(firmware: &str) -> Qemu {
        let text = |text: &str| text.to_owned();
        let (system, machine, cpu) = (text("x86_64"), text("q35"), text("max"));
        Qemu {
            system,
            machine,
            cpu,
            firmware: firmware.into(),
            memory: 1024,
            console: text("ttyS0"),
            serial: 0,
            bus: Default::default(),
            device_trees: vec![],
        }
    }

    #[test]
    fn a_root_serves_only_with_program_and_firmware() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        assert_eq!(Programs::below(root.path(), &board("none")), None);
        put("usr/bin/qemu-system-x86_64");
        assert_eq!(Programs::below(root.path(), &board("uefi")), None);
        assert_eq!(Programs::below(root.path(), &board("none")).unwrap().firmware, None);
        assert_eq!(Programs::below(root.path(), &board("bios")).unwrap().firmware, None);
        put("usr/share/OVMF/OVMF_CODE.fd");
        put("usr/share/OVMF/OVMF_VARS.fd");
        put("usr/share/OVMF/OVMF_CODE_4M.fd");
        let code = || Programs::below(root.path(), &board("uefi")).unwrap().firmware.unwrap().code.to_string();
        assert_eq!(code(), "/usr/share/OVMF/OVMF_CODE.fd", "half a pair does not count");
        put("usr/share/OVMF/OVMF_VARS_4M.fd");
        assert_eq!(code(), "/usr/share/OVMF/OVMF_CODE_4M.fd");
    }
}
