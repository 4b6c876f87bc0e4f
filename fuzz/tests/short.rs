//! The short run: the same mutations each time, for every target.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_fuzz::{TARGETS, Target};

/// Mutations of each target.
const ROUNDS: u64 = 20_000;
/// A target that is slow stops earlier, but not before so many.
const ROUNDS_AT_LEAST: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(5);

/// Words that parsers look for.
const WORDS: &[&[u8]] = &[
    b"\n",
    b"\n\n",
    b"\n ",
    b": ",
    b",",
    b"|",
    b"(",
    b")",
    b"\0",
    b"\xff",
    b"\xc3\x28",
    b"/",
    b"../",
    b"99999999999999999999",
    b"-1",
    b"[",
    b"]",
    b"\"\"\"",
    b"=",
    b"{",
    b"\r\n",
    b"\x7f",
    b"0000000",
    b"7777777",
    b"`\n",
    b"#1/20",
    b"-----BEGIN",
    b"-----\n",
    b"~",
    b"\xe2\x80\xae",
];

/// A small generator; what it gives depends on its seed alone.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn mutated(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seeds[chance.below(seeds.len())].clone();
    for _ in 0..=chance.below(4) {
        let (at, len) = (chance.below(bytes.len() + 1), 1 + chance.below(64));
        let end = (at + len).min(bytes.len());
        match chance.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 if at < bytes.len() => bytes[at] = chance.next() as u8,
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copy = bytes[at..end].to_vec();
                let to = chance.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            4 => drop(bytes.splice(at..at, WORDS[chance.below(WORDS.len())].iter().copied())),
            _ => {
                let other = &seeds[chance.below(seeds.len())];
                let from = chance.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

fn short(target: &Target) {
    let (seeds, began) = ((target.seeds)(), Instant::now());
    seeds.iter().for_each(|seed| (target.run)(seed));
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let longer =
        std::env::var("KILN_FUZZ_SECONDS").ok().and_then(|seconds| Some(Duration::from_secs(seconds.parse().ok()?)));
    let (rounds, patience) = longer.map_or((ROUNDS, PATIENCE), |longer| (u64::MAX, longer));
    for round in 0..rounds {
        let bytes = mutated(&seeds, &mut chance);
        if catch_unwind(|| (target.run)(&bytes)).is_err() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz");
            let path = folder.join(format!("{}-{round}", target.name));
            fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &bytes)).expect("the input can be kept");
            panic!("`{}` panicked in round {round}; the input is in {}", target.name, path.display());
        }
        if round >= ROUNDS_AT_LEAST && began.elapsed() > patience {
            break;
        }
    }
}

fn run(name: &str) {
    short(TARGETS.iter().find(|target| target.name == name).expect("the target is in the table"));
}

macro_rules! short_runs {
    ($($name:ident),*) => {
        $(#[test] fn $name() { run(stringify!($name)); })*
        const RUNS: &[&str] = &[$(stringify!($name)),*];
    };
}

short_runs!(
    apk,
    apk_checksum,
    apk_data,
    apk_index,
    apk_installed,
    apk_key,
    apk_pkginfo,
    apk_relation,
    apk_scripts,
    apk_section,
    apk_version,
    apk_world,
    deb,
    deb822,
    packages,
    recipe,
    relation,
    release,
    trust,
    version
);

#[test]
fn every_target_has_a_short_and_a_long_run() {
    let table: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(table, RUNS.iter().copied().collect());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/targets");
    let long: BTreeSet<String> = fs::read_dir(folder)
        .expect("the long runs are there")
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(table, long.iter().map(String::as_str).collect());
}
