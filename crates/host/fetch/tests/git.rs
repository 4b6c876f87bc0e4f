//! What a repository may take: so much time, so much space, and only the ways that are open.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kiln_fetch::git::{Bounds, Checkout, Remote};
use kiln_model::FaultKind;

const PLENTY: Bounds = Bounds { time: Duration::from_secs(60), bytes: 1 << 30 };

fn remote(url: String, protocols: &'static str) -> Remote {
    Remote { url, credential: None, pinned: None, protocols }
}

/// Returns the fault of a fetch of `main`.
fn refused(remote: &Remote, bounds: Bounds) -> (FaultKind, String) {
    let folder = tempfile::tempdir().unwrap();
    let fault = Checkout::fetch(remote, "main", None, folder.path(), bounds).map(drop).unwrap_err();
    (fault.kind(), fault.chain())
}

fn repository(path: &Path, bytes: usize) -> String {
    // What does not get smaller by being packed.
    let random: Vec<u8> =
        (0..bytes as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29) as u8 ^ (at >> 3) as u8).collect();
    std::fs::write(path.join("file"), random).unwrap();
    let who = ["-c", "user.name=ann", "-c", "user.email=ann@example.org"];
    for words in [["init", "-qbmain"].as_slice(), &["add", "file"], &["commit", "-qmx"]] {
        assert!(Command::new("git").arg("-C").arg(path).args(who).args(words).status().unwrap().success());
    }
    format!("file://{}", path.display())
}

#[test]
fn a_commit_comes_with_its_files_and_nothing_of_gits() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let url = repository(from.path(), 10);
    let checkout = Checkout::fetch(&remote(url, "file"), "main", None, to.path(), PLENTY).unwrap();
    assert_eq!(checkout.files().unwrap(), ["file"]);
    let names: Vec<_> = std::fs::read_dir(checkout.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["file"]);
    assert_eq!(checkout.changed_since(&checkout.commit).unwrap(), Some(vec![]));
    assert_eq!(checkout.changed_since(&"1".repeat(40)).unwrap(), None);
}

#[test]
fn only_the_ways_that_are_open() {
    let from = tempfile::tempdir().unwrap();
    let url = repository(from.path(), 10);
    let (kind, said) = refused(&remote(url, "https"), PLENTY);
    assert!(kind == FaultKind::Upstream && said.contains("transport 'file' not allowed"), "{said}");
    let (_, said) = refused(&remote("ext::sh -c true".into(), "https:file"), PLENTY);
    assert!(said.contains("transport 'ext' not allowed"), "{said}");
}

#[test]
fn so_much_time_and_no_more() {
    // A server that takes the call and says nothing more.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let silent = std::thread::spawn(move || {
        listener.accept().map(|(mut stream, _)| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            std::thread::sleep(Duration::from_secs(4));
        })
    });
    let began = Instant::now();
    let (kind, said) = refused(&remote(url, "http"), Bounds { time: Duration::from_secs(1), ..PLENTY });
    assert!(kind == FaultKind::Upstream && said.contains("took too long"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(3));
    silent.join().unwrap().unwrap();
}

#[test]
fn so_much_space_and_no_more() {
    let from = tempfile::tempdir().unwrap();
    let url = repository(from.path(), 100 << 20);
    let (kind, said) = refused(&remote(url, "file"), Bounds { bytes: 4 << 20, ..PLENTY });
    assert!(kind == FaultKind::Recipe && said.contains("more than 4 MiB"), "{said}");
}
