//! TLS by certificate files, with certificates of openssl's and clients that are not ours: shown, renewed, and refused where they
//! are wrong.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kiln_farm_api::{Client, Error, Submission, Trust};
use kiln_farm_server::serve::{Config, Server};
use kiln_farm_server::tls::Files;
use kiln_testkit::Authority;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// A server with a certificate.
struct Shown {
    at: SocketAddr,
    inside: SocketAddr,
    address: String,
    token: String,
    _folder: tempfile::TempDir,
    end: Option<oneshot::Sender<()>>,
    serving: tokio::task::JoinHandle<()>,
}

async fn open(files: Files) -> Result<(Server, tempfile::TempDir), kiln_farm_server::error::Error> {
    let folder = tempfile::tempdir().unwrap();
    let base = Config::new((Ipv4Addr::LOCALHOST, 0).into(), folder.path().join("farm"));
    Ok((Server::open(Config { tls: Some(files), reserve: 0, ..base }).await?, folder))
}

async fn show(files: Files) -> Shown {
    let (server, folder) = open(files).await.unwrap();
    let (at, inside, address) = (server.address(), server.inside(), server.farm.address.to_string());
    let token = std::fs::read_to_string(&server.welcome.as_ref().unwrap().token).unwrap().trim().to_owned();
    let (end, ended) = oneshot::channel();
    let serving = tokio::spawn(async move { server.run(async { drop(ended.await) }).await });
    Shown { at, inside, address, token, _folder: folder, end: Some(end), serving }
}

impl Shown {
    fn client(&self, trust: Trust) -> Client {
        Client::trusting(self.address.parse().unwrap(), &self.token, trust)
    }
}

fn files((certificates, key): (PathBuf, PathBuf)) -> Files {
    Files { certificates, key }
}

fn trust(authority: &Authority) -> Trust {
    Trust::from_pem(&std::fs::read(authority.root()).unwrap()).unwrap()
}

/// Asks as curl does; returns what it says, or its exit code.
async fn curl(root: &Path, address: String, more: &'static [&'static str]) -> Result<String, i32> {
    let root = root.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        Command::new("curl").args(["-sS", "--noproxy", "*", "--cacert"]).arg(root).args(more).arg(address).output()
    });
    let output = asked.await.unwrap().expect("curl is there");
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(output.status.code().unwrap())
    }
}

