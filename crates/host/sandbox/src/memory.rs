//! Memory of this process: what is freed goes back to the kernel, where the guests of a build can use it.

use crate::sys;

/// Freed memory above this many bytes at the end of a heap is given back.
const KEPT: i32 = 1 << 17;

/// Makes the allocator give freed memory back. An index of all packages is large, and of no use once the lock is made;
/// glibc alone would keep its pages for as long as the process lives.
pub fn give_back() {
    sys::trim_above(KEPT);
}

/// Gives back now what is free, also between what is in use. It takes some milliseconds for each 100 MiB.
pub fn give_back_now() {
    sys::trim();
}
