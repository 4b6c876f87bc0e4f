//! One kiln: a store, a way to fetch, a sandbox, and the verbs of a build.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kiln_family::Lock;
use kiln_fetch::Fetcher;
use kiln_model::{Fault, Plan};
use kiln_plan::Inputs;
use kiln_sandbox::Sandbox;
use kiln_store::Store;

use crate::config::Config;
use crate::elsewhere::Elsewhere;
use crate::load::Loaded;
use crate::secrets::Secrets;

/// A kiln, ready to work.
pub struct Kiln {
    pub(crate) config: Config,
    pub(crate) store: Arc<Store>,
    pub(crate) fetcher: Fetcher,
    pub(crate) sandbox: Option<Arc<dyn Sandbox>>,
    /// Raised to stop every download.
    pub(crate) cancel: Arc<AtomicBool>,
    pub(crate) elsewhere: Elsewhere,
}

impl Kiln {
    /// Opens the cache. As it is, it resolves and plans; to build it needs a sandbox.
    pub fn open(config: Config) -> Result<Self, Fault> {
        let store = open_cache(&config)?;
        Ok(Self::with(config, Arc::new(store)))
    }

    /// Opens the cache as it is: one that cannot be written, or is not there, is only read, and what is fetched is
    /// forgotten in the end. Enough to resolve and to plan.
    pub fn open_as_it_is(config: Config) -> Result<Self, Fault> {
        match Store::open(&config.cache, Some(config.cache_limit)) {
            Ok(store) => Ok(Self::with(config, Arc::new(store))),
            Err(error) => {
                let beside = Store::open_beside(&config.cache).map_err(|_| unusable(&config, error))?;
                Ok(Self::with(config, Arc::new(beside)))
            }
        }
    }

    /// The same without the network.
    pub(crate) fn offline(&self) -> Self {
        Self::with(Config { offline: true, ..self.config.clone() }, self.store.clone())
    }

    fn with(config: Config, store: Arc<Store>) -> Self {
        let cancel = Arc::new(AtomicBool::new(false));
        let (offline, interrupted) = (config.offline, kiln_sandbox::interrupted);
        let options = kiln_fetch::Options { offline, cancel: cancel.clone(), interrupted, ..Default::default() };
        let fetcher = Fetcher::new(options);
        let elsewhere = Elsewhere::at(config.stages.clone());
        Self { config, store, fetcher, sandbox: None, cancel, elsewhere }
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
        let secrets = Secrets::read(loaded)?;
        Ok(plan(loaded, lock, &secrets))
    }

    pub(crate) fn sandbox(&self) -> Result<&dyn Sandbox, Fault> {
        self.sandbox.as_deref().ok_or_else(|| Fault::farm("this kiln was opened without a sandbox"))
    }
}

pub(crate) fn plan(loaded: &Loaded, lock: &Lock, secrets: &Secrets) -> Plan {
    kiln_plan::plan(&Inputs { spec: &loaded.completed.spec, lock, secrets: &secrets.fingerprints() })
}

/// Opens the cache's store.
pub fn open_cache(config: &Config) -> Result<Store, Fault> {
    Store::open(&config.cache, Some(config.cache_limit)).map_err(|error| unusable(config, error))
}

/// Says how to get a cache where this one cannot be used.
fn unusable(config: &Config, error: kiln_store::Error) -> Fault {
    let fault = Fault::from(error).doing(format!("open the cache `{}`", config.cache.display()));
    if fault.hint_text().is_some() {
        return fault;
    }
    fault.hint("name a folder that you may write to: `export KILN_CACHE=/path/to/folder`, or `--cache /path/to/folder`")
}
