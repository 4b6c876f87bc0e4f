//! The headless boot: to the login prompt, to a system that is up, through the recipe's assertions.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_model::Fault;
use kiln_recipe::spec::{Assert, Bus, Verify};
use serde::{Deserialize, Serialize};

use super::accel::{self, Accel, Choice};
use super::console::{Console, Stop};
use super::disk::{self, Disk};
use super::headless::{self, Machine};
use super::login::{self, Login};
use super::qemu::{self, Launch, SCRATCH};
use super::shell::{Answer, Shell};
use super::{Guest, failure, prompt, verify, videocore};
use crate::diff::glance::Glance;

/// A boot that came up and held what the recipe asserts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// What started the machine: `uefi`, `bios`, or `none` where the board has a way of its own.
    pub firmware: String,
    pub accel: Accel,
    /// Why that accelerator.
    pub why: String,
    pub login: Login,
    /// Milliseconds until the login prompt.
    pub prompt: u64,
    /// Milliseconds until everything was verified.
    pub millis: u64,
    /// What `systemctl is-system-running` said; empty where the image has no systemd.
    pub state: String,
    /// The assertions that held, as a person says them.
    pub held: Vec<String>,
    /// The same under the further firmware that the recipe names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Verified>,
}

/// The timeout is the recipe's for emulation; under KVM this part of it does.
const KVM_SHARE: u32 = 3;
/// Seconds that a single assertion may take.
const COMMAND: u64 = 120;
/// What Linux on a PC says, long before it panics for it, when an emulator on a busy machine gave it no time to see its timer tick.
const STARVED: &str = "8254 timer not connected to IO-APIC";
/// How often a machine is started anew for that.
const AGAIN: usize = 2;

/// Boots the guest and verifies it; the console is kept at `log` and told to `on_line`.
///
/// Under KVM that breaks down although the probe guest ran, it starts again under emulation.
pub fn check(guest: &Guest<'_>, wanted: &Verify, log: &Path, on_line: &dyn Fn(&str)) -> Result<Verified, Fault> {
    let (disk, glance, login) = prepare(guest)?;
    let choice = accel::choose(guest)?;
    let mut boot = Boot {
        guest,
        wanted,
        log,
        on_line,
        disk,
        glance,
        login,
        choice,
        broken: Cell::new(false),
        starved: Cell::new(false),
    };
    match boot.run() {
        Err(fault) if boot.broken.get() => {
            boot.choice = Choice { accel: Accel::Tcg, why: fault.chain() };
            boot.run()
        }
        done => done,
    }
}

/// Readies the disk and decides how root will log in.
fn prepare(guest: &Guest<'_>) -> Result<(Disk, Glance, Login), Fault> {
    let disk = disk::ready(guest.image, guest.scratch)?;
    let glance = login::glance(&disk);
    // What a board of its own kind has no way to hand over is written into a copy.
    let card = guest.board.bus == Bus::Sd;
    let login = match Login::for_image(&glance) {
        Login::Credentials if card => Login::DropIn,
        login => login,
    };
    if login == Login::Credentials {
        return Ok((disk, glance, login));
    }
    let (console, root) = (&guest.board.console, &guest.programs.root);
    let copy = login::copy_with_drop_in(&disk, &glance, console, guest.sandbox, root, guest.scratch)?;
    let copy = if card { disk::as_card(copy, guest.scratch)? } else { copy };
    Ok((copy, glance, login))
}

struct Boot<'a> {
    guest: &'a Guest<'a>,
    wanted: &'a Verify,
    log: &'a Path,
    on_line: &'a dyn Fn(&str),
    disk: Disk,
    glance: Glance,
    login: Login,
    choice: Choice,
    /// KVM broke down: emulation may do better.
    broken: Cell<bool>,
    /// The guest had no time to come up: another start may go better.
    starved: Cell<bool>,
}

