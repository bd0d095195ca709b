//! Nexmark: how many events a second each query takes, from memory and from files, with 1 and 2 workers.
//!
//! ```text
//! cargo bench --bench nexmark
//! cargo bench --bench nexmark -- --events 1000000 --queries q0,q5 --inputs memory,ndjson,csv,parquet --workers 1,2
//! ```
//! Files are written once, to `$TIDEMARK_BENCH_DIR` or `tidemark-bench` in the system's folder for temporary files. Every run is
//! a process of its own, so that its peak memory is its own. `events/s` counts all events of the stream, also the persons and
//! auctions (8 %) that a query over bids does not read. Time runs from the moment all sources are open (from memory: filled) to
//! the moment the sinks have finished. The rows of a result, and a sum over their columns, are the same for any input and number of workers,
//! except for the processing-time query, whose windows depend on when it runs.
//!
//! Queries over more than bids are those of `benches/nexmark/*.sql`, unmodified, from memory only. `cpu` is the processor time
//! between the same moments, as nanoseconds an event, and as the million events a second that two cores to themselves would reach
//! by it: on a machine with other work to do it says more than the clock.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimestampMicrosecondType};
use tidemark_connectors::io::{DeadLetters, Io};
use tidemark_connectors::sink::{Placement, Sink, SinkReport};
use tidemark_connectors::source::{ConnectorError, Source};
use tidemark_connectors::{Connectors, StdoutStyle};
use tidemark_dataflow::control::Control;
use tidemark_dataflow::run::{RunConfig, run};
use tidemark_planner::plan::{SinkPlan, SourcePlan};
use tidemark_testing::run::plan_with;

mod support;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Name, million events a second from memory with two workers that are to be reached, and text.
const QUERIES: [(&str, f64, &str); 21] = [
    ("q0", 10.0, r#"SELECT auction, bidder, price, "dateTime", extra FROM bid"#),
    ("q1", 10.0, r#"SELECT auction, bidder, 0.908 * price AS price, "dateTime", extra FROM bid"#),
    ("q2", 20.0, "SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0"),
    (
        "q5",
        2.4,
        r#"SELECT max(num) AS maxn, starttime, endtime FROM (
             SELECT auction, count(*) AS num, window_start AS starttime, window_end AS endtime
             FROM TABLE(HOP(TABLE bid, DESCRIPTOR("dateTime"), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
             GROUP BY auction, window_start, window_end
           ) AS counts GROUP BY starttime, endtime"#,
    ),
    (
        "q7",
        3.0,
        r#"SELECT max(price) AS maxprice, window_start, window_end
           FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR("dateTime"), INTERVAL '10' SECOND)) GROUP BY window_start, window_end"#,
    ),
    (
        "q12",
        4.0,
        "SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
         FROM TABLE(TUMBLE(TABLE timed, DESCRIPTOR(p_time), INTERVAL '10' SECOND)) GROUP BY bidder, window_start, window_end",
    ),
    (
        "q14",
        5.0,
        r#"SELECT auction, bidder, 0.908 * price AS price,
             CASE WHEN HOUR("dateTime") >= 8 AND HOUR("dateTime") <= 18 THEN 'dayTime'
                  WHEN HOUR("dateTime") <= 6 OR HOUR("dateTime") >= 20 THEN 'nightTime' ELSE 'otherTime' END AS bidTimeType,
             "dateTime", extra
           FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000"#,
    ),
    ("q15", 2.0, r#"SELECT DATE_FORMAT("dateTime", 'yyyy-MM-dd') AS "day", RANKS FROM bid GROUP BY DATE_FORMAT("dateTime", 'yyyy-MM-dd')"#),
    (
        "q16",
        1.0,
        r#"SELECT channel, DATE_FORMAT("dateTime", 'yyyy-MM-dd') AS "day", max(DATE_FORMAT("dateTime", 'HH:mm')) AS "minute", RANKS
           FROM bid GROUP BY channel, DATE_FORMAT("dateTime", 'yyyy-MM-dd')"#,
    ),
    (
        "q17",
        2.0,
        r#"SELECT auction, DATE_FORMAT("dateTime", 'yyyy-MM-dd') AS "day", count(*) AS total_bids,
             count(*) FILTER (WHERE price < 10000) AS rank1_bids,
             count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
             count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
             min(price) AS min_price, max(price) AS max_price, avg(price) AS avg_price, sum(price) AS sum_price
           FROM bid GROUP BY auction, DATE_FORMAT("dateTime", 'yyyy-MM-dd')"#,
    ),
    (
        "q21",
        3.0,
        "SELECT auction, bidder, price, channel,
           CASE WHEN lower(channel) = 'apple' THEN '0' WHEN lower(channel) = 'google' THEN '1'
                WHEN lower(channel) = 'facebook' THEN '2' WHEN lower(channel) = 'baidu' THEN '3'
                ELSE REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2) END AS channel_id
         FROM bid WHERE REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2) IS NOT NULL
           OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')",
    ),
    (
        "q22",
        4.0,
        "SELECT auction, bidder, price, channel, SPLIT_INDEX(url, '/', 3) AS dir1, SPLIT_INDEX(url, '/', 4) AS dir2,
           SPLIT_INDEX(url, '/', 5) AS dir3 FROM bid",
    ),
    ("count", 0.0, "SELECT count(*) FROM bid"),
    ("q3", 6.0, include_str!("nexmark/q3.sql")),
    ("q4", 2.0, include_str!("nexmark/q4.sql")),
    ("q8", 5.0, include_str!("nexmark/q8.sql")),
    ("q9", 1.0, include_str!("nexmark/q9.sql")),
    ("q13", 3.0, include_str!("nexmark/q13.sql")),
    ("q18", 1.5, include_str!("nexmark/q18.sql")),
    ("q19", 1.0, include_str!("nexmark/q19.sql")),
    ("q20", 1.5, include_str!("nexmark/q20.sql")),
];

