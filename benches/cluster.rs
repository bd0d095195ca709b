//! Two processes against one: what crossing a process costs.
//!
//! ```text
//! cargo bench --bench cluster
//! cargo bench --bench cluster -- --events 8000000 --queries q0,q5 --runs 3 --seconds 5
//! ```
//! Throughput: Nexmark's generator with two partitions, as one process with two workers and as two processes with one worker each,
//! in turns; the best run of each counts, and `share` is the second's speed in that of the first. Time runs from the moment the
//! processes have met to the end of the slower one. Unless `--events` says how many, there are as many events as make runs of
//! seconds, so that what a run costs at its start and end does not hide what its rows cost. `CPU` is the time that all threads of
//! all processes worked, kernel included, for a million events: where a machine has other work to do, it tells more than the clock.
//! Latency: rows that are read in one process and written in another, against
//! rows that stay in one; the two processes are threads of this one, so that they share a clock, and talk through sockets as
//! processes do.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use tidemark_connectors::io::{DeadLetters, Io};
use tidemark_connectors::sink::{Placement, Sink};
use tidemark_connectors::source::{Chunk, ChunkBody, ConnectorError, PartitionReader, Read, Source};
use tidemark_connectors::{Connectors, StdoutStyle};
use tidemark_dataflow::cluster::{ClusterConfig, PEER_TIMEOUT, WAIT};
use tidemark_dataflow::control::Control;
use tidemark_dataflow::run::{RunConfig, run};
use tidemark_planner::plan::{SinkPlan, SourcePlan};
use tidemark_testing::batches::BatchIo;
use tidemark_testing::run::{plan, plan_with};

mod support;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Each with the events that make a run of seconds.
const QUERIES: [(&str, u64, &str); 4] = [
    ("q0", 8_000_000, r#"SELECT auction, bidder, price, "dateTime", extra FROM bid"#),
    ("q1", 8_000_000, r#"SELECT auction, bidder, 0.908 * price AS price, "dateTime", extra FROM bid"#),
    ("q2", 40_000_000, "SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0"),
    (
        "q5",
        40_000_000,
        r#"SELECT max(num) AS maxn, starttime, endtime FROM (
             SELECT auction, count(*) AS num, window_start AS starttime, window_end AS endtime
             FROM TABLE(HOP(TABLE bid, DESCRIPTOR("dateTime"), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
             GROUP BY auction, window_start, window_end
           ) AS counts GROUP BY starttime, endtime"#,
    ),
];

fn main() {
    if support::argument("child").is_some() {
        return child();
    }
    let runs = support::number("runs", 3);
    let mut table = Vec::new();
    for name in support::list("queries", "q0,q1,q2,q5") {
        let events = support::number("events", query(&name).0);
        let best = |processes: usize, best: Cost| measure(&name, events, processes).least(best);
        let (mut one, mut two) = (Cost::MAX, Cost::MAX);
        for _ in 0..runs {
            one = best(1, one);
            two = best(2, two);
        }
        let millions = events as f64 / 1e6;
        let speed = |cost: Cost| format!("{:.2}", millions / cost.seconds);
        let cpu = |cost: Cost| format!("{:.3}", cost.cpu_seconds / millions);
        let share = |one: f64, two: f64| format!("{:.0} %", one / two * 100.0);
        let speeds = [speed(one), speed(two), share(one.seconds, two.seconds)];
        let cpus = [cpu(one), cpu(two), share(one.cpu_seconds, two.cpu_seconds)];
        table.push([name, "1x2 / 2x1".to_owned()].into_iter().chain(speeds).chain(cpus).collect());
    }
    support::table(&["query", "shape", "M events/s", "M events/s", "share", "CPU s/M", "CPU s/M", "share"], &table);
    println!();
    let duration = Duration::from_secs(support::number("seconds", 5));
    let (stays, crosses) = (latency(1, duration), latency(2, duration));
    let ms = |us: u64| format!("{:.2}", us as f64 / 1e3);
    let row = |name: &str, sorted: &[u64]| {
        vec![name.to_owned(), sorted.len().to_string(), ms(support::quantile(sorted, 0.5)), ms(support::quantile(sorted, 0.99))]
    };
    support::table(&["rows", "count", "p50 ms", "p99 ms"], &[row("stay", &stays), row("cross", &crosses)]);
    let added = support::quantile(&crosses, 0.5) as i64 - support::quantile(&stays, 0.5) as i64;
    println!("crossing adds {:.2} ms to the median", added as f64 / 1e3);
}

/// What a run costs.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    cpu_seconds: f64,
}

impl Cost {
    const MAX: Self = Self { seconds: f64::INFINITY, cpu_seconds: f64::INFINITY };

    fn least(self, other: Self) -> Self {
        Self { seconds: self.seconds.min(other.seconds), cpu_seconds: self.cpu_seconds.min(other.cpu_seconds) }
    }
}

/// The events and the text of a query.
fn query(name: &str) -> (u64, &'static str) {
    let found = QUERIES.iter().find(|(other, ..)| *other == name).unwrap_or_else(|| panic!("there is no query {name}"));
    (found.1, found.2)
}

/// Time that the threads of this process have worked, as Linux counts it: in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is a name in parentheses, which may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn free_addresses(count: usize) -> Vec<String> {
    let free: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    free.iter().map(|one| one.local_addr().expect("an address").to_string()).collect()
}

fn place(process: usize, addresses: &[String]) -> Option<ClusterConfig> {
    (addresses.len() > 1).then(|| ClusterConfig {
        process,
        addresses: addresses.to_vec(),
        secret: None,
        wait: WAIT,
        peer_timeout: PEER_TIMEOUT,
        build: String::new(),
    })
}

/// What a query costs: the time of the slower process, and the work of both.
fn measure(name: &str, events: u64, processes: usize) -> Cost {
    let addresses = free_addresses(processes).join(",");
    let program = std::env::current_exe().expect("this program");
    let start = |process: usize| -> Child {
        let arguments = [("child", name), ("addresses", &addresses), ("process", &process.to_string()), ("events", &events.to_string())]
            .map(|(key, value)| format!("--{key}={value}"));
        Command::new(&program).args(arguments).stdout(Stdio::piped()).spawn().expect("a process")
    };
    let children: Vec<Child> = (0..processes).map(start).collect();
    let mut cost = Cost { seconds: 0.0, cpu_seconds: 0.0 };
    for child in children {
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout);
        let parsed = text.trim().split_once(' ').and_then(|(seconds, cpu)| Some((seconds.parse().ok()?, cpu.parse::<f64>().ok()?)));
        let (seconds, cpu): (f64, f64) = parsed.unwrap_or_else(|| panic!("{name} failed: {text}"));
        cost = Cost { seconds: cost.seconds.max(seconds), cpu_seconds: cost.cpu_seconds + cpu };
    }
    cost
}

