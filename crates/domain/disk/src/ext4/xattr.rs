//! Extended attributes: behind the inode where they fit, else in a block.

use std::collections::BTreeMap;

use super::checksum::Sums;
use super::geometry::BLOCK;
use crate::put::Put as _;

const MAGIC: u32 = 0xea02_0000;
/// Bytes behind the 160 of an inode of 256.
const IN_INODE: usize = 96;
const PREFIXES: [(&str, u8); 7] = [
    ("system.posix_acl_access", 2),
    ("system.posix_acl_default", 3),
    ("user.", 1),
    ("trusted.", 4),
    ("security.", 6),
    ("system.richacl", 8),
    ("system.", 7),
];

/// A file's attributes, split between its inode and a block of their own.
#[derive(Default)]
pub(super) struct Attributes {
    inline: Vec<Attribute>,
    block: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Attribute {
    // In the order in which a block has them sorted.
    index: u8,
    name_len: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Attribute {
    fn new(name: &str, value: &[u8]) -> Result<Self, String> {
        let prefix = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
        let (prefix, index) = prefix.ok_or_else(|| format!("the attribute `{name}` has no known prefix"))?;
        let value =
            if prefix.contains("acl_") { acl(value).ok_or("an access list is malformed")? } else { value.to_vec() };
        let name = name.as_bytes()[prefix.len()..].to_vec();
        if name.len() > 255 {
            return Err("the name of an attribute is longer than 255 bytes".to_owned());
        }
        Ok(Self { index: *index, name_len: name.len(), name, value })
    }

    fn length(&self) -> usize {
        (16 + self.name.len()).next_multiple_of(4) + self.value.len().next_multiple_of(4)
    }

    /// The hash that entries in blocks carry.
    fn hash(&self) -> u32 {
        let name = self.name.iter().fold(0u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
        let mut value = self.value.clone();
        value.resize(value.len().next_multiple_of(4), 0);
        value
            .chunks(4)
            .fold(name, |hash, word| hash.rotate_left(16) ^ u32::from_le_bytes(word.try_into().expect("four bytes")))
    }
}

impl Attributes {
    /// Sorts out attributes; the error says in words what does not fit.
    pub fn new(given: &BTreeMap<String, Vec<u8>>) -> Result<Self, String> {
        let (mut all, mut inline_room, mut block_room) = (Self::default(), IN_INODE - 8, BLOCK as usize - 36);
        for (name, value) in given {
            let attribute = Attribute::new(name, value)?;
            let length = attribute.length();
            if length <= inline_room {
                inline_room -= length;
                all.inline.push(attribute);
            } else if length <= block_room {
                block_room -= length;
                all.block.push(attribute);
            } else {
                return Err("its extended attributes are longer than a block".to_owned());
            }
        }
        all.inline.sort();
        all.block.sort();
        Ok(all)
    }

    pub fn needs_block(&self) -> bool {
        !self.block.is_empty()
    }

    /// Returns what stands behind the inode; nothing where there are no attributes.
    pub fn inline(&self) -> [u8; IN_INODE] {
        let mut bytes = [0; IN_INODE];
        if !self.inline.is_empty() {
            bytes.le32(0, MAGIC);
            fill(&mut bytes, 4, 4, &self.inline, false);
        }
        bytes
    }

    /// Returns the block that will stand at block number `at`.
    pub fn block(&self, at: u64, sums: Sums) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK as usize];
        bytes.le32(0, MAGIC);
        bytes.le32(4, 1); // references
        bytes.le32(8, 1); // blocks
        fill(&mut bytes, 32, 0, &self.block, true);
        let hash = self.block.iter().fold(0u32, |hash, attribute| hash.rotate_left(16) ^ attribute.hash());
        bytes.le32(12, hash);
        let sum = sums.of(&[&at.to_le_bytes(), &bytes]);
        bytes.le32(16, sum);
        bytes
    }
}

/// Entries from `start` on, values from the end on; offsets of values count from `base`.
fn fill(bytes: &mut [u8], start: usize, base: usize, list: &[Attribute], hashed: bool) {
    let (mut at, mut end) = (start, bytes.len());
    for attribute in list {
        end -= attribute.value.len().next_multiple_of(4);
        bytes.u8(at, attribute.name.len() as u8);
        bytes.u8(at + 1, attribute.index);
        bytes.le16(at + 2, if attribute.value.is_empty() { 0 } else { (end - base) as u16 });
        bytes.le32(at + 8, attribute.value.len() as u32);
        bytes.le32(at + 12, if hashed { attribute.hash() } else { 0 });
        bytes.put(at + 16, &attribute.name);
        bytes.put(end, &attribute.value);
        at += (16 + attribute.name.len()).next_multiple_of(4);
    }
}

/// Turns an access list as the system calls have it (version 2) into the shorter form on disk (version 1).
fn acl(value: &[u8]) -> Option<Vec<u8>> {
    const USER_AND_GROUP: [u16; 2] = [0x02, 0x08];
    let entries = value.strip_prefix(&2u32.to_le_bytes())?.chunks(8);
    let mut disk = 1u32.to_le_bytes().to_vec();
    for entry in entries {
        let tag = u16::from_le_bytes(entry.get(..2)?.try_into().ok()?);
        disk.extend_from_slice(entry.get(..if USER_AND_GROUP.contains(&tag) { 8 } else { 4 })?);
    }
    Some(disk)
}
