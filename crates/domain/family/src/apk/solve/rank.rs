//! Which of several candidates is the better one.

use std::cmp::{Ordering, Reverse};

use super::state::{State, Who};
use super::universe::{Provider, allows};
use crate::apk::version::Version;

impl<'a> State<'_, 'a> {
    /// Sorts candidates of a name, the best first.
    ///
    /// What is to be kept comes first. Else a repository without a tag does, but for names that the world tags itself; then the later version, the
    /// higher priority, the package that has the name as its own, the earlier repository.
    pub fn rank(&self, name: &str, candidates: &mut [Provider<'a>]) {
        candidates.sort_by(|a, b| self.compare(name, *a, *b));
    }

    fn compare(&self, name: &str, a: Provider<'a>, b: Provider<'a>) -> Ordering {
        let pinned = self.is_pinned(name);
        let kept = |one: Provider<'a>| Reverse(self.universe.package(one.package).is_kept);
        let tagged = |one: Provider<'a>| !pinned && !self.is_untagged(one);
        let own = |one: Provider<'a>| self.universe.package(one.package).entry.name != name;
        let priority = |one: Provider<'a>| Reverse(self.universe.package(one.package).entry.provider_priority);
        kept(a)
            .cmp(&kept(b))
            .then_with(|| tagged(a).cmp(&tagged(b)))
            .then_with(|| by_version(a.version, b.version).reverse())
            .then_with(|| (pinned && self.is_untagged(a)).cmp(&(pinned && self.is_untagged(b))))
            .then_with(|| priority(a).cmp(&priority(b)))
            .then_with(|| own(a).cmp(&own(b)))
            .then_with(|| a.package.cmp(&b.package))
    }

    fn is_pinned(&self, name: &str) -> bool {
        self.wants(name).iter().any(|want| want.by == Who::World && want.atom.tag.is_some())
    }

    fn is_untagged(&self, provider: Provider<'_>) -> bool {
        self.universe.package(provider.package).repositories.iter().any(|one| allows(one, &[]))
    }
}

fn by_version(a: Option<&str>, b: Option<&str>) -> Ordering {
    a.map(Version::raw).cmp(&b.map(Version::raw))
}
