//! Lines of what a child says, none longer than is good.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A longer line is cut: no event is as long.
const LONGEST: usize = 1 << 20;

/// Reads lines. Dropping [`next`](Lines::next) halfway loses nothing.
pub struct Lines<R> {
    from: R,
    bytes: Vec<u8>,
    /// So many of the bytes hold no end of a line.
    seen: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub fn new(from: R) -> Self {
        Self { from, bytes: Vec::new(), seen: 0 }
    }

    /// Returns the next line without its end; none when there are no more.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if self.from.read_buf(&mut self.bytes).await? == 0 {
                self.seen = 0;
                return Ok(Some(std::mem::take(&mut self.bytes)).filter(|rest| !rest.is_empty()));
            }
        }
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let end = self.bytes[self.seen..].iter().position(|byte| *byte == b'\n').map(|at| self.seen + at);
        let Some(end) = end.or_else(|| (self.bytes.len() > LONGEST).then_some(LONGEST)) else {
            self.seen = self.bytes.len();
            return None;
        };
        let mut rest = self.bytes.split_off(end);
        if rest.first() == Some(&b'\n') {
            rest.remove(0);
        }
        self.seen = 0;
        Some(std::mem::replace(&mut self.bytes, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(bytes: &[u8]) -> Vec<usize> {
        let (mut lines, mut found) = (Lines::new(bytes), vec![]);
        while let Some(line) = lines.next().await.unwrap() {
            found.push(line.len());
        }
        found
    }

    #[tokio::test]
    async fn lines_end_where_they_should() {
        assert_eq!(lines(b"one\n\nthree").await, [3, 0, 5]);
        assert_eq!(lines(b"").await, [0; 0]);
        assert_eq!(lines(b"a\n").await, [1]);
        assert_eq!(lines(&vec![b'x'; LONGEST * 2 + 1]).await, [LONGEST, LONGEST, 1]);
    }
}
