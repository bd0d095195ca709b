//! Whole runs against a broker of Apache Kafka: the one that `TIDEMARK_KAFKA` names, else one that `tests/kafka/broker` starts.
//! Without Java and without a broker the tests are passed over, and say so.

#[path = "support/broker.rs"]
mod broker;
mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use broker::{Broker, broker, lines, run, shared, start, topic};
use support::{root, tidemark};

#[test]
fn what_is_written_is_read_back_and_a_group_goes_on() {
    let Some(brokers) = broker() else { return };
    let topic = topic("numbers");
    let write = |first: i64| {
        run(&format!(
            "CREATE SOURCE g (i BIGINT) WITH (connector = 'datagen', rows = '1000', fields.i.kind = 'sequence', fields.i.start = '{first}');
             CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', key.fields = 'i', key.format = 'raw')
             AS SELECT i, i % 3 AS k FROM g;"
        ));
    };
    let read = || {
        run(&format!(
            "CREATE SOURCE r (i BIGINT, k BIGINT, part INT METADATA FROM 'partition', at BIGINT METADATA FROM 'offset',
                 ts TIMESTAMP(3) METADATA FROM 'timestamp')
             WITH ('connector' = 'kafka', 'properties.bootstrap.servers' = '{brokers}', 'topic' = '{topic}',
                   'properties.group.id' = '{topic}', 'scan.bounded.mode' = 'latest-offset');
             SELECT k, count(*) AS n, sum(i) AS s, count(DISTINCT part) AS parts, min(ts) > TIMESTAMP '2020-01-01' AS stamped
             FROM r GROUP BY k;"
        ))
    };
    write(0);
    assert_eq!(lines(&read()), ["0,334,166833,2,true", "1,333,166167,2,true", "2,333,166500,2,true"]);
    assert_eq!(lines(&read()), [""; 0], "the group has read all there is");
    write(1000);
    assert_eq!(lines(&read()), ["0,333,499500,2,true", "1,334,500833,2,true", "2,333,499167,2,true"]);
}

#[test]
fn a_sink_of_changes_is_an_upsert_with_tombstones() {
    let Some(brokers) = broker() else { return };
    let topic = topic("counts");
    run(&format!(
        "CREATE SOURCE g (i BIGINT) WITH (connector = 'datagen', rows = '100', fields.i.kind = 'sequence', fields.i.start = '0');
         CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}') AS
         SELECT i % 2 AS k, count(*) AS n FROM g GROUP BY i % 2;"
    ));
    let peek = tidemark(&["kafka", "peek", &topic, "-b", brokers, "--format", "json", "-n", "1000"]);
    assert_eq!(peek.code, Some(0), "{}", peek.stderr);
    let last = |k: i64| {
        let key = format!("{{\\\"k\\\":{k}}}");
        peek.stdout
            .lines()
            .rfind(|line| line.contains(&format!("\"key\":\"{key}\"")))
            .unwrap_or_else(|| panic!("{}", peek.stdout))
            .to_owned()
    };
    for k in [0, 1] {
        assert!(last(k).contains(&format!("{{\\\"k\\\":{k},\\\"n\\\":50}}")), "{}", peek.stdout);
    }
}

