#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod apk;
pub mod deb;
pub mod lock;

pub use lock::{Lock, Locked, LockedIndex, LockedRepository};
