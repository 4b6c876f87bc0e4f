//! Stages that nodes share: what another node made is not made again here, and what was made here goes to the others.
//!
//! The kilns that build ask at a socket in the node's folder (`kiln_engine` tells the words), the node asks the server. Whatever fails
//! is answered with "none", and the kiln builds: nothing depends on this. What a kiln has packed goes to the server while it builds on.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kiln_farm_api::{Client, Error, Kept, StageFound};
use kiln_model::Digest;
use tokio::fs;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::hash;

/// Longest time a kiln waits for a stage: building it would take no longer.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longest time the server may think about a stage.
const ANSWER: Duration = Duration::from_secs(10);
/// Stages on their way to the server at once.
const AT_ONCE: usize = 2;

/// The node's part of it, until dropped.
#[derive(Debug)]
pub struct Stages {
    /// Where kilns ask.
    pub socket: PathBuf,
    listening: JoinHandle<()>,
}

impl Stages {
    /// Begins to answer in `folder`, which is nobody else's.
    pub fn begin(folder: PathBuf, client: Client) -> io::Result<Self> {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let socket = folder.join("socket");
        let listener = UnixListener::bind(&socket)?;
        let desk = Arc::new(Desk {
            folder,
            client,
            count: AtomicU64::new(0),
            complained: AtomicBool::new(false),
            sending: Arc::new(Semaphore::new(AT_ONCE)),
        });
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(desk.clone().serve(stream));
            }
        });
        Ok(Self { socket, listening })
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Where one kiln after the other is answered.
#[derive(Debug)]
struct Desk {
    folder: PathBuf,
    client: Client,
    count: AtomicU64,
    /// Whether somebody was told that it does not work; once is enough.
    complained: AtomicBool,
    sending: Arc<Semaphore>,
}

impl Desk {
    async fn serve(self: Arc<Self>, stream: UnixStream) {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let (mut packing, mut given) = (None, None);
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = match said(&line) {
                Some(("fetch", stage)) => self.fetch(stage).await.map(|(path, kept)| {
                    given = Some((stage, kept));
                    format!("file {}", path.display())
                }),
                Some(("bad", stage)) => {
                    if let Some((_, kept)) = given.take().filter(|(given, _)| *given == stage) {
                        self.refuse(stage, kept).await;
                    }
                    None
                }
                Some(("offer", stage)) if self.wants(stage).await => {
                    let path = self.fresh();
                    packing = Some((stage, path.clone()));
                    Some(format!("pack {}", path.display()))
                }
                Some(("packed", stage)) => {
                    if let Some((_, path)) = packing.take().filter(|(packed, _)| *packed == stage) {
                        tokio::spawn(self.clone().send(stage, path));
                    }
                    None
                }
                _ => None,
            };
            let answer = answer.unwrap_or_else(|| "none".into()) + "\n";
            if write.write_all(answer.as_bytes()).await.is_err() {
                break;
            }
        }
        if let Some((_, path)) = packing {
            let _ = fs::remove_file(path).await;
        }
    }

    fn fresh(&self) -> PathBuf {
        self.folder.join(format!("{}.layer", self.count.fetch_add(1, Ordering::Relaxed)))
    }

    /// Downloads a stage, if the server has it.
    async fn fetch(&self, stage: Digest) -> Option<(PathBuf, Kept)> {
        let kept = self.ask(stage).await?.stage?;
        let Kept { sha256, size } = kept;
        let path = self.fresh();
        let fetched = timeout(PATIENCE, self.client.download(sha256, &path)).await;
        let hashed = path.clone();
        let sound = match fetched {
            Ok(Ok(())) => {
                matches!(spawn_blocking(move || hash::file(&hashed)).await, Ok(Ok(found)) if found == (size, sha256))
            }
            Ok(Err(error)) => self.complain("fetch a stage", &error),
            Err(_) => false,
        };
        if sound {
            return Some((path, kept));
        }
        let _ = fs::remove_file(path).await;
        None
    }

    /// Tells the server that the bytes of a stage are none.
    async fn refuse(&self, stage: Digest, kept: Kept) {
        match timeout(ANSWER, self.client.drop_stage(stage, &kept)).await {
            Ok(Ok(())) => tracing::warn!("stage {stage} of the server, blob {}, could not be unpacked", kept.sha256),
            Ok(Err(error)) => drop(self.complain("refuse a stage", &error)),
            Err(_) => {}
        }
    }

    async fn wants(&self, stage: Digest) -> bool {
        self.ask(stage).await.is_some_and(|found| found.stage.is_none() && found.wanted)
    }

    async fn ask(&self, stage: Digest) -> Option<StageFound> {
        match timeout(ANSWER, self.client.stage(stage)).await.ok()? {
            Ok(found) => Some(found),
            Err(error) => {
                self.complain("ask for a stage", &error);
                None
            }
        }
    }

    /// Gives the server a stage that a kiln has packed.
    async fn send(self: Arc<Self>, stage: Digest, path: PathBuf) {
        let Ok(_turn) = self.sending.clone().acquire_owned().await else { return };
        let hashed = path.clone();
        if let Ok(Ok((size, sha256))) = spawn_blocking(move || hash::file(&hashed)).await {
            let sent = async {
                self.client.upload(sha256, &path).await?;
                self.client.keep_stage(stage, &Kept { sha256, size }).await
            };
            match sent.await {
                Ok(()) => tracing::debug!("stage {stage} is with the server: {size} bytes"),
                Err(error) => drop(self.complain("send a stage", &error)),
            }
        }
        let _ = fs::remove_file(path).await;
    }

    /// Says once that it does not work; returns false.
    fn complain(&self, doing: &str, error: &Error) -> bool {
        if !self.complained.swap(true, Ordering::Relaxed) {
            tracing::warn!("{doing}: {error}; builds go on without the farm's stages");
        }
        false
    }
}

/// Reads a line of a kiln's.
fn said(line: &str) -> Option<(&str, Digest)> {
    let (verb, stage) = line.split_once(' ')?;
    Some((verb, stage.parse().ok()?))
}
