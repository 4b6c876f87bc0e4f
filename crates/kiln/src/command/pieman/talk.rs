//! How Pieman talks: a coloured word, a colon, the text; everything on stderr.

use std::io::{self, BufRead as _, IsTerminal as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

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
pub struct Person;

impl kiln_recipe::pieman::Person for Person {
    fn show(&mut self, line: &str) {
        out::talk(&format!("{line}\n"));
    }

    /// Reads one line of stdin; a terminal is told what to type, and does not show it.
    fn ask(&mut self, name: &str) -> String {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok().filter(|_| stdin.is_terminal());
        if let Some(modes) = &before {
            out::talk(&format!("Enter {name} value: "));
            let mut silent = modes.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(&stdin, OptionalActions::Now, &silent);
        }
        let mut line = String::new();
        let _ = stdin.lock().read_line(&mut line);
        if let Some(modes) = before {
            let _ = tcsetattr(&stdin, OptionalActions::Now, &modes);
            out::talk("\n");
        }
        line.trim_end_matches(['\r', '\n']).to_owned()
    }
}
