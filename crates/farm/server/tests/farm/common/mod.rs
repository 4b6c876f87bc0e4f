//! A real server on a port of its own, a clock turned by hand, and nodes that only say that they work.

pub mod asking;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::StreamExt as _;
use kiln_farm_api::task::Failure;
use kiln_farm_api::{
    Build, BuildId, Client, Complete, Error, Holding, Lease, Name, NodeId, Order, Orders, Poll, Resources, Stored,
    Submission, Tell, Work,
};
use kiln_farm_server::Farm;
use kiln_farm_server::blobs::{Address, Sent};
use kiln_farm_server::db::holders::Holder;
use kiln_farm_server::decide::Terms;
use kiln_farm_server::serve::{Config, Server};
use kiln_model::{Arch, Digest, Event, EventKind, FaultKind};
use kiln_testkit::S3;

/// Which database a farm is tried on.
pub enum On {
    Sqlite,
    Postgres(kiln_testkit::Postgres),
}

impl On {
    /// Returns SQLite, or what `KILN_TEST_DATABASE=postgres` asks for: tests that are not about one database run on each by it.
    pub fn any() -> Self {
        match std::env::var("KILN_TEST_DATABASE").as_deref() {
            Ok("postgres") => Self::Postgres(kiln_testkit::Postgres::start()),
            Ok(other) => panic!("KILN_TEST_DATABASE={other}: `postgres`, or nothing"),
            Err(_) => Self::Sqlite,
        }
    }

    pub fn url(&self) -> Option<String> {
        match self {
            Self::Sqlite => None,
            Self::Postgres(postgres) => Some(postgres.url()),
        }
    }
}

/// A farm under test; it ends with this value.
pub struct TestFarm {
    pub farm: Farm,
    pub admin: Client,
    pub token: String,
    pub address: SocketAddr,
    pub nodes: BTreeMap<String, TestNode>,
    pub bundle: Digest,
    /// The link that logs in once.
    pub welcome: String,
    clock: Arc<AtomicI64>,
    serving: tokio::task::JoinHandle<()>,
    pub folder: tempfile::TempDir,
    on: On,
}

/// What somebody without a client of ours gets.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// A node that only says that it works.
pub struct TestNode {
    pub id: NodeId,
    pub credential: String,
    pub client: Client,
    pub architectures: Vec<Arch>,
    pub held: Vec<Lease>,
    pub stopping: Vec<Holding>,
}

/// 2026-01-01.
pub const BEGINNING: i64 = 1_767_225_600_000;

impl TestFarm {
    pub async fn start(on: On) -> Self {
        Self::with(on, Terms::default()).await
    }

    pub async fn with(on: On, terms: Terms) -> Self {
        Self::configured(on, |config| config.terms = terms).await
    }

    /// One whose artifacts are in a bucket.
    pub async fn in_bucket(on: On, s3: &S3) -> Self {
        Self::configured(on, |config| config.store = Some(bucket(s3))).await
    }

