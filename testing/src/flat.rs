//! Two streams that keep step, as long as wanted, and what a query over them holds meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use tidemark_connectors::sink::Placement;
use tidemark_connectors::source::{Chunk, ChunkBody, ConnectorError, PartitionReader, Read};
use tidemark_dataflow::control::Control;
use tidemark_dataflow::epoch::{Epoch, EpochClock};
use tidemark_dataflow::run::{RunConfig, run};

use crate::batches::{BatchIo, OpenRelation};
use crate::run::plan;

const BATCH: u64 = 4_096;
/// Rows of a second of event time in each stream.
pub const RATE: u64 = 100_000;
/// How many keys rows have.
pub const KEYS: u64 = 10_000;
/// The streams, whose watermarks are a tenth of a second behind.
const STREAMS: &str = "
  CREATE SOURCE l (k BIGINT, v BIGINT, ts TIMESTAMP(6), WATERMARK FOR ts AS ts - INTERVAL '0.1' SECOND)
    WITH (connector = 'test', bounded = 'false');
  CREATE SOURCE r (k BIGINT, v BIGINT, ts TIMESTAMP(6), WATERMARK FOR ts AS ts - INTERVAL '0.1' SECOND)
    WITH (connector = 'test', bounded = 'false');";

/// Queries whose state is bounded by time: what each is, and its text over `l` and `r`.
pub const BOUNDED_BY_TIME: [(&str, &str); 5] = [
    ("interval join", "SELECT l.v, r.v AS w FROM l JOIN r ON l.k = r.k AND r.ts BETWEEN l.ts - INTERVAL '0.5' SECOND AND l.ts"),
    (
        "interval left join",
        "SELECT l.v, r.v AS w FROM l LEFT JOIN r ON l.k = r.k AND r.ts BETWEEN l.ts - INTERVAL '0.5' SECOND AND l.ts EMIT FINAL",
    ),
    (
        "window join",
        "SELECT a.k, a.n, b.n AS m FROM (SELECT k, window_start, window_end, count(*) AS n FROM l WINDOW TUMBLING(500ms) GROUP BY k) AS a
         JOIN (SELECT k, window_start, window_end, count(*) AS n FROM r WINDOW TUMBLING(500ms) GROUP BY k) AS b
         ON a.k = b.k AND a.window_start = b.window_start AND a.window_end = b.window_end",
    ),
    ("AS OF join", "SELECT l.v, r.v AS w FROM l JOIN r FOR SYSTEM_TIME AS OF l.ts ON l.k = r.k"),
    ("AS OF left join", "SELECT l.v, r.v AS w FROM l LEFT JOIN r FOR SYSTEM_TIME AS OF l.ts ON l.k = r.k"),
];

/// Queries whose state is bounded by the number of keys.
pub const BOUNDED_BY_KEYS: [(&str, &str); 2] = [
    (
        "tumbling rows",
        "SELECT k % 100 AS k, array_agg(v) AS vs FROM l WINDOW TUMBLING(20 ROWS) GROUP BY k % 100
         UNION ALL SELECT k % 100 AS k, array_agg(v) AS vs FROM r WINDOW TUMBLING(30 ROWS) GROUP BY k % 100",
    ),
    (
        "sliding rows",
        "SELECT k % 100 AS k, min(v) AS v FROM l WINDOW SLIDING(40 ROWS, 4 ROWS) GROUP BY k % 100
         UNION ALL SELECT k % 100 AS k, max(v) AS v FROM r WINDOW SLIDING(20 ROWS, 4 ROWS) GROUP BY k % 100",
    ),
];

/// What a query held at most while each tenth of the rows was read, in bytes.
///
/// # Panics
/// When the query cannot be planned, or its run fails.
pub fn held_by_tenths(query: &str, rows: u64, workers: usize) -> [u64; 10] {
    let text = format!("{STREAMS} CREATE SINK out WITH (connector = 'test') AS {query};");
    let plan = Arc::new(plan(&text).unwrap_or_else(|errors| panic!("{errors:#?}")).plan.expect("there is a query"));
    let config = RunConfig { workers, ..RunConfig::default() };
    let control = Control::new();
    let over = Arc::new(AtomicBool::new(false));
    let read = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let (stop, clock, asked) = (Arc::clone(&over), Arc::clone(&config.clock), Arc::clone(&control));
    let open: OpenRelation = Arc::new(move |name| {
        let side = usize::from(name == "r");
        let (read, over, clock, control) = (Arc::clone(&read), Arc::clone(&stop), Arc::clone(&clock), Arc::clone(&asked));
        vec![Box::new(InStep { side, rows, read, over, clock, control, given_at: 0 })]
    });
    let io = BatchIo::relations(open, Placement::OneWorker, Arc::new(|_, _| {}));
    let watched = Arc::clone(&control);
    let watcher = std::thread::spawn(move || {
        let mut held = [0; 10];
        loop {
            let report = watched.report();
            let sum = report.sources.iter().map(|source| source.rows).sum::<u64>();
            let bytes: u64 = report.operators.iter().map(|operator| operator.state_bytes).sum();
            let tenth = &mut held[(sum * 10 / (2 * rows)).min(9) as usize];
            *tenth = bytes.max(*tenth);
            if sum >= 2 * rows || watched.stopping() {
                over.store(true, Relaxed);
                return held;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    });
    run(plan, &io, &config, &control).unwrap_or_else(|error| panic!("{error}"));
    watcher.join().expect("the watcher ends")
}

/// One of two streams. Neither runs ahead of the other, nor of what has been worked off, so that what is held is state.
struct InStep {
    side: usize,
    rows: u64,
    read: Arc<[AtomicU64; 2]>,
    over: Arc<AtomicBool>,
    clock: Arc<EpochClock>,
    control: Arc<Control>,
    /// The epoch of the last batch.
    given_at: Epoch,
}

impl PartitionReader for InStep {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        let [own, other] = [self.side, 1 - self.side].map(|side| self.read[side].load(Relaxed));
        if own == self.rows {
            return Ok(if self.over.load(Relaxed) { Read::End } else { Read::Pending });
        }
        if own > other || (own > 0 && self.control.report().epochs <= self.given_at) {
            return Ok(Read::Pending);
        }
        let numbers = own..self.rows.min(own + BATCH);
        let key = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % KEYS;
        let k: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.clone().map(|n| key(n) as i64)));
        let v: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.clone().map(|n| n as i64)));
        let ts: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(numbers.clone().map(|n| (n * 1_000_000 / RATE) as i64)));
        let batch = RecordBatch::try_from_iter([("k", k), ("v", v), ("ts", ts)]).map_err(|error| ConnectorError::new("stream", error))?;
        self.read[self.side].store(numbers.end, Relaxed);
        self.given_at = self.clock.current();
        Ok(Read::Chunk(Chunk { offset: own, bytes: 24 * (numbers.end - own), body: ChunkBody::Rows(batch) }))
    }
}
