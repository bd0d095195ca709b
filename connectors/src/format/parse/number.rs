//! Numbers from their digits, exactly: nothing is rounded but what a binary float must round.

use super::load8;

/// Why a text is not a number of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberFault {
    /// Not a number.
    Syntax,
    /// Too large or too small.
    Range,
    /// More digits behind the point than the type holds.
    Inexact,
}

/// A number as written: `±mantissa × 10^exponent`, the mantissa without trailing zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    negative: bool,
    mantissa: u128,
    exponent: i32,
    /// More significant digits than the mantissa holds.
    overflow: bool,
}

/// Cuts a number into its parts. Accepts a leading `+`, leading zeros and a bare point on either side of digits.
fn parts(text: &[u8]) -> Result<Parts, NumberFault> {
    let (negative, mut rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let mut mantissa = 0u128;
    let mut pending_zeros = 0u32;
    let mut exponent = 0i32;
    let mut overflow = false;
    let mut digits = 0usize;
    let mut behind_point = false;
    while let [byte, tail @ ..] = rest {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                exponent = exponent.saturating_sub(i32::from(behind_point));
                if *byte == b'0' {
                    pending_zeros = pending_zeros.saturating_add(1);
                } else {
                    let shifted = 10u128.checked_pow(pending_zeros.saturating_add(1)).and_then(|power| mantissa.checked_mul(power));
                    match shifted.and_then(|shifted| shifted.checked_add(u128::from(byte - b'0'))) {
                        _ if mantissa == 0 => mantissa = u128::from(byte - b'0'),
                        Some(next) if !overflow => mantissa = next,
                        _ => overflow = true,
                    }
                    pending_zeros = 0;
                }
            }
            b'.' if !behind_point => behind_point = true,
            b'e' | b'E' if digits > 0 => {
                exponent = exponent.saturating_add(written_exponent(tail)?);
                rest = &[];
                continue;
            }
            _ => return Err(NumberFault::Syntax),
        }
        rest = tail;
    }
    if digits == 0 {
        return Err(NumberFault::Syntax);
    }
    let exponent = if mantissa == 0 { 0 } else { exponent.saturating_add_unsigned(pending_zeros) };
    Ok(Parts { negative, mantissa, exponent, overflow })
}

/// The number behind an `e`. Saturates far outside anything that matters.
fn written_exponent(text: &[u8]) -> Result<i32, NumberFault> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NumberFault::Syntax);
    }
    let size = digits.iter().fold(0i32, |size, digit| (size * 10 + i32::from(digit - b'0')).min(1_000_000));
    Ok(if negative { -size } else { size })
}

impl Parts {
    /// `±mantissa × 10^(exponent + scale)`, if that is whole and fits.
    fn scaled(self, scale: i32) -> Result<i128, NumberFault> {
        if self.mantissa == 0 {
            return Ok(0);
        }
        let exponent = self.exponent.saturating_add(scale);
        if exponent < 0 {
            return Err(NumberFault::Inexact);
        }
        if self.overflow {
            return Err(NumberFault::Range);
        }
        let size = u32::try_from(exponent)
            .ok()
            .and_then(|exponent| 10u128.checked_pow(exponent))
            .and_then(|power| self.mantissa.checked_mul(power))
            .and_then(|size| i128::try_from(size).ok())
            .ok_or(NumberFault::Range)?;
        Ok(if self.negative { -size } else { size })
    }
}

/// A whole number. `1e3` and `2.0` are whole; `2.5` is not.
pub(crate) fn integer(text: &[u8]) -> Result<i128, NumberFault> {
    if let Some(value) = plain_integer(text) {
        return Ok(i128::from(value));
    }
    parts(text)?.scaled(0)
}

/// A short run of digits with or without a sign, the common case.
#[inline]
pub(crate) fn plain_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

/// A decimal with a precision and scale, as its unscaled integer. Never rounds.
pub(crate) fn decimal(text: &[u8], precision: u8, scale: i8) -> Result<i128, NumberFault> {
    let value = parts(text)?.scaled(i32::from(scale))?;
    let limit = 10i128.pow(u32::from(precision.min(38)));
    if value <= -limit || value >= limit { Err(NumberFault::Range) } else { Ok(value) }
}

/// Powers of ten that a double holds exactly.
const EXACT: [f64; 23] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];

/// A double, the nearest to what is written. `NaN`, `inf` and `Infinity` are values when `words` are allowed.
pub(crate) fn double(text: &[u8], words: bool) -> Result<f64, NumberFault> {
    if let Some(value) = short_double(text) {
        return Ok(value);
    }
    let value: f64 = lexical_core::parse(text).map_err(|_| NumberFault::Syntax)?;
    checked(value.is_finite(), value, text, words)
}

/// A float, the nearest to what is written, rounded once.
pub(crate) fn float(text: &[u8], words: bool) -> Result<f32, NumberFault> {
    let value: f32 = lexical_core::parse(text).map_err(|_| NumberFault::Syntax)?;
    checked(value.is_finite(), value, text, words)
}

fn checked<T>(finite: bool, value: T, text: &[u8], words: bool) -> Result<T, NumberFault> {
    if finite {
        return Ok(value);
    }
    match text.iter().any(u8::is_ascii_digit) {
        true => Err(NumberFault::Range),
        false if words => Ok(value),
        false => Err(NumberFault::Syntax),
    }
}

