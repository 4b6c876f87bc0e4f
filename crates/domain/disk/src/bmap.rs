//! Block maps (version 2.0): which blocks of an image hold something, with their checksums.

use kiln_model::{Digest, Extents};

/// Length of a block in bytes.
pub const BLOCK: u64 = 4096;
/// Ranges end at multiples of this many blocks (4 MiB), so that they can be hashed side by side, and kept.
pub const WINDOW: u64 = 1024;

/// Blocks `first..=last` of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub first: u64,
    pub last: u64,
}

impl Blocks {
    /// Returns the bytes they cover in an image of `size` bytes.
    pub fn bytes(self, size: u64) -> std::ops::Range<u64> {
        self.first * BLOCK..((self.last + 1) * BLOCK).min(size)
    }
}

/// Returns the mapped blocks of an image, in order, none across a border of [`WINDOW`].
pub fn blocks(extents: &Extents) -> Vec<Blocks> {
    let mut all: Vec<Blocks> = Vec::new();
    for extent in &extents.list {
        let last = (extent.offset + extent.len - 1) / BLOCK;
        let mut first = extent.offset / BLOCK;
        while first <= last {
            let until = last.min(first / WINDOW * WINDOW + WINDOW - 1);
            match all.last_mut().filter(|before| before.last + 1 >= first && before.first / WINDOW == first / WINDOW) {
                Some(before) => before.last = before.last.max(until),
                None => all.push(Blocks { first, last: until }),
            }
            first = until + 1;
        }
    }
    all
}

/// Returns the XML of the map of an image of `size` bytes whose ranges have these SHA-256 digests.
pub fn render(size: u64, ranges: &[(Blocks, Digest)]) -> String {
    let with = |checksum: &str| text(size, ranges, checksum);
    // The file's own checksum is taken with zeros in its place.
    let own = Digest::of(with(&"0".repeat(64)));
    with(&own.to_string())
}

fn text(size: u64, ranges: &[(Blocks, Digest)], checksum: &str) -> String {
    let mapped: u64 = ranges.iter().map(|(blocks, _)| blocks.last - blocks.first + 1).sum();
    let lines: String = ranges.iter().map(|(blocks, digest)| line(*blocks, *digest)).collect();
    let blocks = size.div_ceil(BLOCK);
    format!(
        r#"<?xml version="1.0" ?>
<bmap version="2.0">
    <ImageSize> {size} </ImageSize>
    <BlockSize> {BLOCK} </BlockSize>
    <BlocksCount> {blocks} </BlocksCount>
    <MappedBlocksCount> {mapped} </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> {checksum} </BmapFileChecksum>
    <BlockMap>
{lines}    </BlockMap>
</bmap>
"#
    )
}

fn line(blocks: Blocks, digest: Digest) -> String {
    let Blocks { first, last } = blocks;
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    format!("        <Range chksum=\"{digest}\"> {range} </Range>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_join_within_windows() {
        let mut extents = Extents { size: 20 << 20, list: Vec::new() };
        extents.bytes(10, vec![1; 10]);
        extents.bytes(100, vec![1; 4000]);
        extents.bytes(8192, vec![1; 1]);
        extents.bytes(16384, vec![1; 5 << 20]);
        let pairs: Vec<_> = blocks(&extents).iter().map(|blocks| (blocks.first, blocks.last)).collect();
        assert_eq!(pairs, [(0, 2), (4, 1023), (1024, 1283)]);
    }
}
