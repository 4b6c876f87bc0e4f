//! The few system calls that no safe crate offers; every `unsafe` of kiln is in this file.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::process::Pid;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn pid(raw: libc::c_long) -> Pid {
    Pid::from_raw(raw as i32).expect("the kernel gives a positive id")
}

/// Forks; returns `None` in the child. The process must have one thread: the child goes on with all of Rust's world.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: one thread, by contract; nothing is locked by another.
    let raw = check(libc::c_long::from(unsafe { libc::fork() }))?;
    Ok((raw > 0).then(|| pid(raw)))
}

/// Forks into new namespaces; returns `None` in the child, else its id and a descriptor of it. One thread, as for [`fork`].
pub(crate) fn clone(namespaces: libc::c_int) -> io::Result<Option<(Pid, OwnedFd)>> {
    let mut descriptor: RawFd = -1;
    let flags = libc::c_long::from(namespaces | libc::CLONE_PIDFD | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with no stack given this is a fork; the kernel writes one int to `descriptor`.
    let raw = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, &raw mut descriptor, 0_usize, 0_usize) })?;
    if raw == 0 {
        return Ok(None);
    }
    // SAFETY: CLONE_PIDFD made this descriptor for us alone.
    Ok(Some((pid(raw), unsafe { OwnedFd::from_raw_fd(descriptor) })))
}

/// Leaves namespaces for new ones; namespaces only, no shared tables of this process.
pub(crate) fn unshare(namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: namespaces are safe to leave; file and memory sharing are not touched.
    check(libc::c_long::from(unsafe { libc::unshare(namespaces) })).map(drop)
}

/// Whether the kernel runs programs of 32 bits; those for arm64 say so when asked for their personality.
pub(crate) fn runs_32_bits() -> bool {
    const ASK: libc::c_ulong = 0xffff_ffff;
    const NARROW: libc::c_ulong = 8;
    // SAFETY: a number of this thread, which is put back at once; nothing is executed meanwhile.
    unsafe {
        let before = libc::personality(ASK);
        let allowed = libc::personality(NARROW) >= 0;
        libc::personality(before as libc::c_ulong);
        allowed
    }
}

/// Ends this process at once: no destructors, no buffers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(code) }
}

/// A child that ended, with its raw wait status and what it and its own children used.
pub(crate) struct Ended {
    pub pid: i32,
    pub status: i32,
    pub cpu: Duration,
    /// Bytes.
    pub max_rss: u64,
}

/// Waits for a child (`-1`: any); `None` when `options` has WNOHANG and none ended. ECHILD when there are no children.
pub(crate) fn wait4(which: i32, options: libc::c_int) -> io::Result<Option<Ended>> {
    let mut status = 0;
    // SAFETY: rusage is plain data, for which zero is a value; the kernel fills both.
    let (raw, used) = unsafe {
        let mut used: libc::rusage = zeroed();
        let raw = loop {
            match check(libc::c_long::from(libc::wait4(which, &raw mut status, options, &raw mut used))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        (raw, used)
    };
    let ended = || Ended {
        pid: raw as i32,
        status,
        cpu: duration(used.ru_utime) + duration(used.ru_stime),
        max_rss: used.ru_maxrss as u64 * 1024,
    };
    Ok((raw > 0).then(ended))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000)
}

/// Sends a signal to a process id as kill(2) understands it (`-1`: everyone we may).
pub(crate) fn kill(target: i32, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(libc::c_long::from(unsafe { libc::kill(target, signal) })).map(drop)
}

/// A set of signals.
pub(crate) fn signals(list: &[libc::c_int]) -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the set.
    unsafe {
        let mut set = zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in list {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// Blocks `set` in this thread and in those it will make.
pub(crate) fn block(set: &libc::sigset_t) {
    // SAFETY: a valid set; the old one is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, set, std::ptr::null_mut()) };
}

/// Lets every signal through.
pub(crate) fn unblock_all() {
    // SAFETY: as above.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &signals(&[]), std::ptr::null_mut()) };
}

/// Waits for one of `set`.
pub(crate) fn wait_signal(set: &libc::sigset_t) -> io::Result<libc::c_int> {
    // SAFETY: a valid set; what else the kernel knows is not asked for.
    let raw = unsafe { libc::sigwaitinfo(set, std::ptr::null_mut()) };
    Ok(check(libc::c_long::from(raw))? as libc::c_int)
}

/// Takes one of `set` if it is pending already.
pub(crate) fn take_pending(set: &libc::sigset_t) -> bool {
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel reads both and writes nothing.
    unsafe { libc::sigtimedwait(set, std::ptr::null_mut(), &raw const now) > 0 }
}

/// Gives a signal its default action or none.
pub(crate) fn dispose(signal: libc::c_int, ignore: bool) {
    // SAFETY: both dispositions are always valid; signals that cannot be changed answer with an error that does not matter.
    unsafe { libc::signal(signal, if ignore { libc::SIG_IGN } else { libc::SIG_DFL }) };
}

/// Calls `handler` on `signal`, system calls restarted. The handler may only do what is safe in one.
pub(crate) fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: sigaction is plain data; the handler lives as long as the program.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

/// Adds to an event descriptor; safe in a signal handler.
pub(crate) fn poke(descriptor: RawFd) {
    let one = 1_u64;
    // SAFETY: eight bytes of a live variable.
    unsafe { libc::write(descriptor, (&raw const one).cast(), size_of::<u64>()) };
}

/// Closes every descriptor from `first` on, or marks it close-on-exec.
pub(crate) fn close_from(first: libc::c_uint, on_exec: bool) -> io::Result<()> {
    let flags = if on_exec { libc::CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: callers own every descriptor they go on to use, and use none of those closed.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) }).map(drop)
}

/// Adds mount attributes (`MOUNT_ATTR_*`) to a mount given by descriptor.
pub(crate) fn mount_add(mount: impl AsFd, attributes: u64, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: an empty path and an attribute block of the size given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// Installs a seccomp filter for this thread and all it will start; needs no_new_privs.
pub(crate) fn filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions and never writes.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) }).map(drop)
}

