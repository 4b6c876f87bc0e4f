//! The wish to stop, from a signal or from the program itself.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use crate::sys;

static WANTED: AtomicBool = AtomicBool::new(false);
/// Readable for good once the wish is there, so that every wait of every thread ends; -1 before the first use.
static BELL: AtomicI32 = AtomicI32::new(-1);
static OWNED: OnceLock<Option<OwnedFd>> = OnceLock::new();

/// Makes every running and future [`run`](crate::Sandbox::run) of this process end with `Error::Interrupted`.
pub fn cancel() {
    WANTED.store(true, Ordering::SeqCst);
    let bell = BELL.load(Ordering::SeqCst);
    if bell >= 0 {
        sys::poke(bell);
    }
}

/// Returns whether kiln was told to stop: by SIGINT, SIGTERM, SIGHUP or [`cancel`].
pub fn interrupted() -> bool {
    WANTED.load(Ordering::SeqCst)
}

/// Returns the descriptor that is readable once [`interrupted`]; `None` when the kernel gave none.
pub(crate) fn bell() -> Option<BorrowedFd<'static>> {
    use std::os::fd::AsFd;
    let owned = OWNED.get_or_init(|| {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
        BELL.store(bell.as_raw_fd(), Ordering::SeqCst);
        if interrupted() {
            sys::poke(bell.as_raw_fd());
        }
        Some(bell)
    });
    owned.as_ref().map(AsFd::as_fd)
}

/// From now on SIGINT, SIGTERM, SIGHUP and SIGQUIT wish rather than kill.
pub fn listen() {
    let _ = bell();
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        sys::handle(signal, wish);
    }
}

extern "C" fn wish(_signal: libc::c_int) {
    cancel();
}
