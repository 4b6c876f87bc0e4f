//! `Release` files: what a suite is called, when it was made, and the digests of its indexes.

use std::collections::BTreeMap;

use kiln_model::{Digest, Fault};

use super::deb822::{self, Paragraph};

/// A suite's release file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    pub origin: Option<String>,
    pub label: Option<String>,
    pub suite: Option<String>,
    pub codename: Option<String>,
    /// As in `13.7`.
    pub version: Option<String>,
    /// When it was made, in seconds since 1970.
    pub date: Option<i64>,
    /// Until when it may be believed, in seconds since 1970.
    pub valid_until: Option<i64>,
    pub architectures: Vec<String>,
    pub components: Vec<String>,
    /// Whether indexes are also found under `by-hash/SHA256/<digest>`.
    pub acquire_by_hash: bool,
    /// Whether nothing of it is taken unless asked for (priority 1).
    pub not_automatic: bool,
    /// Whether what was once taken from it is upgraded from it (priority 100).
    pub but_automatic_upgrades: bool,
    /// Whether `binary-all` indexes repeat what `binary-<arch>` holds.
    pub no_support_for_architecture_all: bool,
    /// The SHA-256 table, by path below the release file.
    pub files: BTreeMap<String, FileEntry>,
}

/// An index as the release file vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Length in bytes.
    pub size: u64,
    pub sha256: Digest,
}

/// Why a release file cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("release file: {0}")]
    Text(#[from] deb822::Error),
    #[error("release file: `{field}` is `{value}`, which is not a date")]
    Date { field: &'static str, value: String },
    #[error("release file: line `{line}` of its SHA256 table is not `digest size path`")]
    Table { line: String },
    #[error("release file: its SHA256 table names `{path}`, which leaves the suite's folder")]
    Path { path: String },
    #[error("release file: it has no SHA256 table")]
    NoTable,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::upstream(error.to_string()).hint("the mirror is damaged or is not a Debian archive; try another one")
    }
}

impl Release {
    /// Parses the text that a signature covers (see [`super::trust`]).
    pub fn parse(text: &str) -> Result<Self, Error> {
        let paragraph = deb822::parse_one(text)?;
        let text = |name| paragraph.get(name).map(str::to_owned);
        let words =
            |name| paragraph.get(name).unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
        let yes = |name| paragraph.get(name).is_some_and(|value| value.eq_ignore_ascii_case("yes"));
        Ok(Self {
            origin: text("Origin"),
            label: text("Label"),
            suite: text("Suite"),
            codename: text("Codename"),
            version: text("Version"),
            date: date(&paragraph, "Date")?,
            valid_until: date(&paragraph, "Valid-Until")?,
            architectures: words("Architectures"),
            components: words("Components"),
            acquire_by_hash: yes("Acquire-By-Hash"),
            not_automatic: yes("NotAutomatic"),
            but_automatic_upgrades: yes("ButAutomaticUpgrades"),
            no_support_for_architecture_all: paragraph.get("No-Support-for-Architecture-all").is_some(),
            files: table(&paragraph)?,
        })
    }

    /// Whether this is the release file of the suite asked for, by its `Suite` or its `Codename`. A folder with a slash at
    /// its end is a flat repository, no suite, and some small archives do not say what they are: nothing to compare.
    pub fn is_suite(&self, asked: &str) -> bool {
        let nameless = self.suite.is_none() && self.codename.is_none();
        nameless || asked.ends_with('/') || names(asked).any(|name| self.is_called(name, asked))
    }

    /// A pocket of Ubuntu has the codename of its release, and so had Debian's old security suites (`buster/updates`):
    /// neither may pass for the release itself.
    fn is_called(&self, name: &str, asked: &str) -> bool {
        let pocket =
            self.suite.as_ref().and_then(|suite| suite.strip_prefix(name)).is_some_and(|rest| rest.starts_with('-'));
        let called = self.suite.as_deref() == Some(name) || (self.codename.as_deref() == Some(name) && !pocket);
        let updates = !self.components.is_empty() && self.components.iter().all(|name| name.starts_with("updates/"));
        let security = asked.ends_with("-security") || asked.ends_with("/updates");
        called && (security || !updates) && (updates || !asked.ends_with("/updates"))
    }

