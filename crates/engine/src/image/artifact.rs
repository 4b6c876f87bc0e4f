//! An update by Mender: a filesystem, packed once and then told of in the head of an archive.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use kiln_disk::mender::{self, Label, Payload};
use kiln_model::action::{Algorithm, Compression};
use kiln_model::{Extent, Extents, Source};

use super::{Compressor, Hashing, write_stream};

/// What the filesystem is called in an artifact.
const FILE: &str = "root.ext4";
/// How header and data are packed; mender-artifact has the same.
const PACKED: Compression = Compression { algorithm: Algorithm::Gz, level: 6 };

/// Returns the artifact of a filesystem, of the time `epoch` in seconds since 1970. Its head has the digest and the length of what
/// comes after, so the packed data wait in the new file `data`, which must stay until the artifact is written; `progress` hears how
/// many bytes more of the filesystem are packed.
pub fn artifact(
    label: &Label<'_>,
    image: Extents,
    epoch: i64,
    data: &Path,
    threads: usize,
    progress: &dyn Fn(u64),
) -> io::Result<Extents> {
    let mut hashing = Hashing::new(io::sink());
    write_stream(&image, &[], &mut hashing, &|_| ())?;
    let payload = Payload { file: FILE, sha256: hashing.finish().2 };
    packed(File::create(data)?, &mender::data(FILE, image, epoch), threads, progress)?.flush()?;
    let header = packed(Vec::new(), &mender::header(label, &payload, epoch), threads, &|_| ())?;
    let len = std::fs::metadata(data)?.len();
    let source = Source::File { path: Arc::new(data.to_owned()), from: 0, token: None };
    let data = Extents { size: len, list: vec![Extent { offset: 0, len, source }] };
    let manifest = mender::manifest(&header, &payload);
    Ok(mender::artifact(&manifest, header, data, epoch))
}

fn packed<W: Write>(out: W, extents: &Extents, threads: usize, progress: &dyn Fn(u64)) -> io::Result<W> {
    let mut compressor = Compressor::new(out, PACKED, threads)?;
    write_stream(extents, &[], &mut compressor, progress)?;
    compressor.finish()
}
