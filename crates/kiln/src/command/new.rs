//! `kiln new`.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kiln_model::Fault;
use kiln_model::fault::OrFault as _;
use kiln_recipe::{Template, templates};

use crate::command::Outcome;
use crate::ending::Failure;
use crate::out;

/// Writes a recipe to start from; what is there already is never overwritten.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to write; a folder gets a `kiln.toml`
    #[arg(value_name = "FILE", default_value = "kiln.toml")]
    file: PathBuf,
    /// Template to start from
    #[arg(long, short, value_name = "NAME", default_value = "minimal")]
    template: String,
    /// List the templates
    #[arg(long)]
    list: bool,
}

pub fn run(args: Args) -> Outcome {
    if args.list {
        out::data(&list(templates()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let template = find(templates(), &args.template)?;
    let path = if args.file.is_dir() { args.file.join("kiln.toml") } else { args.file };
    write(&path, template.text)?;
    out::talk(&format!("wrote {0}\nbuild it: {1} build {0}\n", path.display(), out::program()));
    Ok(ExitCode::SUCCESS)
}

fn list(templates: &[Template]) -> String {
    templates.iter().map(|template| format!("{:<16} {}\n", template.name, template.description)).collect()
}

fn find<'a>(templates: &'a [Template], name: &str) -> Result<&'a Template, Failure> {
    let known = || templates.iter().map(|template| format!("`{}`", template.name)).collect::<Vec<_>>().join(", ");
    let found = templates.iter().find(|template| template.name == name);
    found.ok_or_else(|| Failure::usage(format!("no template is called `{name}`; there are {}", known())))
}

fn write(path: &Path, text: &str) -> Result<(), Fault> {
    let doing = || format!("write `{}`", path.display());
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).farm(doing)?;
    }
    let opened = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Fault::recipe(doing()).because(error).hint("name another file"),
        _ => Fault::farm(doing()).because(error),
    })?;
    file.write_all(text.as_bytes()).farm(doing)
}
