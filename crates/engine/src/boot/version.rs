//! Whether the host's QEMU is one to imitate a PC with.
//!
//! Before 8.0 its CMPXCHG16B takes flags for computed that are not: what comes out is the low half of some address. Linux
//! allocates memory by that instruction. Debian 13's cloud kernel falls over it within seconds, its others by luck do not.

use kiln_model::Fault;
use kiln_recipe::spec::Qemu;
use kiln_sandbox::{Command, Sandbox, Stream};

use super::Programs;

/// The first major version that imitates a PC faithfully.
const FIRST: u32 = 8;

/// Returns whether the programs may be used for the board; a version that nobody can read is not held against them.
pub fn is_sound(programs: &Programs, board: &Qemu, sandbox: &dyn Sandbox) -> Result<bool, Fault> {
    if !is_pc(board) {
        return Ok(true);
    }
    let mut command = Command::new(&programs.root, [programs.qemu.to_string().as_str(), "--version"]);
    command.read_only_root = true;
    let mut said = Vec::new();
    sandbox.run(&command, &mut |_: Stream, bytes| said.extend_from_slice(bytes))?;
    Ok(major(&String::from_utf8_lossy(&said)).is_none_or(|major| major >= FIRST))
}

/// Whether only some versions will do.
pub fn is_pc(board: &Qemu) -> bool {
    matches!(board.system.as_str(), "x86_64" | "i386")
}

/// Reads `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)`.
fn major(said: &str) -> Option<u32> {
    let version = said.split_once("version ")?.1;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (said, wanted) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c) 2003-2022\n", Some(7)),
            ("QEMU emulator version 10.0.8 (Debian 1:10.0.8+ds-0+deb13u1)\n", Some(10)),
            ("error while loading shared libraries\n", None),
        ] {
            assert_eq!(major(said), wanted, "{said}");
        }
    }
}
