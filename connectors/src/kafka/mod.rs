//! # Kafka
//!
//! Topics as sources and sinks. Each partition of a topic is a partition of the source, with its own order and watermark. What
//! librdkafka does well is left to it: fetching ahead within bounds, finding leaders, trying again.

mod client;
mod decode;
pub mod inspect;
pub mod letters;
mod messages;
mod options;
mod outlet;
mod places;
mod sink;
mod source;
#[cfg(test)]
mod tests;

use arrow::datatypes::SchemaRef;
use tidemark_planner::connector::{ConnectorSpec, Options, SourceFacts};
use tidemark_planner::plan::{ChangelogKind, SinkPlan, SourcePlan};

use self::decode::Layout;
pub(crate) use self::decode::metadata;
use self::options::SourceOptions;
use self::sink::{KafkaSink, SinkOptions};
use self::source::KafkaSource;
use crate::format::changelog::Meaning;
use crate::format::message::{MessageFormat, SchemaKind};
use crate::sink::Sink;
use crate::source::{ConnectorError, Source};

/// The connector, and the name under which Flink has topics that are tables.
pub(crate) const SPEC: ConnectorSpec =
    ConnectorSpec { name: "kafka", aliases: &[UPSERT], source: true, sink: true, options: &options::OPTIONS };
const UPSERT: &str = "upsert-kafka";

/// What is known of a topic without asking the brokers: a plan does not depend on them.
pub(crate) fn facts(options: &Options, declared: Option<&SchemaRef>) -> Result<SourceFacts, String> {
    let source = SourceOptions::from_options(options)?;
    source::config("", options, &source)?;
    if let Some(declared) = declared {
        Layout::new(options, declared, &Meaning::default())?;
    }
    let debezium = in_envelopes(options);
    let changelog = match (options.get("changes"), debezium) {
        (Some("upsert"), _) => ChangelogKind::Upsert,
        (Some(word), true) => return Err(format!("Debezium's records say themselves what they do; leave out changes = '{word}'")),
        (Some("op"), false) => {
            return Err("changes = 'op' is written and not read; read the field op as a column, or say changes = 'upsert'".into());
        }
        (None, true) => ChangelogKind::Retract,
        _ => ChangelogKind::AppendOnly,
    };
    let upsert_with_key = debezium && options.get("changes").is_none();
    // Where nothing is declared, a format may know the columns.
    let schema = match declared {
        Some(_) => None,
        None => MessageFormat::from_options(options.get("format").unwrap_or("json"), SchemaKind::Value, options)?.schema().transpose()?,
    };
    if let Some(schema) = &schema {
        Layout::new(options, schema, &Meaning::default())?;
    }
    Ok(SourceFacts { changelog, upsert_with_key, ..SourceFacts::append_only(schema, source.end.is_some()) })
}

fn in_envelopes(options: &Options) -> bool {
    options.get("format").is_some_and(|format| format.starts_with("debezium-"))
}

/// Completes options by the name that the connector was called by, and by the primary key: it is the key of records that replace
/// each other.
pub(crate) fn complete(called: &str, options: &mut Options, primary_key: Option<&[String]>) -> Result<(), String> {
    fn set(options: &mut Options, name: &str, value: &str) {
        options.0.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    if called.eq_ignore_ascii_case(UPSERT) {
        set(options, "changes", "upsert");
        if options.get("changes") != Some("upsert") || in_envelopes(options) {
            return Err(format!("connector '{UPSERT}' keeps the newest row of each key; say connector = 'kafka' for other changes"));
        }
    }
    if let Some(key) = primary_key
        && options.get("changes") == Some("upsert")
        && options.get("key.fields").is_none()
        && !in_envelopes(options)
    {
        set(options, "key.fields", &key.join(";"));
        set(options, "key.format", "json");
    }
    Ok(())
}

/// Opens the source.
pub(crate) fn open_source(plan: &SourcePlan) -> Result<Box<dyn Source>, ConnectorError> {
    Ok(Box::new(KafkaSource::open(plan)?))
}

/// How to write each change, of a sink that would keep one row for each key and was not told the key.
pub(crate) fn needs_key(options: &Options, changelog: ChangelogKind) -> Option<&'static str> {
    let upsert = match options.get("changes") {
        Some(word) => word == "upsert",
        None => changelog != ChangelogKind::AppendOnly && !in_envelopes(options),
    };
    (upsert && options.get("key.fields").is_none()).then_some("changes = 'op'")
}

/// What a topic can take.
pub(crate) fn check_sink(options: &Options, schema: &SchemaRef, changelog: ChangelogKind) -> Result<(), String> {
    SinkOptions::new(options, schema, changelog, None).and_then(|sink| sink.config(options).map(drop))
}

/// Opens the sink.
pub(crate) fn open_sink(plan: &SinkPlan) -> Result<Box<dyn Sink>, ConnectorError> {
    Ok(Box::new(KafkaSink::open(plan)?))
}
