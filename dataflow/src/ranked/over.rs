//! # OVER
//!
//! **Meaning.** For each row the values of functions over the rows around it in its group.
//! **Time.** EMIT CHANGES: each epoch's net change, as the epoch closes; a group whose window has closed is dropped. EMIT FINAL: the rows of
//! a group, once, when the watermark reaches the end of its window, or at the end of the input.
//! **State.** All rows of each group and what is out for them.
//! **Changelog.** In: any. Out: append-only under FINAL, retract under CHANGES.
//! **Errors.** A row for which a function has no value is an error; it comes out once it has all its values.
//!
//! When rows of a group come or go, the functions are computed for the rows that this reaches ([`reach`](super::reach)), from the rows that
//! those read; what differs from what is out is put out. Aggregates whose frame begins or ends with the group go on from a state of
//! all its rows ([`Totals`]).

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use tidemark_planner::plan::{Emit, OverCall, OverFunction, OverPlan};

use super::OUTPUT_ROWS;
use super::codec::{RowCodec, binary};
use super::encoder::{order_codec, row_codec};
use super::functions::{Kept, Partition, result_types, value};
use super::reach::{Changed, Read, View};
use super::totals::Totals;
use crate::aggregate::{GroupError, KeyedBatch, Output, Payload};
use crate::batch::{nullable, record_batch};
use crate::render_row::render_row;
use crate::state::counted_tree::{Change, CountedTree};
use crate::state::key_table::KeyTable;
use crate::state::row_store::{NewRow, RowStore};
use crate::watermark::ENDED;

/// A group of which more than one row in so many has changed is computed as a whole.
const WHOLE: usize = if cfg!(test) { 3 } else { 8 };

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
    /// Where results change, aggregates over all rows of each group.
    totals: Option<Totals>,
    windows: BTreeMap<i64, Vec<u32>>,
    touched: Vec<u32>,
    ids: Vec<u32>,
}

#[derive(Debug, Default)]
struct Group {
    tree: CountedTree,
    touched: bool,
    listed: bool,
    /// Rows that came, went or are there more or less often since the group was computed.
    changed: Vec<u32>,
    /// Rows that left since then.
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
            totals: (plan.emit != Emit::Final).then(|| Totals::new(&plan.functions)),
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
        batch.number(&mut self.keys, &mut ids);
        self.groups.resize_with(self.keys.numbers().max(self.groups.len()), Group::default);
        if let Some(totals) = &mut self.totals {
            totals.resize(self.groups.len());
        }
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
            let id = match group.tree.add(diff, &mut new) {
                Change::Inserted(id) => {
                    self.out.resize_with(self.out.len().max(id as usize + 1), Vec::new);
                    id
                }
                Change::Removed(id) => {
                    group.gone.push(id);
                    id
                }
                Change::Counted(id) => id,
            };
            if self.totals.is_some() && group.changed.last() != Some(&id) {
                group.changed.push(id);
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
                        if let Some(totals) = &mut self.totals {
                            totals.clear(number);
                        }
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
        Output { rows, diffs, errors, homeless: vec![], more }
    }

    /// Forgets a group; its rows are still to be put out.
    fn forget(&mut self, number: u32) -> Vec<u32> {
        let group = std::mem::take(&mut self.groups[number as usize]);
        let mut rows = group.gone;
        group.tree.walk(0, &mut |item, _| {
            rows.push(item.id);
            true
        });
        if let Some(totals) = &mut self.totals {
            totals.clear(number);
        }
        self.keys.remove(number);
        rows
    }

    /// Computes what may differ in a group and says what does.
    fn compute(&mut self, number: u32, said: &mut Vec<Said>, errors: &mut Vec<GroupError>, gone: &mut Vec<u32>) {
        let Self { groups, rows, out, totals, calls, input, row, order, result, .. } = self;
        let group = &mut groups[number as usize];
        let mut changed = std::mem::take(&mut group.changed);
        changed.sort_unstable();
        changed.dedup();
        let left = std::mem::take(&mut group.gone);
        let view = View { tree: &group.tree, rows, input, row, order };
        let total = view.total();
        let mut reached: Vec<Range<usize>> = std::iter::once(0..total).collect();
        if let Some(totals) = totals {
            let changes = changes(&view, &changed);
            add_up(&view, totals, number, &changes, out);
            if changes.len() < total.div_ceil(WHOLE) {
                let each = changes.iter().flat_map(|(_, changed)| calls.iter().map(|call| view.reached(call, *changed)));
                reached = joined(each.collect());
            }
            // Where no copy is left there is nothing to compute.
            for (id, _) in changes.iter().filter(|(_, changed)| changed.copies == 0) {
                let results = std::mem::take(&mut out[*id as usize]);
                said.extend(results.into_iter().flatten().map(|result| Said { id: *id, result, diff: -1 }));
            }
        }
        gone.extend(left);
        for rows in reached.into_iter().filter(|rows| !rows.is_empty()) {
            let mut stretch = Stretched { view: &view, calls, result, number, out };
            stretch.compute(rows, totals.as_mut(), said, errors);
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
        let totals = self.totals.as_ref().map_or(0, Totals::bytes);
        totals + self.keys.bytes() + self.rows.bytes() + self.out.capacity() * 24 + self.rows.len() * 64
    }
}

/// Where rows that have changed stand, in order. Of rows that have gone, the place where they stood.
fn changes<'a>(view: &View<'a>, changed: &[u32]) -> Vec<(u32, Changed<'a>)> {
    let mut changes: Vec<(u32, Changed<'a>)> = changed
        .iter()
        .map(|id| {
            let at = view.position(*id);
            let mut copies = 0;
            // The first row that counts from there on, unless this one counts as none.
            view.tree.walk(at as u64, &mut |item, _| {
                copies = if item.id == *id { item.count.unsigned_abs() as usize } else { 0 };
                false
            });
            (*id, Changed { at, copies, order: view.rows.order(*id) })
        })
        .collect();
    changes.sort_by_key(|(_, changed)| changed.at);
    changes
}

/// Adds to the totals what has changed since results came out.
fn add_up(view: &View<'_>, totals: &mut Totals, group: u32, changes: &[(u32, Changed<'_>)], out: &[Vec<Option<Box<[u8]>>>]) {
    let diffs: Vec<i64> = changes.iter().map(|(id, changed)| changed.copies as i64 - out[*id as usize].len() as i64).collect();
    let ids: Vec<u32> = changes.iter().map(|(id, _)| *id).collect();
    let batch = std::cell::OnceCell::new();
    totals.add(group, &diffs, &mut |expr| value(expr, batch.get_or_init(|| view.batch(&ids)), &mut Vec::new()));
}

