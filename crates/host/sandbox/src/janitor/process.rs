//! The janitor's own life: one loop while kiln lives, one last round when it is gone.

use std::ffi::{CStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Signal, pidfd_send_signal};

use super::{Wish, remove};
use crate::namespaces::{Group, News, Started, start};
use crate::{letter, sys};

/// A sandbox that runs.
struct Room {
    started: Started,
    line: OwnedFd,
}

/// Serves until kiln is gone, then cleans up and ends.
pub(super) fn live(line: OwnedFd) -> ! {
    let line = settle(line, c"kiln-janitor");
    let (mut rooms, mut trees) = (Vec::new(), Vec::new());
    while serve(&line, &mut rooms, &mut trees) {}
    clear(rooms);
    trees.iter().rev().for_each(|tree| raze(tree));
    sys::exit_now(0)
}

/// Leaves kiln's session, terminal, directory and descriptors; only kiln's end may end a process that is called `name` now.
pub(crate) fn settle(line: OwnedFd, name: &CStr) -> OwnedFd {
    let _ = rustix::process::setsid();
    sys::retitle(name);
    for signal in
        [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE, libc::SIGUSR1, libc::SIGUSR2]
    {
        sys::dispose(signal, true);
    }
    sys::unblock_all();
    let _ = std::env::set_current_dir("/");
    if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    // The line moves to 3, so that all above can be closed: a pipe of the caller must not stay open through us.
    let line = keep_only(line);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    line
}

fn keep_only(line: OwnedFd) -> OwnedFd {
    let moved = sys::move_to(line, 3);
    let _ = sys::close_from(4, false);
    moved
}

/// Waits for one thing to happen; `false` when kiln is gone.
fn serve(line: &OwnedFd, rooms: &mut Vec<Room>, trees: &mut Vec<PathBuf>) -> bool {
    let mut watched: Vec<PollFd<'_>> = vec![PollFd::new(line, PollFlags::IN)];
    watched.extend(rooms.iter().map(|room| PollFd::new(&room.started.descriptor, PollFlags::IN)));
    if poll(&mut watched, None).is_err() {
        return true;
    }
    let asked = !watched[0].revents().is_empty();
    let ended: Vec<bool> = watched[1..].iter().map(|room| !room.revents().is_empty()).collect();
    let mut ended = ended.into_iter();
    rooms.retain(|room| !ended.next().unwrap_or(false) || !bury(room));
    if !asked {
        return true;
    }
    match letter::receive::<Wish>(line) {
        Ok(Some((Wish::Guard(tree), _))) => trees.push(OsString::from_vec(tree).into()),
        Ok(Some((Wish::Forget(tree), _))) => {
            let tree = PathBuf::from(OsString::from_vec(tree));
            trees.retain(|known| *known != tree);
        }
        Ok(Some((Wish::Start, descriptors))) => rooms.extend(open(descriptors)),
        Ok(None) => return false,
        Err(_) => {}
    }
    true
}

fn open(mut descriptors: Vec<OwnedFd>) -> Option<Room> {
    if descriptors.len() != 5 {
        return None;
    }
    let line = descriptors.remove(0);
    match start(&line, descriptors) {
        Ok(started) => {
            let _ = letter::send(&line, &News::Born, &[started.descriptor.as_fd()]);
            Some(Room { started, line })
        }
        Err(error) => {
            let _ = letter::send(&line, &News::failed(&error), &[]);
            None
        }
    }
}

/// Reaps the first process of a sandbox and tells kiln; `false` when it is not dead yet.
fn bury(room: &Room) -> bool {
    match sys::wait4(room.started.first.as_raw_nonzero().get(), libc::WNOHANG) {
        Ok(None) => false,
        Ok(Some(ended)) => {
            let excess = room.started.group.as_ref().and_then(Group::excess);
            let news = News::Gone { status: ended.status, cpu: ended.cpu, max_rss: ended.max_rss, excess };
            let _ = letter::send(&room.line, &news, &[]);
            true
        }
        Err(_) => true,
    }
}

/// Kills what still runs and waits until it is dead: the kernel ends a pid namespace with its first process.
fn clear(rooms: Vec<Room>) {
    for room in &rooms {
        let _ = pidfd_send_signal(&room.started.descriptor, Signal::KILL);
    }
    for room in &rooms {
        let _ = sys::wait4(room.started.first.as_raw_nonzero().get(), 0);
    }
}

/// Removes a tree, after taking away whatever kiln mounted in it.
fn raze(tree: &Path) {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    for mount in super::remove::mounts_below(&mounts, tree).into_iter().rev() {
        let _ = unmount(&mount, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
    let _ = remove(tree);
}
