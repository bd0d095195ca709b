//! Triggers, naively: what a part of one makes of each event, written from the table in the book.

use crate::random::Random;

const SECOND: i64 = 1_000_000;

/// A trigger with its own memory.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// ON WATERMARK.
    Watermark,
    /// EVERY some microseconds.
    Every(i64),
    /// EVERY n RECORDS, and how many have come.
    Records(u64, u64),
    /// AND: the parts, and which have occurred.
    And(Vec<(When, bool)>),
    /// OR.
    Or(Vec<When>),
    /// FIRST.
    First(Vec<When>),
}

/// What happens to a group of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Happening {
    /// A row comes.
    Row,
    /// A moment of processing time is reached.
    Moment(i64),
    /// The watermark reaches the window's end, or rows came behind that.
    Watermark,
}

impl When {
    /// A random trigger.
    pub fn random(random: &mut Random, depth: usize) -> Self {
        match random.below(if depth == 0 { 3 } else { 6 }) {
            0 => Self::Watermark,
            1 => Self::Every(*random.pick(&[SECOND, 2 * SECOND, 3 * SECOND, SECOND / 2])),
            2 => Self::Records(random.between(1, 4) as u64, 0),
            kind => {
                let parts = (0..random.between(2, 3)).map(|_| Self::random(random, depth - 1));
                match kind {
                    3 => Self::And(parts.map(|part| (part, false)).collect()),
                    4 => Self::Or(parts.collect()),
                    _ => Self::First(parts.collect()),
                }
            }
        }
    }

    /// The trigger as SQL.
    pub fn sql(&self) -> String {
        let joined = |parts: Vec<String>, word: &str| format!("({})", parts.join(word));
        match self {
            Self::Watermark => "ON WATERMARK".into(),
            Self::Every(us) => format!("EVERY {} ms", us / 1000),
            Self::Records(records, _) => format!("EVERY {records} RECORDS"),
            Self::And(parts) => joined(parts.iter().map(|(part, _)| part.sql()).collect(), " AND "),
            Self::Or(parts) => joined(parts.iter().map(Self::sql).collect(), " OR "),
            Self::First(parts) => format!("FIRST{}", joined(parts.iter().map(Self::sql).collect(), ", ")),
        }
    }

    /// Whether rows are counted.
    pub fn counts(&self) -> bool {
        match self {
            Self::Watermark | Self::Every(_) => false,
            Self::Records(..) => true,
            Self::And(parts) => parts.iter().any(|(part, _)| part.counts()),
            Self::Or(parts) | Self::First(parts) => parts.iter().any(Self::counts),
        }
    }

    /// The trigger with the window's end, if it does not speak of that.
    pub fn with_end(self) -> Self {
        match self {
            waits if waits.waits() => waits,
            Self::Or(parts) => Self::Or(parts.into_iter().chain([Self::Watermark]).collect()),
            other => Self::Or(vec![other, Self::Watermark]),
        }
    }

    /// Two groups become one: they have counted together, and what occurred to either has.
    pub fn join(&mut self, other: &Self) {
        match (self, other) {
            (Self::Records(_, seen), Self::Records(_, more)) => *seen += more,
            (Self::And(parts), Self::And(others)) => {
                for ((part, occurred), (other, also)) in parts.iter_mut().zip(others) {
                    part.join(other);
                    *occurred |= also;
                }
            }
            (Self::Or(parts) | Self::First(parts), Self::Or(others) | Self::First(others)) => {
                parts.iter_mut().zip(others).for_each(|(part, other)| part.join(other));
            }
            _ => {}
        }
    }

    fn waits(&self) -> bool {
        match self {
            Self::Watermark => true,
            Self::Every(_) | Self::Records(..) => false,
            Self::And(parts) => parts.iter().any(|(part, _)| part.waits()),
            Self::Or(parts) | Self::First(parts) => parts.iter().any(Self::waits),
        }
    }

    fn anew(&mut self) {
        match self {
            Self::Watermark | Self::Every(_) => {}
            Self::Records(_, seen) => *seen = 0,
            Self::And(parts) => parts.iter_mut().for_each(|(part, occurred)| {
                part.anew();
                *occurred = false;
            }),
            Self::Or(parts) | Self::First(parts) => parts.iter_mut().for_each(Self::anew),
        }
    }

    /// Takes an event in. Says why the group fires, if it does.
    pub fn happens(&mut self, what: Happening) -> Option<&'static str> {
        match self {
            Self::Watermark => (what == Happening::Watermark).then_some("watermark"),
            Self::Every(us) => match what {
                Happening::Moment(at) if at % *us == 0 => Some("processing_time"),
                _ => None,
            },
            Self::Records(records, seen) => {
                *seen += u64::from(what == Happening::Row);
                (what == Happening::Row && *seen >= *records).then(|| *seen = 0).map(|()| "count")
            }
            Self::And(parts) => {
                let mut why = None;
                for (part, occurred) in parts.iter_mut() {
                    if let Some(reason) = part.happens(what)
                        && !std::mem::replace(occurred, true)
                    {
                        why = why.or(Some(reason));
                    }
                }
                if parts.iter().all(|(_, occurred)| *occurred) {
                    self.anew();
                    why
                } else {
                    None
                }
            }
            Self::Or(parts) => parts.iter_mut().filter_map(|part| part.happens(what)).collect::<Vec<_>>().first().copied(),
            Self::First(parts) => {
                let why = parts.iter_mut().filter_map(|part| part.happens(what)).collect::<Vec<_>>().first().copied();
                if why.is_some() {
                    self.anew();
                }
                why
            }
        }
    }
}