/// Brings the loopback device of this network namespace up.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: ifreq is plain data with a nul-terminated name.
    unsafe {
        let mut request: libc::ifreq = zeroed();
        request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        check(libc::c_long::from(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)))
            .map(drop)
    }
}

/// Returns the login name of a user id.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    let mut space = vec![0_u8; 16 * 1024];
    // SAFETY: the entry points into `space`, which outlives the copy of the name.
    unsafe {
        let mut entry: libc::passwd = zeroed();
        let mut found = std::ptr::null_mut();
        let space_at = space.as_mut_ptr().cast();
        libc::getpwuid_r(uid, &raw mut entry, space_at, space.len(), &raw mut found);
        (!found.is_null()).then(|| std::ffi::CStr::from_ptr(entry.pw_name).to_string_lossy().into_owned())
    }
}

/// Moves a descriptor to a number of our choice, closing what was there.
pub(crate) fn move_to(descriptor: OwnedFd, number: RawFd) -> OwnedFd {
    if descriptor.as_raw_fd() == number {
        return descriptor;
    }
    // SAFETY: whoever owned `number` is forgotten by contract: only called in fresh children that use nothing else.
    unsafe {
        libc::dup3(descriptor.as_raw_fd(), number, libc::O_CLOEXEC);
        drop(descriptor);
        OwnedFd::from_raw_fd(number)
    }
}

/// Closes every descriptor from 3 on that is not in `kept`.
pub(crate) fn close_except(kept: &[RawFd]) -> io::Result<()> {
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    let mut from = 3;
    for descriptor in kept.into_iter().map(|kept| kept as libc::c_uint) {
        if descriptor > from {
            // SAFETY: only called in fresh children that use nothing but what is kept.
            check(unsafe { libc::syscall(libc::SYS_close_range, from, descriptor - 1, 0) })?;
        }
        from = descriptor + 1;
    }
    close_from(from, false)
}

/// Returns the time and the largest resident size (bytes) of all reaped children.
pub(crate) fn used_by_children() -> (Duration, u64) {
    // SAFETY: plain data that the kernel fills.
    let used = unsafe {
        let mut used: libc::rusage = zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut used);
        used
    };
    (duration(used.ru_utime) + duration(used.ru_stime), used.ru_maxrss as u64 * 1024)
}

/// Replaces this process's name and command line, which others may read, by `name`.
pub(crate) fn retitle(name: &std::ffi::CStr) {
    let _ = rustix::thread::set_name(name);
    let Some((start, end)) = command_line() else { return };
    let name = name.to_bytes_with_nul();
    // SAFETY: the kernel says that the arguments lie there, in this process's own writable stack; only called in fresh
    // children, which never look at their arguments again.
    unsafe {
        let space = std::slice::from_raw_parts_mut(start as *mut u8, end - start);
        space.fill(0);
        let length = name.len().min(space.len());
        space[..length].copy_from_slice(&name[..length]);
    }
}

/// Returns where the arguments of this process begin and end: fields 48 and 49 of its `stat`.
fn command_line() -> Option<(usize, usize)> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(45);
    let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (range.0 != 0 && range.1 > range.0).then_some(range)
}

/// Makes glibc's allocator return what is free above `bytes` at the end of a heap; other allocators do so by themselves.
pub fn trim_above(bytes: i32) {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes two numbers, and a wrong one changes nothing.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, bytes)
    };
    #[cfg(not(target_env = "gnu"))]
    let _ = bytes;
}

/// Makes glibc's allocator return every page that is free in any of its heaps; other allocators do so by themselves.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number of bytes to keep.
    unsafe {
        libc::malloc_trim(0)
    };
}
