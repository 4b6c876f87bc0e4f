//! Every way a download can go wrong, its fault and its message; and how it still comes to be where it can.

mod untrusted;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_fetch::{Failure, Fetcher, Options, Progress, Request};
use kiln_model::{Digest, Fault as Blame, FaultKind};
use kiln_store::Store;
use kiln_testkit::{Fault, Server, golden};
use untrusted::Untrusted;

/// Everything a test needs; dropped together.
struct Bench {
    home: tempfile::TempDir,
    server: Server,
    store: Store,
    fetcher: Fetcher,
}

fn options() -> Options {
    let (connect, stall) = (Duration::from_secs(5), Duration::from_secs(1));
    Options { connect, stall, retries: 1, pause: Duration::from_millis(1), ..Options::default() }
}

fn bench() -> Bench {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path());
    let store = Store::open(&home.path().join("store"), None).unwrap();
    Bench { home, server, store, fetcher: Fetcher::new(options()) }
}

/// Bytes that differ everywhere.
fn body(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

impl Bench {
    /// Serves `bytes` at `path` and returns the request for them.
    fn serve(&self, path: &str, bytes: &[u8]) -> Request {
        self.server.put(path, bytes);
        self.request(&[self.server.url(path)], bytes)
    }

    fn request(&self, urls: &[String], bytes: &[u8]) -> Request {
        let (digest, size) = (Digest::of(bytes), Some(bytes.len() as u64));
        Request { urls: urls.to_vec(), digest, size, name: "demo_1.0_all.deb".to_owned() }
    }

    fn fetch(&self, request: &Request) -> Result<Vec<u8>, kiln_fetch::Error> {
        self.fetcher.fetch_blob(&self.store, request, &|_| {}).map(|path| fs::read(path).unwrap())
    }

    /// Nothing of a failed download may be left.
    fn assert_nothing_kept(&self, request: &Request, what: &str) {
        assert_eq!(self.store.blob(&request.digest).unwrap(), None, "{what}");
        assert_eq!(self.store.list().unwrap(), [], "{what}");
        let scratch: Vec<_> = fs::read_dir(self.home.path().join("store/scratch"))
            .unwrap()
            .flat_map(|session| fs::read_dir(session.unwrap().path()).unwrap())
            .collect();
        assert!(scratch.is_empty(), "{what}: {scratch:?}");
    }
}

/// Tells an error as the command line would, without what changes from run to run.
fn told(error: kiln_fetch::Error, server: &Server) -> String {
    let fault = Blame::from(error);
    let hint = fault.hint_text().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
    let text = format!("{:?}: {}{hint}\n", fault.kind(), fault.chain());
    text.replace(&server.url(""), "http://mirror")
}

#[test]
fn each_fault_has_its_message() {
    let bytes = body(1, 100_000);
    let other = Digest::of("x").to_string();
    let cases: &[(&str, Fault)] = &[
        ("not-found", Fault::Status(404)),
        ("forbidden", Fault::Status(403)),
        ("server-error", Fault::Status(500)),
        ("busy", Fault::Status(429)),
        ("odd-status", Fault::Status(418)),
        ("truncated", Fault::Truncate(40_000)),
        ("stalled", Fault::Stall(40_000)),
        ("stalled-at-once", Fault::Stall(0)),
        ("corrupted", Fault::Corrupt(70_000)),
        ("too-short", Fault::WrongLength(99_999)),
        ("too-long", Fault::WrongLength(100_001)),
        ("redirect-loop", Fault::Redirect("/pool/demo.deb".to_owned())),
        ("hang-up", Fault::HangUp),
        ("no-http", Fault::Garbage),
    ];
    let mut text = String::new();
    for (what, fault) in cases {
        let bench = bench();
        let request = bench.serve("/pool/demo.deb", &bytes);
        bench.server.fault("/pool/demo.deb", fault.clone());
        let error = bench.fetch(&request).expect_err(what);
        bench.assert_nothing_kept(&request, what);
        text.push_str(&format!("{what}\n  {}\n", told(error, &bench.server)));
        bench.server.mend();
        assert_eq!(bench.fetch(&request).unwrap(), bytes, "{what}: well again");
    }
    assert!(!text.contains(&other));
    golden(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/messages.txt"), &text);
}

#[test]
fn what_no_server_answers_is_told_apart() {
    let bench = bench();
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/x", listener.local_addr().unwrap())
    };
    type Is = fn(&Failure) -> bool;
    let cases: &[(&str, Is, FaultKind)] = &[
        (&closed, |failure| matches!(failure, Failure::ConnectionRefused { .. }), FaultKind::Upstream),
        (
            "http://no-such-host.invalid/x",
            |failure| matches!(failure, Failure::NameNotFound { .. }),
            FaultKind::Upstream,
        ),
        ("gopher://host/x", |failure| matches!(failure, Failure::BadUrl { .. }), FaultKind::Upstream),
        ("file:/nowhere/at/all", |failure| matches!(failure, Failure::NotFound { .. }), FaultKind::Upstream),
        ("file:relative", |failure| matches!(failure, Failure::BadUrl { .. }), FaultKind::Upstream),
    ];
    for (url, is, kind) in cases {
        let error = bench.fetch(&bench.request(&[(*url).to_owned()], b"x")).expect_err(url);
        assert!(is(&error.failure), "{url}: {error:?}");
        assert_eq!(Blame::from(error).kind(), *kind, "{url}");
    }
    let error = bench.fetch(&bench.request(&[], b"x")).expect_err("no URL");
    assert!(matches!(*error.failure, Failure::NoUrl));
}

#[test]
fn a_certificate_that_nobody_signed_is_refused() {
    let bench = bench();
    let untrusted = Untrusted::start(bench.home.path());
    let error = bench.fetch(&bench.request(&[format!("https://{}/", untrusted.address)], b"x")).unwrap_err();
    assert!(matches!(&*error.failure, Failure::Tls { reason, .. } if reason.contains("certificate")), "{error:?}");
    assert!(Blame::from(error).hint_text().is_some_and(|hint| hint.contains("ca-certificates")));
}

#[test]
fn redirects_lead_to_the_bytes_or_to_what_went_wrong_there() {
    let (bench, bytes) = (bench(), body(10, 50_000));
    let request = bench.serve("/end", &bytes);
    let untrusted = Untrusted::start(bench.home.path());
    let other = Server::start(bench.home.path());
    other.put("/end", bytes.clone());
    type Is = fn(&Result<Vec<u8>, Failure>) -> bool;
    let cases: [(&str, String, Is); 6] = [
        ("a path", "/end".to_owned(), Result::is_ok),
        ("another server", other.url("/end"), Result::is_ok),
        ("nothing", other.url("/missing"), |got| matches!(got, Err(Failure::NotFound { .. }))),
        ("itself", bench.server.url("/begin"), |got| matches!(got, Err(Failure::RedirectLoop { .. }))),
        (
            "a certificate that nobody signed",
            format!("https://{}/", untrusted.address),
            |got| matches!(got, Err(Failure::Tls { reason, .. }) if reason.contains("certificate")),
        ),
        ("a server without TLS", other.url("/end").replace("http:", "https:"), |got| {
            matches!(got, Err(Failure::Tls { .. }))
        }),
    ];
    for (what, to, is) in cases {
        bench.server.fault("/begin", Fault::Redirect(to));
        let begin = Request { urls: vec![bench.server.url("/begin")], ..request.clone() };
        let store = Store::open(&bench.home.path().join(what), None).unwrap();
        let got = bench.fetcher.fetch_blob(&store, &begin, &|_| {});
        let got = got.map(|path| fs::read(path).unwrap()).map_err(|error| *error.failure);
        assert!(is(&got), "{what}: {:?}", got.map(|bytes| bytes.len()));
    }
}

#[test]
fn credentials_are_sent_and_never_told() {
    let bench = bench();
    let request = bench.serve("/x", b"bytes");
    bench.server.fault_times("/x", Fault::Status(403), 1);
    let url = request.urls[0].replace("http://", "http://me:geheim@");
    let request = Request { urls: vec![url], ..request };
    let error = bench.fetch(&request).unwrap_err();
    assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
    assert!(!Blame::from(error).chain().contains("geheim"));
    assert_eq!(bench.fetch(&request).unwrap(), b"bytes");
    let sent = &bench.server.seen()[1].headers["authorization"];
    assert_eq!(sent, "Basic bWU6Z2VoZWlt");
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    for fault in [Fault::Truncate(60_000), Fault::Stall(60_000)] {
        let (bench, bytes) = (bench(), body(2, 200_000));
        let request = bench.serve("/x", &bytes);
        bench.server.fault_times("/x", fault.clone(), 1);
        assert_eq!(bench.fetch(&request).unwrap(), bytes, "{fault:?}");
        let ranges: Vec<_> =
            bench.server.seen().iter().map(|seen| (seen.status, seen.headers.get("range").cloned())).collect();
        assert_eq!(ranges, [(200, None), (206, Some("bytes=60000-".to_owned()))], "{fault:?}");
    }
}

#[test]
fn a_server_without_ranges_is_asked_for_all_again() {
    let (bench, bytes) = (bench(), body(3, 200_000));
    let broken = bench.serve("/broken", &bytes);
    bench.server.put("/whole", bytes.clone());
    bench.server.fault("/broken", Fault::Truncate(60_000));
    bench.server.fault("/whole", Fault::IgnoreRange);
    let request = Request { urls: vec![broken.urls[0].clone(), bench.server.url("/whole")], ..broken };
    assert_eq!(bench.fetch(&request).unwrap(), bytes);
    assert_eq!(bench.server.seen().last().map(|seen| seen.status), Some(200));
}

#[test]
fn a_beginning_from_a_bad_mirror_does_not_spoil_a_good_one() {
    let (bench, bytes) = (bench(), body(4, 200_000));
    let mut bad = bytes.clone();
    bad[100] ^= 1;
    bench.server.put("/bad", bad);
    bench.server.put("/good", bytes.clone());
    bench.server.fault("/bad", Fault::Truncate(60_000));
    let request = bench.request(&[bench.server.url("/bad"), bench.server.url("/good")], &bytes);
    assert_eq!(bench.fetch(&request).unwrap(), bytes);
}

#[test]
fn the_next_mirror_helps_whatever_fails() {
    let bytes = body(5, 50_000);
    for fault in [Fault::Status(404), Fault::Status(503), Fault::Corrupt(7), Fault::HangUp, Fault::WrongLength(3)] {
        let bench = bench();
        let request = bench.serve("/one", &bytes);
        bench.server.put("/two", bytes.clone());
        bench.server.fault("/one", fault.clone());
        let request = Request { urls: vec![request.urls[0].clone(), bench.server.url("/two")], ..request };
        assert_eq!(bench.fetch(&request).unwrap(), bytes, "{fault:?}");
        assert_eq!(bench.server.count("/two"), 1, "{fault:?}");
    }
}

#[test]
fn wrong_bytes_are_told_even_when_the_next_mirror_has_none() {
    let bench = bench();
    let request = bench.serve("/one", b"right");
    bench.server.put("/one", *b"wrong");
    let request = Request { urls: vec![request.urls[0].clone(), bench.server.url("/none")], ..request };
    let error = bench.fetch(&request).unwrap_err();
    assert!(matches!(&*error.failure, Failure::WrongDigest { got, .. } if *got == Digest::of("wrong")), "{error:?}");
    assert_eq!(error.tried.len(), 1);
}

#[test]
fn what_passes_is_tried_again() {
    let bench = bench();
    let request = bench.serve("/x", b"bytes");
    bench.server.fault_times("/x", Fault::Status(503), 1);
    assert_eq!(bench.fetch(&request).unwrap(), b"bytes");
    assert_eq!(bench.server.count("/x"), 2);
    assert_eq!(bench.fetch(&request).unwrap(), b"bytes");
    assert_eq!(bench.server.count("/x"), 2, "what is stored is not asked for");
}

#[test]
fn local_archives_are_read() {
    let bench = bench();
    let path = bench.home.path().join("a file");
    fs::write(&path, "bytes").unwrap();
    let url = format!("file://{}", path.display().to_string().replace(' ', "%20"));
    assert_eq!(bench.fetch(&bench.request(std::slice::from_ref(&url), b"bytes")).unwrap(), b"bytes");
    let answer = bench.fetcher.fetch_small(Some(&bench.store), &[url], 100).unwrap();
    assert_eq!((answer.bytes.as_slice(), answer.unchanged), (&b"bytes"[..], false));
}

#[test]
fn many_blobs_come_at_once_and_each_is_told_once() {
    let bench = bench();
    let bodies: Vec<Vec<u8>> = (0..200).map(|number| body(number, 1000 + 977 * number as usize)).collect();
    let requests: Vec<Request> =
        bodies.iter().enumerate().map(|(number, bytes)| bench.serve(&format!("/{number}"), bytes)).collect();
    bench.store.put(&bodies[7]).unwrap();
    bench.server.fault_times("/9", Fault::Truncate(5000), 1);
    let (done, told) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let on_done = |index: usize, path: std::path::PathBuf| done.lock().unwrap().push((index, fs::read(path).unwrap()));
    let progress = |progress: Progress| told.lock().unwrap().push(progress);
    bench.fetcher.fetch_all(&bench.store, &requests, &on_done, &progress).unwrap();
    let mut done = done.into_inner().unwrap();
    done.sort();
    assert_eq!(done, bodies.iter().cloned().enumerate().collect::<Vec<_>>());
    let total = bodies.iter().map(|bytes| bytes.len() as u64).sum();
    let last = told.into_inner().unwrap().pop().unwrap();
    assert_eq!(last, Progress { done: total, total, files: 200, of: 200, cached: 1 });
    assert_eq!(bench.server.seen().len(), 200, "199 and the one that broke");
    assert!(bench.server.connections() < 40, "connections are kept: {}", bench.server.connections());
}

#[test]
fn the_first_failure_stops_the_rest() {
    let bench = bench();
    let requests: Vec<Request> =
        (0..100).map(|number| bench.serve(&format!("/{number}"), &body(number, 5000))).collect();
    bench.server.fault("/0", Fault::Status(404));
    for number in 1..100 {
        bench.server.fault(&format!("/{number}"), Fault::Slow(1000, Duration::from_millis(20)));
    }
    let error = bench.fetcher.fetch_all(&bench.store, &requests, &|_, _| {}, &|_| {}).unwrap_err();
    assert!(matches!(*error.failure, Failure::NotFound { .. }), "{error:?}");
    assert!(bench.server.seen().len() < 50, "{}", bench.server.seen().len());
}

#[test]
fn a_blob_wanted_by_many_is_fetched_once() {
    let bench = bench();
    let bytes = body(6, 50_000);
    let request = bench.serve("/x", &bytes);
    bench.server.fault("/x", Fault::Slow(10_000, Duration::from_millis(10)));
    let store = bench.home.path().join("store");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                // As other kilns on the same store would.
                let other = Store::open(&store, None).unwrap();
                let path = Fetcher::new(options()).fetch_blob(&other, &request, &|_| {}).unwrap();
                assert_eq!(fs::read(path).unwrap(), bytes);
            });
        }
    });
    assert_eq!(bench.server.count("/x"), 1);
}