/// A broker that goes away and comes back in the middle of a run: nothing is lost, and nothing is there twice.
#[test]
fn a_run_outlives_its_broker() {
    if std::env::var_os("TIDEMARK_KAFKA").is_some() {
        println!("skipped: the broker that TIDEMARK_KAFKA names is not ours to stop");
        return;
    }
    let Some(Broker { address, folder: Some(folder) }) = start("start") else { return };
    let script = root().join("tests/kafka/broker");
    let broker = |command: &str, more: &[&str]| {
        let done = Command::new(&script).arg(command).arg(folder.path()).args(more).output().expect("the script runs");
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let quick = "properties.reconnect.backoff.max.ms = '500', connect-timeout = '2m'";
    let read_and_write = format!(
        "CREATE SOURCE g (i BIGINT) WITH (connector = 'datagen', rows = '48000', rows-per-second = '4000', fields.i.kind = 'sequence');
         CREATE SINK feed WITH (connector = 'kafka', brokers = '{address}', topic = 'one', {quick}) AS SELECT i FROM g;"
    );
    let copy = format!(
        "CREATE SOURCE r (i BIGINT) WITH (connector = 'kafka', brokers = '{address}', topic = 'one', {quick});
         CREATE SINK two WITH (connector = 'kafka', brokers = '{address}', topic = 'two', {quick}) AS SELECT i FROM r;"
    );
    let writer = support::start(&["run", "-q", "-e", &read_and_write]).spawn().expect("started");
    std::thread::sleep(Duration::from_secs(1));
    let copier = support::start(&["run", "-q", "--limit-time", "30s", "-e", &copy]).spawn().expect("started");
    std::thread::sleep(Duration::from_secs(1));
    broker("kill", &[]);
    std::thread::sleep(Duration::from_secs(1));
    broker("start", &[address.rsplit(':').next().expect("a port")]);
    for mut run in [writer, copier] {
        assert!(run.wait().expect("ended").success());
    }
    for topic in ["one", "two"] {
        let read = run(&format!(
            "CREATE SOURCE r (i BIGINT) WITH (connector = 'kafka', brokers = '{address}', topic = '{topic}', end = 'latest');
             SELECT count(*) AS n, count(DISTINCT i) AS different FROM r;"
        ));
        assert_eq!(lines(&read), ["48000,48000"], "{topic}");
    }
}

/// What an upsert wrote is the same table when it is read as one, tombstones included.
#[test]
fn what_a_broker_knows_of_a_record_need_not_be_declared() {
    let Some(brokers) = broker() else { return };
    let topic = topic("undeclared");
    run(&format!(
        "CREATE SOURCE g (i BIGINT, h AS 'h' || i) WITH (connector = 'datagen', rows = '3', fields.i.kind = 'sequence', fields.i.start = '1');
         CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', headers.fields = 'h') AS SELECT i, h FROM g;"
    ));
    // Ingestion time: the broker's time is the event time.
    let read = run(&format!(
        "CREATE SOURCE r (i BIGINT, arrived TIMESTAMP(3) METADATA FROM 'timestamp', WATERMARK FOR arrived AS arrived)
         WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', end = 'latest', partition-discovery = '0s');
         SELECT i, encode(_headers['h'], 'hex') AS h, _event_time = arrived AS same,
             _timestamp >= arrived AS later, _partition >= 0 AND _offset >= 0 AS placed FROM r ORDER BY i LIMIT 5;"
    ));
    assert_eq!(lines(&read), ["1,6831,true,true,true", "2,6832,true,true,true", "3,6833,true,true,true"]);
}

#[test]
fn a_table_survives_the_topic() {
    let Some(brokers) = broker() else { return };
    let topic = topic("table");
    run(&format!(
        "CREATE SOURCE g (i BIGINT) WITH (connector = 'datagen', rows = '5000', fields.i.kind = 'sequence', fields.i.start = '0');
         CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}') AS
         SELECT n, count(*) AS groups FROM (SELECT i % 7 AS k, count(*) AS n FROM g GROUP BY i % 7) AS counts GROUP BY n;"
    ));
    let read = run(&format!(
        "CREATE SOURCE r (n BIGINT, groups BIGINT, PRIMARY KEY (n) NOT ENFORCED)
         WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', end = 'latest', changes = 'upsert',
               key.fields = 'n', key.format = 'json');
         SELECT n, groups FROM r;"
    ));
    assert_eq!(lines(&read), ["714,5", "715,2"]);
}

#[test]
fn topics_are_listed_and_what_is_not_there_is_told() {
    let Some(brokers) = broker() else { return };
    let topic = topic("listed");
    run(&format!(
        "CREATE SOURCE g (i BIGINT) WITH (connector = 'datagen', rows = '10', fields.i.kind = 'sequence');
         CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', headers.fields = 'h') AS
         SELECT i, 'x' AS h FROM g;"
    ));
    let listed = tidemark(&["kafka", "topics", "-b", brokers]);
    assert!(listed.code == Some(0) && listed.stdout.contains(&format!("{topic}  2 partitions, 10 records\n")), "{listed:?}");
    let peek = tidemark(&["kafka", "peek", &topic, "-b", brokers, "-n", "1"]);
    assert!(peek.code == Some(0) && peek.stdout.contains("  h=x\n  {\"i\":"), "{peek:?}");
    let missing = tidemark(&["kafka", "peek", "no-such-topic", "-b", brokers]);
    assert_eq!((missing.code, missing.stderr.as_str()), (Some(1), "error: no-such-topic: the topic does not exist\n"));
    let sql =
        format!("CREATE SOURCE s (i BIGINT) WITH (connector = 'kafka', brokers = '{brokers}', topic = 'no-such-topic'); SELECT i FROM s;");
    let missing = tidemark(&["run", "-e", &sql]);
    assert!(missing.code == Some(1) && missing.stderr.contains("topic \"no-such-topic\" does not exist; there are "), "{missing:?}");
}

