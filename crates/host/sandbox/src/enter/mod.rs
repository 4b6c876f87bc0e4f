//! The way in: a user namespace in which kiln is root, and a thin supervisor outside of it.

mod ids;
mod refusal;
mod supervisor;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Pid, Signal, getppid};
use rustix::thread::{Gid, Uid};

use crate::error::Doing;
use crate::janitor::Janitor;
use crate::namespaces::is_before_6_7;
use crate::registrar::Registrar;
use crate::{Error, Result, interrupt, sys};

pub(crate) use ids::{entered, identity, lines};

/// How to enter.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Enter {
    /// Emulators are registered on the host, even where the kernel lets a sandbox have its own.
    pub emulators_on_host: bool,
}

/// Ids that exist inside: `count` ids from `inside` on are `outside` and on for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// Proof that this process is root of its own user namespace, with a mount namespace of its own.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entered {
    pub uids: Vec<IdRange>,
    pub gids: Vec<IdRange>,
}

/// Enters the sandbox world; must be the first thing `main` does, while the process has one thread.
///
/// Returns in a child process that is root of a new user namespace and has a private mount namespace. The calling
/// process stays outside as a supervisor: it passes signals on and ends as the child ends, and never returns from here.
/// An error is returned in the calling process.
pub fn enter(options: &Enter) -> Result<Entered> {
    let maps = ids::maps()?;
    let on_host = options.emulators_on_host || is_before_6_7();
    let registrar = if on_host && maps.own_right { Registrar::hire()? } else { None };
    sys::block(&sys::signals(&supervisor::WATCHED));
    let entered = cross(&maps, move || {
        // The supervisor's own went with its copy of this closure.
        registrar.into_iter().for_each(Registrar::serve_me);
        Janitor::hire()?;
        interrupt::listen();
        sys::unblock_all();
        ids::entered()
    });
    match entered {
        Ok(Side::Inside(entered)) => Ok(entered),
        Ok(Side::Outside(worker)) => supervisor::supervise(worker),
        Err(error) => {
            sys::unblock_all();
            Err(error)
        }
    }
}

/// Runs `trial` in a child that has entered, and returns what came of it; for probes.
pub(crate) fn trial(trial: impl FnOnce() -> Result<()>) -> Result<()> {
    match cross(&ids::maps()?, trial)? {
        Side::Inside(()) => sys::exit_now(0),
        Side::Outside(child) => sys::wait4(child.as_raw_nonzero().get(), 0).map(drop).doing(|| "wait".into()),
    }
}

/// Where a process finds itself after the fork.
enum Side<T> {
    Inside(T),
    Outside(Pid),
}

/// Forks; the child becomes root of new namespaces and does `first`. An error of either side is returned outside only.
fn cross<T>(maps: &ids::Maps, first: impl FnOnce() -> Result<T>) -> Result<Side<T>> {
    let (mut here, mut there) = UnixStream::pair().doing(|| "make a socket pair".into())?;
    let supervisor = rustix::process::getpid();
    let Some(worker) = sys::fork().doing(|| "fork".into())? else {
        drop(here);
        return match become_root(&mut there, supervisor).and_then(|()| first()) {
            Ok(made) => {
                tell(&mut there, &Ok(()));
                Ok(Side::Inside(made))
            }
            Err(error) => {
                tell(&mut there, &Err(error));
                sys::exit_now(4)
            }
        };
    };
    drop(there);
    if let Err(error) = admit(worker, maps, &mut here) {
        let _ = sys::kill(worker.as_raw_nonzero().get(), libc::SIGKILL);
        let _ = sys::wait4(worker.as_raw_nonzero().get(), 0);
        return Err(error);
    }
    Ok(Side::Outside(worker))
}

/// The outer half of the handshake: maps ids once the namespace is there, hears whether all went well.
fn admit(worker: Pid, maps: &ids::Maps, line: &mut UnixStream) -> Result<()> {
    // The janitor outlives the worker and becomes our child then; so does whatever else is orphaned.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    hear(line)?;
    map(worker, maps)?;
    let _ = line.write_all(&[0]);
    hear(line)
}

fn map(worker: Pid, maps: &ids::Maps) -> Result<()> {
    let worker = worker.as_raw_nonzero();
    for (name, tool, ranges) in [("uid_map", "newuidmap", &maps.uids), ("gid_map", "newgidmap", &maps.gids)] {
        if maps.own_right {
            let path = format!("/proc/{worker}/{name}");
            std::fs::write(&path, lines(ranges)).map_err(|error| refusal::map(name, error))?;
        } else {
            let numbers = lines(ranges);
            let done = Command::new(tool).arg(worker.to_string()).args(numbers.split_whitespace()).output();
            let done = done.map_err(|error| refusal::tool(tool, error))?;
            if !done.status.success() {
                return Err(refusal::told(tool, &String::from_utf8_lossy(&done.stderr)));
            }
        }
    }
    Ok(())
}

/// The inner half: a user namespace of its own, all ids, a mount namespace, and a life tied to the outer half's.
fn become_root(line: &mut UnixStream, supervisor: Pid) -> Result<()> {
    sys::unshare(libc::CLONE_NEWUSER).map_err(refusal::user_namespace)?;
    tell(line, &Ok(()));
    line.read_exact(&mut [0]).doing(|| "wait for the id maps".into())?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).doing(|| "become group 0".into())?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).doing(|| "become user 0".into())?;
    // Changing ids forgets both of these, so they come after.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable);
    let die_too = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    die_too.doing(|| "bind the worker's life to its supervisor".into())?;
    if getppid() != Some(supervisor) {
        sys::exit_now(4);
    }
    sys::unshare(libc::CLONE_NEWNS).map_err(refusal::mount_namespace)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(refusal::mount_namespace)
}

/// One message of the handshake: `ok`, or an error as `what NUL mend NUL errno`, closed by a record separator.
fn tell(line: &mut UnixStream, news: &Result<()>) {
    let text = match news {
        Ok(()) => "ok".to_owned(),
        Err(error) => refusal::write(error),
    };
    let _ = line.write_all(format!("{text}\x1e").as_bytes());
}

fn hear(line: &mut UnixStream) -> Result<()> {
    let mut text = Vec::new();
    // Byte by byte: what follows the separator is for the next call.
    #[allow(clippy::unbuffered_bytes)]
    for byte in line.bytes() {
        match byte.doing(|| "hear from the worker".into())? {
            0x1e => break,
            byte => text.push(byte),
        }
    }
    match text.as_slice() {
        b"ok" => Ok(()),
        b"" => Err(Error::Refused { what: "the worker ended before it began".into(), mend: None, source: None }),
        text => Err(refusal::read(&String::from_utf8_lossy(text))),
    }
}
