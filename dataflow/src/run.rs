//! # Running a plan
//!
//! Opens what the plan names, meets the other processes of the group if there are any, renders the same dataflow on every worker,
//! and steps it until its sources have ended or somebody asks it to stop.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidemark_connectors::io::Io;
use tidemark_planner::plan::{PhysicalPlan, TimeDomain, WatermarkPlan};
use timely::WorkerConfig;
use timely::communication::AllocatorBuilder;

use crate::cluster::{ClusterConfig, CommsGuard, Facts, Met, join_network, meet};
use crate::control::{Control, Metrics, RunError};
use crate::epoch::EpochClock;
use crate::error_row::{ErrorDesk, sources_below};
use crate::letters::Letters;
use crate::render::{Process, render};
use crate::report::RunReport;
use crate::sink::OpenSinks;
use crate::sleepers::Sleepers;
use crate::source::{SharedSource, Wanted};
use crate::tick_log::TickLog;

/// How to run.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Worker threads of this process.
    pub workers: usize,
    /// Where epochs come from.
    pub clock: Arc<EpochClock>,
    /// Bytes read and not yet through the sinks before sources wait, for the whole process.
    pub bytes_in_flight_max: u64,
    /// The group that this process belongs to, if it does not run alone.
    pub cluster: Option<ClusterConfig>,
    /// The log of ticks that the run writes or follows. Its clock is [`TickLog::clock`].
    pub ticks: Option<Arc<TickLog>>,
    /// Count how far rows are out of order.
    pub measure: bool,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            workers: 1,
            clock: Arc::new(EpochClock::system()),
            bytes_in_flight_max: 64 << 20,
            cluster: None,
            ticks: None,
            measure: false,
        }
    }
}

/// How long an idle worker polls before it parks: crossing between workers is quick while there is work, and an idle run costs nothing.
const IDLE_SPIN: Duration = Duration::from_micros(5);

/// Runs a plan until its sources end, or `control` stops it. The sinks have finished when this returns.
///
/// # Errors
/// When a source, sink, worker or another process fails, or a bad row meets a source that says FAIL. What the sinks had
/// acknowledged by then stays.
pub fn run(plan: Arc<PhysicalPlan>, io: &dyn Io, config: &RunConfig, control: &Arc<Control>) -> Result<RunReport, RunError> {
    let workers = config.workers.max(1);
    let metrics = Arc::new(Metrics::new(&plan, workers));
    control.install(Arc::clone(&metrics));
    let (process, processes) = config.cluster.as_ref().map_or((0, 1), |cluster| (cluster.process, cluster.addresses.len()));
    let mut sources = Vec::new();
    for (position, source) in plan.sources().iter().enumerate() {
        let id = u32::try_from(position).unwrap_or(u32::MAX);
        // What is cut anew needs the times of its rows.
        let replays = config.ticks.as_ref().is_some_and(|ticks| ticks.replays());
        let asked = wanted(&plan, id);
        let wanted = Wanted { watermarks: asked.watermarks || replays, disorder: config.measure };
        let shared = SharedSource::new(id, source.clone(), io.open_source(source)?, wanted, &metrics, (process, processes))?;
        sources.push(Arc::new(shared));
    }
    if let Some(ticks) = &config.ticks {
        begin_log(ticks, &plan, &sources, config)?;
    }
    // Nothing is written before all processes are known to be of one kind.
    let met = match &config.cluster {
        Some(cluster) => match meet(cluster, facts(cluster, &plan, workers, &sources), control, &config.clock)? {
            Some(met) => Some(met),
            None => return Ok(control.report()),
        },
        None => None,
    };
    let group = met.as_ref().map(|met| Arc::clone(&met.group));
    let first_worker = process * workers;
    let outcome = work(plan, io, config, control, Opened { sources, metrics, first_worker, met });
    if let Err(error) = &outcome {
        control.fail(error.clone());
        control.abandon();
    }
    if let Some(group) = group {
        group.part();
    }
    if let Some(ticks) = &config.ticks {
        ticks.flush()?;
    }
    match control.failure() {
        Some(error) => Err(error),
        None => Ok(control.report()),
    }
}

/// What a run has before it works.
struct Opened {
    sources: Vec<Arc<SharedSource>>,
    metrics: Arc<Metrics>,
    first_worker: usize,
    met: Option<Met>,
}

