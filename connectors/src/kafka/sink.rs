//! # Topics as sinks
//!
//! Each row becomes a record, and an epoch counts as written when the brokers have acknowledged all its records. The producer is
//! idempotent: what it sends again is kept once. Within a partition records keep their order.

use std::collections::HashMap;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMillisecondType};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use tidemark_planner::connector::{METADATA_KEY, Options};
use tidemark_planner::plan::{ChangelogKind, SinkPlan};

use super::decode::{key_columns, key_schema};
use super::options::{self, client_config};
use super::outlet::Outlet;
use crate::changes::{Epoch, Order};
use crate::format::encode::CellFormatter;
use crate::format::message::{JsonEncoding, MessageEncoder, MessageFormat, SchemaKind, envelopes, project};
use crate::sink::{Sink, SinkReport};
use crate::sink_changes::pairs;
use crate::source::ConnectorError;

/// How changes become records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// One record for each row; none is taken back.
    Append,
    /// The newest row of each key, and no value when it is gone.
    Upsert,
    /// One record for each change, whose first field says which.
    Op,
    /// One record for what became of each row, in Debezium's envelope.
    Envelope,
}

/// How the partition of a record is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partitioner {
    /// By the key as Java's clients do, without a key at random.
    Key,
    /// At random.
    Random,
    /// Each in turn.
    RoundRobin,
    /// Always the first: a sink has one writer, and Flink's writers keep to a partition each.
    Fixed,
}

impl Partitioner {
    fn of(options: &Options) -> Self {
        match options.get("partitioner") {
            Some("random") => Self::Random,
            Some("round-robin") => Self::RoundRobin,
            Some("fixed") => Self::Fixed,
            _ => Self::Key,
        }
    }

    /// The partition of the record behind `sent` others, if it is chosen here.
    fn partition(self, sent: u64, partitions: i32) -> Option<i32> {
        match self {
            Self::Key | Self::Random => None,
            Self::RoundRobin => Some((sent % partitions.max(1) as u64) as i32),
            Self::Fixed => Some(0),
        }
    }
}

/// What a sink is told, and where the columns of a row go.
#[derive(Debug)]
pub(super) struct SinkOptions {
    topic: String,
    mode: Mode,
    value_format: MessageFormat,
    key_format: MessageFormat,
    /// Places of the key's columns, of the value's, of those that are headers each, of one that is a map of headers, of the timestamp.
    key: Vec<usize>,
    key_schema: SchemaRef,
    value: Vec<usize>,
    headers: Vec<usize>,
    header_map: Option<usize>,
    timestamp: Option<usize>,
    partitioner: Partitioner,
    connect_timeout: Duration,
}

