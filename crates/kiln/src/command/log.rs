//! `kiln log`.

use std::pin::pin;
use std::process::ExitCode;

use futures_util::StreamExt as _;
use kiln_farm_api::{BuildId, Client, Entry};
use kiln_farm_server::http::events::line;
use kiln_model::{Fault, StageKind};

use crate::command::Outcome;
use crate::farm::{self, Login};
use crate::{out, text};

/// Prints the log of a build of a build service, each line with its time.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The build: its id or its address
    #[arg(value_name = "BUILD", value_parser = farm::build_id)]
    build: BuildId,
    /// Go on with what comes, to the build's end
    #[arg(long, short)]
    follow: bool,
    /// Only the last N entries, and with --follow what comes after them
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(..=2000))]
    tail: Option<u64>,
    /// Only what happened within this time until now: `10m`, `1h 30m`
    #[arg(long, value_name = "TIME", value_parser = text::parse_seconds)]
    since: Option<u64>,
    /// Only lines with this text, whatever its case
    #[arg(long, value_name = "TEXT")]
    find: Option<String>,
    /// Only what this stage says
    #[arg(long, value_name = "STAGE", value_parser = stage)]
    stage: Option<StageKind>,
    #[command(flatten)]
    login: Login,
}

pub fn run(args: Args) -> Outcome {
    let client = args.login.client()?;
    farm::runtime()?.block_on(print(&args, &client))?;
    Ok(ExitCode::SUCCESS)
}

async fn print(args: &Args, client: &Client) -> Result<(), Fault> {
    let since = args.since.map(|seconds| kiln_farm_server::serve::clock() - seconds as i64 * 1000);
    let said = [
        ("q", args.find.clone()),
        ("stage", args.stage.map(|stage| stage.name().to_owned())),
        ("since", since.map(|since| since.to_string())),
    ];
    let said: Vec<(&str, String)> = said.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let refused = |error| farm::fault("read the log", error);
    let mut show = |entry: Entry| line(&entry).map_or(Ok(()), |line| out::data(&line));
    let after = match args.tail {
        Some(tail) => {
            let wanted: Vec<_> = said.iter().cloned().chain([("tail", tail.to_string())]).collect();
            let page = client.events(args.build, 0, &wanted).await.map_err(refused)?;
            let last = page.entries.last().map_or(0, |entry| entry.seq);
            page.entries.into_iter().try_for_each(&mut show)?;
            last.max(page.last)
        }
        None if args.follow => 0,
        None => return all(args.build, client, &said).await,
    };
    match args.follow {
        true => farm::follow(client, args.build, after, &said, &mut show).await,
        false => Ok(()),
    }
}

/// Prints all of it that is there.
async fn all(build: BuildId, client: &Client, said: &[(&str, String)]) -> Result<(), Fault> {
    let broken = |error| farm::fault("read the log", error);
    let pieces = client.log(build, said).await.map_err(broken)?;
    let mut pieces = pin!(pieces);
    while let Some(piece) = pieces.next().await {
        out::bytes(&piece.map_err(broken)?)?;
    }
    Ok(())
}

fn stage(text: &str) -> Result<StageKind, String> {
    let known = || StageKind::ALL.map(StageKind::name).join(", ");
    StageKind::ALL.into_iter().find(|stage| stage.name() == text).ok_or_else(|| format!("there are {}", known()))
}
