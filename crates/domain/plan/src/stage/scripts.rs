//! The recipe's scripts, at their named points.

use kiln_model::action::Content;
use kiln_model::{Action, RunIn};
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
    Action::Run { name: script.name.clone(), r#in: RunIn::Target, argv, env, stdin, files }
}

/// How an environment variable stands for a secret until the command starts; the fingerprint is part of the stage's id.
fn secret_word(inputs: &Inputs<'_>, name: &str) -> String {
    let fingerprint = inputs.secrets.get(name).map(String::as_str).unwrap_or_default();
    format!("{SECRET_PREFIX}{name}:{fingerprint}")
}

/// What a value starts with that the engine replaces by a secret's text.
pub const SECRET_PREFIX: &str = "kiln-secret:";
