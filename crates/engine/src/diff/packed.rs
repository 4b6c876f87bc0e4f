//! Compressed artifacts.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use kiln_model::Fault;
use kiln_model::action::Algorithm;
use kiln_model::fault::OrFault;

use super::block;

/// Returns how a file is compressed, by its first bytes.
pub fn compression(path: &Path) -> Result<Option<Algorithm>, Fault> {
    let mut magic = [0; 6];
    let file = File::open(path).farm(|| format!("open `{}`", path.display()))?;
    let length = file.read_at(&mut magic, 0).farm(|| format!("read `{}`", path.display()))?;
    Ok(match &magic[..length] {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Algorithm::Zst),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Some(Algorithm::Xz),
        [0x1f, 0x8b, ..] => Some(Algorithm::Gz),
        [b'B', b'Z', b'h', ..] => Some(Algorithm::Bz2),
        _ => None,
    })
}

/// Returns a reader of a file's content, unpacked where it is compressed.
pub fn reader(path: &Path) -> Result<Box<dyn Read>, Fault> {
    let file = BufReader::with_capacity(256 * 1024, File::open(path).farm(|| format!("open `{}`", path.display()))?);
    Ok(match compression(path)? {
        None => Box::new(file),
        Some(Algorithm::Zst) => {
            let decoder = zstd::Decoder::with_buffer(file).farm(|| format!("unpack `{}`", path.display()))?;
            Box::new(decoder)
        }
        Some(Algorithm::Xz) => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(file)),
        Some(Algorithm::Gz) => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Some(Algorithm::Bz2) => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
    })
}

/// Unpacks a file; runs of zeros become holes.
pub fn unpack(path: &Path, into: &Path) -> Result<(), Fault> {
    let file = File::create(into).farm(|| format!("write `{}`", into.display()))?;
    let mut sparse = block::Sparse::new(file);
    let copied = io::copy(&mut reader(path)?, &mut sparse).and_then(|_| sparse.flush());
    copied.and_then(|()| sparse.finish()).farm(|| format!("unpack `{}`", path.display()))
}
