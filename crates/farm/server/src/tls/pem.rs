//! PEM with line numbers: who has a mistake in a file wants to know where.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What stands between a `BEGIN` and its `END`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// As in `CERTIFICATE`.
    pub label: String,
    /// The line of its `BEGIN`, from 1.
    pub line: usize,
    pub der: Vec<u8>,
}

/// A mistake, and the line it stands in.
pub type Mistake = (usize, String);

/// Returns the sections of a text; what stands between them is for people.
pub fn sections(text: &str) -> Result<Vec<Section>, Mistake> {
    let mut found = vec![];
    let mut open: Option<(usize, String, String)> = None;
    for (line, text) in (1..).zip(text.lines().map(str::trim)) {
        open = match (open, label(text, "BEGIN"), label(text, "END")) {
            (None, Some(begun), _) => Some((line, begun.to_owned(), String::new())),
            (None, None, Some(ended)) => return Err((line, format!("`END {ended}` without a `BEGIN {ended}`"))),
            (None, None, None) => None,
            (Some((at, label, body)), None, Some(ended)) if label == ended => {
                found.push(section(at, label, &body)?);
                None
            }
            (Some((at, label, _)), Some(_), _) | (Some((at, label, _)), _, Some(_)) => {
                return Err((line, format!("`BEGIN {label}` of line {at} does not end before")));
            }
            (Some((at, label, body)), None, None) => Some((at, label, body + text)),
        };
    }
    match open {
        Some((at, label, _)) => Err((at, format!("`BEGIN {label}` does not end"))),
        None => Ok(found),
    }
}

fn section(line: usize, label: String, body: &str) -> Result<Section, Mistake> {
    let der = STANDARD.decode(body).map_err(|error| (line, format!("the {label} is no base64: {error}")))?;
    Ok(Section { label, line, der })
}

fn label<'a>(line: &'a str, kind: &str) -> Option<&'a str> {
    line.strip_prefix("-----")?.strip_prefix(kind)?.strip_prefix(' ')?.strip_suffix("-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_mistakes_have_lines() {
        let text = "of ann\n-----BEGIN A-----\nAQI=\n-----END A-----\n\n-----BEGIN B C-----\r\nAw\r\n==\r\n-----END B C-----\n";
        let section = |label: &str, line, der: &[u8]| Section { label: label.to_owned(), line, der: der.to_owned() };
        assert_eq!(sections(text), Ok(vec![section("A", 2, &[1, 2]), section("B C", 6, &[3])]));
        let cases = [
            ("-----BEGIN A-----\nAQI=\n", 1, "does not end"),
            ("\n-----END A-----", 2, "without a `BEGIN A`"),
            ("-----BEGIN A-----\n-----BEGIN B-----", 2, "of line 1 does not end before"),
            ("-----BEGIN A-----\n-----END B-----", 2, "of line 1 does not end before"),
            ("x\n-----BEGIN A-----\nno!\n-----END A-----", 2, "no base64"),
        ];
        for (text, line, words) in cases {
            let (at, what) = sections(text).unwrap_err();
            assert!(at == line && what.contains(words), "{text}: {at} {what}");
        }
    }
}
