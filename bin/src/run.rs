//! # Running
//!
//! Runs a planned program on its workers, watches it from outside, and says what it did. Results go to standard output, all else
//! to standard error. The first ^C drains and reports, the second ends the process at once.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidemark_dataflow::control::{Control, RunError};
use tidemark_dataflow::epoch::EpochClock;
use tidemark_dataflow::report::RunReport;
use tidemark_dataflow::run::RunConfig;
use tidemark_dataflow::tick_log::TickLog;
use tidemark_planner::Program;
use tidemark_planner::plan::PhysicalPlan;

use crate::args::{HowArgs, ReportForm, RunArgs};
use crate::cluster::{PlaceArgs, place, share, supervisor_gone};
use crate::exit::{self, Color, Exit};
use crate::held::{self, Held, Watch};
use crate::observe::observe;
use crate::outputs;
use crate::progress::Progress;
use crate::session::Session;
use crate::summary::{Outcome, Summary};

/// How often the run is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// How often it is asked what holds the run up.
const STALL_LOOK: Duration = Duration::from_secs(1);

/// `tidemark run`.
pub(crate) fn command(args: &RunArgs, color: Color) -> Exit {
    match Session::open(&args.statements, args.how.format, color) {
        Ok(session) => session_run(&session, &args.how, &args.place),
        Err(message) => {
            exit::complain(&message, color);
            Exit::Wrong
        }
    }
}

/// Plans a session's statements and runs them.
pub(crate) fn session_run(session: &Session, how: &HowArgs, place: &PlaceArgs) -> Exit {
    let cluster = match place::place(place) {
        Ok(cluster) => cluster,
        Err(message) => {
            exit::complain(&message, session.color);
            return Exit::Wrong;
        }
    };
    let program = match session.plan() {
        Ok(program) => program,
        Err(errors) => {
            session.complain(&errors);
            return Exit::Wrong;
        }
    };
    if cluster.is_some()
        && let Err(message) = fits_a_group(how, &program)
    {
        exit::complain(message, session.color);
        return Exit::Wrong;
    }
    if !how.quiet
        && cluster.is_some()
        && let Some(doubt) = place::doubts(place)
    {
        exit::tell(&format!("warning: {doubt}\n"));
    }
    // A supervisor has said what there is to say of the statements.
    if !how.quiet && how.report != ReportForm::Share {
        session.warn(&program.warnings);
    }
    // Of a group only the first process prints.
    if cluster.as_ref().is_none_or(|cluster| cluster.process == 0) {
        let printed = exit::print(&outputs::text(&program.outputs, how.format), session.color);
        if printed != Exit::Done {
            return printed;
        }
    }
    let workers = workers(how, &program, cluster.is_some());
    for observation in program.observations {
        let observed = observe(observation, &session.connectors, how, workers, session.color);
        if observed != Exit::Done {
            return observed;
        }
    }
    match program.plan {
        Some(plan) => match ticks(how) {
            Ok(ticks) => {
                let ticks = ticks.map(Arc::new);
                let clock = Arc::new(ticks.as_ref().map_or_else(EpochClock::system, |ticks| ticks.clock()));
                run(Arc::new(plan), session, how, RunConfig { workers, cluster, clock, ticks, ..RunConfig::default() })
            }
            Err(message) => {
                exit::complain(&message, session.color);
                Exit::Wrong
            }
        },
        None => Exit::Done,
    }
}

/// Whether several processes can do together what is asked for.
///
/// # Errors
/// What they cannot do.
pub(crate) fn fits_a_group(how: &HowArgs, program: &Program) -> Result<(), &'static str> {
    if how.record.is_some() || how.replay.is_some() {
        return Err("a group of processes keeps no log of ticks yet: record and replay with one process");
    }
    if !program.observations.is_empty() {
        return Err("EXPLAIN WATERMARK and EXPLAIN PROGRESS look at a query in a single process");
    }
    Ok(())
}

/// The log of ticks that the command line asks for.
fn ticks(how: &HowArgs) -> Result<Option<TickLog>, String> {
    match (&how.record, &how.replay) {
        (Some(path), _) => {
            let file = std::fs::File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            Ok(Some(TickLog::record(Box::new(std::io::BufWriter::new(file)))))
        }
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            TickLog::replay(&text).map(Some).map_err(|reason| format!("{}: {reason}", path.display()))
        }
        (None, None) => Ok(None),
    }
}

