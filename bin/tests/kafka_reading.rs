//! Reading a broker of Apache Kafka: where reading begins and ends, what stands beside a record, topics that grow, come to be and
//! are deleted, and which offsets are committed. Where no broker can be started the tests are passed over, as in `kafka.rs`.

#[path = "support/broker.rs"]
mod broker;
mod support;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use broker::{broker, create, delete, grow, lines, run, topic};
use support::{start, tidemark};

/// Writes numbers to a topic, `first` and the following, in turn to each partition, with the second `i` of 2024 as their timestamp.
fn fill(brokers: &str, topic: &str, first: i64, count: i64) {
    run(&format!(
        "CREATE SOURCE g (i BIGINT) WITH (connector = 'datagen', rows = '{count}', fields.i.kind = 'sequence', fields.i.start = '{first}');
         CREATE TABLE t (i BIGINT, ts TIMESTAMP(3) METADATA FROM 'timestamp')
         WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', sink.partitioner = 'round-robin');
         INSERT INTO t SELECT i, to_timestamp_millis(1704067200000 + i * 1000) FROM g;"
    ));
}

/// What a bounded read gives: how many numbers, the least and the greatest.
fn span(brokers: &str, topic: &str, options: &str) -> String {
    let read = run(&format!(
        "CREATE SOURCE r (i BIGINT) WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', format = 'json', {options});
         SELECT count(*) AS n, min(i) AS least, max(i) AS most FROM r;"
    ));
    lines(&read).join(";")
}

/// How many numbers a topic holds, and how many different ones.
fn numbers(brokers: &str, topic: &str) -> String {
    let read = run(&format!(
        "CREATE SOURCE r (i BIGINT) WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', end = 'latest');
         SELECT count(*) AS n, count(DISTINCT i) AS different FROM r;"
    ));
    lines(&read).join(";")
}

/// Starts a run that is stopped later; what it says goes to a file.
fn go_on(args: &[&str], says: &std::path::Path) -> Child {
    let says = std::fs::File::create(says).expect("a file");
    start(args).stdout(Stdio::null()).stderr(says).spawn().expect("started")
}

/// Waits for something to become true.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what} took too long");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Asks a run to end, and waits until it has.
fn stop(mut child: Child) -> Option<i32> {
    let asked = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(asked.success());
    child.wait().expect("ended").code()
}

#[test]
fn reading_begins_and_ends_where_it_is_told() {
    let Some(brokers) = broker() else { return };
    let topic = topic("places");
    create(brokers, &topic, 2);
    // Partition 0 holds the even numbers, partition 1 the odd ones.
    fill(brokers, &topic, 0, 100);
    let read = |options: &str| span(brokers, &topic, options);
    let latest = "'scan.bounded.mode' = 'latest-offset'";
    for (options, expected) in [
        ("'scan.startup.mode' = 'earliest-offset'", "100,0,99"),
        ("'scan.startup.mode' = 'latest-offset'", "0,,"),
        (
            "'scan.startup.mode' = 'specific-offsets', 'scan.startup.specific-offsets' = 'partition:0,offset:40;partition:1,offset:45'",
            "15,80,99",
        ),
        ("start = 'offsets', start-offsets = '0:50'", "50,1,99"),
        ("'scan.startup.mode' = 'timestamp', 'scan.startup.timestamp-millis' = '1704067290000'", "10,90,99"),
        ("start = 'timestamp', start-timestamp = '2024-01-01 00:01:35'", "5,95,99"),
        ("start = 'timestamp', start-timestamp = '2024-01-02 00:00:00'", "0,,"),
    ] {
        assert_eq!(read(&format!("{options}, {latest}")), expected, "{options}");
    }
    for (options, expected) in [
        ("'scan.bounded.mode' = 'timestamp', 'scan.bounded.timestamp-millis' = '1704067210000'", "10,0,9"),
        (
            "'scan.bounded.mode' = 'specific-offsets', 'scan.bounded.specific-offsets' = 'partition:0,offset:3;partition:1,offset:0'",
            "3,0,4",
        ),
        ("start = 'offsets', start-offsets = '0:10;1:50', end = 'offsets', end-offsets = '0:12;1:50'", "2,20,22"),
    ] {
        assert_eq!(read(options), expected, "{options}");
    }
    // A group's place: where its last run ended, and an end for others.
    let group = format!("'properties.group.id' = '{topic}'");
    assert_eq!(read(&format!("{group}, end = 'offsets', end-offsets = '0:5;1:5'")), "10,0,9");
    assert_eq!(read(&format!("{group}, start = 'earliest', 'scan.bounded.mode' = 'group-offsets'")), "10,0,9");
    assert_eq!(read(&format!("{group}, 'scan.startup.mode' = 'group-offsets', {latest}")), "90,10,99");
    assert_eq!(read(&format!("{group}, {latest}")), "0,,");
}

