//! # Decoding
//!
//! A record has a value, a key, and what the broker knows of it. Columns come from any of them: key and value are decoded by their
//! formats, a whole chunk at once, and put side by side. Where every record is one good row, which is the rule, nothing is copied.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, Int32Array, Int64Array, MapBuilder, MapFieldNames, RecordBatch, RecordBatchOptions, StringArray,
    StringBuilder, TimestampMicrosecondArray, UInt32Array, make_array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Fields, SchemaRef, TimeUnit};
use tidemark_planner::connector::{METADATA_KEY, Options};

use super::messages::{Messages, NO_TIMESTAMP, Wanted};
use super::options;
use crate::format::changelog::Meaning;
use crate::format::message::{DecodedValues, MessageDecoder, MessageFormat, SchemaKind, Values, project};
use crate::source::{Chunk, ChunkBody, ConnectorError, Decoded, Decoder, Offsets, RowError};

/// What the connector knows of a record besides key and value: its name, and the type it has.
pub(crate) fn metadata() -> Vec<Field> {
    vec![
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("timestamp-type", DataType::Utf8, true),
        Field::new("key", DataType::Binary, true),
        Field::new("headers", headers_type(), false),
    ]
}

fn headers_type() -> DataType {
    let entry = Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

/// Where a column comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// The field of the key with this number.
    Key(usize),
    /// The field of the value with this number.
    Value(usize),
    /// What the broker knows.
    Record(String),
}

/// How the columns of a source stand in its records.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    value_format: MessageFormat,
    key_format: Option<MessageFormat>,
    /// All fields of a value, and of a key under the names they have there.
    value: SchemaRef,
    key: SchemaRef,
    /// For each declared column where it comes from.
    origins: Vec<Origin>,
    /// Rows replace each other by their key, and a record without a value takes the row away.
    upsert: bool,
    /// How rows are meant whose values say what they do.
    meaning: Meaning,
}

/// Which columns stand in the key: their places, and the prefix that their names have there not.
pub(super) fn key_columns(options: &Options, columns: &SchemaRef) -> Result<(Vec<usize>, String), String> {
    let prefix = options.get("key.fields-prefix").unwrap_or_default().to_owned();
    let mut places = Vec::new();
    for name in options.get("key.fields").map(options::list).unwrap_or_default() {
        let place = columns.index_of(&name).map_err(|_| format!("option \"key.fields\" names \"{name}\", which is no column"))?;
        if !name.starts_with(&prefix) || name.len() == prefix.len() {
            return Err(format!("column \"{name}\" of the key does not begin with \"{prefix}\", as option \"key.fields-prefix\" says"));
        }
        places.push(place);
    }
    Ok((places, prefix))
}

/// Columns of the key under the names they have there.
pub(super) fn key_schema(columns: &SchemaRef, places: &[usize], prefix: &str) -> SchemaRef {
    let fields = places.iter().map(|place| {
        let field = columns.field(*place);
        field.clone().with_name(field.name().strip_prefix(prefix).unwrap_or(field.name()))
    });
    Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()))
}

impl Layout {
    /// From validated options, all declared columns, and how rows are meant.
    pub(super) fn new(options: &Options, declared: &SchemaRef, meaning: &Meaning) -> Result<Self, String> {
        let value_format = MessageFormat::from_options(options.get("format").unwrap_or("json"), SchemaKind::Value, options)?;
        let key_format = options.get("key.format").map(|name| MessageFormat::from_options(name, SchemaKind::Key, options)).transpose()?;
        let (key, prefix) = key_columns(options, declared)?;
        let except = options.get("value.fields-include") == Some("EXCEPT_KEY");
        match (&key_format, key.is_empty()) {
            (Some(_), true) => return Err("option \"key.format\" is given, and no column is in the key; add key.fields = '…'".into()),
            (None, false) => return Err("option \"key.fields\" is given, and not how keys are encoded; add key.format = '…'".into()),
            (None, true) if except => return Err("value.fields-include = 'EXCEPT_KEY' needs key.format and key.fields".into()),
            _ => {}
        }
        let changelog = value_format.is_changelog();
        if changelog && except {
            return Err("rows in Debezium's envelopes are whole; leave out value.fields-include = 'EXCEPT_KEY'".into());
        }
        let upsert = options.get("changes") == Some("upsert") && !changelog;
        if upsert && key.is_empty() {
            let reason = "a record that takes a row away has nothing but its key";
            return Err(format!("changes = 'upsert' needs a PRIMARY KEY, or key.fields and key.format: {reason}"));
        }
        if !prefix.is_empty() && !except {
            return Err("option \"key.fields-prefix\" needs value.fields-include = 'EXCEPT_KEY'".into());
        }
        let mut value = Vec::new();
        let origins = declared
            .fields()
            .iter()
            .enumerate()
            .map(|(place, field)| match (field.metadata().get(METADATA_KEY), key.iter().position(|it| *it == place)) {
                (Some(name), _) => Origin::Record(name.clone()),
                (None, Some(at)) if except || upsert => {
                    if !except {
                        value.push(place);
                    }
                    Origin::Key(at)
                }
                // A column that stands in both is read from the value, as Flink does.
                (None, _) => {
                    value.push(place);
                    Origin::Value(value.len() - 1)
                }
            })
            .collect();
        let layout = Self {
            value_format,
            key_format: key_format.filter(|_| except || upsert),
            value: project(declared, value),
            key: key_schema(declared, &key, &prefix),
            origins,
            upsert,
            meaning: meaning.clone(),
        };
        layout.value_format.decoder(&layout.value, &layout.value, meaning)?;
        if let Some(format) = &layout.key_format {
            format.decoder(&layout.key, &layout.key, meaning).map_err(|reason| format!("key: {reason}"))?;
        }
        Ok(layout)
    }

