//! Images from values into files and streams: what `kiln_disk` decided is written here.

pub mod compress;
pub mod index;
pub mod stream;
pub mod write;

pub use compress::Compressor;
pub use index::Index;
pub use stream::{Hashing, write_stream};
pub use write::{Previous, Written, write_file};
