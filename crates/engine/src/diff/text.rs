//! A difference for people: grouped, counted, the long lists cut unless all is asked for.

use std::fmt::{self, Display, Write as _};

use super::compare::{Change, Diff, FileDiff, Named, PartitionDiff, SizeDiff, What};
use super::view::UnitState;

/// How many lines of a group are shown when not all are.
const SHOWN: usize = 20;
/// How many directories are.
const DIRECTORIES: usize = 10;

/// Returns the difference as text; the empty difference as one line.
pub fn render(diff: &Diff, all: bool) -> String {
    let mut out = String::new();
    if let Some(Change { before: Some(before), after: Some(after) }) = &diff.format {
        let _ = writeln!(out, "format: {before} → {after}");
    }
    if diff.is_empty() {
        out.push_str("no differences\n");
        return out;
    }
    named(&mut out, "packages", &diff.packages, all);
    named(&mut out, "units", &diff.units, all);
    partitions(&mut out, &diff.partitions);
    files(&mut out, &diff.files, all);
    sizes(&mut out, &diff.sizes, all);
    out
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

fn named<T: Display>(out: &mut String, title: &str, items: &[Named<T>], all: bool) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "{title}: {}", counts(items.iter().map(|item| What::of(&item.change))));
    let lines =
        items.iter().map(|item| format!("{} {} {}", What::of(&item.change).sign(), item.name, arrow(&item.change)));
    list(out, lines, if all { usize::MAX } else { SHOWN });
}

/// Returns `before → after`, or the one there is.
fn arrow<T: Display>(change: &Change<T>) -> String {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => format!("{before} → {after}"),
        (Some(one), None) | (None, Some(one)) => one.to_string(),
        (None, None) => String::new(),
    }
}

fn partitions(out: &mut String, partitions: &[PartitionDiff]) {
    if partitions.is_empty() {
        return;
    }
    let _ = writeln!(out, "partitions: {}", counts(partitions.iter().map(|partition| partition.what)));
    let lines = partitions.iter().map(|partition| {
        let name = if partition.name.is_empty() { String::new() } else { format!(" `{}`", partition.name) };
        format!("{} {}{name}: {}", partition.what.sign(), partition.number, fields(&partition.fields))
    });
    list(out, lines, usize::MAX);
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

fn files(out: &mut String, files: &[FileDiff], all: bool) {
    if files.is_empty() {
        return;
    }
    let timed = |file: &&FileDiff| file.what == What::Changed && file.fields.iter().all(|field| field.name == "mtime");
    let times = files.iter().filter(timed).count();
    let told: Vec<&FileDiff> = files.iter().filter(|file| all || !timed(file)).collect();
    let mut parts = Vec::new();
    let counted = counts(files.iter().filter(|file| !timed(file)).map(|file| file.what));
    parts.extend((!counted.is_empty()).then_some(counted));
    parts.extend((times > 0).then(|| format!("{times} differ only in time")));
    let grew: i64 = files.iter().map(|file| file.grew).sum();
    let _ = writeln!(out, "files: {} ({})", parts.join(", "), signed(grew));
    for what in [What::Added, What::Removed, What::Changed] {
        let lines = told.iter().filter(|file| file.what == what).map(|file| line(file, all));
        list(out, lines, if all { usize::MAX } else { SHOWN });
    }
}

fn line(file: &FileDiff, all: bool) -> String {
    // Where something else differs, the time differs as a rule.
    let others: Vec<Named<String>> = file.fields.iter().filter(|field| all || field.name != "mtime").cloned().collect();
    let more = if others.is_empty() { String::new() } else { format!(": {}", fields(&others)) };
    format!("{} {}{more}", file.what.sign(), file.path)
}

fn sizes(out: &mut String, sizes: &[SizeDiff], all: bool) {
    if sizes.is_empty() {
        return;
    }
    out.push_str("directories:\n");
    let lines = sizes.iter().map(|size| {
        let grew = size.after as i64 - size.before as i64;
        format!("{} {} ({} → {})", size.path, signed(grew), bytes(size.before), bytes(size.after))
    });
    list(out, lines, if all { usize::MAX } else { DIRECTORIES });
}

fn list(out: &mut String, lines: impl Iterator<Item = String>, shown: usize) {
    let lines: Vec<String> = lines.collect();
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
