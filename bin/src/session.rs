//! # Session
//!
//! Reads the statements, gathers what they are planned with, and plans them.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;

use tidemark_connectors::{Connectors, StdoutStyle};
use tidemark_planner::settings::Settings;
use tidemark_planner::{PlanContext, PlanError, Program, plan_text};

use crate::args::{StatementArgs, StdoutFormat};
use crate::diagnose::{self, Grade, Text};
use crate::exit::{self, Color};
use crate::progress::{Screen, ScreenWriter};

/// Statements, ready to be planned.
pub(crate) struct Session {
    /// The statements.
    pub(crate) text: Text,
    /// The connectors at hand.
    pub(crate) connectors: Arc<Connectors>,
    /// The terminal that results and the progress line share.
    pub(crate) screen: Arc<Screen>,
    /// Messages in colour.
    pub(crate) color: Color,
    settings: Vec<(String, String)>,
    variables: std::collections::BTreeMap<String, String>,
    format: Option<StdoutFormat>,
}

impl Session {
    /// Reads the statements.
    ///
    /// # Errors
    /// One sentence when there are none, or they cannot be read.
    pub(crate) fn open(args: &StatementArgs, format: Option<StdoutFormat>, color: Color) -> Result<Self, String> {
        let text = read(args)?;
        if text.sql.trim().is_empty() {
            return Err(format!("{} holds no statement", text.name));
        }
        let mut session = Self::of(text, format, color);
        session.settings.clone_from(&args.settings);
        session.variables.extend(args.variables.iter().cloned());
        Ok(session)
    }

    /// A session of a given text.
    pub(crate) fn of(text: Text, format: Option<StdoutFormat>, color: Color) -> Self {
        // A variable that is not Unicode cannot be meant by `${NAME}`.
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
        let screen = Arc::new(Screen::new());
        let connectors = Arc::new(connectors(&screen, color));
        Self { text, connectors, screen, color, settings: Vec::new(), variables, format }
    }

    /// Adds settings, and variables weaker and stronger than the environment's.
    pub(crate) fn give(
        &mut self,
        settings: impl Iterator<Item = (String, String)>,
        weak: std::collections::BTreeMap<String, String>,
        strong: impl Iterator<Item = (String, String)>,
    ) {
        self.settings.extend(settings);
        for (name, value) in weak {
            self.variables.entry(name).or_insert(value);
        }
        self.variables.extend(strong);
    }

    /// Plans the statements.
    ///
    /// # Errors
    /// All mistakes that were found.
    pub(crate) fn plan(&self) -> Result<Program, Vec<PlanError>> {
        let mut settings = Settings::default();
        let wrong = self.settings.iter().filter_map(|(key, value)| settings.set(key, value, None, None).err());
        let wrong: Vec<PlanError> = wrong.collect();
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let variables = |name: &str| self.variable(name);
        let context = PlanContext {
            connectors: self.connectors.as_ref(),
            variables: &variables,
            settings,
            stdout_format: self.format.map(|format| format.name().to_owned()),
        };
        let program = plan_text(&self.text.sql, &context)?;
        let stdin_source = program.plan.iter().flat_map(|plan| plan.sources()).find(|source| source.connector == "stdin");
        if let Some(source) = stdin_source.filter(|_| self.text.from_stdin) {
            let message = format!("source \"{}\" reads standard input, which the statements were read from", source.name);
            let help = "Give the statements as a file, or as text with -e.";
            return Err(vec![PlanError::new("cli::stdin_taken", message, None).help(help)]);
        }
        Ok(program)
    }

    /// The value of `${NAME}` in the statements.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    /// The same session over another text.
    pub(crate) fn with_text(&self, text: Text) -> Self {
        Self {
            text,
            connectors: Arc::clone(&self.connectors),
            screen: Arc::clone(&self.screen),
            color: self.color,
            settings: self.settings.clone(),
            variables: self.variables.clone(),
            format: self.format,
        }
    }

    /// Draws mistakes on standard error.
    pub(crate) fn complain(&self, errors: &[PlanError]) {
        exit::tell(&diagnose::draw(&self.text, errors, Grade::Error, self.color.stderr));
    }

    /// Draws warnings on standard error.
    pub(crate) fn warn(&self, warnings: &[PlanError]) {
        exit::tell(&diagnose::draw(&self.text, warnings, Grade::Warning, self.color.stderr));
    }
}

/// The connectors on this process's standard streams.
fn connectors(screen: &Arc<Screen>, color: Color) -> Connectors {
    let terminal = std::io::stdout().is_terminal();
    let style =
        StdoutStyle { color: color.stdout, terminal, width: comfy_table::Table::new().width().map(usize::from).filter(|_| terminal) };
    if terminal && std::io::stderr().is_terminal() {
        let screen = Arc::clone(screen);
        Connectors::new(Box::new(ScreenWriter::new(screen)), style, || Box::new(std::io::stdin()))
    } else {
        Connectors::of_process(style)
    }
}

/// The statements, from wherever the arguments say.
fn read(args: &StatementArgs) -> Result<Text, String> {
    if !args.execute.is_empty() {
        return Ok(Text::inline(join(&args.execute)));
    }
    match args.file.as_deref() {
        Some(path) if path != Path::new("-") => match std::fs::read(path) {
            Ok(bytes) => Ok(Text::file(path, unicode(bytes, &path.display().to_string())?)),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        },
        Some(_) => read_stdin(),
        None if std::io::stdin().is_terminal() => {
            Err("no statements were given; name a file, or pass them with -e \"SELECT ...\"".to_owned())
        }
        None => read_stdin(),
    }
}

fn read_stdin() -> Result<Text, String> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| format!("cannot read standard input: {error}"))?;
    Ok(Text::stdin(unicode(bytes, "standard input")?))
}

fn unicode(bytes: Vec<u8>, name: &str) -> Result<String, String> {
    let text = String::from_utf8(bytes)
        .map_err(|error| format!("{name} is not UTF-8 text: byte {} is wrong", error.utf8_error().valid_up_to()))?;
    // Editors on some systems put a mark at the start that is no part of the statements.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Several texts as one, each ended as a statement.
fn join(texts: &[String]) -> String {
    let mut joined = String::new();
    for text in texts {
        if !joined.is_empty() {
            joined.push_str(if joined.trim_end().ends_with(';') { "\n" } else { ";\n" });
        }
        joined.push_str(text);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_texts_become_one() {
        assert_eq!(join(&["SELECT 1".into(), "SELECT 2; ".into(), "SELECT 3".into()]), "SELECT 1;\nSELECT 2; \nSELECT 3");
    }

    #[test]
    fn text_must_be_unicode() {
        assert_eq!(unicode(vec![0xef, 0xbb, 0xbf, b'S'], "x"), Ok("S".to_owned()));
        assert_eq!(unicode(vec![b'S', 0xff], "a.sql"), Err("a.sql is not UTF-8 text: byte 1 is wrong".to_owned()));
    }
}
