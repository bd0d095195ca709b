//! # One-sided joins
//!
//! **Meaning.** Rows of one side ("ours") by whether the other ("theirs") has a match: those without one, with nulls (the outer part
//! of outer joins), those with one (semi), those without (anti), or all of them with a mark. `NOT IN` is an anti join that knows
//! two more things about the other side as a whole: whether it is empty, and whether it holds a null key ([`Regime`]).
//! **Time.** When the frontiers of both have passed an epoch, only keys that it touched are visited: the rows that were there
//! before, those that came, and how many matches there are before and after. Each epoch's net changes come out at its time.
//! **State.** That of the arrangements. Once theirs has ended, nothing changes for rows of ours that have come, and they are let go of.
//! **Changelog.** In: any. Out: retract.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, new_null_array};
use differential_dataflow::trace::{Span, TraceReader};
use tidemark_planner::plan::{JoinKind, SourceId};
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Stream, StreamVec};
use timely::progress::Antichain;

use super::key_changes::{Emitted, Evaluation, KeyRows};
use super::output::{JoinShape, by_time};
use super::pending::Pending;
use crate::arrange::{ArrangedRows, Column, Floor, Key, Reader, RowTrace, RowsBatch, has_null};
use crate::batch::{Batch, NO_WATERMARK};
use crate::control::OutTo;
use crate::epoch::Epoch;
use crate::error_row::ErrorRow;
use crate::watermark::{ENDED, WatermarkUpdate};

/// What comes out for a row of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The row if it has a match.
    Matched,
    /// The row if it has none.
    Unmatched,
    /// The row, and whether it has one.
    Marked,
    /// The row as `NOT IN` has it.
    NotIn,
}

/// What `NOT IN` must know of the other side as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Regime {
    /// No rows: everything is not in it.
    Empty,
    /// A null key: of nothing it is known that it is not in it.
    HoldsNull,
    /// Otherwise, and for all other outcomes.
    Normal,
}

/// What matters besides matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) regime: Regime,
    /// Rows of ours come out once their time lies below this.
    pub(super) floor: i64,
}

impl View {
    /// Whether a row with an event time comes out, if its matches are right.
    pub(super) fn ripe(&self, event: Option<i64>) -> bool {
        self.floor == i64::MAX || event.is_none_or(|event| event < self.floor)
    }
}

impl Outcome {
    /// Whether a row comes out, and with which mark.
    pub(super) fn of(self, regime: Regime, null_key: bool, matched: bool) -> Option<bool> {
        match (self, regime) {
            (Self::Matched, _) => matched.then_some(true),
            (Self::Unmatched, _) => (!matched).then_some(false),
            (Self::Marked, _) => Some(matched),
            (Self::NotIn, Regime::Empty) => Some(false),
            (Self::NotIn, Regime::HoldsNull) => None,
            (Self::NotIn, Regime::Normal) => (!null_key && !matched).then_some(false),
        }
    }
}

/// A one-sided join.
pub(super) struct OneSided {
    pub(super) shape: Arc<JoinShape>,
    pub(super) outcome: Outcome,
    /// Our side is the left one.
    pub(super) left: bool,
    /// Pairs that cannot be evaluated are reported here, and not by an inner join beside.
    pub(super) reports: bool,
    /// Rows of ours come out when they can have no match any more, and not at once.
    pub(super) when_final: bool,
}