    /// Returns the package list to fetch for a component and architecture: of the compressions kiln reads, the smallest.
    pub fn packages_index(&self, component: &str, arch: &str) -> Option<(String, FileEntry)> {
        let found = ["xz", "zst", "gz", "bz2"].into_iter().filter_map(|ending| {
            let path = self.packages_path(component, arch, ending);
            self.files.get(&path).map(|entry| (path, *entry))
        });
        let plain = self.packages_path(component, arch, "");
        found.min_by_key(|(_, entry)| entry.size).or_else(|| self.files.get(&plain).map(|entry| (plain, *entry)))
    }

    /// Returns `main/binary-amd64/Packages.xz`; components of the security suites lead with `updates/` in the release file
    /// but not in its table.
    fn packages_path(&self, component: &str, arch: &str, ending: &str) -> String {
        let component = component.strip_prefix("updates/").unwrap_or(component);
        let dot = if ending.is_empty() { "" } else { "." };
        format!("{component}/binary-{arch}/Packages{dot}{ending}")
    }

    /// Whether a component is offered; old security suites write `updates/main` for `main`.
    pub fn has_component(&self, component: &str) -> bool {
        let bare = |name: &str| name.strip_prefix("updates/").unwrap_or(name).to_owned();
        self.components.is_empty() || self.components.iter().any(|name| bare(name) == bare(component))
    }
}

/// Returns what a suite may call itself: `bookworm/tool/7.0`, `bookworm/tool`, `bookworm`.
fn names(asked: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(asked), |name| Some(name.rsplit_once('/')?.0))
}

/// Returns where an index lies under its digest: `main/binary-amd64/by-hash/SHA256/<digest>`.
pub fn by_hash_path(path: &str, sha256: Digest) -> String {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let slash = if folder.is_empty() { "" } else { "/" };
    format!("{folder}{slash}by-hash/SHA256/{sha256}")
}

fn date(paragraph: &Paragraph<'_>, field: &'static str) -> Result<Option<i64>, Error> {
    let read = |value: &str| parse_date(value).ok_or_else(|| Error::Date { field, value: value.to_owned() });
    paragraph.get(field).map(read).transpose()
}

/// Reads `Sat, 12 Sep 2026 07:55:41 UTC`, in seconds since 1970; UTC is the only zone archives may use.
pub fn parse_date(text: &str) -> Option<i64> {
    let text = text.split_once(',').map_or(text, |(_weekday, rest)| rest).trim();
    let time = text.strip_suffix("UTC").or_else(|| text.strip_suffix("GMT")).or_else(|| text.strip_suffix("+0000"))?;
    let time = jiff::civil::DateTime::strptime("%d %b %Y %H:%M:%S", time.trim()).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// Shows seconds since 1970 as `2026-09-12 07:55:41 UTC`.
pub fn show_date(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("{seconds} seconds after 1970"),
    }
}

fn table(paragraph: &Paragraph<'_>) -> Result<BTreeMap<String, FileEntry>, Error> {
    let field =
        paragraph.fields.iter().find(|field| field.name.eq_ignore_ascii_case("SHA256")).ok_or(Error::NoTable)?;
    field.lines().map(table_line).collect()
}

