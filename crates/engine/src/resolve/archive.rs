//! One repository: its release file believed, its package lists fetched by digest and read.

use std::io::Read as _;

use kiln_family::deb::lock::{LockedIndex, LockedRepository};
use kiln_family::deb::package::compression::Decoder;
use kiln_family::deb::release::{FileEntry, by_hash_path};
use kiln_family::deb::solve::{Repository as Weight, Source};
use kiln_family::deb::trust::{self, Policy, Verified};
use kiln_family::deb::{Index, Keyring, Release, pin};
use kiln_fetch::{Failure, Request};
use kiln_model::{Arch, Fault, Unit};
use kiln_recipe::spec::{Repository, Trust};
use kiln_store::Doc;

use crate::events::Events;
use crate::kiln::Kiln;

/// A repository as it was read.
pub(crate) struct Archive {
    pub locked: LockedRepository,
    pub sources: Vec<Source>,
}

/// No release file is larger.
const RELEASE_LIMIT: u64 = 32 << 20;

impl Archive {
    pub fn read(kiln: &Kiln, repository: &Repository, architectures: &[Arch], events: &Events) -> Result<Self, Fault> {
        let verified =
            release(kiln, repository).map_err(|fault| fault.doing(format!("read repository `{}`", repository.name)))?;
        let release = &verified.release;
        let mut archive = Self { locked: locked(repository, &verified), sources: vec![] };
        for (path, entry) in indexes(repository, release, architectures)? {
            let text = index(kiln, repository, release, &path, entry, events)?;
            let parsed = Index::parse(text).map_err(|error| {
                Fault::upstream(format!("read `{path}` of repository `{}`", repository.name)).because(error)
            })?;
            archive.sources.push(Source { repository: weight(repository, release), index: parsed });
            archive.locked.indexes.push(LockedIndex { path, size: entry.size, sha256: entry.sha256 });
        }
        Ok(archive)
    }
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

/// Fetches and verifies a repository's release file, and remembers its date against rollbacks.
fn release(kiln: &Kiln, repository: &Repository) -> Result<Verified, Fault> {
    let key = format!("{} {}", repository.uri_in_image, repository.suite);
    let seen = kiln.store.document(Doc::Seen, &key)?;
    let seen = seen.and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse().ok());
    let (keyring, pinned) = keyring(&repository.trust)?;
    let valid_until = repository.check_valid_until;
    let (suite, now) = (repository.suite.as_str(), kiln.config.now);
    let policy = Policy { keyring: &keyring, pinned: &pinned, suite, now, valid_until, last_seen: seen };
    let verified = fetch_release(kiln, repository, &policy)?;
    if let Some(date) = verified.release.date.filter(|_| valid_until) {
        kiln.store.put_document(Doc::Seen, &key, date.to_string().as_bytes())?;
    }
    Ok(verified)
}

/// `InRelease`, else `Release` with `Release.gpg`; unsigned only where the recipe said the word.
fn fetch_release(kiln: &Kiln, repository: &Repository, policy: &Policy<'_>) -> Result<Verified, Fault> {
    let fetch = |file: &str| {
        let urls: Vec<_> = repository.uris.iter().map(|uri| dist_url(uri, &repository.suite, file)).collect();
        kiln.fetcher.fetch_small(Some(&kiln.store), &urls, RELEASE_LIMIT)
    };
    if repository.trust == Trust::Unsigned {
        let release = fetch("Release").or_else(|_| fetch("InRelease"))?;
        return Ok(trust::unsigned(&release.bytes, policy)?);
    }
    match fetch("InRelease") {
        Ok(answer) => Ok(trust::verify(&answer.bytes, policy)?),
        Err(error) if matches!(*error.failure, Failure::NotFound { .. }) => {
            let (release, signature) = (fetch("Release")?, fetch("Release.gpg")?);
            Ok(trust::verify_detached(&release.bytes, &signature.bytes, policy)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// A suite that ends in a slash is a flat repository: its files lie beside its packages.
fn dist_url(uri: &str, suite: &str, file: &str) -> String {
    match suite.strip_suffix('/') {
        Some("" | ".") => format!("{uri}/{file}"),
        Some(folder) => format!("{uri}/{folder}/{file}"),
        None => format!("{uri}/dists/{suite}/{file}"),
    }
}

fn keyring(trust: &Trust) -> Result<(Keyring, Vec<String>), Fault> {
    match trust {
        Trust::Keyring(name) => {
            let bytes = crate::keyrings::get(name);
            let bytes = bytes.ok_or_else(|| Fault::recipe(format!("no keyring is called `{name}`")))?;
            Ok((Keyring::parse(bytes)?, vec![]))
        }
        Trust::Keys { armored, fingerprints } => Ok((Keyring::parse(armored.as_bytes())?, fingerprints.clone())),
        Trust::Unsigned => Ok((Keyring::default(), vec![])),
    }
}

/// Returns a package list's text: from the cache, or fetched under its digest and decompressed.
fn index(
    kiln: &Kiln,
    repository: &Repository,
    release: &Release,
    path: &str,
    entry: FileEntry,
    events: &Events,
) -> Result<Vec<u8>, Fault> {
    let key = entry.sha256.to_string();
    if let Some(text) = kiln.store.document(Doc::Index, &key)? {
        return Ok(text);
    }
    let file = kiln.fetcher.fetch_blob(&kiln.store, &request(repository, release, path, entry), &|done| {
        events.progress(None, path, Unit::Bytes, done, Some(entry.size));
    })?;
    let bytes = std::fs::read(&file).map_err(|error| Fault::farm(format!("read `{path}`")).because(error))?;
    let text = decompress(path, &bytes).map_err(|error| {
        Fault::upstream(format!("decompress `{path}` of repository `{}`", repository.name)).because(error)
    })?;
    kiln.store.put_document(Doc::Index, &key, &text)?;
    Ok(text)
}

/// By digest first where the archive offers that: such a file cannot change under us in the middle of an update.
fn request(repository: &Repository, release: &Release, path: &str, entry: FileEntry) -> Request {
    let by_hash = release.acquire_by_hash.then(|| by_hash_path(path, entry.sha256));
    let paths: Vec<String> = by_hash.into_iter().chain([path.to_owned()]).collect();
    let urls = repository.uris.iter().flat_map(|uri| paths.iter().map(|path| dist_url(uri, &repository.suite, path)));
    let name = format!("{path} of {}", repository.name);
    Request { urls: urls.collect(), digest: entry.sha256, size: Some(entry.size), name }
}

fn decompress(path: &str, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let ending = name.find('.').map_or("", |dot| &name[dot..]);
    let mut text = Vec::with_capacity(bytes.len() * 6);
    let reader = Decoder::new(ending, bytes, 2)?;
    let mut reader = reader.ok_or_else(|| std::io::Error::other(format!("`{ending}` is no compression kiln reads")))?;
    reader.read_to_end(&mut text)?;
    Ok(text)
}
