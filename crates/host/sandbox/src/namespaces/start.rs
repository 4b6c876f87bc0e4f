//! The janitor's part of a start: clone, map the ids, give the word.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::process::Pid;

use super::{Group, Job, first};
use crate::enter::{identity, lines};
use crate::error::Doing;
use crate::{Network, Result, sys};

/// The standard streams of a program.
pub(super) struct Streams {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// A sandbox that has started.
pub(crate) struct Started {
    /// Its first process.
    pub first: Pid,
    pub descriptor: OwnedFd,
    pub group: Option<Group>,
}

/// Starts a sandbox; `descriptors` are the job and the three streams.
pub(crate) fn start(line: &OwnedFd, descriptors: Vec<OwnedFd>) -> Result<Started> {
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().expect("the janitor counted them");
    let job = read(next())?;
    let streams = Streams { stdin: next(), stdout: next(), stderr: next() };
    let (mut here, there) = UnixStream::pair().doing(|| "make a socket pair".into())?;
    let group = Group::new(&job.command.limits);
    match sys::clone(namespaces(job.command.network)).doing(|| "clone into new namespaces".into())? {
        None => {
            let needed = [line, &streams.stdin, &streams.stdout, &streams.stderr].map(AsRawFd::as_raw_fd);
            let _ = sys::close_except(&[needed.as_slice(), &[there.as_raw_fd()]].concat());
            first::live(&job, line, streams, there)
        }
        Some((first, descriptor)) => {
            let group = group.filter(|group| group.admit(first).is_ok());
            let admitted = admit(first, &mut here);
            if admitted.is_err() {
                let _ = sys::kill(first.as_raw_nonzero().get(), libc::SIGKILL);
                let _ = sys::wait4(first.as_raw_nonzero().get(), 0);
            }
            admitted.map(|()| Started { first, descriptor, group })
        }
    }
}

fn namespaces(network: Network) -> libc::c_int {
    let always = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    match network {
        Network::None => always | libc::CLONE_NEWNET,
        Network::Host => always,
    }
}

fn read(job: OwnedFd) -> Result<Job> {
    let mut text = Vec::new();
    File::from(job).read_to_end(&mut text).doing(|| "read the job".into())?;
    serde_json::from_slice(&text).doing(|| "read the job".into())
}

/// Every id of kiln's own namespace, as itself.
fn admit(first: Pid, line: &mut UnixStream) -> Result<()> {
    for map in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{map}", first.as_raw_nonzero());
        let ids = lines(&identity(&format!("/proc/self/{map}"))?);
        std::fs::write(&path, ids).doing(|| format!("write `{path}`"))?;
    }
    line.write_all(&[0]).doing(|| "give the word to start".into())
}
