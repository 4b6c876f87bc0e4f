//! The program's own last steps: streams, limits, rights, filter, exec.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command as Exec;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};

use super::start::Streams;
use super::{Job, News, first};
use crate::error::Doing;
use crate::{Command, Error, Limits, Result, letter, rights, seccomp, sys};

/// Starts the program; it reports on `line` when it cannot be executed.
pub(super) fn start(job: &Job, line: &OwnedFd, streams: Streams) -> Result<Pid> {
    let streams = if job.terminal { own_terminal(line)? } else { streams };
    match sys::fork().doing(|| "fork the program".into())? {
        Some(program) => Ok(program),
        None => {
            let error = become_program(job, streams).err();
            if let Some(error) = error {
                let _ = letter::send(line, &News::failed(&error), &[]);
            }
            sys::exit_now(127)
        }
    }
}

fn own_terminal(line: &OwnedFd) -> Result<Streams> {
    let inner = first::terminal(line)?;
    let again = || inner.try_clone().doing(|| "share the terminal".into());
    Ok(Streams { stdin: again()?, stdout: again()?, stderr: inner })
}

fn become_program(job: &Job, streams: Streams) -> Result<()> {
    let command = &job.command;
    attach(job, &streams).doing(|| "attach the standard streams".into())?;
    limit(&command.limits).doing(|| "set resource limits".into())?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    std::env::set_current_dir(command.cwd.under(Path::new("/"))).doing(|| format!("enter `{}`", command.cwd))?;
    reset_signals();
    if command.devices.is_empty() {
        rustix::thread::set_thread_groups(&[]).doing(|| "drop supplementary groups".into())?;
    }
    rights::drop().doing(|| "drop capabilities".into())?;
    sys::filter(&seccomp::program(command.throwaway)).doing(|| "install the system call filter".into())?;
    Err(exec(command))
}

fn attach(job: &Job, streams: &Streams) -> io::Result<()> {
    rustix::stdio::dup2_stdin(&streams.stdin)?;
    rustix::stdio::dup2_stdout(&streams.stdout)?;
    rustix::stdio::dup2_stderr(&streams.stderr)?;
    if !job.command.terminal || job.terminal {
        rustix::process::setsid()?;
    }
    if job.terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
    }
    sys::close_from(3, true)
}

/// Limits of one process; those of all together are the watch's.
fn limit(limits: &Limits) -> io::Result<()> {
    let at_most = |resource, limit: u64| {
        let hard = getrlimit(resource).maximum.map_or(limit, |hard| hard.min(limit));
        setrlimit(resource, Rlimit { current: Some(hard), maximum: Some(hard) })
    };
    at_most(Resource::Core, 0)?;
    if let Some(disk) = limits.disk {
        at_most(Resource::Fsize, disk)?;
    }
    if let Some(processes) = limits.processes {
        at_most(Resource::Nproc, u64::from(super::watch::backstop(processes)))?;
    }
    // Programs that close every descriptor they might have take long with the millions some hosts allow.
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX).min(65536);
    setrlimit(Resource::Nofile, Rlimit { current: Some(files.min(1024)), maximum: Some(files) })?;
    Ok(())
}

fn reset_signals() {
    for signal in 1..=64 {
        sys::dispose(signal, false);
    }
    sys::unblock_all();
}

fn exec(command: &Command) -> Error {
    let error = Exec::new(command.program()).args(&command.argv[1..]).env_clear().envs(&command.env).exec();
    Error::Program { program: command.program().into(), root: command.root.display().to_string(), source: error }
}
