//! What a build that is cut off leaves behind: nothing. Part of the boot ring, since it needs the mirror.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Bench, tool};

const RECIPE: &str = "edition = 1\nname = \"cut\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\n\
                      [[script]]\nafter = \"packages\"\nname = \"waits\"\ntext = \"echo here it waits; sleep 987\"\n\n\
                      [[output]]\nformat = \"tar\"\n";

/// Starts a build, sends `signal` once its script runs, and returns its exit code.
fn cut_off(bench: &Bench, signal: &str) -> Option<i32> {
    bench.write("cut.toml", RECIPE);
    let mut child = bench.kiln(&["build", "cut.toml", "--plain"]).stderr(Stdio::piped()).spawn().expect("kiln starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let waits = lines.by_ref().map_while(Result::ok).any(|line| line.contains("here it waits"));
    assert!(waits, "the script ran");
    tool("kill", &[&format!("-{signal}"), &child.id().to_string()]);
    let code = child.wait().expect("kiln ends").code();
    drop(lines);
    code
}

/// Whether any process or mount still has to do with the bench, or a tree of it is still there.
fn left(bench: &Bench) -> Option<String> {
    let folder = bench.path("").display().to_string();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if let Some(mount) = mounts.lines().find(|line| line.contains(folder.trim_end_matches('/'))) {
        return Some(format!("mounted: {mount}"));
    }
    let processes = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let sleeping = processes.map(|path| fs::read(path.join("cmdline")).unwrap_or_default());
    if sleeping.into_iter().any(|words| words == b"sleep\0987\0") {
        return Some("the script still sleeps".into());
    }
    let scratch = bench.cache().join("scratch");
    let trees: Vec<_> = fs::read_dir(&scratch).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    (!trees.is_empty()).then(|| format!("{} holds {trees:?}", scratch.display()))
}

/// Gives what ends with kiln a moment to do so.
fn nothing_left(bench: &Bench) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Some(what) = left(bench) {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!Path::new(&bench.path("out/cut.tar")).exists());
}

#[test]
fn boot_a_build_that_is_cut_off_leaves_nothing() {
    let bench = Bench::new();
    for (signal, code) in [("INT", Some(130)), ("TERM", Some(130)), ("KILL", None)] {
        assert_eq!(cut_off(&bench, signal), code, "{signal}");
        nothing_left(&bench);
    }
    // What was killed is no hindrance: the next build goes on where the cache has something.
    bench.write("cut.toml", &RECIPE.replace("sleep 987", "true"));
    bench.ok(&["build", "cut.toml"]);
}
