//! The classic partition table in the first sector.

use kiln_model::Extents;

use super::{CODE, Row, SECTOR};
use crate::Error;
use crate::put::Put as _;

const ROWS: usize = 4;

/// Returns the table of a disk of `size` bytes with the disk id `id`.
pub fn mbr(id: u32, size: u64, rows: &[Row]) -> Result<Extents, Error> {
    if rows.len() > ROWS {
        return Err(Error::TooMany { kind: "MBR", limit: ROWS, count: rows.len() });
    }
    let mut extents = Extents { size, list: Vec::new() };
    extents.bytes(CODE, &filled(id, rows)?[CODE as usize..]);
    Ok(extents)
}

/// Returns the MBR of a GPT disk that old firmware finds `rows` in. They come first, as what reads only the first row needs it;
/// the protective row covers what lies before them, the GPT's header with it.
pub(super) fn hybrid(id: u32, size: u64, rows: &[Row]) -> Result<Vec<u8>, Error> {
    let Some(first) = rows.iter().map(|row| row.offset / SECTOR).min() else { return Ok(protective(size)) };
    if rows.len() >= ROWS {
        return Err(Error::TooMany { kind: "hybrid MBR", limit: ROWS - 1, count: rows.len() });
    }
    let mut sector = filled(id, rows)?;
    put_row(&mut sector, rows.len(), 0xee, 1, first - 1);
    Ok(sector)
}

fn filled(id: u32, rows: &[Row]) -> Result<Vec<u8>, Error> {
    let mut sector = empty(id);
    for (at, row) in rows.iter().enumerate() {
        let kind = kind(&row.r#type)?;
        let end = (row.offset + row.size) / SECTOR;
        if end > u64::from(u32::MAX) {
            return Err(Error::TooLarge { what: "a disk with an MBR".to_owned(), limit: SECTOR << 32 });
        }
        put_row(&mut sector, at, kind, row.offset / SECTOR, row.size / SECTOR);
    }
    Ok(sector)
}

/// Returns the MBR that keeps old programs from a GPT disk.
pub(super) fn protective(size: u64) -> Vec<u8> {
    let mut sector = empty(0);
    put_row(&mut sector, 0, 0xee, 1, (size / SECTOR - 1).min(u64::from(u32::MAX)));
    sector
}

fn empty(id: u32) -> Vec<u8> {
    let mut sector = vec![0; SECTOR as usize];
    sector.le32(440, id);
    sector.put(510, &[0x55, 0xaa]);
    sector
}

fn put_row(sector: &mut [u8], at: usize, kind: u8, first: u64, count: u64) {
    let row = &mut sector[446 + 16 * at..462 + 16 * at];
    row.put(1, &cylinders(first));
    row.u8(4, kind);
    row.put(5, &cylinders(first + count - 1));
    row.le32(8, first as u32);
    row.le32(12, count as u32);
}

/// Cylinder, head and sector of a sector under 255 heads of 63 sectors; past their reach, their largest value.
fn cylinders(sector: u64) -> [u8; 3] {
    let (cylinder, head, sector) = (sector / (255 * 63), sector / 63 % 255, sector % 63 + 1);
    if cylinder > 1023 {
        return [254, 0xff, 0xff];
    }
    [head as u8, sector as u8 | ((cylinder >> 2) as u8 & 0xc0), cylinder as u8]
}

/// Reads `0x0c`, or takes the byte that stands for a GPT type.
fn kind(text: &str) -> Result<u8, Error> {
    let byte = text.strip_prefix("0x").and_then(|hex| u8::from_str_radix(hex, 16).ok());
    let byte = byte.or(match text {
        "esp" => Some(0xef),
        "swap" => Some(0x82),
        name if super::types::TYPES.iter().any(|(known, _)| *known == name) => Some(0x83),
        _ => None,
    });
    byte.filter(|byte| *byte != 0).ok_or_else(|| Error::Option {
        what: "partition type",
        value: text.to_owned(),
        why: "an MBR wants a byte such as `0x83`".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_bytes_or_names() {
        let cases = [("0x0c", Some(0x0c)), ("esp", Some(0xef)), ("home", Some(0x83)), ("0x00", None), ("12", None)];
        for (text, wanted) in cases {
            assert_eq!(kind(text).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn sectors_past_the_old_geometry_are_capped() {
        assert_eq!(cylinders(2048), [32, 33, 0]);
        assert_eq!(cylinders(1 << 40), [254, 255, 255]);
    }
}
