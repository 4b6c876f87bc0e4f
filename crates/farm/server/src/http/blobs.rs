//! Blobs: uploads in pieces, downloads with ranges.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response};
use kiln_farm_api::{Problem, Upload};
use kiln_model::Digest;

use super::caller::Anyone;
use super::range;
use crate::blobs::Sent;
use crate::error::{Error, Result};
use crate::farm::Farm;

/// Longest blob, bytes: 1 TiB.
const LONGEST: u64 = 1 << 40;

/// Says how far an upload of who asks has come. A blob that he may not name is to be sent like one that is not here.
#[utoipa::path(get, path = "/uploads/{digest}", tag = "blobs", params(("digest" = String, Path, description = "SHA-256")),
    responses((status = 200, body = Upload)))]
pub async fn state(State(farm): State<Farm>, anyone: Anyone, Path(digest): Path<Digest>) -> Result<Json<Upload>> {
    Ok(Json(farm.upload(Sent { by: anyone.holder(), digest }).await?))
}

/// Appends a piece to an upload; with the last one the digest is checked.
#[utoipa::path(patch, path = "/uploads/{digest}", tag = "blobs", request_body(content_type = "application/octet-stream"),
    params(("digest" = String, Path, description = "SHA-256"),
        ("upload-offset" = u64, Header, description = "where the piece begins"),
        ("upload-length" = u64, Header, description = "how long the whole is")),
    responses((status = 200, body = Upload), (status = 403, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem),
        (status = 503, body = Problem), (status = 507, body = Problem)))]
pub async fn append(
    State(farm): State<Farm>,
    anyone: Anyone,
    Path(digest): Path<Digest>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Upload>> {
    if let Anyone::Person(person) = &anyone {
        person.may_upload(&farm).await?;
    }
    let (offset, length) = (number(&headers, "upload-offset")?, number(&headers, "upload-length")?);
    if length > LONGEST {
        return Err(Error::bad(format!("a blob has {LONGEST} bytes at most")));
    }
    let sent = Sent { by: anyone.holder(), digest };
    Ok(Json(farm.append(sent, offset, length, body.into_data_stream()).await?))
}

fn number(headers: &HeaderMap, name: &str) -> Result<u64> {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok());
    value.ok_or_else(|| Error::bad(format!("the header `{name}` is to be a number of bytes")))
}

/// Downloads a blob; `Range` is honoured. Nodes only: people ask for artifacts of builds.
#[utoipa::path(get, path = "/blobs/{digest}", tag = "blobs", params(("digest" = String, Path, description = "SHA-256")),
    responses((status = 200, content_type = "application/octet-stream"), (status = 206), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn download(
    State(farm): State<Farm>,
    anyone: Anyone,
    Path(digest): Path<Digest>,
    headers: HeaderMap,
) -> Result<Response<Body>> {
    match anyone {
        Anyone::Person(person) => person.administers()?,
        Anyone::Machine(node) if farm.db.is_input_of(digest, node.id).await? => {}
        Anyone::Machine(_) if farm.db.is_of_stage(digest).await? => {}
        Anyone::Machine(_) => return Err(Error::missing("blob", digest)),
    }
    range::blob(&farm, digest, &headers).await
}
