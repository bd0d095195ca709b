//! Standard input: newline-delimited JSON or CSV from a pipe, read on a thread of its own.

use std::io::Read as _;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use arrow::datatypes::SchemaRef;
use tidemark_planner::connector::{ConnectorSpec, OptionKind, OptionSpec, Options, SourceFacts};
use tidemark_planner::plan::SourcePlan;

use crate::file::{Format, count, join, text_format};
use crate::format::changelog::{Changes, Meaning};
use crate::options::{default, source as source_option};
use crate::record::{Cutter, TextFormat};
use crate::source::{Chunk, ConnectorError, Decoder, PartitionInfo, PartitionReader, Read, Source};

/// Bytes read at once at most. A pipe gives what is there, so little waits for much.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that may wait for the pipeline; then the pipe's writer waits.
const CHUNKS_WAITING: usize = 8;

const OWN_OPTIONS: &[OptionSpec] =
    &[default(source_option("format", OptionKind::OneOf(&["ndjson", "json", "csv", "debezium-json"]), "How rows are encoded."), "ndjson")];

const OPTIONS: [OptionSpec; count(OWN_OPTIONS)] = join(OWN_OPTIONS);

/// The connector.
pub(crate) const SPEC: ConnectorSpec = ConnectorSpec { name: "stdin", aliases: &[], source: true, sink: false, options: &OPTIONS };

/// Where standard input comes from.
pub(crate) type Factory = Box<dyn Fn() -> Box<dyn std::io::Read + Send> + Send + Sync>;

fn format_of(options: &Options) -> Format {
    match options.get("format") {
        Some("csv") => Format::Csv,
        Some("debezium-json") => Format::Debezium,
        _ => Format::Ndjson,
    }
}

fn format(options: &Options) -> Result<TextFormat, String> {
    text_format(format_of(options), options)
}

pub(crate) fn facts(options: &Options, declared: Option<&SchemaRef>) -> Result<SourceFacts, String> {
    format(options)?;
    let Some(declared) = declared else {
        return Err("the columns of stdin cannot be inferred, since it can be read only once; declare them with CREATE SOURCE".into());
    };
    let changes = Changes::from_options(options, format_of(options) == Format::Debezium)?;
    changes.tell(SourceFacts::append_only(Some(declared.clone()), true))
}

/// Opens the source.
pub(crate) fn open(plan: &SourcePlan, input: Box<dyn std::io::Read + Send>) -> Result<Box<dyn Source>, ConnectorError> {
    let format = format(&plan.options).map_err(|reason| ConnectorError::new(&plan.name, reason))?.meaning(Meaning::of(plan));
    format.decoder(&plan.name, &plan.read_schema)?;
    Ok(Box::new(StdinSource {
        format,
        declared: plan.declared.clone(),
        read: plan.read_schema.clone(),
        partitions: [PartitionInfo { name: "stdin".into(), bytes: None }],
        input: Mutex::new(Some(input)),
    }))
}

struct StdinSource {
    format: TextFormat,
    declared: SchemaRef,
    read: SchemaRef,
    partitions: [PartitionInfo; 1],
    input: Mutex<Option<Box<dyn std::io::Read + Send>>>,
}

impl Source for StdinSource {
    fn partitions(&self) -> &[PartitionInfo] {
        &self.partitions
    }

