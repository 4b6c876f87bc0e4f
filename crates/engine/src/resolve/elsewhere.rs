//! Packages that are only missing because the recipe does not enable the component they are in.

use std::collections::BTreeMap;

use kiln_model::Arch;
use kiln_recipe::spec::Repository;
use kiln_recipe::{Spec, catalogue};

use super::Archive;
use crate::events::Events;
use crate::kiln::Kiln;

/// Names of packages, and the component each is in.
pub(crate) type Components = BTreeMap<String, String>;

impl Kiln {
    /// Looks for names that no index has in the components of the distribution's archive that the recipe leaves out. An archive
    /// that does not answer knows nothing more: the names stay unknown.
    pub(super) fn elsewhere(&self, spec: &Spec, names: &[&str], events: &Events) -> Components {
        let Some(further) = further(spec).filter(|_| !names.is_empty()) else { return Components::new() };
        let (names_told, told) = (names.join("`, `"), further.components.join(", "));
        events.log(None, "resolve", format!("look for `{names_told}` in components that are not enabled: {told}"));
        let architectures: Vec<Arch> =
            std::iter::once(spec.base.architecture).chain(spec.packages.foreign.iter().copied()).collect();
        let Ok(archive) = Archive::read_what_is_there(self, &further, &architectures, events) else {
            return Components::new();
        };
        let mut found = Components::new();
        for (source, index) in archive.sources.iter().zip(&archive.locked.indexes) {
            let component = index.path.split("/binary-").next().unwrap_or_default();
            for stanza in source.index.stanzas().filter(|stanza| names.contains(&stanza.name())) {
                found.entry(stanza.name().to_owned()).or_insert_with(|| component.to_owned());
            }
        }
        found
    }
}

/// Returns the distribution's main archive with the components that it may have and the recipe does not enable.
fn further(spec: &Spec) -> Option<Repository> {
    let release = catalogue::release::find(&spec.base.distribution, &spec.base.release)?;
    let main = spec.base.repositories.first()?;
    let enabled = |component: &&String| !main.components.contains(component);
    let components: Vec<String> = release.known_components.iter().filter(enabled).cloned().collect();
    (!components.is_empty()).then(|| Repository { components, ..main.clone() })
}
