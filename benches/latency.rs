//! Latency at a fixed rate, from the moment a row is read to the moment its change is handed to the sink; and what a running query
//! costs while nothing comes. `cargo bench --bench latency -- [--rate 100000] [--seconds 10] [--workers 1,2]`

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use tidemark_connectors::sink::Placement;
use tidemark_connectors::source::{Chunk, ChunkBody, ConnectorError, PartitionReader, Read};
use tidemark_dataflow::control::Control;
use tidemark_dataflow::run::{RunConfig, run};
use tidemark_testing::batches::BatchIo;
use tidemark_testing::run::plan;

mod support;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Hands out the rows that are due, each with the time it is read at, in microseconds.
struct Paced {
    start: Instant,
    rate: u64,
    duration: Duration,
    given: u64,
}

impl PartitionReader for Paced {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        let elapsed = self.start.elapsed();
        if elapsed > self.duration {
            return Ok(Read::End);
        }
        let due = elapsed.as_micros() as u64 * self.rate / 1_000_000;
        if due == self.given {
            return Ok(Read::Pending);
        }
        let (first, count) = (self.given, due - self.given);
        self.given = due;
        let now = elapsed.as_micros() as i64;
        let k: ArrayRef = Arc::new(Int64Array::from_iter_values((first..due).map(|row| (row * 7_919 % 1_000) as i64)));
        let sent: ArrayRef = Arc::new(Int64Array::from_iter_values((0..count).map(|_| now)));
        let ts: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values((0..count).map(|_| now)));
        let rows =
            RecordBatch::try_from_iter([("k", k), ("sent", sent), ("ts", ts)]).map_err(|error| ConnectorError::new("paced", error))?;
        Ok(Read::Chunk(Chunk { offset: first, bytes: count * 24, body: ChunkBody::Rows(rows) }))
    }
}

fn main() {
    let rate = support::number("rate", 100_000);
    let duration = Duration::from_secs(support::number("seconds", 10));
    let mut table = Vec::new();
    for workers in support::list("workers", "1,2") {
        let workers: usize = workers.parse().expect("workers are a number");
        // A row's change carries when the row was read; a window closes by the first row read at or after its end.
        let cases = [
            ("no window", "SELECT k, sent FROM t WHERE k < 500"),
            ("count per key, EMIT CHANGES", "SELECT k, max(sent) FROM t GROUP BY k EMIT CHANGES"),
            ("tumble 100 ms", "SELECT window_end, k, count(*) FROM t WINDOW TUMBLING(100ms) GROUP BY k"),
        ];
        for (name, sql) in cases {
            let start = Instant::now();
            let reader = Paced { start, rate, duration, given: 0 };
            let latencies = Arc::new(Mutex::new(Vec::new()));
            let all = Arc::clone(&latencies);
            let last = duration.as_micros() as i64 - 100_000;
            let on_write = Arc::new(move |rows: &RecordBatch, diffs: Option<&[i64]>| {
                let now = start.elapsed().as_micros() as i64;
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                for i in (0..rows.num_rows()).filter(|i| diffs.is_none_or(|diffs| diffs[*i] > 0)) {
                    let since = match rows.column(0).data_type() {
                        arrow::datatypes::DataType::Int64 => rows.column(1).as_primitive::<Int64Type>().value(i),
                        _ => rows.column(0).as_primitive::<TimestampMicrosecondType>().value(i),
                    };
                    // What comes before the engine is warm, or of the end of the input, is not measured.
                    if since > 500_000 && since < last {
                        all.push((now - since).max(0) as u64);
                    }
                }
            });
            let io = BatchIo::new(vec![Box::new(reader)], Placement::OneWorker, on_write);
            run_text(sql, &io, workers);
            let mut sorted = latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
            sorted.sort_unstable();
            let ms = |share: f64| format!("{:.2}", support::quantile(&sorted, share) as f64 / 1e3);
            table.push(vec![name.to_owned(), workers.to_string(), ms(0.5), ms(0.99), ms(1.0), sorted.len().to_string()]);
        }
    }
    support::table(&["query", "workers", "p50 ms", "p99 ms", "max ms", "changes"], &table);
    println!();
    let mut table = Vec::new();
    for workers in support::list("workers", "1,2") {
        let workers: usize = workers.parse().expect("workers are a number");
        let share = idle(duration, workers);
        table.push(vec!["idle".to_owned(), workers.to_string(), format!("{:.2} %", share * 100.0)]);
    }
    support::table(&["query", "workers", "of a core"], &table);
}

fn run_text(sql: &str, io: &BatchIo, workers: usize) {
    let text =
        format!("CREATE SOURCE t (k BIGINT, sent BIGINT, ts TIMESTAMP(6), WATERMARK FOR ts AS ts) WITH (connector = 'test'); {sql};");
    let program = plan(&text).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let config = RunConfig { workers, ..RunConfig::default() };
    run(Arc::new(program.plan.expect("there is a query")), io, &config, &Control::new()).unwrap_or_else(|error| panic!("{error}"));
}

/// The share of a core that a query takes while its source has nothing.
fn idle(duration: Duration, workers: usize) -> f64 {
    struct Silent(Instant, Duration);
    impl PartitionReader for Silent {
        fn next(&mut self) -> Result<Read, ConnectorError> {
            Ok(if self.0.elapsed() > self.1 { Read::End } else { Read::Pending })
        }
    }
    let io = BatchIo::new(vec![Box::new(Silent(Instant::now(), duration))], Placement::OneWorker, Arc::new(|_, _| {}));
    let used = Arc::new(Mutex::new(0.0));
    let watcher = {
        let used = Arc::clone(&used);
        std::thread::spawn(move || {
            // Between the start and the end, so that neither is measured.
            std::thread::sleep(duration / 4);
            let (before, start) = (support::processor_time(), Instant::now());
            std::thread::sleep(duration / 2);
            *used.lock().unwrap_or_else(PoisonError::into_inner) = (support::processor_time() - before) / start.elapsed().as_secs_f64();
        })
    };
    run_text("SELECT window_end, k, count(*) FROM t WINDOW TUMBLING(1s) GROUP BY k", &io, workers);
    watcher.join().expect("the watcher ends");
    *used.lock().unwrap_or_else(PoisonError::into_inner)
}
