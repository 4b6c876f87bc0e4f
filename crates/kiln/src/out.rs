//! Data to stdout, talk to stderr; a reader that went away ends kiln quietly.

use std::io::{self, IsTerminal as _, Write as _};

use kiln_model::Fault;
use kiln_recipe::Look;
use serde::Serialize;

/// Writes data.
pub fn data(text: &str) -> Result<(), Fault> {
    bytes(text.as_bytes())
}

/// Writes data as it is.
pub fn bytes(bytes: &[u8]) -> Result<(), Fault> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Fault::farm("write to stdout").because(error)),
        Ok(()) => Ok(()),
    }
}

/// Writes a value as JSON, for scripts.
pub fn json(value: &impl Serialize) -> Result<(), Fault> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Fault::farm("write JSON").because(error))?;
    data(&(text + "\n"))
}

/// Writes talk; a stderr that is gone is no reason to fail.
pub fn talk(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Whether talk may be coloured and redrawn.
pub fn lively() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether talk may be coloured.
pub fn coloured() -> bool {
    lively() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Columns and rows of the terminal on stderr; 100 by 30 where there is none, or none that knows.
pub fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stderr()).map(|size| (size.ws_col.into(), size.ws_row.into()));
    size.ok().filter(|(columns, rows)| *columns > 0 && *rows > 0).unwrap_or((100, 30))
}

/// How diagnostics shall look on stderr.
pub fn look() -> Look {
    let width = size().0.max(40);
    if coloured() { Look::colour(width) } else { Look { width, ..Look::PLAIN } }
}

/// Whether stdout is a terminal: then data that talk has said already need not be said again.
pub fn read_by_people() -> bool {
    io::stdout().is_terminal()
}

/// Returns how this kiln was called, to name it in commands people can copy.
pub fn program() -> String {
    let called = std::env::args_os().next().map(std::path::PathBuf::from).unwrap_or_default();
    let here = std::env::current_dir().unwrap_or_default();
    let shown = called.strip_prefix(&here).unwrap_or(&called).display().to_string();
    if shown.is_empty() { "kiln".into() } else { shown }
}
