//! Debezium's envelopes: `{"before": …, "after": …, "op": "u", …}`, bare or as the payload beside a schema. One record gives up to two
//! rows: the one taken back and the one added. A record that is `null` (a tombstone) says nothing that the deletion before it did not.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DynComparator, StringArray, StructArray, make_comparator};
use arrow::compute::{SortOptions, interleave};
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};

use super::options::DebeziumOptions;
use super::{Meaning, assemble, line_at, relaxed, schema_of};
use crate::format::fault::excerpt;
use crate::format::ndjson::{NdjsonDecoder, NdjsonOptions};
use crate::source::{ConnectorError, Decoded, Offsets, RowError};

/// Where a row stands among the columns that are interleaved.
const BEFORE: usize = 0;
const AFTER: usize = 1;

/// Decodes chunks of envelopes, one a line.
#[derive(Debug)]
pub(crate) struct DebeziumDecoder {
    inner: NdjsonDecoder,
    reading: EnvelopeReading,
}

/// What envelopes mean, however they are encoded.
#[derive(Debug)]
pub(crate) struct EnvelopeReading {
    read: SchemaRef,
    options: DebeziumOptions,
    upsert: bool,
    /// The key among the columns read.
    key: Vec<usize>,
}

/// The rows of some envelopes.
pub(crate) struct EnvelopeRows {
    /// The columns read.
    pub(crate) columns: Vec<ArrayRef>,
    /// The envelope that each row comes from, ascending.
    pub(crate) records: Vec<usize>,
    /// +1 or −1 for each row; `None` when all are +1.
    pub(crate) diffs: Option<Vec<i64>>,
    /// Envelopes that mean nothing, ascending, and why.
    pub(crate) errors: Vec<(usize, String)>,
}

/// The parts of an envelope, for all records of a chunk.
struct Envelopes<'a> {
    before: &'a StructArray,
    after: &'a StructArray,
    op: &'a StringArray,
    /// Compares a key column of the row before with that of the row after.
    keys: Vec<DynComparator>,
}

impl<'a> Envelopes<'a> {
    /// `key`: the columns of the key, where they are to be compared.
    fn new(parts: &'a [ArrayRef], key: &[usize]) -> Self {
        let (before, after) = (parts[0].as_struct(), parts[1].as_struct());
        let compare = |at: &usize| {
            make_comparator(before.column(*at), after.column(*at), SortOptions::default())
                .unwrap_or_else(|error| panic!("key columns have an order: {error}"))
        };
        Self { before, after, op: parts[2].as_string(), keys: key.iter().map(compare).collect() }
    }

    fn is_there(&self, row: usize) -> bool {
        self.op.is_valid(row) || self.after.is_valid(row) || self.before.is_valid(row)
    }
}

impl DebeziumDecoder {
    /// For the columns read.
    ///
    /// # Errors
    /// When a column has a type JSON cannot carry.
    pub(crate) fn new(
        read: &SchemaRef,
        json: &NdjsonOptions,
        options: &DebeziumOptions,
        meaning: &Meaning,
    ) -> Result<Self, ConnectorError> {
        let reading = EnvelopeReading::new(read, options, meaning);
        let json = NdjsonOptions { fail_on_missing_field: false, ..json.clone() };
        Ok(Self { inner: NdjsonDecoder::new(reading.schema(true), json)?.with_tombstones(), reading })
    }

    /// Decodes whole lines, as [`NdjsonDecoder::decode`] does.
    pub(crate) fn decode(&mut self, bytes: &[u8], base_offset: u64) -> Decoded {
        let Decoded { columns, offsets, mut errors, .. } = self.inner.decode(bytes, base_offset);
        let rows = self.reading.rows(columns.columns(), columns.num_rows());
        for (record, reason) in rows.errors {
            let offset = offsets.get(record);
            let at = usize::try_from(offset - base_offset).unwrap_or(usize::MAX);
            errors.push(RowError { offset, raw: line_at(bytes, at).to_vec(), reason });
        }
        errors.sort_by_key(|error| error.offset);
        let columns = assemble(&self.reading.read, rows.columns, rows.records.len());
        let offsets = rows.records.iter().map(|record| offsets.get(*record)).collect();
        Decoded { columns, offsets: Offsets::Each(Arc::new(offsets)), diffs: rows.diffs, errors }
    }
}

impl EnvelopeReading {
    pub(crate) fn new(read: &SchemaRef, options: &DebeziumOptions, meaning: &Meaning) -> Self {
        let key = (0..read.fields().len()).filter(|at| meaning.is_key(read.field(*at))).collect();
        Self { read: Arc::clone(read), options: options.clone(), upsert: meaning.upsert, key }
    }

    /// The columns to decode of an envelope; `wrapped`: it may also stand in a payload beside its schema.
    pub(crate) fn schema(&self, wrapped: bool) -> SchemaRef {
        // The row before is whole only where the database was told to log it; what is missing is judged where it matters.
        let before = DataType::Struct(Fields::from(relaxed(&self.read, |_| false)));
        let after = DataType::Struct(self.read.fields().clone());
        let parts = || {
            vec![
                Arc::new(Field::new("before", before.clone(), true)),
                Arc::new(Field::new("after", after.clone(), true)),
                Arc::new(Field::new("op", DataType::Utf8, true)),
            ]
        };
        let mut fields = parts();
        if wrapped {
            fields.push(Arc::new(Field::new("payload", DataType::Struct(Fields::from(parts())), true)));
        }
        schema_of(fields)
    }