/// What stands beside a record goes out and comes back: key, headers, timestamp, and where the broker put it.
#[test]
fn what_stands_beside_a_record_comes_back() {
    let Some(brokers) = broker() else { return };
    let topic = topic("beside");
    create(brokers, &topic, 3);
    run(&format!(
        "CREATE SOURCE g (i BIGINT) WITH (connector = 'datagen', rows = '4', fields.i.kind = 'sequence', fields.i.start = '0');
         CREATE TABLE out (i BIGINT, at TIMESTAMP(3) METADATA FROM 'timestamp', about MAP<VARCHAR, VARCHAR> METADATA FROM 'headers',
                           part INT METADATA FROM 'partition' VIRTUAL)
         WITH (connector = 'kafka', 'properties.bootstrap.servers' = '{brokers}', topic = '{topic}', 'value.format' = 'json',
               'key.format' = 'raw', 'key.fields' = 'i', 'value.fields-include' = 'EXCEPT_KEY', 'sink.partitioner' = 'fixed');
         INSERT INTO out SELECT i, to_timestamp_millis(1704067200000 + i * 1000), MAP(['n', 'of'], [CAST(i * i AS VARCHAR), 'squares']) FROM g;"
    ));
    let peek = tidemark(&["kafka", "peek", &topic, "-b", brokers, "-n", "1"]);
    assert!(
        peek.stdout.starts_with("0/0  2024-01-01 00:00:00  key \\0\\0") || peek.stdout.starts_with("0/0  2024-01-01 00:00:00  key \\u{0}"),
        "{peek:?}"
    );
    assert!(peek.stdout.contains("n=0  of=squares\n  {}\n"), "{peek:?}");
    let read = run(&format!(
        "CREATE SOURCE r (i BIGINT, tp VARCHAR METADATA FROM 'topic', part BIGINT METADATA FROM 'partition', \"offset\" BIGINT METADATA VIRTUAL,
                          at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp', kind VARCHAR METADATA FROM 'timestamp-type',
                          k BYTEA METADATA FROM 'key', headers MAP<VARCHAR, VARCHAR> METADATA)
         WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', end = 'latest', 'value.format' = 'json',
               'key.format' = 'raw', 'key.fields' = 'i', 'value.fields-include' = 'EXCEPT_KEY');
         SELECT i, tp = '{topic}' AS here, part, \"offset\", _offset, kind, encode(k, 'hex') AS k, headers['n'] AS n, headers['of'] AS of,
                at = to_timestamp_millis(1704067200000 + i * 1000) AS stamped FROM r;"
    ));
    let expected: Vec<String> = (0..4).map(|i| format!("{i},true,0,{i},{i},CreateTime,{i:016x},{},squares,true", i * i)).collect();
    assert_eq!(lines(&read), expected);
}

