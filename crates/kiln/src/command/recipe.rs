//! What every command that reads a recipe has in common.

use std::path::{Path, PathBuf};

use kiln_engine::config::Config;
use kiln_engine::load::{Choices, Loaded, load};

use crate::ending::Failure;
use crate::{out, settings};

/// A recipe and what is said about it.
#[derive(Debug, clap::Args)]
pub struct Recipe {
    /// The recipe
    #[arg(value_name = "RECIPE", default_value = "kiln.toml")]
    pub path: PathBuf,
    #[command(flatten)]
    pub said: Said,
}

/// What the command line says about a recipe besides its text.
#[derive(Debug, clap::Args)]
pub struct Said {
    /// Apply a profile of the recipe; may be given several times
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,
    /// Say something else than the recipe does, as in `--set system.hostname=edge`
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Read no file outside of this folder for the recipe; for recipes of strangers
    #[arg(long, value_name = "DIR", hide = true)]
    within: Option<PathBuf>,
}

pub fn setting(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(key, _)| !key.is_empty());
    parts.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| format!("`{text}` is not KEY=VALUE"))
}

impl Said {
    /// Returns it in the engine's terms, with SOURCE_DATE_EPOCH from the environment.
    pub fn choices(&self) -> Result<Choices, Failure> {
        let epoch = settings::source_date_epoch()?;
        let (profiles, overrides, within) = (self.profile.clone(), self.set.clone(), self.within.clone());
        Ok(Choices { profiles, overrides, epoch, within, promised: vec![] })
    }
}

impl Recipe {
    /// Reads and completes the recipe; its warnings are said here.
    pub fn load(&self, config: &Config) -> Result<Loaded, Failure> {
        read(config, &self.path, &self.said.choices()?)
    }
}

/// Reads and completes a recipe; its warnings are said here.
pub fn read(config: &Config, path: &Path, choices: &Choices) -> Result<Loaded, Failure> {
    let loaded = load(config, path, choices)?;
    out::talk(&kiln_recipe::render(&loaded.completed.warnings, &loaded.completed.files, out::look()));
    Ok(loaded)
}
