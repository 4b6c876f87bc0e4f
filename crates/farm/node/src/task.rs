//! One task from its lease to the server's word that it has the result.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_farm_api::points::{self, Point};
use kiln_farm_api::secret::Values;
use kiln_farm_api::task::Failure;
use kiln_farm_api::{Client, Complete, Error, Holding, Lease, Work};
use kiln_model::{Digest, FaultKind};
use tokio::task::{AbortHandle, JoinHandle, spawn_blocking};

use crate::backoff::Backoff;
use crate::build::{self, Ended, Place, Story, farm};
use crate::config::Config;
use crate::decide::holding;
use crate::home::{self, Home};
use crate::outbox::{self, Outcome};
use crate::spool::{Reader, Spool};
use crate::stages::Stages;
use crate::stop::Stop;
use crate::teller::{Teller, Told, Trouble};
use crate::{bundle, hash, upload};

/// What another task made, until it is in its place.
const GIVEN: &str = "given";

/// What all tasks of a node share.
#[derive(Debug)]
pub struct Shop {
    pub config: Config,
    pub client: Client,
    pub home: Home,
    /// What other nodes made; none: this one goes without.
    pub stages: Option<Stages>,
}

/// Does a task. `built` is called when it builds no more; afterwards its result may still be on its way.
pub async fn run(shop: Arc<Shop>, lease: Lease, stop: Stop, built: impl FnOnce()) {
    let holding = holding(&lease);
    let worked = work(&shop, &lease, &stop).await;
    built();
    match worked {
        Ok(Some((folder, complete, telling))) => {
            tokio::select! {
                () = stop.asked() => {}
                () = hand_over(&shop.client, holding, &folder, &complete, telling) => {}
            }
        }
        Ok(None) => {}
        // What cannot even be written down is somebody else's: the lease is held no longer. Not at once, as it may come back here.
        Err(error) => {
            tracing::error!(task = %holding.task, "keep a task's work: {error}");
            tokio::select! {
                () = stop.asked() => {}
                () = tokio::time::sleep(shop.config.wait) => {}
            }
        }
    }
    clear(vec![shop.home.work(holding), shop.home.outbox(holding)]).await;
}