#[test]
fn cancelled_downloads_end_and_leave_nothing() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path());
    let store = Store::open(&home.path().join("store"), None).unwrap();
    let options = options();
    let cancel = Arc::clone(&options.cancel);
    let bench = Bench { home, server, store, fetcher: Fetcher::new(options) };
    let request = bench.serve("/x", &body(8, 1_000_000));
    bench.server.fault("/x", Fault::Slow(10_000, Duration::from_millis(5)));
    let seen = AtomicUsize::new(0);
    let progress = |_: u64| {
        if seen.fetch_add(1, Ordering::SeqCst) == 2 {
            cancel.store(true, Ordering::SeqCst);
        }
    };
    let error = bench.fetcher.fetch_blob(&bench.store, &request, &progress).unwrap_err();
    assert!(matches!(*error.failure, Failure::Cancelled));
    assert_eq!(Blame::from(error).kind(), FaultKind::Interrupted);
    bench.assert_nothing_kept(&request, "cancelled");
}

static TOLD_TO_STOP: AtomicBool = AtomicBool::new(false);

#[test]
fn a_server_that_says_nothing_cannot_hold_up_the_end() {
    let bench = bench();
    let request = bench.serve("/x", &body(9, 100_000));
    let (stall, interrupted) = (Duration::from_secs(20), || TOLD_TO_STOP.load(Ordering::SeqCst));
    let fetcher = Fetcher::new(Options { stall, interrupted, ..options() });
    for fault in [Fault::Stall(0), Fault::Stall(40_000)] {
        bench.server.fault("/x", fault.clone());
        TOLD_TO_STOP.store(false, Ordering::SeqCst);
        let asked = bench.server.seen().len();
        let (blob, small) = std::thread::scope(|scope| {
            let blob = scope.spawn(|| fetcher.fetch_blob(&bench.store, &request, &|_| {}));
            let small = scope.spawn(|| fetcher.fetch_small(None, &request.urls, 1 << 20));
            while bench.server.seen().len() < asked + 2 {
                std::thread::sleep(Duration::from_millis(5));
            }
            TOLD_TO_STOP.store(true, Ordering::SeqCst);
            (blob.join().unwrap().unwrap_err(), small.join().unwrap().unwrap_err())
        });
        assert!(matches!(*blob.failure, Failure::Cancelled), "{fault:?}: {blob:?}");
        assert!(matches!(*small.failure, Failure::Cancelled), "{fault:?}: {small:?}");
        bench.assert_nothing_kept(&request, "interrupted");
    }
}