    /// Whether rows that replace each other by a primary key can be taken away by the key of a record.
    pub(super) fn check_key(&self, primary: Option<&[usize]>, declared: &SchemaRef) -> Result<(), String> {
        let outside = |place: &&usize| !matches!(self.origins[**place], Origin::Key(_));
        match primary.unwrap_or_default().iter().find(outside).filter(|_| self.upsert) {
            Some(place) => Err(format!("column \"{}\" of the primary key is not in option \"key.fields\"", declared.field(*place).name())),
            None => Ok(()),
        }
    }

    /// Which parts of records the columns at some places need.
    pub(super) fn wanted(&self, read: &[usize]) -> Wanted {
        let record = |names: &[&str]| {
            read.iter().any(|place| matches!(&self.origins[*place], Origin::Record(name) if names.contains(&name.as_str())))
        };
        Wanted {
            key: self.key_format.is_some() || record(&["key"]),
            timestamp: record(&["timestamp", "timestamp-type"]),
            headers: record(&["headers"]),
        }
    }

    /// A decoder of the columns at some places, whose fields are `read_schema`.
    pub(super) fn decoder(&self, name: &str, read: &[usize], read_schema: &SchemaRef, nulls: bool) -> Result<KafkaDecoder, ConnectorError> {
        let wrong = |reason: String| ConnectorError::new(name, reason);
        let (mut value, mut key) = (Vec::new(), Vec::new());
        let columns = read
            .iter()
            .map(|place| match &self.origins[*place] {
                Origin::Value(at) => {
                    value.push(*at);
                    Origin::Value(value.len() - 1)
                }
                Origin::Key(at) => {
                    key.push(*at);
                    Origin::Key(key.len() - 1)
                }
                Origin::Record(name) => Origin::Record(name.clone()),
            })
            .collect();
        let (value, key) = (project(&self.value, value), project(&self.key, key));
        Ok(KafkaDecoder {
            name: name.to_owned(),
            value: self.value_format.decoder(&self.value, &value, &self.meaning).map_err(wrong)?,
            // A key that nobody reads is not looked at.
            key: match &self.key_format {
                Some(format) if self.upsert || !key.fields().is_empty() => {
                    Some(format.decoder(&self.key, &key, &self.meaning).map_err(wrong)?)
                }
                _ => None,
            },
            columns,
            schema: read_schema.clone(),
            nulls,
            upsert: self.upsert,
            silent: self.value_format.is_changelog(),
        })
    }
}

/// Decodes records.
pub(super) struct KafkaDecoder {
    name: String,
    value: Box<dyn MessageDecoder>,
    key: Option<Box<dyn MessageDecoder>>,
    columns: Vec<Origin>,
    schema: SchemaRef,
    /// A record without a value is a row of nulls; otherwise it is bad.
    nulls: bool,
    /// A record without a value takes the row of its key away.
    upsert: bool,
    /// A record without a value says nothing.
    silent: bool,
}

impl Decoder for KafkaDecoder {
    fn decode(&mut self, chunk: Chunk) -> Result<Decoded, ConnectorError> {
        let ChunkBody::Task(task) = chunk.body else {
            return Err(ConnectorError::new(&self.name, "was given a chunk of another source"));
        };
        let messages = task.downcast::<Messages>().map_err(|_| ConnectorError::new(&self.name, "was given a chunk of another source"))?;
        self.records(&messages).map_err(|reason| ConnectorError::new(&self.name, reason))
    }
}

/// A row: its record, and where its parts stand among the decoded values and keys.
struct Row {
    record: u32,
    value: Option<u32>,
    key: Option<u32>,
}

