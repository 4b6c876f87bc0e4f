//! Names that listeners know.

/// Returns the channel of Pieman's codes.
pub fn codes(project: &str) -> String {
    format!("bscd-{project}")
}

/// Returns the channel of kiln's own events.
pub fn events(project: &str) -> String {
    format!("kiln:{project}:events")
}

/// Returns the stream that keeps these events for who comes late.
pub fn stream(project: &str) -> String {
    format!("kiln:{project}:stream")
}

/// Returns the channel of the log that CusDeb's client shows.
pub fn log(image_id: &str) -> String {
    format!("build-log-{image_id}")
}
