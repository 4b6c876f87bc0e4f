//! What is in an image, by the SPDX document beside it (SPDX 2.3, JSON), and how that differs from another one's.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, Result};

/// What ends the name of such a document.
pub const ENDING: &str = ".spdx.json";

/// A package in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    /// Of which architecture, where its purl says so.
    pub architecture: String,
    pub version: String,
}

/// What became of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Added { package: Package },
    Removed { package: Package },
    Changed { package: Package, before: String },
}

#[derive(Deserialize)]
struct Document {
    packages: Vec<Described>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    name: String,
    #[serde(default)]
    version_info: Option<String>,
    #[serde(default)]
    external_refs: Vec<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    reference_type: String,
    reference_locator: String,
}

/// Returns the packages that a document lists, in order of their names; what has no version is the image itself.
pub fn packages(document: &[u8]) -> Result<Vec<Package>> {
    let bad = |error: serde_json::Error| Error::bad(format!("the SPDX document cannot be read: {error}"));
    let document: Document = serde_json::from_slice(document).map_err(bad)?;
    let read = |described: Described| {
        let purl = described.external_refs.into_iter().find(|one| one.reference_type == "purl");
        let locator = purl.map(|purl| purl.reference_locator).unwrap_or_default();
        let query = locator.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let architecture = query.split('&').find_map(|pair| pair.strip_prefix("arch=")).unwrap_or_default().to_owned();
        Some(Package { name: described.name, architecture, version: described.version_info? })
    };
    let mut packages: Vec<Package> = document.packages.into_iter().filter_map(read).collect();
    packages.sort_by(|one, other| key(one).cmp(&key(other)));
    Ok(packages)
}

/// Returns how packages differ from those before, in order of their names.
pub fn changes(before: &[Package], now: &[Package]) -> Vec<Change> {
    let mut old: BTreeMap<_, &Package> = before.iter().map(|package| (key(package), package)).collect();
    let mut changes = vec![];
    for package in now {
        match old.remove(&key(package)) {
            None => changes.push(Change::Added { package: package.clone() }),
            Some(known) if known.version != package.version => {
                changes.push(Change::Changed { package: package.clone(), before: known.version.clone() });
            }
            Some(_) => {}
        }
    }
    changes.extend(old.into_values().map(|package| Change::Removed { package: package.clone() }));
    changes.sort_by(|one, other| key(one.package()).cmp(&key(other.package())));
    changes
}

impl Change {
    pub fn package(&self) -> &Package {
        match self {
            Self::Added { package } | Self::Removed { package } | Self::Changed { package, .. } => package,
        }
    }
}

fn key(package: &Package) -> (&str, &str) {
    (&package.name, &package.architecture)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(packages: &[(&str, &str)]) -> Vec<u8> {
        let one = |(name, version): &(&str, &str)| {
            let purl = format!("pkg:deb/debian/{name}@{version}?arch=arm64&distro=trixie");
            let purl = serde_json::json!([{ "referenceType": "purl", "referenceLocator": purl }]);
            serde_json::json!({ "name": name, "versionInfo": version, "externalRefs": purl })
        };
        let image = serde_json::json!({ "name": "edge.raw" });
        let packages: Vec<_> = packages.iter().map(one).chain([image]).collect();
        serde_json::json!({ "packages": packages }).to_string().into_bytes()
    }

    #[test]
    fn lists_and_differences() {
        let before = packages(&document(&[("dash", "1"), ("bash", "5.2"), ("acl", "2")])).unwrap();
        let now = packages(&document(&[("bash", "5.3"), ("acl", "2"), ("curl", "8")])).unwrap();
        let package = |name: &str, version: &str| Package {
            name: name.into(),
            architecture: "arm64".into(),
            version: version.into(),
        };
        assert_eq!(now, [package("acl", "2"), package("bash", "5.3"), package("curl", "8")]);
        let wanted = [
            Change::Changed { package: package("bash", "5.3"), before: "5.2".into() },
            Change::Added { package: package("curl", "8") },
            Change::Removed { package: package("dash", "1") },
        ];
        assert_eq!(changes(&before, &now), wanted);
        assert_eq!(changes(&now, &now), []);
        assert_eq!(packages(b"{}").unwrap_err().problem().status, 400);
    }
}
