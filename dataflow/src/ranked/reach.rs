//! How far a change reaches: the rows of a group whose results it can change, and the rows that these read.
//!
//! Rows are named by their positions in the group, as it is after the change. Where it is hard to say, a function gives more rows than it
//! has to, at worst all.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use tidemark_planner::plan::{FrameBound, FrameUnits, OverCall, OverFunction};

use super::codec::RowCodec;
use super::totals::has_total;
use crate::batch::record_batch;
use crate::eval::evaluate;
use crate::state::counted_tree::CountedTree;
use crate::state::row_store::RowStore;

/// One group's rows in order, and how to read them.
pub(super) struct View<'a> {
    pub(super) tree: &'a CountedTree,
    pub(super) rows: &'a RowStore,
    pub(super) input: &'a SchemaRef,
    pub(super) row: &'a RowCodec,
    pub(super) order: &'a RowCodec,
}

/// A row that came or went: where it stands, or would, and how often it is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changed<'a> {
    pub(super) at: usize,
    pub(super) copies: usize,
    pub(super) order: &'a [u8],
}

/// What some rows read.
#[derive(Debug)]
pub(super) struct Read {
    /// Rows that stand together.
    pub(super) rows: Range<usize>,
    /// Single rows elsewhere.
    pub(super) besides: Vec<usize>,
}

impl<'a> View<'a> {
    pub(super) fn total(&self) -> usize {
        self.tree.weight() as usize
    }

