//! Against naive integers of thousands of bits, kept as vectors of single bits' worth of `u32` digits.

use super::*;
use proptest::prelude::*;

/// A signed integer in units of 2^-2200: digits of 32 bits, kept as one positive and one negative pile.
#[derive(Clone)]
pub(in crate::state) struct Naive {
    plus: Vec<u32>,
    minus: Vec<u32>,
}

pub(in crate::state) const UNIT: i32 = -2200;
const DIGITS: usize = 160;

fn bump(pile: &mut [u32], mut at: usize, bit: u32) {
    let mut carry = 1u64 << bit;
    while carry != 0 {
        let sum = u64::from(pile[at]) + carry;
        pile[at] = sum as u32;
        carry = sum >> 32;
        at += 1;
    }
}

impl Naive {
    pub(in crate::state) fn new() -> Self {
        Self { plus: vec![0; DIGITS], minus: vec![0; DIGITS] }
    }

    /// Adds each bit of `mantissa · 2^exponent` by itself, `|times|` times.
    pub(in crate::state) fn add(&mut self, negative: bool, mantissa: u128, exponent: i32, times: i64) {
        let pile = if negative != (times < 0) { &mut self.minus } else { &mut self.plus };
        for bit in 0..128 {
            if mantissa >> bit & 1 == 1 {
                for factor in 0..64 {
                    if times.unsigned_abs() >> factor & 1 == 1 {
                        let position = (exponent + bit + factor - UNIT) as u32;
                        bump(pile, (position / 32) as usize, position % 32);
                    }
                }
            }
        }
    }

    pub(in crate::state) fn add_float(&mut self, x: f64, times: i64) {
        let (mantissa, exponent) = parts(x);
        self.add(x < 0.0, mantissa, exponent, times);
    }

    pub(in crate::state) fn add_square(&mut self, x: f64, times: i64) {
        let (mantissa, exponent) = parts(x);
        self.add(false, mantissa * mantissa, 2 * exponent, times);
    }

    /// Adds (x − y)².
    pub(in crate::state) fn add_squared_difference(&mut self, x: f64, y: f64, times: i64) {
        self.add_square(x, times);
        self.add_square(y, times);
        let ((a, ea), (b, eb)) = (parts(x), parts(y));
        self.add((x < 0.0) == (y < 0.0), a * b, ea + eb + 1, times);
    }

    /// Sign and digits of the difference of the piles.
    pub(in crate::state) fn digits(&self) -> (bool, Vec<u32>) {
        let negative = self.plus.iter().rev().lt(self.minus.iter().rev());
        let (large, small) = if negative { (&self.minus, &self.plus) } else { (&self.plus, &self.minus) };
        let mut borrow = 0i64;
        let digits = large.iter().zip(small).map(|(&a, &b)| {
            let apart = i64::from(a) - i64::from(b) - borrow;
            borrow = i64::from(apart < 0);
            apart as u32
        });
        (negative, digits.collect())
    }
}

fn parts(x: f64) -> (u128, i32) {
    let bits = x.abs().to_bits();
    if bits >> 52 == 0 { (bits.into(), -1074) } else { (((bits & ((1 << 52) - 1)) | (1 << 52)).into(), (bits >> 52) as i32 - 1075) }
}

/// Compares `numerator / denominator` (the numerator in units of 2^`unit`) with `mantissa · 2^exponent`, or with its square: by cross
/// multiplication, bit by bit.
fn compare(numerator: &[u32], unit: i32, denominator: u128, mantissa: u128, exponent: i32, squared: bool) -> std::cmp::Ordering {
    let mut pile = vec![0u32; DIGITS + 60];
    let (mantissa, exponent) = if squared { (mantissa * mantissa, 2 * exponent) } else { (mantissa, exponent) };
    for bit in 0..128 {
        if denominator >> bit & 1 == 1 {
            for own in 0..128 {
                if mantissa >> own & 1 == 1 {
                    let position = exponent + bit + own - unit;
                    assert!(position >= 0, "the unit is fine enough");
                    bump(&mut pile, position as usize / 32, position as u32 % 32);
                }
            }
        }
    }
    let mut other = numerator.to_vec();
    other.resize(pile.len(), 0);
    other.iter().rev().cmp(pile.iter().rev())
}

/// Whether `numerator / denominator` rounds to `x`: it lies no further from `x` than from its neighbours, and a tie is even.
pub(in crate::state) fn is_nearest(numerator: &[u32], unit: i32, denominator: u128, x: f64) -> bool {
    rounds_to(numerator, unit, denominator, x, false)
}