impl SinkOptions {
    /// From validated options and what will be written. `unique` are columns that identify a row, if any are known.
    pub(super) fn new(options: &Options, schema: &SchemaRef, changelog: ChangelogKind, unique: Option<&[usize]>) -> Result<Self, String> {
        let topic = match options.get("topic").map(options::list).unwrap_or_default().as_slice() {
            [one] => one.clone(),
            [] => return Err("option \"topic\" is missing".into()),
            _ => return Err("a sink writes one topic, and option \"topic\" names several".into()),
        };
        let format_name = options.get("format").unwrap_or("json");
        let value_format = MessageFormat::from_options(format_name, SchemaKind::Value, options)?;
        let mode = match (options.get("changes"), changelog) {
            (None, _) if value_format.is_changelog() => Mode::Envelope,
            (Some(word), _) if value_format.is_changelog() => {
                return Err(format!("Debezium's records say themselves what they do; leave out changes = '{word}'"));
            }
            (Some("op"), _) => Mode::Op,
            (Some("upsert"), _) => Mode::Upsert,
            (None, ChangelogKind::AppendOnly) | (Some(_), ChangelogKind::AppendOnly) => Mode::Append,
            (None, _) => Mode::Upsert,
            (Some(_), _) => {
                return Err(
                    "rows can be taken back here, and changes = 'append' cannot show that; say changes = 'upsert' or 'op', or make \
                            the query append-only with EMIT FINAL"
                        .into(),
                );
            }
        };
        let key_format = MessageFormat::from_options(options.get("key.format").unwrap_or("json"), SchemaKind::Key, options)?;
        let (mut key, prefix) = key_columns(options, schema)?;
        if key.is_empty() && options.get("key.format").is_some() && !matches!(mode, Mode::Upsert | Mode::Envelope) {
            return Err("option \"key.format\" is given, and no column is in the key; add key.fields = '…'".into());
        }
        if key.is_empty() && matches!(mode, Mode::Upsert | Mode::Envelope) {
            key = unique.map(<[usize]>::to_vec).unwrap_or_default();
        }
        let named = |option: &str| -> Result<Vec<usize>, String> {
            let names = options.get(option).map(options::list).unwrap_or_default();
            let place =
                |name: String| schema.index_of(&name).map_err(|_| format!("option \"{option}\" names \"{name}\", which is no column"));
            names.into_iter().map(place).collect()
        };
        let headers = named("headers.fields")?;
        let mut timestamp = named("timestamp.field")?.first().copied();
        let mut header_map = None;
        let mut beside = headers.clone();
        for (place, field) in schema.fields().iter().enumerate() {
            match field.metadata().get(METADATA_KEY).map(String::as_str) {
                None => continue,
                Some("timestamp") => timestamp = Some(place),
                Some("headers") => header_map = Some(place),
                Some(other) => return Err(format!("metadata \"{other}\" cannot be written; declare \"{}\" VIRTUAL", field.name())),
            }
            beside.push(place);
        }
        if let Some(place) = timestamp
            && !matches!(schema.field(place).data_type(), DataType::Timestamp(_, _))
        {
            return Err(format!("column \"{}\" is no timestamp", schema.field(place).name()));
        }
        let except_key = options.get("value.fields-include") == Some("EXCEPT_KEY");
        let value: Vec<usize> =
            (0..schema.fields().len()).filter(|place| !(beside.contains(place) || except_key && key.contains(place))).collect();
        let sink = Self {
            topic,
            mode,
            key_schema: key_schema(schema, &key, &prefix),
            value_format,
            key_format,
            key,
            value,
            headers,
            header_map,
            timestamp,
            partitioner: Partitioner::of(options),
            connect_timeout: options::duration(options, "connect-timeout"),
        };
        // Rows of one key replace each other in order only within a partition.
        if matches!(mode, Mode::Upsert | Mode::Envelope) && matches!(sink.partitioner, Partitioner::Random | Partitioner::RoundRobin) {
            let word = options.get("partitioner").unwrap_or_default();
            return Err(format!("partitioner = '{word}' would spread the changes of a row, which must keep their order; leave it out"));
        }
        if sink.partitioner == Partitioner::RoundRobin && !sink.key.is_empty() {
            return Err("partitioner = 'round-robin' would spread the records of a key; leave out key.fields, or the partitioner".into());
        }
        if mode == Mode::Op && !matches!(sink.value_format, MessageFormat::Json(_)) {
            return Err(format!("changes = 'op' is for format json, not {format_name}"));
        }
        sink.encoders(schema)?;
        Ok(sink)
    }

    fn encoders(&self, schema: &SchemaRef) -> Result<Encoders, String> {
        let value_schema = project(schema, self.value.iter().copied());
        let value = match (&self.value_format, self.mode) {
            (MessageFormat::Json(options), Mode::Op) => Value::Changes(JsonEncoding::with_op(value_schema, options.timestamp_style)?),
            (format, _) => Value::Rows(format.encoder(&value_schema, SchemaKind::Value)?),
        };
        let key = if self.key.is_empty() {
            None
        } else {
            Some(self.key_format.encoder(&self.key_schema, SchemaKind::Key).map_err(|reason| format!("key: {reason}"))?)
        };
        Ok(Encoders { value, key })
    }

