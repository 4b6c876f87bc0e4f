//! A farm whose server is killed again and again, at every point where it hurts, and PostgreSQL while the server is there: no task is
//! lost, none is done twice, no artifact fails its digest, no log has a gap. And no code is missed where the Redis that is told of builds
//! is killed, or the server that tells it, at every point between the two.
//!
//! CI kills it a few times at each point; `KILN_KILLS=1000 cargo test --test farm_kills` does so for as long as asked.

#[path = "farm_kills/redis.rs"]
mod redis;
#[path = "farm_kills/store.rs"]
mod store;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kiln_farm_api::points::Point;
use kiln_farm_api::{
    BuildId, BuildState, Client, Complete, FarmEvent, Holding, Lease, Order, Poll, Resources, Stored, Submission,
    TaskState, Tell, What, Work, routes,
};
use kiln_model::{Arch, Digest, Event, EventKind};
use kiln_testkit::{Postgres, S3, free_port};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn nothing_is_lost_on_sqlite() {
    tokio::runtime::Runtime::new().unwrap().block_on(torment(None, None, kills(2)));
}

#[test]
fn nothing_is_lost_on_postgres_that_dies_too() {
    let postgres = Postgres::start();
    tokio::runtime::Runtime::new().unwrap().block_on(torment(Some(postgres), None, kills(1)));
}

#[test]
fn nothing_is_lost_in_a_bucket() {
    tokio::runtime::Runtime::new().unwrap().block_on(torment(None, Some(S3::start()), kills(1)));
}

#[test]
fn nothing_is_missed_where_redis_dies() {
    tokio::runtime::Runtime::new().unwrap().block_on(redis::torment(kills(2)));
}

#[test]
fn nothing_stays_in_a_store_whose_server_dies() {
    tokio::runtime::Runtime::new().unwrap().block_on(store::torment(kills(1)));
}

/// What a server finds in its database is no news to whoever reads its log.
#[test]
fn the_next_start_says_no_more_than_the_first() {
    let (postgres, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    let said = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--keep-free", "0", "--no-node", "--data"]);
        command.arg(folder.path().join("farm")).env("DATABASE_URL", postgres.url()).env("KILN_LOG", "info");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("kiln is there");
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut said: Vec<String> = lines.take_while(|line| !line.starts_with("kiln serves ")).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        said.retain(|line| !line.is_empty());
        said
    };
    assert_eq!(said(), [""; 0]);
    assert_eq!(said(), [""; 0]);
}

/// How often the server is killed at each point.
fn kills(few: u32) -> u32 {
    std::env::var("KILN_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

/// What comes over a server at a point: how often it passes it before.
#[derive(Clone, Copy)]
enum Trap {
    /// It is killed.
    Kill(Point, u32),
    /// It is stopped, until it is told to go on.
    Stop(Point, u32),
}

/// Between two submissions.
const PAUSE: Duration = Duration::from_millis(60);
const NODES: usize = 3;
const LINES: u64 = 30;

/// A server that is started anew whenever it was killed.
struct Server {
    process: Child,
    port: u16,
    data: PathBuf,
    /// Where its database and its artifacts are, where they are elsewhere.
    environment: BTreeMap<String, String>,
}

impl Server {
    fn start(port: u16, data: PathBuf, environment: BTreeMap<String, String>) -> Self {
        let process = spawn(port, &data, &environment, None);
        Self { process, port, data, environment }
    }

    fn again(&mut self, trap: Option<Trap>) {
        self.process = spawn(self.port, &self.data, &self.environment, trap);
    }

    /// Starts it again and again until it is caught at a point, sooner where it does not come so often.
    async fn caught(&mut self, point: Point, mut count: u32, trap: fn(Point, u32) -> Trap) {
        loop {
            self.kill();
            self.again(Some(trap(point, count)));
            let patience = Duration::from_secs(if count > 1 { 3 } else { 60 });
            let began = Instant::now();
            while began.elapsed() < patience {
                if self.process.try_wait().unwrap().is_some() || self.is_stopped() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(count > 1, "a server never came to `{}`", point.name());
            count = (count / 4).max(1);
        }
    }

    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T"))
    }

    /// Lets one go on that was stopped.
    fn goes_on(&self) {
        let id = Pid::from_raw(self.process.id().cast_signed()).unwrap();
        kill_process(id, Signal::CONT).unwrap();
    }

    /// Kills it whatever it does, and waits for its end.
    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: u16, data: &PathBuf, environment: &BTreeMap<String, String>, trap: Option<Trap>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--keep-free", "0", "--data"]).arg(data);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).env_remove("DATABASE_URL").env("KILN_LOG", "error");
    // Without a node of its own: the nodes are here.
    command.arg("--no-node");
    command.envs(environment);
    match trap {
        Some(Trap::Kill(point, count)) => command.env("KILN_KILL_AT", format!("{}:{count}", point.name())),
        Some(Trap::Stop(point, count)) => command.env("KILN_STOP_AT", format!("{}:{count}", point.name())),
        None => &mut command,
    };
    let mut child = command.spawn().expect("kiln is there");
    // Up when it says so; killed before that is fine too. What it says later is read and forgotten.
    let mut said = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
    if !matches!(trap, Some(Trap::Stop(..))) {
        let _ = said.read_line(&mut String::new());
    }
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::stderr()));
    child
}

