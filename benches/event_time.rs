//! Event time: sessions of many users, late rows that correct closed windows, windows that overlap thousandfold, and memory over long
//! streams. Everything in one run, each figure beside what was to be reached:
//!
//! ```text
//! cargo bench --bench event_time
//! cargo bench --bench event_time -- --only hop --repeat 3 --rows 10000000 --workers 1,2
//! ```
//! Rows come from memory: their keys and values are ready columns that go round, their times are added to a batch as it is handed over,
//! so that what the process holds is what the engine holds. Every run is a process of its own with a peak memory of its own. What is
//! compared is run in turns, `--repeat` times, and the best of each counts. `cpu ns` is processor time an event, user and kernel; `by cpu`
//! the million events a second that the workers reach by it with a core each to themselves: on a machine with other work to do it says
//! more than the clock. Every run checks that the counts put out add up to the rows and windows put in.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use tidemark_connectors::sink::Placement;
use tidemark_connectors::source::{Chunk, ChunkBody, ConnectorError, PartitionReader, Read};
use tidemark_dataflow::control::Control;
use tidemark_dataflow::run::{RunConfig, run};
use tidemark_testing::batches::BatchIo;
use tidemark_testing::random::Random;
use tidemark_testing::run::plan;

mod support;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const BATCH: usize = 8_192;
/// Batches whose keys and values are ready.
const POOL: usize = 64;
const SECOND: i64 = 1_000_000;

/// A query over rows.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// Its first column is a count, to be added up.
    sql: &'static str,
    keys: usize,
    /// Rows of a second of event time.
    rate: u64,
    times: Times,
    /// How many windows count a row.
    windows: u64,
    /// Million rows, unless said otherwise.
    millions: u64,
    /// Million events a second that two workers are to reach.
    goal: f64,
}

/// How far the times of rows lie behind the clock of their stream.
#[derive(Clone, Copy)]
enum Times {
    InOrder,
    /// By up to half a second, and the watermark by a second: none is late.
    Jitter,
    /// Every tenth by ten to twenty seconds, and the watermark by none: it comes after a window of ten seconds has closed.
    Late,
}

const SESSIONS: &str = "SELECT count(*), k, sum(v), window_start, window_end FROM t WINDOW SESSION(2s) GROUP BY k";
const SESSIONS_CHANGES: &str = "SELECT count(*), k, sum(v), window_start, window_end FROM t WINDOW SESSION(2s) GROUP BY k EMIT CHANGES";
const CORRECTED: &str = "SELECT count(*), k, sum(v), window_end FROM t
  WINDOW TUMBLING(10s) ALLOWED_LATENESS 30s LATE_DATA_STRATEGY UPDATE_PREVIOUS GROUP BY k";
const CORRECTED_CHANGES: &str = "SELECT count(*), k, sum(v), window_end FROM t
  WINDOW TUMBLING(10s) ALLOWED_LATENESS 30s LATE_DATA_STRATEGY UPDATE_PREVIOUS GROUP BY k EMIT CHANGES";
const HOP: &str = "SELECT count(*), k, sum(v), window_end FROM t WINDOW SLIDING(1h, 1s) GROUP BY k";
const HOP_GREATEST: &str = "SELECT count(*), k, max(v), window_end FROM t WINDOW SLIDING(1h, 1s) GROUP BY k";
const HOP_KEPT: &str = "SELECT count(*), k, sum(v), window_end FROM t
  WINDOW SLIDING(1h, 1s) ALLOWED_LATENESS 30s LATE_DATA_STRATEGY UPDATE_PREVIOUS GROUP BY k";
const HOP_CHANGES: &str = "SELECT count(*), k, sum(v), window_end FROM t WINDOW SLIDING(1h, 1s) GROUP BY k EMIT CHANGES";
const HOP_MINUTE: &str = "SELECT count(*), k, sum(v), window_end FROM t WINDOW SLIDING(1m, 1s) GROUP BY k";

const fn sessions(name: &'static str, sql: &'static str) -> Case {
    Case { name, sql, keys: 100_000, rate: 100_000, times: Times::Jitter, windows: 1, millions: 10, goal: 1.5 }
}

const fn hop(name: &'static str, sql: &'static str, keys: usize, rate: u64, millions: u64) -> Case {
    Case { name, sql, keys, rate, times: Times::Jitter, windows: 3_600, millions, goal: 1.0 }
}

const fn corrected(name: &'static str, sql: &'static str, keys: usize, times: Times) -> Case {
    Case { name, sql, keys, rate: 100_000, times, windows: 1, millions: 10, goal: 0.0 }
}

