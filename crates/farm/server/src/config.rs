//! What a server needs to know.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::blobs::Address;
use crate::connections::Patience;
use crate::decide::Terms;
use crate::decide::park::OFTEN;
use crate::limits::Limits;
use crate::sources::Gather;
use crate::vault::Vault;
use crate::{oidc, tls};

/// What a server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its folder: database and artifacts.
    pub data: PathBuf,
    /// The PostgreSQL, `postgres://…`; none: a SQLite in `data`.
    pub database: Option<String>,
    /// What it is called from outside; none: the address it listens on.
    pub address: Option<String>,
    /// The certificate it shows; none: it speaks plain HTTP.
    pub tls: Option<tls::Files>,
    /// Bytes that stay free on its disk.
    pub reserve: u64,
    /// The bucket for artifacts; none: they are in `data`.
    pub store: Option<Address>,
    /// After so many bytes an upload under way is put into the bucket as far as it has come.
    pub park: u64,
    pub terms: Terms,
    /// How long clients may take to ask.
    pub patience: Patience,
    pub limits: Limits,
    /// Whether everyone may look at the metrics, not only this machine and who has a token.
    pub metrics_open: bool,
    /// Whether somebody tells a Redis of tasks that name a channel.
    pub channels: bool,
    /// Whether webhooks may lead into the server's own network.
    pub webhooks_private: bool,
    /// Bytes of stages that are kept for nodes; 0: none are taken.
    pub stages_limit: u64,
    /// What reads the repositories of sources; none: there are no sources.
    pub gather: Option<Gather>,
    /// Whether sources may lie in the server's own network, or on its disk.
    pub sources_private: bool,
    /// By whom people log in besides; none: by password alone.
    pub oidc: Option<oidc::Settings>,
    /// What secrets of projects are kept with; none: the key in `data`, which is made there.
    pub vault: Option<Vault>,
}

impl Config {
    /// Returns what a server does that nobody wishes anything of.
    pub fn new(listen: SocketAddr, data: PathBuf) -> Self {
        Self {
            listen,
            data,
            database: None,
            address: None,
            tls: None,
            reserve: 1 << 30,
            store: None,
            park: OFTEN,
            terms: Terms::default(),
            patience: Patience::default(),
            limits: Limits::default(),
            metrics_open: false,
            channels: false,
            webhooks_private: false,
            stages_limit: 20 << 30,
            gather: None,
            sources_private: false,
            oidc: None,
            vault: None,
        }
    }
}
