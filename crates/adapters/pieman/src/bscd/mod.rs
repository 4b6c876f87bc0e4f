//! The status code server as Pieman runs it: codes come in through a Unix socket and go out to a Redis channel.
//!
//! It serves everybody at once: a client that connects and stays silent is let go after a while and hinders nobody.

mod clients;
mod diary;
mod place;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clients::Clients;
use diary::Diary;
use place::Place;

use crate::publish::{Addresses, Post, Publisher};
use crate::{Server, codes};

/// How long the server waits in the end for what Redis has not taken.
const FLUSH: Duration = Duration::from_secs(5);

/// How long Redis may take at the start.
const FIRST: Duration = Duration::from_millis(2500);

/// What the server is started with; Pieman's options.
#[derive(Clone, Debug)]
pub struct Options {
    pub socket: PathBuf,
    /// Who may connect: 0600 for the server's own user.
    pub mode: u32,
    pub pid: PathBuf,
    /// Where the log goes beside stderr.
    pub log: Option<PathBuf>,
    pub channel: String,
    pub redis: Server,
    pub verbose: bool,
}

/// Why a server did not start or go on; it is in the log already.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

/// Serves until a client says `EXIT`, or until `stop` does; `ready` is called once clients are welcome.
pub fn serve(options: &Options, ready: impl FnOnce(), stop: &dyn Fn() -> bool) -> Result<(), Refusal> {
    let mut diary = Diary::open(options.log.as_deref(), options.verbose)
        .map_err(|error| Refusal(format!("{}: {error}", options.log.clone().unwrap_or_default().display())))
        // There is no log that could say so.
        .inspect_err(|why| eprintln!("{why}"))?;
    let started = start(options);
    let (place, publisher) = started.inspect_err(|why| diary.critical(&why.0))?;
    ready();
    let asked = listen(&place, &publisher, &mut diary, stop);
    let delivery = publisher.finish(FLUSH);
    delivery.words().iter().for_each(|words| diary.critical(words));
    drop(place);
    match asked {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal("stopped by a signal".into())),
        Err(error) => Err(Refusal(error.to_string())).inspect_err(|why| diary.critical(&why.0)),
    }
}

fn start(options: &Options) -> Result<(Place, Publisher), Refusal> {
    place::check(options).map_err(Refusal)?;
    let to = Addresses { codes: options.channel.clone(), ..Addresses::default() };
    let publisher = Publisher::start(options.redis.clone(), to);
    publisher.reached(FIRST).map_err(|_| Refusal("Could not connect to Redis".into()))?;
    let place = Place::take(options).map_err(Refusal)?;
    Ok((place, publisher))
}

/// Hears requests until one of them is the last; false when it was a signal.
fn listen(place: &Place, publisher: &Publisher, diary: &mut Diary, stop: &dyn Fn() -> bool) -> io::Result<bool> {
    let mut clients = Clients::new(&place.listener)?;
    while !stop() {
        for request in clients.requests(diary)? {
            if request == b"EXIT" {
                diary.info("Shutting down the server since the EXIT request was sent");
                return Ok(true);
            }
            handle(&request, publisher, diary);
        }
    }
    Ok(false)
}

fn handle(request: &[u8], publisher: &Publisher, diary: &mut Diary) {
    let code = std::str::from_utf8(request)
        .ok()
        .filter(|text| !text.starts_with(['+', '0']))
        .and_then(|text| text.parse().ok());
    match code.filter(|code| codes::is_code(*code)) {
        Some(code) => {
            diary.info(&format!("Handling {}", diary::bytes(request)));
            publisher.post(Post::code(code));
        }
        None => diary.info(&format!("Unknown request {}", diary::bytes(request))),
    }
}
