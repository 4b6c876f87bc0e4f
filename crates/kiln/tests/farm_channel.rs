//! Redis hears of what a farm builds as of a build at home: each of Pieman's codes once, whatever is killed on the way.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiln_farm_api::{Client, Complete, Holding, Lease, NewProject, Order, Poll, Resources, Submission, Tell, Work};
use kiln_model::{Arch, Digest, Event, EventKind, FaultKind, StageId, StageKind};
use kiln_testkit::{Postgres, Redis, eventually, free_port};

/// A server that says when it is up.
struct Server(Child);

impl Server {
    fn start(port: u16, data: &Path, redis: &Redis, database: Option<&Postgres>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.args(["serve", "--no-node", "--keep-free", "0", "--listen", &format!("127.0.0.1:{port}"), "--data"]);
        command.arg(data).args(["--redis-port", &redis.port.to_string()]).env_remove("DATABASE_URL");
        command.envs(database.map(|database| ("DATABASE_URL", database.url())));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("kiln is there");
        let mut said = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        said.read_line(&mut String::new()).unwrap();
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::stderr()));
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the codes in the order in which the stream has them.
fn codes(redis: &Redis) -> Vec<u64> {
    let entries = redis.cli(&["--raw", "XRANGE", "kiln:demo:stream", "-", "+"]);
    let events = entries.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let codes = events.flat_map(|event| event["codes"].as_array().cloned().unwrap_or_default());
    codes.map(|code| code.as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_channel_tells_one_story_at_a_time() {
    one_story_at_a_time(None).await;
}

/// Who takes over waits for the one before to be thirty seconds late, as it may live elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn one_channel_tells_one_story_at_a_time_on_postgres() {
    one_story_at_a_time(Some(&Postgres::start())).await;
}

/// Makes a client, an address and a bundle of a server that was just started.
async fn entered(port: u16, data: &Path) -> (Client, url::Url, Digest) {
    let address: url::Url = format!("http://127.0.0.1:{port}").parse().unwrap();
    let token = std::fs::read_to_string(data.join("admin.token")).unwrap();
    let admin = Client::new(address.clone(), token.trim());
    let (bundle, path) = (Digest::of("bundle"), data.with_file_name("bundle"));
    std::fs::write(&path, "bundle").unwrap();
    admin.upload(bundle, &path).await.unwrap();
    (admin, address, bundle)
}

/// Two builds of one channel run at once, and the one that was submitted first begins last: their codes stay apart, also where the server
/// dies in between. Another project has no say in the channel.
async fn one_story_at_a_time(database: Option<&Postgres>) {
    let (redis, folder, port) = (Redis::start(), tempfile::tempdir().unwrap(), free_port());
    let data = folder.path().join("farm");
    let server = Server::start(port, &data, &redis, database);
    let (admin, address, bundle) = entered(port, &data).await;
    let submission = |project: &str, priority: i32| Submission {
        project: project.parse().unwrap(),
        name: "demo".into(),
        priority,
        tasks: vec![Order { channel: Some("demo".into()), ..Order::image(Work::image(bundle, "kiln.toml")) }],
        once: None,
    };
    admin.submit(&submission("default", 0)).await.unwrap();
    admin.submit(&submission("default", 5)).await.unwrap();
    let another = NewProject { name: "other".parse().unwrap(), open: true, weight: None };
    admin.make_project(&another).await.unwrap();
    let refused = admin.submit(&submission("other", 0)).await.unwrap_err();
    assert_eq!(refused.status(), Some(409), "{refused}");

    let enrol = async |name: &str| admin.enrol(name.parse().unwrap()).await.unwrap().credential;
    let (one, other) = (Client::new(address.clone(), enrol("n1").await), Client::new(address, enrol("n2").await));
    let second = lease(&one).await;
    tell(&one, &second, 1, StageKind::Bootstrap).await;
    eventually("the second is told", || codes(&redis).ends_with(&[10]));
    let first = lease(&other).await;
    tell(&other, &first, 1, StageKind::Bootstrap).await;
    tell(&other, &first, 2, StageKind::Packages).await;
    let end = |lease: &Lease| {
        let failure = kiln_farm_api::task::Failure { fault: FaultKind::Recipe, message: "no".into(), hint: None };
        Complete { epoch: lease.epoch, failure: Some(failure), artifacts: vec![] }
    };
    other.complete(first.task, &end(&first)).await.unwrap();
    drop(server);
    let _server = Server::start(port, &data, &redis, database);
    tell(&one, &second, 2, StageKind::Packages).await;
    eventually("the second goes on", || codes(&redis).ends_with(&[31]));
    let begun = [10, 20, 21, 30, 31];
    assert_eq!(codes(&redis), begun, "of the first nothing yet");
    one.complete(second.task, &end(&second)).await.unwrap();
    eventually("both are told", || codes(&redis).len() == 12);
    assert_eq!(codes(&redis), [begun.as_slice(), &[1001], &begun, &[1001]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_of_a_farm() {
    let (redis, folder, port) = (Redis::start(), tempfile::tempdir().unwrap(), free_port());
    let data = folder.path().join("farm");
    let listened = folder.path().join("heard");
    let words = ["--raw", "-p", &redis.port.to_string(), "SUBSCRIBE", "bscd-demo"].map(str::to_owned);
    let heard = std::fs::File::create(&listened).unwrap();
    let mut listener = Command::new("redis-cli").args(words).stdout(heard).spawn().unwrap();
    redis.heard_by("bscd-demo", 1);

    let mut server = Server::start(port, &data, &redis, None);
    // Who manages services asks so for new configuration; a server without certificates has none, and goes on.
    let asked = Command::new("kill").args(["-HUP", &server.0.id().to_string()]).status().unwrap();
    assert!(asked.success());
    let (admin, address, bundle) = entered(port, &data).await;
    let submission = |channel: &str| Submission {
        project: "default".parse().unwrap(),
        name: "demo".into(),
        priority: 0,
        tasks: vec![Order { channel: Some(channel.into()), ..Order::image(Work::image(bundle, "kiln.toml")) }],
        once: None,
    };
    let odd = admin.submit(&submission("two words")).await.unwrap_err();
    assert_eq!(odd.status(), Some(400), "{odd}");
    let mut double = submission("demo");
    let other = Order { name: "other".parse().unwrap(), ..double.tasks[0].clone() };
    double.tasks.push(other);
    let twice = admin.submit(&double).await.unwrap_err();
    assert!(
        twice.status() == Some(400) && twice.to_string().contains("two tasks are told in channel `demo`"),
        "{twice}"
    );
    let build = admin.submit(&submission("demo")).await.unwrap();
    let node = Client::new(address, admin.enrol("n1".parse().unwrap()).await.unwrap().credential);

    let lease = lease(&node).await;
    tell(&node, &lease, 1, StageKind::Bootstrap).await;
    tell(&node, &lease, 2, StageKind::Packages).await;
    eventually("the first codes are told", || codes(&redis).ends_with(&[31]));
    // The next server tells the story again from its beginning; Redis hears only what it had not heard.
    drop(server);
    server = Server::start(port, &data, &redis, None);
    tell(&node, &lease, 3, StageKind::Network).await;
    eventually("the next codes are told", || codes(&redis).ends_with(&[50]));
    drop(server);
    let _server = Server::start(port, &data, &redis, None);
    tell(&node, &lease, 4, StageKind::Sync).await;
    node.complete(lease.task, &Complete { epoch: lease.epoch, failure: None, artifacts: vec![] }).await.unwrap();
    eventually("the end is told", || codes(&redis).ends_with(&[1000]));
    let all = [10, 20, 21, 30, 31, 32, 33, 40, 50, 60, 70, 80, 81, 82, 1000];
    assert_eq!(codes(&redis), all);
    let payloads = || {
        let lines = std::fs::read_to_string(&listened).unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        lines.chunks(3).skip(1).filter_map(|message| message.get(2)?.parse::<u64>().ok()).collect::<Vec<_>>()
    };
    eventually("it was heard", || payloads().contains(&1000));
    assert_eq!(payloads(), all, "each once");
    let seen = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(["watch", "demo", "--plain", "--redis-port", &redis.port.to_string()])
        .output()
        .unwrap();
    assert!(seen.status.success(), "{seen:?}");
    assert_eq!(admin.build(build.id).await.unwrap().state.name(), "done");
    listener.kill().unwrap();
    listener.wait().unwrap();
}

async fn lease(node: &Client) -> Lease {
    let resources = Resources { architectures: vec![Arch::Amd64], slots: 1, ..Resources::default() };
    let poll = Poll { resources, holding: vec![], stopping: vec![], free: 1, draining: false, wait: 5000 };
    let mut begin = node.poll(&poll).await.unwrap().begin;
    begin.remove(0)
}

/// Tells that a stage has ended, and keeps the lease.
async fn tell(node: &Client, lease: &Lease, seq: u64, stage: StageKind) {
    let id: StageId = serde_json::from_value(serde_json::to_value(Digest::of(stage.name())).unwrap()).unwrap();
    let kind = EventKind::StageFinished { stage, id, millis: 1, code: None };
    let began = kiln_farm_server::serve::clock();
    let tell = Tell { epoch: lease.epoch, began, events: vec![Event { seq, at: seq, kind }] };
    // The server may just be coming back, and what it holds is said again first.
    let holding = vec![Holding { task: lease.task, epoch: lease.epoch }];
    let resources = Resources { architectures: vec![Arch::Amd64], slots: 1, ..Resources::default() };
    let poll = Poll { resources, holding, stopping: vec![], free: 0, draining: false, wait: 0 };
    node.poll(&poll).await.unwrap();
    node.tell(lease.task, &tell).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
}
