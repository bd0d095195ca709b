//! Debezium's envelopes as messages: the row before, the row after and what happened, encoded as any other struct. A message that is
//! null says nothing that the deletion before it did not.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, StructArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use super::{DecodedValues, MessageDecoder, MessageFormat, Values};
use crate::format::changelog::{DebeziumOptions, EnvelopeReading, Meaning, without_nulls};
use crate::sink_changes::Pair;

/// Decodes envelopes.
pub(crate) struct EnvelopeMessages {
    inner: Box<dyn MessageDecoder>,
    reading: EnvelopeReading,
    read: SchemaRef,
}

impl EnvelopeMessages {
    /// `rows` is the format that envelopes are encoded in.
    pub(crate) fn new(
        rows: &MessageFormat,
        options: &DebeziumOptions,
        all: &SchemaRef,
        read: &SchemaRef,
        meaning: &Meaning,
    ) -> Result<Self, String> {
        let reading = EnvelopeReading::new(read, options, meaning);
        let decoded = reading.schema(matches!(rows, MessageFormat::Json(_)));
        let inner = rows.decoder(&envelope_schema(all), &decoded, meaning)?;
        Ok(Self { inner, reading, read: read.clone() })
    }
}

impl MessageDecoder for EnvelopeMessages {
    fn decode(&mut self, values: &Values) -> Result<DecodedValues, String> {
        let envelopes = self.inner.decode(values)?;
        let rows = self.reading.rows(&envelopes.columns, envelopes.rows);
        let place = |record: usize| envelopes.places.as_ref().map_or(record as u32, |places| places[record]);
        let mut errors = envelopes.errors;
        errors.extend(rows.errors.into_iter().map(|(record, reason)| (place(record), reason)));
        errors.sort_by_key(|(place, _)| *place);
        // Of a deletion, whose columns may be missing, only the key is read.
        let columns = rows.columns.iter().zip(self.read.fields());
        let columns = columns.map(|(column, field)| if field.is_nullable() { Arc::clone(column) } else { without_nulls(column) });
        Ok(DecodedValues {
            columns: columns.collect(),
            rows: rows.records.len(),
            places: Some(rows.records.iter().map(|record| place(*record)).collect()),
            diffs: rows.diffs,
            errors,
        })
    }
}

/// The columns of an envelope around rows.
pub(crate) fn envelope_schema(rows: &SchemaRef) -> SchemaRef {
    let row = DataType::Struct(rows.fields().clone());
    let part = |name: &str| Field::new(name, row.clone(), true);
    Arc::new(Schema::new(vec![part("before"), part("after"), Field::new("op", DataType::Utf8, false)]))
}

/// The envelopes that show what became of some rows.
pub(crate) fn envelopes(rows: &RecordBatch, pairs: &[Pair]) -> RecordBatch {
    let side = |place: fn(&Pair) -> Option<usize>| -> ArrayRef {
        // Under a null stands any row: none of it is written.
        let places = UInt32Array::from_iter_values(pairs.iter().map(|pair| place(pair).unwrap_or_default() as u32));
        let take = |column: &ArrayRef| take(column, &places, None).unwrap_or_else(|error| panic!("places lie within the rows: {error}"));
        let there = NullBuffer::from_iter(pairs.iter().map(|pair| place(pair).is_some()));
        let fields: Fields = rows.schema().fields().clone();
        let columns: Vec<ArrayRef> = rows.columns().iter().map(take).collect();
        Arc::new(
            StructArray::try_new_with_length(fields, columns, Some(there), pairs.len())
                .unwrap_or_else(|error| panic!("columns of rows: {error}")),
        )
    };
    let op = |pair: &Pair| match pair {
        (Some(_), Some(_)) => "u",
        (None, _) => "c",
        (_, None) => "d",
    };
    let ops: ArrayRef = Arc::new(StringArray::from_iter_values(pairs.iter().map(op)));
    RecordBatch::try_new(envelope_schema(&rows.schema()), vec![side(|pair| pair.0), side(|pair| pair.1), ops])
        .unwrap_or_else(|error| panic!("columns were made for the schema: {error}"))
}
