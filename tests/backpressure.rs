//! A sink that is slower than its source: what is read and not yet written stays bounded, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use tidemark_connectors::sink::Placement;
use tidemark_connectors::source::{Chunk, ChunkBody, ConnectorError, PartitionReader, Read};
use tidemark_dataflow::control::Control;
use tidemark_dataflow::run::{RunConfig, run};
use tidemark_testing::batches::BatchIo;
use tidemark_testing::run::plan;

const ROWS: i64 = 1_000;
const CHUNKS: i64 = 400;

/// Counts what it hands out.
struct Counting {
    next: i64,
    handed: Arc<AtomicI64>,
    written: Arc<AtomicI64>,
    most: Arc<AtomicI64>,
}

impl PartitionReader for Counting {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        if self.next == CHUNKS {
            return Ok(Read::End);
        }
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(self.next * ROWS..(self.next + 1) * ROWS));
        let rows = RecordBatch::try_from_iter([("v", values)]).map_err(|error| ConnectorError::new("counting", error))?;
        let offset = (self.next * ROWS) as u64;
        self.next += 1;
        let handed = self.handed.fetch_add(ROWS, SeqCst) + ROWS;
        self.most.fetch_max(handed - self.written.load(SeqCst), SeqCst);
        Ok(Read::Chunk(Chunk { offset, bytes: ROWS as u64 * 8, body: ChunkBody::Rows(rows) }))
    }
}

fn slow(sql: &str, workers: usize, pause: Duration) -> (i64, u64, i64) {
    let (handed, written, most) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let sum = Arc::new(AtomicU64::new(0));
    let reader = Counting { next: 0, handed, written: Arc::clone(&written), most: Arc::clone(&most) };
    let total = Arc::clone(&sum);
    let on_write = Arc::new(move |rows: &RecordBatch, _: Option<&[i64]>| {
        std::thread::sleep(pause);
        let values = rows.column(0).as_any().downcast_ref::<Int64Array>().expect("v is BIGINT");
        total.fetch_add(values.values().iter().map(|value| *value as u64).sum(), SeqCst);
        written.fetch_add(rows.num_rows() as i64, SeqCst);
    });
    let counted = Arc::clone(&most);
    let io = BatchIo::new(vec![Box::new(reader)], Placement::OneWorker, on_write);
    let program = plan(sql).expect("the statement is right");
    // 100 chunks of 8 kB may be on their way.
    let config = RunConfig { workers, bytes_in_flight_max: 800_000, ..RunConfig::default() };
    let report = run(Arc::new(program.plan.expect("there is a query")), &io, &config, &Control::new()).expect("the run succeeds");
    assert_eq!(report.sources[0].rows, (ROWS * CHUNKS) as u64);
    (counted.load(SeqCst), sum.load(SeqCst), ROWS * CHUNKS)
}

#[test]
fn a_slow_sink_holds_the_source_and_loses_nothing() {
    for workers in [1, 2, 4] {
        let (most, sum, rows) =
            slow("CREATE SOURCE t (v BIGINT) WITH (connector = 'test'); SELECT v FROM t;", workers, Duration::from_millis(2));
        assert_eq!(sum, (0..rows as u64).sum::<u64>(), "{workers} workers");
        // The limit, and the chunks that workers hold when they meet it.
        let limit = 100_000 + ROWS * 8 * workers as i64;
        assert!(most <= limit, "{most} rows were on their way with {workers} workers; the limit is {limit}");
        assert!(most < rows / 2, "the source was never held");
    }
}
