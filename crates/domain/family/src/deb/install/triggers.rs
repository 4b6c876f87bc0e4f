//! `/var/lib/dpkg/triggers`: who is interested in what, and what was set off while dpkg did not look.

use std::collections::{BTreeMap, BTreeSet};

use super::{Error, File, Record};
use crate::deb::package::{Interest, Trigger};

const FOLDER: &str = "/var/lib/dpkg/triggers";

/// The trigger files of a tree as texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    /// `File`: interests in paths.
    pub file: String,
    /// Interests in names, by name.
    pub named: BTreeMap<String, String>,
    /// `Unincorp`: what was set off and not yet told to anyone.
    pub unincorp: String,
}

/// Returns the trigger files after `records` were unpacked onto a tree with `existing` ones.
///
/// What the new packages set off is recorded for interests that were there before: packages that are only unpacked hear
/// of nothing, since their `postinst configure` starts from scratch anyway.
pub fn files(existing: &Existing, records: &[Record]) -> Result<Vec<File>, Error> {
    let mut after = Existing { unincorp: activated(existing, records)?, ..existing.clone() };
    for record in records {
        let filed = record.control.filed_as();
        after.forget(&filed);
        for trigger in record.control.triggers()?.iter().filter(|trigger| trigger.interest == Interest::Interested) {
            after.add(&filed, trigger);
        }
    }
    let mut files = vec![
        File::new(&format!("{FOLDER}/File"), after.file),
        File::new(&format!("{FOLDER}/Unincorp"), after.unincorp),
    ];
    files.extend(after.named.into_iter().map(|(name, text)| File::new(&format!("{FOLDER}/{name}"), text)));
    Ok(files)
}

impl Existing {
    fn forget(&mut self, filed: &str) {
        let other = |who: &str| who.trim_end_matches("/noawait") != filed;
        self.file = lines(&self.file, |line| line.rsplit_once(' ').is_some_and(|(_, who)| other(who)));
        self.named.values_mut().for_each(|text| *text = lines(text, other));
    }

    fn add(&mut self, filed: &str, trigger: &Trigger) {
        let options = if trigger.waits { "" } else { "/noawait" };
        if trigger.name.starts_with('/') {
            self.file.push_str(&format!("{} {filed}{options}\n", trigger.name));
        } else {
            self.named.entry(trigger.name.clone()).or_default().push_str(&format!("{filed}{options}\n"));
        }
    }

    /// Returns every trigger somebody is interested in, and whether any of them lets the activator wait.
    fn interests(&self) -> BTreeMap<&str, bool> {
        let mut all = BTreeMap::new();
        let mut add = |name, who: &str| *all.entry(name).or_insert(false) |= !who.ends_with("/noawait");
        self.file.lines().filter_map(|line| line.rsplit_once(' ')).for_each(|(name, who)| add(name, who));
        self.named.iter().for_each(|(name, text)| text.lines().for_each(|who| add(name.as_str(), who)));
        all
    }
}

fn lines(text: &str, keep: impl Fn(&str) -> bool) -> String {
    text.lines().filter(|line| keep(line)).map(|line| format!("{line}\n")).collect()
}

/// Returns the text of `Unincorp`: a trigger and who set it off, `-` for those who do not wait.
fn activated(existing: &Existing, records: &[Record]) -> Result<String, Error> {
    let interests = existing.interests();
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in existing.unincorp.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        if let Some(name) = words.next() {
            all.entry(name).or_default().extend(words);
        }
    }
    for record in records {
        let filed = record.control.filed_as();
        let mut set_off = |name: &str, waits: bool| {
            if let Some(&heard) = interests.get(name) {
                let who = if waits && heard { filed.clone() } else { "-".to_owned() };
                all.entry(name.to_owned()).or_default().insert(who);
            }
        };
        for trigger in record.control.triggers()?.iter().filter(|trigger| trigger.interest == Interest::Activates) {
            set_off(&trigger.name, trigger.waits);
        }
        record.list.iter().for_each(|path| set_off(&path.to_string(), true));
    }
    Ok(all
        .into_iter()
        .map(|(name, who)| format!("{name} {}\n", who.into_iter().collect::<Vec<_>>().join(" ")))
        .collect())
}
