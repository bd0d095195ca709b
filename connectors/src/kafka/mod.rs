//! # Kafka
//!
//! Topics as sources and sinks. Each partition of a topic is a partition of the source, with its own order and watermark. What
//! librdkafka does well is left to it: fetching ahead within bounds, finding leaders, trying again.

mod client;
mod decode;
pub mod inspect;
mod messages;
mod options;
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
use crate::sink::Sink;
use crate::source::{ConnectorError, Source};

/// The connector.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec { name: "kafka", aliases: &[], source: true, sink: true, options: &options::OPTIONS };

/// What is known of a topic without asking the brokers: a plan does not depend on them.
pub(crate) fn facts(options: &Options, declared: Option<&SchemaRef>) -> Result<SourceFacts, String> {
    let source = SourceOptions::from_options(options)?;
    source::config("", options, &source)?;
    if let Some(declared) = declared {
        Layout::new(options, declared)?;
    }
    let changelog = match options.get("changes") {
        Some("upsert") => ChangelogKind::Upsert,
        Some("op") => return Err("changes = 'op' is written and not read; read the field op as a column, or say changes = 'upsert'".into()),
        _ => ChangelogKind::AppendOnly,
    };
    Ok(SourceFacts { changelog, ..SourceFacts::append_only(None, source.end.is_some()) })
}

/// Opens the source.
pub(crate) fn open_source(plan: &SourcePlan) -> Result<Box<dyn Source>, ConnectorError> {
    Ok(Box::new(KafkaSource::open(plan)?))
}

/// What a topic can take.
pub(crate) fn check_sink(options: &Options, schema: &SchemaRef, changelog: ChangelogKind) -> Result<(), String> {
    SinkOptions::new(options, schema, changelog, None).and_then(|sink| sink.config(options).map(drop))
}

/// Opens the sink.
pub(crate) fn open_sink(plan: &SinkPlan) -> Result<Box<dyn Sink>, ConnectorError> {
    Ok(Box::new(KafkaSink::open(plan)?))
}
