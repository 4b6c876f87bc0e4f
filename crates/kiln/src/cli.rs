//! The command line: every command with its arguments, as `kiln --help` and docs/reference/cli.md show them.

use clap::{Parser, Subcommand};

use crate::command::{
    backup, boot, bsc, bscd, build, cache, cancel, check, completions, diff, doctor, gc, lock, log, new, node, pieman,
    plan, restore, retry, schema, secret, serve, shell, submit, twice, watch,
};

/// Turns recipes into bootable operating-system images.
///
/// No root and no daemon are needed. Data goes to stdout, talk to stderr; NO_COLOR is honoured.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, max_term_width = 100, disable_help_subcommand = true, after_long_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 ok · 1 the recipe or the build failed (diff: they differ) · 2 usage · 3 a mirror or a signature · \
4 this machine · 75 try again · 130 interrupted";

#[derive(Debug, Subcommand)]
pub enum Command {
    New(new::Args),
    Check(check::Args),
    Plan(plan::Args),
    Lock(lock::Args),
    Build(build::Args),
    Boot(boot::Args),
    Shell(shell::Args),
    Diff(diff::Args),
    Twice(twice::Args),
    Pieman(pieman::Args),
    Watch(watch::Args),
    Bscd(bscd::Args),
    Bsc(bsc::Args),
    Cache(cache::Args),
    Serve(serve::Args),
    Node(node::Args),
    Submit(submit::Args),
    Cancel(cancel::Args),
    Log(log::Args),
    Retry(retry::Args),
    Secret(secret::Args),
    Gc(gc::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Doctor(doctor::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    /// Lives beside a build and tells Redis of it.
    #[command(hide = true)]
    Relay,
    /// Prints the farm's OpenAPI description.
    #[command(hide = true)]
    Openapi,
    /// Prints this reference as Markdown.
    #[command(hide = true)]
    Reference,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
