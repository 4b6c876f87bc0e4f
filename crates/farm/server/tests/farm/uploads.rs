//! Uploads that go on at any of several servers: with folders of their own and one bucket, and with one folder.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::common::asking::Asking;
use crate::common::{BEGINNING, On, TestFarm, bucket, client, many};
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::Response;
use kiln_farm_api::retention::Swept;
use kiln_farm_api::{Problem, Upload};
use kiln_farm_server::decide::retain::DAY;
use kiln_farm_server::serve::{Config, Server};
use kiln_model::Digest;
use kiln_testkit::{Postgres, S3};
use reqwest::StatusCode;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// How often servers park here.
const OFTEN: u64 = 1 << 20;

/// A farm on PostgreSQL with a bucket, its first server, and what others need to know.
struct Bench {
    farm: TestFarm,
    s3: S3,
    url: String,
}

impl Bench {
    async fn new() -> Self {
        let (s3, postgres) = (S3::start(), Postgres::start());
        let (url, store) = (postgres.url(), bucket(&s3));
        let farm = TestFarm::configured(On::Postgres(postgres), |config| {
            (config.store, config.park) = (Some(store), OFTEN);
        });
        Self { farm: farm.await, s3, url }
    }

    fn asks(&self) -> Asking {
        Asking::new(&self.farm)
    }

    fn parked(&self) -> Vec<String> {
        self.s3.objects().into_iter().filter(|name| name.starts_with("farm/uploads/")).collect()
    }

    /// Sees that a blob is whole, and that nothing is left of its way.
    async fn is_whole(&self, digest: Digest, bytes: &[u8]) {
        assert!(self.farm.blob(digest).await.unwrap() == bytes);
        assert_eq!(self.farm.farm.db.parked(self.farm.upload_of(digest).await).await.unwrap(), []);
        // Who parked in the very moment in which another finished removes it himself.
        until("nothing is parked", async || self.parked().is_empty()).await;
    }
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Another server of the farm with a folder of its own, in threads of its own, so that it can be killed.
struct Other {
    at: SocketAddr,
    folder: tempfile::TempDir,
    runtime: Option<Runtime>,
    end: Option<oneshot::Sender<()>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Other {
    fn start(bench: &Bench) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = Config::new((Ipv4Addr::LOCALHOST, 0).into(), folder.path().to_owned());
        let (database, store) = (Some(bench.url.clone()), Some(bucket(&bench.s3)));
        let config = Config { database, store, reserve: 0, park: OFTEN, ..base };
        let (end, ended) = oneshot::channel();
        let begin = move || {
            let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let server = runtime.block_on(Server::open_with(config, Arc::new(|| BEGINNING))).unwrap();
            let at = server.address();
            let serving = runtime.spawn(async move { server.run(async { drop(ended.await) }).await });
            (runtime, at, serving)
        };
        // A runtime does not begin in another.
        let (runtime, at, serving) = std::thread::spawn(begin).join().unwrap();
        Self { at, folder, runtime: Some(runtime), end: Some(end), serving }
    }

