//! Options of the Kafka connector: under Tidemark's names and Flink's, and any property of librdkafka behind `properties.`.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use tidemark_planner::connector::{OptionKind, OptionSpec, Options};
use tidemark_planner::secrets;

use crate::format::COMMON_SPECS;
use crate::format::csv::CsvOptions;
use crate::format::message::FORMATS;
use crate::format::ndjson::NdjsonOptions;
use crate::options::{alias, both, default, required, sink, source};

const FORMAT_WORDS: OptionKind = OptionKind::OneOf(FORMATS);

const OWN: &[OptionSpec] = &[
    alias(
        required(both(source("brokers", OptionKind::Text, "Where the cluster is reached: host:port, several with commas."))),
        &["properties.bootstrap.servers", "bootstrap.servers"],
    ),
    both(source("topic", OptionKind::Text, "The topic; for sources also several, with semicolons.")),
    source("topic-pattern", OptionKind::Text, "A regular expression: every topic whose whole name matches is read."),
    alias(
        source("group", OptionKind::Text, "The consumer group under which the place in each partition is kept at the brokers."),
        &["properties.group.id", "group.id"],
    ),
    alias(
        source(
            "start",
            OptionKind::OneOf(&[
                "earliest",
                "latest",
                "group",
                "timestamp",
                "offsets",
                "earliest-offset",
                "latest-offset",
                "group-offsets",
                "specific-offsets",
            ]),
            "Where reading begins; if not given, at the group's offsets where there is a group, else at the earliest record.",
        ),
        &["scan.startup.mode"],
    ),
    alias(
        source("start-timestamp", OptionKind::Text, "For start = 'timestamp': milliseconds since 1970, or 2024-01-01 00:00:00 in UTC."),
        &["scan.startup.timestamp-millis"],
    ),
    alias(
        source("start-offsets", OptionKind::Text, "For start = 'offsets': partition:0,offset:42;partition:1,offset:7."),
        &["scan.startup.specific-offsets"],
    ),
    default(
        alias(
            source(
                "end",
                OptionKind::OneOf(&[
                    "never",
                    "latest",
                    "group",
                    "timestamp",
                    "offsets",
                    "unbounded",
                    "latest-offset",
                    "group-offsets",
                    "specific-offsets",
                ]),
                "Where reading ends: never, or at the records that are the latest when the run starts, at the group's offsets, at a time, at offsets.",
            ),
            &["scan.bounded.mode"],
        ),
        "never",
    ),
    alias(
        source("end-timestamp", OptionKind::Text, "For end = 'timestamp': as start-timestamp; the first record not read."),
        &["scan.bounded.timestamp-millis"],
    ),
    alias(
        source("end-offsets", OptionKind::Text, "For end = 'offsets': as start-offsets; the first records not read."),
        &["scan.bounded.specific-offsets"],
    ),
    alias(
        source(
            "partition-discovery",
            OptionKind::Duration,
            "How often topics are asked for new partitions, and a pattern for new topics, while the source is read; 0s for never. If not \
             given, 30s for a source that does not end.",
        ),
        &["partition_discovery", "scan.topic-partition-discovery.interval"],
    ),
    default(
        both(source("connect-timeout", OptionKind::Duration, "How long a run that starts waits for brokers that cannot be reached.")),
        "30s",
    ),
    default(alias(both(source("format", FORMAT_WORDS, "How values are encoded.")), &["value.format"]), "json"),
    both(source("key.format", FORMAT_WORDS, "How keys are encoded.")),
    both(source("key.fields", OptionKind::Text, "The columns that stand in the key, with semicolons.")),
    both(source("key.fields-prefix", OptionKind::Text, "What the names of the key's columns begin with, and the key's own fields do not.")),
    default(
        both(source(
            "value.fields-include",
            OptionKind::OneOf(&["ALL", "EXCEPT_KEY"]),
            "Whether the key's columns stand in the value too.",
        )),
        "ALL",
    ),
    default(
        source(
            "tombstones",
            OptionKind::OneOf(&["error", "null"]),
            "What a record without a value is: a bad row, or a row whose value columns are null.",
        ),
        "error",
    ),
    alias(
        both(source(
            "changes",
            OptionKind::OneOf(&["append", "upsert", "op"]),
            "How records stand for changes. append: each is a row that is added. upsert: each is the newest row of its key, and one without a \
             value takes the row away. op, for sinks: each is a change with a first field op, +I or -D. If not given, append; for sinks of \
             rows that can be taken back, upsert.",
        )),
        &["changelog.mode"],
    ),
    default(
        alias(
            sink(
                "partitioner",
                OptionKind::OneOf(&["key", "default", "round-robin", "random", "fixed"]),
                "How the partition is chosen. key, or default: by the key as Java's clients do, without a key at random. round-robin: each \
                 in turn. random: at random, whatever the key. fixed: always the first.",
            ),
            &["sink.partitioner"],
        ),
        "key",
    ),
    sink("headers.fields", OptionKind::Text, "Columns that become headers and are left out of the value, with semicolons."),
    sink("timestamp.field", OptionKind::Text, "The column that is the record's timestamp; it stays in the value."),
    default(
        alias(
            sink("acks", OptionKind::OneOf(&["all", "1", "0"]), "Replicas that must have a record before it counts as written."),
            &["properties.acks"],
        ),
        "all",
    ),
    default(
        sink("compression", OptionKind::OneOf(&["none", "gzip", "snappy", "lz4", "zstd"]), "How batches of records are compressed."),
        "lz4",
    ),
    default(sink("linger", OptionKind::Duration, "How long a batch of records waits for more."), "1ms"),
    default(sink("delivery-timeout", OptionKind::Duration, "How long a record is sent again and again before the run fails."), "5m"),
    default(
        alias(
            sink("delivery", OptionKind::OneOf(&["at-least-once"]), "What is promised: every record, after a failure perhaps twice."),
            &["sink.delivery-guarantee"],
        ),
        "at-least-once",
    ),
    both(source("properties.*", OptionKind::Text, "Any property of librdkafka, such as properties.security.protocol.")),
];

