//! What is chosen and wanted so far.

use super::universe::{PackageId, Provider, Universe, allows};
use super::{Map, Repository, Set, Why};
use crate::apk::relation::Atom;

/// Who says an atom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    World,
    Package(PackageId),
}

/// An atom and who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want<'a> {
    pub atom: Atom<'a>,
    pub by: Who,
}

#[derive(Clone)]
pub(super) struct State<'u, 'a> {
    pub universe: &'u Universe<'a>,
    /// Names that something of is wanted, in the order they came up.
    pub names: Vec<&'a str>,
    wants: Map<&'a str, Vec<Want<'a>>>,
    forbids: Map<&'a str, Vec<Want<'a>>>,
    /// The chosen packages, by the names that they provide.
    providers: Map<&'a str, Vec<Provider<'a>>>,
    chosen: Map<PackageId, Because<'a>>,
    /// Packages that a failed choice speaks against.
    pub banned: Set<PackageId>,
    tags: Map<&'a str, Vec<&'a str>>,
}

/// Why a package was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Because<'a> {
    Wanted(&'a str),
    InstallIf,
}

impl<'u, 'a> State<'u, 'a> {
    pub fn new(universe: &'u Universe<'a>, world: &[Atom<'a>]) -> Self {
        let mut state = Self {
            universe,
            names: Vec::new(),
            wants: Map::default(),
            forbids: Map::default(),
            providers: Map::default(),
            chosen: Map::default(),
            banned: Set::default(),
            tags: Map::default(),
        };
        for atom in world {
            state.say(Want { atom: *atom, by: Who::World });
            if let Some(tag) = atom.tag {
                state.add_tag(atom.name, tag);
            }
        }
        state
    }

    /// Adds an atom, and tells whether it is new.
    pub fn say(&mut self, want: Want<'a>) -> bool {
        let atoms = if want.atom.conflict { &mut self.forbids } else { &mut self.wants };
        let list = atoms.entry(want.atom.name).or_default();
        if !want.atom.conflict && list.is_empty() {
            self.names.push(want.atom.name);
        }
        let known = list.iter().any(|one| one.atom == want.atom && one.by == want.by);
        if !known {
            list.push(want);
        }
        !known
    }

    pub fn choose(&mut self, package: PackageId, because: Because<'a>) {
        self.chosen.insert(package, because);
        let universe = self.universe;
        let own = universe.package(package);
        let mut tags = Vec::new();
        for &(name, version) in &own.provides {
            self.providers.entry(name).or_default().push(Provider { package, version });
            tags.extend_from_slice(self.tags(name));
        }
        for &atom in &own.depends {
            self.say(Want { atom, by: Who::Package(package) });
            tags.iter().for_each(|tag| self.add_tag(atom.name, tag));
        }
    }

    /// Lets a tagged repository serve a name, and what the chosen providers of it need.
    pub fn add_tag(&mut self, name: &'a str, tag: &'a str) {
        let mut names = vec![name];
        while let Some(name) = names.pop() {
            let tags = self.tags.entry(name).or_default();
            if tags.contains(&tag) {
                continue;
            }
            tags.push(tag);
            for provider in self.providers.get(name).into_iter().flatten() {
                names.extend(self.universe.package(provider.package).depends.iter().map(|atom| atom.name));
            }
        }
    }

    pub fn tags(&self, name: &str) -> &[&'a str] {
        self.tags.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns the tags that serve a package under any of its names.
    pub fn tags_of(&self, package: PackageId) -> Vec<&'a str> {
        let provides = &self.universe.package(package).provides;
        provides.iter().flat_map(|(name, _)| self.tags(name)).copied().collect()
    }

    pub fn is_served(&self, package: PackageId) -> bool {
        let tags = self.tags_of(package);
        self.universe.package(package).repositories.iter().any(|one| allows(one, &tags))
    }

    /// Returns the first repository that has a package, which is first the one the world tags it with.
    pub fn repository(&self, package: PackageId) -> &'a Repository {
        let tags = self.tags_of(package);
        let own = self.universe.package(package);
        let served = own.repositories.iter().find(|one| allows(one, &tags));
        served.unwrap_or(&own.repositories[0])
    }

    pub fn wants(&self, name: &str) -> &[Want<'a>] {
        self.wants.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn forbids(&self, name: &str) -> &[Want<'a>] {
        self.forbids.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn is_chosen(&self, package: PackageId) -> bool {
        self.chosen.contains_key(&package)
    }

    pub fn chosen(&self) -> impl Iterator<Item = PackageId> {
        self.chosen.keys().copied()
    }

    /// Returns the chosen providers of a name.
    pub fn providing(&self, name: &str) -> &[Provider<'a>] {
        self.providers.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether all that is wanted of a name is there. What only an `install_if` brought does not stand for a virtual name.
    pub fn is_met(&self, name: &str) -> bool {
        let stands = |one: &Provider<'a>| {
            (!self.is_brought(one.package) || self.universe.is_selectable(*one))
                && self.wants(name).iter().all(|want| self.universe.fits(*one, &want.atom))
        };
        self.providing(name).iter().any(stands)
    }

    /// Whether an atom of an `install_if` holds.
    pub fn holds(&self, atom: &Atom<'_>) -> bool {
        let met = self.providing(atom.name).iter().any(|one| self.universe.fits(*one, atom));
        if atom.conflict { !met && self.wants(atom.name).is_empty() } else { met }
    }

    /// Whether a package is there for its `install_if` alone.
    pub fn is_brought(&self, package: PackageId) -> bool {
        self.chosen.get(&package) == Some(&Because::InstallIf)
    }

    pub fn by_install_if(&self) -> impl Iterator<Item = PackageId> {
        self.chosen.iter().filter(|(_, because)| **because == Because::InstallIf).map(|(&package, _)| package)
    }

    /// Returns the reason for people: the world's, before a package's, before a condition.
    pub fn why(&self, package: PackageId) -> Why {
        let own = self.universe.package(package);
        let wants = own.provides.iter().flat_map(|(name, _)| self.wants(name));
        let mut wants: Vec<&Want<'a>> = wants.filter(|want| self.universe.meets(package, &want.atom)).collect();
        wants.sort_by_key(|want| want.by != Who::World);
        match wants.iter().find(|want| want.by != Who::Package(package)) {
            Some(Want { atom, by: Who::World }) => Why::World(atom.to_string()),
            Some(Want { atom, by: Who::Package(by) }) => {
                Why::Needed { by: self.universe.package(*by).shown(), atom: atom.to_string() }
            }
            None => Why::InstallIf(own.install_if.iter().map(Atom::to_string).collect()),
        }
    }
}
