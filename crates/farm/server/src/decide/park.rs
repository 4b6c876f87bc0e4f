//! How uploads go on at another server: what each puts into the bucket, and what it fetches from there.
//!
//! What is parked without a gap from the beginning is how far an upload has come at every server, so where one says that a piece begins,
//! it may begin at each. What a server has beyond that is its own: it need not be written again, and is never asked for.

use std::ops::Range;

/// After so many bytes an upload under way is parked as far as it has come: what a server that is killed loses to the others at most.
pub const OFTEN: u64 = 256 << 20;

/// Bytes of an upload that lie in the bucket, and their name there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    pub name: String,
    pub bytes: Range<u64>,
}

/// Returns how far an upload has come at every server.
pub fn reach(parked: &[Parked]) -> u64 {
    let mut at = 0;
    while let Some(part) = further(parked, at) {
        at = part.bytes.end;
    }
    at
}

/// Returns what leads furthest from a byte on.
fn further(parked: &[Parked], at: u64) -> Option<&Parked> {
    parked.iter().filter(|part| part.bytes.contains(&at)).max_by_key(|part| part.bytes.end)
}

/// Whether a piece may begin at `offset` where `here` bytes are: not before what every server has, and nothing may be missing before it.
pub fn fits(offset: u64, reach: u64, here: u64) -> bool {
    (reach..=reach.max(here)).contains(&offset)
}

/// Returns what a server that has `here` bytes fetches, in this order: names, and which bytes of what lies there.
pub fn lacking(parked: &[Parked], here: u64) -> Vec<Parked> {
    let (mut at, reach, mut found) = (here, reach(parked), vec![]);
    while at < reach
        && let Some(part) = further(parked, at)
    {
        let Range { start, end } = part.bytes;
        found.push(Parked { name: part.name.clone(), bytes: at - start..end - start });
        at = end;
    }
    found
}

/// Returns what a server that has `here` bytes parks.
pub fn loose(parked: &[Parked], here: u64) -> Option<Range<u64>> {
    Some(reach(parked)..here).filter(|bytes| !bytes.is_empty())
}

/// Whether an upload comes further by these bytes.
pub fn adds(parked: &[Parked], bytes: &Range<u64>) -> bool {
    bytes.contains(&reach(parked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(all: &[Range<u64>]) -> Vec<Parked> {
        let part = |bytes: &Range<u64>| Parked { name: format!("{}-{}", bytes.start, bytes.end), bytes: bytes.clone() };
        all.iter().map(part).collect()
    }

    #[test]
    fn how_far_and_what_is_fetched() {
        type Case<'a> = (&'a [Range<u64>], u64, u64, &'a [(&'a str, Range<u64>)]);
        let cases: &[Case<'_>] = &[
            (&[], 0, 0, &[]),
            (&[], 7, 0, &[]),
            (&[0..5], 0, 5, &[("0-5", 0..5)]),
            (&[0..5], 3, 5, &[("0-5", 3..5)]),
            (&[0..5], 5, 5, &[]),
            (&[0..5], 9, 5, &[]),
            (&[5..9, 0..5], 0, 9, &[("0-5", 0..5), ("5-9", 0..4)]),
            (&[5..9, 0..5], 6, 9, &[("5-9", 1..4)]),
            // Two servers that parked the same upload.
            (&[0..4, 0..6, 4..9, 6..7], 0, 9, &[("0-6", 0..6), ("4-9", 2..5)]),
            (&[0..4, 0..6, 4..9, 6..7], 4, 9, &[("4-9", 0..5)]),
            // A gap, before and behind what is here.
            (&[2..9], 0, 0, &[]),
            (&[0..3, 5..9], 0, 3, &[("0-3", 0..3)]),
            (&[0..3, 5..9], 6, 3, &[]),
        ];
        for (all, here, far, wanted) in cases {
            let all = parked(all);
            let wanted: Vec<Parked> =
                wanted.iter().map(|(name, bytes)| Parked { name: (*name).into(), bytes: bytes.clone() }).collect();
            assert_eq!((reach(&all), lacking(&all, *here)), (*far, wanted), "{all:?} {here}");
        }
    }

    #[test]
    fn where_a_piece_may_begin() {
        for (offset, reach, here, wanted) in [
            (0, 0, 0, true),
            (1, 0, 0, false),
            (5, 5, 0, true),
            (4, 5, 0, false),
            (4, 5, 9, false),
            (5, 5, 9, true),
            (7, 5, 9, true),
            (9, 5, 9, true),
            (10, 5, 9, false),
            // Without a bucket what is here is what counts.
            (3, 3, 3, true),
            (2, 3, 3, false),
            (4, 3, 3, false),
        ] {
            assert_eq!(fits(offset, reach, here), wanted, "{offset} of {reach}, {here} here");
        }
    }

    #[test]
    fn what_is_parked() {
        for (all, here, wanted) in [
            (&[][..], 0, None),
            (&[], 7, Some(0..7)),
            (&[0..5], 7, Some(5..7)),
            (&[0..5], 5, None),
            (&[0..5], 3, None),
            (&[0..5, 4..6, 8..9], 9, Some(6..9)),
        ] {
            assert_eq!(loose(&parked(all), here), wanted, "{all:?} {here}");
        }
        for (all, bytes, wanted) in [
            (&[][..], 0..1, true),
            (&[], 1..2, false),
            (&[0..5], 5..9, true),
            (&[0..5], 3..9, true),
            (&[0..5], 3..5, false),
            (&[0..5], 6..9, false),
            (&[0..5, 5..9], 5..9, false),
        ] {
            assert_eq!(adds(&parked(all), &bytes), wanted, "{all:?} {bytes:?}");
        }
    }
}
