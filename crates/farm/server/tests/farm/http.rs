//! The API as clients meet it: streams that go on where they broke off, bytes with ranges, and who may do what.

use std::os::unix::fs::PermissionsExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::common::asking::Asking;
use crate::common::{On, TestFarm, client};
use futures_util::StreamExt as _;
use kiln_farm_api::access::Member;
use kiln_farm_api::{
    BuildId, Complete, Entry, Name, NewProject, NewToken, NewUser, Role, Scope, Stored, Token, routes,
};
use kiln_farm_server::db::elsewhere;
use kiln_farm_server::decide::Terms;
use kiln_farm_server::error::Error;
use kiln_farm_server::hub::Hub;
use kiln_farm_server::serve::{Config, Server};
use kiln_model::{Arch, Digest};
use kiln_testkit::Postgres;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_without_gap_or_repeat() {
    let mut farm = TestFarm::start(On::any()).await;
    farm.enrol("n1", &[Arch::Amd64]).await;
    let build = farm.submit("edge", &["image"]).await;
    let watcher = tokio::spawn(watch(farm.admin.clone(), build.id));
    let node = farm.nodes.get_mut("n1").unwrap();
    let lease = node.poll(1, 0).await.unwrap().begin.remove(0);
    let mut told = 0;
    for round in 0..40 {
        let lines: Vec<String> = (0..25).map(|line| format!("line {}", round * 25 + line)).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        told = node.tell(&lease, told + 1, &lines).await.unwrap();
    }
    node.end(&lease, None).await.unwrap();
    let (entries, breaks) = tokio::time::timeout(Duration::from_secs(60), watcher).await.unwrap().unwrap();
    // Submitted, leased, a thousand lines, ended, and the build's end.
    assert_eq!(entries.len(), 1004);
    assert!(entries.iter().zip(1..).all(|(entry, seq)| entry.seq == seq), "1, 2, 3, …");
    assert!(breaks > 5, "the line was broken {breaks} times");
    assert_eq!(farm.admin.events(build.id, 1000, &[]).await.unwrap().entries, entries[1000..]);
}

/// Follows a log over a line that breaks every 97 entries; returns the entries, and how often it broke.
async fn watch(client: kiln_farm_api::Client, build: BuildId) -> (Vec<Entry>, usize) {
    let (mut entries, mut breaks) = (Vec::<Entry>::new(), 0);
    loop {
        let after = entries.last().map_or(0, |entry| entry.seq);
        let mut stream = pin!(client.follow(build, after, &[]).await.unwrap().take(97));
        while let Some(entry) = stream.next().await {
            entries.push(entry.unwrap());
        }
        let page = client.events(build, 0, &[]).await.unwrap();
        if page.ended && entries.last().map(|entry| entry.seq) == Some(page.last) {
            return (entries, breaks);
        }
        breaks += 1;
    }
}