/// Takes up a result that a node before this one left.
pub async fn resume(shop: Arc<Shop>, holding: Holding, stop: Stop) {
    let folder = shop.home.outbox(holding);
    let resumed = async {
        let outcome = outbox::read(&folder)?;
        if outbox::tell_the_rest(&shop.client, holding, &folder, outcome.began).await? == Told::All {
            outbox::deliver(&shop.client, holding, &folder, &outcome.complete).await;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        () = stop.asked() => {}
        done = resumed => if let Err(error) = done {
            tracing::error!(task = %holding.task, "read a result that was left: {error}");
        }
    }
    clear(vec![folder]).await;
}

async fn clear(folders: Vec<PathBuf>) {
    let _ = spawn_blocking(move || folders.iter().for_each(|folder| home::remove(folder))).await;
}

async fn hand_over(client: &Client, holding: Holding, folder: &Path, complete: &Complete, mut telling: Telling) {
    if telling.ended().await == Told::All {
        outbox::deliver(client, holding, folder, complete).await;
    }
}

/// Works until there is a result on disk; none where the task was stopped.
async fn work(shop: &Shop, lease: &Lease, stop: &Stop) -> io::Result<Option<(PathBuf, Complete, Telling)>> {
    let (holding, work) = (holding(lease), shop.home.work(holding(lease)));
    fs::create_dir(&work)?;
    let began = now();
    let spool = Spool::create(&work.join(outbox::SPOOL))?;
    let telling = Telling::start(shop, holding, began, Reader::open(&work.join(outbox::SPOOL))?, &spool, stop);
    let mut story = Story::begin(spool);
    let failure = match build(shop, lease, &work, &mut story, stop).await {
        Ended::Stopped => return Ok(None),
        Ended::Well => None,
        Ended::Badly(failure) => Some(failure),
    };
    let listed = list(&work).await;
    let failure = failure.or_else(|| listed.as_ref().err().map(|error| farm(format!("read what was built: {error}"))));
    story.end(failure.as_ref())?;
    let complete = Complete { epoch: lease.epoch, failure, artifacts: listed.unwrap_or_default() };
    points::pass(Point::Built);
    let outcome = Outcome { began, complete: complete.clone() };
    let folder = outbox::commit(&shop.home, holding, &outcome)?;
    Ok(Some((folder, complete, telling)))
}

/// Fetches what the task is made from and builds it.
async fn build(shop: &Shop, lease: &Lease, work: &Path, story: &mut Story, stop: &Stop) -> Ended {
    let (bundle, out) = (work.join("bundle"), work.join(outbox::OUT));
    let Work::Image { bundle: digest, .. } = &lease.work;
    let ready = tokio::select! {
        () = stop.asked() => return Ended::Stopped,
        fetched = fetch(&shop.client, "the bundle", *digest, work.join("bundle.tar.zst")) => fetched,
    };
    let ready = match ready {
        Ok(packed) => {
            points::pass(Point::Fetched);
            unpack(packed, bundle.clone(), shop.config.max_bundle).await
        }
        Err(failure) => Err(failure),
    };
    if let Err(failure) = ready {
        return if stop.is_asked() { Ended::Stopped } else { Ended::Badly(failure) };
    }
    let brought = tokio::select! {
        () = stop.asked() => return Ended::Stopped,
        brought = bring(shop, lease, work, &bundle) => brought,
    };
    let secrets = match brought {
        Ok(secrets) => secrets,
        Err(ended) => return ended,
    };
    let stages = shop.stages.as_ref().map(|stages| stages.socket.as_path());
    let place = Place { work, bundle: &bundle, out: &out, stages, secrets: &secrets };
    build::run(&shop.config, &lease.work, &place, story, stop).await
}

/// Brings what other tasks made into the bundle, and returns the secrets of the recipe.
async fn bring(shop: &Shop, lease: &Lease, work: &Path, bundle: &Path) -> Result<Values, Ended> {
    let Shop { client, config, .. } = shop;
    let (given, secrets) = (!lease.work.given().is_empty(), !lease.work.secrets().is_empty());
    let handed =
        if given { asked("what other tasks made", || client.handed(lease.task, lease.epoch)).await? } else { vec![] };
    let most = config.max_bundle;
    if handed.iter().map(|file| file.size).fold(0, u64::saturating_add) > most {
        let message = format!("what the recipe takes of other tasks is more than {most} bytes");
        return Err(Ended::Badly(Failure { fault: FaultKind::Recipe, message, hint: None }));
    }
    for file in handed {
        let what = format!("`{}`", file.path);
        let fetched = fetch(client, &what, file.sha256, work.join(GIVEN)).await.map_err(Ended::Badly)?;
        bundle::place(&fetched, bundle, &file.path).map_err(|error| Ended::Badly(unfit(&error)))?;
    }
    if secrets { asked("secrets", || client.values(lease.task, lease.epoch)).await } else { Ok(Values::default()) }
}

/// Downloads a blob, waiting for the server while it is away.
async fn fetch(client: &Client, what: &str, digest: Digest, to: PathBuf) -> Result<PathBuf, Failure> {
    let mut backoff = Backoff::of_calls();
    let mut wrong = 0;
    while wrong < 3 {
        match client.download(digest, &to).await {
            Ok(()) => {
                let path = to.clone();
                match spawn_blocking(move || hash::file(&path)).await {
                    Ok(Ok((_, found))) if found == digest => return Ok(to),
                    _ => wrong += 1,
                }
            }
            Err(error) if error.is_passing() || matches!(error.status(), Some(401 | 403)) => backoff.pause().await,
            Err(error) => return Err(farm(format!("fetch {what} ({digest}): {error}"))),
        }
    }
    Err(farm(format!("fetch {what} ({digest}): its bytes are others")))
}

/// Asks the server for what a lease gives a right to, waiting while it is away.
async fn asked<T, A>(what: &str, ask: impl Fn() -> A) -> Result<T, Ended>
where
    A: Future<Output = Result<T, Error>>,
{
    let mut backoff = Backoff::of_calls();
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        match (Trouble::of(&error), error) {
            (Trouble::Passing, _) => backoff.pause().await,
            (Trouble::NotOurs, _) => return Err(Ended::Stopped),
            (Trouble::Lasting(_), Error::Refused(problem)) if problem.status == 422 => {
                return Err(Ended::Badly(Failure {
                    fault: FaultKind::Recipe,
                    message: problem.title,
                    hint: problem.hint,
                }));
            }
            (Trouble::Lasting(why), _) => return Err(Ended::Badly(farm(format!("ask for {what}: {why}")))),
        }
    }
}

async fn unpack(packed: PathBuf, to: PathBuf, most: u64) -> Result<(), Failure> {
    let unpacked = spawn_blocking(move || {
        let mut file = File::open(&packed).map_err(bundle::Error::Read)?;
        bundle::unpack(&mut file, &to, most)
    });
    match unpacked.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(unfit(&error)),
        Err(error) => Err(farm(format!("unpack the bundle: {error}"))),
    }
}

fn unfit(error: &bundle::Error) -> Failure {
    let fault = if error.is_ours() { FaultKind::Farm } else { FaultKind::Recipe };
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Failure { fault, message: format!("{error}{cause}"), hint: None }
}

/// Lists what was built, and removes what is of no use any more.
async fn list(work: &Path) -> io::Result<Vec<kiln_farm_api::Stored>> {
    let work = work.to_owned();
    let listed = spawn_blocking(move || {
        home::remove(&work.join("bundle"));
        for file in ["bundle.tar.zst", GIVEN] {
            let _ = fs::remove_file(work.join(file));
        }
        upload::list(&work.join(outbox::OUT))
    });
    listed.await.map_err(io::Error::other)?
}

/// A teller at work; it stops with whoever holds this, and stops the task where the lease is not this node's any more.
#[derive(Debug)]
struct Telling {
    task: JoinHandle<Told>,
    abort: AbortHandle,
}

impl Telling {
    fn start(shop: &Shop, holding: Holding, began: i64, reader: Reader, spool: &Spool, stop: &Stop) -> Self {
        let teller = Teller { client: shop.client.clone(), holding, began, reader, progress: spool.watch() };
        let stop = stop.clone();
        let task = tokio::spawn(async move {
            let told = teller.run().await;
            if told == Told::NotOurs {
                stop.ask();
            }
            told
        });
        Self { abort: task.abort_handle(), task }
    }

    async fn ended(&mut self) -> Told {
        (&mut self.task).await.unwrap_or(Told::NotOurs)
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
