//! What several processes have counted, added up: the report of their group.
//!
//! Counts add up. What tells how far a group has come is that of the process that is furthest behind.

use std::collections::BTreeMap;

use crate::control::EXAMPLES;
use crate::report::{LateClass, LateReport, OperatorReport, RunReport, SinkReport, SourceReport, StateReport};

impl RunReport {
    /// Adds what another process of the same group has counted.
    pub fn add(&mut self, other: &Self) {
        for (position, more) in other.sources.iter().enumerate() {
            match self.sources.get_mut(position) {
                Some(source) => source.add(more),
                None => self.sources.push(more.clone()),
            }
        }
        for (position, more) in other.sinks.iter().enumerate() {
            match self.sinks.get_mut(position) {
                Some(sink) => sink.add(more),
                None => self.sinks.push(more.clone()),
            }
        }
        for more in &other.operators {
            // A process leaves out operators of which it has nothing to tell.
            match self.operators.binary_search_by_key(&more.node, |operator| operator.node) {
                Ok(at) => self.operators[at].add(more),
                Err(at) => self.operators.insert(at, more.clone()),
            }
        }
        self.elapsed = self.elapsed.max(other.elapsed);
        self.epochs = self.epochs.max(other.epochs);
        self.stopped |= other.stopped;
    }
}

/// The least of what is known.
fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

/// Adds up what is known.
fn add_known<T: Clone>(own: &mut Option<T>, more: &Option<T>, add: impl FnOnce(&mut T, &T)) {
    match (own, more) {
        (Some(own), Some(more)) => add(own, more),
        (own @ None, more) => own.clone_from(more),
        (Some(_), None) => {}
    }
}

impl SourceReport {
    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        // Each process knows the sizes of its own partitions, if it has any.
        self.bytes_total = match (self.bytes_total, other.bytes_total) {
            (Some(one), Some(more)) => Some(one + more),
            (one, _) if other.partitions == 0 => one,
            (_, more) if self.partitions == 0 => more,
            _ => None,
        };
        self.bad += other.bad;
        let room = EXAMPLES.saturating_sub(self.bad_examples.len());
        self.bad_examples.extend(other.bad_examples.iter().take(room).cloned());
        self.partitions += other.partitions;
        self.ended += other.ended;
        self.watermark_us = least(self.watermark_us, other.watermark_us);
        self.confidence = match (self.confidence, other.confidence) {
            (Some(one), Some(more)) => Some(one.min(more)),
            (one, more) => one.or(more),
        };
        self.partition_reports.extend(other.partition_reports.iter().cloned());
    }
}

impl SinkReport {
    fn add(&mut self, other: &Self) {
        self.changes += other.changes;
        self.bytes += other.bytes;
        // Processes that do not write a sink have written to epoch 0 of it.
        let behind = |one: u64, more: u64| if one == 0 || more == 0 { one.max(more) } else { one.min(more) };
        self.written_to_us = behind(self.written_to_us, other.written_to_us);
        self.given_to_us = behind(self.given_to_us, other.given_to_us);
    }
}

impl OperatorReport {
    fn add(&mut self, other: &Self) {
        self.late += other.late;
        add_known(&mut self.late_rows, &other.late_rows, LateReport::add);
        add_known(&mut self.limits, &other.limits, StateReport::add);
        self.errors += other.errors;
        self.ignored += other.ignored;
        self.groups += other.groups;
        self.state_bytes += other.state_bytes;
        self.out_to_us = least(self.out_to_us, other.out_to_us);
        self.at_work_on_us = least(self.at_work_on_us, other.at_work_on_us);
    }
}

impl LateReport {
    fn measured(&self) -> u64 {
        self.classes.iter().map(|class| class.rows).sum()
    }

    fn add(&mut self, other: &Self) {
        let total_us = |of: &Self| i128::from(of.mean_us) * i128::from(of.measured());
        let (sum_us, rows) = (total_us(self) + total_us(other), self.measured() + other.measured());
        self.mean_us = i64::try_from(sum_us / i128::from(rows.max(1))).unwrap_or(i64::MAX);
        self.max_us = self.max_us.max(other.max_us);
        self.corrected += other.corrected;
        self.dropped += other.dropped;
        self.dead_lettered += other.dead_lettered;
        self.moved += other.moved;
        // The last class has no bound: it comes after all that have one.
        let place = |class: &LateClass| (class.below_us.is_none(), class.below_us);
        let mut classes = BTreeMap::new();
        for class in self.classes.iter().chain(&other.classes) {
            *classes.entry(place(class)).or_insert(0) += class.rows;
        }
        self.classes = classes.into_iter().map(|((_, below_us), rows)| LateClass { below_us, rows }).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(below_us: Option<i64>, rows: u64) -> LateClass {
        LateClass { below_us, rows }
    }

    #[test]
    fn counts_add_up_and_places_are_those_of_the_last() {
        let source = |rows: u64, partitions: u64, bytes_total, watermark_us| SourceReport {
            rows,
            bad: 4,
            bad_examples: vec!["bad".into(); 4],
            partitions,
            bytes_total,
            watermark_us,
            ..SourceReport::default()
        };
        let late = |mean_us, classes: Vec<LateClass>| LateReport { dropped: 1, mean_us, max_us: mean_us, classes, ..LateReport::default() };
        let operator =
            |node, late_rows| OperatorReport { node, groups: 2, out_to_us: Some(u64::from(node)), late_rows, ..OperatorReport::default() };
        let mut sum = RunReport {
            sources: vec![source(1, 2, Some(10), None)],
            sinks: vec![SinkReport { changes: 3, written_to_us: 7, ..SinkReport::default() }],
            operators: vec![operator(1, Some(late(10, vec![class(Some(100), 1), class(None, 1)]))), operator(3, None)],
            ..RunReport::default()
        };
        sum.add(&RunReport {
            sources: vec![source(2, 0, None, Some(5))],
            sinks: vec![SinkReport { changes: 4, ..SinkReport::default() }],
            operators: vec![operator(1, Some(late(40, vec![class(Some(1000), 1)]))), operator(2, None)],
            epochs: 9,
            stopped: true,
            ..RunReport::default()
        });
        let read = &sum.sources[0];
        assert_eq!(
            (read.rows, read.bad, read.bad_examples.len(), read.bytes_total, read.watermark_us),
            (3, 8, EXAMPLES, Some(10), Some(5))
        );
        assert_eq!((sum.sinks[0].changes, sum.sinks[0].written_to_us, sum.epochs, sum.stopped), (7, 7, 9, true));
        assert_eq!(sum.operators.iter().map(|operator| (operator.node, operator.groups)).collect::<Vec<_>>(), [(1, 4), (2, 2), (3, 2)]);
        let late = sum.operators[0].late_rows.as_ref().unwrap();
        assert_eq!((late.dropped, late.mean_us, late.max_us), (2, 20, 40));
        assert_eq!(late.classes, [class(Some(100), 1), class(Some(1000), 1), class(None, 1)]);
    }
}