const LISTS: &[&[OptionSpec]] = &[OWN, crate::format::message::SPECS, COMMON_SPECS, NdjsonOptions::SPECS, CSV];
/// Messages have no header.
const CSV: &[OptionSpec] = &without_header();
const COUNT: usize = {
    let (mut count, mut list) = (0, 0);
    while list < LISTS.len() {
        count += LISTS[list].len();
        list += 1;
    }
    count
};

const fn without_header() -> [OptionSpec; CsvOptions::SPECS.len() - 1] {
    let mut kept = [CsvOptions::SPECS[0]; CsvOptions::SPECS.len() - 1];
    let (mut at, mut from) = (0, 0);
    while from < CsvOptions::SPECS.len() {
        if !matches!(CsvOptions::SPECS[from].name.as_bytes(), b"header") {
            kept[at] = CsvOptions::SPECS[from];
            at += 1;
        }
        from += 1;
    }
    kept
}

/// All options.
pub(super) const OPTIONS: [OptionSpec; COUNT] = {
    let mut all = [OWN[0]; COUNT];
    let (mut at, mut list) = (0, 0);
    while list < LISTS.len() {
        let mut option = 0;
        while option < LISTS[list].len() {
            all[at] = LISTS[list][option];
            at += 1;
            option += 1;
        }
        list += 1;
    }
    all
};

/// Which topics are read.
#[derive(Clone, Debug)]
pub(super) enum Topics {
    /// These, sorted.
    Named(Vec<String>),
    /// Those that match.
    Matching(regex::Regex),
}

impl Topics {
    /// Whether a topic is one of them. The brokers' own are matched by no pattern.
    pub(super) fn contain(&self, topic: &str) -> bool {
        match self {
            Self::Named(names) => names.iter().any(|name| name == topic),
            Self::Matching(regex) => regex.is_match(topic) && !topic.starts_with("__"),
        }
    }
}

