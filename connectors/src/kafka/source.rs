//! # Topics as sources
//!
//! One consumer per source and process. Each partition has a queue of its own, into which librdkafka fetches ahead up to a bound:
//! whoever does not read makes it stop fetching. Readers take from the queues without waiting; a thread beside them starts
//! partitions, listens for errors and, in the process that is asked to, looks for partitions that are added. Another commits offsets,
//! if there is a group.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use rdkafka::ClientConfig;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidemark_planner::connector::Options;
use tidemark_planner::duration::format_us;
use tidemark_planner::plan::SourcePlan;

use super::client::{Context, Health, code, listen, patiently, sentence};
use super::decode::Layout;
use super::messages::{Messages, Wanted};
use super::options::{self, Place, SourceOptions, Topics};
use super::places::Lookup;
use crate::format::changelog::Meaning;
use crate::pace::Deadline;
use crate::source::{Chunk, ChunkBody, ConnectorError, Decoder, PartitionInfo, PartitionReader, Read, Source};

/// A chunk is cut at this size, or at so many records.
const CHUNK_BYTES: usize = 1 << 20;
const CHUNK_RECORDS: usize = 16 << 10;
/// Memory that librdkafka may fill ahead of the readers, for all partitions together.
const AHEAD_KIB: usize = 64 << 10;
/// And at least for one.
const AHEAD_KIB_MIN: usize = 1 << 10;
/// How long the thread beside the readers listens for events in one go.
const LISTEN: Duration = Duration::from_millis(10);
/// How often offsets are committed.
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// How long the last commit of a run may take.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one look for new partitions may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these mutexes hold is whole between statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The configuration of a source's consumer.
pub(super) fn config(name: &str, options: &Options, source: &SourceOptions) -> Result<ClientConfig, String> {
    // A group is needed to assign partitions; one that nobody named is never written to.
    let group = source.group.clone().unwrap_or_else(|| format!("tidemark-{name}"));
    options::client_config(
        options,
        &[
            ("group.id", group),
            ("enable.auto.commit", "false".into()),
            ("enable.auto.offset.store", "false".into()),
            ("enable.partition.eof", source.end.is_some().to_string()),
            ("auto.offset.reset", "error".into()),
            // A topic that does not exist is a mistake to be told, not to be made.
            ("allow.auto.create.topics", "false".into()),
        ],
    )
}

/// A topic, or several, as a source.
pub(super) struct KafkaSource {
    name: String,
    infos: Vec<PartitionInfo>,
    shared: Arc<Shared>,
    layout: Layout,
    read: Vec<usize>,
    read_schema: SchemaRef,
    nulls: bool,
    grows: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The thread that commits offsets.
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// What readers and the thread beside them share.
struct Shared {
    consumer: Arc<BaseConsumer<Context>>,
    partitions: RwLock<Vec<Arc<Partition>>>,
    wanted: Wanted,
    commits: bool,
    /// Where new partitions are looked for.
    topics: Topics,
    /// Somebody asks for partitions that have come to be.
    asked: AtomicBool,
    /// Those that were found and not yet told.
    discovered: Mutex<Vec<PartitionInfo>>,
    /// Offsets to commit, by partition.
    acknowledged: Mutex<BTreeMap<usize, u64>>,
    stop: AtomicBool,
    /// Nobody waits for the last commit any more.
    abandoned: AtomicBool,
}

struct Partition {
    topic: Arc<str>,
    number: i32,
    start: Offset,
    end: Option<i64>,
    feed: Mutex<Feed>,
}

impl Partition {
    fn name(&self) -> String {
        format!("{}/{}", self.topic, self.number)
    }
}

/// How far a partition is on its way to its reader.
enum Feed {
    /// Nobody reads it.
    Idle,
    /// A reader waits.
    Asked,
    /// It is assigned: records that came before it had its own queue, and the queue.
    Ready(VecDeque<OwnedMessage>, PartitionQueue<Context>),
    /// The reader has it.
    Taken,
}

impl Shared {
    fn health(&self) -> &Health {
        &self.consumer.context().health
    }

    fn partitions(&self) -> Vec<Arc<Partition>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn partition(&self, place: usize) -> Arc<Partition> {
        Arc::clone(&self.partitions.read().unwrap_or_else(PoisonError::into_inner)[place])
    }

    fn list(&self, places: impl Iterator<Item = (usize, i64)>) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        let partitions = self.partitions();
        for (place, offset) in places {
            let partition = &partitions[place];
            list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(offset))?;
        }
        Ok(list)
    }
}

