//! The best bytes of each group over append-only input: `min` and `max` of strings and rows, first and last values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeBinaryBuilder};
use arrow::datatypes::DataType;

use super::codec::{Bytes, Codec, with_bytes};
use super::row_input::RowInput;
use super::rows::Rows;
use crate::state::accumulator::{Accumulator, AggregateInput};

/// A group's best bytes. The first eight stand beside the pointer: most comparisons end there.
#[derive(Clone, Default)]
struct Best {
    prefix: u64,
    bytes: Option<Vec<u8>>,
}

/// The first eight bytes, as a number that orders as they do.
#[inline(always)]
pub(super) fn prefix(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut first = [0; 8];
            first[..bytes.len()].copy_from_slice(bytes);
            u64::from_be_bytes(first)
        }
    }
}

/// The least or greatest bytes of each group.
pub(super) struct BestBytes {
    best: Vec<Best>,
    heap: usize,
    input: RowInput,
    greatest: bool,
}

impl BestBytes {
    pub(super) fn new(input: RowInput, greatest: bool) -> Self {
        Self { best: Vec::new(), heap: 0, input, greatest }
    }

    fn codec(&self) -> &Codec {
        &self.input.codec
    }

    fn get(&self, group: u32) -> Option<&[u8]> {
        self.best[group as usize].bytes.as_deref()
    }
}

fn take<const GREATEST: bool>(best: &mut [Best], heap: &mut usize, rows: &Rows<'_>, source: &impl Bytes) {
    rows.for_each(|row, group, diff| {
        assert!(diff > 0, "append-only input takes nothing back");
        let (own, bytes) = (&mut best[group], source.bytes(row));
        let prefix = prefix(bytes);
        let Some(current) = &mut own.bytes else {
            *heap += bytes.len();
            *own = Best { prefix, bytes: Some(bytes.to_vec()) };
            return;
        };
        let order = prefix.cmp(&own.prefix).then_with(|| bytes.cmp(current.as_slice()));
        if if GREATEST { order.is_gt() } else { order.is_lt() } {
            own.prefix = prefix;
            let before = current.capacity();
            current.clear();
            current.extend_from_slice(bytes);
            *heap += current.capacity() - before;
        }
    });
}

impl Accumulator for BestBytes {
    fn resize(&mut self, groups: usize) {
        if groups > self.best.len() {
            self.best.resize_with(groups, Best::default);
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let (rows, columns) = self.input.select(groups, input, diffs);
        let encoded = self.input.codec.encode(&columns);
        let Self { best, heap, greatest, .. } = self;
        with_bytes!(encoded, source => {
            if *greatest { take::<true>(best, heap, &rows, source) } else { take::<false>(best, heap, &rows, source) }
        });
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::LargeBinary]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let mut builder = LargeBinaryBuilder::new();
        for &group in groups {
            builder.append_option(self.get(group));
        }
        vec![Arc::new(builder.finish())]
    }

    fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        let partial = partials[0].as_binary::<i64>();
        let rows = Rows::of_partials(groups, partial.nulls());
        let Self { best, heap, greatest, .. } = self;
        if *greatest { take::<true>(best, heap, &rows, partial) } else { take::<false>(best, heap, &rows, partial) }
    }

    fn invertible(&self) -> bool {
        false
    }

    fn subtract(&mut self, _groups: &[u32], _partials: &[ArrayRef]) {
        unreachable!("the best of append-only input is not invertible");
    }

    fn evaluate(&self, groups: &[u32], _errors: &mut Vec<(usize, String)>) -> ArrayRef {
        self.input.output(self.codec().decode(groups.iter().map(|&group| self.get(group))))
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            let best = std::mem::take(&mut self.best[group as usize]);
            self.heap -= best.bytes.map_or(0, |bytes| bytes.capacity());
        }
    }

    fn reset(&mut self) {
        self.best.clear();
        self.heap = 0;
    }

    fn bytes(&self) -> usize {
        self.best.capacity() * size_of::<Best>() + self.heap
    }
}
