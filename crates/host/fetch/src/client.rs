//! One request: from a URL to an open body, or to the failure it is.

use std::error::Error as _;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::{Arc, OnceLock};

use reqwest::header::{
    AGE, CONTENT_RANGE, DATE, ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RANGE,
};
use reqwest::{Response, StatusCode};

use crate::line::{Line, REDIRECTS};
use crate::url::{file, shown};
use crate::{Failure, Options};

/// Bytes read from a file at once.
const BLOCK: u64 = 128 * 1024;

pub(crate) struct Http {
    options: Options,
    /// Made when the first URL is asked for.
    line: OnceLock<Arc<Line>>,
}

/// What a request asks for besides its URL.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    /// Bytes that are here already.
    pub from: u64,
    /// Answer only if it is no longer this.
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

/// An answer whose body can be read.
pub(crate) struct Reply {
    /// The place of the first byte of the body in the whole.
    pub from: u64,
    /// Length of the whole in bytes, when told.
    pub length: Option<u64>,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    /// The server's time as it says it, unless the answer lay in a cache on the way.
    pub date: Option<String>,
    pub body: Body,
}

/// What the server said.
pub(crate) enum Said {
    Reply(Box<Reply>),
    /// It still is what it was.
    Unchanged,
}

pub(crate) enum Body {
    Http { response: Response, url: String, line: Arc<Line> },
    File { file: File, path: String },
}

impl Http {
    pub fn new(options: &Options) -> Self {
        Self { options: options.clone(), line: OnceLock::new() }
    }

    fn line(&self) -> Result<&Arc<Line>, Failure> {
        if let Some(line) = self.line.get() {
            return Ok(line);
        }
        let line = Line::new(&self.options)?;
        Ok(self.line.get_or_init(|| Arc::new(line)))
    }

    /// Asks for a URL.
    pub fn open(&self, url: &str, ask: &Ask) -> Result<Said, Failure> {
        if url.starts_with("file:") {
            return open_file(url, ask.from).map(|reply| Said::Reply(Box::new(reply)));
        }
        if self.options.offline {
            let known = ask.etag.is_some() || ask.last_modified.is_some();
            return if known { Ok(Said::Unchanged) } else { Err(Failure::Offline { url: shown(url) }) };
        }
        let (line, shown) = (self.line()?, shown(url));
        let response = line.send(url, headers(ask))?.map_err(|error| self.failure(line, url, &error))?;
        match response.status() {
            StatusCode::NOT_MODIFIED => Ok(Said::Unchanged),
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                Ok(Said::Reply(Box::new(reply(shown, ask, response, line)?)))
            }
            status => Err(refusal(shown, status)),
        }
    }

    /// Says what an error of the client is; it has few words for it, so the chain of causes is searched.
    fn failure(&self, line: &Line, url: &str, error: &reqwest::Error) -> Failure {
        let url = shown(url);
        let reason = reason(error);
        let io = io_kind(error);
        if error.is_builder() {
            return Failure::BadUrl { url, reason };
        }
        if error.is_redirect() {
            return Failure::RedirectLoop { url, limit: REDIRECTS };
        }
        if error.is_connect() {
            return match io {
                _ if reason.contains("dns error") => Failure::NameNotFound { url },
                _ if reason.contains("tunnel") || reason.contains("proxy") => Failure::Proxy { url, reason },
                _ if reason.contains("certificate") || reason.contains("tls") => line.untrusted(url, reason),
                Some(io::ErrorKind::ConnectionRefused) => Failure::ConnectionRefused { url },
                _ if error.is_timeout() => Failure::ConnectTimeout { url, seconds: self.options.connect.as_secs() },
                Some(io::ErrorKind::InvalidData) => Failure::Tls { url, reason },
                _ => Failure::Broken { url, reason },
            };
        }
        if reason.contains("invalid HTTP") {
            return Failure::NotHttp { url };
        }
        Failure::Broken { url, reason }
    }
}

fn reply(url: String, ask: &Ask, response: Response, line: &Arc<Line>) -> Result<Reply, Failure> {
    let text = |name| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    let (etag, last_modified) = (text(ETAG), text(LAST_MODIFIED));
    let date = text(DATE).filter(|_| text(AGE).is_none_or(|age| age == "0"));
    let partial = response.status() == StatusCode::PARTIAL_CONTENT;
    let (from, length) = if partial {
        let range = text(CONTENT_RANGE).and_then(|range| content_range(&range));
        // A range nobody asked for, or without a place, cannot be joined to what is here.
        range.filter(|(from, _)| *from == ask.from).ok_or(Failure::NotHttp { url: url.clone() })?
    } else {
        (0, response.content_length())
    };
    let body = Body::Http { response, url, line: Arc::clone(line) };
    Ok(Reply { from, length, etag, last_modified, date, body })
}

impl Body {
    /// Appends what comes next; false at the end, which a broken connection is not.
    pub fn read(&mut self, into: &mut Vec<u8>) -> Result<bool, Failure> {
        match self {
            Self::File { file, path } => {
                let count = file.take(BLOCK).read_to_end(into);
                count.map(|count| count > 0).map_err(|source| Failure::File { path: path.clone(), source })
            }
            Self::Http { response, url, line } => {
                let piece = line.wait(url, response.chunk())?;
                let piece = piece.map_err(|error| Failure::Broken { url: url.clone(), reason: reason(&error) })?;
                piece.iter().for_each(|piece| into.extend_from_slice(piece));
                Ok(piece.is_some())
            }
        }
    }
}

fn open_file(url: &str, from: u64) -> Result<Reply, Failure> {
    let bad = || Failure::BadUrl { url: shown(url), reason: "it names no absolute path".to_owned() };
    let path = file(url).ok_or_else(bad)?;
    let shown_path = path.display().to_string();
    let doing = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Failure::NotFound { url: shown(url), status: 404 },
        _ => Failure::File { path: shown_path.clone(), source },
    };
    let mut file = File::open(&path).map_err(doing)?;
    let length = file.metadata().map_err(doing)?.len();
    file.seek(SeekFrom::Start(from)).map_err(doing)?;
    let body = Body::File { file, path: shown_path };
    Ok(Reply { from, length: Some(length), etag: None, last_modified: None, date: None, body })
}

fn headers(ask: &Ask) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |name, value: Option<String>| {
        if let Some(value) = value.and_then(|value| value.parse().ok()) {
            headers.insert(name, value);
        }
    };
    put(RANGE, (ask.from > 0).then(|| format!("bytes={}-", ask.from)));
    put(IF_NONE_MATCH, ask.etag.clone());
    put(IF_MODIFIED_SINCE, ask.last_modified.clone());
    headers
}

/// Reads `bytes 5-9/10` as the place and the whole length.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, whole.parse().ok()))
}

fn refusal(url: String, status: StatusCode) -> Failure {
    let number = status.as_u16();
    match number {
        404 | 410 => Failure::NotFound { url, status: number },
        401 | 403 | 451 => Failure::Forbidden { url, status: number },
        407 => Failure::Proxy { url, reason: "it wants credentials (status 407)".to_owned() },
        408 | 425 | 429 | 500..=599 => Failure::ServerError { url, status: number },
        _ => Failure::Unexpected { url, status: number },
    }
}

/// Returns the last cause, which is the one that says something; never the URL, which may hold credentials.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let mut texts = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        next = cause.source();
    }
    texts.join(": ")
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        next = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("5-9/10"), None);
    }
}