async fn torment(mut postgres: Option<Postgres>, s3: Option<S3>, kills: u32) {
    let folder = tempfile::tempdir().unwrap();
    let (port, data) = (free_port(), folder.path().join("farm"));
    let mut environment = s3.as_ref().map(S3::environment).unwrap_or_default();
    environment.extend(s3.as_ref().map(|_| ("KILN_STORE".to_owned(), "s3://artifacts/farm".to_owned())));
    environment.extend(postgres.as_ref().map(|postgres| ("DATABASE_URL".to_owned(), postgres.url())));
    let mut server = Server::start(port, data.clone(), environment);
    let token = std::fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned();
    let address: url::Url = format!("http://127.0.0.1:{port}").parse().unwrap();
    let admin = Client::new(address.clone(), &token);
    let bundle = upload(&admin, &folder.path().join("bundle"), b"bundle").await;
    let (over, results) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut nodes = vec![];
    for number in 0..NODES {
        let enrolled = admin.enrol(format!("n{number}").parse().unwrap()).await.unwrap();
        let client = Client::new(address.clone(), enrolled.credential);
        let node = Node { client, folder: folder.path().join(format!("n{number}")), number, held: BTreeMap::new() };
        nodes.push(tokio::spawn(node.work(over.clone(), results.clone())));
    }
    let enough = Arc::new(AtomicBool::new(false));
    let submitting = tokio::spawn(submit_all(admin.clone(), bundle, enough.clone()));
    let rounds =
        (0..kills).flat_map(|round| (0..).zip(Point::OF_SERVERS).map(move |(at, point)| (point, at * 13 + round * 29)));
    for (point, number) in rounds.clone() {
        // Not at the same place each time; the first few writes are those of the start.
        server.caught(point, 2 + number % 60, Trap::Kill).await;
        if let Some(postgres) = &mut postgres {
            // The next server finds a database that died in the middle of what this one told it.
            postgres.down();
            postgres.up();
        }
    }
    if let Some(postgres) = &mut postgres {
        for (point, number) in rounds {
            // The database dies under it at that very point, and it lives on.
            server.caught(point, 20 + number % 40, Trap::Stop).await;
            postgres.down();
            server.goes_on();
            tokio::time::sleep(Duration::from_millis(u64::from(number % 7) * 50)).await;
            postgres.up();
            upload(&admin, &folder.path().join("again"), format!("after {number} at {point:?}").as_bytes()).await;
            assert_eq!(server.process.try_wait().unwrap(), None, "the server goes on");
        }
    }
    server.kill();
    server.again(None);
    enough.store(true, Ordering::SeqCst);
    let builds = submitting.await.unwrap();
    for build in &builds {
        finished(&admin, *build).await;
    }
    over.store(true, Ordering::SeqCst);
    for node in nodes {
        node.await.unwrap();
    }
    for build in builds {
        sound(&admin, build, folder.path()).await;
    }
    let results = results.load(Ordering::SeqCst);
    println!("killed {kills} times at each of {} points, {results} results were taken", Point::OF_SERVERS.len());
}

/// Calls until the server answers.
async fn insist<T, F: Future<Output = Result<T, kiln_farm_api::Error>>>(
    call: impl Fn() -> F,
) -> Result<T, kiln_farm_api::Error> {
    let began = Instant::now();
    loop {
        match call().await {
            Err(error) if error.is_passing() && began.elapsed() < Duration::from_secs(120) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return other,
        }
    }
}

async fn upload(client: &Client, path: &std::path::Path, bytes: &[u8]) -> Digest {
    std::fs::write(path, bytes).unwrap();
    let digest = Digest::of(bytes);
    insist(|| client.upload(digest, path)).await.unwrap();
    digest
}

/// Submits a build again and again until there are enough.
async fn submit_all(admin: Client, bundle: Digest, enough: Arc<AtomicBool>) -> Vec<BuildId> {
    let mut builds = vec![];
    for number in 0.. {
        if enough.load(Ordering::SeqCst) {
            break;
        }
        let order = |name: &str, needs: &[&str]| Order {
            needs: needs.iter().map(|need| need.parse().unwrap()).collect(),
            arch: Some(Arch::Amd64),
            attempts: Some(1000),
            ..Order::new(name.parse().unwrap(), Work::image(bundle, "kiln.toml"))
        };
        let submission = Submission {
            project: "default".parse().unwrap(),
            name: format!("b{number}"),
            priority: 0,
            tasks: vec![order("a", &[]), order("b", &[]), order("c", &["a", "b"])],
            // Whoever does not know whether the server heard it says it again.
            once: Some(format!("b{number}")),
        };
        builds.push(insist(|| admin.submit(&submission)).await.unwrap().id);
        tokio::time::sleep(PAUSE).await;
    }
    builds
}

