//! Schedules: when a source's branch is built whether or not anything changed, and when a build of a project is submitted again.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BuildId, Name, ScheduleId};

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

/// Times at which a project's newest build of a name is submitted again: its recipe and its files, as they were sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Repeat {
    pub id: ScheduleId,
    /// What builds are called, of which the newest is meant.
    pub name: String,
    /// Whose its builds are, for as long as they may build there.
    pub owner: Name,
    /// Whether each build takes the packages of the lock that was sent along, and not those of its day.
    pub keep_lock: bool,
    /// Minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// The time zone of these, as `Europe/Helsinki`.
    pub zone: String,
    pub enabled: bool,
    pub created: i64,
    /// When it submits next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
    /// When its time came last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<i64>,
    /// What it submitted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// Why it submitted nothing when its time came last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRepeat {
    /// What the build is called; one of this name is there already.
    pub name: String,
    /// Whether each build takes the packages of the lock that was sent along. Where it does not say, those of its day.
    #[serde(default)]
    pub keep_lock: bool,
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