fn child() {
    let name = support::argument("child").unwrap_or_default();
    let addresses = support::list("addresses", "");
    let events = support::number("events", 0);
    let (_, query) = query(&name);
    let sql = format!(
        "CREATE SOURCE bid WITH (connector = 'nexmark', shape = 'bid', events = {events}, partitions = 2);
         CREATE SINK out WITH (connector = 'blackhole') AS {query};"
    );
    let io = Timed { inner: Connectors::of_process(StdoutStyle::default()), met: Mutex::new((Instant::now(), cpu_seconds())) };
    let program = plan_with(&sql, &io.inner).unwrap_or_else(|errors| panic!("{errors:#?}\n{sql}"));
    let cluster = place(support::number("process", 0) as usize, &addresses);
    let config = RunConfig { workers: if cluster.is_some() { 1 } else { 2 }, cluster, ..RunConfig::default() };
    run(Arc::new(program.plan.expect("a query")), &io, &config, &Control::new()).unwrap_or_else(|error| panic!("{error}"));
    let (met, before) = *io.met.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{:.4} {:.2}", met.elapsed().as_secs_f64(), cpu_seconds() - before);
}

/// The real connectors; sinks are opened when the processes have met.
struct Timed {
    inner: Connectors,
    /// When that was, and the work done before.
    met: Mutex<(Instant, f64)>,
}

impl Io for Timed {
    fn open_source(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, ConnectorError> {
        self.inner.open_source(plan)
    }

    fn placement(&self, plan: &SinkPlan) -> Placement {
        self.inner.placement(plan)
    }

    fn open_sink(&self, plan: &SinkPlan, worker: usize) -> Result<Box<dyn Sink>, ConnectorError> {
        *self.met.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), cpu_seconds());
        self.inner.open_sink(plan, worker)
    }

    fn open_dead_letters(&self, path: &str) -> Result<Box<dyn DeadLetters>, ConnectorError> {
        self.inner.open_dead_letters(path)
    }
}

/// Rows of one number: microseconds since the start, every millisecond.
struct Paced {
    start: Instant,
    duration: Duration,
    given: u64,
}

impl PartitionReader for Paced {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        let elapsed = self.start.elapsed();
        if elapsed > self.duration {
            return Ok(Read::End);
        }
        if (elapsed.as_millis() as u64) < self.given {
            return Ok(Read::Pending);
        }
        self.given = elapsed.as_millis() as u64 + 1;
        let sent: ArrayRef = Arc::new(Int64Array::from(vec![elapsed.as_micros() as i64]));
        let rows = RecordBatch::try_from_iter([("sent", sent)]).expect("a column");
        Ok(Read::Chunk(Chunk { offset: self.given, bytes: 8, body: ChunkBody::Rows(rows) }))
    }
}

/// Latencies of rows from their reading to the sink, in microseconds, ascending. The rows are those of the second partition, which
/// is the second process's; the sink is the first's.
fn latency(processes: usize, duration: Duration) -> Vec<u64> {
    let start = Instant::now();
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&latencies);
    let on_write = Arc::new(move |rows: &RecordBatch, _: Option<&[i64]>| {
        let now = start.elapsed().as_micros() as i64;
        let sent = rows.column(0).as_primitive::<Int64Type>();
        // What comes before the engine is warm is not measured.
        let late = sent.values().iter().filter(|sent| **sent > 500_000).map(|sent| (now - sent).max(0) as u64);
        all.lock().unwrap_or_else(PoisonError::into_inner).extend(late);
    });
    // Each process opens both partitions, and reads its own.
    let open = move |_: &str| {
        let nothing = Paced { start, duration: Duration::ZERO, given: 0 };
        vec![Box::new(nothing) as Box<dyn PartitionReader>, Box::new(Paced { start, duration, given: 0 })]
    };
    let io = BatchIo::relations(Arc::new(open), Placement::OneWorker, on_write);
    let program = plan("CREATE SOURCE t (sent BIGINT) WITH (connector = 'test'); SELECT sent FROM t;");
    let plan = Arc::new(program.unwrap_or_else(|errors| panic!("{errors:#?}")).plan.expect("a query"));
    let addresses = free_addresses(processes);
    std::thread::scope(|scope| {
        for process in 0..processes {
            let (plan, io, cluster) = (Arc::clone(&plan), &io, place(process, &addresses));
            scope.spawn(move || {
                let config = RunConfig { workers: 2 / processes, cluster, ..RunConfig::default() };
                run(plan, io, &config, &Control::new()).unwrap_or_else(|error| panic!("{error}"));
            });
        }
    });
    let mut sorted = latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
    sorted.sort_unstable();
    sorted
}
