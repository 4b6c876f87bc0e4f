//! `kiln pieman` before it builds: what it lists, and how it asks.

mod common;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use common::Bench;
use kiln_testkit::eventually;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, SpecialCodeIndex, Termios, tcgetattr};
use serde_json::{Value, json};

#[test]
fn devices_are_listed_for_programs() {
    let bench = Bench::new();
    let done = bench.ok(&["pieman", "--list-devices"]);
    assert_eq!(done.stderr, "");
    let devices: Value = serde_json::from_str(&done.stdout).unwrap();
    let one = &devices["rpi-3-b"];
    assert_eq!(
        (&one["name"], &one["generation"], &one["model"]),
        (&"Raspberry Pi".into(), &3.into(), &"Model B".into())
    );
    let system = &one["distros"]["debian-trixie-arm64"];
    assert_eq!((&system["version"], &system["codename"], &system["bits"]), (&13.into(), &"Trixie".into(), &64.into()));
    assert_eq!(system["build_types"], json!(["classic", "mender", "artifact"]));
    // Neither parameters nor a cache are looked at.
    bench.write(".env", "OS=nonsense");
    assert_eq!(bench.ok(&["pieman", "--list-devices", "--cache", "/proc/kiln"]).stdout, done.stdout);
    assert!(!bench.cache().exists());
}

/// A shell's session on a terminal of its own, with kiln in it. The shell stays: with the last of a session the kernel itself gives a
/// terminal its modes back.
struct Session {
    shell: Child,
    terminal: File,
    screen: Arc<Mutex<String>>,
    _bench: Bench,
}

/// Lets a shell start kiln, and waits until it asks for a password.
fn asked(how: &str) -> Session {
    let bench = Bench::new();
    let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&outer).unwrap();
    unlockpt(&outer).unwrap();
    let name = ptsname(&outer, Vec::new()).unwrap();
    let inner = || OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let (terminal, screen) = (File::from(outer), Arc::<Mutex<String>>::default());
    let before = tcgetattr(&terminal).unwrap();
    assert!(before.local_modes.contains(LocalModes::ECHO | LocalModes::ISIG));
    let script = format!("{how}; echo \"ended with $?\"; read last");
    let parameters = [("DEVICE", "generic-x86_64"), ("USER_PASSWORD", "-"), ("PROJECT_NAME", "p")];
    let shell = Command::new("setsid")
        .args(["--ctty", "sh", "-c", &script, env!("CARGO_BIN_EXE_kiln")])
        .current_dir(bench.path(""))
        .env("OS", "debian-trixie-amd64")
        .envs(parameters)
        .stdin(Stdio::from(inner()))
        .stdout(inner())
        .stderr(inner())
        .spawn()
        .expect("setsid of util-linux is installed");
    watch(terminal.try_clone().unwrap(), screen.clone());
    let session = Session { shell, terminal, screen, _bench: bench };
    session.until("Enter USER_PASSWORD value: ");
    eventually("the terminal is silent", || !session.modes().local_modes.contains(LocalModes::ECHO));
    session
}

fn watch(mut terminal: File, screen: Arc<Mutex<String>>) {
    thread::spawn(move || {
        let mut some = [0; 4096];
        while let Ok(count @ 1..) = terminal.read(&mut some) {
            screen.lock().unwrap().push_str(&String::from_utf8_lossy(&some[..count]));
        }
    });
}

impl Session {
    fn modes(&self) -> Termios {
        tcgetattr(&self.terminal).unwrap()
    }

    fn until(&self, words: &str) {
        eventually(words, || self.screen.lock().unwrap().ends_with(words));
    }

    /// Types, and returns what the screen shows once kiln has ended with `code`; the terminal must be as it was.
    fn ends(mut self, keys: &[u8], code: u8) -> String {
        (&self.terminal).write_all(keys).unwrap();
        self.until(&format!("ended with {code}\r\n"));
        let modes = self.modes();
        assert!(modes.local_modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG), "{modes:?}");
        let codes = [SpecialCodeIndex::VINTR, SpecialCodeIndex::VEOL].map(|code| modes.special_codes[code]);
        assert_eq!(codes, [INTERRUPT, 0]);
        (&self.terminal).write_all(b"\n").unwrap();
        assert!(self.shell.wait().unwrap().success());
        self.screen.lock().unwrap().clone()
    }
}

/// Ctrl-C, as terminals send it.
const INTERRUPT: u8 = 3;
const KILN: &str = "\"$0\" pieman --print-recipe";

#[test]
fn an_interrupted_question_gives_the_terminal_back() {
    for keys in [&[INTERRUPT][..], b"half a pass\x03"] {
        let screen = asked(KILN).ends(keys, 130);
        assert!(screen.contains("Enter USER_PASSWORD value: \r\nended with 130\r\n"), "{screen}");
    }
    // Where the signal is ignored, as in the background of a script.
    asked(&format!("(trap '' INT; exec {KILN})")).ends(&[INTERRUPT], 130);
}

#[test]
fn an_answered_question_shows_nothing_of_it() {
    let screen = asked(KILN).ends(b"sesame\n", 0);
    assert!(screen.contains("name = \"p\"") && !screen.contains("sesame"), "{screen}");
}