/// A place in every partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The first record there is.
    Earliest,
    /// Behind the last record there is.
    Latest,
    /// Where the group stands.
    Group,
    /// The first record not before a time, in milliseconds.
    Timestamp(i64),
    /// At an offset in each partition.
    Offsets(BTreeMap<i32, i64>),
}

/// What a source is told.
#[derive(Clone, Debug)]
pub(super) struct SourceOptions {
    pub(super) topics: Topics,
    pub(super) group: Option<String>,
    pub(super) start: Place,
    pub(super) end: Option<Place>,
    /// How often new partitions are looked for; `None`: never.
    pub(super) discovery: Option<Duration>,
    pub(super) connect_timeout: Duration,
    pub(super) tombstones_are_null: bool,
}

/// How often new partitions are looked for, unless it is said.
const DISCOVERY: Duration = Duration::from_secs(30);

/// Words with semicolons, or commas, between them.
pub(super) fn list(text: &str) -> Vec<String> {
    text.split([';', ',']).map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

pub(super) fn duration(options: &Options, name: &str) -> Duration {
    Duration::from_micros(options.duration_us(name).and_then(|us| u64::try_from(us).ok()).unwrap_or_default())
}

fn topics(options: &Options) -> Result<Topics, String> {
    match (options.get("topic"), options.get("topic-pattern")) {
        (Some(_), Some(_)) => Err("options \"topic\" and \"topic-pattern\" exclude each other".into()),
        (None, None) => Err("option \"topic\" is missing, or \"topic-pattern\"".into()),
        (Some(names), None) => {
            let mut names = list(names);
            names.sort_unstable();
            names.dedup();
            if names.is_empty() { Err("option \"topic\" names no topic".into()) } else { Ok(Topics::Named(names)) }
        }
        (None, Some(pattern)) => match regex::Regex::new(&format!("^(?:{pattern})$")) {
            Ok(regex) => Ok(Topics::Matching(regex)),
            Err(error) => {
                let reason = error.to_string();
                let last = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
                Err(format!("option \"topic-pattern\" is no regular expression: {last}"))
            }
        },
    }
}

fn timestamp(options: &Options, name: &str) -> Result<i64, String> {
    let text = options.get(name).ok_or_else(|| format!("option \"{name}\" is missing"))?.trim();
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(millis);
    }
    crate::time_text::parse_timestamp_us(text)
        .map(|us| us.div_euclid(1_000))
        .ok_or_else(|| format!("option \"{name}\" is \"{text}\"; write milliseconds since 1970, or a time such as 2024-01-01 00:00:00"))
}

/// `partition:0,offset:42;partition:1,offset:7`, or `0:42;1:7`.
fn offsets(options: &Options, name: &str) -> Result<BTreeMap<i32, i64>, String> {
    let text = options.get(name).ok_or_else(|| format!("option \"{name}\" is missing"))?;
    let mut found = BTreeMap::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let wrong = || format!("option \"{name}\" holds \"{part}\"; write partition:0,offset:42;partition:1,offset:7");
        let (partition, offset) = match part.split_once(',') {
            Some((partition, offset)) => {
                (partition.trim().strip_prefix("partition:").ok_or_else(wrong)?, offset.trim().strip_prefix("offset:").ok_or_else(wrong)?)
            }
            None => part.split_once(':').ok_or_else(wrong)?,
        };
        let partition = partition.trim().parse::<i32>().map_err(|_| wrong())?;
        let offset = offset.trim().parse::<i64>().ok().filter(|offset| *offset >= 0).ok_or_else(wrong)?;
        if found.insert(partition, offset).is_some() {
            return Err(format!("option \"{name}\" names partition {partition} twice"));
        }
    }
    if found.is_empty() { Err(format!("option \"{name}\" names no partition")) } else { Ok(found) }
}

