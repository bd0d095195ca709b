//! # One-sided joins
//!
//! **Meaning.** Rows of one side ("ours") by whether the other ("theirs") has a match: those without one, with nulls (the outer part
//! of outer joins), those with one (semi), those without (anti), or all of them with a mark. `NOT IN` is an anti join that knows
//! two more things about the other side as a whole: whether it is empty, and whether it holds a null key ([`Regime`]).
//! **Time.** When the frontiers of both have passed an epoch, only keys that it touched are visited: the rows that were there
//! before, those that came, and how many matches there are before and after. Each epoch's net changes come out at its time.
//! **State.** That of the arrangements.
//! **Changelog.** In: any. Out: retract.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, new_null_array};
use differential_dataflow::trace::{Span, TraceReader};
use tidemark_planner::plan::JoinKind;
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Stream, StreamVec};
use timely::progress::Antichain;

use super::key_changes::{Emitted, Evaluation, KeyRows};
use super::output::{JoinShape, by_time};
use crate::arrange::{ArrangedRows, Column, Reader, RowTrace, RowsBatch, has_null};
use crate::batch::Batch;
use crate::epoch::Epoch;
use crate::error_row::ErrorRow;

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
}

impl OneSided {
    pub(super) fn of_left(shape: Arc<JoinShape>, kind: JoinKind, null_aware: bool) -> Self {
        let outcome = match kind {
            JoinKind::LeftSemi => Outcome::Matched,
            JoinKind::LeftMark => Outcome::Marked,
            JoinKind::LeftAnti if null_aware => Outcome::NotIn,
            _ => Outcome::Unmatched,
        };
        let reports = matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::LeftMark);
        Self { shape, outcome, left: true, reports }
    }

    pub(super) fn of_right(shape: Arc<JoinShape>) -> Self {
        Self { shape, outcome: Outcome::Unmatched, left: false, reports: false }
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
    trace: RowTrace<Epoch>,
    /// Everything in the trace before this is old.
    acknowledged: Antichain<Epoch>,
    /// Behind it: not, or only in part, worked off.
    fresh: VecDeque<Span<Epoch, RowsBatch<Epoch>>>,
}

impl Input {
    fn new(trace: RowTrace<Epoch>) -> Self {
        Self { trace, acknowledged: Antichain::from_elem(0), fresh: VecDeque::new() }
    }

    fn old(&mut self) -> Vec<Reader<Epoch>> {
        let batches = self.trace.batches_through(self.acknowledged.borrow()).expect("held back from merging");
        batches.into_iter().map(Reader::new).collect()
    }

    fn fresh(&self) -> Vec<Reader<Epoch>> {
        self.fresh.iter().filter_map(|span| span.inner.clone()).map(Reader::new).collect()
    }

    /// Everything before `through` has been worked off; of the rest of the dataflow, nothing before `since` is asked for.
    fn advance(&mut self, through: Option<Epoch>) {
        let worked_off = |span: &Span<Epoch, _>| match (span.upper().iter().next(), through) {
            (Some(upper), Some(through)) => *upper <= through,
            (None, Some(_)) => false,
            (_, None) => true,
        };
        while let Some(span) = self.fresh.pop_front_if(|span| worked_off(span)) {
            if !timely::PartialOrder::less_than(span.upper(), &self.acknowledged) {
                self.acknowledged.clone_from(span.upper());
            }
        }
        if self.fresh.is_empty() {
            self.trace.advance_upper(&mut self.acknowledged);
        }
        let since = through.map_or_else(Antichain::new, Antichain::from_elem);
        self.trace.set_logical_compaction(since.borrow());
        self.trace.set_physical_compaction(self.acknowledged.borrow());
    }
}

/// Changes of the other side as a whole: rows, and rows with a null in their key.
type Totals = (Epoch, i64, i64);

