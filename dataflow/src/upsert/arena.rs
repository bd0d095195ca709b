//! One value of bytes for each number, in one buffer: replaced values are garbage until half of the buffer is.

/// No value.
const ABSENT: u32 = u32::MAX;
/// Garbage below this is not worth moving anything.
const GARBAGE_MIN: usize = 1 << 16;

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    len: u32,
}

/// Values by number. See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Arena {
    data: Vec<u8>,
    spans: Vec<Span>,
    garbage: usize,
}

impl Arena {
    /// Makes room for numbers below a bound: new ones have no value.
    pub(super) fn resize(&mut self, numbers: usize) {
        if self.spans.len() < numbers {
            self.spans.resize(numbers, Span { start: 0, len: ABSENT });
        }
    }

    /// The value of a number, if it has one.
    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&[u8]> {
        let span = self.spans[id as usize];
        (span.len != ABSENT).then(|| &self.data[span.start as usize..span.start as usize + span.len as usize])
    }

    /// Whether a number has a value.
    #[inline]
    pub(super) fn has(&self, id: u32) -> bool {
        self.spans[id as usize].len != ABSENT
    }

    /// Gives a number a value, or takes it away.
    pub(super) fn set(&mut self, id: u32, value: Option<&[u8]>) {
        let span = &mut self.spans[id as usize];
        let old = if span.len == ABSENT { 0 } else { span.len as usize };
        let Some(value) = value else {
            self.garbage += old;
            *span = Span { start: 0, len: ABSENT };
            return self.collect();
        };
        let len = u32::try_from(value.len()).ok().filter(|len| *len != ABSENT).expect("a row has less than 4 GiB");
        if span.len == len {
            // In place: counters and the like keep their length.
            let start = span.start as usize;
            self.data[start..start + value.len()].copy_from_slice(value);
            return;
        }
        self.garbage += old;
        *span = Span { start: self.data.len() as u64, len };
        self.data.extend_from_slice(value);
        self.collect();
    }

    fn collect(&mut self) {
        if self.garbage < GARBAGE_MIN || self.garbage <= self.data.len() / 2 {
            return;
        }
        let mut data = Vec::with_capacity((self.data.len() - self.garbage) * 5 / 4);
        for span in self.spans.iter_mut().filter(|span| span.len != ABSENT) {
            let start = span.start as usize;
            span.start = data.len() as u64;
            data.extend_from_slice(&self.data[start..start + span.len as usize]);
        }
        self.data = data;
        self.garbage = 0;
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        self.data.capacity() + self.spans.capacity() * size_of::<Span>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_while_garbage_goes() {
        let mut arena = Arena::default();
        arena.resize(100);
        let value = |id: u32, round: u32| vec![(id + round) as u8; ((id * 37 + round * 11) % 200) as usize];
        for round in 0..200 {
            for id in 0..100 {
                arena.set(id, if (id + round) % 7 == 0 { None } else { Some(value(id, round)) }.as_deref());
            }
            for id in 0..100 {
                let wanted = if (id + round) % 7 == 0 { None } else { Some(value(id, round)) };
                assert_eq!(arena.get(id), wanted.as_deref());
                assert_eq!(arena.has(id), wanted.is_some());
            }
        }
        assert!(arena.data.len() < 100 * 200 + 2 * GARBAGE_MIN, "{}", arena.data.len());
    }
}
