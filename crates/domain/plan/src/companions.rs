//! Documents beside an artifact: what is in it (SPDX 2.3, CycloneDX 1.6) and how it came to be (in-toto, SLSA v1).
//!
//! Everything in them follows from spec, lock and plan, so that the same lock gives the same documents.

use kiln_family::lock::{Lock, Locked};
use kiln_model::action::Download;
use kiln_model::{Artifact, Digest, Plan};
use kiln_recipe::Spec;
use kiln_recipe::spec::Family;
use serde_json::{Value, json};
use uuid::Uuid;

/// What the documents are made from.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub spec: &'a Spec,
    pub lock: &'a Lock,
    pub plan: &'a Plan,
    pub artifacts: &'a [Artifact],
}

/// Returns the SPDX 2.3 document (spdx.github.io/spdx-spec/v2.3).
pub fn spdx(facts: &Facts<'_>) -> Value {
    let packages = facts.lock.packages.iter().map(|locked| spdx_package(facts, locked));
    let root = facts.artifacts.iter().enumerate().map(|(number, artifact)| spdx_artifact(number, artifact));
    let describes =
        (0..facts.artifacts.len()).map(|number| relation("SPDXRef-DOCUMENT", "DESCRIBES", &artifact_id(number)));
    let downloads = facts.lock.downloads.iter().enumerate().map(|(number, file)| spdx_download(number, file));
    let ids = facts.lock.packages.iter().map(package_id);
    let contains = ids
        .chain((0..facts.lock.downloads.len()).map(download_id))
        .flat_map(|id| (0..facts.artifacts.len()).map(move |number| relation(&artifact_id(number), "CONTAINS", &id)));
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": facts.plan.name,
        "documentNamespace": format!("urn:uuid:{}", document_uuid(facts, "spdx")),
        "creationInfo": { "created": timestamp(facts.plan.epoch), "creators": ["Tool: kiln"] },
        "packages": root.chain(packages).chain(downloads).collect::<Vec<_>>(),
        "relationships": describes.chain(contains).collect::<Vec<_>>(),
    })
}

fn spdx_artifact(number: usize, artifact: &Artifact) -> Value {
    json!({
        "SPDXID": artifact_id(number),
        "name": artifact.name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "checksums": [{ "algorithm": "SHA256", "checksumValue": artifact.sha256.to_string() }],
    })
}

/// A file of the network, under its address.
fn spdx_download(number: usize, file: &Download) -> Value {
    json!({
        "SPDXID": download_id(number),
        "name": file.name(),
        "downloadLocation": file.url,
        "filesAnalyzed": false,
        "primaryPackagePurpose": "FILE",
        "checksums": [{ "algorithm": "SHA256", "checksumValue": file.sha256.to_string() }],
    })
}

fn download_id(number: usize) -> String {
    format!("SPDXRef-Download-{number}")
}

fn spdx_package(facts: &Facts<'_>, locked: &Locked) -> Value {
    json!({
        "SPDXID": package_id(locked),
        "name": locked.name,
        "versionInfo": locked.version,
        "downloadLocation": location(facts, locked),
        "filesAnalyzed": false,
        "primaryPackagePurpose": "INSTALL",
        "checksums": checksum(locked, |sum| json!({ "algorithm": "SHA256", "checksumValue": sum })),
        "sourceInfo": format!("built from {} {}", source(locked).0, source(locked).1),
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": purl(facts, locked),
        }],
    })
}

/// Returns the digest of a package's archive; of what came with a tree no archive was seen.
fn checksum(locked: &Locked, say: impl Fn(String) -> Value) -> Vec<Value> {
    if locked.in_tree { vec![] } else { vec![say(locked.sha256.to_string())] }
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn artifact_id(number: usize) -> String {
    format!("SPDXRef-Artifact-{number}")
}

/// SPDX ids hold letters, digits, dots and hyphens only.
fn package_id(locked: &Locked) -> String {
    let name: String =
        locked.name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    format!("SPDXRef-Package-{name}-{}-{}", locked.architecture, locked.sha256.short())
}

/// Returns the CycloneDX 1.6 document (cyclonedx.org/docs/1.6/json).
pub fn cyclonedx(facts: &Facts<'_>) -> Value {
    let component = |locked: &Locked| {
        let purl = purl(facts, locked);
        json!({
            "type": "library",
            "bom-ref": purl,
            "name": locked.name,
            "version": locked.version,
            "purl": purl,
            "hashes": checksum(locked, |sum| json!({ "alg": "SHA-256", "content": sum })),
        })
    };
    let download = |file: &Download| {
        json!({
            "type": "file",
            "bom-ref": file.url,
            "name": file.name(),
            "hashes": [{ "alg": "SHA-256", "content": file.sha256.to_string() }],
            "externalReferences": [{ "type": "distribution", "url": file.url }],
        })
    };
    let packages = facts.lock.packages.iter().map(component);
    let refs = facts.lock.packages.iter().map(|locked| purl(facts, locked));
    let base = &facts.spec.base;
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", document_uuid(facts, "cyclonedx")),
        "version": 1,
        "metadata": {
            "timestamp": timestamp(facts.plan.epoch),
            "tools": { "components": [{ "type": "application", "name": "kiln" }] },
            "component": {
                "type": "operating-system",
                "bom-ref": facts.plan.name,
                "name": facts.plan.name,
                "version": base.release,
                "description": format!("{} {} ({})", base.distribution, base.codename, base.architecture),
            },
        },
        "components": packages.chain(facts.lock.downloads.iter().map(download)).collect::<Vec<_>>(),
        "dependencies": [{
            "ref": facts.plan.name,
            "dependsOn": refs.chain(facts.lock.downloads.iter().map(|file| file.url.clone())).collect::<Vec<_>>(),
        }],
    })
}