#[test]
fn a_run_that_is_killed_loses_nothing() {
    let Some(brokers) = broker() else { return };
    let (from, to) = (topic("from"), topic("to"));
    run(&format!(
        "CREATE SOURCE g (i BIGINT) WITH (connector = 'datagen', rows = '50000', fields.i.kind = 'sequence', fields.i.start = '0');
         CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{from}') AS SELECT i FROM g;"
    ));
    let copy = |end: &str| {
        format!(
            "CREATE SOURCE r (i BIGINT) WITH (connector = 'kafka', brokers = '{brokers}', topic = '{from}', group = '{to}', end = '{end}');
             CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{to}') AS SELECT i FROM r;"
        )
    };
    for wait in [150, 400, 700] {
        let mut child = support::start(&["run", "-q", "-e", &copy("never")]).stdout(Stdio::null()).spawn().expect("started");
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().expect("killed");
        child.wait().expect("ended");
    }
    run(&copy("latest"));
    let read = run(&format!(
        "CREATE SOURCE r (i BIGINT) WITH (connector = 'kafka', brokers = '{brokers}', topic = '{to}', end = 'latest');
         SELECT count(DISTINCT i) AS n, min(i) AS least, max(i) AS most FROM r;"
    ));
    assert_eq!(lines(&read), ["50000,0,49999"], "every record at least once");
}

/// Certificates and logins are checked, and what is wrong with them is told within seconds.
#[test]
fn secure_listeners_are_read_and_written() {
    let Some(Broker { folder: Some(folder), .. }) = shared() else { return };
    let place = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a secure broker").trim().to_owned();
    let (ssl, sasl) = (place("ssl"), place("sasl"));
    let certificate = format!("properties.ssl.ca.location = '{}'", folder.path().join("ca.pem").display());
    let topic = topic("secure");
    let login = |mechanism: &str, password: &str| {
        format!(
            "brokers = '{sasl}', topic = '{topic}', properties.security.protocol = 'SASL_SSL', properties.sasl.mechanism = '{mechanism}',
             properties.sasl.username = 'me', properties.sasl.password = '{password}'"
        )
    };
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let options = login(mechanism, "secret");
        run(&format!(
            "CREATE SOURCE g (i BIGINT) WITH (connector = 'datagen', rows = '10', fields.i.kind = 'sequence');
             CREATE SINK out WITH (connector = 'kafka', {options}, {certificate}) AS SELECT i FROM g;"
        ));
    }
    let tls = format!("brokers = '{ssl}', topic = '{topic}', properties.security.protocol = 'SSL'");
    let read = |options: &str| {
        format!("CREATE SOURCE r (i BIGINT) WITH (connector = 'kafka', {options}, end = 'latest'); SELECT count(*) AS n FROM r;")
    };
    assert_eq!(lines(&run(&read(&format!("{tls}, {certificate}")))), ["30"]);
    let begun = std::time::Instant::now();
    for (options, said) in [
        (format!("{}, {certificate}", login("SCRAM-SHA-512", "wrong")), "the brokers refuse the login"),
        (format!("{}, {certificate}", login("PLAIN", "wrong")), "the brokers refuse the login"),
    ] {
        let refused = tidemark(&["run", "-e", &read(&options)]);
        assert!(refused.code == Some(1) && refused.stderr.contains(said), "{said}: {refused:?}");
    }
    let logins = begun.elapsed();
    // A broker that is slow at that moment is away before it shows its certificate.
    let untrusted = |_| {
        let begun = std::time::Instant::now();
        (tidemark(&["run", "-e", &read(&tls)]), begun.elapsed())
    };
    let (refused, took) =
        (0..3).map(untrusted).find(|(ran, _)| !ran.stderr.contains("no broker can be reached\n")).expect("the broker answers");
    assert!(refused.code == Some(1) && refused.stderr.contains("certificate verify failed"), "{refused:?}");
    assert!(logins + took < Duration::from_secs(30), "{logins:?} and {took:?}");
}

