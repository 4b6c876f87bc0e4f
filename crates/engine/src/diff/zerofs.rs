//! Compressed files of EROFS: their clusters' index in both forms, and the clusters' content.
//!
//! A file is cut into logical clusters. Each has an index entry: one begins a physical cluster at some offset in it (a
//! head, compressed or plain) or continues the one before. A physical cluster's content reaches to where the next begins.
//! Compressed data ends at the end of its last block; zeros fill the front.

use std::io::{self, Read};

use super::block::Bytes;
use super::walk::broken;

const COMPACT_2B: u16 = 0x1;
const BIG: [u16; 2] = [0x2, 0x4];
const INLINE: u16 = 0x8;
const INTERLACED: u16 = 0x10;
const FRAGMENT: u16 = 0x20;
const UNREAD: u16 = !(COMPACT_2B | 0x2 | 0x4 | INLINE | INTERLACED | FRAGMENT);

const PLAIN: u32 = 0;
const CONTINUED: u32 = 2;
/// Marks a continuing entry that tells how many blocks its physical cluster has.
const BLOCKS: u32 = 0x800;

/// How a file's clusters are indexed; read from the header after its inode.
pub(super) struct Map<'a> {
    bytes: &'a dyn Bytes,
    block_bits: u32,
    /// Log2 of a logical cluster's bytes.
    bits: u32,
    /// Where the header lies.
    at: u64,
    compact: bool,
    size: u64,
    advise: u16,
    algorithms: [u8; 2],
    inline_size: u64,
    /// Where in the packed file a fragment lies.
    pub fragment: u64,
    /// The packed file holds all.
    pub whole_fragment: bool,
}

/// A logical cluster's entry.
#[derive(Clone, Copy, Debug)]
struct Index {
    kind: u32,
    /// Where in the logical cluster the physical one's content begins.
    offset: u64,
    block: u64,
    /// Of a continuing entry: how many blocks the physical cluster has.
    blocks: Option<u64>,
    /// Where the entries that follow lie.
    next: u64,
}

/// A piece of a file, in one physical cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub start: u64,
    pub length: u64,
    kind: u32,
    at: u64,
    stored: u64,
    /// The content lies in the packed file at [`Map::fragment`].
    pub in_fragment: bool,
}

impl<'a> Map<'a> {
    /// Reads the header at `tail`, the end of the inode and its attributes.
    pub fn read(bytes: &'a dyn Bytes, tail: u64, block_bits: u32, size: u64, compact: bool) -> io::Result<Self> {
        let at = tail.next_multiple_of(8);
        let head = bytes.take(at, 8)?;
        let advise = u16_at(&head, 4);
        let whole = head[7] >> 7 == 1;
        if !whole && advise & UNREAD != 0 {
            return Err(broken(format!("a form of compression that kiln does not read ({advise:#x})")));
        }
        let fragment = u64::from_le_bytes(head[..8].try_into().expect("eight bytes")) & !(1 << 63);
        Ok(Self {
            bytes,
            block_bits,
            bits: block_bits + u32::from(head[7] & 7),
            at,
            compact,
            size,
            advise,
            algorithms: [head[6] & 15, head[6] >> 4],
            inline_size: u16_at(&head, 2).into(),
            fragment: if whole { fragment } else { u32_at(&head, 0).into() },
            whole_fragment: whole,
        })
    }

    fn count(&self) -> u64 {
        self.size.div_ceil(1 << self.bits)
    }

    /// Returns the file's pieces, first to last.
    pub fn pieces(&self) -> io::Result<Vec<Piece>> {
        let entries = (0..self.count()).map(|number| self.index(number)).collect::<io::Result<Vec<_>>>()?;
        let mut pieces: Vec<Piece> = Vec::new();
        for (number, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.kind != CONTINUED) {
            let start = ((number as u64) << self.bits) + entry.offset;
            if let Some(last) = pieces.last_mut() {
                last.length = start.checked_sub(last.start).ok_or_else(|| broken("clusters out of order"))?;
            }
            let stored = self.stored(entry, entries.get(number + 1));
            let at = entry.block << self.block_bits;
            pieces.push(Piece { start, length: 0, kind: entry.kind, at, stored, in_fragment: false });
        }
        // A head may stand at the very end of the file, only to end the piece before.
        pieces.retain(|piece| piece.start < self.size);
        let (Some(last), Some(end)) = (pieces.last_mut(), entries.last()) else { return Ok(pieces) };
        last.length = self.size.checked_sub(last.start).ok_or_else(|| broken("a cluster beyond its file"))?;
        last.in_fragment = self.advise & FRAGMENT != 0;
        if self.advise & INLINE != 0 && self.inline_size > 0 {
            (last.at, last.stored) = (end.next, self.inline_size);
        }
        Ok(pieces)
    }