/// What the command line says, else what the statements say, else one per core; in a group one, since machines may differ.
fn workers(how: &HowArgs, program: &Program, in_group: bool) -> usize {
    let cores = || if in_group { 1 } else { std::thread::available_parallelism().map_or(1, std::num::NonZero::get) };
    how.workers.map(usize::from).or_else(|| program.settings.workers()).unwrap_or_else(cores)
}

fn run(plan: Arc<PhysicalPlan>, session: &Session, how: &HowArgs, config: RunConfig) -> Exit {
    let workers = config.workers;
    let control = Control::new();
    if how.flush {
        control.flush_when_stopped();
    }
    interrupts().stop_on_interrupt(&control, how.quiet);
    let on_terminal = std::io::stderr().is_terminal() && !how.quiet;

    let (done, ended) = channel();
    let engine = {
        let (plan, control, connectors) = (Arc::clone(&plan), Arc::clone(&control), Arc::clone(&session.connectors));
        std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let outcome = tidemark_dataflow::run::run(plan, connectors.as_ref(), &config, &control);
            // Nobody listens only when the process is ending anyway.
            let _ = done.send(());
            outcome
        })
    };
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => {
            exit::complain(&format!("cannot start a thread: {error}"), session.color);
            return Exit::Failed;
        }
    };

    let started = Instant::now();
    let mut watch = Watch::new(if how.quiet { Duration::ZERO } else { how.stall_warning });
    let (mut looked, mut stopped_at) = (started, None);
    let mut progress = Progress::new(plan.sources().iter().any(|source| !source.bounded));
    loop {
        let wait = how.limit_time.map_or(LOOK, |limit| limit.saturating_sub(started.elapsed()).clamp(Duration::from_millis(1), LOOK));
        match ended.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
        if how.limit_time.is_some_and(|limit| started.elapsed() >= limit) {
            control.stop();
        }
        if supervisor_gone() {
            control.stop();
        }
        if stopped_at.is_none() && control.stopping() {
            stopped_at = Some((control.report(), u64::try_from(now_us()).unwrap_or_default()));
        }
        if looked.elapsed() >= STALL_LOOK && !control.stopping() {
            looked = Instant::now();
            let now = u64::try_from(now_us()).unwrap_or_default();
            let stalled = watch.look(&plan, &control.report(), now);
            if !stalled.is_empty() {
                session.screen.clear();
                exit::tell(&format!("warning: the run is held up\n{}", held::text(&stalled)));
            }
        }
        if on_terminal {
            progress.update(&session.screen, &control.report(), Instant::now(), now_us());
        }
    }
    session.screen.clear();
    let outcome = engine.join().unwrap_or_else(|panic| Err(RunError::Worker(panic_text(panic.as_ref()))));
    let interrupted = interrupts().count.load(Ordering::SeqCst) > 0;
    let waiting = stopped_at.map_or_else(Vec::new, |(report, now): (RunReport, u64)| held::held(&plan, &report, now));
    conclude(outcome, &control, &plan, how, workers, interrupted, &waiting, session.color)
}

/// Says how the run went and finds the exit. `waiting` is what results waited for when the run was stopped.
#[allow(clippy::too_many_arguments)] // what is known of a run at its end
fn conclude(
    outcome: Result<RunReport, RunError>,
    control: &Control,
    plan: &PhysicalPlan,
    how: &HowArgs,
    workers: usize,
    interrupted: bool,
    waiting: &[Held],
    color: Color,
) -> Exit {
    let (report, error) = match outcome {
        Ok(report) => (report, None),
        Err(error) => (control.report(), Some(error)),
    };
    if error.as_ref().is_some_and(|error| reader_has_gone(error, plan)) {
        return Exit::PipeClosed;
    }
    let kind = match &error {
        Some(_) => Outcome::Failed,
        None if report.stopped => Outcome::Stopped,
        None => Outcome::Finished,
    };
    let error = error.as_ref().map(sentence);
    if let Some(error) = &error {
        exit::complain(error, color);
    }
    if !how.quiet {
        let summary = Summary::new(kind, error, workers, &report);
        match how.report {
            ReportForm::Text => exit::tell(&(summary.text() + &held::at_the_end(waiting))),
            ReportForm::Json | ReportForm::Share => {
                let line = match how.report {
                    ReportForm::Share => share(&summary, &held::at_the_end(waiting)),
                    _ => summary.json().map(|json| format!("{json}\n")),
                };
                match line {
                    Ok(line) => exit::tell(&line),
                    Err(error) => exit::complain(&format!("cannot write the summary: {error}"), color),
                }
            }
        }
    }
    match kind {
        Outcome::Failed => Exit::Failed,
        Outcome::Stopped if interrupted => Exit::Interrupted,
        Outcome::Stopped | Outcome::Finished => Exit::Done,
    }
}

