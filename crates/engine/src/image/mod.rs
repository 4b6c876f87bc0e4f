//! Images from values into files and streams: what `kiln_disk` decided is written here.
//!
//! An image is cut into windows of 4 MiB. Threads load windows side by side; the caller's thread gets them in order
//! and hashes (or sends) them. A new image that resembles one written before rewrites only the windows that differ,
//! and takes up its SHA-256 at the first of them.

pub mod artifact;
pub mod compress;
mod hash;
pub mod index;
mod load;
mod pipeline;
mod pool;
pub mod stream;
mod undo;
mod window;
pub mod write;

pub use artifact::artifact;
pub use compress::Compressor;
pub use index::Index;
pub use stream::{Hashing, write_stream};
pub use undo::Undo;
pub use write::{Previous, Written, write_file};
