//! `kiln backup`.

use std::path::PathBuf;
use std::process::ExitCode;

use kiln_farm_server::backup;
use kiln_farm_server::serve::clock;

use crate::command::Outcome;
use crate::{farm, out, settings, text};

/// Makes one file of a build service's database and artifacts, also while it runs.
///
/// Everything is of one moment, and every artifact is checked on the way. `kiln restore` makes a service of it again. The file holds
/// secrets, such as hashes of passwords. Artifacts in a bucket stay there and are not in the file. A service with a PostgreSQL is backed up
/// with the DATABASE_URL that it has; the backup can become one with or without.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to make: a tar packed with zstd
    file: PathBuf,
    /// The service's folder [default: $KILN_DATA, $XDG_STATE_HOME/kiln, ~/.local/state/kiln]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub fn run(args: Args) -> Outcome {
    let (data, database) = (args.data.unwrap_or_else(settings::data_folder), settings::database());
    let made = farm::runtime()?.block_on(backup::backup(&data, database.as_deref(), &args.file, clock()));
    let made = made.map_err(|error| farm::not_done("back up", error))?;
    out::talk(&format!("`{}`: the database and {}\n", args.file.display(), what(made.blobs, made.bytes)));
    if made.elsewhere > 0 {
        let elsewhere = what(made.elsewhere, made.elsewhere_bytes);
        out::talk(&format!("not in it: {elsewhere} in the bucket, which has copies only if you make some\n"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns how many artifacts of what size.
pub fn what(count: u64, bytes: u64) -> String {
    format!("{} of {}", text::count(count, "artifact"), text::bytes(bytes))
}
