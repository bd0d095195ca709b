//! # Partitions that are added
//!
//! **Meaning.** A source may grow while it is read. One worker asks it for new partitions and announces each with a number, the next
//! in the list; every process adds it under that number, and the one whose turn it is reads it.
//! **Time.** An announcement is stamped with its epoch `a`. From `a` on the partition takes part in the watermark, which therefore
//! stands at `W(a − 1)`, the same in every relation and process, until the partition's own is known. When the frontier has passed
//! `a`, the partition is read, and its rows are judged as if a row with that watermark had come before them: none of them meets a
//! window that has closed, and rows behind it are late as always.
//! **State.** Announcements that wait for the frontier.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tidemark_connectors::source::{ConnectorError, PartitionInfo, Source};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::control::{Control, lock};
use crate::epoch::Epoch;
use crate::source::{PartitionSlot, SharedSource};
use crate::watermark::{WatermarkTracker, WatermarkUpdate};

/// What the worker that looks for partitions tells all others.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Announcement {
    /// There is one more.
    Partition {
        /// Its number.
        number: u32,
        /// What is known of it.
        info: PartitionInfo,
    },
    /// There will be no more.
    Complete,
}

/// Partitions by number; `None` where another process reads it.
pub(crate) type Slots = Arc<Vec<Option<Arc<PartitionSlot>>>>;

/// The partitions of a source as a process sees them.
pub(crate) struct Partitions {
    /// Whether more may come.
    growing: AtomicBool,
    names: RwLock<Vec<String>>,
    slots: RwLock<Slots>,
    /// Partitions of this process that were added and whose first watermark is still to be told.
    joined: Mutex<Vec<(usize, i64)>>,
    /// This process reads every `processes`-th partition from the `process`-th on.
    process: usize,
    processes: usize,
}

impl Partitions {
    /// Opens those of a source that this process reads.
    pub(crate) fn open(source: &dyn Source, process: usize, processes: usize) -> Result<Self, ConnectorError> {
        let infos = source.partitions();
        let here = |number: &usize| number % processes == process;
        let open = |number: usize| here(&number).then(|| PartitionSlot::open(source, number, None).map(Arc::new)).transpose();
        Ok(Self {
            growing: AtomicBool::new(source.grows()),
            names: RwLock::new(infos.iter().map(|info| info.name.clone()).collect()),
            slots: RwLock::new(Arc::new((0..infos.len()).map(open).collect::<Result<_, _>>()?)),
            joined: Mutex::default(),
            process,
            processes,
        })
    }

    /// Whether more may come.
    pub(crate) fn growing(&self) -> bool {
        self.growing.load(Ordering::SeqCst)
    }

    /// Those there are now.
    pub(crate) fn slots(&self) -> Slots {
        Arc::clone(&self.slots.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Names of all that were announced here.
    pub(crate) fn names(&self) -> Vec<String> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The name of one, for messages.
    pub(crate) fn name(&self, number: usize) -> String {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.get(number).map_or_else(|| "?".to_owned(), Clone::clone)
    }

    /// Gives a partition that was discovered here its number.
    pub(crate) fn announce(&self, info: PartitionInfo) -> Announcement {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.push(info.name.clone());
        Announcement::Partition { number: u32::try_from(names.len() - 1).unwrap_or(u32::MAX), info }
    }

    /// Takes an announcement whose epoch has passed; `greatest` is what the rows of the partition are first judged by. True: this
    /// process reads it.
    fn take(&self, source: &dyn Source, info: &PartitionInfo, number: usize, greatest: i64) -> Result<bool, ConnectorError> {
        source.add(info)?;
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if names.len() == number {
            names.push(info.name.clone());
        }
        let here = number % self.processes == self.process;
        let slot = here.then(|| PartitionSlot::open(source, number, Some(greatest)).map(Arc::new)).transpose()?;
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        assert!(slots.len() == number, "partitions are announced in order");
        Arc::make_mut(&mut slots).push(slot);
        Ok(here)
    }

    /// Added partitions with the watermark they begin with, each once.
    pub(crate) fn joined(&self) -> Vec<(usize, i64)> {
        std::mem::take(&mut lock(&self.joined))
    }
}

/// Builds the operator on one worker; the first of each process adds what is announced.
pub(crate) fn partitions(
    announced: StreamVec<'_, Epoch, Announcement>,
    watermarks: StreamVec<'_, Epoch, WatermarkUpdate>,
    shared: Arc<SharedSource>,
    control: Arc<Control>,
    first: bool,
) {
    let mut builder = OperatorBuilder::new(format!("Partitions {}", shared.name()), announced.scope());
    let mut announced = builder.new_input(announced, Pipeline);
    let mut told = builder.new_input(watermarks, Pipeline);
    let mut tracker = WatermarkTracker::new(None, &[(shared.id(), shared.partition_count())]);
    let mut waiting: BTreeMap<Epoch, Vec<(usize, PartitionInfo)>> = BTreeMap::new();
    let mut complete = false;
    builder.build(move |_| {
        move |frontiers| {
            announced.for_each(|time, all| {
                let epoch = *time.least().expect("data has a time");
                for one in all.drain(..).filter(|_| first) {
                    match one {
                        Announcement::Partition { number, info } => waiting.entry(epoch).or_default().push((number as usize, info)),
                        Announcement::Complete => complete = true,
                    }
                }
            });
            told.for_each(|time, updates| {
                let epoch = *time.least().expect("data has a time");
                updates.drain(..).filter(|_| first).for_each(|update| tracker.update(epoch, update));
            });
            let frontier = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min().unwrap_or(Epoch::MAX);
            while let Some(epoch) = tracker.next_epoch().into_iter().chain(waiting.keys().next().copied()).min() {
                if epoch >= frontier {
                    break;
                }
                let watermark = tracker.close(epoch);
                for (number, info) in waiting.remove(&epoch).unwrap_or_default() {
                    if let Err(error) = shared.take(number, &info, watermark) {
                        control.fail(error.into());
                    }
                }
            }
            if complete && waiting.is_empty() {
                shared.partitions.growing.store(false, Ordering::SeqCst);
            }
        }
    });
}

impl SharedSource {
    /// Takes a partition whose epoch has closed with a watermark.
    fn take(&self, number: usize, info: &PartitionInfo, watermark: i64) -> Result<(), ConnectorError> {
        let here = self.partitions.take(self.source(), info, number, self.greatest_at(watermark))?;
        self.added(&info.name, here);
        if here {
            lock(&self.partitions.joined).push((number, watermark));
        }
        Ok(())
    }
}
