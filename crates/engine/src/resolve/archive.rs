//! One repository: its release file believed, its package lists fetched by digest and read.

use kiln_family::deb::release::FileEntry;
use kiln_family::deb::solve::{Repository as Weight, Source};
use kiln_family::deb::trust::Verified;
use kiln_family::deb::{Index, Release, pin};
use kiln_family::lock::{LockedIndex, LockedRepository};
use kiln_model::{Arch, Fault};
use kiln_recipe::spec::Repository;

use super::release::Believed;
use super::{index, release};
use crate::events::Events;
use crate::kiln::Kiln;

/// A repository as it was read.
pub(crate) struct Archive {
    pub locked: LockedRepository,
    pub sources: Vec<Source>,
}

impl Archive {
    pub fn read(kiln: &Kiln, repository: &Repository, architectures: &[Arch], events: &Events) -> Result<Self, Fault> {
        Self::read_from(kiln, repository, &believe(kiln, repository)?, architectures, events)
    }

    /// The same without the components that the repository does not have.
    pub fn read_what_is_there(
        kiln: &Kiln,
        repository: &Repository,
        architectures: &[Arch],
        events: &Events,
    ) -> Result<Self, Fault> {
        let believed = believe(kiln, repository)?;
        let mut repository = repository.clone();
        repository.components.retain(|component| believed.verified.release.has_component(component));
        Self::read_from(kiln, &repository, &believed, architectures, events)
    }

    fn read_from(
        kiln: &Kiln,
        repository: &Repository,
        believed: &Believed,
        architectures: &[Arch],
        events: &Events,
    ) -> Result<Self, Fault> {
        let release = &believed.verified.release;
        let mut archive = Self { locked: locked(repository, &believed.verified), sources: vec![] };
        for (path, entry) in indexes(repository, release, architectures)? {
            let text = index::read(kiln, repository, believed, &path, entry, events)?;
            let parsed = Index::parse(text).map_err(|error| {
                Fault::upstream(format!("read `{path}` of repository `{}`", repository.name)).because(error)
            })?;
            archive.sources.push(Source { repository: weight(repository, release), index: parsed });
            archive.locked.indexes.push(LockedIndex { path, size: entry.size, sha256: entry.sha256 });
        }
        Ok(archive)
    }
}

fn believe(kiln: &Kiln, repository: &Repository) -> Result<Believed, Fault> {
    release::read(kiln, repository).map_err(|fault| fault.doing(format!("read repository `{}`", repository.name)))
}

fn locked(repository: &Repository, verified: &Verified) -> LockedRepository {
    LockedRepository {
        name: repository.name.clone(),
        uri: repository.uri_in_image.clone(),
        suite: repository.suite.clone(),
        components: repository.components.clone(),
        origin: verified.release.origin.clone(),
        label: verified.release.label.clone(),
        codename: verified.release.codename.clone(),
        release: Some(verified.digest),
        date: verified.release.date,
        indexes: vec![],
    }
}

fn weight(repository: &Repository, release: &Release) -> Weight {
    let said = (repository.priority != pin::DEFAULT).then_some(repository.priority);
    Weight {
        name: repository.name.clone(),
        suite: release.suite.clone().unwrap_or_else(|| repository.suite.clone()),
        codename: release.codename.clone().unwrap_or_default(),
        priority: pin::priority(said, Some(release)),
    }
}

/// Returns the package lists to read: of every component for every architecture, and for `all` where those are apart.
fn indexes(
    repository: &Repository,
    release: &Release,
    architectures: &[Arch],
) -> Result<Vec<(String, FileEntry)>, Fault> {
    let mut found = vec![];
    let name = &repository.name;
    for component in &repository.components {
        if !release.has_component(component) {
            let what = format!("repository `{name}` has no component `{component}`");
            return Err(Fault::recipe(what).hint(format!("it has: {}", release.components.join(", "))));
        }
        for arch in architectures {
            let index = release.packages_index(component, arch.debian());
            found.push(index.ok_or_else(|| Fault::recipe(format!("repository `{name}` has nothing for `{arch}`")))?);
        }
        // Otherwise the lists of each architecture hold the packages for all of them too. An archive may list such an
        // index and not keep it up; apt goes by the `Architectures` field, and so do we.
        let apart = !release.no_support_for_architecture_all && release.architectures.iter().any(|arch| arch == "all");
        found.extend(release.packages_index(component, "all").filter(|_| apart));
    }
    Ok(found)
}
