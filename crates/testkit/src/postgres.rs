//! A real PostgreSQL on a port of its own.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::{eventually, free_port};

/// A PostgreSQL server with an empty database `kiln`, in a folder of its own; it ends with this value.
#[derive(Debug)]
pub struct Postgres {
    pub port: u16,
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Postgres {
    pub fn start() -> Self {
        let mut postgres = Self { port: free_port(), folder: tempfile::tempdir().expect("a folder"), process: None };
        let path = postgres.folder.path().to_owned();
        if let Some((uid, gid)) = servant() {
            chown(&path, Some(uid), Some(gid)).expect("root gives folders away");
        }
        let made = program("initdb")
            .args(["--auth=trust", "--username=kiln", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(path.join("data"))
            .current_dir(&path)
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb is there: scripts/setup --tests").success());
        postgres.up();
        let url = format!("postgres://kiln@127.0.0.1:{}/postgres", postgres.port);
        let made = program("psql").args([&url, "-qc", "CREATE DATABASE kiln"]).current_dir(&path).status();
        assert!(made.expect("psql is there").success());
        postgres
    }

    /// Starts it, again if it was killed; what was committed is still there.
    pub fn up(&mut self) {
        let path = self.folder.path().to_owned();
        let mut command = program("postgres");
        command
            .arg("-D")
            .arg(path.join("data"))
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k"])
            .arg(&path);
        command.current_dir(&path).stdout(Stdio::null()).stderr(fs::File::create(path.join("log")).expect("a log"));
        let spawn = |command: &mut Command| command.spawn().expect("postgres is there: scripts/setup --tests");
        let process = std::cell::RefCell::new(spawn(&mut command));
        let command = std::cell::RefCell::new(command);
        let port = self.port.to_string();
        let ready = || {
            let asked = program("pg_isready").args(["-q", "-h", "127.0.0.1", "-p", &port]).current_dir(&path).status();
            // Of one that was killed some processes may still hold its memory: then the next one does not start yet.
            if matches!(process.borrow_mut().try_wait(), Ok(Some(_))) {
                process.replace(spawn(&mut command.borrow_mut()));
            }
            asked.is_ok_and(|status| status.success())
        };
        eventually("PostgreSQL starts", ready);
        self.process = Some(process.into_inner());
    }

    /// Performs statements by PostgreSQL's own client; returns what the last one says, without ornaments.
    pub fn run(&self, sql: &str) -> String {
        let output = program("psql").args([&self.url(), "-Aqtc", sql]).current_dir(self.folder.path()).output();
        let output = output.expect("psql is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is UTF-8").trim().to_owned()
    }

    /// Kills it.
    pub fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("PostgreSQL can be killed");
            process.wait().expect("PostgreSQL can be waited for");
        }
    }

    pub fn url(&self) -> String {
        format!("postgres://kiln@127.0.0.1:{}/kiln", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.down();
    }
}

/// Returns one of PostgreSQL's programs, run as its own user where this one is root, which it refuses.
fn program(name: &str) -> Command {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let newest: Option<PathBuf> = versions.max();
    let mut command = Command::new(newest.map_or(name.into(), |folder| folder.join("bin").join(name)));
    if let Some((uid, gid)) = servant() {
        command.uid(uid).gid(gid);
    }
    command
}

/// Returns the user and group PostgreSQL runs as here; none: those of this process.
fn servant() -> Option<(u32, u32)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?;
    let users = fs::read_to_string("/etc/passwd").ok().filter(|_| uid == "0")?;
    let mut fields = users.lines().find(|line| line.starts_with("postgres:"))?.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
