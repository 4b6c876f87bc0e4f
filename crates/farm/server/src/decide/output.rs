//! How much a build says: output beyond a limit is left out, what happens is not.

use kiln_model::EventKind;

/// Bytes an entry takes beside its line.
const ENTRY: i64 = 100;

/// Returns what a log that holds `used` bytes of output takes of an event, and counts it. The first time something is left out, that
/// is said.
pub fn bounded(event: EventKind, used: &mut i64, limit: i64) -> Option<EventKind> {
    let size = match &event {
        EventKind::Log { line, .. } => line.len() as i64 + ENTRY,
        EventKind::Progress { .. } => ENTRY,
        _ => return Some(event),
    };
    if *used > limit {
        return None;
    }
    *used += size;
    let message =
        || format!("this log holds {limit} bytes of output, which is all it may: the output that follows is left out");
    Some(if *used > limit { EventKind::Warning { message: message() } } else { event })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_always_told() {
        let line = |text: &str| EventKind::Log { stage: None, source: "sh".into(), line: text.into() };
        let end = || EventKind::Finished { millis: 1 };
        let mut used = 0;
        let mut take = |event| bounded(event, &mut used, 210);
        assert_eq!(take(line("12345")), Some(line("12345")));
        assert_eq!(take(end()), Some(end()));
        assert!(matches!(take(line("123456")), Some(EventKind::Warning { message }) if message.contains("210 bytes")));
        assert_eq!(take(line("a")), None);
        assert_eq!(take(end()), Some(end()));
        assert_eq!(used, 211);
    }
}
