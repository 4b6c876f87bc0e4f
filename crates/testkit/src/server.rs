//! A small HTTP/1.1 server on a free loopback port, with faults on demand.
//!
//! Knows what mirrors know: keep-alive, `Range`, conditional requests. Also serves requests made to it as a proxy
//! (an absolute URL in the request line, whose path is looked up here) and refuses `CONNECT`.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use kiln_model::Digest;

/// What goes wrong with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status and no file.
    Status(u16),
    /// Promises all, sends so many bytes of the body and hangs up.
    Truncate(usize),
    /// Sends so many bytes of the body and then nothing, until the client hangs up.
    Stall(usize),
    /// Flips the byte at this place of the file.
    Corrupt(usize),
    /// Sends chunks of so many bytes with a pause before each.
    Slow(usize, Duration),
    /// Redirects to this URL or path.
    Redirect(String),
    /// Sends the whole file to whoever asks for a range.
    IgnoreRange,
    /// Says that the body has this length, sends what there is, and hangs up.
    WrongLength(u64),
    /// Hangs up without an answer.
    HangUp,
    /// Answers with something that is not HTTP.
    Garbage,
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The path as asked for, or the whole URL when the server was used as a proxy.
    pub target: String,
    /// Headers by lowercase name.
    pub headers: HashMap<String, String>,
    /// The status of the answer; 0 when there was none.
    pub status: u16,
}

#[derive(Default)]
struct State {
    root: PathBuf,
    files: Mutex<HashMap<String, Arc<[u8]>>>,
    /// Per path: the fault, and how many requests it still meets.
    faults: Mutex<HashMap<String, (Fault, usize)>>,
    /// Beginnings of paths, and of the addresses that answer for them.
    forwards: Mutex<Vec<(String, String)>>,
    seen: Mutex<Vec<Seen>>,
    streams: Mutex<Vec<TcpStream>>,
    stop: AtomicBool,
}

/// The server; stops when dropped.
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the files below `root`, and those [`put`](Self::put) later.
    pub fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State { root: root.to_owned(), ..State::default() });
        let shared = Arc::clone(&state);
        let accepting = Some(std::thread::spawn(move || accept(&listener, &shared)));
        Self { address, state, accepting }
    }

    /// Returns the URL of a path that starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Serves `bytes` under `path`.
    pub fn put(&self, path: &str, bytes: impl Into<Arc<[u8]>>) {
        self.state.files.lock().expect("no panic while held").insert(path.to_owned(), bytes.into());
    }

    /// Sends everybody who asks for a path with this beginning to an address with another; of several, the longest counts.
    pub fn forward(&self, from: &str, to: &str) {
        self.state.forwards.lock().expect("no panic while held").push((from.to_owned(), to.to_owned()));
    }

    /// Makes every request of `path` meet `fault`.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.fault_times(path, fault, usize::MAX);
    }

    /// Makes the next requests of `path` meet `fault`; after these it is well again.
    pub fn fault_times(&self, path: &str, fault: Fault, times: usize) {
        self.state.faults.lock().expect("no panic while held").insert(path.to_owned(), (fault, times));
    }

    /// Makes all well again.
    pub fn mend(&self) {
        self.state.faults.lock().expect("no panic while held").clear();
    }

    /// Returns the requests so far, in the order of their answers.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().expect("no panic while held").clone()
    }

    /// Returns how many requests of `path` came.
    pub fn count(&self, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.target == path).count()
    }

    /// Returns how many connections were made.
    pub fn connections(&self) -> usize {
        self.state.streams.lock().expect("no panic while held").len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits in accept.
        let _ = TcpStream::connect(self.address);
        self.accepting.take().map(JoinHandle::join);
        for stream in self.state.streams.lock().expect("no panic while held").iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let _ = stream.set_nodelay(true);
        state.streams.lock().expect("no panic while held").extend(stream.try_clone());
        let state = Arc::clone(state);
        // A client that hangs up in the middle is no concern of the server.
        std::thread::spawn(move || drop(converse(&state, stream)));
    }
}

/// Answers request after request until somebody hangs up.
fn converse(state: &State, stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut peer = Peer { stream, state };
    while let Some(request) = read_request(&mut reader)? {
        if !peer.answer(&request)? {
            break;
        }
    }
    let _ = peer.stream.shutdown(Shutdown::Both);
    Ok(())
}

struct Request {
    method: String,
    target: String,
    headers: HashMap<String, String>,
}

fn read_request(reader: &mut impl io::BufRead) -> io::Result<Option<Request>> {
    // A client that wants TLS begins with the byte 22 and would wait for an answer in kind.
    if reader.fill_buf()?.first() == Some(&22) {
        return Ok(None);
    }
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(Some(Request { method, target, headers }))
}

struct Peer<'a> {
    stream: TcpStream,
    state: &'a State,
}

