//! When sessions are looked at again, in stretches of time: adding one is to append to a list, and taking those that are due is to take whole
//! lists, whatever the number of sessions. A heap would compare its way through all of them for each.

use std::collections::BTreeMap;

/// Stretches of a gap.
const STRETCHES: i64 = 64;

/// Deadlines of sessions.
#[derive(Debug)]
pub(super) struct Deadlines {
    /// Length of a stretch.
    length: i64,
    /// The deadlines of each stretch that has some, by its number, in no order.
    stretches: BTreeMap<i64, Vec<(i64, u32)>>,
    len: usize,
}

impl Deadlines {
    /// None yet, of sessions with a gap.
    pub(super) fn new(gap: i64) -> Self {
        Self { length: (gap / STRETCHES).max(1), stretches: BTreeMap::new(), len: 0 }
    }

    /// Adds one.
    pub(super) fn push(&mut self, deadline: i64, session: u32) {
        self.stretches.entry(deadline.div_euclid(self.length)).or_default().push((deadline, session));
        self.len += 1;
    }

    /// Takes some of those at or before a watermark; `None` when there are none. To be called again, also for those added meanwhile.
    pub(super) fn take(&mut self, watermark: i64) -> Option<Vec<(i64, u32)>> {
        let mut first = self.stretches.first_entry().filter(|first| *first.key() <= watermark.div_euclid(self.length))?;
        let taken = if *first.key() < watermark.div_euclid(self.length) {
            first.remove()
        } else {
            let (taken, left): (Vec<_>, Vec<_>) = first.get().iter().partition(|(deadline, _)| *deadline <= watermark);
            if left.is_empty() {
                first.remove();
            } else {
                first.insert(left);
            }
            taken
        };
        self.len -= taken.len();
        Some(taken).filter(|taken| !taken.is_empty())
    }

    /// The least.
    pub(super) fn least(&self) -> Option<i64> {
        self.stretches.first_key_value().and_then(|(_, first)| first.iter().map(|(deadline, _)| *deadline).min())
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        self.len * size_of::<(i64, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn those_that_are_due_are_taken(gap in 1..1_000i64, steps in prop::collection::vec((-500..2_000i64, prop::bool::ANY), 1..80)) {
            let mut deadlines = Deadlines::new(gap);
            let mut plain: Vec<(i64, u32)> = Vec::new();
            for (session, (time, take)) in steps.into_iter().enumerate() {
                if take {
                    let mut taken = Vec::new();
                    while let Some(some) = deadlines.take(time) {
                        taken.extend(some);
                    }
                    taken.sort_unstable();
                    let (mut due, left): (Vec<_>, Vec<_>) = plain.iter().partition(|(deadline, _)| *deadline <= time);
                    due.sort_unstable();
                    prop_assert_eq!(taken, due);
                    plain = left;
                } else {
                    deadlines.push(time, session as u32);
                    plain.push((time, session as u32));
                }
                prop_assert_eq!(deadlines.least(), plain.iter().map(|(deadline, _)| *deadline).min());
                prop_assert_eq!(deadlines.bytes() / size_of::<(i64, u32)>(), plain.len());
            }
        }
    }
}
