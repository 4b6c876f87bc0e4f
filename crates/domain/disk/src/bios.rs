//! What a PC's BIOS starts: GRUB's `boot.img` in the first sector, its `core.img` between table and partitions.
//!
//! The BIOS reads the first sector and jumps into it; that program reads one more sector, `core.img`'s first, which reads the rest by
//! a list of blocks at its end. Both are told by sector number, so this writes those numbers down, as GRUB's own installer
//! does. A GPT gets a BIOS boot partition there; behind an MBR the place is nobody's.
//!
//! Source: GNU GRUB manual, "BIOS installation" and "Images"; places of the fields from the images themselves.

use kiln_model::Extents;
use kiln_model::action::TableKind;
use uuid::Uuid;

use crate::Error;
use crate::layout::ALIGN;
use crate::put::Put as _;
use crate::table::{CODE, Row, SECTOR};

/// GRUB's two images, as its tools make them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// `boot.img`, one sector.
    pub boot: Vec<u8>,
    /// `core.img` of the format `i386-pc`.
    pub core: Vec<u8>,
}

/// In the first sector: the number of the sector to read, eight bytes.
const NEXT: usize = 0x5c;
/// In the first sector: a jump over what makes a hard disk of the drive that a careless BIOS names. Two bytes.
const TRUST_DRIVE: usize = 0x66;
const JUMP: u8 = 0xeb;
const NOTHING: [u8; 2] = [0x90, 0x90];

/// At the end of `core.img`'s first sector: first sector (eight bytes), number of sectors, segment (two bytes each).
const BLOCKS: usize = SECTOR as usize - 12;
/// Where in memory the first of these blocks goes, as a segment.
const SEGMENT: u16 = 0x820;

/// Where `core.img` lies, in bytes. The partition of a GPT begins where sectors of 4096 bytes do, behind the array of rows.
const fn place(table: TableKind) -> u64 {
    if table.has_gpt() { 40 * SECTOR } else { SECTOR }
}

/// Returns the row of a GPT for it.
pub fn row(id: Uuid) -> Row {
    let offset = place(TableKind::Gpt);
    Row { name: "bios".into(), r#type: "bios-boot".into(), id, offset, size: ALIGN - offset, attributes: 0 }
}

/// Puts both images into a disk with this table.
pub fn put(disk: &mut Extents, images: &Images, table: TableKind) -> Result<(), Error> {
    let at = place(table);
    let core = core(&images.core, at / SECTOR)?;
    if at + core.len() as u64 > ALIGN {
        return Err(Error::TooLarge { what: "GRUB's core image".into(), limit: ALIGN - at });
    }
    disk.bytes(0, first_sector(&images.boot, at / SECTOR)?);
    disk.bytes(at, core);
    Ok(())
}

/// Returns the boot program that reads on at sector `next`; what follows it in its sector is the table's.
fn first_sector(boot: &[u8], next: u64) -> Result<Vec<u8>, Error> {
    let known = boot.len() == SECTOR as usize && boot[510..] == [0x55, 0xaa] && boot[TRUST_DRIVE] == JUMP;
    if !known {
        return Err(unknown("boot.img"));
    }
    let mut code = boot[..CODE as usize].to_vec();
    code.le64(NEXT, next);
    code.put(TRUST_DRIVE, &NOTHING);
    Ok(code)
}

/// Returns `core.img` as it lies from sector `at` on.
fn core(core: &[u8], at: u64) -> Result<Vec<u8>, Error> {
    let rest = (core.len() as u64).div_ceil(SECTOR).saturating_sub(1);
    let list = core.get(BLOCKS..SECTOR as usize).ok_or_else(|| unknown("core.img"))?;
    let (count, segment) = (u16::from_le_bytes([list[8], list[9]]), u16::from_le_bytes([list[10], list[11]]));
    if u64::from(count) != rest || segment != SEGMENT {
        return Err(unknown("core.img"));
    }
    let mut core = core.to_vec();
    core.le64(BLOCKS, at + 1);
    Ok(core)
}

fn unknown(image: &str) -> Error {
    let why = "not the form that kiln knows how to put on a disk".to_owned();
    Error::Option { what: "GRUB's image", value: image.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(sectors: u16) -> Images {
        let mut boot = vec![7; SECTOR as usize];
        boot[TRUST_DRIVE..TRUST_DRIVE + 2].copy_from_slice(&[JUMP, 5]);
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        let mut core = vec![9; usize::from(sectors) * 512 - 100];
        core[BLOCKS..512].fill(0);
        core.le16(BLOCKS + 8, sectors - 1);
        core.le16(BLOCKS + 10, SEGMENT);
        Images { boot, core }
    }

    #[test]
    fn each_program_is_told_where_the_next_one_lies() {
        for (table, sector) in [(TableKind::Gpt, 40), (TableKind::Hybrid, 40), (TableKind::Mbr, 1)] {
            let mut disk = Extents { size: 4 << 20, list: Vec::new() };
            put(&mut disk, &images(3), table).unwrap();
            let bytes = |at: usize| match &disk.list[at].source {
                kiln_model::Source::Bytes(bytes) => bytes.to_vec(),
                other => panic!("{other:?}"),
            };
            let (first, core) = (bytes(0), bytes(1));
            assert_eq!((disk.list[0].offset, first.len()), (0, 440));
            assert_eq!((disk.list[1].offset, core.len()), (sector * 512, 3 * 512 - 100));
            assert_eq!((first[NEXT - 1], &first[NEXT..NEXT + 8]), (7, &sector.to_le_bytes()[..]));
            assert_eq!(first[TRUST_DRIVE..TRUST_DRIVE + 3], [0x90, 0x90, 7]);
            assert_eq!(core[BLOCKS..512], [&(sector + 1).to_le_bytes()[..], &[2, 0, 0x20, 8]].concat());
        }
    }

    #[test]
    fn what_is_not_grubs_is_refused() {
        let good = images(3);
        let told = |images: &Images| {
            let mut disk = Extents { size: 4 << 20, list: Vec::new() };
            put(&mut disk, images, TableKind::Gpt).unwrap_err().to_string()
        };
        assert!(told(&Images { boot: vec![0; 512], ..good.clone() }).contains("`boot.img`"));
        assert!(told(&Images { boot: good.boot[..500].to_vec(), ..good.clone() }).contains("`boot.img`"));
        assert!(told(&Images { core: good.core[..512].to_vec(), ..good.clone() }).contains("`core.img`"));
        assert!(told(&Images { core: vec![0; 10], ..good.clone() }).contains("`core.img`"));
        assert_eq!(told(&images(2009)), "GRUB's core image would be larger than the 1028096 bytes its format allows");
    }
}
