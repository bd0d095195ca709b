//! Exact sums of floating-point numbers, rounded once.
//!
//! A finite `f64` is an integer times a power of two, so a sum of any number of them is an integer in units of the least one. Most
//! data fits a narrow band, which [`to_fixed`] puts into an `i128` in units of 2^-64. [`ExactSum`] holds the rest: chunks of 32 bits
//! in 64-bit words whose carries wait, after Neal (2015), "Fast exact summation using small and large superaccumulators". Addition
//! is that of integers: order, grouping and retraction cannot change a bit.

use super::wide::{Limbs, bit_length, difference, divide, multiply, shift_left, square, top_bits};

/// Fixed-point values are multiples of two to this power.
pub const FIXED_EXPONENT: i32 = -64;

const FRACTION_BITS: u32 = 52;
const FRACTION_MASK: u64 = (1 << FRACTION_BITS) - 1;

/// The value in units of 2^-64, if it is such a multiple and less than 2^62 without its sign.
#[inline(always)]
pub fn to_fixed(x: f64) -> Option<i128> {
    let bits = x.to_bits();
    let biased = ((bits >> FRACTION_BITS) & 0x7ff) as i32;
    // The fraction's last bit is worth 2^(biased - 1075).
    let shift = biased - 1075 - FIXED_EXPONENT;
    let sign = i128::from((bits as i64) >> 63);
    let fraction = (bits & FRACTION_MASK) | (1 << FRACTION_BITS);
    if (0..74).contains(&shift) {
        let magnitude = i128::from(fraction) << shift;
        return Some((magnitude ^ sign) - sign);
    }
    if shift < 0 && shift > -(FRACTION_BITS as i32) - 1 && fraction & ((1 << -shift) - 1) == 0 {
        let magnitude = i128::from(fraction >> -shift);
        return Some((magnitude ^ sign) - sign);
    }
    (bits << 1 == 0).then_some(0)
}

/// A finite value as sign, magnitude and power of two.
fn split(x: f64) -> (bool, u64, i32) {
    let bits = x.to_bits();
    let biased = ((bits >> FRACTION_BITS) & 0x7ff) as i32;
    let fraction = bits & FRACTION_MASK;
    if biased == 0 {
        (x.is_sign_negative(), fraction, -1074)
    } else {
        (x.is_sign_negative(), fraction | (1 << FRACTION_BITS), biased - 1075)
    }
}

/// A format to round to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// `f32`; the result is an `f64` that converts without rounding, or to an infinity.
    Single,
    /// `f64`.
    Double,
}

/// Rounds `(mantissa + a fraction that is zero iff not sticky) · 2^exponent` to nearest, ties to even.
///
/// A sticky mantissa must have at least 55 bits.
fn round(negative: bool, mantissa: u128, exponent: i32, sticky: bool, precision: Precision) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let (digits, lowest) = match precision {
        Precision::Single => (24, -149),
        Precision::Double => (53, -1074),
    };
    let length = 128 - mantissa.leading_zeros() as i32;
    let unit = (exponent + length - digits).max(lowest);
    let drop = unit - exponent;
    let rounded = if drop <= 0 {
        assert!(!sticky, "a sticky mantissa is wider than the result");
        (mantissa << -drop) as u64
    } else if drop > 128 {
        0
    } else {
        let half = (mantissa >> (drop - 1)) & 1 == 1;
        let rest = sticky || mantissa & ((1u128 << (drop - 1)) - 1) != 0;
        let kept = if drop == 128 { 0 } else { (mantissa >> drop) as u64 };
        kept + u64::from(half && (rest || kept & 1 == 1))
    };
    // `rounded` has at most 53 bits (or is 2^53) and `unit` is no finer than the format: this product is exact, or infinite.
    let magnitude = if unit > 1023 { f64::INFINITY } else { rounded as f64 * power_of_two(unit) };
    if negative { -magnitude } else { magnitude }
}

fn power_of_two(exponent: i32) -> f64 {
    if exponent >= -1022 { f64::from_bits(((exponent + 1023) as u64) << FRACTION_BITS) } else { f64::from_bits(1 << (exponent + 1074)) }
}

/// `± limbs · 2^exponent / divisor`, rounded once.
///
/// # Panics
/// If the divisor is zero.
pub fn ratio(negative: bool, limbs: &[u64], exponent: i32, divisor: u64, precision: Precision) -> f64 {
    let (mantissa, shift, mut sticky) = top_bits(limbs);
    let divisor = u128::from(divisor);
    sticky |= mantissa % divisor != 0;
    round(negative, mantissa / divisor, exponent + shift, sticky, precision)
}

