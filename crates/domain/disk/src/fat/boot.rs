//! The sectors before the first table: what the filesystem is, and how much of it is free.

use super::Options;
use super::geometry::{Geometry, SECTOR};
use crate::put::Put as _;

/// Sectors where the boot sector and the counts of FAT32 stand a second time.
const BACKUP: u64 = 6;

/// Returns places in bytes with what stands there; `used` clusters are taken, from the front.
pub(super) fn sectors(shape: &Geometry, options: &Options, label: &[u8; 11], used: u32) -> Vec<(u64, Vec<u8>)> {
    let boot = boot(shape, options, label);
    if !shape.wide {
        return vec![(0, boot)];
    }
    let info = info(shape, used);
    vec![(0, boot.clone()), (SECTOR, info.clone()), (BACKUP * SECTOR, boot), ((BACKUP + 1) * SECTOR, info)]
}

fn boot(shape: &Geometry, options: &Options, label: &[u8; 11]) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR as usize];
    let tail = if shape.wide { wide(&mut bytes, shape) } else { narrow(&mut bytes, shape) };
    bytes.put(3, b"KILN    ");
    bytes.le16(11, SECTOR as u16);
    bytes.u8(13, (shape.cluster / SECTOR) as u8);
    bytes.le16(14, shape.reserved as u16);
    bytes.u8(16, 2);
    bytes.le16(17, shape.root as u16);
    bytes.u8(21, 0xf8);
    bytes.le16(24, 32);
    bytes.le16(26, 64);
    bytes.u8(tail, 0x80);
    bytes.u8(tail + 2, 0x29);
    bytes.le32(tail + 3, options.volume_id);
    bytes.put(tail + 7, label);
    // Code for whoever boots it the old way: ask the firmware for another disk, then wait.
    bytes.put(tail + 26, &[0xcd, 0x18, 0xeb, 0xfe]);
    bytes.put(0, &[0xeb, (tail + 26 - 2) as u8, 0x90]);
    bytes.put(510, &[0x55, 0xaa]);
    bytes
}

fn narrow(bytes: &mut [u8], shape: &Geometry) -> usize {
    match u16::try_from(shape.sectors) {
        Ok(sectors) => bytes.le16(19, sectors),
        Err(_) => bytes.le32(32, shape.sectors as u32),
    }
    bytes.le16(22, shape.table as u16);
    bytes.put(54, b"FAT16   ");
    36
}

fn wide(bytes: &mut [u8], shape: &Geometry) -> usize {
    bytes.le32(32, shape.sectors as u32);
    bytes.le32(36, shape.table as u32);
    bytes.le32(44, 2); // cluster of the root
    bytes.le16(48, 1); // sector of the counts
    bytes.le16(50, BACKUP as u16);
    bytes.put(82, b"FAT32   ");
    64
}

fn info(shape: &Geometry, used: u32) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR as usize];
    bytes.put(0, b"RRaA");
    bytes.put(484, b"rrAa");
    bytes.le32(488, shape.clusters as u32 - used);
    bytes.le32(492, used + 2);
    bytes.put(510, &[0x55, 0xaa]);
    bytes
}