impl Boot<'_> {
    fn run(&self) -> Result<Verified, Fault> {
        let begun = Instant::now();
        // A machine that restarts is started anew on what it left: emulators take minutes to come back from a reset, and one that
        // fails over and over must not do so for ever.
        let parts: Vec<_> = self.wanted.asserts.split(|assert| *assert == Assert::Restart).collect();
        let disk = if parts.len() > 1 { &disk::to_write(&self.disk, self.guest.scratch)? } else { &self.disk };
        let firmware = headless::firmware(self.guest)?;
        let seed = self.guest.seed.map(|seed| seed.write(self.guest.scratch)).transpose()?;
        let (mut state, mut held, mut prompt) = (String::new(), Vec::new(), 0);
        for (number, part) in parts.iter().enumerate() {
            let place =
                Part { number, last: number + 1 == parts.len(), disk, firmware: &firmware, seed: &seed, asserts: part };
            let came = self.part(&place, begun, &mut held)?;
            if number == 0 {
                (state, prompt) = came;
            }
        }
        let Choice { accel, why } = self.choice.clone();
        let (firmware, login) = (self.guest.board.firmware.clone(), self.login);
        Ok(Verified { firmware, accel, why, login, prompt, millis: millis(begun), state, held, also: vec![] })
    }

    /// Starts the machine, and ends it by its own restart where a further part follows. Returns the system's state and the
    /// milliseconds to the login prompt.
    fn part(&self, part: &Part<'_>, begun: Instant, held: &mut Vec<String>) -> Result<(String, u64), Fault> {
        let credentials = if self.login == Login::Credentials { &login::CREDENTIALS[..] } else { &[] };
        let launch = Launch {
            qemu: self.guest.programs.qemu.to_string(),
            board: self.guest.board,
            accel: self.choice.accel,
            processors: self.guest.processors(),
            disk: qemu::DISK.into(),
            format: part.disk.format,
            seed: part.seed.clone(),
            firmware: part.firmware.clone(),
            // Anew at every start: another one may lie on the disk by then.
            kernel: videocore::kernel(part.disk, self.guest.board, self.guest.scratch)?,
            console: qemu::Console::Sockets {
                console: format!("{SCRATCH}/console.sock"),
                monitor: format!("{SCRATCH}/monitor.sock"),
            },
            credentials,
            keeps: self.wanted.asserts.contains(&Assert::Restart),
        };
        let asserts: Duration = part.asserts.iter().map(patience).sum();
        let limit = self.timeout() * 4 + Duration::from_secs(COMMAND * 2) + asserts;
        let mut start = || {
            headless::with_machine(self.guest, part.disk, &launch, limit, |stream, machine| {
                let alarm = || machine.alarm();
                let open = if part.number == 0 { Console::new } else { Console::further };
                let mut console = open(stream, self.log, self.on_line, &alarm)?;
                self.verify(&mut console, machine, part, begun, held)
            })
        };
        let mut done = start();
        for _ in 0..AGAIN {
            if !self.starved.take() {
                break;
            }
            (self.on_line)("this machine is too busy for the guest's timer: started anew");
            done = start();
        }
        done.map_err(|fault| fault.doing(format!("boot `{}`", self.guest.image.display())))
    }

    fn timeout(&self) -> Duration {
        let seconds = match self.choice.accel {
            Accel::Tcg => self.wanted.timeout,
            Accel::Kvm => self.wanted.timeout.div_ceil(KVM_SHARE),
        };
        Duration::from_secs(seconds.into())
    }

    fn verify(
        &self,
        console: &mut Console<'_>,
        machine: &Machine,
        part: &Part<'_>,
        begun: Instant,
        held: &mut Vec<String>,
    ) -> Result<(String, u64), Fault> {
        self.prompt(console, machine, Instant::now() + self.timeout())?;
        let prompt = millis(begun);
        let mut talk = Talk { boot: self, console, machine };
        let state = talk.settled()?;
        if part.number > 0 {
            held.push(verify::name(&Assert::Restart));
        }
        for assert in part.asserts {
            held.push(talk.assert(assert)?);
        }
        if !part.last {
            talk.restart()?;
        }
        Ok((state, prompt))
    }

    fn prompt(&self, console: &mut Console<'_>, machine: &Machine, deadline: Instant) -> Result<(), Fault> {
        let hostname = self.glance.hostname.as_deref();
        let come = console.wait(deadline, |text| match prompt::login(text, hostname) {
            true => Some(Ok(())),
            false => prompt::trouble(text).map(Err),
        });
        match come {
            Ok(Ok(())) => Ok(()),
            Ok(Err(meaning)) => {
                let text = console.text();
                self.starved.set(self.choice.accel == Accel::Tcg && text.contains(STARVED));
                Err(failure::trouble(meaning, &text))
            }
            Err(stop) => Err(self.stopped(stop, "the login prompt", console, machine)),
        }
    }

    fn stopped(&self, stop: Stop, waited: &str, console: &Console<'_>, machine: &Machine) -> Fault {
        self.broken.set(self.choice.accel == Accel::Kvm && matches!(stop, Stop::Hypervisor(_)));
        failure::stopped(stop, waited, self.timeout().as_secs(), &console.text(), &machine.complaint())
    }
}