    /// The configuration of the producer.
    pub(super) fn config(&self, options: &Options) -> Result<ClientConfig, String> {
        let millis = |name: &str| (options::duration(options, name).as_micros() as f64 / 1000.0).to_string();
        let acks = options.get("acks").unwrap_or("all");
        client_config(
            options,
            &[
                ("acks", acks.to_owned()),
                ("enable.idempotence", (acks == "all").to_string()),
                ("linger.ms", millis("linger")),
                ("message.timeout.ms", options::duration(options, "delivery-timeout").as_millis().max(1).to_string()),
                ("compression.type", options.get("compression").unwrap_or("lz4").to_owned()),
                // As Java's clients choose, so that other programs find a key where this one put it.
                ("partitioner", if self.partitioner == Partitioner::Random { "random" } else { "murmur2_random" }.to_owned()),
            ],
        )
    }
}

struct Encoders {
    value: Value,
    key: Option<Box<dyn MessageEncoder>>,
}

enum Value {
    Rows(Box<dyn MessageEncoder>),
    Changes(JsonEncoding),
}

/// Records encoded, end to end.
#[derive(Default)]
struct Encoded {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Encoded {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn get(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[place]]
    }
}

/// A topic as a sink.
pub(super) struct KafkaSink {
    options: SinkOptions,
    schema: SchemaRef,
    encoders: Encoders,
    outlet: Outlet,
    epoch: Epoch,
    values: Encoded,
    keys: Encoded,
    report: SinkReport,
}

impl KafkaSink {
    pub(super) fn open(plan: &SinkPlan) -> Result<Self, ConnectorError> {
        let wrong = |reason: String| ConnectorError::new(&plan.name, reason);
        let options = SinkOptions::new(&plan.options, &plan.schema, plan.changelog, plan.key.as_deref()).map_err(wrong)?;
        if options.mode == Mode::Upsert && options.key.is_empty() {
            return Err(wrong(
                "rows can be taken back here, and no key is known by which to do so; name one with key.fields or PRIMARY KEY, \
                 say changes = 'op', or make the query append-only with EMIT FINAL"
                    .into(),
            ));
        }
        let encoders = options.encoders(&plan.schema).map_err(wrong)?;
        let config = options.config(&plan.options).map_err(wrong)?;
        let outlet = Outlet::open(&plan.name, &config, &options.topic, options.connect_timeout)?;
        let order = match options.mode {
            // What is only ever added keeps the order in which it came.
            Mode::Append => Order::of(plan).unsorted(),
            Mode::Upsert | Mode::Op | Mode::Envelope => Order::of(plan),
        };
        Ok(Self {
            options,
            schema: plan.schema.clone(),
            encoders,
            outlet,
            epoch: Epoch::new(order),
            values: Encoded::default(),
            keys: Encoded::default(),
            report: SinkReport::default(),
        })
    }

    fn name(&self) -> &str {
        self.outlet.name()
    }

    fn wrong(&self, reason: impl std::fmt::Display) -> ConnectorError {
        ConnectorError::new(self.name(), reason)
    }

