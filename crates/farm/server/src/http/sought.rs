//! What people look for in a log: a text, a stage, a task, a time.

use kiln_farm_api::{BuildId, Entry, Page, TaskId, What};
use kiln_model::{EventKind, StageKind};

use super::events::words;
use crate::db::{Like, Wanted};
use crate::error::{Error, Result};
use crate::farm::Farm;

/// What entries must be like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sought {
    /// A text in what they say to people, whatever its case.
    pub text: Option<String>,
    pub stage: Option<StageKind>,
    pub task: Option<TaskId>,
    /// Not before this time, milliseconds since 1970.
    pub since: Option<i64>,
}

/// Which part of a log, of the entries that are sought.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part {
    pub after: u64,
    /// Only the last so many.
    pub tail: Option<u64>,
    /// No more than so many.
    pub limit: u64,
}

/// How many entries are read from the database at once where not all of them are wanted.
const BATCH: u64 = 2000;

impl Sought {
    /// Whether every entry will do.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is like this.
    pub fn takes(&self, entry: &Entry) -> bool {
        self.task.is_none_or(|task| entry.task == Some(task))
            && self.since.is_none_or(|since| entry.at >= since)
            && self.stage.is_none_or(|wanted| stage(&entry.what) == Some(wanted))
            && self.text.as_ref().is_none_or(|text| {
                words(&entry.what).is_some_and(|words| words.to_lowercase().contains(&text.to_lowercase()))
            })
    }

    /// Returns what the database may sort out for it.
    fn like(&self) -> Like {
        let task = self.task.map(|task| ("task", task.to_string()));
        let stage = self.stage.map(|stage| ("stage", stage.name().to_owned()));
        let fields: Vec<_> = task.into_iter().chain(stage).collect();
        Like { text: self.text.as_ref().map(|text| Like::text(text)).unwrap_or_default(), exact: Like::fields(&fields) }
    }
}

/// Returns the stage that something happens in.
fn stage(what: &What) -> Option<StageKind> {
    match what {
        What::Build(EventKind::StageStarted { stage, .. })
        | What::Build(EventKind::StageRestored { stage, .. })
        | What::Build(EventKind::StageFinished { stage, .. }) => Some(*stage),
        What::Build(EventKind::Log { stage, .. })
        | What::Build(EventKind::Progress { stage, .. })
        | What::Build(EventKind::Failed { stage, .. }) => *stage,
        _ => None,
    }
}

impl Farm {
    /// Returns the entries of a log that are sought, in order, and how the log stands.
    pub async fn log(&self, build: BuildId, sought: &Sought, part: Part) -> Result<Page> {
        // How it stands first: what is written meanwhile is in the entries, or comes after `last`.
        let (last, ended) = self.db.standing(build).await?;
        let limit = part.tail.map_or(part.limit, |tail| tail.min(part.limit)) as usize;
        let newest = part.tail.is_some();
        let size = if sought.is_all() { limit as u64 } else { BATCH };
        let mut wanted = Wanted { after: part.after, before: None, newest, like: sought.like(), limit: size };
        let mut entries: Vec<Entry> = vec![];
        while entries.len() < limit {
            let told = self.db.told(build, &wanted).await?;
            let (Some(first), Some(end)) = (told.first(), told.last()) else { break };
            if newest {
                wanted.before = Some(first.seq);
            } else {
                wanted.after = end.seq;
            }
            let read = told.iter().map(|told| serde_json::from_str::<Entry>(&told.json));
            let mut read = read.collect::<Result<Vec<_>, _>>().map_err(|error| Error::failed("read a log", error))?;
            read.retain(|entry| sought.takes(entry));
            if newest {
                read.extend(entries);
            } else {
                read.splice(..0, entries);
            }
            entries = read;
            if (told.len() as u64) < size {
                break;
            }
        }
        let spare = entries.len().saturating_sub(limit);
        if newest {
            entries.drain(..spare);
        } else {
            entries.truncate(limit);
        }
        Ok(Page { entries, last, ended })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_farm_api::FarmEvent;

    #[test]
    fn what_is_taken() {
        let line = |stage, line: &str| What::Build(EventKind::Log { stage, source: "dpkg".into(), line: line.into() });
        let entry = |what| Entry { seq: 1, at: 10, task: None, epoch: None, what };
        let packages = || entry(line(Some(StageKind::Packages), "Setting up \u{1b}[1mBASH\u{1b}[0m"));
        let ann = || entry(What::Farm(FarmEvent::Submitted { by: "ann".into() }));
        let text = |text: &str| Sought { text: Some(text.into()), ..Sought::default() };
        let cases = [
            (Sought::default(), true, true),
            (text("bash"), true, false),
            (text("[dpkg] set"), true, false),
            (text("setting up bash"), true, false),
            (text("source"), false, false),
            (text("submitted by"), false, true),
            (Sought { stage: Some(StageKind::Packages), ..Sought::default() }, true, false),
            (Sought { since: Some(10), ..Sought::default() }, true, true),
            (Sought { since: Some(11), ..Sought::default() }, false, false),
        ];
        for (sought, first, second) in cases {
            assert_eq!((sought.takes(&packages()), sought.takes(&ann())), (first, second), "{sought:?}");
        }
    }
}
