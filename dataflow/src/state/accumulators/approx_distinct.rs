//! `approx_distinct` over append-only input: the hashes themselves for small groups, so that their counts are exact, then
//! HyperLogLog with 2^14 registers.
//!
//! The estimate is Ertl's (2017), "New cardinality estimation algorithms for HyperLogLog sketches". Which form a group has
//! depends on its number of distinct hashes alone, so neither order nor the way of merging reaches the result.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, LargeBinaryBuilder, UInt64Array};
use arrow::datatypes::DataType;

use super::bits_of::{AsBits, with_bits_type};
use super::codec::{Bytes, Codec, one_nan, with_bytes};
use super::rows::Rows;
use super::value_set::Bits;
use super::{finish, hash};
use crate::state::accumulator::{Accumulator, AggregateInput};

const INDEX_BITS: u32 = 14;
const REGISTERS: usize = 1 << INDEX_BITS;
/// Ranks are 1 to this.
const RANK_MAX: usize = 64 - INDEX_BITS as usize + 1;
/// Slots of the largest table, of which half are used; beyond, registers cost little more.
const TABLE_MAX: usize = 1024;

/// What is known of one group.
#[derive(Default)]
enum Sketch {
    #[default]
    Empty,
    /// Hashes under open addressing; zero is free.
    Table {
        slots: Box<[u64]>,
        used: usize,
    },
    Registers(Box<[u8; REGISTERS]>),
}

/// Forms as they are written.
const HASHES: u8 = 0;
const RANKS: u8 = 1;

impl Sketch {
    #[inline]
    fn add_hash(&mut self, hash: u64, heap: &mut usize) {
        match self {
            Self::Registers(registers) => {
                let (index, rank) = register(hash);
                registers[index] = registers[index].max(rank);
            }
            Self::Table { slots, used } => {
                // Zero stands for a free slot.
                let hash = hash.max(1);
                let mask = slots.len() - 1;
                let mut at = hash as usize & mask;
                while slots[at] != 0 {
                    if slots[at] == hash {
                        return;
                    }
                    at = (at + 1) & mask;
                }
                slots[at] = hash;
                *used += 1;
                if *used * 2 > slots.len() {
                    self.grow(heap);
                }
            }
            Self::Empty => {
                *self = Self::Table { slots: vec![0; 4].into(), used: 0 };
                *heap += self.heap();
                self.add_hash(hash, heap);
            }
        }
    }

    #[cold]
    fn grow(&mut self, heap: &mut usize) {
        let Self::Table { slots, .. } = self else { return };
        let size = slots.len() * 2;
        if size > TABLE_MAX {
            self.ranks(heap);
            return;
        }
        let old = std::mem::replace(self, Self::Table { slots: vec![0; size].into(), used: 0 });
        *heap = *heap + self.heap() - old.heap();
        old.hashes().for_each(|hash| self.add_hash(hash, heap));
    }

    /// Its registers, whatever form it had.
    fn ranks(&mut self, heap: &mut usize) -> &mut [u8; REGISTERS] {
        if !matches!(self, Self::Registers(_)) {
            let mut registers: Box<[u8; REGISTERS]> = match vec![0; REGISTERS].into_boxed_slice().try_into() {
                Ok(registers) => registers,
                Err(_) => unreachable!("the slice has the array's length"),
            };
            for (index, rank) in self.hashes().map(register) {
                registers[index] = registers[index].max(rank);
            }
            let old = std::mem::replace(self, Self::Registers(registers));
            *heap = *heap + self.heap() - old.heap();
        }
        match self {
            Self::Registers(registers) => registers,
            _ => unreachable!("made above"),
        }
    }

