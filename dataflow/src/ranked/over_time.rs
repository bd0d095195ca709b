//! # OVER in event time
//!
//! **Meaning.** For each row the values of functions over the rows before it and its peers, by an order that begins with event time.
//! **Time.** A row comes out once, when the watermark has passed its time: then no row can come to stand before it or beside it.
//! **State.** The rows the watermark has not passed, and of those before them what the frames of rows to come still read: a few rows,
//! the state of aggregates over all rows so far, counts.
//! **Changelog.** In: append-only. Out: append-only.
//! **Errors.** A row for which a function has no value is an error.

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use tidemark_planner::plan::{FrameBound, FrameUnits, OverCall, OverFunction, OverPlan};

use super::OUTPUT_ROWS;
use super::codec::{RowCodec, binary};
use super::encoder::{order_codec, row_codec};
use super::functions::{Kept, Partition, result_types};
use super::reach::View;
use super::totals::Totals;
use crate::aggregate::{GroupError, KeyedBatch, Output, Payload};
use crate::batch::{NO_WATERMARK, nullable, record_batch};
use crate::render_row::render_row;
use crate::state::counted_tree::{Change, CountedTree};
use crate::state::key_table::KeyTable;
use crate::state::row_store::{KnownRow, NewRow, RowStore};

/// The rows of one worker. See the module's documentation.
#[derive(Debug)]
pub struct OverTimeStore {
    calls: Vec<OverCall>,
    /// How many of a group's first rows are read for ever.
    heads: usize,
    input: SchemaRef,
    schema: SchemaRef,
    order: RowCodec,
    row: RowCodec,
    result: RowCodec,
    keys: KeyTable,
    groups: Vec<Group>,
    rows: RowStore,
    /// The time of each row, by its number.
    times: Vec<i64>,
    totals: Totals,
    /// Groups with rows that are not out, by the least time of these.
    due: BTreeSet<(i64, u32)>,
    /// Where the watermark stood as results came out last.
    passed: i64,
    ids: Vec<u32>,
}

#[derive(Debug, Default)]
struct Group {
    /// Rows that frames still read, then those that are not out.
    tree: CountedTree,
    /// How many of them are out.
    out: usize,
    /// Rows before them, which are gone.
    gone: usize,
    /// Groups of peers among the rows that are out.
    dense: usize,
    /// The first rows of all.
    heads: Vec<u32>,
    /// The least time of a row that is not out.
    due: Option<i64>,
}

impl OverTimeStore {
    /// An empty store of a plan over an input of a schema, with output of another.
    ///
    /// # Errors
    /// When a column cannot be encoded.
    pub fn new(plan: &OverPlan, input: &SchemaRef, output: &SchemaRef) -> Result<Self, String> {
        let all: Vec<usize> = (0..input.fields().len()).collect();
        let head = |call: &OverCall| match (&call.function, &call.frame.start) {
            (OverFunction::Nth { row }, FrameBound::Unbounded) => usize::try_from(*row).unwrap_or(0),
            _ => 0,
        };
        Ok(Self {
            calls: plan.functions.clone(),
            heads: plan.functions.iter().map(head).max().unwrap_or(0),
            input: nullable(input),
            schema: output.clone(),
            order: order_codec(&plan.order_by)?,
            row: row_codec(input, &all)?,
            result: RowCodec::keeping(&result_types(&plan.functions))?,
            keys: KeyTable::new(),
            groups: Vec::new(),
            rows: RowStore::default(),
            times: Vec::new(),
            totals: Totals::new(&plan.functions),
            due: BTreeSet::new(),
            passed: NO_WATERMARK,
            ids: Vec::new(),
        })
    }

