//! Features: which of mke2fs's words this writer follows.

use crate::Error;

/// The features that can be turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Features {
    pub journal: bool,
    /// Room for the group descriptors of a larger filesystem, which growing while mounted needs.
    pub resize: bool,
    /// Hashed directories.
    pub index: bool,
    pub checksums: bool,
    /// 64-byte group descriptors.
    pub wide: bool,
}

/// Always on.
const ON: &[&str] = &[
    "dir_nlink",
    "ext_attr",
    "extent",
    "extents",
    "extra_isize",
    "filetype",
    "flex_bg",
    "huge_file",
    "large_file",
    "sparse_super",
];
/// Never on.
const OFF: &[&str] = &[
    "bigalloc",
    "casefold",
    "ea_inode",
    "encrypt",
    "fast_commit",
    "inline_data",
    "large_dir",
    "meta_bg",
    "metadata_csum_seed",
    "mmp",
    "orphan_file",
    "project",
    "quota",
    "sparse_super2",
    "stable_inodes",
    "uninit_bg",
    "verity",
];

impl Features {
    pub fn parse(words: &[String]) -> Result<Self, Error> {
        let mut all = Self { journal: true, resize: true, index: true, checksums: true, wide: true };
        for word in words {
            let (name, on) = word.strip_prefix('^').map_or((word.as_str(), true), |name| (name, false));
            match name {
                "has_journal" => all.journal = on,
                "resize_inode" => all.resize = on,
                "dir_index" => all.index = on,
                "metadata_csum" => all.checksums = on,
                "64bit" => all.wide = on,
                name if on && ON.contains(&name) || !on && OFF.contains(&name) => {}
                _ => return Err(Error::Feature { format: "ext4", name: word.clone() }),
            }
        }
        Ok(all)
    }

    /// Returns the length of a group descriptor in bytes.
    pub fn descriptor(self) -> usize {
        if self.wide { 64 } else { 32 }
    }

    pub fn compatible(self, journal: bool) -> u32 {
        const EXT_ATTR: u32 = 0x8;
        EXT_ATTR | bit(journal, 0x4) | bit(self.resize, 0x10) | bit(self.index, 0x20)
    }

    pub fn incompatible(self) -> u32 {
        const FILETYPE_EXTENTS_FLEX_BG: u32 = 0x2 | 0x40 | 0x200;
        FILETYPE_EXTENTS_FLEX_BG | bit(self.wide, 0x80)
    }

    pub fn read_only(self) -> u32 {
        const SPARSE_LARGE_HUGE_NLINK_ISIZE: u32 = 0x1 | 0x2 | 0x8 | 0x20 | 0x40;
        SPARSE_LARGE_HUGE_NLINK_ISIZE | bit(self.checksums, 0x400)
    }
}

fn bit(on: bool, bit: u32) -> u32 {
    if on { bit } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_followed_or_refused() {
        let parse = |word: &str| Features::parse(&[word.to_owned()]);
        assert!(!parse("^has_journal").unwrap().journal);
        assert_eq!(parse("^orphan_file"), parse("extent"));
        for refused in ["orphan_file", "^extent", "nonsense", "^nonsense"] {
            assert!(parse(refused).is_err(), "{refused}");
        }
    }
}
