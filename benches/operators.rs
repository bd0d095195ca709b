//! Keyed state: rows a second through a tumbling count with one worker, over few keys and over many, from ready batches through the whole
//! engine. `cargo bench --bench operators -- [--rows 10000000] [--workers 1]`; `--only session` picks by name. `cpu ns` is processor time
//! a row, to compare a case with one hot key (three rows of ten) with the one without.
//!
//! `--arranged 5000000` measures what a kept row takes in memory instead, arranged or as a group of its own, and `--flat 10000000` what
//! joins bounded by time hold while so many rows of each side are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use tidemark_connectors::sink::Placement;
use tidemark_connectors::source::{Chunk, ChunkBody, ConnectorError, PartitionReader, Read};
use tidemark_dataflow::control::Control;
use tidemark_dataflow::run::{RunConfig, run};
use tidemark_testing::batches::{BatchIo, OpenRelation};
use tidemark_testing::flat::{self, BOUNDED_BY_TIME, held_by_tenths};
use tidemark_testing::random::Random;
use tidemark_testing::run::plan;

mod support;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const BATCH: usize = 8_192;
/// Rows of a second of event time: ten seconds, one window, hold 1,000,000 rows.
const RATE: usize = 100_000;

fn main() {
    if support::argument("flat").is_some() {
        return flat(support::number("flat", 10_000_000));
    }
    if support::argument("arranged").is_some() {
        return arranged(support::number("arranged", 5_000_000));
    }
    let rows = support::number("rows", 10_000_000) as usize;
    let workers = support::number("workers", 1) as usize;
    let both: &[usize] = &[1_000, 1_000_000];
    // The name, the query, where its count stands, how many keys, in how many windows a row is.
    let cases = [
        ("tumble 10 s, count", "SELECT k, window_end, count(*) FROM t WINDOW TUMBLING(10s) GROUP BY k", 2, both, 1),
        ("hop 10 s / 2 s, count", "SELECT k, window_end, count(*) FROM t WINDOW SLIDING(10s, 2s) GROUP BY k", 2, both, 5),
        ("hop 1 h / 1 s, count", "SELECT k, window_end, count(*) FROM t WINDOW SLIDING(1h, 1s) GROUP BY k", 2, &[100], 3_600),
        ("hop 1 h / 1 s, max", "SELECT k, window_end, count(*), max(k) FROM t WINDOW SLIDING(1h, 1s) GROUP BY k", 2, &[100], 3_600),
        ("session 5 s, count", "SELECT k, window_end, count(*) FROM t WINDOW SESSION(5s) GROUP BY k", 2, &[1_000, 100_000], 1),
        (
            "session 5 s, changes",
            "SELECT k, count(*), window_end FROM t WINDOW SESSION(5s) GROUP BY k EMIT CHANGES",
            1,
            &[1_000, 100_000],
            1,
        ),
        ("all time, count and sum", "SELECT k, sum(k), count(*) FROM t GROUP BY k EMIT FINAL", 2, both, 1),
        ("all time, EMIT CHANGES", "SELECT k, sum(k), count(*) FROM t GROUP BY k EMIT CHANGES", 2, both, 1),
        ("all time, EMIT CHANGES, one hot", "SELECT k, sum(k), count(*) FROM t GROUP BY k EMIT CHANGES", 2, both, 1),
        ("all time, min and max, changes", EXTREMES, 3, both, 1),
        ("all time, min and max, changes, one hot", EXTREMES, 3, both, 1),
        ("all time, count distinct and median", HOLISTIC, 3, both, 1),
        ("all time, count distinct and median, one hot", HOLISTIC, 3, both, 1),
        ("OVER in event time", OVER_TIME, 0, both, 1),
        ("OVER in event time, one hot", OVER_TIME, 0, both, 1),
        ("OVER, changes", OVER, 0, both, 1),
        ("OVER, changes, one hot", OVER, 0, both, 1),
        ("OVER, frame of 10 rows, changes", OVER_FRAME, 0, both, 1),
        ("OVER, frame of 10 rows, changes, one hot", OVER_FRAME, 0, both, 1),
        ("first 10 of each, changes", TOP, 0, both, 1),
        ("first 10 of each, changes, one hot", TOP, 0, both, 1),
        ("all time, distinct", "SELECT DISTINCT k FROM t", 0, both, 1),
        ("join with distinct keys", JOIN, 0, both, 1),
        ("join with distinct keys, one hot", JOIN, 0, both, 1),
    ];
    let only = support::argument("only").unwrap_or_default();
    let mut table = Vec::new();
    for (name, sql, count_column, keys, windows) in cases.into_iter().filter(|case| case.0.contains(&only)) {
        for keys in keys.iter().copied() {
            let batches = batches(rows, keys, name.ends_with("one hot"));
            let counted = Arc::new(AtomicI64::new(0));
            let sum = Arc::clone(&counted);
            let on_write = Arc::new(move |rows: &RecordBatch, diffs: Option<&[i64]>| {
                let counts = rows.column(count_column).as_primitive::<Int64Type>().values();
                let total: i64 = match diffs {
                    _ if count_column == 0 => rows.num_rows() as i64,
                    None => counts.iter().sum(),
                    Some(diffs) => counts.iter().zip(diffs).map(|(count, diff)| count * diff).sum(),
                };
                sum.fetch_add(total, Relaxed);
            });
            let io = BatchIo::ready(vec![batches], Placement::EachWorker, on_write);
            let text = format!("CREATE SOURCE t (k BIGINT, ts TIMESTAMP(6), WATERMARK FOR ts AS ts) WITH (connector = 'test'); {sql};");
            let program = plan(&text).unwrap_or_else(|errors| panic!("{errors:#?}"));
            let (start, cpu) = (Instant::now(), support::all_time());
            let config = RunConfig { workers, ..RunConfig::default() };
            run(Arc::new(program.plan.expect("there is a query")), &io, &config, &Control::new()).unwrap_or_else(|error| panic!("{error}"));
            let (seconds, cpu) = (start.elapsed().as_secs_f64(), support::all_time() - cpu);
            if count_column > 0 {
                assert_eq!(counted.load(Relaxed), (rows * windows) as i64, "{name}: rows were lost");
            }
            let rate = rows as f64 / seconds / 1e6;
            table.push(vec![
                name.to_owned(),
                keys.to_string(),
                workers.to_string(),
                format!("{rate:.2}"),
                format!("{:.2}", rate / workers as f64),
                format!("{:.0}", cpu * 1e9 / rows as f64),
            ]);
        }
    }
    support::table(&["operator", "keys", "workers", "M rows/s", "per core", "cpu ns"], &table);
}

