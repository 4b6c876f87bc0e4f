//! Schedules: when a source's branch is built whether or not anything changed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ScheduleId;

/// Times at which a source's branch is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    pub id: ScheduleId,
    pub branch: String,
    /// Minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// The time zone of these, as `Europe/Helsinki`.
    pub zone: String,
    pub enabled: bool,
    pub created: i64,
    /// When it builds next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
    /// When it built last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSchedule {
    pub branch: String,
    /// Five fields, as `30 4 * * mon-fri`; or `@daily`, `@weekly` and their like.
    pub cron: String,
    /// `UTC` where it does not say.
    #[serde(default = "utc")]
    pub zone: String,
}

fn utc() -> String {
    "UTC".into()
}

/// Whether a schedule is to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Enabled {
    pub enabled: bool,
}
