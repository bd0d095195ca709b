//! Kafka: how many JSON bids a second come out of a topic, on a broker that runs on the same machine, and what a bare consumer of
//! librdkafka makes of the same topic in the same run.
//!
//! ```text
//! cargo bench --bench kafka -- [--events 3000000] [--rounds 3] [--workers 1,2] [--brokers HOST:PORT]
//! ```
//! Without `--brokers`, the broker is the one of `TIDEMARK_KAFKA`, else one that `tests/kafka/broker` starts. Bids are written once,
//! by the connector's own sink; the broker has them in its page cache then. Rounds alternate, so that what else the machine does
//! meets both alike.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemark_connectors::kafka::inspect::Cluster;
use tidemark_connectors::{Connectors, StdoutStyle};
use tidemark_dataflow::control::Control;
use tidemark_dataflow::run::{RunConfig, run};
use tidemark_testing::run::plan_with;

mod support;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Bids a second that are to be reached, and the share of a bare consumer's.
const GOAL: f64 = 700_000.0;
const GOAL_SHARE: f64 = 0.70;

const COLUMNS: &str =
    r#"auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, "dateTime" TIMESTAMP(6), extra VARCHAR"#;

/// Runs statements; the rows read and the seconds they took.
fn statements(sql: &str, workers: usize) -> (u64, f64) {
    let connectors = Connectors::of_process(StdoutStyle::default());
    let program = plan_with(sql, &connectors).unwrap_or_else(|errors| panic!("{errors:#?}\n{sql}"));
    let plan = Arc::new(program.plan.expect("there is a query"));
    let config = RunConfig { workers, ..RunConfig::default() };
    let start = Instant::now();
    let report = run(plan, &connectors, &config, &Control::new()).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    (report.sources.iter().map(|source| source.rows).sum(), start.elapsed().as_secs_f64())
}

/// A broker that is ended with the benchmark.
struct Broker {
    address: String,
    folder: Option<tempfile::TempDir>,
}

fn script() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/broker")
}

impl Broker {
    fn start() -> Self {
        if let Some(address) = support::argument("brokers").or_else(|| std::env::var("TIDEMARK_KAFKA").ok()) {
            return Self { address, folder: None };
        }
        let folder = tempfile::tempdir().expect("a folder");
        let output = Command::new(script()).arg("start").arg(folder.path()).output().expect("the script runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { address: String::from_utf8_lossy(&output.stdout).trim().to_owned(), folder: Some(folder) }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // The broker's data goes with the folder, whether it has ended well or not.
            let _ = Command::new(script()).arg("stop").arg(folder.path()).status();
        }
    }
}

fn main() {
    let (events, rounds) = (support::number("events", 3_000_000), support::number("rounds", 3));
    let workers: Vec<usize> = support::list("workers", "1,2").iter().map(|text| text.parse().expect("workers are a number")).collect();
    let broker = Broker::start();
    let (brokers, topic) = (broker.address.as_str(), format!("bids-{}", std::process::id()));
    let (_, seconds) = statements(
        &format!(
            "CREATE SOURCE bid WITH (connector = 'nexmark', shape = 'bid', events = '{events}');
             CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', compression = 'none', linger = '5ms') AS
             SELECT * FROM bid;"
        ),
        1,
    );
    println!("{topic}: bids of {events} events written in {seconds:.1} s");
    let read = format!(
        "CREATE SOURCE bid ({COLUMNS}) WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', end = 'latest');
         CREATE SINK out WITH (connector = 'blackhole') AS SELECT * FROM bid;"
    );
    let cluster = Cluster::connect(brokers, &[], Duration::from_secs(10)).expect("a client");
    let mut best = vec![0f64; workers.len() + 1];
    let mut table = Vec::new();
    for round in 1..=rounds {
        let start = Instant::now();
        let records = cluster.drain(&topic).expect("drained");
        let mut rates = vec![records as f64 / start.elapsed().as_secs_f64()];
        for count in &workers {
            let (rows, seconds) = statements(&read, *count);
            assert_eq!(rows, records, "every record is a row");
            rates.push(rows as f64 / seconds);
        }
        for (who, rate) in rates.iter().enumerate() {
            best[who] = best[who].max(*rate);
            let name = if who == 0 { "bare consumer".to_owned() } else { format!("tidemark, workers {}", workers[who - 1]) };
            table.push(vec![round.to_string(), name, format!("{rate:.0}"), format!("{:.2}", rate / rates[0])]);
        }
    }
    support::table(&["round", "reader", "records/s", "of bare"], &table);
    let most = best[1..].iter().copied().fold(0.0, f64::max);
    println!(
        "best: {most:.0} bids/s (goal {GOAL:.0}), {:.2} of a bare consumer (goal {GOAL_SHARE:.2}), peak memory {} MB",
        most / best[0],
        support::peak_memory() / 1_000_000
    );
}
