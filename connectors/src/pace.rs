//! What goes by the clock: releasing generated rows, how many are due after some time at some rate; waiting no longer than told.

use std::time::{Duration, Instant};

/// Rows are released in steps of this: a reader that is asked again and again does not hand out rows one by one.
const STEP: Duration = Duration::from_millis(1);

/// A rate and when it began. The one place of the generators that reads a clock.
#[derive(Debug)]
pub(crate) struct Pace {
    per_second: f64,
    started: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(per_second: f64) -> Self {
        Self { per_second, started: None }
    }

    /// How many rows should have been released by now. The first call begins.
    pub(crate) fn due(&mut self) -> u64 {
        let now = Instant::now();
        let started = *self.started.get_or_insert(now);
        due_after(now.duration_since(started), self.per_second)
    }
}

/// A moment after which waiting ends.
#[cfg(feature = "kafka")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    from: Instant,
    patience: Duration,
}

#[cfg(feature = "kafka")]
impl Deadline {
    /// Some time from now.
    pub(crate) fn after(patience: Duration) -> Self {
        Self { from: Instant::now(), patience }
    }

    /// It has passed.
    pub(crate) fn over(&self) -> bool {
        self.from.elapsed() >= self.patience
    }
}

fn due_after(elapsed: Duration, per_second: f64) -> u64 {
    let steps = elapsed.as_micros() / STEP.as_micros();
    (steps as f64 * STEP.as_secs_f64() * per_second) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_due_in_steps_and_add_up() {
        assert_eq!(due_after(Duration::from_micros(999), 1e6), 0);
        assert_eq!(due_after(Duration::from_micros(1_000), 1e6), 1_000);
        assert_eq!(due_after(Duration::from_micros(1_999), 1e6), 1_000);
        assert_eq!(due_after(Duration::from_secs(3_600), 100_000.0), 360_000_000);
        assert_eq!(due_after(Duration::from_millis(1_500), 1.0), 1);
    }
}
