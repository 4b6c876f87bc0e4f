//! What every sandbox must do, run as root and as an ordinary user with subordinate ids.
//!
//! Not the usual harness: a sandbox is entered while the process has one thread, so this `main` enters and then runs the
//! cases itself. `cargo test --test suite -- WORD` runs those whose name contains the word.

#[path = "suite/attempt.rs"]
mod attempt;
#[path = "suite/cases.rs"]
mod cases;
mod common;
#[path = "suite/escape.rs"]
mod escape;
#[path = "suite/limits.rs"]
mod limits;
#[path = "suite/trees.rs"]
mod trees;

use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::exit;

use kiln_model::GuestPath;
use kiln_sandbox::{Command, Enter, Exit, Namespaces, Sandbox, Scratch, Stream, enter};

/// What a case works with.
pub struct Ground {
    pub sandbox: Box<dyn Sandbox>,
    /// A busybox tree of the case's own.
    pub tree: PathBuf,
    /// Whether the kernel keeps limits, by what the probe says.
    pub delegated: bool,
    /// Whether the kernel lets a sandbox register emulators.
    pub emulates: bool,
    /// For whatever else the case makes.
    pub folder: PathBuf,
}

pub type Case = (&'static str, fn(&Ground));

impl Ground {
    pub fn shell(&self, script: &str) -> Command {
        Command::new(&self.tree, ["sh", "-c", script])
    }

    pub fn run(&self, command: &Command) -> (Exit, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = self.sandbox.run(command, &mut |stream, bytes| match stream {
            Stream::Stdout => out.extend_from_slice(bytes),
            Stream::Stderr => err.extend_from_slice(bytes),
        });
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (exit.unwrap(), text(out), text(err))
    }

    /// Runs a script that must succeed and returns what it wrote to its standard output.
    pub fn say(&self, script: &str) -> String {
        let (exit, out, err) = self.run(&self.shell(script));
        assert!(exit.success(), "{script}: {exit}\n{out}{err}");
        out
    }

    /// Returns a command that runs this very program inside, as [`attempt::main`].
    pub fn attempt(&self, words: &[&str]) -> Command {
        for (link, target) in [("lib", "usr/lib"), ("lib64", "usr/lib64")] {
            let _ = std::os::unix::fs::symlink(target, self.tree.join(link));
        }
        let argv = [&["/attempt", "attempt"], words].concat();
        let guest = |path: &str| path.parse::<GuestPath>().unwrap();
        Command::new(&self.tree, argv).bind("/usr", guest("/usr"), true).bind(
            std::env::current_exe().unwrap(),
            guest("/attempt"),
            true,
        )
    }
}

/// The name of all cases together.
const WHOLE: &str = "every_case_as_root_and_as_an_ordinary_user";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "attempt") {
        return attempt::main(&arguments[1..]);
    }
    if arguments.iter().any(|word| word == "--list") {
        // For cargo-nextest, which otherwise sees no test here and runs none; it asks for the ignored ones apart.
        if !arguments.iter().any(|word| word == "--ignored") {
            println!("{WHOLE}: test");
        }
        return;
    }
    if common::is_root() && std::env::var_os("KILN_SUITE_ONCE").is_none() {
        let folder = common::Folder::new("suite");
        let program = folder.install(&std::env::current_exe().unwrap());
        for ordinary in [false, true] {
            let mut command = common::as_user(ordinary, &program);
            let status = command.args(&arguments).env("KILN_SUITE_ONCE", "1").status().unwrap();
            if !status.success() {
                drop(folder);
                exit(1)
            }
        }
        return;
    }
    exit(run(wanted(&arguments)))
}

/// Returns the word on the command line that is no option of the usual harness, nor the value of one.
fn wanted(arguments: &[String]) -> Option<&String> {
    let before = std::iter::once("").chain(arguments.iter().map(String::as_str));
    let valued = |option: &str| ["--skip", "--test-threads"].contains(&option);
    let mut words = arguments.iter().zip(before).filter(|(word, before)| !word.starts_with('-') && !valued(before));
    words.next().map(|(word, _)| word).filter(|word| *word != WHOLE)
}

fn run(word: Option<&String>) -> i32 {
    let who = if common::is_root() { "root" } else { "an ordinary user" };
    let probes = kiln_sandbox::probe(&std::env::temp_dir());
    let works = |name: &str| probes.iter().any(|probe| probe.name.starts_with(name) && probe.ok);
    let (delegated, emulates) = (works("limits by cgroup"), works("foreign programs"));
    let entered = enter(&Enter::default()).unwrap_or_else(|error| panic!("{error}: {error:?}"));
    assert!(entered.uids.iter().map(|range| u64::from(range.count)).sum::<u64>() > 65534, "{entered:?}");
    let folder = common::Folder::new(&format!("ground-{}", who.len()));
    let all = [cases::CASES, escape::CASES, limits::CASES, trees::CASES];
    let chosen =
        all.iter().flat_map(|cases| cases.iter()).filter(|(name, _)| word.is_none_or(|word| name.contains(word)));
    let mut failed = 0;
    for (name, case) in chosen {
        let scratch = Scratch::new(&folder.0, "case").unwrap();
        let ground = Ground {
            sandbox: Box::new(Namespaces::new(&entered)),
            tree: scratch.path().join("tree"),
            folder: scratch.path().join("folder"),
            delegated,
            emulates,
        };
        std::fs::create_dir_all(&ground.folder).unwrap();
        common::busybox_tree(&ground.tree);
        let passed = catch_unwind(std::panic::AssertUnwindSafe(|| case(&ground))).is_ok();
        println!("{who}: {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += i32::from(!passed);
    }
    println!("{who}: {failed} failed");
    i32::from(failed > 0)
}
