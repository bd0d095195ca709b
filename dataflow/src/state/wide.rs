//! Integers wider than the machine's: two's complement sums of a fixed number of 64-bit limbs, and magnitudes of any length.

use smallvec::SmallVec;

/// A magnitude, least limb first.
pub type Limbs = SmallVec<[u64; 12]>;

/// A signed integer of `N` limbs, two's complement, least limb first. Arithmetic is modulo 2^(64·N), so an intermediate overflow that
/// cancels leaves no trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wide<const N: usize>(pub [u64; N]);

impl<const N: usize> Wide<N> {
    /// Zero.
    pub const ZERO: Self = Self([0; N]);

    /// A 128-bit integer, sign extended.
    #[inline(always)]
    pub fn from_i128(value: i128) -> Self {
        let mut limbs = [(value >> 127) as u64; N];
        limbs[0] = value as u64;
        if N > 1 {
            limbs[1] = (value >> 64) as u64;
        }
        Self(limbs)
    }

    /// Limbs in two's complement, sign extended.
    #[inline(always)]
    pub fn from_limbs(source: &[u64]) -> Self {
        let sign = source.last().map_or(0, |&limb| ((limb as i64) >> 63) as u64);
        let mut limbs = [sign; N];
        for (to, &from) in limbs.iter_mut().zip(source) {
            *to = from;
        }
        Self(limbs)
    }

    /// Adds.
    #[inline(always)]
    pub fn add(&mut self, other: Self) {
        if N == 2 {
            let sum = self.low_u128().wrapping_add(other.low_u128());
            self.0[0] = sum as u64;
            self.0[1] = (sum >> 64) as u64;
            return;
        }
        let mut carry = false;
        for (limb, with) in self.0.iter_mut().zip(other.0) {
            (*limb, carry) = limb.carrying_add(with, carry);
        }
    }

    /// Subtracts.
    #[inline(always)]
    pub fn sub(&mut self, other: Self) {
        self.add(other.negated());
    }

    #[inline(always)]
    fn low_u128(&self) -> u128 {
        u128::from(self.0[0]) | (u128::from(self.0[1]) << 64)
    }

    /// The value with its sign turned.
    #[inline(always)]
    pub fn negated(self) -> Self {
        let mut limbs = self.0;
        let mut carry = true;
        for limb in &mut limbs {
            (*limb, carry) = (!*limb).overflowing_add(u64::from(carry));
        }
        Self(limbs)
    }

    /// The value times a factor.
    #[inline(always)]
    pub fn times(self, factor: i64) -> Self {
        let mut limbs = self.0;
        let by = factor.unsigned_abs();
        let mut carry = 0u64;
        for limb in &mut limbs {
            let product = u128::from(*limb) * u128::from(by) + u128::from(carry);
            *limb = product as u64;
            carry = (product >> 64) as u64;
        }
        let result = Self(limbs);
        if factor < 0 { result.negated() } else { result }
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        (self.0[N - 1] as i64) < 0
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|&limb| limb == 0)
    }

    /// Without its sign.
    pub fn magnitude(&self) -> Limbs {
        let positive = if self.is_negative() { self.negated() } else { *self };
        Limbs::from_slice(&positive.0)
    }

    /// As 128 bits, if it fits.
    pub fn to_i128(&self) -> Option<i128> {
        let low = if N > 1 { self.low_u128() as i128 } else { i128::from(self.0[0] as i64) };
        (Self::from_i128(low) == *self).then_some(low)
    }

    /// Little-endian bytes.
    pub fn to_bytes(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().flat_map(|limb| limb.to_le_bytes())
    }

    /// From little-endian bytes.
    ///
    /// # Panics
    /// If there are fewer than `8·N` bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        assert!(bytes.len() >= 8 * N, "a wide integer of {N} limbs has {} bytes", bytes.len());
        let mut limbs = [0; N];
        for (limb, chunk) in limbs.iter_mut().zip(bytes.chunks_exact(8)) {
            *limb = chunk.iter().rev().fold(0, |value, &byte| (value << 8) | u64::from(byte));
        }
        Self(limbs)
    }
}

/// Number of bits up to the highest that is set.
pub fn bit_length(limbs: &[u64]) -> u32 {
    limbs.iter().rposition(|&limb| limb != 0).map_or(0, |top| 64 * top as u32 + 64 - limbs[top].leading_zeros())
}

/// Multiplies in place, growing as needed.
pub fn multiply(limbs: &mut Limbs, by: u64) {
    let mut carry = 0u64;
    for limb in limbs.iter_mut() {
        let product = u128::from(*limb) * u128::from(by) + u128::from(carry);
        *limb = product as u64;
        carry = (product >> 64) as u64;
    }
    if carry != 0 {
        limbs.push(carry);
    }
}

/// Divides in place, towards zero; the remainder.
///
/// # Panics
/// If `by` is zero.
pub fn divide(limbs: &mut [u64], by: u64) -> u64 {
    let mut remainder = 0u64;
    for limb in limbs.iter_mut().rev() {
        let value = (u128::from(remainder) << 64) | u128::from(*limb);
        *limb = (value / u128::from(by)) as u64;
        remainder = (value % u128::from(by)) as u64;
    }
    remainder
}

/// The square.
pub fn square(limbs: &[u64]) -> Limbs {
    let mut result = Limbs::from_elem(0, 2 * limbs.len());
    for (i, &a) in limbs.iter().enumerate() {
        if a == 0 {
            continue;
        }
        let mut carry = 0u64;
        for (j, &b) in limbs.iter().enumerate() {
            let sum = u128::from(a) * u128::from(b) + u128::from(result[i + j]) + u128::from(carry);
            result[i + j] = sum as u64;
            carry = (sum >> 64) as u64;
        }
        result[i + limbs.len()] = carry;
    }
    result
}

