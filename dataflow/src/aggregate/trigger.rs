//! # Triggers
//!
//! When a group of a window fires, as a machine of pure steps: events in, firings with their reason out. It knows no clock, no epoch and
//! no rows; [`super::triggered`] tells it what happens, in this order within an epoch: the ticks of processing time that lie between the
//! epoch before and this one, its rows in the order of their source, the watermark, a flush, and the window's end of life.
//!
//! **Parts.** A part of a trigger *occurs* at an event or does not:
//!
//! | part | occurs |
//! |---|---|
//! | watermark | at the window's end, and after that at the close of each epoch in which rows came |
//! | every 30s | at each multiple of 30 s of processing time at which the group has something new |
//! | every n records | at the n-th row since it occurred last, or since what encloses it began anew |
//! | a AND b | at the event at which the last of them occurs that had not since it began anew; then all begin anew |
//! | a OR b | whenever one does; the others go on |
//! | FIRST(a, b) | whenever one does; then all begin anew |
//!
//! **Something new** are rows since the group fired last. A group with nothing new fires for one reason only: its watermark comes,
//! so that somebody who waits for the window's end hears of it.

use tidemark_planner::plan::TriggerPlan;

/// What happens to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A row was added.
    Row,
    /// Processing time has reached this moment, in microseconds; the group has something new.
    Tick(i64),
    /// The watermark has reached the window's end, or had and rows came.
    Watermark,
}

/// Why a group fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The watermark reached the window's end.
    Watermark,
    /// The same, of a session.
    SessionEnd,
    /// Rows came behind that.
    Late,
    /// A moment of processing time.
    ProcessingTime,
    /// A number of rows.
    Count,
    /// Somebody asked for it.
    Manual,
    /// The window is about to be forgotten.
    Closing,
    /// A limit on state lets the window go, and its result stays.
    Limit,
}

impl Reason {
    /// The word in `_trigger_reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Watermark => "watermark",
            Self::SessionEnd => "session_end",
            Self::Late => "late",
            Self::ProcessingTime => "processing_time",
            Self::Count => "count",
            Self::Manual => "manual",
            Self::Closing => "closing",
            Self::Limit => "limit",
        }
    }
}

/// A trigger and the size of its state.
#[derive(Clone, Debug)]
pub struct Trigger {
    plan: TriggerPlan,
    words: usize,
    intervals: Vec<i64>,
}

impl Trigger {
    /// The trigger of a plan.
    pub fn new(plan: &TriggerPlan) -> Self {
        let mut intervals = plan.intervals();
        intervals.sort_unstable();
        intervals.dedup();
        Self { plan: plan.clone(), words: words(plan), intervals }
    }

    /// Words of state of a group; all zero at first.
    pub fn words(&self) -> usize {
        self.words
    }

    /// Whether rows are counted: then each is an event of its own, and their order matters.
    pub fn counts(&self) -> bool {
        self.plan.counts()
    }

    /// The first moments after an epoch, one for each interval, at which rows of the epoch may fire. A moment lies before the epoch
    /// of its own number.
    pub fn ticks_after(&self, epoch: i64) -> impl Iterator<Item = i64> {
        self.intervals.iter().map(move |us| (epoch.div_euclid(*us) + 1).saturating_mul(*us))
    }

    /// Takes an event. Says why the group fires, if it does.
    pub fn step(&self, state: &mut [u64], event: Event) -> Option<Reason> {
        step(&self.plan, state, event)
    }

    /// Joins the states of two groups that have become one: counts add up, and what has occurred in either has.
    pub fn merge(&self, into: &mut [u64], from: &[u64]) {
        merge(&self.plan, into, from);
    }
}

/// Words of state: of a count its rows, of AND the parts that have occurred, as bits; then those of the parts.
fn words(plan: &TriggerPlan) -> usize {
    let of = |parts: &[TriggerPlan]| parts.iter().map(words).sum::<usize>();
    match plan {
        TriggerPlan::Watermark | TriggerPlan::Every(_) => 0,
        TriggerPlan::EveryRecords(_) => 1,
        TriggerPlan::All(parts) => flags(parts) + of(parts),
        TriggerPlan::Any(parts) | TriggerPlan::First(parts) => of(parts),
    }
}

fn flags(parts: &[TriggerPlan]) -> usize {
    parts.len().div_ceil(64)
}

fn step(plan: &TriggerPlan, state: &mut [u64], event: Event) -> Option<Reason> {
    match plan {
        TriggerPlan::Watermark => (event == Event::Watermark).then_some(Reason::Watermark),
        TriggerPlan::Every(us) => match event {
            Event::Tick(at) if at.rem_euclid(*us) == 0 => Some(Reason::ProcessingTime),
            Event::Tick(_) | Event::Row | Event::Watermark => None,
        },
        TriggerPlan::EveryRecords(records) => {
            if event != Event::Row {
                return None;
            }
            state[0] += 1;
            if state[0] < *records {
                return None;
            }
            state[0] = 0;
            Some(Reason::Count)
        }
        TriggerPlan::All(parts) => {
            let (occurred, inner) = state.split_at_mut(flags(parts));
            let mut last = None;
            step_parts(parts, inner, event, |part, reason| {
                let bit = 1 << (part % 64);
                if occurred[part / 64] & bit == 0 {
                    occurred[part / 64] |= bit;
                    last = last.or(Some(reason));
                }
            });
            let all = occurred.iter().map(|word| word.count_ones() as usize).sum::<usize>() == parts.len();
            let fires = if all { last } else { None };
            if fires.is_some() {
                state.fill(0);
            }
            fires
        }
        TriggerPlan::Any(parts) => {
            let mut first = None;
            step_parts(parts, state, event, |_, reason| first = first.or(Some(reason)));
            first
        }
        TriggerPlan::First(parts) => {
            let mut first = None;
            step_parts(parts, state, event, |_, reason| first = first.or(Some(reason)));
            if first.is_some() {
                state.fill(0);
            }
            first
        }
    }
}