/// Whoever is let go while they follow a log hears no more of it.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_look_any_more_hears_no_more() {
    let farm = TestFarm::with(On::any(), Terms { watch: 100, ..Terms::default() }).await;
    let admin = Asking::new(&farm);
    let project: Name = "hidden".parse().unwrap();
    farm.admin.make_project(&NewProject { name: project.clone(), open: false, weight: None }).await.unwrap();
    let mut submission = farm.submission("edge", vec![farm.order("image")]);
    submission.project = project.clone();
    let build = farm.admin.submit(&submission).await.unwrap().id;
    let mut patient = pin!(farm.admin.follow(build, 0, &[]).await.unwrap());
    let mut last = patient.next().await.unwrap().unwrap();
    for (name, status) in [("revoked", 401), ("expired", 401), ("removed", 401), ("member", 404)] {
        let user = NewUser { name: name.parse().unwrap(), password: None, admin: false };
        assert_eq!(admin.post("/api/v1/users", &user).await.status(), StatusCode::CREATED);
        let (user, _) = farm.farm.db.user_named(name).await.unwrap().unwrap();
        farm.farm.join(project.clone(), user.id, Some(Role::Viewer), "admin").await.unwrap();
        let token = farm.farm.make_token(user.id, &user.name, "t".into(), [Scope::Read], Some(60)).await.unwrap();
        let watcher = client(farm.address, token.secret.as_deref().unwrap());
        let mut entries = pin!(watcher.follow(build, 0, &[]).await.unwrap());
        entries.next().await.unwrap().unwrap();
        let still = tokio::time::timeout(Duration::from_millis(500), entries.next()).await;
        assert!(still.is_err(), "{name} may look for now");
        let delete = async |at: String| admin.request(Method::DELETE, &at).send().await.unwrap().status();
        match name {
            "revoked" => assert_eq!(delete(format!("/api/v1/tokens/{}", token.id)).await, StatusCode::NO_CONTENT),
            "expired" => farm.turn(61_000),
            "removed" => assert_eq!(delete(format!("/api/v1/users/{name}")).await, StatusCode::NO_CONTENT),
            _ => farm.farm.join(project.clone(), user.id, None, "admin").await.unwrap(),
        }
        let end = tokio::time::timeout(Duration::from_secs(20), entries.next()).await.expect(name);
        assert!(end.is_none(), "{name}: {end:?}");
        assert_eq!(watcher.follow(build, 0, &[]).await.err().unwrap().status(), Some(status), "{name}");
    }
    farm.admin.cancel(build).await.unwrap();
    while let Some(entry) = patient.next().await {
        last = entry.unwrap();
    }
    let page = farm.admin.events(build, 0, &[]).await.unwrap();
    assert!(page.ended && page.entries.last() == Some(&last), "who may goes on to the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_servers_entries_come_too() {
    let postgres = kiln_testkit::Postgres::start();
    let url = postgres.url();
    let mut farm = TestFarm::start(On::Postgres(postgres)).await;
    farm.enrol("n1", &[Arch::Amd64]).await;
    let build = farm.submit("edge", &["image"]).await;
    let second = farm.second(&url).await;
    let watcher = tokio::spawn(watch(client(second, &farm.token), build.id));
    let node = farm.nodes.get_mut("n1").unwrap();
    let lease = node.poll(1, 0).await.unwrap().begin.remove(0);
    node.tell(&lease, 1, &["one", "two"]).await.unwrap();
    node.end(&lease, None).await.unwrap();
    let (entries, _) = tokio::time::timeout(Duration::from_secs(60), watcher).await.unwrap().unwrap();
    assert_eq!(entries.len(), 6);
}

