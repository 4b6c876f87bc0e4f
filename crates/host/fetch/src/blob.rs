//! One blob into the store: hashed while it is written, continued where it broke, the next mirror when one fails.

use std::io::Write as _;
use std::path::PathBuf;

use kiln_model::Digest;
use kiln_store::{BlobWriter, Store};

use crate::client::{Ask, Reply, Said};
use crate::fetcher::Tried;
use crate::url::shown;
use crate::{Failure, Fetcher, Request, Result};

/// Bytes after which a broken attempt counts as headway: the next is the first again.
const HEADWAY: u64 = 1 << 20;
/// Most bytes of what nobody knows the size of: an answer may have no end.
const MOST: u64 = 16 << 30;

impl Fetcher {
    /// Brings one blob into the store, if it is not there, and returns its path. `progress` hears how many bytes are
    /// written; the number falls when a download must start over.
    pub fn fetch_blob(&self, store: &Store, request: &Request, progress: &dyn Fn(u64)) -> Result<PathBuf> {
        let ours = |failure| crate::Error { name: request.name.clone(), failure: Box::new(failure), tried: Vec::new() };
        let kept = |error| ours(Failure::Store(error));
        if let Some(path) = store.blob(&request.digest).map_err(kept)? {
            return Ok(path);
        }
        let claim = store.claim(&request.digest, &|| self.cancelled()).map_err(kept)?;
        let _claim = claim.ok_or_else(|| ours(Failure::Cancelled))?;
        // Whoever had the claim before us may have brought it.
        if let Some(path) = store.blob(&request.digest).map_err(kept)? {
            return Ok(path);
        }
        let writer = store.writer().map_err(kept)?;
        let Request { urls, digest, size, name } = request;
        let wanted = Some(*digest);
        Download { fetcher: self, urls, wanted, size: *size, name, progress, writer }.run().map(|(_, path)| path)
    }

    /// Brings what is at `url` now into the store, and returns its digest and its path there. It is asked for from the
    /// beginning each time: without a digest nobody could tell two halves of different files.
    pub fn fetch_new(&self, store: &Store, url: &str, progress: &dyn Fn(u64)) -> Result<(Digest, PathBuf)> {
        let name = kiln_model::action::file_name(url);
        let kept =
            |error| crate::Error { name: name.to_owned(), failure: Box::new(Failure::Store(error)), tried: Vec::new() };
        let writer = store.writer().map_err(kept)?;
        let urls = &[url.to_owned()];
        Download { fetcher: self, urls, wanted: None, size: None, name, progress, writer }.run()
    }
}

struct Download<'a> {
    fetcher: &'a Fetcher,
    /// Mirrors in order.
    urls: &'a [String],
    /// What it must be, where that is known.
    wanted: Option<Digest>,
    size: Option<u64>,
    name: &'a str,
    progress: &'a dyn Fn(u64),
    writer: BlobWriter<'a>,
}

