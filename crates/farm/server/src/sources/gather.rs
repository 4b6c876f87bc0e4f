//! What reads a repository for the server.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use kiln_farm_api::Variable;
use kiln_model::{Arch, Fault};

/// Which recipes of which commit are wanted.
#[derive(Clone)]
pub struct Wish {
    pub url: String,
    /// `NAME:TOKEN`, for the repository's host alone.
    pub credential: Option<String>,
    /// Whether the repository may lie in the server's own network, or on its disk.
    pub private: bool,
    pub branch: String,
    /// None: the branch's last.
    pub commit: Option<String>,
    /// The commit that was built before, as far as that is known.
    pub base: Option<String>,
    /// Patterns of their paths.
    pub recipes: Vec<String>,
    /// Whether those are wanted too that did not change since.
    pub all: bool,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Gathered {
    pub commit: String,
    pub recipes: Vec<Read>,
}

/// A recipe that was read, by its path in the repository.
#[derive(Clone, Debug)]
pub struct Read {
    pub path: String,
    pub outcome: Result<Packed, Mistake>,
}

/// A recipe that can be built, with all the files it names.
#[derive(Clone, Debug)]
pub struct Packed {
    /// What it calls itself.
    pub name: String,
    pub arch: Arch,
    pub bundle: Vec<u8>,
    /// The recipe's path in the bundle.
    pub recipe: String,
    /// The project's secrets that it uses.
    pub secrets: BTreeSet<Variable>,
}

/// Why a recipe cannot be built.
#[derive(Clone, Debug)]
pub struct Mistake {
    pub error: String,
    pub hint: Option<String>,
    pub diagnostics: Vec<serde_json::Value>,
}

type Reader = dyn Fn(&Wish) -> Result<Gathered, Fault> + Send + Sync;

/// Fetches a commit and packs its recipes; takes its time.
#[derive(Clone)]
pub struct Gather(Arc<Reader>);

impl Gather {
    pub fn new(reader: impl Fn(&Wish) -> Result<Gathered, Fault> + Send + Sync + 'static) -> Self {
        Self(Arc::new(reader))
    }

    pub(super) fn gather(&self, wish: &Wish) -> Result<Gathered, Fault> {
        (self.0)(wish)
    }
}

impl fmt::Debug for Gather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gather")
    }
}