    pub async fn configured(on: On, configure: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(BEGINNING));
        let base = Config::new((Ipv4Addr::LOCALHOST, 0).into(), folder.path().join("farm"));
        let mut config = Config { database: on.url(), reserve: 0, ..base };
        configure(&mut config);
        let hand = clock.clone();
        let server = Server::open_with(config, Arc::new(move || hand.load(Ordering::SeqCst))).await.unwrap();
        let (address, farm) = (server.address(), server.farm.clone());
        let token = std::fs::read_to_string(&server.welcome.as_ref().unwrap().token).unwrap().trim().to_owned();
        let welcome = server.welcome.as_ref().unwrap().link.clone();
        let serving = tokio::spawn(async move { server.run(std::future::pending()).await });
        let admin = client(address, &token);
        let bundle = farm.keep("bundle".into()).await.unwrap();
        let this =
            Self { farm, admin, token, address, nodes: BTreeMap::new(), bundle, welcome, clock, serving, folder, on };
        this.upload(b"bundle").await;
        this
    }

    /// Returns which PostgreSQL it is on, if it is on one.
    pub fn database(&self) -> Option<String> {
        self.on.url()
    }

    /// Ends its server.
    pub async fn stop(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }

    /// Starts another server on the same database and folder; returns where it listens.
    pub async fn second(&self, url: &str) -> SocketAddr {
        self.another(url, |_| {}).await
    }

    /// The same with wishes.
    pub async fn another(&self, url: &str, configure: impl FnOnce(&mut Config)) -> SocketAddr {
        let base = Config::new((Ipv4Addr::LOCALHOST, 0).into(), self.folder.path().join("farm"));
        let mut config = Config { database: Some(url.to_owned()), reserve: 0, terms: self.farm.terms, ..base };
        configure(&mut config);
        let hand = self.clock.clone();
        let server = Server::open_with(config, Arc::new(move || hand.load(Ordering::SeqCst))).await.unwrap();
        let address = server.address();
        tokio::spawn(async move { server.run(std::future::pending()).await });
        address
    }

    /// Ends its server and starts it anew, with other wishes, where it was.
    pub async fn again(&mut self, configure: impl FnOnce(&mut Config)) {
        self.stop().await;
        let base = Config::new(self.address, self.folder.path().join("farm"));
        let mut config = Config { database: self.database(), reserve: 0, terms: self.farm.terms, ..base };
        configure(&mut config);
        let hand = self.clock.clone();
        let server = Server::open_with(config, Arc::new(move || hand.load(Ordering::SeqCst))).await.unwrap();
        self.farm = server.farm.clone();
        self.serving = tokio::spawn(async move { server.run(std::future::pending()).await });
    }

    /// Returns the files in the server's folder that have a text in them.
    pub fn holding(&self, text: &str) -> Vec<PathBuf> {
        let has = |path: &PathBuf| {
            path.is_file() && std::fs::read(path).unwrap().windows(text.len()).any(|some| some == text.as_bytes())
        };
        let files = std::fs::read_dir(self.folder.path().join("farm")).unwrap().map(|file| file.unwrap().path());
        files.filter(has).collect()
    }

    /// Makes the server know a blob of the administrator's.
    pub async fn upload(&self, bytes: &[u8]) -> Digest {
        uploaded(&self.admin, bytes).await
    }

    /// Returns what the administrator's upload of a blob is called.
    pub async fn upload_of(&self, digest: Digest) -> Digest {
        let (admin, _) = self.farm.db.user_named("admin").await.unwrap().unwrap();
        Sent { by: Holder::User(admin.id), digest }.name()
    }

    pub fn turn(&self, millis: i64) {
        self.clock.fetch_add(millis, Ordering::SeqCst);
    }

    pub async fn enrol(&mut self, name: &str, architectures: &[Arch]) {
        let enrolled = self.admin.enrol(name.parse().unwrap()).await.unwrap();
        let client = client(self.address, &enrolled.credential);
        let architectures = architectures.to_vec();
        let node = TestNode {
            id: enrolled.id,
            credential: enrolled.credential,
            client,
            architectures,
            held: vec![],
            stopping: vec![],
        };
        self.nodes.insert(name.to_owned(), node);
    }

    pub fn order(&self, name: &str) -> Order {
        Order::new(name.parse().unwrap(), Work::image(self.bundle, "kiln.toml"))
    }

    pub fn submission(&self, name: &str, tasks: Vec<Order>) -> Submission {
        Submission { project: "default".parse().unwrap(), name: name.into(), priority: 0, tasks, once: None }
    }

    pub async fn submit(&self, name: &str, tasks: &[&str]) -> Build {
        let tasks = tasks.iter().map(|task| self.order(task)).collect();
        self.admin.submit(&self.submission(name, tasks)).await.unwrap()
    }

    /// Runs a build to its end on node `n`; it makes one file.
    pub async fn done(&mut self, name: &str, bytes: &[u8]) -> BuildId {
        let id = self.submit(name, &["image"]).await.id;
        let node = self.nodes.get_mut("n").unwrap();
        let sha256 = node.upload(bytes).await;
        let lease = loop {
            node.poll(1, 2000).await.unwrap();
            match node.held.iter().find(|lease| lease.build == id) {
                Some(lease) => break lease.clone(),
                None => assert!(node.held.is_empty(), "others wait before it"),
            }
        };
        node.tell(&lease, 1, &["hello"]).await.unwrap();
        let made = Stored { name: "out/image.raw".into(), size: bytes.len() as u64, sha256, task: None };
        let result = Complete { epoch: lease.epoch, failure: None, artifacts: vec![made] };
        node.client.complete(lease.task, &result).await.unwrap();
        node.forget(&lease);
        id
    }

    /// Returns the file that [`TestFarm::done`] made.
    pub async fn artifact(&self, build: BuildId) -> Vec<u8> {
        let path = self.folder.path().join("artifact");
        self.admin.artifact(build, "out/image.raw", None, &path).await.unwrap();
        std::fs::read(path).unwrap()
    }

    /// Asks for a page, as this machine does.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = reqwest::Client::new().get(format!("http://{}{path}", self.address));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.unwrap();
        Answer { status: response.status().as_u16(), body: response.text().await.unwrap() }
    }

    /// Returns a page as the administrator sees it.
    pub async fn page(&self, path: &str) -> String {
        let answer = self.get(path, &[("authorization", &format!("Bearer {}", self.token))]).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Returns the bytes of a blob that the server knows.
    pub async fn blob(&self, digest: Digest) -> Option<Vec<u8>> {
        let known = self.farm.db.blob(digest).await.unwrap()?;
        let pieces = self.farm.blobs.read(digest, &known.place, 0..known.size).await.unwrap();
        let pieces: Vec<_> = pieces.map(Result::unwrap).collect().await;
        Some(pieces.concat())
    }

    pub async fn build(&self, id: BuildId) -> Build {
        self.admin.build(id).await.unwrap()
    }
}