/// The place that a word means, with what it needs besides.
fn place(options: &Options, word: &str, kind: &str, group: bool) -> Result<Place, String> {
    Ok(match word.trim_end_matches("-offset").trim_end_matches("-offsets") {
        "earliest" => Place::Earliest,
        "latest" => Place::Latest,
        "group" if group => Place::Group,
        "group" => return Err(format!("{kind} = '{word}' needs a group; add group = '…'")),
        "timestamp" => Place::Timestamp(timestamp(options, &format!("{kind}-timestamp"))?),
        _ => Place::Offsets(offsets(options, &format!("{kind}-offsets"))?),
    })
}

impl SourceOptions {
    /// From validated options.
    pub(super) fn from_options(options: &Options) -> Result<Self, String> {
        let group = options.get("group").map(str::to_owned);
        let start = match options.get("start") {
            Some(word) => place(options, word, "start", group.is_some())?,
            None if group.is_some() => Place::Group,
            None => Place::Earliest,
        };
        for (name, wanted) in [
            ("start-timestamp", matches!(start, Place::Timestamp(_))),
            ("start-offsets", matches!(start, Place::Offsets(_))),
            ("end-timestamp", matches!(options.get("end"), Some("timestamp"))),
            ("end-offsets", matches!(options.get("end"), Some("offsets" | "specific-offsets"))),
        ] {
            if !wanted && options.get(name).is_some() {
                let (which, kind) = name.split_once('-').unwrap_or((name, ""));
                return Err(format!("option \"{name}\" is given, and {which} is not '{kind}'"));
            }
        }
        let end = match options.get("end") {
            None | Some("never" | "unbounded") => None,
            Some(word) => Some(place(options, word, "end", group.is_some())?),
        };
        let discovery = match options.get("partition-discovery").map(|_| duration(options, "partition-discovery")) {
            Some(every) if !every.is_zero() && end.is_some() => {
                return Err("option \"partition-discovery\" is for sources that do not end, and option \"end\" is given".into());
            }
            Some(every) => Some(every).filter(|every| !every.is_zero()),
            None => Some(DISCOVERY).filter(|_| end.is_none()),
        };
        Ok(Self {
            topics: topics(options)?,
            group,
            start,
            end,
            discovery,
            connect_timeout: duration(options, "connect-timeout"),
            tombstones_are_null: options.get("tombstones") == Some("null"),
        })
    }
}

/// Properties that the connector sets itself, and what to say instead.
const RESERVED: &[(&str, &str)] = &[
    ("enable.auto.commit", "offsets are committed when their results have been written"),
    ("enable.auto.offset.store", "offsets are committed when their results have been written"),
    ("enable.partition.eof", "say end = 'latest' to read up to the end"),
    ("partitioner", "say partitioner = 'key' or 'random'"),
    ("compression.type", "say compression = '…'"),
    ("compression.codec", "say compression = '…'"),
    ("linger.ms", "say linger = '…'"),
    ("queue.buffering.max.ms", "say linger = '…'"),
    ("message.timeout.ms", "say delivery-timeout = '…'"),
    ("delivery.timeout.ms", "say delivery-timeout = '…'"),
    ("request.required.acks", "say acks = '…'"),
    ("metadata.broker.list", "say brokers = '…'"),
];

/// A client's configuration: where the brokers are, and the properties given. A property that librdkafka does not know, or a value
/// it does not take, is told by name.
pub(super) fn client_config(options: &Options, set: &[(&str, String)]) -> Result<ClientConfig, String> {
    let mut config = ClientConfig::new();
    config.set("client.id", "tidemark");
    config.set("bootstrap.servers", options.get("brokers").unwrap_or_default());
    for (name, value) in set {
        config.set(*name, value);
    }
    for (name, value) in &options.0 {
        let Some(property) = name.strip_prefix("properties.") else { continue };
        if let Some((_, instead)) = RESERVED.iter().find(|(reserved, _)| *reserved == property) {
            return Err(format!("property \"{property}\" is not to be set: {instead}"));
        }
        config.set(property, value);
    }
    match config.create_native_config() {
        Ok(_) => Ok(config),
        Err(KafkaError::ClientConfig(_, reason, property, value)) => Err(refused(&property, &value, &reason)),
        Err(error) => Err(error.to_string()),
    }
}

