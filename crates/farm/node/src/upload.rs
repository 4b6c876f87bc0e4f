//! What a task made: listed with digests, and sent to the server.

use std::fs;
use std::io;
use std::path::Path;

use kiln_farm_api::{Client, Stored};

use crate::backoff::Backoff;
use crate::hash;
use crate::teller::Trouble;

/// Returns every file of a task's output folder, in order of names. What is hidden was not finished.
pub fn list(out: &Path) -> io::Result<Vec<Stored>> {
    let mut found = vec![];
    collect(out, "", &mut found)?;
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn collect(folder: &Path, under: &str, found: &mut Vec<Stored>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && under.is_empty() => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let (kind, path, full) = (entry.file_type()?, entry.path(), format!("{under}{name}"));
        if name.starts_with('.') {
        } else if kind.is_dir() {
            collect(&path, &format!("{full}/"), found)?;
        } else if kind.is_file() {
            let (size, sha256) = hash::file(&path)?;
            found.push(Stored { name: full, size, sha256, task: None });
        }
    }
    Ok(())
}

/// Why a file will never be on the server.
#[derive(Debug)]
pub struct Refused {
    pub name: String,
    pub message: String,
}

/// Uploads files, waiting for the server while it is away.
pub async fn all(client: &Client, out: &Path, files: &[Stored]) -> Result<(), Refused> {
    for file in files {
        one(client, out, file).await?;
    }
    Ok(())
}

/// Uploads what can be uploaded, and returns that.
pub async fn those_there(client: &Client, out: &Path, files: Vec<Stored>) -> Vec<Stored> {
    let mut there = vec![];
    for file in files {
        if one(client, out, &file).await.is_ok() {
            there.push(file);
        }
    }
    there
}

async fn one(client: &Client, out: &Path, file: &Stored) -> Result<(), Refused> {
    let mut backoff = Backoff::of_calls();
    loop {
        let Err(error) = client.upload(file.sha256, &out.join(&file.name)).await else { return Ok(()) };
        match Trouble::of(&error) {
            // Another upload of the same bytes is under way.
            Trouble::Passing | Trouble::NotOurs if error.status() != Some(404) => backoff.pause().await,
            _ => {
                tracing::error!("upload `{}`: {error}", file.name);
                return Err(Refused { name: file.name.clone(), message: format!("upload `{}`: {error}", file.name) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_model::Digest;

    use super::*;

    #[test]
    fn all_files_are_listed_with_their_digests() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path();
        fs::create_dir(out.join("boot")).unwrap();
        fs::create_dir(out.join(".half")).unwrap();
        for name in ["b.raw", "a.log", "boot/kernel", ".b.partial", ".half/x"] {
            fs::write(out.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", out.join("link")).unwrap();
        let stored =
            |name: &str| Stored { name: name.into(), size: name.len() as u64, sha256: Digest::of(name), task: None };
        assert_eq!(list(out).unwrap(), [stored("a.log"), stored("b.raw"), stored("boot/kernel")]);
        assert_eq!(list(&out.join("nowhere")).unwrap(), []);
    }
}