#[test]
fn small_documents_are_asked_for_again_only_when_they_changed() {
    let bench = bench();
    bench.server.put("/InRelease", *b"one");
    let urls = [bench.server.url("/missing"), bench.server.url("/InRelease")];
    let get = || bench.fetcher.fetch_small(Some(&bench.store), &urls, 1000).unwrap();
    let answer = get();
    assert_eq!((answer.bytes.as_slice(), get().unchanged), (&b"one"[..], false), "nobody said that it is believed");
    bench.fetcher.remember(&bench.store, &answer).unwrap();
    assert_eq!((get().bytes, get().unchanged), (b"one".to_vec(), true));
    bench.server.put("/InRelease", *b"two");
    let answer = get();
    assert_eq!((answer.bytes, answer.unchanged, answer.url), (b"two".to_vec(), false, urls[1].clone()));
    let other = bench.fetcher.fetch_small(None, &urls, 1000).unwrap();
    assert!(!other.unchanged);
    for fault in [Fault::Truncate(1), Fault::WrongLength(10)] {
        bench.server.fault("/InRelease", fault);
        let error = bench.fetcher.fetch_small(None, &urls[1..], 1000).unwrap_err();
        assert!(matches!(*error.failure, Failure::Truncated { .. }), "{error:?}");
    }
    bench.server.mend();
    let error = bench.fetcher.fetch_small(None, &urls[1..], 2).unwrap_err();
    assert!(matches!(*error.failure, Failure::TooLarge { limit: 2, .. }), "{error:?}");
}

#[test]
fn offline_nobody_is_asked() {
    let bench = bench();
    let request = bench.serve("/x", b"bytes");
    let urls = [bench.server.url("/x")];
    let answer = bench.fetcher.fetch_small(Some(&bench.store), &urls, 1000).unwrap();
    bench.fetcher.remember(&bench.store, &answer).unwrap();
    let asked = bench.server.seen().len();
    let offline = Fetcher::new(Options { offline: true, ..options() });
    assert_eq!(offline.fetch_small(Some(&bench.store), &urls, 1000).unwrap().bytes, b"bytes");
    let error = offline.fetch_blob(&bench.store, &request, &|_| {}).unwrap_err();
    assert!(matches!(*error.failure, Failure::Offline { .. }), "{error:?}");
    bench.store.put(b"bytes").unwrap();
    offline.fetch_blob(&bench.store, &request, &|_| {}).unwrap();
    assert_eq!(bench.server.seen().len(), asked);
}
