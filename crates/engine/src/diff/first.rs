//! The first place where two artifacts part, named as exactly as they can be read.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use kiln_model::diff::{self, What};
use kiln_model::fault::OrFault;
use kiln_model::{Fault, GuestPath};

use super::open::open;

/// Where two artifacts part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The first byte that differs; for folders none.
    pub offset: Option<u64>,
    /// What lies there, as far as both can be read.
    pub places: Vec<Place>,
}

/// A part of an artifact that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Partition { number: u32, name: String, field: String, before: String, after: String },
    File { path: GuestPath, what: String },
}

/// How many places are named.
const NAMED: usize = 10;

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "differs first at byte {offset}")?,
            None => write!(f, "differs")?,
        }
        match self.places.as_slice() {
            [] => write!(f, ", though files and partitions are the same: in the container's own bytes"),
            places => places.iter().try_for_each(|place| write!(f, "\n  {place}")),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition { number, name, field, before, after } => {
                write!(f, "partition {number} (`{name}`): {field} {before} and {after}")
            }
            Self::File { path, what } => write!(f, "`{path}`: {what}"),
        }
    }
}

/// Returns where two artifacts part; none when they are the same, byte for byte (folders: entry for entry).
pub fn first_difference(a: &Path, b: &Path) -> Result<Option<Difference>, Fault> {
    let offset = match (a.is_dir(), b.is_dir()) {
        (false, false) => match offset(a, b)? {
            None => return Ok(None),
            offset => offset,
        },
        _ => None,
    };
    let places = match (open(a), open(b)) {
        (Ok(before), Ok(after)) => places(&diff::diff(&before, &after)),
        // Files that are no artifacts differ in bytes only.
        (Err(_), _) | (_, Err(_)) if offset.is_some() => Vec::new(),
        (Err(fault), _) | (_, Err(fault)) => return Err(fault),
    };
    Ok((offset.is_some() || !places.is_empty()).then_some(Difference { offset, places }))
}

fn places(diff: &diff::Diff) -> Vec<Place> {
    let partitions = diff.partitions.iter().flat_map(|partition| {
        partition.fields.iter().map(|field| Place::Partition {
            number: partition.number,
            name: partition.name.clone(),
            field: field.name.clone(),
            before: field.change.before.clone().unwrap_or_else(|| "none".into()),
            after: field.change.after.clone().unwrap_or_else(|| "none".into()),
        })
    });
    let files = diff.files.iter().map(|file| Place::File { path: file.path.clone(), what: said(file) });
    partitions.chain(files).take(NAMED).collect()
}

fn said(file: &diff::FileDiff) -> String {
    match file.what {
        What::Added => "only in the second".into(),
        What::Removed => "only in the first".into(),
        What::Changed => file.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", "),
    }
}

/// Returns the first offset at which two files differ, the shorter one's end included.
fn offset(a: &Path, b: &Path) -> Result<Option<u64>, Fault> {
    let open = |path: &Path| File::open(path).farm(|| format!("open `{}`", path.display()));
    let (mut left, mut right) =
        (BufReader::with_capacity(1 << 20, open(a)?), BufReader::with_capacity(1 << 20, open(b)?));
    let (mut x, mut y, mut at) = (vec![0; 1 << 20], vec![0; 1 << 20], 0);
    loop {
        let one = fill(&mut left, &mut x).farm(|| format!("read `{}`", a.display()))?;
        let other = fill(&mut right, &mut y).farm(|| format!("read `{}`", b.display()))?;
        let common = one.min(other);
        if let Some(within) = (0..common).find(|within| x[*within] != y[*within]) {
            return Ok(Some(at + within as u64));
        }
        if one != other {
            return Ok(Some(at + common as u64));
        }
        if one == 0 {
            return Ok(None);
        }
        at += one as u64;
    }
}

fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match reader.read(&mut buffer[done..])? {
            0 => break,
            length => done += length,
        }
    }
    Ok(done)
}
