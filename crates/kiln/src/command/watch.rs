//! `kiln watch`.

use std::process::ExitCode;

use kiln_adapter_pieman::watch::{Ending, Watch};
use kiln_model::{EventKind, Fault};

use crate::channel;
use crate::command::Outcome;
use crate::out;
use crate::render::Display;

/// Shows a build that tells Redis about itself: all of it so far, then live.
///
/// Where there are Pieman's status codes only, they are shown. Ends with 1 when the build fails.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The build's PROJECT_NAME
    project: String,
    /// Pass by a build that is over, and wait for the next
    #[arg(long)]
    next: bool,
    #[command(flatten)]
    display: Display,
    #[command(flatten)]
    redis: channel::Flags,
}

pub fn run(args: Args) -> Outcome {
    let watch = Watch { project: args.project, redis: args.redis.server()?, next: args.next };
    let mut sinks = args.display.sinks(None)?;
    let mut why = String::new();
    let followed = watch.follow(&mut |event| {
        sinks.iter_mut().for_each(|sink| sink.event(event));
        if let EventKind::Failed { message, hint, .. } = &event.kind {
            let hint = hint.as_ref().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
            why = format!("error: {message}\n{hint}");
        }
    });
    drop(sinks);
    out::talk(&why);
    let doing = || format!("watch `{}` at {}", watch.project, watch.redis);
    match followed.map_err(|why| Fault::farm(doing()).because(why))? {
        Ending::Well => Ok(ExitCode::SUCCESS),
        Ending::Failed => Ok(ExitCode::FAILURE),
    }
}
