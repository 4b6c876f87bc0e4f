//! Files that U-Boot reads: scripts, and variables under a checksum.
//!
//! Source: U-Boot's `include/image.h` (the legacy image header), `doc/usage/environment.rst` and `include/env_internal.h`.

use kiln_model::Arch;

use crate::put::{Put as _, crc32};

/// Length of the header before a script, in bytes.
const HEADER: usize = 64;
const MAGIC: u32 = 0x2705_1956;
/// Linux, a script, not compressed.
const KIND: [u8; 4] = [5, 0, 6, 0];

/// Returns a script as `source` wants it, made at `epoch` (seconds since 1970); `title` has 32 bytes at most.
pub fn script(text: &str, title: &str, arch: Arch, epoch: i64) -> Vec<u8> {
    // A table of lengths, ended by zero, before the one text that it lists.
    let mut data = vec![0; 8];
    data[..].put(0, &(text.len() as u32).to_be_bytes());
    data.extend(text.as_bytes());
    let mut header = vec![0; HEADER];
    header.be32(0, MAGIC);
    header.be32(8, epoch.clamp(0, i64::from(u32::MAX)) as u32);
    header.be32(12, data.len() as u32);
    header.be32(24, crc32(&data));
    header.put(28, &KIND);
    header.u8(29, if arch == Arch::Arm64 { 22 } else { 2 });
    header.put(32, &title.as_bytes()[..title.len().min(32)]);
    let sum = crc32(&header);
    header.be32(4, sum);
    header.extend(data);
    header
}

/// Returns a file of `size` bytes with these variables, as `env import -c` and libubootenv read it.
pub fn environment(variables: &[(&str, &str)], size: usize) -> Vec<u8> {
    let text: String = variables.iter().map(|(name, value)| format!("{name}={value}\0")).collect();
    let mut bytes = vec![0; size];
    bytes.put(4, text.as_bytes());
    let sum = crc32(&bytes[4..]);
    bytes.le32(0, sum);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_begins_with_its_checksum() {
        let bytes = environment(&[("bootcount", "0"), ("a", "b")], 64);
        assert_eq!(bytes.len(), 64);
        assert_eq!(&bytes[4..21], b"bootcount=0\0a=b\0\0");
        assert_eq!(bytes[..4], crc32(&bytes[4..]).to_le_bytes());
    }

    #[test]
    fn a_script_says_how_long_it_is() {
        let bytes = script("true\n", "kiln", Arch::Arm64, 1_760_000_000);
        assert_eq!(bytes.len(), HEADER + 8 + 5);
        assert_eq!(&bytes[..4], [0x27, 0x05, 0x19, 0x56]);
        assert_eq!(&bytes[28..36], [5, 22, 6, 0, b'k', b'i', b'l', b'n']);
        assert_eq!(&bytes[HEADER..], b"\0\0\0\x05\0\0\0\0true\n");
    }
}
