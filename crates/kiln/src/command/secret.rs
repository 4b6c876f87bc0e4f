//! `kiln secret`.

use std::io::{self, IsTerminal as _, Read as _};
use std::process::ExitCode;

use kiln_farm_api::secret::Value;
use kiln_farm_api::{Name, Secret, Variable};
use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, FaultKind};
use rustix::termios::tcgetattr;

use crate::ask::silently;
use crate::command::Outcome;
use crate::farm::{self, Login};
use crate::out;

/// Sets, lists and removes the secrets of a build service's projects.
///
/// A recipe's `[secrets]` names environment variables; where a build service builds it, the project's secrets of these names stand in
/// their place. Nobody is shown a value again.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Gives a secret a value: what standard input says, one line end at its end dropped; a terminal is asked
    Set {
        /// The variable, as in `[secrets]` of a recipe: `WIFI_PSK`
        #[arg(value_name = "NAME")]
        name: Variable,
        #[command(flatten)]
        place: Place,
    },
    /// Lists a project's secrets: their names, when they were set and by whom
    #[command(alias = "ls")]
    List {
        /// Print it as a JSON array
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Removes a secret; builds that still want it fail
    #[command(alias = "rm")]
    Remove {
        /// The variable, as `kiln secret list` shows it
        #[arg(value_name = "NAME")]
        name: Variable,
        #[command(flatten)]
        place: Place,
    },
}

/// Whose secrets.
#[derive(Debug, clap::Args)]
struct Place {
    /// The project whose it is
    #[arg(long, short, value_name = "PROJECT", default_value = "default")]
    project: Name,
    #[command(flatten)]
    login: Login,
}

pub fn run(args: Args) -> Outcome {
    match args.action {
        Action::Set { name, place } => set(&name, &place),
        Action::List { json, place } => list(json, &place),
        Action::Remove { name, place } => remove(&name, &place),
    }
}

fn set(name: &Variable, Place { project, login }: &Place) -> Outcome {
    let client = login.client()?;
    let value = Value(asked(name)?);
    let done = farm::runtime()?.block_on(client.set_secret(project, name, value));
    done.map_err(|error| farm::fault("set the secret", error))?;
    out::talk(&format!("`{project}` has a secret `{name}`\n"));
    Ok(ExitCode::SUCCESS)
}

fn list(json: bool, Place { project, login }: &Place) -> Outcome {
    let client = login.client()?;
    let secrets = farm::runtime()?.block_on(client.secrets(project));
    let secrets = secrets.map_err(|error| farm::fault("list the secrets", error))?;
    if json {
        out::json(&secrets)?;
    } else {
        out::data(&secrets.iter().map(row).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(name: &Variable, Place { project, login }: &Place) -> Outcome {
    let client = login.client()?;
    let done = farm::runtime()?.block_on(client.drop_secret(project, name));
    done.map_err(|error| farm::fault("remove the secret", error))?;
    out::talk(&format!("`{project}` has no secret `{name}` any more\n"));
    Ok(ExitCode::SUCCESS)
}

/// Reads a value: all of standard input, or one line of a terminal, which does not show it.
fn asked(name: &Variable) -> Result<String, Fault> {
    let stdin = io::stdin();
    let mut text = String::new();
    match tcgetattr(&stdin).ok().filter(|_| stdin.is_terminal()) {
        Some(modes) => {
            out::talk(&format!("Enter {name}: "));
            let line = silently(&stdin, &modes);
            text = line.ok_or_else(|| Fault::new(FaultKind::Interrupted, "nothing was set"))?;
        }
        None => {
            stdin
                .lock()
                .read_to_string(&mut text)
                .farm(|| format!("read the value of `{name}` from standard input"))?;
        }
    }
    Ok(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
}

fn row(secret: &Secret) -> String {
    let Secret { name, changed, by, unreadable } = secret;
    let when = jiff::Timestamp::from_millisecond(*changed).map(|at| format!("{at:.0}")).unwrap_or_default();
    let unreadable = if *unreadable { "  unreadable: set it again" } else { "" };
    format!("{name}  set {when} by {by}{unreadable}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_words() {
        let (name, by) = ("WIFI_PSK".parse().unwrap(), "ann".to_owned());
        let secret = Secret { name, changed: 1_767_225_600_123, by, unreadable: false };
        assert_eq!(row(&secret), "WIFI_PSK  set 2026-01-01T00:00:00Z by ann\n");
        assert!(row(&Secret { unreadable: true, ..secret }).ends_with("by ann  unreadable: set it again\n"));
    }
}