impl OneSided {
    pub(super) fn of_left(shape: Arc<JoinShape>, kind: JoinKind, null_aware: bool, when_final: bool) -> Self {
        let outcome = match kind {
            JoinKind::LeftSemi => Outcome::Matched,
            JoinKind::LeftMark => Outcome::Marked,
            JoinKind::LeftAnti if null_aware => Outcome::NotIn,
            _ => Outcome::Unmatched,
        };
        let reports = matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::LeftMark);
        Self { shape, outcome, left: true, reports, when_final }
    }

    pub(super) fn of_right(shape: Arc<JoinShape>, when_final: bool) -> Self {
        Self { shape, outcome: Outcome::Unmatched, left: false, reports: false, when_final }
    }

    /// The output columns of rows of ours.
    fn columns(&self, emitted: &Emitted) -> Vec<ArrayRef> {
        let shape = &self.shape;
        let (left, right) = (shape.left_width(), shape.right.schema().fields().len());
        let (layout, first) = if self.left { (&shape.left, 0) } else { (&shape.right, left) };
        let width = layout.schema().fields().len();
        let rows = emitted.times.len();
        let ours = emitted.rows.columns(layout, |column| shape.output.contains(&(first + column)));
        let outputs = shape.output.iter().zip(shape.schema.fields());
        outputs
            .map(|(column, field)| match column.checked_sub(first).filter(|column| *column < width) {
                Some(column) => ours[column].clone(),
                None if *column == left + right => Arc::new(BooleanArray::from(emitted.marks.clone())),
                None => new_null_array(field.data_type(), rows),
            })
            .collect()
    }

    pub(super) fn batches(&self, emitted: Emitted) -> Vec<(Epoch, Batch)> {
        let columns = self.columns(&emitted);
        by_time(&self.shape.schema, columns, emitted.times, &emitted.diffs)
    }
}

/// One arranged input, as far as it has been worked off.
struct Input {
    /// `None`: nothing asks for old rows any more.
    trace: Option<RowTrace<Epoch>>,
    /// Everything in the trace before this is old.
    acknowledged: Antichain<Epoch>,
    /// Behind it: not, or only in part, worked off.
    fresh: VecDeque<Span<Epoch, RowsBatch<Epoch>>>,
}

impl Input {
    fn new(trace: RowTrace<Epoch>) -> Self {
        Self { trace: Some(trace), acknowledged: Antichain::from_elem(0), fresh: VecDeque::new() }
    }

    fn old(&mut self) -> Vec<Reader<Epoch>> {
        let Some(trace) = &mut self.trace else { return Vec::new() };
        let batches = trace.batches_through(self.acknowledged.borrow()).expect("held back from merging");
        batches.into_iter().map(Reader::new).collect()
    }

    fn fresh(&self) -> Vec<Reader<Epoch>> {
        self.fresh.iter().filter_map(|span| span.inner.clone()).map(Reader::new).collect()
    }

    /// Everything before `through` has been worked off; of the rest of the dataflow, nothing before `since` is asked for.
    fn advance(&mut self, through: Option<Epoch>) {
        let all_before = |span: &Span<Epoch, RowsBatch<Epoch>>, through: Epoch| {
            let mut chunks = span.inner.iter().flat_map(|batch| &batch.chunks);
            chunks.all(|chunk| match &*chunk.times {
                Column::Same(time, _) => *time < through,
                Column::Each(times) => times.iter().all(|time| *time < through),
            })
        };
        let worked_off = |span: &Span<Epoch, RowsBatch<Epoch>>| match (span.upper().iter().next(), through) {
            (Some(upper), Some(through)) => *upper <= through,
            // The last of a side that has ended.
            (None, Some(through)) => all_before(span, through),
            (_, None) => true,
        };
        while let Some(span) = self.fresh.pop_front_if(|span| worked_off(span)) {
            if !timely::PartialOrder::less_than(span.upper(), &self.acknowledged) {
                self.acknowledged.clone_from(span.upper());
            }
        }
        let Some(trace) = &mut self.trace else { return };
        if self.fresh.is_empty() {
            trace.advance_upper(&mut self.acknowledged);
        }
        let since = through.map_or_else(Antichain::new, Antichain::from_elem);
        trace.set_logical_compaction(since.borrow());
        trace.set_physical_compaction(self.acknowledged.borrow());
    }
}

/// Changes of the other side as a whole: rows, and rows with a null in their key.
type Totals = (Epoch, i64, i64);