fn table_line(line: &str) -> Result<(String, FileEntry), Error> {
    let wrong = || Error::Table { line: line.to_owned() };
    let mut words = line.split_ascii_whitespace();
    let (Some(sha256), Some(size), Some(path), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(wrong());
    };
    if path.starts_with('/') || path.split('/').any(|part| matches!(part, ".." | "." | "")) {
        return Err(Error::Path { path: path.to_owned() });
    }
    let entry = FileEntry { size: size.parse().map_err(|_| wrong())?, sha256: sha256.parse().map_err(|_| wrong())? };
    Ok((path.to_owned(), entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(extra: &str) -> String {
        let digest = Digest::of("");
        format!(
            "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nAcquire-By-Hash: yes\n\
             Architectures: all amd64\nComponents: main contrib\n{extra}SHA256:\n {digest} 9 main/binary-amd64/Packages\n \
             {digest}       5 main/binary-amd64/Packages.gz\n {digest} 4 main/binary-amd64/Packages.xz\n"
        )
    }

    #[test]
    fn reads_what_matters() {
        let release =
            Release::parse(&sample("NotAutomatic: yes\nValid-Until: Sat, 19 Sep 2026 07:55:41 UTC\n")).unwrap();
        assert_eq!(release.codename.as_deref(), Some("trixie"));
        assert_eq!(release.date, Some(1_789_199_741));
        assert_eq!(release.valid_until, Some(1_789_199_741 + 7 * 86_400));
        assert!(release.acquire_by_hash && release.not_automatic && !release.but_automatic_upgrades);
        let (path, entry) = release.packages_index("main", "amd64").unwrap();
        assert_eq!((path.as_str(), entry.size), ("main/binary-amd64/Packages.xz", 4));
        assert_eq!(release.packages_index("main", "arm64"), None);
        assert_eq!(by_hash_path("a/b", Digest::of("")), format!("a/by-hash/SHA256/{}", Digest::of("")));
    }

    #[test]
    fn refuses_what_it_cannot_trust() {
        let digest = Digest::of("");
        let cases = [
            ("A: 1\n".to_owned(), "release file: it has no SHA256 table"),
            (sample("Valid-Until: tomorrow\n"), "release file: `Valid-Until` is `tomorrow`, which is not a date"),
            (format!("SHA256:\n {digest} 5\n"), "release file: line"),
            (
                format!("SHA256:\n {digest} 5 ../x\n"),
                "release file: its SHA256 table names `../x`, which leaves the suite's folder",
            ),
            (format!("SHA256:\n {digest} 5 /x\n"), "release file: its SHA256 table names `/x`"),
            ("A: 1\n\nB: 2\n".to_owned(), "release file: expected one stanza, found 2"),
        ];
        for (text, wanted) in cases {
            let error = Release::parse(&text).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn a_release_file_is_that_of_its_suite_only() {
        // As the archives have it: suite, codename, components; what may ask for it; what may not.
        type Row = (&'static str, &'static str, &'static str, &'static [&'static str], &'static [&'static str]);
        let debian = "main contrib";
        let rows: &[Row] = &[
            (
                "stable",
                "trixie",
                debian,
                &["trixie", "stable"],
                &["trixie-security", "trixie-updates", "bookworm", "sid"],
            ),
            ("oldstable", "bookworm", debian, &["bookworm"], &["bookworm/updates", "stable", "bookworm-backports"]),
            ("stable-updates", "trixie-updates", debian, &["trixie-updates", "stable-updates"], &["trixie", "stable"]),
            ("stable-backports", "trixie-backports", debian, &["trixie-backports"], &["trixie", "trixie-updates"]),
            (
                "stable-security",
                "trixie-security",
                "updates/main updates/contrib",
                &["trixie-security", "stable-security"],
                &["trixie", "stable", "bookworm-security", "trixie/updates"],
            ),
            ("oldstable", "buster", "updates/main", &["buster/updates"], &["buster", "bullseye/updates"]),
            ("oldstable", "buster", debian, &["buster"], &["buster/updates"]),
            ("unstable", "sid", debian, &["sid", "unstable"], &["experimental", "trixie"]),
            ("noble", "noble", "main universe", &["noble"], &["noble-updates", "noble-security", "jammy"]),
            ("noble-updates", "noble", "main universe", &["noble-updates"], &["noble", "noble-security"]),
            ("noble-security", "noble", "main universe", &["noble-security"], &["noble", "noble-updates"]),
            ("kali-rolling", "kali-rolling", debian, &["kali-rolling"], &["kali-last-snapshot"]),
            ("stable-security", "excalibur-security", debian, &["excalibur-security"], &["excalibur"]),
            ("oldstable", "bookworm", "main contrib rpi", &["bookworm"], &["trixie"]),
            ("", "bookworm-pgdg", "main", &["bookworm-pgdg"], &["bookworm"]),
            ("bookworm", "", "main", &["bookworm/tool/7.0", "bookworm", "./", "x86_64/"], &["trixie/tool/7.0"]),
            ("", "", "", &["stable", "./", "any/thing"], &[]),
        ];
        let name = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        for (suite, codename, components, good, bad) in rows {
            let components = components.split_whitespace().map(str::to_owned).collect();
            let release = Release { suite: name(suite), codename: name(codename), components, ..Release::default() };
            for asked in *good {
                assert!(release.is_suite(asked), "{suite} {codename} is `{asked}`");
            }
            for asked in *bad {
                assert!(!release.is_suite(asked), "{suite} {codename} is not `{asked}`");
            }
        }
    }

    #[test]
    fn dates_in_the_spellings_archives_use() {
        for text in ["Thu, 01 Jan 1970 00:01:00 UTC", "Thu, 1 Jan 1970 00:01:00 GMT", "Thu, 01 Jan 1970 00:01:00 +0000"]
        {
            assert_eq!(parse_date(text), Some(60), "{text}");
        }
        assert_eq!(parse_date("Thu, 01 Jan 1970 00:01:00 +0200"), None);
        assert_eq!(show_date(60), "1970-01-01 00:01:00 UTC");
    }
}
