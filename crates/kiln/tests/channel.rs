//! The status channel of the binary: whatever is killed, one 1001 goes out.

mod common;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use common::{Bench, Done, tool};
use kiln_testkit::{Redis, eventually, free_port};

const RECIPE: &str = "edition = 1\nname = \"small\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\
                      architecture = \"amd64\"\nmirror = \"MIRROR\"\n\n[[output]]\nformat = \"tar\"\n";

/// A Redis, a mirror that never answers, and somebody who listens.
struct Room {
    bench: Bench,
    redis: Redis,
    port: String,
    _mirror: TcpListener,
    listener: Child,
    heard: Receiver<String>,
}

impl Room {
    fn new() -> Self {
        let (bench, redis) = (Bench::new(), Redis::start());
        let port = redis.port.to_string();
        let mirror = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/debian", mirror.local_addr().unwrap());
        bench.write("small.toml", &RECIPE.replace("MIRROR", &address));
        let words = ["--raw", "-p", &port, "SUBSCRIBE", "bscd-p"];
        let mut listener = Command::new("redis-cli").args(words).stdout(Stdio::piped()).spawn().unwrap();
        let (to, heard) = mpsc::channel();
        let lines = BufReader::new(listener.stdout.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| to.send(line)));
        redis.heard_by("bscd-p", 1);
        Self { bench, redis, port, _mirror: mirror, listener, heard }
    }

    fn clients(&self) -> usize {
        self.redis.cli(&["CLIENT", "LIST"]).lines().count()
    }

    /// Starts a build, and waits until its channel is open.
    fn build(&self) -> Child {
        let words = ["build", "small.toml", "--channel", "p", "--redis-port", &self.port, "--plain"];
        let build = self.bench.kiln(&words).stderr(Stdio::null()).spawn().unwrap();
        eventually("the build has its processes", || {
            !children(build.id()).is_empty() && !children(children(build.id())[0]).is_empty()
        });
        eventually("the channel is open", || self.clients() == 3);
        build
    }

    /// Returns the payloads so far, when no more come.
    fn payloads(&self) -> Vec<String> {
        let mut lines: Vec<String> = vec![];
        while let Ok(line) = self.heard.recv_timeout(Duration::from_secs(2)) {
            lines.push(line);
        }
        lines.chunks(3).skip(1).map(|message| message[2].clone()).collect()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = self.listener.kill();
        let _ = self.listener.wait();
    }
}

