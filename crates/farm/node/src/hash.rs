//! Digests of files.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use kiln_model::Digest;
use sha2::{Digest as _, Sha256};

/// Returns a file's size and digest.
pub fn file(path: &Path) -> io::Result<(u64, Digest)> {
    let mut file = File::open(path)?;
    let (mut hasher, mut size, mut piece) = (Sha256::new(), 0, vec![0; 1 << 18]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
        size += read as u64;
    }
    Ok((size, Digest::from_bytes(hasher.finalize().into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(file(&path).unwrap(), (5, Digest::of("hello")));
    }
}
