//! # OVER
//!
//! **Meaning.** For each row the values of functions over the rows around it in its group.
//! **Time.** EMIT CHANGES: each epoch's net change, as the epoch closes; a group whose window has closed is dropped. EMIT FINAL: the rows of
//! a group, once, when the watermark reaches the end of its window, or at the end of the input.
//! **State.** All rows of each group and what is out for them.
//! **Changelog.** In: any. Out: append-only under FINAL, retract under CHANGES.
//! **Errors.** A row for which a function has no value is an error; it comes out once it has all its values.
//!
//! When a group is touched its functions are computed anew and what differs from what is out is put out.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use tidemark_planner::plan::{Emit, OverCall, OverPlan};

use super::OUTPUT_ROWS;
use super::codec::{RowCodec, binary};
use super::encoder::{order_codec, row_codec};
use super::functions::{Partition, result_types};
use crate::aggregate::{GroupError, KeyedBatch, Output, Payload};
use crate::batch::record_batch;
use crate::render_row::render_row;
use crate::state::counted_tree::{Change, CountedTree};
use crate::state::key_table::{KeyTable, Stretch};
use crate::state::row_store::{NewRow, RowStore};
use crate::watermark::ENDED;

/// The rows of one worker. See the module's documentation.
#[derive(Debug)]
pub struct OverStore {
    calls: Vec<OverCall>,
    emit: Emit,
    windowed: bool,
    input: SchemaRef,
    schema: SchemaRef,
    order: RowCodec,
    row: RowCodec,
    result: RowCodec,
    keys: KeyTable,
    groups: Vec<Group>,
    rows: RowStore,
    /// What is out for each row, by its number: a result for each copy that is.
    out: Vec<Vec<Option<Box<[u8]>>>>,
    windows: BTreeMap<i64, Vec<u32>>,
    touched: Vec<u32>,
    ids: Vec<u32>,
}

#[derive(Debug, Default)]
struct Group {
    tree: CountedTree,
    touched: bool,
    listed: bool,
    /// Rows that left since the group was computed.
    gone: Vec<u32>,
}

/// What is said: a row, its result and how often.
struct Said {
    id: u32,
    result: Box<[u8]>,
    diff: i64,
}

impl OverStore {
    /// An empty store of a plan over an input of a schema, with output of another.
    ///
    /// # Errors
    /// When a column cannot be encoded.
    pub fn new(plan: &OverPlan, input: &SchemaRef, output: &SchemaRef) -> Result<Self, String> {
        let all: Vec<usize> = (0..input.fields().len()).collect();
        Ok(Self {
            calls: plan.functions.clone(),
            emit: plan.emit,
            windowed: plan.window.is_some(),
            input: nullable(input),
            schema: output.clone(),
            order: order_codec(&plan.order_by)?,
            row: row_codec(input, &all)?,
            result: RowCodec::keeping(&result_types(&plan.functions))?,
            keys: KeyTable::new(),
            groups: Vec::new(),
            rows: RowStore::default(),
            out: Vec::new(),
            windows: BTreeMap::new(),
            touched: Vec::new(),
            ids: Vec::new(),
        })
    }

    /// Takes rows of the epoch that closes next.
    ///
    /// # Panics
    /// When the batch is not one of a [`RowEncoder`](super::RowEncoder).
    pub fn absorb(&mut self, batch: &KeyedBatch) {
        let Payload::Raw { columns, diffs } = &batch.payload else { panic!("rows in order are not added up") };
        let (orders, rows) = (binary(&columns[0]), binary(&columns[1]));
        let mut ids = std::mem::take(&mut self.ids);
        ids.clear();
        self.keys.intern(&batch.keys, &batch.hashes, Stretch { first: 0, rows: batch.len() }, &mut ids);
        self.groups.resize_with(self.keys.numbers().max(self.groups.len()), Group::default);
        for (at, number) in ids.iter().enumerate() {
            let diff = diffs.as_ref().map_or(1, |diffs| diffs[at]);
            let group = &mut self.groups[*number as usize];
            if let Some(ends) = &batch.panes
                && !std::mem::replace(&mut group.listed, true)
            {
                self.windows.entry(ends[at]).or_default().push(*number);
            }
            if !std::mem::replace(&mut group.touched, true) && self.emit == Emit::Changes {
                self.touched.push(*number);
            }
            let mut new = NewRow { rows: &mut self.rows, order: orders.value(at), row: rows.value(at) };
            match group.tree.add(diff, &mut new) {
                Change::Inserted(id) => {
                    self.out.resize_with(self.out.len().max(id as usize + 1), Vec::new);
                }
                Change::Removed(id) => group.gone.push(id),
                Change::Counted(_) => {}
            }
        }
        self.ids = ids;
    }