/// Bad records become records of a topic, which are counted, shown and sent back where they came from.
#[test]
fn dead_letters_go_to_a_topic_and_back() {
    let Some(brokers) = broker() else { return };
    let (from, dead) = (topic("trades"), topic("dead"));
    let letters = format!("kafka://{brokers}/{dead}");
    run(&format!(
        "CREATE SOURCE g (i BIGINT) WITH (connector = 'datagen', rows = '20', fields.i.kind = 'sequence', fields.i.start = '0');
         CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{from}', format = 'raw') AS
         SELECT CASE WHEN i % 5 = 0 THEN 'bad ' || i ELSE '{{\"i\": ' || i || '}}' END AS line FROM g;"
    ));
    let read = format!(
        "CREATE SOURCE r (i BIGINT) WITH (connector = 'kafka', brokers = '{brokers}', topic = '{from}', end = 'latest')
         ON ERROR DEAD_LETTER '{letters}';
         SELECT count(*) AS n FROM r;"
    );
    assert_eq!(lines(&run(&read)), ["16"]);
    let listed = tidemark(&["dlq", "list", &letters, "--format", "csv"]);
    assert!(listed.code == Some(0) && listed.stdout.contains(",decode,"), "{listed:?}");
    let shown = tidemark(&["dlq", "show", &letters, "--limit", "1"]);
    assert!(shown.stdout.contains("\"raw\": \"bad ") && shown.stdout.contains(&format!("\"partition\": \"{from}/")), "{shown:?}");
    let back = tidemark(&["dlq", "replay", &letters, "-o", &format!("kafka://{brokers}/{from}")]);
    assert!(back.code == Some(0) && back.stderr.contains("4 written"), "{back:?}");
    let peek = tidemark(&["kafka", "peek", &from, "-b", brokers, "-n", "100"]);
    assert_eq!(peek.stdout.matches("  bad ").count(), 8, "{peek:?}");
    let wrong = tidemark(&["check", "-e", &read.replace(&letters, "kafka://nowhere")]);
    assert!(wrong.code != Some(0) && wrong.stderr.contains("write kafka://host:port/topic"), "{wrong:?}");
}

