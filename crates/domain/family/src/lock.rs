//! The lock: every package pinned by version, place and digest, as a document that reads well in a diff.

use kiln_model::action::{Download, PackageRef};
use kiln_model::{Arch, Digest, Fault};
use serde::{Deserialize, Serialize};

/// The edition of the document that this kiln writes.
pub const EDITION: u32 = 1;

/// What a spec was resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Version of this document's form.
    pub edition: u32,
    /// Digest of the spec that was resolved.
    pub spec: Digest,
    pub architecture: Arch,
    pub repositories: Vec<LockedRepository>,
    /// The image's packages, by name, then architecture; Alpine's in the order of their installation.
    pub packages: Vec<Locked>,
    /// The tools tree's packages, in the same form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Locked>,
    /// The files that the recipe takes from addresses, by address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub downloads: Vec<Download>,
}

/// A repository at the moment it was resolved against.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRepository {
    /// The name that packages refer to; unique in the lock.
    pub name: String,
    /// What pool paths are relative to, without a slash at the end.
    pub uri: String,
    pub suite: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// What the release file calls itself: `Origin`, `Label` and `Codename`, by which a device's apt tells it from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codename: Option<String>,
    /// Digest of the InRelease (or Release) file; absent for an unsigned local folder, and for Alpine, whose lists are signed
    /// themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Digest>,
    /// The `Date` of the release file, or when the newest package of its lists was built, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<LockedIndex>,
}

/// An index file of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedIndex {
    /// Relative to the release file, as in `main/binary-amd64/Packages.xz`.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    pub sha256: Digest,
}

/// A pinned package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// Name of its repository in this lock.
    pub repository: String,
    /// Pool path below the repository's URI; for a local file, its path.
    pub filename: String,
    /// Length of the archive in bytes.
    pub size: u64,
    /// What its files take unpacked, in bytes, where the archive says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<u64>,
    pub sha256: Digest,
    /// Whether it belongs to the base set, which is configured before everything else.
    #[serde(default, skip_serializing_if = "is_false")]
    pub base: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub essential: bool,
    /// Whether the recipe or the base set names it, rather than another package needing it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub manual: bool,
    /// Whether the tree that is built upon has it already, at this version.
    #[serde(default, skip_serializing_if = "is_false")]
    pub in_tree: bool,
    /// Whether that tree has it as one that only came along, and it is asked for by now.
    #[serde(default, skip_serializing_if = "is_false")]
    pub promoted: bool,
    /// Why it is here, in words: `recipe`, `base`, ``needed by `x` ``.
    pub why: String,
    /// Source package, where its name differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Version of the source package, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_version: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Lock {
    /// Returns a lock that answers no recipe: packages for a purpose of kiln's own, or some that are only looked at.
    pub fn aside(
        architecture: Arch,
        repositories: Vec<LockedRepository>,
        packages: Vec<Locked>,
        tools: Vec<Locked>,
    ) -> Self {
        let (spec, downloads) = (Digest::of(""), vec![]);
        Self { edition: EDITION, spec, architecture, repositories, packages, tools, downloads }
    }

    /// Parses a lock as written by [`Lock::write`].
    pub fn read(text: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Head {
            edition: u32,
        }
        let head: Head = toml::from_str(text)?;
        if head.edition != EDITION {
            return Err(Error::Edition { found: head.edition });
        }
        let lock: Self = toml::from_str(text)?;
        lock.check()?;
        Ok(lock)
    }

    /// Checks what the types cannot say: every package's repository is listed, no package is there twice.
    fn check(&self) -> Result<(), Error> {
        for list in [&self.packages, &self.tools] {
            let mut seen = std::collections::HashSet::new();
            for package in list {
                if self.repository(&package.repository).is_none() {
                    let (package, repository) = (package.name.clone(), package.repository.clone());
                    return Err(Error::NoRepository { package, repository });
                }
                if !seen.insert((&package.name, &package.architecture)) {
                    return Err(Error::Twice { package: package.name.clone() });
                }
            }
        }
        Ok(())
    }

    /// Returns the document: the same lock gives the same text, one package to a line.
    pub fn write(&self) -> String {
        write::document(self)
    }

    /// Returns the digest of the document.
    pub fn digest(&self) -> Digest {
        Digest::of(self.write())
    }

    /// Puts every list into the document's order.
    pub fn sort(&mut self) {
        for list in [&mut self.packages, &mut self.tools] {
            list.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
        }
    }

    /// Returns what an address is pinned to.
    pub fn download(&self, url: &str) -> Option<&Download> {
        self.downloads.iter().find(|download| download.url == url)
    }

    pub fn repository(&self, name: &str) -> Option<&LockedRepository> {
        self.repositories.iter().find(|repository| repository.name == name)
    }

    /// Returns the URL that a package of this lock was found at.
    pub fn url(&self, package: &Locked) -> Option<String> {
        let repository = self.repository(&package.repository)?;
        Some(format!("{}/{}", repository.uri.trim_end_matches('/'), package.filename))
    }
}

