//! Running cargo and writing files, from the workspace's root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Done, or a sentence that says why not.
pub type Done = Result<(), String>;

/// Returns the workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// Runs cargo with its output on the terminal.
pub fn cargo(words: &[&str]) -> Done {
    cargo_with(words, &[])
}

/// The same with environment variables.
pub fn cargo_with(words: &[&str], env: &[(&str, &str)]) -> Done {
    let status = command(words).envs(env.iter().copied()).status();
    let status = status.map_err(|error| format!("run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`cargo {}` failed", words.join(" "))) }
}

/// Runs cargo and returns what it prints.
pub fn cargo_output(words: &[&str]) -> Result<String, String> {
    let output = command(words).output().map_err(|error| format!("run cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("`cargo {}` failed:\n{}", words.join(" "), String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("`cargo {}`: {error}", words.join(" ")))
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root());
    command
}

/// Writes a generated file, or with `--check` tells when it is not what would be written.
pub fn generated(path: &str, text: &str, arguments: &[String]) -> Done {
    let file = root().join(path);
    if fs::read_to_string(&file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if arguments.iter().any(|word| word == "--check") {
        return Err(format!("`{path}` is stale; `cargo xtask docs` writes it anew"));
    }
    let written = fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).and_then(|()| fs::write(&file, text));
    written.map_err(|error| format!("write `{path}`: {error}"))
}