    /// The hashes of a table.
    fn hashes(&self) -> impl Iterator<Item = u64> + '_ {
        let slots = if let Self::Table { slots, .. } = self { &slots[..] } else { &[] };
        slots.iter().copied().filter(|slot| *slot != 0)
    }

    fn heap(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Table { slots, .. } => slots.len() * 8,
            Self::Registers(_) => REGISTERS,
        }
    }

    fn estimate(&self) -> u64 {
        let registers = match self {
            Self::Empty => return 0,
            Self::Table { used, .. } => return *used as u64,
            Self::Registers(registers) => registers,
        };
        let mut histogram = [0u32; RANK_MAX + 1];
        registers.iter().for_each(|rank| histogram[usize::from(*rank)] += 1);
        let m = REGISTERS as f64;
        let mut z = m * tau((m - f64::from(histogram[RANK_MAX])) / m);
        for &count in histogram[1..RANK_MAX].iter().rev() {
            z = 0.5 * (z + f64::from(count));
        }
        z += m * sigma(f64::from(histogram[0]) / m);
        (0.5 / std::f64::consts::LN_2 * m * m / z).round() as u64
    }

    /// A byte for the form, then eight bytes for each hash, or three for each register in use: index, rank.
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Empty => {}
            Self::Table { .. } => {
                bytes.push(HASHES);
                self.hashes().for_each(|hash| bytes.extend_from_slice(&hash.to_le_bytes()));
            }
            Self::Registers(registers) => {
                bytes.push(RANKS);
                for (index, rank) in registers.iter().enumerate().filter(|(_, rank)| **rank != 0) {
                    bytes.extend_from_slice(&(index as u16).to_le_bytes());
                    bytes.push(*rank);
                }
            }
        }
    }

    /// Adds what another wrote.
    fn merge(&mut self, bytes: &[u8], heap: &mut usize) {
        match bytes.split_first() {
            Some((&RANKS, ranks)) => {
                let registers = self.ranks(heap);
                for register in ranks.chunks_exact(3) {
                    let index = usize::from(u16::from_le_bytes([register[0], register[1]]));
                    registers[index] = registers[index].max(register[2]);
                }
            }
            Some((_, hashes)) => {
                for hash in hashes.chunks_exact(8) {
                    self.add_hash(u64::from_le_bytes(hash.try_into().expect("eight bytes")), heap);
                }
            }
            None => {}
        }
    }
}

/// The register of a hash, and the rank it raises it to.
#[inline]
fn register(hash: u64) -> (usize, u8) {
    let index = (hash & (REGISTERS as u64 - 1)) as usize;
    let rank = ((hash >> INDEX_BITS) | (1 << (64 - INDEX_BITS))).trailing_zeros() as u8 + 1;
    (index, rank)
}

