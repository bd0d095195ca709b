//! What a declaration says of the size of a source: expected rows, and expected different values of a column. Answers never hang on it;
//! the order of joins does.

use std::collections::BTreeMap;

use crate::connector::{ConnectorSpec, OptionKind, OptionSpec, Options, Side};
use crate::error::nearest;
use crate::statement::OptionSetting;
use crate::{PlanError, Span};

use super::{SourceColumn, options};

const fn count(name: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, aliases: &[], kind: OptionKind::Integer { min: 0 }, side: Side::Source, required: false, default: None, help }
}

const ROWS: &str = "statistics.rows";
const DISTINCT: &str = "statistics.distinct.*";

const OPTIONS: [OptionSpec; 2] = [
    count(ROWS, "About how many rows are there at a time: a whole number, such as '6_000_000'."),
    count(DISTINCT, "About how many different values a column has: 'statistics.distinct.country' = '200'."),
];

const SPEC: ConnectorSpec = ConnectorSpec { name: "statistics", aliases: &[], source: true, sink: false, options: &OPTIONS };

/// Expected sizes, as far as they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statistics {
    /// Rows at a time.
    pub(crate) rows: Option<u64>,
    /// Different values, by position of the column.
    pub(crate) distinct: BTreeMap<usize, u64>,
}

/// Whether an option is one of these.
pub(super) fn is_option(key: &str) -> bool {
    options::find(&SPEC, key).is_some()
}

/// Reads the options of a source with these columns.
pub(super) fn resolve(settings: &[OptionSetting], columns: &[SourceColumn], source: &str) -> Result<Statistics, Vec<PlanError>> {
    if settings.is_empty() {
        return Ok(Statistics::default());
    }
    let Options(values) = options::resolve(&SPEC, settings, Side::Source, source, Span::default())?;
    let mut statistics = Statistics::default();
    let mut errors = Vec::new();
    for (key, value) in &values {
        // The text was checked as a whole number from 0.
        let number = value.parse().unwrap_or_default();
        let Some(name) = key.strip_prefix(DISTINCT.trim_end_matches('*')) else {
            statistics.rows = Some(number);
            continue;
        };
        let names = || columns.iter().map(|column| column.field.name().as_str());
        let exact = names().position(|it| it == name);
        if let Some(place) = exact.or_else(|| names().position(|it| it.eq_ignore_ascii_case(name))) {
            statistics.distinct.insert(place, number);
            continue;
        }
        let setting = settings.iter().find(|setting| options::find(&SPEC, &setting.key).is_some_and(|(_, known)| known == *key));
        let span = setting.map_or(Span::default(), |setting| setting.key_span);
        let help = match nearest(name, names()) {
            Some(name) => format!("Did you mean \"{name}\"?"),
            None => format!("Columns are {}.", names().collect::<Vec<_>>().join(", ")),
        };
        errors.push(PlanError::new("plan::unknown_column", format!("source \"{source}\" has no column \"{name}\""), span).help(help));
    }
    if errors.is_empty() { Ok(statistics) } else { Err(errors) }
}
