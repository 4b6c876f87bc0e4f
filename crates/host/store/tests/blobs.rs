//! Blobs and documents: stored once, never handed out changed.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use kiln_model::Digest;
use kiln_store::{Doc, Error, Store};

fn files_below(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            all.append(&mut files_below(&entry.path()));
        } else {
            all.push(entry.path().display().to_string());
        }
    }
    all
}

/// Changes a file's bytes and sets its modification time back, as a careful vandal does.
fn corrupt(path: &Path) {
    let (meta, mut bytes) = (fs::metadata(path).unwrap(), fs::read(path).unwrap());
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
    fs::File::open(path).unwrap().set_modified(meta.modified().unwrap()).unwrap();
    assert_eq!(fs::metadata(path).unwrap().mtime(), meta.mtime());
}

#[test]
fn a_blob_is_found_again_by_this_store_and_the_next() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), None).unwrap();
    let (digest, path) = store.put(b"hello").unwrap();
    assert_eq!((digest, fs::read(&path).unwrap()), (Digest::of("hello"), b"hello".to_vec()));
    assert_eq!(store.blob(&digest).unwrap(), Some(path.clone()));
    assert_eq!(store.blob(&Digest::of("other")).unwrap(), None);
    let other = Store::open(home.path(), None).unwrap();
    assert_eq!(other.blob(&digest).unwrap(), Some(path));
}

#[test]
fn wrong_bytes_and_unfinished_ones_leave_nothing() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), None).unwrap();
    let mut writer = store.writer().unwrap();
    writer.write_all(b"wrong").unwrap();
    let wanted = Digest::of("right");
    match writer.finish(Some(wanted)) {
        Err(Error::WrongDigest { expected, got }) => assert_eq!((expected, got), (wanted, Digest::of("wrong"))),
        other => panic!("{:?}", other.map(|_| ())),
    }
    let mut writer = store.writer().unwrap();
    writer.write_all(b"half").unwrap();
    drop(writer);
    let mut writer = store.writer().unwrap();
    writer.write_all(b"wrong").unwrap();
    writer.restart().unwrap();
    writer.write_all(b"right").unwrap();
    let (_, path) = writer.finish(Some(wanted)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"right");
    assert_eq!(files_below(&home.path().join("blobs/sha256")), [path.canonicalize().unwrap().display().to_string()]);
    assert_eq!(files_below(&home.path().join("scratch")), Vec::<String>::new());
}

#[test]
fn a_corrupted_blob_is_absent_and_a_touched_one_is_not() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), None).unwrap();
    let (good, path) = store.put(b"good").unwrap();
    fs::File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(store.blob(&good).unwrap(), Some(path.clone()), "read again and found whole");
    corrupt(&path);
    assert_eq!(store.blob(&good).unwrap(), None);
    assert!(!path.exists());
    let warning = format!("the stored blob `{}` was corrupted and is dropped", good.short());
    assert_eq!(store.take_warnings(), [warning]);
    assert_eq!(store.put(b"good").unwrap().1, path, "and can be stored anew");
}

#[test]
fn a_lost_index_costs_only_reading() {
    let home = tempfile::tempdir().unwrap();
    let (digest, path) = Store::open(home.path(), None).unwrap().put(b"bytes").unwrap();
    fs::remove_file(home.path().join("blobs/index")).unwrap();
    let store = Store::open(home.path(), None).unwrap();
    assert_eq!(store.blob(&digest).unwrap(), Some(path));
    assert_eq!(store.take_warnings(), Vec::<String>::new());
}

#[test]
fn verify_finds_corruption_that_the_fingerprint_hides() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), None).unwrap();
    let (digest, path) = store.put(b"good").unwrap();
    corrupt(&path);
    // As if the disk had forgotten: the index knows the very fingerprint the file has now.
    let meta = fs::metadata(&path).unwrap();
    let index = home.path().join("blobs/index");
    let line = fs::read_to_string(&index).unwrap();
    let mut words: Vec<String> = line.trim_end().split(' ').map(str::to_owned).collect();
    (words[5], words[6]) = (meta.ctime().to_string(), meta.ctime_nsec().to_string());
    fs::write(&index, words.join(" ") + "\n").unwrap();
    let store = Store::open(home.path(), None).unwrap();
    assert_eq!(store.blob(&digest).unwrap(), Some(path), "the fingerprint tells nothing");
    let findings = store.verify(&|_| {}).unwrap();
    assert_eq!(findings.iter().map(|finding| finding.id.clone()).collect::<Vec<_>>(), [digest.to_string()]);
    assert_eq!(store.blob(&digest).unwrap(), None);
    assert_eq!(store.verify(&|_| {}).unwrap(), []);
}