/// By the database's own word, also when it was away.
#[tokio::test(flavor = "multi_thread")]
async fn servers_hear_of_each_other() {
    let postgres = kiln_testkit::Postgres::start();
    let url = postgres.url();
    let mut farm = TestFarm::start(On::Postgres(postgres)).await;
    farm.enrol("n1", &[Arch::Amd64]).await;
    let (hub, woken) = (Arc::new(Hub::default()), Arc::new(AtomicU32::new(0)));
    let count = woken.clone();
    let ear = elsewhere::Ear { url: url.clone(), own: "another".into(), quiet: elsewhere::QUIET };
    let listening = tokio::spawn(ear.listen(hub.clone(), move || {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    let until = async |what: &str, holds: &dyn Fn() -> bool| {
        for _ in 0..600 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never: {what}");
    };
    until("it listens", &|| hub.listens() && woken.load(Ordering::SeqCst) == 1).await;
    until("so does the server", &|| farm.farm.hub.listens()).await;
    let build = farm.submit("edge", &["image"]).await;
    until("it hears of work", &|| woken.load(Ordering::SeqCst) == 2).await;
    let watching = hub.watch(build.id);
    let node = farm.nodes.get_mut("n1").unwrap();
    let lease = node.poll(1, 0).await.unwrap().begin.remove(0);
    let mut last = 0;
    for line in 1..=5 {
        node.tell(&lease, line, &["x"]).await.unwrap();
        until("it hears of a line", &|| *watching.borrow() > last).await;
        last = *watching.borrow();
    }
    // Whoever says something does not hear it as another's: only what is said after it.
    let heard = woken.load(Ordering::SeqCst);
    elsewhere::wake(farm.farm.db.reader(), "another").await.unwrap();
    elsewhere::wake(farm.farm.db.reader(), "a third").await.unwrap();
    until("it hears of a third", &|| woken.load(Ordering::SeqCst) > heard).await;
    assert_eq!(woken.load(Ordering::SeqCst), heard + 1);
    listening.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_are_blobs_first_and_rows_last() {
    let mut farm = TestFarm::start(On::any()).await;
    farm.enrol("n1", &[Arch::Amd64]).await;
    let build = farm.submit("edge", &["image"]).await;
    let node = farm.nodes.get_mut("n1").unwrap();
    let lease = node.poll(1, 0).await.unwrap().begin.remove(0);
    let image = "x".repeat(3 << 20) + "the end";
    let stored =
        Stored { name: "out/edge.raw".into(), size: image.len() as u64, sha256: Digest::of(&image), task: None };
    let complete = Complete { epoch: lease.epoch, failure: None, artifacts: vec![stored.clone()] };
    let early = node.client.complete(lease.task, &complete).await.unwrap_err();
    assert_eq!(early.status(), Some(409), "{early}");
    let mut odd = complete.clone();
    odd.artifacts[0].name = "../etc/passwd".into();
    assert_eq!(node.client.complete(lease.task, &odd).await.unwrap_err().status(), Some(400));

    let path = farm.folder.path().join("image");
    std::fs::write(&path, &image).unwrap();
    node.client.upload(stored.sha256, &path).await.unwrap();
    node.client.complete(lease.task, &complete).await.unwrap();
    let made = farm.build(build.id).await;
    assert_eq!(made.artifacts, [Stored { task: Some(lease.task), ..stored.clone() }]);

    let ask = Asking::new(&farm);
    let at = routes::artifact(build.id, "out/edge.raw", None);
    let whole = ask.get(&at).await;
    assert_eq!(whole.headers()["content-disposition"], "attachment; filename=\"edge.raw\"");
    assert_eq!(whole.bytes().await.unwrap(), image.as_bytes());
    let part = ask.request(Method::GET, &at).header("range", "bytes=-7").send().await.unwrap();
    assert_eq!((part.status(), part.text().await.unwrap()), (StatusCode::PARTIAL_CONTENT, "the end".into()));
    let part = ask.request(Method::GET, &at).header("range", "bytes=99999999-").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let to = farm.folder.path().join("again");
    farm.admin.artifact(build.id, "out/edge.raw", None, &to).await.unwrap();
    assert_eq!(std::fs::read(to).unwrap(), image.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_broke_off_goes_on() {
    let farm = TestFarm::start(On::any()).await;
    let ask = Asking::new(&farm);
    let digest = Digest::of("hello world");
    let piece = |offset: u64, bytes: &'static str| {
        let request = ask.request(Method::PATCH, &routes::upload(digest)).body(bytes);
        request.header("upload-offset", offset).header("upload-length", 11).send()
    };
    let answer: Value = piece(0, "hello").await.unwrap().json().await.unwrap();
    assert_eq!(answer, json!({"offset": 5, "complete": false}));
    assert_eq!(piece(0, "hello").await.unwrap().status(), StatusCode::CONFLICT);
    let answer: Value = ask.get(&routes::upload(digest)).await.json().await.unwrap();
    assert_eq!(answer, json!({"offset": 5, "complete": false}));
    let path = farm.folder.path().join("upload");
    std::fs::write(&path, "hello world").unwrap();
    farm.admin.upload(digest, &path).await.unwrap();
    assert_eq!(ask.get(&routes::blob(digest)).await.text().await.unwrap(), "hello world", "an administrator may");
    let wrong = ask.request(Method::PATCH, &routes::upload(Digest::of("other"))).body("never");
    let wrong = wrong.header("upload-offset", 0).header("upload-length", 5).send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_builds_nowhere_uploads_nothing() {
    let farm = TestFarm::start(On::any()).await;
    let admin = Asking::new(&farm);
    let user = NewUser { name: "ann".parse().unwrap(), password: Some("correct horse".into()), admin: false };
    assert_eq!(admin.post("/api/v1/users", &user).await.status(), StatusCode::CREATED);
    let (ann, _) = farm.farm.db.user_named("ann").await.unwrap().unwrap();
    let token = farm.farm.make_token(ann.id, &ann.name, "t".into(), [Scope::Submit], None).await.unwrap();
    let ann_asks = admin.with(&token.secret.unwrap());
    let digest = Digest::of("hello");
    for role in [None, Some(Role::Viewer)] {
        farm.farm.join("default".parse().unwrap(), ann.id, role, "admin").await.unwrap();
        let refused = ann_asks.append(digest, 0, 5, b"hello").await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{role:?}");
        let problem: Value = refused.json().await.unwrap();
        assert!(problem["hint"].as_str().unwrap().contains("`builder`"), "{problem}");
    }
    assert_eq!(ann_asks.state(digest).await.offset, 0);
    farm.farm.join("default".parse().unwrap(), ann.id, Some(Role::Builder), "admin").await.unwrap();
    assert_eq!(ann_asks.append(digest, 0, 5, b"hello").await.status(), StatusCode::OK);
    let token = admin.token(&[Scope::Submit], None).await.json::<Token>().await.unwrap();
    let submits = admin.with(&token.secret.unwrap());
    let answer = submits.append(Digest::of("other"), 0, 5, b"other").await;
    assert_eq!(answer.status(), StatusCode::OK, "an administrator builds everywhere");
}

impl Asking {
    async fn token(&self, scopes: &[Scope], lasts: Option<u64>) -> reqwest::Response {
        let new = NewToken { name: "t".into(), scopes: scopes.iter().copied().collect(), lasts };
        self.post("/api/v1/tokens", new).await
    }
}

/// Logs in with a password as a browser does; returns the cookie.
async fn session(ask: &Asking, name: &str, password: &str) -> Option<String> {
    let form = format!("name={name}&password={}", password.replace(' ', "+"));
    let request = ask.http.post(format!("{}/login", ask.server)).body(form);
    let answer = request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    let cookie = answer.headers().get("set-cookie")?.to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    Some(cookie.split(';').next().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_what() {
    let farm = TestFarm::start(On::any()).await;
    let admin = Asking::new(&farm);
    admin.post("/api/v1/projects", NewProject { name: "secret".parse().unwrap(), open: false, weight: None }).await;
    let mut tokens = vec![];
    for (name, role) in
        [("vera", Some(Role::Viewer)), ("bob", Some(Role::Builder)), ("olga", Some(Role::Owner)), ("ann", None)]
    {
        let user = NewUser { name: name.parse().unwrap(), password: Some("correct horse".into()), admin: false };
        assert_eq!(admin.post("/api/v1/users", &user).await.status(), StatusCode::CREATED);
        if let Some(role) = role {
            let member = Member { user: name.parse().unwrap(), role };
            let put = admin.request(Method::PUT, "/api/v1/projects/secret/members").json(&member);
            assert_eq!(put.send().await.unwrap().status(), StatusCode::NO_CONTENT);
        }
        let cookie = session(&admin, name, "correct horse").await.expect("the password is right");
        let request = admin.http.post(format!("{}/api/v1/tokens", admin.server)).header("cookie", cookie);
        let new = NewToken { name: "t".into(), scopes: [Scope::Admin].into(), lasts: None };
        let token = request.header("origin", &admin.server).json(&new).send().await.unwrap();
        tokens.push((name, token.json::<Token>().await.unwrap().secret.unwrap()));
    }
    let mut submission = farm.submission("edge", vec![farm.order("image")]);
    submission.project = "secret".parse().unwrap();
    let build = farm.admin.submit(&submission).await.unwrap();
    let mut table = String::new();
    for (name, token) in tokens.iter().map(|(name, token)| (*name, token.as_str())).chain([("nobody", "kiln_x")]) {
        let ask = admin.with(token);
        let mut statuses = vec![];
        statuses.push(ask.get(&routes::build(build.id)).await.status());
        statuses.push(ask.get(&routes::events(build.id)).await.status());
        statuses.push(ask.post(&routes::builds(), &submission).await.status());
        statuses.push(ask.post(&routes::cancel(build.id), ()).await.status());
        let member = Member { user: "ann".parse().unwrap(), role: Role::Viewer };
        let join = ask.request(Method::PUT, "/api/v1/projects/secret/members").json(&member);
        // Not the owner: then ann would be let in for those who come after.
        statuses.push(if name == "olga" { StatusCode::NO_CONTENT } else { join.send().await.unwrap().status() });
        statuses.push(
            ask.post("/api/v1/projects", NewProject { name: "x".parse().unwrap(), open: true, weight: None })
                .await
                .status(),
        );
        statuses.push(ask.get("/api/v1/audit").await.status());
        statuses.push(ask.post("/api/v1/node/poll", json!({})).await.status());
        let numbers: Vec<String> = statuses.iter().map(|status| status.as_u16().to_string()).collect();
        table += &format!("{name:7}{}\n", numbers.join(" "));
    }
    let wanted = "vera   200 200 403 403 403 403 403 401\n\
                  bob    200 200 201 200 403 403 403 401\n\
                  olga   200 200 201 200 204 403 403 401\n\
                  ann    404 404 404 404 404 403 403 401\n\
                  nobody 401 401 401 401 401 401 401 401\n";
    assert_eq!(table, wanted, "look, log, submit, cancel, join, project, audit, node");
}

/// Scripts wait for `admin.token` and read it: what a first start that was killed left there is replaced, never written over.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_is_whole_when_it_is_there() {
    let mut earlier = None;
    let farm = TestFarm::configured(On::any(), |config| {
        let path = config.data.join("admin.token");
        std::fs::create_dir_all(&config.data).unwrap();
        std::fs::write(&path, "of a start that was killed").unwrap();
        earlier = Some((std::fs::File::open(&path).unwrap(), path));
    });
    let farm = farm.await;
    let (earlier, path) = earlier.unwrap();
    assert_eq!(std::io::read_to_string(earlier).unwrap(), "of a start that was killed");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(path).unwrap();
    assert_eq!(token, format!("{}\n", farm.token));
    assert_eq!(Asking::new(&farm).get("/api/v1/builds").await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_allow_what_they_say_for_as_long_as_they_say() {
    let farm = TestFarm::start(On::any()).await;
    let admin = Asking::new(&farm);
    let short = admin.token(&[Scope::Read], Some(60)).await.json::<Token>().await.unwrap();
    let reader = admin.with(short.secret.as_deref().unwrap());
    assert_eq!(reader.get("/api/v1/builds").await.status(), StatusCode::OK);
    let submission = farm.submission("edge", vec![farm.order("image")]);
    assert_eq!(reader.post(&routes::builds(), &submission).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(reader.get("/api/v1/audit").await.status(), StatusCode::FORBIDDEN);
    assert_eq!(reader.token(&[Scope::Admin], None).await.status(), StatusCode::FORBIDDEN);
    farm.turn(61_000);
    assert_eq!(reader.get("/api/v1/builds").await.status(), StatusCode::UNAUTHORIZED, "it ended");
    let all: Value = admin.get("/api/v1/tokens").await.json().await.unwrap();
    assert!(!all.to_string().contains("kiln_"), "no secret is shown again: {all}");
    let other = admin.token(&[Scope::Submit], None).await.json::<Token>().await.unwrap();
    let drop = admin.request(Method::DELETE, &format!("/api/v1/tokens/{}", other.id)).send().await.unwrap();
    assert_eq!(drop.status(), StatusCode::NO_CONTENT);
    assert_eq!(admin.with(&other.secret.unwrap()).get("/api/v1/builds").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_sites_want_is_refused_and_guessing_ends() {
    let farm = TestFarm::start(On::any()).await;
    let admin = Asking::new(&farm);
    let user = NewUser { name: "ann".parse().unwrap(), password: Some("correct horse".into()), admin: true };
    admin.post("/api/v1/users", &user).await;
    let cookie = session(&admin, "ann", "correct horse").await.unwrap();
    let enrol = |origin: Option<&str>, name: &str| {
        let request = admin.http.post(format!("{}/nodes", admin.server)).header("cookie", &cookie);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(format!("name={name}"));
        origin.into_iter().fold(request, |request, origin| request.header("origin", origin)).send()
    };
    assert_eq!(enrol(Some("https://evil.example"), "n1").await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(enrol(None, "n1").await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(enrol(Some(&admin.server), "n1").await.unwrap().status(), StatusCode::OK);
    for _ in 0..10 {
        assert_eq!(session(&admin, "ann", "wrong horse!").await, None);
    }
    assert_eq!(session(&admin, "ann", "correct horse").await, None, "not even the right one now");
    farm.turn(61_000);
    assert!(session(&admin, "ann", "correct horse").await.is_some());
}

/// Whether there is an account is not to be told from how often one may try.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_nobodys_is_refused_like_any_other() {
    let farm = TestFarm::start(On::any()).await;
    let admin = Asking::new(&farm);
    let user = NewUser { name: "ann".parse().unwrap(), password: Some("correct horse".into()), admin: false };
    assert_eq!(admin.post("/api/v1/users", &user).await.status(), StatusCode::CREATED);
    let log_in = async |name: &str| {
        let request = admin.http.post(format!("{}/login", admin.server)).body(format!("name={name}&password=wrong"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.send().await.unwrap().status().as_u16()
    };
    for name in 0..12 {
        assert_eq!(log_in(&format!("nobody{name}")).await, 401);
    }
    for name in ["ann", "zoe", "Not+A+Name"] {
        let mut heard = vec![];
        for _ in 0..12 {
            heard.push(log_in(name).await);
        }
        assert_eq!(heard, [[401_u16; 10].as_slice(), &[429; 2]].concat(), "{name}");
    }
    farm.turn(61_000);
    for name in ["ann", "zoe", "Not+A+Name"] {
        assert_eq!(log_in(name).await, 401, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_do_what_a_node_does() {
    let mut farm = TestFarm::start(On::any()).await;
    farm.enrol("n1", &[Arch::Amd64]).await;
    let build = farm.submit("edge", &["image"]).await;
    let node = farm.nodes["n1"].client.clone();
    assert_eq!(node.build(build.id).await.unwrap_err().status(), Some(401));
    assert_eq!(node.cancel(build.id).await.unwrap_err().status(), Some(401));
    assert_eq!(node.enrol("n2".parse().unwrap()).await.unwrap_err().status(), Some(401));
    assert_eq!(node.submit(&farm.submission("x", vec![farm.order("a")])).await.unwrap_err().status(), Some(401));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_of_the_clients_own_makes_one_build() {
    let farm = TestFarm::start(On::any()).await;
    let mut submission = farm.submission("edge", vec![farm.order("image")]);
    submission.once = Some("commit 1234".into());
    let first = farm.admin.submit(&submission).await.unwrap();
    assert_eq!(farm.admin.submit(&submission).await.unwrap().id, first.id);
    submission.once = None;
    assert_ne!(farm.admin.submit(&submission).await.unwrap().id, farm.admin.submit(&submission).await.unwrap().id);
    let unknown = Digest::of("not uploaded");
    let kiln_farm_api::Work::Image { bundle, .. } = &mut submission.tasks[0].work;
    *bundle = unknown;
    assert_eq!(farm.admin.submit(&submission).await.unwrap_err().status(), Some(409));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_in_words() {
    let farm = TestFarm::start(On::any()).await;
    let ask = Asking::new(&farm);
    // On a line of its own, which is cut.
    let large = Asking::new(&farm)
        .request(Method::POST, &routes::builds())
        .header("content-type", "application/json")
        .body("x".repeat(17 << 20));
    // The server does not wait for the rest, so who still sends may not get to read its answer.
    if let Ok(answer) = large.send().await {
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    let cases = [
        (routes::builds(), json!({"project": "default"}), 422, "missing field `name`"),
        (routes::builds(), json!({"project": "Default", "name": "x", "tasks": []}), 422, "`Default` is no name"),
        (routes::builds(), json!({"project": "other", "name": "x", "tasks": []}), 404, "there is no project `other`"),
        ("/api/v1/users".into(), json!({"name": "ann", "password": "short"}), 400, "at least ten characters"),
    ];
    for (at, body, status, words) in cases {
        let answer = ask.post(&at, &body).await;
        let (found, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(found == status && text.contains(words), "{body}: {found} {text}");
    }
    let text =
        ask.get(&routes::build("00000000-0000-0000-0000-000000000000".parse().unwrap())).await.text().await.unwrap();
    assert!(text.contains("there is no build"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_no_further_doors() {
    let farm = TestFarm::start(On::any()).await;
    let admin = Asking::new(&farm);
    for scope in [Scope::Read, Scope::Submit] {
        let token = admin.token(&[scope], None).await.json::<Token>().await.unwrap();
        let ask = admin.with(token.secret.as_deref().unwrap());
        assert_eq!(ask.get("/account").await.status(), StatusCode::OK);
        let form = ask.request(Method::POST, "/account/password").body("password=correct+horse");
        let form = form.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
        assert_eq!(form.status(), StatusCode::FORBIDDEN);
        assert_eq!(ask.token(&[Scope::Read], None).await.status(), StatusCode::FORBIDDEN);
        let drop = ask.request(Method::DELETE, &format!("/api/v1/tokens/{}", token.id)).send().await.unwrap();
        assert_eq!(drop.status(), StatusCode::FORBIDDEN);
    }
    let short = admin.token(&[Scope::Admin], Some(60)).await.json::<Token>().await.unwrap();
    let child = admin.with(short.secret.as_deref().unwrap()).token(&[Scope::Read], None).await;
    assert_eq!(child.json::<Token>().await.unwrap().expires, short.expires, "no longer than the one that made it");

    // Who changes a password knows the one until now.
    let user = NewUser { name: "ann".parse().unwrap(), password: Some("correct horse".into()), admin: false };
    admin.post("/api/v1/users", &user).await;
    let cookie = session(&admin, "ann", "correct horse").await.unwrap();
    let change = |before: &str| {
        let request = admin.http.post(format!("{}/account/password", admin.server)).header("cookie", &cookie);
        let request =
            request.header("origin", &admin.server).header("content-type", "application/x-www-form-urlencoded");
        request.body(format!("password=battery+staple&before={before}")).send()
    };
    assert_eq!(change("").await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(change("wrong+horses").await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(change("correct+horse").await.unwrap().status(), StatusCode::SEE_OTHER);
    assert!(session(&admin, "ann", "battery staple").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_reads_what_it_builds_from_and_nothing_else() {
    let mut farm = TestFarm::start(On::any()).await;
    farm.enrol("n1", &[Arch::Amd64]).await;
    let build = farm.submit("edge", &["image"]).await;
    let (bundle, to) = (farm.bundle, farm.folder.path().join("to"));
    let node = farm.nodes.get_mut("n1").unwrap();
    assert_eq!(node.client.download(bundle, &to).await.unwrap_err().status(), Some(404), "not yet");
    let lease = node.poll(1, 0).await.unwrap().begin.remove(0);
    node.client.download(bundle, &to).await.unwrap();
    node.end(&lease, None).await.unwrap();
    assert_eq!(node.client.download(bundle, &to).await.unwrap_err().status(), Some(404), "not any more");
    assert_eq!(node.client.artifact(build.id, "edge.raw", None, &to).await.unwrap_err().status(), Some(401));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_sent_away_while_waiting_gets_nothing() {
    let mut farm = TestFarm::start(On::any()).await;
    farm.enrol("n1", &[Arch::Amd64]).await;
    let mut node = farm.nodes.remove("n1").unwrap();
    let id = node.id;
    let waiting = tokio::spawn(async move { node.poll(1, 1500).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    farm.farm.revoke(id, "admin").await.unwrap();
    let build = farm.submit("edge", &["image"]).await;
    assert_eq!(waiting.await.unwrap().unwrap().begin, []);
    assert_eq!(farm.build(build.id).await.tasks[0].epoch, 0, "it was leased to nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_alike_are_others() {
    let farm = TestFarm::start(On::any()).await;
    let admin = Asking::new(&farm);
    for name in ["team-x", "team_x"] {
        admin.post("/api/v1/projects", NewProject { name: name.parse().unwrap(), open: false, weight: None }).await;
        let mut submission = farm.submission(name, vec![farm.order("image")]);
        submission.project = name.parse().unwrap();
        farm.admin.submit(&submission).await.unwrap();
    }
    let user = NewUser { name: "ann".parse().unwrap(), password: Some("correct horse".into()), admin: false };
    admin.post("/api/v1/users", &user).await;
    for name in ["team-x", "team_x"] {
        let member = |method, role| {
            let at = format!("/api/v1/projects/{name}/members");
            match role {
                Some(role) => admin.request(method, &at).json(&Member { user: "ann".parse().unwrap(), role }).send(),
                None => admin.request(method, &format!("{at}/ann")).send(),
            }
        };
        member(Method::PUT, Some(Role::Builder)).await.unwrap();
        let cookie = session(&admin, "ann", "correct horse").await.unwrap();
        let listed = admin.http.get(format!("{}/api/v1/builds", admin.server)).header("cookie", &cookie).send().await;
        let listed: kiln_farm_api::Builds = listed.unwrap().json().await.unwrap();
        let names: Vec<String> = listed.builds.into_iter().map(|build| build.name).collect();
        assert_eq!(names, [name]);
        // To go before everybody else is not for every builder.
        let mut submission = farm.submission(name, vec![farm.order("image")]);
        (submission.project, submission.priority) = (name.parse().unwrap(), 1);
        let request = admin.http.post(format!("{}/api/v1/builds", admin.server)).header("cookie", &cookie);
        let answer = request.header("origin", &admin.server).json(&submission).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        member(Method::DELETE, None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cancels_is_noted_where_there_is_something_to_cancel() {
    let mut farm = TestFarm::start(On::any()).await;
    farm.enrol("n", &[Arch::Amd64]).await;
    let (done, open) = (farm.done("done", b"made").await, farm.submit("open", &["image"]).await.id);
    for id in [done, open, open] {
        farm.admin.cancel(id).await.unwrap();
    }
    let audit = Asking::new(&farm).get("/api/v1/audit").await.text().await.unwrap();
    let noted = |id: BuildId| audit.matches(&id.to_string()).count();
    assert_eq!((noted(done), noted(open)), (0, 1), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_not_ready_while_its_database_is_away() {
    let mut postgres = Postgres::start();
    let farm = TestFarm::configured(On::Sqlite, |config| config.database = Some(postgres.url())).await;
    let status = async |path: &str| farm.get(path, &[]).await.status;
    assert_eq!((status("/health").await, status("/ready").await), (200, 200));
    postgres.down();
    assert_eq!((status("/health").await, status("/ready").await), (200, 503));
    postgres.up();
    let becomes = async |wanted: u16| {
        let began = std::time::Instant::now();
        while status("/ready").await != wanted {
            assert!(began.elapsed() < Duration::from_secs(60), "it never answers {wanted}");
        }
    };
    becomes(200).await;
    // A server that answers and takes nothing, as one does that follows another.
    postgres.run("ALTER ROLE ALL SET default_transaction_read_only = on");
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()";
    postgres.run(others);
    becomes(503).await;
    postgres.run("BEGIN READ WRITE; ALTER ROLE ALL RESET default_transaction_read_only; COMMIT");
    postgres.run(others);
    becomes(200).await;
}

#[tokio::test]
async fn a_folder_is_one_servers() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Server::open(Config::new((std::net::Ipv4Addr::LOCALHOST, 0).into(), folder.path().join("farm")));
    let first = open().await.unwrap();
    let Err(Error::Refused(refused)) = open().await.map(drop) else { panic!("two work in one folder") };
    assert!(refused.title.starts_with("another server works in `"), "{}", refused.title);
    drop(first);
    open().await.map(drop).unwrap();
}

/// A page of somebody else's can make a browser send a form, and the browser says whose page it was.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_logged_in_or_out_by_another_site() {
    let farm = TestFarm::start(On::any()).await;
    let own = format!("http://{}", farm.address);
    let status = async |path: &str, name: &'static str, value: &str| {
        let request = reqwest::Client::new().post(format!("{own}{path}")).header(name, value);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body("name=admin&password=x");
        request.send().await.unwrap().status().as_u16()
    };
    for path in ["/login", "/logout", "/welcome/x"] {
        let others = [("origin", "https://elsewhere.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")];
        for (name, value) in others {
            assert_eq!(status(path, name, value).await, 403, "{path} {name} {value}");
        }
    }
    assert_eq!(status("/login", "origin", &own).await, 401);
    assert_eq!(status("/login", "sec-fetch-site", "same-origin").await, 401);
}
