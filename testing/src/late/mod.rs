//! # Late rows, by the book
//!
//! A second oracle, for time alone: sources whose rows come late in every way, one window, every strategy and trigger, and what comes out
//! of it, worked out naively from the definitions in `docs/book/time.md`. It shares no code with the engine nor with [`crate::oracle`].
//!
//! [`Case`] is a list of events in the order they arrive; [`answer`] says which rows stand after each step, which come out late and what
//! became of them; [`check()`] runs the same in SQL and compares, change by change.

mod answer;
mod check;
mod fires;
mod generate;
mod search;
mod sql;

pub use answer::{Answer, Bag, Watermarks, answer, watermarks};
pub use check::{check, smaller};
pub use generate::{case, triggered};
pub use search::search;
pub use sql::{job, rows, statements};

use crate::oracle::When;

/// A second in microseconds.
pub const SECOND: i64 = 1_000_000;

/// One row, or one row taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Tells rows apart.
    pub id: i64,
    /// When it happened.
    pub ts: Option<i64>,
    /// The watermark that it carries.
    pub mark: Option<i64>,
    /// What it is grouped by.
    pub key: i64,
    /// What is added up.
    pub value: i64,
    /// +1, or −1 for a row that came before and is taken back.
    pub diff: i64,
}

/// What a source promises of its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// None is older than the greatest so far by more than this.
    Bounded(i64),
    /// Each is above all before it.
    Strict,
    /// Rows carry the watermark.
    Carried,
}

/// The events of a partition, step by step; it ends after its last step.
pub type Partition = Vec<Vec<Event>>;

/// One source.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its promise.
    pub promise: Promise,
    /// Rows may be taken back.
    pub retracts: bool,
    /// After so many steps without rows a partition follows the fastest.
    pub idle_steps: Option<usize>,
    /// Its partitions.
    pub partitions: Vec<Partition>,
}

/// Windows. All in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Back to back.
    Tumble {
        /// Length.
        size: i64,
        /// Shift of the starts.
        offset: i64,
    },
    /// Overlapping.
    Hop {
        /// Length.
        size: i64,
        /// Distance of starts.
        slide: i64,
    },
    /// Growing.
    Cumulate {
        /// Greatest length.
        size: i64,
        /// Growth.
        step: i64,
    },
    /// By activity.
    Session {
        /// Time without rows that ends one.
        gap: i64,
    },
}

/// What becomes of rows that are too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Counted and dropped.
    Drop,
    /// The same, but with a lateness.
    UpdatePrevious,
    /// Written to a file.
    DeadLetter,
    /// Counted in a window that is open.
    NextWindow,
}

/// When results come out.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    /// TRIGGER.
    pub when: When,
    /// FIRE AND PURGE.
    pub purge: bool,
    /// The columns that tell of the firing are selected too.
    pub told: bool,
}

/// One query over some sources, whatever the number of workers.
#[derive(Clone, Debug)]
pub struct Case {
    /// One source, or two that are read as one bag.
    pub sources: Vec<Source>,
    /// The window.
    pub shape: Shape,
    /// The delay of a watermark of the query's own.
    pub own_delay: Option<i64>,
    /// ALLOWED_LATENESS.
    pub lateness: i64,
    /// LATE_DATA_STRATEGY.
    pub strategy: Strategy,
    /// EMIT FINAL, otherwise EMIT CHANGES.
    pub fin: bool,
    /// Grouped by the key too.
    pub keyed: bool,
    /// The ids of the rows are listed, beside what is added up.
    pub lists: bool,
    /// Only rows with an even value count.
    pub filter: bool,
    /// The late rows are asked for as well.
    pub late_sink: bool,
    /// Windows of this size over the windows.
    pub outer: Option<i64>,
    /// When results come out; `None`: as EMIT says.
    pub firing: Option<Firing>,
    /// Where rows of a step are cut into chunks.
    pub chunking: u64,
}

impl Case {
    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.sources.iter().flat_map(|source| &source.partitions).map(Vec::len).max().unwrap_or(0)
    }

    /// Some partition may be passed over: then it is asked of the run by which watermark each row was judged.
    pub fn idles(&self) -> bool {
        self.sources.iter().any(|source| source.idle_steps.is_some())
    }

    /// Rows may be taken back.
    pub fn retracts(&self) -> bool {
        self.sources.iter().any(|source| source.retracts)
    }

    /// The gap, if windows are sessions.
    pub fn gap(&self) -> Option<i64> {
        match self.shape {
            Shape::Session { gap } => Some(gap),
            _ => None,
        }
    }
}
