//! Lines that say whose they are.

use std::io::{self, Write};

/// Puts a name in front of every line.
pub struct Labelled<W> {
    to: W,
    label: String,
    /// What came of a line that has not ended.
    line: Vec<u8>,
}

impl<W: Write> Labelled<W> {
    pub fn new(to: W, name: &str) -> Self {
        Self { to, label: format!("{name}: "), line: vec![] }
    }
}

impl<W: Write> Write for Labelled<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                // At once, so that lines of others do not come in between.
                let line = [self.label.as_bytes(), &std::mem::take(&mut self.line)].concat();
                self.to.write_all(&line)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_labelled_however_they_come() {
        let mut labelled = Labelled::new(vec![], "debs");
        for piece in ["o", "ne\ntwo\n\nth", "ree", "\nrest"] {
            labelled.write_all(piece.as_bytes()).unwrap();
        }
        assert_eq!(String::from_utf8(labelled.to).unwrap(), "debs: one\ndebs: two\ndebs: \ndebs: three\n");
    }
}
