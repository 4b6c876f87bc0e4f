//! Small documents whose digest nobody knows yet, as `InRelease`: fetched anew only when they changed.

use kiln_store::{Doc, Store};
use serde::{Deserialize, Serialize};

use crate::client::{Ask, Reply, Said};
use crate::fetcher::Tried;
use crate::url::shown;
use crate::{Answer, Failure, Fetcher, Result};

/// What tells one state of a document from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

/// What is remembered of an answer.
#[derive(Default, Serialize, Deserialize)]
struct Copy {
    #[serde(flatten)]
    validators: Validators,
    /// Length of the bytes, which follow behind a line feed.
    length: usize,
}

impl Fetcher {
    /// Fetches a document whose digest is not known, of at most `max_bytes`, from the first of `urls` that has it. With a
    /// store, the server is only asked whether there is a newer one than the answer that was remembered last.
    pub fn fetch_small(&self, store: Option<&Store>, urls: &[String], max_bytes: u64) -> Result<Answer> {
        let mut tried = Tried::default();
        for url in urls {
            match self.small_from(store, url, max_bytes, &mut tried) {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    let ours = failure.is_ours();
                    tried.push(failure);
                    if ours {
                        break;
                    }
                }
            }
        }
        let name = urls.last().and_then(|url| url.rsplit('/').next()).unwrap_or_default();
        Err(tried.into_error(name))
    }

    /// Remembers an answer for the next time. Only what was verified may be: whoever is on the way (a hotel's login
    /// page, say) can put any bytes and any date into an answer, and no later one would replace them.
    pub fn remember(&self, store: &Store, answer: &Answer) -> Result<()> {
        if answer.validators == Validators::default() {
            return Ok(());
        }
        let kept = store.put_document(Doc::Answer, &answer.url, &write(&answer.validators, &answer.bytes));
        let ours = |error| Box::new(Failure::Store(error));
        kept.map_err(|error| crate::Error { name: answer.url.clone(), failure: ours(error), tried: Vec::new() })
    }

    fn small_from(&self, store: Option<&Store>, url: &str, max: u64, tried: &mut Tried) -> Result<Answer, Failure> {
        let mut attempt = 0;
        loop {
            let failure = match self.small_once(store, url, max) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if attempt == self.options.retries || !failure.may_pass() {
                return Err(failure);
            }
            attempt += 1;
            tried.push(failure);
            self.pause(attempt)?;
        }
    }

    fn small_once(&self, store: Option<&Store>, url: &str, max: u64) -> Result<Answer, Failure> {
        let stored = store.map(|store| store.document(Doc::Answer, &shown(url))).transpose().map_err(Failure::Store)?;
        let stored = stored.flatten().and_then(|text| read(&text));
        let ask = stored.as_ref().map_or_else(Ask::default, |(copy, _)| Ask {
            etag: copy.validators.etag.clone(),
            last_modified: copy.validators.last_modified.clone(),
            from: 0,
        });
        let reply = match (self.http.open(url, &ask)?, stored) {
            (Said::Reply(reply), _) => reply,
            (Said::Unchanged, Some((Copy { validators, .. }, bytes))) => {
                return Ok(Answer { bytes, url: shown(url), unchanged: true, date: None, validators });
            }
            (Said::Unchanged, None) => return Err(Failure::NotHttp { url: shown(url) }),
        };
        let validators = Validators { etag: reply.etag.clone(), last_modified: reply.last_modified.clone() };
        let date = reply.date.clone();
        let bytes = self.whole(url, reply, max)?;
        Ok(Answer { bytes, url: shown(url), unchanged: false, date, validators })
    }

    fn whole(&self, url: &str, mut reply: Box<Reply>, max: u64) -> Result<Vec<u8>, Failure> {
        let too_large = || Failure::TooLarge { url: shown(url), limit: max };
        if reply.length.is_some_and(|length| length > max) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        loop {
            if self.cancelled() {
                return Err(Failure::Cancelled);
            }
            match (reply.body.read(&mut bytes), reply.length) {
                (Ok(true), _) => {}
                (Ok(false), None) => return Ok(bytes),
                (Ok(false), Some(expected)) if bytes.len() as u64 == expected => return Ok(bytes),
                (Ok(false) | Err(Failure::Broken { .. }), Some(expected)) => {
                    return Err(Failure::Truncated { url: shown(url), got: bytes.len() as u64, expected });
                }
                (Err(failure), _) => return Err(failure),
            }
            if bytes.len() as u64 > max {
                return Err(too_large());
            }
        }
    }
}

fn write(validators: &Validators, bytes: &[u8]) -> Vec<u8> {
    let copy = Copy { validators: validators.clone(), length: bytes.len() };
    let mut text = serde_json::to_vec(&copy).expect("plain values serialise");
    text.push(b'\n');
    text.extend_from_slice(bytes);
    text
}

fn read(text: &[u8]) -> Option<(Copy, Vec<u8>)> {
    let end = text.iter().position(|&byte| byte == b'\n')?;
    let copy: Copy = serde_json::from_slice(&text[..end]).ok()?;
    let bytes = text[end + 1..].to_vec();
    (bytes.len() == copy.length).then_some((copy, bytes))
}
