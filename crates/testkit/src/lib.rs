//! What the tests of all crates share: small signed archives, a web server with faults on demand, the mirror, Redis, PostgreSQL, S3, a certificate
//! authority, a browser, goldens.

mod apk;
mod archive;
mod authority;
mod browser;
mod deb;
mod golden;
mod key;
mod mirror;
mod postgres;
mod redis;
#[cfg(feature = "s3")]
mod s3;
mod server;

pub use apk::{Apk, ApkHash, ApkKey, apk_index};
pub use archive::Archive;
pub use authority::Authority;
pub use browser::Browser;
pub use deb::{Deb, Pack};
pub use golden::golden;
pub use key::{Key, Says};
pub use mirror::{debian_mirrors, detour, whole_suite};
pub use postgres::Postgres;
pub use redis::{Listener, Redis, eventually, free_port};
#[cfg(feature = "s3")]
pub use s3::S3;
pub use server::{Fault, Seen, Server};
