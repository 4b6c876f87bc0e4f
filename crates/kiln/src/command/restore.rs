//! `kiln restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use kiln_farm_server::backup;

use crate::command::Outcome;
use crate::{farm, out, settings, text};

/// Makes the folder of a build service from a backup.
///
/// The folder must be empty, or not there yet. Every digest is checked; when something is wrong nothing is left in the folder.
/// `kiln serve` then begins from it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file that `kiln backup` made
    file: PathBuf,
    /// The folder to fill [default: $KILN_DATA, $XDG_STATE_HOME/kiln, ~/.local/state/kiln]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub fn run(args: Args) -> Outcome {
    let data = args.data.unwrap_or_else(settings::data_folder);
    let restored = farm::runtime()?.block_on(backup::restore(&args.file, &data));
    let restored = restored.map_err(|error| farm::not_done("restore", error))?;
    out::talk(&format!(
        "`{}`: the database and {} of {}\n",
        data.display(),
        text::count(restored.blobs, "artifact"),
        text::bytes(restored.bytes)
    ));
    Ok(ExitCode::SUCCESS)
}
