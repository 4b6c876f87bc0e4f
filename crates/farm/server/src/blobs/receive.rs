//! Takes the bytes of an upload as they come.

use std::io::{self, SeekFrom};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::uploads::{Turn, UnderWay, Uploads};
use crate::error::{Error, Result};

/// How long an upload may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// After so many bytes the disk is looked at again: others write to it too.
const LOOK: u64 = 64 << 20;

/// An upload at which somebody has the turn, while its bytes come.
#[derive(Debug)]
pub struct Receiving<'a> {
    uploads: &'a Uploads,
    file: File,
    /// Where the next byte that comes belongs.
    at: u64,
    /// How many bytes are here.
    end: u64,
    length: u64,
    /// Where the disk is looked at again.
    look: u64,
    under_way: Option<UnderWay>,
}

impl<'a> Receiving<'a> {
    /// Begins at byte `at`, which is not behind what is here, of an upload of `length` bytes; refused where the disk has no room for them.
    pub async fn begin(uploads: &'a Uploads, turn: &Turn, at: u64, length: u64) -> Result<Self> {
        let end = turn.end()?;
        if end < length {
            uploads.room(length - end)?;
        }
        let opened = tokio::fs::OpenOptions::new().read(true).append(true).open(&turn.path).await;
        let file = opened.map_err(failed)?;
        Ok(Self { uploads, file, at, end, length, look: end + LOOK, under_way: None })
    }

    /// The same, ended when the server is.
    pub fn ended_by(self, under_way: Option<&UnderWay>) -> Self {
        Self { under_way: under_way.cloned(), ..self }
    }

    /// Returns how many bytes are here.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Takes what comes until `most` more bytes are here; false: the piece is over or broke off. What came stays in any case.
    pub async fn take<E>(
        &mut self,
        piece: &mut (impl Stream<Item = Result<Bytes, E>> + Send + Unpin),
        most: u64,
    ) -> Result<bool> {
        let taken = self.take_until(piece, self.end.saturating_add(most)).await;
        self.file.flush().await.map_err(failed)?;
        taken
    }

    async fn take_until<E>(
        &mut self,
        piece: &mut (impl Stream<Item = Result<Bytes, E>> + Send + Unpin),
        mark: u64,
    ) -> Result<bool> {
        while self.end < mark {
            let Some(bytes) = self.next(piece).await else { return Ok(false) };
            if self.at + bytes.len() as u64 > self.length {
                return Err(Error::bad(format!("more than the {} bytes that `Upload-Length` says", self.length)));
            }
            if self.end >= self.look {
                self.uploads.room(self.length - self.end)?;
                self.look = self.end + LOOK;
            }
            self.add(&bytes).await.map_err(failed)?;
        }
        Ok(true)
    }

    async fn next<E>(&mut self, piece: &mut (impl Stream<Item = Result<Bytes, E>> + Send + Unpin)) -> Option<Bytes> {
        let ending = async {
            match &mut self.under_way {
                Some(under_way) => under_way.ending().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A line that is dead without a word would hold this upload for ever.
            next = timeout(SILENCE, piece.next()) => next.ok()??.ok(),
            () = ending => None,
        }
    }

    /// Adds bytes. Some may be here already, of a piece that others never heard of: where they differ from what comes now, that counts.
    async fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (known, fresh) = bytes.split_at(bytes.len().min((self.end - self.at) as usize));
        if self.has(known).await? {
            self.file.write_all(fresh).await?;
        } else {
            self.file.set_len(self.at).await?;
            self.end = self.at;
            self.file.write_all(bytes).await?;
        }
        self.at += bytes.len() as u64;
        self.end = self.end.max(self.at);
        Ok(())
    }

    async fn has(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if bytes.is_empty() {
            return Ok(true);
        }
        let mut here = vec![0; bytes.len()];
        self.file.seek(SeekFrom::Start(self.at)).await?;
        self.file.read_exact(&mut here).await?;
        Ok(here == bytes)
    }
}

fn failed(error: io::Error) -> Error {
    Error::failed("write an upload", error)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use kiln_model::Digest;

    use super::*;

    /// Gives an upload that has `here` a piece; returns what it has then.
    async fn given(here: &str, at: u64, piece: &[&'static str], length: u64) -> (Result<bool>, String) {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(folder.path(), 0).unwrap();
        let turn = uploads.turn(Digest::of("x")).await.unwrap();
        fs::write(&turn.path, here).unwrap();
        let pieces = piece.iter().map(|bytes| Ok::<_, io::Error>(Bytes::from_static(bytes.as_bytes())));
        let mut pieces = futures_util::stream::iter(pieces.collect::<Vec<_>>());
        let mut receiving = Receiving::begin(&uploads, &turn, at, length).await.unwrap();
        let taken = receiving.take(&mut pieces, u64::MAX).await;
        let there = fs::read_to_string(&turn.path).unwrap();
        assert_eq!(receiving.end(), there.len() as u64);
        (taken, there)
    }

    #[tokio::test]
    async fn what_is_here_is_not_written_again_unless_it_is_wrong() {
        for (here, at, piece, wanted) in [
            ("", 0, &["ab", "cd"][..], "abcd"),
            ("ab", 2, &["cd", "ef"], "abcdef"),
            ("abcd", 1, &["bc"], "abcd"),
            ("abcd", 1, &["bcdef"], "abcdef"),
            ("abcd", 1, &["b", "c", "de", "f"], "abcdef"),
            ("abcd", 4, &[], "abcd"),
            ("abxxx", 1, &["b", "c", "de"], "abcde"),
            ("abxxxxxxx", 1, &["bcd"], "abcd"),
        ] {
            let (taken, there) = given(here, at, piece, 10).await;
            assert!(!taken.unwrap());
            assert_eq!(there, wanted, "{here} {at} {piece:?}");
        }
        let (taken, there) = given("ab", 2, &["c", "de"], 4).await;
        assert_eq!((taken.unwrap_err().problem().status, there.as_str()), (400, "abc"), "more than it said");
    }

    #[tokio::test]
    async fn it_says_when_so_much_has_come() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(folder.path(), 0).unwrap();
        let turn = uploads.turn(Digest::of("x")).await.unwrap();
        let mut piece =
            futures_util::stream::iter([b"ab"; 3].map(|bytes| Ok::<_, io::Error>(Bytes::from_static(bytes))));
        let mut receiving = Receiving::begin(&uploads, &turn, 0, 9).await.unwrap();
        let mut ends = vec![];
        while receiving.take(&mut piece, 3).await.unwrap() {
            ends.push((receiving.end(), fs::read_to_string(&turn.path).unwrap().len()));
        }
        assert_eq!((ends, receiving.end()), (vec![(4, 4)], 6));
    }
}