async fn finished(admin: &Client, build: BuildId) {
    let began = Instant::now();
    loop {
        let shown = insist(|| admin.build(build)).await.unwrap();
        if shown.state.is_final() {
            assert_eq!(shown.state, BuildState::Done, "{shown:?}");
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(150), "never done: {shown:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A node that makes one small artifact for each task.
struct Node {
    client: Client,
    folder: PathBuf,
    number: usize,
    held: BTreeMap<Holding, Lease>,
}

impl Node {
    async fn work(mut self, over: Arc<AtomicBool>, results: Arc<AtomicU32>) {
        std::fs::create_dir_all(&self.folder).unwrap();
        while !over.load(Ordering::SeqCst) {
            let resources = Resources { architectures: vec![Arch::Amd64], slots: 2, ..Resources::default() };
            let holding: Vec<Holding> = self.held.keys().copied().collect();
            let free = 2 - holding.len().min(2) as u32;
            let poll = Poll { resources, holding, stopping: vec![], free, draining: false, wait: 300 };
            let Ok(orders) = self.client.poll(&poll).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            orders.stop.iter().for_each(|lease| drop(self.held.remove(lease)));
            for lease in orders.begin {
                self.held.insert(Holding { task: lease.task, epoch: lease.epoch }, lease);
            }
            if let Some((holding, lease)) = self.held.pop_first() {
                if self.perform(&lease).await {
                    results.fetch_add(1, Ordering::SeqCst);
                }
                self.held.remove(&holding);
            }
        }
    }

    /// Does a task; returns whether the server took its result.
    async fn perform(&self, lease: &Lease) -> bool {
        for first in (1..=LINES).step_by(10) {
            let event = |seq| Event {
                seq,
                at: seq,
                kind: EventKind::Log { stage: None, source: "node".into(), line: format!("line {seq}") },
            };
            let tell = Tell { epoch: lease.epoch, began: 0, events: (first..first + 10).map(event).collect() };
            if insist(|| self.client.tell(lease.task, &tell)).await.is_err() {
                return false;
            }
        }
        let bytes = format!("{} {} by {}", lease.task, lease.epoch, self.number);
        let path = self.folder.join(format!("{}-{}", lease.task, lease.epoch));
        let sha256 = upload(&self.client, &path, bytes.as_bytes()).await;
        let artifacts =
            vec![Stored { name: format!("{}.txt", lease.name), size: bytes.len() as u64, sha256, task: None }];
        let complete = Complete { epoch: lease.epoch, failure: None, artifacts };
        insist(|| self.client.complete(lease.task, &complete)).await.is_ok()
    }
}

/// Checks that a build that was done holds what it should.
async fn sound(admin: &Client, build: BuildId, folder: &std::path::Path) {
    let shown = admin.build(build).await.unwrap();
    let mut entries = vec![];
    loop {
        let page = admin.events(build, entries.len() as u64, &[]).await.unwrap();
        entries.extend(page.entries);
        if entries.len() as u64 >= page.last {
            break;
        }
    }
    assert!(entries.iter().zip(1..).all(|(entry, seq)| entry.seq == seq), "a gap in the log of {}", shown.name);
    for task in &shown.tasks {
        let of = |what: &dyn Fn(&What) -> bool| {
            entries.iter().filter(|entry| entry.task == Some(task.id) && what(&entry.what)).count()
        };
        let done = of(&|what| matches!(what, What::Farm(FarmEvent::TaskEnded { state: TaskState::Done, .. })));
        assert_eq!(done, 1, "{} of {} ended once", task.order.name, shown.name);
        let lines: Vec<_> = entries
            .iter()
            .filter(|entry| entry.task == Some(task.id) && entry.epoch == Some(task.epoch))
            .filter_map(|entry| match &entry.what {
                What::Build(EventKind::Log { line, .. }) => Some(line.clone()),
                _ => None,
            })
            .collect();
        let wanted: Vec<String> = (1..=LINES).map(|line| format!("line {line}")).collect();
        assert_eq!(lines, wanted, "the last run's lines, each once");
    }
    assert_eq!(shown.artifacts.len(), 3);
    for artifact in &shown.artifacts {
        let path = folder.join("check");
        admin
            .artifact(build, &artifact.name, artifact.task, &path)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", routes::build(build)));
        assert_eq!(Digest::of(std::fs::read(&path).unwrap()), artifact.sha256);
    }
}
