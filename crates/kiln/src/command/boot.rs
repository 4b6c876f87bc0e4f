//! `kiln boot`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use kiln_engine::boot::{self, Verified};
use kiln_engine::{How, Kiln};
use kiln_recipe::spec;

use crate::command::Outcome;
use crate::render::Display;
use crate::settings::{self, Flags};
use crate::{out, text};

/// Starts an image in QEMU, with its console in this terminal.
///
/// The image's bytes never change. With --check it runs headless and what its recipe asserts is tried; the exit code
/// is 1 when something does not hold.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A disk image, raw or qcow2, also compressed
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Boot headless and try the assertions of the recipe it was built from
    #[arg(long)]
    check: bool,
    /// What runs the guest's instructions
    #[arg(long, value_name = "KIND", value_enum, default_value_t)]
    accel: Accel,
    /// What starts the machine, where the image can be started by both
    #[arg(long, value_name = "KIND", value_enum)]
    firmware: Option<Firmware>,
    /// A folder with `user-data`, and `meta-data` and `network-config` where wanted: what a cloud would tell the guest
    #[arg(long, value_name = "DIR")]
    cloud_init: Option<PathBuf>,
    /// With --check: print what was found as JSON
    #[arg(long, requires = "check")]
    json: bool,
    #[command(flatten)]
    display: Display,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Accel {
    /// KVM where a probe guest really runs on it, else TCG
    #[default]
    Auto,
    Kvm,
    Tcg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Firmware {
    /// UEFI, by OVMF or its like
    Uefi,
    /// A PC's BIOS, by SeaBIOS
    Bios,
}

pub fn run(args: Args) -> Outcome {
    args.display.beside(args.json)?;
    let config = args.flags.config()?;
    let kiln = Kiln::open(config)?.with_sandbox(Some(settings::enter()?));
    let events = args.display.events(None)?;
    let accel = match args.accel {
        Accel::Auto => None,
        Accel::Kvm => Some(boot::Accel::Kvm),
        Accel::Tcg => Some(boot::Accel::Tcg),
    };
    let firmware = args.firmware.map(|firmware| match firmware {
        Firmware::Uefi => spec::Firmware::Uefi,
        Firmware::Bios => spec::Firmware::Bios,
    });
    let how = How { accel, firmware, cloud_init: args.cloud_init.as_deref() };
    if !args.check {
        kiln.boot(&args.image, &how, &events, &|line| out::talk(&format!("{line}\n")))?;
        return Ok(ExitCode::SUCCESS);
    }
    let verified = kiln.boot_check(&args.image, &how, &events)?;
    drop(events);
    if args.json {
        out::json(&verified)?;
    }
    out::talk(&said(&verified));
    verified.also.iter().for_each(|also| out::talk(&said(also)));
    Ok(ExitCode::SUCCESS)
}

/// Returns what held, with the times.
fn said(verified: &Verified) -> String {
    let mut text = format!("{}, {}: {}\n", verified.firmware, verified.accel.name(), verified.why);
    verified.held.iter().for_each(|held| text += &format!("held: {held}\n"));
    text + &format!(
        "login prompt after {}, all of it after {}\n",
        text::time(verified.prompt),
        text::time(verified.millis)
    )
}
