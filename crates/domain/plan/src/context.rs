//! What stages are decided from, with the questions they all ask.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_family::lock::{Lock, Locked};
use kiln_model::action::{Content, LocalInput, Owner, PackageRef};
use kiln_model::{Action, Digest, GuestPath};
use kiln_recipe::Spec;
use kiln_recipe::spec::Family;
use uuid::Uuid;

/// What a plan is made from.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    pub spec: &'a Spec,
    pub lock: &'a Lock,
    /// Fingerprint of every secret's value, by name; see [`Content::Secret`].
    pub secrets: &'a BTreeMap<String, String>,
}

impl Inputs<'_> {
    /// Returns SOURCE_DATE_EPOCH in seconds since 1970: the recipe's, else the newest `Date` of the locked archives.
    pub fn epoch(&self) -> i64 {
        let newest = || self.lock.repositories.iter().filter_map(|repository| repository.date).max();
        self.spec.base.epoch.or_else(newest).unwrap_or(0)
    }

    /// Whether the image holds this package.
    pub fn has(&self, package: &str) -> bool {
        self.lock.packages.iter().any(|locked| locked.name == package)
    }

    /// Whether the image holds a kernel package, as in `linux-image-6.12.57+deb13-amd64`; of Alpine, the board's.
    pub fn has_kernel(&self) -> bool {
        let is_kernel = |name: &str| match self.spec.base.family {
            Family::Deb => name.starts_with("linux-image-"),
            Family::Apk => self.spec.base.board.as_ref().is_some_and(|board| board.kernel == name),
        };
        self.lock.packages.iter().any(|locked| is_kernel(&locked.name))
    }

    pub fn is_apk(&self) -> bool {
        self.spec.base.family == Family::Apk
    }

    /// Returns the packages of the bootstrap stage; a tree that is built upon has its own.
    pub fn base_packages(&self) -> Vec<PackageRef> {
        self.packages(|locked| !self.is_further(locked) && !locked.in_tree)
    }

    fn is_further(&self, locked: &Locked) -> bool {
        !locked.in_tree && (!locked.base || self.spec.base.tree.is_some())
    }

    /// Returns the packages of the tree that is built upon which its apt does not know to be asked for, as in `vim:amd64`.
    pub fn promoted(&self) -> Vec<String> {
        let native = self.spec.base.architecture.debian();
        let promoted = self.lock.packages.iter().filter(|locked| locked.promoted);
        let architecture =
            |locked: &Locked| if locked.architecture == "all" { native } else { &locked.architecture }.to_owned();
        promoted.map(|locked| format!("{}:{}", locked.name, architecture(locked))).collect()
    }

    /// Returns those on top of the base (or of the tree that is built upon) that are wanted.
    pub fn further(&self, wanted: impl Fn(&Locked) -> bool) -> Vec<PackageRef> {
        self.packages(|locked| self.is_further(locked) && wanted(locked))
    }

    /// Returns the packages that come on top of the base, without what an earlier stage installs for itself.
    pub fn further_packages(&self) -> Vec<PackageRef> {
        let early = crate::stage::locale_packages(self);
        let further = self.further(|_| true).into_iter();
        further.filter(|package| !early.contains(package)).collect()
    }

    fn packages(&self, wanted: impl Fn(&Locked) -> bool) -> Vec<PackageRef> {
        self.lock.packages.iter().filter(|locked| wanted(locked)).map(Locked::package_ref).collect()
    }

    /// Returns a UUID that depends on the image's name, its packages and `what`, and on nothing else: a changed
    /// hostname keeps the ids of disks and filesystems.
    pub fn uuid(&self, what: &str) -> Uuid {
        let packages = serde_json::to_vec(&self.packages(|_| true)).expect("packages serialise");
        // Two roots of one device must not share an id.
        let artifact =
            self.spec.mender.as_ref().map(|mender| format!("{}\n", mender.artifact_name)).unwrap_or_default();
        let image = format!("{}\n{}\n{artifact}{what}", self.spec.name, Digest::of(packages));
        Uuid::new_v5(&NAMESPACE, image.as_bytes())
    }

    /// Returns a UUID by which a root finds the disk that it lies on. Where roots come as updates it depends on what the devices
    /// are called and on nothing else: the disk is that of another build.
    pub fn lasting(&self, what: &str) -> Uuid {
        let device = self.spec.mender.as_ref().map(|mender| format!("mender {}\n{what}", mender.device_type));
        device.map_or_else(|| self.uuid(what), |device| Uuid::new_v5(&NAMESPACE, device.as_bytes()))
    }

    /// Returns the content that refers to a secret.
    pub fn secret(&self, name: &str) -> Content {
        let fingerprint = self.secrets.get(name).cloned().unwrap_or_default();
        Content::Secret { name: name.to_owned(), fingerprint }
    }
}

/// kiln's own namespace for name-based UUIDs.
const NAMESPACE: Uuid = Uuid::from_u128(0x6b69_6c6e_0000_5000_8000_0000_0000_0001);

/// Returns a path that kiln itself writes down; panics on one that is not absolute and normal.
pub fn path(text: &str) -> GuestPath {
    GuestPath::new(text).unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

/// Returns the action that writes `text` to `at` with mode 0644, owned by root.
pub fn write(at: &str, text: impl Into<String>) -> Action {
    write_mode(at, text, 0o644)
}

/// Returns the action that writes `text` to `at`, owned by root.
pub fn write_mode(at: &str, text: impl Into<String>, mode: u32) -> Action {
    Action::Write { path: path(at), content: Content::Text(text.into()), mode, owner: Owner::default() }
}

/// Returns the action that writes bytes to `at` with mode 0644, owned by root.
pub fn write_bytes(at: &str, bytes: &[u8]) -> Action {
    let content = Content::Base64(STANDARD.encode(bytes));
    Action::Write { path: path(at), content, mode: 0o644, owner: Owner::default() }
}

/// Returns the action that makes a symbolic link.
pub fn symlink(at: &str, target: impl Into<String>) -> Action {
    Action::Symlink { path: path(at), target: target.into() }
}

/// Returns a local file of the spec as an action's input.
pub fn local(file: &kiln_recipe::spec::LocalFile) -> LocalInput {
    LocalInput { path: file.path.clone(), digest: file.digest }
}