fn children(process: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    list.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

fn signal(name: &str, process: &str) {
    assert!(Command::new("kill").args([name, "--", process]).status().unwrap().success());
}

#[test]
fn a_killed_worker_says_1001_once() {
    let room = Room::new();
    let mut build = room.build();
    signal("-KILL", &children(build.id())[0].to_string());
    assert!(!build.wait().unwrap().success());
    // kiln waited for its relay, so it is said by now.
    assert_eq!(room.payloads(), ["1001"]);
    assert_eq!(room.clients(), 2, "the relay is gone");
}

#[test]
fn a_killed_supervisor_says_1001_once() {
    let room = Room::new();
    let mut build = room.build();
    build.kill().unwrap();
    build.wait().unwrap();
    assert_eq!(room.payloads(), ["1001"]);
}

#[test]
fn a_wish_to_stop_says_1001_once() {
    use std::os::unix::process::CommandExt as _;
    let room = Room::new();
    let words = ["build", "small.toml", "--channel", "p", "--redis-port", &room.port, "--plain"];
    let mut build = room.bench.kiln(&words).process_group(0).stderr(Stdio::null()).spawn().unwrap();
    eventually("the channel is open", || room.clients() == 3);
    // As a terminal does it: the whole group at once.
    signal("-INT", &format!("-{}", build.id()));
    assert_eq!(build.wait().unwrap().code(), Some(130));
    assert_eq!(room.payloads(), ["1001"]);
}

#[test]
fn a_recipe_with_mistakes_says_1001_once() {
    let room = Room::new();
    room.bench.write("small.toml", "edition = 1\nnonsense = 1\n");
    room.bench.run(&["build", "small.toml", "--channel", "p", "--redis-port", &room.port]).ended(1);
    assert_eq!(room.payloads(), ["1001"]);
    let watched = room.bench.run(&["watch", "p", "--redis-port", &room.port]);
    assert_eq!(watched.code, Some(1), "{}", watched.stderr);
    assert!(watched.stderr.contains("error: "), "{}", watched.stderr);
}

/// Wherever the parameters stand, and whichever of them is wrong.
#[test]
fn wrong_parameters_say_1001_once() {
    let channel = |port: &str| format!("ENABLE_BSC_CHANNEL=true\nPROJECT_NAME=p\nREDIS_PORT={port}\n");
    for (wrong, hears) in [
        ("ENABLE_SUDO=nope", true),
        ("OS=debian-trixie", true),
        ("REDIS_HOST=127.0.0.1\nIMAGE_ROOTFS_SIZE=-1", true),
        // Who is to hear of it stands before what is no data.
        ("LOCALE=$(ls)", true),
        // Or behind it, where nobody can tell what holds.
        ("LOCALE=$(ls)\nPROJECT_NAME=q", false),
        // No build is asked for.
        ("PREPARE_ONLY_TOOLSET=true\nOS=debian-trixie", false),
    ] {
        let room = Room::new();
        room.bench.write(".env", &format!("{}{wrong}\n", channel(&room.port)));
        room.bench.run(&["pieman"]).ended(1);
        assert_eq!(room.payloads(), if hears { vec!["1001"] } else { vec![] }, "{wrong}");
    }
    let room = Room::new();
    room.bench.write(".env", &format!("{}ENABLE_SUDO=nope\n", channel(&room.port)));
    room.bench.run(&["pieman", "--print-recipe"]).ended(1);
    assert_eq!(room.payloads(), Vec::<&str>::new(), "somebody else's build may be told there");
}

/// Nothing is built yet, and nobody answers.
#[test]
fn a_wish_to_stop_while_a_password_is_asked_for_says_1001_once() {
    let room = Room::new();
    let parameters = format!(
        "ENABLE_BSC_CHANNEL=true\nPROJECT_NAME=p\nREDIS_PORT={}\nOS=debian-trixie-amd64\nDEVICE=generic-x86_64\nUSER_PASSWORD=-\n",
        room.port
    );
    room.bench.write(".env", &parameters);
    let mut build = room.bench.kiln(&["pieman"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(build.stderr.take().unwrap()).lines();
    // What comes before the password is shown as soon as it is known.
    assert!(said.any(|line| line.unwrap().contains("TIME_ZONE")), "it came to the question");
    signal("-TERM", &build.id().to_string());
    assert_eq!(build.wait().unwrap().code(), Some(130));
    assert_eq!(room.payloads(), ["1001"]);
}

/// A Redis that speaks TLS alone, wants a password, and has a certificate that the system's store does not know.
#[test]
fn tls_and_a_password_by_url() {
    let bench = Bench::new();
    let at = |name: &str| bench.path(name).display().to_string();
    let [key, certificate, authority, authority_key] = ["key", "crt", "ca.crt", "ca.key"].map(at);
    let make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kiln's test"];
    tool("openssl", &[&make[..], &["-keyout", &authority_key, "-out", &authority]].concat());
    let make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
    let names = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"];
    let by = ["-CA", &authority, "-CAkey", &authority_key, "-keyout", &key, "-out", &certificate];
    tool("openssl", &[&make[..], &names, &by].concat());
    let secured = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &authority];
    let redis = Redis::with(&[&secured[..], &["--tls-auth-clients", "no", "--requirepass", "sesame"]].concat());
    let ask = |words: &[&str]| {
        let who = ["--tls", "--cacert", &authority, "-a", "sesame", "--no-auth-warning"];
        redis.cli(&[&who[..], words].concat())
    };
    bench.write("small.toml", "edition = 1\nnonsense = 1\n");
    let url = format!("rediss://:sesame@localhost:{}/0", redis.port);
    let build = |trusted: bool| {
        let mut kiln = bench.kiln(&["build", "small.toml", "--channel", "p", "--redis-url", &url]);
        kiln.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
        if trusted {
            kiln.env("SSL_CERT_FILE", &authority);
        }
        Done::of(kiln.output().unwrap()).ended(1)
    };
    build(true);
    let told = ask(&["XLEN", "kiln:p:stream"]);
    assert!(told.trim().parse::<u32>().is_ok_and(|length| length > 0), "{told}");
    let done = build(false);
    assert!(done.stderr.contains("status codes 1001"), "{}", done.stderr);
    assert!(!done.stderr.contains("sesame"), "{}", done.stderr);
    assert_eq!(ask(&["XLEN", "kiln:p:stream"]), told, "somebody was believed whom nobody vouches for");
}

#[test]
fn a_redis_that_is_not_there_is_a_warning() {
    let room = Room::new();
    room.bench.write("small.toml", "edition = 1\nnonsense = 1\n");
    let port = free_port().to_string();
    let done = room.bench.run(&["build", "small.toml", "--channel", "p", "--redis-port", &port]).ended(1);
    assert!(done.stderr.contains("status codes 1001"), "{}", done.stderr);
    let watched = room.bench.run(&["watch", "p", "--redis-port", &port]).ended(4);
    assert!(watched.stderr.contains("Connection refused"), "{}", watched.stderr);
}

#[test]
fn a_server_in_the_background() {
    let room = Room::new();
    let file = |name: &str| room.bench.path(name).display().to_string();
    let (socket, pid, log) = (file("s"), file("pid"), file("log"));
    let start = ["bscd", "-d", "-a", &socket, "-p", &pid, "-l", &log, "-n", "bscd-p", "-P", &room.port];
    room.bench.ok(&start);
    room.bench.run(&start).ended(1);
    let process = std::fs::read_to_string(&pid).unwrap().trim().to_owned();
    ["10", "1000"].iter().for_each(|code| drop(room.bench.ok(&["bsc", "-a", &socket, code])));
    room.bench.ok(&["bsc", "-a", &socket, "EXIT"]);
    eventually("it is gone", || !std::fs::exists(&pid).unwrap());
    eventually("it is gone", || !std::fs::exists(format!("/proc/{process}")).unwrap());
    assert_eq!(room.payloads(), ["10", "1000"]);
    let gone: Done = room.bench.run(&["bsc", "-a", &socket, "10"]).ended(1);
    assert_eq!(gone.stderr, format!("{socket} does not exist\n"));
}
