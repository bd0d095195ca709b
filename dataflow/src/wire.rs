//! Encoding once what timely asks for twice: it wants to know how long a container's bytes are, then wants the bytes. It asks both
//! of the same container, one right after the other, on one thread.

use std::cell::RefCell;
use std::io::Write;

thread_local! {
    /// What was measured last on this thread and has not been written: where it lies, and its bytes.
    static MEASURED: RefCell<Option<(usize, Vec<u8>)>> = const { RefCell::new(None) };
}

/// The number of bytes of a value's encoding, which is kept for the [`write`] that follows.
pub(crate) fn measure<T>(value: &T, encode: impl FnOnce(&T) -> Vec<u8>) -> usize {
    let bytes = padded(encode(value));
    let length = bytes.len();
    MEASURED.set(Some((std::ptr::from_ref(value).addr(), bytes)));
    length
}

/// Writes a value's encoding.
pub(crate) fn write<T>(value: &T, encode: impl FnOnce(&T) -> Vec<u8>, writer: &mut impl Write) {
    let kept = MEASURED.take().filter(|(at, _)| *at == std::ptr::from_ref(value).addr());
    let bytes = kept.map_or_else(|| padded(encode(value)), |(_, bytes)| bytes);
    writer.write_all(&bytes).expect("timely's buffers take what was announced");
}

/// Whole words, so that what follows in timely's buffers is aligned. Readers find the end by themselves.
fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_encoded_once_and_never_taken_for_another() {
        let encoded = std::cell::Cell::new(0);
        let encode = |value: &u8| {
            encoded.set(encoded.get() + 1);
            vec![*value; 3]
        };
        let values = [1_u8, 2];
        let mut out = Vec::new();
        assert_eq!(measure(&values[0], encode), 8);
        write(&values[0], encode, &mut out);
        assert_eq!((encoded.get(), out.as_slice()), (1, &[1, 1, 1, 0, 0, 0, 0, 0][..]));
        measure(&values[0], encode);
        write(&values[1], encode, &mut out);
        assert_eq!((encoded.get(), &out[8..]), (3, &[2, 2, 2, 0, 0, 0, 0, 0][..]));
        write(&values[0], encode, &mut out);
        assert_eq!(&out[16..], &out[..8]);
    }
}
