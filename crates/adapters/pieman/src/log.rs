//! The log as CusDeb's client shows it in a terminal emulator: Pieman's coloured words, lines that end in `\r\n`.

use kiln_model::{Event, EventKind};

/// Returns what an event adds to the log; progress adds nothing.
pub fn text(event: &Event) -> String {
    match &event.kind {
        EventKind::Started { name, stages } => info(&format!("building {name} in {} stages", stages.len())),
        EventKind::StageStarted { stage, .. } => info(&format!("stage {stage}")),
        EventKind::StageRestored { stage, .. } => info(&format!("stage {stage} comes from the cache")),
        EventKind::Log { line, .. } => lines(line),
        EventKind::Warning { message } => info(&format!("warning: {message}")),
        EventKind::ArtifactWritten { artifact } => info(&format!("wrote {}", artifact.name)),
        EventKind::Failed { message, hint, .. } => {
            let hint = hint.as_ref().map(|hint| lines(hint)).unwrap_or_default();
            said(1, "Fatal", message) + &hint
        }
        EventKind::Finished { millis } => said(2, "Success", &format!("built in {} s", millis / 1000)),
        EventKind::StageFinished { .. } | EventKind::Progress { .. } => String::new(),
    }
}

/// Returns what is said of a build that was killed.
pub fn interrupted() -> String {
    said(4, "Interrupted", "the build was killed, perhaps because its time was up")
}

fn info(text: &str) -> String {
    said(3, "Info", text)
}

/// A word in one of the terminal's colours, as xterm's terminfo has it, and what it introduces.
fn said(colour: u8, word: &str, text: &str) -> String {
    format!("\x1b[3{colour}m{word}\x1b(B\x1b[m: {}", lines(text))
}

fn lines(text: &str) -> String {
    text.lines().map(|line| format!("{line}\r\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_terminals_want_it() {
        let said = |kind| text(&Event { seq: 1, at: 0, kind });
        let line = EventKind::Log { stage: None, source: "apt".into(), line: "Setting up x\nand y".into() };
        assert_eq!(said(line), "Setting up x\r\nand y\r\n");
        assert_eq!(said(EventKind::Warning { message: "slow".into() }), "\x1b[33mInfo\x1b(B\x1b[m: warning: slow\r\n");
        assert!(interrupted().starts_with("\x1b[34mInterrupted\x1b(B\x1b[m: "));
    }
}
