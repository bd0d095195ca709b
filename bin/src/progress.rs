//! # Progress
//!
//! One line on standard error that tells how a run is going, where standard error is a terminal. Results and the line may share
//! that terminal: [`Screen`] gives the place to one of them at a time, and results come first.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tidemark_dataflow::report::RunReport;

use crate::figures;

/// A run shorter than this shows no progress.
const QUIET_START: Duration = Duration::from_secs(1);
/// Results on the screen keep the line away for this long.
const QUIET_AFTER_RESULT: Duration = Duration::from_millis(700);
/// The rate is taken over this stretch.
const RATE_WINDOW: Duration = Duration::from_secs(3);

/// The terminal that the progress line and, it may be, the results are written to.
pub(crate) struct Screen {
    state: Mutex<ScreenState>,
}

struct ScreenState {
    bar: Option<ProgressBar>,
    last_result: Option<Instant>,
}

impl Screen {
    /// A screen with nothing on it.
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(ScreenState { bar: None, last_result: None }) }
    }

    fn lock(&self) -> MutexGuard<'_, ScreenState> {
        // A writer that panicked leaves nothing half done here: the line is only cleared and drawn whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the line away, writes results, and keeps the line away for a moment.
    fn write_results<T>(&self, write: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
        let outcome = write();
        state.last_result = Some(Instant::now());
        outcome
    }

    fn show(&self, percent: Option<u64>, message: String) {
        let mut state = self.lock();
        if state.last_result.is_some_and(|last| last.elapsed() < QUIET_AFTER_RESULT) {
            return;
        }
        let bar = state.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
            let template = if percent.is_some() { "[{bar:20}] {percent:>3} %  {wide_msg}" } else { "{wide_msg}" };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        if let Some(percent) = percent {
            bar.set_position(percent);
        }
        bar.set_message(message);
    }

    /// Takes the line away for good.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.lock().bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Standard output on a terminal that it shares with the progress line.
pub(crate) struct ScreenWriter {
    screen: Arc<Screen>,
}

impl ScreenWriter {
    /// Standard output beside a screen's line.
    pub(crate) fn new(screen: Arc<Screen>) -> Self {
        Self { screen }
    }
}

impl Write for ScreenWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.screen.write_results(|| std::io::stdout().lock().write_all(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.screen.write_results(|| std::io::stdout().lock().flush())
    }
}

/// Turns snapshots of a run into the line.
pub(crate) struct Progress {
    started: Instant,
    /// Rows read at some past instants, oldest first.
    history: VecDeque<(Instant, u64)>,
    /// Some source never ends, so that its watermark should follow the clock.
    live: bool,
}

impl Progress {
    /// Progress of a run that starts now.
    pub(crate) fn new(live: bool) -> Self {
        Self { started: Instant::now(), history: VecDeque::new(), live }
    }

    /// Looks at the run again and draws what it shows. `now_us` is the wall clock.
    pub(crate) fn update(&mut self, screen: &Screen, report: &RunReport, now: Instant, now_us: i64) {
        let rows = report.sources.iter().map(|source| source.rows).sum();
        self.history.push_back((now, rows));
        while self.history.len() > 2 && self.history.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_WINDOW) {
            self.history.pop_front();
        }
        if now.duration_since(self.started) >= QUIET_START {
            screen.show(percent(report), self.line(report, now_us));
        }
    }

    fn line(&self, report: &RunReport, now_us: i64) -> String {
        let mut facts = Vec::new();
        if let (Some((first_at, first)), Some((last_at, last))) = (self.history.front(), self.history.back()) {
            facts.push(figures::counted(*last, "event"));
            facts.push(figures::rate(last - first.min(last), last_at.duration_since(*first_at), "events"));
        }
        if let Some(watermark) = report.sources.iter().filter_map(|source| source.watermark_us).min() {
            let lag = now_us.saturating_sub(watermark);
            // A replay of old data follows its own clock: its distance from now says nothing.
            let sensible = self.live && (0..86_400_000_000).contains(&lag);
            let lag =
                if sensible { format!(" (lag {})", figures::elapsed(Duration::from_micros(lag.unsigned_abs()))) } else { String::new() };
            facts.push(format!("watermark {}{lag}", figures::time(watermark)));
        }
        let late: u64 = report.operators.iter().map(|operator| operator.late).sum();
        let bad: u64 = report.sources.iter().map(|source| source.bad).sum();
        let errors: u64 = report.operators.iter().map(|operator| operator.errors).sum();
        for (n, what) in [(late, "late"), (bad, "bad"), (errors, "failed")] {
            if n > 0 {
                facts.push(format!("{} {what}", figures::count(n)));
            }
        }
        facts.join(" | ")
    }
}

/// How much of the input has been read, where every source knows its size.
fn percent(report: &RunReport) -> Option<u64> {
    let mut total: u64 = 0;
    for source in &report.sources {
        total += source.bytes_total?;
    }
    let read: u64 = report.sources.iter().map(|source| source.bytes).sum();
    (total > 0).then(|| (u128::from(read.min(total)) * 100 / u128::from(total)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_dataflow::report::{OperatorReport, SourceReport};

    fn report() -> RunReport {
        let source = SourceReport {
            rows: 3_000_000,
            bytes: 430,
            bytes_total: Some(1000),
            watermark_us: Some(1_704_101_700_000_000),
            ..SourceReport::default()
        };
        RunReport {
            sources: vec![source],
            operators: vec![OperatorReport { late: 2, ..OperatorReport::default() }],
            ..RunReport::default()
        }
    }

    #[test]
    fn the_line_tells_events_rate_watermark_lag_and_losses() {
        let now = Instant::now();
        let mut progress = Progress::new(true);
        progress.history = VecDeque::from([(now, 0), (now + Duration::from_secs(2), 3_000_000)]);
        let line = progress.line(&report(), 1_704_101_702_500_000);
        assert_eq!(line, "3,000,000 events | 1.50 M events/s | watermark 2024-01-01 09:35:00 (lag 2.50 s) | 2 late");
        progress.live = false;
        assert!(!progress.line(&report(), 1_704_101_702_500_000).contains("lag"));
    }

    #[test]
    fn the_share_is_known_only_when_every_size_is() {
        let mut report = report();
        assert_eq!(percent(&report), Some(43));
        report.sources.push(SourceReport::default());
        assert_eq!(percent(&report), None);
    }
}