/// Returns bytes that no part of repeats, and their digest.
pub fn many(length: u32) -> (Vec<u8>, Digest) {
    let bytes: Vec<u8> = (0..length / 4).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let digest = Digest::of(&bytes);
    (bytes, digest)
}

/// Returns the part of a server's bucket that a farm under test has.
pub fn bucket(s3: &S3) -> Address {
    Address::parse("s3://artifacts/farm").unwrap().with_environment(s3.environment())
}

impl Drop for TestFarm {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Uploads bytes as somebody; returns their digest.
pub async fn uploaded(client: &Client, bytes: &[u8]) -> Digest {
    let (file, digest) = (tempfile::NamedTempFile::new().unwrap(), Digest::of(bytes));
    std::fs::write(file.path(), bytes).unwrap();
    client.upload(digest, file.path()).await.unwrap();
    digest
}

pub fn client(address: SocketAddr, token: &str) -> Client {
    Client::new(format!("http://{address}").parse().unwrap(), token)
}

impl TestNode {
    /// Polls once; with `wait` milliseconds of patience.
    pub async fn poll(&mut self, free: u32, wait: u64) -> Result<Orders, Error> {
        let holding = |lease: &Lease| Holding { task: lease.task, epoch: lease.epoch };
        let resources = Resources { architectures: self.architectures.clone(), slots: 4, ..Resources::default() };
        let holding: Vec<Holding> = self.held.iter().map(holding).collect();
        let stopping = self.stopping.clone();
        let poll = Poll { resources, holding, stopping, free, draining: false, wait };
        let orders = self.client.poll(&poll).await?;
        self.held.extend(orders.begin.iter().cloned());
        Ok(orders)
    }

    /// Makes the server know a blob of this node's.
    pub async fn upload(&self, bytes: &[u8]) -> Digest {
        uploaded(&self.client, bytes).await
    }

    pub fn lease(&self, name: &Name) -> Option<Lease> {
        self.held.iter().find(|lease| lease.name == *name).cloned()
    }

    pub fn forget(&mut self, lease: &Lease) {
        self.held.retain(|held| held != lease);
        self.stopping.retain(|stopping| stopping.task != lease.task);
    }

    pub async fn tell(&self, lease: &Lease, first: u64, lines: &[&str]) -> Result<u64, Error> {
        let event = |(line, seq): (&&str, u64)| Event {
            seq,
            at: seq,
            kind: EventKind::Log { stage: None, source: "node".into(), line: (*line).to_owned() },
        };
        let events = lines.iter().zip(first..).map(event).collect();
        let tell = Tell { epoch: lease.epoch, began: BEGINNING, events };
        self.client.tell(lease.task, &tell).await.map(|taken| taken.seq)
    }

    pub async fn end(&self, lease: &Lease, fault: Option<FaultKind>) -> Result<(), Error> {
        let failure = fault.map(|fault| Failure { fault, message: "it broke".into(), hint: None });
        self.client.complete(lease.task, &Complete { epoch: lease.epoch, failure, artifacts: vec![] }).await
    }
}
