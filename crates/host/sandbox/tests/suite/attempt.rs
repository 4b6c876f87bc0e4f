//! The part that runs inside: one system call, and its error number on standard output (0 for success).

use std::io;

/// Does what `words` say.
pub fn main(words: &[String]) {
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["hog"] => hog(),
        ["hidden-hog"] => hidden_hog(),
        ["shared-hog"] => shared_hog(),
        ["bomb"] => bomb(),
        ["linger"] => linger(),
        names => names.iter().for_each(|name| println!("{name} {}", call(name))),
    }
}

/// Returns the error number of a call.
fn call(name: &str) -> i32 {
    let zero = 0_usize;
    // SAFETY: null pointers, bad descriptors and constant strings; whatever the kernel answers is the point.
    let result = unsafe {
        match name {
            "ptrace" => libc::ptrace(libc::PTRACE_ATTACH, 1, zero, zero),
            "traceme" => libc::ptrace(libc::PTRACE_TRACEME, 0, zero, zero),
            "unshare-user" => libc::unshare(libc::CLONE_NEWUSER).into(),
            "unshare-fs" => libc::unshare(libc::CLONE_FS).into(),
            "clone-user" => libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, zero, zero, zero, zero),
            "clone3" => libc::syscall(libc::SYS_clone3, zero, zero),
            "setns" => libc::setns(libc::open(c"/proc/self/ns/net".as_ptr(), 0), 0).into(),
            "mount" => libc::mount(c"none".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()).into(),
            "fsopen" => libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), zero),
            "umount" => libc::umount2(c"/proc/sys".as_ptr(), libc::MNT_DETACH).into(),
            "keyctl" => libc::syscall(libc::SYS_keyctl, zero, zero),
            "bpf" => libc::syscall(libc::SYS_bpf, zero, zero, zero),
            "perf" => libc::syscall(libc::SYS_perf_event_open, zero, zero, zero, zero, zero),
            "kexec" => libc::syscall(libc::SYS_kexec_load, zero, zero, zero, zero),
            "module" => libc::syscall(libc::SYS_finit_module, zero, zero, zero),
            "userfaultfd" => libc::syscall(libc::SYS_userfaultfd, zero),
            "io-uring" => libc::syscall(libc::SYS_io_uring_setup, 1_usize, zero),
            "handle" => libc::syscall(libc::SYS_open_by_handle_at, zero, zero, zero),
            "reboot" => libc::syscall(libc::SYS_reboot, zero, zero, zero, zero),
            "mknod" => libc::mknod(c"/sda".as_ptr(), libc::S_IFBLK | 0o600, libc::makedev(8, 0)).into(),
            "mkfifo" => libc::mknod(c"/fifo".as_ptr(), libc::S_IFIFO | 0o600, 0).into(),
            "vsock" => libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0).into(),
            "raw-socket" => libc::socket(libc::AF_INET, libc::SOCK_RAW, 1).into(),
            "unix-socket" => libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).into(),
            "fsync" => libc::fsync(-1).into(),
            "fdatasync" => libc::fdatasync(-1).into(),
            "syncfs" => libc::syncfs(-1).into(),
            "msync" => libc::msync(4096 as *mut _, 4096, libc::MS_SYNC).into(),
            "own-exe" => libc::open(c"/proc/1/exe".as_ptr(), libc::O_RDONLY).into(),
            "environ" => libc::open(c"/proc/1/environ".as_ptr(), libc::O_RDONLY).into(),
            // On a kernel that has it, bad arguments are another error.
            "open-tree-attr" => libc::syscall(467, -1, c"/tmp".as_ptr(), zero, zero, zero),
            "unheard-of" => libc::syscall(600),
            "setcap" => setcap(),
            other => panic!("unknown call {other}"),
        }
    };
    if result < 0 { io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

/// Gives a file cap_net_bind_service, effective, as setcap does.
unsafe fn setcap() -> i64 {
    std::fs::write("/server", "").unwrap();
    let words: [u32; 5] = [0x0200_0001, 1 << 10, 0, 0, 0];
    // SAFETY: twenty bytes of a live array.
    unsafe { libc::setxattr(c"/server".as_ptr(), c"security.capability".as_ptr(), words.as_ptr().cast(), 20, 0).into() }
}

/// Takes memory for ever.
fn hog() {
    let mut all = Vec::new();
    loop {
        all.push(vec![1_u8; 4 << 20]);
    }
}

/// The same, in pages shared with a child.
fn shared_hog() {
    loop {
        // SAFETY: a fresh anonymous mapping, written within its length.
        unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let at = libc::mmap(std::ptr::null_mut(), 4 << 20, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert_ne!(at, libc::MAP_FAILED);
            libc::memset(at, 1, 4 << 20);
        }
    }
}

/// Fills twice the suite's limit of memory, in a file without a name that is never mapped.
fn hidden_hog() {
    use std::io::Write;
    use std::os::fd::FromRawFd;
    // SAFETY: a constant name; the descriptor is nobody else's.
    let mut file = unsafe { std::fs::File::from_raw_fd(libc::memfd_create(c"hog".as_ptr(), 0)) };
    (0..128).for_each(|_| file.write_all(&[1; 1 << 20]).unwrap());
}

/// Forks for ever, every child too.
fn bomb() {
    loop {
        // SAFETY: one thread.
        unsafe { libc::fork() };
    }
}

/// Ignores every polite wish, in a session of its own.
fn linger() {
    // SAFETY: one thread; constant dispositions.
    unsafe {
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        libc::setsid();
    }
    loop {
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}