impl Peer<'_> {
    /// Answers one request; false when the connection is to end.
    fn answer(&mut self, request: &Request) -> io::Result<bool> {
        if request.method == "CONNECT" {
            return self.status(request, 403);
        }
        let path = path_of(&request.target);
        let fault = self.take_fault(&path);
        match &fault {
            Some(Fault::Status(status)) => return self.status(request, *status),
            Some(Fault::Redirect(to)) => return self.redirect(request, to),
            Some(Fault::HangUp) => return self.garbage(request, b""),
            Some(Fault::Garbage) => return self.garbage(request, b"220 mail.invalid ESMTP\r\n\r\n"),
            _ => {}
        }
        if let Some(to) = self.forwarded(&path) {
            return self.redirect(request, &to);
        }
        match self.file(&path) {
            Some(bytes) => self.send(request, &bytes, fault),
            None => self.status(request, 404),
        }
    }

    fn take_fault(&self, path: &str) -> Option<Fault> {
        let mut faults = self.state.faults.lock().expect("no panic while held");
        let (fault, left) = faults.get_mut(path).filter(|(_, left)| *left > 0)?;
        *left -= 1;
        Some(fault.clone())
    }

    fn forwarded(&self, path: &str) -> Option<String> {
        let forwards = self.state.forwards.lock().expect("no panic while held");
        let fitting = forwards.iter().filter_map(|(from, to)| Some((to, path.strip_prefix(from.as_str())?)));
        fitting.min_by_key(|(_, rest)| rest.len()).map(|(to, rest)| format!("{to}{rest}"))
    }

    fn file(&self, path: &str) -> Option<Arc<[u8]>> {
        let kept = self.state.files.lock().expect("no panic while held").get(path).cloned();
        let below = path.trim_start_matches('/');
        let honest = !below.split('/').any(|part| part == "..");
        kept.or_else(|| honest.then(|| fs::read(self.state.root.join(below)).ok()).flatten().map(Arc::from))
    }

    fn saw(&self, request: &Request, status: u16) {
        let seen = Seen { target: request.target.clone(), headers: request.headers.clone(), status };
        self.state.seen.lock().expect("no panic while held").push(seen);
    }

    fn status(&mut self, request: &Request, status: u16) -> io::Result<bool> {
        self.saw(request, status);
        write!(self.stream, "HTTP/1.1 {status} Fault\r\nContent-Length: 0\r\n\r\n")?;
        Ok(true)
    }

    fn redirect(&mut self, request: &Request, to: &str) -> io::Result<bool> {
        self.saw(request, 302);
        write!(self.stream, "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")?;
        Ok(true)
    }

    fn garbage(&mut self, request: &Request, bytes: &[u8]) -> io::Result<bool> {
        self.saw(request, 0);
        self.stream.write_all(bytes)?;
        Ok(false)
    }

    fn send(&mut self, request: &Request, bytes: &[u8], fault: Option<Fault>) -> io::Result<bool> {
        let etag = format!("\"{}\"", Digest::of(bytes).short());
        if request.headers.get("if-none-match") == Some(&etag) {
            return self.status(request, 304);
        }
        let from = if fault == Some(Fault::IgnoreRange) { None } else { range_start(request) };
        if from.is_some_and(|from| from >= bytes.len()) {
            return self.status(request, 416);
        }
        let body = &bytes[from.unwrap_or(0)..];
        let length = if let Some(Fault::WrongLength(length)) = fault { length } else { body.len() as u64 };
        let status = if from.is_some() { 206 } else { 200 };
        self.saw(request, status);
        let mut head = format!("HTTP/1.1 {status} OK\r\nETag: {etag}\r\nContent-Length: {length}\r\n");
        if let Some(from) = from {
            head.push_str(&format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len()));
        }
        self.stream.write_all(format!("{head}\r\n").as_bytes())?;
        self.body(body, from.unwrap_or(0), fault)
    }

    fn body(&mut self, body: &[u8], from: usize, fault: Option<Fault>) -> io::Result<bool> {
        match fault {
            Some(Fault::Truncate(count)) => {
                self.stream.write_all(&body[..count.min(body.len())])?;
                Ok(false)
            }
            Some(Fault::Stall(count)) => {
                self.stream.write_all(&body[..count.min(body.len())])?;
                // Until the client hangs up.
                let _ = self.stream.read(&mut [0]);
                Ok(false)
            }
            Some(Fault::Corrupt(at)) => {
                let mut body = body.to_vec();
                if let Some(byte) = at.checked_sub(from).and_then(|at| body.get_mut(at)) {
                    *byte ^= 1;
                }
                self.stream.write_all(&body).map(|()| true)
            }
            Some(Fault::Slow(count, pause)) => {
                for chunk in body.chunks(count.max(1)) {
                    std::thread::sleep(pause);
                    self.stream.write_all(chunk)?;
                }
                Ok(true)
            }
            Some(Fault::WrongLength(_)) => self.stream.write_all(body).map(|()| false),
            _ => self.stream.write_all(body).map(|()| true),
        }
    }
}

/// Returns the path of a request target, be it a path or a whole URL.
fn path_of(target: &str) -> String {
    let rest = target.split_once("://").map_or(target, |(_, rest)| &rest[rest.find('/').unwrap_or(rest.len())..]);
    rest.split('?').next().unwrap_or_default().to_owned()
}

fn range_start(request: &Request) -> Option<usize> {
    request.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}
