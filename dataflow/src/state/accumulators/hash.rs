//! Hashes with a fixed seed: equal on every worker, machine and run, because sketches and states travel and are kept.

const A: u64 = 0x9e37_79b9_7f4a_7c15;
const B: u64 = 0xe703_7ed1_a0b4_28db;

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// For tables: one multiplication.
#[inline(always)]
pub(super) fn quick(value: u64) -> u64 {
    fold(value ^ B, A)
}

/// Every bit depends on every bit evenly (the finaliser of SplitMix64): for sketches.
#[inline(always)]
pub(super) fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(A);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Of bytes, sixteen at a time.
#[inline]
pub(super) fn bytes(bytes: &[u8]) -> u64 {
    let word = |at: usize| bytes[at..].first_chunk::<8>().map_or(0, |chunk| u64::from_le_bytes(*chunk));
    let mut state = fold(bytes.len() as u64 ^ A, B);
    let mut at = 0;
    while bytes.len() - at >= 16 {
        state = fold(word(at) ^ A, word(at + 8) ^ state);
        at += 16;
    }
    if bytes.len() - at >= 8 {
        state = fold(word(at) ^ B, state ^ A);
        at += 8;
    }
    let mut tail = 0;
    for &byte in &bytes[at..] {
        tail = (tail << 8) | u64::from(byte);
    }
    fold(tail ^ state, A ^ ((bytes.len() as u64) << 56))
}