/// How many events a second.
const RATES: [Case; 8] = [
    sessions("sessions", SESSIONS),
    sessions("sessions, EMIT CHANGES", SESSIONS_CHANGES),
    hop("hop 1 h by 1 s", HOP, 100, 1_000, 10),
    hop("hop 1 h by 1 s, more keys", HOP, 1_000, 10_000, 40),
    hop("hop 1 h by 1 s, greatest", HOP_GREATEST, 100, 1_000, 10),
    hop("hop 1 h by 1 s, kept 30 s", HOP_KEPT, 100, 1_000, 10),
    Case { times: Times::Late, ..hop("hop 1 h by 1 s, kept 30 s, late", HOP_KEPT, 100, 1_000, 2) },
    hop("hop 1 h by 1 s, EMIT CHANGES", HOP_CHANGES, 100, 1_000, 1),
];

/// What late rows cost: the same without and with.
const PAIRS: [[Case; 2]; 4] = [
    pair(["tumble 10 s", "tumble 10 s, late"], CORRECTED, 1_000),
    pair(["tumble 10 s, more keys", "tumble 10 s, late, more keys"], CORRECTED, 100_000),
    pair(["tumble 10 s, changes", "tumble 10 s, late, changes"], CORRECTED_CHANGES, 1_000),
    pair(["tumble 10 s, changes, more keys", "tumble 10 s, late, changes, more keys"], CORRECTED_CHANGES, 100_000),
];

const fn pair(names: [&'static str; 2], sql: &'static str, keys: usize) -> [Case; 2] {
    [corrected(names[0], sql, keys, Times::InOrder), corrected(names[1], sql, keys, Times::Late)]
}

/// What is to stay flat.
const FLAT: [Case; 3] = [
    corrected("tumble 10 s, late, over long", CORRECTED, 10_000, Times::Late),
    Case { name: "hop 1 m by 1 s, over long", windows: 60, rate: 100_000, ..hop("", HOP_MINUTE, 1_000, 0, 0) },
    sessions("sessions, over long", SESSIONS),
];

fn main() {
    if let Some(name) = support::argument("child") {
        return child(&name);
    }
    let only = support::argument("only").unwrap_or_default();
    let repeat = support::number("repeat", 3);
    let chosen = |case: &Case| case.name.contains(&only);
    rates(repeat, &RATES.into_iter().filter(chosen).collect::<Vec<_>>());
    pairs(repeat, &PAIRS.into_iter().filter(|pair| pair.iter().any(chosen)).collect::<Vec<_>>());
    flat(&FLAT.into_iter().filter(chosen).collect::<Vec<_>>());
}

/// What a run measured.
#[derive(Clone, Copy)]
struct Measured {
    rows: f64,
    seconds: f64,
    cpu_seconds: f64,
    peak_bytes: f64,
    changes: f64,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.rows / self.seconds / 1e6
    }

    fn cpu_ns(&self) -> f64 {
        self.cpu_seconds * 1e9 / self.rows
    }

    /// The quicker by the processor, with the lower peak.
    fn best(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        Self {
            seconds: self.seconds.min(other.seconds),
            cpu_seconds: self.cpu_seconds.min(other.cpu_seconds),
            peak_bytes: self.peak_bytes.min(other.peak_bytes),
            ..self
        }
    }
}

