//! # Sources
//!
//! A source is a list of partitions, to which others may be added while it is read. Reading is split in two so that decoding can run on every worker while the order
//! within a partition stays defined: a [`PartitionReader`] hands out raw chunks in partition order (one caller at a time,
//! cheap), and a [`Decoder`] turns a chunk into columns (one per worker, expensive, keeps nothing between chunks).

use std::sync::Arc;

use arrow::array::RecordBatch;

/// A source that has been opened.
pub trait Source: Send + Sync {
    /// The partitions there are when it is opened, in a fixed order: the same list on every worker and process.
    fn partitions(&self) -> &[PartitionInfo];

    /// Opens a partition for reading from its start.
    ///
    /// # Errors
    /// When the outside world refuses.
    fn open(&self, partition: usize) -> Result<Box<dyn PartitionReader>, ConnectorError>;

    /// A decoder for chunks of any partition of this source.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// Whether partitions may be added while it is read. Such a source does not end, nor do all its partitions, before
    /// [`Source::discovered`] says that no more will come.
    fn grows(&self) -> bool {
        false
    }

    /// Partitions that have come to be since the last call; `None`: no more will. Asked by one worker of one process only; never waits.
    fn discovered(&self) -> Option<Vec<PartitionInfo>> {
        None
    }

    /// Puts a partition at the end of the list that some process has discovered. Every process is told of all, in the same order.
    ///
    /// # Errors
    /// When it is none of this source.
    fn add(&self, partition: &PartitionInfo) -> Result<(), ConnectorError> {
        Err(ConnectorError::new(&partition.name, "this source has the partitions it was opened with"))
    }

    /// Whether reading it anew gives the same records, at the same offsets.
    fn reads_again(&self) -> bool {
        false
    }

    /// Whether the source wants to be told of [`Source::acknowledge`].
    fn keeps_place(&self) -> bool {
        false
    }

    /// The results of all records of a partition below an offset have been written by every sink: whoever keeps the place of this
    /// reader in the outside world may move it there. Called by any thread, also late or with an offset told before.
    fn acknowledge(&self, _partition: usize, _next_offset: u64) {}

    /// The run has ended well, and everything that will be has been acknowledged. Called once.
    fn close(&self) {}
}

/// What is known of a partition before it is read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PartitionInfo {
    /// Name for messages: a file's path, a topic's partition.
    pub name: String,
    /// Its size in bytes, where known, for progress bars.
    pub bytes: Option<u64>,
}

/// Hands out a partition's records in order, undecoded.
pub trait PartitionReader: Send {
    /// The next chunk, without waiting: whoever must wait for a device or a pipe does so on a thread of its own.
    ///
    /// # Errors
    /// When the outside world fails; the run fails with it.
    fn next(&mut self) -> Result<Read, ConnectorError>;
}

/// What a read gave.
#[derive(Debug)]
pub enum Read {
    /// Some records.
    Chunk(Chunk),
    /// Nothing now; ask again later.
    Pending,
    /// Nothing more, ever.
    End,
}

/// Undecoded records: whole records, in order.
#[derive(Debug)]
pub struct Chunk {
    /// Offset of the first record.
    pub offset: u64,
    /// Size for accounting: bytes read.
    pub bytes: u64,
    /// The records.
    pub body: ChunkBody,
}

/// The records of a chunk.
pub enum ChunkBody {
    /// Encoded text or binary, cut at record boundaries.
    Bytes(Vec<u8>),
    /// Records to be generated: numbers `first..first + count`.
    Range {
        /// Number of the first.
        first: u64,
        /// How many.
        count: u64,
    },
    /// Decoded already, in the connector's own full schema.
    Rows(RecordBatch),
    /// Work only the connector understands, such as a row group of a file.
    Task(Box<dyn std::any::Any + Send>),
}

impl std::fmt::Debug for ChunkBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Range { first, count } => write!(f, "Range({first}, {count})"),
            Self::Rows(rows) => write!(f, "Rows({})", rows.num_rows()),
            Self::Task(_) => f.write_str("Task"),
        }
    }
}

/// Turns chunks into columns.
pub trait Decoder: Send {
    /// Decodes a chunk. Rows that cannot be decoded are left out of `columns` and listed in `errors`.
    ///
    /// # Errors
    /// Only when the chunk as a whole cannot be read (a damaged file), never for a bad record.
    fn decode(&mut self, chunk: Chunk) -> Result<Decoded, ConnectorError>;
}

/// A decoded chunk.
#[derive(Debug)]
pub struct Decoded {
    /// The good rows in order, in the `read_schema` of the source's plan.
    pub columns: RecordBatch,
    /// Where each row stands in its partition.
    pub offsets: Offsets,
    /// How often each row is added, or taken back when negative; never 0. `None` when all are +1. Of a source whose changelog is
    /// `Upsert`: positive for a row that replaces the one with its key, negative for a deletion, of which only the key is read.
    pub diffs: Option<Vec<i64>>,
    /// The bad rows.
    pub errors: Vec<RowError>,
}

/// Offsets of rows, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offsets {
    /// `first, first + 1, …`
    Dense {
        /// Offset of the first row.
        first: u64,
    },
    /// One for each row.
    Each(Arc<Vec<u64>>),
}

impl Offsets {
    /// The offset of a row.
    pub fn get(&self, row: usize) -> u64 {
        match self {
            Self::Dense { first } => first + row as u64,
            Self::Each(offsets) => offsets[row],
        }
    }
}

/// A record that could not be decoded. The data's owner acts on it, later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct RowError {
    /// Where the record stands in its partition.
    pub offset: u64,
    /// The record as it was read, without its terminator.
    pub raw: Vec<u8>,
    /// What is wrong, one short sentence in lower case.
    pub reason: String,
}

/// The outside world failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct ConnectorError {
    /// The file, topic or connection.
    pub what: String,
    /// What happened.
    pub reason: String,
}

impl ConnectorError {
    /// A failure of something, for a reason.
    pub fn new(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self { what: what.into(), reason: reason.to_string() }
    }

    /// A failure of the operating system, in plain words.
    pub fn io(what: impl Into<String>, error: &std::io::Error) -> Self {
        Self::new(what, crate::io::reason(error))
    }

    /// Whoever read our output has gone, as `head` does: no fault, and nothing more to say.
    pub fn is_broken_pipe(&self) -> bool {
        self.reason == crate::io::BROKEN_PIPE
    }
}