impl Locked {
    /// Returns the package as plans name it.
    pub fn package_ref(&self) -> PackageRef {
        PackageRef {
            name: self.name.clone(),
            version: self.version.clone(),
            architecture: self.architecture.clone(),
            sha256: self.sha256,
            size: self.size,
            automatic: !self.manual && !self.base,
        }
    }
}

impl From<&Locked> for PackageRef {
    fn from(locked: &Locked) -> Self {
        locked.package_ref()
    }
}

/// Why a text is not a lock.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("lock of edition {found}, this kiln reads edition {EDITION}")]
    Edition { found: u32 },
    #[error("lock is not as kiln writes it")]
    Toml(#[from] toml::de::Error),
    #[error("lock names repository `{repository}` for package `{package}` but does not list it")]
    NoRepository { package: String, repository: String },
    #[error("lock names package `{package}` twice")]
    Twice { package: String },
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::recipe("read the lock").because(error).hint("run `kiln lock` to write it anew")
    }
}

/// The document's text, by hand: a serializer would put each field on a line of its own.
mod write {
    use std::fmt::Write as _;

    use super::{Download, Lock, Locked, LockedIndex, LockedRepository};

    pub(super) fn document(lock: &Lock) -> String {
        let mut text = String::from("# Written by kiln; change the recipe and run `kiln lock` instead of editing.\n");
        let _ = writeln!(text, "edition = {}", lock.edition);
        let _ = writeln!(text, "spec = {}", quoted(&lock.spec.to_string()));
        let _ = writeln!(text, "architecture = {}", quoted(lock.architecture.debian()));
        list(&mut text, "repositories", &lock.repositories, repository);
        list(&mut text, "packages", &lock.packages, package);
        if !lock.tools.is_empty() {
            list(&mut text, "tools", &lock.tools, package);
        }
        if !lock.downloads.is_empty() {
            list(&mut text, "downloads", &lock.downloads, download);
        }
        text
    }

    fn list<T>(text: &mut String, name: &str, items: &[T], line: fn(&T) -> String) {
        let _ = writeln!(text, "\n{name} = [");
        items.iter().for_each(|item| {
            let _ = writeln!(text, "  {},", line(item));
        });
        text.push_str("]\n");
    }

    fn repository(repository: &LockedRepository) -> String {
        let mut table = Inline::default();
        table.text("name", &repository.name);
        table.text("uri", &repository.uri);
        table.text("suite", &repository.suite);
        if !repository.components.is_empty() {
            let components: Vec<String> = repository.components.iter().map(|name| quoted(name)).collect();
            table.raw("components", &format!("[{}]", components.join(", ")));
        }
        let names = [("origin", &repository.origin), ("label", &repository.label), ("codename", &repository.codename)];
        names.iter().for_each(|(key, name)| name.iter().for_each(|name| table.text(key, name)));
        if let Some(release) = repository.release {
            table.text("release", &release.to_string());
        }
        if let Some(date) = repository.date {
            table.raw("date", &date.to_string());
        }
        if !repository.indexes.is_empty() {
            let indexes: Vec<String> = repository.indexes.iter().map(index).collect();
            table.raw("indexes", &format!("[\n    {},\n  ]", indexes.join(",\n    ")));
        }
        table.end()
    }

    fn index(index: &LockedIndex) -> String {
        let mut table = Inline::default();
        table.text("path", &index.path);
        table.raw("size", &index.size.to_string());
        table.text("sha256", &index.sha256.to_string());
        table.end()
    }

