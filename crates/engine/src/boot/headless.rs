//! A machine without a terminal: QEMU runs in the sandbox on a thread of its own, its console comes over a socket.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use kiln_model::fault::OrFault;
use kiln_model::{Fault, GuestPath};
use kiln_sandbox::{Command, Exit, Limits, Network, Sandbox};

use super::console::Stop;
use super::disk::Disk;
use super::qemu::{self, Launch};
use super::{Accel, Guest};

/// How long QEMU may take to open its sockets.
const START: Duration = Duration::from_secs(20);
/// How long QEMU may take to end once it was told to.
const END: Duration = Duration::from_secs(5);

/// What QEMU itself wrote, and how it ended when it did.
#[derive(Default)]
pub(super) struct Machine {
    said: Mutex<String>,
    ended: Mutex<Option<Result<Exit, kiln_sandbox::Error>>>,
}

impl Machine {
    /// Returns what QEMU wrote, warnings left out.
    pub fn complaint(&self) -> String {
        let said = self.said.lock().expect("no panic while held");
        said.lines().filter(|line| !line.contains("warning:")).collect::<Vec<_>>().join("\n")
    }

    /// Returns a reason to stop waiting for the guest.
    pub fn alarm(&self) -> Option<Stop> {
        if kiln_sandbox::interrupted() {
            return Some(Stop::Interrupted);
        }
        let said = self.said.lock().expect("no panic while held");
        let broken =
            said.lines().find(|line| line.contains("KVM internal error") || line.contains("KVM: entry failed"));
        broken.map(|line| Stop::Hypervisor(line.trim().to_owned()))
    }

    fn has_ended(&self) -> bool {
        self.ended.lock().expect("no panic while held").is_some()
    }
}

/// Runs QEMU as `launch` says while `work` talks to the console, and ends it afterwards, whatever came.
pub(super) fn with_machine<T>(
    guest: &Guest<'_>,
    disk: &Disk,
    launch: &Launch<'_>,
    limit: Duration,
    work: impl FnOnce(UnixStream, &Machine) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let machine = Machine::default();
    let mut command = command(guest, disk, launch);
    command.limits = Limits { time: Some(limit), ..Limits::default() };
    thread::scope(|scope| {
        let running = scope.spawn(|| run(guest.sandbox, &command, &machine));
        let done = connect(guest.scratch, "console.sock", &machine, START)
            .ok_or_else(|| did_not_start(&machine))
            .and_then(|console| work(console, &machine));
        stop(guest.scratch, &machine);
        running.join().map_err(|_| Fault::farm("the thread that runs QEMU panicked"))?;
        done
    })
}

/// Returns the sandboxed command; also the interactive boot's.
pub(super) fn command(guest: &Guest<'_>, disk: &Disk, launch: &Launch<'_>) -> Command {
    let seen = |path: &str| GuestPath::new(path).expect("our own paths are good");
    let mut command = Command::new(&guest.programs.root, qemu::command(launch))
        .bind(guest.scratch, seen(qemu::SCRATCH), false)
        .bind(&disk.path, seen(qemu::DISK), !launch.keeps)
        // The overlay that takes the guest's writes is a deleted file in here.
        .env("TMPDIR", qemu::SCRATCH);
    command.read_only_root = true;
    command.network = Network::None;
    if launch.accel == Accel::Kvm {
        command.devices = vec!["/dev/kvm".into()];
    }
    command
}

fn run(sandbox: &dyn Sandbox, command: &Command, machine: &Machine) {
    let exit = sandbox.run(command, &mut |_, bytes| {
        machine.said.lock().expect("no panic while held").push_str(&String::from_utf8_lossy(bytes));
    });
    *machine.ended.lock().expect("no panic while held") = Some(exit);
}

/// Connects to a socket in the scratch folder once it is there; by a descriptor, since socket paths must be short.
fn connect(scratch: &Path, name: &str, machine: &Machine, patience: Duration) -> Option<UnixStream> {
    let folder = File::open(scratch).ok()?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()));
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline && !machine.has_ended() {
        if let Ok(stream) = UnixStream::connect(&path) {
            return Some(stream);
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Tells QEMU to quit, and the sandbox to kill it when it does not.
fn stop(scratch: &Path, machine: &Machine) {
    if let Some(mut monitor) = connect(scratch, "monitor.sock", machine, Duration::from_secs(1)) {
        let _ = monitor.write_all(b"quit\n");
        let deadline = Instant::now() + END;
        while Instant::now() < deadline && !machine.has_ended() {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn did_not_start(machine: &Machine) -> Fault {
    let ended = machine.ended.lock().expect("no panic while held").take();
    match ended {
        Some(Err(error)) => Fault::from(error).doing("start QEMU"),
        Some(Ok(exit)) => Fault::farm(format!("start QEMU: {exit}")).detail(machine.complaint()),
        None => Fault::farm("start QEMU: it opened no console").detail(machine.complaint()),
    }
}

/// Copies the firmware's variables into the scratch folder, where the guest may change them.
pub(super) fn firmware(guest: &Guest<'_>) -> Result<Option<(String, String)>, Fault> {
    let Some(firmware) = &guest.programs.firmware else { return Ok(None) };
    let vars = firmware.vars.under(&guest.programs.root);
    let bytes = fs::read(&vars).farm(|| format!("read `{}`", vars.display()))?;
    fs::write(guest.scratch.join("vars.fd"), bytes).farm(|| "copy the firmware's variables".into())?;
    Ok(Some((firmware.code.to_string(), format!("{}/vars.fd", qemu::SCRATCH))))
}
