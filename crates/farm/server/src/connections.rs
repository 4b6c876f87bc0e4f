//! What is said on the connections that came in. Who opens one and asks nothing, or asks a line an hour, does not keep it; who asked
//! once keeps one of HTTP/2 for as long as they answer pings.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tower::ServiceExt as _;

use crate::doors::{Doors, Stream};

/// How long those who come in may take for things.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From coming in until the first request's header is whole.
    pub first: Duration,
    /// From when an answer is all written, which its reader may not have read yet, until the next request's header is whole, of
    /// HTTP/1.1. Longer than clients and proxies keep idle connections (reqwest 90 s, Chrome 300 s): who closes first should be they,
    /// lest a request be lost on its way to a door that just closes.
    pub next: Duration,
    /// How often one of HTTP/2 is asked whether it is still there, and how long it may take to say so before it is closed.
    pub ping: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { first: Duration::from_secs(30), next: Duration::from_secs(330), ping: Duration::from_secs(30) }
    }
}

/// Answers who comes in until `shutdown`; then to its end what is asked already.
pub async fn serve(mut doors: Doors, router: Router, patience: Patience, shutdown: impl Future<Output = ()>) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience.next);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(patience.ping).keep_alive_timeout(patience.ping);
    let (graceful, mut shutdown) = (GracefulShutdown::new(), pin!(shutdown));
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            (stream, peer) = doors.accept() => {
                tokio::spawn(connection(builder.clone(), router.clone(), (stream, peer), patience.first, graceful.watcher()));
            }
        }
    }
    drop(doors);
    graceful.shutdown().await;
}

async fn connection(
    builder: Builder<TokioExecutor>,
    router: Router,
    (stream, peer): (Stream, SocketAddr),
    first: Duration,
    watcher: Watcher,
) {
    let asked = Arc::new(AtomicBool::new(false));
    let asks = asked.clone();
    let service = router.map_request(move |mut request: Request<Incoming>| {
        asks.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.map(Body::new)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(watcher.watch(connection));
    // No library's timeout holds before it is known which HTTP it is.
    let served = match tokio::time::timeout(first, connection.as_mut()).await {
        Err(_) if asked.load(Ordering::Relaxed) => connection.await,
        Err(_) => return tracing::debug!("{peer} came in and asked nothing"),
        Ok(served) => served,
    };
    if let Err(error) = served {
        tracing::debug!("the connection of {peer} ended: {error}");
    }
}
