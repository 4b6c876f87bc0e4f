//! The loader that an ELF file asks for. Source: the System V ABI, "Program Header" (`PT_INTERP`), for 64 bits, little-endian.

use std::ops::Range;

/// Returns a program with another loader; none when it asks for none, or the path is longer than the one it has.
pub fn with_loader(mut program: Vec<u8>, loader: &str) -> Option<Vec<u8>> {
    let range = interpreter(&program)?;
    let place = program.get_mut(range)?;
    // The kernel wants a zero at the end.
    if loader.len() >= place.len() {
        return None;
    }
    place.fill(0);
    place[..loader.len()].copy_from_slice(loader.as_bytes());
    Some(program)
}

/// Returns where the path of the loader lies, zeros included.
fn interpreter(file: &[u8]) -> Option<Range<usize>> {
    const PT_INTERP: u32 = 3;
    let number = |at: usize| {
        let bytes = file.get(at..at.checked_add(8)?)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(file.get(at..at + 2)?.try_into().ok()?)));
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (number(32)?, half(54)?, half(56)?);
    let head = (0..count).map(|at| table.checked_add(at * size)).find(|head| {
        let kind = head.and_then(|head| file.get(head..head.checked_add(4)?));
        kind.is_some_and(|kind| kind == PT_INTERP.to_le_bytes())
    })??;
    let (start, length) = (number(head.checked_add(8)?)?, number(head.checked_add(32)?)?);
    Some(start..start.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header, one program header, and what it points at.
    fn file(kind: u32, interpreter: &str) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01".to_vec();
        file.resize(120, 0);
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        file[56..58].copy_from_slice(&1_u16.to_le_bytes());
        file[64..68].copy_from_slice(&kind.to_le_bytes());
        file[72..80].copy_from_slice(&120_u64.to_le_bytes());
        file[96..104].copy_from_slice(&(interpreter.len() as u64 + 1).to_le_bytes());
        file.extend(interpreter.bytes().chain([0]));
        file
    }

    #[test]
    fn the_loader_is_replaced_in_its_place() {
        let made = with_loader(file(3, "/lib64/ld-linux-x86-64.so.2"), "/run/ld.so").unwrap();
        assert_eq!(&made[120..], b"/run/ld.so\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(with_loader(file(3, "/ld"), "/long"), None);
        assert_eq!(with_loader(file(1, "/lib/ld.so"), "/ld"), None, "a static program");
        for length in 0..140 {
            // Cut short anywhere, it is left alone.
            let _ = with_loader(file(3, "/lib64/ld-linux-x86-64.so.2")[..length].to_vec(), "/ld");
        }
        let mut wild = file(3, "/lib64/ld.so");
        wild[72..80].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(with_loader(wild, "/ld"), None);
    }
}
