//! TPC-H as views over tables that change: what the first load of each query costs, and how soon a refresh is out.
//!
//! ```text
//! cargo bench --bench tpch -- [--scale 1] [--queries 1,3,6] [--workers 2] [--refreshes 50] [--statistics no]
//! ```
//! Tables are made before the clock starts. A refresh is about 1,000 rows: new orders with their lines, and as many old ones that
//! go. Latency runs from the moment its first row is read to the moment the sink has the last of its changes, or where
//! none comes knows that; each refresh is alone in the engine. `rows/s` is of as many further refreshes handed over at once. `cpu` is processor time of the whole process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use tidemark_conformance::tpch::{QUERIES, Table, tables};
use tidemark_connectors::sink::Placement;
use tidemark_connectors::source::{Chunk, ChunkBody, ConnectorError, PartitionReader, Read};
use tidemark_dataflow::control::Control;
use tidemark_dataflow::report::RunReport;
use tidemark_dataflow::run::{RunConfig, run};
use tidemark_testing::batches::{BatchIo, OpenRelation};
use tidemark_testing::run::plan;

mod support;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Rows of a chunk of the first load.
const BATCH: usize = 16_384;
/// Orders that come and orders that go in a refresh, with four lines each on average.
const ORDERS: usize = 100;

/// The batches of a table, step by step: the first load, then refreshes.
type Steps = Arc<Vec<Vec<RecordBatch>>>;

fn main() {
    let scale: f64 = support::argument("scale").map_or(1.0, |text| text.parse().expect("a scale factor"));
    let refreshes = support::number("refreshes", 50) as usize;
    let workers = support::number("workers", 2) as usize;
    let queries = support::list("queries", "");
    let start = Instant::now();
    let tables = changing(tables(scale, 1), 2 * refreshes);
    let statistics = support::argument("statistics").is_none_or(|said| said != "no");
    let options = |table: &Table| match statistics {
        true => format!("connector = 'test', changelog = 'retract', {}", table.statistics(table.rows.num_rows())),
        false => "connector = 'test', changelog = 'retract'".into(),
    };
    let declarations: String = tables.iter().map(|table| table.declaration(&options(table))).collect();
    let steps: BTreeMap<String, Steps> = tables.into_iter().map(|table| (table.name.to_owned(), steps(table, 2 * refreshes))).collect();
    eprintln!("made the tables in {:.1?}", start.elapsed());
    let mut lines = Vec::new();
    for (number, sql) in QUERIES.iter().filter(|(number, _)| queries.is_empty() || queries.contains(&number.to_string())) {
        let text = format!("{declarations}CREATE SINK out WITH (connector = 'test') AS {sql} EMIT CHANGES;");
        let line = measure(*number, &text, &steps, refreshes, workers);
        eprintln!("{}", line.join(" "));
        lines.push(line);
    }
    let head = [
        "query",
        "workers",
        "load s",
        "load cpu s",
        "M rows/s",
        "p50 ms",
        "p99 ms",
        "cpu ms",
        "rows/s",
        "cpu us/row",
        "state MB",
        "result",
    ];
    support::table(&head, &lines);
}

/// The tables, of which orders come and go, with their lines, in some steps after the first.
fn changing(mut tables: Vec<Table>, steps: usize) -> Vec<Table> {
    let orders = tables.iter().find(|table| table.name == "orders").expect("there are orders");
    let keys = column(orders);
    assert!(keys.len() > 2 * ORDERS * (steps + 1), "too few orders for so many refreshes");
    // The last orders come later, the first go.
    let mut lives = BTreeMap::new();
    for step in 0..steps {
        for order in 0..ORDERS {
            lives.insert(keys[keys.len() - 1 - step * ORDERS - order], (step + 1, None));
            lives.insert(keys[step * ORDERS + order], (0, Some(step + 1)));
        }
    }
    for table in tables.iter_mut().filter(|table| matches!(table.name, "orders" | "lineitem")) {
        table.life = column(table).into_iter().map(|key| lives.get(&key).copied().unwrap_or((0, None))).collect();
    }
    tables
}