    /// Takes rows of the epoch that closes next.
    ///
    /// # Panics
    /// When the batch is not one of a [`RowEncoder`](super::RowEncoder) that judges by time, or takes rows back.
    pub fn absorb(&mut self, batch: &KeyedBatch) {
        let Payload::Raw { columns, diffs } = &batch.payload else { panic!("rows in order are not added up") };
        let (orders, rows) = (binary(&columns[0]), binary(&columns[1]));
        let times = batch.panes.as_ref().expect("rows are judged by their time");
        let mut ids = std::mem::take(&mut self.ids);
        batch.number(&mut self.keys, &mut ids);
        self.groups.resize_with(self.keys.numbers().max(self.groups.len()), Group::default);
        self.totals.resize(self.groups.len());
        for (at, number) in ids.iter().enumerate() {
            let (diff, time) = (diffs.as_ref().map_or(1, |diffs| diffs[at]), times[at]);
            assert!(diff > 0, "append-only input takes nothing back");
            assert!(time >= self.passed, "a row in time is not behind what is final (invariant 6)");
            let group = &mut self.groups[*number as usize];
            let mut new = NewRow { rows: &mut self.rows, order: orders.value(at), row: rows.value(at) };
            if let Change::Inserted(id) = group.tree.add(diff, &mut new) {
                self.times.resize(self.times.len().max(id as usize + 1), 0);
                self.times[id as usize] = time;
            }
            if group.due.is_none_or(|due| time < due) {
                if let Some(due) = group.due.replace(time) {
                    self.due.remove(&(due, *number));
                }
                self.due.insert((time, *number));
            }
        }
        self.ids = ids;
    }