    fn package(package: &Locked) -> String {
        let mut table = Inline::default();
        table.text("name", &package.name);
        table.text("version", &package.version);
        table.text("architecture", &package.architecture);
        table.text("repository", &package.repository);
        table.flag("base", package.base);
        table.flag("essential", package.essential);
        table.flag("manual", package.manual);
        table.flag("in_tree", package.in_tree);
        table.flag("promoted", package.promoted);
        table.text("why", &package.why);
        table.maybe("source", package.source.as_deref());
        table.maybe("source_version", package.source_version.as_deref());
        table.text("filename", &package.filename);
        table.raw("size", &package.size.to_string());
        if let Some(installed) = package.installed {
            table.raw("installed", &installed.to_string());
        }
        table.text("sha256", &package.sha256.to_string());
        table.end()
    }

    fn download(download: &Download) -> String {
        let mut table = Inline::default();
        table.text("url", &download.url);
        table.raw("size", &download.size.to_string());
        table.text("sha256", &download.sha256.to_string());
        table.end()
    }

    /// An inline table in the making.
    #[derive(Default)]
    struct Inline(Vec<String>);

    impl Inline {
        fn raw(&mut self, key: &str, value: &str) {
            self.0.push(format!("{key} = {value}"));
        }

        fn text(&mut self, key: &str, value: &str) {
            self.raw(key, &quoted(value));
        }

        fn maybe(&mut self, key: &str, value: Option<&str>) {
            if let Some(value) = value {
                self.text(key, value);
            }
        }

        fn flag(&mut self, key: &str, value: bool) {
            if value {
                self.raw(key, "true");
            }
        }

        fn end(self) -> String {
            format!("{{ {} }}", self.0.join(", "))
        }
    }

    fn quoted(text: &str) -> String {
        toml::Value::String(text.to_owned()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Lock {
        let package = |name: &str| Locked {
            name: name.into(),
            version: "1:2.0~rc1-1".into(),
            architecture: "amd64".into(),
            repository: "debian".into(),
            filename: format!("pool/main/{name}.deb"),
            size: 12,
            installed: (name == "libc6").then_some(4096),
            sha256: Digest::of(name),
            base: name == "base-files",
            essential: name == "base-files",
            manual: false,
            in_tree: false,
            promoted: false,
            why: "needed by `it's \"x\"`".into(),
            source: (name == "libc6").then(|| "glibc".into()),
            source_version: None,
        };
        Lock {
            edition: EDITION,
            spec: Digest::of("spec"),
            architecture: Arch::Amd64,
            repositories: vec![LockedRepository {
                name: "debian".into(),
                uri: "http://archive.example/debian/".into(),
                suite: "trixie".into(),
                components: vec!["main".into(), "contrib".into()],
                origin: Some("Debian".into()),
                label: Some("Debian".into()),
                codename: Some("trixie".into()),
                release: Some(Digest::of("release")),
                date: Some(1_789_199_741),
                indexes: vec![LockedIndex {
                    path: "main/binary-amd64/Packages.xz".into(),
                    size: 3,
                    sha256: Digest::of("i"),
                }],
            }],
            packages: vec![package("libc6"), package("base-files")],
            tools: vec![package("mke2fs")],
            downloads: vec![Download { url: "https://host.example/a?b=c".into(), size: 7, sha256: Digest::of("a") }],
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut lock = sample();
        lock.sort();
        assert_eq!(lock.packages[0].name, "base-files");
        assert_eq!(Lock::read(&lock.write()).unwrap(), lock);
        assert_eq!(lock.url(&lock.packages[1]).unwrap(), "http://archive.example/debian/pool/main/libc6.deb");
    }

    #[test]
    fn a_package_is_one_line() {
        let text = sample().write();
        assert_eq!(text.lines().filter(|line| line.contains("\"libc6\"")).count(), 1);
        assert_eq!(text.lines().filter(|line| line.contains("pool/main/")).count(), 3);
    }

    #[test]
    fn damage_is_refused() {
        let text = sample().write();
        let cases = [
            (text.replace("edition = 1", "edition = 7"), "lock of edition 7, this kiln reads edition 1"),
            (
                text.replace("name = \"debian\"", "name = \"other\""),
                "lock names repository `debian` for package `libc6` but does not list it",
            ),
            (text.replace("\"base-files\"", "\"libc6\""), "lock names package `libc6` twice"),
            (text.replace("size = 12", "size = -1"), "lock is not as kiln writes it"),
        ];
        for (text, wanted) in cases {
            assert_eq!(Lock::read(&text).unwrap_err().to_string(), wanted);
        }
    }
}