/// Builds the operator on one worker.
pub(super) fn one_sided<'scope>(
    ours: ArrangedRows<'scope, Epoch>,
    theirs: ArrangedRows<'scope, Epoch>,
    join: OneSided,
    name: &str,
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
        join,
    };
    builder.build(move |capabilities| {
        let mut capabilities = Some(capabilities);
        move |frontiers| {
            if let Some(input) = &mut totals_input {
                input.for_each(|_, totals| work.take_totals(totals));
            }
            our_input.for_each(|_, spans| work.ours.fresh.extend(spans.drain(..)));
            their_input.for_each(|_, spans| work.theirs.fresh.extend(spans.drain(..)));
            let Some(held) = capabilities.as_mut() else { return };
            let frontier = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
            if frontier.is_some_and(|frontier| frontier <= work.from) {
                return;
            }
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
            match frontier {
                Some(frontier) => held.iter_mut().for_each(|capability| capability.downgrade(&frontier)),
                None => capabilities = None,
            }
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
}

impl Work {
    fn take_totals(&mut self, totals: &mut Vec<Totals>) {
        for (time, rows, nulls) in totals.drain(..) {
            let sum = self.changes.entry(time).or_default();
            *sum = (sum.0 + rows, sum.1 + nulls);
        }
    }

    fn regime(&self) -> Regime {
        match self.totals {
            (_, nulls) if nulls > 0 => Regime::HoldsNull,
            (rows, _) if rows > 0 => Regime::Normal,
            _ => Regime::Empty,
        }
    }

    /// Works off what lies before the frontier.
    fn through(&mut self, frontier: Option<Epoch>, put_out: &mut PutOut<'_>) {
        let end = frontier.unwrap_or(Epoch::MAX);
        if self.join.outcome == Outcome::NotIn {
            // Where the regime changes, all rows of ours may come or go.
            while let Some(time) = self.changes.keys().next().copied().filter(|time| *time < end) {
                let before = self.regime();
                let change = self.changes.remove(&time).expect("found above");
                self.totals = (self.totals.0 + change.0, self.totals.1 + change.1);
                let after = self.regime();
                if before != after {
                    self.visit(self.from..time, (before, before), false, put_out);
                    self.visit(time..time + 1, (before, after), true, put_out);
                    self.from = time + 1;
                }
            }
        }
        let regime = self.regime();
        self.visit(self.from..end, (regime, regime), false, put_out);
        self.from = end;
        self.ours.advance(frontier);
        self.theirs.advance(frontier);
    }

    /// Visits the keys touched in some epochs, or all of ours.
    fn visit(&mut self, epochs: std::ops::Range<Epoch>, regimes: (Regime, Regime), all: bool, put_out: &mut PutOut<'_>) {
        if epochs.is_empty() {
            return;
        }
        let (mut our_fresh, mut their_fresh) = (self.ours.fresh(), self.theirs.fresh());
        if our_fresh.is_empty() && their_fresh.is_empty() && !all {
            return;
        }
        let (mut our_old, mut their_old) = (self.ours.old(), self.theirs.old());
        let mut evaluation = Evaluation::new(&self.join, regimes, epochs, all);
        loop {
            let least = |readers: &[Reader<Epoch>]| readers.iter().filter_map(Reader::key).min().map(|(hash, key)| (hash, key.to_vec()));
            let candidates = [least(&our_fresh), least(&their_fresh), if all { least(&our_old) } else { None }];
            let Some((hash, bytes)) = candidates.into_iter().flatten().min() else { break };
            let key = (hash, bytes.as_slice());
            let mut rows = KeyRows::new(has_null(hash));
            let matchable = self.join.shape.null_equals_null || !has_null(hash);
            rows.ours.take_fresh(&mut our_fresh, key, evaluation.epochs());
            rows.theirs.take_fresh(&mut their_fresh, key, evaluation.epochs());
            if !matchable {
                rows.theirs.clear();
            }
            if rows.ours.is_untouched() && rows.theirs.is_untouched() && !all {
                continue;
            }
            if matchable {
                rows.theirs.take_old(&mut their_old, key);
            }
            if all || evaluation.needs_our_old(&rows) {
                rows.ours.take_old(&mut our_old, key);
            }
            evaluation.add(rows, put_out);
        }
        evaluation.finish(put_out);
    }
}

impl Emitted {
    pub(super) fn new() -> Self {
        Self { rows: super::pairs::Side::default(), times: Column::default(), diffs: Column::default(), marks: Vec::new() }
    }
}
