//! `kiln restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use kiln_farm_server::backup::{self, Restored};

use crate::command::Outcome;
use crate::command::backup::what;
use crate::{farm, out, settings, store};

/// Makes the folder of a build service from a backup.
///
/// The folder must be empty, or not there yet. Every digest is checked; when something is wrong nothing is left in the folder,
/// but where a PostgreSQL went away and nobody knows whether it has taken the database: the error says so.
/// `kiln serve` then begins from it. Where DATABASE_URL names a PostgreSQL, which must be empty too, the database goes there, whichever
/// kind it was in. With `--store` it is also seen that artifacts in the bucket are still there.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file that `kiln backup` made
    file: PathBuf,
    /// The folder to fill [default: $KILN_DATA, $XDG_STATE_HOME/kiln, ~/.local/state/kiln]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    store: store::Place,
}

pub fn run(args: Args) -> Outcome {
    let data = args.data.unwrap_or_else(settings::data_folder);
    let store = args.store.address()?;
    let database = settings::database();
    let restoring = backup::restore(&args.file, &data, store.as_ref(), database.as_deref());
    let restored = farm::runtime()?.block_on(restoring);
    let restored = restored.map_err(|error| farm::not_done("restore", error))?;
    let Restored { manifest, lacking } = restored;
    let artifacts = what(manifest.blobs, manifest.bytes);
    if database.is_some() {
        out::talk(&format!("`{}`: {artifacts}; the database is the PostgreSQL of DATABASE_URL\n", data.display()));
        out::talk("`kiln serve` needs the same DATABASE_URL: without it a new service begins in the folder\n");
    } else {
        out::talk(&format!("`{}`: the database and {artifacts}\n", data.display()));
    }
    let elsewhere = what(manifest.elsewhere, manifest.elsewhere_bytes);
    match lacking {
        None if manifest.elsewhere == 0 => {}
        None => out::talk(&format!("{elsewhere} are in a bucket: `kiln serve --store s3://BUCKET/PREFIX`\n")),
        Some(0) => out::talk(&format!("{elsewhere} are in the bucket, all of them\n")),
        Some(count) => out::talk(&format!("{elsewhere} were in the bucket; {count} of them are not there any more\n")),
    }
    Ok(ExitCode::SUCCESS)
}
