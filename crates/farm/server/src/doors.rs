//! Where clients come in: connections as they are, and through TLS. Who is slow at the door keeps nobody waiting.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// How long a client may take to greet.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many may greet at the same time; others wait outside.
const GREETING: usize = 1024;

/// A connection, as it is or in TLS.
pub type Stream = Either<TcpStream, TlsStream<TcpStream>>;
type Entering = mpsc::Sender<(Stream, SocketAddr)>;

/// Every way in, as one listener.
pub struct Doors {
    at: SocketAddr,
    entering: Entering,
    entered: mpsc::Receiver<(Stream, SocketAddr)>,
    /// They end with this value, and the doors are closed.
    guards: JoinSet<()>,
}

impl Doors {
    /// Opens a door where `listener` listens.
    pub fn open(listener: TcpListener, tls: Option<TlsAcceptor>) -> std::io::Result<Self> {
        let (entering, entered) = mpsc::channel(64);
        let at = listener.local_addr()?;
        let this = Self { at, entering, entered, guards: JoinSet::new() };
        Ok(this.and(listener, tls))
    }

    /// Opens another.
    pub fn and(mut self, listener: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        let entering = self.entering.clone();
        match tls {
            None => self.guards.spawn(plainly(listener, entering)),
            Some(tls) => self.guards.spawn(greeted(listener, tls, entering)),
        };
        self
    }

    /// Returns who came in next.
    pub async fn accept(&mut self) -> (Stream, SocketAddr) {
        // It has a sender itself, so there is always one.
        match self.entered.recv().await {
            Some(entered) => entered,
            None => std::future::pending().await,
        }
    }

    /// Returns where the first one is.
    pub fn address(&self) -> SocketAddr {
        self.at
    }
}

async fn plainly(mut listener: TcpListener, entering: Entering) {
    loop {
        let (stream, peer) = Listener::accept(&mut listener).await;
        if entering.send((Either::Left(stream), peer)).await.is_err() {
            return;
        }
    }
}

async fn greeted(mut listener: TcpListener, tls: TlsAcceptor, entering: Entering) {
    let places = Arc::new(Semaphore::new(GREETING));
    let mut greetings = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, peer) = Listener::accept(&mut listener).await;
        while greetings.try_join_next().is_some() {}
        let (tls, entering) = (tls.clone(), entering.clone());
        greetings.spawn(async move {
            match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
                Ok(Ok(stream)) => drop(entering.send((Either::Right(stream), peer)).await),
                Ok(Err(error)) => tracing::debug!("{peer} does not come in by TLS: {error}"),
                Err(_) => tracing::debug!("{peer} was too slow at the door"),
            }
            drop(place);
        });
    }
}
