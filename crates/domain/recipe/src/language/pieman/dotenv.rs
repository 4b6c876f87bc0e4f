//! `.env` as data: bash's comments, quotes and `export`, and nothing that bash would have to evaluate.

use crate::desk::Note;
use crate::node::Span;

/// A line `NAME=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub name: String,
    pub name_span: Span,
    pub value: String,
    /// The value with its quotes.
    pub span: Span,
}

/// Reads `text`, the file numbered `file`; the first thing that is not data ends it.
pub fn read(text: &str, file: usize) -> Result<Vec<Assignment>, Note> {
    let mut reader = Reader { text, at: 0, file, found: Vec::new() };
    while reader.skip() {
        reader.command()?;
    }
    Ok(reader.found)
}

/// Reads what stands before the first thing that is not data; returns it and the rest.
pub fn read_before(text: &str) -> (Vec<Assignment>, &str) {
    let mut reader = Reader { text, at: 0, file: 0, found: Vec::new() };
    while reader.skip() {
        let start = reader.at;
        if reader.command().is_err() {
            return (reader.found, &text[start..]);
        }
    }
    (reader.found, "")
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    file: usize,
    found: Vec<Assignment>,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn span(&self, start: usize) -> Span {
        Span { file: self.file, start, end: self.at }
    }

    /// Goes over blanks, line ends and comments; returns whether something follows.
    fn skip(&mut self) -> bool {
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' | '\r' | '\n' | ';' => self.at += 1,
                '\\' if self.rest().starts_with("\\\n") => self.at += 2,
                '#' => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                _ => return true,
            }
        }
        false
    }

    /// Reads one assignment, or the word `export` before some.
    fn command(&mut self) -> Result<(), Note> {
        let start = self.at;
        let name = self.name().to_owned();
        self.at += name.len();
        let name_span = self.span(start);
        match self.peek() {
            Some('=') if !name.is_empty() => self.at += 1,
            Some('+' | '[') if !name.is_empty() => {
                return Err(self.refuse(start, "bash would add to another value here"));
            }
            None | Some(' ' | '\t' | '\r' | '\n' | ';') if name == "export" || self.exported(&name, start) => {
                return Ok(());
            }
            _ => return Err(self.refuse(start, "bash would run this as a command")),
        }
        let start = self.at;
        let value = self.value()?;
        self.found.push(Assignment { name, name_span, value, span: self.span(start) });
        Ok(())
    }

    fn name(&self) -> &str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if rest.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &rest[..end] }
    }

    /// Whether a lone name stands after `export`, which says nothing here.
    fn exported(&self, name: &str, start: usize) -> bool {
        let line = self.text[..start].rsplit(['\n', ';']).next().unwrap_or_default();
        !name.is_empty() && line.trim_start().starts_with("export")
    }

    fn value(&mut self) -> Result<String, Note> {
        let start = self.at;
        let mut value = String::new();
        while let Some(next) = self.peek() {
            let at = self.at;
            match next {
                ' ' | '\t' | '\n' | ';' => break,
                '\r' if matches!(self.rest().as_bytes().get(1), None | Some(b'\n')) => break,
                '\'' => value += self.single()?,
                '"' => self.double(&mut value)?,
                '\\' => self.escaped(&mut value),
                '~' if at == start || self.text[..at].ends_with(':') => {
                    return Err(self
                        .refuse(at, "bash would put a home folder here")
                        .hint("write it in quotes, or the whole path"));
                }
                '&' | '|' | '<' | '>' | '(' | ')' => {
                    return Err(self.refuse(at, "bash would run more than this line here"));
                }
                _ => self.plain(&mut value, false)?,
            }
        }
        Ok(value)
    }

    fn single(&mut self) -> Result<&str, Note> {
        let start = self.at;
        match self.text[start + 1..].find('\'') {
            Some(length) => {
                self.at += length + 2;
                Ok(&self.text[start + 1..start + 1 + length])
            }
            None => Err(self.unclosed(start)),
        }
    }

    fn double(&mut self, value: &mut String) -> Result<(), Note> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(self.unclosed(start)),
                Some('"') => break,
                Some('\\') => match self.rest().as_bytes().get(1) {
                    Some(b'$' | b'`' | b'"' | b'\\' | b'\n') => self.escaped(value),
                    _ => value.extend(self.next()),
                },
                Some(_) => self.plain(value, true)?,
            }
        }
        self.at += 1;
        Ok(())
    }

    /// A backslash takes the meaning from what follows; a line end goes with it.
    fn escaped(&mut self, value: &mut String) {
        self.at += 1;
        value.extend(self.next().filter(|next| *next != '\n'));
    }

    fn plain(&mut self, value: &mut String, quoted: bool) -> Result<(), Note> {
        let at = self.at;
        let next = self.next();
        let name = |after: char| after.is_ascii_alphanumeric() || "_{([*@#?$!-".contains(after);
        let quote = |after: char| !quoted && matches!(after, '\'' | '"');
        let evaluated = match next {
            Some('$') => self.peek().is_some_and(|after| name(after) || quote(after)),
            next => next == Some('`'),
        };
        if evaluated {
            return Err(self.refuse(at, "bash would evaluate this"));
        }
        value.extend(next);
        Ok(())
    }

    fn unclosed(&mut self, start: usize) -> Note {
        self.at = start + 1;
        Note::error(self.span(start), "not-data", "this quote is never closed")
            .hint("the same quote must end the value")
    }

    /// Underlines from `start` to the end of the word.
    fn refuse(&mut self, start: usize, message: &str) -> Note {
        let rest = &self.text[start..];
        let first = rest.chars().next().map_or(0, char::len_utf8);
        self.at = start
            + first
            + rest[first..].find(|c: char| c.is_whitespace() || "\"';".contains(c)).unwrap_or(rest.len() - first);
        let note =
            Note::error(self.span(start), "not-data", message).label("`.env` is read as data: nothing in it is run");
        note.hint("write the value itself; in single quotes every character is taken as it is")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String)> {
        let found = read(text, 0).unwrap_or_else(|note| panic!("{text:?}: {note:?}"));
        found.into_iter().map(|one| (one.name, one.value)).collect()
    }

    #[test]
    fn values_are_as_bash_reads_them() {
        let cases = [
            ("A=1", "1"),
            ("  export A=1 # why", "1"),
            ("A=", ""),
            ("A=a#b", "a#b"),
            ("A='x $HOME `y` \\' ", "x $HOME `y` \\"),
            ("A=\"x \\$HOME \\\"y\\\" \\z\"", "x $HOME \"y\" \\z"),
            ("A=a\\ b\\$c", "a b$c"),
            ("A=a'b c'\"d\"", "ab cd"),
            ("A=\"two\nlines\"", "two\nlines"),
            ("A=one\\\ntwo", "onetwo"),
            ("A=1\r\n", "1"),
            ("A=cost$", "cost$"),
            ("A=\"cost$\"", "cost$"),
            ("A=a=b", "a=b"),
            ("A=Grüße", "Grüße"),
        ];
        for (text, value) in cases {
            assert_eq!(values(text), [("A".to_owned(), value.to_owned())], "{text:?}");
        }
        assert_eq!(values("# all\n\nA=1 B=2; C=3\nexport A\nexport D='4'\n").len(), 4);
        assert_eq!(values("#A=1"), []);
    }

    #[test]
    fn what_stands_before_a_mistake_is_known() {
        let (found, rest) = read_before("A=1\nexport B=2 C=$(date)\nD=4\n");
        let found: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.value.as_str())).collect();
        assert_eq!((found.as_slice(), rest), ([("A", "1"), ("B", "2")].as_slice(), "C=$(date)\nD=4\n"));
        assert_eq!(read_before("A=1\n").1, "");
    }

    #[test]
    fn what_bash_would_evaluate_is_refused_where_it_stands() {
        let cases = [
            ("A=1\nB=$HOME/x", (6, 13)),
            ("A=\"$(date)\"", (3, 10)),
            ("A=`date`", (2, 8)),
            ("A=~/x", (2, 5)),
            ("A=$'x'", (2, 3)),
            ("A=1 && B=2", (4, 6)),
            ("A=(1 2)", (2, 4)),
            ("A+=1", (0, 4)),
            ("source other", (0, 6)),
            ("if true", (0, 2)),
            ("A='x", (2, 3)),
            ("1A=2", (0, 4)),
            ("é=2", (0, 4)),
        ];
        for (text, (start, end)) in cases {
            let note = read(text, 2).expect_err(text);
            let Span { file, start: from, end: to } = note.span();
            assert_eq!((file, from, to), (2, start, end), "{text:?}");
        }
    }
}
