//! Keyed state: rows a second through a tumbling count with one worker, over few keys and over many, from ready batches through the whole
//! engine. `cargo bench --bench operators -- [--rows 10000000] [--workers 1]`; `--only session` picks by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use tidemark_connectors::sink::Placement;
use tidemark_dataflow::control::Control;
use tidemark_dataflow::run::{RunConfig, run};
use tidemark_testing::batches::BatchIo;
use tidemark_testing::random::Random;
use tidemark_testing::run::plan;

mod support;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const BATCH: usize = 8_192;
/// Rows of a second of event time: ten seconds, one window, hold 1,000,000 rows.
const RATE: usize = 100_000;

fn main() {
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
        ("all time, distinct", "SELECT DISTINCT k FROM t", 0, both, 1),
        ("join with distinct keys", JOIN, 0, both, 1),
        (HOT, JOIN, 0, both, 1),
    ];
    let only = support::argument("only").unwrap_or_default();
    let mut table = Vec::new();
    for (name, sql, count_column, keys, windows) in cases.into_iter().filter(|case| case.0.contains(&only)) {
        for keys in keys.iter().copied() {
            let batches = batches(rows, keys, name == HOT);
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
            let start = Instant::now();
            let config = RunConfig { workers, ..RunConfig::default() };
            run(Arc::new(program.plan.expect("there is a query")), &io, &config, &Control::new()).unwrap_or_else(|error| panic!("{error}"));
            let seconds = start.elapsed().as_secs_f64();
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
            ]);
        }
    }
    support::table(&["operator", "keys", "workers", "M rows/s", "per core"], &table);
}

/// Every row meets one.
const JOIN: &str = "SELECT t.k, t.ts FROM t JOIN (SELECT DISTINCT k FROM t) AS d ON t.k = d.k ALLOW UNBOUNDED STATE";
/// The case with three rows of ten on one key.
const HOT: &str = "join with distinct keys, one hot";

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