/// Stretches of rows as few that do not touch, in order.
fn joined(mut stretches: Vec<Range<usize>>) -> Vec<Range<usize>> {
    stretches.sort_by_key(|rows| rows.start);
    let mut joined: Vec<Range<usize>> = Vec::new();
    for rows in stretches {
        match joined.last_mut().filter(|last| last.end >= rows.start) {
            Some(last) => last.end = last.end.max(rows.end),
            None => joined.push(rows),
        }
    }
    joined
}

/// What it takes to compute some rows of a group.
struct Stretched<'a> {
    view: &'a View<'a>,
    calls: &'a [OverCall],
    result: &'a RowCodec,
    number: u32,
    out: &'a mut [Vec<Option<Box<[u8]>>>],
}

impl Stretched<'_> {
    /// Computes rows that stand together, all copies of each, and says what differs.
    fn compute(&mut self, wanted: Range<usize>, mut totals: Option<&mut Totals>, said: &mut Vec<Said>, errors: &mut Vec<GroupError>) {
        let view = self.view;
        let mut items: Vec<(u32, usize)> = Vec::new();
        let mut whole = wanted.clone();
        view.tree.walk(wanted.start as u64, &mut |item, before| {
            if items.is_empty() {
                whole.start = before as usize;
            }
            let copies = item.count.unsigned_abs() as usize;
            items.push((item.id, copies));
            whole.end = before as usize + copies;
            whole.end < wanted.end
        });
        let wanted = whole;
        let goes_on = totals.is_some();
        let reads: Vec<Read> = self.calls.iter().map(|call| view.read(call, wanted.clone(), goes_on)).collect();
        let mut stand = wanted.clone();
        for read in &reads {
            stand = stand.start.min(read.rows.start)..stand.end.max(read.rows.end);
        }
        let mut groups_before = 0;
        if self.calls.iter().any(|call| matches!(call.function, OverFunction::DenseRank)) {
            // Groups of peers are counted on from the row before, if that has a result.
            stand.start = view.first_peer(stand.start);
            groups_before = stand.start.checked_sub(1).and_then(|before| self.dense_rank(before)).unwrap_or(0);
            stand.start = if groups_before > 0 { stand.start } else { 0 };
        }
        let mut besides: Vec<usize> = reads.into_iter().flat_map(|read| read.besides).filter(|at| !stand.contains(at)).collect();
        besides.sort_unstable();
        besides.dedup();
        let mut ids = view.copies(stand.clone());
        let together = ids.len();
        ids.extend(besides.iter().map(|at| view.tree.nth(*at as u64).expect("a position is that of a row")));
        let batch = view.batch(&ids);
        let orders: Vec<&[u8]> = ids[..together].iter().map(|id| view.rows.order(*id)).collect();
        let first = wanted.start - stand.start;
        let partition = Partition {
            rows: &batch,
            orders: &orders,
            codec: view.order,
            before: stand.start,
            groups_before,
            total: view.total(),
            besides: &besides,
            wanted: first..first + wanted.len(),
        };
        let kept = totals.as_mut().map(|totals| Kept { totals, group: self.number });
        let (results, failed) = partition.results(self.calls, kept);
        let results = self.result.encode(&results, wanted.len()).expect("the results of one group fit a column");
        let mut failed = failed.into_iter().peekable();
        let mut at = 0;
        for (id, copies) in items {
            let before = std::mem::take(&mut self.out[id as usize]);
            let mut after: Vec<Option<Box<[u8]>>> = Vec::with_capacity(copies);
            for copy in 0..copies {
                let failure = failed.next_if(|failure| failure.0 == at + copy);
                let old = before.get(copy);
                let new: Option<Box<[u8]>> = match failure {
                    None => Some(Box::from(results.value(at + copy))),
                    Some((_, reason)) => {
                        // An error is told when it comes to be.
                        if old.is_none_or(Option::is_some) {
                            errors.push(GroupError { group: render_row(&batch, first + at + copy), reason, diff: 1 });
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
            let rest = before.into_iter().skip(copies).flatten();
            said.extend(rest.map(|result| Said { id, result, diff: -1 }));
            self.out[id as usize] = after;
            at += copies;
        }
    }

    /// The dense rank that is out for a row: how many groups of peers end with it.
    fn dense_rank(&self, position: usize) -> Option<usize> {
        let id = self.view.tree.nth(position as u64)?;
        let result = self.out[id as usize].last()?.as_ref()?;
        let column = self.calls.iter().position(|call| matches!(call.function, OverFunction::DenseRank))?;
        let columns = self.result.decode(std::iter::once(result.as_ref()));
        Some(columns[column].as_primitive::<Int64Type>().value(0) as usize)
    }
}
