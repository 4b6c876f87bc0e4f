//! The words of every day. `cargo xtask` lists them.

#![forbid(unsafe_code)]

mod deb;
mod deps;
mod docs;
mod links;
mod new;
mod ring;
mod shape;
mod sources;
mod tool;

use std::process::ExitCode;

use tool::{Done, cargo};

/// A word, what follows it, what it does.
struct Word {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Done,
}

const WORDS: &[Word] = &[
    Word {
        name: "check",
        arguments: "",
        about: "what CI asks before tests: format, lints, arrows, fresh docs",
        run: check,
    },
    Word {
        name: "test",
        arguments: "[FILTER]",
        about: "the domain ring: milliseconds, no privileges",
        run: ring::domain,
    },
    Word { name: "host", arguments: "[FILTER]", about: "the host ring: files, sockets, namespaces", run: ring::host },
    Word {
        name: "boot",
        arguments: "[FILTER]",
        about: "the boot ring: real builds on the mirror, real guests",
        run: ring::boot,
    },
    Word { name: "bless", arguments: "", about: "accepts what golden tests print now", run: ring::bless },
    Word { name: "docs", arguments: "[--check]", about: "writes what docs/ has from code", run: docs::run },
    Word { name: "deps", arguments: "[--check]", about: "draws the crates into docs/architecture.md", run: deps::run },
    Word { name: "schema", arguments: "[--check]", about: "writes the JSON Schema of recipes", run: docs::schema },
    Word {
        name: "deb",
        arguments: "[--binary FILE] [--out FILE]",
        about: "makes target/kiln.deb, by kiln itself",
        run: deb::run,
    },
    Word { name: "shape", arguments: "", about: "file and function sizes, spawn sites, unsafe sites", run: shape::run },
    Word {
        name: "new",
        arguments: "KIND NAME",
        about: "starts a release, board, layout, format or stage",
        run: new::run,
    },
    Word { name: "plan", arguments: "RECIPE", about: "prints a recipe's plan", run: |rest| kiln("plan", rest) },
    Word {
        name: "twice",
        arguments: "RECIPE",
        about: "builds a recipe twice and compares",
        run: |rest| kiln("twice", rest),
    },
    Word { name: "up", arguments: "", about: "takes newer versions of dependencies", run: |_| cargo(&["update"]) },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let asked = words.first().and_then(|name| WORDS.iter().find(|word| word.name == name));
    let Some(word) = asked else {
        WORDS.iter().for_each(|word| eprintln!("cargo xtask {:<7} {:<10} {}", word.name, word.arguments, word.about));
        return ExitCode::from(2);
    };
    match (word.run)(&words[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Asks everything, so that one run tells all that is wrong.
fn check(_: &[String]) -> Done {
    let check = ["--check".to_owned()];
    let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    let asked = [cargo(&["fmt", "--all", "--check"]), cargo(&lints), docs::run(&check), links::check()];
    let wrong: Vec<String> = asked.into_iter().filter_map(Result::err).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\nerror: ")) }
}

fn kiln(verb: &str, rest: &[String]) -> Done {
    let mut words = vec!["run", "--quiet", "--package", "kiln", "--", verb];
    words.extend(rest.iter().map(String::as_str));
    cargo(&words)
}
