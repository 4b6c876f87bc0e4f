//! Who ships which path, across threads.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_family::deb::install::replaces::Claimant;
use kiln_model::GuestPath;

/// Paths of everything but directories with the package that owns each, spread over several locks.
pub struct Claims {
    hasher: RandomState,
    shards: [Mutex<HashMap<GuestPath, Arc<Claimant>>>; 16],
}

impl Claims {
    pub fn new() -> Self {
        Self { hasher: RandomState::new(), shards: Default::default() }
    }

    /// Claims a path for `mine`, or returns who has it.
    pub fn take(&self, path: &GuestPath, mine: &Arc<Claimant>) -> Option<Arc<Claimant>> {
        let mut shard = self.shard(path);
        if let Some(owner) = shard.get(path) {
            return Some(Arc::clone(owner));
        }
        shard.insert(path.clone(), Arc::clone(mine));
        None
    }

    /// Gives a path to `mine`, whoever had it.
    pub fn give(&self, path: &GuestPath, mine: &Arc<Claimant>) {
        self.shard(path).insert(path.clone(), Arc::clone(mine));
    }

    /// Returns who ships a path.
    pub fn owner(&self, path: &GuestPath) -> Option<Arc<Claimant>> {
        self.shard(path).get(path).cloned()
    }

    fn shard(&self, path: &GuestPath) -> MutexGuard<'_, HashMap<GuestPath, Arc<Claimant>>> {
        let at = self.hasher.hash_one(path) as usize % self.shards.len();
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
