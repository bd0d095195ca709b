//! What is wrong with a statement: a code, a sentence, the place, and what to write instead.

/// A stretch of the SQL text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// A span from its ends.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The least span that holds both.
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// One mistake in a statement. The user acts on it, now. Only the command line attaches the text and draws.
///
/// The message is short, lower case, without a full stop, and quotes what the user wrote; the help is a sentence that tells
/// what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("{message}")]
pub struct PlanError {
    /// Stable name of the kind of mistake, such as `plan::unknown_column`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where, if it is somewhere.
    pub span: Option<Span>,
    /// Few words beside the caret.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
}

impl PlanError {
    /// A mistake of a kind at a place.
    pub fn new(code: &'static str, message: impl Into<String>, span: impl Into<Option<Span>>) -> Self {
        Self { code, message: message.into(), span: span.into(), label: String::new(), help: None }
    }

    /// The same with words beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// The same with a way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The nearest of some names, if one is near enough to be meant.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().min(wrong.len()) / 3)
        .min_by_key(|(distance, name)| (*distance, *name))
        .map(|(_, name)| name)
}
