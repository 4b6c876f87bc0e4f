//! How Pieman talks: a coloured word, a colon, the text; everything on stderr.

use std::io::{self, IsTerminal as _};

use rustix::termios::tcgetattr;

use crate::ask::{line, silently};
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
