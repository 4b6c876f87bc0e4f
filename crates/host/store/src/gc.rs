//! Collection: what was used longest ago goes until the rest is below the bound.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::files::remove_tree;
use crate::list::Located;
use crate::{EntryInfo, EntryKind, Result, Store, session};

/// What a collection removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub removed: Vec<EntryInfo>,
    /// Bytes of what was removed.
    pub freed: u64,
    /// Bytes of what remains.
    pub kept: u64,
}

impl Store {
    /// Removes what was used longest ago until at most `limit` bytes (or the store's own bound; without either,
    /// nothing goes) remain. Entries that any living session used stay, and so does what refuses rollbacks.
    pub fn gc(&self, limit: Option<u64>, dry_run: bool) -> Result<Collected> {
        let (collected, trash) = {
            let _store = session::exclusive(self.root())?;
            let (victims, kept) = self.choose(limit.or(self.limit).unwrap_or(u64::MAX))?;
            let freed = victims.iter().map(|victim| victim.info.size).sum();
            let trash: Vec<PathBuf> = if dry_run { Vec::new() } else { self.hide(&victims)? };
            let removed = victims.into_iter().map(|victim| victim.info).collect();
            (Collected { removed, freed, kept }, trash)
        };
        trash.iter().try_for_each(|path| remove_tree(path))?;
        Ok(collected)
    }

    /// Returns the victims, the least used first, and the bytes of what stays.
    fn choose(&self, limit: u64) -> Result<(Vec<Located>, u64)> {
        let mut all = self.located()?;
        let leased = session::leased(self.root())?;
        let mut kept = all.iter().map(|entry| entry.info.size).sum();
        children_count(&mut all);
        all.retain(|entry| entry.may_go && !leased.contains(&entry.lease));
        all.sort_by_key(|entry| entry.info.last_used);
        let mut victims = Vec::new();
        for entry in all {
            if kept <= limit {
                break;
            }
            kept -= entry.info.size;
            victims.push(entry);
        }
        Ok((victims, kept))
    }

    fn hide(&self, victims: &[Located]) -> Result<Vec<PathBuf>> {
        let trash: Vec<PathBuf> =
            victims.iter().map(|victim| self.session.trash(&victim.path)).collect::<Result<_>>()?;
        if victims.iter().any(|victim| victim.info.kind == EntryKind::Blob) {
            let mut index = self.index.lock().expect("no panic while held");
            index.compact(self.session.scratch(), |digest| self.blob_path(digest).exists())?;
        }
        Ok(trash)
    }
}

/// Counts the use of a layer as a use of those below it, which it is nothing without.
fn children_count(all: &mut [Located]) {
    let parents: HashMap<String, Option<String>> =
        all.iter().map(|entry| (entry.info.id.clone(), entry.parent.map(|id| id.to_string()))).collect();
    let mut used: HashMap<String, SystemTime> = HashMap::new();
    for entry in all.iter().filter(|entry| entry.info.kind == EntryKind::Layer) {
        let mut next = Some(&entry.info.id);
        // A chain longer than there are layers would be a circle.
        for _ in 0..all.len() {
            let Some(id) = next else { break };
            let last = used.entry(id.clone()).or_insert(entry.info.last_used);
            *last = (*last).max(entry.info.last_used);
            next = parents.get(id).and_then(Option::as_ref);
        }
    }
    for entry in all.iter_mut().filter(|entry| entry.info.kind == EntryKind::Layer) {
        entry.info.last_used = used.get(&entry.info.id).copied().unwrap_or(entry.info.last_used);
    }
}