    fn order_at(&self, position: usize) -> &'a [u8] {
        self.rows.order(self.tree.nth(position as u64).expect("a position is that of a row"))
    }

    /// How many rows stand before a row.
    pub(super) fn position(&self, row: u32) -> usize {
        self.tree.before(&|id| self.rows.compare_ids(id, row)) as usize
    }

    /// Where the peers of the row at a position begin.
    pub(super) fn first_peer(&self, position: usize) -> usize {
        self.begin(self.order_at(position))
    }

    /// Where they end.
    fn end_peer(&self, position: usize) -> usize {
        self.end(self.order_at(position))
    }

    /// Where rows of an order begin.
    fn begin(&self, order: &[u8]) -> usize {
        self.tree.before(&|id| self.rows.order(id).cmp(order)) as usize
    }

    /// Where rows of an order end.
    fn end(&self, order: &[u8]) -> usize {
        let place = |id| if self.rows.order(id) <= order { Ordering::Less } else { Ordering::Greater };
        self.tree.before(&place) as usize
    }

    /// The boundary of groups of peers so many of them behind one; before it, if negative.
    pub(super) fn step(&self, mut boundary: usize, groups: i64) -> usize {
        for _ in 0..groups.unsigned_abs() {
            if groups < 0 && boundary > 0 {
                boundary = self.first_peer(boundary - 1);
            } else if groups > 0 && boundary < self.total() {
                boundary = self.end_peer(boundary);
            } else {
                break;
            }
        }
        boundary
    }

    /// The rows of groups from which a bound so many groups away reaches peers, and one group more, as one may come or go.
    fn groups_around(&self, peers: (usize, usize), by: i64) -> (usize, usize) {
        (self.step(peers.0, (-by.max(0)).saturating_sub(1)), self.step(peers.1, by.saturating_neg().max(0).saturating_add(1)))
    }

    /// The numbers of rows that stand together, each as often as it is there.
    pub(super) fn copies(&self, rows: Range<usize>) -> Vec<u32> {
        let mut copies = Vec::with_capacity(rows.len());
        if rows.is_empty() {
            return copies;
        }
        self.tree.walk(rows.start as u64, &mut |item, before| {
            let end = (before + item.count.unsigned_abs()).min(rows.end as u64);
            let first = before.max(rows.start as u64);
            copies.extend(std::iter::repeat_n(item.id, (end - first) as usize));
            end < rows.end as u64
        });
        copies
    }

    /// Rows by their numbers.
    pub(super) fn batch(&self, rows: &[u32]) -> RecordBatch {
        record_batch(self.input, self.row.decode(rows.iter().map(|id| self.rows.row(*id))), rows.len())
    }

    /// The values of a bound for rows that stand together, as what orders rows; `None` for rows that have none.
    fn bounds(&self, expr: &Arc<dyn PhysicalExpr>, rows: Range<usize>) -> (BinaryArray, Vec<bool>) {
        let len = rows.len();
        let evaluated = evaluate(std::slice::from_ref(expr), &self.batch(&self.copies(rows)));
        let mut known = vec![evaluated.kept.is_none(); len];
        evaluated.kept.iter().flatten().for_each(|row| known[*row as usize] = true);
        let count = known.iter().filter(|known| **known).count();
        (self.order.encode(&evaluated.columns, count).expect("one group's order fits a column"), known)
    }

    /// Rows from a position on (before it, if not `forward`) for whose bound `holds`, which is so for a stretch of them: where it ends.
    /// A row without a bound ends nothing.
    fn stretch(&self, expr: &Arc<dyn PhysicalExpr>, from: usize, forward: bool, holds: impl Fn(&[u8]) -> bool) -> usize {
        let (mut at, mut len) = (from, 16);
        loop {
            let rows = if forward { at..(at + len).min(self.total()) } else { at.saturating_sub(len)..at };
            if rows.is_empty() {
                return at;
            }
            let (bounds, known) = self.bounds(expr, rows.clone());
            let mut next = 0;
            let each: Vec<Option<&[u8]>> = known
                .iter()
                .map(|known| {
                    next += usize::from(*known);
                    known.then(|| bounds.value(next - 1))
                })
                .collect();
            let ends = |bound: &Option<&[u8]>| bound.is_some_and(|bound| !holds(bound));
            let end = if forward {
                each.iter().position(ends).map(|place| rows.start + place)
            } else {
                each.iter().rposition(ends).map(|place| rows.start + place + 1)
            };
            if let Some(end) = end {
                return end;
            }
            at = if forward { rows.end } else { rows.start };
            len *= 2;
        }
    }

    /// The rows whose results of a call a change can change, besides the row itself.
    pub(super) fn reached(&self, call: &OverCall, changed: Changed<'_>) -> Range<usize> {
        let total = self.total();
        let (at, end) = (changed.at, changed.at + changed.copies);
        let reach = match &call.function {
            OverFunction::RowNumber | OverFunction::Rank | OverFunction::DenseRank => at..total,
            OverFunction::PercentRank | OverFunction::CumeDist | OverFunction::Ntile { .. } => 0..total,
            OverFunction::Shift { .. } | OverFunction::Nth { .. } if call.ignore_nulls => 0..total,
            OverFunction::Shift { rows } => at.saturating_sub(down(*rows))..end.saturating_add(up(*rows)),
            OverFunction::Nth { row } => self.frames_reached(call, changed, Some(*row)),
            OverFunction::Aggregate(_) => self.frames_reached(call, changed, None),
        };
        reach.start.min(at)..reach.end.max(end).min(total)
    }

    /// The rows whose frame, or the n-th row of it, may be another.
    fn frames_reached(&self, call: &OverCall, changed: Changed<'_>, nth: Option<i64>) -> Range<usize> {
        let total = self.total();
        let Changed { at, copies, order } = changed;
        let end = at + copies;
        let (peers, units) = ((self.begin(order), self.end(order)), call.frame.units);
        // Rows whose frame ends at the change, or behind it but not far: the first one before, the last one behind.
        let (lo_end, hi_end) = match (&call.frame.end, units) {
            (FrameBound::Unbounded, _) => (0, end),
            (FrameBound::Current, FrameUnits::Rows) => (at, end),
            (FrameBound::Offset(by), FrameUnits::Rows) => (at.saturating_sub(up(*by)), end.saturating_add(down(*by))),
            (FrameBound::Current, _) => peers,
            (FrameBound::Offset(by), _) => self.groups_around(peers, *by),
            (FrameBound::Value { expr, .. }, _) => {
                let from = self.stretch(expr, peers.0, false, |highest| highest >= order);
                (from, if nth.is_some_and(|row| row < 0) { total } else { peers.1 })
            }
        };
        let (lo_start, hi_start) = match (&call.frame.start, units) {
            (FrameBound::Unbounded, _) => (at, total),
            (FrameBound::Current, FrameUnits::Rows) => (at, end),
            (FrameBound::Offset(by), FrameUnits::Rows) => (at.saturating_sub(up(*by)), end.saturating_add(down(*by))),
            (FrameBound::Current, _) => peers,
            (FrameBound::Offset(by), _) => self.groups_around(peers, *by),
            (FrameBound::Value { expr, .. }, _) => {
                let to = self.stretch(expr, peers.1, true, |lowest| lowest <= order);
                (if nth.is_some_and(|row| row > 0) { 0 } else { peers.0 }, to)
            }
        };
        // A row that is counted from the group's own begin or end stays what it is, unless the change lies between.
        let steps = nth.map_or(0, |row| row.unsigned_abs().min(total as u64) as usize);
        let from_begin = nth.map(|row| row > 0);
        let hi = match (&call.frame.start, from_begin) {
            (FrameBound::Unbounded, Some(true)) if at >= steps => hi_end,
            (FrameBound::Unbounded, Some(false)) => self.beyond(call, hi_end, steps as i64),
            _ => hi_start.max(hi_end),
        };
        let lo = match (&call.frame.end, from_begin) {
            (FrameBound::Unbounded, Some(false)) if total - end >= steps => lo_start,
            (FrameBound::Unbounded, Some(true)) => self.beyond(call, lo_start, -(steps as i64)),
            _ => lo_end.min(lo_start),
        };
        lo..hi
    }

    /// A place that lies beyond another by so many rows, wherever the bounds of frames lie.
    fn beyond(&self, call: &OverCall, place: usize, steps: i64) -> usize {
        match call.frame.units {
            // Every group has a row.
            FrameUnits::Groups => self.step(place.min(self.total()), steps),
            FrameUnits::Rows | FrameUnits::Range => place.saturating_add_signed(steps as isize),
        }
    }

    /// What some rows read for a call, besides themselves. `goes_on`: calls that can, go on from a state of all rows.
    pub(super) fn read(&self, call: &OverCall, rows: Range<usize>, goes_on: bool) -> Read {
        let total = self.total();
        let mut besides = Vec::new();
        let read = match &call.function {
            OverFunction::Shift { .. } | OverFunction::Nth { .. } if call.ignore_nulls => 0..total,
            OverFunction::Shift { rows: by } => rows.start.saturating_sub(up(*by))..rows.end.saturating_add(down(*by)),
            OverFunction::Nth { row } => {
                let steps = usize::try_from(row.unsigned_abs()).unwrap_or(usize::MAX);
                match (&call.frame.start, &call.frame.end, *row > 0) {
                    (FrameBound::Unbounded, _, true) => {
                        // Where a frame ends tells whether it has so many rows.
                        besides.extend((steps <= total).then(|| steps - 1));
                        self.frame_end(call, rows.start, 0)..self.frame_end(call, rows.end - 1, total)
                    }
                    (_, FrameBound::Unbounded, false) => {
                        besides.extend(total.checked_sub(steps));
                        self.frame_start(call, rows.start)..self.frame_start(call, rows.end - 1)
                    }
                    (_, _, true) => self.frame_start(call, rows.start)..self.frame_start(call, rows.end - 1).saturating_add(steps),
                    (_, _, false) => self.frame_end(call, rows.start, 0).saturating_sub(steps)..self.frame_end(call, rows.end - 1, total),
                }
            }
            OverFunction::Aggregate(_) => {
                match (matches!(call.frame.start, FrameBound::Unbounded), matches!(call.frame.end, FrameBound::Unbounded)) {
                    (false, false) => self.frame_start(call, rows.start)..self.frame_end(call, rows.end - 1, total),
                    _ if !goes_on || !has_total(call) => 0..total,
                    (true, true) => rows.clone(),
                    (true, false) => self.frame_end(call, rows.start, 0)..total,
                    (false, true) => 0..self.frame_start(call, rows.end - 1),
                }
            }
            _ => rows.clone(),
        };
        let mut read = read.start.min(rows.start)..read.end.max(rows.end).min(total);
        if reads_peers(call) {
            read = self.first_peer(read.start)..self.end_peer(read.end - 1);
        }
        besides.retain(|position| !read.contains(position));
        Read { rows: read, besides }
    }

    /// Where the frame of a row begins, or before that.
    pub(super) fn frame_start(&self, call: &OverCall, row: usize) -> usize {
        match (&call.frame.start, call.frame.units) {
            (FrameBound::Unbounded, _) => 0,
            (FrameBound::Current, FrameUnits::Rows) => row,
            (FrameBound::Offset(by), FrameUnits::Rows) => row.saturating_add_signed(*by as isize).min(self.total()),
            (FrameBound::Current, _) => self.first_peer(row),
            (FrameBound::Offset(by), _) => self.step(self.first_peer(row), *by),
            (FrameBound::Value { expr, .. }, _) => self.bound(expr, row, 0, |lowest| self.begin(lowest)),
        }
    }

    /// Where the frame of a row ends; `unknown` where it cannot be said.
    pub(super) fn frame_end(&self, call: &OverCall, row: usize, unknown: usize) -> usize {
        match (&call.frame.end, call.frame.units) {
            (FrameBound::Unbounded, _) => self.total(),
            (FrameBound::Current, FrameUnits::Rows) => row + 1,
            (FrameBound::Offset(by), FrameUnits::Rows) => (row + 1).saturating_add_signed(*by as isize).min(self.total()),
            (FrameBound::Current, _) => self.end_peer(row),
            (FrameBound::Offset(by), _) => self.step(self.end_peer(row), *by),
            (FrameBound::Value { expr, .. }, _) => self.bound(expr, row, unknown, |highest| self.end(highest)),
        }
    }

    fn bound(&self, expr: &Arc<dyn PhysicalExpr>, row: usize, unknown: usize, place: impl Fn(&[u8]) -> usize) -> usize {
        let (bounds, known) = self.bounds(expr, row..row + 1);
        if known[0] { place(bounds.value(0)) } else { unknown }
    }
}

/// Whether a call asks which rows are equal by the order.
fn reads_peers(call: &OverCall) -> bool {
    let by_peers = |bound: &FrameBound| call.frame.units != FrameUnits::Rows && !matches!(bound, FrameBound::Unbounded);
    match &call.function {
        OverFunction::Rank | OverFunction::DenseRank | OverFunction::PercentRank | OverFunction::CumeDist => true,
        OverFunction::RowNumber | OverFunction::Ntile { .. } | OverFunction::Shift { .. } => false,
        OverFunction::Nth { .. } | OverFunction::Aggregate(_) => by_peers(&call.frame.start) || by_peers(&call.frame.end),
    }
}

/// How far behind a distance points.
fn up(by: i64) -> usize {
    usize::try_from(by).unwrap_or(0)
}

/// How far before a distance points.
fn down(by: i64) -> usize {
    usize::try_from(by.saturating_neg()).unwrap_or(0)
}