/// Every row meets one.
const JOIN: &str = "SELECT t.k, t.ts FROM t JOIN (SELECT DISTINCT k FROM t) AS d ON t.k = d.k ALLOW UNBOUNDED STATE";

const EXTREMES: &str = "SELECT k, min(ts), max(ts), count(*) FROM t GROUP BY k EMIT CHANGES";
const HOLISTIC: &str = "SELECT k, count(DISTINCT ts), median(CAST(ts AS BIGINT)), count(*) FROM t GROUP BY k EMIT FINAL";
const OVER_TIME: &str =
    "SELECT k, sum(k) OVER (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '1' SECOND PRECEDING AND CURRENT ROW) AS s FROM t EMIT FINAL";
const OVER: &str = "SELECT k, sum(k) OVER (PARTITION BY k ORDER BY ts) AS s FROM t ALLOW UNBOUNDED STATE EMIT CHANGES";
const OVER_FRAME: &str = "SELECT k, sum(k) OVER (PARTITION BY k ORDER BY ts ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS s FROM t ALLOW UNBOUNDED STATE EMIT CHANGES";
const TOP: &str = "SELECT k, ts FROM (SELECT k, ts, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS n FROM t) WHERE n <= 10 \
                   ALLOW UNBOUNDED STATE EMIT CHANGES";