/// The first column, an order's number.
fn column(table: &Table) -> Vec<i64> {
    use arrow::array::AsArray;
    table.rows.column(0).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec()
}

/// The batches of all steps, with diffs behind the columns. The table's own rows are let go.
fn steps(mut table: Table, refreshes: usize) -> Steps {
    let fields = table.rows.schema_ref().fields().iter().cloned().chain([Arc::new(Field::new("diff", DataType::Int64, false))]);
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let with_diffs = |rows: &RecordBatch, diffs: Vec<i64>| {
        let diffs: ArrayRef = Arc::new(Int64Array::from(diffs));
        let columns = rows.columns().iter().cloned().chain([diffs]).collect();
        RecordBatch::try_new(Arc::clone(&schema), columns).expect("a diff for each row")
    };
    // Rows that live through all steps are not looked at for each.
    let (loaded, diffs) = table.changes(0);
    let moving: Vec<bool> = table.life.iter().map(|life| *life != (0, None)).collect();
    table.rows = arrow::compute::filter_record_batch(&table.rows, &moving.clone().into()).expect("a flag for each row");
    table.life = table.life.into_iter().zip(&moving).filter(|(_, moving)| **moving).map(|(life, _)| life).collect();
    let mut steps = vec![];
    let loaded = with_diffs(&loaded, diffs);
    steps.push((0..loaded.num_rows()).step_by(BATCH).map(|first| loaded.slice(first, BATCH.min(loaded.num_rows() - first))).collect());
    for step in 1..=refreshes {
        let (rows, diffs) = table.changes(step);
        steps.push(if rows.num_rows() == 0 { vec![] } else { vec![with_diffs(&rows, diffs)] });
    }
    Arc::new(steps)
}

/// Up to which step rows may be read, when the first row of that step was, and when the sink had the last change since.
#[derive(Default)]
struct Gate {
    step: AtomicU64,
    first_read: Mutex<Option<Instant>>,
    last_written: Mutex<Option<Instant>>,
    over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    fn open(&self, step: usize) {
        *lock(&self.first_read) = None;
        *lock(&self.last_written) = None;
        self.step.store(step as u64, Relaxed);
    }

    /// What it took, now that it is known that no more comes, unless nothing was read.
    fn latency(&self) -> Option<Duration> {
        let first = (*lock(&self.first_read))?;
        Some(lock(&self.last_written).map_or_else(|| first.elapsed(), |last| last - first))
    }
}

struct Reader {
    steps: Steps,
    step: usize,
    batch: usize,
    offset: u64,
    gate: Arc<Gate>,
}

impl PartitionReader for Reader {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        let open = self.gate.step.load(Relaxed) as usize;
        while self.step <= open && self.step < self.steps.len() {
            if let Some(rows) = self.steps[self.step].get(self.batch) {
                lock(&self.gate.first_read).get_or_insert_with(Instant::now);
                let offset = self.offset;
                self.offset += rows.num_rows() as u64;
                self.batch += 1;
                return Ok(Read::Chunk(Chunk { offset, bytes: rows.num_rows() as u64 * 100, body: ChunkBody::Rows(rows.clone()) }));
            }
            if self.step == open {
                break;
            }
            (self.step, self.batch) = (self.step + 1, 0);
        }
        Ok(if self.gate.over.load(Relaxed) { Read::End } else { Read::Pending })
    }
}

