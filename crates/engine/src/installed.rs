//! What apk has installed in a tree, as the tree's own files say.

use std::error::Error;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use kiln_family::apk::install::{Record, installed, scripts, triggers, world};
use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, FaultKind};
use kiln_plan::context::path;

use crate::target::Target;

/// Where apk lists them.
pub const INSTALLED: &str = "/lib/apk/db/installed";
/// The scripts of what is installed; apk 3 packs them, but for a tree that has them unpacked.
pub const SCRIPTS: [&str; 2] = ["/lib/apk/db/scripts.tar", "/lib/apk/db/scripts.tar.gz"];
const TRIGGERS: &str = "/lib/apk/db/triggers";
const WORLD: &str = "/etc/apk/world";

/// Bytes that the scripts of no tree have.
const UNPACKED: u64 = 256 << 20;

/// What apk has installed, and what of it somebody asked for.
pub struct Installed {
    pub records: Vec<Record>,
    pub world: Vec<String>,
}

/// Reads the database of a tree.
pub fn read(target: &Target) -> Result<Installed, Fault> {
    let bytes = |file: &str| target.read(&path(file)).fault(FaultKind::Recipe, || format!("read `{file}`"));
    let text = |file: &str| target.text(&path(file)).fault(FaultKind::Recipe, || format!("read `{file}`"));
    let mut records =
        installed::parse(&bytes(INSTALLED)?.unwrap_or_default()).map_err(|error| damaged(INSTALLED, error))?;
    let [plain, packed] = SCRIPTS;
    match (bytes(plain)?, bytes(packed)?) {
        (Some(tar), _) => scripts::read(&tar[..], &mut records).map_err(|error| damaged(plain, error))?,
        (None, Some(tar)) => {
            let tar = MultiGzDecoder::new(&tar[..]).take(UNPACKED);
            scripts::read(tar, &mut records).map_err(|error| damaged(packed, error))?;
        }
        (None, None) => {}
    }
    triggers::read(&text(TRIGGERS)?, &mut records).map_err(|error| damaged(TRIGGERS, error))?;
    let world = world::parse(&text(WORLD)?).map_err(|error| damaged(WORLD, error))?;
    Ok(Installed { records, world })
}

fn damaged(file: &str, error: impl Error + Send + Sync + 'static) -> Fault {
    let fault = Fault::recipe(format!("`{}` is damaged", file.trim_start_matches('/'))).because(error);
    fault.hint("unpack the tree anew, or take a copy of it that is whole")
}
