//! What a tree's files say of packages and units.

use std::collections::BTreeMap;

use kiln_family::apk::install::installed;
use kiln_model::tree::{Body, Place};
use kiln_model::view::UnitState;
use kiln_model::{GuestPath, Kind, Tree};

/// Where dpkg keeps what is installed; a folder of such files in trees without dpkg.
const STATUS: &str = "/var/lib/dpkg/status";
const STATUS_FOLDER: &str = "/var/lib/dpkg/status.d";
/// Where apk does; below `/usr` in trees whose `/lib` is a link.
const APKS: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];
const UNITS: &str = "/etc/systemd/system";

/// Returns whether a file's content is needed for the facts.
pub(super) fn wanted(path: &GuestPath) -> bool {
    let bytes = path.as_bytes();
    bytes == STATUS.as_bytes()
        || is_apks(path)
        || (bytes.starts_with(STATUS_FOLDER.as_bytes()) && !bytes.ends_with(b".md5sums"))
}

fn is_apks(path: &GuestPath) -> bool {
    APKS.iter().any(|known| known.as_bytes() == path.as_bytes())
}

/// Returns the installed packages: name (with `:arch` where another architecture's of the same name is there) → version.
pub(super) fn of_packages(tree: &Tree) -> BTreeMap<String, String> {
    let listed = |entry: &kiln_model::Entry| match &entry.kind {
        Kind::File(Body { place: Place::Inline(bytes), .. }) if is_apks(&entry.path) => apks(bytes),
        Kind::File(Body { place: Place::Inline(bytes), .. }) if wanted(&entry.path) => packages(bytes),
        _ => BTreeMap::new(),
    };
    tree.entries.iter().flat_map(listed).collect()
}

/// Reads apk's database; one that is damaged names no package, and differs as a file.
fn apks(database: &[u8]) -> BTreeMap<String, String> {
    let records = installed::parse(database).unwrap_or_default();
    records.into_iter().map(|record| (record.info.name, record.info.version)).collect()
}

/// Reads a dpkg status file; packages that are not unpacked (removed, configuration left) do not count.
pub(super) fn packages(status: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(status);
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            let mut lines = paragraph.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let (Some(name), Some(version)) = (field("Package"), field("Version")) else { continue };
        // Trees without dpkg leave the state out.
        let absent =
            field("Status").is_some_and(|status| status.ends_with("not-installed") || status.ends_with("config-files"));
        if absent {
            continue;
        }
        let key = match field("Architecture") {
            Some(arch) if found.contains_key(name) => format!("{name}:{arch}"),
            _ => name.to_owned(),
        };
        found.insert(key, version.to_owned());
    }
    found
}

/// Returns what links below `/etc/systemd/system` say: enabled by being wanted or required or by an alias, masked by
/// `/dev/null`.
pub(super) fn of_units(tree: &Tree) -> BTreeMap<String, UnitState> {
    let folder = GuestPath::new(UNITS).expect("a good path");
    let mut units = BTreeMap::new();
    for entry in tree.entries.iter().filter(|entry| entry.path.is_under(&folder)) {
        let Kind::Symlink(target) = &entry.kind else { continue };
        let name = String::from_utf8_lossy(entry.path.name()).into_owned();
        let parent = entry.path.parent().unwrap_or_else(GuestPath::root);
        let wanted = parent.as_bytes().ends_with(b".wants") || parent.as_bytes().ends_with(b".requires");
        if target == b"/dev/null" && parent == folder {
            units.insert(name, UnitState::Masked);
        } else if wanted || parent == folder {
            units.entry(name).or_insert(UnitState::Enabled);
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_are_gone_do_not_count() {
        let status = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nDescription: x\n y\n\n\
                      Package: a\nStatus: install ok installed\nArchitecture: i386\nVersion: 1\n\n\
                      Package: b\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 2\n\n\
                      Package: c\nVersion: 3:4-5\n";
        let wanted =
            [("a", "1"), ("a:i386", "1"), ("c", "3:4-5")].map(|(name, version)| (name.to_owned(), version.to_owned()));
        assert_eq!(packages(status.as_bytes()), wanted.into());
    }

    #[test]
    fn links_say_what_is_enabled_and_masked() {
        let link = |path: &str, target: &str| {
            let mut entry = kiln_model::Entry::dir(path.parse().unwrap(), 0o777, 0);
            entry.kind = Kind::Symlink(target.into());
            entry
        };
        let tree = Tree {
            entries: vec![
                link("/etc/systemd/system/cups.service", "/dev/null"),
                link("/etc/systemd/system/multi-user.target.wants/ssh.service", "/usr/lib/systemd/system/ssh.service"),
                link(
                    "/etc/systemd/system/multi-user.target.wants/cups.service",
                    "/usr/lib/systemd/system/cups.service",
                ),
                link("/etc/systemd/system/sshd.service", "/usr/lib/systemd/system/ssh.service"),
                link("/etc/systemd/user/x.service", "/dev/null"),
            ],
        };
        let wanted = [
            ("cups.service", UnitState::Masked),
            ("ssh.service", UnitState::Enabled),
            ("sshd.service", UnitState::Enabled),
        ];
        assert_eq!(of_units(&tree), wanted.map(|(name, state)| (name.to_owned(), state)).into());
    }
}
