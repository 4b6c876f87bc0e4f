//! Reads a source's repository for the server: fetches a commit, finds the recipes that changed, packs them as `kiln submit` does.

mod pinned;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_engine::load::{Choices, load};
use kiln_engine::{Config, LoadError, Loaded, bundle};
use kiln_farm_server::decide::push::wanted;
use kiln_farm_server::recipes;
use kiln_farm_server::sources::{Gathered, Mistake, Packed, Read, Wish};
use kiln_fetch::git::{Bounds, Checkout};
use kiln_model::Fault;
use kiln_model::fault::OrFault as _;
use kiln_recipe::Rejected;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::farm;

/// What a fetch may take.
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(300), bytes: 2 << 30 };
/// Most bytes of all bundles of a commit: they go through memory.
const BUNDLE: usize = 256 << 20;
/// Most recipes of one commit.
const RECIPES: usize = 200;

/// Fetches what is wished for and returns its recipes.
pub fn gather(config: &Config, place: &Place, wish: &Wish) -> Result<Gathered, Fault> {
    let (folder, _held) = place.folder()?;
    let remote = pinned::remote(wish)?;
    let checkout = Checkout::fetch(&remote, &wish.branch, wish.commit.as_deref(), folder.path(), BOUNDS)?;
    let recipes: Vec<String> = checkout.files()?.into_iter().filter(|path| wanted(&wish.recipes, path)).collect();
    if recipes.len() > RECIPES {
        let why = format!("{} recipes of one commit are too many: {RECIPES} are built", recipes.len());
        return Err(Fault::recipe(why).hint("a source may name fewer of them"));
    }
    if recipes.is_empty() && wish.all {
        return Err(Fault::recipe(format!("there is no recipe `{}` in it", wish.recipes.join("`, `"))));
    }
    let changed = match &wish.base {
        Some(base) if !wish.all => checkout.changed_since(base)?,
        _ => None,
    };
    let (folder, commit) = (checkout.folder(), checkout.commit.clone());
    let mut left = BUNDLE;
    let read = |path: String| read(config, &folder, path, changed.as_deref(), &mut left);
    Ok(Gathered { commit, recipes: recipes.into_iter().filter_map(read).collect() })
}

/// Where repositories lie while they are read: beside what else the server has, as they may be larger than a folder in memory.
#[derive(Clone, Debug)]
pub struct Place(PathBuf);

impl Place {
    /// The folder `repositories` in `data`, without what servers that died have left there.
    pub fn open(data: &Path) -> Result<Self, Fault> {
        let folder = data.join("repositories");
        fs::create_dir_all(&folder).farm(|| format!("make `{}`", folder.display()))?;
        for entry in fs::read_dir(&folder).farm(|| format!("read `{}`", folder.display()))?.flatten() {
            let left = File::open(entry.path()).is_ok_and(|held| held.try_lock().is_ok());
            if left && let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!("remove `{}`: {error}", entry.path().display());
            }
        }
        Ok(Self(folder))
    }

    /// Returns a folder of its own, and what holds it.
    fn folder(&self) -> Result<(TempDir, File), Fault> {
        let doing = || format!("make a folder for a repository in `{}`", self.0.display());
        let folder = TempDir::new_in(&self.0).farm(doing)?;
        let held = File::open(folder.path()).farm(doing)?;
        held.lock().farm(doing)?;
        Ok((folder, held))
    }
}

/// Reads one recipe; none where nothing that it is made from changed. One with mistakes is always told.
fn read(config: &Config, folder: &Path, path: String, changed: Option<&[String]>, left: &mut usize) -> Option<Read> {
    let place = match farm::relative(&folder.join(&path)) {
        Ok(place) => place,
        Err(fault) => return Some(Read { path, outcome: Err(mistake(&fault)) }),
    };
    let choices = Choices { within: Some(folder.to_owned()), ..Choices::default() };
    let outcome = match load(config, &place, &choices) {
        Ok(loaded) => {
            if changed.is_some_and(|changed| !concerns(&loaded, folder, changed)) {
                return None;
            }
            pack(&loaded, left).map_err(|fault| mistake(&fault))
        }
        Err(LoadError::Fault(fault)) => Err(mistake(&fault)),
        Err(LoadError::Rejected(rejected)) => Err(rejection(&rejected, &place, &path)),
    };
    Some(Read { path, outcome })
}

/// Whether a recipe is made from something that changed: itself, its lock, or what it names.
fn concerns(loaded: &Loaded, folder: &Path, changed: &[String]) -> bool {
    let real = |path: &PathBuf| std::fs::canonicalize(path).ok();
    let root = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let mut made_from: BTreeSet<PathBuf> = loaded.named.iter().filter_map(real).collect();
    made_from.extend(real(&loaded.path));
    // A lock that is gone changes the recipe too.
    let lock = loaded.lock_path.file_name().zip(real(&loaded.path)).map(|(name, recipe)| recipe.with_file_name(name));
    made_from.extend(lock);
    changed.iter().map(|path| root.join(path)).any(|path| made_from.iter().any(|from| path.starts_with(from)))
}

fn pack(loaded: &Loaded, left: &mut usize) -> Result<Packed, Fault> {
    let mut bundle = Bounded(vec![], *left);
    let recipe = bundle::write(loaded, &mut bundle)?;
    *left -= bundle.0.len();
    let spec = &loaded.completed.spec;
    let secrets = recipes::fit(spec).map_err(|error| farm::recipe("read the recipe", error))?;
    Ok(Packed { name: spec.name.clone(), arch: spec.base.architecture, bundle: bundle.0, recipe, secrets })
}

/// Bytes in memory, and how many they may be.
struct Bounded(Vec<u8>, usize);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > self.1 {
            return Err(io::Error::other(format!(
                "the recipes of a commit with their files are more than {} MiB",
                BUNDLE >> 20
            )));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn mistake(fault: &Fault) -> Mistake {
    Mistake { error: fault.chain(), hint: fault.hint_text().map(str::to_owned), diagnostics: vec![] }
}

/// Returns a recipe's mistakes, with the paths of the repository instead of those of this machine.
fn rejection(rejected: &Rejected, place: &Path, path: &str) -> Mistake {
    let here = place.to_string_lossy();
    let before = here.strip_suffix(path).unwrap_or_default();
    let plain = |said| tidied(json!(said), before);
    let diagnostics = rejected.diagnostics.iter().map(plain).collect();
    Mistake { error: rejected.to_string(), hint: None, diagnostics }
}

fn tidied(value: Value, before: &str) -> Value {
    match value {
        Value::String(text) if !before.is_empty() => Value::String(text.replace(before, "")),
        Value::Array(all) => all.into_iter().map(|one| tidied(one, before)).collect(),
        Value::Object(all) => all.into_iter().map(|(key, one)| (key, tidied(one, before))).collect(),
        other => other,
    }
}
