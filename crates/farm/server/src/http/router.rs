//! What answers where.

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{access, blobs, builds, events, gc, hooks, limit, metrics, nodes, repeats, schedules, secrets, sources};
use crate::error::chain;
use crate::farm::Farm;

/// Longest body of a request that is no upload, bytes.
const BODY: usize = 16 << 20;

/// How long whoever asks may take to ask, and the server to answer; logs, uploads and downloads take as long as they do.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long browsers are to remember that there is TLS here.
const STRICT: &str = "max-age=31536000";

/// Returns everything the server answers; `tls`: where it shows a certificate itself.
pub fn router(farm: Farm, tls: bool) -> Router {
    let (api, document) = api().split_for_parts();
    let document = std::sync::Arc::new(document);
    let shown = get(move || async move { axum::Json((*document).clone()) });
    let header = |name: &'static str, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let router = Router::new()
        .nest(kiln_farm_api::routes::API, api.route("/openapi.json", shown))
        .merge(crate::pages::router().layer(patience()))
        .route("/health", get(async || "alive\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics::show))
        .layer(from_fn_with_state(farm.clone(), limit::limit))
        .layer(from_fn_with_state(farm.clone(), metrics::count))
        .layer(CatchPanicLayer::new())
        .layer(header("x-content-type-options", "nosniff"))
        .layer(header("referrer-policy", "same-origin"))
        .layer(header("x-frame-options", "DENY"))
        .layer(header(
            "content-security-policy",
            "default-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'",
        ))
        .with_state(farm);
    if tls { router.layer(header("strict-transport-security", STRICT)) } else { router }
}

fn patience() -> TimeoutLayer {
    // Not 408: browsers send what was answered so again by themselves.
    TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, PATIENCE)
}

/// Returns the API's description.
pub fn openapi() -> OpenApi {
    let mut document = api().into_openapi();
    document.info.title = "kiln farm".into();
    document.info.version = env!("CARGO_PKG_VERSION").into();
    document.info.license = None;
    document.info.description = None;
    document
}

fn api() -> OpenApiRouter<Farm> {
    let quick = OpenApiRouter::new()
        .routes(routes!(builds::submit, builds::list))
        .routes(routes!(builds::show))
        .routes(routes!(builds::cancel))
        .routes(routes!(builds::retry))
        .routes(routes!(builds::queue))
        .routes(routes!(gc::pin))
        .routes(routes!(gc::unpin))
        .routes(routes!(gc::set))
        .routes(routes!(hooks::list, hooks::make))
        .routes(routes!(hooks::forget))
        .routes(routes!(hooks::deliveries))
        .routes(routes!(hooks::again))
        .routes(routes!(sources::list, sources::make))
        .routes(routes!(sources::forget))
        .routes(routes!(sources::pushes, sources::build))
        .routes(routes!(sources::push))
        .routes(routes!(schedules::list, schedules::make))
        .routes(routes!(schedules::enable, schedules::forget))
        .routes(routes!(repeats::list, repeats::make))
        .routes(routes!(repeats::enable, repeats::forget))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::set, secrets::forget))
        .routes(routes!(nodes::list, nodes::enrol))
        .routes(routes!(nodes::revoke))
        .routes(routes!(nodes::forget))
        .routes(routes!(nodes::poll))
        .routes(routes!(nodes::tell))
        .routes(routes!(nodes::complete))
        .routes(routes!(nodes::handed))
        .routes(routes!(secrets::values))
        .routes(routes!(nodes::stage, nodes::keep_stage, nodes::drop_stage))
        .routes(routes!(access::me))
        .routes(routes!(access::projects, access::make_project))
        .routes(routes!(access::change_project))
        .routes(routes!(access::join))
        .routes(routes!(access::leave))
        .routes(routes!(access::users, access::make_user))
        .routes(routes!(access::invite))
        .routes(routes!(access::drop_user))
        .routes(routes!(access::tokens, access::make_token))
        .routes(routes!(access::drop_token))
        .routes(routes!(access::identities, access::unlink))
        .routes(routes!(access::audit))
        .routes(routes!(blobs::state))
        .layer(patience())
        .layer(DefaultBodyLimit::max(BODY));
    let long = OpenApiRouter::new()
        .routes(routes!(builds::artifact))
        .routes(routes!(events::events))
        .routes(routes!(events::log))
        .routes(routes!(blobs::download))
        .routes(routes!(blobs::append))
        .routes(routes!(gc::gc))
        .layer(DefaultBodyLimit::disable());
    quick.merge(long)
}

/// Whether the database takes changes: one is made, so that a full disk and a server that is only read from are seen. Others that ask at
/// the same time share its transaction.
async fn ready(State(farm): State<Farm>) -> (StatusCode, &'static str) {
    let now = farm.now();
    let job = farm.db.write(move |tx| Box::pin(async move { tx.seen_ready(now).await }));
    match tokio::time::timeout(Duration::from_secs(5), job).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n"),
        Ok(Err(error)) => {
            tracing::warn!("not ready: {}", chain(&error));
            (StatusCode::SERVICE_UNAVAILABLE, "the database takes no changes\n")
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n"),
    }
}
