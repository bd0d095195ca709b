//! Brokers with faults: what they answer wrongly, late or not at all costs time, and neither loses nor doubles a record.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;

const QUICK: [(&str, &str); 3] =
    [("topic", "t"), ("properties.reconnect.backoff.max.ms", "200"), ("properties.retry.backoff.max.ms", "200")];

/// Writes numbers by the connector's own sink, all of them one epoch, and returns when the brokers have acknowledged them.
fn write(plan: &SinkPlan, numbers: std::ops::Range<i64>) {
    let mut sink = open_sink(plan).expect("opened");
    let rows: Vec<String> = numbers.map(|n| format!("{{\"n\":{n}}}")).collect();
    sink.write(&batch(&plan.schema, &rows.iter().map(String::as_str).collect::<Vec<_>>()), None).expect("written");
    sink.end_epoch(1).expect("acknowledged");
}

/// Reads numbers behind those that were read before.
fn take(source: &dyn Source, reader: &mut dyn PartitionReader, count: usize) -> Vec<i64> {
    integers(&read(source, reader, &numbers(), count).expect("read"), 0)
}

/// Answers that say that something is amiss for now are tried again, each with a longer pause.
#[test]
fn errors_that_pass_cost_nothing() {
    use RDKafkaRespErr::*;
    let cluster = cluster(&[("t", 1)]);
    let plan = sink_plan(&cluster, &QUICK, &numbers(), ChangelogKind::AppendOnly);
    let source = open_source(&source_plan(&cluster, &QUICK, &numbers())).expect("opened");
    let mut reader = source.open(0).expect("opened");
    let written = [
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    ];
    let read =
        [RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART];
    for round in 0..3 {
        cluster.request_errors(RDKafkaApiKey::Produce, &written);
        write(&plan, round * 500..(round + 1) * 500);
        cluster.request_errors(RDKafkaApiKey::Fetch, &read);
        assert_eq!(take(source.as_ref(), reader.as_mut(), 500), (round * 500..(round + 1) * 500).collect::<Vec<_>>());
    }
    assert!(matches!(reader.next(), Ok(Read::Pending)), "nothing is there twice");
}

/// A broker that takes its time is waited for.
#[test]
fn a_slow_broker_costs_time_only() {
    let cluster = cluster(&[("t", 1)]);
    cluster.broker_round_trip_time(1, Duration::from_millis(300)).expect("slow");
    let plan = sink_plan(&cluster, &QUICK, &numbers(), ChangelogKind::AppendOnly);
    write(&plan, 0..500);
    let source = open_source(&source_plan(&cluster, &QUICK, &numbers())).expect("opened");
    let mut reader = source.open(0).expect("opened");
    assert_eq!(take(source.as_ref(), reader.as_mut(), 500), (0..500).collect::<Vec<_>>());
}

/// A partition whose leader is gone is waited for, by who reads it and by who writes it, and goes on where another broker leads it.
#[test]
fn a_partition_that_loses_its_leader_is_waited_for() {
    let cluster = MockCluster::new(2).expect("a cluster");
    cluster.create_topic("t", 1, 2).expect("a topic");
    cluster.partition_leader("t", 0, Some(1)).expect("a leader");
    let plan = sink_plan(&cluster, &QUICK, &numbers(), ChangelogKind::AppendOnly);
    write(&plan, 0..100);
    let source = open_source(&source_plan(&cluster, &QUICK, &numbers())).expect("opened");
    let mut reader = source.open(0).expect("opened");
    assert_eq!(take(source.as_ref(), reader.as_mut(), 100), (0..100).collect::<Vec<_>>());
    let mut sink = open_sink(&plan).expect("opened");
    cluster.broker_down(1).expect("down");
    let writer = std::thread::spawn(move || {
        sink.write(&batch(&numbers(), &[r#"{"n":100}"#, r#"{"n":101}"#]), None).expect("written");
        sink.end_epoch(1).expect("acknowledged");
    });
    for _ in 0..100 {
        assert!(matches!(reader.next(), Ok(Read::Pending)), "a leader that is missing is no failure");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!writer.is_finished(), "an epoch is not written before the brokers say so");
    cluster.partition_leader("t", 0, Some(2)).expect("a leader");
    writer.join().expect("no panic");
    assert_eq!(take(source.as_ref(), reader.as_mut(), 2), [100, 101]);
}

/// Brokers that are away when a run starts are waited for, as long as the option says.
#[test]
fn brokers_that_are_away_at_the_start_are_waited_for() {
    let cluster = cluster(&[("t", 1)]);
    cluster.broker_down(-1).expect("down");
    let plan = source_plan(&cluster, &[&QUICK[..], &[("connect-timeout", "1s")]].concat(), &numbers());
    let error = open_source(&plan).map(drop).expect_err("nobody answers").to_string();
    assert!(error.starts_with("t: no broker can be reached"), "{error}");
    let plan = source_plan(&cluster, &QUICK, &numbers());
    let opened = std::thread::spawn(move || open_source(&plan).map(|source| source.partitions().len()));
    std::thread::sleep(Duration::from_millis(500));
    assert!(!opened.is_finished());
    cluster.broker_up(-1).expect("up");
    assert_eq!(opened.join().expect("no panic").ok(), Some(1));
}
