//! Base64 of RFC 4648 with its standard alphabet: how JSON and CSV carry bytes.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Value of each character, 255 for those outside the alphabet. The URL-safe characters are read too.
const VALUES: [u8; 256] = {
    let mut values = [255u8; 256];
    let mut at = 0;
    while at < 64 {
        values[ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    values[b'-' as usize] = 62;
    values[b'_' as usize] = 63;
    values
};

/// Appends the bytes a text stands for; padding may be missing. `None`, with a part appended, when it is not base64.
pub(crate) fn decode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let text = match text {
        [rest @ .., b'=', b'='] if text.len().is_multiple_of(4) => rest,
        [rest @ .., b'='] if text.len().is_multiple_of(4) => rest,
        all => all,
    };
    let mut chunks = text.chunks_exact(4);
    for chunk in &mut chunks {
        let bits = bits(chunk)?;
        out.extend_from_slice(&[(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]);
    }
    match chunks.remainder() {
        [] => {}
        [a, b] => {
            let bits = bits(&[*a, *b])?;
            if bits & 0xf != 0 {
                return None;
            }
            out.push((bits >> 4) as u8);
        }
        [a, b, c] => {
            let bits = bits(&[*a, *b, *c])?;
            if bits & 0x3 != 0 {
                return None;
            }
            out.extend_from_slice(&[(bits >> 10) as u8, (bits >> 2) as u8]);
        }
        _ => return None,
    }
    Some(())
}

#[inline]
fn bits(characters: &[u8]) -> Option<u32> {
    let mut bits = 0u32;
    for character in characters {
        let value = VALUES[*character as usize];
        if value == 255 {
            return None;
        }
        bits = bits << 6 | u32::from(value);
    }
    Some(bits)
}

/// Appends bytes as padded base64.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let mut chunks = bytes.chunks_exact(3);
    let symbol = |bits: u32| ALPHABET[(bits & 63) as usize];
    for chunk in &mut chunks {
        let bits = u32::from(chunk[0]) << 16 | u32::from(chunk[1]) << 8 | u32::from(chunk[2]);
        out.extend_from_slice(&[symbol(bits >> 18), symbol(bits >> 12), symbol(bits >> 6), symbol(bits)]);
    }
    match chunks.remainder() {
        [a] => {
            let bits = u32::from(*a) << 16;
            out.extend_from_slice(&[symbol(bits >> 18), symbol(bits >> 12), b'=', b'=']);
        }
        [a, b] => {
            let bits = u32::from(*a) << 16 | u32::from(*b) << 8;
            out.extend_from_slice(&[symbol(bits >> 18), symbol(bits >> 12), symbol(bits >> 6), b'=']);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_texts() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            let mut out = Vec::new();
            encode(plain.as_bytes(), &mut out);
            assert_eq!(out, text.as_bytes());
            let mut back = Vec::new();
            assert!(decode(text.as_bytes(), &mut back).is_some());
            assert_eq!(back, plain.as_bytes());
        }
        for wrong in ["A", "Zg=", "Zh==", "Z$==", "=", "Zm9v="] {
            assert!(decode(wrong.as_bytes(), &mut Vec::new()).is_none(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn back_and_forth(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            let (mut text, mut back) = (Vec::new(), Vec::new());
            encode(&bytes, &mut text);
            prop_assert!(decode(&text, &mut back).is_some());
            prop_assert_eq!(back, bytes);
        }
    }
}