/// Builds the operator on one worker.
pub(super) fn one_sided<'scope>(
    ours: ArrangedRows<'scope, Epoch>,
    theirs: ArrangedRows<'scope, Epoch>,
    join: OneSided,
    (told, partitions): (&StreamVec<'scope, Epoch, WatermarkUpdate>, &dyn Fn(SourceId) -> usize),
    name: &str,
    out_to: OutTo,
) -> (Stream<'scope, Epoch, Batch>, StreamVec<'scope, Epoch, ErrorRow>) {
    let scope = ours.rows.stream.scope();
    let side = if join.left { "left" } else { "right" };
    let mut builder = OperatorBuilder::new(format!("{name} {side}"), scope);
    let mut totals_input = None;
    if join.outcome == Outcome::NotIn {
        use timely::dataflow::operators::vec::Broadcast;
        let totals = totals(theirs.rows.stream.clone(), name);
        let everywhere = if scope.peers() == 1 { totals } else { totals.broadcast() };
        totals_input = Some(builder.new_input(everywhere, Pipeline));
    }
    let retention = ours.layout.retention().filter(|_| join.when_final);
    let floor = retention.map(|retention| Floor::new(&retention.watermark, retention.slack_us, partitions));
    let mut told_input = floor.is_some().then(|| builder.new_input(told.clone(), Pipeline));
    let mut our_input = builder.new_input(ours.rows.stream, Pipeline);
    let mut their_input = builder.new_input(theirs.rows.stream, Pipeline);
    let (rows_output, rows) = builder.new_output::<Batch>();
    let (errors_output, errors) = builder.new_output::<Vec<ErrorRow>>();
    let mut rows_output = OutputBuilder::<_, NoopBuilder<Batch>>::from(rows_output);
    let mut errors_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<ErrorRow>>>::from(errors_output);
    let mut work = Work {
        ours: Input::new(ours.rows.trace),
        theirs: Input::new(theirs.rows.trace),
        changes: BTreeMap::new(),
        totals: (0, 0),
        from: 0,
        lowest: if floor.is_some() { NO_WATERMARK } else { ENDED },
        floor,
        pending: Pending::default(),
        join,
    };
    builder.build(move |capabilities| {
        let mut capabilities = Some(capabilities);
        move |frontiers| {
            if let Some(input) = &mut totals_input {
                input.for_each(|_, totals| work.take_totals(totals));
            }
            if let (Some(input), Some(floor)) = (&mut told_input, &mut work.floor) {
                input.for_each(|time, updates| {
                    let epoch = *time.least().expect("data has a time");
                    updates.drain(..).for_each(|update| floor.update(epoch, update));
                });
            }
            our_input.for_each(|_, spans| work.ours.fresh.extend(spans.drain(..)));
            their_input.for_each(|_, spans| work.theirs.fresh.extend(spans.drain(..)));
            let Some(held) = capabilities.as_mut() else { return };
            let frontier = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
            if frontier.is_some_and(|frontier| frontier <= work.from) {
                return;
            }
            out_to.begin();
            let mut rows_session = rows_output.activate();
            let mut errors_session = errors_output.activate();
            work.through(frontier, &mut |parts, errors| {
                for (time, mut batch) in parts {
                    rows_session.session_with_builder(&held[0].delayed(&time)).give_container(&mut batch);
                }
                for (time, error) in errors {
                    errors_session.session(&held[1].delayed(&time)).give(error);
                }
            });
            // Nothing of theirs is to come, here or, where the whole of theirs counts, elsewhere.
            let over = |input: usize| frontiers[input].frontier().is_empty();
            if over(frontiers.len() - 1) && (work.join.outcome != Outcome::NotIn || over(0)) {
                work.theirs_ended();
            }
            match frontier {
                Some(frontier) => held.iter_mut().for_each(|capability| capability.downgrade(&frontier)),
                None => capabilities = None,
            }
            out_to.done(frontier);
        }
    });
    (rows, errors)
}

