//! The rings of tests. What is compiled is the whole workspace each time, so that it is compiled once.

use std::process::{Command, Stdio};

use crate::tool::{Done, cargo, cargo_with};

const DOMAIN: &[&str] = &["kiln-model", "kiln-recipe", "kiln-family", "kiln-disk", "kiln-plan", "xtask"];
const HOST: &[&str] = &[
    "kiln-store",
    "kiln-fetch",
    "kiln-sandbox",
    "kiln-adapter-pieman",
    "kiln-engine",
    "kiln-farm-api",
    "kiln-farm-node",
    "kiln-farm-server",
    "kiln-testkit",
    "kiln",
];

/// What names the tests of the boot ring and the files they stand in.
const BOOT: &str = "boot_";

pub fn domain(rest: &[String]) -> Done {
    packages(DOMAIN, rest)
}

pub fn host(rest: &[String]) -> Done {
    packages(HOST, rest)
}

pub fn boot(rest: &[String]) -> Done {
    let filter = rest.first().map_or(BOOT, String::as_str);
    if has_nextest() {
        let filter = format!("binary(/^{BOOT}/) & test({filter})");
        return cargo(&["nextest", "run", "--workspace", "-E", &filter]);
    }
    cargo(&["test", "--workspace", "--no-fail-fast", "--test", &format!("{BOOT}*"), "--", filter])
}

/// Accepts golden files: ours through `KILN_BLESS`, those of insta through `INSTA_UPDATE`.
pub fn bless(_: &[String]) -> Done {
    let words = ["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests", "--", "--skip", BOOT];
    cargo_with(&words, &[("KILN_BLESS", "1"), ("INSTA_UPDATE", "always")])
}

fn packages(names: &[&str], rest: &[String]) -> Done {
    if has_nextest() {
        let wanted: Vec<String> = names.iter().map(|name| format!("package({name})")).collect();
        let filter = rest.first().map(|filter| format!(" & test({filter})")).unwrap_or_default();
        let filter = format!("({}) - binary(/^{BOOT}/){filter}", wanted.join(" | "));
        return cargo(&["nextest", "run", "--workspace", "-E", &filter]);
    }
    let mut words = vec!["test", "--no-fail-fast", "--lib", "--bins", "--tests"];
    names.iter().for_each(|name| words.extend(["--package", name]));
    words.push("--");
    words.extend(rest.iter().map(String::as_str));
    words.extend(["--skip", BOOT]);
    cargo(&words)
}

fn has_nextest() -> bool {
    let asked =
        Command::new("cargo").args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}
