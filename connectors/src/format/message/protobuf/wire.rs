//! Tags, varints and what has a length.

use crate::format::fault::{Fallible, Fault};

/// Wire types.
pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const SIZED: u8 = 2;
const GROUP: u8 = 3;
const GROUP_END: u8 = 4;
pub(super) const FIXED32: u8 = 5;

/// Bytes that are being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

#[cold]
fn too_short() -> Box<Fault> {
    Fault::new("the message ends too soon; was it written with another schema?")
}

impl<'a> Input<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Fallible<u64> {
        if let [byte @ 0..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        let mut value = 0u64;
        for (at, byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Ok(value);
            }
        }
        Err(if self.0.len() < 10 { too_short() } else { Fault::new("a number does not end; was the message written with another schema?") })
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Fallible<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(too_short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Fallible<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| too_short())
    }

    pub(super) fn sized(&mut self) -> Fallible<&'a [u8]> {
        let length = usize::try_from(self.varint()?).map_err(|_| too_short())?;
        self.take(length)
    }

    /// The number of a field, and its wire type.
    #[inline]
    pub(super) fn tag(&mut self) -> Fallible<(u32, u8)> {
        let tag = self.varint()?;
        match u32::try_from(tag >> 3) {
            Ok(number) if number > 0 => Ok((number, (tag & 7) as u8)),
            _ => Err(Fault::new("a field without a number; was the message written with another schema?")),
        }
    }

    /// Steps over a value.
    pub(super) fn skip(&mut self, number: u32, wire: u8, depth: usize) -> Fallible<()> {
        match wire {
            VARINT => self.varint().map(drop),
            FIXED64 => self.take(8).map(drop),
            SIZED => self.sized().map(drop),
            FIXED32 => self.take(4).map(drop),
            GROUP if depth < super::DEPTH_MAX => loop {
                let (inner, wire) = self.tag()?;
                if wire == GROUP_END {
                    return if inner == number { Ok(()) } else { Err(Fault::new("a group ends that was not begun")) };
                }
                self.skip(inner, wire, depth + 1)?;
            },
            _ => Err(Fault::new(format!("there is no wire type {wire} here; was the message written with another schema?"))),
        }
    }
}

/// A whole number from a varint whose lowest bit is the sign.
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The varint of a whole number whose lowest bit is the sign.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Appends a varint.
pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the tag of a field.
pub(super) fn put_tag(number: u32, wire: u8, out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | u64::from(wire), out);
}

/// Appends what a function writes, behind its length.
pub(super) fn put_sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), String>) -> Result<(), String> {
    let start = out.len();
    out.push(0);
    write(out)?;
    let length = out.len() - start - 1;
    if length < 0x80 {
        out[start] = length as u8;
    } else {
        let mut prefix = Vec::with_capacity(5);
        put_varint(length as u64, &mut prefix);
        out.splice(start..=start, prefix);
    }
    Ok(())
}
