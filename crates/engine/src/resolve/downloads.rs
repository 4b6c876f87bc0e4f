//! Files of the network: looked at once, pinned in the lock from then on.

use std::collections::BTreeMap;

use kiln_family::Lock;
use kiln_model::action::Download;
use kiln_model::{Digest, Fault, Unit};
use kiln_recipe::Spec;
use kiln_recipe::spec::FileContent;

use super::Update;
use crate::events::Events;
use crate::kiln::Kiln;
use crate::load::Loaded;
use crate::run::download_request;

/// Returns the addresses that a spec takes files from, each with the digest that the recipe says.
pub fn wanted(spec: &Spec) -> BTreeMap<&str, Option<Digest>> {
    let mut wanted = BTreeMap::new();
    for file in &spec.files {
        if let FileContent::Download { url, sha256 } = &file.content {
            let said: &mut Option<Digest> = wanted.entry(url.as_str()).or_default();
            *said = said.or(*sha256);
        }
    }
    wanted
}

/// Whether a lock says of each address what it gave.
pub fn are_all_in(spec: &Spec, lock: &Lock) -> bool {
    let fits = |(url, said): (&str, Option<Digest>)| {
        lock.download(url).is_some_and(|download| said.is_none_or(|said| said == download.sha256))
    };
    wanted(spec).into_iter().all(fits)
}

impl Kiln {
    /// Pins every file of the network: as the recipe or the old lock says, else as it is there now.
    pub(super) fn downloads(
        &self,
        loaded: &Loaded,
        old: Option<&Lock>,
        update: &Update,
        events: &Events,
    ) -> Result<Vec<Download>, Fault> {
        let kept = |url: &str| {
            let again = match update {
                Update::Keep => false,
                // What strangers pinned stays: nobody looks for them what is there now.
                Update::All => loaded.within.is_none(),
                Update::Only(names) => names.iter().any(|name| name == url),
            };
            old.filter(|_| !again)?.download(url).cloned()
        };
        let pin = |(url, said): (&str, Option<Digest>)| match kept(url) {
            Some(kept) if said.is_none_or(|said| said == kept.sha256) => Ok(kept),
            // What this machine reaches is not for strangers to look at: they may have what they know already.
            _ if said.is_none() && loaded.within.is_some() => Err(Fault::recipe(format!("`{url}` is not pinned"))
                .hint("say its `sha256` in the recipe, or send the lock along, which `kiln lock` writes")),
            _ => self.pin(url, said, events),
        };
        wanted(&loaded.completed.spec).into_iter().map(pin).collect()
    }

    fn pin(&self, url: &str, said: Option<Digest>, events: &Events) -> Result<Download, Fault> {
        let progress = |written| events.progress(None, "download", Unit::Bytes, written, None);
        let (sha256, path) = match said {
            Some(said) => {
                let request = download_request(url, said, None);
                let fetched = self.fetcher.fetch_blob(&self.store, &request, &progress);
                let other = |error: kiln_fetch::Error| match *error.failure {
                    kiln_fetch::Failure::WrongDigest { .. } => Fault::from(error)
                        .hint("the recipe says `sha256`: where what is there now is meant, say its digest instead"),
                    _ => error.into(),
                };
                (said, fetched.map_err(other)?)
            }
            None => self.fetcher.fetch_new(&self.store, url, &progress)?,
        };
        let size = std::fs::metadata(&path)
            .map_err(|error| Fault::farm(format!("look at what `{url}` gave")).because(error))?;
        Ok(Download { url: url.to_owned(), size: size.len(), sha256 })
    }
}
