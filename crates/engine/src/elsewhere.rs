//! Stages that other machines made: asked for, and offered, at a socket of whoever started this kiln.
//!
//! One line each way. `fetch STAGE` is answered with `file PATH`, which is ours then, or `none`; `offer STAGE` with `pack PATH` or
//! `none`, and once that file is whole `packed STAGE` with `none`. A file that is no layer is told by `bad STAGE`, answered with `none`:
//! the stage is made here, and offered in its place. Whatever else goes wrong is told once, and the build does without.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use kiln_model::StageId;
use kiln_store::{Layer, Store};

use crate::events::Events;

/// How often somebody who waits looks whether the build is to stop.
const TICK: Duration = Duration::from_millis(200);

/// The way to other machines' stages, as long as it leads there.
#[derive(Default)]
pub(crate) struct Elsewhere {
    line: Mutex<Way>,
}

#[derive(Default)]
enum Way {
    Closed(PathBuf),
    Open(BufReader<UnixStream>),
    #[default]
    None,
}

impl Elsewhere {
    pub fn at(socket: Option<PathBuf>) -> Self {
        Self { line: Mutex::new(socket.map_or(Way::None, Way::Closed)) }
    }

    /// Returns the layer of a stage that another machine made, now in the store.
    pub fn fetch(&self, store: &Store, id: &StageId, events: &Events) -> Option<Layer> {
        let fetched = self.attempt("fetch a stage from the farm", events, |way| {
            let Some(path) = way.ask(&format!("fetch {id}"))? else { return Ok(None) };
            let unpacked = File::open(&path).map(|file| store.unpack(id, BufReader::new(file)));
            let _ = fs::remove_file(&path);
            match unpacked? {
                Ok(layer) => Ok(Some(layer)),
                Err(error) if !error.is_of_the_layer() => Err(io::Error::other(kiln_model::Fault::from(error).chain())),
                Err(error) => {
                    let why = kiln_model::Fault::from(error).chain();
                    events.warn(format!("unpack a stage of the farm: {why}; it is made here"));
                    way.ask(&format!("bad {id}")).map(|_| None)
                }
            }
        });
        fetched.flatten()
    }

    /// Gives other machines a layer that was made here, if they want it.
    pub fn offer(&self, store: &Store, layer: &Layer, events: &Events) {
        self.attempt("offer a stage to the farm", events, |way| {
            let Some(path) = way.ask(&format!("offer {}", layer.id))? else { return Ok(()) };
            let packed = File::create(&path).map(|file| store.pack(layer, BufWriter::new(file)));
            packed?.map_err(|error| io::Error::other(kiln_model::Fault::from(error).chain()))?;
            way.ask(&format!("packed {}", layer.id)).map(drop)
        });
    }

    /// Does something that nothing depends on; when it fails it is not tried again.
    fn attempt<T>(&self, doing: &str, events: &Events, job: impl FnOnce(&mut Way) -> io::Result<T>) -> Option<T> {
        let mut way = self.line.lock().expect("no holder panics");
        if matches!(*way, Way::None) || kiln_sandbox::interrupted() {
            return None;
        }
        match job(&mut way) {
            Ok(done) => Some(done),
            Err(error) => {
                *way = Way::None;
                if !kiln_sandbox::interrupted() {
                    events.warn(format!("{doing}: {error}; the build goes on without the farm's stages"));
                }
                None
            }
        }
    }
}

impl Way {
    /// Says a line, and returns the path that the answer names.
    fn ask(&mut self, line: &str) -> io::Result<Option<PathBuf>> {
        let stream = self.open()?;
        stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = vec![];
        loop {
            match stream.read_until(b'\n', &mut answer) {
                Ok(_) => break,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if kiln_sandbox::interrupted() {
                        return Err(io::ErrorKind::Interrupted.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let answer = std::str::from_utf8(&answer).map_err(io::Error::other)?;
        match answer.trim_end_matches('\n').split_once(' ') {
            Some(("file" | "pack", path)) => Ok(Some(Path::new(path).to_owned())),
            None if answer == "none\n" => Ok(None),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn open(&mut self) -> io::Result<&mut BufReader<UnixStream>> {
        if let Self::Closed(socket) = self {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(TICK))?;
            *self = Self::Open(BufReader::new(stream));
        }
        match self {
            Self::Open(stream) => Ok(stream),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}
