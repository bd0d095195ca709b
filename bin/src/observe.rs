//! # EXPLAIN that looks
//!
//! `EXPLAIN WATERMARK` and `EXPLAIN PROGRESS` read the sources of a query for a while, write its results nowhere, and say what they saw. They
//! run in a process of their own and ask no other: what a query waits for follows from its sources, and a run that is under way says the
//! same by itself, when it stalls and when it is stopped.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use tidemark_connectors::Connectors;
use tidemark_connectors::io::{DeadLetter, DeadLetters, Io};
use tidemark_connectors::sink::{Placement, Sink, SinkReport};
use tidemark_connectors::source::{ConnectorError, Decoder, PartitionInfo, PartitionReader, Source};
use tidemark_dataflow::control::Control;
use tidemark_dataflow::report::RunReport;
use tidemark_dataflow::run::RunConfig;
use tidemark_planner::duration::format_us;
use tidemark_planner::plan::{PhysicalPlan, SinkPlan, SourcePlan, WatermarkStrategy};
use tidemark_planner::statement::Observe;
use tidemark_planner::{Observation, Output};

use crate::args::HowArgs;
use crate::exit::{self, Color, Exit};
use crate::held::{held, text};
use crate::run::{LOOK, now_us, sentence};
use crate::{figures, outputs};

/// How long sources that do not end are looked at, unless --limit-time says it.
const LOOK_AT: Duration = Duration::from_secs(10);

/// How long what was read may take to come out when it has been looked at for long enough.
const GRACE: Duration = Duration::from_secs(2);

/// Runs what is observed and prints what was seen.
pub(crate) fn observe(observation: Observation, connectors: &Arc<Connectors>, how: &HowArgs, workers: usize, color: Color) -> Exit {
    let Observation { observe, plan } = observation;
    let plan = Arc::new(plan);
    let ends = plan.sources().iter().all(|source| source.bounded);
    let limit = how.limit_time.or((!ends).then_some(LOOK_AT));
    let control = Control::new();
    let config = RunConfig { workers, measure: observe == Observe::Watermark, ..RunConfig::default() };
    let (done, ended) = channel();
    let engine = {
        let (plan, control, io) = (Arc::clone(&plan), Arc::clone(&control), Quiet(Arc::clone(connectors)));
        std::thread::spawn(move || {
            let outcome = tidemark_dataflow::run::run(plan, &io, &config, &control);
            // Nobody listens only when the process is ending anyway.
            let _ = done.send(());
            outcome
        })
    };
    let started = Instant::now();
    let mut seen = RunReport::default();
    while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        if limit.is_some_and(|limit| started.elapsed() >= limit) {
            if !control.stopping() {
                seen = control.report();
            }
            control.stop();
        }
        if limit.is_some_and(|limit| started.elapsed() >= limit + GRACE) {
            // An operator is at work on what was read, for as long as that takes: it writes nowhere, and ends with the process.
            return print(observe, &plan, &seen, how, color);
        }
    }
    let outcome = engine.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let report = match outcome {
        // As it stood when it was stopped: what is held after that is held by the stop.
        Ok(report) => {
            if report.stopped {
                RunReport { elapsed: report.elapsed, ..seen }
            } else {
                report
            }
        }
        Err(error) => {
            exit::complain(&sentence(&error), color);
            return Exit::Failed;
        }
    };
    print(observe, &plan, &report, how, color)
}

fn print(observe: Observe, plan: &PhysicalPlan, report: &RunReport, how: &HowArgs, color: Color) -> Exit {
    match observe {
        Observe::Progress => exit::print(&progress(plan, report), color),
        Observe::Watermark => exit::print(&outputs::text(&[disorder(plan, report)], how.format), color),
    }
}

fn progress(plan: &PhysicalPlan, report: &RunReport) -> String {
    let now = u64::try_from(now_us()).unwrap_or_default();
    let mut out = format!("after {}: ", figures::elapsed(report.elapsed));
    let counts: Vec<String> =
        report.sources.iter().map(|source| format!("{} of {}", figures::counted(source.rows, "row"), source.name)).collect();
    out.push_str(&format!("{}\n", counts.join(", ")));
    match held(plan, report, now).as_slice() {
        [] => out.push_str("nothing is held: all that was read has come out\n"),
        all => out.push_str(&text(all)),
    }
    out
}

/// What each delay would have bought, partition by partition, until all rows are in time.
fn disorder(plan: &PhysicalPlan, report: &RunReport) -> Output {
    let mut rows = Vec::new();
    for (source, of) in plan.sources().iter().zip(&report.sources) {
        let Some(time) = &source.event_time else { continue };
        let declared = match time.strategy {
            WatermarkStrategy::Bounded { delay_us } => Some(delay_us),
            WatermarkStrategy::Carried => None,
        };
        for partition in &of.partition_reports {
            let mut before = None;
            for delay in &partition.delays {
                let all = delay.in_time == delay.rows;
                // Only what buys something, and what is declared.
                if before == Some(delay.in_time) && declared != Some(delay.delay_us) {
                    continue;
                }
                before = Some(delay.in_time);
                rows.push(vec![
                    source.name.clone(),
                    partition.name.clone(),
                    format_us(delay.delay_us),
                    figures::count(delay.rows - delay.in_time),
                    figures::count(delay.rows),
                    if delay.rows == 0 { String::new() } else { format!("{:.3} %", 100.0 * delay.in_time as f64 / delay.rows as f64) },
                    if declared == Some(delay.delay_us) { "declared".into() } else { String::new() },
                ]);
                if all {
                    break;
                }
            }
            if let (Some(last), Some(most)) = (rows.last_mut(), partition.behind_max_us.filter(|most| *most > 0)) {
                let about = format!("furthest behind: {}", format_us(most));
                last[6] = if last[6].is_empty() { about } else { format!("{}; {about}", last[6]) };
            }
        }
    }
    let columns = ["source", "partition", "delay", "rows behind", "of", "in time", "about"].map(String::from).to_vec();
    Output::Table { columns, rows }
}

/// The sources of connectors, and sinks that write nowhere.
struct Quiet(Arc<Connectors>);

impl Io for Quiet {
    fn open_source(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(Unmoved(self.0.open_source(plan)?)))
    }

    fn placement(&self, _plan: &SinkPlan) -> Placement {
        Placement::EachWorker
    }

    fn open_sink(&self, _plan: &SinkPlan, _worker: usize) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(Nowhere))
    }

    fn open_dead_letters(&self, _path: &str) -> Result<Box<dyn DeadLetters>, ConnectorError> {
        Ok(Box::new(Nowhere))
    }
}

/// A source whose place in the outside world is not moved by reading.
struct Unmoved(Box<dyn Source>);

impl Source for Unmoved {
    fn partitions(&self) -> &[PartitionInfo] {
        self.0.partitions()
    }

    fn open(&self, partition: usize) -> Result<Box<dyn PartitionReader>, ConnectorError> {
        self.0.open(partition)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        self.0.decoder()
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn write(&mut self, _rows: &RecordBatch, _diffs: Option<&[i64]>) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn end_epoch(&mut self, _epoch: u64) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<SinkReport, ConnectorError> {
        Ok(SinkReport::default())
    }
}

impl DeadLetters for Nowhere {
    fn write(&mut self, _letter: &DeadLetter<'_>) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}
