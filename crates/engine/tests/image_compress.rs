//! Compressed streams: read back by the tools people have, and the same bytes on any number of threads.

use std::io::Write as _;
use std::process::{Command, Stdio};

use kiln_engine::image::{Compressor, Hashing};
use kiln_model::Digest;
use kiln_model::action::{Algorithm, Compression};

/// Text, noise and zeros, longer than a few blocks of every kind.
fn sample() -> Vec<u8> {
    let mut state = 7u64;
    let mut bytes: Vec<u8> =
        (0..400_000u32).flat_map(|at| format!("line {} of some text\n", at % 9000).into_bytes()).collect();
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    bytes.extend(noise.take(1_000_000));
    bytes.resize(bytes.len() + 5_000_000, 0);
    bytes
}

fn compress(algorithm: Algorithm, level: u32, threads: usize, bytes: &[u8], step: usize) -> Vec<u8> {
    let mut compressor = Compressor::new(Hashing::new(Vec::new()), Compression { algorithm, level }, threads).unwrap();
    for part in bytes.chunks(step) {
        compressor.write_all(part).unwrap();
        compressor.flush().unwrap();
    }
    let (out, len, digest) = compressor.finish().unwrap().finish();
    assert_eq!((len, digest), (out.len() as u64, Digest::of(&out)));
    out
}

/// Lets the tool of a Debian package read it.
fn read_back(package: &str, tool: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(tool)
        .args(["-d", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("this test needs `{tool}` of the package `{package}`: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success(), "{tool}");
    output.stdout
}

const CASES: [(Algorithm, u32, &str, &str); 4] = [
    (Algorithm::Zst, 3, "zstd", "zstd"),
    (Algorithm::Xz, 1, "xz-utils", "xz"),
    (Algorithm::Gz, 6, "gzip", "gzip"),
    (Algorithm::Bz2, 9, "bzip2", "bzip2"),
];

#[test]
fn tools_read_what_any_number_of_threads_wrote_alike() {
    let bytes = sample();
    for (algorithm, level, package, tool) in CASES {
        let one = compress(algorithm, level, 1, &bytes, 1 << 20);
        assert!(one.len() < bytes.len() / 4, "{tool}: {}", one.len());
        assert!(read_back(package, tool, &one) == bytes, "{tool}");
        assert!(compress(algorithm, level, 5, &bytes, 777_777) == one, "{tool} with five threads");
    }
}

#[test]
fn nothing_makes_a_valid_file() {
    for (algorithm, level, package, tool) in CASES {
        let empty = compress(algorithm, level, 2, b"", 1);
        assert!(!empty.is_empty() && read_back(package, tool, &empty).is_empty(), "{tool}");
    }
}

/// A writer that is full.
struct Full;

impl std::io::Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told() {
    for (algorithm, level, ..) in CASES {
        let mut compressor = Compressor::new(Full, Compression { algorithm, level }, 2).unwrap();
        let written = compressor.write_all(&sample()).and_then(|()| compressor.finish().map(drop));
        assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::StorageFull, "{algorithm:?}");
    }
}
