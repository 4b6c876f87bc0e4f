//! A difference for people: grouped, counted, the long lists cut unless all is asked for.

use std::fmt::{self, Display, Write as _};

use super::{Change, Diff, FileDiff, Named, PartitionDiff, SizeDiff, What};
use crate::view::UnitState;

/// How many lines of a list are shown when not all are.
const SHOWN: usize = 20;
/// How many directories are.
const DIRECTORIES: usize = 10;

/// What differs of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `packages`, `units`, `partitions`, `files` or `directories`.
    pub title: &'static str,
    /// How many; empty for directories.
    pub counts: String,
    /// Lines that belong together; each begins with `+`, `-` or `~`, those of directories with their path.
    pub lists: Vec<Vec<String>>,
    /// How many lines of a list are enough at first.
    pub short: usize,
}

/// Returns the difference as text; the empty difference as one line.
pub fn render(diff: &Diff, all: bool) -> String {
    let mut out = String::new();
    if let Some(format) = format(diff) {
        let _ = writeln!(out, "format: {format}");
    }
    if diff.is_empty() {
        out.push_str("no differences\n");
        return out;
    }
    for Group { title, counts, lists, short } in groups(diff, all) {
        let _ = writeln!(out, "{}", format!("{title}: {counts}").trim_end());
        lists.iter().for_each(|lines| list(&mut out, lines, if all { usize::MAX } else { short }));
    }
    out
}

/// Returns the formats where they differ.
pub fn format(diff: &Diff) -> Option<String> {
    let Some(Change { before: Some(before), after: Some(after) }) = &diff.format else { return None };
    Some(format!("{before} → {after}"))
}

/// Returns what differs, kind by kind; kinds without a difference are left out. With `all`, files that differ only in their time are
/// among the lines.
pub fn groups(diff: &Diff, all: bool) -> Vec<Group> {
    let groups = [
        named("packages", &diff.packages),
        named("units", &diff.units),
        partitions(&diff.partitions),
        files(&diff.files, all),
        sizes(&diff.sizes),
    ];
    groups.into_iter().flatten().collect()
}

impl Display for UnitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enabled => "enabled",
            Self::Masked => "masked",
        })
    }
}

impl What {
    fn of<T>(change: &Change<T>) -> Self {
        match (&change.before, &change.after) {
            (None, _) => Self::Added,
            (_, None) => Self::Removed,
            _ => Self::Changed,
        }
    }

    fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
        }
    }
}

fn named<T: Display>(title: &'static str, items: &[Named<T>]) -> Option<Group> {
    let counts = counts(items.iter().map(|item| What::of(&item.change)));
    let line = |item: &Named<T>| format!("{} {} {}", What::of(&item.change).sign(), item.name, arrow(&item.change));
    (!items.is_empty()).then(|| Group { title, counts, lists: vec![items.iter().map(line).collect()], short: SHOWN })
}

/// Returns `before → after`, or the one there is.
fn arrow<T: Display>(change: &Change<T>) -> String {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => format!("{before} → {after}"),
        (Some(one), None) | (None, Some(one)) => one.to_string(),
        (None, None) => String::new(),
    }
}

fn partitions(partitions: &[PartitionDiff]) -> Option<Group> {
    let line = |partition: &PartitionDiff| {
        let name = if partition.name.is_empty() { String::new() } else { format!(" `{}`", partition.name) };
        format!("{} {}{name}: {}", partition.what.sign(), partition.number, fields(&partition.fields))
    };
    let counts = counts(partitions.iter().map(|partition| partition.what));
    let lists = vec![partitions.iter().map(line).collect()];
    (!partitions.is_empty()).then_some(Group { title: "partitions", counts, lists, short: usize::MAX })
}

fn fields(fields: &[Named<String>]) -> String {
    let said = |field: &Named<String>| match field.name.as_str() {
        // Digests and long attributes say nothing to people beyond that they differ.
        "content" => field.name.clone(),
        name if is_long(&field.change) => name.to_owned(),
        name => match (&field.change.before, &field.change.after) {
            (Some(before), Some(after)) => format!("{name} {before} → {after}"),
            (None, Some(after)) => format!("{name} {after}"),
            (Some(before), None) => format!("no {name} (was {before})"),
            (None, None) => name.to_owned(),
        },
    };
    fields.iter().map(said).collect::<Vec<_>>().join(", ")
}

fn is_long(change: &Change<String>) -> bool {
    [&change.before, &change.after].into_iter().flatten().any(|value| value.len() > 64)
}

fn files(files: &[FileDiff], all: bool) -> Option<Group> {
    let timed = |file: &&FileDiff| file.what == What::Changed && file.fields.iter().all(|field| field.name == "mtime");
    let times = files.iter().filter(timed).count();
    let told: Vec<&FileDiff> = files.iter().filter(|file| all || !timed(file)).collect();
    let mut parts = Vec::new();
    let counted = counts(files.iter().filter(|file| !timed(file)).map(|file| file.what));
    parts.extend((!counted.is_empty()).then_some(counted));
    parts.extend((times > 0).then(|| format!("{times} differ only in time")));
    let grew: i64 = files.iter().map(|file| file.grew).sum();
    let counts = format!("{} ({})", parts.join(", "), signed(grew));
    let list = |what| told.iter().filter(|file| file.what == what).map(|file| line(file, all)).collect();
    let lists = [What::Added, What::Removed, What::Changed].map(list).into();
    (!files.is_empty()).then_some(Group { title: "files", counts, lists, short: SHOWN })
}

fn line(file: &FileDiff, all: bool) -> String {
    // Where something else differs, the time differs as a rule.
    let others: Vec<Named<String>> = file.fields.iter().filter(|field| all || field.name != "mtime").cloned().collect();
    let more = if others.is_empty() { String::new() } else { format!(": {}", fields(&others)) };
    format!("{} {}{more}", file.what.sign(), file.path)
}

fn sizes(sizes: &[SizeDiff]) -> Option<Group> {
    let line = |size: &SizeDiff| {
        let grew = size.after as i64 - size.before as i64;
        format!("{} {} ({} → {})", size.path, signed(grew), bytes(size.before), bytes(size.after))
    };
    let lists = vec![sizes.iter().map(line).collect()];
    (!sizes.is_empty()).then_some(Group { title: "directories", counts: String::new(), lists, short: DIRECTORIES })
}

fn list(out: &mut String, lines: &[String], shown: usize) {
    for line in lines.iter().take(shown) {
        let _ = writeln!(out, "  {}", line.trim_end());
    }
    if lines.len() > shown {
        let _ = writeln!(out, "  … {} more (--all shows them)", lines.len() - shown);
    }
}

fn counts(all: impl Iterator<Item = What> + Clone) -> String {
    let words = [(What::Added, "added"), (What::Removed, "removed"), (What::Changed, "changed")];
    let counted = words.map(|(wanted, word)| (all.clone().filter(|what| *what == wanted).count(), word));
    let said = counted.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    said.collect::<Vec<_>>().join(", ")
}

fn signed(count: i64) -> String {
    let sign = if count < 0 { "-" } else { "+" };
    format!("{sign}{}", bytes(count.unsigned_abs()))
}

/// Returns a number of bytes in the largest unit that leaves a whole number before the point.
fn bytes(count: u64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| count >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", count as f64 / size as f64),
        None => format!("{count} B"),
    }
}
