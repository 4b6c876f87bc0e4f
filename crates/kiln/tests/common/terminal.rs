//! A terminal of its own for a test, and somebody who types.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use kiln_testkit::eventually;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, SpecialCodeIndex, Termios, tcgetattr};

use super::Bench;

/// Ctrl-C, as terminals send it.
pub const INTERRUPT: u8 = 3;

/// A shell's session on a terminal of its own, with kiln in it. The shell stays: with the last of a session the kernel itself gives a
/// terminal its modes back.
pub struct Session {
    shell: Child,
    terminal: File,
    screen: Arc<Mutex<String>>,
}

impl Session {
    /// Lets a shell do something in the bench's folder; `$0` is kiln.
    pub fn start(bench: &Bench, how: &str, environment: &[(&str, &str)]) -> Self {
        let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&outer).unwrap();
        unlockpt(&outer).unwrap();
        let name = ptsname(&outer, Vec::new()).unwrap();
        let inner = || OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let (terminal, screen) = (File::from(outer), Arc::<Mutex<String>>::default());
        let before = tcgetattr(&terminal).unwrap();
        assert!(before.local_modes.contains(LocalModes::ECHO | LocalModes::ISIG));
        let script = format!("{how}; echo \"ended with $?\"; read last");
        let shell = Command::new("setsid")
            .args(["--ctty", "sh", "-c", &script, env!("CARGO_BIN_EXE_kiln")])
            .current_dir(bench.path(""))
            .envs(environment.iter().copied())
            .stdin(Stdio::from(inner()))
            .stdout(inner())
            .stderr(inner())
            .spawn()
            .expect("setsid of util-linux is installed");
        watch(terminal.try_clone().unwrap(), screen.clone());
        Self { shell, terminal, screen }
    }

    /// Waits until it is asked for what the terminal does not show.
    pub fn asked(self, words: &str) -> Self {
        self.until(words);
        eventually("the terminal is silent", || !self.modes().local_modes.contains(LocalModes::ECHO));
        self
    }

    /// Types, and returns what the screen shows once kiln has ended with `code`; the terminal must be as it was.
    pub fn ends(mut self, keys: &[u8], code: u8) -> String {
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

    fn modes(&self) -> Termios {
        tcgetattr(&self.terminal).unwrap()
    }

    fn until(&self, words: &str) {
        eventually(words, || self.screen.lock().unwrap().ends_with(words));
    }
}

fn watch(mut terminal: File, screen: Arc<Mutex<String>>) {
    thread::spawn(move || {
        let mut some = [0; 4096];
        while let Ok(count @ 1..) = terminal.read(&mut some) {
            screen.lock().unwrap().push_str(&String::from_utf8_lossy(&some[..count]));
        }
    });
}