    /// Returns how many bytes a physical cluster has on disk.
    fn stored(&self, head: &Index, next: Option<&Index>) -> u64 {
        let big = self.advise & BIG[usize::from(head.kind == 3)] != 0;
        match next.and_then(|next| next.blocks).filter(|_| big) {
            Some(blocks) => blocks << self.block_bits,
            None => 1 << self.bits,
        }
    }

    fn index(&self, number: u64) -> io::Result<Index> {
        if self.compact { self.compact(number) } else { self.full(number) }
    }

    fn full(&self, number: u64) -> io::Result<Index> {
        // Between header and entries are eight bytes of nothing.
        let at = self.at + 16 + number * 8;
        let entry = self.bytes.take(at, 8)?;
        let (kind, delta) = (u32::from(u16_at(&entry, 0) & 3), u32::from(u16_at(&entry, 4)));
        let blocks = (kind == CONTINUED && delta & BLOCKS != 0).then_some(u64::from(delta & !BLOCKS));
        Ok(Index { kind, offset: u16_at(&entry, 2).into(), block: u32_at(&entry, 4).into(), blocks, next: at + 8 })
    }

    /// Finds the pack of entries that holds `number`: packs of four-byte entries up to a boundary, of two-byte ones as far
    /// as they fill packs, then four-byte ones again.
    fn compact(&self, number: u64) -> io::Result<Index> {
        let base = self.at + 8;
        let first = ((32 - base % 32) / 4) & 7;
        let narrow =
            if self.advise & COMPACT_2B != 0 && first < self.count() { (self.count() - first) / 16 * 16 } else { 0 };
        let (at, shift) = match number {
            number if number < first => (base + number * 4, 2),
            number if number < first + narrow => (base + first * 4 + (number - first) * 2, 1),
            number => (base + first * 4 + narrow * 2 + (number - first - narrow) * 4, 2),
        };
        let count = match shift {
            2 if self.bits <= 14 => 2,
            1 if self.bits <= 12 => 16,
            _ => return Err(broken("an index of clusters that makes no sense")),
        };
        let length = count << shift;
        let start = at / length * length;
        let pack = Pack { bytes: self.bytes.take(start, length as usize)?, count, low: self.bits.max(12) };
        let mut index = pack.read((at - start) >> shift, self.advise & BIG[0] != 0)?;
        index.next = start + length;
        Ok(index)
    }

    /// Hands on a piece's content.
    pub fn unpack(&self, piece: &Piece) -> io::Result<Vec<u8>> {
        let length = usize::try_from(piece.length).map_err(io::Error::other)?;
        if length > 64 << 20 {
            return Err(broken("a cluster larger than any"));
        }
        // The last cluster's blocks may end with the file.
        let stored = piece.stored.min(self.bytes.size().saturating_sub(piece.at));
        let packed = self.bytes.take(piece.at, stored as usize)?;
        if piece.kind == PLAIN {
            return self.plain(&packed, piece.start, length);
        }
        let zeros = packed.iter().take_while(|byte| **byte == 0).count();
        inflate(self.algorithms[usize::from(piece.kind == 3)], &packed[zeros..], length)
    }

    fn plain(&self, stored: &[u8], start: u64, length: usize) -> io::Result<Vec<u8>> {
        let short = || broken("a plain cluster that ends early");
        if self.advise & INTERLACED == 0 {
            return stored.get(..length).map(<[u8]>::to_vec).ok_or_else(short);
        }
        let block = 1 << self.block_bits;
        let skip = (start % block) as usize;
        let right = length.min(block as usize - skip);
        let mut whole = stored.get(skip..skip + right).ok_or_else(short)?.to_vec();
        whole.extend_from_slice(stored.get(..length - right).ok_or_else(short)?);
        Ok(whole)
    }
}