#[test]
fn of_many_who_want_a_blob_one_makes_it() {
    let home = tempfile::tempdir().unwrap();
    let (made, digest, start) = (AtomicU32::new(0), Digest::of("x"), Barrier::new(8));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = Store::open(home.path(), None).unwrap();
                start.wait();
                let _claim = store.claim(&digest, &|| false).unwrap().unwrap();
                if store.blob(&digest).unwrap().is_none() {
                    made.fetch_add(1, Ordering::SeqCst);
                    store.put(b"x").unwrap();
                }
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
    assert_eq!(files_below(&home.path().join("claims")), Vec::<String>::new());
    let store = Store::open(home.path(), None).unwrap();
    let _held = store.claim(&digest, &|| false).unwrap().unwrap();
    let patience = AtomicU32::new(0);
    assert!(store.claim(&digest, &|| patience.fetch_add(1, Ordering::SeqCst) > 2).unwrap().is_none());
}

#[test]
fn documents_are_kept_under_kind_and_key() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), None).unwrap();
    store.put_document(Doc::Seen, "http://a/\n", b"one\ntwo").unwrap();
    store.put_document(Doc::Seen, "http://a/\n", b"three\n").unwrap();
    assert_eq!(store.document(Doc::Seen, "http://a/\n").unwrap(), Some(b"three\n".to_vec()));
    assert_eq!(store.document(Doc::Index, "http://a/\n").unwrap(), None);
    let file = files_below(&home.path().join("documents")).remove(0);
    corrupt(Path::new(&file));
    assert_eq!(store.document(Doc::Seen, "http://a/\n").unwrap(), None);
    assert_eq!(store.take_warnings().len(), 1);
}

#[test]
fn damaged_documents_are_listed_without_a_name_and_dropped_when_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), None).unwrap();
    store.put_document(Doc::Index, "list", b"bytes").unwrap();
    let file = files_below(&home.path().join("documents")).remove(0);
    let whole = fs::read(&file).unwrap();
    let head = whole.iter().position(|&byte| byte == b'\n').unwrap();
    let notes = || store.list().unwrap().into_iter().map(|entry| entry.note).collect::<Vec<_>>();
    assert_eq!(notes(), ["index list"]);
    let with = |rest: &[u8]| [&whole[..=head], rest].concat();
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("empty", vec![], "index "),
        ("half a digest", whole[..head / 2].to_vec(), "index "),
        ("no second line", with(b""), "index "),
        ("half a key", with(b"\"li"), "index "),
        ("a key that is no JSON", with(b"list\nbytes"), "index "),
        ("a key that is no text", with(b"\"\xff\xfe\"\nbytes"), "index "),
        ("zeros, as after a crash", vec![0; 4096], "index "),
        ("other bytes", with(b"\"list\"\nbites"), "index list"),
    ];
    for (what, text, note) in cases {
        fs::write(&file, text).unwrap();
        assert_eq!(notes(), [note], "{what}");
        assert_eq!(store.document(Doc::Index, "list").unwrap(), None, "{what}");
        let warning = "the stored index document `list` was corrupted and is dropped";
        assert_eq!((store.take_warnings(), notes()), (vec![warning.to_owned()], vec![]), "{what}");
    }
}

#[test]
fn a_copied_blob_is_the_other_stores_own() {
    let (home, guest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, other) = (Store::open(home.path(), None).unwrap(), Store::open(guest.path(), None).unwrap());
    let (digest, path) = store.put(b"shared").unwrap();
    let before = fs::metadata(&path).unwrap();
    assert!(store.copy_blob(&digest, &other).unwrap());
    assert!(!store.copy_blob(&Digest::of("missing"), &other).unwrap());
    let after = fs::metadata(&path).unwrap();
    assert_eq!((before.ctime(), before.ctime_nsec(), after.nlink()), (after.ctime(), after.ctime_nsec(), 1));
    let copy = other.blob(&digest).unwrap().unwrap();
    assert_eq!(fs::read(copy).unwrap(), b"shared");
}

#[test]
fn a_new_blob_is_never_collected_before_its_maker_has_it() {
    let home = tempfile::tempdir().unwrap();
    let (maker, collector) = (Store::open(home.path(), None).unwrap(), Store::open(home.path(), None).unwrap());
    let done = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while done.load(Ordering::SeqCst) == 0 {
                collector.gc(Some(0), false).unwrap();
            }
        });
        let made: Vec<_> = (0..300).map(|number: u32| maker.put(&number.to_le_bytes()).map(|(_, path)| path)).collect();
        done.store(1, Ordering::SeqCst);
        for path in made {
            let path = path.unwrap();
            assert!(path.exists(), "`{}` was collected", path.display());
        }
    });
}

