//! Who may do what.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, Retention, TokenId, UserId};

/// What a token is good for; what its owner may not do it does not allow either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at builds, logs and artifacts.
    Read,
    /// Submit, cancel and retry.
    Submit,
    /// Everything.
    Admin,
}

impl Scope {
    /// Every scope; each allows what those before it do.
    pub const ALL: [Self; 3] = [Self::Read, Self::Submit, Self::Admin];

    /// Returns the name in the API and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Admin => "admin",
        }
    }
}

/// What a user may do in a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Viewer,
    /// Look, submit, cancel, retry.
    Builder,
    /// The same, and decide who else.
    Owner,
}

impl Role {
    /// Every role; each may do what those before it may.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Builder, Self::Owner];

    /// Returns the name in the API and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Builder => "builder",
            Self::Owner => "owner",
        }
    }
}

/// A project: whose builds share a queue's fairness, and who may see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Project {
    pub name: Name,
    pub created: i64,
    /// Whether everyone who is logged in sees it.
    pub open: bool,
    /// Its share of the farm beside the others.
    pub weight: u32,
    pub members: Vec<Member>,
    /// Which of its builds are kept.
    #[serde(default)]
    pub retention: Retention,
}

/// A user's place in a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    pub user: Name,
    pub role: Role,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    pub name: Name,
    #[serde(default)]
    pub open: bool,
    #[serde(default)]
    pub weight: Option<u32>,
}

/// What is to be different of a project; what it does not say stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangedProject {
    /// Whether everyone who is logged in sees it.
    #[serde(default)]
    pub open: Option<bool>,
    /// Its share of the farm beside the others, 1 to 1000: for administrators.
    #[serde(default)]
    pub weight: Option<u32>,
}

/// Who somebody is at a provider of logins, and whose account that opens here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub user: Name,
    pub issuer: String,
    pub subject: String,
    pub created: i64,
}

/// A person's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    pub id: UserId,
    pub name: Name,
    pub admin: bool,
    pub created: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    pub name: Name,
    /// At least ten characters; without one the account is entered by an invitation.
    #[serde(default)]
    pub password: Option<String>,
    #[serde(default)]
    pub admin: bool,
}

/// A link that logs a user in once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    pub link: String,
    pub expires: i64,
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    pub user: Name,
    pub scopes: BTreeSet<Scope>,
    pub created: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// Told when it is made, and never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    pub name: String,
    pub scopes: BTreeSet<Scope>,
    /// For how long, seconds; for ever where it does not say.
    #[serde(default)]
    pub lasts: Option<u64>,
}
