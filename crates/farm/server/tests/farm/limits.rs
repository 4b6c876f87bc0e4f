//! Limits: who asks too often is told when to come again; others do not notice.

use std::pin::pin;
use std::time::Duration;

use crate::common::{On, TestFarm};
use futures_util::StreamExt as _;
use kiln_farm_server::connections::Patience;
use kiln_farm_server::limits::{Limits, Rate, proxy};
use kiln_model::Arch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn farm(limits: Limits) -> TestFarm {
    TestFarm::configured(On::any(), |config| config.limits = limits).await
}

async fn status(farm: &TestFarm, path: &str, headers: &[(&str, &str)]) -> u16 {
    farm.get(path, headers).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_so_many_and_is_told_when_there_are_more() {
    let mut farm = farm(Limits { token: Rate(20), address: Rate(0), proxies: vec![] }).await;
    farm.enrol("n", &[Arch::Amd64]).await;
    let bearer = format!("Bearer {}", farm.token);
    let ask = async || {
        let request = reqwest::Client::new().get(format!("http://{}/api/v1/me", farm.address));
        request.header("authorization", &bearer).send().await.unwrap()
    };
    let mut heard = 0;
    let refused = loop {
        let answer = ask().await;
        match answer.status().as_u16() {
            200 => heard += 1,
            _ => break answer,
        }
        assert!(heard <= 20);
    };
    assert_eq!(refused.status(), 429);
    let later: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=4).contains(&later), "{later}");
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    let problem: serde_json::Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!((problem["status"].as_u64(), problem["title"].as_str()), (Some(429), Some("too many requests")));

    // A page says the same to people, and nodes go on.
    let page = reqwest::Client::new().get(format!("http://{}/projects", farm.address)).header("authorization", &bearer);
    let page = page.send().await.unwrap();
    assert!(page.status() == 429 && page.headers().contains_key("retry-after"));
    let node = farm.nodes.get_mut("n").unwrap();
    for _ in 0..50 {
        node.poll(1, 0).await.unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_secs(later)).await;
    assert_eq!(ask().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_counted_by_address_and_hinder_nobody_else() {
    let mut farm = farm(Limits { token: Rate(0), address: Rate(10), proxies: vec![] }).await;
    farm.enrol("n", &[Arch::Amd64]).await;
    let bearer = format!("Bearer {}", farm.token);
    assert_eq!(status(&farm, "/api/v1/me", &[("authorization", &bearer)]).await, 200);
    farm.nodes.get_mut("n").unwrap().poll(1, 0).await.unwrap();
    let mut statuses = vec![];
    for guess in 0..20 {
        // Another secret each time is no way around, nor is what nobody's proxy says.
        let (guess, from) = (format!("Bearer kiln_{guess}"), format!("198.51.100.{guess}"));
        statuses.push(status(&farm, "/api/v1/me", &[("authorization", &guess), ("x-forwarded-for", &from)]).await);
    }
    assert!(statuses[0] == 401 && statuses[19] == 429 && statuses.is_sorted(), "{statuses:?}");
    assert_eq!(status(&farm, "/login", &[]).await, 429);
    for path in ["/health", "/ready"] {
        assert_eq!(status(&farm, path, &[]).await, 200, "{path}");
    }
    // Who is known is nobody where nobody is asked who they are.
    assert_eq!(status(&farm, "/login", &[("authorization", &bearer)]).await, 429);
    let nobody = uuid::Uuid::nil();
    for door in ["/welcome/x".to_owned(), format!("/api/v1/projects/default/sources/{nobody}/push")] {
        assert_eq!(status(&farm, &door, &[("authorization", &bearer)]).await, 429, "{door}");
    }
    for _ in 0..30 {
        assert_eq!(status(&farm, "/api/v1/me", &[("authorization", &bearer)]).await, 200);
        farm.nodes.get_mut("n").unwrap().poll(1, 0).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_numbers_are_counted_too() {
    let mut farm = farm(Limits { token: Rate(30), address: Rate(10), proxies: vec![] }).await;
    farm.enrol("n", &[Arch::Amd64]).await;
    let bearer = format!("Bearer {}", farm.token);
    let known = [("authorization", bearer.as_str())];
    let count = async |path: &str, headers: &[(&str, &str)]| {
        for so_many in 0..100 {
            match status(&farm, path, headers).await {
                200 => {}
                429 => return so_many,
                other => panic!("{path}: {other}"),
            }
        }
        100
    };
    // Strangers by their address, whatever they ask for.
    let files = count("/assets/kiln.css", &[]).await;
    assert!((8..=12).contains(&files), "{files}");
    for path in ["/assets/kiln.js", "/api/v1/openapi.json", "/metrics", "/login"] {
        assert_eq!(status(&farm, path, &[]).await, 429, "{path}");
    }
    // Who is known is not hindered by them, and has no more of these than of anything else.
    let files = count("/assets/kiln.css", &known).await;
    assert!((15..=40).contains(&files), "{files}");
    assert_eq!(status(&farm, "/api/v1/me", &known).await, 429);
    assert_eq!(status(&farm, "/metrics", &known).await, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_whom_it_saw_counts() {
    let farm = farm(Limits { token: Rate(0), address: Rate(2), proxies: vec![proxy("127.0.0.0/8").unwrap()] }).await;
    let from = async |who: &str| status(&farm, "/login", &[("x-forwarded-for", who)]).await;
    assert_eq!([from("192.0.2.1").await, from("192.0.2.1").await, from("192.0.2.1").await], [200, 200, 429]);
    assert_eq!(from("192.0.2.2").await, 200);
    assert_eq!(from("192.0.2.9, 192.0.2.1").await, 429, "what comes before the proxy's own word may be made up");
}

/// A connection on which somebody speaks as slowly as they like.
struct Slow(TcpStream);

impl Slow {
    async fn open(farm: &TestFarm) -> Self {
        Self(TcpStream::connect(farm.address).await.unwrap())
    }

    async fn say(&mut self, text: &str) -> std::io::Result<()> {
        self.0.write_all(text.as_bytes()).await
    }

    /// Returns what is answered until the server closes; without what is no UTF-8.
    async fn closed(mut self) -> String {
        let mut answer = vec![];
        let read = tokio::time::timeout(Duration::from_secs(60), self.0.read_to_end(&mut answer));
        // With what was said and not read, it ends by a reset.
        let _ = read.await.expect("the server closes");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_slowly_does_not_keep_the_connection() {
    let [first, next] = [1000, 3500].map(Duration::from_millis);
    let farm = TestFarm::configured(On::any(), |config| {
        config.patience = Patience { first, next, ping: first };
    });
    let mut farm = farm.await;
    farm.enrol("n", &[Arch::Amd64]).await;
    let build = farm.submit("edge", &["image"]).await;
    let mut watcher = pin!(farm.admin.follow(build.id, 0, &[]).await.unwrap());
    watcher.next().await.unwrap().unwrap();

    // Nothing; a beginning of HTTP/1.1, and of HTTP/2, which no header's time has begun for.
    for beginning in ["", "P", "GET /health HTTP/1.1\r\nhost: x\r\n", "PRI * HT"] {
        let mut slow = Slow::open(&farm).await;
        slow.say(beginning).await.unwrap();
        assert_eq!(slow.closed().await, "", "{beginning:?}");
    }
    // A header line at a time is no progress.
    let mut slow = Slow::open(&farm).await;
    slow.say("GET /health HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut lines = 0;
    while slow.say("x-more: 1\r\n").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        lines += 1;
        assert!(lines < 3000, "the server closes");
    }
    // Who asked once may ask again, later than a first time has to be, and has its time for that.
    let mut again = Slow::open(&farm).await;
    for _ in 0..3 {
        again.say("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        tokio::time::sleep(first + Duration::from_millis(50)).await;
    }
    again.say("GET /health HTTP/1.1\r\n").await.unwrap();
    assert_eq!(again.closed().await.matches("HTTP/1.1 200 OK").count(), 3);

    // Who asked by HTTP/2 is asked now and then whether they are there: a preface, no settings, the header of `GET /` at `x`.
    let mut silent = Slow::open(&farm).await;
    silent.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    silent.say("\0\0\x06\x01\x05\0\0\0\x01").await.unwrap();
    silent.0.write_all(b"\x82\x86\x84\x41\x01x").await.unwrap();
    assert_ne!(silent.closed().await, "", "it was answered");

    // Who listens asked long ago, and goes on.
    farm.admin.cancel(build.id).await.unwrap();
    while let Some(entry) = watcher.next().await {
        entry.unwrap();
    }
}