/// Returns the serial number of the certificate that a client is shown now.
async fn serial(at: SocketAddr) -> String {
    let script = format!("openssl s_client -connect {at} </dev/null 2>/dev/null | openssl x509 -noout -serial");
    let asked = tokio::task::spawn_blocking(move || Command::new("sh").args(["-c", &script]).output().unwrap());
    String::from_utf8(asked.await.unwrap().stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn shown_to_whoever_trusts_its_authority() {
    let authority = Authority::new();
    let mut server = show(files(authority.server("one"))).await;
    assert_eq!(server.address, format!("https://{}", server.at));
    for version in [&["--http1.1", "-i"], &["--http2", "-i"]] {
        let said = curl(&authority.root(), format!("{}/health", server.address), version).await.unwrap().to_lowercase();
        assert!(said.contains(" 200") && said.contains("alive"), "{said}");
        assert!(said.contains("strict-transport-security: max-age=31536000"), "{said}");
    }
    // The peer is known: who asks from here sees the numbers.
    let metrics = curl(&authority.root(), format!("{}/metrics", server.address), &[]).await.unwrap();
    assert!(metrics.contains("kiln_http_requests"), "{metrics}");
    let stranger = Authority::new();
    assert_eq!(curl(&stranger.root(), format!("{}/health", server.address), &[]).await, Err(60));

    let admin = server.client(trust(&authority));
    admin.enrol("n".parse().unwrap()).await.unwrap();
    let refused = server.client(Trust::default()).enrol("m".parse().unwrap()).await.unwrap_err();
    assert!(matches!(refused, Error::Unreachable { .. }), "{refused:?}");
    // The node of this machine needs no certificate.
    let inside: url::Url = format!("http://{}", server.inside).parse().unwrap();
    Client::new(inside, &server.token).enrol("built-in".parse().unwrap()).await.unwrap();

    // Who is asked already answers; then it is over.
    let unknown =
        Submission { project: "nowhere".parse().unwrap(), name: "x".into(), priority: 0, tasks: vec![], once: None };
    assert_eq!(admin.submit(&unknown).await.unwrap_err().status(), Some(404));
    server.end.take().unwrap().send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), server.serving).await.unwrap().unwrap();
    for door in [server.at, server.inside] {
        let began = Instant::now();
        while TcpStream::connect(door).await.is_ok() {
            assert!(began.elapsed() < Duration::from_secs(2), "{door} is still open");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_again_when_the_files_change() {
    let authority = Authority::new();
    let ((chain, key), (next, next_key)) = (authority.server("one"), authority.server("two"));
    let server = show(files((chain.clone(), key.clone()))).await;
    let admin = server.client(trust(&authority));
    let follows = admin.enrol("before".parse().unwrap()).await;
    let first = serial(server.at).await;

    // In between the two do not belong together: nothing changes.
    std::fs::copy(next, &chain).unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(serial(server.at).await, first);
    std::fs::copy(next_key, &key).unwrap();
    let began = Instant::now();
    while serial(server.at).await == first {
        assert!(began.elapsed() < Duration::from_secs(10), "the new one is never shown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The line that was open goes on.
    assert!(follows.is_ok() && admin.enrol("after".parse().unwrap()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_at_the_door_keeps_nobody_waiting() {
    let authority = Authority::new();
    let server = show(files(authority.server("one"))).await;
    let mut slow = vec![];
    for _ in 0..50 {
        slow.push(TcpStream::connect(server.at).await.unwrap());
    }
    let began = Instant::now();
    assert_eq!(curl(&authority.root(), format!("{}/health", server.address), &[]).await.as_deref(), Ok("alive\n"));
    assert!(began.elapsed() < Duration::from_secs(5));
    // And is sent away after a while.
    let gone = tokio::time::timeout(Duration::from_secs(15), slow[0].read(&mut [0])).await.unwrap();
    assert!(matches!(gone, Ok(0) | Err(_)), "{gone:?}");
}

#[tokio::test]
async fn what_is_wrong_with_them_is_said_with_its_place() {
    let authority = Authority::new();
    let (chain, key) = authority.server("one");
    let (_, other) = authority.server("two");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let text = std::fs::read_to_string(&chain).unwrap();
    let second = text.match_indices("-----BEGIN").nth(1).unwrap().0;
    let line = text[..second].lines().count() + 1;
    let broken = write(
        "broken.pem",
        &(text[..second].to_owned() + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    );
    let cut = write("cut.pem", &text[..second + 100]);
    let (over, over_key) = authority.server_for("over", "-days -1");
    let cases = [
        (folder.path().join("none.pem"), key.clone(), "none.pem`: No such file".to_owned()),
        (chain.clone(), folder.path().join("none.key"), "none.key`: No such file".into()),
        (key.clone(), key.clone(), "one.key`: there is no `BEGIN CERTIFICATE`".into()),
        (chain.clone(), chain.clone(), "one-chain.pem`: there is no `BEGIN PRIVATE KEY`".into()),
        (chain.clone(), other, "two.key`, line 1: the key is not the one of the first certificate".into()),
        (broken, key.clone(), format!("broken.pem`, line {line}: this is no certificate")),
        (cut, key, format!("cut.pem`, line {line}: `BEGIN CERTIFICATE` does not end")),
        (over, over_key, "over-chain.pem`, line 1: the certificate is over since 20".into()),
    ];
    for (certificates, key, wanted) in cases {
        let refused = open(Files { certificates, key }).await.map(drop).unwrap_err();
        let said = kiln_farm_server::error::chain(&refused);
        assert!(said.contains(&wanted), "{said} has no `{wanted}`");
    }
}
