//! Against librdkafka's mock cluster: brokers in this process, whose faults are at hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidemark_planner::connector::METADATA_KEY;
use tidemark_planner::plan::{ChangelogKind, SinkPlan, SourcePlan};

mod faults;

use super::*;
use crate::source::{PartitionReader, Read, RowError};
use crate::testing;

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(topics: &[(&str, i32)]) -> Cluster {
    let cluster = MockCluster::new(1).expect("a cluster");
    for (topic, partitions) in topics {
        cluster.create_topic(topic, *partitions, 1).expect("a topic");
    }
    cluster
}

/// A record to write: partition, key, value.
type Record<'a> = (i32, Option<&'a str>, Option<&'a str>);

fn produce(cluster: &Cluster, topic: &str, records: &[Record<'_>]) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).set("linger.ms", "0").create().expect("a producer");
    for (at, (partition, key, value)) in records.iter().enumerate() {
        let mut record = BaseRecord::<str, str>::to(topic).partition(*partition).timestamp(1_700_000_000_000 + at as i64);
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(value) = value {
            record = record.payload(value);
        }
        record = record.headers(OwnedHeaders::new().insert(Header { key: "n", value: Some(&at.to_string()) }));
        producer.send(record).map_err(|(error, _)| error).expect("room");
    }
    producer.flush(Duration::from_secs(20)).expect("delivered");
}

fn defaults(cluster: &Cluster, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all: BTreeMap<String, String> =
        super::options::OPTIONS.iter().filter_map(|option| Some((option.name.to_owned(), option.default?.to_owned()))).collect();
    all.insert("brokers".into(), cluster.bootstrap_servers());
    all.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    all.into_iter().collect()
}

fn source_plan(cluster: &Cluster, pairs: &[(&str, &str)], declared: &SchemaRef) -> SourcePlan {
    let all = defaults(cluster, pairs);
    let pairs: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    testing::source_plan("kafka", &pairs, declared, &(0..declared.fields().len()).collect::<Vec<_>>())
}

fn sink_plan(cluster: &Cluster, pairs: &[(&str, &str)], schema: &SchemaRef, changelog: ChangelogKind) -> SinkPlan {
    let all = defaults(cluster, pairs);
    let pairs: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    testing::sink_plan("kafka", &pairs, schema, changelog)
}

fn numbers() -> SchemaRef {
    testing::schema(&[("n", DataType::Int64)])
}

/// A column that the connector knows.
fn known(name: &str) -> Field {
    let field = metadata().into_iter().find(|field| field.name() == name).expect("known");
    field.with_metadata([(METADATA_KEY.to_owned(), name.to_owned())].into())
}

/// What a reader gave until its end, or until `enough` rows and errors came.
struct Got {
    rows: RecordBatch,
    offsets: Vec<u64>,
    errors: Vec<RowError>,
}

fn read(source: &dyn Source, reader: &mut dyn PartitionReader, schema: &SchemaRef, enough: usize) -> Result<Got, ConnectorError> {
    let mut decoder = source.decoder();
    let (mut batches, mut offsets, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..20_000 {
        match reader.next()? {
            Read::Chunk(chunk) => {
                let decoded = decoder.decode(chunk)?;
                offsets.extend((0..decoded.columns.num_rows()).map(|row| decoded.offsets.get(row)));
                errors.extend(decoded.errors);
                batches.push(decoded.columns);
            }
            Read::Pending => std::thread::sleep(Duration::from_millis(1)),
            Read::End => break,
        }
        if offsets.len() + errors.len() >= enough {
            break;
        }
    }
    let rows = concat_batches(schema, &batches).expect("one schema");
    Ok(Got { rows, offsets, errors })
}

fn read_all(plan: &SourcePlan) -> Result<Vec<Got>, ConnectorError> {
    let source = open_source(plan)?;
    (0..source.partitions().len())
        .map(|place| {
            let mut reader = source.open(place)?;
            read(source.as_ref(), reader.as_mut(), &plan.read_schema, usize::MAX)
        })
        .collect()
}

fn integers(got: &Got, column: usize) -> Vec<i64> {
    got.rows.column(column).as_primitive::<Int64Type>().values().to_vec()
}

#[test]
fn a_bounded_read_takes_each_partition_in_order() {
    let cluster = cluster(&[("t", 2)]);
    let values: Vec<String> = (0..1000).map(|n| format!("{{\"n\": {n}}}")).collect();
    let records: Vec<Record<'_>> = values.iter().enumerate().map(|(at, value)| ((at % 2) as i32, None, Some(value.as_str()))).collect();
    produce(&cluster, "t", &records);
    let plan = source_plan(&cluster, &[("topic", "t"), ("end", "latest")], &numbers());
    let source = open_source(&plan).expect("opened");
    let names: Vec<&str> = source.partitions().iter().map(|partition| partition.name.as_str()).collect();
    assert_eq!(names, ["t/0", "t/1"]);
    drop(source);
    for (place, got) in read_all(&plan).expect("read").iter().enumerate() {
        assert_eq!(integers(got, 0), (0..1000).filter(|n| n % 2 == place as i64).collect::<Vec<_>>());
        assert_eq!(got.offsets, (0..500).collect::<Vec<_>>());
        assert_eq!(got.errors, []);
    }
    let plan = source_plan(
        &cluster,
        &[("topic", "t"), ("start", "offsets"), ("start-offsets", "0:490;1:500"), ("end", "offsets"), ("end-offsets", "0:495;1:500")],
        &numbers(),
    );
    let got = read_all(&plan).expect("read");
    assert_eq!((got[0].offsets.clone(), got[1].offsets.len()), ((490..495).collect(), 0));
}

#[test]
fn several_topics_and_a_pattern() {
    let cluster = cluster(&[("a1", 1), ("a2", 1), ("b1", 1)]);
    produce(&cluster, "a2", &[(0, None, Some("{\"n\":2}"))]);
    let names = |pairs: &[(&str, &str)]| -> Result<Vec<String>, String> {
        let source = open_source(&source_plan(&cluster, pairs, &numbers())).map_err(|error| error.to_string())?;
        Ok(source.partitions().iter().map(|partition| partition.name.clone()).collect())
    };
    assert_eq!(names(&[("topic", "b1; a1")]), Ok(vec!["a1/0".into(), "b1/0".into()]));
    assert_eq!(names(&[("topic-pattern", "a[0-9]")]), Ok(vec!["a1/0".into(), "a2/0".into()]));
    assert_eq!(
        names(&[("topic-pattern", "c.*"), ("partition-discovery", "0s")]),
        Err("t: no topic matches option \"topic-pattern\", and none is looked for later".into())
    );
    assert_eq!(
        names(&[("topic", "a1"), ("start", "offsets"), ("start-offsets", "7:0")]),
        Err("t: there is no partition 7, for which an offset is given".into())
    );
}

#[test]
fn keys_values_and_what_the_broker_knows() {
    let cluster = cluster(&[("t", 1)]);
    produce(&cluster, "t", &[(0, Some("{\"id\":7}"), Some("{\"n\":\n1}")), (0, Some("{\"id\":8}"), Some("{\"n\":2}"))]);
    let fields = vec![
        Field::new("k_id", DataType::Int64, true),
        Field::new("n", DataType::Int64, true),
        known("topic"),
        known("partition"),
        known("offset"),
        known("timestamp"),
        known("timestamp-type"),
        known("key"),
        known("headers"),
    ];
    let declared: SchemaRef = Arc::new(Schema::new(fields));
    let options = [
        ("topic", "t"),
        ("end", "latest"),
        ("key.format", "json"),
        ("key.fields", "k_id"),
        ("key.fields-prefix", "k_"),
        ("value.fields-include", "EXCEPT_KEY"),
    ];
    let got = &read_all(&source_plan(&cluster, &options, &declared)).expect("read")[0];
    assert_eq!((integers(got, 0), integers(got, 1), integers(got, 4)), (vec![7, 8], vec![1, 2], vec![0, 1]));
    assert_eq!(got.rows.column(2).as_string::<i32>().value(1), "t");
    assert_eq!(got.rows.column(3).as_primitive::<Int32Type>().values().to_vec(), [0, 0]);
    let stamps = got.rows.column(5).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(stamps.values().to_vec(), [1_700_000_000_000_000, 1_700_000_000_001_000]);
    assert_eq!(got.rows.column(6).as_string::<i32>().value(0), "CreateTime");
    assert_eq!(got.rows.column(7).as_binary::<i32>().value(0), b"{\"id\":7}");
    let headers = got.rows.column(8).as_map().value(1);
    assert_eq!((headers.column(0).as_string::<i32>().value(0), headers.column(1).as_binary::<i32>().value(0)), ("n", &b"1"[..]));
}

#[test]
fn bad_records_are_told_with_their_offsets() {
    let cluster = cluster(&[("t", 1)]);
    produce(
        &cluster,
        "t",
        &[
            (0, None, Some("{\"n\":1}")),
            (0, None, Some("{\"n\":\n\"x\"}")),
            (0, None, None),
            (0, None, Some("")),
            (0, None, Some("{\"n\":3}\n{\"n\":4}")),
            (0, None, Some("{\"n\":5}")),
        ],
    );
    let options = [("topic", "t"), ("end", "latest")];
    let got = &read_all(&source_plan(&cluster, &options, &numbers())).expect("read")[0];
    assert_eq!((integers(got, 0), got.offsets.clone()), (vec![1, 5], vec![0, 5]));
    let errors: Vec<(u64, &str)> = got.errors.iter().map(|error| (error.offset, error.reason.as_str())).collect();
    assert_eq!(errors.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(errors[1].1, "the record has no value; tombstones = 'null' makes it a row of nulls");
    assert_eq!(errors[2].1, "the message is empty");
    assert_eq!(got.errors[0].raw, b"{\"n\":\n\"x\"}", "the record as it was read");
    let nulls = [("topic", "t"), ("end", "latest"), ("tombstones", "null")];
    let got = &read_all(&source_plan(&cluster, &nulls, &numbers())).expect("read")[0];
    assert_eq!(got.offsets, [0, 2, 5]);
    assert!(got.rows.column(0).is_null(1));
}

#[test]
fn rows_replace_each_other_and_tombstones_take_them_away() {
    let cluster = cluster(&[("t", 1)]);
    produce(
        &cluster,
        "t",
        &[
            (0, Some("{\"k\":1}"), Some("{\"k\":1,\"n\":5}")),
            (0, Some("{\"k\":2}"), Some("{\"k\":2,\"n\":6}")),
            (0, Some("{\"k\":1}"), None),
            (0, None, Some("{\"k\":3,\"n\":7}")),
            (0, None, None),
            (0, Some("{\"k\":2}"), Some("oops")),
        ],
    );
    let declared: SchemaRef = Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false), Field::new("n", DataType::Int64, false)]));
    let options = [("topic", "t"), ("end", "latest"), ("changes", "upsert"), ("key.format", "json"), ("key.fields", "k")];
    let plan = source_plan(&cluster, &options, &declared);
    assert_eq!(facts(&plan.options, Some(&declared)).expect("valid").changelog, ChangelogKind::Upsert);
    let source = open_source(&plan).expect("opened");
    let (mut reader, mut decoder) = (source.open(0).expect("opened"), source.decoder());
    let decoded = loop {
        match reader.next().expect("read") {
            Read::Chunk(chunk) if chunk.offset == 0 => break decoder.decode(chunk).expect("decoded"),
            Read::Pending => std::thread::sleep(Duration::from_millis(1)),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(decoded.columns.column(0).as_primitive::<Int64Type>().values().to_vec(), [1, 2, 1]);
    assert_eq!(decoded.diffs, Some(vec![1, 1, -1]));
    let errors: Vec<(u64, &str)> = decoded.errors.iter().map(|error| (error.offset, error.reason.as_str())).collect();
    assert_eq!(
        errors[..2],
        [(3, "the record has no key, and columns come from it"), (4, "the record has no key, and columns come from it")]
    );
    assert_eq!(errors[2].0, 5);
    let keyless = facts(&source_plan(&cluster, &[("topic", "t"), ("changes", "upsert")], &declared).options, Some(&declared));
    assert!(keyless.expect_err("refused").contains("needs a PRIMARY KEY, or key.fields and key.format"));
}

/// The changes of a source, by record.
fn changes(source: &dyn Source) -> (RecordBatch, Vec<i64>, Vec<u64>, Vec<RowError>) {
    let (mut reader, mut decoder) = (source.open(0).expect("opened"), source.decoder());
    let (mut batches, mut diffs, mut offsets, mut errors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    loop {
        match reader.next().expect("read") {
            Read::Chunk(chunk) => {
                let decoded = decoder.decode(chunk).expect("decoded");
                let rows = decoded.columns.num_rows();
                offsets.extend((0..rows).map(|row| decoded.offsets.get(row)));
                diffs.extend(decoded.diffs.unwrap_or_else(|| vec![1; rows]));
                errors.extend(decoded.errors);
                batches.push(decoded.columns);
            }
            Read::Pending => std::thread::sleep(Duration::from_millis(1)),
            Read::End => break,
        }
    }
    (concat_batches(&batches[0].schema(), &batches).expect("one schema"), diffs, offsets, errors)
}

#[test]
fn what_became_of_rows_is_written_and_read_in_envelopes() {
    let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false), Field::new("s", DataType::Utf8, true)]));
    let (registry, seen) = crate::format::message::tests::registry();
    let by_number = [("schema-registry", registry.as_str()), ("schema-registry.login", "me:pw")];
    for (format, by_number) in [("debezium-json", &[][..]), ("debezium-avro", &[]), ("debezium-avro", &by_number)] {
        let cluster = cluster(&[("t", 1)]);
        let options = [&[("topic", "t"), ("format", format)], by_number].concat();
        let mut plan = sink_plan(&cluster, &options, &schema, ChangelogKind::Retract);
        plan.key = Some(vec![0]);
        let mut sink = open_sink(&plan).expect("opened");
        let epochs: [(&[&str], &[i64]); 3] = [
            (&[r#"{"k":1,"s":"a"}"#, r#"{"k":2}"#], &[1, 1]),
            (&[r#"{"k":1,"s":"a"}"#, r#"{"k":1,"s":"b"}"#], &[-1, 1]),
            (&[r#"{"k":2}"#], &[-1]),
        ];
        for (epoch, (rows, diffs)) in epochs.into_iter().enumerate() {
            sink.write(&batch(&schema, rows), Some(diffs)).expect("written");
            sink.end_epoch(epoch as u64).expect("acknowledged");
        }
        if format == "debezium-json" {
            let found: Vec<_> = records(&cluster, "t", 4).iter().map(|message| (text(message.key()), text(message.payload()))).collect();
            let updated = r#"{"before":{"k":1,"s":"a"},"after":{"k":1,"s":"b"},"op":"u"}"#;
            assert_eq!(found[2], (Some("{\"k\":1}".into()), Some(updated.into())));
        }
        if !by_number.is_empty() {
            let numbered = |message: &OwnedMessage| message.payload().is_some_and(|value| value.starts_with(&[0, 0, 0, 0, 7]));
            assert!(records(&cluster, "t", 4).iter().all(numbered), "values begin with the number of their schema");
        }
        produce(&cluster, "t", &[(0, Some("{\"k\":2}"), None), (0, None, Some("oops"))]);
        let options = [&options[..], &[("end", "latest")]].concat();
        let mut plan = source_plan(&cluster, &options, &schema);
        let known = facts(&plan.options, Some(&schema)).expect("valid");
        assert_eq!((known.changelog, known.changelog_with(true)), (ChangelogKind::Retract, ChangelogKind::Upsert));
        let (rows, diffs, offsets, errors) = changes(open_source(&plan).expect("opened").as_ref());
        assert_eq!(rows.column(0).as_primitive::<Int64Type>().values().to_vec(), [1, 2, 1, 1, 2], "{format}");
        assert_eq!((diffs, offsets), (vec![1, 1, -1, 1, -1], vec![0, 1, 2, 2, 3]), "{format}");
        assert_eq!(errors.iter().map(|error| (error.offset, &*error.raw)).collect::<Vec<_>>(), [(5, &b"oops"[..])], "a tombstone is none");
        // With a key, rows replace each other.
        (plan.changelog, plan.key) = (ChangelogKind::Upsert, Some(vec![0]));
        let (_, diffs, offsets, _) = changes(open_source(&plan).expect("opened").as_ref());
        assert_eq!((diffs, offsets), (vec![1, 1, 1, -1], vec![0, 1, 2, 3]), "{format}");
    }
    let seen = seen.lock().expect("whole").clone();
    assert_eq!(seen.first().map(String::as_str), Some("POST /subjects/t-value/versions HTTP/1.1"), "{seen:?}");
    assert!(seen.len() > 1 && seen[1..].iter().all(|asked| asked == "GET /schemas/ids/7 HTTP/1.1"), "{seen:?}");
    let refused = |pairs: &[(&str, &str)]| facts(&testing::options(pairs), Some(&schema)).expect_err("refused");
    let base = [("brokers", "b:1"), ("topic", "t"), ("format", "debezium-json")];
    assert!(refused(&[&base[..], &[("changes", "append")]].concat()).contains("leave out changes = 'append'"));
    assert!(refused(&[&base[..], &[("key.format", "debezium-json"), ("key.fields", "k")]].concat()).contains("is for values"));
}

#[test]
fn the_primary_key_is_the_key_of_records_that_replace_each_other() {
    let completed = |called: &str, pairs: &[(&str, &str)], key: Option<&[String]>| {
        let mut all = testing::options(pairs);
        complete(called, &mut all, key).map(|()| ["changes", "key.fields", "key.format"].map(|name| all.get(name).map(str::to_owned)))
    };
    let key = ["a".to_owned(), "b".to_owned()];
    let some = |word: &str| Some(word.to_owned());
    assert_eq!(completed("upsert-kafka", &[], Some(&key)), Ok([some("upsert"), some("a;b"), some("json")]));
    assert_eq!(
        completed("kafka", &[("changes", "upsert"), ("key.format", "csv")], Some(&key)),
        Ok([some("upsert"), some("a;b"), some("csv")])
    );
    assert_eq!(completed("kafka", &[], Some(&key)), Ok([None, None, None]));
    for wrong in [("changes", "op"), ("format", "debezium-json")] {
        assert!(completed("Upsert-Kafka", &[wrong], None).expect_err("refused").contains("newest row of each key"));
    }
    let needs = |pairs: &[(&str, &str)], changelog| needs_key(&testing::options(pairs), changelog);
    let (append, retract) = (ChangelogKind::AppendOnly, ChangelogKind::Retract);
    assert_eq!(needs(&[], retract), Some("changes = 'op'"));
    assert_eq!(needs(&[("changes", "upsert")], append), Some("changes = 'op'"));
    for (options, changelog) in
        [(&[][..], append), (&[("changes", "op")], retract), (&[("key.fields", "a")], retract), (&[("format", "debezium-json")], retract)]
    {
        assert_eq!(needs(options, changelog), None, "{options:?}");
    }
}

#[test]
fn a_group_goes_on_behind_what_was_acknowledged() {
    let cluster = cluster(&[("t", 1)]);
    let values: Vec<String> = (0..10).map(|n| format!("{{\"n\":{n}}}")).collect();
    produce(&cluster, "t", &values.iter().map(|value| (0, None, Some(value.as_str()))).collect::<Vec<_>>());
    let options = [("topic", "t"), ("group", "g"), ("end", "latest")];
    let plan = source_plan(&cluster, &options, &numbers());
    let source = open_source(&plan).expect("opened");
    assert!(source.keeps_place());
    let mut reader = source.open(0).expect("opened");
    assert_eq!(integers(&read(source.as_ref(), reader.as_mut(), &numbers(), usize::MAX).expect("read"), 0).len(), 10);
    source.acknowledge(0, 4);
    source.acknowledge(0, 3);
    source.close();
    drop((reader, source));
    assert_eq!(read_all(&plan).expect("read")[0].offsets, (4..10).collect::<Vec<_>>(), "what was read and not acknowledged comes again");
    assert_eq!(read_all(&plan).expect("read")[0].offsets, (4..10).collect::<Vec<_>>(), "reading alone moves nothing");
}

#[test]
fn reading_waits_for_brokers_and_goes_on() {
    let cluster = cluster(&[("t", 1)]);
    produce(&cluster, "t", &[(0, None, Some("{\"n\":1}"))]);
    let plan = source_plan(&cluster, &[("topic", "t"), ("properties.reconnect.backoff.max.ms", "200")], &numbers());
    let source = open_source(&plan).expect("opened");
    let mut reader = source.open(0).expect("opened");
    assert_eq!(integers(&read(source.as_ref(), reader.as_mut(), &numbers(), 1).expect("read"), 0), [1]);
    cluster.broker_down(-1).expect("down");
    for _ in 0..100 {
        assert!(matches!(reader.next(), Ok(Read::Pending)), "brokers that are away are no failure");
        std::thread::sleep(Duration::from_millis(5));
    }
    cluster.broker_up(-1).expect("up");
    produce(&cluster, "t", &[(0, None, Some("{\"n\":2}"))]);
    assert_eq!(integers(&read(source.as_ref(), reader.as_mut(), &numbers(), 1).expect("read"), 0), [2], "nothing twice, nothing lost");
}

#[test]
fn what_cannot_be_opened_is_named() {
    let cluster = cluster(&[("trades", 1)]);
    let refused =
        |pairs: &[(&str, &str)]| open_source(&source_plan(&cluster, pairs, &numbers())).map(drop).expect_err("refused").to_string();
    assert_eq!(refused(&[("topic", "trade")]), "t: topic \"trade\" does not exist; there are trades");
    let away = refused(&[("brokers", "127.0.0.1:1"), ("topic", "trades"), ("connect-timeout", "500ms")]);
    assert!(away.starts_with("t: no broker can be reached"), "{away}");
    let plan = sink_plan(
        &cluster,
        &[("brokers", "127.0.0.1:1"), ("topic", "x"), ("connect-timeout", "500ms")],
        &numbers(),
        ChangelogKind::AppendOnly,
    );
    let away = open_sink(&plan).map(drop).expect_err("refused").to_string();
    assert!(away.starts_with("stdout: no broker can be reached"), "{away}");
}

/// All records of a topic of one partition.
fn records(cluster: &Cluster, topic: &str, count: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "check").create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    let partitions = consumer.fetch_metadata(Some(topic), Duration::from_secs(5)).expect("known").topics()[0].partitions().len();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition as i32, Offset::Beginning).expect("valid");
    }
    consumer.assign(&list).expect("assigned");
    let (mut found, mut idle) = (Vec::new(), 0);
    while idle < 200 {
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => found.push(message.detach()),
            Some(Err(error)) => panic!("{error}"),
            None if found.len() >= count => break,
            None => idle += 1,
        }
    }
    found
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn batch(schema: &SchemaRef, json: &[&str]) -> RecordBatch {
    let mut decoder = crate::format::ndjson::NdjsonDecoder::new(schema.clone(), Default::default()).expect("a decoder");
    let decoded = decoder.decode(json.join("\n").as_bytes(), 0);
    assert_eq!(decoded.errors, []);
    decoded.columns
}

#[test]
fn rows_become_records_with_key_headers_and_timestamp() {
    let cluster = cluster(&[("out", 1)]);
    let schema = testing::schema(&[
        ("id", DataType::Int64),
        ("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("trace", DataType::Utf8),
        ("x", DataType::Float64),
    ]);
    let options = [
        ("topic", "out"),
        ("key.fields", "id"),
        ("key.format", "raw"),
        ("value.fields-include", "EXCEPT_KEY"),
        ("headers.fields", "trace"),
        ("timestamp.field", "at"),
    ];
    let plan = sink_plan(&cluster, &options, &schema, ChangelogKind::AppendOnly);
    let mut sink = open_sink(&plan).expect("opened");
    let rows = batch(&schema, &[r#"{"id":258,"at":"2024-01-01 00:00:00","trace":"abc","x":0.5}"#, r#"{"at":"2024-01-01 00:00:01"}"#]);
    sink.write(&rows, None).expect("written");
    sink.end_epoch(1).expect("acknowledged");
    let found = records(&cluster, "out", 2);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].key(), Some(&[0, 0, 0, 0, 0, 0, 1, 2][..]));
    assert_eq!(text(found[0].payload()).as_deref(), Some(r#"{"at":"2024-01-01T00:00:00","x":0.5}"#));
    assert_eq!(found[0].timestamp().to_millis(), Some(1_704_067_200_000));
    assert_eq!(found[0].headers().expect("headers").get(0), Header { key: "trace", value: Some(&b"abc"[..]) });
    assert_eq!((found[1].key(), found[1].headers().expect("headers").get(0).value), (None, None));
    let report = sink.finish().expect("finished");
    assert_eq!(report.changes, 2);
}

#[test]
fn an_upsert_writes_the_newest_row_and_tombstones() {
    let cluster = cluster(&[("out", 1)]);
    let schema = testing::schema(&[("k", DataType::Utf8), ("n", DataType::Int64)]);
    let mut plan = sink_plan(&cluster, &[("topic", "out")], &schema, ChangelogKind::Retract);
    assert!(open_sink(&plan).map(drop).expect_err("no key").to_string().contains("no key is known"));
    plan.key = Some(vec![0]);
    let mut sink = open_sink(&plan).expect("opened");
    let epochs: [(&[&str], &[i64]); 3] = [
        (&[r#"{"k":"a","n":1}"#, r#"{"k":"b","n":1}"#], &[1, 1]),
        (&[r#"{"k":"a","n":2}"#, r#"{"k":"a","n":1}"#, r#"{"k":"b","n":1}"#], &[1, -1, -1]),
        (&[r#"{"k":"a","n":2}"#], &[-1]),
    ];
    for (epoch, (rows, diffs)) in epochs.into_iter().enumerate() {
        sink.write(&batch(&schema, rows), Some(diffs)).expect("written");
        sink.end_epoch(epoch as u64).expect("acknowledged");
    }
    let found: Vec<_> = records(&cluster, "out", 5).iter().map(|message| (text(message.key()), text(message.payload()))).collect();
    let pair = |key: &str, value: Option<&str>| (Some(format!("{{\"k\":\"{key}\"}}")), value.map(str::to_owned));
    let expected = [
        pair("a", Some(r#"{"k":"a","n":1}"#)),
        pair("b", Some(r#"{"k":"b","n":1}"#)),
        pair("a", Some(r#"{"k":"a","n":2}"#)),
        pair("b", None),
        pair("a", None),
    ];
    assert_eq!(found, expected);
}

#[test]
fn changes_with_an_op_and_what_is_refused() {
    let cluster = cluster(&[("out", 1)]);
    let schema = numbers();
    let check = |pairs: &[(&str, &str)], changelog| {
        let plan = sink_plan(&cluster, pairs, &schema, changelog);
        check_sink(&plan.options, &schema, changelog)
    };
    let retract = ChangelogKind::Retract;
    assert_eq!(check(&[("topic", "a;b")], retract), Err("a sink writes one topic, and option \"topic\" names several".into()));
    assert!(check(&[("topic", "a"), ("changes", "append")], retract).expect_err("refused").contains("changes = 'append' cannot show that"));
    assert!(check(&[("topic", "a"), ("changes", "op"), ("format", "csv")], retract).expect_err("refused").contains("is for format json"));
    assert!(check(&[("topic", "a"), ("key.fields", "m"), ("key.format", "json")], retract).expect_err("refused").contains("no column"));
    assert!(check(&[("topic", "a"), ("properties.acks.", "1")], retract).expect_err("refused").contains("no property"));
    let mut sink = open_sink(&sink_plan(&cluster, &[("topic", "out"), ("changes", "op")], &schema, retract)).expect("opened");
    sink.write(&batch(&schema, &[r#"{"n":1}"#, r#"{"n":2}"#]), Some(&[2, -1])).expect("written");
    sink.finish().expect("finished");
    let found: Vec<_> = records(&cluster, "out", 3).iter().filter_map(|message| text(message.payload())).collect();
    assert_eq!(found, [r#"{"op":"-D","n":2}"#, r#"{"op":"+I","n":1}"#, r#"{"op":"+I","n":1}"#], "in the order of files");
}

/// Partitions are chosen as the option says, and never so that the changes of a row lose their order.
#[test]
fn partitions_are_chosen_as_the_option_says() {
    let schema = numbers();
    let rows: Vec<String> = (0..9).map(|n| format!("{{\"n\":{n}}}")).collect();
    let placed = |pairs: &[(&str, &str)]| -> Vec<Vec<i32>> {
        let cluster = cluster(&[("out", 3)]);
        let options = [&[("topic", "out")], pairs].concat();
        let mut sink = open_sink(&sink_plan(&cluster, &options, &schema, ChangelogKind::AppendOnly)).expect("opened");
        sink.write(&batch(&schema, &rows.iter().map(String::as_str).collect::<Vec<_>>()), None).expect("written");
        sink.finish().expect("finished");
        let found = records(&cluster, "out", 9);
        let of = |n: usize| found.iter().filter(move |it| text(it.payload()).is_some_and(|value| value.contains(&n.to_string())));
        (0..9).map(|n| of(n).map(Message::partition).collect()).collect()
    };
    assert_eq!(placed(&[("partitioner", "fixed")]), vec![vec![0]; 9]);
    assert_eq!(placed(&[("partitioner", "round-robin")]), (0..9).map(|n| vec![n % 3]).collect::<Vec<_>>());
    let key = [("key.fields", "n"), ("key.format", "raw")];
    let by_key = placed(&key);
    assert_eq!(by_key, placed(&[&key[..], &[("partitioner", "default")]].concat()), "the same in every run");
    assert!(by_key.iter().any(|place| place != &by_key[0]));
    let cluster = cluster(&[("out", 3)]);
    let refused = |pairs: &[(&str, &str)], changelog| {
        let options = [&[("topic", "out")], pairs].concat();
        check_sink(&sink_plan(&cluster, &options, &schema, changelog).options, &schema, changelog).expect_err("refused")
    };
    let append = ChangelogKind::AppendOnly;
    assert!(refused(&[&key[..], &[("partitioner", "round-robin")]].concat(), append).contains("leave out key.fields"));
    for word in ["random", "round-robin"] {
        let said = refused(&[("changes", "upsert"), ("key.fields", "n"), ("key.format", "json"), ("partitioner", word)], append);
        assert!(said.contains("must keep their order"), "{said}");
    }
}

#[test]
fn a_sink_waits_for_brokers_without_loss_or_doubling() {
    let cluster = cluster(&[("out", 1)]);
    let schema = numbers();
    let options = [("topic", "out"), ("properties.reconnect.backoff.max.ms", "200"), ("properties.queue.buffering.max.messages", "50")];
    let mut sink = open_sink(&sink_plan(&cluster, &options, &schema, ChangelogKind::AppendOnly)).expect("opened");
    cluster.broker_down(-1).expect("down");
    let writer = std::thread::spawn(move || {
        let rows: Vec<String> = (0..500).map(|n| format!("{{\"n\":{n}}}")).collect();
        sink.write(&batch(&numbers(), &rows.iter().map(String::as_str).collect::<Vec<_>>()), None).expect("written");
        sink.end_epoch(1).expect("acknowledged");
        sink.finish().expect("finished").changes
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(!writer.is_finished(), "an epoch is not written before the brokers say so");
    cluster.broker_up(-1).expect("up");
    assert_eq!(writer.join().expect("no panic"), 500);
    let found: Vec<_> = records(&cluster, "out", 500).iter().filter_map(|message| text(message.payload())).collect();
    let expected: Vec<_> = (0..500).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert!(found == expected, "{} found: {:?}", found.len(), found.iter().zip(&expected).find(|(a, b)| a != b));
}

#[test]
fn a_record_that_is_too_large_fails_the_run() {
    let cluster = cluster(&[("out", 1)]);
    let schema = testing::schema(&[("s", DataType::Utf8)]);
    let options = [("topic", "out"), ("properties.message.max.bytes", "2000")];
    let mut sink = open_sink(&sink_plan(&cluster, &options, &schema, ChangelogKind::AppendOnly)).expect("opened");
    let long = format!("{{\"s\":\"{}\"}}", "x".repeat(5_000));
    sink.write(&batch(&schema, &[&long]), None).expect("taken");
    let error = sink.end_epoch(1).expect_err("refused").to_string();
    assert!(error.contains("larger than the brokers take"), "{error}");
}

#[test]
fn a_topic_that_comes_to_match_is_found_and_read_from_its_beginning() {
    let cluster = cluster(&[("a1", 1), ("b1", 1)]);
    let plan = source_plan(&cluster, &[("topic-pattern", "a\\d"), ("partition-discovery", "50ms")], &numbers());
    let source = open_source(&plan).expect("opened");
    assert!(source.grows());
    assert_eq!(source.partitions().len(), 1);
    assert_eq!(source.discovered(), Some(vec![]));
    cluster.create_topic("a2", 2, 1).expect("a topic");
    cluster.create_topic("b2", 2, 1).expect("a topic");
    produce(&cluster, "a2", &[(1, None, Some("{\"n\": 7}")), (1, None, Some("{\"n\": 8}"))]);
    let mut found = Vec::new();
    for _ in 0..1_000 {
        found.extend(source.discovered().expect("it goes on"));
        if found.len() == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let names: Vec<&str> = found.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["a2/0", "a2/1"]);
    found.iter().for_each(|info| source.add(info).expect("a partition"));
    let mut reader = source.open(2).expect("opened");
    let got = read(source.as_ref(), reader.as_mut(), &plan.read_schema, 2).expect("read");
    assert_eq!((integers(&got, 0), got.offsets), (vec![7, 8], vec![0, 1]));
    let bounded = source_plan(&cluster, &[("topic", "a1"), ("end", "latest")], &numbers());
    assert!(!open_source(&bounded).expect("opened").grows());
}