    /// Closes an epoch with its watermark. Call again while [`Output::more`]. [`ENDED`] ends the input.
    pub fn close(&mut self, watermark: i64) -> Output {
        let (mut said, mut errors) = (Vec::new(), Vec::new());
        let mut gone: Vec<u32> = Vec::new();
        let more = match self.emit {
            Emit::Changes | Emit::Triggered => {
                while said.len() < OUTPUT_ROWS
                    && let Some(number) = self.touched.pop()
                {
                    self.compute(number, &mut said, &mut errors, &mut gone);
                    let group = &mut self.groups[number as usize];
                    group.touched = false;
                    if group.tree.is_empty() && !group.listed {
                        self.keys.remove(number);
                    }
                }
                !self.touched.is_empty()
            }
            Emit::Final if self.windowed => {
                while said.len() < OUTPUT_ROWS
                    && let Some(first) = self.windows.first_entry().filter(|first| *first.key() <= watermark)
                {
                    for number in first.remove() {
                        self.compute(number, &mut said, &mut errors, &mut gone);
                        gone.extend(self.forget(number));
                    }
                }
                self.windows.range(..=watermark).next().is_some()
            }
            Emit::Final => {
                for number in 0..if watermark == ENDED { self.groups.len() as u32 } else { 0 } {
                    self.compute(number, &mut said, &mut errors, &mut gone);
                }
                false
            }
        };
        let rows = self.output(&said);
        let diffs = said.iter().any(|said| said.diff != 1).then(|| said.iter().map(|said| said.diff).collect());
        if !more && self.emit == Emit::Changes {
            while let Some(first) = self.windows.first_entry().filter(|first| *first.key() <= watermark) {
                for number in first.remove() {
                    gone.extend(self.forget(number));
                }
            }
        }
        for id in gone {
            self.out[id as usize] = Vec::new();
            self.rows.remove(id);
        }
        Output { rows, diffs, errors, more }
    }

    /// Forgets a group; its rows are still to be put out.
    fn forget(&mut self, number: u32) -> Vec<u32> {
        let group = std::mem::take(&mut self.groups[number as usize]);
        let mut rows = group.gone;
        group.tree.walk(0, &mut |item, _| {
            rows.push(item.id);
            true
        });
        self.keys.remove(number);
        rows
    }

    /// Computes a group anew and says what differs.
    fn compute(&mut self, number: u32, said: &mut Vec<Said>, errors: &mut Vec<GroupError>, gone: &mut Vec<u32>) {
        let left = std::mem::take(&mut self.groups[number as usize].gone);
        for id in &left {
            let before = std::mem::take(&mut self.out[*id as usize]);
            said.extend(before.into_iter().flatten().map(|result| Said { id: *id, result, diff: -1 }));
        }
        gone.extend(left);
        let mut copies: Vec<u32> = Vec::new();
        self.groups[number as usize].tree.walk(0, &mut |item, _| {
            copies.extend(std::iter::repeat_n(item.id, usize::try_from(item.count).unwrap_or(0)));
            true
        });
        if copies.is_empty() {
            return;
        }
        let columns = self.row.decode(copies.iter().map(|id| self.rows.row(*id)));
        let batch = record_batch(&self.input, columns, copies.len());
        let orders: Vec<&[u8]> = copies.iter().map(|id| self.rows.order(*id)).collect();
        let partition = Partition { rows: &batch, orders: &orders, codec: &self.order };
        let (results, failed) = partition.results(&self.calls);
        let results = self.result.encode(&results, copies.len()).expect("the results of one group fit a column");
        let mut failed = failed.into_iter().peekable();
        let mut at = 0;
        while at < copies.len() {
            let id = copies[at];
            let copied = copies[at..].iter().take_while(|other| **other == id).count();
            let before = std::mem::take(&mut self.out[id as usize]);
            let mut after: Vec<Option<Box<[u8]>>> = Vec::with_capacity(copied);
            for copy in 0..copied {
                let failure = failed.next_if(|failure| failure.0 == at + copy);
                let old = before.get(copy);
                let new: Option<Box<[u8]>> = match failure {
                    None => Some(Box::from(results.value(at + copy))),
                    Some((_, reason)) => {
                        // An error is told when it comes to be.
                        if old.is_none_or(Option::is_some) {
                            errors.push(GroupError { group: render_row(&batch, at + copy), reason, diff: 1 });
                        }
                        None
                    }
                };
                if old.is_none_or(|old| *old != new) {
                    if let Some(Some(result)) = old {
                        said.push(Said { id, result: result.clone(), diff: -1 });
                    }
                    if let Some(result) = &new {
                        said.push(Said { id, result: result.clone(), diff: 1 });
                    }
                }
                after.push(new);
            }
            let rest = before.into_iter().skip(copied).flatten();
            said.extend(rest.map(|result| Said { id, result, diff: -1 }));
            self.out[id as usize] = after;
            at += copied;
        }
    }

    fn output(&self, said: &[Said]) -> RecordBatch {
        let mut columns: Vec<ArrayRef> = self.row.decode(said.iter().map(|said| self.rows.row(said.id)));
        columns.extend(self.result.decode(said.iter().map(|said| said.result.as_ref())));
        record_batch(&self.schema, columns, said.len())
    }

    /// Number of groups kept.
    pub fn groups(&self) -> usize {
        self.keys.len()
    }

    /// Bytes of memory held, close to it.
    pub fn bytes(&self) -> usize {
        self.keys.bytes() + self.rows.bytes() + self.out.capacity() * 24 + self.rows.len() * 64
    }
}

/// A schema whose columns may all be null.
fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    std::sync::Arc::new(arrow::datatypes::Schema::new(fields))
}