impl KafkaSource {
    pub(super) fn open(plan: &SourcePlan) -> Result<Self, ConnectorError> {
        let wrong = |reason: String| ConnectorError::new(&plan.name, reason);
        let source = SourceOptions::from_options(&plan.options).map_err(wrong)?;
        let layout = Layout::new(&plan.options, &plan.declared, &Meaning::of(plan)).map_err(wrong)?;
        layout.check_key(plan.key.as_deref(), &plan.declared).map_err(wrong)?;
        let mut config = config(&plan.name, &plan.options, &source).map_err(wrong)?;
        let context = || Context::new(&plan.name);
        let create = |config: &ClientConfig| -> Result<BaseConsumer<Context>, ConnectorError> {
            config.create_with_context(context()).map_err(|error| wrong(error.to_string()))
        };
        let consumer = create(&config)?;
        let found = partitions(&consumer, &source)?;
        if let (Place::Offsets(offsets), _) | (_, Some(Place::Offsets(offsets))) = (&source.start, &source.end)
            && let Some(missing) = offsets.keys().find(|number| found.iter().all(|(_, has)| has != *number))
        {
            return Err(wrong(format!("there is no partition {missing}, for which an offset is given")));
        }
        let names: Vec<(&str, i32)> = found.iter().map(|(topic, number)| (&**topic, *number)).collect();
        let lookup = Lookup {
            consumer: &consumer,
            health: &consumer.context().health,
            patience: source.connect_timeout,
            unread_at_latest: matches!(config.get("auto.offset.reset"), Some("latest" | "largest" | "end")),
        };
        let starts = lookup.offsets(&source.start, &names)?;
        let ends = source.end.as_ref().map(|end| lookup.offsets(end, &names)).transpose()?;
        // Bounds are for each partition, and how many there are is known only now.
        let consumer = if config.get("queued.max.messages.kbytes").is_none() {
            let each = (AHEAD_KIB / found.len().max(1)).max(AHEAD_KIB_MIN);
            config.set("queued.max.messages.kbytes", each.to_string());
            create(&config)?
        } else {
            consumer
        };
        let partitions: Vec<Arc<Partition>> = found
            .into_iter()
            .enumerate()
            .map(|(place, (topic, number))| {
                let (start, end) = (Offset::Offset(starts[place]), ends.as_ref().map(|ends| ends[place]));
                Arc::new(Partition { topic, number, start, end, feed: Mutex::new(Feed::Idle) })
            })
            .collect();
        let infos = partitions.iter().map(|partition| PartitionInfo { name: partition.name(), bytes: None }).collect();
        let shared = Arc::new(Shared {
            consumer: Arc::new(consumer),
            partitions: RwLock::new(partitions),
            wanted: layout.wanted(&plan.read),
            commits: source.group.is_some(),
            topics: source.topics,
            asked: AtomicBool::new(false),
            discovered: Mutex::default(),
            acknowledged: Mutex::default(),
            stop: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        });
        let nulls = source.tombstones_are_null;
        // What cannot be decoded is told now, not by the first worker that decodes.
        layout.decoder(&plan.name, &plan.read, &plan.read_schema, nulls)?;
        let begin = |what: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(format!("{what} {}", plan.name)).spawn(work);
            thread.map_err(|error| ConnectorError::io(&plan.name, &error))
        };
        let (discovery, attended, kept) = (source.discovery, Arc::clone(&shared), Arc::clone(&shared));
        let thread = begin("kafka", Box::new(move || attend(&attended, discovery)))?;
        let keeper = shared.commits.then(|| begin("offsets", Box::new(move || keep_places(&kept)))).transpose()?;
        Ok(Self {
            name: plan.name.clone(),
            infos,
            shared,
            layout,
            read: plan.read.clone(),
            read_schema: plan.read_schema.clone(),
            nulls,
            grows: source.discovery.is_some(),
            thread: Mutex::new(Some(thread)),
            keeper: Mutex::new(keeper),
        })
    }
}

