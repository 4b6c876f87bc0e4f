//! What a build made, brought home and looked at.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use kiln_farm_api::{Build, Client, Stored};
use kiln_model::fault::OrFault as _;
use kiln_model::{Digest, Fault};
use sha2::{Digest as _, Sha256};

use crate::farm;

/// Downloads a build's artifacts into a folder, those of several tasks into one for each, and returns their paths.
pub async fn all(client: &Client, build: &Build, out: &Path) -> Result<Vec<PathBuf>, Fault> {
    let mut paths = vec![];
    for artifact in &build.artifacts {
        paths.push(
            one(client, build, artifact, &folder(build, artifact, out))
                .await
                .map_err(|fault| fault.doing(format!("download `{}`", artifact.name)))?,
        );
    }
    Ok(paths)
}

/// Returns the folder that an artifact goes into.
pub fn folder(build: &Build, artifact: &Stored, out: &Path) -> PathBuf {
    let task = build.tasks.iter().find(|task| Some(task.id) == artifact.task && build.tasks.len() > 1);
    task.map_or(out.to_owned(), |task| out.join(task.order.name.as_str()))
}

async fn one(client: &Client, build: &Build, artifact: &Stored, out: &Path) -> Result<PathBuf, Fault> {
    let path = Path::new(&artifact.name);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let (true, Some(name)) = (plain, path.file_name().and_then(|name| name.to_str())) else {
        return Err(Fault::farm("its name leads out of the folder"));
    };
    let path = out.join(path);
    let partial = path.with_file_name(format!(".{name}.partial"));
    let folder = path.parent().unwrap_or(out);
    fs::create_dir_all(folder).farm(|| format!("make `{}`", folder.display()))?;
    let loaded = farm::again(|| client.artifact(build.id, &artifact.name, artifact.task, &partial)).await;
    loaded.map_err(|error| farm::fault("ask for it", error))?;
    let found = digest(&partial).farm(|| "read what came".into())?;
    if found != artifact.sha256 {
        let _ = fs::remove_file(&partial);
        return Err(Fault::farm(format!(
            "its bytes are others than were built: sha256 {found}, not {}",
            artifact.sha256
        )));
    }
    fs::rename(&partial, &path).farm(|| format!("write `{}`", path.display()))?;
    Ok(path)
}

/// Returns the digest of a file.
pub fn digest(path: &Path) -> io::Result<Digest> {
    let (mut file, mut hasher, mut piece) = (File::open(path)?, Sha256::new(), vec![0; 1 << 18]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(Digest::from_bytes(hasher.finalize().into()));
        }
        hasher.update(&piece[..read]);
    }
}
