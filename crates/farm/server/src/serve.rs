//! A server from its beginning to its end.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use kiln_farm_api::{Name, NewProject, Scope, UserId};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::backup::UNCHECKED;
use crate::blobs::{self, Blobs, Bucket};
pub use crate::config::Config;
use crate::connections::Patience;
use crate::db::elsewhere::{Ear, QUIET};
use crate::db::{self, Db, Kind};
use crate::dispatch::Dispatch;
use crate::doors::Doors;
use crate::error::{Error, Result, chain};
use crate::farm::{Clock, Farm};
use crate::hub::Hub;
use crate::limits::Gate;
use crate::metrics::Metrics;
use crate::oidc::Provider;
use crate::tls::Tls;
use crate::vault::Vault;
use crate::{connections, gc, hooks, http, repeats, secret, sources};

/// A server that listens and does not answer yet.
pub struct Server {
    pub farm: Farm,
    /// What opens the door once, on the first start.
    pub welcome: Option<Welcome>,
    doors: Doors,
    tls: Option<Tls>,
    /// Where this machine's own node comes in.
    inside: SocketAddr,
    patience: Patience,
    /// The database that further servers may share.
    shared: Option<String>,
    /// Held while no other server may work in the folder.
    _alone: Option<File>,
}

/// The first administrator's way in.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// A link that logs in once.
    pub link: String,
    /// The file with a token of all scopes.
    pub token: PathBuf,
}

/// How long the first link opens, milliseconds.
const INVITATION: i64 = 24 * 3600 * 1000;

impl Server {
    /// Opens the database and begins to listen. From here on SIGHUP ends nobody: it asks for certificates to be read again, if there
    /// are any.
    pub async fn open(config: Config) -> Result<Self> {
        Self::open_with(config, Arc::new(clock)).await
    }

    /// The same with another clock.
    pub async fn open_with(config: Config, clock: Clock) -> Result<Self> {
        let _ = signal(SignalKind::hangup()).map_err(|error| Error::failed("listen to SIGHUP", error))?;
        let doing = |what: &str, path: &Path| format!("{what} `{}`", path.display());
        private_folder(&config.data).map_err(|error| Error::failed(doing("make", &config.data), error))?;
        let unfinished = config.data.join(UNCHECKED);
        if unfinished.exists() {
            let why = format!("in `{}` a restore broke off, or is under way", config.data.display());
            return Err(Error::conflict(why).hint("empty the folder and restore again, or name another with `--data`"));
        }
        let file = config.data.join("kiln.db");
        let postgres = db::postgres(config.database.as_deref())?;
        // Servers of one PostgreSQL may share a folder too.
        let alone = if postgres.is_none() { Some(alone(&config.data)?) } else { None };
        let url = postgres.map_or_else(|| format!("sqlite:{}?mode=rwc", file.display()), str::to_owned);
        let hub = Arc::new(Hub::default());
        let metrics = Arc::new(Metrics::default());
        let db = Db::open(&url, hub.clone(), metrics.clone(), &config.data.join("backup"), clock()).await?;
        let blobs = open_blobs(&config, &db, metrics.clone()).await?;
        let vault = config.vault.map_or_else(|| Vault::in_folder(&config.data), Ok)?;
        let tls = config.tls.map(|files| Tls::open(files, clock.clone())).transpose()?;
        let (doors, inside) = doors(config.listen, tls.as_ref()).await?;
        let here = doors.address();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = config.address.unwrap_or_else(|| format!("{scheme}://{here}"));
        let until = clock() + config.terms.lease;
        db.write(move |tx| async move { tx.forgive(until).await }.boxed()).await?;
        let dispatch = Dispatch::start(db.clone(), config.terms, clock.clone(), metrics.clone());
        let shared = (db.kind == Kind::Postgres).then_some(url);
        let (address, guesses) = (address.trim_end_matches('/').into(), Arc::default());
        let gate = Arc::new(Gate::new(config.limits));
        let farm = Farm {
            db,
            hub,
            blobs,
            dispatch,
            terms: config.terms,
            clock,
            address,
            guesses,
            gate,
            metrics,
            metrics_open: config.metrics_open,
            channels: config.channels,
            webhooks_private: config.webhooks_private,
            gather: config.gather,
            sources_private: config.sources_private,
            oidc: config.oidc.map(|settings| Arc::new(Provider::new(settings))),
            stages_limit: config.stages_limit,
            vault,
            park: config.park,
        };
        farm.look_at_secrets().await?;
        farm.seal_secrets().await?;
        let welcome = welcome(&farm, &config.data).await?;
        Ok(Self { farm, welcome, doors, tls, inside, patience: config.patience, shared, _alone: alone })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.doors.address()
    }

    /// Returns where a node on this machine comes in, which needs no certificate for it.
    pub fn inside(&self) -> SocketAddr {
        self.inside
    }

