//! One kiln: a store, a way to fetch, a sandbox, and the verbs of a build.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kiln_family::deb::Lock;
use kiln_fetch::Fetcher;
use kiln_model::{Fault, Plan};
use kiln_plan::Inputs;
use kiln_sandbox::Sandbox;
use kiln_store::Store;

use crate::config::Config;
use crate::load::Loaded;
use crate::secrets::Secrets;

/// A kiln, ready to work.
pub struct Kiln {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) fetcher: Fetcher,
    pub(crate) sandbox: Option<Arc<dyn Sandbox>>,
    /// Raised to stop every download.
    pub(crate) cancel: Arc<AtomicBool>,
}

impl Kiln {
    /// Opens the cache. As it is, it resolves and plans; to build it needs a sandbox.
    pub fn open(config: Config) -> Result<Self, Fault> {
        let store = Store::open(&config.cache, Some(config.cache_limit))?;
        let cancel = Arc::new(AtomicBool::new(false));
        let (offline, interrupted) = (config.offline, kiln_sandbox::interrupted);
        let options = kiln_fetch::Options { offline, cancel: cancel.clone(), interrupted, ..Default::default() };
        let fetcher = Fetcher::new(options);
        Ok(Self { config, store, fetcher, sandbox: None, cancel })
    }

    /// Gives it a sandbox; what builds that were killed left in the cache is cleaned up.
    #[must_use]
    pub fn with_sandbox(mut self, sandbox: Option<Arc<dyn Sandbox>>) -> Self {
        self.sandbox = sandbox;
        // Neither is needed for a build to be right: the next one cleans up too.
        let _ = kiln_sandbox::sweep(&self.config.cache.join("scratch"));
        let _ = kiln_sandbox::guard(self.store.session_folder());
        self
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the plan of a recipe under a lock; secrets are read for their fingerprints.
    pub fn plan(&self, loaded: &Loaded, lock: &Lock) -> Result<Plan, Fault> {
        let secrets = Secrets::read(&loaded.completed.spec, &loaded.folder)?;
        Ok(plan(loaded, lock, &secrets))
    }

    pub(crate) fn sandbox(&self) -> Result<&dyn Sandbox, Fault> {
        self.sandbox.as_deref().ok_or_else(|| Fault::farm("this kiln was opened without a sandbox"))
    }
}

pub(crate) fn plan(loaded: &Loaded, lock: &Lock, secrets: &Secrets) -> Plan {
    kiln_plan::plan(&Inputs { spec: &loaded.completed.spec, lock, secrets: &secrets.fingerprints() })
}
