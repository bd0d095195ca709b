//! # Errors as a relation
//!
//! **Meaning.** A row for each error of some operators, with the columns of `LetterColumn`.
//! **Time.** Where causes are never taken back, an error is a row at once, on the worker that found it. Else an epoch's errors add up
//! first, when the frontier has passed it; it holds the capability of its input frontier.
//! **State.** None, or one entry for each error that stands: taking one back takes back the row that was given, with the time it had.
//! **Changelog.** Append-only, or retract where some operator below takes rows back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::{ArrayRef, BinaryBuilder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use tidemark_connectors::source::RowError;
use tidemark_planner::plan::{ChangelogKind, LetterColumn, Node};
use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Stream, StreamVec};

use crate::batch::{Batch, record_batch};
use crate::control::{Metrics, OutTo};
use crate::epoch::Epoch;
use crate::error_row::{ErrorAt, ErrorRow};
use crate::letters::Letters;

/// Builds the operator on one worker.
pub(crate) fn errors_relation<'scope>(
    errors: StreamVec<'scope, Epoch, ErrorRow>,
    node: &Node,
    letters: Arc<Letters>,
    metrics: Arc<Metrics>,
    local_worker: usize,
) -> Stream<'scope, Epoch, Batch> {
    match node.props.changelog {
        ChangelogKind::AppendOnly => at_once(errors, node, letters),
        ChangelogKind::Retract | ChangelogKind::Upsert => standing(errors, node, letters, metrics, local_worker),
    }
}

fn at_once<'scope>(errors: StreamVec<'scope, Epoch, ErrorRow>, node: &Node, letters: Arc<Letters>) -> Stream<'scope, Epoch, Batch> {
    let mut builder = OperatorBuilder::new(node.id.to_string(), errors.scope());
    let mut input = builder.new_input(errors, Pipeline);
    let (output, rows) = builder.new_output::<Batch>();
    let mut output = OutputBuilder::<_, NoopBuilder<Batch>>::from(output);
    builder.build(move |_| {
        move |_frontiers| {
            let mut session = output.activate();
            input.for_each(|capability, errors| {
                let epoch = *capability.least().expect("data has a time");
                let mut rows = Rows::default();
                errors.drain(..).for_each(|row| rows.push(&letters, epoch, &row));
                session.session_with_builder(&capability).give_container(&mut rows.finish());
            });
        }
    });
    rows
}

fn standing<'scope>(
    errors: StreamVec<'scope, Epoch, ErrorRow>,
    node: &Node,
    letters: Arc<Letters>,
    metrics: Arc<Metrics>,
    local_worker: usize,
) -> Stream<'scope, Epoch, Batch> {
    let mut builder = OperatorBuilder::new(node.id.to_string(), errors.scope());
    let hasher = Arc::clone(&letters);
    let mut input = builder.new_input(errors, Exchange::new(move |row: &ErrorRow| hasher.letter(0, row).id));
    let (output, rows) = builder.new_output::<Batch>();
    let mut output = OutputBuilder::<_, NoopBuilder<Batch>>::from(output);
    let node = node.id.0;
    let out_to = OutTo { metrics: Arc::clone(&metrics), node, worker: local_worker, part: 0 };
    builder.build(move |mut capabilities| {
        let mut held = capabilities.pop();
        let mut standing = Standing::default();
        move |frontiers| {
            input.for_each(|time, errors| {
                let epoch = *time.least().expect("data has a time");
                errors.drain(..).for_each(|row| standing.absorb(epoch, row));
            });
            let Some(capability) = held.as_mut() else { return };
            out_to.begin();
            let frontier = frontiers[0].frontier().first().copied();
            let mut session = output.activate();
            while let Some((epoch, changes)) = standing.close(frontier) {
                let mut rows = Rows::default();
                changes.iter().for_each(|(at, row)| rows.push(&letters, *at, row));
                if !changes.is_empty() {
                    session.session_with_builder(&capability.delayed(&epoch)).give_container(&mut rows.finish());
                }
            }
            metrics.operator(node).held[local_worker].0.store(standing.errors() as u64, Relaxed);
            metrics.operator(node).held[local_worker].1.store(standing.bytes as u64, Relaxed);
            match frontier {
                Some(frontier) => capability.downgrade(&frontier),
                None => held = None,
            }
            out_to.done(frontier);
        }
    });
    rows
}

/// The errors whose causes have not been taken back, with the epochs they were told in.
#[derive(Debug, Default)]
struct Standing {
    /// The net change of epochs that are open.
    open: BTreeMap<Epoch, BTreeMap<(ErrorAt, RowError), i64>>,
    /// Epochs and counts, the latest last. A count below 0 is of an error taken back before it came: the next one to come meets it.
    told: BTreeMap<(ErrorAt, RowError), Vec<(Epoch, i64)>>,
    bytes: usize,
}

impl Standing {
    fn absorb(&mut self, epoch: Epoch, row: ErrorRow) {
        *self.open.entry(epoch).or_default().entry((row.at, row.error)).or_default() += row.diff;
    }

