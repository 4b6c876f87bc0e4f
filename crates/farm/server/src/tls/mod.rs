//! TLS by certificate files: what the server shows, and shows anew when the files change. Connections that are open keep what they
//! began with.

mod files;
mod pem;

use std::sync::{Arc, RwLock};

use files::moment;
pub use files::{Files, Flaw};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::error::{Error, Result, chain};
use crate::farm::Clock;
use crate::watch::Watch;

/// What is shown now.
#[derive(Debug)]
pub struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().ok().map(|key| key.clone())
    }
}

/// Certificates in use, and where they came from.
pub struct Tls {
    files: Files,
    watch: Watch,
    current: Arc<Current>,
    clock: Clock,
}

impl Tls {
    pub fn open(files: Files, clock: Clock) -> Result<Self> {
        let watch = Watch::begin([files.certificates.clone(), files.key.clone()]);
        let shown = files.read(clock()).map_err(|flaw| Error::failed("read the certificate and its key", flaw))?;
        tracing::info!("the certificate is good until {}", moment(shown.until));
        Ok(Self { files, watch, current: Arc::new(Current(RwLock::new(shown.key))), clock })
    }

    /// Returns what greets clients.
    pub fn acceptor(&self) -> Result<TlsAcceptor> {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder =
            builder.with_safe_default_protocol_versions().map_err(|error| Error::failed("set TLS up", error))?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the files again when they change, and at SIGHUP. Those that cannot be used change nothing: of two files one is there first.
    pub async fn renew(self) -> Result<()> {
        self.watch.clone().each(|| self.again()).await
    }

    fn again(&self) {
        match self.files.read((self.clock)()) {
            Ok(shown) => {
                *self.current.0.write().expect("no panic while held") = shown.key;
                tracing::info!("the certificate was read again; it is good until {}", moment(shown.until));
            }
            Err(flaw) => tracing::error!("the certificate stays as it was: {}", chain(&flaw)),
        }
    }
}
