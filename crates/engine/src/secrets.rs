//! Secrets: read when a build begins, known by fingerprint in plans, never printed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
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
        // Logs come line by line. The longest first: of one that begins another nothing is to be left.
        let lines = self.0.values().flat_map(|value| value.lines().map(str::trim).chain([value.as_str()]));
        let worth: BTreeSet<_> = lines.filter(|part| part.len() >= 4).map(|part| (Reverse(part.len()), part)).collect();
        worth.into_iter().fold(text.to_owned(), |text, (_, part)| text.replace(part, "***"))
    }
}

fn value(name: &str, source: &SecretSource, loaded: &Loaded) -> Result<String, Fault> {
    let (value, place) = match source {
        SecretSource::Environment(variable) => {
            let known = loaded.secrets.0.get(variable).cloned();
            // What a stranger's recipe names in the environment of this machine is no secret of theirs.
            let own = || std::env::var(variable).ok().filter(|_| loaded.within.is_none());
            let value = known.or_else(own);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_secret_is_left_in_a_log() {
        let values = [("A", "pass"), ("B", "password1"), ("C", "BEGIN KEY\n  MIIEvQ\nab\n"), ("D", "x")];
        let secrets = Secrets::known(values.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let veiled = |text| secrets.veil(text);
        assert_eq!(veiled("login password1 now"), "login *** now");
        assert_eq!(veiled("passport"), "***port");
        assert_eq!((veiled("+ echo BEGIN KEY").as_str(), veiled("'MIIEvQ'").as_str()), ("+ echo ***", "'***'"));
        assert_eq!(veiled("ab x y"), "ab x y", "what is as short is in every line");
    }
}
