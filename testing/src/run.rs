//! One run of a text over tables in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemark_dataflow::cluster::{ClusterConfig, WAIT};
use tidemark_dataflow::control::{Control, RunError};
use tidemark_dataflow::epoch::EpochClock;
use tidemark_dataflow::report::RunReport;
use tidemark_dataflow::run::RunConfig;
use tidemark_planner::connector::{ConnectorCatalog, ConnectorSpec, OptionKind, OptionSpec, Options, Side, SourceFacts};
use tidemark_planner::plan::ChangelogKind;
use tidemark_planner::settings::Settings;
use tidemark_planner::{PlanContext, PlanError, Program, plan_text};

use crate::memory::{Change, Memory, START, TextPartition};

/// What to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The statements; sources have `connector = 'test'`.
    pub sql: String,
    /// The rows of the sources.
    pub tables: BTreeMap<String, Vec<TextPartition>>,
    /// Worker threads.
    pub workers: usize,
    /// Where steps are cut into chunks; `None`: one chunk per step.
    pub chunking: Option<u64>,
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// Mistakes in the statements, if they were found wrong.
    pub plan_errors: Option<Vec<PlanError>>,
    /// The changes of each sink, in the order they came.
    pub written: BTreeMap<String, Vec<Change>>,
    /// What the engine counted.
    pub report: Result<RunReport, RunError>,
    /// Promises to sinks that were broken.
    pub faults: Vec<String>,
    /// Dead letters.
    pub letters: Vec<String>,
}

/// Plans statements over the connectors of tests.
///
/// # Errors
/// The mistakes found in the text.
pub fn plan(sql: &str) -> Result<Program, Vec<PlanError>> {
    plan_with(sql, &TestConnectors)
}

/// Plans statements over some connectors, with no variables and default settings.
///
/// # Errors
/// The mistakes found in the text.
pub fn plan_with(sql: &str, connectors: &dyn ConnectorCatalog) -> Result<Program, Vec<PlanError>> {
    plan_text(sql, &PlanContext { connectors, variables: &|_| None, settings: Settings::default(), stdout_format: None })
}

/// Runs a job to its end.
pub fn run(job: &Job) -> Outcome {
    run_group(job, 1)
}

/// Runs a job to its end as a group of processes, each with the job's number of workers. They talk through sockets as real ones do,
/// but are threads of this process, so that they share the tables and the clock.
pub fn run_group(job: &Job, processes: usize) -> Outcome {
    let mut outcome =
        Outcome { plan_errors: None, written: BTreeMap::new(), report: Ok(RunReport::default()), faults: Vec::new(), letters: Vec::new() };
    let plan = match plan(&job.sql) {
        Ok(program) => program.plan,
        Err(errors) => {
            outcome.plan_errors = Some(errors);
            return outcome;
        }
    };
    let Some(plan) = plan else { return outcome };
    let clock = Arc::new(EpochClock::manual(START));
    let control = Control::new();
    let memory = Memory::new(job.tables.clone(), job.chunking, Arc::clone(&clock), Arc::clone(&control));
    let plan = Arc::new(plan);
    let configs = group(job.workers, processes, &clock);
    outcome.report = std::thread::scope(|scope| {
        let others: Vec<_> = configs[1..]
            .iter()
            .map(|config| {
                let control = Control::new();
                let memory = memory.join(Arc::clone(&control));
                let plan = Arc::clone(&plan);
                scope.spawn(move || tidemark_dataflow::run::run(plan, &memory, config, &control))
            })
            .collect();
        let mut report = tidemark_dataflow::run::run(Arc::clone(&plan), &memory, &configs[0], &control);
        for other in others {
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            report = report.and_then(|mut sum| {
                sum.add(&other?);
                Ok(sum)
            });
        }
        report
    });
    outcome.faults = memory.faults();
    outcome.letters = memory.letters();
    for sink in memory.sinks() {
        let changes = memory.written(&sink);
        outcome.written.insert(sink, changes);
    }
    outcome
}

fn group(workers: usize, processes: usize, clock: &Arc<EpochClock>) -> Vec<RunConfig> {
    let free: Vec<_> = (0..processes).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let addresses: Vec<String> = free.iter().map(|one| one.local_addr().expect("an address").to_string()).collect();
    let place = |process| ClusterConfig {
        process,
        addresses: addresses.clone(),
        secret: None,
        wait: WAIT,
        peer_timeout: std::time::Duration::from_secs(20),
        build: String::new(),
    };
    let config =
        |process| RunConfig { workers, clock: Arc::clone(clock), cluster: (processes > 1).then(|| place(process)), ..RunConfig::default() };
    (0..processes).map(config).collect()
}

/// The connectors `test` (both ways), `stdout` and `blackhole`.
struct TestConnectors;

const BOUNDED: OptionSpec = OptionSpec {
    name: "bounded",
    aliases: &[],
    kind: OptionKind::Flag,
    side: Side::Source,
    required: false,
    default: Some("true"),
    help: "The table ends by itself.",
};

const GROWS: OptionSpec = OptionSpec {
    name: "grows-from",
    aliases: &[],
    kind: OptionKind::Integer { min: 1 },
    side: Side::Source,
    required: false,
    default: None,
    help: "The table has so many partitions when it is opened; the others are discovered when they have rows.",
};

const CHANGELOG: OptionSpec = OptionSpec {
    name: "changelog",
    aliases: &[],
    kind: OptionKind::OneOf(&["append", "retract", "upsert"]),
    side: Side::Source,
    required: false,
    default: Some("append"),
    help: "Which changes the rows make. With 'retract' each row has one more cell behind its columns, its diff; with 'upsert' +1 or -1.",
};

const SPECS: [ConnectorSpec; 3] = [
    ConnectorSpec { name: "test", aliases: &[], source: true, sink: true, options: &[BOUNDED, CHANGELOG, GROWS] },
    ConnectorSpec { name: "stdout", aliases: &["print"], source: false, sink: true, options: &[FORMAT] },
    ConnectorSpec { name: "blackhole", aliases: &[], source: false, sink: true, options: &[] },
];

const FORMAT: OptionSpec = OptionSpec {
    name: "format",
    aliases: &[],
    kind: OptionKind::Text,
    side: Side::Sink,
    required: false,
    default: Some("changelog"),
    help: "How rows are printed.",
};

impl ConnectorCatalog for TestConnectors {
    fn connectors(&self) -> &[ConnectorSpec] {
        &SPECS
    }

    fn source_facts(&self, _connector: &str, options: &Options, _declared: Option<&SchemaRef>) -> Result<SourceFacts, String> {
        let changelog = match options.get("changelog") {
            Some("retract") => ChangelogKind::Retract,
            Some("upsert") => ChangelogKind::Upsert,
            _ => ChangelogKind::AppendOnly,
        };
        Ok(SourceFacts { changelog, ..SourceFacts::append_only(None, options.flag("bounded")) })
    }

    fn path_options(&self, path: &str) -> Result<(&'static str, Options), String> {
        Err(format!("tests have no file \"{path}\""))
    }

    fn check_sink(&self, _connector: &str, _options: &Options, _schema: &SchemaRef, _changelog: ChangelogKind) -> Result<(), String> {
        Ok(())
    }
}