fn sigma(x: f64) -> f64 {
    let (mut x, mut y, mut z) = (x, 1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut x, mut y, mut z) = (x, 1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

/// How a column's values are hashed.
type HashColumn = fn(&ArrayRef, &mut Vec<u64>);

/// Sketches of distinct values.
pub(super) struct ApproxDistinct {
    sketches: Vec<Sketch>,
    heap: usize,
    /// For primitive values.
    hash: Option<HashColumn>,
    /// For all others.
    codec: Option<Codec>,
    hashes: Vec<u64>,
    output: DataType,
}

impl ApproxDistinct {
    pub(super) fn new(value_type: &DataType, output: DataType) -> Result<Self, String> {
        macro_rules! hasher {
            ($type:ty) => {
                Some(hash_primitive::<$type> as HashColumn)
            };
        }
        let hash = with_bits_type!(value_type, hasher, None);
        let codec = if hash.is_some() { None } else { Some(Codec::column(value_type)?) };
        Ok(Self { sketches: Vec::new(), heap: 0, hash, codec, hashes: Vec::new(), output })
    }
}

fn hash_primitive<T: ArrowPrimitiveType>(column: &ArrayRef, hashes: &mut Vec<u64>)
where
    T::Native: AsBits,
{
    hashes.extend(column.as_primitive::<T>().values().iter().map(|value| hash::mixed(value.bits().hash())));
}

fn hash_bytes(source: &impl Bytes, rows: usize, valid: impl Fn(usize) -> bool, hashes: &mut Vec<u64>) {
    hashes.extend((0..rows).map(|row| if valid(row) { hash::mixed(hash::bytes(source.bytes(row))) } else { 0 }));
}

impl Accumulator for ApproxDistinct {
    fn resize(&mut self, groups: usize) {
        if groups > self.sketches.len() {
            self.sketches.resize_with(groups, Sketch::default);
        }
    }

    fn update(&mut self, groups: &[u32], input: AggregateInput<'_>, diffs: Option<&[i64]>) {
        let column = one_nan(&input.args[0]);
        self.hashes.clear();
        match (&self.hash, &self.codec) {
            (Some(hash), _) => hash(&column, &mut self.hashes),
            (None, Some(codec)) => {
                let columns = [column];
                let encoded = codec.encode(&columns);
                let nulls = columns[0].logical_nulls();
                let valid = |row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                with_bytes!(encoded, source => hash_bytes(source, groups.len(), valid, &mut self.hashes));
            }
            (None, None) => unreachable!("values are hashed one way or the other"),
        }
        let Self { sketches, heap, hashes, .. } = self;
        Rows::new(groups, diffs, input.filter, &input.args[..1]).for_each(|row, group, diff| {
            assert!(diff > 0, "append-only input takes nothing back");
            sketches[group].add_hash(hashes[row], heap);
        });
    }

    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::LargeBinary]
    }

    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        let mut builder = LargeBinaryBuilder::new();
        let mut bytes = Vec::new();
        for &group in groups {
            bytes.clear();
            self.sketches[group as usize].encode(&mut bytes);
            builder.append_value(&bytes);
        }
        vec![Arc::new(builder.finish())]
    }

    fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        let partial = partials[0].as_binary::<i64>();
        for (row, &group) in groups.iter().enumerate() {
            self.sketches[group as usize].merge(partial.value(row), &mut self.heap);
        }
    }

    fn invertible(&self) -> bool {
        false
    }

    fn subtract(&mut self, _groups: &[u32], _partials: &[ArrayRef]) {
        unreachable!("a sketch of distinct values is not invertible");
    }

    fn evaluate(&self, groups: &[u32], _errors: &mut Vec<(usize, String)>) -> ArrayRef {
        let estimates = groups.iter().map(|&group| self.sketches[group as usize].estimate());
        finish(Arc::new(estimates.collect::<UInt64Array>()), &self.output)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.heap -= std::mem::take(&mut self.sketches[group as usize]).heap();
        }
    }

    fn reset(&mut self) {
        self.sketches.clear();
        self.heap = 0;
    }

    fn bytes(&self) -> usize {
        self.sketches.capacity() * size_of::<Sketch>() + self.heap + self.hashes.capacity() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two parts, merged either way, are as one sketch of all, around the size where the form changes.
    #[test]
    fn parts_add_up() {
        for (left, right) in [(0, 0), (0, 3), (300, 300), (200, 312), (256, 257), (3, 2_000), (2_000, 3), (700, 5_000)] {
            let hashes = |from: u64, to: u64| (from..to).map(|i| hash::mixed(hash::quick(i)));
            let sketch = |hashes: &mut dyn Iterator<Item = u64>| {
                let (mut sketch, mut heap) = (Sketch::default(), 0);
                hashes.for_each(|hash| sketch.add_hash(hash, &mut heap));
                assert_eq!(sketch.heap(), heap);
                (sketch, heap)
            };
            // They overlap by half of the left part.
            let (start, end) = (left / 2, left / 2 + right);
            let whole = sketch(&mut hashes(0, left).chain(hashes(start, end))).0;
            for parts in [[(0, left), (start, end)], [(start, end), (0, left)]] {
                let [(mut sum, mut heap), (other, _)] = parts.map(|(from, to)| sketch(&mut hashes(from, to)));
                let mut bytes = Vec::new();
                other.encode(&mut bytes);
                sum.merge(&bytes, &mut heap);
                assert_eq!((sum.estimate(), sum.heap()), (whole.estimate(), heap), "{left} and {right}");
            }
        }
    }

    #[test]
    fn estimates_are_within_their_error_in_both_forms() {
        let (mut sketch, mut heap) = (Sketch::default(), 0);
        assert_eq!(sketch.estimate(), 0);
        let mut next = 1u64;
        for i in 0..1_000_000u64 {
            sketch.add_hash(hash::mixed(hash::quick(i)), &mut heap);
            if i < TABLE_MAX as u64 / 2 {
                assert_eq!(sketch.estimate(), i + 1, "small counts are exact");
            }
            if i + 1 == next {
                next = next * 5 / 3 + 1;
                let (estimate, exact) = (sketch.estimate() as f64, (i + 1) as f64);
                // Four standard errors.
                assert!((estimate / exact - 1.0).abs() <= 4.0 * 0.0081 + 0.5 / exact, "{estimate} for {exact}");
            }
        }
        assert_eq!((sketch.heap(), heap), (REGISTERS, REGISTERS));
        let mut texts = Sketch::default();
        for i in 0..100_000 {
            texts.add_hash(hash::mixed(hash::bytes(format!("user-{i}").as_bytes())), &mut heap);
        }
        assert!((texts.estimate() as f64 / 100_000.0 - 1.0).abs() < 4.0 * 0.0081);
    }
}
