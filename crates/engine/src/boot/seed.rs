//! What a cloud would tell the guest: the files of a folder on a small disk beside the image, which cloud-init's NoCloud
//! finds by its label.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use kiln_disk::fat;
use kiln_model::action::Size;
use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, FaultKind, GuestPath, Tree, tree};

use super::qemu::SCRATCH;
use crate::image::write_stream;

/// The files that cloud-init takes, the first of which must be there.
const FILES: [&str; 4] = ["user-data", "meta-data", "network-config", "vendor-data"];
/// What stands for meta data where the folder has none: without it cloud-init takes the disk for none of its own.
const INSTANCE: &[u8] = b"instance-id: kiln-boot\n";
/// The first moment that FAT knows, in seconds since 1970.
const EPOCH: i64 = 315_532_800;

/// A NoCloud seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    tree: Tree,
}

impl Seed {
    /// Reads a folder's files.
    pub fn read(folder: &Path) -> Result<Self, Fault> {
        if !folder.is_dir() {
            return Err(Fault::recipe(format!("`{}` is no folder", folder.display())).hint(hint()));
        }
        let mut entries = vec![tree::Entry::dir(GuestPath::root(), 0o755, EPOCH)];
        for name in FILES {
            let bytes = read(&folder.join(name))?;
            if name == FILES[0] && bytes.is_none() {
                return Err(Fault::recipe(format!("`{}` holds no `{name}`", folder.display())).hint(hint()));
            }
            let bytes = bytes.or_else(|| (name == "meta-data").then(|| INSTANCE.to_vec()));
            let path = GuestPath::root().join(name).expect("our own names are good");
            entries.extend(bytes.map(|bytes| tree::Entry::inline(path, 0o644, EPOCH, bytes)));
        }
        let mut tree = Tree { entries };
        tree.sort();
        Ok(Self { tree })
    }

    /// Writes the disk into the scratch folder and returns its path as QEMU sees it.
    pub(super) fn write(&self, scratch: &Path) -> Result<String, Fault> {
        let doing = || "make the disk for cloud-init".to_owned();
        let options = fat::Options { label: "CIDATA".into(), volume_id: 0xc1da_7a00, epoch: EPOCH, size: Size::Auto };
        let extents = fat::layout(&self.tree, &GuestPath::root(), &[], &options).fault(FaultKind::Recipe, doing)?;
        let mut file = File::create(scratch.join("cidata.img")).farm(doing)?;
        write_stream(&extents, &[], &mut file, &|_| ()).farm(doing)?;
        Ok(format!("{SCRATCH}/cidata.img"))
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Fault> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::recipe(format!("read `{}`", path.display())).because(error)),
    }
}

fn hint() -> String {
    format!("cloud-init reads `{}` from a folder, and where they are there `{}`", FILES[0], FILES[1..].join("`, `"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_becomes_a_seed_when_it_holds_user_data() {
        let folder = tempfile::tempdir().unwrap();
        let none = Seed::read(folder.path()).unwrap_err();
        assert!(none.to_string().contains("holds no `user-data`"), "{none}");
        assert!(Seed::read(&folder.path().join("missing")).unwrap_err().to_string().contains("is no folder"));
        fs::write(folder.path().join("user-data"), "#cloud-config\n").unwrap();
        fs::write(folder.path().join("notes"), "mine").unwrap();
        let seed = Seed::read(folder.path()).unwrap();
        let names: Vec<String> = seed.tree.entries.iter().map(|entry| entry.path.to_string()).collect();
        assert_eq!(names, ["/", "/meta-data", "/user-data"]);
        let disk = seed.write(folder.path()).unwrap();
        assert_eq!(disk, "/run/kiln/scratch/cidata.img");
        let bytes = fs::read(folder.path().join("cidata.img")).unwrap();
        assert!(bytes.windows(11).any(|window| window == b"CIDATA     "), "the label");
    }
}