/// Runs a case in a process of its own.
fn measure(case: &Case, workers: usize, rows: u64) -> Measured {
    let program = std::env::current_exe().expect("the benchmark is a program");
    let output = std::process::Command::new(program)
        .args(["--child", case.name, "--workers", &workers.to_string(), "--rows", &rows.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("the benchmark can run itself");
    let text = String::from_utf8_lossy(&output.stdout);
    let found: Vec<f64> = text
        .lines()
        .find_map(|line| line.strip_prefix("result "))
        .map(|line| line.split(' ').filter_map(|number| number.parse().ok()).collect())
        .unwrap_or_default();
    let [seconds, cpu_seconds, peak_bytes, changes] = found[..] else { panic!("{} with {workers} workers failed: {text}", case.name) };
    let measured = Measured { rows: rows as f64, seconds, cpu_seconds, peak_bytes, changes };
    eprintln!("{}, {workers} workers: {:.2} M/s, {:.0} ns, {:.1} MB", case.name, measured.rate(), measured.cpu_ns(), peak_bytes / 1e6);
    measured
}

fn rows_of(case: &Case) -> u64 {
    support::number("rows", case.millions * 1_000_000)
}

/// Events a second of cases, with each number of workers.
fn rates(repeat: u64, cases: &[Case]) {
    let workers: Vec<usize> = support::list("workers", "1,2").iter().filter_map(|text| text.parse().ok()).collect();
    let mut lines = Vec::new();
    for case in cases {
        for workers in workers.iter().copied() {
            let mut best = None;
            for _ in 0..repeat {
                best = Some(measure(case, workers, rows_of(case)).best(best));
            }
            let Some(best) = best else { continue };
            lines.push(vec![
                case.name.to_owned(),
                case.keys.to_string(),
                workers.to_string(),
                format!("{:.2}", best.rate()),
                format!("{:.2}", best.rate() / workers as f64),
                if workers == 2 { format!("{}", case.goal) } else { String::new() },
                format!("{:.0}", best.cpu_ns()),
                format!("{:.2}", workers as f64 * 1e3 / best.cpu_ns()),
                format!("{:.2}", best.changes / best.rows),
                format!("{:.0}", best.peak_bytes / 1e6),
            ]);
        }
    }
    print(&["query", "keys", "workers", "M events/s", "per core", "goal", "cpu ns", "by cpu", "changes an event", "peak MB"], &lines);
}

/// What late rows cost.
fn pairs(repeat: u64, pairs: &[[Case; 2]]) {
    let workers = support::list("workers", "2").iter().filter_map(|text| text.parse().ok()).max().unwrap_or(2);
    let mut lines = Vec::new();
    for [without, with] in pairs {
        let (mut plain, mut late) = (None, None);
        for _ in 0..repeat {
            plain = Some(measure(without, workers, rows_of(without)).best(plain));
            late = Some(measure(with, workers, rows_of(with)).best(late));
        }
        let (Some(plain), Some(late)) = (plain, late) else { continue };
        lines.push(vec![
            without.name.to_owned(),
            without.keys.to_string(),
            workers.to_string(),
            format!("{:.2}", plain.rate()),
            format!("{:.2}", late.rate()),
            format!("{:.2}", late.rate() / workers as f64),
            format!("{:.0}", plain.cpu_ns()),
            format!("{:.0}", late.cpu_ns()),
            format!("{:.2}", late.seconds / plain.seconds),
            format!("{:.2}", late.cpu_ns() / plain.cpu_ns()),
            "1.3".to_owned(),
            format!("{:.2}", late.changes / late.rows),
            format!("{:.0}", late.peak_bytes / 1e6),
        ]);
    }
    let head = [
        "10 % late rows",
        "keys",
        "workers",
        "without, M events/s",
        "with",
        "per core",
        "without, cpu ns",
        "with",
        "times, by clock",
        "times, by cpu",
        "goal",
        "changes an event",
        "peak MB",
    ];
    print(&head, &lines);
}

/// Peak memory of processes that read ever more.
fn flat(cases: &[Case]) {
    let sizes: Vec<u64> = support::list("flat", "10,50,100").iter().filter_map(|text| text.parse().ok()).collect();
    let mut lines = Vec::new();
    for case in cases {
        let found: Vec<Measured> = sizes.iter().map(|millions| measure(case, 2, millions * 1_000_000)).collect();
        let (Some(first), Some(last)) = (found.first(), found.last()) else { continue };
        let mut line = vec![case.name.to_owned(), case.keys.to_string()];
        line.extend(found.iter().map(|found| format!("{:.1}", found.peak_bytes / 1e6)));
        line.push(format!("{:.2}", last.peak_bytes / first.peak_bytes));
        line.push("1.1".to_owned());
        line.push(format!("{:.2}", last.rate()));
        lines.push(line);
    }
    let sizes: Vec<String> = sizes.iter().map(|millions| format!("MB at {millions} M")).collect();
    let mut head = vec!["peak memory, 2 workers", "keys"];
    head.extend(sizes.iter().map(String::as_str));
    head.extend(["last to first", "at most", "M events/s"]);
    print(&head, &lines);
}

fn print(head: &[&str], lines: &[Vec<String>]) {
    if !lines.is_empty() {
        support::table(head, lines);
        println!();
    }
}

fn child(name: &str) {
    let pairs = PAIRS.into_iter().flatten();
    let case = RATES.into_iter().chain(pairs).chain(FLAT).find(|case| case.name == name).unwrap_or_else(|| panic!("there is no {name}"));
    let workers = support::number("workers", 1) as usize;
    let rows = support::number("rows", 1_000_000);
    let (counted, changes) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let (sum, seen) = (Arc::clone(&counted), Arc::clone(&changes));
    let on_write = Arc::new(move |rows: &RecordBatch, diffs: Option<&[i64]>| {
        let counts = rows.column(0).as_primitive::<Int64Type>().values();
        let total: i64 = match diffs {
            None => counts.iter().sum(),
            Some(diffs) => counts.iter().zip(diffs).map(|(count, diff)| count * diff).sum(),
        };
        sum.fetch_add(total, Relaxed);
        seen.fetch_add(rows.num_rows() as i64, Relaxed);
    });
    let pool = Arc::new(pool(&case));
    // A partition for each worker, which together have the rate.
    let readers = (0..workers as u64)
        .map(|partition| {
            let rows = rows / workers as u64 + u64::from(partition < rows % workers as u64);
            let step = SECOND as f64 * workers as f64 / case.rate as f64;
            Box::new(Rounds { pool: Arc::clone(&pool), keys: case.keys as i64, next: 0, rows, step }) as Box<dyn PartitionReader>
        })
        .collect();
    let io = BatchIo::new(readers, Placement::EachWorker, on_write);
    let delay = if matches!(case.times, Times::Jitter) { " - INTERVAL '1' SECOND" } else { "" };
    let text = format!(
        "CREATE SOURCE t (k BIGINT, v BIGINT, ts TIMESTAMP(6), WATERMARK FOR ts AS ts{delay}) WITH (connector = 'test'); {};",
        case.sql
    );
    let program = plan(&text).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let (start, cpu) = (Instant::now(), support::all_time());
    let config = RunConfig { workers, ..RunConfig::default() };
    run(Arc::new(program.plan.expect("there is a query")), &io, &config, &Control::new()).unwrap_or_else(|error| panic!("{error}"));
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), support::all_time() - cpu);
    assert_eq!(counted.load(Relaxed), (rows * case.windows) as i64, "{name}: rows were lost");
    println!("result {seconds:.4} {cpu:.4} {} {}", support::peak_memory(), changes.load(Relaxed));
}

