//! # Messages
//!
//! Encodings of single values, such as those of a topic. A decoder takes all values of a chunk at once: what a call costs is paid
//! once for some thousand messages, and text formats decode the values as the lines of one text.

mod avro;
mod avro_write;
mod delimited;
mod envelope;
mod protobuf;
mod raw;
mod registry;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use tidemark_planner::connector::{OptionKind, OptionSpec, Options, Side};

use avro::{AvroMessages, AvroSchema};
use avro_write::AvroEncoding;
pub(crate) use delimited::{CsvEncoding, CsvMessages, JsonEncoding, JsonMessages};
pub(crate) use envelope::envelopes;
use envelope::{EnvelopeMessages, envelope_schema};
use protobuf::{ProtobufEncoding, ProtobufMessages, ProtobufType};
pub(crate) use raw::{RawEncoding, RawMessages};
use registry::Registry;
pub(crate) use registry::SchemaKind;

use super::changelog::{DebeziumOptions, Meaning};
use super::csv::CsvOptions;
use super::ndjson::NdjsonOptions;

/// How values are encoded.
#[derive(Clone, Debug)]
pub(crate) enum MessageFormat {
    Json(NdjsonOptions),
    Csv(CsvOptions),
    Raw,
    Avro(AvroSchema),
    Protobuf(ProtobufType),
    /// Debezium's envelopes in one of the others.
    Debezium(Box<MessageFormat>, DebeziumOptions),
}

/// Options of formats that are of messages only.
pub(crate) const SPECS: &[OptionSpec] = &[
    super::changelog::SCHEMA_INCLUDE_SPEC,
    OptionSpec {
        name: "schema-registry",
        aliases: &[
            "avro-confluent.url",
            "value.avro-confluent.url",
            "avro-confluent.schema-registry.url",
            "debezium-avro-confluent.url",
            "value.debezium-avro-confluent.url",
        ],
        kind: OptionKind::Text,
        side: Side::Both,
        required: false,
        default: None,
        help: "Where the schema registry is reached: http://host:port. avro-confluent needs it; debezium-avro and protobuf use it if it is given.",
    },
    OptionSpec {
        name: "schema-registry.login",
        aliases: &["avro-confluent.basic-auth.user-info", "value.avro-confluent.basic-auth.user-info"],
        kind: OptionKind::Text,
        side: Side::Both,
        required: false,
        default: None,
        help: "Who asks the schema registry: user:password.",
    },
    OptionSpec {
        name: "schema-registry.subject",
        aliases: &["avro-confluent.subject", "value.avro-confluent.subject"],
        kind: OptionKind::Text,
        side: Side::Sink,
        required: false,
        default: None,
        help: "The subject that the schema of values is registered under; if not given, the topic's name and -value.",
    },
    OptionSpec {
        name: "avro.schema",
        aliases: &["value.avro.schema"],
        kind: OptionKind::Text,
        side: Side::Source,
        required: false,
        default: None,
        help: "The schema that values of format avro were written with, as JSON; if not given, that of the declared columns.",
    },
    OptionSpec {
        name: "protobuf.descriptor",
        aliases: &["value.protobuf.descriptor"],
        kind: OptionKind::Text,
        side: Side::Both,
        required: false,
        default: None,
        help: "For format protobuf: the file of a descriptor set, as protoc --include_imports --descriptor_set_out writes it.",
    },
    OptionSpec {
        name: "protobuf.message",
        aliases: &["protobuf.message-class-name", "value.protobuf.message", "value.protobuf.message-class-name"],
        kind: OptionKind::Text,
        side: Side::Both,
        required: false,
        default: None,
        help: "For format protobuf: the message that a value is, such as shop.Trade, or the name of its class in Java.",
    },
];

/// Formats of keys and values.
pub(crate) const FORMATS: &[&str] =
    &["json", "ndjson", "csv", "raw", "avro", "avro-confluent", "debezium-json", "debezium-avro", "debezium-avro-confluent", "protobuf"];

impl MessageFormat {
    /// The format of a name, with its options.
    pub(crate) fn from_options(name: &str, kind: SchemaKind, options: &Options) -> Result<Self, String> {
        Ok(match name {
            "json" | "ndjson" => Self::Json(NdjsonOptions::from_options(options)),
            "csv" => Self::Csv(CsvOptions::from_options(options)?),
            "raw" => Self::Raw,
            "avro" => Self::Avro(AvroSchema::Fixed(options.get("avro.schema").filter(|_| kind == SchemaKind::Value).map(str::to_owned))),
            "avro-confluent" => {
                let registry = Registry::from_options(options)?;
                Self::Avro(AvroSchema::Registry(registry.ok_or("format avro-confluent needs option \"schema-registry\"")?))
            }
            "protobuf" if kind == SchemaKind::Key => {
                return Err("format protobuf is for values; encode the key as json, csv, raw or avro".into());
            }
            "protobuf" => Self::Protobuf(ProtobufType::from_options(options, Registry::from_options(options)?)?),
            _ if name.starts_with("debezium-") && kind == SchemaKind::Key => {
                return Err(format!("format {name} is for values: a key has no row before and after"));
            }
            "debezium-json" => Self::debezium("json", kind, options)?,
            "debezium-avro" if options.get("schema-registry").is_none() => Self::debezium("avro", kind, options)?,
            "debezium-avro" | "debezium-avro-confluent" => Self::debezium("avro-confluent", kind, options)?,
            other => return Err(format!("format \"{other}\" is not known; use {}", FORMATS.join(", "))),
        })
    }