/// A topic that gets partitions while two processes read it: the new ones are read from their beginning, once, and a group that
/// goes on afterwards knows them.
#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let Some(brokers) = broker() else { return };
    let (from, to) = (topic("grows"), topic("grown"));
    create(brokers, &from, 2);
    create(brokers, &to, 2);
    fill(brokers, &from, 0, 1000);
    let folder = tempfile::tempdir().expect("a folder");
    let (file, says) = (folder.path().join("copy.sql"), folder.path().join("says"));
    let source = |end: &str| {
        format!("CREATE SOURCE r (i BIGINT) WITH (connector = 'kafka', brokers = '{brokers}', topic = '{from}', group = '{to}', {end});")
    };
    let copy = source("partition-discovery = '200ms'")
        + &format!("CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{to}') AS SELECT i FROM r;");
    std::fs::write(&file, copy).expect("written");
    let path = file.display().to_string();
    let cluster = go_on(&["cluster", &path, "-n", "2"], &says);
    wait_for("the first thousand", || numbers(brokers, &to) == "1000,1000");
    grow(brokers, &from, 5);
    // Some of them may be written before anybody has found the partitions.
    fill(brokers, &from, 1000, 1000);
    wait_for("the second thousand", || numbers(brokers, &to) == "2000,2000");
    fill(brokers, &from, 2000, 1000);
    wait_for("the third thousand", || numbers(brokers, &to) == "3000,3000");
    let said = std::fs::read_to_string(&says).expect("read");
    assert_eq!(stop(cluster), Some(130), "{said}");
    let rest = run(&(source("end = 'latest'") + "SELECT count(*) AS n FROM r;"));
    assert_eq!(lines(&rest), ["0"], "the group has read all partitions to their ends");
}

