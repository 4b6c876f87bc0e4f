//! Types of partitions under the names of the Discoverable Partitions Specification.

use kiln_model::Arch;
use uuid::{Uuid, uuid};

/// Names and GUIDs.
pub const TYPES: &[(&str, Uuid)] = &[
    ("esp", uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")),
    ("xbootldr", uuid!("bc13c2ff-59e6-4262-a352-b275fd6f7172")),
    ("bios-boot", uuid!("21686148-6449-6e6f-744e-656564454649")),
    // FAT and NTFS of a PC; what other firmware than UEFI reads.
    ("microsoft-basic", uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")),
    ("linux-generic", uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4")),
    ("swap", uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f")),
    ("home", uuid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915")),
    ("srv", uuid!("3b8f8425-20e0-4f3b-907f-1a25a76f98e8")),
    ("var", uuid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d")),
    ("tmp", uuid!("7ec6f557-3bc5-4aca-b293-16ef5df639d1")),
    ("user-home", uuid!("773f91ef-66d4-49b5-bd83-d683bf40ad16")),
    ("root-amd64", uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")),
    ("root-arm64", uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae")),
    ("root-armhf", uuid!("69dad710-2ce4-4e3c-b16c-21a1d49abed3")),
    ("root-i386", uuid!("44479540-f297-41b2-9af7-d131d5f0458a")),
    ("root-ppc64el", uuid!("c31c45e6-3f39-412e-80fb-4809c4980599")),
    ("root-riscv64", uuid!("72ec70a6-cf74-40e6-bd49-4bda08e8f224")),
    ("usr-amd64", uuid!("8484680c-9521-48c6-9c11-b0720656f69e")),
    ("usr-arm64", uuid!("b0e01050-ee5f-4390-949a-9101b17104e9")),
    ("usr-armhf", uuid!("7d0359a3-02b3-4f0a-865c-654403e70625")),
    ("usr-i386", uuid!("75250d76-8cc6-458e-bd66-bd47cc81a812")),
    ("usr-ppc64el", uuid!("15bb03af-77e7-4d4a-b12b-c0d084f7491c")),
    ("usr-riscv64", uuid!("beaec34b-8442-439b-a40b-984381ed097d")),
];

/// Returns the GUID of a type given by name or as a GUID.
pub fn type_guid(name: &str) -> Option<Uuid> {
    TYPES.iter().find(|(known, _)| *known == name).map(|(_, guid)| *guid).or_else(|| name.parse().ok())
}

/// Returns the type of the root partition of `arch`.
pub fn root(arch: Arch) -> Uuid {
    type_guid(&format!("root-{}", kind(arch))).expect("every architecture has a root type")
}

/// Returns the type of the `/usr` partition of `arch`.
pub fn usr(arch: Arch) -> Uuid {
    type_guid(&format!("usr-{}", kind(arch))).expect("every architecture has a usr type")
}

/// 32-bit Arm has one type, however floating-point numbers are passed.
fn kind(arch: Arch) -> Arch {
    if arch == Arch::Armel { Arch::Armhf } else { arch }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_has_its_types_and_none_is_shared() {
        for arch in Arch::ALL {
            assert_ne!(root(arch), usr(arch));
        }
        let mut guids: Vec<_> = TYPES.iter().map(|(_, guid)| guid).collect();
        guids.sort();
        guids.dedup();
        assert_eq!(guids.len(), TYPES.len());
        assert_eq!(type_guid("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"), type_guid("esp"));
        assert_eq!(type_guid("espp"), None);
    }
}
