//! # Top-N
//!
//! **Meaning.** The rows of each group whose rank lies in a range. Rows that the order leaves equal are told apart by their bytes.
//! **Time.** EMIT CHANGES: each epoch's net change, as the epoch closes; a group whose window has closed is dropped. EMIT FINAL: the rows of
//! a group, once, when the watermark reaches the end of its window, or at the end of the input.
//! **State.** Over rows that only come: those of each group that may still come out. Otherwise all rows.
//! **Changelog.** In: any. Out: append-only under FINAL, retract under CHANGES. Equal rows of an epoch are added up within a group.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use tidemark_planner::plan::TopNPlan;

use super::codec::{RowCodec, binary};
use super::encoder::row_codec;
use super::top_n_list::ShortLists;
use super::top_n_tree::RankedTrees;
use crate::aggregate::{KeyedBatch, Output, Payload};
use crate::batch::record_batch;
use crate::state::row_store::RowStore;

/// The rows of one worker. See the module's documentation.
#[derive(Debug)]
pub struct TopNStore {
    schema: SchemaRef,
    codec: RowCodec,
    with_rank: bool,
    kept: Kept,
}

/// How rows are kept.
#[derive(Debug)]
enum Kept {
    Short(ShortLists),
    Trees(RankedTrees),
}

/// A row that comes out, or has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) id: u32,
    /// 0 where ranks do not come out.
    pub(super) rank: u64,
    pub(super) count: i64,
}

impl TopNStore {
    /// An empty store of a plan over an input of a schema, with output of another.
    ///
    /// # Errors
    /// When a column cannot be encoded.
    pub fn new(plan: &TopNPlan, input: &SchemaRef, output: &SchemaRef) -> Result<Self, String> {
        let kept = ShortLists::of(plan).map_or_else(|| Kept::Trees(RankedTrees::new(plan)), Kept::Short);
        Ok(Self { schema: output.clone(), codec: row_codec(input, &plan.output)?, with_rank: plan.rank.is_some(), kept })
    }

    /// Takes rows of the epoch that closes next.
    ///
    /// # Panics
    /// When the batch is not one of a [`RowEncoder`](super::RowEncoder).
    pub fn absorb(&mut self, batch: &KeyedBatch) {
        let Payload::Raw { columns, diffs } = &batch.payload else { panic!("rows in order are not added up") };
        let (encoded, diffs) = ((binary(&columns[0]), binary(&columns[1])), diffs.as_deref());
        match &mut self.kept {
            Kept::Short(lists) => lists.absorb(batch, encoded, diffs),
            Kept::Trees(trees) => trees.absorb(batch, encoded, diffs),
        }
    }

    /// Closes an epoch with its watermark. Call again while [`Output::more`]. [`ENDED`](crate::watermark::ENDED) ends the input.
    pub fn close(&mut self, watermark: i64) -> Output {
        let mut changes = Vec::new();
        let more = match &mut self.kept {
            Kept::Short(lists) => lists.close(watermark, &mut changes),
            Kept::Trees(trees) => trees.close(watermark, &mut changes),
        };
        let rows = self.output(&changes);
        let diffs = changes.iter().any(|shown| shown.count != 1).then(|| changes.iter().map(|shown| shown.count).collect());
        if !more {
            match &mut self.kept {
                Kept::Short(lists) => lists.settle(watermark),
                Kept::Trees(trees) => trees.settle(watermark),
            }
        }
        Output { rows, diffs, errors: vec![], homeless: vec![], more }
    }

    fn output(&self, changes: &[Shown]) -> RecordBatch {
        let rows: &RowStore = match &self.kept {
            Kept::Short(lists) => lists.rows(),
            Kept::Trees(trees) => trees.rows(),
        };
        let mut columns = self.codec.decode(changes.iter().map(|shown| rows.row(shown.id)));
        if self.with_rank {
            let ranks: Int64Array = changes.iter().map(|shown| shown.rank as i64).collect::<Vec<_>>().into();
            columns.push(Arc::new(ranks) as ArrayRef);
        }
        record_batch(&self.schema, columns, changes.len())
    }

    /// Number of groups kept.
    pub fn groups(&self) -> usize {
        match &self.kept {
            Kept::Short(lists) => lists.groups(),
            Kept::Trees(trees) => trees.groups(),
        }
    }

    /// Bytes of memory held, close to it.
    pub fn bytes(&self) -> usize {
        match &self.kept {
            Kept::Short(lists) => lists.bytes(),
            Kept::Trees(trees) => trees.bytes(),
        }
    }
}
