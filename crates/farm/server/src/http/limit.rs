//! Turns away who asks too often, before anything is done for them.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::caller::secret_of;
use crate::farm::Farm;
use crate::limits::asker;
use crate::secret;

/// What says that the server lives is asked all the time, by those who watch over it.
const FREE: [&str; 2] = ["/health", "/ready"];

pub async fn limit(State(farm): State<Farm>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let Some(peer) = peer.filter(|_| !FREE.contains(&request.uri().path())) else { return next.run(request).await };
    let asker = asker(peer, request.headers(), farm.gate.proxies());
    let digest = secret_of(request.headers()).map(secret::digest);
    if let Err(error) = farm.gate.address(asker, digest.as_deref()) {
        return error.into_response();
    }
    let response = next.run(request).await;
    if let Some(digest) = digest.filter(|_| response.status() == StatusCode::UNAUTHORIZED) {
        farm.gate.bad(&digest);
    }
    response
}
