//! Goldens: texts that are reviewed by people and compared by tests.

use std::fs;
use std::path::Path;

/// Compares `text` with the file at `path`. With `KILN_BLESS=1` in the environment (`cargo xtask bless`) the file is
/// written instead.
///
/// # Panics
/// When they differ, with the first line that does.
#[track_caller]
pub fn golden(path: impl AsRef<Path>, text: &str) {
    let path = path.as_ref();
    if std::env::var_os("KILN_BLESS").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().expect("a golden is in a folder")).expect("make the golden's folder");
        fs::write(path, text).expect("write the golden");
        return;
    }
    let wanted = fs::read_to_string(path).unwrap_or_default();
    if let Some(difference) = difference(&wanted, text) {
        panic!("`{}` differs; `cargo xtask bless` accepts\n{difference}", path.display());
    }
}

/// Tells where two texts part, if they do.
fn difference(wanted: &str, got: &str) -> Option<String> {
    if wanted == got {
        return None;
    }
    let (mut wanted_lines, mut got_lines, mut number) = (wanted.lines(), got.lines(), 1);
    loop {
        match (wanted_lines.next(), got_lines.next()) {
            (None, None) => return Some("they differ in how lines end".to_owned()),
            (wanted, got) if wanted != got => {
                let show = |line: Option<&str>| line.map_or("(the end)".to_owned(), str::to_owned);
                return Some(format!("line {number}\n  wanted: {}\n  got:    {}", show(wanted), show(got)));
            }
            _ => number += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_told() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "a\nc\n").unwrap(), "line 2\n  wanted: b\n  got:    c");
        assert_eq!(difference("a\n", "a\nb\n").unwrap(), "line 2\n  wanted: (the end)\n  got:    b");
        assert!(difference("a\n", "a").is_some());
    }
}
