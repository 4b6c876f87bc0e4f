//! Mender artifacts, format version 3: a root filesystem with what a device must know before it takes it.
//!
//! Source: mender-artifact, `Documentation/artifact-format-v3.md`. An artifact is a tar archive of `version`, `manifest`,
//! `header.tar.gz` and `data/0000.tar.gz`, in this order. The header tells what the data are; the manifest has the digest of each,
//! for data that of the file inside.

use kiln_model::{Digest, Extents};
use serde_json::{Value, json};

use crate::tar;

/// What a device compares with itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label<'l> {
    /// The software's name: what a device says it runs once it has taken the artifact.
    pub name: &'l str,
    /// Devices of another type refuse it.
    pub device_type: &'l str,
}

/// The root filesystem in an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'p> {
    /// What the file is called inside: `root.ext4`.
    pub file: &'p str,
    /// SHA-256 of the file itself.
    pub sha256: Digest,
}

const VERSION: &str = r#"{"format":"mender","version":3}"#;

/// Returns what `data/0000.tar.gz` unpacks to.
pub fn data(file: &str, image: Extents, epoch: i64) -> Extents {
    tar::files(vec![(file, image)], epoch)
}

/// Returns what `header.tar.gz` unpacks to.
pub fn header(label: &Label<'_>, payload: &Payload<'_>, epoch: i64) -> Extents {
    let members = [
        ("header-info", header_info(label).to_string()),
        ("headers/0000/type-info", type_info(label, payload).to_string()),
        // A root filesystem has no further data about itself.
        ("headers/0000/meta-data", String::new()),
    ];
    tar::files(members.map(|(name, text)| (name, plain(text.into_bytes()))).into(), epoch)
}

/// Returns `manifest`, in the form of sha256sum(1); `header` is the compressed one.
pub fn manifest(header: &[u8], payload: &Payload<'_>) -> String {
    let line = |sha256: Digest, name: &str| format!("{sha256}  {name}\n");
    let data = line(payload.sha256, &format!("data/0000/{}", payload.file));
    data + &line(Digest::of(header), "header.tar.gz") + &line(Digest::of(VERSION), "version")
}

/// Returns the artifact of a compressed header and compressed data.
pub fn artifact(manifest: &str, header: Vec<u8>, data: Extents, epoch: i64) -> Extents {
    let text = |text: &str| plain(text.as_bytes().to_vec());
    let head = [("version", text(VERSION)), ("manifest", text(manifest)), ("header.tar.gz", plain(header))];
    tar::files(head.into_iter().chain([("data/0000.tar.gz", data)]).collect(), epoch)
}

fn plain(bytes: Vec<u8>) -> Extents {
    let mut extents = Extents { size: bytes.len() as u64, list: Vec::new() };
    extents.bytes(0, bytes);
    extents
}

/// Keys stand in the order of letters, which a map that keeps their order and one that sorts them both write.
fn header_info(label: &Label<'_>) -> Value {
    json!({
        "artifact_depends": { "device_type": [label.device_type] },
        "artifact_provides": { "artifact_name": label.name },
        "payloads": [{ "type": "rootfs-image" }],
    })
}

/// A root replaces whatever was known of the one before, deltas and groups too.
fn type_info(label: &Label<'_>, payload: &Payload<'_>) -> Value {
    json!({
        "artifact_provides": {
            "rootfs-image.checksum": payload.sha256.to_string(),
            "rootfs-image.version": label.name,
        },
        "clears_artifact_provides": ["artifact_group", "rootfs_image_checksum", "rootfs-image.*"],
        "type": "rootfs-image",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two documents as mender-artifact 3.9 reads and writes them.
    #[test]
    fn the_headers_documents() {
        let label = Label { name: "release-1", device_type: "raspberrypi3" };
        let payload = Payload { file: "root.ext4", sha256: Digest::of("") };
        let sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(
            header_info(&label).to_string(),
            "{\"artifact_depends\":{\"device_type\":[\"raspberrypi3\"]},\
             \"artifact_provides\":{\"artifact_name\":\"release-1\"},\"payloads\":[{\"type\":\"rootfs-image\"}]}"
        );
        assert_eq!(
            type_info(&label, &payload).to_string(),
            format!(
                "{{\"artifact_provides\":{{\"rootfs-image.checksum\":\"{sum}\",\"rootfs-image.version\":\"release-1\"}},\
                 \"clears_artifact_provides\":[\"artifact_group\",\"rootfs_image_checksum\",\"rootfs-image.*\"],\
                 \"type\":\"rootfs-image\"}}"
            )
        );
        assert_eq!(
            manifest(b"", &payload),
            format!(
                "{sum}  data/0000/root.ext4\n{sum}  header.tar.gz\n\
                 96bcd965947569404798bcbdb614f103db5a004eb6e364cfc162c146890ea35b  version\n"
            )
        );
    }
}
