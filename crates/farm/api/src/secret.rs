//! Secrets of a project: set by its owners, used by its builds, shown to nobody.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Variable;

/// A secret's value; it cannot print itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, min_length = 4, max_length = 65536)]
pub struct Value(pub String);

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A secret as far as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    /// The environment variable in whose place it stands.
    pub name: Variable,
    pub changed: i64,
    /// Who gave it its value.
    pub by: String,
    /// Whether this server cannot read it, for it was kept with a key that this server has not; it is to be set again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreadable: bool,
}

/// What a secret is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSecret {
    pub value: Value,
}

/// What a node says that wants the secrets of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// That of its lease.
    pub epoch: u64,
}

/// The secrets of a task, by the environment variables in whose place they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Values {
    #[schema(value_type = BTreeMap<String, String>)]
    pub values: BTreeMap<Variable, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_print_itself() {
        let values = BTreeMap::from([("WIFI_PSK".parse().unwrap(), Value("correct horse".into()))]);
        let printed = format!("{:?}", Values { values });
        assert!(printed.contains("WIFI_PSK") && !printed.contains("horse"), "{printed}");
    }
}