/// The relations of the queries that are read from a file.
const TABLES: &str = include_str!("nexmark/tables.sql");
/// Keys of the table that q13 looks up.
const SIDE_KEYS: u64 = 10_000;

/// The twelve counts of q15 and q16.
const RANKS: &str = "count(*) AS total_bids,
  count(*) FILTER (WHERE price < 10000) AS rank1_bids,
  count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
  count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
  count(DISTINCT bidder) AS total_bidders,
  count(DISTINCT bidder) FILTER (WHERE price < 10000) AS rank1_bidders,
  count(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bidders,
  count(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS rank3_bidders,
  count(DISTINCT auction) AS total_auctions,
  count(DISTINCT auction) FILTER (WHERE price < 10000) AS rank1_auctions,
  count(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_auctions,
  count(DISTINCT auction) FILTER (WHERE price >= 1000000) AS rank3_auctions";

const COLUMNS: &str =
    r#"auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, "dateTime" TIMESTAMP(6), extra VARCHAR"#;

const DEFAULT_QUERIES: &str = "q0,q1,q2,q3,q4,q5,q7,q8,q9,q12,q13,q14,q15,q16,q17,q18,q19,q20,q21,q22";

/// Whether a query is one of those over all three relations, with its own sink.
fn is_whole(query: &str) -> bool {
    query.contains("INSERT INTO")
}

fn main() {
    if support::argument("child").is_some() {
        child();
        return;
    }
    let events = support::number("events", 10_000_000);
    let repeat = support::number("repeat", 1);
    let mut rows = Vec::new();
    for input in support::list("inputs", "memory,ndjson,csv,parquet") {
        if input != "memory" {
            write_file(&input, events);
        }
        for query in support::list("queries", DEFAULT_QUERIES) {
            if input != "memory" && is_whole(text_of(&query)) {
                continue;
            }
            for workers in support::list("workers", "1,2") {
                let mut best: Option<Vec<String>> = None;
                for _ in 0..repeat {
                    let result = measure(&query, &input, &workers, events);
                    if best.as_ref().is_none_or(|best| seconds(&result) < seconds(best)) {
                        best = Some(result);
                    }
                }
                let result = best.unwrap_or_default();
                eprintln!("{query} {input} {workers}: {}", result.join(" "));
                rows.push(line(&query, &input, &workers, events, &result));
            }
        }
    }
    support::table(&["query", "input", "workers", "M events/s", "per core", "goal", "cpu ns", "cpu M/s", "peak MB", "rows", "sum"], &rows);
}

fn seconds(result: &[String]) -> f64 {
    result.first().and_then(|text| text.parse().ok()).unwrap_or(f64::INFINITY)
}

fn line(query: &str, input: &str, workers: &str, events: u64, result: &[String]) -> Vec<String> {
    let rate = events as f64 / seconds(result) / 1e6;
    let goal = QUERIES.iter().find(|(name, ..)| *name == query).map_or(0.0, |(_, goal, _)| *goal);
    let goal = match (input, workers) {
        ("memory", "2") => format!("{goal}"),
        ("ndjson", "2") if ["q0", "q1", "q2"].contains(&query) => "4".into(),
        ("ndjson", "2") => "1.5".into(),
        ("parquet", "2") if ["q0", "q1", "q2"].contains(&query) => "10".into(),
        _ => String::new(),
    };
    let cpu = result.get(1).and_then(|text| text.parse().ok()).unwrap_or(f64::INFINITY);
    let cell = |i: usize| result.get(i).cloned().unwrap_or_else(|| "failed".into());
    vec![
        query.to_owned(),
        input.to_owned(),
        workers.to_owned(),
        format!("{rate:.2}"),
        format!("{:.2}", rate / workers.parse::<f64>().unwrap_or(1.0)),
        goal,
        format!("{:.0}", cpu / events as f64 * 1e9),
        format!("{:.2}", 2.0 * events as f64 / cpu / 1e6),
        cell(2),
        cell(3),
        cell(4),
    ]
}

/// Runs a query in a process of its own. Seconds, processor seconds, peak memory, rows and sum; empty if it failed.
fn measure(query: &str, input: &str, workers: &str, events: u64) -> Vec<String> {
    let program = std::env::current_exe().expect("the benchmark is a program");
    let output = std::process::Command::new(program)
        .args(["--child", query, "--input", input, "--workers", workers, "--events", &events.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("the benchmark can run itself");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find_map(|line| line.strip_prefix("result ")).map(|line| line.split(' ').map(str::to_owned).collect()).unwrap_or_default()
}

fn folder() -> PathBuf {
    std::env::var_os("TIDEMARK_BENCH_DIR").map_or_else(|| std::env::temp_dir().join("tidemark-bench"), PathBuf::from)
}

fn path(format: &str, events: u64) -> PathBuf {
    folder().join(format!("bid-{events}.{format}"))
}

/// Writes the bids of the stream, if that was not done before. Tidemark does it.
fn write_file(format: &str, events: u64) {
    let path = path(format, events);
    if path.exists() {
        return;
    }
    std::fs::create_dir_all(folder()).expect("the folder can be made");
    let part = path.with_extension(format!("part.{format}"));
    let source = source("memory", events).replace("preload = 'true'", "preload = 'false'");
    eprintln!("writing {}", path.display());
    execute(
        &format!(
            "{source} CREATE SINK written WITH (connector = 'file', path = '{}', format = '{format}') AS SELECT * FROM bid;",
            part.display()
        ),
        2,
    );
    std::fs::rename(&part, &path).expect("the file can be renamed");
}

fn source(input: &str, events: u64) -> String {
    let options = match input {
        "memory" => format!("connector = 'nexmark', shape = 'bid', events = '{events}', preload = 'true'"),
        format => format!("connector = 'file', path = '{}', format = '{format}'", text(&path(format, events))),
    };
    format!(
        r#"CREATE SOURCE bid ({COLUMNS}, WATERMARK FOR "dateTime" AS "dateTime" - INTERVAL '4' SECOND) WITH ({options});
           CREATE VIEW timed AS SELECT *, PROCTIME() AS p_time FROM bid;"#
    )
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn child() {
    let name = support::argument("child").unwrap_or_default();
    let input = support::argument("input").unwrap_or_default();
    let events = support::number("events", 10_000_000);
    let workers = support::number("workers", 1) as usize;
    let query = text_of(&name);
    let sql = if is_whole(query) {
        whole(query, events)
    } else {
        format!("{} CREATE SINK out WITH (connector = 'blackhole') AS {};", source(&input, events), query.replace("RANKS", RANKS))
    };
    let measured = execute(&sql, workers);
    println!(
        "result {:.4} {:.4} {:.0} {} {:016x}",
        measured.seconds,
        measured.cpu_seconds,
        support::peak_memory() as f64 / 1e6,
        measured.rows.load(Relaxed),
        measured.sum.load(Relaxed)
    );
}

fn text_of(name: &str) -> &'static str {
    QUERIES.iter().find(|(other, ..)| *other == name).unwrap_or_else(|| panic!("there is no query {name}")).2
}

/// A query over all three relations, from memory.
fn whole(query: &str, events: u64) -> String {
    let side_input = folder().join("side-input.csv");
    if query.contains("${SIDE_INPUT}") {
        let lines: String = (0..SIDE_KEYS).map(|key| format!("{key},value {key}\n")).collect();
        std::fs::create_dir_all(folder()).expect("the folder can be made");
        std::fs::write(&side_input, lines).expect("the file can be written");
    }
    let tables = TABLES.replace("'connector' = 'nexmark'", "'connector' = 'nexmark', 'preload' = 'true'");
    format!("{tables} {query}").replace("${EVENTS}", &events.to_string()).replace("${SIDE_INPUT}", &text(&side_input))
}

struct Measured {
    seconds: f64,
    cpu_seconds: f64,
    rows: Arc<AtomicI64>,
    sum: Arc<AtomicU64>,
}

fn execute(sql: &str, workers: usize) -> Measured {
    let connectors = Connectors::of_process(StdoutStyle::default());
    let program = plan_with(sql, &connectors).unwrap_or_else(|errors| panic!("{errors:#?}\n{sql}"));
    let plan = Arc::new(program.plan.expect("there is a query"));
    let io = Counting { inner: connectors, opened: Mutex::new((Instant::now(), 0.0)), rows: Arc::default(), sum: Arc::default() };
    let config = RunConfig { workers, ..RunConfig::default() };
    run(plan, &io, &config, &Control::new()).unwrap_or_else(|error| panic!("{error}"));
    let (opened, used) = *io.opened.lock().unwrap_or_else(PoisonError::into_inner);
    Measured { seconds: opened.elapsed().as_secs_f64(), cpu_seconds: support::all_time() - used, rows: io.rows, sum: io.sum }
}

/// The real connectors, with a count and a sum of what reaches the sinks.
struct Counting {
    inner: Connectors,
    /// When the last source was open, and the processor time used by then.
    opened: Mutex<(Instant, f64)>,
    rows: Arc<AtomicI64>,
    sum: Arc<AtomicU64>,
}

impl Io for Counting {
    fn open_source(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, ConnectorError> {
        let source = self.inner.open_source(plan);
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), support::all_time());
        source
    }

    fn placement(&self, plan: &SinkPlan) -> Placement {
        self.inner.placement(plan)
    }

    fn open_sink(&self, plan: &SinkPlan, worker: usize) -> Result<Box<dyn Sink>, ConnectorError> {
        let inner = self.inner.open_sink(plan, worker)?;
        Ok(Box::new(CountingSink { inner, rows: Arc::clone(&self.rows), sum: Arc::clone(&self.sum) }))
    }

    fn open_dead_letters(&self, path: &str) -> Result<Box<dyn DeadLetters>, ConnectorError> {
        self.inner.open_dead_letters(path)
    }
}

struct CountingSink {
    inner: Box<dyn Sink>,
    rows: Arc<AtomicI64>,
    sum: Arc<AtomicU64>,
}

impl Sink for CountingSink {
    fn write(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>) -> Result<(), ConnectorError> {
        self.rows.fetch_add(diffs.map_or(rows.num_rows() as i64, |diffs| diffs.iter().sum()), Relaxed);
        self.sum.fetch_add(rows.columns().iter().fold(0, |sum, column| sum.wrapping_add(column_sum(column, diffs))), Relaxed);
        self.inner.write(rows, diffs)
    }

    fn end_epoch(&mut self, epoch: u64) -> Result<(), ConnectorError> {
        self.inner.end_epoch(epoch)
    }

    fn finish(&mut self) -> Result<SinkReport, ConnectorError> {
        self.inner.finish()
    }
}

/// Numbers added up, texts by their length: the same in any order.
fn column_sum(column: &dyn Array, diffs: Option<&[i64]>) -> u64 {
    let each = |value: &dyn Fn(usize) -> i64| -> u64 {
        let diff = |i: usize| diffs.map_or(1, |diffs| diffs[i]);
        (0..column.len()).filter(|i| column.is_valid(*i)).fold(0_i64, |sum, i| sum.wrapping_add(value(i).wrapping_mul(diff(i)))) as u64
    };
    match column.data_type() {
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>();
            if diffs.is_none() && column.null_count() == 0 {
                values.values().iter().fold(0_i64, |sum, value| sum.wrapping_add(*value)) as u64
            } else {
                each(&|i| values.value(i))
            }
        }
        DataType::Timestamp(..) => match column.as_any().downcast_ref::<arrow::array::PrimitiveArray<TimestampMicrosecondType>>() {
            Some(values) => each(&|i| values.value(i)),
            None => 0,
        },
        DataType::Decimal128(..) => {
            let values = column.as_primitive::<Decimal128Type>();
            each(&|i| values.value(i) as i64)
        }
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            each(&|i| i64::from(values.value_length(i)))
        }
        DataType::Utf8View => {
            let values = column.as_string_view();
            each(&|i| values.value(i).len() as i64)
        }
        _ => 0,
    }
}
