//! What people look for: part of a log, one artifact of several, the packages of an image, who may come in.

use crate::common::{On, TestFarm};
use kiln_farm_api::access::Invitation;
use kiln_farm_api::{BuildId, Complete, NewUser, Stored, TaskState, Tell};
use kiln_farm_server::decide::Terms;
use kiln_model::view::UnitState;
use kiln_model::{Arch, Entry, Event, EventKind, GuestPath, StageKind, Tree, View};
use kiln_testkit::Postgres;
use reqwest::{Method, StatusCode};
use serde_json::json;

async fn on_both(story: impl AsyncFn(TestFarm)) {
    story(TestFarm::start(On::Sqlite).await).await;
    story(TestFarm::start(On::Postgres(Postgres::start())).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_log() {
    on_both(async |mut farm: TestFarm| {
        farm.enrol("n1", &[Arch::Amd64]).await;
        let build = farm.submit("edge", &["image"]).await;
        let node = farm.nodes.get_mut("n1").unwrap();
        let lease = node.poll(1, 0).await.unwrap().begin.remove(0);
        let log = |stage, line: &str| EventKind::Log { stage: Some(stage), source: "apt".into(), line: line.into() };
        let kinds = [
            log(StageKind::Bootstrap, "Unpacking \u{1b}[1mBash\u{1b}[0m 100%"),
            log(StageKind::Packages, "Überprüfung von \"bash\""),
            log(StageKind::Packages, "a source of event"),
        ];
        let event = |(kind, seq)| Event { seq, at: seq * 1000, kind };
        // Enough beside it that it is read in pieces.
        let noise = (0..3000).map(|line| log(StageKind::Locale, &format!("noise {line}")));
        let events: Vec<Event> = kinds.into_iter().chain(noise).zip(1..).map(event).collect();
        for part in events.chunks(1000) {
            let tell = Tell { epoch: lease.epoch, began: crate::common::BEGINNING, events: part.to_vec() };
            node.client.tell(lease.task, &tell).await.unwrap();
        }
        let text = async |asked: &str| farm.page(&format!("/api/v1/builds/{}/log?{asked}", build.id)).await;
        let lines = async |asked: &str| -> Vec<String> {
            let all = text(asked).await;
            all.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
        };
        let (unpacking, check, source) =
            ("[apt] Unpacking Bash 100%", "[apt] Überprüfung von \"bash\"", "[apt] a source of event");
        for (asked, wanted) in [
            ("q=BASH", vec![unpacking, check]),
            ("q=unpacking+bash", vec![unpacking]),
            ("q=100%25", vec![unpacking]),
            ("q=%C3%9CBERPR%C3%BCfung", vec![check]),
            ("q=%22bash%22", vec![check]),
            ("q=%5Bapt%5D+a", vec![source]),
            // Of what it is stored as nothing is seen.
            ("q=source", vec![source]),
            ("q=seq", vec![]),
            ("q=submitted", vec!["submitted by admin"]),
            ("stage=packages", vec![check, source]),
            ("stage=packages&q=bash", vec![check]),
            ("stage=packages&tail=1", vec![source]),
            ("q=noise+299&tail=2", vec!["[apt] noise 2998", "[apt] noise 2999"]),
        ] {
            assert_eq!(lines(asked).await, wanted, "{asked}");
        }
        let task = build.tasks[0].id;
        assert_eq!(lines(&format!("task={task}&q=bash")).await.len(), 2);
        let since = crate::common::BEGINNING + 3000 * 1000;
        assert_eq!(lines(&format!("since={since}&stage=locale")).await.len(), 4);
        assert_eq!(lines("stage=locale").await.len(), 3000);
        let page = farm.page(&format!("/builds/{}?q=bash&stage=packages", build.id)).await;
        assert!(page.contains("berprüfung") && !page.contains("Unpacking"), "{page}");
        // A stream of some of it ends with the build, too.
        let node = farm.nodes.get_mut("n1").unwrap();
        node.end(&lease, None).await.unwrap();
        let ask = [("accept", "text/event-stream"), ("authorization", &*format!("Bearer {}", farm.token))];
        let stream = farm.get(&format!("/api/v1/builds/{}/events?stage=packages", build.id), &ask).await;
        assert_eq!(stream.body.matches("data:").count(), 2, "{}", stream.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_or_talks_for_ever() {
    let terms = Terms { timeout: 60_000, output: 1000, lease: 1_000_000, ..Terms::default() };
    for on in [On::Sqlite, On::Postgres(Postgres::start())] {
        let mut farm = TestFarm::with(on, terms).await;
        farm.enrol("n1", &[Arch::Amd64]).await;
        let mut orders = vec![farm.order("quick"), farm.order("slow"), farm.order("patient")];
        (orders[0].timeout, orders[2].timeout) = (Some(10), Some(3600));
        let submission = farm.submission("edge", orders);
        let build = farm.admin.submit(&submission).await.unwrap().id;
        let node = farm.nodes.get_mut("n1").unwrap();
        let leases = node.poll(3, 0).await.unwrap().begin;
        let slow = leases.iter().find(|lease| lease.name.as_str() == "slow").unwrap();
        let line = "x".repeat(300);
        let taken = node.tell(slow, 1, &[&line, &line, &line, &line, "last"]).await.unwrap();
        assert_eq!(taken, 5, "what is left out is taken all the same");

        let states = async |farm: &TestFarm| {
            let build = farm.build(build).await;
            build.tasks.iter().map(|task| task.state).collect::<Vec<_>>()
        };
        farm.turn(10_000);
        let stop = farm.nodes.get_mut("n1").unwrap().poll(0, 2000).await.unwrap().stop;
        assert_eq!(stop.len(), 1);
        assert_eq!(states(&farm).await, [TaskState::Failed, TaskState::Running, TaskState::Running]);
        farm.nodes.get_mut("n1").unwrap().forget(leases.iter().find(|one| one.task == stop[0].task).unwrap());
        farm.turn(50_000);
        assert_eq!(farm.nodes.get_mut("n1").unwrap().poll(0, 2000).await.unwrap().stop.len(), 2);
        assert_eq!(states(&farm).await, [TaskState::Failed; 3], "nobody asks for more than the server allows");
        let ended = farm.build(build).await;
        let why = ended.tasks[1].failure.as_ref().unwrap();
        assert!(why.message.contains("longer than 1 min"), "{why:?}");
        let log = farm.page(&format!("/api/v1/builds/{build}/log")).await;
        assert_eq!(log.matches(&line).count(), 2);
        assert_eq!(log.matches("the output that follows is left out").count(), 1);
        assert!(!log.contains("last") && log.contains("the build is failed"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_of_several_tasks_and_packages() {
    on_both(async |mut farm: TestFarm| {
        farm.enrol("n", &[Arch::Amd64]).await;
        let document = |version: &str| {
            let packages = json!([{ "name": "bash", "versionInfo": version }, { "name": "edge.raw" }]);
            json!({ "packages": packages }).to_string().into_bytes()
        };
        let contents = |version: &str| {
            let file = Entry::inline("/etc/version".parse().unwrap(), 0o644, 0, version.as_bytes());
            let tree = Tree { entries: vec![Entry::dir(GuestPath::root(), 0o755, 0), file] };
            let units = |unit| (format!("{version}-{unit:02}.service"), UnitState::Enabled);
            let view = View { format: "tar".into(), tree, units: (0..25).map(units).collect(), ..View::default() };
            zstd::encode_all(&*view.to_json(), 1).unwrap()
        };
        let mut builds = vec![];
        for (one, other) in [("5.1", "5.2"), ("5.1", "5.3")] {
            let id = farm.submit("edge", &["one", "two"]).await.id;
            for (task, version) in [("one", one), ("two", other)] {
                let bytes = document(version);
                let sha256 = farm.nodes["n"].upload(&bytes).await;
                let contents = contents(version);
                let listed = farm.nodes["n"].upload(&contents).await;
                let console = farm.nodes["n"].upload(b"\x1b[1mDebian\x1b[0m login:\r\n").await;
                let node = farm.nodes.get_mut("n").unwrap();
                let lease = loop {
                    node.poll(1, 2000).await.unwrap();
                    if let Some(lease) = node.lease(&task.parse().unwrap()) {
                        break lease;
                    }
                };
                let file = |name: &str, size, sha256| Stored { name: name.into(), size, sha256, task: None };
                let artifacts = vec![
                    file("edge.spdx.json", bytes.len() as u64, sha256),
                    file("edge.console.log", 23, console),
                    file("edge.contents.json.zst", contents.len() as u64, listed),
                ];
                node.client
                    .complete(lease.task, &Complete { epoch: lease.epoch, failure: None, artifacts })
                    .await
                    .unwrap();
                node.forget(&lease);
            }
            builds.push(farm.build(id).await);
        }
        let (build, path) = (&builds[1], farm.folder.path().join("to"));
        let unclear = farm.admin.artifact(build.id, "edge.spdx.json", None, &path).await.unwrap_err();
        assert_eq!(unclear.status(), Some(409), "{unclear}");
        for (task, version) in build.tasks.iter().zip(["5.1", "5.3"]) {
            farm.admin.artifact(build.id, "edge.spdx.json", Some(task.id), &path).await.unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), document(version));
        }
        // The page leads to both.
        let page = farm.page(&format!("/builds/{}", build.id)).await;
        let at = |what: &str, task: usize| format!("/builds/{}/{what}?task={}", build.id, build.tasks[task].id);
        for (what, task) in [
            ("packages/edge.spdx.json", 0),
            ("packages/edge.spdx.json", 1),
            ("console/edge.console.log", 1),
            (LISTED, 1),
        ] {
            assert!(page.contains(&at(what, task)), "{page}");
        }
        let console = farm.page(&at("console/edge.console.log", 1)).await;
        assert!(console.contains("Debian login:"), "{console}");
        let packages = farm.page(&at("packages/edge.spdx.json", 1)).await;
        assert!(packages.contains("Against") && packages.contains("bash"), "{packages}");
        // Of two tasks, each is compared with the one that was called the same.
        let same = farm.page(&at(LISTED, 0)).await;
        assert!(same.contains("2 names and 3 B of content") && same.contains("Nothing differs"), "{same}");
        let other = farm.page(&at(LISTED, 1)).await;
        for wanted in ["<code>~ /etc/version: content</code>", "25 added, 25 removed", "<summary>30 more</summary>"] {
            assert!(other.contains(wanted), "{wanted}: {other}");
        }
        let (first, task) = (builds[0].id, builds[0].tasks[0].id);
        let first = farm.page(&format!("/builds/{first}/packages/edge.spdx.json?task={task}")).await;
        assert!(first.contains("no earlier build"));
    })
    .await;
}

const LISTED: &str = "contents/edge.contents.json.zst";

/// What a node says of contents may be nonsense.
#[tokio::test(flavor = "multi_thread")]
async fn contents_that_cannot_be_read() {
    let mut farm = TestFarm::start(On::any()).await;
    farm.enrol("n", &[Arch::Amd64]).await;
    let packed = |json: &str| zstd::encode_all(json.as_bytes(), 1).unwrap();
    let whole = zstd::encode_all(&*View { format: "tar".into(), ..View::default() }.to_json(), 1).unwrap();
    let documents = [
        b"no zstd".to_vec(),
        packed("{"),
        packed("{}"),
        packed("{\"contents\": 2}"),
        packed(&" ".repeat(257 << 20)),
        whole,
    ];
    let mut told = vec![];
    for document in documents {
        let build = farm.submit("edge", &["image"]).await;
        let sha256 = farm.nodes["n"].upload(&document).await;
        let node = farm.nodes.get_mut("n").unwrap();
        let lease = node.poll(1, 2000).await.unwrap().begin.remove(0);
        let artifacts =
            vec![Stored { name: "edge.contents.json.zst".into(), size: document.len() as u64, sha256, task: None }];
        let complete = Complete { epoch: lease.epoch, failure: None, artifacts };
        node.client.complete(lease.task, &complete).await.unwrap();
        node.forget(&lease);
        let ask = [("authorization", &*format!("Bearer {}", farm.token))];
        let answer = farm.get(&format!("/builds/{}/{LISTED}", build.id), &ask).await;
        told.push((answer.status, answer.body));
    }
    let reasons = ["", "EOF", "another kind", "edition 2", "longer than"];
    for ((status, body), reason) in told.iter().zip(reasons) {
        assert!(
            *status == 400 && body.contains("cannot be read") && body.contains(reason),
            "{status} {reason}: {body}"
        );
    }
    let (status, body) = told.last().unwrap();
    assert!(
        *status == 200 && body.contains("0 names") && body.contains("longer than"),
        "the older one is no matter: {body}"
    );
}

/// Runs a build to its end on node `n`; it makes one file of this name.
async fn made(farm: &mut TestFarm, name: &str, bytes: &[u8]) -> BuildId {
    let build = farm.submit("edge", &["image"]).await.id;
    let sha256 = farm.nodes["n"].upload(bytes).await;
    let node = farm.nodes.get_mut("n").unwrap();
    let lease = node.poll(1, 2000).await.unwrap().begin.remove(0);
    let artifacts = vec![Stored { name: name.into(), size: bytes.len() as u64, sha256, task: None }];
    let complete = Complete { epoch: lease.epoch, failure: None, artifacts };
    node.client.complete(lease.task, &complete).await.unwrap();
    node.forget(&lease);
    build
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_that_cannot_be_read() {
    let mut farm = TestFarm::start(On::any()).await;
    farm.enrol("n", &[Arch::Amd64]).await;
    let ask = [("authorization", format!("Bearer {}", farm.token))];
    let ask = ask.each_ref().map(|(name, value)| (*name, value.as_str()));
    for broken in ["", "{", "{}", "{\"packages\": 1}"] {
        let build = made(&mut farm, "edge.spdx.json", broken.as_bytes()).await;
        let answer = farm.get(&format!("/builds/{build}/packages/edge.spdx.json"), &ask).await;
        assert_eq!(answer.status, 400, "{broken}: {}", answer.body);
        assert!(answer.body.contains("cannot be read"), "{broken}: {}", answer.body);
    }
    let whole = json!({ "packages": [{ "name": "bash", "versionInfo": "5.3" }] }).to_string();
    let build = made(&mut farm, "edge.spdx.json", whole.as_bytes()).await;
    let page = farm.page(&format!("/builds/{build}/packages/edge.spdx.json")).await;
    assert!(page.contains("<td>bash</td>") && page.contains("cannot be read"), "the older one is no matter: {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_what_a_guest_said() {
    on_both(async |mut farm: TestFarm| {
        farm.enrol("n", &[Arch::Amd64]).await;
        let said = format!("its very beginning\n{}its very end\n", "tick\n".repeat(60_000));
        let build = made(&mut farm, "edge.console.log", said.as_bytes()).await;
        let page = farm.page(&format!("/builds/{build}/console/edge.console.log")).await;
        assert!(page.contains("The last ") && page.contains("its very end") && !page.contains("its very beginning"));
        assert!(page.len() < 300_000, "{}", page.len());
        let build = made(&mut farm, "edge.console.log", b"").await;
        farm.page(&format!("/builds/{build}/console/edge.console.log")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_nodes_come_and_go() {
    on_both(async |mut farm: TestFarm| {
        let (http, server) = (
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap(),
            format!("http://{}", farm.address),
        );
        let ask = |method: Method, at: &str| http.request(method, format!("{server}{at}")).bearer_auth(&farm.token);
        let ann = NewUser { name: "ann".parse().unwrap(), password: None, admin: false };
        let made = ask(Method::POST, "/api/v1/users").json(&ann).send().await.unwrap();
        assert_eq!(made.status(), StatusCode::CREATED);
        let invited = ask(Method::POST, "/api/v1/users/ann/invitation").send().await.unwrap();
        let invitation: Invitation = invited.json().await.unwrap();
        let enter = || http.post(&invitation.link).header("origin", &server).send();
        let entered = enter().await.unwrap();
        assert_eq!(entered.status(), StatusCode::SEE_OTHER);
        let cookie = entered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        assert_eq!(enter().await.unwrap().status(), StatusCode::NOT_FOUND, "once");
        let me = || http.get(format!("{server}/api/v1/me")).header("cookie", &cookie).send();
        assert_eq!(me().await.unwrap().status(), StatusCode::OK);
        for (path, wanted) in [("/people", "ann"), ("/projects/default", "admin")] {
            assert!(farm.page(path).await.contains(wanted), "{path}");
        }
        let strangers = http.get(format!("{server}/people")).header("cookie", &cookie).send().await.unwrap();
        assert_eq!(strangers.status(), StatusCode::FORBIDDEN);
        // With the account its sessions go; the last administrator stays.
        assert_eq!(ask(Method::DELETE, "/api/v1/users/ann").send().await.unwrap().status(), StatusCode::NO_CONTENT);
        assert_eq!(me().await.unwrap().status(), StatusCode::UNAUTHORIZED);
        assert_eq!(ask(Method::DELETE, "/api/v1/users/ann").send().await.unwrap().status(), StatusCode::NOT_FOUND);
        assert_eq!(ask(Method::DELETE, "/api/v1/users/admin").send().await.unwrap().status(), StatusCode::CONFLICT);
        let token = farm.token.clone();
        let ask = |method: Method, at: String| http.request(method, format!("{server}{at}")).bearer_auth(&token);

        farm.enrol("n1", &[Arch::Amd64]).await;
        let id = farm.nodes["n1"].id;
        farm.nodes.get_mut("n1").unwrap().poll(0, 0).await.unwrap();
        let forget = || ask(Method::DELETE, format!("/api/v1/nodes/{id}")).send();
        assert_eq!(forget().await.unwrap().status(), StatusCode::CONFLICT, "it may still come");
        assert_eq!(
            ask(Method::POST, format!("/api/v1/nodes/{id}/revoke")).send().await.unwrap().status(),
            StatusCode::NO_CONTENT
        );
        assert_eq!(forget().await.unwrap().status(), StatusCode::NO_CONTENT);
        farm.enrol("n1", &[Arch::Amd64]).await;
    })
    .await;
}
