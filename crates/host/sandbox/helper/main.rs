//! A small kiln for the tests and for trying things out:
//!
//! - `sandboxed run TREE PROGRAM [ARGUMENT]…` runs a command, `TIMES=n` times, and tells what it used;
//! - `sandboxed shell TREE PROGRAM [ARGUMENT]…` does so with the terminal attached;
//! - `sandboxed hang TREE FOLDER` keeps everything in use (scratch trees, mounts, processes) until it is stopped;
//! - `sandboxed probe` prints what this machine allows.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::exit;

use kiln_model::Fault;
use kiln_sandbox::{
    Bound, Command, Emulator, Enter, Exit, Namespaces, Overlay, Sandbox, Scratch, Status, Stream, enter, probe, sweep,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "probe") {
        return tell_probes();
    }
    let result = match arguments.as_slice() {
        [word, tree, command @ ..] if word == "run" || word == "shell" => run(tree, command, word == "shell"),
        [word, tree, folder] if word == "hang" => hang(Path::new(tree), Path::new(folder)),
        _ => Err(Fault::recipe("usage: see the top of helper/main.rs")),
    };
    match result {
        Ok(exit) => exit_as(&exit),
        Err(fault) => {
            eprintln!("{}", fault.chain());
            fault.hint_text().into_iter().for_each(|hint| eprintln!("{hint}"));
            exit(fault.kind().exit_code().into())
        }
    }
}

fn exit_as(ended: &Exit) -> ! {
    match ended.status {
        Status::Code(code) => exit(code),
        Status::Signal(signal) => exit(128 + signal),
    }
}

fn show(stream: Stream, bytes: &[u8]) {
    let _ = match stream {
        Stream::Stdout => std::io::stdout().write_all(bytes).and_then(|()| std::io::stdout().flush()),
        Stream::Stderr => std::io::stderr().write_all(bytes),
    };
}

fn run(tree: &str, arguments: &[String], terminal: bool) -> Result<Exit, Fault> {
    let sandbox = Namespaces::new(&enter(&Enter::default())?);
    let mut command = Command::new(tree, arguments);
    command.terminal = terminal;
    let times = std::env::var("TIMES").ok().and_then(|times| times.parse().ok()).unwrap_or(1_u32);
    for _ in 1..times {
        sandbox.run(&command, &mut |_, _| ())?;
    }
    let exit = sandbox.run(&command, &mut show)?;
    if !terminal {
        eprintln!("{exit}; {:?} of CPU, {} bytes at most, {:?} in all", exit.cpu, exit.max_rss, exit.wall);
    }
    Ok(exit)
}

fn hang(tree: &Path, folder: &Path) -> Result<Exit, Fault> {
    let root = rustix::process::geteuid().is_root();
    let mut how = Enter::default();
    how.emulators_on_host = root;
    let sandbox = Namespaces::new(&enter(&how)?);
    sweep(folder)?;
    let scratch = Scratch::new(folder, "hang")?;
    let inside = |name: &str| -> PathBuf { scratch.path().join(name) };
    let overlay = Overlay::mount(&[tree], &inside("upper"), &inside("work"), &inside("root"))?;
    let _bound = Bound::mount(tree, &inside("bound"), false)?;
    let script = "mkdir -p /deep/er; touch /deep/er/file; chown -R 1000:1000 /deep; chmod 0 /deep/er;
        trap '' TERM INT HUP; (setsid sleep 1000 &); sleep 1000 & echo ready; sleep 1000; sleep 1000";
    let mut command = Command::new(overlay.target(), ["sh", "-c", script]);
    if let Ok(mark) = std::env::var("KILN_TEST_MARK") {
        command.emulators.extend(root.then(|| emulator(tree, &mark)));
        command = command.env("KILN_TEST_MARK", mark);
    }
    let result = sandbox.run(&command, &mut show);
    while std::env::var_os("KILN_TEST_DEAF").is_some() {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    Ok(result?)
}

/// Returns an emulator of programs that nobody has.
fn emulator(tree: &Path, mark: &str) -> Emulator {
    let magic = format!("KILN {mark}").into_bytes();
    Emulator { name: mark.into(), magic, mask: vec![], program: tree.join("bin/busybox") }
}

fn tell_probes() {
    for probe in probe(&std::env::temp_dir()) {
        let sign = if probe.ok { "ok" } else { "no" };
        println!("{sign}  {}: {}", probe.name, probe.cause);
        probe.mend.into_iter().for_each(|mend| println!("    mend: {mend}"));
    }
}