/// A pattern that nothing matches yet is waited for, and said to be.
#[test]
fn a_pattern_that_nothing_matches_is_waited_for() {
    let Some(brokers) = broker() else { return };
    let (stem, to) = (topic("later"), topic("found"));
    create(brokers, &to, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let says = folder.path().join("says");
    let source = |more: &str| {
        format!("CREATE SOURCE r (i BIGINT) WITH (connector = 'kafka', brokers = '{brokers}', topic-pattern = '{stem}-.*', {more});")
    };
    let sink = format!("CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{to}') AS SELECT i FROM r;");
    let waits = go_on(&["run", "-q", "-w", "2", "-e", &(source("partition-discovery = '200ms'") + &sink)], &says);
    let said = || std::fs::read_to_string(&says).expect("read");
    wait_for("the warning", || said().contains("no topic matches option \"topic-pattern\" yet; looking again every 200ms"));
    create(brokers, &format!("{stem}-a"), 2);
    fill(brokers, &format!("{stem}-a"), 0, 100);
    wait_for("the topic", || numbers(brokers, &to) == "100,100");
    assert_eq!(stop(waits), Some(130), "{}", said());
    let never = tidemark(&["run", "-e", &(source("end = 'latest'").replace(&stem, "no-such") + "SELECT i FROM r;")]);
    assert!(
        never.code == Some(1) && never.stderr.contains("no topic matches option \"topic-pattern\", and none is looked for later"),
        "{never:?}"
    );
}

/// Offsets are committed only for what every sink has written: when one of two sinks fails, nothing behind what it had written is.
#[test]
fn what_a_failed_sink_has_not_written_is_read_again() {
    let Some(brokers) = broker() else { return };
    let (from, well, fails) = (topic("from"), topic("well"), topic("fails"));
    [&from, &well, &fails].into_iter().for_each(|topic| create(brokers, topic, 1));
    fill(brokers, &from, 0, 5000);
    let folder = tempfile::tempdir().expect("a folder");
    let says = folder.path().join("says");
    let copy = |end: &str, long: i64| {
        format!(
            "CREATE SOURCE r (i BIGINT) WITH (connector = 'kafka', brokers = '{brokers}', topic = '{from}', group = '{well}', end = '{end}');
             CREATE SINK well WITH (connector = 'kafka', brokers = '{brokers}', topic = '{well}') AS SELECT i FROM r;
             CREATE SINK fails WITH (connector = 'kafka', brokers = '{brokers}', topic = '{fails}', properties.message.max.bytes = '2000',
                                     compression = 'none')
             AS SELECT i, CASE WHEN i = {long} THEN repeat('x', 5000) END AS pad FROM r;"
        )
    };
    let group = format!("group = '{well}', start = 'earliest', 'scan.bounded.mode' = 'group-offsets'");
    // The first records are written and committed while the run goes on.
    let run_on = go_on(&["run", "-q", "-e", &copy("never", 6000)], &says);
    wait_for("the first commit", || span(brokers, &from, &group) == "5000,0,4999");
    fill(brokers, &from, 5000, 2000);
    let mut run_on = run_on;
    let code = run_on.wait().expect("ended").code();
    let said = std::fs::read_to_string(&says).expect("read");
    assert!(code == Some(1) && said.contains("larger than the brokers take"), "{code:?}: {said}");
    let committed: i64 = span(brokers, &from, &group).split(',').next().and_then(|count| count.parse().ok()).expect("a count");
    assert!((5000..=6000).contains(&committed), "record 6000 is in no topic, and {committed} are committed");
    let again = run(&copy("latest", -1));
    drop(again);
    let different = |topic: &str| numbers(brokers, topic).split(',').nth(1).map(str::to_owned);
    assert_eq!((different(&well).as_deref(), different(&fails).as_deref()), (Some("7000"), Some("7000")), "all at least once");
    assert_eq!(span(brokers, &from, &group), "7000,0,6999");
}

/// A topic that is deleted is told of, and what is read from others goes on.
#[test]
fn a_deleted_topic_does_not_harm_the_rest() {
    let Some(brokers) = broker() else { return };
    let (gone, stays, to) = (topic("gone"), topic("stays"), topic("copied"));
    [&gone, &stays, &to].into_iter().for_each(|topic| create(brokers, topic, 1));
    fill(brokers, &gone, 0, 100);
    fill(brokers, &stays, 100, 100);
    let folder = tempfile::tempdir().expect("a folder");
    let says = folder.path().join("says");
    let quick = "properties.topic.metadata.refresh.interval.ms = '500'";
    let sql = format!(
        "CREATE SOURCE a (i BIGINT) WITH (connector = 'kafka', brokers = '{brokers}', topic = '{gone}', {quick});
         CREATE SOURCE b (i BIGINT) WITH (connector = 'kafka', brokers = '{brokers}', topic = '{stays}', {quick});
         CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{to}') AS SELECT i FROM a UNION ALL SELECT i FROM b;"
    );
    let copy = go_on(&["run", "-q", "-e", &sql], &says);
    wait_for("both topics", || numbers(brokers, &to) == "200,200");
    delete(brokers, &gone);
    let said = || std::fs::read_to_string(&says).expect("read");
    wait_for("the warning", || said().contains("a: the topic does not exist"));
    fill(brokers, &stays, 200, 100);
    wait_for("the topic that stays", || numbers(brokers, &to) == "300,300");
    assert_eq!(stop(copy), Some(130), "{}", said());
}

/// Rows that are too late for their windows become records of the topic that the window's clause names.
#[test]
fn late_rows_go_to_the_topic_of_their_window() {
    let Some(brokers) = broker() else { return };
    let (from, late) = (topic("times"), topic("late"));
    create(brokers, &from, 1);
    create(brokers, &late, 1);
    let letters = format!("kafka://{brokers}/{late}");
    for second in [0, 60, 120, 5] {
        run(&format!(
            "CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{from}') AS
             SELECT to_timestamp({second}) AS ts;"
        ));
    }
    let sql = |letters: &str| {
        format!(
            "CREATE SOURCE r (ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
             WITH (connector = 'kafka', brokers = '{brokers}', topic = '{from}', end = 'latest');
             SELECT window_start, count(*) AS n FROM r WINDOW TUMBLING(10s) LATE_DATA_STRATEGY DEAD_LETTER_QUEUE '{letters}' EMIT FINAL;"
        )
    };
    assert_eq!(lines(&run(&sql(&letters))).len(), 3);
    let shown = tidemark(&["dlq", "show", &letters]);
    let letter: serde_json::Value = serde_json::from_str(&shown.stdout).expect("one letter");
    assert_eq!((&letter["stage"], &letter["offset"]), (&serde_json::json!("late"), &serde_json::json!(3)), "{letter}");
    // An address that is none is found when the statement is planned.
    for (letters, said) in
        [("kafka://nowhere", "write kafka://host:port/topic"), (&format!("{letters}?no.such=1"), "no property \"no.such\"")]
    {
        let checked = tidemark(&["check", "-e", &sql(letters)]);
        assert!(checked.code == Some(2) && checked.stderr.contains(said), "{checked:?}");
    }
}