/// The changes of a side as a whole, epoch by epoch.
fn totals<'scope>(stream: StreamVec<'scope, Epoch, Span<Epoch, RowsBatch<Epoch>>>, name: &str) -> StreamVec<'scope, Epoch, Totals> {
    use timely::dataflow::operators::generic::operator::Operator;
    stream.unary::<CapacityContainerBuilder<Vec<Totals>>, _, _, _>(Pipeline, &format!("{name} totals"), |_, _| {
        |input, output| {
            input.for_each(|capability, spans| {
                let mut sums: BTreeMap<Epoch, (i64, i64)> = BTreeMap::new();
                for chunk in spans.iter().filter_map(|span| span.inner.as_ref()).flat_map(|batch| &batch.chunks) {
                    for key in 0..chunk.rows.key_count() {
                        let null = i64::from(has_null(chunk.rows.key(key).0));
                        for row in chunk.rows.rows_of(key) {
                            let sum = sums.entry(*chunk.time(row)).or_default();
                            sum.0 += chunk.rows.diff(row);
                            sum.1 += null * chunk.rows.diff(row);
                        }
                    }
                }
                let mut session = output.session(&capability);
                sums.into_iter().for_each(|(time, (rows, nulls))| session.give((time, rows, nulls)));
            });
        }
    })
}

type PutOut<'a> = dyn FnMut(Vec<(Epoch, Batch)>, Vec<(Epoch, ErrorRow)>) + 'a;

struct Work {
    join: OneSided,
    ours: Input,
    theirs: Input,
    /// Changes of `totals` to come.
    changes: BTreeMap<Epoch, (i64, i64)>,
    /// Rows of the other side, and those with a null key, before `from`.
    totals: (i64, i64),
    /// Everything before is worked off.
    from: Epoch,
    /// Below which time rows of ours have come out, if they come out when they are final.
    lowest: i64,
    floor: Option<Floor>,
    pending: Pending,
}

impl Work {
    fn take_totals(&mut self, totals: &mut Vec<Totals>) {
        for (time, rows, nulls) in totals.drain(..) {
            let sum = self.changes.entry(time).or_default();
            *sum = (sum.0 + rows, sum.1 + nulls);
        }
    }

    /// Old rows of ours are asked for when the other side changes, or when they come out because they are final.
    fn theirs_ended(&mut self) {
        if self.theirs.fresh.is_empty() && self.changes.is_empty() && self.floor.is_none() {
            self.ours.trace = None;
        }
    }

    fn view(&self) -> View {
        let regime = match self.totals {
            (_, nulls) if nulls > 0 => Regime::HoldsNull,
            (rows, _) if rows > 0 => Regime::Normal,
            _ => Regime::Empty,
        };
        View { regime, floor: self.lowest }
    }

    /// Works off what lies before the frontier.
    fn through(&mut self, frontier: Option<Epoch>, put_out: &mut PutOut<'_>) {
        let end = frontier.unwrap_or(Epoch::MAX);
        if self.join.outcome == Outcome::NotIn {
            // Where the regime changes, all rows of ours may come or go.
            while let Some(time) = self.changes.keys().next().copied().filter(|time| *time < end) {
                let before = self.view();
                let change = self.changes.remove(&time).expect("found above");
                self.totals = (self.totals.0 + change.0, self.totals.1 + change.1);
                let after = self.view();
                if before != after {
                    self.visit(self.from..time, (before, before), &Extra::None, put_out);
                    self.visit(time..time + 1, (before, after), &Extra::All, put_out);
                    self.from = time + 1;
                }
            }
        }
        // Where the floor rises, rows of ours come out that were waiting.
        while let Some(epoch) = self.floor.as_ref().and_then(|floor| floor.next_epoch()).filter(|epoch| *epoch < end) {
            self.raise(epoch, put_out);
        }
        if self.floor.as_ref().is_some_and(|floor| floor.by_clock) && end < Epoch::MAX {
            self.raise(end - 1, put_out);
        }
        let view = self.view();
        self.visit(self.from..end, (view, view), &Extra::None, put_out);
        self.from = end;
        self.ours.advance(frontier);
        self.theirs.advance(frontier);
    }