fn batches(rows: usize, keys: usize, hot: bool) -> Vec<RecordBatch> {
    let mut random = Random::new(1);
    (0..rows)
        .step_by(BATCH)
        .map(|first| {
            let count = BATCH.min(rows - first);
            let k: ArrayRef = Arc::new(Int64Array::from_iter_values(
                (0..count).map(|row| if hot && row % 10 < 3 { 0 } else { random.below(keys) as i64 }),
            ));
            let ts: ArrayRef =
                Arc::new(TimestampMicrosecondArray::from_iter_values((first..first + count).map(|row| (row * 1_000_000 / RATE) as i64)));
            RecordBatch::try_from_iter([("k", k), ("ts", ts)]).expect("columns are of one length")
        })
        .collect()
}

/// What joins hold that are bounded by time.
fn flat(rows: u64) {
    let mut table = Vec::new();
    for (name, query) in BOUNDED_BY_TIME {
        let held = held_by_tenths(query, rows, 2);
        let megabytes = held.iter().map(|bytes| format!("{:.1}", *bytes as f64 / 1e6));
        table.push([name.to_owned(), (rows / flat::RATE).to_string()].into_iter().chain(megabytes).collect());
    }
    let tenths = ["10 %", "20 %", "30 %", "40 %", "50 %", "60 %", "70 %", "80 %", "90 %", "100 %"];
    support::table(&[&["MB held at most", "seconds of events"], &tenths[..]].concat(), &table);
}

/// Rows that stay: their key, a number and a text of twenty letters.
struct Arranged {
    rows: u64,
    next: u64,
    /// Behind the columns stands how often a row is added.
    with_diff: bool,
    over: Arc<AtomicBool>,
}

impl PartitionReader for Arranged {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        if self.next == self.rows {
            return Ok(if self.over.load(Relaxed) { Read::End } else { Read::Pending });
        }
        let numbers = self.next..self.rows.min(self.next + BATCH as u64);
        let columns: [(&str, ArrayRef); 4] = [
            ("k", Arc::new(Int64Array::from_iter_values(numbers.clone().map(|n| (n * 7_919) as i64)))),
            ("v", Arc::new(Int64Array::from_iter_values(numbers.clone().map(|n| n as i64)))),
            ("s", Arc::new(StringArray::from_iter_values(numbers.clone().map(|n| format!("{n:020}"))))),
            ("diff", Arc::new(Int64Array::from_iter_values(numbers.clone().map(|_| 1)))),
        ];
        let columns = columns.into_iter().take(if self.with_diff { 4 } else { 3 });
        let batch = RecordBatch::try_from_iter(columns).map_err(|error| ConnectorError::new("arranged", error))?;
        let offset = std::mem::replace(&mut self.next, numbers.end);
        Ok(Read::Chunk(Chunk { offset, bytes: 50 * (numbers.end - offset), body: ChunkBody::Rows(batch) }))
    }
}

/// A number in row bytes.
const NUMBER: f64 = 9.0;
/// A text of twenty letters in row bytes: three blocks of nine, and one.
const TEXT: f64 = 28.0;

/// What is kept of each row, which is a group of its own: the name, whether rows may be taken back, the query, the bytes of its row.
const KEPT: [(&str, bool, &str, f64); 9] = [
    ("join", false, "SELECT t.v, t.s FROM t JOIN none ON t.k = none.k ALLOW UNBOUNDED STATE", 2.0 * NUMBER + TEXT),
    ("distinct", false, "SELECT DISTINCT k, v FROM t", 2.0 * NUMBER),
    ("count", false, "SELECT k, count(*) AS n FROM t GROUP BY k EMIT CHANGES", 2.0 * NUMBER),
    ("count and sum", false, "SELECT k, count(*) AS n, sum(v) AS s FROM t GROUP BY k EMIT CHANGES", 3.0 * NUMBER),
    ("min and max", false, "SELECT k, min(v) AS a, max(v) AS b FROM t GROUP BY k EMIT CHANGES", 3.0 * NUMBER),
    (
        "min and max, taken back",
        true,
        "SELECT k, min(v) AS a, max(v) AS b FROM t GROUP BY k ALLOW UNBOUNDED STATE EMIT CHANGES",
        3.0 * NUMBER,
    ),
    ("max of a text", false, "SELECT k, max(s) AS a FROM t GROUP BY k EMIT CHANGES", NUMBER + TEXT),
    ("max of a text, taken back", true, "SELECT k, max(s) AS a FROM t GROUP BY k ALLOW UNBOUNDED STATE EMIT CHANGES", NUMBER + TEXT),
    (
        "latest of each",
        true,
        "SELECT k, v, s FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC) AS n FROM t) WHERE n = 1 ALLOW UNBOUNDED STATE EMIT CHANGES",
        2.0 * NUMBER + TEXT,
    ),
];

