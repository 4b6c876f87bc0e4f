//! The server's log, in lines as Pieman's readers know them: `2026-11-22 04:05:06,789 INFO  Handling b'10'`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use jiff::Zoned;

/// Writes to stderr, and to a file where one is asked for.
pub struct Diary {
    file: Option<File>,
    verbose: bool,
}

impl Diary {
    pub fn open(path: Option<&Path>, verbose: bool) -> io::Result<Self> {
        let file = path.map(|path| File::options().append(true).create(true).open(path)).transpose()?;
        Ok(Self { file, verbose })
    }

    pub fn info(&mut self, message: &str) {
        self.say("INFO ", message);
    }

    pub fn critical(&mut self, message: &str) {
        self.say("CRITI", message);
    }

    pub fn debug(&mut self, message: &str) {
        if self.verbose {
            self.say("DEBUG", message);
        }
    }

    /// A log that cannot be written is no reason to stop.
    fn say(&mut self, level: &str, message: &str) {
        let line = line(&Zoned::now(), level, message);
        if let Some(file) = &mut self.file {
            let _ = file.write_all(line.as_bytes());
        }
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

fn line(now: &Zoned, level: &str, message: &str) -> String {
    format!("{},{:03} {level} {message}\n", now.strftime("%Y-%m-%d %H:%M:%S"), now.millisecond())
}

/// Returns bytes as Python shows them: `b'10'`, `b'a\n\xff'`.
pub fn bytes(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    let mut text = format!("b{quote}");
    for byte in bytes {
        match byte {
            b'\n' => text += "\\n",
            b'\r' => text += "\\r",
            b'\t' => text += "\\t",
            b'\\' => text += "\\\\",
            b'\'' if quote == '\'' => text += "\\'",
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => drop(write!(text, "\\x{byte:02x}")),
        }
    }
    text.push(quote);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_they_were() {
        let now: Zoned = "2026-11-22T04:05:06.789+00:00[UTC]".parse().unwrap();
        assert_eq!(line(&now, "INFO ", "Handling b'10'"), "2026-11-22 04:05:06,789 INFO  Handling b'10'\n");
        assert_eq!(bytes(b"10"), "b'10'");
        assert_eq!(bytes(b"a\n'\"\xff"), "b'a\\n\\'\"\\xff'");
        assert_eq!(bytes(b"it's"), "b\"it's\"");
    }
}