fn refused(property: &str, value: &str, reason: &str) -> String {
    let reason = reason.trim();
    if reason.starts_with("No such configuration property") || reason.starts_with("Java ") {
        let instead = match property {
            "sasl.jaas.config" => "; librdkafka takes properties.sasl.username and properties.sasl.password",
            "ssl.truststore.location" | "ssl.truststore.password" => {
                "; librdkafka takes properties.ssl.ca.location, a file of certificates in PEM"
            }
            _ => "",
        };
        return format!("librdkafka has no property \"{property}\"{instead}");
    }
    // What librdkafka says of a value may repeat it.
    if secrets::is_secret(property) {
        let reason = if reason.contains(value) { "librdkafka refuses the value" } else { reason };
        return format!("property \"{property}\" cannot be set: {reason}");
    }
    format!("property \"{property}\" cannot be \"{value}\": {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::options;

    #[test]
    fn places_are_read_under_both_names() {
        let parse = |pairs: &[(&str, &str)]| {
            let mut all = vec![("brokers", "b:1"), ("topic", "b; a;b")];
            all.extend_from_slice(pairs);
            SourceOptions::from_options(&options(&all))
        };
        let plain = parse(&[]).expect("valid");
        assert_eq!((plain.start, plain.end), (Place::Earliest, None));
        assert!(matches!(plain.topics, Topics::Named(names) if names == ["a", "b"]));
        assert_eq!(parse(&[("group", "g")]).expect("valid").start, Place::Group);
        let offsets = Place::Offsets(BTreeMap::from([(0, 42), (1, 7)]));
        for text in ["partition:0,offset:42;partition:1,offset:7", "0:42; 1:7"] {
            assert_eq!(parse(&[("start", "specific-offsets"), ("start-offsets", text)]).expect("valid").start, offsets);
        }
        let timed = parse(&[("start", "timestamp"), ("start-timestamp", "1970-01-01 00:00:02")]).expect("valid");
        assert_eq!(timed.start, Place::Timestamp(2_000));
        let bounded = parse(&[("end", "latest-offset")]).expect("valid");
        assert_eq!((bounded.end, bounded.discovery), (Some(Place::Latest), None));
        let discovery = |text| parse(&[("partition-discovery", text)]).expect("valid").discovery;
        assert_eq!((discovery("5s"), discovery("0s")), (Some(Duration::from_secs(5)), None));
        for (pairs, said) in [
            (&[("start", "group-offsets")][..], "needs a group"),
            (&[("start", "offsets")], "\"start-offsets\" is missing"),
            (&[("start", "offsets"), ("start-offsets", "0:-1")], "write partition:0,offset:42"),
            (&[("start", "offsets"), ("start-offsets", "0:1;0:2")], "partition 0 twice"),
            (&[("end-timestamp", "5")], "is given, and end is not 'timestamp'"),
            (&[("start", "timestamp"), ("start-timestamp", "noon")], "write milliseconds"),
            (&[("topic-pattern", "a.*")], "exclude each other"),
            (&[("end", "latest"), ("partition-discovery", "5s")], "do not end"),
        ] {
            let error = parse(pairs).expect_err(said);
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn properties_are_checked_by_name() {
        let config = |name: &str, value: &str| client_config(&options(&[("brokers", "b:1"), (name, value)]), &[]).map(drop);
        assert_eq!(config("properties.fetch.max.bytes", "1000000"), Ok(()));
        assert_eq!(config("properties.fetch.max.byte", "1"), Err("librdkafka has no property \"fetch.max.byte\"".into()));
        let error = config("properties.sasl.jaas.config", "x").expect_err("Java's");
        assert!(error.contains("properties.sasl.username"), "{error}");
        let error = config("properties.fetch.wait.max.ms", "soon").expect_err("no number");
        assert!(error.starts_with("property \"fetch.wait.max.ms\" cannot be \"soon\""), "{error}");
        let error = config("properties.enable.auto.commit", "true").expect_err("ours");
        assert!(error.contains("is not to be set"), "{error}");
    }
}