    fn debezium(rows: &str, kind: SchemaKind, options: &Options) -> Result<Self, String> {
        if options.flag("fail-on-missing-field") {
            return Err("option \"fail-on-missing-field\" is not for Debezium's envelopes; declare columns NOT NULL".into());
        }
        Ok(Self::Debezium(Box::new(Self::from_options(rows, kind, options)?), DebeziumOptions::from_options(options)))
    }

    /// Whether a value says itself what it does to a table.
    pub(crate) fn is_changelog(&self) -> bool {
        matches!(self, Self::Debezium(..))
    }

    /// The columns of values, where the format knows them.
    pub(crate) fn schema(&self) -> Option<Result<SchemaRef, String>> {
        if let Self::Protobuf(of) = self { Some(of.schema()) } else { None }
    }

    /// A decoder. `all` are the columns that a value holds, `read` those among them that are decoded.
    pub(crate) fn decoder(&self, all: &SchemaRef, read: &SchemaRef, meaning: &Meaning) -> Result<Box<dyn MessageDecoder>, String> {
        Ok(match self {
            Self::Json(options) => Box::new(JsonMessages::new(read.clone(), options.clone())?),
            Self::Csv(options) => Box::new(CsvMessages::new(all, read.clone(), options.clone())?),
            Self::Raw => Box::new(RawMessages::new(all, read)?),
            Self::Avro(schema) => Box::new(AvroMessages::new(all, read, schema.clone())?),
            Self::Protobuf(of) => Box::new(ProtobufMessages::new(read, of)?),
            Self::Debezium(rows, options) => Box::new(EnvelopeMessages::new(rows, options, all, read, meaning)?),
        })
    }

    /// An encoder of rows of a schema; of Debezium's, of what [`envelopes`] makes of them.
    pub(crate) fn encoder(&self, schema: &SchemaRef, kind: SchemaKind) -> Result<Box<dyn MessageEncoder>, String> {
        Ok(match self {
            Self::Json(options) => Box::new(JsonEncoding::new(schema.clone(), options)?),
            Self::Csv(options) => Box::new(CsvEncoding::new(schema.clone(), options.clone())?),
            Self::Raw => Box::new(RawEncoding::new(schema)?),
            Self::Avro(AvroSchema::Fixed(_)) => Box::new(AvroEncoding::new(schema, None, kind)?),
            Self::Avro(AvroSchema::Registry(registry)) => Box::new(AvroEncoding::new(schema, Some(registry.clone()), kind)?),
            Self::Protobuf(of) => Box::new(ProtobufEncoding::new(schema, of, kind)?),
            Self::Debezium(rows, _) => rows.encoder(&envelope_schema(schema), kind)?,
        })
    }
}

/// Values of messages, end to end, each with a newline behind it: as they lie they are lines, unless a value has newlines itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    bytes: Vec<u8>,
    /// One past the newline behind each value.
    ends: Vec<u32>,
    /// Places of values that are null, ascending.
    nulls: Vec<u32>,
}

impl Values {
    /// Appends a value, or null.
    #[inline]
    pub(crate) fn push(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bytes.extend_from_slice(value),
            None => self.nulls.push(self.ends.len() as u32),
        }
        self.bytes.push(b'\n');
        // A chunk is cut long before 4 GiB, and no message is as long.
        self.ends.push(self.bytes.len() as u32);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes held.
    pub(crate) fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    fn start(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }

    /// The bytes of a value; none, if it is null or empty.
    pub(crate) fn bytes(&self, place: usize) -> &[u8] {
        &self.bytes[self.start(place)..self.ends[place] as usize - 1]
    }

    /// A value; `None`: null.
    pub(crate) fn get(&self, place: usize) -> Option<&[u8]> {
        let null = !self.nulls.is_empty() && self.nulls.binary_search(&(place as u32)).is_ok();
        (!null).then(|| self.bytes(place))
    }

    /// All values in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut nulls = self.nulls.iter().copied().peekable();
        let mut start = 0;
        self.ends.iter().enumerate().map(move |(place, end)| {
            let value = &self.bytes[start..*end as usize - 1];
            start = *end as usize;
            if nulls.next_if_eq(&(place as u32)).is_some() { None } else { Some(value) }
        })
    }
}

/// What the values of a chunk hold.
#[derive(Debug)]
pub(crate) struct DecodedValues {
    /// The columns read.
    pub(crate) columns: Vec<ArrayRef>,
    /// Rows of each column.
    pub(crate) rows: usize,
    /// The value each row comes from, ascending; `None`: each value is one row.
    pub(crate) places: Option<Vec<u32>>,
    /// +1 or −1 for each row; `None` when all are +1.
    pub(crate) diffs: Option<Vec<i64>>,
    /// Values that could not be decoded, ascending, and why.
    pub(crate) errors: Vec<(u32, String)>,
}

/// Turns values into columns. Nulls make no row: what they mean is not for a format to say.
pub(crate) trait MessageDecoder: Send {
    /// Decodes all values of a chunk.
    ///
    /// # Errors
    /// When something besides the values is amiss, such as a schema registry that cannot be reached.
    fn decode(&mut self, values: &Values) -> Result<DecodedValues, String>;
}

/// Turns rows into values.
pub(crate) trait MessageEncoder: Send {
    /// Appends one value for each row to `out`, and its end to `ends`.
    ///
    /// # Errors
    /// When a value cannot be written in this format.
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>, ends: &mut Vec<usize>) -> Result<(), String>;
}

/// The fields of a schema at some places.
pub(crate) fn project(schema: &Schema, places: impl IntoIterator<Item = usize>) -> SchemaRef {
    Arc::new(Schema::new(places.into_iter().map(|place| schema.fields()[place].clone()).collect::<Vec<_>>()))
}
