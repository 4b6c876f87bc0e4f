//! Checksums of files, which a btrfs holds beside their content.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use kiln_disk::btrfs::{Sums, sums};
use kiln_model::action::{DiskLayout, FilesystemKind};
use kiln_model::fault::OrFault as _;
use kiln_model::tree::Place;
use kiln_model::{Fault, Kind, Tree};

/// Bytes read at once: a multiple of what one checksum is of.
const PART: usize = 1 << 20;

/// Reads every file that is on the host, if any partition of `layout` is a btrfs.
pub fn of(tree: &Tree, layout: &DiskLayout, jobs: usize) -> Result<Sums, Fault> {
    let wanted = layout.partitions.iter().any(|part| part.filesystem.kind == FilesystemKind::Btrfs);
    let paths: Vec<&PathBuf> = if wanted { tree.entries.iter().filter_map(on_host).collect() } else { vec![] };
    let (queue, done) = (Mutex::new(paths.into_iter()), Mutex::new(Sums::new()));
    let work = || -> Result<(), Fault> {
        loop {
            let Some(path) = queue.lock().expect("no holder panics").next() else { return Ok(()) };
            let found = read(path).farm(|| format!("read `{}`", path.display()))?;
            done.lock().expect("no holder panics").insert(path.clone(), found.into());
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("reading does not panic"))
    })?;
    Ok(done.into_inner().expect("no holder panics"))
}

fn on_host(entry: &kiln_model::Entry) -> Option<&PathBuf> {
    let Kind::File(body) = &entry.kind else { return None };
    if let Place::Host(path) = &body.place { Some(path) } else { None }
}

fn read(path: &Path) -> io::Result<Vec<u32>> {
    let (mut file, mut found) = (File::open(path)?, vec![]);
    let mut part = Vec::with_capacity(PART);
    while file.by_ref().take(PART as u64).read_to_end(&mut part)? > 0 {
        found.extend(sums(&part));
        part.clear();
    }
    Ok(found)
}