    /// Ends it in the middle of whatever it does.
    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5))).join().unwrap();
        }
    }

    /// Tells it to end, and waits for that.
    async fn end(&mut self) {
        self.end.take().unwrap().send(()).unwrap();
        (&mut self.serving).await.unwrap();
    }

    fn here(&self, upload: Digest) -> u64 {
        fs::metadata(self.folder.path().join("uploads").join(upload.to_string())).map_or(0, |meta| meta.len())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_piece_at_another_server() {
    let bench = Bench::new().await;
    let other = Other::start(&bench);
    let asks = [bench.asks(), bench.asks().at(other.at)];
    let (bytes, digest) = many(800_000);
    let (mut at, steps) = (0, 8);
    for step in 0..steps {
        let (ask, to) = (&asks[step % 2], bytes.len() * (step + 1) / steps);
        let wanted = Upload { offset: to as u64, complete: to == bytes.len() };
        if step % 3 == 1 {
            // The line breaks, and what came counts.
            drop(ask.begin(digest, at, bytes.len(), &bytes[at..to]).await);
            until("what came is parked", async || asks[0].state(digest).await == wanted).await;
        } else {
            let answer = ask.append(digest, at, bytes.len(), &bytes[at..to]).await;
            assert_eq!(answer.json::<Upload>().await.unwrap(), wanted, "step {step}");
        }
        for ask in &asks {
            assert_eq!(ask.state(digest).await, wanted, "step {step}");
        }
        // Who comes from before is told so, wherever.
        let late = asks[(step + 1) % 2].append(digest, at.saturating_sub(1), bytes.len(), &bytes[at..to]).await;
        let status = if wanted.complete { StatusCode::OK } else { StatusCode::CONFLICT };
        assert_eq!(late.status(), status, "step {step}");
        at = to;
    }
    bench.is_whole(digest, &bytes).await;
    let path = bench.farm.folder.path().join("whole");
    client(other.at, &bench.farm.token).download(digest, &path).await.unwrap();
    assert!(fs::read(path).unwrap() == bytes);
    assert_eq!(bench.farm.admin.gc(false).await.unwrap(), Swept::default());
}

/// Numbers that look like chance, and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_in_any_order_of_servers_one_of_which_dies() {
    let bench = Bench::new().await;
    let mut other = Other::start(&bench);
    for seed in 0..8_u32 {
        let (bytes, digest) = many(300_000 + 4 * seed);
        let (mut chance, mut steps) = (Chance(u64::from(seed)), 0);
        let first = bench.asks();
        loop {
            let servers = [&first, &first.at(other.at)];
            let have = servers[chance.below(2)].state(digest).await;
            if have.complete {
                break;
            }
            steps += 1;
            assert!(steps < 200, "seed {seed}: {have:?}");
            let from = have.offset as usize;
            let to = bytes.len().min(from + 1 + chance.below(60_000));
            let ask = servers[chance.below(2)];
            match chance.below(8) {
                0 => {
                    // In the middle of a piece; its folder goes too.
                    let line = servers[1].begin(digest, from, bytes.len(), &bytes[from..to]).await;
                    tokio::time::sleep(Duration::from_millis(chance.below(20) as u64)).await;
                    other.kill();
                    drop(line);
                    other = Other::start(&bench);
                }
                1 | 2 => drop(ask.begin(digest, from, bytes.len(), &bytes[from..to]).await),
                _ => {
                    let status = ask.append(digest, from, bytes.len(), &bytes[from..to]).await.status();
                    assert!([StatusCode::OK, StatusCode::CONFLICT].contains(&status), "seed {seed}: {status}");
                }
            }
        }
        assert!(bench.farm.blob(digest).await.unwrap() == bytes, "seed {seed}");
        assert_eq!(bench.farm.farm.db.parked(bench.farm.upload_of(digest).await).await.unwrap(), [], "seed {seed}");
    }
    // Of what was killed between object and row the gc takes what is a day old.
    other.kill();
    until("nothing is parked", async || {
        bench.parked().iter().for_each(|name| age(&bench.s3.object(name)));
        bench.farm.admin.gc(false).await.unwrap();
        bench.parked().is_empty()
    })
    .await;
    assert_eq!(bench.farm.admin.gc(false).await.unwrap(), Swept::default());
}

