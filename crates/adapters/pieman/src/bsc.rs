//! The client of the Unix socket: one request, as bare bytes, and no answer.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// How long a server may take to hear us.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a request was not sent; the words are Pieman's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} does not exist", .0.display())]
    NoSocket(PathBuf),
    #[error("Connection refused")]
    Refused,
    #[error("{} does not answer", .0.display())]
    Silent(PathBuf),
    #[error("send to {}: {source}", .path.display())]
    Other { path: PathBuf, source: io::Error },
}

/// Sends a request to the server behind a socket.
pub fn send(path: &Path, request: &str) -> Result<(), Error> {
    if !path.exists() {
        return Err(Error::NoSocket(path.to_owned()));
    }
    let other = |error: io::Error| Error::Other { path: path.to_owned(), source: error };
    let began = Instant::now();
    let mut stream = loop {
        match knock(path) {
            Ok(stream) => break stream,
            Err(Errno::CONNREFUSED) => return Err(Error::Refused),
            // Its queue is full; a blocking connect would wait for ever.
            Err(Errno::AGAIN) if began.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(20)),
            Err(Errno::AGAIN) => return Err(Error::Silent(path.to_owned())),
            Err(error) => return Err(other(error.into())),
        }
    };
    stream.write_all(request.as_bytes()).map_err(other)
}

fn knock(path: &Path) -> Result<UnixStream, Errno> {
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    // A request fits into any buffer; this is for the one that does not.
    let _ = stream.set_nonblocking(false).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    Ok(stream)
}
