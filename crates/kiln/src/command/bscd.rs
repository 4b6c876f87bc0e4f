//! `kiln bscd`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use kiln_adapter_pieman::{Server, bscd};
use kiln_model::Fault;
use kiln_model::fault::OrFault as _;
use kiln_sandbox::Companion;

use crate::command::Outcome;

/// Where server and client meet.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// The server's Unix socket
    #[arg(
        long,
        short = 'a',
        value_name = "SOCKET",
        visible_alias = "unix-socket-name",
        default_value = "/var/run/bscd.sock"
    )]
    pub socket: PathBuf,
}

/// Publishes build status codes from a Unix socket to Redis, as Pieman's bscd.py does.
///
/// `kiln pieman` and `kiln build --channel` need no such server; this is for who sends codes with `kiln bsc`. The request
/// EXIT ends it. It ends with 1 when the socket is in use, a folder is not writable, or Redis is not there.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Who may connect (Pieman: 0777)
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = mode)]
    socket_mode: u32,
    /// Go to the background
    #[arg(long, short)]
    daemonize: bool,
    /// Host of Redis
    #[arg(long, short = 'H', value_name = "HOST", default_value = "127.0.0.1")]
    redis_host: String,
    /// Port of Redis
    #[arg(long, short = 'P', value_name = "PORT", default_value_t = 6379)]
    redis_port: u16,
    /// File for the log [default: stderr alone]
    #[arg(long, short, value_name = "FILE", visible_alias = "log-file-prefix")]
    log: Option<PathBuf>,
    /// Channel of Redis to publish to
    #[arg(long, short = 'n', value_name = "CHANNEL", default_value = "build_status_codes")]
    channel_name: String,
    /// File for the server's process id
    #[arg(long, short, value_name = "FILE", default_value = "/var/run/bscd.pid")]
    pid: PathBuf,
    /// Log connections too
    #[arg(long, short)]
    verbose: bool,
    /// This is the process in the background
    #[arg(long, hide = true)]
    in_background: bool,
}

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| format!("`{text}` is not a mode such as 0600"))
}

pub fn run(args: Args) -> Outcome {
    if args.daemonize && !args.in_background {
        return go_to_background();
    }
    kiln_sandbox::listen();
    let ready = || {
        if args.in_background {
            let_go()
        }
    };
    match bscd::serve(&options(&args), ready, &kiln_sandbox::interrupted) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // The server has said why.
        Err(_) => Ok(ExitCode::FAILURE),
    }
}

fn options(args: &Args) -> bscd::Options {
    bscd::Options {
        socket: args.place.socket.clone(),
        mode: args.socket_mode,
        pid: args.pid.clone(),
        log: args.log.clone(),
        channel: args.channel_name.clone(),
        redis: Server { host: args.redis_host.clone(), port: args.redis_port, url: None },
        verbose: args.verbose,
    }
}

/// Starts the server again in the background, and ends when clients are welcome there, or as it ended.
fn go_to_background() -> Outcome {
    let words = std::env::args().skip(1).chain(["--in-background".to_owned()]).collect::<Vec<_>>();
    let mut server = Companion::start("kiln-bscd", &words).farm(|| "start the server in the background".into())?;
    drop(server.to);
    let mut word = String::new();
    BufReader::new(server.from).read_line(&mut word).farm(|| "hear from the server in the background".into())?;
    if word == UP {
        return Ok(ExitCode::SUCCESS);
    }
    let status = server.process.wait().farm(|| "wait for the server".into())?;
    Ok(ExitCode::from(status.code().and_then(|code| code.try_into().ok()).unwrap_or(1)))
}

const UP: &str = "up\n";

/// Says that the server is up, and leaves the terminal.
fn let_go() {
    let _ = std::io::stdout().write_all(UP.as_bytes()).and_then(|()| std::io::stdout().flush());
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    let _ = null.map_err(|error| Fault::farm("open `/dev/null`").because(error)).map(|null| {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    });
}
