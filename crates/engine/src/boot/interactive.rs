//! The guest's console in the terminal.

use kiln_model::Fault;
use kiln_recipe::spec::Bus;
use kiln_sandbox::Network;

use super::qemu::{Console, DISK, Launch};
use super::{Guest, accel, disk, headless, videocore};

/// Boots the guest with its console in the terminal until the guest or its user ends it; `say` hears what goes on.
///
/// The sandbox puts the terminal into raw mode and back; the guest reaches what the host reaches.
pub fn interactive(guest: &Guest<'_>, say: &dyn Fn(&str)) -> Result<(), Fault> {
    let mut disk = disk::ready(guest.image, guest.scratch)?;
    if guest.board.bus == Bus::Sd {
        disk = disk::as_card(disk, guest.scratch)?;
    }
    let choice = accel::choose(guest)?;
    say(&format!("{} QEMU with {}: {}", guest.programs.whose(), choice.accel.name(), choice.why));
    say("changes are thrown away at the end; Ctrl-a x ends the machine, Ctrl-a h lists more");
    let launch = Launch {
        qemu: guest.programs.qemu.to_string(),
        board: guest.board,
        accel: choice.accel,
        processors: guest.processors(),
        disk: DISK.into(),
        format: disk.format,
        seed: guest.seed.map(|seed| seed.write(guest.scratch)).transpose()?,
        firmware: headless::firmware(guest)?,
        keeps: false,
        kernel: videocore::kernel(&disk, guest.board, guest.scratch)?,
        console: Console::Terminal,
        credentials: &[],
    };
    let mut command = headless::command(guest, &disk, &launch);
    command.terminal = true;
    command.network = Network::Host;
    let exit = guest.sandbox.run(&command, &mut |_, bytes| say(&String::from_utf8_lossy(bytes)))?;
    if exit.success() { Ok(()) } else { Err(Fault::farm(format!("run QEMU: {exit}"))) }
}