impl KafkaDecoder {
    fn records(&mut self, messages: &Messages) -> Result<Decoded, String> {
        let values = self.value.decode(&messages.values)?;
        let keys = self.key.as_mut().map(|decoder| decoder.decode(&messages.keys)).transpose()?;
        let whole = |part: &DecodedValues| part.places.is_none();
        if whole(&values) && keys.as_ref().is_none_or(whole) {
            let columns = self.assemble(messages, &values, keys.as_ref(), None);
            let offsets = match messages.offsets.first() {
                Some(first) if messages.dense() => Offsets::Dense { first: *first },
                _ => Offsets::Each(Arc::new(messages.offsets.clone())),
            };
            return Ok(Decoded { columns, offsets, diffs: values.diffs, errors: Vec::new() });
        }
        let (rows, errors) = self.rows(messages, &values, keys.as_ref());
        let columns = self.assemble(messages, &values, keys.as_ref(), Some(&rows));
        let offsets = rows.iter().map(|row| messages.offsets[row.record as usize]).collect();
        let diff = |row: &Row| match (row.value, &values.diffs) {
            (Some(at), Some(diffs)) => diffs[at as usize],
            (None, _) if self.upsert => -1,
            _ => 1,
        };
        let all_added = values.diffs.is_none() && !self.upsert;
        let diffs = (!all_added).then(|| rows.iter().map(diff).collect());
        Ok(Decoded { columns, offsets: Offsets::Each(Arc::new(offsets)), diffs, errors })
    }

    /// Which records make rows, and which are bad.
    fn rows(&self, messages: &Messages, values: &DecodedValues, keys: Option<&DecodedValues>) -> (Vec<Row>, Vec<RowError>) {
        let (mut rows, mut errors) = (Vec::with_capacity(values.rows), Vec::new());
        let (mut values, mut keys) = (Cursor::new(values), keys.map(Cursor::new));
        for record in 0..messages.len() as u32 {
            let bad = |raw: &[u8], reason: String| RowError { offset: messages.offsets[record as usize], raw: raw.to_vec(), reason };
            let key = match keys.as_mut().map(|keys| keys.take(record)) {
                None => None,
                Some(Found::Rows(first, _)) => Some(first),
                Some(Found::Nothing) if self.key_may_be_null() && !self.upsert => None,
                Some(Found::Nothing) => {
                    errors.push(bad(messages.values.bytes(record as usize), "the record has no key, and columns come from it".into()));
                    values.take(record);
                    continue;
                }
                Some(Found::Wrong(reason)) => {
                    errors.push(bad(messages.keys.bytes(record as usize), format!("key: {reason}")));
                    values.take(record);
                    continue;
                }
            };
            match values.take(record) {
                Found::Rows(first, count) => rows.extend((first..first + count).map(|value| Row { record, value: Some(value), key })),
                Found::Wrong(reason) => errors.push(bad(messages.values.bytes(record as usize), reason.to_owned())),
                Found::Nothing if messages.values.get(record as usize).is_some() => {}
                Found::Nothing if self.silent => {}
                Found::Nothing if self.upsert => rows.push(Row { record, value: None, key }),
                Found::Nothing if !self.nulls => {
                    let reason = "the record has no value; tombstones = 'null' makes it a row of nulls".to_owned();
                    errors.push(bad(messages.keys_or_nothing(record as usize), reason));
                }
                Found::Nothing => match self.value_that_must_not_be_null() {
                    Some(name) => errors.push(bad(&[], format!("the record has no value, and column \"{name}\" is NOT NULL"))),
                    None => rows.push(Row { record, value: None, key }),
                },
            }
        }
        (rows, errors)
    }

    fn key_may_be_null(&self) -> bool {
        let mut key = self.columns.iter().zip(self.schema.fields()).filter(|(origin, _)| matches!(origin, Origin::Key(_)));
        key.all(|(_, field)| field.is_nullable())
    }

    fn value_that_must_not_be_null(&self) -> Option<&str> {
        let mut value = self.columns.iter().zip(self.schema.fields()).filter(|(origin, _)| matches!(origin, Origin::Value(_)));
        value.find(|(_, field)| !field.is_nullable()).map(|(_, field)| field.name().as_str())
    }

