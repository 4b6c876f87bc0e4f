//! Secrets: read when a build begins, known by fingerprint in plans, never printed.

use std::collections::BTreeMap;
use std::fmt;

use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, FaultKind};
use kiln_recipe::spec::SecretSource;

use crate::load::Loaded;

/// The values of a recipe's secrets, by name.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// Returns values that are known already, by the names they go by.
    pub fn known(values: BTreeMap<String, String>) -> Self {
        Self(values)
    }

    /// Reads every secret the recipe refers to; relative files lie beside it. One newline at the end is dropped.
    pub fn read(loaded: &Loaded) -> Result<Self, Fault> {
        let one = |(name, source): (&String, &SecretSource)| Ok((name.clone(), value(name, source, loaded)?));
        loaded.completed.spec.secrets.iter().map(one).collect::<Result<_, Fault>>().map(Self)
    }

    /// Returns a secret's value.
    pub fn get(&self, name: &str) -> Result<&str, Fault> {
        self.0.get(name).map(String::as_str).ok_or_else(|| Fault::recipe(format!("no secret is called `{name}`")))
    }

    /// Returns what tells one value from another without telling either: eight digits of a slow, salted hash.
    pub fn fingerprints(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(name, value)| (name.clone(), fingerprint(name, value))).collect()
    }

    /// Replaces every secret's value in `text` by stars, for logs.
    pub fn veil(&self, text: &str) -> String {
        let worth = self.0.values().filter(|value| value.len() >= 4);
        worth.fold(text.to_owned(), |text, value| text.replace(value.as_str(), "***"))
    }
}

fn value(name: &str, source: &SecretSource, loaded: &Loaded) -> Result<String, Fault> {
    let (value, place) = match source {
        SecretSource::Environment(variable) => {
            let known = loaded.secrets.0.get(variable).cloned();
            let value = known.or_else(|| std::env::var(variable).ok());
            (value, format!("the environment variable `{variable}`"))
        }
        SecretSource::File(file) => {
            let path = loaded.folder.join(file);
            let allowed = crate::load::allows(loaded.within.as_deref(), &path);
            let text = allowed.and_then(|()| std::fs::read_to_string(&path));
            let text = text.fault(FaultKind::Recipe, || format!("read secret `{name}` from `{}`", path.display()))?;
            (Some(text), format!("the file `{}`", path.display()))
        }
    };
    let value = value.map(|value| value.strip_suffix('\n').map(str::to_owned).unwrap_or(value));
    value.filter(|value| !value.is_empty()).ok_or_else(|| {
        Fault::recipe(format!("secret `{name}`: {place} is not set or is empty")).hint("set it for this build")
    })
}

fn fingerprint(name: &str, value: &str) -> String {
    let mut digest = kiln_model::Digest::of(format!("kiln secret {name}\0{value}"));
    for _ in 0..200_000 {
        digest = kiln_model::Digest::of(digest.as_bytes());
    }
    digest.short()[..8].to_owned()
}
