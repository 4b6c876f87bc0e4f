//! Images in files: byte for byte what the extents say, sparse, and the same whether written anew or patched.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_disk::bmap;
use kiln_engine::image::{Index, Previous, Written, write_file, write_stream};
use kiln_model::{Digest, Extent, Extents, Source};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

/// Bytes of an image, the plain way.
fn plain(extents: &Extents) -> Vec<u8> {
    let mut bytes = vec![0; extents.size as usize];
    for extent in &extents.list {
        let place = &mut bytes[extent.offset as usize..(extent.offset + extent.len) as usize];
        match &extent.source {
            Source::Bytes(known) => place.copy_from_slice(known),
            Source::File { path, from, .. } => {
                std::fs::File::open(path.as_path()).unwrap().read_exact_at(place, *from).unwrap();
            }
        }
    }
    bytes
}

fn check(extents: &Extents, file: &Path, written: &Written) {
    let wanted = plain(extents);
    assert!(std::fs::read(file).unwrap() == wanted, "the file is not the image");
    assert_eq!(written.sha256, Digest::of(&wanted));
    assert_eq!(written.size, extents.size);
    let ranges = bmap::blocks(extents).into_iter().map(|blocks| {
        let range = blocks.bytes(extents.size);
        (blocks, Digest::of(&wanted[range.start as usize..range.end as usize]))
    });
    assert!(written.ranges == ranges.collect::<Vec<_>>(), "ranges of the map differ");
    let index = Index::from_bytes(&written.index.to_bytes()).unwrap();
    assert_eq!(index, written.index);
}

/// An image of parts: lengths of zeros and of content in turn, content by its seed; every third lies in a file.
fn image(folder: &Path, parts: &[(u64, usize, u64)], rest: u64) -> Extents {
    let (mut extents, mut at) = (Extents::default(), 0);
    for (gap, len, seed) in parts {
        at += gap;
        let bytes = noise(*len, *seed);
        if seed % 3 == 0 {
            let path = folder.join(format!("host-{seed}-{len}"));
            std::fs::write(&path, [&b"head"[..], &bytes].concat()).unwrap();
            let token = (seed % 2 == 0).then(|| format!("{seed} {len}").into());
            let source = Source::File { path: Arc::new(path), from: 4, token };
            extents.list.push(Extent { offset: at, len: *len as u64, source });
        } else {
            extents.bytes(at, bytes);
        }
        at += *len as u64;
    }
    extents.size = at + rest;
    extents.list.retain(|extent| extent.len > 0);
    extents.seal()
}

fn parts() -> Vec<(u64, usize, u64)> {
    vec![(0, 512, 1), (MIB, 9_000_000, 6), (100, 3, 3), (30 * MIB, 70_000, 2), (12 * MIB - 1, 1, 4), (0, 5_000_000, 12)]
}

/// Writes an image with its block map.
fn write_all(
    image: &Extents,
    to: &Path,
    previous: Option<&Previous<'_>>,
    progress: &dyn Fn(u64),
) -> std::io::Result<Written> {
    write_file(image, &bmap::blocks(image), to, previous, progress)
}

#[test]
fn a_fresh_image_is_what_its_extents_say_and_sparse() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(folder.path(), &parts(), 200 * MIB + 77);
    let to = folder.path().join("image");
    let told = std::cell::Cell::new(0);
    let written = write_all(&image, &to, None, &|more| told.set(told.get() + more)).unwrap();
    check(&image, &to, &written);
    assert_eq!(told.get(), image.size);
    assert!(to.metadata().unwrap().blocks() * 512 < 16 * MIB);
    assert!((14_000_000..15_000_000).contains(&written.fresh), "{}", written.fresh);
    let mut streamed = Vec::new();
    let ranges = write_stream(&image, &bmap::blocks(&image), &mut streamed, &|_| ()).unwrap();
    assert!(streamed == plain(&image));
    assert_eq!(ranges, written.ranges, "the block map of a stream is that of the file");
}

#[test]
fn an_empty_image_is_an_empty_file() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("image");
    for size in [0, 1, 64 * MIB] {
        let image = Extents { size, list: Vec::new() };
        let written = write_all(&image, &to, None, &|_| ()).unwrap();
        check(&image, &to, &written);
    }
}

/// Everything with tokens, so that only what differs is written.
fn with_tokens() -> Vec<(u64, usize, u64)> {
    (0..20).map(|at| (MIB, 3_000_000, 6 * at + 1 + at % 2)).collect()
}

#[test]
fn a_changed_part_is_all_that_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let mut list = with_tokens();
    let first = write_all(&image(folder.path(), &list, MIB), &one, None, &|_| ()).unwrap();
    list[15].2 += 4; // a file with a token
    let changed = image(folder.path(), &list, MIB);
    for take in [false, true] {
        let previous = Previous { image: &one, index: &first.index, take };
        let written = write_all(&changed, &two, Some(&previous), &|_| ()).unwrap();
        check(&changed, &two, &written);
        assert!(written.fresh <= 12 * MIB, "{} bytes for 3 MB", written.fresh);
        assert_eq!(one.exists(), !take);
    }
    // Nothing changed: nothing is written, and the digest is known.
    let again = write_all(&changed, &two, None, &|_| ()).unwrap();
    let previous = Previous { image: &two, index: &again.index, take: true };
    let written = write_all(&changed, &two, Some(&previous), &|_| ()).unwrap();
    check(&changed, &two, &written);
    assert_eq!(written.fresh, 0);
}

