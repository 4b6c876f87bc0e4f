//! `kiln gc`.

use std::process::ExitCode;

use kiln_farm_api::Swept;

use crate::command::Outcome;
use crate::{farm, out, text};

/// Lets a build service remove what nobody needs any more.
///
/// Builds that no rule of their project keeps go, then artifacts and bundles that no build has. The service does the same once a day.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove nothing; only say what would go
    #[arg(long)]
    dry_run: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: farm::Login,
}

pub fn run(args: Args) -> Outcome {
    let client = args.server.client()?;
    let swept = farm::runtime()?.block_on(client.gc(args.dry_run)).map_err(|error| farm::fault("free space", error))?;
    if args.json {
        out::json(&swept)?;
    } else {
        out::data(&words(&swept))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn words(swept: &Swept) -> String {
    let projects = swept.projects.iter();
    let lines = projects
        .map(|one| format!("{}: {}, {}\n", one.project, text::count(one.builds, "build"), text::bytes(one.bytes)));
    let unused = format!("unused: {}, {}\n", text::count(swept.unused, "blob"), text::bytes(swept.unused_bytes));
    let stages = match swept.stages {
        0 => String::new(),
        count => format!("stages: {count}, {}\n", text::bytes(swept.stages_bytes)),
    };
    let verb = if swept.dry_run { "would be free" } else { "are free" };
    lines.chain([unused, stages, format!("{} {verb}\n", text::bytes(swept.bytes()))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_farm_api::retention::SweptProject;

    #[test]
    fn what_went_in_words() {
        let project = SweptProject { project: "edge".parse().unwrap(), builds: 2, bytes: 1_500_000 };
        let swept = Swept { dry_run: true, projects: vec![project], unused: 1, unused_bytes: 12, ..Swept::default() };
        assert_eq!(words(&swept), "edge: 2 builds, 1.5 MB\nunused: 1 blob, 12 B\n1.5 MB would be free\n");
        let swept = Swept { stages: 3, stages_bytes: 500_000, ..swept };
        assert!(words(&swept).contains("\nstages: 3, 500.0 kB\n2.0 MB would be free"), "{}", words(&swept));
    }
}