    fn columns(&self, rows: &RecordBatch, places: &[usize], schema: &SchemaRef) -> Result<RecordBatch, ConnectorError> {
        let columns = places.iter().map(|place| rows.column(*place).clone()).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|error| self.wrong(error))
    }

    /// Encodes the keys of rows.
    fn encode_keys(&mut self, rows: &RecordBatch) -> Result<(), ConnectorError> {
        self.keys.clear();
        if self.encoders.key.is_none() {
            return Ok(());
        }
        let columns = self.columns(rows, &self.options.key, &self.options.key_schema)?;
        let Some(encoder) = &mut self.encoders.key else { return Ok(()) };
        let encoded = encoder.encode(&columns, &mut self.keys.bytes, &mut self.keys.ends);
        encoded.map_err(|reason| self.wrong(format!("key: {reason}")))
    }

    /// Encodes the values of rows: one for each row, or for each copy of each change.
    fn encode_values(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>) -> Result<(), ConnectorError> {
        self.values.clear();
        let columns = self.columns(rows, &self.options.value, &project(&self.schema, self.options.value.iter().copied()))?;
        let Encoded { bytes, ends } = &mut self.values;
        let encoded = match &mut self.encoders.value {
            Value::Rows(encoder) => encoder.encode(&columns, bytes, ends),
            Value::Changes(encoder) => {
                encoder.encode_changes(&columns, diffs, bytes, ends);
                Ok(())
            }
        };
        encoded.map_err(|reason| self.wrong(reason))
    }

    /// Sends one record for each row; where `gone`, without a value.
    fn send(&mut self, rows: &RecordBatch, gone: Option<&[bool]>) -> Result<(), ConnectorError> {
        let stamps = match self.options.timestamp {
            Some(place) => {
                Some(cast(rows.column(place), &DataType::Timestamp(TimeUnit::Millisecond, None)).map_err(|error| self.wrong(error))?)
            }
            None => None,
        };
        let stamps = stamps.as_ref().map(|stamps| stamps.as_primitive::<TimestampMillisecondType>());
        let headers = HeaderColumns::new(&self.options, rows);
        // A key of one raw column that is null is no key.
        let no_key = match (&self.options.key_format, self.options.key.as_slice()) {
            (MessageFormat::Raw, [place]) => rows.column(*place).nulls().cloned(),
            _ => None,
        };
        for row in 0..rows.num_rows() {
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.options.topic);
            let mut size = 0;
            if !gone.is_some_and(|gone| gone[row]) {
                record = record.payload(self.values.get(row));
                size += self.values.get(row).len();
            }
            if self.encoders.key.is_some() && no_key.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                record = record.key(self.keys.get(row));
                size += self.keys.get(row).len();
            }
            if let Some(partition) = self.options.partitioner.partition(self.report.changes, self.outlet.partitions()) {
                record = record.partition(partition);
            }
            if let Some(stamps) = stamps
                && stamps.is_valid(row)
            {
                record = record.timestamp(stamps.value(row));
            }
            if let Some(headers) = &headers {
                record = record.headers(headers.of(row));
            }
            self.outlet.send(record)?;
            self.report.bytes += size as u64;
            self.report.changes += 1;
        }
        Ok(())
    }

    /// Writes the changes of an epoch.
    fn write_epoch(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>) -> Result<(), ConnectorError> {
        match self.options.mode {
            Mode::Append => {
                let rows = copies(rows, diffs).map_err(|error| self.wrong(error))?;
                self.encode_keys(&rows)?;
                self.encode_values(&rows, None)?;
                self.send(&rows, None)
            }
            Mode::Op => {
                let each = copies(rows, diffs).map_err(|error| self.wrong(error))?;
                self.encode_keys(&each)?;
                self.encode_values(rows, diffs)?;
                self.send(&each, None)
            }
            Mode::Envelope => {
                let key = (!self.options.key.is_empty()).then_some(self.options.key.as_slice());
                let pairs = pairs(rows, diffs, key);
                let columns = self.columns(rows, &self.options.value, &project(&self.schema, self.options.value.iter().copied()))?;
                self.values.clear();
                let Value::Rows(encoder) = &mut self.encoders.value else { panic!("envelopes are rows") };
                let encoded = encoder.encode(&envelopes(&columns, &pairs), &mut self.values.bytes, &mut self.values.ends);
                encoded.map_err(|reason| self.wrong(reason))?;
                let last = pairs.iter().filter_map(|(before, after)| after.or(*before)).map(|row| row as u32);
                let rows = take_record_batch(rows, &UInt32Array::from_iter_values(last)).map_err(|error| self.wrong(error))?;
                self.encode_keys(&rows)?;
                self.send(&rows, None)
            }
            Mode::Upsert => {
                self.encode_keys(rows)?;
                let (last, gone) = self.newest(diffs, rows.num_rows());
                let rows = take_record_batch(rows, &UInt32Array::from(last)).map_err(|error| self.wrong(error))?;
                self.encode_keys(&rows)?;
                self.encode_values(&rows, None)?;
                self.send(&rows, Some(&gone))
            }
        }
    }

    /// For each key of an epoch, in the order they come, the row that stands last, and whether it is gone.
    fn newest(&self, diffs: Option<&[i64]>, rows: usize) -> (Vec<u32>, Vec<bool>) {
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let (mut last, mut gone): (Vec<u32>, Vec<bool>) = (Vec::new(), Vec::new());
        for row in 0..rows {
            let is_gone = diffs.is_some_and(|diffs| diffs[row] < 0);
            let place = *places.entry(self.keys.get(row)).or_insert_with(|| {
                last.push(row as u32);
                gone.push(true);
                last.len() - 1
            });
            // A row that stands wins over any that is taken back, in whichever order they come.
            if !is_gone || gone[place] {
                last[place] = row as u32;
                gone[place] = is_gone;
            }
        }
        (last, gone)
    }
}

