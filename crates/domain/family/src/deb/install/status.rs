//! `/var/lib/dpkg/status`: stanzas in dpkg's order of fields, sorted by package.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Conffile, ConffileState, Error, Record};
use crate::deb::deb822;
use crate::deb::package::Stanza;

/// The order in which dpkg writes what it knows; other fields follow in their own order.
const ORDER: [&str; 27] = [
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Config-Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
    "Conffiles",
    "Description",
    "Triggers-Pending",
];

/// What `status` says of one package that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    pub stanza: Stanza,
}

impl Installed {
    pub fn name(&self) -> &str {
        self.stanza.get("Package").unwrap_or_default()
    }

    pub fn architecture(&self) -> &str {
        self.stanza.get("Architecture").unwrap_or_default()
    }

    pub fn version(&self) -> &str {
        self.stanza.get("Version").unwrap_or_default()
    }

    /// Whether its files are in the tree: everything but `not-installed` and `config-files`.
    pub fn is_unpacked(&self) -> bool {
        let state = self.stanza.get("Status").and_then(|status| status.split(' ').nth(2));
        !matches!(state, None | Some("not-installed" | "config-files"))
    }

    /// Returns the name dpkg files the package under (see [`crate::deb::package::Control::filed_as`]).
    pub fn filed_as(&self) -> String {
        if self.stanza.get("Multi-Arch") == Some("same") {
            format!("{}:{}", self.name(), self.architecture())
        } else {
            self.name().to_owned()
        }
    }
}

/// Reads a status text.
pub fn parse(text: &str) -> Result<Vec<Installed>, Error> {
    Ok(deb822::parse(text)?.iter().map(|paragraph| Installed { stanza: Stanza::from(paragraph) }).collect())
}

/// Returns the stanza of a package that was just unpacked.
pub fn unpacked(record: &Record) -> Stanza {
    let mut stanza = record.control.stanza.clone();
    stanza.0.retain(|(name, value)| !value.is_empty() && !is(name, "Status") && !is(name, "Conffiles"));
    stanza.0.push(("Status".into(), "install ok unpacked".into()));
    if !record.conffiles.is_empty() {
        stanza.0.push(("Conffiles".into(), conffiles(&record.conffiles)));
    }
    stanza.0.sort_by_key(|(name, _)| ORDER.iter().position(|known| is(name, known)).unwrap_or(ORDER.len()));
    stanza
}

fn is(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

fn conffiles(conffiles: &[Conffile]) -> String {
    let mut text = String::new();
    for conffile in conffiles {
        let word = match conffile.state {
            ConffileState::Placed(md5) => hex(&md5),
            ConffileState::Beside | ConffileState::Missing => "newconffile".to_owned(),
            ConffileState::RemoveOnUpgrade => "newconffile remove-on-upgrade".to_owned(),
        };
        write!(text, "\n {} {word}", conffile.path).expect("strings take everything");
    }
    text
}

/// Returns lowercase hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Puts packages that were just unpacked into an existing status text.
pub fn merge(existing: &str, records: &[Record]) -> Result<String, Error> {
    let mut all: BTreeMap<(String, String), Stanza> = BTreeMap::new();
    for installed in parse(existing)? {
        all.insert((installed.name().to_owned(), installed.architecture().to_owned()), installed.stanza);
    }
    for record in records {
        let key = (record.control.name().to_owned(), record.control.architecture().to_owned());
        all.insert(key, unpacked(record));
    }
    Ok(all.values().map(text).collect())
}

/// Writes one stanza with the blank line after it.
fn text(stanza: &Stanza) -> String {
    let mut text = String::new();
    for (name, value) in &stanza.0 {
        let blank = if value.is_empty() || value.starts_with('\n') { "" } else { " " };
        writeln!(text, "{name}:{blank}{value}").expect("strings take everything");
    }
    text.push('\n');
    text
}
