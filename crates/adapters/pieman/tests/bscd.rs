//! The server and the client of the Unix socket, as Pieman's users know them.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{Listener, Redis, python, server, wait_for};
use kiln_adapter_pieman::bscd::{Options, serve};
use kiln_adapter_pieman::{Server, bsc};

fn options(redis: &Redis) -> Options {
    let file = |name: &str| redis.folder.path().join(name);
    Options {
        socket: file("bscd.sock"),
        mode: 0o600,
        pid: file("bscd.pid"),
        log: Some(file("bscd.log")),
        channel: "bscd-p".into(),
        redis: server(redis),
        verbose: true,
    }
}

fn start(options: &Options) -> thread::JoinHandle<Result<(), String>> {
    let options = options.clone();
    let pid = options.pid.clone();
    let server = thread::spawn(move || serve(&options, || {}, &|| false).map_err(|why| why.to_string()));
    wait_for(&pid);
    server
}

#[test]
fn requests_become_codes() {
    let redis = Redis::start();
    let options = options(&redis);
    let listener = Listener::python(&redis, "bscd-p");
    redis.heard_by("bscd-p", 1);
    // A socket left by one who was killed is no hindrance.
    drop(UnixListener::bind(&options.socket).unwrap());
    let server = start(&options);
    assert_eq!(fs::read_to_string(&options.pid).unwrap(), format!("{}\n", std::process::id()));
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&options.socket), mode(&options.pid)), (0o600, 0o644));
    for request in ["10", "99", "20", "1020", "10\n", "1000"] {
        bsc::send(&options.socket, request).unwrap();
    }
    assert_eq!(listener.until("b'1000'"), python(&[10, 20, 1000]));
    bsc::send(&options.socket, "EXIT").unwrap();
    server.join().unwrap().unwrap();
    assert!(!options.socket.exists() && !options.pid.exists());
    let log = fs::read_to_string(options.log.unwrap()).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("INFO ")).map(|line| &line[24..]).collect();
    let wanted = [
        "INFO  Handling b'10'",
        "INFO  Unknown request b'99'",
        "INFO  Handling b'20'",
        "INFO  Unknown request b'1020'",
        "INFO  Unknown request b'10\\n'",
        "INFO  Handling b'1000'",
        "INFO  Shutting down the server since the EXIT request was sent",
    ];
    assert_eq!(lines, wanted);
    assert_eq!(&log[4..5], "-");
}

#[test]
fn silent_clients_hinder_nobody() {
    let redis = Redis::start();
    let options = options(&redis);
    let server = start(&options);
    let _silent: Vec<UnixStream> = (0..300).map(|_| UnixStream::connect(&options.socket).unwrap()).collect();
    let began = Instant::now();
    bsc::send(&options.socket, "10").unwrap();
    bsc::send(&options.socket, "EXIT").unwrap();
    server.join().unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(4));
    assert!(fs::read_to_string(options.log.unwrap()).unwrap().contains("Handling b'10'"));
}

#[test]
fn what_cannot_be_served_is_refused() {
    let redis = Redis::start();
    let options = options(&redis);
    let refused = |options: &Options| serve(options, || {}, &|| true).unwrap_err().to_string();
    let server = start(&options);
    assert_eq!(refused(&options), "Address already in use");
    bsc::send(&options.socket, "EXIT").unwrap();
    server.join().unwrap().unwrap();
    let nowhere = Options { pid: "/nowhere/bscd.pid".into(), ..options.clone() };
    assert!(refused(&nowhere).starts_with("/nowhere is not writable for the process. Make sure that"));
    let alone = Options { redis: Server { port: 1, ..Server::default() }, ..options.clone() };
    assert_eq!(refused(&alone), "Could not connect to Redis");
    assert_eq!(refused(&options), "stopped by a signal");
    assert!(!options.socket.exists() && !options.pid.exists());
}

/// Servers that start at the same moment.
const MANY: usize = 8;

#[test]
fn of_many_that_start_at_once_one_serves() {
    let redis = Redis::start();
    let options = options(&redis);
    for round in 1..=4 {
        // Left by one who was killed: each of them may take it away, and must not take away what another put in its place.
        drop(UnixListener::bind(&options.socket).unwrap());
        let (together, (to, ends)) = (Arc::new(Barrier::new(MANY)), mpsc::channel());
        for _ in 0..MANY {
            let (options, together, to) = (options.clone(), together.clone(), to.clone());
            thread::spawn(move || {
                together.wait();
                to.send(serve(&options, || {}, &|| false).map_err(|why| why.to_string())).unwrap();
            });
        }
        let next = || ends.recv_timeout(Duration::from_secs(30)).expect("all but one end by themselves");
        (1..MANY).for_each(|_| assert_eq!(next(), Err("Address already in use".to_owned())));
        assert_eq!(fs::read_to_string(&options.pid).unwrap(), format!("{}\n", std::process::id()));
        bsc::send(&options.socket, "10").unwrap();
        bsc::send(&options.socket, "EXIT").unwrap();
        assert_eq!(next(), Ok(()));
        assert!(!options.socket.exists() && !options.pid.exists());
        let log = fs::read_to_string(options.log.as_ref().unwrap()).unwrap();
        let said = |words: &str| log.lines().filter(|line| line.ends_with(words)).count();
        assert_eq!(
            (said("CRITI Address already in use"), said("INFO  Handling b'10'")),
            (round * (MANY - 1), round),
            "{log}"
        );
    }
}

#[test]
fn a_client_says_why_it_could_not_send() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("no.sock");
    let why = |request| bsc::send(&socket, request).unwrap_err().to_string();
    assert_eq!(why("10"), format!("{} does not exist", socket.display()));
    let listener = UnixListener::bind(&socket).unwrap();
    bsc::send(&socket, "10").unwrap();
    drop(listener);
    assert_eq!(why("10"), "Connection refused");
}

#[test]
fn a_redis_that_restarts_loses_no_code() {
    let mut redis = Redis::start();
    let options = options(&redis);
    let listener = Listener::python(&redis, "bscd-p");
    redis.heard_by("bscd-p", 1);
    let server = start(&options);
    bsc::send(&options.socket, "10").unwrap();
    assert_eq!(listener.until("b'10'"), python(&[10]));
    redis.down();
    ["20", "21"].iter().for_each(|code| bsc::send(&options.socket, code).unwrap());
    thread::sleep(Duration::from_millis(500));
    redis.up();
    ["30", "1001"].iter().for_each(|code| bsc::send(&options.socket, code).unwrap());
    assert_eq!(listener.until("b'1001'"), python(&[20, 21, 30, 1001]));
    bsc::send(&options.socket, "EXIT").unwrap();
    server.join().unwrap().unwrap();
}