/// Some entries side by side in bits, and the block address that counts for all of them.
struct Pack {
    bytes: Vec<u8>,
    count: u64,
    /// Bits of an entry's number; two of its kind follow.
    low: u32,
}

impl Pack {
    fn entry(&self, number: i64) -> (i64, u32) {
        let bits = (self.bytes.len() as u64 - 4) * 8 / self.count;
        let at = number as u64 * bits;
        let from = (at / 8) as usize;
        let mut word = [0; 4];
        let there = self.bytes.len().min(from + 4) - from;
        word[..there].copy_from_slice(&self.bytes[from..from + there]);
        let word = u32::from_le_bytes(word) >> (at % 8);
        (i64::from(word & ((1 << self.low) - 1)), (word >> self.low) & 3)
    }

    fn read(&self, number: u64, big: bool) -> io::Result<Index> {
        let (low, kind) = self.entry(number as i64);
        let marked = i64::from(BLOCKS);
        if kind == CONTINUED {
            let blocks = (low & marked != 0).then_some((low & !marked) as u64);
            return Ok(Index { kind, offset: 0, block: 0, blocks, next: 0 });
        }
        let before = if big { self.blocks_before_big(number as i64)? } else { self.blocks_before(number as i64) };
        let base = u64::from(u32_at(&self.bytes, self.bytes.len() - 4));
        Ok(Index { kind, offset: low as u64, block: base + before, blocks: None, next: 0 })
    }

    /// Counts the physical clusters that begin in the pack up to an entry, itself included; each has one block.
    fn blocks_before(&self, mut number: i64) -> u64 {
        let mut blocks = 1;
        while number > 0 {
            number -= 1;
            let (low, kind) = self.entry(number);
            if kind == CONTINUED {
                number -= low;
            }
            blocks += u64::from(number >= 0);
        }
        blocks
    }

    fn blocks_before_big(&self, mut number: i64) -> io::Result<u64> {
        let mut blocks = 0;
        while number > 0 {
            number -= 1;
            match self.entry(number) {
                (low, CONTINUED) if low & i64::from(BLOCKS) != 0 => {
                    number -= 1;
                    blocks += (low & !i64::from(BLOCKS)) as u64;
                }
                (low, CONTINUED) if low <= 1 => return Err(broken("an index of clusters that makes no sense")),
                (low, CONTINUED) => number -= low - 2,
                _ => blocks += 1,
            }
        }
        Ok(blocks)
    }
}

fn inflate(algorithm: u8, packed: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let mut out = vec![0; length];
    match algorithm {
        0 => {
            let size = lz4_flex::block::decompress_into(packed, &mut out).map_err(io::Error::other)?;
            out.truncate(size);
        }
        1 => micro_lzma(packed, length)?.read_exact(&mut out)?,
        2 => flate2::read::DeflateDecoder::new(packed).read_exact(&mut out)?,
        3 => zstd::Decoder::new(packed)?.read_exact(&mut out)?,
        other => return Err(broken(format!("compression {other}, which kiln does not read"))),
    }
    if out.len() < length {
        return Err(broken("a cluster that ends early"));
    }
    Ok(out)
}

/// Brings MicroLZMA, whose first byte is the complement of the properties in place of the zero that LZMA begins with, to
/// what an LZMA decoder reads.
fn micro_lzma(packed: &[u8], length: usize) -> io::Result<Box<dyn Read>> {
    let (first, rest) = packed.split_first().ok_or_else(|| broken("an empty cluster"))?;
    let mut whole = vec![!first];
    whole.extend_from_slice(&(8u32 << 20).to_le_bytes());
    whole.extend_from_slice(&(length as u64).to_le_bytes());
    whole.push(0);
    whole.extend_from_slice(rest);
    let stream = liblzma::stream::Stream::new_lzma_decoder(u64::MAX).map_err(io::Error::other)?;
    Ok(Box::new(liblzma::read::XzDecoder::new_stream(io::Cursor::new(whole), stream)))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
