//! Points at which a test kills a server or a node: `KILN_KILL_AT=POINT:N` ends the process by SIGKILL when it comes to a point for the Nth
//! time, as a machine that loses its power there would. `KILN_STOP_AT=POINT:N` stops it there by SIGSTOP, so that a test kills what the
//! server speaks to, and lets it go on by SIGCONT. Without the variables a point is one comparison.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// Where a server or a node can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// In a transaction, after a job was done.
    Job,
    /// All jobs are done, nothing is committed.
    BeforeCommit,
    /// It is committed, nobody was told.
    AfterCommit,
    /// A piece of an upload is written.
    UploadWritten,
    /// A blob is in its place, no row tells of it.
    BlobPlaced,
    /// Bytes of an upload that is not whole are in the bucket, no row tells of them.
    UploadParked,
    /// A gc has removed rows of blobs, their bytes are still there.
    RowsGone,
    /// Redis is about to be told of a build.
    Telling,
    /// Redis has answered that it heard, nobody noted that.
    Told,
    /// A node has a task's bundle.
    Fetched,
    /// A node's build has begun its first stage.
    Building,
    /// A node's build has ended, its result is nowhere.
    Built,
    /// A node's result is on its disk.
    ResultWritten,
    /// A node's artifacts are with the server, its result is not.
    Uploaded,
    /// The server has a node's result, the node has not heard that.
    Completed,
}

impl Point {
    /// Every point that a server comes to for a build, in the order it does.
    pub const OF_SERVERS: [Self; 5] =
        [Self::Job, Self::BeforeCommit, Self::AfterCommit, Self::UploadWritten, Self::BlobPlaced];

    /// Those between the server and its bucket, where uploads are parked and blobs go.
    pub const OF_STORES: [Self; 2] = [Self::UploadParked, Self::RowsGone];

    /// Those between the server and a Redis that is told of builds.
    pub const OF_CHANNELS: [Self; 2] = [Self::Telling, Self::Told];

    /// Every point that a node comes to for a build, in the order it does.
    pub const OF_NODES: [Self; 6] =
        [Self::Fetched, Self::Building, Self::Built, Self::ResultWritten, Self::Uploaded, Self::Completed];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::BeforeCommit => "before-commit",
            Self::AfterCommit => "after-commit",
            Self::UploadWritten => "upload-written",
            Self::BlobPlaced => "blob-placed",
            Self::UploadParked => "upload-parked",
            Self::RowsGone => "rows-gone",
            Self::Telling => "telling",
            Self::Told => "told",
            Self::Fetched => "fetched",
            Self::Building => "building",
            Self::Built => "built",
            Self::ResultWritten => "result-written",
            Self::Uploaded => "uploaded",
            Self::Completed => "completed",
        }
    }

    fn named(name: &str) -> Option<Self> {
        let all = [&Self::OF_SERVERS[..], &Self::OF_STORES, &Self::OF_CHANNELS, &Self::OF_NODES];
        all.into_iter().flatten().find(|point| point.name() == name).copied()
    }
}

struct Trap {
    point: Point,
    left: AtomicU32,
    signal: Signal,
}

static TRAP: OnceLock<Option<Trap>> = OnceLock::new();

fn trap() -> Option<Trap> {
    let said = |name: &str, signal| Some((std::env::var(name).ok()?, signal));
    let (said, signal) = said("KILN_KILL_AT", Signal::KILL).or_else(|| said("KILN_STOP_AT", Signal::STOP))?;
    let (name, count) = said.split_once(':')?;
    Some(Trap { point: Point::named(name)?, left: AtomicU32::new(count.parse().ok()?), signal })
}

/// Ends or stops the process here if that was asked for.
pub fn pass(point: Point) {
    if let Some(trap) = TRAP.get_or_init(trap)
        && trap.point == point
        && trap.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        let _ = kill_process(getpid(), trap.signal);
        while trap.signal == Signal::KILL {
            // It may take a moment to arrive, and nothing is to happen after this point.
            std::thread::park();
        }
    }
}
