//! Starting an image that was built before, by its path: its report tells which board it is for and what must hold.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, Report};
use kiln_recipe::Spec;
use kiln_recipe::catalogue::board;
use kiln_recipe::spec::{Bus, Qemu, Verify};
use kiln_sandbox::Scratch;

use crate::boot::{self, Accel, Guest, Programs, Seed, Verified};
use crate::events::Events;
use crate::kiln::Kiln;
use crate::load::empty;

/// The board of an image that came without a report, and the seconds it gets to come up.
const PLAIN: (&str, u32) = ("generic-x86_64", 600);

/// How an image is to be started.
#[derive(Clone, Copy, Debug, Default)]
pub struct How<'a> {
    /// What runs the guest's instructions; none: what a probe guest finds best.
    pub accel: Option<Accel>,
    /// A folder with what cloud-init is told.
    pub cloud_init: Option<&'a Path>,
}

/// An image, ready to start.
struct Ready {
    board: Qemu,
    verify: Verify,
    programs: Programs,
    seed: Option<Seed>,
    scratch: Scratch,
    /// Locked, so that a build meanwhile does not patch it.
    _held: File,
}

impl Kiln {
    /// Boots an image with its console in the terminal; `say` hears what goes on.
    pub fn boot(&self, image: &Path, how: &How<'_>, events: &Events, say: &dyn Fn(&str)) -> Result<(), Fault> {
        let ready = self.ready(image, how, events)?;
        boot::interactive(&self.guest(image, how, &ready)?, say)
    }

    /// Boots an image headless and tries what its recipe asserts; the console is kept beside the image.
    pub fn boot_check(&self, image: &Path, how: &How<'_>, events: &Events) -> Result<Verified, Fault> {
        let ready = self.ready(image, how, events)?;
        let told = |line: &str| events.log(None, "console", line);
        boot::check(&self.guest(image, how, &ready)?, &ready.verify, &console_log(image), &told)
    }

    fn guest<'a>(&'a self, image: &'a Path, how: &How<'_>, ready: &'a Ready) -> Result<Guest<'a>, Fault> {
        let (accel, seed) = (how.accel, ready.seed.as_ref());
        let (board, programs, scratch) = (&ready.board, &ready.programs, ready.scratch.path());
        Ok(Guest { image, board, programs, sandbox: self.sandbox()?, scratch, accel, seed })
    }

    fn ready(&self, image: &Path, how: &How<'_>, events: &Events) -> Result<Ready, Fault> {
        let seed = how.cloud_init.map(Seed::read).transpose()?;
        let (board, verify) = match report_of(image)? {
            Some(report) => asked(image, &report)?,
            None => plain()?,
        };
        if seed.is_some() && board.bus == Bus::Sd {
            let fault = Fault::recipe("this board has a memory card and no second disk for `--cloud-init`");
            return Err(fault.hint("the recipe's `[cloud-init]` puts the files into the image itself"));
        }
        let programs = self.boot_programs(&empty(&self.config)?, &board, events)?;
        let scratch = Scratch::new(&self.config.cache.join("scratch"), "boot")?;
        let held = File::open(image).and_then(|file| file.lock_shared().map(|()| file));
        let _held = held.farm(|| format!("open `{}`", image.display()))?;
        Ok(Ready { board, verify, programs, seed, scratch, _held })
    }
}

/// Returns the board and the assertions of the recipe that the image was built from.
fn asked(image: &Path, report: &Report) -> Result<(Qemu, Verify), Fault> {
    let spec: Spec = serde_json::from_value(report.spec.clone()).map_err(|error| {
        let hint = "build the image again, or move its report away to start it as a plain PC";
        Fault::farm(format!("read the report of `{}`", report.name)).because(error).hint(hint)
    })?;
    let board = spec
        .base
        .board
        .ok_or_else(|| Fault::recipe(format!("`{}` was built for no board, so nothing starts it", image.display())))?;
    Ok((board.qemu, spec.verify))
}

fn plain() -> Result<(Qemu, Verify), Fault> {
    let board = board::find(PLAIN.0).ok_or_else(|| Fault::farm(format!("the catalogue has no board `{}`", PLAIN.0)))?;
    Ok((board.qemu.clone(), Verify { boot: true, timeout: PLAIN.1, asserts: vec![] }))
}

/// Returns the report beside an image that tells of it.
fn report_of(image: &Path) -> Result<Option<Report>, Fault> {
    if !image.is_file() {
        return Err(Fault::recipe(format!("`{}` is no image: there is no such file", image.display())));
    }
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let folder = image.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let reports = paths.filter(|path| path.to_string_lossy().ends_with(".report.json"));
    let mut read = reports.filter_map(|path| serde_json::from_slice::<Report>(&fs::read(path).ok()?).ok());
    Ok(read.find(|report| report.artifacts.iter().any(|artifact| artifact.name == name)))
}

/// Returns where the console's text goes: `image.console.log`.
fn console_log(image: &Path) -> PathBuf {
    let stem = image.file_name().unwrap_or_default().to_string_lossy();
    let stem = stem.split('.').next().unwrap_or_default();
    image.with_file_name(format!("{stem}.console.log"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_model::{Artifact, Digest, Outcome};

    const RECIPE: &str = "edition = 1\nname = \"edge\"\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\
                          board = \"generic-x86_64\"\n[[output]]\nformat = \"raw\"\n[[verify.assert]]\nunit = \"ssh\"\n";

    #[test]
    fn an_image_is_found_in_the_report_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let (image, other) = (folder.path().join("edge.v1.raw"), folder.path().join("other.raw"));
        [&image, &other].iter().for_each(|path| fs::write(path, "").unwrap());
        let spec = kiln_recipe::complete_text(RECIPE).expect("the recipe is sound").spec;
        let artifact = Artifact { name: "edge.v1.raw".into(), format: "raw".into(), size: 0, sha256: Digest::of("") };
        let report = Report {
            edition: 1,
            name: "edge.v1".into(),
            kiln: "0".into(),
            outcome: Outcome::Done,
            spec: serde_json::to_value(&spec).unwrap(),
            lock: serde_json::Value::Null,
            plan: Digest::of(""),
            stages: vec![],
            artifacts: vec![artifact],
            millis: 0,
            verified: None,
        };
        fs::write(folder.path().join("broken.report.json"), "{").unwrap();
        fs::write(folder.path().join("edge.v1.report.json"), serde_json::to_vec(&report).unwrap()).unwrap();
        let (board, verify) = asked(&image, &report_of(&image).unwrap().unwrap()).unwrap();
        assert_eq!((&board, &verify), (&spec.base.board.as_ref().unwrap().qemu, &spec.verify));
        assert_eq!(verify.asserts.len(), 1);
        assert_eq!(report_of(&other).unwrap(), None);
        assert!(report_of(&folder.path().join("missing.raw")).is_err());
    }

    #[test]
    fn an_image_from_elsewhere_is_taken_for_a_plain_pc() {
        assert_eq!(plain().unwrap().0.firmware, "uefi");
    }

    #[test]
    fn the_console_is_kept_beside_the_image() {
        assert_eq!(console_log(Path::new("out/edge.raw.zst")), Path::new("out/edge.console.log"));
    }
}
