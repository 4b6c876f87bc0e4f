//! Partition tables as they lie on a disk: GPT, else MBR with its logical partitions.

use std::io;

use uuid::Uuid;

use super::block::Bytes;
use super::walk::broken;
use kiln_model::view::PartitionView;

const SECTOR: u64 = 512;
const MAX_ENTRIES: usize = 1024;

/// Returns the partitions of a disk; none when it has no table.
pub(crate) fn read(disk: &dyn Bytes) -> io::Result<Vec<PartitionView>> {
    let Ok(first) = disk.take(0, SECTOR as usize) else { return Ok(Vec::new()) };
    if first[510..] != [0x55, 0xaa] {
        return Ok(Vec::new());
    }
    match disk.take(SECTOR, SECTOR as usize) {
        Ok(header) if header.starts_with(b"EFI PART") => gpt(disk, &header),
        _ if looks_like_a_filesystem(&first) => Ok(Vec::new()),
        _ => mbr(disk, &first),
    }
}

/// FAT's boot sector ends like an MBR does.
fn looks_like_a_filesystem(first: &[u8]) -> bool {
    first[54..].starts_with(b"FAT") || first[82..].starts_with(b"FAT32")
}

fn gpt(disk: &dyn Bytes, header: &[u8]) -> io::Result<Vec<PartitionView>> {
    let (start, count, size) = (u64_at(header, 72), u32_at(header, 80) as usize, u32_at(header, 84) as usize);
    if count > MAX_ENTRIES || !(128..=4096).contains(&size) {
        return Err(broken("a GPT that makes no sense"));
    }
    let entries = disk.take(start.saturating_mul(SECTOR), count * size)?;
    let used = entries.chunks_exact(size).enumerate().filter(|(_, entry)| entry[..16] != [0; 16]);
    let partition = |(at, entry): (usize, &[u8])| {
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        PartitionView {
            number: at as u32 + 1,
            name: name(&entry[56..128]),
            offset: first.saturating_mul(SECTOR),
            size: (last + 1).saturating_sub(first).saturating_mul(SECTOR),
            r#type: guid(&entry[..16]),
            id: guid(&entry[16..32]),
            ..PartitionView::default()
        }
    };
    Ok(used.map(partition).collect())
}

fn mbr(disk: &dyn Bytes, first: &[u8]) -> io::Result<Vec<PartitionView>> {
    let id = u32_at(first, 440);
    let mut all = Vec::new();
    for (at, entry) in first[446..510].chunks_exact(16).enumerate() {
        if matches!(entry[4], 0x05 | 0x0f | 0x85) {
            logical(disk, u32_at(entry, 8).into(), id, &mut all)?;
        } else if entry[4] != 0 {
            all.push(mbr_partition(at as u32 + 1, 0, entry, id));
        }
    }
    Ok(all)
}

/// Follows the chain of logical partitions; a chain longer than any real one is a loop.
fn logical(disk: &dyn Bytes, extended: u64, id: u32, all: &mut Vec<PartitionView>) -> io::Result<()> {
    let mut at = extended;
    for number in 5..133 {
        let sector = disk.take(at * SECTOR, SECTOR as usize)?;
        all.push(mbr_partition(number, at, &sector[446..462], id));
        let next: u64 = u32_at(&sector, 462 + 8).into();
        if next == 0 {
            return Ok(());
        }
        at = extended + next;
    }
    Err(broken("an MBR whose logical partitions never end"))
}

fn mbr_partition(number: u32, base: u64, entry: &[u8], id: u32) -> PartitionView {
    PartitionView {
        number,
        offset: (base + u64::from(u32_at(entry, 8))) * SECTOR,
        size: u64::from(u32_at(entry, 12)) * SECTOR,
        r#type: format!("{:#04x}", entry[4]),
        id: format!("{id:08x}-{number:02x}"),
        ..PartitionView::default()
    }
}

fn name(utf16: &[u8]) -> String {
    let units = utf16.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units.take_while(|unit| *unit != 0)).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn guid(bytes: &[u8]) -> String {
    Uuid::from_bytes_le(bytes.try_into().expect("sixteen bytes")).to_string()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