    /// Works off everything through an epoch, in which the floor may rise.
    fn raise(&mut self, epoch: Epoch, put_out: &mut PutOut<'_>) {
        let before = self.view();
        self.lowest = self.lowest.max(self.floor.as_mut().map_or(ENDED, |floor| floor.close(epoch)));
        let after = self.view();
        if before == after || epoch < self.from {
            return;
        }
        self.visit(self.from..epoch, (before, before), &Extra::None, put_out);
        let keys = self.pending.take_below(self.lowest);
        self.visit(epoch..epoch + 1, (before, after), &Extra::Keys(keys.sorted()), put_out);
        self.from = epoch + 1;
    }

    /// Visits the keys touched in some epochs, and others.
    fn visit(&mut self, epochs: std::ops::Range<Epoch>, views: (View, View), extra: &Extra<'_>, put_out: &mut PutOut<'_>) {
        if epochs.is_empty() {
            return;
        }
        let (mut our_fresh, mut their_fresh) = (self.ours.fresh(), self.theirs.fresh());
        if our_fresh.is_empty() && their_fresh.is_empty() && extra.is_empty() {
            return;
        }
        let (mut our_old, mut their_old) = (self.ours.old(), self.theirs.old());
        let mut extra_keys: &[Key<'_>] = if let Extra::Keys(keys) = extra { keys } else { &[] };
        let all = matches!(extra, Extra::All);
        let mut evaluation = Evaluation::new(&self.join, views, epochs);
        let mut bytes = Vec::new();
        loop {
            let fresh = our_fresh.iter().chain(&their_fresh).chain(if all { &our_old[..] } else { &[] });
            let Some((hash, least)) = fresh.filter_map(Reader::key).chain(extra_keys.first().copied()).min() else { break };
            bytes.clear();
            bytes.extend_from_slice(least);
            let key = (hash, bytes.as_slice());
            let is_extra = all || extra_keys.first() == Some(&key);
            if is_extra && !all {
                extra_keys = &extra_keys[1..];
            }
            let mut rows = KeyRows::new(has_null(hash), is_extra);
            let matchable = self.join.shape.null_equals_null || !has_null(hash);
            rows.ours.take_fresh(&mut our_fresh, key, evaluation.epochs());
            rows.theirs.take_fresh(&mut their_fresh, key, evaluation.epochs());
            if self.join.when_final {
                let events = rows.ours.fresh_events();
                events.filter(|event| !views.1.ripe(Some(*event))).for_each(|event| self.pending.add(event, key));
            }
            if !matchable {
                rows.theirs.clear();
            }
            if rows.ours.is_untouched() && rows.theirs.is_untouched() && !is_extra {
                continue;
            }
            if matchable {
                rows.theirs.take_old(&mut their_old, key);
            }
            if is_extra || evaluation.needs_our_old(&rows) {
                rows.ours.take_old(&mut our_old, key);
            }
            evaluation.add(rows, put_out);
        }
        evaluation.finish(put_out);
    }
}

/// Keys to visit besides those that are touched.
enum Extra<'a> {
    None,
    /// All keys of ours.
    All,
    /// Some, ascending.
    Keys(Vec<Key<'a>>),
}

impl Extra<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::All => false,
            Self::Keys(keys) => keys.is_empty(),
        }
    }
}

impl Emitted {
    pub(super) fn new() -> Self {
        Self { rows: super::pairs::Side::default(), times: Column::default(), diffs: Column::default(), marks: Vec::new() }
    }
}
