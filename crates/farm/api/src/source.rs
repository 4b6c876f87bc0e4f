//! Sources: git repositories whose recipes a project builds when they change.
//!
//! A forge tells of a push by POST to [`crate::routes::push`], in the format of GitHub, GitLab, or Gitea and Forgejo, signed with the
//! source's secret. The answer comes at once; what became of it is a [`Push`]. The same commit is built once, however often it is told.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BuildId, Name, PushId, SourceId};

/// A git repository with recipes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Source {
    pub id: SourceId,
    pub url: String,
    /// Patterns of the branches that are built, as `main` or `release/*`.
    pub branches: Vec<String>,
    /// Patterns of the recipes' paths, as `kiln.toml` or `images/**/*.toml`.
    pub recipes: Vec<String>,
    /// Who made it; builds are theirs, and end when they may not build here any more.
    pub owner: Name,
    pub created: i64,
    /// Whether something is sent along that opens a private repository.
    pub credential: bool,
    /// What pushes are signed with; told when the source is made, and never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSource {
    /// `https://…`, without a name and password in it.
    pub url: String,
    /// `main` where it does not say.
    #[serde(default = "main")]
    pub branches: Vec<String>,
    /// `kiln.toml` where it does not say.
    #[serde(default = "kiln_toml")]
    pub recipes: Vec<String>,
    /// At least 16 characters; the server makes one where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// `NAME:TOKEN` for a private repository; sent to its host and nowhere else, and never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

fn main() -> Vec<String> {
    vec!["main".into()]
}

fn kiln_toml() -> Vec<String> {
    vec!["kiln.toml".into()]
}

/// Why a source is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Its forge told of a push: what changed by it is built.
    Push,
    /// Its schedule's time came: everything is built.
    Schedule,
    /// Somebody asked for it: everything is built.
    Hand,
}

impl Origin {
    /// Returns the name in the API and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Schedule => "schedule",
            Self::Hand => "hand",
        }
    }
}

/// How far a push has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PushState {
    /// It is to be looked at, or looked at again.
    Waiting,
    /// Its recipes are builds now.
    Done,
    /// It could not be fetched, or a recipe has mistakes.
    Failed,
}

impl PushState {
    /// Returns the name in the API and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// A line of a source's list of pushes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Push {
    pub id: PushId,
    pub origin: Origin,
    pub branch: String,
    /// The commit; none: the branch's last, when it is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    pub created: i64,
    pub state: PushState,
    pub attempts: u32,
    /// When it is looked at again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
    /// Why it could not be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The recipes that changed by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipes: Vec<PushedRecipe>,
}

/// What became of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PushedRecipe {
    /// Its path in the repository.
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// Why it is no build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Its mistakes, each with its place, as `kiln check --json` prints them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub diagnostics: Vec<serde_json::Value>,
}

/// What a forge is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Told {
    /// What becomes of it; none: nothing is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushId>,
    /// Why nothing is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored: Option<String>,
}

/// Which branch is to be built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPush {
    pub branch: String,
}
