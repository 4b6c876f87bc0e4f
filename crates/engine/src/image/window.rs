//! Windows: the pieces of an image that are loaded, written and compared as one.

use std::ops::Range;

use kiln_disk::bmap;
use kiln_model::Extents;

/// Length of a window in bytes; the ranges of block maps end at its borders too.
pub(super) const WINDOW: u64 = bmap::WINDOW * bmap::BLOCK;

/// A window, or many in a row of which nothing is known but zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// The extents that reach into it; none for zeros.
    pub extents: Range<usize>,
}

impl Window {
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }

    pub fn is_zero(&self) -> bool {
        self.extents.is_empty()
    }
}

/// Cuts an image into windows, in order and without gaps.
pub(super) fn windows(extents: &Extents) -> Vec<Window> {
    let mut all: Vec<Window> = Vec::new();
    let (mut offset, mut first) = (0, 0);
    let list = &extents.list;
    while offset < extents.size {
        let end = (offset + WINDOW).min(extents.size);
        while list.get(first).is_some_and(|extent| extent.offset + extent.len <= offset) {
            first += 1;
        }
        let count = list[first..].iter().take_while(|extent| extent.offset < end).count();
        match all.last_mut().filter(|last| last.is_zero() && count == 0) {
            Some(last) => last.len += end - offset,
            None => all.push(Window { offset, len: end - offset, extents: first..first + count }),
        }
        offset = end;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_image_and_zeros_join() {
        let mut extents = Extents { size: 10 * WINDOW + 5, list: Vec::new() };
        extents.bytes(WINDOW - 1, vec![1; 2]);
        extents.bytes(5 * WINDOW, vec![1; 2 * WINDOW as usize]);
        let cut: Vec<_> =
            windows(&extents).into_iter().map(|window| (window.offset / WINDOW, window.extents)).collect();
        assert_eq!(cut, [(0, 0..1), (1, 0..1), (2, 1..1), (5, 1..2), (6, 1..2), (7, 2..2)]);
        assert_eq!(windows(&extents).iter().map(|window| window.len).sum::<u64>(), extents.size);
    }
}
