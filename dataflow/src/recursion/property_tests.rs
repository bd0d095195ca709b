//! Whatever rounds make in whatever epochs: at every round of every epoch, the changes that went out add up to what was made until then, each
//! row once (or as often), and the net changes to the last round's.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;

use super::Round;
use super::rounds::{COPIES_MAX, Rounds, TooOften};
use crate::aggregate::RowWatermarks;
use crate::batch::{Batch, record_batch};
use crate::keyed_operator::Encode;
use crate::set_operation::WholeRows;

fn rows(values: &[i64]) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
    record_batch(&schema.into(), vec![Arc::new(Int64Array::from(values.to_vec()))], values.len())
}

fn absorb(store: &mut Rounds, round: Round, value: i64, diff: i64) {
    let mut encoder = WholeRows::new(&rows(&[]).schema()).expect("numbers are equal or not");
    let pushed = Encode::push(&mut encoder, &Batch::computed(rows(&[value]), Some(vec![diff])), RowWatermarks::None);
    pushed.batches.iter().for_each(|batch| store.absorb(round, batch));
}

fn read(batches: &[Batch]) -> Vec<(i64, i64)> {
    let one = |batch: &Batch| {
        let diffs: Vec<i64> = (0..batch.len()).map(|row| batch.diffs.as_ref().map_or(1, |diffs| diffs[row])).collect();
        batch.rows.column(0).as_primitive::<Int64Type>().values().iter().copied().zip(diffs).collect::<Vec<_>>()
    };
    batches.iter().flat_map(one).collect()
}

proptest! {
    #[test]
    fn changes_add_up(
        distinct in any::<bool>(),
        epochs in prop::collection::vec(prop::collection::vec((0..5u64, 0..6_i64, any::<bool>()), 0..12), 1..8),
    ) {
        let mut store = Rounds::new(distinct, &rows(&[]).schema()).expect("numbers are equal or not");
        // By round and value, all epochs together.
        let mut made: BTreeMap<(Round, i64), i64> = BTreeMap::new();
        let mut out: BTreeMap<(Round, i64), i64> = BTreeMap::new();
        let mut net: BTreeMap<i64, i64> = BTreeMap::new();
        for mut epoch in epochs {
            epoch.sort_by_key(|(round, ..)| *round);
            let mut changes = epoch.into_iter().peekable();
            loop {
                let came = changes.peek().map(|(round, ..)| *round);
                let Some(round) = came.into_iter().chain(store.next()).min() else { break };
                while let Some((round, value, back)) = changes.next_if(|(at, ..)| *at == round) {
                    // A round never takes back more than rounds up to it have made.
                    let until: i64 = made.iter().filter(|((at, of), _)| *at <= round && *of == value).map(|(_, count)| count).sum();
                    let later = made.iter().filter(|((at, of), _)| *at > round && *of == value).map(|(_, count)| *count);
                    let least = later.scan(until, |sum, count| { *sum += count; Some(*sum) }).chain([until]).min().unwrap_or(0);
                    let diff = if back && least > 0 { -1 } else { 1 };
                    *made.entry((round, value)).or_default() += diff;
                    absorb(&mut store, round, value, diff);
                }
                for (value, diff) in read(&store.close(round).expect("few rows")) {
                    *out.entry((round, value)).or_default() += diff;
                }
            }
            for (value, diff) in read(&store.finish()) {
                *net.entry(value).or_default() += diff;
            }
            for round in 0..5 {
                for value in 0..6 {
                    let sum = |of: &BTreeMap<(Round, i64), i64>| {
                        of.iter().filter(|((at, it), _)| *at <= round && *it == value).map(|(_, count)| count).sum::<i64>()
                    };
                    let wanted = if distinct { i64::from(sum(&made) > 0) } else { sum(&made) };
                    prop_assert_eq!(sum(&out), wanted, "{} in round {}", value, round);
                    if round == 4 {
                        prop_assert_eq!(net.get(&value).copied().unwrap_or(0), wanted, "{}", value);
                    }
                }
            }
            let kept: std::collections::BTreeSet<i64> = made.iter().filter(|(_, count)| **count != 0).map(|((_, value), _)| *value).collect();
            prop_assert_eq!(store.held().0, if distinct { kept.len() } else { 0 });
        }
    }
}

#[test]
fn a_row_that_is_made_too_often_is_refused() {
    let mut store = Rounds::new(false, &rows(&[]).schema()).expect("numbers are equal or not");
    absorb(&mut store, 0, 7, COPIES_MAX);
    assert!(store.close(0).is_ok());
    absorb(&mut store, 1, 7, COPIES_MAX + 1);
    assert_eq!(store.close(1).err(), Some(TooOften));
}