    /// Puts the columns together; with `rows`, those rows of them.
    fn assemble(&self, messages: &Messages, values: &DecodedValues, keys: Option<&DecodedValues>, rows: Option<&[Row]>) -> RecordBatch {
        let pick = |array: ArrayRef, place: &dyn Fn(&Row) -> Option<u32>| match rows {
            None => array,
            Some(rows) => {
                let places = UInt32Array::from_iter(rows.iter().map(place));
                take(&array, &places, None).unwrap_or_else(|error| panic!("places are in range: {error}"))
            }
        };
        let columns = self.columns.iter().zip(self.schema.fields()).map(|(origin, field)| match origin {
            Origin::Value(at) if self.upsert && !field.is_nullable() => without_nulls(&pick(values.columns[*at].clone(), &|row| row.value)),
            Origin::Value(at) => pick(values.columns[*at].clone(), &|row| row.value),
            Origin::Key(at) => {
                let keys = keys.unwrap_or_else(|| panic!("a column of the key has a decoder"));
                pick(keys.columns[*at].clone(), &|row| row.key)
            }
            Origin::Record(name) => pick(record_column(messages, name, field.data_type()), &|row| Some(row.record)),
        });
        let count = rows.map_or(messages.len(), <[Row]>::len);
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(self.schema.clone(), columns.collect(), &options)
            .unwrap_or_else(|error| panic!("columns were made for the schema: {error}"))
    }
}

/// The column with whatever stands under its nulls: of a row that is taken away only the key is read.
fn without_nulls(array: &ArrayRef) -> ArrayRef {
    if array.null_count() == 0 {
        return array.clone();
    }
    let data = array.to_data().into_builder().nulls(None).null_count(0).build();
    make_array(data.unwrap_or_else(|error| panic!("values under nulls are valid: {error}")))
}

/// What was found of a record.
enum Found<'a> {
    /// Rows: the first, and how many.
    Rows(u32, u32),
    Wrong(&'a str),
    Nothing,
}

/// Follows decoded values record by record.
struct Cursor<'a> {
    part: &'a DecodedValues,
    row: usize,
    error: usize,
}

impl<'a> Cursor<'a> {
    fn new(part: &'a DecodedValues) -> Self {
        Self { part, row: 0, error: 0 }
    }

    fn take(&mut self, record: u32) -> Found<'a> {
        let first = self.row;
        match &self.part.places {
            None => self.row += 1,
            Some(places) => {
                while places.get(self.row) == Some(&record) {
                    self.row += 1;
                }
            }
        }
        if self.row > first {
            return Found::Rows(first as u32, (self.row - first) as u32);
        }
        match self.part.errors.get(self.error) {
            Some((place, reason)) if *place == record => {
                self.error += 1;
                Found::Wrong(reason)
            }
            _ => Found::Nothing,
        }
    }
}

impl Messages {
    /// The key, if keys are kept.
    fn keys_or_nothing(&self, record: usize) -> &[u8] {
        if self.keys.len() == self.len() { self.keys.bytes(record) } else { &[] }
    }
}

/// What the broker knows of each record, in the type asked for.
fn record_column(messages: &Messages, name: &str, wanted: &DataType) -> ArrayRef {
    let count = messages.len();
    let array: ArrayRef = match name {
        "topic" => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&*messages.topic, count))),
        "partition" => Arc::new(Int32Array::from_value(messages.partition, count)),
        "offset" => Arc::new(Int64Array::from_iter_values(messages.offsets.iter().map(|offset| *offset as i64))),
        "timestamp" => Arc::new(TimestampMicrosecondArray::from_iter(
            messages.stamps.iter().map(|stamp| Some(stamp.millis).filter(|millis| *millis != NO_TIMESTAMP)?.checked_mul(1_000)),
        )),
        "timestamp-type" => Arc::new(StringArray::from_iter(messages.stamps.iter().map(|stamp| match stamp {
            stamp if stamp.millis == NO_TIMESTAMP => None,
            stamp if stamp.of_broker => Some("LogAppendTime"),
            _ => Some("CreateTime"),
        }))),
        "key" => keys(&messages.keys),
        "headers" => headers(messages),
        other => panic!("the planner asked for metadata \"{other}\""),
    };
    if array.data_type() == wanted {
        return array;
    }
    cast(&array, wanted).unwrap_or_else(|error| panic!("metadata \"{name}\" has its own type: {error}"))
}

fn keys(keys: &Values) -> ArrayRef {
    let mut builder = BinaryBuilder::with_capacity(keys.len(), keys.byte_len());
    keys.iter().for_each(|key| builder.append_option(key));
    Arc::new(builder.finish())
}

fn headers(messages: &Messages) -> ArrayRef {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), BinaryBuilder::new());
    for headers in &messages.headers {
        for (at, (name, value)) in headers.iter().enumerate() {
            // A map has each key once: of headers of one name the last stands.
            if headers[at + 1..].iter().all(|(later, _)| later != name) {
                builder.keys().append_value(name);
                builder.values().append_option(value.as_deref());
            }
        }
        builder.append(true).unwrap_or_else(|error| panic!("as many keys as values: {error}"));
    }
    Arc::new(builder.finish())
}
