//! `tidemark kafka`: what is in a cluster, without a query.

use std::fmt::Write;

use serde_json::{Value, json};
use tidemark_connectors::kafka::inspect::{Cluster, Look, Record, Topic};
use tidemark_connectors::source::ConnectorError;

use crate::args::{BrokerArgs, DocumentForm, KafkaArgs, KafkaCommand, PeekArgs};
use crate::exit::{self, Color, Exit};
use crate::figures;

/// Carries the command out.
pub(crate) fn command(args: &KafkaArgs, color: Color) -> Exit {
    let done = match &args.what {
        KafkaCommand::Topics(broker) => topics(broker, color),
        KafkaCommand::Peek(peek) => self::peek(peek, color),
    };
    done.unwrap_or_else(|error| {
        exit::complain(&error.to_string(), color);
        Exit::Failed
    })
}

fn cluster(broker: &BrokerArgs) -> Result<Cluster, ConnectorError> {
    Cluster::connect(&broker.brokers, &broker.properties, broker.timeout)
}

fn topics(broker: &BrokerArgs, color: Color) -> Result<Exit, ConnectorError> {
    let topics = cluster(broker)?.topics()?;
    let text = match broker.format {
        DocumentForm::Text => topics.iter().map(topic_line).collect::<String>(),
        DocumentForm::Json => topics.iter().map(|topic| format!("{}\n", topic_json(topic))).collect(),
    };
    if topics.is_empty() && broker.format == DocumentForm::Text {
        exit::tell("there are no topics\n");
    }
    Ok(exit::print(&text, color))
}

fn topic_line(topic: &Topic) -> String {
    let held = |next: i64, first: i64| u64::try_from(next - first).unwrap_or(0);
    let records: u64 = topic.partitions.iter().map(|it| held(it.next, it.first)).sum();
    let mut line = format!(
        "{}  {}, {}\n",
        topic.name,
        figures::counted(topic.partitions.len() as u64, "partition"),
        figures::counted(records, "record")
    );
    for it in &topic.partitions {
        let _ = writeln!(line, "  {}  offsets {} to {}", it.number, it.first, it.next);
    }
    line
}

fn topic_json(topic: &Topic) -> Value {
    let partitions: Vec<Value> =
        topic.partitions.iter().map(|it| json!({"partition": it.number, "first_offset": it.first, "next_offset": it.next})).collect();
    json!({"topic": topic.name, "partitions": partitions})
}

fn peek(args: &PeekArgs, color: Color) -> Result<Exit, ConnectorError> {
    let look = Look { count: args.count, partition: args.partition, last: args.last };
    let mut exit = Exit::Done;
    let shown = cluster(&args.broker)?.peek(&args.topic, look, |record| {
        let text = match args.broker.format {
            DocumentForm::Text => record_text(&record),
            DocumentForm::Json => format!("{}\n", record_json(&record)),
        };
        exit = exit::print(&text, color);
        exit == Exit::Done
    })?;
    if shown == 0 && args.broker.format == DocumentForm::Text {
        exit::tell("there are no records\n");
    }
    Ok(exit)
}

/// Bytes on one line: as text where they are, in hexadecimal where not.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect(),
        Err(_) => bytes.iter().fold(String::from("0x"), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
    }
}

fn record_text(record: &Record) -> String {
    let mut text = format!("{}/{}", record.partition, record.offset);
    if let Some(millis) = record.timestamp_ms {
        let _ = write!(text, "  {}", figures::time(millis.saturating_mul(1_000)));
    }
    if let Some(key) = &record.key {
        let _ = write!(text, "  key {}", shown(key));
    }
    for (name, value) in &record.headers {
        let _ = write!(text, "  {}={}", shown(name.as_bytes()), value.as_deref().map_or_else(|| "null".to_owned(), shown));
    }
    let value = record.value.as_deref().map_or_else(|| "(no value)".to_owned(), shown);
    text + "\n  " + &value + "\n"
}

fn record_json(record: &Record) -> Value {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(shown);
    let headers: Vec<Value> = record.headers.iter().map(|(name, value)| json!({"name": name, "value": bytes(value)})).collect();
    json!({
        "partition": record.partition, "offset": record.offset, "timestamp_ms": record.timestamp_ms,
        "key": bytes(&record.key), "headers": headers, "value": bytes(&record.value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_two_lines_and_bytes_are_told_from_text() {
        let record = Record {
            partition: 1,
            offset: 42,
            timestamp_ms: Some(1_704_101_700_000),
            key: Some(vec![0xff, 0]),
            value: Some(b"{\"a\":\n1}".to_vec()),
            headers: vec![("trace".into(), None)],
        };
        assert_eq!(record_text(&record), "1/42  2024-01-01 09:35:00  key 0xff00  trace=null\n  {\"a\":\\n1}\n");
        let tombstone = Record { key: None, value: None, headers: vec![], timestamp_ms: None, ..record };
        assert_eq!(record_text(&tombstone), "1/42\n  (no value)\n");
        assert_eq!(record_json(&tombstone)["value"], Value::Null);
    }
}
