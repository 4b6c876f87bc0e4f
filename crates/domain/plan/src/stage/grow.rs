//! The last partition takes what the medium has, at first boot.

use kiln_model::Action;
use kiln_model::action::FilesystemKind;
use kiln_recipe::spec::{Disk, PartitionSpec};

use super::openrc::starts;
use crate::Inputs;
use crate::context::{symlink, write, write_mode};

/// systemd-repart(8) grows the partition of a GPT, a unit of ours that of an MBR; `x-systemd.growfs` the filesystem in it. Under
/// OpenRC a service does it all.
pub fn grow(inputs: &Inputs<'_>, disk: &Disk) -> Vec<Action> {
    let Some(last) = disk.last_to_grow().filter(|_| inputs.spec.system.grow) else { return vec![] };
    if inputs.is_apk() {
        return openrc(last);
    }
    if disk.table.has_gpt() { definitions(disk, last) } else { unit(last) }
}

fn openrc(last: &PartitionSpec) -> Vec<Action> {
    let mount = last.mount.as_ref().map_or_else(String::new, ToString::to_string);
    let after = if last.is_root() { "need root\n    after dev\n    before localmount" } else { "need localmount" };
    let resize = match last.filesystem {
        FilesystemKind::Btrfs => format!("btrfs filesystem resize max '{}'", mount.replace('\'', "'\\''")),
        _ => "resize2fs \"/dev/${part##*/}\"".to_owned(),
    };
    let text = include_str!("grow-root.openrc").replace("@AFTER@", after).replace("@RESIZE@", &resize);
    vec![write_mode("/etc/init.d/kiln-grow-root", text, 0o755), starts("boot", &["kiln-grow-root"])]
}

/// Definitions take partitions of their type in the order on the disk, so those before the last one have theirs too; they have
/// nothing free behind them.
fn definitions(disk: &Disk, last: &PartitionSpec) -> Vec<Action> {
    let alike = disk.partitions.iter().filter(|partition| kind(partition) == kind(last));
    let definition = |(at, partition): (usize, &PartitionSpec)| {
        let what = if partition.is_root() { "root" } else { partition.name.as_str() };
        let head = format!("# The {what} takes what the medium has, at first boot.");
        write(
            &format!("/usr/lib/repart.d/5{at}-{}.conf", partition.name),
            format!("{head}\n[Partition]\nType={}\n", kind(partition)),
        )
    };
    alike.enumerate().map(definition).collect()
}

/// Returns a partition's type as repart.d(5) names it.
fn kind(partition: &PartitionSpec) -> &str {
    match partition.role.as_str() {
        role @ ("esp" | "root" | "home" | "srv" | "var" | "swap") => role,
        "boot" => "xbootldr",
        _ => "linux-generic",
    }
}

fn unit(last: &PartitionSpec) -> Vec<Action> {
    let path = "/usr/lib/systemd/system/kiln-grow-root.service";
    let mut text = include_str!("grow-root.service").to_owned();
    if let Some(mount) = last.mount.as_ref().filter(|_| !last.is_root()) {
        let grows = format!("systemd-growfs@{}.service", escaped(mount.relative()));
        text = text.replace("systemd-growfs-root.service", &grows);
    }
    vec![
        write_mode("/usr/lib/kiln/grow-root", include_str!("grow-root.sh"), 0o755),
        write(path, text),
        symlink("/usr/lib/systemd/system/sysinit.target.wants/kiln-grow-root.service", path.to_owned()),
    ]
}

/// Returns a path as it stands in the name of a unit (systemd.unit(5)).
fn escaped(relative: &[u8]) -> String {
    let letter = |byte: &u8| match byte {
        b'/' => "-".to_owned(),
        byte if byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'.') => char::from(*byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    };
    relative.iter().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn paths_in_the_names_of_units() {
        assert_eq!(escaped(b"data"), "data");
        assert_eq!(escaped(b"srv/a-b"), "srv-a\\x2db");
    }
}