/// Every part takes the event, whether another occurs at it or not.
fn step_parts(parts: &[TriggerPlan], mut state: &mut [u64], event: Event, mut occurs: impl FnMut(usize, Reason)) {
    for (at, part) in parts.iter().enumerate() {
        let (own, rest) = state.split_at_mut(words(part));
        if let Some(reason) = step(part, own, event) {
            occurs(at, reason);
        }
        state = rest;
    }
}

fn merge(plan: &TriggerPlan, into: &mut [u64], from: &[u64]) {
    let (parts, flags) = match plan {
        TriggerPlan::Watermark | TriggerPlan::Every(_) => return,
        TriggerPlan::EveryRecords(_) => {
            into[0] += from[0];
            return;
        }
        TriggerPlan::All(parts) => (parts, flags(parts)),
        TriggerPlan::Any(parts) | TriggerPlan::First(parts) => (parts, 0),
    };
    into[..flags].iter_mut().zip(from).for_each(|(into, from)| *into |= from);
    let mut at = flags;
    for part in parts {
        let width = words(part);
        merge(part, &mut into[at..at + width], &from[at..at + width]);
        at += width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TriggerPlan as T;

    /// Where a trigger fires among events: `.` a row, `t` a tick of 10, `T` one of 10 and 30, `w` the watermark.
    fn fires(plan: &T, events: &str) -> String {
        let trigger = Trigger::new(plan);
        let mut state = vec![0; trigger.words()];
        let fired = events.chars().map(|event| {
            let event = match event {
                '.' => Event::Row,
                't' => Event::Tick(10),
                'T' => Event::Tick(30),
                _ => Event::Watermark,
            };
            match trigger.step(&mut state, event) {
                None => '-',
                Some(Reason::Count) => 'c',
                Some(Reason::ProcessingTime) => 'p',
                Some(_) => 'w',
            }
        });
        fired.collect()
    }

    #[test]
    fn parts_alone() {
        assert_eq!(fires(&T::Watermark, "..tw.w"), "---w-w");
        assert_eq!(fires(&T::Every(10), ".tTw"), "-pp-");
        assert_eq!(fires(&T::Every(30), ".tTw"), "--p-");
        assert_eq!(fires(&T::EveryRecords(3), "..t....w."), "---c--c--");
        assert_eq!(fires(&T::EveryRecords(1), "...w"), "ccc-");
    }

    #[test]
    fn all_wait_for_the_last_of_them_and_begin_anew() {
        let plan = T::All(vec![T::Every(10), T::EveryRecords(2)]);
        assert_eq!(fires(&plan, "..t....t"), "--p----p");
        assert_eq!(fires(&plan, "t....t"), "--c--p");
        // What came beyond the second record does not count for the next time.
        assert_eq!(fires(&plan, "...t.t.."), "---p--c-");
    }

    #[test]
    fn any_goes_on_and_first_begins_anew() {
        let parts = vec![T::EveryRecords(3), T::Every(10)];
        assert_eq!(fires(&T::Any(parts.clone()), "..t.t..."), "--pcp--c");
        assert_eq!(fires(&T::First(parts), "..t.t..."), "--p-p--c");
    }

    #[test]
    fn triggers_nest() {
        let plan = T::Any(vec![T::All(vec![T::Watermark, T::Every(30)]), T::First(vec![T::EveryRecords(2), T::Every(10)])]);
        assert_eq!(fires(&plan, ".t.w.T.."), "-p--cp-c");
        let many = T::All((0..70).map(|_| T::EveryRecords(1)).collect());
        assert_eq!(fires(&many, ".."), "cc");
    }

    #[test]
    fn groups_that_become_one_have_counted_together() {
        let trigger = Trigger::new(&T::All(vec![T::EveryRecords(5), T::Every(10)]));
        let (mut left, mut right) = (vec![0; trigger.words()], vec![0; trigger.words()]);
        (0..2).for_each(|_| assert_eq!(trigger.step(&mut left, Event::Row), None));
        (0..2).for_each(|_| assert_eq!(trigger.step(&mut right, Event::Row), None));
        assert_eq!(trigger.step(&mut right, Event::Tick(10)), None);
        trigger.merge(&mut left, &right);
        assert_eq!(trigger.step(&mut left, Event::Row), Some(Reason::Count));
    }

    #[test]
    fn ticks_lie_behind_the_epoch_of_a_row() {
        let trigger = Trigger::new(&T::Any(vec![T::Every(10), T::Every(30), T::Every(10)]));
        assert_eq!(trigger.ticks_after(19).collect::<Vec<_>>(), [20, 30]);
        assert_eq!(trigger.ticks_after(20).collect::<Vec<_>>(), [30, 30]);
        assert_eq!(trigger.ticks_after(-1).collect::<Vec<_>>(), [0, 0]);
    }
}