/// The partitions of the topics, in order of topic and number.
fn partitions(consumer: &BaseConsumer<Context>, source: &SourceOptions) -> Result<Vec<(Arc<str>, i32)>, ConnectorError> {
    let health = &consumer.context().health;
    // Events, such as a login that is refused, come when they are asked for.
    let ask = |topic: Option<&str>| {
        patiently(health, source.connect_timeout, || listen(consumer), |timeout| consumer.fetch_metadata(topic, timeout))
    };
    let mut found = Vec::new();
    let mut add = |topic: &rdkafka::metadata::MetadataTopic| {
        let name: Arc<str> = topic.name().into();
        found.extend(topic.partitions().iter().map(|partition| (Arc::clone(&name), partition.id())));
    };
    match &source.topics {
        Topics::Named(names) => {
            let deadline = Deadline::after(source.connect_timeout);
            for name in names {
                loop {
                    let answer = ask(Some(name))?;
                    match answer.topics().iter().find(|topic| topic.name() == name) {
                        Some(topic) if topic.error().is_none() && !topic.partitions().is_empty() => {
                            add(topic);
                            break;
                        }
                        Some(topic) if topic.error().is_some_and(|error| Code::from(error) == Code::TopicAuthorizationFailed) => {
                            return Err(ConnectorError::new(name, sentence(Code::TopicAuthorizationFailed, "")));
                        }
                        _ => {}
                    }
                    let all = ask(None)?;
                    let mut known: Vec<&str> = all.topics().iter().map(|topic| topic.name()).filter(|it| !it.starts_with("__")).collect();
                    // A topic that is just being made is known before it can be read.
                    if !known.contains(&name.as_str()) || deadline.over() {
                        known.sort_unstable();
                        let known = if known.is_empty() { "there is none".into() } else { format!("there are {}", known.join(", ")) };
                        return Err(ConnectorError::new(health.name(), format!("topic \"{name}\" does not exist; {known}")));
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
        topics @ Topics::Matching(_) => {
            let answer = ask(None)?;
            answer.topics().iter().filter(|topic| topics.contain(topic.name())).for_each(&mut add);
            match source.discovery {
                Some(every) if found.is_empty() => {
                    let every = format_us(i64::try_from(every.as_micros()).unwrap_or(i64::MAX));
                    tracing::warn!("{}: no topic matches option \"topic-pattern\" yet; looking again every {every}", health.name());
                }
                None if found.is_empty() => {
                    let reason = "no topic matches option \"topic-pattern\", and none is looked for later";
                    return Err(ConnectorError::new(health.name(), reason));
                }
                _ => {}
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

impl Source for KafkaSource {
    fn partitions(&self) -> &[PartitionInfo] {
        &self.infos
    }

    fn open(&self, partition: usize) -> Result<Box<dyn PartitionReader>, ConnectorError> {
        let partition = self.shared.partition(partition);
        *lock(&partition.feed) = Feed::Asked;
        let next = if let Offset::Offset(start) = partition.start { start } else { 0 };
        let done = partition.end.is_some_and(|end| next >= end);
        Ok(Box::new(Reader { shared: Arc::clone(&self.shared), partition, feed: None, next, done }))
    }

    fn grows(&self) -> bool {
        self.grows
    }

    fn discovered(&self) -> Option<Vec<PartitionInfo>> {
        self.shared.asked.store(true, Ordering::Relaxed);
        Some(std::mem::take(&mut lock(&self.shared.discovered)))
    }

    fn add(&self, info: &PartitionInfo) -> Result<(), ConnectorError> {
        let number = info.name.rsplit_once('/').and_then(|(topic, number)| Some((topic, number.parse().ok()?)));
        let (topic, number) = number.ok_or_else(|| ConnectorError::new(&info.name, "is no partition of a topic"))?;
        // All its records were written while this run went on.
        let partition = Partition { topic: topic.into(), number, start: Offset::Beginning, end: None, feed: Mutex::new(Feed::Idle) };
        self.shared.partitions.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(partition));
        Ok(())
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        match self.layout.decoder(&self.name, &self.read, &self.read_schema, self.nulls) {
            Ok(decoder) => Box::new(decoder),
            Err(error) => panic!("a decoder could be made when the source was opened: {error}"),
        }
    }

    fn keeps_place(&self) -> bool {
        self.shared.commits
    }

    fn acknowledge(&self, partition: usize, next_offset: u64) {
        let mut acknowledged = lock(&self.shared.acknowledged);
        let last = acknowledged.entry(partition).or_default();
        *last = next_offset.max(*last);
    }

    fn close(&self) {
        self.end_thread();
        let Some(keeper) = lock(&self.keeper).take() else { return };
        keeper.thread().unpark();
        // Brokers that are away must not keep a run from ending.
        let deadline = Deadline::after(COMMIT_TIMEOUT);
        while !keeper.is_finished() {
            if deadline.over() {
                tracing::warn!("{}: the last offsets were not committed in time; their records are read again", self.name);
                self.shared.abandoned.store(true, Ordering::Relaxed);
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl KafkaSource {
    fn end_thread(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            self.shared.health().fail("the thread beside the readers broke".into());
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Relaxed);
        self.end_thread();
        // Readers may outlive the source, and hold what they read; nothing more is fetched for them.
        self.shared.partitions().iter().for_each(|partition| *lock(&partition.feed) = Feed::Taken);
        // A consumer says farewell to its brokers, for as long as they are away; a run that ends does not wait for that.
        let consumer = Arc::clone(&self.shared.consumer);
        let farewell = move || {
            while Arc::strong_count(&consumer) > 1 {
                std::thread::sleep(LISTEN);
            }
        };
        drop(std::thread::Builder::new().name("kafka farewell".into()).spawn(farewell));
    }
}

/// Finds partitions that have come to be since the run began. A look that fails is made again when it is time for the next.
fn look_for_partitions(shared: &Shared, told: &mut BTreeSet<(Arc<str>, i32)>) {
    let ask = |topic| shared.consumer.fetch_metadata(topic, LOOK_TIMEOUT);
    let answers: Vec<_> = match &shared.topics {
        Topics::Named(names) => names.iter().map_while(|name| ask(Some(name)).ok()).collect(),
        Topics::Matching(_) => ask(None).ok().into_iter().collect(),
    };
    let mut found = BTreeSet::new();
    for topic in answers.iter().flat_map(|answer| answer.topics()).filter(|topic| shared.topics.contain(topic.name())) {
        let name: Arc<str> = topic.name().into();
        found.extend(topic.partitions().iter().map(|partition| (Arc::clone(&name), partition.id())));
    }
    let mut discovered = lock(&shared.discovered);
    for partition in found {
        if told.insert(partition.clone()) {
            discovered.push(PartitionInfo { name: format!("{}/{}", partition.0, partition.1), bytes: None });
        }
    }
}

/// What the thread beside the readers does.
fn attend(shared: &Arc<Shared>, discovery: Option<Duration>) {
    let mut told: BTreeSet<(Arc<str>, i32)> = shared.partitions().iter().map(|it| (Arc::clone(&it.topic), it.number)).collect();
    let mut next_look = discovery.map(Deadline::after);
    while !shared.stop.load(Ordering::Relaxed) {
        start_partitions(shared);
        // Errors reach the context; records have queues of their own by now.
        if let Some(Ok(stray)) = shared.consumer.poll(LISTEN) {
            shared.health().fail(format!("a record of {}/{} came outside its queue", stray.topic(), stray.partition()));
        }
        if shared.asked.load(Ordering::Relaxed) && next_look.is_some_and(|look| look.over()) {
            look_for_partitions(shared, &mut told);
            next_look = discovery.map(Deadline::after);
        }
    }
}

/// Assigns the partitions that readers wait for, and gives each a queue.
fn start_partitions(shared: &Arc<Shared>) {
    let mut waiting = shared.partitions();
    waiting.retain(|partition| matches!(*lock(&partition.feed), Feed::Asked));
    if waiting.is_empty() {
        return;
    }
    let started = (|| {
        let mut list = TopicPartitionList::new();
        for partition in &waiting {
            list.add_partition_offset(&partition.topic, partition.number, partition.start)?;
        }
        shared.consumer.incremental_assign(&list)?;
        let mut queues = BTreeMap::new();
        for partition in &waiting {
            if let Some(queue) = shared.consumer.split_partition_queue(&partition.topic, partition.number) {
                queues.insert((Arc::clone(&partition.topic), partition.number), (partition, VecDeque::new(), queue));
            }
        }
        // Fetching begins with the assignment: what came before a partition had a queue lies in the common one. It is first in order.
        // A poll that only served an event gives nothing either, so one without a record is not yet the end.
        let mut quiet = 0;
        while quiet < 3 {
            match shared.consumer.poll(LISTEN) {
                Some(Ok(message)) => {
                    quiet = 0;
                    if let Some((_, early, _)) = queues.get_mut(&(Arc::from(message.topic()), message.partition())) {
                        early.push_back(message.detach());
                    }
                }
                Some(Err(_)) => {}
                None => quiet += 1,
            }
        }
        Ok::<_, KafkaError>(queues)
    })();
    match started {
        Ok(queues) => {
            for (partition, early, queue) in queues.into_values() {
                *lock(&partition.feed) = Feed::Ready(early, queue);
            }
        }
        Err(error) => shared.health().fail(format!("partitions cannot be assigned: {error}")),
    }
}

/// Commits what has been acknowledged, again and again, and for the last time when reading has ended. It has a thread of its own and
/// waits for each answer: librdkafka tells nobody who does not wait.
fn keep_places(shared: &Shared) {
    let mut told = false;
    loop {
        // What was acknowledged before the end is committed behind it.
        let last = shared.stop.load(Ordering::Relaxed);
        let acknowledged = std::mem::take(&mut *lock(&shared.acknowledged));
        match commit(shared, &acknowledged) {
            Ok(()) if last => return,
            Ok(()) => told = false,
            Err(error) => {
                // They are tried again, unless more has been acknowledged meanwhile.
                let mut since = lock(&shared.acknowledged);
                for (place, offset) in acknowledged {
                    let newest = since.entry(place).or_default();
                    *newest = offset.max(*newest);
                }
                if !std::mem::replace(&mut told, true) {
                    shared.health().not_committed(&error);
                }
            }
        }
        if shared.abandoned.load(Ordering::Relaxed) {
            return;
        }
        std::thread::park_timeout(COMMIT_INTERVAL);
    }
}

fn commit(shared: &Shared, acknowledged: &BTreeMap<usize, u64>) -> Result<(), KafkaError> {
    if acknowledged.is_empty() {
        return Ok(());
    }
    let offsets = acknowledged.iter().filter_map(|(place, offset)| Some((*place, i64::try_from(*offset).ok()?)));
    shared.consumer.commit(&shared.list(offsets)?, CommitMode::Sync)
}

/// Reads a partition.
struct Reader {
    shared: Arc<Shared>,
    partition: Arc<Partition>,
    feed: Option<(VecDeque<OwnedMessage>, PartitionQueue<Context>)>,
    /// No record below is read.
    next: i64,
    done: bool,
}

impl Reader {
    /// Takes one record; false: the partition ends before it.
    fn take(next: &mut i64, end: Option<i64>, message: &impl Message, wanted: Wanted, messages: &mut Messages) -> bool {
        let offset = message.offset();
        if end.is_some_and(|end| offset >= end) {
            return false;
        }
        if offset >= *next {
            messages.push(message, wanted);
            *next = offset + 1;
        }
        end.is_none_or(|end| *next < end)
    }
}

impl PartitionReader for Reader {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        if let Some(fatal) = self.shared.health().fatal() {
            return Err(fatal);
        }
        if self.done {
            return Ok(Read::End);
        }
        let partition = &self.partition;
        if self.feed.is_none() {
            let mut feed = lock(&partition.feed);
            match std::mem::replace(&mut *feed, Feed::Taken) {
                Feed::Ready(early, queue) => self.feed = Some((early, queue)),
                other => *feed = other,
            }
        }
        let Some((early, queue)) = &mut self.feed else { return Ok(Read::Pending) };
        let mut messages = Messages::new(Arc::clone(&partition.topic), partition.number);
        let wanted = self.shared.wanted;
        while !self.done && messages.len() < CHUNK_RECORDS && messages.byte_len() < CHUNK_BYTES {
            if let Some(message) = early.pop_front() {
                self.done = !Self::take(&mut self.next, partition.end, &message, wanted, &mut messages);
                continue;
            }
            match queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => self.done = !Self::take(&mut self.next, partition.end, &message, wanted, &mut messages),
                // What was there when the run began may end in records that are never shown, such as marks of transactions.
                Some(Err(KafkaError::PartitionEOF(_))) => self.done = partition.end.is_some(),
                Some(Err(error)) => {
                    if let Some(code) = code(&error) {
                        self.shared.health().note(code, "");
                    }
                    if let Some(fatal) = self.shared.health().fatal() {
                        return Err(fatal);
                    }
                }
            }
        }
        match messages.offsets.first() {
            Some(first) => {
                self.shared.health().well();
                Ok(Read::Chunk(Chunk { offset: *first, bytes: messages.byte_len() as u64, body: ChunkBody::Task(Box::new(messages)) }))
            }
            None if self.done => Ok(Read::End),
            None => Ok(Read::Pending),
        }
    }
}
