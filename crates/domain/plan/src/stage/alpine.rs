//! How Alpine starts: its kernels keep their names in `/boot`, which is the partition that the firmware reads, so that what is
//! written once starts every kernel that comes later.

use kiln_model::action::FilesystemKind;
use kiln_model::{Action, RunIn};
use kiln_recipe::spec::{BoardSpec, Disk, Loader};

use super::boot::esp;
use super::{openrc, raspi, script_environment};
use crate::Inputs;
use crate::context::{path, write};

/// Where its package has what UEFI runs.
const LOADERS: &str = "/usr/lib/systemd/boot/efi";

/// What mkinitfs puts into the initrd besides, where that is not enough for the root. Its trigger reads this while packages are
/// installed; the package's own file then lies beside it.
pub fn initrd(inputs: &Inputs<'_>) -> Option<Action> {
    let root = inputs.spec.disk.as_ref()?.root()?;
    let text = "features=\"ata base btrfs cdrom ext4 keymap kms mmc nvme raid scsi usb virtio\"\n";
    let needed = root.filesystem == FilesystemKind::Btrfs && inputs.has_kernel();
    needed.then(|| write("/etc/mkinitfs/mkinitfs.conf", text))
}

pub fn loader(inputs: &Inputs<'_>, disk: &Disk, board: &BoardSpec, cmdline: &str) -> Vec<Action> {
    let flavour = board.kernel.strip_prefix("linux-").unwrap_or(&board.kernel);
    let mut actions = openrc::consoles(&consoles(board, cmdline)).to_vec();
    actions.extend(match board.loader {
        Loader::ConfigTxt | Loader::RaspiFirmware => raspi::of_alpine(inputs, flavour, cmdline),
        _ => entries(inputs, disk, board, flavour, cmdline),
    });
    actions
}

/// A Raspberry Pi's port has the name that the kernel gives it: `serial0` is the firmware's.
fn consoles(board: &BoardSpec, cmdline: &str) -> String {
    match board.loader {
        Loader::ConfigTxt | Loader::RaspiFirmware => {
            let port = |word: &&str| word.strip_prefix("console=").is_some_and(|port| port.starts_with("ttyA"));
            let own = cmdline.split(' ').find(port).unwrap_or("console=ttyS0,115200");
            own.to_owned()
        }
        _ => cmdline.to_owned(),
    }
}

/// One entry for systemd-boot, and the same in GRUB's words for a BIOS.
fn entries(inputs: &Inputs<'_>, disk: &Disk, board: &BoardSpec, flavour: &str, cmdline: &str) -> Vec<Action> {
    let (base, esp) = (&inputs.spec.base, esp(disk).to_string());
    let title = format!("{} {}", base.distribution, base.release);
    let (kernel, initrd) = (format!("/vmlinuz-{flavour}"), format!("/initramfs-{flavour}"));
    let mut actions = vec![
        write(&format!("{esp}/loader/loader.conf"), "timeout 0\n"),
        write(&format!("{esp}/loader/entries.srel"), "type1\n"),
        write(
            &format!("{esp}/loader/entries/{}-{flavour}.conf", base.distribution),
            format!(
                "title      {title}\nversion    {flavour}\noptions    {cmdline}\nlinux      {kernel}\ninitrd     {initrd}\n"
            ),
        ),
    ];
    actions.extend(base.architecture.efi().into_iter().flat_map(|efi| programs(inputs, &esp, efi)));
    if board.bios {
        let words: String = cmdline.split(' ').map(|word| format!(" '{}'", word.replace('\'', "'\\''"))).collect();
        actions.push(write(
            &format!("{esp}/grub/grub.cfg"),
            format!(
                "# How GRUB starts this disk under a BIOS.\nset timeout=0\nset timeout_style=hidden\nset gfxpayload=text\n\
                 menuentry '{title}' {{\n    linux {kernel}{words}\n    initrd {initrd}\n}}\n"
            ),
        ));
    }
    actions
}

/// systemd-boot itself, where firmware looks for it.
fn programs(inputs: &Inputs<'_>, esp: &str, efi: &str) -> Vec<Action> {
    let from = format!("{LOADERS}/systemd-boot{efi}.efi");
    let (removable, own) = (format!("{esp}/EFI/BOOT"), format!("{esp}/EFI/systemd"));
    let folders =
        [&removable, &own].map(|folder| Action::Mkdir { path: path(folder), mode: 0o755, owner: Default::default() });
    let to = [format!("{removable}/BOOT{}.EFI", efi.to_uppercase()), format!("{own}/systemd-boot{efi}.efi")];
    let copies = to.map(|to| Action::Run {
        name: "systemd-boot".into(),
        r#in: RunIn::Target,
        argv: vec!["/bin/cp".into(), from.clone(), to],
        env: script_environment(inputs.epoch()),
        stdin: None,
        files: None,
    });
    folders.into_iter().chain(copies).collect()
}
