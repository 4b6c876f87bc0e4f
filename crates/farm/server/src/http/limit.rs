//! Turns away who asks too often, before anything is done for them.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
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
    let path = request.uri().path();
    let let_in = match digest.as_deref() {
        known if is_for_all(path) => farm.gate.unasked(asker, known),
        known => farm.gate.address(asker, known.filter(|_| !is_of_strangers(path))),
    };
    if let Err(error) = let_in {
        return error.into_response();
    }
    let response = next.run(request).await;
    if let Some(digest) = digest.filter(|_| turned_away(&response)) {
        farm.gate.bad(&digest);
    }
    response
}

/// Whether nobody is asked who they are there: a secret that opens other doors is no reason to ask as often as one likes.
fn is_of_strangers(path: &str) -> bool {
    let push = path.starts_with("/api/v1/projects/") && path.ends_with("/push");
    push || ["/login", "/welcome", "/metrics"].iter().any(|door| path.starts_with(door))
}

/// Whether everybody gets the same there, whoever they are.
fn is_for_all(path: &str) -> bool {
    path.starts_with("/assets/") || path == "/api/v1/openapi.json"
}

/// Whether a secret did not open the door: pages lead those to the login.
fn turned_away(response: &Response) -> bool {
    let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
    response.status() == StatusCode::UNAUTHORIZED || response.status().is_redirection() && to.starts_with("/login")
}