    /// The changes of the first epoch that lies before the frontier: errors with the epoch they were told in.
    fn close(&mut self, frontier: Option<Epoch>) -> Option<(Epoch, Vec<(Epoch, ErrorRow)>)> {
        let first = self.open.first_entry().filter(|first| frontier.is_none_or(|frontier| *first.key() < frontier))?;
        let (epoch, changes) = first.remove_entry();
        let mut out = Vec::new();
        for (key, mut diff) in changes {
            let told = self.told.entry(key.clone()).or_default();
            let mut put_out = |at: Epoch, diff: i64| out.push((at, ErrorRow { at: key.0, error: key.1.clone(), diff }));
            let new = told.is_empty();
            while diff != 0 {
                match told.last_mut() {
                    Some((at, count)) if count.signum() != diff.signum() => {
                        let met = diff.signum() * diff.abs().min(count.abs());
                        put_out(*at, met);
                        *count += met;
                        diff -= met;
                        if *count == 0 {
                            told.pop();
                        }
                    }
                    _ => {
                        put_out(epoch, diff);
                        told.push((epoch, diff));
                        diff = 0;
                    }
                }
            }
            let bytes = size_of::<(ErrorAt, RowError)>() + key.1.raw.len() + key.1.reason.len();
            if told.is_empty() {
                self.told.remove(&key);
                self.bytes -= if new { 0 } else { bytes };
            } else if new {
                self.bytes += bytes;
            }
        }
        Some((epoch, out))
    }

    fn errors(&self) -> usize {
        self.told.len()
    }
}

/// Letters as a batch.
#[derive(Default)]
struct Rows {
    id: StringBuilder,
    at: TimestampMicrosecondBuilder,
    source: StringBuilder,
    partition: StringBuilder,
    offset: Int64Builder,
    stage: StringBuilder,
    reason: StringBuilder,
    raw: BinaryBuilder,
    row: StringBuilder,
    plan: StringBuilder,
    diffs: Vec<i64>,
}

impl Rows {
    fn push(&mut self, letters: &Letters, at: Epoch, row: &ErrorRow) {
        let letter = letters.letter(at, row);
        self.id.append_value(letter.id_text());
        self.at.append_value(letter.at_us);
        self.source.append_value(letter.source);
        self.partition.append_option(letter.partition.as_deref());
        self.offset.append_option(letter.offset.map(|offset| i64::try_from(offset).unwrap_or(i64::MAX)));
        self.stage.append_value(letter.stage.name());
        self.reason.append_value(letter.reason);
        self.raw.append_option(letter.raw);
        self.row.append_option(letter.row);
        self.plan.append_value(letter.plan_text());
        self.diffs.push(row.diff);
    }

    fn finish(&mut self) -> Batch {
        let columns = LetterColumn::ALL.map(|column| -> ArrayRef {
            match column {
                LetterColumn::Id => Arc::new(self.id.finish()),
                LetterColumn::At => Arc::new(self.at.finish()),
                LetterColumn::Source => Arc::new(self.source.finish()),
                LetterColumn::Partition => Arc::new(self.partition.finish()),
                LetterColumn::Offset => Arc::new(self.offset.finish()),
                LetterColumn::Stage => Arc::new(self.stage.finish()),
                LetterColumn::Reason => Arc::new(self.reason.finish()),
                LetterColumn::Raw => Arc::new(self.raw.finish()),
                LetterColumn::Row => Arc::new(self.row.finish()),
                LetterColumn::Plan => Arc::new(self.plan.finish()),
            }
        });
        let diffs = std::mem::take(&mut self.diffs);
        let rows = diffs.len();
        let diffs = diffs.iter().any(|diff| *diff != 1).then_some(diffs);
        Batch::computed(record_batch(&LetterColumn::schema(), columns.to_vec(), rows), diffs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(offset: u64, diff: i64) -> ErrorRow {
        ErrorRow { at: ErrorAt::Node { node: 1 }, error: RowError { offset, raw: b"{k: 1}".to_vec(), reason: "overflow".into() }, diff }
    }

    proptest! {
        /// After every epoch as many errors stand as have come and not been taken back, and only rows are taken back that were given.
        #[test]
        fn what_stands_is_what_came(
            changes in proptest::collection::vec((0_u64..20, 0_u64..3, -2_i64..3), 0..60),
            closings in proptest::collection::vec(0_u64..25, 0..8),
        ) {
            let mut standing = Standing::default();
            let mut given: BTreeMap<(u64, Epoch), i64> = BTreeMap::new();
            let mut frontier = 0;
            let frontiers = closings.iter().map(|to| Some(*to)).chain([None]);
            // What lies before the frontier has come by then.
            let mut left = changes.clone();
            left.sort_by_key(|(epoch, ..)| *epoch);
            for to in frontiers {
                let to = to.map(|to| to.max(frontier));
                while left.first().is_some_and(|(epoch, ..)| to.is_none_or(|to| *epoch < to)) {
                    let (epoch, offset, diff) = left.remove(0);
                    standing.absorb(epoch, row(offset, diff));
                }
                frontier = to.unwrap_or(Epoch::MAX);
                while let Some((_, changes)) = standing.close(to) {
                    for (at, row) in changes {
                        *given.entry((row.error.offset, at)).or_default() += row.diff;
                    }
                }
                given.retain(|_, count| *count != 0);
                for offset in 0..3 {
                    let came: i64 = changes.iter().filter(|it| it.0 < frontier && it.1 == offset).map(|it| it.2).sum();
                    let stands: i64 = given.iter().filter(|(key, _)| key.0 == offset).map(|(_, count)| count).sum();
                    prop_assert_eq!(came, stands);
                    // Never one row added and another taken back.
                    prop_assert!(given.iter().filter(|(key, _)| key.0 == offset).all(|(_, count)| count.signum() == came.signum()));
                }
                prop_assert_eq!(standing.errors(), (0..3).filter(|offset| given.keys().any(|key| key.0 == *offset)).count());
            }
            if standing.errors() == 0 {
                prop_assert_eq!(standing.bytes, 0);
            }
        }
    }
}
