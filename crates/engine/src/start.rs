//! Starting an image that was built before, by its path: its report tells which board it is for and what must hold.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, Report};
use kiln_recipe::Spec;
use kiln_recipe::catalogue::board;
use kiln_recipe::spec::{Bus, Firmware, Qemu, Verify};
use kiln_sandbox::Scratch;

use crate::boot::{self, Accel, Guest, Programs, Seed, Verified, firmware};
use crate::events::Events;
use crate::kiln::Kiln;
use crate::load::empty;

/// The board of an image that came without a report, and the seconds it gets to come up.
const PLAIN: (&str, u32) = ("generic-x86_64", 600);

/// What is known of an image before it is started.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    board: Qemu,
    /// What starts it.
    able: Vec<Firmware>,
    verify: Verify,
}

/// What a user chooses of how an image is started; nothing: what suits the image and this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct How<'a> {
    /// What runs the guest's instructions.
    pub accel: Option<Accel>,
    pub firmware: Option<Firmware>,
    /// A folder with what cloud-init is told.
    pub cloud_init: Option<&'a Path>,
}

/// An image, ready to start.
struct Ready {
    board: Qemu,
    programs: Programs,
    seed: Option<Seed>,
    scratch: Scratch,
    /// Locked, so that a build meanwhile does not patch it.
    _held: File,
}

impl Kiln {
    /// Boots an image with its console in the terminal; `say` hears what goes on.
    pub fn boot(&self, image: &Path, how: &How<'_>, events: &Events, say: &dyn Fn(&str)) -> Result<(), Fault> {
        let known = known(image)?;
        // Without a choice the board's usual one: a person looks at one console.
        let verify = Verify { firmware: vec![], ..known.verify };
        let boards = firmware::machines(&known.board, &known.able, &verify, how.firmware)?;
        let ready = self.ready(image, &boards[0], how, events)?;
        boot::interactive(&self.guest(image, how, &ready)?, say)
    }

    /// Boots an image headless and tries what its recipe asserts, under each firmware that it names; the console is kept
    /// beside the image.
    pub fn boot_check(&self, image: &Path, how: &How<'_>, events: &Events) -> Result<Verified, Fault> {
        let Known { board, able, verify } = known(image)?;
        let boards = firmware::machines(&board, &able, &verify, how.firmware)?;
        let told = |line: &str| events.log(None, "console", line);
        let verified = boards.iter().enumerate().map(|(number, board)| {
            let ready = self.ready(image, board, how, events)?;
            let log = console_log(image, if number == 0 { None } else { Some(&board.firmware) });
            boot::check(&self.guest(image, how, &ready)?, &verify, &log, &told)
        });
        let verified = firmware::joined(verified.collect::<Result<_, _>>()?);
        verified.ok_or_else(|| Fault::farm("there was no machine to start"))
    }

    fn guest<'a>(&'a self, image: &'a Path, how: &How<'_>, ready: &'a Ready) -> Result<Guest<'a>, Fault> {
        let (accel, seed) = (how.accel, ready.seed.as_ref());
        let (board, programs, scratch) = (&ready.board, &ready.programs, ready.scratch.path());
        Ok(Guest { image, board, programs, sandbox: self.sandbox()?, scratch, accel, seed, jobs: self.config.jobs })
    }

    fn ready(&self, image: &Path, board: &Qemu, how: &How<'_>, events: &Events) -> Result<Ready, Fault> {
        let seed = how.cloud_init.map(Seed::read).transpose()?;
        if seed.is_some() && board.bus == Bus::Sd {
            let fault = Fault::recipe("this board has a memory card and no second disk for `--cloud-init`");
            return Err(fault.hint("the recipe's `[cloud-init]` puts the files into the image itself"));
        }
        let programs = self.boot_programs(&empty(&self.config)?, board, events)?;
        let scratch = Scratch::new(&self.config.cache.join("scratch"), "boot")?;
        let held = File::open(image).and_then(|file| file.lock_shared().map(|()| file));
        let _held = held.farm(|| format!("open `{}`", image.display()))?;
        Ok(Ready { board: board.clone(), programs, seed, scratch, _held })
    }
}

fn known(image: &Path) -> Result<Known, Fault> {
    match report_of(image)? {
        Some(report) => asked(image, &report),
        None => plain(),
    }
}

/// Returns the board and the assertions of the recipe that the image was built from.
fn asked(image: &Path, report: &Report) -> Result<Known, Fault> {
    let spec: Spec = serde_json::from_value(report.spec.clone()).map_err(|error| {
        let hint = "build the image again, or move its report away to start it as a plain PC";
        Fault::farm(format!("read the report of `{}`", report.name)).because(error).hint(hint)
    })?;
    let board = spec
        .base
        .board
        .ok_or_else(|| Fault::recipe(format!("`{}` was built for no board, so nothing starts it", image.display())))?;
    Ok(Known { able: board.firmware(), board: boot::machine(&board)?.clone(), verify: spec.verify })
}

fn plain() -> Result<Known, Fault> {
    let board = board::find(PLAIN.0).and_then(|board| board.qemu.clone());
    let board = board.ok_or_else(|| Fault::farm(format!("the catalogue has no machine `{}`", PLAIN.0)))?;
    let verify = Verify { boot: true, timeout: PLAIN.1, firmware: vec![], asserts: vec![] };
    Ok(Known { board, able: vec![Firmware::Uefi, Firmware::Bios], verify })
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

/// Returns where the console's text goes: `image.console.log`, and `image.bios.console.log` for a further firmware.
fn console_log(image: &Path, firmware: Option<&str>) -> PathBuf {
    let stem = image.file_name().unwrap_or_default().to_string_lossy();
    let stem = stem.split('.').next().unwrap_or_default();
    let firmware = firmware.map(|firmware| format!(".{firmware}")).unwrap_or_default();
    image.with_file_name(format!("{stem}{firmware}.console.log"))
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
        let known = asked(&image, &report_of(&image).unwrap().unwrap()).unwrap();
        let board = spec.base.board.as_ref().unwrap().qemu.as_ref().unwrap();
        assert_eq!((&known.board, &known.verify), (board, &spec.verify));
        assert_eq!((known.verify.asserts.len(), known.able.len()), (1, 2));
        assert_eq!(report_of(&other).unwrap(), None);
        assert!(report_of(&folder.path().join("missing.raw")).is_err());
    }

    #[test]
    fn an_image_from_elsewhere_is_taken_for_a_plain_pc() {
        assert_eq!(plain().unwrap().board.firmware, "uefi");
    }

    #[test]
    fn the_console_is_kept_beside_the_image() {
        assert_eq!(console_log(Path::new("out/edge.raw.zst"), None), Path::new("out/edge.console.log"));
    }
}
