//! How Pieman talks: a coloured word, a colon, the text; everything on stderr.

use std::io::{self, IsTerminal as _, Stdin};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::out;

/// The word that a message begins with.
#[derive(Clone, Copy, Debug)]
pub enum Level {
    Info,
    Fatal,
    Success,
}

/// Says a message.
pub fn say(level: Level, message: &str) {
    let (word, colour) = match level {
        Level::Info => ("Info", 33),
        Level::Fatal => ("Fatal", 31),
        Level::Success => ("Success", 32),
    };
    let word = if out::coloured() { format!("\x1b[{colour}m{word}\x1b[m") } else { word.to_owned() };
    out::talk(&format!("{word}: {message}\n"));
}

/// Whoever sits at stdin.
pub struct Person<'a> {
    /// What is to be done before they end kiln while they are asked something.
    pub interrupted: Option<Box<dyn FnOnce() + 'a>>,
}

impl kiln_recipe::pieman::Person for Person<'_> {
    fn show(&mut self, line: &str) {
        out::talk(&format!("{line}\n"));
    }

    /// Reads one line of stdin; a terminal is told what to type, and does not show it. A wish to end ends it, and is told of first.
    fn ask(&mut self, name: &str) -> String {
        let stdin = io::stdin();
        let line = match tcgetattr(&stdin).ok().filter(|_| stdin.is_terminal()) {
            Some(modes) => {
                out::talk(&format!("Enter {name} value: "));
                silently(&stdin, &modes)
            }
            None => line(&stdin, b"\n"),
        };
        let line = line.unwrap_or_else(|| {
            self.interrupted.take().into_iter().for_each(|tell| tell());
            std::process::exit(130);
        });
        line.trim_end_matches(['\r', '\n']).to_owned()
    }
}

/// Reads a line that the terminal does not show; none if it was interrupted. The key for that ends the line here, so that the terminal
/// is itself again before it ends kiln.
fn silently(terminal: &Stdin, modes: &Termios) -> Option<String> {
    let interrupts = modes.special_codes[SpecialCodeIndex::VINTR];
    let mut silent = modes.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.special_codes[SpecialCodeIndex::VINTR] = 0;
    silent.special_codes[SpecialCodeIndex::VEOL] = interrupts;
    let _ = tcsetattr(terminal, OptionalActions::Now, &silent);
    let line = line(terminal, &[b'\n', interrupts]);
    let _ = tcsetattr(terminal, OptionalActions::Now, modes);
    out::talk("\n");
    line.filter(|line| !line.as_bytes().ends_with(&[interrupts]))
}

/// How long a wish to end may go unseen while nobody types.
const BREATH: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Reads up to one of `ends`, and nothing of what follows; none when a signal wished kiln's end.
fn line(from: &Stdin, ends: &[u8]) -> Option<String> {
    let (mut line, mut one) = (Vec::new(), [0]);
    while !line.last().is_some_and(|last| ends.contains(last)) {
        // A signal ends no read, and may come just before one.
        let some = poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&BREATH));
        match some {
            _ if kiln_sandbox::interrupted() => return None,
            Ok(0) | Err(Errno::INTR) => continue,
            _ => {}
        }
        match rustix::io::read(from, &mut one) {
            Ok(1) => line.push(one[0]),
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => break,
        }
    }
    Some(String::from_utf8_lossy(&line).into_owned())
}