fn measure(number: usize, text: &str, steps: &BTreeMap<String, Steps>, refreshes: usize, workers: usize) -> Vec<String> {
    let plan = Arc::new(plan(text).unwrap_or_else(|errors| panic!("q{number}: {errors:#?}")).plan.expect("there is a query"));
    let gate = Arc::new(Gate::default());
    let (open_gate, open_steps) = (Arc::clone(&gate), steps.clone());
    let open: OpenRelation = Arc::new(move |name| {
        let steps = Arc::clone(&open_steps[name]);
        vec![Box::new(Reader { steps, step: 0, batch: 0, offset: 0, gate: Arc::clone(&open_gate) })]
    });
    let result = Arc::new(AtomicI64::new(0));
    let (sum, written) = (Arc::clone(&result), Arc::clone(&gate));
    let on_write = Arc::new(move |rows: &RecordBatch, diffs: Option<&[i64]>| {
        sum.fetch_add(diffs.map_or(rows.num_rows() as i64, |diffs| diffs.iter().sum()), Relaxed);
        *lock(&written.last_written) = Some(Instant::now());
    });
    let io = BatchIo::relations(open, Placement::OneWorker, on_write);
    let config = RunConfig { workers, ..RunConfig::default() };
    let control = Control::new();
    let watch = Watch::new(Arc::clone(&control), config.clone(), steps);
    let (start, cpu) = (Instant::now(), support::all_time());
    let driver = std::thread::spawn(move || {
        let read = watch.done(0);
        let load = start.elapsed().as_secs_f64();
        let load_cpu = support::all_time() - cpu;
        let cpu = support::all_time();
        let mut latencies = Vec::new();
        for step in 1..=refreshes {
            gate.open(step);
            watch.done(step);
            latencies.extend(gate.latency().map(|latency| latency.as_micros() as u64));
        }
        let refresh_cpu = support::all_time() - cpu;
        let (many, cpu) = (Instant::now(), support::all_time());
        let before = watch.read();
        gate.open(2 * refreshes);
        watch.done(2 * refreshes);
        let (seconds, rows, cpu) = (many.elapsed().as_secs_f64(), watch.read() - before, support::all_time() - cpu);
        let state: u64 = watch.control.report().operators.iter().map(|operator| operator.state_bytes).sum();
        gate.over.store(true, Relaxed);
        latencies.sort_unstable();
        let changing = rows > 0;
        let or_none = |text: String| if changing { text } else { "-".into() };
        let ms = |share: f64| or_none(format!("{:.1}", support::quantile(&latencies, share) as f64 / 1e3));
        vec![
            format!("{load:.2}"),
            format!("{load_cpu:.2}"),
            format!("{:.2}", read as f64 / load / 1e6),
            ms(0.5),
            ms(0.99),
            or_none(format!("{:.1}", refresh_cpu * 1e3 / refreshes as f64)),
            or_none(format!("{:.0}", rows as f64 / seconds)),
            or_none(format!("{:.1}", cpu * 1e6 / rows as f64)),
            format!("{:.0}", state as f64 / 1e6),
        ]
    });
    run(plan, &io, &config, &control).unwrap_or_else(|error| panic!("q{number}: {error}"));
    let measured = driver.join().expect("the driver ends");
    let head = [format!("q{number}"), workers.to_string()];
    head.into_iter().chain(measured).chain([result.load(Relaxed).to_string()]).collect()
}

/// Watches a run from outside.
struct Watch {
    control: Arc<Control>,
    config: RunConfig,
    /// How many rows each table has had by the end of each step.
    rows: BTreeMap<String, Vec<u64>>,
}

impl Watch {
    fn new(control: Arc<Control>, config: RunConfig, steps: &BTreeMap<String, Steps>) -> Self {
        let sums = |steps: &Steps| -> Vec<u64> {
            let rows = steps.iter().map(|batches| batches.iter().map(|rows| rows.num_rows() as u64).sum::<u64>());
            rows.scan(0, |sum, rows| {
                *sum += rows;
                Some(*sum)
            })
            .collect()
        };
        let rows = steps.iter().map(|(name, steps)| (name.clone(), sums(steps))).collect();
        Self { control, config, rows }
    }

    fn read(&self) -> u64 {
        self.control.report().sources.iter().map(|source| source.rows).sum()
    }

    /// Waits until the rows of all steps up to one are read and the sink has what comes of them. Returns how many they are.
    fn done(&self, step: usize) -> u64 {
        let wait = || std::thread::sleep(Duration::from_micros(100));
        let all_read = |report: &RunReport| {
            !report.sources.is_empty() && report.sources.iter().all(|source| source.rows == self.rows[&source.name][step])
        };
        while !all_read(&self.control.report()) {
            wait();
        }
        let epoch = self.config.clock.current();
        while self.control.report().epochs <= epoch {
            wait();
        }
        self.read()
    }
}
