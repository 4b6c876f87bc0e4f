//! A sandbox for tests: it remembers what it was asked and answers what it was told.

use std::sync::Mutex;

use crate::{Command, Exit, Foreign, Result, Sandbox, Stream};

type Answer = dyn Fn(&Command, &mut dyn FnMut(Stream, &[u8])) -> Result<Exit> + Send + Sync;

/// Remembers every command; answers with a closure, or with success.
pub struct Recording {
    commands: Mutex<Vec<Command>>,
    answer: Box<Answer>,
}

impl Default for Recording {
    fn default() -> Self {
        Self::answering(|_, _| Ok(Exit::code(0)))
    }
}

impl Recording {
    /// Returns a sandbox whose commands do what `answer` does.
    pub fn answering(
        answer: impl Fn(&Command, &mut dyn FnMut(Stream, &[u8])) -> Result<Exit> + Send + Sync + 'static,
    ) -> Self {
        Self { commands: Mutex::default(), answer: Box::new(answer) }
    }

    /// Returns the commands so far, in the order they came.
    pub fn commands(&self) -> Vec<Command> {
        self.commands.lock().expect("no recording panics").clone()
    }
}

impl Sandbox for Recording {
    fn run(&self, command: &Command, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit> {
        self.commands.lock().expect("no recording panics").push(command.clone());
        (self.answer)(command, output)
    }

    /// Nothing is run, of whatever architecture.
    fn foreign(&self) -> Foreign {
        Foreign { emulators: false, on_host: false, narrow: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    #[test]
    fn remembers_and_answers() {
        let sandbox = Recording::answering(|command, output| {
            output(Stream::Stderr, b"no");
            Ok(Exit::code(command.argv.len() as i32))
        });
        let mut said = Vec::new();
        let command = Command::new("/tree", ["dpkg", "--audit"]);
        let exit = sandbox.run(&command, &mut |stream, bytes| said.push((stream, bytes.to_vec()))).unwrap();
        assert_eq!(exit.status, Status::Code(2));
        assert_eq!(said, [(Stream::Stderr, b"no".to_vec())]);
        assert_eq!(sandbox.commands(), [command]);
    }
}