    /// Answers until `shutdown`; then ends what it is asked already, but waits for no one who only watches.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let daily = tokio::spawn(gc::daily(self.farm.clone()));
        let telling = tokio::spawn(hooks::run(self.farm.clone()));
        let looking = tokio::spawn(sources::run(self.farm.clone()));
        let repeating = tokio::spawn(repeats::run(self.farm.clone()));
        let listening = self.shared.map(|url| {
            let (waker, own) = self.farm.dispatch.alone();
            tokio::spawn(Ear { url, own, quiet: QUIET }.listen(self.farm.hub.clone(), move || waker.notify_one()))
        });
        let (blobs, uploads) = (self.farm.blobs.clone(), self.farm.blobs.uploads.clone());
        let router = http::router::router(self.farm, self.tls.is_some());
        let renewing = tokio::spawn(renew(self.tls));
        let keys = tokio::spawn(renew_keys(blobs));
        let (told, ending) = tokio::sync::oneshot::channel::<()>();
        let ended = uploads.clone();
        let shutdown = async move {
            shutdown.await;
            ended.end();
            drop(told);
        };
        tokio::select! {
            () = connections::serve(self.doors, router, self.patience, shutdown) => {}
            () = async { let _ = ending.await; tokio::time::sleep(PATIENCE).await } => {}
        }
        daily.abort();
        telling.abort();
        looking.abort();
        repeating.abort();
        renewing.abort();
        keys.abort();
        listening.inspect(tokio::task::JoinHandle::abort);
        // What came of them is of use to other servers once it is parked.
        if tokio::time::timeout(PARKING, uploads.ended()).await.is_err() {
            tracing::warn!("uploads that were under way are not parked: this server goes on with them when it is back");
        }
    }
}

/// Listens: where it is told to, and with TLS also for this machine's own node, which certificates are not made out for.
async fn doors(listen: SocketAddr, tls: Option<&Tls>) -> Result<(Doors, SocketAddr)> {
    let bind = |at: SocketAddr| async move {
        let listener = TcpListener::bind(at).await.map_err(|error| Error::failed(format!("listen on {at}"), error))?;
        let here = listener.local_addr().map_err(|error| Error::failed("listen", error))?;
        Ok::<_, Error>((listener, here))
    };
    let (listener, here) = bind(listen).await?;
    let acceptor = tls.map(Tls::acceptor).transpose()?;
    let doors = Doors::open(listener, acceptor).map_err(|error| Error::failed("listen", error))?;
    if tls.is_none() {
        return Ok((doors, here));
    }
    let (listener, inside) = bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
    Ok((doors.and(listener, None), inside))
}

async fn renew(tls: Option<Tls>) {
    if let Some(tls) = tls
        && let Err(error) = tls.renew().await
    {
        tracing::error!("certificates are not read again: {}", chain(&error));
    }
}

async fn renew_keys(blobs: Blobs) {
    if let Some(keys) = blobs.bucket().and_then(Bucket::credentials)
        && let Err(error) = keys.renew().await
    {
        tracing::error!("the store's credentials are not read again: {}", chain(&error));
    }
}

async fn open_blobs(config: &Config, db: &Db, metrics: Arc<Metrics>) -> Result<Blobs> {
    let (fresh, placed) = (Uuid::now_v7(), db.blobs_in_bucket().await?);
    let farm = db.write(move |tx| async move { tx.farm(fresh).await }.boxed()).await?;
    blobs::open(&config.data, config.reserve, config.store.as_ref(), (&farm, placed), metrics).await
}

/// How long the end of a server waits for what it is asked already.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it waits then for uploads to be parked.
const PARKING: Duration = Duration::from_secs(30);

/// Returns what time it is, milliseconds since 1970.
pub fn clock() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

pub(crate) fn private_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Takes a folder with a SQLite for one server.
fn alone(data: &Path) -> Result<File> {
    let lock = File::create(data.join("serve.lock"));
    let lock = lock.map_err(|error| Error::failed(format!("write to `{}`", data.display()), error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            let why = format!("another server works in `{}`", data.display());
            Err(Error::conflict(why)
                .hint("stop it first, or name another folder with `--data`; several need a PostgreSQL"))
        }
        Err(TryLockError::Error(error)) => Err(Error::failed(format!("lock `{}`", data.display()), error)),
    }
}

/// Writes a file that is its owner's alone to read, and has no name yet: who waits for one by its name finds it whole, or not at all.
pub(crate) fn private_file(folder: &Path, text: &str) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(folder)?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// On the first start makes an administrator, a first project, and two ways in.
async fn welcome(farm: &Farm, data: &Path) -> Result<Option<Welcome>> {
    if !farm.db.users().await?.is_empty() {
        return Ok(None);
    }
    let name: Name = "admin".parse().map_err(|error| Error::failed("name the administrator", error))?;
    let project = "default".parse().map_err(|error| Error::failed("name a project", error))?;
    let project = NewProject { name: project, open: true, weight: None };
    let (user, now, invitation) = (UserId(Uuid::now_v7()), farm.now(), secret::fresh("")?);
    let (token, fresh) = Farm::new_token(&name, "first start".into(), Scope::ALL.into(), None, now)?;
    // The file first: whoever is killed in between begins anew, for there is no user yet.
    let file = data.join("admin.token");
    let written = private_file(data, &fresh.secret).and_then(|whole| Ok(whole.persist(&file)?));
    let written = written.and_then(|_| std::fs::File::open(data)?.sync_all());
    written.map_err(|error| Error::failed(format!("write `{}`", file.display()), error))?;
    let (digest, first) = (invitation.digest, name.clone());
    farm.db
        .write(move |tx| {
            async move {
                tx.make_user(user, &first, None, true, now).await?;
                tx.make_project(&project, Some(user), now).await?;
                tx.make_token(user, &token, &fresh.digest).await?;
                tx.invite(user, &digest, None, now + INVITATION).await?;
                tx.note(now, "kiln", "first start", first.as_str()).await
            }
            .boxed()
        })
        .await?;
    Ok(Some(Welcome { link: format!("{}/welcome/{}", farm.address, invitation.secret), token: file }))
}
