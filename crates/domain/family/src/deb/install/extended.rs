//! `/var/lib/apt/extended_states`: which packages came only because others need them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::deb::deb822;
use crate::deb::package::Stanza;

/// Returns the text after `packages` (name and architecture) were installed of which only `asked` were asked for.
///
/// `native` stands in for the architecture `all`, as apt has it.
pub fn states<'a>(
    existing: &str,
    packages: impl IntoIterator<Item = (&'a str, &'a str)>,
    asked: &BTreeSet<(&str, &str)>,
    native: &str,
) -> Result<String, deb822::Error> {
    let mut automatic = BTreeSet::new();
    for paragraph in deb822::parse(existing)? {
        let stanza = Stanza::from(&paragraph);
        if let (Some(name), Some(arch), Some("1")) =
            (stanza.get("Package"), stanza.get("Architecture"), stanza.get("Auto-Installed"))
        {
            automatic.insert((name.to_owned(), arch.to_owned()));
        }
    }
    for (name, arch) in packages {
        let entry = (name.to_owned(), if arch == "all" { native } else { arch }.to_owned());
        if asked.contains(&(name, arch)) {
            automatic.remove(&entry);
        } else {
            automatic.insert(entry);
        }
    }
    let mut text = String::new();
    for (name, arch) in automatic {
        writeln!(text, "Package: {name}\nArchitecture: {arch}\nAuto-Installed: 1\n").expect("strings take everything");
    }
    Ok(text)
}
