//! Webhooks: signed, in order, at least once, and not into the server's own house.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{On, TestFarm};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hmac::{Hmac, KeyInit as _, Mac as _};
use kiln_farm_api::hook::{Delivery, DeliveryState, Hook, HookEvent, NewHook, Notice};
use kiln_farm_api::{BuildState, HookId, Name, TaskState};
use kiln_model::{Arch, FaultKind};
use sha2::Sha256;

/// What came to a receiver, and how many more it refuses.
#[derive(Clone, Default)]
struct Receiver {
    seen: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    refuses: Arc<Mutex<u32>>,
    port: u16,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> StatusCode {
    receiver.seen.lock().unwrap().push((headers, body));
    let mut refuses = receiver.refuses.lock().unwrap();
    match *refuses {
        0 => StatusCode::NO_CONTENT,
        _ => {
            *refuses -= 1;
            StatusCode::BAD_GATEWAY
        }
    }
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self { port: listener.local_addr().unwrap().port(), ..Self::default() };
        let router = axum::Router::new().route("/kiln", post(receive)).with_state(this.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        this
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/kiln", self.port)
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Waits until so many came.
    async fn heard(&self, count: usize) {
        until("a delivery", async || self.count() >= count).await;
        assert_eq!(self.count(), count);
    }
}

async fn until(what: &str, ready: impl AsyncFn() -> bool) {
    for _ in 0..400 {
        if ready().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what} never came");
}

fn project() -> Name {
    "default".parse().unwrap()
}

async fn hook(farm: &TestFarm, url: String, events: &[HookEvent]) -> Hook {
    let new = NewHook { url, events: events.iter().copied().collect(), secret: None };
    farm.admin.make_hook(&project(), &new).await.unwrap()
}

async fn log(farm: &TestFarm, hook: HookId) -> Vec<Delivery> {
    farm.admin.deliveries(&project(), hook).await.unwrap()
}

/// Waits until the attempt under way is noted.
async fn noted(farm: &TestFarm, hook: HookId, states: &[DeliveryState], attempts: &[u32]) {
    let now = async || {
        let log = log(farm, hook).await;
        let settled = log.iter().all(|one| one.status.is_some() || one.error.is_some() || one.attempts == 0);
        let found: Vec<_> = log.iter().map(|one| (one.state, one.attempts)).collect();
        settled && found == states.iter().copied().zip(attempts.iter().copied()).collect::<Vec<_>>()
    };
    until(&format!("{states:?} after {attempts:?}"), now).await;
}

async fn with_webhooks(on: On, private: bool) -> TestFarm {
    let mut farm = TestFarm::configured(on, |config| config.webhooks_private = private).await;
    farm.enrol("n", &[Arch::Amd64]).await;
    farm
}

#[tokio::test(flavor = "multi_thread")]
async fn told_until_it_is_heard_on_sqlite() {
    told_until_it_is_heard(with_webhooks(On::Sqlite, true).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn told_until_it_is_heard_on_postgres() {
    told_until_it_is_heard(with_webhooks(On::Postgres(kiln_testkit::Postgres::start()), true).await).await;
}

async fn told_until_it_is_heard(mut farm: TestFarm) {
    let receiver = Receiver::start().await;
    *receiver.refuses.lock().unwrap() = 2;
    let Hook { id, secret, .. } = hook(&farm, receiver.url(), &[HookEvent::BuildEnded]).await;
    let first = farm.done("first", b"1").await;
    let second = farm.done("second", b"2").await;

    // The first attempt is refused: the second build waits behind the first.
    receiver.heard(1).await;
    let waiting = [DeliveryState::Waiting; 2];
    noted(&farm, id, &waiting, &[0, 1]).await;
    assert_eq!(log(&farm, id).await[1].status, Some(502));
    farm.turn(5_000);
    receiver.heard(2).await;
    noted(&farm, id, &waiting, &[0, 2]).await;
    farm.turn(15_000);
    receiver.heard(4).await;
    noted(&farm, id, &[DeliveryState::Delivered; 2], &[1, 3]).await;

    let seen = receiver.seen.lock().unwrap().clone();
    let header = |at: usize, name: &str| seen[at].0.get(name).unwrap().to_str().unwrap().to_owned();
    assert!(header(0, "x-kiln-delivery") == header(2, "x-kiln-delivery") && seen[0].1 == seen[2].1);
    assert_ne!(header(2, "x-kiln-delivery"), header(3, "x-kiln-delivery"));
    for (at, build, name) in [(0, first, "first"), (3, second, "second")] {
        let notice: Notice = serde_json::from_str(&seen[at].1).unwrap();
        assert_eq!((notice.build, notice.name.as_str(), notice.build_state), (build, name, BuildState::Done));
        assert_eq!((header(at, "x-kiln-event").as_str(), notice.by.as_str()), ("build-ended", "admin"));
        assert!(signed(secret.as_deref().unwrap(), &seen[at].1, &header(at, "x-kiln-signature")));
    }

    let delivered = log(&farm, id).await[1].id;
    farm.admin.redeliver(&project(), id, delivered).await.unwrap();
    receiver.heard(5).await;
    assert_eq!(receiver.seen.lock().unwrap()[4].1, seen[0].1);
    farm.admin.drop_hook(&project(), id).await.unwrap();
    farm.done("third", b"3").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(receiver.count(), 5, "nobody is told any more");
}

fn signed(secret: &str, body: &str, said: &str) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let digits = said.strip_prefix("sha256=").unwrap();
    let bytes: Vec<u8> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
    mac.verify_slice(&bytes).is_ok()
}

/// One of a time when secrets lay in clear is sealed when a server starts, and signs as before.
async fn sealed_at_the_start(mut farm: TestFarm) {
    const SECRET: &str = "correct horse battery staple";
    let receiver = Receiver::start().await;
    let (url, events) = (receiver.url(), [HookEvent::BuildEnded].into());
    let new = NewHook { url, events, secret: Some(SECRET.into()) };
    farm.admin.make_hook(&project(), &new).await.unwrap();
    assert_eq!(farm.holding(SECRET), Vec::<PathBuf>::new());
    let kept = async |farm: &TestFarm| -> String {
        sqlx::query_scalar("SELECT secret FROM hooks").fetch_one(farm.farm.db.reader()).await.unwrap()
    };
    assert!(!kept(&farm).await.contains("horse"));

    let clear = sqlx::query("UPDATE hooks SET secret = $1").bind(SECRET);
    clear.execute(farm.farm.db.reader()).await.unwrap();
    assert_eq!(kept(&farm).await, SECRET);
    farm.again(|config| config.webhooks_private = true).await;
    assert!(kept(&farm).await.starts_with("kiln-sealed:"));
    assert_eq!(farm.holding(SECRET), Vec::<PathBuf>::new());
    farm.done("first", b"1").await;
    receiver.heard(1).await;
    let (headers, body) = receiver.seen.lock().unwrap()[0].clone();
    assert!(signed(SECRET, &body, headers["x-kiln-signature"].to_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_at_the_start_on_sqlite() {
    sealed_at_the_start(with_webhooks(On::Sqlite, true).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_at_the_start_on_postgres() {
    sealed_at_the_start(with_webhooks(On::Postgres(kiln_testkit::Postgres::start()), true).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_too_where_they_are_wanted() {
    let mut farm = with_webhooks(On::any(), true).await;
    let receiver = Receiver::start().await;
    hook(&farm, receiver.url(), &HookEvent::ALL).await;
    farm.submit("bad", &["image"]).await;
    let node = farm.nodes.get_mut("n").unwrap();
    node.poll(1, 2000).await.unwrap();
    let lease = node.held[0].clone();
    node.end(&lease, Some(FaultKind::Recipe)).await.unwrap();
    receiver.heard(2).await;
    let notices: Vec<Notice> =
        receiver.seen.lock().unwrap().iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
    let task = notices[0].task.clone().unwrap();
    assert_eq!((task.state, task.reason.as_deref()), (TaskState::Failed, Some("it broke")));
    let page = farm.page("/projects/default/hooks").await;
    assert!(page.contains(&receiver.url()) && page.contains("build-ended, task-ended"), "{page}");
    assert_eq!((notices[1].event, notices[1].build_state), (HookEvent::BuildEnded, BuildState::Failed));
}

#[tokio::test(flavor = "multi_thread")]
async fn not_into_its_own_house() {
    let mut farm = with_webhooks(On::any(), false).await;
    let receiver = Receiver::start().await;
    for url in [receiver.url(), "http://169.254.169.254/latest".into(), "file:///etc/passwd".into(), "nowhere".into()] {
        let new = NewHook { url: url.clone(), events: [HookEvent::BuildEnded].into(), secret: None };
        let refused = farm.admin.make_hook(&project(), &new).await.unwrap_err();
        assert_eq!(refused.status(), Some(400), "{url}");
    }
    // A name is only known by looking it up.
    let Hook { id, .. } =
        hook(&farm, format!("http://localhost:{}/kiln", receiver.port), &[HookEvent::BuildEnded]).await;
    farm.done("one", b"1").await;
    noted(&farm, id, &[DeliveryState::Waiting], &[1]).await;
    let error = log(&farm, id).await[0].error.clone().unwrap();
    assert!(error.contains("no address outside"), "{error}");
    assert_eq!(receiver.count(), 0);
}
