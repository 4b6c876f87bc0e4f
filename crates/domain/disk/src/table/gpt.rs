//! The GUID partition table: a protective MBR, and header and array at both ends of the disk.

use kiln_model::Extents;
use uuid::Uuid;

use super::{CODE, Row, SECTOR, mbr, type_guid};
use crate::Error;
use crate::put::{Put as _, crc32};

/// Sectors of the array of 128 rows of 128 bytes.
const ARRAY: u64 = 32;
const ROWS: usize = 128;
const ROW: usize = 128;
const HEADER: usize = 92;

/// Returns the table of a disk of `size` bytes (a multiple of the sector): the image holds nothing else.
pub fn gpt(disk: Uuid, size: u64, rows: &[Row]) -> Result<Extents, Error> {
    behind(&mbr::protective(size), disk, size, rows)
}

/// Returns a GPT whose MBR has the rows `shown` too, three at most, for firmware that reads no GPT.
pub fn hybrid(disk: Uuid, size: u64, rows: &[Row], shown: &[Row]) -> Result<Extents, Error> {
    behind(&mbr::hybrid(disk.as_fields().0, size, shown)?, disk, size, rows)
}

fn behind(first: &[u8], disk: Uuid, size: u64, rows: &[Row]) -> Result<Extents, Error> {
    if rows.len() > ROWS {
        return Err(Error::TooMany { kind: "GPT", limit: ROWS, count: rows.len() });
    }
    let array = array(rows)?;
    let last = size / SECTOR - 1;
    let header = |at: u64, other: u64, array_at: u64| header(disk, [at, other, array_at], last, &array);
    let used = rows.len().max(1) * ROW;
    let mut extents = Extents { size, list: Vec::new() };
    extents.bytes(CODE, &first[CODE as usize..]);
    extents.bytes(SECTOR, header(1, last, 2));
    extents.bytes(2 * SECTOR, &array[..used]);
    extents.bytes((last - ARRAY) * SECTOR, &array[..used]);
    extents.bytes(last * SECTOR, header(last, 1, last - ARRAY));
    Ok(extents.seal())
}

fn array(rows: &[Row]) -> Result<Vec<u8>, Error> {
    let mut array = vec![0; ROWS * ROW];
    for (row, bytes) in rows.iter().zip(array.chunks_mut(ROW)) {
        let kind = type_guid(&row.r#type).ok_or_else(|| Error::Option {
            what: "partition type",
            value: row.r#type.clone(),
            why: "neither a GUID nor a known name".to_owned(),
        })?;
        bytes.put(0, &kind.to_bytes_le());
        bytes.put(16, &row.id.to_bytes_le());
        bytes.le64(32, row.offset / SECTOR);
        bytes.le64(40, (row.offset + row.size) / SECTOR - 1);
        bytes.le64(48, row.attributes);
        put_name(bytes, &row.name)?;
    }
    Ok(array)
}

fn put_name(row: &mut [u8], name: &str) -> Result<(), Error> {
    let units: Vec<u16> = name.encode_utf16().collect();
    if units.len() > 36 {
        let why = "longer than 36 characters".to_owned();
        return Err(Error::Option { what: "partition name", value: name.to_owned(), why });
    }
    units.iter().enumerate().for_each(|(at, unit)| row.le16(56 + 2 * at, *unit));
    Ok(())
}

/// `places`: the sectors of this header, of the other one, and of this one's array.
fn header(disk: Uuid, places: [u64; 3], last: u64, array: &[u8]) -> Vec<u8> {
    let mut header = vec![0; HEADER];
    header.put(0, b"EFI PART");
    header.le32(8, 0x0001_0000);
    header.le32(12, HEADER as u32);
    header.le64(24, places[0]);
    header.le64(32, places[1]);
    header.le64(40, 2 + ARRAY);
    header.le64(48, last - ARRAY - 1);
    header.put(56, &disk.to_bytes_le());
    header.le64(72, places[2]);
    header.le32(80, ROWS as u32);
    header.le32(84, ROW as u32);
    header.le32(88, crc32(array));
    let sum = crc32(&header);
    header.le32(16, sum);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_that_do_not_fit_are_told() {
        let row = |name: &str, kind: &str| Row {
            name: name.to_owned(),
            r#type: kind.to_owned(),
            id: Uuid::from_u128(1),
            offset: 1 << 20,
            size: 1 << 20,
            attributes: 0,
        };
        let told = |row: Row| gpt(Uuid::from_u128(2), 4 << 20, &[row]).unwrap_err().to_string();
        assert_eq!(told(row("a", "rot")), "partition type `rot`: neither a GUID nor a known name");
        assert!(told(row(&"n".repeat(37), "esp")).ends_with("longer than 36 characters"));
    }
}
