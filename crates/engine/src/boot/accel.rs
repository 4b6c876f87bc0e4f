//! Whether guests really run under KVM here.
//!
//! A `/dev/kvm` that opens proves nothing: nested in some hypervisors it does, and then firmware stops at its first x87
//! instruction and kernels at the BMI2 ones that unpack them. So a probe guest (`guest/probe.s`) does what firmware and
//! kernels do, from reset to a timer tick, in a tenth of a second where KVM is sound.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kiln_model::fault::OrFault;
use kiln_model::{Fault, GuestPath};
use kiln_recipe::spec::Qemu;
use kiln_sandbox::{Command, Limits, Sandbox, Status, Stream};

use super::{Guest, Programs, qemu};

/// How QEMU runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    Kvm,
    Tcg,
}

impl Accel {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// Returns the processor to imitate: the board's, and under KVM the host's own in place of `max`.
    pub fn processor(self, cpu: &str) -> &str {
        if self == Self::Kvm && cpu == "max" { "host" } else { cpu }
    }
}

/// An accelerator and why it was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub accel: Accel,
    /// A clause: `a probe guest ran to its end`.
    pub why: String,
}

impl Choice {
    fn tcg(why: impl Into<String>) -> Self {
        Self { accel: Accel::Tcg, why: why.into() }
    }
}

const DEVICE: &str = "/dev/kvm";
/// How long the probe guest may take; it needs a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(4);
/// What the guest says when it reaches its end, a letter for each step.
const WHOLE: &str = "PFLSBVAT";
/// What stopped it, by the number of letters that came.
const STEPS: [&str; 8] = [
    "switching to protected mode",
    "its first x87 instruction",
    "switching to long mode",
    "SSE2",
    "BMI2",
    "AVX",
    "programming the APIC",
    "waiting for the APIC's timer",
];
/// QEMU's exit status for the 0x20 that the guest ends with.
const PASSED: Status = Status::Code(0x41);

/// Returns the accelerator that was asked for, else the one the machine is found to have.
pub fn choose(guest: &Guest<'_>) -> Result<Choice, Fault> {
    match guest.accel {
        Some(accel) => Ok(Choice { accel, why: "as asked".into() }),
        None => probe(guest.programs, guest.board, guest.sandbox, guest.scratch),
    }
}

/// Asks the machine: looks at `/dev/kvm`, then runs the probe guest on it.
pub fn probe(programs: &Programs, board: &Qemu, sandbox: &dyn Sandbox, scratch: &Path) -> Result<Choice, Fault> {
    let host = std::env::consts::ARCH;
    if board.system != host {
        return Ok(Choice::tcg(format!("the board is {} and this machine {host}", board.system)));
    }
    if host != "x86_64" {
        return Ok(Choice::tcg(format!("there is no probe guest for {host} yet")));
    }
    if let Err(error) = fs::OpenOptions::new().read(true).write(true).open(DEVICE) {
        return Ok(Choice::tcg(format!("`{DEVICE}` does not open: {error}")));
    }
    run(programs, board, sandbox, scratch)
}

fn run(programs: &Programs, board: &Qemu, sandbox: &dyn Sandbox, scratch: &Path) -> Result<Choice, Fault> {
    let rom = scratch.join("probe.rom");
    fs::write(&rom, firmware()).farm(|| format!("write `{}`", rom.display()))?;
    let seen = GuestPath::new("/run/kiln/probe.rom").expect("a good path");
    let argv = qemu::probe(&programs.qemu.to_string(), board, &seen.to_string());
    let mut command = Command::new(&programs.root, argv).bind(&rom, seen, true);
    command.read_only_root = true;
    command.devices = vec![DEVICE.into()];
    command.limits = Limits { time: Some(PATIENCE), ..Limits::default() };
    let (mut said, mut complaint) = (Vec::new(), Vec::new());
    let exit = sandbox.run(&command, &mut |stream, bytes| match stream {
        Stream::Stdout => said.extend_from_slice(bytes),
        Stream::Stderr => complaint.extend_from_slice(bytes),
    })?;
    Ok(judge(exit.status, &String::from_utf8_lossy(&said), &String::from_utf8_lossy(&complaint)))
}

/// Returns the flat firmware that holds the guest: 64 KiB that end at the reset vector.
pub fn firmware() -> Vec<u8> {
    let code = include_bytes!("guest/probe.bin");
    let mut rom = vec![0xf4; 0x1_0000];
    rom[0xf000..0xf000 + code.len()].copy_from_slice(code);
    rom[0xfff0..0xfff5].copy_from_slice(&[0xea, 0x00, 0xf0, 0x00, 0xf0]);
    rom
}

/// Decides from how QEMU ended, what the guest said and what QEMU said.
fn judge(status: Status, said: &str, complaint: &str) -> Choice {
    if status == PASSED && said.starts_with(WHOLE) {
        return Choice { accel: Accel::Kvm, why: "a probe guest ran to its end".into() };
    }
    let done = said.bytes().zip(WHOLE.bytes()).take_while(|(a, b)| a == b).count();
    let step = STEPS[done.min(STEPS.len() - 1)];
    let reason =
        said[..].lines().chain(complaint.lines()).map(|line| line.trim_start_matches(WHOLE.get(..done).unwrap_or("")));
    let reason =
        reason.filter(|line| !line.contains("warning:")).find(|line| line.contains("error") || line.contains("failed"));
    let reason = reason.map(|line| format!(" ({})", line.trim())).unwrap_or_default();
    if done == 0 && !reason.is_empty() {
        return Choice::tcg(format!("`{DEVICE}` opens, but a probe guest does not start on it{reason}"));
    }
    Choice::tcg(format!("`{DEVICE}` opens, but a probe guest stopped at {step}{reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_way_counts() {
        let asserted = "qemu: error: failed to set MSR 0x10a to 0x69\nAssertion";
        let broken = "KVM internal error. Suberror: 1\nextra data[0]: 0x1";
        let cases = [
            (PASSED, "PFLSBVAT", "", Accel::Kvm, "a probe guest ran to its end"),
            (PASSED, "", "", Accel::Tcg, "`/dev/kvm` opens, but a probe guest stopped at switching to protected mode"),
            (
                Status::Code(0),
                "PF",
                "",
                Accel::Tcg,
                "`/dev/kvm` opens, but a probe guest stopped at switching to long mode",
            ),
            (
                Status::Signal(9),
                "P",
                broken,
                Accel::Tcg,
                "`/dev/kvm` opens, but a probe guest stopped at its first x87 instruction (KVM internal error. Suberror: 1)",
            ),
            (
                Status::Signal(6),
                "",
                asserted,
                Accel::Tcg,
                "`/dev/kvm` opens, but a probe guest does not start on it (qemu: error: failed to set MSR 0x10a to 0x69)",
            ),
        ];
        for (status, said, complaint, accel, why) in cases {
            assert_eq!(judge(status, said, complaint), Choice { accel, why: why.into() });
        }
    }
}