/// What a kept row takes, each case in a process of its own: what was given back is not taken for new.
fn arranged(rows: u64) {
    let only = support::argument("only").unwrap_or_default();
    if support::argument("case").is_some() {
        let (held, resident) = kept(&KEPT[support::number("case", 0) as usize], rows);
        return println!("{held} {resident}");
    }
    let mut table = Vec::new();
    for (place, (name, _, _, own)) in KEPT.iter().enumerate().filter(|(_, case)| case.0.contains(&only)) {
        let program = std::env::current_exe().expect("this program has a path");
        let arguments = [format!("--arranged={rows}"), format!("--case={place}")];
        let output = std::process::Command::new(program).args(arguments).output().expect("this program runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [held, resident] = numbers[..] else { panic!("{name}: {text}{}", String::from_utf8_lossy(&output.stderr)) };
        let each = |bytes: f64| format!("{:.1}", bytes / rows as f64);
        let line = [(*name).to_owned(), rows.to_string(), format!("{own}"), each(held), each(resident), format!("{:.1}", 1.6 * own + 16.0)];
        table.push(line.to_vec());
    }
    support::table(&["kept", "rows", "bytes of a row", "held", "resident", "goal"], &table);
}

/// What is held while all rows are there: by the operators, and by the process.
fn kept((name, taken_back, query, _): &(&str, bool, &str, f64), rows: u64) -> (u64, u64) {
    let mode = if *taken_back { ", changelog = 'retract'" } else { "" };
    let columns = "(k BIGINT, v BIGINT, s VARCHAR) WITH (connector = 'test', bounded = 'false'";
    let text =
        format!("CREATE SOURCE t {columns}{mode}); CREATE SOURCE none {columns}); CREATE SINK out WITH (connector = 'test') AS {query};");
    let plan = Arc::new(plan(&text).unwrap_or_else(|errors| panic!("{name}: {errors:#?}")).plan.expect("there is a query"));
    let (over, with_diff) = (Arc::new(AtomicBool::new(false)), *taken_back);
    let stop = Arc::clone(&over);
    let open: OpenRelation = Arc::new(move |name| {
        let rows = if name == "t" { rows } else { 0 };
        vec![Box::new(Arranged { rows, next: 0, with_diff, over: Arc::clone(&stop) })]
    });
    let io = BatchIo::relations(open, Placement::OneWorker, Arc::new(|_, _| {}));
    let control = Control::new();
    let watched = Arc::clone(&control);
    let before = support::memory();
    let watcher = std::thread::spawn(move || {
        while watched.report().sources.iter().map(|source| source.rows).sum::<u64>() < rows {
            std::thread::sleep(Duration::from_millis(10));
        }
        // The last merges give back what they were made of.
        std::thread::sleep(Duration::from_secs(2));
        let report = watched.report();
        assert!(report.operators.iter().map(|operator| operator.groups).sum::<u64>() >= rows, "all rows are kept");
        let (bytes, resident) = (report.operators.iter().map(|operator| operator.state_bytes).sum::<u64>(), support::memory() - before);
        over.store(true, Relaxed);
        (bytes, resident)
    });
    run(plan, &io, &RunConfig::default(), &control).unwrap_or_else(|error| panic!("{error}"));
    watcher.join().expect("the watcher ends")
}