/// Runs the workers of this process until they have done.
fn work(plan: Arc<PhysicalPlan>, io: &dyn Io, config: &RunConfig, control: &Arc<Control>, opened: Opened) -> Result<(), RunError> {
    let workers = config.workers.max(1);
    let letters = Arc::new(Letters::new(Arc::clone(&plan), opened.sources.clone()));
    let desk = ErrorDesk::open(
        Arc::clone(&plan),
        Arc::clone(&letters),
        opened.first_worker == 0,
        io,
        Arc::clone(control),
        Arc::clone(&opened.metrics),
    )?;
    let process = Arc::new(Process {
        sinks: OpenSinks::open(io, plan.sinks(), opened.first_worker, workers)?,
        desk: Arc::new(desk),
        letters,
        plan,
        sources: opened.sources,
        clock: Arc::clone(&config.clock),
        ticks: config.ticks.clone(),
        start: opened.met.as_ref().map_or_else(|| config.clock.current(), |met| met.start),
        control: Arc::clone(control),
        metrics: opened.metrics,
        workers,
        bytes_in_flight_max: config.bytes_in_flight_max,
    });
    let group = opened.met.as_ref().map(|met| Arc::clone(&met.group));
    let (builders, connections) = allocators(workers, opened.met)?;
    let shared = Arc::clone(&process);
    let timely = WorkerConfig::default().idle_spin(IDLE_SPIN);
    let guards = timely::execute::execute_from(builders, Box::new(()), timely, move |worker| {
        let process = Arc::clone(&shared);
        let _broken = Broken(Arc::clone(&process.control));
        let sleepers = Rc::new(Sleepers::default());
        let probe = worker.dataflow_named("tidemark", |scope| render(scope, &process, &sleepers));
        while !probe.done() {
            if process.control.abandoned() {
                // Whoever the frontier waits for is gone.
                worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
                return;
            }
            process.clock.tick();
            sleepers.wake(process.clock.current());
            worker.step_or_park(Some(process.clock.until_tick()));
        }
    })
    .map_err(RunError::Worker)?;
    let mut outcome = Ok(());
    for result in guards.join() {
        outcome = outcome.and(result.map_err(RunError::Worker));
    }
    match (group, connections) {
        (Some(group), Some(connections)) if !control.abandoned() => group.close(move || drop(connections)),
        // Their threads wait for peers that will not come back; they end with the process.
        (_, connections) => std::mem::forget(connections),
    }
    outcome?;
    process.sinks.join();
    process.desk.flush()?;
    if control.failure().is_none() {
        process.sources.iter().for_each(|source| source.close());
    }
    Ok(())
}

/// A worker that panics takes the run with it: the others must not wait for its frontier.
struct Broken(Arc<Control>);

impl Drop for Broken {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(RunError::Worker("a worker broke; the message above says where".into()));
            self.0.abandon();
        }
    }
}

/// What workers are made of.
fn allocators(workers: usize, met: Option<Met>) -> Result<(Vec<AllocatorBuilder>, Option<CommsGuard>), RunError> {
    if let Some(met) = met {
        return join_network(met, workers).map(|(builders, guard)| (builders, Some(guard)));
    }
    let alone = if workers == 1 { timely::CommunicationConfig::Thread } else { timely::CommunicationConfig::Process(workers) };
    let (builders, _) = alone.try_build().map_err(RunError::Worker)?;
    Ok((builders, None))
}

/// Begins the log of ticks, if the run can be replayed at all.
fn begin_log(ticks: &TickLog, plan: &PhysicalPlan, sources: &[Arc<SharedSource>], config: &RunConfig) -> Result<(), RunError> {
    if config.cluster.is_some() {
        return Err(RunError::Worker("a group of processes keeps no log of ticks yet: record and replay with one process".into()));
    }
    let mut facts = format!("plan {:016x}\n", tidemark_planner::explain::fingerprint(plan));
    for source in sources {
        if let Some(why) = source.not_again() {
            return Err(RunError::Worker(format!("source \"{}\" cannot be replayed: {why}", source.name())));
        }
        let names: Vec<&str> = source.source().partitions().iter().map(|partition| partition.name.as_str()).collect();
        let digest = crate::cluster::digest(names.join("\n").as_bytes());
        facts.push_str(&format!("source {} {} {}\n", source.id(), names.len(), &digest[..16]));
    }
    ticks.begin(&facts, config.clock.current())
}

/// What all processes must have in common.
fn facts(cluster: &ClusterConfig, plan: &PhysicalPlan, workers: usize, sources: &[Arc<SharedSource>]) -> Facts {
    let mut facts = Facts::default();
    facts.add("build", cluster.build.clone());
    facts.add("plan fingerprint", format!("{:016x}", tidemark_planner::explain::fingerprint(plan)));
    facts.add("number of processes", cluster.addresses.len().to_string());
    facts.add("number of workers", workers.to_string());
    for (source, plan) in sources.iter().zip(plan.sources()) {
        let names = source.partitions.names();
        let digest = crate::cluster::digest(names.join("\n").as_bytes());
        facts.add(format!("list of partitions of source \"{}\"", plan.name), format!("{} long (hash {})", names.len(), &digest[..8]));
    }
    facts
}

/// What operators ask of the rows of a source: to judge them by their own watermarks.
fn wanted(plan: &PhysicalPlan, source: u32) -> Wanted {
    let watermarks = plan.nodes().iter().any(|node| {
        let judges = |watermark: &&WatermarkPlan| watermark.domain == TimeDomain::EventTime && !watermark.waits_for_end();
        node.watermarks().iter().any(judges) && sources_below(plan, node.id).contains(&source)
    });
    Wanted { watermarks, disorder: false }
}
