//! A server of a few hundred words: it leases what it is given, takes what it is told, and can be away.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use kiln_farm_api::secret::{Values, Wanted};
use kiln_farm_api::{Complete, Given, Handed, Holding, Lease, Orders, Poll, Problem, Taken, TaskId, Tell, Upload};
use kiln_model::{Digest, Event};

/// All that a server knows.
#[derive(Default)]
pub struct Facts {
    pub leases: VecDeque<Lease>,
    /// All leases that ever went out.
    pub leased: BTreeMap<Holding, Lease>,
    /// Leases that went out and were not held in a poll yet; they go out again.
    pub out: Vec<Lease>,
    pub stop: Vec<Holding>,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub events: BTreeMap<Holding, Vec<Event>>,
    pub done: BTreeMap<Holding, Complete>,
    /// Every call is answered by 503.
    pub away: bool,
    /// Runs that are not the newest of their task.
    pub old: Vec<Holding>,
    pub credential_is_worth_nothing: bool,
    pub secrets: Values,
    /// So often the question for secrets is not answered.
    pub secrets_away: usize,
    pub last_poll: Option<Poll>,
    pub tells: usize,
}

/// The name of an artifact that no result may have.
pub const UNFIT: &str = "unfit";

/// The server at work.
#[derive(Clone)]
pub struct Farm {
    facts: Arc<Mutex<Facts>>,
    pub address: SocketAddr,
}

impl Farm {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let farm = Self { facts: Arc::default(), address: listener.local_addr().unwrap() };
        let routes = Router::new()
            .route("/api/v1/node/poll", post(poll))
            .route("/api/v1/node/tasks/{task}/events", post(tell))
            .route("/api/v1/node/tasks/{task}/complete", post(complete))
            .route("/api/v1/node/tasks/{task}/secrets", post(secrets))
            .route("/api/v1/node/tasks/{task}/given", post(given))
            .route("/api/v1/blobs/{digest}", get(blob))
            .route("/api/v1/uploads/{digest}", get(upload).patch(piece))
            .with_state(farm.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        farm
    }

