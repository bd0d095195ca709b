//! Values from text: numbers, decimals, dates and times, base64. Shared by all text formats.

pub(crate) mod base64;
pub(crate) mod number;
pub(crate) mod time;

/// The words of a chunk: eight bytes at a place, lowest first; `None` near the end.
#[inline(always)]
pub(crate) fn load8(bytes: &[u8], at: usize) -> Option<u64> {
    match bytes.get(at..at + 8) {
        Some(slice) => <[u8; 8]>::try_from(slice).ok().map(u64::from_le_bytes),
        None => None,
    }
}