    /// What some envelopes do, decoded in the columns asked for.
    pub(crate) fn rows(&self, parts: &[ArrayRef], records: usize) -> EnvelopeRows {
        let compared = if self.upsert { &self.key[..] } else { &[] };
        let bare = Envelopes::new(&parts[..3], compared);
        let payload = parts.get(3).map(|payload| payload.as_struct());
        let wrapped = payload.map(|payload| (payload, Envelopes::new(payload.columns(), compared)));
        let mut rows = Rows::default();
        let mut errors = Vec::new();
        for record in 0..records {
            let in_payload = wrapped.as_ref().filter(|(payload, _)| payload.is_valid(record));
            let (envelope, side) = in_payload.map_or((&bare, 0), |(_, envelope)| (envelope, 2));
            let fits = wrapped.is_none() || self.options.schema_include.is_none_or(|wanted| wanted == in_payload.is_some());
            let result = match fits {
                true => self.envelope(envelope, record, side, &mut rows),
                false if in_payload.is_some() => {
                    Err("the envelope stands in a payload; leave out debezium-json.schema-include = 'false'".into())
                }
                false => Err("there is no payload; leave out debezium-json.schema-include = 'true'".into()),
            };
            errors.extend(result.err().map(|reason| (record, reason)));
        }
        let mut sides = vec![bare.before, bare.after];
        sides.extend(wrapped.iter().flat_map(|(_, envelope)| [envelope.before, envelope.after]));
        let column = |column: usize| {
            let columns: Vec<&dyn Array> = sides.iter().map(|side| side.column(column).as_ref()).collect();
            interleave(&columns, &rows.places).unwrap_or_else(|error| panic!("columns of one type: {error}"))
        };
        let columns = (0..self.read.fields().len()).map(column).collect();
        let diffs = rows.diffs.iter().any(|diff| *diff != 1).then_some(rows.diffs);
        EnvelopeRows { columns, records: rows.records, diffs, errors }
    }

    /// The rows of one envelope. `side` is where its rows lie among the columns that are interleaved.
    fn envelope(&self, envelope: &Envelopes<'_>, row: usize, side: usize, rows: &mut Rows) -> Result<(), String> {
        if !envelope.is_there(row) {
            return Err("there is no \"before\", \"after\" or \"op\" in it: this is no Debezium record".into());
        }
        if envelope.op.is_null(row) {
            return Err("field \"op\": is missing, and says what the record does".into());
        }
        let (before, after) = (envelope.before.is_valid(row), envelope.after.is_valid(row));
        let op = envelope.op.value(row);
        let (takes, adds) = match op {
            "c" | "r" => (false, true),
            "u" => (true, true),
            "d" => (true, false),
            "t" => return Err("field \"op\": a table was emptied (t), and which rows it had is not said".into()),
            other => return Err(format!("field \"op\": {} is no kind of change", excerpt(other.as_bytes()))),
        };
        if adds && !after {
            return Err(format!("field \"after\": is missing, and a record with op \"{op}\" needs it"));
        }
        if takes && !before && !(self.upsert && adds) {
            let help = if self.upsert { "" } else { "; log whole rows, or declare the table's PRIMARY KEY" };
            return Err(format!("field \"before\": is missing, and a record with op \"{op}\" needs it{help}"));
        }
        if takes && before && (!adds || !self.upsert || self.key_changes(envelope, row)) {
            self.check_before(envelope.before, row)?;
            rows.push((side + BEFORE, row), -1, row);
        }
        if adds {
            rows.push((side + AFTER, row), 1, row);
        }
        Ok(())
    }

    /// Whether an update moves its row to another key. A row before without its key says nothing of it.
    fn key_changes(&self, envelope: &Envelopes<'_>, row: usize) -> bool {
        envelope.keys.iter().any(|compare| compare(row, row).is_ne()) && self.key.iter().all(|at| envelope.before.column(*at).is_valid(row))
    }

    /// A row before holds its key where keys count, else all of it.
    fn check_before(&self, before: &StructArray, row: usize) -> Result<(), String> {
        for (at, field) in self.read.fields().iter().enumerate() {
            let counts = if self.upsert { self.key.contains(&at) } else { !field.is_nullable() };
            if counts && before.column(at).is_null(row) {
                return Err(format!("field \"before.{}\": is null, and the column is NOT NULL", field.name()));
            }
        }
        Ok(())
    }
}

/// Rows to be put together: where each lies, its diff and its record.
#[derive(Default)]
struct Rows {
    places: Vec<(usize, usize)>,
    diffs: Vec<i64>,
    records: Vec<usize>,
}

impl Rows {
    fn push(&mut self, place: (usize, usize), diff: i64, record: usize) {
        self.places.push(place);
        self.diffs.push(diff);
        self.records.push(record);
    }
}