/// The variance or deviation of `count` values, from their sum and sum of squares, rounded once.
///
/// `sum` is in units of 2^`exponent`, `squares` in units of 2^(2·`exponent`); `divisor` is `count` or `count − 1`. The numerator
/// `count · squares − sum²` is exact, so nothing cancels.
///
/// # Panics
/// If a divisor is zero, or no values could have such sums.
pub fn spread(sum: &[u64], squares: Limbs, exponent: i32, count: u64, divisor: u64, root: bool, precision: Precision) -> f64 {
    let mut scaled = squares;
    multiply(&mut scaled, count);
    let (negative, numerator) = difference(scaled, &square(sum));
    let length = bit_length(&numerator);
    if length == 0 {
        return 0.0;
    }
    if negative {
        // Only between the calls of an epoch, while rows are missing that were retracted already.
        return f64::NAN;
    }
    // The quotient keeps at least 128 bits, and the power of two stays even for the root.
    let up = 258u32.saturating_sub(length);
    let mut up_even = up + (up & 1);
    let mut quotient = shift_left(&numerator, up_even);
    let mut sticky = divide(&mut quotient, count) != 0;
    sticky |= divide(&mut quotient, divisor) != 0;
    let (mut mantissa, mut shift, lost) = top_bits(&quotient);
    sticky |= lost;
    if !root {
        return round(false, mantissa, 2 * exponent + shift - up_even as i32, sticky, precision);
    }
    if shift & 1 != 0 {
        sticky |= mantissa & 1 != 0;
        mantissa >>= 1;
        shift += 1;
    }
    up_even /= 2;
    let whole = mantissa.isqrt();
    sticky |= whole * whole != mantissa;
    round(false, whole, exponent + shift / 2 - up_even as i32, sticky, precision)
}

/// An exact sum of `f64` and products of them, of any size, with multiplicities.
///
/// `CHUNKS` words of 32 bits, the first one worth 2^`LOW`. NaN and infinities are counted apart.
#[derive(Clone, Debug)]
pub struct ExactSum<const CHUNKS: usize, const LOW: i32> {
    chunks: [i64; CHUNKS],
    /// Additions since carries were last moved up.
    pending: u32,
    nan: i64,
    plus_infinity: i64,
    minus_infinity: i64,
}

/// Holds any sum of 2^63 values.
pub type FloatSum = ExactSum<70, -1088>;
/// Holds any sum of 2^63 squares.
pub type SquareSum = ExactSum<137, -2176>;

/// A chunk takes less than 2^33 in one addition, so 2^28 of them stay within 2^62.
const PENDING_MAX: u32 = 1 << 28;

impl<const CHUNKS: usize, const LOW: i32> Default for ExactSum<CHUNKS, LOW> {
    fn default() -> Self {
        Self { chunks: [0; CHUNKS], pending: 0, nan: 0, plus_infinity: 0, minus_infinity: 0 }
    }
}

impl<const CHUNKS: usize, const LOW: i32> ExactSum<CHUNKS, LOW> {
    /// The power of two of its units.
    pub const EXPONENT: i32 = LOW;

    /// Adds `± magnitude · 2^exponent`.
    #[inline]
    fn add_scaled(&mut self, negative: bool, mut magnitude: u128, exponent: i32) {
        let position = (exponent - LOW) as u32;
        let (mut chunk, shift) = ((position / 32) as usize, position % 32);
        while magnitude != 0 {
            let part = (magnitude & 0xffff_ffff) << shift;
            let (low, high) = ((part & 0xffff_ffff) as i64, (part >> 32) as i64);
            if negative {
                self.chunks[chunk] -= low;
                self.chunks[chunk + 1] -= high;
            } else {
                self.chunks[chunk] += low;
                self.chunks[chunk + 1] += high;
            }
            magnitude >>= 32;
            chunk += 1;
        }
        self.pending += 1;
        if self.pending >= PENDING_MAX {
            self.settle();
        }
    }

    /// Moves carries up: every chunk but the last is then within 0..2^32, and equal sums are equal bits.
    fn settle(&mut self) {
        self.pending = 0;
        let mut carry = 0;
        for chunk in &mut self.chunks[..CHUNKS - 1] {
            let value = *chunk + carry;
            *chunk = value & 0xffff_ffff;
            carry = value >> 32;
        }
        self.chunks[CHUNKS - 1] += carry;
    }

    /// Counts a NaN or infinity.
    fn add_special(&mut self, x: f64, diff: i64) {
        if x.is_nan() {
            self.nan += diff;
        } else if x > 0.0 {
            self.plus_infinity += diff;
        } else {
            self.minus_infinity += diff;
        }
    }

