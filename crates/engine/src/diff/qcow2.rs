//! The guest's side of a qcow2 file: version 2 and 3, without backing file, encryption and external data.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use super::block::Bytes;

pub const MAGIC: [u8; 4] = *b"QFI\xfb";

const COMPRESSED: u64 = 1 << 62;
const ADDRESS: u64 = 0x00ff_ffff_ffff_fe00;
/// Only the dirty bit of incompatible features may be set besides the compression type.
const DIRTY: u64 = 1;
const COMPRESSION_TYPE: u64 = 1 << 3;

/// A qcow2 disk over the file that holds it.
pub struct Qcow2<B> {
    file: B,
    size: u64,
    cluster_bits: u32,
    l1: Vec<u64>,
    zstd: bool,
    /// Compressed clusters read last, newest at the end: metadata comes in small pieces of the same ones.
    recent: Mutex<Vec<(u64, Arc<Vec<u8>>)>>,
}

/// How many unpacked clusters are kept.
const RECENT: usize = 64;

/// Why a file cannot be read as a qcow2 disk.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("read the qcow2 header: {0}")]
    Io(#[from] io::Error),
    #[error("the qcow2 header makes no sense")]
    Header,
    #[error("the qcow2 disk uses {0}, which kiln does not read")]
    Feature(&'static str),
}

impl<B: Bytes> Qcow2<B> {
    pub fn open(file: B) -> Result<Self, Unreadable> {
        let mut header = [0; 112];
        let length = (file.size() as usize).min(header.len());
        file.read_at(0, &mut header[..length])?;
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let (version, cluster_bits, size, l1_size) = (word(4), word(20), long(24), word(36));
        if !(2..=3).contains(&version) || !(9..=21).contains(&cluster_bits) || size > 1 << 56 {
            return Err(Unreadable::Header);
        }
        let features = if version == 3 { long(72) } else { 0 };
        let zstd = features & COMPRESSION_TYPE != 0 && header[104] == 1;
        let refused = [
            (long(8) != 0, "a backing file"),
            (word(32) != 0, "encryption"),
            (features & !(DIRTY | COMPRESSION_TYPE) != 0, "features beyond the common ones"),
        ];
        if let Some((_, feature)) = refused.into_iter().find(|(is, _)| *is) {
            return Err(Unreadable::Feature(feature));
        }
        let bytes = (&file as &dyn Bytes).take(long(40), l1_size as usize * 8)?;
        let l1 =
            bytes.chunks_exact(8).map(|entry| u64::from_be_bytes(entry.try_into().expect("eight bytes"))).collect();
        Ok(Self { file, size, cluster_bits, l1, zstd, recent: Mutex::default() })
    }

    /// Returns the L2 entry of the cluster that holds `offset`.
    fn entry(&self, offset: u64) -> io::Result<u64> {
        let cluster = offset >> self.cluster_bits;
        let per_table = self.cluster_bits - 3;
        let Some(l1) = self.l1.get((cluster >> per_table) as usize) else { return Ok(0) };
        let table = l1 & ADDRESS;
        if table == 0 {
            return Ok(0);
        }
        let mut entry = [0; 8];
        self.file.read_at(table + (cluster & ((1 << per_table) - 1)) * 8, &mut entry)?;
        Ok(u64::from_be_bytes(entry))
    }

    fn compressed(&self, entry: u64) -> io::Result<Arc<Vec<u8>>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let known = recent.iter().position(|(known, _)| *known == entry).map(|at| recent.remove(at));
        let found = match known {
            Some(found) => found,
            None => (entry, Arc::new(self.unpack(entry)?)),
        };
        let cluster = found.1.clone();
        recent.push(found);
        if recent.len() > RECENT {
            recent.remove(0);
        }
        Ok(cluster)
    }

    fn unpack(&self, entry: u64) -> io::Result<Vec<u8>> {
        let shift = 62 - (self.cluster_bits - 8);
        let offset = entry & ((1 << shift) - 1);
        let sectors = ((entry >> shift) & ((1 << (self.cluster_bits - 8)) - 1)) + 1;
        let length = (sectors * 512 - (offset & 511)).min(self.file.size().saturating_sub(offset));
        let packed = (&self.file as &dyn Bytes).take(offset, length as usize)?;
        let mut cluster = vec![0; 1 << self.cluster_bits];
        if self.zstd {
            zstd::Decoder::new(&packed[..])?.read_exact(&mut cluster)?;
        } else {
            flate2::read::DeflateDecoder::new(&packed[..]).read_exact(&mut cluster)?;
        }
        Ok(cluster)
    }

    fn read_in_cluster(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let within = offset & ((1 << self.cluster_bits) - 1);
        let entry = self.entry(offset)?;
        if entry & COMPRESSED != 0 {
            let within = within as usize;
            buffer.copy_from_slice(&self.compressed(entry)?[within..within + buffer.len()]);
            return Ok(());
        }
        match entry & ADDRESS {
            0 => buffer.fill(0),
            // Bit 0: the cluster reads as zeros whatever it holds.
            _ if entry & 1 != 0 => buffer.fill(0),
            address => {
                // The last cluster of a file may be cut short: the rest is zero.
                let start = address + within;
                let there = (self.file.size().saturating_sub(start) as usize).min(buffer.len());
                self.file.read_at(start, &mut buffer[..there])?;
                buffer[there..].fill(0);
            }
        }
        Ok(())
    }
}

impl<B: Bytes> Bytes for Qcow2<B> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !buffer.is_empty() {
            let left = (1 << self.cluster_bits) - (offset & ((1 << self.cluster_bits) - 1));
            let (now, rest) = buffer.split_at_mut(buffer.len().min(left as usize));
            self.read_in_cluster(offset, now)?;
            offset += now.len() as u64;
            buffer = rest;
        }
        Ok(())
    }
}
