//! The live stage list: a calm table that is redrawn in place.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kiln_engine::events::Sink;
use kiln_model::{Event, EventKind};

use crate::out;
use crate::render::view::{Line, Mark, View};

/// How often the list is drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// Draws a [`View`] on stderr until the build ends or it is dropped.
pub struct Terminal {
    table: Arc<Mutex<Table>>,
    ticker: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts drawing. The clock between events needs a thread of its own; it ends with the build.
    pub fn start(colour: bool) -> Self {
        let table = Arc::new(Mutex::new(Table::new(colour)));
        let ticked = Arc::clone(&table);
        let tick = move || {
            while locked(&ticked).tick() {
                thread::sleep(TICK);
            }
        };
        Self { table, ticker: Some(thread::spawn(tick)) }
    }
}

impl Sink for Terminal {
    fn event(&mut self, event: &Event) {
        locked(&self.table).event(event);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        locked(&self.table).end();
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
    }
}

/// A table is drawn whole each time, so one that a panic left behind is as good as any.
fn locked(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The list and what of it stands on the screen.
struct Table {
    view: View,
    colour: bool,
    /// Rows on the screen that the next drawing goes over.
    drawn: usize,
    /// When the stream's clock stood at zero.
    began: Instant,
    over: bool,
}

impl Table {
    fn new(colour: bool) -> Self {
        Self { view: View::default(), colour, drawn: 0, began: Instant::now(), over: false }
    }

    /// Takes an event in; the ticker draws it soon enough, since progress comes in thousands.
    fn event(&mut self, event: &Event) {
        self.began = Instant::now().checked_sub(Duration::from_millis(event.at)).unwrap_or(self.began);
        self.view.event(event);
        match &event.kind {
            EventKind::Warning { message } => self.draw(&format!("warning: {message}\n")),
            EventKind::Failed { .. } | EventKind::Finished { .. } => self.end(),
            _ => {}
        }
    }

    /// Draws the list as it stands; false when the build is over.
    fn tick(&mut self) -> bool {
        if !self.over {
            self.draw("");
        }
        !self.over
    }

    /// Draws the list a last time and leaves it on the screen.
    fn end(&mut self) {
        if !self.over {
            self.draw("");
            self.over = true;
        }
    }

    /// Puts the list where it was drawn before, with `said` above it for good.
    fn draw(&mut self, said: &str) {
        let (columns, rows) = out::size();
        let lines = self.view.lines(self.began.elapsed().as_millis() as u64);
        let shown = window(&lines, rows.saturating_sub(1));
        let mut text = if self.drawn > 0 { format!("\x1b[{}A\r\x1b[J", self.drawn) } else { String::new() };
        text.push_str(said);
        shown.iter().for_each(|line| text.push_str(&(row(line, columns, self.colour) + "\n")));
        self.drawn = shown.len();
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Returns as many lines as fit, around the last one that is not waiting.
fn window(lines: &[Line], rows: usize) -> &[Line] {
    let busy = lines.iter().rposition(|line| line.mark != Mark::Waiting).map_or(0, |at| at + 1);
    let start = busy.saturating_sub(rows);
    &lines[start..lines.len().min(start + rows)]
}

/// Returns one row, cut at the screen's edge: mark, name, time, detail.
fn row(line: &Line, columns: usize, colour: bool) -> String {
    let (mark, paint) = match line.mark {
        Mark::Waiting => ('·', "2"),
        Mark::Running => ('›', "1"),
        Mark::Cached => ('=', "2"),
        Mark::Done => ('✓', ""),
        Mark::Failed => ('✗', "31"),
    };
    let text = format!("  {mark} {:<10} {:>9}  {}", line.name, line.time, line.detail);
    let text = cut(text.trim_end(), columns.saturating_sub(1));
    if colour && !paint.is_empty() { format!("\x1b[{paint}m{text}\x1b[0m") } else { text }
}

/// Returns what fits into `columns`, without control characters, which output of programs may hold.
fn cut(text: &str, columns: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::{golden, recorded};

    /// The list after every event, as 80 columns show it.
    fn screens(recording: &str) -> String {
        let mut view = View::default();
        let mut text = String::new();
        for event in recorded(recording) {
            view.event(&event);
            let rows: Vec<String> = view.lines(event.at).iter().map(|line| row(line, 80, false)).collect();
            text.push_str(&format!("-- {}\n{}\n", event.seq, rows.join("\n")));
        }
        text
    }

    #[test]
    fn the_stage_list_follows_the_build() {
        golden("build.terminal", &screens("build.ndjson"));
        golden("failed.terminal", &screens("failed.ndjson"));
    }

    #[test]
    fn a_small_screen_shows_what_runs() {
        let line = |mark| Line { mark, name: "x", time: String::new(), detail: String::new() };
        let lines = [Mark::Done, Mark::Done, Mark::Running, Mark::Waiting].map(line);
        let marks = |rows| window(&lines, rows).iter().map(|line| line.mark).collect::<Vec<_>>();
        assert_eq!(marks(2), [Mark::Done, Mark::Running]);
        assert_eq!(marks(9).len(), 4);
        assert_eq!(marks(0), []);
    }

    #[test]
    fn colour_and_control_characters_stay_where_they_belong() {
        let line = Line { mark: Mark::Failed, name: "image", time: "1.0 s".into(), detail: "a\x1b[2Jb\rc".into() };
        assert_eq!(row(&line, 80, false), "  ✗ image          1.0 s  a [2Jb c");
        assert_eq!(row(&line, 9, true), "\x1b[31m  ✗ imag\x1b[0m");
    }
}
