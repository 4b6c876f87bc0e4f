//! The recipe's scripts, at their named points.

use kiln_model::action::Content;
use kiln_model::{Action, Digest, RunIn};
use kiln_recipe::spec::{Point, Script};

use super::script_environment;
use crate::Inputs;
use crate::context::local;

/// Returns the scripts that run at `point`, in the recipe's order.
pub fn at(inputs: &Inputs<'_>, point: Point) -> Vec<Action> {
    inputs.spec.scripts.iter().filter(|script| script.after == point).map(|script| action(inputs, script)).collect()
}

/// A script runs by its own `#!` line, else by `/bin/sh -eu`; it is handed to the interpreter on standard input.
fn action(inputs: &Inputs<'_>, script: &Script) -> Action {
    let mut argv: Vec<String> = match script.text.strip_prefix("#!") {
        Some(rest) => rest.lines().next().unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        None => ["/bin/sh", "-eu"].map(str::to_owned).into(),
    };
    argv.push("/dev/stdin".into());
    let mut env = script_environment(inputs.epoch());
    env.extend(script.secrets.iter().map(|(variable, secret)| (variable.clone(), secret_word(inputs, secret))));
    let stdin = Some(Content::Text(script.text.clone()));
    let files = script.files.as_ref().map(local);
    let mut place = RunIn::Target;
    if script.after == Point::Start {
        place = RunIn::Tools;
        env.insert(TOOLS.to_owned(), tools(inputs).to_string());
    }
    Action::Run { name: script.name.clone(), r#in: place, argv, env, stdin, files }
}

/// What tells the tools that a script ran with from others: part of the stage's id.
const TOOLS: &str = "KILN_TOOLS";

fn tools(inputs: &Inputs<'_>) -> Digest {
    let archives = inputs.lock.tools.iter().map(|locked| locked.sha256.to_string());
    Digest::of(archives.collect::<Vec<_>>().join("\n"))
}

/// How an environment variable stands for a secret until the command starts; the fingerprint is part of the stage's id.
fn secret_word(inputs: &Inputs<'_>, name: &str) -> String {
    let fingerprint = inputs.secrets.get(name).map(String::as_str).unwrap_or_default();
    format!("{SECRET_PREFIX}{name}:{fingerprint}")
}

/// What a value starts with that the engine replaces by a secret's text.
pub const SECRET_PREFIX: &str = "kiln-secret:";