/// The error as a sentence, with the record that was at fault.
pub(crate) fn sentence(error: &RunError) -> String {
    match error {
        RunError::BadRow { raw, .. } if !raw.is_empty() => {
            const SHOWN: usize = 200;
            let text = String::from_utf8_lossy(&raw[..raw.len().min(SHOWN)]);
            let more = if raw.len() > SHOWN { "…" } else { "" };
            format!(
                "{error}\n  the record: {}{more}\n  ON ERROR SKIP or ON ERROR DEAD_LETTER '<path>' in CREATE SOURCE lets a run go on without such rows",
                visible(&text)
            )
        }
        RunError::Evaluation { .. } => {
            format!("{error}\n  ON ERROR SKIP or ON ERROR DEAD_LETTER '<path>' in CREATE SOURCE lets a run go on without such results")
        }
        RunError::Recursion { .. } => {
            format!(
                "{error}\nhelp: bound it, such as by WHERE depth < 100; UNION keeps each row once; SET recursion_limit allows more rounds"
            )
        }
        RunError::BadRow { .. } | RunError::Connector { .. } | RunError::Limit { .. } | RunError::Worker(_) | RunError::Peer { .. } => {
            error.to_string()
        }
    }
}

/// Text with control characters made visible, so that a record cannot play with the terminal.
fn visible(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// Standard output was all there was to write to, and its reader has gone, as `head` does. There is nobody to tell and nothing
/// to regret.
fn reader_has_gone(error: &RunError, plan: &PhysicalPlan) -> bool {
    let all_to_stdout = plan.sinks().iter().all(|sink| sink.connector == "stdout");
    let broken_pipe = std::io::Error::from(std::io::ErrorKind::BrokenPipe).to_string();
    matches!(error, RunError::Connector { reason, .. } if all_to_stdout && reason.to_lowercase().contains(&broken_pipe))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the engine broke: {}", text.unwrap_or("no reason was given"))
}

/// The wall clock in microseconds since the Unix epoch.
pub(crate) fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// What ^C does, for the life of the process.
struct Interrupts {
    count: AtomicUsize,
    quiet: AtomicBool,
    control: OnceLock<Arc<Control>>,
}

fn interrupts() -> &'static Interrupts {
    static INTERRUPTS: Interrupts = Interrupts { count: AtomicUsize::new(0), quiet: AtomicBool::new(false), control: OnceLock::new() };
    &INTERRUPTS
}

impl Interrupts {
    /// From now on ^C stops a run; until now it ends the process.
    fn stop_on_interrupt(&'static self, control: &Arc<Control>, quiet: bool) {
        self.quiet.store(quiet, Ordering::SeqCst);
        if self.control.set(Arc::clone(control)).is_err() {
            return;
        }
        let handler = move || {
            if self.count.fetch_add(1, Ordering::SeqCst) > 0 {
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
            if !self.quiet.load(Ordering::SeqCst) && std::io::stderr().is_terminal() {
                exit::tell("\nstopping: finishing what has been read; ^C again ends at once\n");
            }
            if let Some(control) = self.control.get() {
                control.stop();
            }
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            tracing::warn!(%error, "^C will end the process without a report");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gone_reader_is_told_from_other_failures() {
        let plan = PhysicalPlan::new(Vec::new(), Vec::new(), Vec::new());
        let error = |reason: &str| RunError::Connector { what: "stdout".into(), reason: reason.into() };
        let from_system = std::io::Error::from_raw_os_error(32).to_string();
        assert!(reader_has_gone(&error(&from_system), &plan), "{from_system}");
        assert!(!reader_has_gone(&error("no space left on device"), &plan));
        assert!(!reader_has_gone(&RunError::Worker("broken pipe".into()), &plan));
    }

    #[test]
    fn a_bad_row_is_shown() {
        let error = RunError::BadRow {
            source_name: "trades".into(),
            partition: "a.ndjson".into(),
            offset: 7,
            reason: "no number".into(),
            raw: b"{\"a\":\tx}".to_vec(),
        };
        let text = sentence(&error);
        assert!(text.contains("the record: {\"a\":\\tx}") && text.contains("ON ERROR SKIP"), "{text}");
    }
}