/// What happens between two starts of the machine.
struct Part<'p> {
    number: usize,
    last: bool,
    disk: &'p Disk,
    /// Code and variables; these last over a restart.
    firmware: &'p Option<(String, String)>,
    seed: &'p Option<String>,
    asserts: &'p [Assert],
}

/// The dialogue with the guest's shell.
struct Talk<'t, 'c> {
    boot: &'t Boot<'t>,
    console: &'t mut Console<'c>,
    machine: &'t Machine,
}

impl Talk<'_, '_> {
    fn run(&mut self, command: &str, deadline: Instant) -> Result<Answer, Fault> {
        let answer = Shell::again(self.console).run(command, deadline);
        answer
            .map_err(|stop| self.boot.stopped(stop, &format!("the answer to `{command}`"), self.console, self.machine))
    }

    /// Goes from the login prompt to a root shell and waits until all is up; returns the system's state.
    fn settled(&mut self) -> Result<String, Fault> {
        let deadline = Instant::now() + self.boot.timeout();
        let entered = Shell::enter(self.console, deadline).map(|_| ());
        let what = "a root shell behind the login prompt";
        entered.map_err(|stop| self.boot.stopped(stop, what, self.console, self.machine))?;
        self.running(deadline)
    }

    /// Lets the system end by a restart, which ends this machine.
    fn restart(&mut self) -> Result<(), Fault> {
        let deadline = Instant::now() + self.boot.timeout();
        let sent = self.console.send("systemctl reboot || reboot\n");
        match sent.and_then(|()| self.console.wait(deadline, |_| None::<()>)) {
            Err(Stop::Closed) => Ok(()),
            Err(stop) => Err(self.boot.stopped(stop, "the restart", self.console, self.machine)),
            Ok(()) => Ok(()),
        }
    }

    /// Waits until systemd has settled and returns its state, which must be `running`.
    fn running(&mut self, deadline: Instant) -> Result<String, Fault> {
        let left = deadline.saturating_duration_since(Instant::now()).as_secs().max(10);
        let patience = deadline + Duration::from_secs(COMMAND);
        let ask =
            format!("command -v systemctl >/dev/null || exit 97; timeout {left} systemctl is-system-running --wait");
        let answer = self.run(&ask, patience)?;
        let state = answer.output.trim().lines().last().unwrap_or_default().to_owned();
        match (answer.status, state.as_str()) {
            (0, "running") => Ok(state),
            (97, _) => Ok(String::new()),
            (124, _) => Err(self.unsettled("the system is still starting", patience)?),
            _ => Err(self.unsettled(&format!("the system is {state}"), patience)?),
        }
    }

    fn unsettled(&mut self, what: &str, deadline: Instant) -> Result<Fault, Fault> {
        let units = self.run(
            "systemctl --failed --no-legend --plain --no-pager; systemctl list-jobs --no-legend --no-pager",
            deadline,
        )?;
        let journal = self.run(verify::FAILED_UNITS, deadline)?;
        let tail = failure::tail(&self.console.text());
        let detail = failure::sections(&[
            ("failed units and waiting jobs", &units.output),
            ("their journal", &journal.output),
            ("last lines of the console", &tail),
        ]);
        Ok(Fault::package(what.to_owned()).detail(detail).hint("`kiln boot` without --check gives you its console"))
    }

    fn assert(&mut self, assert: &Assert) -> Result<String, Fault> {
        let deadline = Instant::now() + patience(assert);
        let name = verify::name(assert);
        let answer = self.run(&verify::script(assert), deadline)?;
        let Some(wrong) = verify::wrong(assert, &answer) else { return Ok(name) };
        let more = match verify::inquiry(assert) {
            Some(inquiry) => self.run(&inquiry, deadline)?.output,
            None => String::new(),
        };
        let output = if matches!(assert, Assert::PortOpen(_)) { "" } else { answer.output.as_str() };
        let tail = failure::tail(&self.console.text());
        let detail =
            failure::sections(&[("its output", output), ("more", &more), ("last lines of the console", &tail)]);
        Err(Fault::recipe(format!("assertion `{name}` does not hold: {wrong}")).detail(detail))
    }
}

/// Returns how long an assertion may take.
fn patience(assert: &Assert) -> Duration {
    let timeout = if let Assert::Command { timeout, .. } = assert { *timeout } else { None };
    timeout.map_or(Duration::from_secs(COMMAND), |seconds| Duration::from_secs(seconds.into()))
}

fn millis(since: Instant) -> u64 {
    since.elapsed().as_millis() as u64
}
