//! # Tick log
//!
//! What a run cannot compute again: which records of each partition entered the dataflow in which epoch. Epochs are processing time, so a
//! run that takes the same records in the same epochs fires the same triggers, whatever the number of workers.
//!
//! A line for each step of a partition, in any order of partitions: the epoch, the source, the partition, and what happened in it: records
//! up to an offset (exclusive), the end, or a watermark taken over while idle. Before them, what the run was: the plan, its first epoch,
//! the partitions of its sources.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::Mutex;

use crate::control::{RunError, lock};
use crate::epoch::{Epoch, EpochClock};

const FIRST_LINE: &str = "tidemark ticks 1";

/// A log that is written, or one that is followed.
pub struct TickLog(Kind);

enum Kind {
    Record(Mutex<Box<dyn Write + Send>>),
    Replay { facts: String, start: Epoch, stopped: bool, left: Mutex<Left> },
}

impl std::fmt::Debug for TickLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self.0, Kind::Record(_)) { "TickLog(record)" } else { "TickLog(replay)" })
    }
}

/// A source and a partition of it.
type Place = (u32, u32);

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    UpTo(u64),
    End,
    Idle(i64),
}

/// What has not been replayed.
#[derive(Debug, Default)]
struct Left {
    steps: BTreeMap<Place, VecDeque<(Epoch, What)>>,
    /// How many steps each epoch has left.
    epochs: BTreeMap<Epoch, usize>,
}

/// What a partition may do with the chunk it has at hand.
#[derive(Debug, PartialEq)]
pub(crate) enum Turn {
    /// Wait: it is not its turn.
    Wait,
    /// Let the records below an offset in, at an epoch.
    Take { epoch: Epoch, up_to: u64 },
    /// End, at an epoch.
    End { epoch: Epoch },
    /// The log is of other records.
    Wrong(&'static str),
}

impl TickLog {
    /// A log to be written.
    pub fn record(to: Box<dyn Write + Send>) -> Self {
        Self(Kind::Record(Mutex::new(to)))
    }

    /// A log to be followed.
    ///
    /// # Errors
    /// When the text is no log, in words for the user.
    pub fn replay(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err("this is no log of ticks, or one of another version".into());
        }
        let start = lines.next().and_then(|line| line.strip_prefix("start ")?.parse().ok()).ok_or("the log does not say when it starts")?;
        let (mut facts, mut left) = (String::new(), Left::default());
        for line in lines {
            if line.starts_with("plan ") || line.starts_with("source ") {
                facts.push_str(line);
                facts.push('\n');
                continue;
            }
            let (epoch, place, what) = step(line).ok_or_else(|| format!("the log has a line that is none of its own: {line}"))?;
            left.steps.entry(place).or_default().push_back((epoch, what));
            *left.epochs.entry(epoch).or_default() += 1;
        }
        let partitions = facts.lines().filter_map(|line| line.strip_prefix("source ")?.split(' ').nth(1)?.parse::<usize>().ok()).sum();
        let ended = left.steps.values().flatten().filter(|(_, what)| *what == What::End).count();
        Ok(Self(Kind::Replay { facts, start, stopped: ended < partitions, left: Mutex::new(left) }))
    }

    /// The clock of a run with this log.
    pub fn clock(&self) -> EpochClock {
        match &self.0 {
            Kind::Record(_) => EpochClock::system(),
            Kind::Replay { start, .. } => EpochClock::manual(*start),
        }
    }

    pub(crate) fn replays(&self) -> bool {
        matches!(self.0, Kind::Replay { .. })
    }

    /// Begins a run. `facts`: the plan and the sources, a line each.
    pub(crate) fn begin(&self, facts: &str, start: Epoch) -> Result<(), RunError> {
        match &self.0 {
            Kind::Record(to) => write(to, &format!("{FIRST_LINE}\nstart {start}\n{facts}")),
            Kind::Replay { facts: known, .. } if known == facts => Ok(()),
            Kind::Replay { facts: known, .. } => {
                let plan = |facts: &str| facts.lines().next().unwrap_or_default().to_string();
                let what =
                    if plan(known) == plan(facts) { "its sources have other partitions" } else { "the statements or settings differ" };
                Err(RunError::Worker(format!("the log is of another run: {what}")))
            }
        }
    }

    /// A partition let in its records below an offset.
    pub(crate) fn read(&self, epoch: Epoch, place: Place, up_to: u64) -> Result<(), RunError> {
        self.note(epoch, place, &up_to.to_string())
    }

    /// A partition has ended.
    pub(crate) fn ended(&self, epoch: Epoch, place: Place) -> Result<(), RunError> {
        self.note(epoch, place, "end")
    }

    /// A partition took over a watermark while it was idle.
    pub(crate) fn idled(&self, epoch: Epoch, place: Place, greatest: i64) -> Result<(), RunError> {
        self.note(epoch, place, &format!("idle {greatest}"))
    }

    fn note(&self, epoch: Epoch, (source, partition): Place, what: &str) -> Result<(), RunError> {
        match &self.0 {
            Kind::Record(to) => write(to, &format!("{epoch} {source} {partition} {what}\n")),
            Kind::Replay { .. } => Ok(()),
        }
    }

    /// Writes out what is held back.
    pub(crate) fn flush(&self) -> Result<(), RunError> {
        match &self.0 {
            Kind::Record(to) => lock(to).flush().map_err(|error| failed(&error)),
            Kind::Replay { .. } => Ok(()),
        }
    }