/// Whether the square root of `numerator / denominator` rounds to `x`.
pub(in crate::state) fn is_nearest_root(numerator: &[u32], unit: i32, denominator: u128, x: f64) -> bool {
    rounds_to(numerator, unit, denominator, x, true)
}

fn rounds_to(numerator: &[u32], unit: i32, denominator: u128, x: f64, root: bool) -> bool {
    use std::cmp::Ordering::*;
    let compare = |mantissa, exponent| compare(numerator, unit, denominator, mantissa, exponent, root);
    let x = x.abs();
    let even = x.to_bits() & 1 == 0;
    if x == f64::INFINITY {
        // Half way from the greatest finite value to 2^1024.
        return compare((1 << 54) - 1, 970) != Less;
    }
    let (mantissa, exponent) = parts(x);
    let above = compare(2 * mantissa + 1, exponent - 1);
    let mut fine = above == Less || (above == Equal && even);
    if mantissa != 0 {
        // Below a power of two neighbours are half as far.
        let thin = mantissa == 1 << 52 && exponent > -1074;
        let below = if thin { compare(4 * mantissa - 1, exponent - 2) } else { compare(2 * mantissa - 1, exponent - 1) };
        fine &= below == Greater || (below == Equal && even);
    }
    fine
}

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => any::<f64>().prop_filter("finite", |x| x.is_finite()),
        4 => (-1000i32..1000).prop_map(|x| f64::from(x) / 100.0),
        2 => (any::<i32>(), -40i32..40).prop_map(|(m, e)| f64::from(m) * 2f64.powi(e)),
        1 => (any::<u32>()).prop_map(|bits| f64::from_bits(u64::from(bits))),
        1 => prop::sample::select(vec![
            0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, -5e-324, 1.0, -1.0, 1e300, -1e300, 0.1, 2f64.powi(62), 2f64.powi(-64),
            2f64.powi(-65), 4611686018427387400.0,
        ]),
    ]
}

fn any_rows() -> impl Strategy<Value = Vec<(f64, i64)>> {
    let diff = prop_oneof![6 => Just(1i64), 2 => -3i64..4, 1 => any::<i32>().prop_map(i64::from)];
    prop::collection::vec((any_float(), diff), 0..40)
}

/// The sum as the accumulators keep it: fixed where it fits, the rest in chunks.
fn sum_of(rows: &[(f64, i64)]) -> FloatSum {
    let mut sum = FloatSum::default();
    for &(x, diff) in rows {
        match to_fixed(x).and_then(|fixed| fixed.checked_mul(diff.into())) {
            Some(fixed) => sum.add_fixed(fixed),
            None => sum.add(x, diff),
        }
    }
    sum
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn sums_round_to_the_nearest(rows in any_rows(), divisor in prop_oneof![Just(1u64), 1..1000u64, any::<u64>().prop_map(|d| d | 1)]) {
        let mut naive = Naive::new();
        for &(x, diff) in &rows {
            naive.add_float(x, diff);
        }
        let (negative, digits) = naive.digits();
        let sum = sum_of(&rows);
        let result = sum.ratio(divisor, Precision::Double);
        prop_assert!(is_nearest(&digits, UNIT, divisor.into(), result), "{:?} / {} is not {}", rows, divisor, result);
        prop_assert!(result == 0.0 || (result < 0.0) == negative);
    }

    #[test]
    fn variance_rounds_to_the_nearest(values in prop::collection::vec(any_float(), 2..20), sample in any::<bool>()) {
        let count = values.len() as u64;
        let divisor = count - u64::from(sample);
        let (mut sum, mut squares) = (FloatSum::default(), SquareSum::default());
        let mut naive = Naive::new();
        // count² · variance = Σ over pairs (x − y)², a sum without cancellation that has nothing in common with the formula tested.
        for (i, &x) in values.iter().enumerate() {
            sum.add(x, 1);
            squares.add(x, 1);
            for &y in &values[..i] {
                naive.add_squared_difference(x, y, 1);
            }
        }
        let (negative, digits) = naive.digits();
        prop_assert!(!negative);
        let total = sum.magnitude().1;
        let variance = spread(&total, squares.magnitude().1, FloatSum::EXPONENT, count, divisor, false, Precision::Double);
        prop_assert!(is_nearest(&digits, UNIT, u128::from(count) * u128::from(divisor), variance), "{:?}: {}", values, variance);
        let deviation = spread(&total, squares.magnitude().1, FloatSum::EXPONENT, count, divisor, true, Precision::Double);
        prop_assert!(is_nearest_root(&digits, UNIT, u128::from(count) * u128::from(divisor), deviation), "{:?}: {}", values, deviation);
    }

    #[test]
    fn order_grouping_and_retraction_leave_no_trace(rows in any_rows(), cut in any::<prop::sample::Index>(), seed in any::<u64>()) {
        let mut shuffled = rows.clone();
        shuffled.sort_by_key(|(x, _)| x.to_bits().wrapping_mul(seed | 1));
        let (left, right) = shuffled.split_at(cut.index(rows.len() + 1));
        let mut merged = sum_of(left);
        merged.merge(&sum_of(right), false);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        merged.encode(&mut a);
        sum_of(&rows).encode(&mut b);
        prop_assert_eq!(&a, &b);
        let mut again = Vec::new();
        FloatSum::decode(&a).encode(&mut again);
        prop_assert_eq!(&a, &again);
        merged.merge(&sum_of(right), true);
        for &(x, diff) in left {
            merged.add(x, -diff);
        }
        let mut emptied = Vec::new();
        merged.encode(&mut emptied);
        let mut empty = Vec::new();
        FloatSum::default().encode(&mut empty);
        prop_assert_eq!(emptied, empty);
    }

    #[test]
    fn fixed_values_are_the_values(x in any_float()) {
        let (mut naive, mut own) = (Naive::new(), Naive::new());
        naive.add_float(x, 1);
        let fits = x == 0.0 || (x.abs() < 2f64.powi(62) && { let (m, e) = parts(x); e + m.trailing_zeros() as i32 >= -64 });
        match to_fixed(x) {
            Some(fixed) => {
                own.add(fixed < 0, fixed.unsigned_abs(), -64, 1);
                prop_assert_eq!(own.digits(), naive.digits());
                prop_assert!(fits);
            }
            None => prop_assert!(!fits, "{} fits", x),
        }
    }

    #[test]
    fn singles_round_once(mantissa in any::<u64>(), exponent in -220..100i32) {
        let result = ratio(false, &[mantissa], exponent, 1, Precision::Single);
        // Odd rounding to 53 bits first loses nothing of what rounding to 24 bits needs.
        let (top, odd) = (mantissa >> 11, mantissa & 0x7ff != 0);
        let exact = (top | u64::from(odd)) as f64;
        let expected = (exact * 2f64.powi((exponent + 11) / 2) * 2f64.powi(exponent + 11 - (exponent + 11) / 2)) as f32;
        prop_assert_eq!(result as f32, expected);
        prop_assert!(result.is_infinite() || f64::from(result as f32) == result || (result as f32).is_infinite());
    }
}

