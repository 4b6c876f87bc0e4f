//! Shows diagnostics to people: file, line and column, the offending text underlined, the way out below it.

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, MietteError, MietteSpanContents, SourceCode,
    SourceSpan, SpanContents,
};

use crate::diagnostic::{Diagnostic, Files, Place, Severity};

/// How diagnostics shall look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub colour: bool,
    /// Columns to wrap at.
    pub width: usize,
}

impl Look {
    /// No colour, 100 columns: for files, pipes and `NO_COLOR`.
    pub const PLAIN: Self = Self { colour: false, width: 100 };

    /// Colour, `width` columns: for terminals.
    pub const fn colour(width: usize) -> Self {
        Self { colour: true, width }
    }
}

/// Returns `diagnostics` as text, an empty line between them.
pub fn render(diagnostics: &[Diagnostic], files: &Files, look: Look) -> String {
    let shown: Vec<String> = diagnostics.iter().map(|diagnostic| one(diagnostic, files, look)).collect();
    shown.join("\n")
}

fn one(diagnostic: &Diagnostic, files: &Files, look: Look) -> String {
    let theme = if look.colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(look.width)
        .with_context_lines(1)
        .with_links(false)
        .with_wrap_lines(true);
    let place = &diagnostic.place;
    let source = Lines::around(diagnostic, files.text(&place.file).unwrap_or_default());
    let mut text = String::new();
    // A formatter that writes into a string fails only when the source refuses a span, which `labels` clamps.
    let shown = handler.render_report(&mut text, &Shown { inner: labels(diagnostic, &source), source });
    if shown.is_err() {
        text = format!("{}:{}:{}: {}\n", place.file, place.line, place.column, diagnostic.message);
    }
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Returns the diagnostic in miette's terms; places in other files go into the help, since one snippet shows one file.
fn labels(diagnostic: &Diagnostic, source: &Lines) -> MietteDiagnostic {
    let place = &diagnostic.place;
    let span = |label: Option<String>, place: &Place| {
        let (start, end) = (source.at(place.offset), source.at(place.offset + place.len));
        LabeledSpan::new(label, start, end - start)
    };
    let mut help: Vec<String> = diagnostic.hint.iter().cloned().collect();
    let main = span(diagnostic.label.clone(), place);
    let mut spans = vec![LabeledSpan::new_primary_with_span(diagnostic.label.clone(), *main.inner())];
    for also in &diagnostic.also {
        if also.place.file == place.file {
            spans.push(span(Some(also.text.clone()), &also.place));
        } else {
            help.push(format!("{}: {}:{}:{}", also.text, also.place.file, also.place.line, also.place.column));
        }
    }
    let severity = match diagnostic.severity {
        Severity::Error => miette::Severity::Error,
        Severity::Warning => miette::Severity::Warning,
    };
    let shown = MietteDiagnostic::new(&diagnostic.message).with_severity(severity).with_labels(spans);
    if help.is_empty() { shown } else { shown.with_help(help.join("\n")) }
}

/// A diagnostic together with the text it speaks of.
#[derive(Debug)]
struct Shown {
    inner: MietteDiagnostic,
    source: Lines,
}

/// The lines of a file that labels are in, from the first to the last of them; shown are only those with labels.
#[derive(Debug)]
struct Lines {
    name: String,
    /// With plain line ends, as miette counts them.
    text: String,
    /// Number of the first line, from 0.
    first: usize,
    /// Where the first line begins in the file, in bytes.
    start: usize,
    /// Where line ends lost their carriage returns: bytes from `start` on in the file.
    returns: Vec<usize>,
}

impl Lines {
    fn around(diagnostic: &Diagnostic, text: &str) -> Self {
        let main = &diagnostic.place;
        let also = diagnostic.also.iter().map(|also| &also.place).filter(|place| place.file == main.file);
        let places = || std::iter::once(main).chain(also.clone());
        let first = places().min_by_key(|place| place.offset).unwrap_or(main);
        let end = places().map(|place| place.offset + place.len).max().unwrap_or(0).min(text.len());
        let start = text[..first.offset.min(text.len())].rfind('\n').map_or(0, |at| at + 1);
        let end = text[end..].find('\n').map_or(text.len(), |at| end + at);
        let shown = text[start..end].strip_suffix('\r').unwrap_or(&text[start..end]);
        Self {
            name: main.file.clone(),
            text: shown.replace("\r\n", "\n"),
            first: first.line.saturating_sub(1),
            start,
            returns: shown.match_indices("\r\n").map(|(at, _)| at).collect(),
        }
    }

    /// Returns where a byte of the file is in the text.
    fn at(&self, offset: usize) -> usize {
        let offset = offset.saturating_sub(self.start);
        (offset - self.returns.partition_point(|&at| at < offset)).min(self.text.len())
    }
}

impl SourceCode for Lines {
    /// The handler asks for no lines around when it wants to know where a label is, and for one when it shows the text.
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (mut start, mut end) = (span.offset(), (span.offset() + span.len()).min(self.text.len()));
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = self.first + self.text[..start].matches('\n').count();
        let mut column = self.text[line_start..start].chars().count();
        if before + after > 0 {
            start = line_start;
            end = self.text[end..].find('\n').map_or(self.text.len(), |at| end + at);
            column = 0;
        }
        let data = &self.text.as_bytes()[start..end];
        let (name, lines) = (self.name.clone(), self.text[start..end].matches('\n').count() + 1);
        let at = SourceSpan::from((start, end - start));
        Ok(Box::new(MietteSpanContents::new_named(name, data, at, line, column, lines)))
    }
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl std::error::Error for Shown {}

impl miette::Diagnostic for Shown {
    fn severity(&self) -> Option<miette::Severity> {
        self.inner.severity()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.inner.help()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.inner.labels()
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    /// The corpus cannot keep such files: tools that mend line ends would mend them.
    #[test]
    fn line_ends_of_windows_change_no_number() {
        let text = "edition = 1\n[base]\nrelease = \"13\"\n[system]\nhostnam = \"a\"\n[packages]\ninclude = [\n  \"vim\",\n]\n\
                    exclude = [\"vim\"]\n[[output]]\nformat = \"tra\"\n";
        let told = |text: &str| {
            let rejected = crate::complete_text(text).expect_err("it has mistakes");
            let places: Vec<_> = rejected.diagnostics.iter().map(|one| (one.place.line, one.place.column)).collect();
            (places, rejected.render(super::Look::PLAIN))
        };
        let plain = told(text);
        assert_eq!(plain.0, [(5, 1), (10, 12), (12, 10)]);
        assert!(plain.1.contains(" 12 │ format = \"tra\""), "{}", plain.1);
        assert_eq!(told(&text.replace('\n', "\r\n")), plain);
    }
}
