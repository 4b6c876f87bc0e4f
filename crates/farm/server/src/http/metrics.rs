//! `/metrics`, and what counts the requests for it.

use std::net::SocketAddr;
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::caller::Person;
use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::metrics;

/// The format of what Prometheus reads.
const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers with the numbers of the farm: to this machine, to everyone where the operator says so, else to who has a token.
pub async fn show(State(farm): State<Farm>, person: Result<Person>, request: Request) -> Result<Response> {
    let asker = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    if let Err(Error::Busy { .. }) = person {
        return Err(person.expect_err("it is an error"));
    }
    if !farm.metrics_open && !is_here(asker, request.headers()) {
        person.map_err(|error| match error {
            Error::Refused(_) => Error::stranger().hint(
                "send `Authorization: Bearer TOKEN` with a token of scope `read`, ask from the server's own machine, or begin \
                 the server with `--metrics-open`",
            ),
            failed => failed,
        })?;
    }
    Ok(([(header::CONTENT_TYPE, KIND)], metrics::text(&farm).await?).into_response())
}

/// Whether somebody on this machine asks for himself: what comes through a proxy here comes from anywhere.
fn is_here(asker: Option<SocketAddr>, headers: &HeaderMap) -> bool {
    let through = ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name));
    asker.is_some_and(|asker| asker.ip().to_canonical().is_loopback()) && !through
}

/// Counts a request by the pattern of its path.
pub async fn count(State(farm): State<Farm>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    let began = Instant::now();
    let response = next.run(request).await;
    let route = route.as_deref().unwrap_or("none");
    farm.metrics.request(metrics::method(method.as_str()), route, response.status().as_u16(), began.elapsed());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_here_asks_for_others() {
        let at = |text: &str| Some(text.parse().unwrap());
        let none = HeaderMap::new();
        assert!(is_here(at("127.0.0.1:1"), &none) && is_here(at("[::1]:1"), &none));
        assert!(is_here(at("[::ffff:127.0.0.1]:1"), &none));
        assert!(!is_here(at("192.0.2.1:1"), &none) && !is_here(None, &none));
        let mut proxied = HeaderMap::new();
        proxied.insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
        assert!(!is_here(at("127.0.0.1:1"), &proxied));
    }
}
