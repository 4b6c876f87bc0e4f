//! One package list: fetched under the digest that its release file gives, decompressed, remembered as text.

use std::io::{Error, Read as _, Result};

use kiln_family::deb::Release;
use kiln_family::deb::package::compression::Decoder;
use kiln_family::deb::release::{FileEntry, by_hash_path};
use kiln_fetch::Request;
use kiln_model::{Fault, Unit};
use kiln_recipe::spec::Repository;
use kiln_store::Doc;

use super::release::{Believed, dist_url};
use crate::events::Events;
use crate::kiln::Kiln;

/// No package list is larger, in bytes; the largest of Debian and Ubuntu have 80 MB.
const LIMIT: u64 = 1 << 30;

/// How much larger than its compressed form a list may be whose release file does not tell; usual is 4 to 8.
const FACTOR: u64 = 100;

/// Returns a package list's text: from the cache, or fetched from the first mirror that has it.
pub(super) fn read(
    kiln: &Kiln,
    repository: &Repository,
    believed: &Believed,
    path: &str,
    entry: FileEntry,
    events: &Events,
) -> std::result::Result<Vec<u8>, Fault> {
    let key = entry.sha256.to_string();
    if let Some(text) = kiln.store.document(Doc::Index, &key)? {
        return Ok(text);
    }
    let wrong = |doing: &str| Fault::upstream(format!("{doing} `{path}` of repository `{}`", repository.name));
    if entry.size > LIMIT {
        return Err(wrong("fetch").because(too_large(LIMIT)));
    }
    let file = kiln.fetcher.fetch_blob(&kiln.store, &request(repository, believed, path, entry), &|done| {
        events.progress(None, path, Unit::Bytes, done, Some(entry.size));
    });
    let file = file.map_err(|error| {
        let gone = matches!(*error.failure, kiln_fetch::Failure::NotFound { .. });
        let fault = Fault::from(error);
        let hint = "the mirror may be in the middle of an update: try again a little later, or another mirror";
        if gone { fault.hint(hint) } else { fault }
    })?;
    let bytes = std::fs::read(&file).map_err(|error| Fault::farm(format!("read `{path}`")).because(error))?;
    let text = decompress(path, &bytes, limit(&believed.verified.release, path, entry));
    let text = text.map_err(|error| wrong("decompress").because(error))?;
    kiln.store.put_document(Doc::Index, &key, &text)?;
    Ok(text)
}

/// By digest first where the archive offers that: such a file cannot change under us in the middle of an update.
fn request(repository: &Repository, believed: &Believed, path: &str, entry: FileEntry) -> Request {
    let by_hash = believed.verified.release.acquire_by_hash.then(|| by_hash_path(path, entry.sha256));
    let paths: Vec<String> = by_hash.into_iter().chain([path.to_owned()]).collect();
    let urls = believed.mirrors.iter().flat_map(|uri| paths.iter().map(|path| dist_url(uri, &repository.suite, path)));
    let name = format!("{path} of {}", repository.name);
    Request { urls: urls.collect(), digest: entry.sha256, size: Some(entry.size), name }
}

/// Returns how many bytes a list may have: as many as the release file tells of its plain form.
fn limit(release: &Release, path: &str, entry: FileEntry) -> u64 {
    let plain = path.strip_suffix(ending(path)).and_then(|plain| release.files.get(plain));
    plain.map_or(entry.size.saturating_mul(FACTOR), |plain| plain.size).min(LIMIT)
}

/// Returns `.xz` of `main/binary-amd64/Packages.xz`.
fn ending(path: &str) -> &str {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.find('.').map_or("", |dot| &name[dot..])
}

fn decompress(path: &str, bytes: &[u8], limit: u64) -> Result<Vec<u8>> {
    let ending = ending(path);
    let mut text = Vec::with_capacity((bytes.len() * 6).min(limit as usize));
    let reader = Decoder::new(ending, bytes, 2)?;
    let reader = reader.ok_or_else(|| Error::other(format!("`{ending}` is no compression kiln reads")))?;
    reader.take(limit.saturating_add(1)).read_to_end(&mut text)?;
    if text.len() as u64 > limit { Err(too_large(limit)) } else { Ok(text) }
}

fn too_large(limit: u64) -> Error {
    Error::other(format!("it is larger than the {limit} bytes it may have"))
}
