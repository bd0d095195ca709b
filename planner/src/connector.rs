//! What the planner knows of the outside world: the names, options and schemas of connectors, told by whoever holds them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use arrow::datatypes::{Field, SchemaRef};

use crate::plan::ChangelogKind;
use crate::secrets;

/// Validated options of a source or sink, under canonical names. Ordered, so that plans print and compare alike.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options(pub BTreeMap<String, String>);

/// Names and values as they may be shown.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl Options {
    /// Names and values, without what is secret.
    pub fn shown(&self) -> BTreeMap<&str, Cow<'_, str>> {
        self.0.iter().map(|(name, value)| (name.as_str(), secrets::shown(name, value))).collect()
    }

    /// The value of an option, if it was given or has a default.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A boolean option; validated text is `true` or `false`.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// An integer option; validated text parses.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(|text| text.parse().ok())
    }

    /// A number option; validated text parses.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(|text| text.parse().ok())
    }

    /// A duration option in microseconds; validated text parses.
    pub fn duration_us(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(|text| crate::duration::parse_us(text).ok())
    }
}

/// Which side of a pipeline an option belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Sources only.
    Source,
    /// Sinks only.
    Sink,
    /// Both.
    Both,
}

/// What an option's text must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptionKind {
    /// Any text.
    Text,
    /// A whole number not below the least.
    Integer {
        /// Least value.
        min: i64,
    },
    /// A number.
    Number,
    /// `true` or `false`.
    Flag,
    /// A duration such as `5s`, `10ms`, `1h 30m`.
    Duration,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// One option of a connector or format.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Canonical name.
    pub name: &'static str,
    /// Other names accepted, such as Flink's. A name that ends in `*` is a prefix: the rest is kept (`fields.price.min`).
    pub aliases: &'static [&'static str],
    /// What the text must be.
    pub kind: OptionKind,
    /// Where it is allowed.
    pub side: Side,
    /// Must be given.
    pub required: bool,
    /// Value when not given.
    pub default: Option<&'static str>,
    /// One sentence.
    pub help: &'static str,
}

/// One connector.
#[derive(Clone, Copy, Debug)]
pub struct ConnectorSpec {
    /// Canonical name.
    pub name: &'static str,
    /// Other names, such as Flink's `filesystem`.
    pub aliases: &'static [&'static str],
    /// Can be read.
    pub source: bool,
    /// Can be written.
    pub sink: bool,
    /// Its options, those of its formats included.
    pub options: &'static [OptionSpec],
}

/// What a connector says of a source that declares no columns, or to complete one that does.
#[derive(Clone, Debug)]
pub struct SourceFacts {
    /// The columns, when the connector knows or infers them.
    pub schema: Option<SchemaRef>,
    /// The source ends by itself.
    pub bounded: bool,
    /// Event time column the connector vouches for, with its greatest disorder in microseconds.
    pub event_time: Option<(String, i64)>,
    /// Which changes its rows make. `Upsert` needs a primary key, which the statement declares.
    pub changelog: ChangelogKind,
    /// Where a primary key is declared, rows replace each other by it, though `changelog` says otherwise.
    pub upsert_with_key: bool,
}

impl SourceFacts {
    /// Facts of a source whose rows are only ever added.
    pub fn append_only(schema: Option<SchemaRef>, bounded: bool) -> Self {
        Self { schema, bounded, event_time: None, changelog: ChangelogKind::AppendOnly, upsert_with_key: false }
    }

    /// Which changes the rows make, with or without a primary key.
    pub fn changelog_with(&self, primary_key: bool) -> ChangelogKind {
        if primary_key && self.upsert_with_key { ChangelogKind::Upsert } else { self.changelog }
    }
}

/// In the metadata of a declared field: the name of what the connector knows of each record, which the column holds. Such a column
/// stands in no record.
pub const METADATA_KEY: &str = "tidemark.metadata";

/// The connectors at hand. Implemented beside the connectors; the planner asks, and touches no file itself.
pub trait ConnectorCatalog {
    /// All connectors, by canonical name.
    fn connectors(&self) -> &[ConnectorSpec];

    /// Facts about a source with validated options. `declared` is what the statement says of its columns, if anything.
    ///
    /// # Errors
    /// One sentence that says what is wrong, such as a file that does not exist.
    fn source_facts(&self, connector: &str, options: &Options, declared: Option<&SchemaRef>) -> Result<SourceFacts, String>;

    /// What a connector knows of each record besides what stands in it, for `METADATA FROM`: names and types.
    fn metadata(&self, _connector: &str) -> Vec<Field> {
        Vec::new()
    }

    /// Options for a quoted path used as a relation: connector and options, by the path's ending.
    ///
    /// # Errors
    /// One sentence that says what is wrong, such as an ending that tells no format.
    fn path_options(&self, path: &str) -> Result<(&'static str, Options), String>;

    /// Completes validated options by what stands elsewhere in the statement: the name the connector was called by, and the columns
    /// of the primary key.
    ///
    /// # Errors
    /// One sentence, when they do not go together.
    fn complete(&self, _called: &str, _options: &mut Options, _primary_key: Option<&[String]>) -> Result<(), String> {
        Ok(())
    }

    /// Whether a sink with validated options keeps one row for each key of such a changelog, so that a key must be known; if so, the
    /// option with which it writes each change instead.
    fn needs_key(&self, _connector: &str, _options: &Options, _changelog: ChangelogKind) -> Option<&'static str> {
        None
    }

    /// Whether dead letters can be written to a path, as far as it is known without trying.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    fn check_dead_letters(&self, _path: &str) -> Result<(), String> {
        Ok(())
    }

    /// Columns a sink can write, checked at planning time.
    ///
    /// # Errors
    /// One sentence that says what the sink cannot carry.
    fn check_sink(&self, connector: &str, options: &Options, schema: &SchemaRef, changelog: ChangelogKind) -> Result<(), String>;
}
