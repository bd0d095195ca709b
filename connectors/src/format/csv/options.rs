//! Options of CSV, for sources and sinks.

use arrow::datatypes::TimeUnit;
use tidemark_planner::connector::{OptionKind, OptionSpec, Options, Side};

use crate::format::ndjson::timestamp_unit;

/// How records are cut into fields, and what fields mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// Between fields.
    pub delimiter: u8,
    /// The first record names the fields.
    pub header: bool,
    /// Around fields that hold delimiters, quotes or line ends; `None`: quotes mean nothing.
    pub quote: Option<u8>,
    /// Before a quote inside quotes; `None`: the quote is doubled.
    pub escape: Option<u8>,
    /// An unquoted field with this text is null.
    pub null: String,
    /// Lines that begin with this are skipped.
    pub comment: Option<u8>,
    /// What an integer counts where a timestamp is wanted.
    pub timestamp_unit: TimeUnit,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: b',',
            header: true,
            quote: Some(b'"'),
            escape: None,
            null: String::new(),
            comment: None,
            timestamp_unit: TimeUnit::Millisecond,
        }
    }
}

const fn text(
    name: &'static str,
    aliases: &'static [&'static str],
    side: Side,
    default: Option<&'static str>,
    help: &'static str,
) -> OptionSpec {
    OptionSpec { name, aliases, kind: OptionKind::Text, side, required: false, default, help }
}

impl CsvOptions {
    /// Options of sources and sinks in this format, besides [`crate::format::COMMON_SPECS`].
    pub const SPECS: &'static [OptionSpec] = &[
        text("delimiter", &["csv.field-delimiter"], Side::Both, Some(","), "The character between fields; \\t is a tab."),
        OptionSpec {
            name: "header",
            aliases: &["csv.header"],
            kind: OptionKind::Flag,
            side: Side::Both,
            required: false,
            default: Some("true"),
            help: "Whether the first record of a file names the fields.",
        },
        text(
            "quote",
            &["csv.quote-character"],
            Side::Both,
            Some("\""),
            "The character around fields with special characters; empty for none.",
        ),
        text(
            "escape",
            &["csv.escape-character"],
            Side::Source,
            None,
            "The character before a quote inside quotes; not given: the quote is doubled.",
        ),
        text("null", &["csv.null-literal"], Side::Both, Some(""), "The text that stands for null."),
        text("comment", &[], Side::Source, None, "Lines that begin with this character are skipped."),
    ];

    /// From options whose kinds have been checked.
    ///
    /// # Errors
    /// One sentence, when a character is not one byte of ASCII or two of them are the same.
    pub fn from_options(options: &Options) -> Result<Self, String> {
        let delimiter = byte(options, "delimiter")?.unwrap_or(b',');
        let quote = match options.get("quote") {
            None => Some(b'"'),
            Some(_) => byte(options, "quote")?,
        };
        let escape = byte(options, "escape")?;
        let comment = byte(options, "comment")?;
        if quote == Some(delimiter) || escape == Some(delimiter) || comment == Some(delimiter) || (comment.is_some() && comment == quote) {
            return Err("options 'delimiter', 'quote', 'escape' and 'comment' need different characters".into());
        }
        let null = options.get("null").unwrap_or_default().to_owned();
        check_null(&null, delimiter, quote)?;
        Ok(Self {
            delimiter,
            header: options.get("header") != Some("false"),
            quote,
            escape: escape.filter(|escape| Some(*escape) != quote),
            null,
            comment,
            timestamp_unit: timestamp_unit(options),
        })
    }
}

/// Whether a text for null can be told from the characters around it.
pub(crate) fn check_null(null: &str, delimiter: u8, quote: Option<u8>) -> Result<(), String> {
    if null.bytes().any(|byte| byte == delimiter || Some(byte) == quote || matches!(byte, b'\n' | b'\r')) {
        return Err(format!("option 'null' must not hold a delimiter, quote or line end, as '{null}' does"));
    }
    Ok(())
}

/// An option that is one ASCII character, or empty for none.
fn byte(options: &Options, name: &str) -> Result<Option<u8>, String> {
    match options.get(name) {
        None | Some("") => Ok(None),
        Some("\\t") => Ok(Some(b'\t')),
        Some(text) => match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(Some(*byte)),
            _ => Err(format!("option '{name}' must be one ASCII character, not '{text}'")),
        },
    }
}