/// A batch whose times are still to be made.
struct Prepared {
    keys: Vec<i64>,
    values: ArrayRef,
    /// How far each time lies behind.
    behind: Vec<i64>,
}

fn pool(case: &Case) -> Vec<Prepared> {
    let mut random = Random::new(1);
    let batch = |_| {
        let behind = (0..BATCH).map(|row| match case.times {
            Times::Jitter => random.below(SECOND as usize / 2) as i64,
            Times::Late if row % 10 == 3 => 10 * SECOND + random.below(10 * SECOND as usize) as i64,
            Times::InOrder | Times::Late => 0,
        });
        let behind = behind.collect();
        let keys = (0..BATCH).map(|_| random.below(case.keys) as i64).collect();
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values((0..BATCH).map(|_| random.below(1_000) as i64)));
        Prepared { keys, values, behind }
    };
    (0..POOL).map(batch).collect()
}

/// One partition: the batches of a pool, again and again, every round with other keys.
struct Rounds {
    pool: Arc<Vec<Prepared>>,
    keys: i64,
    next: u64,
    rows: u64,
    /// Microseconds from a row to the next.
    step: f64,
}

impl PartitionReader for Rounds {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        if self.next == self.rows {
            return Ok(Read::End);
        }
        let (first, len) = (self.next, (self.rows - self.next).min(BATCH as u64) as usize);
        let at = first as usize / BATCH;
        let prepared = &self.pool[at % POOL];
        let shift = (at / POOL) as i64 * 7_919 % self.keys;
        let keys = prepared.keys[..len].iter().map(|key| {
            let key = key + shift;
            if key >= self.keys { key - self.keys } else { key }
        });
        let start = (first as f64 * self.step) as i64;
        let times = prepared.behind[..len].iter().enumerate().map(|(row, behind)| start + (row as f64 * self.step) as i64 - behind);
        let columns: [(&str, ArrayRef); 3] = [
            ("k", Arc::new(Int64Array::from_iter_values(keys))),
            ("v", prepared.values.slice(0, len)),
            ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(times))),
        ];
        let batch = RecordBatch::try_from_iter(columns).map_err(|error| ConnectorError::new("rows", error))?;
        self.next += len as u64;
        Ok(Read::Chunk(Chunk { offset: first, bytes: 24 * len as u64, body: ChunkBody::Rows(batch) }))
    }
}
