//! Asks whoever sits at the terminal for what it is not to show.

use std::io::Stdin;

use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcsetattr};

use crate::out;

/// Reads a line that the terminal does not show; none if it was interrupted. The key for that ends the line here, so that the terminal
/// is itself again before it ends kiln.
pub fn silently(terminal: &Stdin, modes: &Termios) -> Option<String> {
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