#[test]
fn specials_win_and_leave() {
    let mut sum = FloatSum::default();
    sum.add(1.5, 1);
    sum.add(f64::INFINITY, 2);
    assert_eq!(sum.ratio(1, Precision::Double), f64::INFINITY);
    sum.add(f64::NEG_INFINITY, 1);
    assert!(sum.ratio(1, Precision::Double).is_nan());
    sum.add(f64::INFINITY, -2);
    assert_eq!(sum.ratio(1, Precision::Double), f64::NEG_INFINITY);
    sum.add(f64::NAN, 1);
    assert!(sum.ratio(1, Precision::Double).is_nan());
    sum.add(f64::NAN, -1);
    sum.add(f64::NEG_INFINITY, -1);
    assert_eq!(sum.ratio(1, Precision::Double), 1.5);
    sum.add(-1.5, 1);
    assert_eq!(sum.ratio(1, Precision::Double).to_bits(), 0.0f64.to_bits());
}

#[test]
fn extremes_do_not_disturb_each_other() {
    let mut sum = FloatSum::default();
    for x in [1e308, 1e308, 5e-324, 1.0, -1e308, -1e308, -1.0] {
        sum.add(x, 1);
    }
    assert_eq!(sum.ratio(1, Precision::Double), 5e-324);
    let mut large = FloatSum::default();
    large.add(f64::MAX, i64::MAX);
    assert_eq!(large.ratio(1, Precision::Double), f64::INFINITY);
    assert_eq!(large.ratio(i64::MAX as u64, Precision::Double), f64::MAX);
    let mut squares = SquareSum::default();
    squares.add(f64::MAX, i64::MAX);
    squares.add(5e-324, 1);
    squares.add(f64::MAX, -i64::MAX);
    let (negative, limbs) = squares.magnitude();
    assert_eq!((negative, bit_length(&limbs)), (false, (2176 - 2148) + 1));
}

#[test]
fn carries_settle_in_time() {
    let mut sum = FloatSum { pending: PENDING_MAX - 2, ..FloatSum::default() };
    for _ in 0..5 {
        sum.add(-1.0, 1);
    }
    assert_eq!((sum.pending, sum.ratio(1, Precision::Double)), (3, -5.0));
}