/// A topic that comes to match while two processes read is read by one of them, once.
#[test]
fn a_topic_that_comes_to_match_is_read_by_a_cluster() {
    let Some(brokers) = broker() else { return };
    let (stem, to) = (topic("grows"), topic("grown"));
    let fill = |name: &str, first: i64| {
        run(&format!(
            "CREATE SOURCE g (i BIGINT) WITH (connector = 'datagen', rows = '1000', fields.i.kind = 'sequence', fields.i.start = '{first}');
             CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{name}') AS SELECT i FROM g;"
        ));
    };
    fill(&format!("{stem}-0"), 0);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("copy.sql");
    let copy = format!(
        "CREATE SOURCE r (i BIGINT) WITH (connector = 'kafka', brokers = '{brokers}', topic-pattern = '{stem}-.', partition-discovery = '200ms');
         CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{to}') AS SELECT i FROM r;"
    );
    std::fs::write(&file, copy).expect("written");
    let path = file.display().to_string();
    let mut cluster = support::start(&["cluster", &path, "-n", "2", "--limit-time", "12s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    std::thread::sleep(Duration::from_secs(3));
    fill(&format!("{stem}-1"), 1000);
    fill(&format!("{stem}-2"), 2000);
    assert!(cluster.wait().expect("ended").success());
    let read = run(&format!(
        "CREATE SOURCE r (i BIGINT) WITH (connector = 'kafka', brokers = '{brokers}', topic = '{to}', end = 'latest');
         SELECT count(*) AS n, count(DISTINCT i) AS different FROM r;"
    ));
    assert_eq!(lines(&read), ["3000,3000"]);
}

/// Messages of a descriptor set are written and read back; a source that declares no columns has those of the message.
#[test]
fn messages_of_a_descriptor_set_come_back() {
    let Some(brokers) = broker() else { return };
    let topic = topic("messages");
    let format = "format = 'protobuf', protobuf.descriptor = 'tests/kafka/trade.desc', protobuf.message = 'shop.Trade'";
    run(&format!(
        "CREATE SOURCE g (i BIGINT) WITH (connector = 'datagen', rows = '10', fields.i.kind = 'sequence', fields.i.start = '0');
         CREATE SINK out WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', {format}) AS
         SELECT i AS id, CASE WHEN i < 5 THEN 'A' ELSE 'B' END AS symbol, CASE WHEN i % 2 = 0 THEN CAST(i AS DOUBLE) / 2 END AS price FROM g;"
    ));
    let read = run(&format!(
        "CREATE SOURCE r WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', end = 'latest', {format});
         SELECT symbol, count(*) AS n, count(price) AS priced, sum(id) AS ids, max(price) AS most FROM r GROUP BY symbol;"
    ));
    assert_eq!(lines(&read), ["A,5,3,10,2.0", "B,5,2,35,4.0"]);
}

/// Brokers that stay away do not keep a run from ending.
#[test]
fn a_reader_stops_while_its_brokers_are_away() {
    if std::env::var_os("TIDEMARK_KAFKA").is_some() {
        return;
    }
    let Some(Broker { address, folder: Some(folder) }) = start("start") else { return };
    run(&format!(
        "CREATE SOURCE g (i BIGINT) WITH (connector = 'datagen', rows = '1000', fields.i.kind = 'sequence');
         CREATE SINK out WITH (connector = 'kafka', brokers = '{address}', topic = 'one') AS SELECT i FROM g;"
    ));
    let read = format!(
        "CREATE SOURCE r (i BIGINT) WITH (connector = 'kafka', brokers = '{address}', topic = 'one', group = 'g');
         CREATE SINK out WITH (connector = 'blackhole') AS SELECT i FROM r;"
    );
    let mut reader = support::start(&["run", "-q", "--limit-time", "4s", "-e", &read]).spawn().expect("started");
    let begun = std::time::Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    let killed = Command::new(root().join("tests/kafka/broker")).arg("kill").arg(folder.path()).status().expect("the script runs");
    assert!(killed.success());
    reader.wait().expect("ended");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// What `compose.yaml` starts, with two processes where it has one: a feed of trades, and the query that makes candles of them.
#[test]
fn what_compose_starts_makes_candles_of_trades() {
    if std::env::var_os("TIDEMARK_KAFKA").is_some() {
        println!("skipped: the broker that TIDEMARK_KAFKA names may have topics of these names");
        return;
    }
    let Some(brokers) = broker() else { return };
    let compose = std::fs::read_to_string(root().join("compose.yaml")).expect("a file");
    let commands = compose.lines().filter_map(|line| line.trim().strip_prefix("command: run "));
    let [feed, candles] = commands.collect::<Vec<_>>().try_into().expect("two services");
    let brokers_are = format!("BROKERS={brokers}");
    let fed = tidemark(&["run", feed, "-D", &brokers_are]);
    assert!(fed.code == Some(0) && fed.stderr.contains("sink trades  601 changes"), "{fed:?}");
    let mut made = Vec::new();
    // Longer on a slow machine, where some windows may then come twice.
    for limit in ["15s", "40s"] {
        let ran = tidemark(&["cluster", "-n", "2", candles, "-D", &brokers_are, "--limit-time", limit]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let peek = tidemark(&["kafka", "peek", "candles", "-b", brokers, "--format", "json", "-n", "100"]);
        made = peek.stdout.lines().map(str::to_owned).collect();
        if made.len() >= 15 {
            break;
        }
    }
    let first = made.iter().find(|line| line.contains("09:30:00") && line.contains("ACME")).unwrap_or_else(|| panic!("{made:?}"));
    assert!(made.len() >= 15 && first.replace('\\', "").contains("\"open\":100.10") && first.contains("41"), "{made:?}");
}
