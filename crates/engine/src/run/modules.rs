//! Indexes of kernel modules: made while packages are configured, which needs nothing of them and takes about as long.

use std::collections::BTreeMap;

use kiln_model::fault::OrFault as _;
use kiln_model::{Action, Arch, Fault, GuestPath, StageKind};
use kiln_plan::context::path;
use kiln_sandbox::Command;

use super::Run;
use super::initrd::kernels;
use crate::target::{Facts, Ids, Target};

/// What depmod reads, by path: what changes there changes the indexes.
pub(crate) type Inputs = BTreeMap<GuestPath, Facts>;

/// Where depmod has its own name while a stand-in has its place: the program behind it goes by the name it is called.
const FOLDER: &str = "/usr/sbin/.kiln-held";
const PROGRAM: &str = "/usr/bin/kmod";

/// What depmod reads: its configuration, and modules.
const FOLDERS: [&str; 5] =
    ["/etc/depmod.d", "/run/depmod.d", "/usr/local/lib/depmod.d", "/usr/lib/depmod.d", "/usr/lib/modules"];
const MODULES: &[u8] = b"/usr/lib/modules";

/// What it reads beside modules. The rest of what is called `modules.…` it writes.
const LISTS: [&[u8]; 3] = [b"modules.order", b"modules.builtin", b"modules.builtin.modinfo"];

/// Links to a kernel's sources, which it does not follow.
const UNREAD: [&[u8]; 2] = [b"build", b"source"];

impl Run<'_> {
    /// Indexes the modules of every kernel, unless that was done since they last changed.
    pub fn depmod(&self, stage: StageKind, target: &Target) -> Result<(), Fault> {
        let before = self.state.indexed.lock().expect("no holder panics").take();
        let unchanged = before.is_some_and(|before| inputs(target).is_ok_and(|now| now == before));
        if unchanged && has_indexes(target)? {
            return Ok(());
        }
        self.index(stage, "depmod", target)
    }

    /// Does so early where the stage will do it, in a tree whose packages are unpacked and not configured. What fails is done
    /// again in its turn.
    pub fn depmod_early(&self, stage: StageKind, target: &Target) {
        let stages = self.plan.pipelines.iter().flat_map(|pipeline| &pipeline.stages);
        let asked = stages.filter(|asked| asked.kind == stage).any(|asked| asked.actions.contains(&Action::Depmod));
        // Where helpers are lent, one command after the other works in the tree.
        let lent = !Arch::host().runs(self.plan.arch);
        if !asked || lent || !target.exists(&path(PROGRAM)) {
            return;
        }
        let folder = path(FOLDER);
        let done = || -> Result<Inputs, Fault> {
            let program = path(&format!("{FOLDER}/depmod"));
            target.symlink(&program, PROGRAM.as_bytes(), Ids::default()).farm(|| format!("link `{program}`"))?;
            let inputs = inputs(target)?;
            self.index(stage, &program.to_string(), target)?;
            Ok(inputs)
        };
        let done = done();
        let removed = target.remove(&folder).farm(|| format!("remove `{folder}` from the tree"));
        match removed.and(done) {
            Ok(inputs) => *self.state.indexed.lock().expect("no holder panics") = Some(inputs),
            Err(fault) => self.events.log(Some(stage), "depmod", format!("again later: {}", fault.chain())),
        }
    }

    fn index(&self, stage: StageKind, program: &str, target: &Target) -> Result<(), Fault> {
        kernels(target)?.iter().try_for_each(|version| {
            let command = Command::new(target.root(), [program, "--all", version.as_str()]);
            self.command(stage, "depmod", command)
        })
    }
}

/// Whether nobody has removed what depmod wrote.
fn has_indexes(target: &Target) -> Result<bool, Fault> {
    let written = |version: &String| target.exists(&path(&format!("/usr/lib/modules/{version}/modules.dep.bin")));
    Ok(kernels(target)?.iter().all(written))
}

fn is_written(name: &[u8]) -> bool {
    name.starts_with(b"modules.") && !LISTS.contains(&name)
}

fn inputs(target: &Target) -> Result<Inputs, Fault> {
    let mut found = Inputs::new();
    for folder in FOLDERS {
        collect(&path(folder), target, &mut found).farm(|| format!("look at `{folder}` of the tree"))?;
    }
    Ok(found)
}

fn collect(folder: &GuestPath, target: &Target, found: &mut Inputs) -> std::io::Result<()> {
    for name in target.names(folder)? {
        if folder.as_bytes().starts_with(MODULES) && is_written(&name) {
            continue;
        }
        let inner = folder.join(&name).map_err(std::io::Error::other)?;
        let facts = target.facts(&inner)?;
        if facts.is_link && !UNREAD.contains(&name.as_slice()) {
            return Err(std::io::Error::other(format!("`{inner}` is a link, which may lead anywhere")));
        }
        if facts.is_folder {
            collect(&inner, target, found)?;
        } else {
            found.insert(inner, facts);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depmod_writes_is_nothing_it_reads() {
        let root = tempfile::tempdir().unwrap();
        let target = Target::open(root.path()).unwrap();
        let folder = root.path().join("usr/lib/modules/6.1/updates");
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("a.ko", "module");
        let first = inputs(&target).unwrap();
        let cases = [
            ("../modules.dep.bin", true),
            ("../modules.order", false),
            ("b.ko.xz", false),
            ("../../../depmod.d/modules.conf", false),
            ("../../../../local/lib/depmod.d/x", false),
        ];
        for folder in ["usr/lib/depmod.d", "usr/local/lib/depmod.d"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for (name, same) in cases {
            write(name, "x");
            assert_eq!(inputs(&target).unwrap() == first, same, "{name}");
            std::fs::remove_file(folder.join(name)).unwrap();
        }
        for (name, fine) in [("../build", true), ("c.ko", false)] {
            std::os::unix::fs::symlink("/srv", folder.join(name)).unwrap();
            assert_eq!(inputs(&target).is_ok(), fine, "{name}");
            std::fs::remove_file(folder.join(name)).unwrap();
        }
        assert_eq!(inputs(&target).unwrap(), first);
        write("new", "MODULE");
        std::fs::rename(folder.join("new"), folder.join("a.ko")).unwrap();
        assert_ne!(inputs(&target).unwrap(), first);
    }
}