    fn open(&self, _partition: usize) -> Result<Box<dyn PartitionReader>, ConnectorError> {
        let input = self.input.lock().map_or(None, |mut input| input.take());
        let Some(mut input) = input else {
            return Err(ConnectorError::new("stdin", "can be read only once"));
        };
        let mut cutter = Cutter::new("stdin", &self.format, &self.declared, &self.read);
        let (sender, chunks) = sync_channel(CHUNKS_WAITING);
        let work = move || {
            let mut space = vec![0; CHUNK_BYTES];
            loop {
                let next = cutter.next(|buffer| {
                    let read = loop {
                        match input.read(&mut space) {
                            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                            other => break other?,
                        }
                    };
                    buffer.extend_from_slice(&space[..read]);
                    Ok(read == 0)
                });
                // A receiver that is gone wants no more: the run is over.
                let goes_on = match next {
                    Ok((Some(chunk), _, ended)) => sender.send(Ok(chunk)).is_ok() && !ended,
                    Ok((None, _, ended)) => !ended,
                    Err(error) => {
                        let _ = sender.send(Err(error));
                        false
                    }
                };
                if !goes_on {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("stdin".into()).spawn(work).map_err(|error| ConnectorError::io("stdin", &error))?;
        Ok(Box::new(StdinReader(chunks)))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        match self.format.decoder("stdin", &self.read) {
            Ok(decoder) => Box::new(decoder),
            Err(error) => unreachable!("a decoder was made of the same options when the source was opened: {error}"),
        }
    }
}

/// Takes chunks from the thread that waits for the pipe.
struct StdinReader(Receiver<Result<Chunk, ConnectorError>>);

impl PartitionReader for StdinReader {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        match self.0.try_recv() {
            Ok(chunk) => chunk.map(Read::Chunk),
            Err(TryRecvError::Empty) => Ok(Read::Pending),
            Err(TryRecvError::Disconnected) => Ok(Read::End),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::{Receiver, channel};

    use arrow::array::cast::AsArray;
    use arrow::array::types::Int64Type;
    use arrow::datatypes::DataType;

    use super::*;
    use crate::testing::{options, read_on, schema, source_plan};

    /// A pipe that gives what is sent, and ends when the sender is gone.
    struct Pipe(Receiver<&'static str>);

    impl Read for Pipe {
        fn read(&mut self, space: &mut [u8]) -> std::io::Result<usize> {
            let Ok(text) = self.0.recv() else { return Ok(0) };
            space[..text.len()].copy_from_slice(text.as_bytes());
            Ok(text.len())
        }
    }

    #[test]
    fn rows_come_as_the_pipe_gives_them() {
        for (format, pieces) in [
            ("ndjson", ["{\"n\":1}\n{\"n\"", ":2}\n", "{\"n\":3}"]),
            ("csv", ["n\n1\n", "2\n", "3"]),
            ("json", ["\n{\"n\":1}\n", "{\"n\":2}\n", "{\"n\":3}\n"]),
        ] {
            let declared = schema(&[("n", DataType::Int64)]);
            let plan = source_plan("stdin", &[("format", format)], &declared, &[0]);
            let (sender, pipe) = channel();
            let source = open(&plan, Box::new(Pipe(pipe))).expect("opened");
            assert_eq!(source.partitions().len(), 1);
            let mut reader = source.open(0).expect("opened");
            assert!(matches!(reader.next(), Ok(crate::source::Read::Pending)), "nothing was sent, and nobody waits");
            for piece in pieces {
                sender.send(piece).expect("the reader lives");
            }
            drop(sender);
            let whole = read_on(source.as_ref(), reader.as_mut(), &declared, true).expect("read");
            assert_eq!(whole.errors, [], "{format}");
            assert_eq!(whole.rows.column(0).as_primitive::<Int64Type>().values().to_vec(), [1, 2, 3], "{format}");
            assert!(source.open(0).is_err(), "a pipe cannot be read twice");
        }
    }

    #[test]
    fn a_pipeline_that_does_not_read_makes_the_writer_wait() {
        struct Endless(Arc<AtomicU64>);
        impl Read for Endless {
            fn read(&mut self, space: &mut [u8]) -> std::io::Result<usize> {
                let line = b"{\"n\":1}\n";
                let lines = space.len() / line.len();
                space.chunks_exact_mut(line.len()).for_each(|place| place.copy_from_slice(line));
                self.0.fetch_add((lines * line.len()) as u64, Ordering::Relaxed);
                Ok(lines * line.len())
            }
        }
        let declared = schema(&[("n", DataType::Int64)]);
        let plan = source_plan("stdin", &[], &declared, &[0]);
        let given = Arc::new(AtomicU64::new(0));
        let source = open(&plan, Box::new(Endless(given.clone()))).expect("opened");
        let mut reader = source.open(0).expect("opened");
        std::thread::sleep(std::time::Duration::from_millis(50));
        // What waits in the channel, and what the thread holds.
        let limit = ((CHUNKS_WAITING + 2) * CHUNK_BYTES) as u64;
        assert!(given.load(Ordering::Relaxed) <= limit, "{} bytes were taken", given.load(Ordering::Relaxed));
        let mut taken = 0;
        while taken < 4 * limit {
            if let crate::source::Read::Chunk(chunk) = reader.next().expect("read") {
                taken += chunk.bytes;
            }
        }
        assert!(given.load(Ordering::Relaxed) <= taken + limit);
    }

    #[test]
    fn columns_must_be_declared() {
        assert!(facts(&options(&[]), None).expect_err("refused").starts_with("the columns of stdin cannot be inferred"));
        assert!(facts(&options(&[]), Some(&schema(&[("n", DataType::Int64)]))).expect("valid").bounded);
    }
}
