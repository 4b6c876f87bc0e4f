//! Machine architectures under Debian's names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A machine architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    Amd64,
    Arm64,
    Armel,
    Armhf,
    I386,
    Ppc64el,
    Riscv64,
}

impl Arch {
    /// Every architecture, in the order of their names.
    pub const ALL: [Self; 7] =
        [Self::Amd64, Self::Arm64, Self::Armel, Self::Armhf, Self::I386, Self::Ppc64el, Self::Riscv64];

    /// Returns Debian's name, as in `Architecture: amd64`.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
            Self::Armel => "armel",
            Self::Armhf => "armhf",
            Self::I386 => "i386",
            Self::Ppc64el => "ppc64el",
            Self::Riscv64 => "riscv64",
        }
    }

    /// Returns Alpine's name, as in `A:x86_64`; its `armhf` is another one, for ARMv6.
    pub const fn alpine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
            Self::Armel => "armhf",
            Self::Armhf => "armv7",
            Self::I386 => "x86",
            Self::Ppc64el => "ppc64le",
            Self::Riscv64 => "riscv64",
        }
    }

    /// Returns the width of its addresses, in bits.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Amd64 | Self::Arm64 | Self::Ppc64el | Self::Riscv64 => 64,
            Self::Armel | Self::Armhf | Self::I386 => 32,
        }
    }

    /// Returns Debian's multiarch tuple, as in `/usr/lib/x86_64-linux-gnu`.
    pub const fn multiarch(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu",
            Self::Arm64 => "aarch64-linux-gnu",
            Self::Armel => "arm-linux-gnueabi",
            Self::Armhf => "arm-linux-gnueabihf",
            Self::I386 => "i386-linux-gnu",
            Self::Ppc64el => "powerpc64le-linux-gnu",
            Self::Riscv64 => "riscv64-linux-gnu",
        }
    }

    /// Returns the machine this program was compiled for.
    pub const fn host() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Arm64
        } else if cfg!(target_arch = "riscv64") {
            Self::Riscv64
        } else if cfg!(target_arch = "arm") {
            Self::Armhf
        } else if cfg!(target_arch = "x86") {
            Self::I386
        } else if cfg!(target_arch = "powerpc64") {
            Self::Ppc64el
        } else {
            Self::Amd64
        }
    }

    /// Returns QEMU's name for the machine, as in `qemu-aarch64`.
    pub const fn qemu(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
            Self::Armel | Self::Armhf => "arm",
            Self::I386 => "i386",
            Self::Ppc64el => "ppc64le",
            Self::Riscv64 => "riscv64",
        }
    }

    /// Returns what UEFI calls it in the names of removable media's loaders, `x64` as in `BOOTX64.EFI`; none where there is no UEFI.
    ///
    /// Source: the UEFI specification, "Removable Media Boot Behavior".
    pub const fn efi(self) -> Option<&'static str> {
        match self {
            Self::Amd64 => Some("x64"),
            Self::Arm64 => Some("aa64"),
            Self::Armhf => Some("arm"),
            Self::I386 => Some("ia32"),
            Self::Riscv64 => Some("riscv64"),
            Self::Armel | Self::Ppc64el => None,
        }
    }

    /// Returns how its programs begin: the bytes of an ELF header up to the machine, and the bits of them that count.
    ///
    /// The operating system's ABI may vary, and executables may be position-independent.
    /// Source: the System V ABI, chapter 4, and the supplements of the processors (`e_machine`).
    pub const fn elf_magic(self) -> ([u8; 20], [u8; 20]) {
        let (class, machine) = match self {
            Self::Amd64 => (2, 62),
            Self::Arm64 => (2, 183),
            Self::Armel | Self::Armhf => (1, 40),
            Self::I386 => (1, 3),
            Self::Ppc64el => (2, 21),
            Self::Riscv64 => (2, 243),
        };
        let magic = [0x7f, b'E', b'L', b'F', class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, machine, 0];
        let mask = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xff,
            0xff, 0xff,
        ];
        (magic, mask)
    }

    /// Whether a kernel of `self` runs programs of `guest` without emulation.
    pub fn runs(self, guest: Self) -> bool {
        self == guest || (self, guest) == (Self::Amd64, Self::I386)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.debian())
    }
}

/// An architecture name that kiln does not know.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown architecture `{0}`")]
pub struct UnknownArch(pub String);

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(text: &str) -> Result<Self, UnknownArch> {
        Self::ALL.into_iter().find(|arch| arch.debian() == text).ok_or_else(|| UnknownArch(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes by two hexadecimal digits each.
    fn bytes(hex: &str) -> [u8; 20] {
        std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
    }

    /// Whether a file that begins like this is one of `arch`.
    fn is_of(arch: Arch, head: [u8; 20]) -> bool {
        let (magic, mask) = arch.elf_magic();
        (0..20).all(|at| head[at] & mask[at] == magic[at] & mask[at])
    }

    /// Magic and mask as QEMU's `scripts/qemu-binfmt-conf.sh` has them. Ours lets less pass: what a header must hold besides
    /// (byte order, version, the machine's second byte) counts too.
    #[test]
    fn programs_are_told_as_qemu_tells_them() {
        let cases = [
            (Arch::Amd64, "7f454c4602010100000000000000000002003e00", "fffffffffffefe00fffffffffffffffffeffffff"),
            (Arch::Arm64, "7f454c460201010000000000000000000200b700", "ffffffffffffff00fffffffffffffffffeffffff"),
            (Arch::Armel, "7f454c4601010100000000000000000002002800", "ffffffffffffff00fffffffffffffffffeffffff"),
            (Arch::Armhf, "7f454c4601010100000000000000000002002800", "ffffffffffffff00fffffffffffffffffeffffff"),
            (Arch::I386, "7f454c4601010100000000000000000002000300", "fffffffffffefe00fffffffffffffffffeffffff"),
            (Arch::Ppc64el, "7f454c4602010100000000000000000002001500", "ffffffffffffff00fffffffffffffffffeffff00"),
            (Arch::Riscv64, "7f454c460201010000000000000000000200f300", "ffffffffffffff00fffffffffffffffffeffffff"),
        ];
        assert_eq!(cases.map(|(arch, ..)| arch), Arch::ALL);
        for (arch, magic, mask) in cases {
            let (ours, strict) = arch.elf_magic();
            assert_eq!(ours, bytes(magic), "{arch}");
            let both: [u8; 20] = std::array::from_fn(|at| strict[at] & bytes(mask)[at]);
            assert_eq!(both, bytes(mask), "{arch}");
        }
    }

    #[test]
    fn programs_are_of_one_architecture_and_may_be_position_independent() {
        let changes: [(&str, usize, u8, bool); 7] = [
            ("executable", 16, 2, true),
            ("shared object", 16, 3, true),
            ("ABI of GNU", 7, 3, true),
            ("relocatable", 16, 1, false),
            ("core file", 16, 4, false),
            ("big-endian", 5, 2, false),
            ("no ELF", 0, b'#', false),
        ];
        for (arch, other) in Arch::ALL.into_iter().flat_map(|arch| Arch::ALL.map(|other| (arch, other))) {
            for (what, at, byte, wanted) in changes {
                let mut head = other.elf_magic().0;
                head[at] = byte;
                // The two of 32-bit Arm differ in how they pass floating-point numbers, which the emulator does not mind.
                assert_eq!(is_of(arch, head), wanted && arch.qemu() == other.qemu(), "{what} of {other} as {arch}");
            }
        }
    }
}