/// `limbs − other`, whether the difference is below zero, as sign and magnitude.
pub fn difference(mut limbs: Limbs, other: &[u64]) -> (bool, Limbs) {
    if limbs.len() < other.len() {
        limbs.resize(other.len(), 0);
    }
    let mut borrow = false;
    for (i, limb) in limbs.iter_mut().enumerate() {
        (*limb, borrow) = limb.borrowing_sub(other.get(i).copied().unwrap_or(0), borrow);
    }
    if borrow {
        let mut carry = true;
        for limb in limbs.iter_mut() {
            (*limb, carry) = (!*limb).overflowing_add(u64::from(carry));
        }
    }
    (borrow, limbs)
}

/// Multiplies by 2^`bits`.
pub fn shift_left(limbs: &[u64], bits: u32) -> Limbs {
    let (whole, part) = ((bits / 64) as usize, bits % 64);
    let mut result = Limbs::from_elem(0, whole);
    if part == 0 {
        result.extend_from_slice(limbs);
        return result;
    }
    let mut carry = 0;
    for &limb in limbs {
        result.push((limb << part) | carry);
        carry = limb >> (64 - part);
    }
    result.push(carry);
    result
}

/// The top 128 bits (shifted up if there are fewer), the power of two they are to be multiplied by, and whether bits were lost.
pub fn top_bits(limbs: &[u64]) -> (u128, i32, bool) {
    let length = bit_length(limbs);
    if length == 0 {
        return (0, 0, false);
    }
    let at = |i: usize| limbs.get(i).copied().unwrap_or(0);
    if length <= 128 {
        let value = u128::from(at(0)) | (u128::from(at(1)) << 64);
        return (value << (128 - length), length as i32 - 128, false);
    }
    let drop = length - 128;
    let (whole, part) = ((drop / 64) as usize, drop % 64);
    let mut value = u128::from(at(whole)) | (u128::from(at(whole + 1)) << 64);
    let mut lost = limbs[..whole].iter().any(|&limb| limb != 0);
    if part != 0 {
        lost |= at(whole) << (64 - part) != 0;
        value = (value >> part) | (u128::from(at(whole + 2)) << (128 - part));
    }
    (value, drop as i32, lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn wide_arithmetic_is_integer_arithmetic(values in prop::collection::vec((any::<i64>(), any::<i32>()), 0..20)) {
            let mut wide = Wide::<3>::ZERO;
            let mut small = Wide::<2>::ZERO;
            let mut expected = 0i128;
            for (value, factor) in values {
                wide.add(Wide::from_i128(value.into()).times(factor.into()));
                small.sub(Wide::from_i128(value.into()).times(i64::from(factor).wrapping_neg()));
                expected += i128::from(value) * i128::from(factor);
            }
            prop_assert_eq!(wide.to_i128(), Some(expected));
            prop_assert_eq!(small.to_i128(), Some(expected));
            prop_assert_eq!(wide.is_negative(), expected < 0);
            let magnitude = wide.magnitude();
            prop_assert_eq!(u128::from(magnitude[0]) | (u128::from(magnitude[1]) << 64), expected.unsigned_abs());
            let bytes: Vec<u8> = wide.to_bytes().collect();
            prop_assert_eq!(Wide::<3>::from_bytes(&bytes), wide);
        }

        #[test]
        fn magnitudes_divide_and_square(a in any::<u64>(), b in 1..u64::MAX, c in any::<u64>(), bits in 0..300u32) {
            let mut limbs = Limbs::from_slice(&[a]);
            multiply(&mut limbs, b);
            let product = u128::from(a) * u128::from(b);
            prop_assert_eq!(limbs.get(1).copied().unwrap_or(0), (product >> 64) as u64);
            let (negative, apart) = difference(limbs.clone(), &[c]);
            prop_assert_eq!(negative, product < u128::from(c));
            let expected = product.abs_diff(u128::from(c));
            prop_assert_eq!(apart[0], expected as u64);
            prop_assert_eq!(divide(&mut limbs, b), 0);
            prop_assert_eq!(limbs[0], a);
            let squared = square(&[a, 0]);
            prop_assert_eq!(u128::from(squared[0]) | (u128::from(squared[1]) << 64), u128::from(a) * u128::from(a));
            let shifted = shift_left(&[a], bits);
            prop_assert_eq!(bit_length(&shifted), if a == 0 { 0 } else { 64 - a.leading_zeros() + bits });
            let (top, exponent, lost) = top_bits(&shifted);
            prop_assert!(!lost);
            if a != 0 {
                prop_assert_eq!(top, u128::from(a) << (64 + a.leading_zeros()));
                prop_assert_eq!(exponent, bits as i32 - 64 - a.leading_zeros() as i32);
            }
        }
    }

    #[test]
    fn overflow_that_does_not_cancel_is_seen() {
        let mut wide = Wide::<3>::from_i128(i128::MAX);
        wide.add(Wide::from_i128(1));
        assert_eq!(wide.to_i128(), None);
        wide.sub(Wide::from_i128(1));
        assert_eq!(wide.to_i128(), Some(i128::MAX));
    }

    #[test]
    fn lost_bits_are_told() {
        let (top, exponent, lost) = top_bits(&[1, 0, 1 << 63]);
        assert_eq!((top, exponent, lost), (1 << 127, 64, true));
        let (top, exponent, lost) = top_bits(&[1, 0, 1]);
        assert_eq!((top, exponent, lost), (1 << 127, 1, true));
    }
}
