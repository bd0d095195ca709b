//! Options that say how records tell what they do, and which changes that makes.

use tidemark_planner::connector::{OptionKind, OptionSpec, Options, Side, SourceFacts};
use tidemark_planner::plan::ChangelogKind;

const MODE: &str = "changelog.mode";
const OP_COLUMN: &str = "changelog.op-column";
const DIFF_COLUMN: &str = "changelog.diff-column";
const SCHEMA_INCLUDE: &str = "debezium-json.schema-include";

/// Options of sources and sinks in text formats.
pub(crate) const SPECS: &[OptionSpec] = &[
    OptionSpec {
        name: MODE,
        aliases: &[],
        kind: OptionKind::OneOf(&["append", "retract", "upsert"]),
        side: Side::Both,
        required: false,
        default: None,
        help: "Which changes rows make: append only adds, retract also takes rows back, upsert replaces the row with the same key. \
               If not given: as the format and the query have it.",
    },
    OptionSpec {
        name: OP_COLUMN,
        aliases: &[],
        kind: OptionKind::Text,
        side: Side::Both,
        required: false,
        default: None,
        help: "The column with the kind of change: +I, -U, +U, -D, or insert, update, delete, or their first letters.",
    },
    OptionSpec {
        name: DIFF_COLUMN,
        aliases: &[],
        kind: OptionKind::Text,
        side: Side::Both,
        required: false,
        default: None,
        help: "The column with how often the row is added, or taken back when negative.",
    },
    SCHEMA_INCLUDE_SPEC,
];

/// The option of envelopes in JSON.
pub(crate) const SCHEMA_INCLUDE_SPEC: OptionSpec = OptionSpec {
    name: SCHEMA_INCLUDE,
    aliases: &["value.debezium-json.schema-include"],
    kind: OptionKind::Flag,
    side: Side::Source,
    required: false,
    default: None,
    help: "Whether Debezium's envelope stands in a payload beside its schema; if not given, each record shows.",
};

/// How records tell what they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Marks {
    /// They do not.
    None,
    /// A column holds the kind of change.
    Op(String),
    /// A column holds the diff.
    Diff(String),
    /// Debezium's envelope.
    Debezium,
}

/// What the options say of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) marks: Marks,
    /// What is asked for.
    pub(crate) mode: Option<ChangelogKind>,
}

/// Options of Debezium's envelopes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DebeziumOptions {
    /// The envelope stands in a payload; `None`: either.
    pub(crate) schema_include: Option<bool>,
}

/// Nothing is said of changes.
pub(crate) const NO_CHANGES: Changes = Changes { marks: Marks::None, mode: None };

impl DebeziumOptions {
    pub(crate) fn from_options(options: &Options) -> Self {
        Self { schema_include: options.get(SCHEMA_INCLUDE).map(|word| word == "true") }
    }
}

impl Changes {
    /// From validated options; `debezium` says that the format is.
    ///
    /// # Errors
    /// One sentence, when two options exclude each other.
    pub(crate) fn from_options(options: &Options, debezium: bool) -> Result<Self, String> {
        let column = |name| options.get(name).filter(|name| !name.is_empty()).map(str::to_owned);
        let marks = match (column(OP_COLUMN), column(DIFF_COLUMN), debezium) {
            (None, None, true) => Marks::Debezium,
            (Some(op), None, false) => Marks::Op(op),
            (None, Some(diff), false) => Marks::Diff(diff),
            (None, None, false) => Marks::None,
            (Some(_), Some(_), _) => return Err(format!("a row has one mark; give \"{OP_COLUMN}\" or \"{DIFF_COLUMN}\", not both")),
            (_, _, true) => {
                return Err(format!("debezium-json says itself what a record does; leave out \"{OP_COLUMN}\" and \"{DIFF_COLUMN}\""));
            }
        };
        if !debezium && options.get(SCHEMA_INCLUDE).is_some() {
            return Err(format!("option \"{SCHEMA_INCLUDE}\" is for format = 'debezium-json'"));
        }
        if debezium && options.flag("fail-on-missing-field") {
            return Err(
                "option \"fail-on-missing-field\" is for the formats ndjson and json; in debezium-json declare columns NOT NULL".into()
            );
        }
        let mode = match options.get(MODE) {
            Some("append") => Some(ChangelogKind::AppendOnly),
            Some("retract") => Some(ChangelogKind::Retract),
            Some("upsert") => Some(ChangelogKind::Upsert),
            _ => None,
        };
        Ok(Self { marks, mode })
    }

    /// The changes that rows of a source make, told in its facts.
    ///
    /// # Errors
    /// One sentence, when marks and mode do not go together.
    pub(crate) fn tell(&self, facts: SourceFacts) -> Result<SourceFacts, String> {
        use ChangelogKind::{AppendOnly, Retract, Upsert};
        let changelog = match (&self.marks, self.mode) {
            (Marks::None, None | Some(AppendOnly)) => AppendOnly,
            (Marks::None, Some(Retract)) => {
                return Err(format!(
                    "rows do not say what they do; name the column that does with \"{OP_COLUMN}\" or \"{DIFF_COLUMN}\", or read debezium-json"
                ));
            }
            (Marks::Diff(_), Some(Upsert)) => {
                return Err(format!("a diff says how often a row is there, not which row it replaces; use \"{OP_COLUMN}\" with upsert"));
            }
            (_, Some(AppendOnly)) => return Err(format!("rows that say what they do are no append-only input; leave out \"{MODE}\"")),
            (Marks::None | Marks::Op(_) | Marks::Debezium, Some(Upsert)) => Upsert,
            (Marks::Op(_) | Marks::Diff(_) | Marks::Debezium, None | Some(Retract)) => Retract,
        };
        let upsert_with_key = self.marks == Marks::Debezium && self.mode.is_none();
        Ok(SourceFacts { changelog, upsert_with_key, ..facts })
    }
}
