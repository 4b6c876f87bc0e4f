//! Unified kernel images: a PE stub with kernel, initrd and command line as sections.
//!
//! Source: UAPI group, Unified Kernel Image specification; Microsoft PE format. The stub is systemd-stub(7).

/// Why a stub cannot take sections.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("the EFI stub is no PE32+ program")]
    NotPe,
    #[error("the EFI stub's header has no room for {0} more sections")]
    NoRoom(usize),
}

/// Length of a section header in bytes.
const HEADER: usize = 40;
/// Initialised data that is read.
const CHARACTERISTICS: u32 = 0x4000_0040;

/// Returns `stub` with `sections` (name of at most 8 bytes, content) behind its own; empty ones are left out.
pub fn assemble(stub: &[u8], sections: &[(&str, &[u8])]) -> Result<Vec<u8>, Error> {
    let sections: Vec<_> = sections.iter().filter(|(_, content)| !content.is_empty()).collect();
    let pe = Pe::read(stub).ok_or(Error::NotPe)?;
    let table_end = pe.table + (pe.sections + sections.len()) * HEADER;
    if table_end > pe.headers_size {
        return Err(Error::NoRoom(sections.len()));
    }
    let mut image = stub.to_vec();
    image.resize(align(image.len(), pe.file_alignment), 0);
    let mut address = align(pe.memory_end, pe.section_alignment);
    for (number, (name, content)) in sections.iter().enumerate() {
        let (offset, raw) = (image.len(), align(content.len(), pe.file_alignment));
        let mut header = [0; HEADER];
        header[..name.len().min(8)].copy_from_slice(&name.as_bytes()[..name.len().min(8)]);
        let fields = [content.len(), address, raw, offset];
        for (slot, field) in header[8..24].chunks_mut(4).zip(fields) {
            slot.copy_from_slice(&(field as u32).to_le_bytes());
        }
        header[36..].copy_from_slice(&CHARACTERISTICS.to_le_bytes());
        let at = pe.table + (pe.sections + number) * HEADER;
        image[at..at + HEADER].copy_from_slice(&header);
        image.extend_from_slice(content);
        image.resize(offset + raw, 0);
        address = align(address + content.len(), pe.section_alignment);
    }
    let count = (pe.sections + sections.len()) as u16;
    image[pe.coff + 2..pe.coff + 4].copy_from_slice(&count.to_le_bytes());
    image[pe.optional + 56..pe.optional + 60].copy_from_slice(&(address as u32).to_le_bytes());
    image[pe.optional + 64..pe.optional + 68].fill(0);
    Ok(image)
}

/// What of a PE header matters here; offsets and lengths in bytes.
struct Pe {
    coff: usize,
    optional: usize,
    table: usize,
    sections: usize,
    section_alignment: usize,
    file_alignment: usize,
    headers_size: usize,
    /// Where the last section ends in memory.
    memory_end: usize,
}

impl Pe {
    fn read(bytes: &[u8]) -> Option<Self> {
        let pe = u32_at(bytes, 0x3c)?;
        if bytes.get(..2)? != b"MZ" || bytes.get(pe..pe + 4)? != b"PE\0\0" {
            return None;
        }
        let coff = pe + 4;
        let (sections, optional) = (u16_at(bytes, coff + 2)?, coff + 20);
        if u16_at(bytes, optional)? != 0x20b {
            return None;
        }
        let table = optional + u16_at(bytes, coff + 16)?;
        let (section_alignment, file_alignment) = (u32_at(bytes, optional + 32)?, u32_at(bytes, optional + 36)?);
        let headers_size = u32_at(bytes, optional + 60)?;
        let end = |number| {
            let header = table + number * HEADER;
            Some(u32_at(bytes, header + 12)? + u32_at(bytes, header + 8)?)
        };
        let ends: Vec<usize> = (0..sections).map(end).collect::<Option<_>>()?;
        let sane =
            section_alignment.is_power_of_two() && file_alignment.is_power_of_two() && headers_size <= bytes.len();
        let memory_end = ends.into_iter().max()?;
        sane.then_some(Self {
            coff,
            optional,
            table,
            sections,
            section_alignment,
            file_alignment,
            headers_size,
            memory_end,
        })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
}

fn align(value: usize, to: usize) -> usize {
    value.next_multiple_of(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest header that says what is asked.
    fn stub() -> Vec<u8> {
        let mut bytes = vec![0; 0x600];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c] = 0x40;
        bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
        bytes[0x46] = 1;
        bytes[0x54] = 0xf0;
        let optional = 0x58;
        bytes[optional..optional + 2].copy_from_slice(&0x20b_u16.to_le_bytes());
        for (at, value) in [(32, 0x1000_u32), (36, 0x200), (56, 0x2000), (60, 0x400)] {
            bytes[optional + at..optional + at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let table = optional + 0xf0;
        bytes[table..table + 5].copy_from_slice(b".text");
        for (at, value) in [(8, 0x100_u32), (12, 0x1000), (16, 0x200), (20, 0x400)] {
            bytes[table + at..table + at + 4].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn sections_follow_the_stubs_own() {
        let image = assemble(&stub(), &[(".cmdline", b"quiet"), (".empty", b""), (".linux", &[7; 0x300])]).unwrap();
        let pe = Pe::read(&image).unwrap();
        assert_eq!(pe.sections, 3);
        let header = |number: usize| &image[pe.table + number * HEADER..];
        let field = |number, at| u32_at(header(number), at).unwrap();
        assert_eq!([field(1, 8), field(1, 12), field(1, 16), field(1, 20)], [5, 0x2000, 0x200, 0x600]);
        assert_eq!([field(2, 8), field(2, 12), field(2, 16), field(2, 20)], [0x300, 0x3000, 0x400, 0x800]);
        assert_eq!(&image[0x600..0x605], b"quiet");
        assert_eq!(u32_at(&image, pe.optional + 56), Some(0x4000));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert_eq!(assemble(b"#!/bin/sh", &[]), Err(Error::NotPe));
        let many: Vec<(&str, &[u8])> = vec![(".x", b"x"); 100];
        assert_eq!(assemble(&stub(), &many), Err(Error::NoRoom(100)));
    }
}
