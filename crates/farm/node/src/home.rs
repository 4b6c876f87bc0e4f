//! A node's folder: work under way, results the server has not taken, and a lock so that one node works there.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use kiln_farm_api::{Holding, TaskId};
use kiln_model::Fault;
use kiln_model::fault::OrFault as _;
use rustix::fs::{FlockOperation, flock};

/// The folder; `work/TASK-EPOCH` becomes `outbox/TASK-EPOCH` by one rename when its result is whole.
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
    _lock: File,
}

impl Home {
    /// Makes the folder where there is none, and takes it for this node alone.
    pub fn open(folder: &Path) -> Result<Self, Fault> {
        let doing = || format!("open the node's folder `{}`", folder.display());
        let folder = std::path::absolute(folder).farm(doing)?;
        for name in ["work", "outbox"] {
            DirBuilder::new().recursive(true).mode(0o700).create(folder.join(name)).farm(doing)?;
        }
        let lock = File::create(folder.join("lock")).farm(doing)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .farm(doing)
            .map_err(|fault| fault.hint("another node works there; each needs a folder of its own: `--data DIR`"))?;
        Ok(Self { folder, _lock: lock })
    }

    pub fn work(&self, holding: Holding) -> PathBuf {
        self.folder.join("work").join(name(holding))
    }

    pub fn outbox(&self, holding: Holding) -> PathBuf {
        self.folder.join("outbox").join(name(holding))
    }

    /// Returns the folder for stages that nodes share; nothing in it outlives the node.
    pub fn stages(&self) -> PathBuf {
        self.folder.join("stages")
    }

    /// Writes where it works, to see whether that is possible.
    pub fn try_to_write(&self) -> io::Result<()> {
        try_to_write(&self.folder)
    }

    /// Returns the folders of work that a node left when it died.
    pub fn left_work(&self) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(self.folder.join("work"))?.map(|entry| Ok(entry?.path())).collect()
    }

    /// Returns the results that were not taken yet; folders of other names are nobody's.
    pub fn left_results(&self) -> io::Result<Vec<Holding>> {
        let mut found = vec![];
        for entry in fs::read_dir(self.folder.join("outbox"))? {
            found.extend(entry?.file_name().to_str().and_then(read_name));
        }
        found.sort();
        Ok(found)
    }

    /// Moves whole work to the outbox, for good.
    pub fn promote(&self, holding: Holding) -> io::Result<PathBuf> {
        let to = self.outbox(holding);
        fs::rename(self.work(holding), &to)?;
        File::open(self.folder.join("outbox"))?.sync_all()?;
        Ok(to)
    }
}

/// Makes a file in a folder and removes it: what is read-only, full or out of inodes says so.
pub fn try_to_write(folder: &Path) -> io::Result<()> {
    let path = folder.join(".try");
    let tried = fs::create_dir_all(folder).and_then(|()| File::create(&path)?.write_all(b"."));
    let _ = fs::remove_file(&path);
    tried.map_err(|error| io::Error::new(error.kind(), format!("it cannot write to `{}`: {error}", folder.display())))
}

fn name(holding: Holding) -> String {
    format!("{}-{}", holding.task, holding.epoch)
}

fn read_name(name: &str) -> Option<Holding> {
    let (task, epoch) = name.rsplit_once('-')?;
    Some(Holding { task: task.parse::<TaskId>().ok()?, epoch: epoch.parse().ok()? })
}

/// Removes a folder with all it holds; one that is not there is gone already.
pub fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("remove `{}`: {error}", folder.display());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn one_node_works_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        assert!(Home::open(folder.path()).unwrap_err().hint_text().unwrap().contains("--data"));
        drop(home);
        Home::open(folder.path()).unwrap();
    }

    #[test]
    fn work_becomes_a_result_by_one_rename() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let holding = Holding { task: TaskId(Uuid::from_u128(7)), epoch: 3 };
        fs::create_dir(home.work(holding)).unwrap();
        fs::create_dir(home.outbox(holding).with_file_name("strange")).unwrap();
        assert_eq!((home.left_work().unwrap().len(), home.left_results().unwrap()), (1, vec![]));
        home.promote(holding).unwrap();
        assert_eq!((home.left_work().unwrap().len(), home.left_results().unwrap()), (0, vec![holding]));
    }
}