/// One row for each copy.
fn copies(rows: &RecordBatch, diffs: Option<&[i64]>) -> Result<RecordBatch, arrow::error::ArrowError> {
    match diffs {
        Some(diffs) if diffs.iter().any(|diff| diff.unsigned_abs() != 1) => {
            let order = (0..).zip(diffs).flat_map(|(row, diff)| std::iter::repeat_n(row, diff.unsigned_abs() as usize));
            take_record_batch(rows, &UInt32Array::from_iter_values(order))
        }
        _ => Ok(rows.clone()),
    }
}

/// Columns that become headers.
struct HeaderColumns<'a> {
    texts: Vec<(String, StringArray)>,
    map: Option<&'a arrow::array::MapArray>,
}

impl<'a> HeaderColumns<'a> {
    fn new(options: &SinkOptions, rows: &'a RecordBatch) -> Option<Self> {
        if options.headers.is_empty() && options.header_map.is_none() {
            return None;
        }
        let text = |place: &usize| (rows.schema().field(*place).name().clone(), as_text(rows.column(*place)));
        Some(Self { texts: options.headers.iter().map(text).collect(), map: options.header_map.map(|place| rows.column(place).as_map()) })
    }

    fn of(&self, row: usize) -> OwnedHeaders {
        let mut headers = OwnedHeaders::new_with_capacity(self.texts.len());
        for (name, values) in &self.texts {
            let value = values.is_valid(row).then(|| values.value(row));
            headers = headers.insert(Header { key: name, value });
        }
        if let Some(map) = self.map.filter(|map| map.is_valid(row)) {
            let entries = map.value(row);
            let (keys, values) = (as_text(entries.column(0)), entries.column(1));
            for at in 0..keys.len() {
                headers = match values.data_type() {
                    _ if values.is_null(at) => headers.insert(Header::<&str> { key: keys.value(at), value: None }),
                    DataType::Binary => headers.insert(Header { key: keys.value(at), value: Some(values.as_binary::<i32>().value(at)) }),
                    _ => headers.insert(Header { key: keys.value(at), value: Some(as_text(values).value(at)) }),
                };
            }
        }
        headers
    }
}

/// A column as text; null stays null.
fn as_text(column: &ArrayRef) -> StringArray {
    if let Some(texts) = column.as_string_opt::<i32>() {
        return texts.clone();
    }
    let formatter = CellFormatter::new(column);
    StringArray::from_iter((0..column.len()).map(|row| {
        let mut text = String::new();
        (!formatter.is_null(row)).then(|| {
            formatter.write(row, &mut text);
            text
        })
    }))
}

impl Sink for KafkaSink {
    fn write(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>) -> Result<(), ConnectorError> {
        self.epoch.push(rows, diffs);
        Ok(())
    }

    fn end_epoch(&mut self, _epoch: u64) -> Result<(), ConnectorError> {
        if let Some((rows, diffs)) = self.epoch.take()? {
            self.write_epoch(&rows, diffs.as_deref())?;
        }
        self.outlet.wait()
    }

    fn finish(&mut self) -> Result<SinkReport, ConnectorError> {
        self.end_epoch(0)?;
        Ok(self.report)
    }
}
