//! What every command that reads a recipe has in common.

use std::path::PathBuf;

use kiln_engine::config::Config;
use kiln_engine::load::{Loaded, load};

use crate::ending::Failure;
use crate::out;

/// A recipe and the profiles to build it with.
#[derive(Debug, clap::Args)]
pub struct Recipe {
    /// The recipe
    #[arg(value_name = "RECIPE", default_value = "kiln.toml")]
    pub path: PathBuf,
    /// Apply a profile of the recipe; may be given several times
    #[arg(long, value_name = "NAME")]
    pub profile: Vec<String>,
}

impl Recipe {
    /// Reads and completes the recipe; its warnings are said here.
    pub fn load(&self, config: &Config) -> Result<Loaded, Failure> {
        let loaded = load(config, &self.path, &self.profile)?;
        out::talk(&kiln_recipe::render(&loaded.completed.warnings, &loaded.completed.files, out::look()));
        Ok(loaded)
    }
}
