//! `min`, `max` and exact percentiles over counted ordered multisets of primitive values.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayBuilder, ArrayRef, ArrowPrimitiveType, AsArray, Int64Builder, PrimitiveArray, PrimitiveBuilder};
use arrow::datatypes::{DataType, Int64Type};

use super::lists::{Lists, list_type, lists};
use super::multiset::{Multiset, Value};
use super::order::Ordered;
use super::percentile::Interpolate;
use super::rows::Rows;
use crate::state::accumulator::{Accumulator, AggregateInput};

/// What is read from a group's values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pick<T: ArrowPrimitiveType> {
    /// The least.
    Least,
    /// The greatest.
    Greatest,
    /// The value at a fraction, interpolated.
    Fraction(f64, Interpolate<T>),
}

/// The values of each group, counted.
pub(super) struct OrderedValues<T: ArrowPrimitiveType>
where
    T::Native: Ordered,
{
    sets: Vec<Multiset<<T::Native as Ordered>::Key, ()>>,
    heap: usize,
    pick: Pick<T>,
    value_type: DataType,
    value: PhantomData<fn() -> T>,
}

impl<T: ArrowPrimitiveType> OrderedValues<T>
where
    T::Native: Ordered,
{
    pub(super) fn new(pick: Pick<T>, value_type: DataType) -> Self {
        Self { sets: Vec::new(), heap: 0, pick, value_type, value: PhantomData }
    }

    fn take(&mut self, rows: &Rows<'_>, values: &[T::Native], sign: i64) {
        let Self { sets, heap, .. } = self;
        let sets = sets.as_mut_slice();
        rows.for_each(|row, group, diff| sets[group].add(&Value(values[row].key()), sign * diff, heap));
    }

    fn add(&mut self, groups: &[u32], partials: &[ArrayRef], sign: i64) {
        let values = Lists::new(groups, &partials[0]);
        let counts = Lists::new(groups, &partials[1]);
        let diffs = counts.values.as_primitive::<Int64Type>();
        let rows = Rows::masked(&values.groups, Some(diffs.values()), None);
        self.take(&rows, values.values.as_primitive::<T>().values(), sign);
    }
}

impl<T: ArrowPrimitiveType> Accumulator for OrderedValues<T>
where
    T::Native: Ordered,
{
    fn resize(&mut self, groups: usize) {
        if groups > self.sets.len() {
            self.sets.resize_with(groups, Multiset::default);
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let values = input.args[0].as_primitive::<T>().values();
        self.take(&Rows::new(groups, diffs, input.filter, &input.args[..1]), values, 1);
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![list_type(&self.value_type), list_type(&DataType::Int64)]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let mut values = PrimitiveBuilder::<T>::new();
        let mut counts = Int64Builder::new();
        let mut lengths = Vec::with_capacity(groups.len());
        for &group in groups {
            let before = counts.len();
            for (key, (), count) in self.sets[group as usize].iter() {
                values.append_value(T::Native::value(key));
                counts.append_value(count);
            }
            lengths.push(counts.len() - before);
        }
        let values = values.finish().with_data_type(self.value_type.clone());
        vec![lists(&lengths, Arc::new(values)), lists(&lengths, Arc::new(counts.finish()))]
    }

    fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.add(groups, partials, 1);
    }

    fn invertible(&self) -> bool {
        true
    }

    fn subtract(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        self.add(groups, partials, -1);
    }

    fn evaluate(&self, groups: &[u32], _errors: &mut Vec<(usize, String)>) -> ArrayRef {
        let results = groups.iter().map(|&group| {
            let set = &self.sets[group as usize];
            match &self.pick {
                Pick::Least => set.first().map(|(key, ())| T::Native::value(key)),
                Pick::Greatest => set.last().map(|(key, ())| T::Native::value(key)),
                Pick::Fraction(fraction, interpolate) => {
                    interpolate.at(*fraction, set.present() as usize, |rank| set.nth(rank as i64).map(|(key, ())| T::Native::value(key)))
                }
            }
        });
        let results: PrimitiveArray<T> = results.collect();
        let results = results.with_data_type(self.value_type.clone());
        assert!(results.data_type() == &self.value_type, "values keep their type");
        Arc::new(results)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.sets[group as usize].clear(&mut self.heap);
        }
    }

    fn reset(&mut self) {
        self.sets.clear();
        self.heap = 0;
    }

    fn bytes(&self) -> usize {
        self.sets.capacity() * size_of::<Multiset<<T::Native as Ordered>::Key, ()>>() + self.heap
    }
}
