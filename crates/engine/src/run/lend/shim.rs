//! The smallest program that runs another: a static ELF file of one segment, written by hand.
//!
//! The kernel starts it as an interpreter registered with `P` of `binfmt_misc`, with the arguments: itself, the path of the program
//! that was called, the name it was called by, the program's own arguments. It executes the program whose path it holds with the
//! last two. Sources: the System V ABI (ELF, the initial stack) and the Linux system call tables.

use kiln_model::Arch;

/// Where the segment lies in memory.
const BASE: u64 = 0x40_0000;
/// Length of the file's header and of its one program header.
const HEADS: u64 = 64 + 56;

/// `execve(path, argv + 2, envp); exit_group(127)`, the path right behind.
const AMD64: [u8; 40] = [
    0x48, 0x8b, 0x04, 0x24, // mov rax, [rsp]
    0x48, 0x8d, 0x54, 0xc4, 0x10, // lea rdx, [rsp + rax * 8 + 16]
    0x48, 0x8d, 0x74, 0x24, 0x18, // lea rsi, [rsp + 24]
    0x48, 0x8d, 0x3d, 0x13, 0x00, 0x00, 0x00, // lea rdi, [rip + path]
    0xb8, 0x3b, 0x00, 0x00, 0x00, // mov eax, 59
    0x0f, 0x05, // syscall
    0xbf, 0x7f, 0x00, 0x00, 0x00, // mov edi, 127
    0xb8, 0xe7, 0x00, 0x00, 0x00, // mov eax, 231
    0x0f, 0x05, // syscall
];

/// The same.
const ARM64: [u32; 10] = [
    0xf940_03e3, // ldr x3, [sp]
    0x8b23_6fe2, // add x2, sp, x3, uxtx #3
    0x9100_4042, // add x2, x2, #16
    0x9100_63e1, // add x1, sp, #24
    0x1000_00c0, // adr x0, path
    0xd280_1ba8, // mov x8, #221
    0xd400_0001, // svc #0
    0xd280_0fe0, // mov x0, #127
    0xd280_0bc8, // mov x8, #94
    0xd400_0001, // svc #0
];

/// Returns the file for machines of `arch`; none where nobody wrote it.
pub fn shim(arch: Arch, path: &str) -> Option<Vec<u8>> {
    let code: Vec<u8> = match arch {
        Arch::Amd64 => AMD64.into(),
        Arch::Arm64 => ARM64.iter().flat_map(|word| word.to_le_bytes()).collect(),
        Arch::Armel | Arch::Armhf | Arch::I386 | Arch::Ppc64el | Arch::Riscv64 => return None,
    };
    let length = HEADS + code.len() as u64 + path.len() as u64 + 1;
    let mut file = arch.elf_magic().0.to_vec();
    let words = |file: &mut Vec<u8>, words: &[u64]| words.iter().for_each(|word| file.extend(word.to_le_bytes()));
    file.extend(1_u32.to_le_bytes());
    // Entry, program headers, no sections.
    words(&mut file, &[BASE + HEADS, 64, 0]);
    file.extend(0_u32.to_le_bytes());
    // Lengths and counts: this header, program headers, section headers.
    [64, 56, 1, 0, 0, 0_u16].iter().for_each(|half| file.extend(half.to_le_bytes()));
    // A segment to load, to be read and executed.
    [1, 5_u32].iter().for_each(|word| file.extend(word.to_le_bytes()));
    words(&mut file, &[0, BASE, BASE, length, length, 0x1_0000]);
    file.extend(code);
    file.extend(path.as_bytes());
    file.push(0);
    Some(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shim_runs_what_it_names_with_the_last_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shim");
        std::fs::write(&path, shim(Arch::host(), "/bin/sh").unwrap()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let told = Command::new(&path)
            .args(["/the/path", "the-name", "-c", "echo $0 $1 $WORD; exit 3", "zero", "one"])
            .env("WORD", "word")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(told.stdout).unwrap(), "zero one word\n");
        assert_eq!(told.status.code(), Some(3));
        std::fs::write(&path, shim(Arch::host(), "/not/there").unwrap()).unwrap();
        assert_eq!(Command::new(&path).args(["a", "b"]).status().unwrap().code(), Some(127));
    }

    #[test]
    fn both_have_the_same_form() {
        for arch in [Arch::Amd64, Arch::Arm64] {
            let file = shim(arch, "/run/x").unwrap();
            let (magic, mask) = arch.elf_magic();
            assert!(
                file.iter().zip(magic).zip(mask).all(|((byte, magic), mask)| byte & mask == magic & mask),
                "{arch}"
            );
            assert_eq!((file.len(), file.ends_with(b"/run/x\0")), (120 + 40 + 7, true), "{arch}");
        }
        assert_eq!(shim(Arch::Riscv64, "/run/x"), None);
    }
}