    /// Adds a magnitude in limbs, times 2^`exponent`.
    pub fn add_limbs(&mut self, negative: bool, limbs: &[u64], exponent: i32) {
        for (i, &limb) in limbs.iter().enumerate() {
            self.add_scaled(negative, u128::from(limb), exponent + 64 * i as i32);
        }
    }

    /// Adds a value in units of 2^-64.
    pub fn add_fixed(&mut self, value: i128) {
        self.add_scaled(value < 0, value.unsigned_abs(), FIXED_EXPONENT);
    }

    /// Adds another sum, or takes it back.
    pub fn merge(&mut self, other: &Self, negative: bool) {
        let mut other = other.clone();
        other.settle();
        self.settle();
        let sign = if negative { -1 } else { 1 };
        for (to, from) in self.chunks.iter_mut().zip(other.chunks) {
            *to += sign * from;
        }
        self.settle();
        self.nan += sign * other.nan;
        self.plus_infinity += sign * other.plus_infinity;
        self.minus_infinity += sign * other.minus_infinity;
    }

    /// The result that NaN and infinities dictate.
    pub fn special(&self) -> Option<f64> {
        if self.nan != 0 || (self.plus_infinity != 0 && self.minus_infinity != 0) {
            Some(f64::NAN)
        } else if self.plus_infinity != 0 {
            Some(f64::INFINITY)
        } else if self.minus_infinity != 0 {
            Some(f64::NEG_INFINITY)
        } else {
            None
        }
    }

    /// Sign and magnitude of the finite part, in units of 2^[`ExactSum::EXPONENT`].
    pub fn magnitude(&self) -> (bool, Limbs) {
        let mut settled = self.clone();
        settled.settle();
        let negative = settled.chunks[CHUNKS - 1] < 0;
        if negative {
            for chunk in &mut settled.chunks {
                *chunk = -*chunk;
            }
            settled.settle();
        }
        let limbs = settled.chunks.chunks(2).map(|pair| pair[0] as u64 | pair.get(1).map_or(0, |&high| (high as u64) << 32));
        (negative, limbs.collect())
    }

    /// The sum divided by `divisor`, rounded once.
    pub fn ratio(&self, divisor: u64, precision: Precision) -> f64 {
        if let Some(special) = self.special() {
            return special;
        }
        let (negative, limbs) = self.magnitude();
        ratio(negative, &limbs, LOW, divisor, precision)
    }

    /// Appends its bytes: equal sums give equal bytes.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let mut settled = self.clone();
        settled.settle();
        for count in [settled.nan, settled.plus_infinity, settled.minus_infinity] {
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        // Runs of zero chunks at both ends are left out: most sums touch few chunks.
        let first = settled.chunks.iter().position(|&chunk| chunk != 0).unwrap_or(CHUNKS);
        let end = settled.chunks.iter().rposition(|&chunk| chunk != 0).map_or(first, |last| last + 1);
        bytes.push(first as u8);
        for chunk in &settled.chunks[first..end] {
            bytes.extend_from_slice(&chunk.to_le_bytes());
        }
    }

    /// Reads what [`ExactSum::encode`] wrote.
    ///
    /// # Panics
    /// If it is anything else.
    pub fn decode(bytes: &[u8]) -> Self {
        let word = |at: usize| bytes[at..at + 8].iter().rev().fold(0u64, |value, &byte| (value << 8) | u64::from(byte)) as i64;
        let mut sum = Self { nan: word(0), plus_infinity: word(8), minus_infinity: word(16), ..Self::default() };
        let first = usize::from(bytes[24]);
        for (i, at) in (25..bytes.len()).step_by(8).enumerate() {
            sum.chunks[first + i] = word(at);
        }
        sum
    }
}

impl FloatSum {
    /// Adds a value `diff` times.
    pub fn add(&mut self, x: f64, diff: i64) {
        if !x.is_finite() {
            return self.add_special(x, diff);
        }
        let (negative, mantissa, exponent) = split(x);
        self.add_scaled(negative != (diff < 0), u128::from(mantissa) * u128::from(diff.unsigned_abs()), exponent);
    }
}

impl SquareSum {
    /// Adds a value's square `diff` times.
    pub fn add(&mut self, x: f64, diff: i64) {
        if !x.is_finite() {
            return self.add_special(x, diff);
        }
        let (_, mantissa, exponent) = split(x);
        let squared = u128::from(mantissa) * u128::from(mantissa);
        let times = u128::from(diff.unsigned_abs());
        self.add_scaled(diff < 0, (squared & u128::from(u64::MAX)) * times, 2 * exponent);
        self.add_scaled(diff < 0, (squared >> 64) * times, 2 * exponent + 64);
    }
}

#[cfg(test)]
pub(in crate::state) mod tests;
