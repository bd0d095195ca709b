//! # Epochs
//!
//! The timely timestamp is an epoch: the moment of a tick, in microseconds since the Unix epoch. All rows a process reads in a
//! tick carry that tick. Epochs rise strictly, also across restarts. Since an epoch *is* a processing time, the watermark of
//! processing time needs no messages: when the frontier passes epoch `e`, processing time has reached `e`.
//!
//! In a group of processes, process 0 gives the time: the others begin at its first epoch and follow it from then on, so that no
//! difference between the clocks of machines delays a frontier by more than a moment.
//!
//! This is the only place where results of Tidemark's engine come from a clock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// An epoch, in microseconds since the Unix epoch.
pub type Epoch = u64;

/// The ticks of one process, shared by its workers.
#[derive(Debug)]
pub struct EpochClock {
    current: AtomicU64,
    /// A source found no room to pause since the last tick: throughput matters more than latency.
    busy: AtomicBool,
    /// Rows were read since the last tick.
    active: AtomicBool,
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    /// The epoch is `start_epoch` and the time since `start`; `start_epoch` changes when the clock follows another.
    System {
        start: Instant,
        start_epoch: AtomicU64,
    },
    Manual,
}

/// Length of a tick while rows trickle in.
pub const TICK_LIVELY: Duration = Duration::from_millis(2);
/// Length of a tick while sources run flat out, or are idle.
pub const TICK_CALM: Duration = Duration::from_millis(10);

/// How far a clock may seem ahead of the one it follows: the time a message may take.
const AHEAD_MAX: Duration = Duration::from_secs(1);

impl EpochClock {
    /// A clock that follows the wall clock, by a monotonic clock from now on.
    pub fn system() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start_epoch = micros(now);
        Self {
            current: AtomicU64::new(start_epoch),
            busy: AtomicBool::new(false),
            active: AtomicBool::new(false),
            mode: Mode::System { start: Instant::now(), start_epoch: AtomicU64::new(start_epoch) },
        }
    }

    /// A clock that moves only by [`EpochClock::advance`], for tests.
    pub fn manual(start: Epoch) -> Self {
        Self { current: AtomicU64::new(start), busy: AtomicBool::new(false), active: AtomicBool::new(false), mode: Mode::Manual }
    }

    /// The epoch of rows read now.
    pub fn current(&self) -> Epoch {
        self.current.load(Ordering::SeqCst)
    }

    /// Moves to the next epoch by `us`. Returns the new epoch.
    pub fn advance(&self, us: u64) -> Epoch {
        self.current.fetch_add(us, Ordering::SeqCst) + us
    }

    /// What the epoch would be if a tick began now.
    pub fn now(&self) -> Epoch {
        match &self.mode {
            Mode::System { start, start_epoch } => start_epoch.load(Ordering::SeqCst).saturating_add(micros(start.elapsed())),
            Mode::Manual => self.current(),
        }
    }

    /// Takes a first epoch from another process. Only before any row is read: the epoch may fall.
    pub(crate) fn start_at(&self, epoch: Epoch) {
        if matches!(self.mode, Mode::Manual) {
            return;
        }
        self.turn_to(epoch);
        self.current.store(epoch, Ordering::SeqCst);
    }

    /// Follows another process's clock, which showed this epoch a moment ago. Epochs never fall: a clock that is ahead by more than
    /// messages take stands still for a while.
    pub(crate) fn follow(&self, epoch: Epoch) {
        let now = self.now();
        if now < epoch || now > epoch.saturating_add(micros(AHEAD_MAX)) {
            self.turn_to(epoch);
        }
    }

    fn turn_to(&self, epoch: Epoch) {
        if let Mode::System { start, start_epoch } = &self.mode {
            start_epoch.store(epoch.saturating_sub(micros(start.elapsed())), Ordering::SeqCst);
        }
    }

    /// Starts a new epoch if the tick is over. Called often, by every worker.
    pub fn tick(&self) {
        if matches!(self.mode, Mode::Manual) {
            return;
        }
        let now = self.now();
        let current = self.current.load(Ordering::SeqCst);
        let lively = self.active.load(Ordering::Relaxed) && !self.busy.load(Ordering::Relaxed);
        let length = if lively { TICK_LIVELY } else { TICK_CALM };
        if now >= current + micros(length) && self.current.compare_exchange(current, now, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.busy.store(false, Ordering::Relaxed);
            self.active.store(false, Ordering::Relaxed);
        }
    }

    /// Time until the present tick is over.
    pub fn until_tick(&self) -> Duration {
        if matches!(self.mode, Mode::Manual) {
            return Duration::from_micros(100);
        }
        let now = self.now();
        let lively = self.active.load(Ordering::Relaxed) && !self.busy.load(Ordering::Relaxed);
        let length = if lively { TICK_LIVELY } else { TICK_CALM };
        Duration::from_micros((self.current() + micros(length)).saturating_sub(now))
    }

    /// Whether ticks come by themselves, and not from a test.
    pub(crate) fn keeps_time(&self) -> bool {
        matches!(self.mode, Mode::System { .. })
    }

    /// A source has read rows; `saturated` if it has more at hand already.
    pub fn note_read(&self, saturated: bool) {
        self.active.store(true, Ordering::Relaxed);
        if saturated {
            self.busy.store(true, Ordering::Relaxed);
        }
    }

    /// Time since the clock was made.
    pub fn elapsed(&self) -> Duration {
        match &self.mode {
            Mode::System { start, .. } => start.elapsed(),
            Mode::Manual => Duration::ZERO,
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_only_rise() {
        let clock = EpochClock::system();
        let first = clock.current();
        std::thread::sleep(TICK_CALM);
        clock.tick();
        assert!(clock.current() > first);
        let other = first + 3_600_000_000;
        clock.follow(other);
        clock.tick();
        assert!(clock.current() >= other, "a clock that is behind catches up");
        let high = clock.current();
        clock.follow(first);
        clock.tick();
        assert_eq!(clock.current(), high, "a clock that is ahead waits");
        clock.start_at(first);
        assert_eq!(clock.current(), first);
        let manual = EpochClock::manual(5);
        manual.tick();
        assert_eq!(manual.current(), 5);
        assert_eq!(manual.advance(2), 7);
    }
}
