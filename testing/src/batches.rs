//! Sources of ready batches and sinks that call back: for benchmarks, and for tests that need more rows than text can hold.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use tidemark_connectors::io::{DeadLetters, Io};
use tidemark_connectors::sink::{Placement, Sink, SinkReport};
use tidemark_connectors::source::{
    Chunk, ChunkBody, ConnectorError, Decoded, Decoder, Offsets, PartitionInfo, PartitionReader, Read, Source,
};
use tidemark_planner::plan::{SinkPlan, SourcePlan};

/// What a sink does with changes.
pub type OnWrite = Arc<dyn Fn(&RecordBatch, Option<&[i64]>) + Send + Sync>;

/// Opens the partitions of a relation, once for each read of it.
pub type OpenRelation = Arc<dyn Fn(&str) -> Vec<Box<dyn PartitionReader>> + Send + Sync>;

/// Sources of ready batches, and one kind of sink. Behind the declared columns a batch may have one more, the diff of each row.
pub struct BatchIo {
    open: OpenRelation,
    placement: Placement,
    on_write: OnWrite,
}

impl BatchIo {
    /// An outside world of one relation, read once, whose chunks are [`ChunkBody::Rows`] of all declared columns.
    pub fn new(readers: Vec<Box<dyn PartitionReader>>, placement: Placement, on_write: OnWrite) -> Self {
        let readers = Mutex::new(readers);
        Self::relations(
            Arc::new(move |_| std::mem::take(&mut *readers.lock().unwrap_or_else(PoisonError::into_inner))),
            placement,
            on_write,
        )
    }

    /// The same of several relations, by name.
    pub fn relations(open: OpenRelation, placement: Placement, on_write: OnWrite) -> Self {
        Self { open, placement, on_write }
    }

    /// The same over lists of batches that are there already.
    pub fn ready(partitions: Vec<Vec<RecordBatch>>, placement: Placement, on_write: OnWrite) -> Self {
        let readers = partitions
            .into_iter()
            .map(|batches| Box::new(Ready { batches: batches.into_iter(), offset: 0 }) as Box<dyn PartitionReader>)
            .collect();
        Self::new(readers, placement, on_write)
    }
}

struct Ready {
    batches: std::vec::IntoIter<RecordBatch>,
    offset: u64,
}

impl PartitionReader for Ready {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        let Some(batch) = self.batches.next() else { return Ok(Read::End) };
        let offset = self.offset;
        self.offset += batch.num_rows() as u64;
        Ok(Read::Chunk(Chunk { offset, bytes: batch.get_array_memory_size() as u64, body: ChunkBody::Rows(batch) }))
    }
}

impl Io for BatchIo {
    fn open_source(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, ConnectorError> {
        let readers: Vec<Option<_>> = (self.open)(&plan.name).into_iter().map(Some).collect();
        let partitions = (0..readers.len()).map(|i| PartitionInfo { name: i.to_string(), bytes: None }).collect();
        Ok(Box::new(BatchSource { plan: plan.clone(), partitions, readers: Mutex::new(readers) }))
    }

    fn placement(&self, _plan: &SinkPlan) -> Placement {
        self.placement
    }

    fn open_sink(&self, _plan: &SinkPlan, _worker: usize) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(BatchSink { on_write: Arc::clone(&self.on_write), report: SinkReport::default() }))
    }

    fn open_dead_letters(&self, path: &str) -> Result<Box<dyn DeadLetters>, ConnectorError> {
        Err(ConnectorError::new(path, "there are no dead letters here"))
    }
}

struct BatchSource {
    plan: SourcePlan,
    partitions: Vec<PartitionInfo>,
    readers: Mutex<Vec<Option<Box<dyn PartitionReader>>>>,
}

impl Source for BatchSource {
    fn partitions(&self) -> &[PartitionInfo] {
        &self.partitions
    }

    fn open(&self, partition: usize) -> Result<Box<dyn PartitionReader>, ConnectorError> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers[partition].take().ok_or_else(|| ConnectorError::new(&self.plan.name, "a partition is read once"))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Project(self.plan.clone()))
    }
}

struct Project(SourcePlan);

impl Decoder for Project {
    fn decode(&mut self, chunk: Chunk) -> Result<Decoded, ConnectorError> {
        let ChunkBody::Rows(rows) = chunk.body else {
            return Err(ConnectorError::new(&self.0.name, "a chunk of another connector"));
        };
        let diffs = (rows.num_columns() > self.0.declared.fields().len())
            .then(|| rows.column(rows.num_columns() - 1).as_primitive::<Int64Type>().values().to_vec());
        let columns = rows
            .project(&self.0.read)
            .and_then(|rows| rows.with_schema(self.0.read_schema.clone()))
            .map_err(|error| ConnectorError::new(&self.0.name, error))?;
        Ok(Decoded { columns, offsets: Offsets::Dense { first: chunk.offset }, diffs, errors: Vec::new() })
    }
}

struct BatchSink {
    on_write: OnWrite,
    report: SinkReport,
}

impl Sink for BatchSink {
    fn write(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>) -> Result<(), ConnectorError> {
        self.report.changes += rows.num_rows() as u64;
        (self.on_write)(rows, diffs);
        Ok(())
    }

    fn end_epoch(&mut self, _epoch: u64) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<SinkReport, ConnectorError> {
        Ok(self.report)
    }
}
