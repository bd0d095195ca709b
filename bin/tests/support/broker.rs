//! A broker for tests, and what is done with it: the one that `TIDEMARK_KAFKA` names, else one that `tests/kafka/broker` starts. Without
//! Java and without a broker there is none, and tests say so.
#![allow(dead_code, reason = "each test file uses its share")]

use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaResult;

use crate::support::{Ran, root, tidemark};

/// A broker.
pub(crate) struct Broker {
    /// Where it is reached.
    pub(crate) address: String,
    /// Where it keeps its data, if it is ours.
    pub(crate) folder: Option<tempfile::TempDir>,
}

/// The broker for all tests of a file.
pub(crate) fn shared() -> Option<&'static Broker> {
    static BROKER: OnceLock<Option<Broker>> = OnceLock::new();
    BROKER.get_or_init(|| start("secure")).as_ref()
}

/// Its address.
pub(crate) fn broker() -> Option<&'static str> {
    shared().map(|broker| broker.address.as_str())
}

/// Starts a broker; `how`: `start`, or `secure` for one with certificates and logins too.
pub(crate) fn start(how: &str) -> Option<Broker> {
    if let Ok(address) = std::env::var("TIDEMARK_KAFKA") {
        return Some(Broker { address, folder: None });
    }
    let folder = tempfile::tempdir().expect("a folder");
    let script = root().join("tests/kafka/broker");
    let started = Command::new(&script).arg(how).arg(folder.path()).stderr(Stdio::inherit()).output().expect("the script runs");
    match started.status.code() {
        Some(0) => {}
        Some(3) => {
            println!("skipped: there is no Java to run a broker with, and TIDEMARK_KAFKA names none");
            return None;
        }
        other => panic!("the broker did not start: {other:?}"),
    }
    // The broker outlives this process's statics: something must end it when the tests are done, however they end.
    let watch = "while kill -0 \"$1\" 2>/dev/null; do sleep 0.5; done; \"$2\" stop \"$3\"; rm -rf \"$3\"";
    #[expect(clippy::zombie_processes, reason = "it waits for this process to end")]
    Command::new("bash")
        .args(["-c", watch, "watch", &std::process::id().to_string()])
        .arg(&script)
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a watch");
    let address = String::from_utf8(started.stdout).expect("text").trim().to_owned();
    Some(Broker { address, folder: Some(folder) })
}

/// Asks the broker to do something, and waits until it has.
pub(crate) fn administer<T>(
    brokers: &str,
    ask: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> KafkaResult<T>,
) -> T {
    let client: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a client");
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(ask(&client, &options)).expect("done")
}

/// Makes a topic that keeps its records, however old they say they are.
pub(crate) fn create(brokers: &str, topic: &str, partitions: i32) {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    let made = administer(brokers, async |client, options| client.create_topics([&new], options).await);
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

/// Gives a topic more partitions.
pub(crate) fn grow(brokers: &str, topic: &str, partitions: usize) {
    let new = NewPartitions::new(topic, partitions);
    let made = administer(brokers, async |client, options| client.create_partitions([&new], options).await);
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

/// Deletes a topic.
pub(crate) fn delete(brokers: &str, topic: &str) {
    let gone = administer(brokers, async |client, options| client.delete_topics(&[topic], options).await);
    assert!(gone.iter().all(Result::is_ok), "{gone:?}");
}

/// A topic of this run only.
pub(crate) fn topic(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// Runs statements that must succeed.
pub(crate) fn run(sql: &str) -> Ran {
    let ran = tidemark(&["run", "--format", "csv", "-e", sql]);
    assert_eq!(ran.code, Some(0), "{sql}\n{}", ran.stderr);
    assert!(!ran.stderr.contains("offsets"), "all offsets are committed, and told to be: {}", ran.stderr);
    ran
}

/// The rows that stand when the run has ended.
pub(crate) fn lines(ran: &Ran) -> Vec<&str> {
    let mut stand: Vec<&str> = Vec::new();
    let mut all = ran.stdout.lines();
    // Rows that are never taken back have no column that says what becomes of them.
    let only_added = all.next().is_some_and(|header| !header.starts_with("op,"));
    for line in all {
        match line.split_at_checked(3).unwrap_or(("", line)) {
            _ if only_added => stand.push(line),
            ("+I,", row) => stand.push(row),
            ("-D,", row) => {
                let at = stand.iter().position(|it| *it == row).unwrap_or_else(|| panic!("{row} was never there"));
                stand.remove(at);
            }
            _ => panic!("{line}"),
        }
    }
    stand.sort_unstable();
    stand
}
