//! `min` and `max` of primitive values over append-only input: the best key of each group.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::DataType;

use super::order::Ordered;
use super::rows::Rows;
use crate::state::accumulator::{Accumulator, AggregateInput};

/// The best value of each group.
///
/// An empty group holds the worst key, so the loop over rows is one comparison. Whether a group that holds the worst key has in
/// fact seen it is noted apart.
pub(super) struct Best<T: ArrowPrimitiveType, const GREATEST: bool>
where
    T::Native: Ordered,
{
    best: Vec<<T::Native as Ordered>::Key>,
    /// Groups that have seen the worst key, a bit each; shorter than `best` as long as there are none.
    seen_worst: Vec<u64>,
    output: DataType,
    value: PhantomData<fn() -> T>,
}

impl<T: ArrowPrimitiveType, const GREATEST: bool> Best<T, GREATEST>
where
    T::Native: Ordered,
{
    const WORST: <T::Native as Ordered>::Key = if GREATEST { <T::Native as Ordered>::LEAST } else { <T::Native as Ordered>::GREATEST };

    pub(super) fn new(output: DataType) -> Self {
        Self { best: Vec::new(), seen_worst: Vec::new(), output, value: PhantomData }
    }

    #[inline(always)]
    fn better(a: <T::Native as Ordered>::Key, b: <T::Native as Ordered>::Key) -> bool {
        if GREATEST { a > b } else { a < b }
    }

    fn take(&mut self, rows: &Rows<'_>, values: &[T::Native]) {
        let Self { best, seen_worst, .. } = self;
        let best = best.as_mut_slice();
        if let Some(group) = rows.only_group() {
            let mut least = best[group];
            for &value in values {
                let key = value.key();
                least = if Self::better(key, least) { key } else { least };
            }
            best[group] = least;
            if least == Self::WORST {
                note(seen_worst, group);
            }
            return;
        }
        rows.for_each(|row, group, diff| {
            assert!(diff > 0, "append-only input takes nothing back");
            let key = values[row].key();
            if Self::better(key, best[group]) {
                best[group] = key;
            } else if key == Self::WORST {
                note(seen_worst, group);
            }
        });
    }

    fn result(&self, group: u32) -> Option<T::Native> {
        let key = self.best[group as usize];
        let seen = key != Self::WORST || self.seen_worst.get(group as usize / 64).is_some_and(|word| word >> (group % 64) & 1 == 1);
        seen.then(|| T::Native::value(key))
    }
}

#[cold]
fn note(seen_worst: &mut Vec<u64>, group: usize) {
    if seen_worst.len() <= group / 64 {
        seen_worst.resize(group / 64 + 1, 0);
    }
    seen_worst[group / 64] |= 1 << (group % 64);
}

impl<T: ArrowPrimitiveType, const GREATEST: bool> Accumulator for Best<T, GREATEST>
where
    T::Native: Ordered,
{
    fn resize(&mut self, groups: usize) {
        if groups > self.best.len() {
            self.best.resize(groups, Self::WORST);
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let values = &input.args[0].as_primitive::<T>().values()[..groups.len()];
        self.take(&Rows::new(groups, diffs, input.filter, &input.args[..1]), values);
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![self.output.clone()]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        vec![self.evaluate(groups, &mut Vec::new())]
    }

    fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        let partial = partials[0].as_primitive::<T>();
        self.take(&Rows::of_partials(groups, partial.nulls()), partial.values());
    }

    fn invertible(&self) -> bool {
        false
    }

    fn subtract(&mut self, _groups: &[u32], _partials: &[ArrayRef]) {
        unreachable!("the best of append-only input is not invertible");
    }

    fn evaluate(&self, groups: &[u32], _errors: &mut Vec<(usize, String)>) -> ArrayRef {
        let results: PrimitiveArray<T> = groups.iter().map(|&group| self.result(group)).collect();
        Arc::new(results.with_data_type(self.output.clone()))
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.best[group as usize] = Self::WORST;
            if let Some(word) = self.seen_worst.get_mut(group as usize / 64) {
                *word &= !(1 << (group % 64));
            }
        }
    }

    fn reset(&mut self) {
        self.best.clear();
        self.seen_worst.clear();
    }

    fn bytes(&self) -> usize {
        self.best.capacity() * size_of::<<T::Native as Ordered>::Key>() + self.seen_worst.capacity() * size_of::<u64>()
    }
}
