//! `kiln cache`.

use std::process::ExitCode;
use std::time::SystemTime;

use kiln_model::Fault;
use kiln_model::fault::OrFault as _;
use kiln_store::{EntryInfo, Store};

use crate::command::Outcome;
use crate::settings::{self, Flags};
use crate::{out, text};

/// Shows, bounds and verifies the cache.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists what is kept, last used first
    Ls {
        /// Print it as a JSON array
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        flags: Flags,
    },
    /// Removes what was used longest ago until the cache is within its bound
    Gc {
        /// The bound, as in `5G` [default: $KILN_CACHE_LIMIT, 20 GiB]
        #[arg(long, value_name = "SIZE", value_parser = text::parse_bytes)]
        limit: Option<u64>,
        /// Remove until so much is free on the cache's disk, also below the bound
        #[arg(long, value_name = "SIZE", value_parser = text::parse_bytes)]
        keep_free: Option<u64>,
        /// Only tell what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Print what was removed as a JSON array
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        flags: Flags,
    },
    /// Reads every byte that is kept; what is not as it was stored is removed, and made again by the next build
    Verify {
        /// Print the findings as a JSON array
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        flags: Flags,
    },
}

pub fn run(args: Args) -> Outcome {
    match args.action {
        Action::Ls { json, flags } => ls(json, &flags),
        Action::Gc { limit, keep_free, dry_run, json, flags } => {
            let store = if dry_run { open(&flags)? } else { open_inside(&flags)? };
            let limit = keep_free.map_or(Ok(limit), |wanted| within(&store, wanted, limit))?;
            gc(&store, limit, dry_run, json)
        }
        Action::Verify { json, flags } => verify(json, &flags),
    }
}

fn ls(json: bool, flags: &Flags) -> Outcome {
    let mut entries = open(flags)?.list().map_err(kiln_model::Fault::from)?;
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.last_used));
    if json {
        out::json(&entries)?;
    } else {
        out::data(&entries.iter().map(row).collect::<String>())?;
        let total = entries.iter().map(|entry| entry.size).sum();
        out::talk(&format!("{} in {}\n", text::bytes(total), entries_word(entries.len())));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the bound with which `wanted` bytes of the disk are free; none where they are already, and nothing else was said.
fn within(store: &Store, wanted: u64, limit: Option<u64>) -> Result<Option<u64>, Fault> {
    let folder = store.root();
    let about = rustix::fs::statvfs(folder).farm(|| format!("ask what is free in `{}`", folder.display()))?;
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    let used: u64 = store.list().map_err(Fault::from)?.iter().map(|entry| entry.size).sum();
    let needed = (free < wanted).then(|| used.saturating_sub(wanted - free));
    Ok(needed.map(|needed| limit.map_or(needed, |limit| limit.min(needed))).or(limit))
}

fn gc(store: &Store, limit: Option<u64>, dry_run: bool, json: bool) -> Outcome {
    let collected = store.gc(limit, dry_run).map_err(kiln_model::Fault::from)?;
    if json {
        out::json(&collected.removed)?;
    } else {
        out::data(&collected.removed.iter().map(row).collect::<String>())?;
    }
    let verb = if dry_run { "would remove" } else { "removed" };
    let (removed, freed) = (entries_word(collected.removed.len()), text::bytes(collected.freed));
    out::talk(&format!("{verb} {removed}, {freed}; {} kept\n", text::bytes(collected.kept)));
    Ok(ExitCode::SUCCESS)
}

fn verify(json: bool, flags: &Flags) -> Outcome {
    let store = open_inside(flags)?;
    let findings = store.verify(&|_| {}).map_err(kiln_model::Fault::from)?;
    if json {
        out::json(&findings)?;
    } else {
        let line =
            |finding: &kiln_store::Finding| format!("{} {}: {}\n", word(&finding.kind), finding.id, finding.what);
        out::data(&findings.iter().map(line).collect::<String>())?;
        out::talk(&match findings.len() {
            0 => "every entry is as it was stored\n".into(),
            many => format!("{} removed; the next build makes them again\n", entries_word(many)),
        });
    }
    Ok(ExitCode::SUCCESS)
}

fn open(flags: &Flags) -> Result<Store, crate::ending::Failure> {
    Ok(kiln_engine::open_cache(&flags.config()?)?)
}

/// The same, from where layers were made: seen from outside, an ordinary user's have other owners and cannot be removed.
fn open_inside(flags: &Flags) -> Result<Store, crate::ending::Failure> {
    settings::enter()?;
    open(flags)
}

fn row(entry: &EntryInfo) -> String {
    let idle = SystemTime::now().duration_since(entry.last_used).unwrap_or_default().as_millis() as u64;
    let id = entry.id.get(..12).unwrap_or(&entry.id);
    let line = format!(
        "{:<9} {id:<12} {:>9} {:>11}  {}",
        word(&entry.kind),
        text::bytes(entry.size),
        text::time(idle),
        entry.note
    );
    line.trim_end().to_owned() + "\n"
}

/// Returns the word that JSON has for a kind of entry.
fn word(kind: &kiln_store::EntryKind) -> String {
    serde_json::to_value(kind).ok().and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
}

fn entries_word(count: usize) -> String {
    if count == 1 { "1 entry".into() } else { format!("{count} entries") }
}