/// Makes a file a day old, if it is still there.
fn age(path: &Path) {
    let then = SystemTime::now() - Duration::from_secs(25 * 3600);
    if let Ok(file) = File::options().append(true).open(path) {
        file.set_modified(then).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_to_two_servers_at_once() {
    let bench = Bench::new().await;
    let other = Other::start(&bench);
    let second = client(other.at, &bench.farm.token);
    let path = bench.farm.folder.path().join("race");
    for round in 0..6 {
        let (bytes, digest) = many((5 << 20) + 4 * round);
        fs::write(&path, &bytes).unwrap();
        let (one, two) = tokio::join!(bench.farm.admin.upload(digest, &path), second.upload(digest, &path));
        one.and(two).unwrap();
        bench.is_whole(digest, &bytes).await;
        let named = bench.s3.objects().into_iter().filter(|name| name.contains(&digest.to_string())).count();
        assert_eq!(named, 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_piece_is_parked_while_it_comes() {
    let bench = Bench::new().await;
    let mut other = Other::start(&bench);
    let (first, second) = (bench.asks(), bench.asks().at(other.at));
    let (bytes, digest) = many(5 << 20);
    let (came, all) = (OFTEN as usize + 100_000, 2 * OFTEN as usize + 200_000);
    let mut line = second.begin(digest, 0, bytes.len(), &bytes[..came]).await;
    until("it is parked", async || first.state(digest).await.offset >= OFTEN).await;
    line.write_all(&bytes[came..all]).await.unwrap();
    until("it is parked again", async || first.state(digest).await.offset >= 2 * OFTEN).await;
    other.kill();
    drop(line);
    let have = first.state(digest).await;
    assert!(have.offset <= all as u64 && !have.complete, "{have:?}");
    let from = have.offset as usize;
    let answer = first.append(digest, from, bytes.len(), &bytes[from..]).await;
    assert!(answer.json::<Upload>().await.unwrap().complete);
    assert!(bench.farm.blob(digest).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_end_parks_what_it_has() {
    let bench = Bench::new().await;
    let mut other = Other::start(&bench);
    let (first, second) = (bench.asks(), bench.asks().at(other.at));
    let (bytes, digest) = many(400_000);
    let upload = bench.farm.upload_of(digest).await;
    let line = second.begin(digest, 0, bytes.len(), &bytes[..123_456]).await;
    until("it has come", async || other.here(upload) == 123_456).await;
    assert_eq!(first.state(digest).await.offset, 0);
    other.end().await;
    assert_eq!(first.state(digest).await.offset, 123_456, "the line is not broken, the server has ended");
    drop(line);
    let answer = first.append(digest, 123_456, bytes.len(), &bytes[123_456..]).await;
    assert!(answer.json::<Upload>().await.unwrap().complete);
    bench.is_whole(digest, &bytes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_it_stays_where_it_came() {
    let mut bench = Bench::new().await;
    let other = Other::start(&bench);
    let (first, second) = (bench.asks(), bench.asks().at(other.at));
    let (bytes, digest) = many(400_000);
    let state = |offset| Upload { offset, complete: false };
    first.append(digest, 0, bytes.len(), &bytes[..1000]).await;
    bench.s3.down();
    let answer = first.append(digest, 1000, bytes.len(), &bytes[1000..200_000]).await;
    assert_eq!(answer.json::<Upload>().await.unwrap(), state(200_000), "it is no fault of who uploads");
    assert_eq!((first.state(digest).await, second.state(digest).await), (state(1000), state(1000)));
    assert!(bench.farm.get("/metrics", &[]).await.body.contains("\nkiln_uploads_parked_bytes 1000\n"));
    // It goes on there, and nowhere else: what all have cannot be fetched.
    let answer = second.append(digest, 1000, bytes.len(), &bytes[1000..2000]).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(second.append(digest, 200_000, bytes.len(), &bytes[200_000..]).await.status(), StatusCode::CONFLICT);
    let answer = first.append(digest, 200_000, bytes.len(), &bytes[200_000..300_000]).await;
    assert_eq!(answer.json::<Upload>().await.unwrap(), state(300_000));
    bench.s3.up();
    // The next piece takes all along that had to wait.
    let answer = first.append(digest, 1000, bytes.len(), &bytes[1000..2000]).await;
    assert_eq!(answer.json::<Upload>().await.unwrap(), state(300_000));
    assert_eq!(second.state(digest).await, state(300_000));
    let answer = second.append(digest, 300_000, bytes.len(), &bytes[300_000..]).await;
    assert!(answer.json::<Upload>().await.unwrap().complete);
    bench.is_whole(digest, &bytes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_forgotten_everywhere() {
    let bench = Bench::new().await;
    let other = Other::start(&bench);
    let (first, second) = (bench.asks(), bench.asks().at(other.at));
    let nothing = Upload { offset: 0, complete: false };
    let path = bench.farm.folder.path().join("right");
    for (number, finish) in [(0, &first), (1, &second)] {
        let (bytes, digest) = many(100_000 + 4 * number);
        fs::write(&path, &bytes).unwrap();
        first.append(digest, 0, bytes.len(), &[7; 50_000]).await;
        let refused = finish.append(digest, 50_000, bytes.len(), &bytes[50_000..]).await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert!(refused.json::<Problem>().await.unwrap().hint.unwrap().contains("from the beginning"));
        assert_eq!((first.state(digest).await, second.state(digest).await), (nothing, nothing));
        assert_eq!(bench.parked(), Vec::<String>::new());
        // The first server still has them in the second round, and finds that they are wrong.
        let answer = first.append(digest, 0, bytes.len(), &bytes).await;
        assert!(answer.json::<Upload>().await.unwrap().complete);
        bench.is_whole(digest, &bytes).await;
    }
    // A client that goes on where another left wrong bytes begins anew by itself; one whose own bytes are wrong is told so.
    let (bytes, digest) = many(200_000);
    fs::write(&path, &bytes).unwrap();
    second.append(digest, 0, bytes.len(), &[7; 50_000]).await;
    bench.farm.admin.upload(digest, &path).await.unwrap();
    bench.is_whole(digest, &bytes).await;
    let refused = bench.farm.admin.upload(Digest::of("other"), &path).await.unwrap_err();
    assert_eq!(refused.status(), Some(422));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_lost_costs_no_more_than_itself() {
    let bench = Bench::new().await;
    let other = Other::start(&bench);
    let (first, second) = (bench.asks(), bench.asks().at(other.at));
    let (bytes, digest) = many(100_000);
    for (from, to) in [(0, 30_000), (30_000, 60_000)] {
        first.append(digest, from, bytes.len(), &bytes[from..to]).await;
    }
    let parts = bench.farm.farm.db.parked(bench.farm.upload_of(digest).await).await.unwrap();
    let lost = parts.iter().find(|part| part.bytes.start == 30_000).unwrap();
    fs::remove_file(bench.s3.object(&format!("farm/{}", lost.name))).unwrap();
    let refused = second.append(digest, 60_000, bytes.len(), &bytes[60_000..]).await;
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    assert_eq!(second.state(digest).await.offset, 30_000);
    let answer = second.append(digest, 30_000, bytes.len(), &bytes[30_000..]).await;
    assert!(answer.json::<Upload>().await.unwrap().complete);
    bench.is_whole(digest, &bytes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_goes_on_with_is_given_up() {
    let Bench { farm, s3, .. } = Bench::new().await;
    let ask = Asking::new(&farm);
    let (bytes, left) = many(100_000);
    let (other, going_on) = (Digest::of("other"), Digest::of("going on"));
    for (from, to) in [(0, 300), (300, 500)] {
        ask.append(left, from, bytes.len(), &bytes[from..to]).await;
    }
    ask.append(going_on, 0, 8, b"goin").await;
    farm.turn(DAY / 2);
    ask.append(going_on, 4, 8, b"g ").await;
    farm.turn(DAY / 2 + 1);
    // What a crash left before its row was written: it is as old as its object.
    let stray = |number: u8| format!("farm/uploads/{}/{other}-{number}", &other.to_string()[..2]);
    for number in [1, 2] {
        fs::create_dir_all(s3.object(&stray(1)).parent().unwrap()).unwrap();
        fs::write(s3.object(&stray(number)), "crash").unwrap();
    }
    s3.objects().iter().filter(|name| **name != stray(2)).for_each(|name| age(&s3.object(name)));
    // Two parts, a stray, and the bundle that no build has.
    let wanted = Swept { unused: 4, unused_bytes: 500 + 5 + 6, ..Swept::default() };
    assert_eq!(farm.admin.gc(true).await.unwrap(), Swept { dry_run: true, ..wanted.clone() });
    assert_eq!(ask.state(left).await.offset, 500, "it touched nothing");
    assert_eq!(farm.admin.gc(false).await.unwrap(), wanted);
    assert_eq!((ask.state(left).await.offset, ask.state(going_on).await.offset), (0, 6));
    let parked = s3.objects().into_iter().filter(|name| name.starts_with("farm/uploads/")).collect::<Vec<_>>();
    assert!(parked.len() == 3 && parked.contains(&stray(2)), "{parked:?}");
    assert_eq!(farm.admin.gc(false).await.unwrap(), Swept::default());
    let answer = ask.append(left, 0, bytes.len(), &bytes).await;
    assert!(answer.json::<Upload>().await.unwrap().complete);
    assert!(farm.blob(left).await.unwrap() == bytes);
    assert!(ask.append(going_on, 6, 8, b"on").await.json::<Upload>().await.unwrap().complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_share_a_folder_take_turns() {
    let postgres = Postgres::start();
    let url = postgres.url();
    let farm = TestFarm::start(On::Postgres(postgres)).await;
    let at = farm.second(&url).await;
    let (first, second, gc) = (Asking::new(&farm), Asking::new(&farm).at(at), client(at, &farm.token));
    let (bytes, digest) = many(400_000);
    let name = farm.upload_of(digest).await;
    let upload = farm.folder.path().join("farm/uploads").join(name.to_string());
    let here = || farm.farm.blobs.uploads.offset(name);

    // While one server appends the other is told so; it sees how far the upload has come.
    let line = first.begin(digest, 0, bytes.len(), &bytes[..100_000]).await;
    until("it has come", async || here() == 100_000).await;
    let refused = second.append(digest, 100_000, bytes.len(), &bytes[100_000..]).await;
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    let words = refused.json::<Problem>().await.unwrap().title;
    assert_eq!(words, "somebody uploads the same bytes now");
    assert_eq!(second.state(digest).await, Upload { offset: 100_000, complete: false });
    // The gc of the other takes it neither then, however old it looks, nor when it is young.
    age(&upload);
    assert_eq!(gc.gc(false).await.unwrap(), Swept::default());
    drop(line);
    until("the turn is free", async || {
        let answer = second.append(digest, 100_000, bytes.len(), &bytes[100_000..200_000]).await;
        answer.status() == StatusCode::OK
    })
    .await;
    assert_eq!(gc.gc(false).await.unwrap(), Swept::default());
    let answer = first.append(digest, 200_000, bytes.len(), &bytes[200_000..]).await;
    assert!(answer.json::<Upload>().await.unwrap().complete);
    assert!(farm.blob(digest).await.unwrap() == bytes);
    assert!(!upload.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_servers_of_a_folder_are_given_the_same_bytes() {
    let postgres = Postgres::start();
    let url = postgres.url();
    let farm = TestFarm::start(On::Postgres(postgres)).await;
    let second = client(farm.second(&url).await, &farm.token);
    let path = farm.folder.path().join("race");
    for round in 0..6 {
        let (bytes, digest) = many((3 << 20) + 4 * round);
        fs::write(&path, &bytes).unwrap();
        let (one, two) = tokio::join!(farm.admin.upload(digest, &path), second.upload(digest, &path));
        one.and(two).unwrap();
        assert!(farm.blob(digest).await.unwrap() == bytes, "round {round}");
    }
    assert_eq!(fs::read_dir(farm.folder.path().join("farm/uploads")).unwrap().count(), 0);
}

/// What stands before servers, and leads each request to the next of them.
struct Balancer {
    servers: Vec<SocketAddr>,
    turn: AtomicUsize,
    /// Longest body it takes.
    most: usize,
    /// How much of a body it passes on.
    passes: usize,
    pieces: AtomicUsize,
}

impl Balancer {
    async fn start(servers: Vec<SocketAddr>, most: usize, passes: usize) -> (Arc<Self>, SocketAddr) {
        let (turn, pieces) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let this = Arc::new(Self { servers, turn, most, passes, pieces });
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (at, own) = (listener.local_addr().unwrap(), this.clone());
        let router = axum::Router::new().fallback(move |request: Request| async move { own.pass(request).await });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (this, at)
    }

    async fn pass(self: Arc<Self>, request: Request) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        if body.len() > self.most {
            return Response::builder().status(StatusCode::PAYLOAD_TOO_LARGE).body("too large".into()).unwrap();
        }
        if !body.is_empty() {
            self.pieces.fetch_add(1, Ordering::SeqCst);
        }
        let body = body.slice(..body.len().min(self.passes));
        let at = self.servers[self.turn.fetch_add(1, Ordering::SeqCst) % self.servers.len()];
        let mut asked = reqwest::Client::new().request(head.method, format!("http://{at}{}", head.uri)).body(body);
        for name in ["authorization", "upload-offset", "upload-length"] {
            asked = head.headers.get(name).into_iter().fold(asked, |asked, value| asked.header(name, value));
        }
        let answer = asked.send().await.unwrap();
        let kind = answer.headers().get("content-type").cloned();
        let response = Response::builder().status(answer.status());
        let response = kind.into_iter().fold(response, |response, kind| response.header("content-type", kind));
        response.body(answer.bytes().await.unwrap().into()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_every_request_comes_to_another_server() {
    let bench = Bench::new().await;
    let (second, third) = (Other::start(&bench), Other::start(&bench));
    let servers = [bench.farm.address, second.at, third.at];
    let path = bench.farm.folder.path().join("long");
    for (number, count, most, passes, pieces) in [
        // One piece.
        (0, 2, usize::MAX, usize::MAX, 1..=1),
        // A proxy that takes no long ones: three of 8 MiB.
        (1, 2, 10 << 20, usize::MAX, 3..=3),
        (2, 3, 10 << 20, usize::MAX, 3..=3),
        // Pieces that never come to their end.
        (3, 2, usize::MAX, 3 << 20, 7..=7),
        (4, 3, usize::MAX, 3 << 20, 7..=7),
    ] {
        let (bytes, digest) = many((20 << 20) + 4 * number);
        fs::write(&path, &bytes).unwrap();
        let (balancer, at) = Balancer::start(servers[..count].to_vec(), most, passes).await;
        client(at, &bench.farm.token).upload(digest, &path).await.unwrap();
        let sent = balancer.pieces.load(Ordering::SeqCst);
        assert!(pieces.contains(&sent), "{number}: {sent} pieces");
        bench.is_whole(digest, &bytes).await;
    }
    // Two such clients at once.
    let (bytes, digest) = many(21 << 20);
    fs::write(&path, &bytes).unwrap();
    let (_, at) = Balancer::start(servers.to_vec(), usize::MAX, 2 << 20).await;
    let (one, two) = (client(at, &bench.farm.token), client(at, &bench.farm.token));
    let (one, two) = tokio::join!(one.upload(digest, &path), two.upload(digest, &path));
    one.and(two).unwrap();
    bench.is_whole(digest, &bytes).await;
}