#[test]
fn the_collector_spares_what_sessions_use_and_takes_the_oldest_first() {
    let home = tempfile::tempdir().unwrap();
    let (old, new, used) = {
        let store = Store::open(home.path(), None).unwrap();
        store.put_document(Doc::Seen, "repository", b"Date: today").unwrap();
        let put = |text: &str| store.put(text.repeat(5000).as_bytes()).unwrap().0;
        (put("old"), put("new"), put("use"))
    };
    age(home.path(), &[(old, 300), (new, 200), (used, 400)]);
    let user = Store::open(home.path(), None).unwrap();
    user.blob(&used).unwrap().unwrap();
    let store = Store::open(home.path(), Some(40_000)).unwrap();
    let dry = store.gc(None, true).unwrap();
    assert_eq!(store.list().unwrap().len(), 4, "a dry run removes nothing");
    let wet = store.gc(None, false).unwrap();
    assert_eq!(wet, dry);
    assert_eq!(wet.removed.iter().map(|entry| &entry.id).collect::<Vec<_>>(), [&old.to_string()]);
    let wet = store.gc(Some(0), false).unwrap();
    assert_eq!(wet.removed.iter().map(|entry| &entry.id).collect::<Vec<_>>(), [&new.to_string()]);
    assert!(user.blob(&used).unwrap().is_some(), "in use");
    assert!(store.document(Doc::Seen, "repository").unwrap().is_some(), "rollbacks stay refused");
    drop(user);
    store.gc(Some(0), false).unwrap();
    assert_eq!(store.blob(&used).unwrap(), None);
}

/// Rewrites the index as if the blobs had last been used so many seconds ago.
fn age(root: &Path, ages: &[(Digest, u64)]) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let index = root.join("blobs/index");
    let text = fs::read_to_string(&index).unwrap();
    let aged = text.lines().map(|line| {
        let (digest, seconds) = ages.iter().find(|(digest, _)| line.starts_with(&digest.to_string())).unwrap();
        let (rest, _used) = line.rsplit_once(' ').unwrap();
        assert!(rest.starts_with(&digest.to_string()));
        format!("{rest} {}\n", now - seconds)
    });
    let aged: String = aged.collect();
    fs::write(&index, aged).unwrap();
}

#[test]
fn a_dead_session_leaves_no_scratch() {
    let home = tempfile::tempdir().unwrap();
    // What a killed kiln leaves: a lease nobody holds and its folder.
    Store::open(home.path(), None).unwrap();
    let scratch = home.path().join("scratch/1-2/tree-0/deep");
    fs::create_dir_all(&scratch).unwrap();
    fs::write(scratch.join("file"), "x").unwrap();
    fs::write(home.path().join("sessions/1-2"), "blob x\n").unwrap();
    let alive = Store::open(home.path(), None).unwrap();
    let mine = alive.scratch("tree").unwrap();
    let other = Store::open(home.path(), None).unwrap();
    assert!(!home.path().join("sessions/1-2").exists() && !home.path().join("scratch/1-2").exists());
    assert!(mine.exists(), "a living session keeps its own");
    drop((alive, other));
    // The sweep works in a thread of its own.
    let begun = SystemTime::now();
    while !files_below(&home.path().join("scratch")).is_empty() && begun.elapsed().unwrap() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(files_below(&home.path().join("scratch")), Vec::<String>::new());
}

#[test]
fn beside_a_store_that_is_only_read_another_passes() {
    let home = tempfile::tempdir().unwrap();
    let (whole, missing) = (home.path().join("cache"), home.path().join("none"));
    Store::open(&whole, None).unwrap().put_document(Doc::Index, "list", b"one").unwrap();
    let tree = |root: &Path| {
        let mut names: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = tree(&whole);
    let passing = Store::open_beside(&whole).unwrap();
    let root = passing.root().to_owned();
    assert_eq!(passing.document(Doc::Index, "list").unwrap(), Some(b"one".to_vec()));
    assert_eq!(passing.document(Doc::Answer, "list").unwrap(), None);
    passing.put_document(Doc::Index, "list", b"two").unwrap();
    assert_eq!(passing.document(Doc::Index, "list").unwrap(), Some(b"two".to_vec()));
    drop(passing);
    assert!(!root.exists());
    assert_eq!(tree(&whole), before);
    assert_eq!(Store::open(&whole, None).unwrap().document(Doc::Index, "list").unwrap(), Some(b"one".to_vec()));
    assert_eq!(Store::open_beside(&missing).unwrap().document(Doc::Index, "list").unwrap(), None);
    assert!(!missing.exists());
}

#[test]
fn what_a_killed_kiln_left_among_the_temporary_folders_goes() {
    let home = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let path = std::env::temp_dir().join(format!("kiln-passing-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("list"), "x").unwrap();
        let folder = File::open(&path).unwrap();
        folder.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        (path, folder)
    };
    let ((dead, _), (living, lock)) = (make("dead"), make("living"));
    lock.lock_shared().unwrap();
    drop(Store::open_beside(home.path()).unwrap());
    let left = (dead.exists(), living.exists());
    fs::remove_dir_all(&living).unwrap();
    assert_eq!(left, (false, true));
}