/// Few digits and a small power of ten: one exact multiplication or division rounds right.
#[inline]
fn short_double(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || digits.len() > 16 || !digits[0].is_ascii_digit() {
        return None;
    }
    let mut mantissa = 0u64;
    let mut point = None;
    for (at, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            mantissa = mantissa * 10 + u64::from(digit);
        } else if *byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            return None;
        }
    }
    if mantissa > 1 << 53 {
        return None;
    }
    let behind = point.map_or(0, |point| digits.len() - point - 1);
    let value = mantissa as f64 / EXACT[behind];
    Some(if negative { -value } else { value })
}

/// How many of the eight lowest-first bytes are leading digits, and the value of those.
#[inline(always)]
pub(crate) fn eight_digits(word: u64) -> (u32, u64) {
    let values = word ^ 0x3030_3030_3030_3030;
    let others = ((values & 0x7f7f_7f7f_7f7f_7f7f).wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    let count = if others == 0 { 8 } else { others.trailing_zeros() / 8 };
    if count == 0 {
        return (0, 0);
    }
    // Leading zeros take the place of the bytes that are no digits.
    let digits = values << (64 - 8 * count);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let quads = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    (count, quads.wrapping_mul(10_000).wrapping_add(quads >> 32) & 0xffff_ffff)
}

/// Reads the integer that starts at a place, without leading zeros, of at most 16 digits: its value and one past its end.
#[inline(always)]
pub(crate) fn integer_at(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(negative);
    let word = load8(bytes, start)?;
    let (count, value) = eight_digits(word);
    if count == 0 || (count > 1 && word as u8 == b'0') {
        return None;
    }
    let (value, end) = if count < 8 {
        (value, start + count as usize)
    } else {
        let (more, low) = eight_digits(load8(bytes, start + 8)?);
        if more == 8 && bytes.get(start + 16).is_none_or(u8::is_ascii_digit) {
            return None;
        }
        (value * TENS[more as usize] + low, start + 8 + more as usize)
    };
    let value = value as i64;
    Some((if negative { -value } else { value }, end))
}

const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_numbers_may_have_points_and_exponents() {
        assert_eq!(integer(b"1e3"), Ok(1000));
        assert_eq!(integer(b"-2.50e1"), Ok(-25));
        assert_eq!(integer(b"0e999999999999"), Ok(0));
        assert_eq!(integer(b"2.5"), Err(NumberFault::Inexact));
        assert_eq!(integer(b"1e400"), Err(NumberFault::Range));
        for wrong in ["", "-", ".", "e5", "1e", "1.2.3", "1 ", "0x10", "--1"] {
            assert_eq!(integer(wrong.as_bytes()), Err(NumberFault::Syntax), "{wrong:?}");
        }
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        assert_eq!(decimal(b"123.45", 5, 2), Ok(12345));
        assert_eq!(decimal(b"123.450", 5, 2), Ok(12345));
        assert_eq!(decimal(b"123.456", 6, 2), Err(NumberFault::Inexact));
        assert_eq!(decimal(b"1234.5", 5, 2), Err(NumberFault::Range));
        assert_eq!(decimal(b"1.2e-1", 5, 2), Ok(12));
        assert_eq!(decimal(b"12300", 5, -2), Ok(123));
        assert_eq!(decimal(b"99999999999999999999999999999999999999", 38, 0), Ok(10i128.pow(38) - 1));
        assert_eq!(decimal(b"100000000000000000000000000000000000000", 38, 0), Err(NumberFault::Range));
        assert_eq!(decimal(b"0.00000000000000000000000000000000000000000000000001e50", 38, 0), Ok(1));
    }

    #[test]
    fn doubles_that_overflow_are_out_of_range() {
        assert_eq!(double(b"1e999", true), Err(NumberFault::Range));
        assert_eq!(double(b"NaN", false), Err(NumberFault::Syntax));
        assert!(double(b"NaN", true).is_ok_and(f64::is_nan));
        assert_eq!(double(b"-inf", true), Ok(f64::NEG_INFINITY));
        assert_eq!(double(b"1e-400", true), Ok(0.0));
    }

    proptest! {
        #[test]
        fn doubles_are_the_nearest(value in any::<f64>().prop_filter("finite", |v| v.is_finite()), places in 0usize..12) {
            let long = format!("{value:e}");
            prop_assert_eq!(double(long.as_bytes(), true).map(f64::to_bits), Ok(value.to_bits()));
            let short = format!("{:.*}", places, value % 1e6);
            prop_assert_eq!(double(short.as_bytes(), true).map(f64::to_bits), Ok(short.parse::<f64>().unwrap().to_bits()));
        }

        #[test]
        fn integers_in_place_are_read_as_written(value in any::<i64>(), shift in 0u32..63, tail in "[,} x]{9}") {
            let value = value >> shift;
            let text = format!("{value}{tail}        ");
            match integer_at(text.as_bytes(), 0) {
                Some((read, end)) => {
                    prop_assert_eq!(read, value);
                    prop_assert_eq!(end, value.to_string().len());
                }
                None => prop_assert!(value.unsigned_abs() >= 10u64.pow(16)),
            }
            prop_assert_eq!(integer(value.to_string().as_bytes()), Ok(i128::from(value)));
        }

        #[test]
        fn never_panics(text in "[-+0-9.eE]{0,60}") {
            let _ = (integer(text.as_bytes()), decimal(text.as_bytes(), 38, 10), double(text.as_bytes(), true));
            let _ = integer_at(text.as_bytes(), 0);
        }
    }
}
