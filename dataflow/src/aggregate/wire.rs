//! # Keyed batches as bytes
//!
//! Between processes: fixed-width parts as raw little-endian words, then keys and columns as one Arrow IPC stream.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use super::keyed_batch::{KeyedBatch, Payload};
use crate::state::key_rows::KeyRows;

const PANES: u64 = 1;
const SINGLE: u64 = 2;
const PARTIAL: u64 = 4;
const DIFFS: u64 = 8;
const KEYS: u64 = 16;

impl KeyedBatch {
    /// The batch as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (columns, diffs, partial) = match &self.payload {
            Payload::Raw { columns, diffs } => (columns, diffs.as_ref(), 0),
            Payload::Partial { columns } => (columns, None, PARTIAL),
        };
        let keys: Option<ArrayRef> = match &self.keys {
            KeyRows::Unit(_) => None,
            KeyRows::Words(words) => Some(Arc::new(words.clone())),
            KeyRows::Bytes(bytes) => Some(Arc::new(bytes.clone())),
        };
        let flags = partial
            | if self.panes.is_some() { PANES } else { 0 }
            | if self.single { SINGLE } else { 0 }
            | if diffs.is_some() { DIFFS } else { 0 }
            | if keys.is_some() { KEYS } else { 0 };
        let columns: Vec<ArrayRef> = keys.into_iter().chain(columns.iter().cloned()).collect();
        let mut bytes = Vec::with_capacity(16 + self.len() * 24 + 1024);
        let mut put = |word: u64| bytes.extend_from_slice(&word.to_le_bytes());
        put(flags);
        put(self.len() as u64);
        self.hashes.iter().for_each(|hash| put(*hash));
        self.panes.iter().flatten().for_each(|pane| put(*pane as u64));
        diffs.into_iter().flatten().for_each(|diff| put(*diff as u64));
        if !columns.is_empty() {
            let fields: Vec<Field> = columns.iter().map(|column| Field::new("", column.data_type().clone(), true)).collect();
            let schema = Arc::new(Schema::new(fields));
            let options = RecordBatchOptions::new().with_row_count(Some(self.len()));
            let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options).expect("columns are as long as the batch");
            let mut writer = StreamWriter::try_new(&mut bytes, &schema).expect("writing to memory does not fail");
            writer.write(&batch).and_then(|()| writer.finish()).expect("writing to memory does not fail");
        }
        bytes
    }

    /// The batch that [`KeyedBatch::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are not of a keyed batch.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let mut words = Words { rest: bytes };
        let flags = words.take(1)?[0];
        let rows = usize::try_from(words.take(1)?[0]).map_err(|error| error.to_string())?;
        let signed = |words: Vec<u64>| -> Vec<i64> { words.into_iter().map(|word| word as i64).collect() };
        let hashes = words.take(rows)?;
        let panes = if flags & PANES != 0 { Some(signed(words.take(rows)?)) } else { None };
        let diffs = if flags & DIFFS != 0 { Some(signed(words.take(rows)?)) } else { None };
        let mut columns: Vec<ArrayRef> = Vec::new();
        if !words.rest.is_empty() {
            let mut reader = StreamReader::try_new(words.rest, None).map_err(|error| error.to_string())?;
            let batch = reader.next().ok_or("a stream of one batch")?.map_err(|error| error.to_string())?;
            if batch.num_rows() != rows {
                return Err(format!("{rows} rows expected, {} found", batch.num_rows()));
            }
            columns = batch.columns().to_vec();
        }
        let keys = if flags & KEYS == 0 {
            KeyRows::Unit(rows)
        } else if columns.is_empty() {
            return Err("keys are missing".into());
        } else {
            let keys = columns.remove(0);
            match (keys.as_primitive_opt(), keys.as_binary_opt()) {
                (Some(words), _) => KeyRows::Words(words.clone()),
                (_, Some(bytes)) => KeyRows::Bytes(bytes.clone()),
                _ => return Err(format!("keys of type {}", keys.data_type())),
            }
        };
        let payload = if flags & PARTIAL != 0 { Payload::Partial { columns } } else { Payload::Raw { columns, diffs } };
        Ok(Self { hashes, panes, single: flags & SINGLE != 0, keys, payload })
    }
}

struct Words<'a> {
    rest: &'a [u8],
}

impl Words<'_> {
    fn take(&mut self, count: usize) -> Result<Vec<u64>, String> {
        let bytes = count.checked_mul(8).filter(|bytes| *bytes <= self.rest.len()).ok_or("bytes end early")?;
        let (words, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        Ok(words.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::key_rows::KeyCodec;
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::DataType;

    fn batch(keys: KeyRows, panes: bool, diffs: bool, partial: bool, columns: Vec<ArrayRef>) -> KeyedBatch {
        let rows = keys.len() as i64;
        let diffs = diffs.then(|| (0..rows).map(|row| 1 - 2 * (row % 2)).collect());
        KeyedBatch {
            hashes: keys.hashes(),
            panes: panes.then(|| (0..rows).map(|row| row * 10 - 20).collect()),
            single: panes && diffs.is_some(),
            keys,
            payload: if partial { Payload::Partial { columns } } else { Payload::Raw { columns, diffs } },
        }
    }

    #[test]
    fn every_form_comes_back() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("b"), Some("a")])),
            Arc::new(Int64Array::from(vec![Some(1), None, Some(i64::MIN), Some(4), Some(5)])),
        ];
        let codecs: Vec<Vec<DataType>> = vec![vec![], vec![DataType::Int64], vec![DataType::Utf8], vec![DataType::Utf8, DataType::Int64]];
        for types in codecs {
            let used: Vec<ArrayRef> =
                types.iter().map(|wanted| columns.iter().find(|column| column.data_type() == wanted).unwrap().clone()).collect();
            let keys = KeyCodec::new(&types).unwrap().encode(&used, 5).unwrap();
            for form in 0..16 {
                let payload = if form & 8 == 0 { columns.clone() } else { vec![] };
                let made = batch(keys.clone(), form & 1 != 0, form & 2 != 0, form & 4 != 0, payload);
                let bytes = made.to_bytes();
                assert_eq!(KeyedBatch::from_bytes(&bytes).unwrap(), made);
                assert_eq!(bytes, made.to_bytes());
                for workers in 1..5 {
                    let parts = made.clone().split(workers);
                    assert_eq!((parts.len(), parts.iter().map(KeyedBatch::len).sum::<usize>()), (workers, 5));
                    for (worker, part) in parts.iter().enumerate() {
                        assert!(part.hashes.iter().all(|hash| super::super::keyed_batch::owner(*hash, workers) == worker));
                        assert_eq!(part.keys.hashes(), part.hashes);
                    }
                }
            }
        }
        assert_eq!(KeyedBatch::from_bytes(&KeyedBatch::default().to_bytes()).unwrap(), KeyedBatch::default());
    }

    #[test]
    fn cut_bytes_are_an_error() {
        let keys = KeyCodec::new(&[DataType::Int64]).unwrap().encode(&[Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef], 3).unwrap();
        let bytes = batch(keys, true, true, false, vec![]).to_bytes();
        for end in [0, 7, 8, 20, 60, 88, bytes.len() / 2] {
            assert!(KeyedBatch::from_bytes(&bytes[..end]).is_err(), "{end} of {}", bytes.len());
        }
    }
}
