//! GRUB, by which a PC with a BIOS starts what systemd-boot starts under UEFI: the same kernels by the same entries.
//!
//! Its core image finds the EFI system partition and reads `grub/grub.cfg` there. GRUB of Debian does not read the entries of
//! the Boot Loader Specification, so a plugin of kernel-install(8) says them again in GRUB's words: once when the image is
//! made, and on the device whenever a kernel comes or goes. Which of them starts is said in `loader.conf`, under both. Nothing of
//! GRUB itself is installed in the image.

use kiln_model::action::{Bios, TableKind};
use kiln_model::{Action, RunIn};
use kiln_recipe::spec::{BoardSpec, Disk};

use super::boot::{cmdline, filesystem_id};
use super::script_environment;
use crate::Inputs;
use crate::context::{write, write_mode};

/// Disks, tables and FAT; the configuration's language with patterns; Linux; consoles; a little for whoever must help himself.
const MODULES: &str = "biosdisk part_gpt part_msdos fat search_fs_uuid normal configfile eval test regexp echo sleep keystatus linux \
                       serial terminal ls cat halt reboot";

const PLUGIN: &str = "/usr/lib/kernel/install.d/95-kiln-grub.install";

/// Returns what GRUB's core image is made of, where the board has a BIOS.
pub fn core(inputs: &Inputs<'_>, disk: &Disk) -> Option<Bios> {
    let board = inputs.spec.base.board.as_ref().filter(|board| board.bios)?;
    let (at, esp) = disk.partitions.iter().enumerate().find(|(_, partition)| partition.role == "esp")?;
    let (id, table) = (filesystem_id(inputs, esp), if disk.table == TableKind::Mbr { "msdos" } else { "gpt" });
    let mut lines = terminals(&cmdline(inputs, disk, board));
    lines.push(format!("search.fs_uuid {id} root hd0,{table}{}", at + 1));
    lines.push("set prefix=($root)/grub".into());
    let message = format!("The partition {id} with grub/grub.cfg is not to be found.");
    lines.push(format!("eval 'if [ ! -f $prefix/grub.cfg ]; then echo \"{message}\"; fi'"));
    let modules = MODULES.split_whitespace().map(str::to_owned).collect();
    Some(Bios { id: inputs.uuid("partition bios"), modules, config: lines.join("\n") + "\n" })
}

/// Returns what GRUB and the plugin need in the tree. Comes after the entries are written.
pub fn files(inputs: &Inputs<'_>, esp: &str, board: &BoardSpec) -> Vec<Action> {
    if !board.bios {
        return vec![];
    }
    let entries = Action::Run {
        name: "entries for GRUB".into(),
        r#in: RunIn::Target,
        argv: [PLUGIN, "add"].map(str::to_owned).into(),
        env: script_environment(inputs.epoch()),
        stdin: None,
        files: None,
    };
    vec![
        write(&format!("{esp}/grub/grub.cfg"), include_str!("grub.cfg")),
        write_mode(PLUGIN, include_str!("grub-entries.sh").replace("@ESP@", esp), 0o755),
        entries,
    ]
}

/// GRUB talks where the kernel does: on the screen, and on the last serial port that is named as a console.
fn terminals(cmdline: &str) -> Vec<String> {
    let Some((unit, speed)) = cmdline.split(' ').rev().find_map(serial) else { return vec![] };
    let serial = format!("serial --unit={unit} --speed={speed}");
    [&serial, "terminal_input console serial", "terminal_output console serial"].map(str::to_owned).into()
}

/// Reads `console=ttyS0,115200n8`; 9600 is what the kernel takes where nothing is said.
fn serial(word: &str) -> Option<(u32, u32)> {
    let rest = word.strip_prefix("console=ttyS")?;
    let (unit, mode) = rest.split_once(',').unwrap_or((rest, "9600"));
    let digits = mode.find(|c: char| !c.is_ascii_digit()).unwrap_or(mode.len());
    Some((unit.parse().ok()?, mode[..digits].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grub_talks_where_the_kernel_does() {
        let serial = |cmdline| terminals(cmdline).first().cloned().unwrap_or_default();
        assert_eq!(serial("ro console=tty0 console=ttyS1,115200n8"), "serial --unit=1 --speed=115200");
        assert_eq!(serial("console=ttyS0 console=tty0"), "serial --unit=0 --speed=9600");
        assert_eq!(terminals("quiet console=tty0"), [""; 0]);
    }
}
