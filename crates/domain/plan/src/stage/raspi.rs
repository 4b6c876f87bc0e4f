//! What the firmware of a Raspberry Pi reads: `config.txt` and `cmdline.txt` on its FAT.
//!
//! Source: raspi-firmware's kernel hook and `/etc/default/raspi-firmware` of Debian; Raspberry Pi's documentation of `config.txt`.

use kiln_model::{Action, Arch, RunIn};
use kiln_recipe::spec::Disk;

use super::script_environment;
use crate::Inputs;
use crate::context::write;

/// What U-Boot is called on the FAT.
pub const U_BOOT: &str = "u-boot.bin";

/// Debian's package writes both files anew for every kernel, from what is said here; its hook makes the first ones now.
///
/// The device trees reserve memory for graphics themselves: saying it again keeps a Raspberry Pi 4 from starting.
pub fn generated(inputs: &Inputs<'_>, cmdline: &str) -> Vec<Action> {
    let (root, rest) = cmdline.strip_prefix("root=").and_then(|rest| rest.split_once(' ')).unwrap_or(("", cmdline));
    let (consoles, rest): (Vec<&str>, Vec<&str>) =
        rest.split(' ').filter(|word| *word != "rw").partition(|word| word.starts_with("console="));
    let consoles: Vec<&str> = consoles.iter().map(|word| &word["console=".len()..]).collect();
    // What U-Boot starts is in its own root, and not on the FAT.
    let program = inputs.spec.mender.as_ref().map(|_| format!("KERNEL=\"{U_BOOT}\"\nINITRAMFS=\"no\"\n"));
    let text = format!(
        "# Read by /etc/kernel/postinst.d/z50-raspi-firmware, which writes config.txt and cmdline.txt for every kernel.\n\
         CMA=0\nROOTPART=\"{root}\"\nCONSOLES=\"{}\"\n{}",
        consoles.join(" "),
        program.unwrap_or_default()
    );
    let mut actions = vec![write("/etc/default/raspi-firmware", text)];
    if !rest.is_empty() {
        actions.push(write("/etc/default/raspi-extra-cmdline", format!("{}\n", rest.join(" "))));
    }
    let custom = lines(inputs);
    if !custom.is_empty() {
        actions.push(write("/etc/default/raspi-firmware-custom", custom));
    }
    let mut env = script_environment(inputs.epoch());
    env.insert("DEB_MAINT_PARAMS".into(), "configure".into());
    actions.push(Action::Run {
        name: "raspi-firmware".into(),
        r#in: RunIn::Target,
        argv: vec!["/etc/kernel/postinst.d/z50-raspi-firmware".into()],
        env,
        stdin: None,
        files: None,
    });
    actions
}

/// Alpine's kernels keep their names; both files are the owner's from now on.
pub fn of_alpine(inputs: &Inputs<'_>, flavour: &str, cmdline: &str) -> Vec<Action> {
    // By the kernel's name the firmware cannot tell.
    let mode = if inputs.spec.base.architecture == Arch::Arm64 { "arm_64bit=1\n" } else { "arm_64bit=0\n" };
    let config = format!(
        "# What is possible here: Raspberry Pi's documentation of config.txt.\n\
         kernel=vmlinuz-{flavour}\ninitramfs initramfs-{flavour} followkernel\n{mode}enable_uart=1\n\
         dtparam=audio=on\n\n[all]\n{}",
        lines(inputs)
    );
    vec![write("/boot/config.txt", config), write("/boot/cmdline.txt", format!("{}\n", with_ports(cmdline)))]
}

/// The firmware puts the model's port in place of `serial0`.
fn with_ports(cmdline: &str) -> String {
    let words = cmdline.split(' ').filter(|word| !word.starts_with("console="));
    ["console=serial0,115200", "console=tty1"].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// Returns what the recipe adds to `config.txt`.
fn lines(inputs: &Inputs<'_>) -> String {
    let board = inputs.spec.base.board.as_ref();
    board.iter().flat_map(|board| &board.config_txt).map(|line| format!("{line}\n")).collect()
}

/// Raspberry Pi OS's kernels come under names the firmware looks for by itself; both files are the owner's from now on.
///
/// The firmware puts the model's port in place of `serial0`, so no console of the board is said.
pub fn kept(inputs: &Inputs<'_>, disk: &Disk, cmdline: &str) -> Vec<Action> {
    let fat = disk.partitions.iter().find(|partition| partition.role == "firmware");
    let fat = fat.and_then(|fat| fat.mount.as_ref()).map_or_else(|| "/boot/firmware".into(), ToString::to_string);
    let mode = if inputs.spec.base.architecture == Arch::Arm64 { "arm_64bit=1\n" } else { "" };
    let config = format!(
        "# What is possible here: Raspberry Pi's documentation of config.txt.\n\
         dtparam=audio=on\ncamera_auto_detect=1\ndisplay_auto_detect=1\nauto_initramfs=1\n\
         dtoverlay=vc4-kms-v3d\nmax_framebuffers=2\ndisable_fw_kms_setup=1\n{mode}disable_overscan=1\narm_boost=1\n\
         enable_uart=1\n\n[cm4]\notg_mode=1\n\n[cm5]\ndtoverlay=dwc2,dr_mode=host\n\n[all]\n{}",
        lines(inputs)
    );
    let words = with_ports(cmdline);
    vec![
        write(&format!("{fat}/config.txt"), config),
        write(&format!("{fat}/cmdline.txt"), format!("{words} fsck.repair=yes rootwait\n")),
    ]
}