    /// Closes an epoch with its watermark. Call again while [`Output::more`]. [`ENDED`](crate::watermark::ENDED) ends the input.
    pub fn close(&mut self, watermark: i64) -> Output {
        let (mut out, mut results, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        while out.len() < OUTPUT_ROWS
            && let Some((_, number)) = self.due.first().copied().filter(|(time, _)| *time < watermark)
        {
            self.due.pop_first();
            self.compute(number, watermark, &mut out, &mut results, &mut errors);
        }
        let more = self.due.first().is_some_and(|(time, _)| *time < watermark);
        if !more {
            self.passed = self.passed.max(watermark);
        }
        Output { rows: self.output(&out, &results), diffs: None, errors, homeless: vec![], more }
    }

    /// Computes a group's rows before the watermark, and forgets what nothing reads any more.
    fn compute(&mut self, number: u32, watermark: i64, out: &mut Vec<Box<[u8]>>, said: &mut Vec<Box<[u8]>>, errors: &mut Vec<GroupError>) {
        let Self { groups, rows, times, totals, calls, input, row, order, result, due, heads, keys, .. } = self;
        let group = &mut groups[number as usize];
        let view = View { tree: &group.tree, rows, input, row, order };
        let end = group.tree.before(&|id| times[id as usize].cmp(&watermark)) as usize;
        let wanted = group.out..end;
        assert!(!wanted.is_empty(), "a group that is due has rows to put out");
        let mut start = wanted.start;
        for call in calls.iter() {
            start = start.min(view.read(call, wanted.clone(), true).rows.start);
        }
        // What running aggregates have not read yet.
        start = totals.reached(number).map_or(start, |reached| start.min(reached - group.gone));
        let mut ids = view.copies(start..end);
        let together = ids.len();
        let orders: Vec<&[u8]> = ids.iter().map(|id| view.rows.order(*id)).collect();
        let new_heads = ids[wanted.start - start..].iter().take(heads.saturating_sub(group.heads.len()));
        group.heads.extend(new_heads);
        let stands = group.gone + start..group.gone + end;
        let besides: Vec<usize> = (0..group.heads.len()).filter(|head| !stands.contains(head)).collect();
        ids.extend(besides.iter().map(|head| group.heads[*head]));
        let batch = view.batch(&ids);
        let peers = |from: usize| (from..together).filter(|at| *at == from || orders[*at] != orders[*at - 1]).count();
        let (all, new) = (peers(0), peers(wanted.start - start));
        let partition = Partition {
            rows: &batch,
            orders: &orders,
            codec: view.order,
            before: stands.start,
            // Only the ranks of new rows are asked for; those before them have been counted.
            groups_before: (group.dense + new).saturating_sub(all),
            total: stands.end,
            besides: &besides,
            wanted: wanted.start - start..together,
        };
        let (results, failed) = partition.results(calls, Some(Kept { totals, group: number }));
        let results = result.encode(&results, wanted.len()).expect("the results of one group fit a column");
        let mut failed = failed.into_iter().peekable();
        for at in 0..wanted.len() {
            let place = wanted.start - start + at;
            match failed.next_if(|failure| failure.0 == at) {
                Some((_, reason)) => errors.push(GroupError { group: render_row(&batch, place), reason, diff: 1 }),
                None => {
                    out.push(Box::from(view.rows.row(ids[place])));
                    said.push(Box::from(results.value(at)));
                }
            }
        }
        group.dense += new;
        let reached = totals.reached(number).map_or(end, |reached| reached - group.gone);
        let kept = calls.iter().map(|call| view.kept(call, end)).fold(reached.min(end), usize::min);
        for id in view.copies(0..kept) {
            let change = group.tree.add(-1, &mut KnownRow { rows, id });
            if matches!(change, Change::Removed(_)) && !group.heads.contains(&id) {
                rows.remove(id);
            }
        }
        group.gone += kept;
        group.out = end - kept;
        group.due = group.tree.nth(group.out as u64).map(|id| times[id as usize]);
        match group.due {
            Some(time) => {
                due.insert((time, number));
            }
            None if group.tree.is_empty() && calls.iter().all(forgets) => {
                *group = Group::default();
                totals.clear(number);
                keys.remove(number);
            }
            None => {}
        }
    }

    fn output(&self, rows: &[Box<[u8]>], results: &[Box<[u8]>]) -> RecordBatch {
        let mut columns: Vec<ArrayRef> = self.row.decode(rows.iter().map(AsRef::as_ref));
        columns.extend(self.result.decode(results.iter().map(AsRef::as_ref)));
        record_batch(&self.schema, columns, rows.len())
    }

    /// Number of groups kept.
    pub fn groups(&self) -> usize {
        self.keys.len()
    }

    /// Bytes of memory held, close to it.
    pub fn bytes(&self) -> usize {
        let groups = self.groups.capacity() * size_of::<Group>() + self.rows.len() * 16 + self.times.capacity() * 8;
        self.totals.bytes() + self.keys.bytes() + self.rows.bytes() + groups
    }
}

/// Whether nothing is to be known of rows that no frame reads any more.
fn forgets(call: &OverCall) -> bool {
    match call.function {
        OverFunction::Shift { .. } => true,
        OverFunction::Nth { .. } | OverFunction::Aggregate(_) => !matches!(call.frame.start, FrameBound::Unbounded),
        _ => false,
    }
}

impl View<'_> {
    /// Where the rows begin that a call reads for rows which come to stand at the end of so many, each a peer of none of them.
    fn kept(&self, call: &OverCall, end: usize) -> usize {
        let back = |by: i64| end.saturating_sub(by.unsigned_abs() as usize);
        match (&call.function, &call.frame.start, call.frame.units) {
            (OverFunction::Shift { rows }, ..) => back(*rows),
            // Where a frame ends tells which row it is counted from, or whether it has so many; no frame to come ends before the last one.
            (OverFunction::Nth { row }, FrameBound::Unbounded, _) => {
                self.frame_end(call, end - 1, 0).saturating_sub(usize::try_from(-*row).unwrap_or(0))
            }
            (OverFunction::Nth { .. } | OverFunction::Aggregate(_), FrameBound::Offset(by), FrameUnits::Rows) => back(*by),
            (OverFunction::Nth { .. } | OverFunction::Aggregate(_), FrameBound::Offset(by), _) => self.step(end, *by),
            (OverFunction::Nth { .. } | OverFunction::Aggregate(_), FrameBound::Value { .. }, ..) => self.frame_start(call, end - 1),
            _ => end,
        }
    }
}
