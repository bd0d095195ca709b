//! # Diagnostics
//!
//! Attaches the SQL text to what the planner says, and draws it: for people with a caret under the place, for programs as JSON.
//! Without colours the drawing is plain ASCII, the same at every width of terminal.

use std::fmt::{self, Write as _};
use std::path::Path;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceCode};
use tidemark_planner::{PlanError, secrets};

/// The text that was planned, and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// The file's path, `-e` or `stdin`.
    pub(crate) name: String,
    /// The statements.
    pub(crate) sql: String,
    /// The statements were read from standard input, which nothing else can read then.
    pub(crate) from_stdin: bool,
}

impl Text {
    /// Statements given on the command line.
    pub(crate) fn inline(sql: String) -> Self {
        Self { name: "-e".to_owned(), sql, from_stdin: false }
    }

    /// The same statements under another name.
    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// Statements of a file.
    pub(crate) fn file(path: &Path, sql: String) -> Self {
        Self { name: path.display().to_string(), sql, from_stdin: false }
    }

    /// Statements of standard input.
    pub(crate) fn stdin(sql: String) -> Self {
        Self { name: "stdin".to_owned(), sql, from_stdin: true }
    }

    /// Line and column of a byte, both from 1; columns count characters.
    fn place(&self, byte: usize) -> (usize, usize) {
        let before = &self.sql[..self.boundary(byte)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The nearest place at or before a byte that is a character's start.
    fn boundary(&self, byte: usize) -> usize {
        let mut byte = byte.min(self.sql.len());
        while !self.sql.is_char_boundary(byte) {
            byte -= 1;
        }
        byte
    }
}

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grade {
    /// The statement cannot run.
    Error,
    /// It can, but the user should know.
    Warning,
}

/// One message with all that is needed to draw it.
#[derive(Debug)]
struct Drawn<'a> {
    error: &'a PlanError,
    grade: Grade,
    source: NamedSource<String>,
    span: Option<(usize, usize)>,
}

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error.message)
    }
}

impl std::error::Error for Drawn<'_> {}

impl Diagnostic for Drawn<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.error.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(match self.grade {
            Grade::Error => Severity::Error,
            Grade::Warning => Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.error.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.span.is_some().then_some(&self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (start, length) = self.span?;
        let label = (!self.error.label.is_empty()).then(|| self.error.label.clone());
        Some(Box::new(std::iter::once(LabeledSpan::new(label, start, length))))
    }
}

/// Draws messages for people.
pub(crate) fn draw(text: &Text, errors: &[PlanError], grade: Grade, color: bool) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::none() };
    // Long lines are left alone: a terminal wraps them itself, and a file or test sees one stable text.
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(110).with_context_lines(1);
    let mut out = String::new();
    for error in errors {
        let span = error.span.map(|span| {
            let start = text.boundary(span.start);
            let end = text.boundary(span.end).max(start);
            (start, end - start)
        });
        let drawn = Drawn { error, grade, source: NamedSource::new(&text.name, secrets::covered(&text.sql).into_owned()), span };
        if handler.render_report(&mut out, &drawn).is_err() {
            // The drawing failed, not the message: it must be seen in any case.
            let _ = writeln!(out, "{}: {}", error.code, error.message);
        }
    }
    out
}

/// A place in the text, for programs.
#[derive(Debug, serde::Serialize)]
struct PlaceJson {
    start: usize,
    end: usize,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

#[derive(Debug, serde::Serialize)]
struct DiagnosticJson<'a> {
    severity: Grade,
    code: &'a str,
    message: &'a str,
    label: &'a str,
    help: Option<&'a str>,
    span: Option<PlaceJson>,
}

#[derive(Debug, serde::Serialize)]
struct CheckJson<'a> {
    file: &'a str,
    ok: bool,
    diagnostics: Vec<DiagnosticJson<'a>>,
}

/// All messages as one JSON document: bytes from 0, lines and columns from 1, ends exclusive.
pub(crate) fn json(text: &Text, errors: &[PlanError], warnings: &[PlanError]) -> serde_json::Result<String> {
    let all = errors.iter().map(|error| (Grade::Error, error)).chain(warnings.iter().map(|warning| (Grade::Warning, warning)));
    let diagnostics = all
        .map(|(severity, error)| DiagnosticJson {
            severity,
            code: error.code,
            message: &error.message,
            label: &error.label,
            help: error.help.as_deref(),
            span: error.span.map(|span| {
                let ((line, column), (end_line, end_column)) = (text.place(span.start), text.place(span.end));
                PlaceJson { start: span.start, end: span.end, line, column, end_line, end_column }
            }),
        })
        .collect();
    serde_json::to_string_pretty(&CheckJson { file: &text.name, ok: errors.is_empty(), diagnostics })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_planner::Span;

    fn text(sql: &str) -> Text {
        Text::file(Path::new("pipeline.sql"), sql.to_owned())
    }

    #[test]
    fn the_caret_points_at_the_word() {
        let text = text("SELECT sym\nFROM trades;\n");
        let error = PlanError::new("plan::unknown_column", "column \"sym\" does not exist", Span::new(7, 10))
            .label("not found in trades")
            .help("Did you mean \"symbol\"?");
        let drawn = draw(&text, &[error], Grade::Error, false);
        let expected = r#"plan::unknown_column

  x column "sym" does not exist
   ,-[pipeline.sql:1:8]
 1 | SELECT sym
   :        ^|^
   :         `-- not found in trades
 2 | FROM trades;
   `----
  help: Did you mean "symbol"?
"#;
        assert_eq!(drawn, expected);
        assert!(drawn.is_ascii());
    }

    #[test]
    fn places_outside_the_text_are_drawn_at_its_end() {
        let text = text("SELECT 'é");
        // In the middle of é, past the end, empty, and none at all.
        for span in [Some(Span::new(8, 9)), Some(Span::new(50, 60)), Some(Span::new(3, 3)), Some(Span::new(9, 4)), None] {
            let drawn = draw(&text, &[PlanError::new("parse::x", "something is wrong", span)], Grade::Error, false);
            assert!(drawn.contains("something is wrong"), "{drawn}");
        }
    }

    #[test]
    fn json_counts_lines_and_characters() {
        let text = text("SELECT 'é',\n  sym FROM trades");
        let start = text.sql.find("sym").unwrap();
        let error = PlanError::new("plan::unknown_column", "no", Span::new(start, start + 3));
        let json: serde_json::Value = serde_json::from_str(&json(&text, &[error], &[]).unwrap()).unwrap();
        assert_eq!(json["ok"], false);
        let span = &json["diagnostics"][0]["span"];
        assert_eq!((span["line"].as_u64(), span["column"].as_u64(), span["end_column"].as_u64()), (Some(2), Some(3), Some(6)));
        assert_eq!(span["start"].as_u64(), Some(start as u64));
    }
}
