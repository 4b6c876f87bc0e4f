//! Blobs as answers, or the part of them that `Range` asks for (RFC 9110, section 14).

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode, header};
use kiln_model::Digest;

use crate::error::{Error, Result};
use crate::farm::Farm;

/// Answers with a blob's bytes.
pub async fn blob(farm: &Farm, digest: Digest, headers: &HeaderMap) -> Result<Response<Body>> {
    let known = farm.db.blob(digest).await?.ok_or_else(|| Error::missing("blob", digest))?;
    let size = known.size;
    let tag = format!("\"{digest}\"");
    // A part of something else is of no use to who has the rest.
    let same = headers.get(header::IF_RANGE).is_none_or(|value| value == tag.as_str());
    let said = headers.get(header::RANGE).and_then(|value| value.to_str().ok()).filter(|_| same);
    let answer = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, tag)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    let (first, last, answer) = match said.map(|said| part(said, size)) {
        None | Some(Part::All) => (0, size, answer),
        Some(Part::Of(first, last)) => {
            let range = format!("bytes {first}-{}/{size}", last - 1);
            (first, last, answer.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range))
        }
        Some(Part::Outside) => {
            let range = format!("bytes */{size}");
            let answer = answer.status(StatusCode::RANGE_NOT_SATISFIABLE).header(header::CONTENT_RANGE, range);
            return answer.body(Body::empty()).map_err(|error| Error::failed("answer", error));
        }
    };
    let bytes = farm.blobs.read(digest, &known.place, first..last).await?;
    let answer = answer.header(header::CONTENT_LENGTH, last - first).body(Body::from_stream(bytes));
    answer.map_err(|error| Error::failed("answer", error))
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    All,
    /// From the first to before the last.
    Of(u64, u64),
    Outside,
}

/// Returns what a `Range` asks for; several parts at once, and what makes no sense, are answered with all.
fn part(said: &str, size: u64) -> Part {
    let Some((first, last)) = said.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Part::All;
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if last.is_empty() => (first, size),
        (Err(_), Ok(last)) if first.is_empty() => (size.saturating_sub(last), size),
        _ => return Part::All,
    };
    if range.0 < range.1 { Part::Of(range.0, range.1) } else { Part::Outside }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_range_asks_for() {
        let cases = [
            ("bytes=0-4", Part::Of(0, 5)),
            ("bytes=5-", Part::Of(5, 10)),
            ("bytes=-3", Part::Of(7, 10)),
            ("bytes=-99", Part::Of(0, 10)),
            ("bytes=8-99", Part::Of(8, 10)),
            ("bytes=10-", Part::Outside),
            ("bytes=-0", Part::Outside),
            ("bytes=4-2", Part::All),
            ("bytes=0-1,4-5", Part::All),
            ("lines=0-1", Part::All),
            ("bytes=", Part::All),
        ];
        for (said, wanted) in cases {
            assert_eq!(part(said, 10), wanted, "{said}");
        }
    }
}