#[test]
fn a_block_map_may_come_and_go_between_images() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let mut list = with_tokens();
    let same = image(folder.path(), &list, MIB);
    list[15].2 += 4; // a file with a token
    let changed = image(folder.path(), &list, MIB);
    for (next, take) in [(&same, false), (&same, true), (&changed, false), (&changed, true)] {
        let bare = write_file(&same, &[], &one, None, &|_| ()).unwrap();
        assert_eq!((bare.sha256, bare.ranges), (Digest::of(plain(&same)), vec![]));
        let previous = Previous { image: &one, index: &bare.index, take };
        let mapped = write_all(next, &two, Some(&previous), &|_| ()).unwrap();
        check(next, &two, &mapped);
        assert!(mapped.fresh <= 12 * MIB, "{} bytes for 3 MB", mapped.fresh);
        let previous = Previous { image: &two, index: &mapped.index, take };
        let bare = write_file(&same, &[], &one, Some(&previous), &|_| ()).unwrap();
        assert_eq!((bare.sha256, bare.ranges), (Digest::of(plain(&same)), vec![]));
        assert!(std::fs::read(&one).unwrap() == plain(&same));
        let previous = Previous { image: &one, index: &bare.index, take };
        check(next, &two, &write_all(next, &two, Some(&previous), &|_| ()).unwrap());
    }
}

#[test]
fn a_previous_image_that_was_touched_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let image = image(folder.path(), &with_tokens(), 0);
    let first = write_all(&image, &one, None, &|_| ()).unwrap();
    let file = std::fs::File::options().write(true).open(&one).unwrap();
    file.write_all_at(b"touched", 5 * MIB).unwrap();
    // A clock of coarse ticks may not see so quick a change; a person's change it does.
    file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(1)).unwrap();
    let previous = Previous { image: &one, index: &first.index, take: true };
    let written = write_all(&image, &two, Some(&previous), &|_| ()).unwrap();
    check(&image, &two, &written);
    assert!(one.exists());
    std::fs::remove_file(&one).unwrap();
    let written = write_all(&image, &two, Some(&previous), &|_| ()).unwrap();
    check(&image, &two, &written);
}

#[test]
fn a_previous_image_with_another_name_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| -> PathBuf { folder.path().join(name) };
    let mut list = with_tokens();
    let old = image(folder.path(), &list, 0);
    let first = write_all(&old, &place("one"), None, &|_| ()).unwrap();
    std::fs::hard_link(place("one"), place("kept")).unwrap();
    list[3].2 += 1;
    let image = image(folder.path(), &list, 0);
    let previous = Previous { image: &place("one"), index: &first.index, take: true };
    let written = write_all(&image, &place("two"), Some(&previous), &|_| ()).unwrap();
    check(&image, &place("two"), &written);
    assert!(std::fs::read(place("kept")).unwrap() == plain(&old));
}

#[test]
fn a_taken_image_comes_back_when_the_new_one_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let mut list = with_tokens();
    let old = image(folder.path(), &list, 9 * MIB);
    let first = write_all(&old, &one, None, &|_| ()).unwrap();
    list[3].2 += 4;
    list[19].1 = 1_000_000; // shorter, and the windows at the end go
    let changed = image(folder.path(), &list, 0);
    let previous = Previous { image: &one, index: &first.index, take: true };
    let written = write_all(&changed, &two, Some(&previous), &|_| ()).unwrap();
    check(&changed, &two, &written);
    assert!(!one.exists());
    written.undo.unwrap().roll_back(&two).unwrap();
    assert!(std::fs::read(&one).unwrap() == plain(&old) && !two.exists());
}

#[test]
fn an_image_that_a_guest_runs_on_is_not_patched() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let mut list = with_tokens();
    let old = image(folder.path(), &list, 0);
    let first = write_all(&old, &one, None, &|_| ()).unwrap();
    let guest = std::fs::File::open(&one).unwrap();
    guest.lock_shared().unwrap();
    list[3].2 += 4;
    let changed = image(folder.path(), &list, 0);
    let previous = Previous { image: &one, index: &first.index, take: true };
    let written = write_all(&changed, &two, Some(&previous), &|_| ()).unwrap();
    check(&changed, &two, &written);
    assert!(std::fs::read(&one).unwrap() == plain(&old));
}

#[test]
fn a_source_that_shrank_or_is_gone_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source");
    std::fs::write(&path, noise(1000, 1)).unwrap();
    let source = Source::File { path: Arc::new(path.clone()), from: 0, token: None };
    let image = Extents { size: 4096, list: vec![Extent { offset: 0, len: 2000, source }] };
    let tell = || write_all(&image, &folder.path().join("image"), None, &|_| ()).unwrap_err().to_string();
    assert_eq!(tell(), format!("read `{}`: it is shorter than it was", path.display()));
    std::fs::remove_file(&path).unwrap();
    assert!(tell().starts_with(&format!("read `{}`: No such file", path.display())));
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(tell().contains("symbolic link"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// One image after another, each patched onto the one before: always the bytes of a fresh one.
    #[test]
    fn patched_images_are_fresh_images(
        base in prop::collection::vec((0u64..6_000_000, 0usize..3_000_000, 1u64..1000), 0..8),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0u64..6_000_000, 0usize..3_000_000, 1u64..1000, any::<bool>(), 0u64..9_000_000), 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("image");
        let mut list = base;
        let first = image(folder.path(), &list, 1000);
        let mut last = write_all(&first, &to, None, &|_| ()).unwrap();
        check(&first, &to, &last);
        for (at, gap, len, seed, insert, rest) in changes {
            match list.len() {
                0 => list.push((gap, len, seed)),
                count if insert => list.insert(at.index(count), (gap, len, seed)),
                count => list[at.index(count)] = (gap, len, seed),
            }
            let next = image(folder.path(), &list, rest);
            let previous = Previous { image: &to, index: &last.index, take: insert };
            last = write_all(&next, &to, Some(&previous), &|_| ()).unwrap();
            check(&next, &to, &last);
        }
    }
}
