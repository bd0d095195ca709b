//! # Running a plan
//!
//! Opens what the plan names, renders the same dataflow on every worker, and steps it until its sources have ended or somebody
//! asks it to stop.

use std::sync::Arc;
use std::time::Duration;

use tidemark_connectors::io::Io;
use tidemark_planner::plan::{PhysicalPlan, TimeDomain};
use timely::WorkerConfig;

use crate::control::{Control, Metrics, RunError};
use crate::epoch::EpochClock;
use crate::error_row::{ErrorDesk, sources_below};
use crate::render::{Process, render};
use crate::report::RunReport;
use crate::sink::OpenSinks;
use crate::source::SharedSource;

/// How to run.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Worker threads of this process.
    pub workers: usize,
    /// Where epochs come from.
    pub clock: Arc<EpochClock>,
    /// Bytes read and not yet through the sinks before sources wait, for the whole process.
    pub bytes_in_flight_max: u64,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self { workers: 1, clock: Arc::new(EpochClock::system()), bytes_in_flight_max: 64 << 20 }
    }
}

/// How long an idle worker polls before it parks: crossing between workers is quick while there is work, and an idle run costs nothing.
const IDLE_SPIN: Duration = Duration::from_micros(5);

/// Runs a plan until its sources end, or `control` stops it. The sinks have finished when this returns.
///
/// # Errors
/// When a source, sink or worker fails, or a bad row meets a source that says FAIL. What the sinks had acknowledged by then stays.
pub fn run(plan: Arc<PhysicalPlan>, io: &dyn Io, config: &RunConfig, control: &Arc<Control>) -> Result<RunReport, RunError> {
    let workers = config.workers.max(1);
    let metrics = Arc::new(Metrics::new(&plan, workers));
    control.install(Arc::clone(&metrics));
    let mut sources = Vec::new();
    for (position, source) in plan.sources().iter().enumerate() {
        let id = u32::try_from(position).unwrap_or(u32::MAX);
        let wanted = event_time_wanted(&plan, id);
        let shared = SharedSource::new(id, source.clone(), io.open_source(source)?, wanted, 0, 1)?;
        metrics.sources[position].open(shared.partition_count(), shared.bytes_total());
        sources.push(Arc::new(shared));
    }
    let names = sources.iter().map(|source| source.partition_names()).collect();
    let desk = ErrorDesk::open(Arc::clone(&plan), names, io, Arc::clone(control), Arc::clone(&metrics))?;
    let process = Arc::new(Process {
        sinks: OpenSinks::open(io, plan.sinks(), 0, workers)?,
        desk: Arc::new(desk),
        plan,
        sources,
        clock: Arc::clone(&config.clock),
        start: config.clock.current(),
        control: Arc::clone(control),
        metrics,
        workers,
        bytes_in_flight_max: config.bytes_in_flight_max,
    });
    let timely = timely::Config {
        communication: if workers == 1 { timely::CommunicationConfig::Thread } else { timely::CommunicationConfig::Process(workers) },
        worker: WorkerConfig::default().idle_spin(IDLE_SPIN),
    };
    let shared = Arc::clone(&process);
    let guards = timely::execute(timely, move |worker| {
        let process = Arc::clone(&shared);
        let probe = worker.dataflow_named("tidemark", |scope| render(scope, &process));
        while !probe.done() {
            process.clock.tick();
            worker.step_or_park(Some(process.clock.until_tick()));
        }
    })
    .map_err(RunError::Worker)?;
    for result in guards.join() {
        result.map_err(RunError::Worker)?;
    }
    process.sinks.join();
    process.desk.flush()?;
    match control.failure() {
        Some(error) => Err(error),
        None => Ok(control.report()),
    }
}

/// Whether some operator judges rows of a source by their own watermarks.
fn event_time_wanted(plan: &PhysicalPlan, source: u32) -> bool {
    plan.nodes().iter().any(|node| {
        node.op.watermarks().iter().any(|watermark| watermark.domain == TimeDomain::EventTime)
            && sources_below(plan, node.id).contains(&source)
    })
}
