//! What depends on the process around: proxies in the environment, and being killed.

mod untrusted;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use kiln_fetch::{Fetcher, Options, Request};
use kiln_model::Digest;
use kiln_store::Store;
use kiln_testkit::{Fault, Server};
use untrusted::Untrusted;

/// What the child does: one of the tests below starts this very program with these variables set.
#[test]
fn child_fetches_when_told() {
    let (Ok(url), Ok(store), Ok(digest)) =
        (std::env::var("TEST_URL"), std::env::var("TEST_STORE"), std::env::var("TEST_DIGEST"))
    else {
        return;
    };
    let store = Store::open(store.as_ref(), None).unwrap();
    let fetcher = Fetcher::new(Options { retries: 0, ..Options::default() });
    let request = Request { urls: vec![url], digest: digest.parse().unwrap(), size: None, name: "demo".to_owned() };
    match fetcher.fetch_blob(&store, &request, &|_| {}) {
        Ok(_) => println!("CHILD: fetched"),
        Err(error) => println!("CHILD: {}", kiln_model::Fault::from(error).chain()),
    }
}

fn child(url: &str, store: &std::path::Path, digest: Digest) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_fetches_when_told", "--nocapture"]);
    command.env("TEST_URL", url).env("TEST_STORE", store).env("TEST_DIGEST", digest.to_string());
    for name in ["http_proxy", "https_proxy", "no_proxy", "all_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| Some(line.split_once("CHILD: ")?.1.to_owned()));
    line.unwrap_or_else(|| panic!("the child said nothing: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn proxies_of_the_environment_are_used() {
    let home = tempfile::tempdir().unwrap();
    let proxy = Server::start(home.path());
    proxy.put("/x", *b"bytes");
    let store = home.path().join("store");
    let url = "http://mirror.invalid/x";
    let direct = said(&mut child(url, &store, Digest::of("bytes")));
    assert!(direct.contains("has no address"), "{direct}");
    let through = said(child(url, &store, Digest::of("bytes")).env("http_proxy", proxy.url("")));
    assert_eq!(through, "fetched");
    assert_eq!(proxy.seen().pop().unwrap().target, url, "the whole URL, as caching proxies want it");
    let tunnel = said(child("https://mirror.invalid/x", &store, Digest::of("y")).env("https_proxy", proxy.url("")));
    assert!(tunnel.starts_with("fetch `demo`: the proxy does not lead to `https://mirror.invalid/x`"), "{tunnel}");
}

#[test]
fn proxies_and_redirects_over_tls_are_judged_by_the_hosts_certificates() {
    let home = tempfile::tempdir().unwrap();
    let (sealed, server) = (Untrusted::start(home.path()), Server::start(home.path()));
    let over = format!("https://{}/", sealed.address);
    server.fault("/x", Fault::Redirect(over.clone()));
    for (url, proxy) in [("http://mirror.invalid/x".to_owned(), Some(&over)), (server.url("/x"), None)] {
        let mut child = child(&url, &home.path().join("store"), Digest::of("bytes"));
        child.envs(proxy.map(|proxy| ("http_proxy", proxy)));
        let told = said(&mut child);
        assert!(told.contains("no trusted connection") && told.contains("invalid peer certificate"), "{url}: {told}");
        let told = said(child.env("SSL_CERT_FILE", home.path().join("certificate.pem")));
        assert!(told.contains("holds other bytes"), "trusted, it answers with a page of its own: {url}: {told}");
    }
}

/// A fresh Debian has no `ca-certificates`, and its mirrors speak http.
#[test]
fn without_certificates_of_authorities_http_works_and_https_says_why_not() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path());
    server.put("/x", *b"bytes");
    let store = home.path().join("store");
    let bare = |url: &str, bytes: &str| {
        let mut child = child(url, &store, Digest::of(bytes));
        said(child.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/nowhere"))
    };
    assert_eq!(bare(&server.url("/x"), "bytes"), "fetched");
    let untrusted = Untrusted::start(home.path());
    let tls = bare(&format!("https://{}/", untrusted.address), "other");
    assert!(tls.contains("no trusted connection") && tls.contains("No CA certificates were loaded"), "{tls}");
}

#[test]
fn a_killed_fetch_leaves_nothing_half_written() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path());
    let bytes = vec![7; 500_000];
    server.put("/x", bytes.clone());
    server.fault_times("/x", Fault::Stall(300_000), 1);
    let (url, root, digest) = (server.url("/x"), home.path().join("store"), Digest::of(&bytes));
    let mut running = child(&url, &root, digest).stdout(Stdio::null()).spawn().unwrap();
    let half = || walk(&root.join("scratch")).iter().any(|(_, size)| *size >= 100_000);
    for _ in 0..1000 {
        if half() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(half(), "the download is on its way");
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(walk(&root.join("blobs/sha256")), []);
    let store = Store::open(&root, None).unwrap();
    assert_eq!(store.blob(&digest).unwrap(), None);
    assert_eq!(said(&mut child(&url, &root, digest)), "fetched", "the claim fell with its owner");
    assert!(store.blob(&digest).unwrap().is_some());
    for _ in 0..1000 {
        if !half() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("what the killed one left is still there: {:?}", walk(&root.join("scratch")));
}

fn walk(folder: &std::path::Path) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => all.append(&mut walk(&entry.path())),
            Ok(meta) => all.push((entry.path().display().to_string(), meta.len())),
            Err(_) => {}
        }
    }
    all
}
