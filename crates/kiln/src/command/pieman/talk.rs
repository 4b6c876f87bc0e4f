//! How Pieman talks: a coloured word, a colon, the text; everything on stderr.

use std::io::{self, BufRead as _, IsTerminal as _, Stdin};

use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};
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

    /// Reads one line of stdin; a terminal is told what to type, and does not show it.
    fn ask(&mut self, name: &str) -> String {
        let stdin = io::stdin();
        let line = match tcgetattr(&stdin).ok().filter(|_| stdin.is_terminal()) {
            Some(modes) => {
                out::talk(&format!("Enter {name} value: "));
                silently(&stdin, &modes).unwrap_or_else(|| {
                    self.interrupted.take().into_iter().for_each(|tell| tell());
                    let _ = kill_process(getpid(), Signal::INT);
                    // Whoever started us may have taken that signal away.
                    std::process::exit(130);
                })
            }
            None => {
                let mut line = String::new();
                let _ = stdin.lock().read_line(&mut line);
                line
            }
        };
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
    let mut line = Vec::new();
    let mut some = [0; 4096];
    while !line.ends_with(b"\n") && !line.ends_with(&[interrupts]) {
        match rustix::io::read(terminal, &mut some) {
            Ok(0) => break,
            Ok(count) => line.extend_from_slice(&some[..count]),
            Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    let _ = tcsetattr(terminal, OptionalActions::Now, modes);
    out::talk("\n");
    (!line.ends_with(&[interrupts])).then(|| String::from_utf8_lossy(&line).into_owned())
}