    /// Whether a partition has something to do in the present epoch. Moves the clock when all have done theirs.
    pub(crate) fn wants(&self, place: Place, clock: &EpochClock) -> bool {
        self.head(place, clock, |_, _| false).is_some()
    }

    /// What a partition may do with a chunk that reaches to an offset; `None` when it has no more.
    pub(crate) fn turn(&self, place: Place, reach: Option<u64>, clock: &EpochClock) -> Turn {
        let done = |_: Epoch, what: What| match (what, reach) {
            (What::UpTo(up_to), Some(reach)) => reach >= up_to,
            (What::End, None) => true,
            _ => false,
        };
        match (self.head(place, clock, done), reach) {
            (None | Some((_, What::Idle(_))), _) => Turn::Wait,
            (Some((epoch, What::UpTo(up_to))), Some(reach)) => Turn::Take { epoch, up_to: up_to.min(reach) },
            (Some((_, What::UpTo(_))), None) => Turn::Wrong("it has fewer records than when the log was written"),
            (Some((_, What::End)), Some(_)) => Turn::Wrong("it has more records than when the log was written"),
            (Some((epoch, What::End)), None) => Turn::End { epoch },
        }
    }

    /// The watermark that a partition takes over now, being idle.
    pub(crate) fn idle(&self, place: Place, clock: &EpochClock) -> Option<(Epoch, i64)> {
        match self.head(place, clock, |_, what| matches!(what, What::Idle(_))) {
            Some((epoch, What::Idle(greatest))) => Some((epoch, greatest)),
            _ => None,
        }
    }

    /// Whether everything has been replayed of a run that was stopped before its sources ended.
    pub(crate) fn stops_here(&self) -> bool {
        match &self.0 {
            Kind::Record(_) => false,
            Kind::Replay { stopped, left, .. } => *stopped && lock(left).epochs.is_empty(),
        }
    }

    /// The next step of a partition if it is of the present epoch, taken off if it is done with.
    fn head(&self, place: Place, clock: &EpochClock, done: impl Fn(Epoch, What) -> bool) -> Option<(Epoch, What)> {
        let Kind::Replay { left, .. } = &self.0 else { return None };
        let mut left = lock(left);
        // Only here does the clock of a replay move, so it stands still while the lock is held.
        let present = *left.epochs.first_key_value()?.0;
        if present > clock.current() {
            clock.advance(present - clock.current());
        }
        let head = left.steps.get(&place)?.front().copied().filter(|(epoch, _)| *epoch == present)?;
        if done(head.0, head.1) {
            left.steps.get_mut(&place)?.pop_front();
            let count = left.epochs.get_mut(&present)?;
            *count -= 1;
            if *count == 0 {
                left.epochs.remove(&present);
            }
        }
        Some(head)
    }
}

fn step(line: &str) -> Option<(Epoch, Place, What)> {
    let mut words = line.split(' ');
    let (epoch, source, partition) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let what = match words.next()? {
        "end" => What::End,
        "idle" => What::Idle(words.next()?.parse().ok()?),
        up_to => What::UpTo(up_to.parse().ok()?),
    };
    Some((epoch, (source, partition), what))
}

fn write(to: &Mutex<Box<dyn Write + Send>>, text: &str) -> Result<(), RunError> {
    lock(to).write_all(text.as_bytes()).map_err(|error| failed(&error))
}

fn failed(error: &std::io::Error) -> RunError {
    RunError::Connector { what: "the log of ticks".into(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_replayed_epoch_by_epoch() {
        let text = format!("{FIRST_LINE}\nstart 5\nplan a\nsource 0 2 b\n7 0 0 10\n7 0 1 3\n9 0 0 12\n8 0 1 idle 40\n9 0 0 end\n");
        let log = TickLog::replay(&text).unwrap();
        let clock = log.clock();
        assert_eq!(clock.current(), 5);
        log.begin("plan a\nsource 0 2 b\n", 5).unwrap();
        assert!(log.begin("plan b\nsource 0 b\n", 5).unwrap_err().to_string().contains("statements"));
        assert_eq!(log.turn((0, 0), Some(4), &clock), Turn::Take { epoch: 7, up_to: 4 });
        assert_eq!(clock.current(), 7);
        assert_eq!(log.turn((0, 0), Some(11), &clock), Turn::Take { epoch: 7, up_to: 10 });
        assert_eq!(log.turn((0, 0), Some(11), &clock), Turn::Wait);
        assert_eq!(log.turn((0, 1), None, &clock), Turn::Wrong("it has fewer records than when the log was written"));
        assert_eq!(log.turn((0, 1), Some(3), &clock), Turn::Take { epoch: 7, up_to: 3 });
        assert_eq!(log.idle((0, 1), &clock), Some((8, 40)));
        assert!(log.wants((0, 0), &clock) && !log.wants((0, 1), &clock));
        assert_eq!(log.turn((0, 0), Some(12), &clock), Turn::Take { epoch: 9, up_to: 12 });
        assert_eq!(log.turn((0, 0), None, &clock), Turn::End { epoch: 9 });
        assert!(log.stops_here(), "a partition of two has ended");
        assert!(TickLog::replay("x").is_err() && TickLog::replay(&format!("{FIRST_LINE}\nstart 5\n7 0")).is_err());
    }
}
