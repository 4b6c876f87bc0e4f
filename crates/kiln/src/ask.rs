//! Asks whoever sits at stdin: for a line, or at a terminal for what it is not to show.

use std::io::Stdin;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcsetattr};

use crate::out;

/// Reads a line that the terminal does not show; none if it was interrupted. The key for that ends the line here, so that the terminal
/// is itself again before it ends kiln.
pub fn silently(terminal: &Stdin, modes: &Termios) -> Option<String> {
    kiln_sandbox::listen();
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
pub fn line(from: &Stdin, ends: &[u8]) -> Option<String> {
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
