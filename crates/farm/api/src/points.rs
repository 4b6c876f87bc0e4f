//! Points at which a test kills a server or a node: `KILN_KILL_AT=POINT:N` ends the process by SIGKILL when it comes to a point for the Nth
//! time, as a machine that loses its power there would. Without the variable a point is one comparison.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a server or a node can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            Self::Fetched => "fetched",
            Self::Building => "building",
            Self::Built => "built",
            Self::ResultWritten => "result-written",
            Self::Uploaded => "uploaded",
            Self::Completed => "completed",
        }
    }
}

struct Trap {
    point: Point,
    left: AtomicU32,
}

static TRAP: OnceLock<Option<Trap>> = OnceLock::new();

fn trap() -> Option<Trap> {
    let said = std::env::var("KILN_KILL_AT").ok()?;
    let (name, count) = said.split_once(':')?;
    let all = Point::OF_SERVERS.into_iter().chain(Point::OF_NODES).chain([Point::UploadParked, Point::RowsGone]);
    let point = all.into_iter().find(|point| point.name() == name)?;
    Some(Trap { point, left: AtomicU32::new(count.parse().ok()?) })
}

/// Ends the process here if that was asked for.
pub fn pass(point: Point) {
    if let Some(trap) = TRAP.get_or_init(trap)
        && trap.point == point
        && trap.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // It may take a moment to arrive, and nothing is to happen after this point.
        loop {
            std::thread::park();
        }
    }
}
