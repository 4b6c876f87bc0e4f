//! How much a build says: output beyond a limit is left out, what happens is not.

use kiln_model::EventKind;

/// Bytes an entry takes beside its line.
const ENTRY: i64 = 100;
/// Longest line of a log, bytes.
const LINE: usize = 16 << 10;

/// Cuts a line that nobody reads: a log's pages are read into memory.
pub fn shortened(event: EventKind) -> EventKind {
    match event {
        EventKind::Log { stage, source, line } if line.len() > LINE => {
            let end = line.floor_char_boundary(LINE);
            let line = format!("{} … {} bytes more", &line[..end], line.len() - end);
            EventKind::Log { stage, source, line }
        }
        other => other,
    }
}

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
    fn long_lines_are_cut_between_letters() {
        let cut = |line: String| match shortened(EventKind::Log { stage: None, source: "sh".into(), line }) {
            EventKind::Log { line, .. } => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(cut("a".repeat(LINE)), "a".repeat(LINE));
        assert_eq!(
            cut(format!("a{}", "ä".repeat(LINE))),
            format!("a{} … {} bytes more", "ä".repeat(LINE / 2 - 1), LINE + 2)
        );
    }

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
