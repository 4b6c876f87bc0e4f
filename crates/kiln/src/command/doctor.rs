//! `kiln doctor`.

use std::process::ExitCode;

use kiln_model::FaultKind;

use crate::command::Outcome;
use crate::doctor::{Finding, examine};
use crate::out;
use crate::settings::Flags;

/// Tries what a build needs on this machine; says what is wrong and the one command that mends it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the findings as a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

pub fn run(args: Args) -> Outcome {
    let findings = examine(&args.flags.config()?)?;
    if args.json {
        out::json(&findings)?;
    } else {
        out::data(&findings.iter().map(shown).collect::<String>())?;
    }
    let well = findings.iter().all(|finding| finding.ok || finding.optional);
    out::talk(if well { "this machine can build images\n" } else { "this machine cannot build images yet\n" });
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(FaultKind::Farm.exit_code()) })
}

/// Returns one line of cause, and below it the command that mends it.
fn shown(finding: &Finding) -> String {
    let mark = match (finding.ok, finding.optional) {
        (true, _) => "ok  ",
        (false, true) => "weak",
        (false, false) => "bad ",
    };
    let mend = finding.mend.as_ref().filter(|_| !finding.ok).map(|mend| format!("       mend: {mend}\n"));
    format!("{mark}  {}: {}\n{}", finding.name, finding.cause, mend.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_of_cause_and_the_command_that_mends_it() {
        let mend = Some("apt-get install uidmap".to_owned());
        let (name, cause) = ("subordinate ids".to_owned(), "`newuidmap` is not installed".to_owned());
        let mut finding = Finding { name, ok: false, optional: false, cause, mend };
        assert_eq!(
            shown(&finding),
            "bad   subordinate ids: `newuidmap` is not installed\n       mend: apt-get install uidmap\n"
        );
        finding.ok = true;
        assert_eq!(shown(&finding), "ok    subordinate ids: `newuidmap` is not installed\n");
    }
}
