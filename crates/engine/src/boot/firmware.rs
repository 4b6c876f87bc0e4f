//! The firmware that a guest is started by, where there is a choice.

use kiln_model::Fault;
use kiln_recipe::spec::{Firmware, Qemu, Verify};

use super::Verified;

/// Returns the machines to start, one after the other: with the chosen firmware, else each that the recipe verifies, else the
/// board's usual one. `able` is what starts the image at all.
pub fn machines(
    board: &Qemu,
    able: &[Firmware],
    verify: &Verify,
    chosen: Option<Firmware>,
) -> Result<Vec<Qemu>, Fault> {
    let wanted: Vec<Firmware> = chosen.map_or_else(|| verify.firmware.clone(), |chosen| vec![chosen]);
    if wanted.is_empty() {
        return Ok(vec![board.clone()]);
    }
    wanted.into_iter().map(|firmware| machine(board, able, firmware)).collect()
}

fn machine(board: &Qemu, able: &[Firmware], firmware: Firmware) -> Result<Qemu, Fault> {
    if able.contains(&firmware) {
        return Ok(board.with(firmware));
    }
    let fault = Fault::recipe(format!("start this image by `{}`: it was not built for that", firmware.name()));
    let names: Vec<&str> = able.iter().map(|firmware| firmware.name()).collect();
    Err(match names.as_slice() {
        [] => fault.hint("its board has a firmware of its own: leave `--firmware` out"),
        names => fault.hint(format!("what starts it: {}", names.join(", "))),
    })
}

/// Makes one result of those under each firmware; the first one speaks.
pub fn joined(all: Vec<Verified>) -> Option<Verified> {
    let mut all = all.into_iter();
    let first = all.next()?;
    Some(Verified { also: all.collect(), ..first })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machines_of(able: &[Firmware], verified: &[Firmware], chosen: Option<Firmware>) -> Result<Vec<String>, String> {
        let board = kiln_recipe::catalogue::board::find("generic-x86_64").unwrap().qemu.as_ref().unwrap();
        let verify = Verify { boot: true, timeout: 1, firmware: verified.to_vec(), asserts: vec![] };
        let machines = machines(board, able, &verify, chosen).map_err(|fault| fault.to_string())?;
        Ok(machines.into_iter().map(|machine| machine.firmware).collect())
    }

    #[test]
    fn the_chosen_firmware_goes_before_the_recipes_and_that_before_the_boards() {
        use Firmware::{Bios, Uefi};
        let both = [Uefi, Bios];
        assert_eq!(machines_of(&both, &[], None).unwrap(), ["uefi"]);
        assert_eq!(machines_of(&both, &[Bios, Uefi], None).unwrap(), ["bios", "uefi"]);
        assert_eq!(machines_of(&both, &[Uefi], Some(Bios)).unwrap(), ["bios"]);
        let told = machines_of(&[Uefi], &[], Some(Bios)).unwrap_err();
        assert_eq!(told, "start this image by `bios`: it was not built for that");
    }
}
