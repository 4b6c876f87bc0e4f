//! Swap: a header in the first page, as mkswap(8) writes it; the rest is what it is.

use kiln_model::Extents;
use uuid::Uuid;

use crate::Error;
use crate::put::Put as _;

/// Bytes of a page on every architecture kiln knows. A kernel with larger ones wants another header.
const PAGE: u64 = 4096;
/// The header takes one, and the kernel takes none with fewer.
const LEAST: u64 = 10 * PAGE;

/// Returns a swap area of `size` bytes.
pub fn layout(uuid: Uuid, label: &str, size: u64) -> Result<Extents, Error> {
    if size < LEAST {
        return Err(Error::TooSmall { what: "the swap area".to_owned(), size, needed: LEAST });
    }
    if label.len() > 16 {
        let why = "a label of swap has 16 bytes at most".to_owned();
        return Err(Error::Option { what: "filesystem label", value: label.to_owned(), why });
    }
    let mut page = vec![0; PAGE as usize];
    page.le32(1024, 1);
    page.le32(1028, (size / PAGE - 1).min(u64::from(u32::MAX)) as u32);
    page.put(1036, uuid.as_bytes());
    page.put(1052, label.as_bytes());
    page.put(4086, b"SWAPSPACE2");
    let mut extents = Extents { size, list: Vec::new() };
    extents.bytes(0, page);
    Ok(extents)
}