/// Returns the in-toto statement (v1) with SLSA provenance (slsa.dev/spec/v1.0/provenance); unsigned.
pub fn provenance(facts: &Facts<'_>) -> Value {
    let subject =
        |artifact: &Artifact| json!({ "name": artifact.name, "digest": { "sha256": artifact.sha256.to_string() } });
    let material = |locked: &Locked| {
        json!({
            "uri": purl(facts, locked),
            "digest": { "sha256": locked.sha256.to_string() },
            "downloadLocation": location(facts, locked),
        })
    };
    let packages = facts.lock.packages.iter().filter(|locked| !locked.in_tree).chain(&facts.lock.tools);
    let downloads = facts.lock.downloads.iter().map(
        |file| json!({ "uri": file.url, "digest": { "sha256": file.sha256.to_string() }, "downloadLocation": file.url }),
    );
    let tree =
        facts.spec.base.tree.iter().map(
            |tree| json!({ "name": "the tree that is built upon", "digest": { "sha256": tree.digest.to_string() } }),
        );
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": facts.artifacts.iter().map(subject).collect::<Vec<_>>(),
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:kiln:image:1",
                "externalParameters": { "spec": facts.spec },
                "internalParameters": {
                    "plan": facts.plan.digest().to_string(),
                    "lock": facts.plan.lock.to_string(),
                    "epoch": facts.plan.epoch,
                },
                "resolvedDependencies": packages.map(material).chain(downloads).chain(tree).collect::<Vec<_>>(),
            },
            "runDetails": {
                "builder": { "id": "urn:kiln:local", "version": { "kiln": env!("CARGO_PKG_VERSION") } },
            },
        },
    })
}

/// The bytes of a disk as they come to lie on a medium, which are not those of an artifact that is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    pub size: u64,
    pub sha256: Digest,
}

/// Returns an entry for Raspberry Pi Imager's list of systems; none where the board is no Raspberry Pi. `url` is where the artifact is.
///
/// Source: Imager's `os-list-schema.json`, and what it says of customisation. Of the ways it knows to customise a system,
/// those with cloud-init on the FAT understand `cloudinit`; the others nothing.
pub fn os_entry(facts: &Facts<'_>, artifact: &Artifact, whole: Whole, url: &str) -> Option<Value> {
    let base = &facts.spec.base;
    let board = base.board.as_ref()?;
    let device = board.imager.as_ref()?;
    Some(json!({
        "name": facts.plan.name,
        "description": format!("{} {} ({}) for {}", base.distribution, base.release, base.codename, board.name),
        // Imager brings this one itself.
        "icon": "icons/use_custom.png",
        "url": url,
        "extract_size": whole.size,
        "extract_sha256": whole.sha256.to_string(),
        "image_download_size": artifact.size,
        "image_download_sha256": artifact.sha256.to_string(),
        "release_date": &timestamp(facts.plan.epoch)[..10],
        "init_format": if facts.spec.is_set_up_by_imager() { "cloudinit" } else { "none" },
        "devices": [device],
    }))
}

/// Package URL (purl-spec, types `deb` and `apk`).
fn purl(facts: &Facts<'_>, locked: &Locked) -> String {
    let base = &facts.spec.base;
    let (name, version) = (escaped(&locked.name), escaped(&locked.version));
    let (arch, codename) = (&locked.architecture, &base.codename);
    let family = match base.family {
        Family::Deb => "deb",
        Family::Apk => "apk",
    };
    format!("pkg:{family}/{}/{name}@{version}?arch={arch}&distro={codename}", base.distribution)
}

fn escaped(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~');
    text.chars()
        .map(|c| if plain(c) { c.to_string() } else { c.to_string().bytes().map(|b| format!("%{b:02X}")).collect() })
        .collect()
}

fn location(facts: &Facts<'_>, locked: &Locked) -> String {
    // Nobody knows where the one who made the tree had it from.
    let repository = facts.lock.repository(&locked.repository).filter(|_| !locked.in_tree);
    repository.map_or_else(|| "NOASSERTION".into(), |repository| format!("{}/{}", repository.uri, locked.filename))
}

fn source(locked: &Locked) -> (&str, &str) {
    let name = locked.source.as_deref().unwrap_or(&locked.name);
    (name, locked.source_version.as_deref().unwrap_or(&locked.version))
}

fn document_uuid(facts: &Facts<'_>, kind: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{kind} {}", facts.plan.digest()).as_bytes())
}

/// Returns seconds since 1970 as `2026-09-12T07:55:41Z`.
fn timestamp(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}
