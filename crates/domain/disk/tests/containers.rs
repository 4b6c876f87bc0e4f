//! qcow2 files as qemu-img sees them, and block maps as bmaptool does.

mod common;

use common::{folder, noise, tool, write};
use kiln_disk::{bmap, qcow2};
use kiln_model::{Digest, Extents};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

/// An image from the places and lengths of its runs.
fn image(size: u64, runs: &[(u64, usize)]) -> Extents {
    let mut extents = Extents { size, list: Vec::new() };
    for (at, len) in runs {
        extents.bytes(*at, noise(*len, at + 1));
    }
    extents.seal()
}

fn compare(raw: &Extents) -> u64 {
    let (folder, _) = folder(0);
    let (plain, wrapped) = (folder.path().join("raw"), folder.path().join("qcow2"));
    write(raw, &plain);
    let file = qcow2::layout(raw);
    write(&file, &wrapped);
    let (plain, wrapped) = (plain.to_str().unwrap(), wrapped.to_str().unwrap());
    let said = tool("qemu-utils", "qemu-img", &["check", wrapped]);
    assert!(said.contains("No errors were found"), "{said}");
    tool("qemu-utils", "qemu-img", &["compare", "-f", "raw", "-F", "qcow2", plain, wrapped]);
    file.size
}

#[test]
fn qcow2_files_hold_only_what_is_there() {
    let empty = compare(&image(100 * MIB, &[]));
    assert!(empty <= 5 << 16, "{empty}");
    let some = compare(&image(
        2000 * MIB,
        &[(0, 512), (65_000, 2000), (70_000, 200_000), (600 * MIB - 3, 6), (2000 * MIB - 1, 1)],
    ));
    assert_eq!(some, (4 + 3 + 5 + 2 + 1) << 16);
    compare(&image(3 * MIB + 512, &[(3 * MIB, 512)]));
}

#[test]
fn many_clusters_need_more_blocks_of_counts() {
    let runs: Vec<(u64, usize)> = (0..33_000).map(|at| (at * 65_536, 1)).collect();
    compare(&image(33_000 * 65_536, &runs));
}

#[test]
fn bmaptool_copies_by_the_map() {
    let (folder, _) = folder(0);
    let place = |name: &str| folder.path().join(name);
    let raw = image(64 * MIB + 512, &[(0, 512), (5000, 9_000_000), (40 * MIB, 4096), (64 * MIB, 512)]);
    write(&raw, &place("raw"));
    let bytes = common::bytes(&raw);
    let digest = |blocks: bmap::Blocks| {
        let range = blocks.bytes(raw.size);
        (blocks, Digest::of(&bytes[range.start as usize..range.end as usize]))
    };
    let ranges: Vec<_> = bmap::blocks(&raw).into_iter().map(digest).collect();
    std::fs::write(place("map"), bmap::render(raw.size, &ranges)).unwrap();
    let text = |name: &str| place(name).to_str().unwrap().to_owned();
    tool("bmap-tools", "bmaptool", &["copy", "--bmap", &text("map"), &text("raw"), &text("copy")]);
    assert!(std::fs::read(place("copy")).unwrap() == bytes);
    // A changed byte is found: the checksums are looked at.
    let mut wrong = bytes;
    wrong[6000] ^= 1;
    std::fs::write(place("raw"), &wrong).unwrap();
    let (code, said) =
        common::tool_says("bmap-tools", "bmaptool", &["copy", "--bmap", &text("map"), &text("raw"), &text("copy")]);
    assert!(code != Some(0) && said.contains("checksum"), "{code:?} {said}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_image_is_the_same_in_qcow2(gaps in prop::collection::vec((0u64..3_000_000, 1usize..300_000), 0..12), rest in 0u64..100_000_000) {
        let mut at = 0;
        let mut runs = Vec::new();
        for (gap, len) in gaps {
            runs.push((at + gap, len));
            at += gap + len as u64;
        }
        compare(&image((at + rest).next_multiple_of(512), &runs));
    }
}
