//! Ids with types: a build's never passes for a task's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, format = Uuid)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

id!(
    /// A build: what was submitted at once.
    BuildId
);
id!(
    /// A task: what one node does.
    TaskId
);
id!(
    /// A node, for as long as its credential.
    NodeId
);
id!(
    /// An API token.
    TokenId
);
id!(
    /// A person's account.
    UserId
);

id!(
    /// A webhook.
    HookId
);
id!(
    /// What a webhook is told once.
    DeliveryId
);
id!(
    /// A source: a git repository with recipes.
    SourceId
);
id!(
    /// A schedule of a source or of a project.
    ScheduleId
);
id!(
    /// What a source was told once.
    PushId
);

/// A name of a project, user, node or token: 1 to 63 lowercase letters, digits, `-`, `_` and `.`, not beginning with a sign.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, pattern = "^[a-z0-9][a-z0-9._-]{0,62}$")]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no name: 1 to 63 lowercase letters, digits, `-`, `_` and `.`, a letter or digit first")]
pub struct NotAName(String);

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let bytes = text.as_bytes();
        let sound = bytes.first().is_some_and(|c| plain(*c)) && bytes.iter().all(|c| plain(*c) || b"._-".contains(c));
        (sound && bytes.len() <= 63).then(|| Self(text.to_owned())).ok_or_else(|| NotAName(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A name of an environment variable, and of the secret that stands in its place: letters, digits and `_`, no digit first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, pattern = "^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
pub struct Variable(String);

impl Variable {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no name of a variable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{}` is no name of a variable: 1 to 128 letters, digits and `_`, no digit first", .0.escape_debug())]
pub struct NotAVariable(String);

impl FromStr for Variable {
    type Err = NotAVariable;

    fn from_str(text: &str) -> Result<Self, NotAVariable> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        let sound = text.bytes().next().is_some_and(|c| plain(c) && !c.is_ascii_digit()) && text.bytes().all(plain);
        (sound && text.len() <= 128).then(|| Self(text.to_owned())).ok_or_else(|| NotAVariable(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_variable() {
        for (text, is) in
            [("WIFI_PSK", true), ("_a9", true), ("", false), ("9A", false), ("A-B", false), ("A=B", false)]
        {
            assert_eq!(text.parse::<Variable>().is_ok(), is, "{text}");
        }
        assert!("A".repeat(129).parse::<Variable>().is_err());
    }

    #[test]
    fn what_is_a_name() {
        for (text, is) in [("edge", true), ("a.b-c_9", true), ("", false), ("-a", false), ("A", false), ("a/b", false)]
        {
            assert_eq!(text.parse::<Name>().is_ok(), is, "{text}");
        }
        assert!("a".repeat(64).parse::<Name>().is_err());
    }
}