    pub fn facts<T>(&self, look: impl FnOnce(&mut Facts) -> T) -> T {
        look(&mut self.facts.lock().unwrap())
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, is: impl Fn(&Facts) -> bool) {
        for _ in 0..1500 {
            if self.facts(|facts| is(facts)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (done, events) = self.facts(|facts| (facts.done.clone(), facts.events.clone()));
        panic!("it never came to this: {what}\n{done:#?}\n{events:#?}");
    }

    /// Says no, if that is how things are.
    fn refuse(&self, holding: Option<Holding>) -> Result<(), Response> {
        let (away, nobody) = self.facts(|facts| (facts.away, facts.credential_is_worth_nothing));
        let old = holding.is_some_and(|holding| self.facts(|facts| facts.old.contains(&holding)));
        match (away, nobody, old) {
            (true, ..) => Err(StatusCode::SERVICE_UNAVAILABLE.into_response()),
            (_, true, _) => Err(StatusCode::UNAUTHORIZED.into_response()),
            (.., true) => Err(StatusCode::CONFLICT.into_response()),
            _ => Ok(()),
        }
    }
}

async fn poll(State(farm): State<Farm>, Json(poll): Json<Poll>) -> Result<Json<Orders>, Response> {
    let until = tokio::time::Instant::now() + Duration::from_millis(poll.wait);
    farm.facts(|facts| {
        let (lost, old) = (std::mem::take(&mut facts.out).into_iter(), facts.old.clone());
        let of = |lease: &Lease| Holding { task: lease.task, epoch: lease.epoch };
        let lost = lost.filter(|lease| !poll.holding.contains(&of(lease)) && !old.contains(&of(lease)));
        lost.for_each(|lease| facts.leases.push_front(lease));
    });
    loop {
        farm.refuse(None)?;
        let orders = farm.facts(|facts| {
            facts.last_poll = Some(poll.clone());
            let count = facts.leases.len().min(poll.free as usize);
            let begin: Vec<_> = facts.leases.drain(..count).collect();
            facts.out.extend(begin.clone());
            let known = begin.iter().map(|lease| (Holding { task: lease.task, epoch: lease.epoch }, lease.clone()));
            facts.leased.extend(known);
            let stop = facts.stop.iter().filter(|stop| poll.holding.contains(stop)).copied().collect();
            Orders { begin, stop }
        });
        if orders != Orders::default() || tokio::time::Instant::now() >= until {
            return Ok(Json(orders));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn tell(
    State(farm): State<Farm>,
    Path(task): Path<TaskId>,
    Json(tell): Json<Tell>,
) -> Result<Json<Taken>, Response> {
    let holding = Holding { task, epoch: tell.epoch };
    farm.refuse(Some(holding))?;
    let seq = farm.facts(|facts| {
        facts.tells += 1;
        let known = facts.events.entry(holding).or_default();
        for event in tell.events {
            if event.seq == known.len() as u64 + 1 {
                known.push(event);
            }
        }
        known.len() as u64
    });
    Ok(Json(Taken { seq }))
}

async fn complete(
    State(farm): State<Farm>,
    Path(task): Path<TaskId>,
    Json(complete): Json<Complete>,
) -> Result<StatusCode, Response> {
    let holding = Holding { task, epoch: complete.epoch };
    farm.refuse(Some(holding))?;
    if complete.artifacts.iter().any(|artifact| artifact.name == UNFIT) {
        return Err(StatusCode::BAD_REQUEST.into_response());
    }
    farm.facts(|facts| {
        let all = complete.artifacts.iter().all(|artifact| facts.blobs.contains_key(&artifact.sha256));
        assert!(all, "blobs first");
        facts.done.insert(holding, complete);
    });
    Ok(StatusCode::NO_CONTENT)
}

async fn secrets(
    State(farm): State<Farm>,
    Path(task): Path<TaskId>,
    Json(Wanted { epoch }): Json<Wanted>,
) -> Result<Json<Values>, Response> {
    let holding = Holding { task, epoch };
    farm.refuse(Some(holding))?;
    let lease = farm.facts(|facts| facts.leased.get(&holding).cloned()).expect("it was leased");
    let away = farm.facts(|facts| {
        let left = facts.secrets_away;
        facts.secrets_away = left.saturating_sub(1);
        left > 0
    });
    if away {
        return Err(StatusCode::SERVICE_UNAVAILABLE.into_response());
    }
    if lease.work.secrets().iter().any(|name| name.as_str() == "NONE") {
        let (title, hint) = ("no secret `NONE`".to_owned(), Some("set it".to_owned()));
        let problem = Problem { status: 422, title, hint, diagnostics: vec![] };
        let kind = [("content-type", "application/problem+json")];
        return Err((StatusCode::UNPROCESSABLE_ENTITY, kind, serde_json::to_vec(&problem).unwrap()).into_response());
    }
    Ok(Json(farm.facts(|facts| facts.secrets.clone())))
}

/// Every file that is taken holds its own name.
async fn given(
    State(farm): State<Farm>,
    Path(task): Path<TaskId>,
    Json(Wanted { epoch }): Json<Wanted>,
) -> Result<Json<Vec<Handed>>, Response> {
    let holding = Holding { task, epoch };
    farm.refuse(Some(holding))?;
    let lease = farm.facts(|facts| facts.leased.get(&holding).cloned()).expect("it was leased");
    let handed = lease.work.given().iter().map(|Given { artifact, path, .. }| {
        let sha256 = Digest::of(artifact);
        farm.facts(|facts| facts.blobs.insert(sha256, artifact.clone().into_bytes()));
        Handed { path: path.clone(), size: artifact.len() as u64, sha256 }
    });
    Ok(Json(handed.collect()))
}

async fn blob(State(farm): State<Farm>, Path(digest): Path<Digest>) -> Result<Vec<u8>, Response> {
    farm.refuse(None)?;
    farm.facts(|facts| facts.blobs.get(&digest).cloned()).ok_or_else(|| StatusCode::NOT_FOUND.into_response())
}

async fn upload(State(farm): State<Farm>, Path(digest): Path<Digest>) -> Result<Json<Upload>, Response> {
    farm.refuse(None)?;
    Ok(Json(Upload { offset: 0, complete: farm.facts(|facts| facts.blobs.contains_key(&digest)) }))
}

async fn piece(
    State(farm): State<Farm>,
    Path(digest): Path<Digest>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<Upload>, Response> {
    farm.refuse(None)?;
    assert_eq!(headers["upload-length"], bytes.len().to_string(), "these tests are of small files");
    if Digest::of(&bytes) != digest {
        return Err(StatusCode::BAD_REQUEST.into_response());
    }
    farm.facts(|facts| facts.blobs.insert(digest, bytes.to_vec()));
    Ok(Json(Upload { offset: bytes.len() as u64, complete: true }))
}