impl Download<'_> {
    fn run(mut self) -> Result<(Digest, PathBuf)> {
        let mut tried = Tried::default();
        for url in self.urls {
            match self.try_mirror(url, &mut tried) {
                Ok(()) => return self.keep(url, tried),
                Err(failure) => {
                    let ours = failure.is_ours();
                    tried.push(failure);
                    if ours {
                        break;
                    }
                }
            }
        }
        Err(tried.into_error(self.name))
    }

    /// Attempts one URL until all bytes are there and right, or it is hopeless.
    fn try_mirror(&mut self, url: &str, tried: &mut Tried) -> Result<(), Failure> {
        let mut attempt = 0;
        loop {
            let before = self.writer.written();
            let failure = match self.attempt(url) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let wrong = matches!(failure, Failure::WrongDigest { .. } | Failure::WrongSize { .. });
            if wrong || self.wanted.is_none() {
                self.writer.restart().map_err(Failure::Store)?;
            }
            if self.writer.written() >= before + HEADWAY {
                attempt = 0;
            }
            // Wrong bytes may be due to a beginning that came from elsewhere; alone they are final.
            if attempt == self.retries(url) || !(failure.may_pass() || (wrong && before > 0)) {
                return Err(failure);
            }
            attempt += 1;
            tried.push(failure);
            self.fetcher.pause(attempt)?;
        }
    }

    /// Where another mirror is at hand, patience with this one is short.
    fn retries(&self, url: &str) -> u32 {
        let retries = self.fetcher.options.retries;
        if self.urls.last().is_some_and(|last| last == url) { retries } else { retries.min(1) }
    }

    fn attempt(&mut self, url: &str) -> Result<(), Failure> {
        let ask = Ask { from: self.writer.written(), ..Ask::default() };
        let reply = match self.fetcher.http.open(url, &ask) {
            Ok(Said::Reply(reply)) => reply,
            // Nothing is left to send: either all is there, or what is here is not the beginning of it.
            Err(Failure::Unexpected { status: 416, .. }) if ask.from > 0 => return self.check(url),
            Ok(Said::Unchanged) => return Err(Failure::NotHttp { url: shown(url) }),
            Err(failure) => return Err(failure),
        };
        if reply.from != self.writer.written() {
            self.writer.restart().map_err(Failure::Store)?;
        }
        let told = reply.length;
        self.refuse_other_size(url, told)?;
        self.copy(url, reply)?;
        match told.or(self.size) {
            Some(expected) if self.writer.written() < expected => {
                Err(Failure::Truncated { url: shown(url), got: self.writer.written(), expected })
            }
            _ => self.check(url),
        }
    }

    fn refuse_other_size(&self, url: &str, told: Option<u64>) -> Result<(), Failure> {
        match (self.size, told) {
            (Some(expected), Some(got)) if expected != got => {
                Err(Failure::WrongSize { url: shown(url), expected, got })
            }
            (None, Some(got)) if got > MOST => Err(Failure::TooLarge { url: shown(url), limit: MOST }),
            _ => Ok(()),
        }
    }

    fn copy(&mut self, url: &str, mut reply: Box<Reply>) -> Result<(), Failure> {
        let mut block = Vec::new();
        loop {
            if self.fetcher.cancelled() {
                return Err(Failure::Cancelled);
            }
            block.clear();
            match reply.body.read(&mut block) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(failure) => return Err(self.truncated(url, reply.length, failure)),
            }
            self.writer.write_all(&block).map_err(|source| self.unwritable(source))?;
            (self.progress)(self.writer.written());
            match self.size {
                Some(expected) if self.writer.written() > expected => {
                    return Err(Failure::WrongSize { url: shown(url), expected, got: self.writer.written() });
                }
                None if self.writer.written() > MOST => {
                    return Err(Failure::TooLarge { url: shown(url), limit: MOST });
                }
                _ => {}
            }
        }
    }

    /// A connection that ends before its time is a truncated download, whatever the client calls it.
    fn truncated(&self, url: &str, told: Option<u64>, failure: Failure) -> Failure {
        match (failure, told.or(self.size)) {
            (Failure::Broken { .. }, Some(expected)) => {
                Failure::Truncated { url: shown(url), got: self.writer.written(), expected }
            }
            (failure, _) => failure,
        }
    }

    fn unwritable(&self, source: std::io::Error) -> Failure {
        Failure::File { path: format!("the store's copy of {}", self.name), source }
    }

    /// Compares the digest of all that was written.
    fn check(&self, url: &str) -> Result<(), Failure> {
        let Some(expected) = self.wanted else { return Ok(()) };
        let got = self.writer.digest();
        if got == expected { Ok(()) } else { Err(Failure::WrongDigest { url: shown(url), expected, got }) }
    }

    fn keep(self, url: &str, mut tried: Tried) -> Result<(Digest, PathBuf)> {
        match self.writer.finish(self.wanted) {
            Ok(kept) => Ok(kept),
            Err(kiln_store::Error::WrongDigest { expected, got }) => {
                tried.push(Failure::WrongDigest { url: shown(url), expected, got });
                Err(tried.into_error(self.name))
            }
            Err(error) => {
                tried.push(Failure::Store(error));
                Err(tried.into_error(self.name))
            }
        }
    }
}
