//! Text files, read in chunks that end where a record ends. Regular files are read directly: their bytes come from the page cache.

use std::fs::File;
use std::io::{Read as _, Seek};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use tidemark_planner::plan::SourcePlan;

use super::list::{Compression, Listed};
use crate::format::csv::{CsvLayout, CsvOptions, CsvSplitter};
use crate::format::infer::{SAMPLE_BYTES, infer_csv, infer_ndjson};
use crate::io::reason;
use crate::record::{Cutter, TextFormat, with_mark};
use crate::source::{ConnectorError, Decoder, PartitionInfo, PartitionReader, Read, Source};

/// Bytes read at once: some thousand records, and enough chunks in a file of ten megabytes for all workers.
const CHUNK_BYTES: u64 = 1 << 20;
/// A followed file that has not grown is asked once in so many reads whether it is still the same file.
const READS_PER_CHECK: u32 = 16;

/// Infers the columns, or checks that the first file can have those declared.
pub(super) fn facts(format: &TextFormat, files: &[Listed], declared: Option<&SchemaRef>) -> Result<Option<SchemaRef>, String> {
    let (format, mark) = format.rows();
    let needs_header = matches!(format, TextFormat::Csv(options) if options.header);
    if declared.is_some() && !needs_header {
        return Ok(declared.cloned());
    }
    let Some(file) = files.iter().find(|file| file.bytes > 0) else {
        // Nothing to look at: fine for a source that says what it will hold.
        return match declared {
            Some(declared) => Ok(Some(declared.clone())),
            None => Err(format!("file \"{}\" is empty, so its columns cannot be inferred; declare them with CREATE SOURCE", files[0].path)),
        };
    };
    let mut sample = Vec::new();
    let refused = |error: std::io::Error| format!("file \"{}\" cannot be read: {}", file.path, reason(&error));
    let input = open(file).map_err(|error| format!("file \"{}\" cannot be read: {}", file.path, error.reason))?;
    input.take(SAMPLE_BYTES as u64).read_to_end(&mut sample).map_err(refused)?;
    let complete = sample.len() < SAMPLE_BYTES;
    let in_file = |reason: String| format!("file \"{}\": {reason}", file.path);
    match (declared, format) {
        (Some(declared), TextFormat::Csv(options)) => {
            if let Some(layout) = header(&sample, options).map_err(in_file)? {
                layout.check(&with_mark(declared, mark)).map_err(in_file)?;
            }
            Ok(Some(declared.clone()))
        }
        (Some(declared), TextFormat::Ndjson(_) | TextFormat::Debezium { .. } | TextFormat::Marked { .. }) => Ok(Some(declared.clone())),
        (None, TextFormat::Debezium { .. } | TextFormat::Marked { .. }) => {
            Err(in_file("the columns of a changelog are not inferred; declare them with CREATE SOURCE".into()))
        }
        (None, _) if mark.is_some() => Err(in_file("the columns of a changelog are not inferred; declare them with CREATE SOURCE".into())),
        (None, TextFormat::Csv(options)) => infer_csv(&sample, options, complete).map_err(in_file).map(some),
        (None, TextFormat::Ndjson(_)) => {
            if sample.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
                return Err(in_file("it is one JSON array; write one object per line".into()));
            }
            infer_ndjson(&sample, complete).map_err(in_file).map(some)
        }
    }
}

fn some(schema: Schema) -> Option<SchemaRef> {
    Some(Arc::new(schema))
}

/// The layout that a header at the start of a sample tells; `None` if the header is not whole.
fn header(sample: &[u8], options: &CsvOptions) -> Result<Option<CsvLayout>, String> {
    let mut splitter = CsvSplitter::new(options);
    let mut rest = sample;
    loop {
        let (record, behind) = match splitter.first_end(rest) {
            Some(end) => rest.split_at(end),
            None => return Ok(None),
        };
        if options.comment.is_none() || record.first().copied() != options.comment {
            return CsvLayout::from_header(record, options).map(Some);
        }
        rest = behind;
    }
}

fn open(file: &Listed) -> Result<Box<dyn std::io::Read + Send>, ConnectorError> {
    let refused = |error: std::io::Error| ConnectorError::io(&file.path, &error);
    let input = File::open(&file.path).map_err(refused)?;
    Ok(match file.compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(std::io::BufReader::with_capacity(128 << 10, input))),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(input).map_err(refused)?),
    })
}

/// Text files as a source.
pub(super) struct TextSource {
    name: String,
    format: TextFormat,
    files: Vec<Listed>,
    partitions: Vec<PartitionInfo>,
    declared: SchemaRef,
    read: SchemaRef,
    follow: bool,
}

impl TextSource {
    pub(super) fn open(plan: &SourcePlan, format: TextFormat, files: Vec<Listed>) -> Result<Self, ConnectorError> {
        let follow = plan.options.flag("follow");
        // A followed file has no size yet, and a packed one is not known unpacked.
        let known = |file: &Listed| (!follow && file.compression == Compression::None).then_some(file.bytes);
        let partitions = files.iter().map(|file| PartitionInfo { name: file.path.clone(), bytes: known(file) }).collect();
        // Types that the format cannot carry are told now, not by the first worker that decodes.
        format.decoder(&plan.name, &plan.read_schema)?;
        Ok(Self {
            name: plan.name.clone(),
            format,
            files,
            partitions,
            declared: plan.declared.clone(),
            read: plan.read_schema.clone(),
            follow,
        })
    }
}

impl Source for TextSource {
    fn reads_again(&self) -> bool {
        !self.follow && self.files.iter().all(|file| std::path::Path::new(&file.path).is_file())
    }

    fn partitions(&self) -> &[PartitionInfo] {
        &self.partitions
    }

    fn open(&self, partition: usize) -> Result<Box<dyn PartitionReader>, ConnectorError> {
        let file = &self.files[partition];
        let cutter = Cutter::new(&file.path, &self.format, &self.declared, &self.read);
        if self.follow {
            let input = File::open(&file.path).map_err(|error| ConnectorError::io(&file.path, &error))?;
            return Ok(Box::new(Follower { path: file.path.clone(), input, cutter, idle: 0 }));
        }
        Ok(Box::new(TextReader { input: open(file)?, cutter, ended: false }))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        match self.format.decoder(&self.name, &self.read) {
            Ok(decoder) => Box::new(decoder),
            Err(error) => unreachable!("a decoder was made of the same options when the source was opened: {error}"),
        }
    }
}

/// Reads a file to its end.
struct TextReader {
    input: Box<dyn std::io::Read + Send>,
    cutter: Cutter,
    ended: bool,
}

impl PartitionReader for TextReader {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        while !self.ended {
            let Self { input, cutter, .. } = self;
            let (chunk, _, ended) = cutter.next(|buffer| {
                buffer.reserve(CHUNK_BYTES as usize);
                let added = input.by_ref().take(CHUNK_BYTES).read_to_end(buffer)?;
                Ok((added as u64) < CHUNK_BYTES)
            })?;
            self.ended = ended;
            if let Some(chunk) = chunk {
                return Ok(Read::Chunk(chunk));
            }
        }
        Ok(Read::End)
    }
}

/// Reads a file as it grows. A last line without its newline waits for the rest.
struct Follower {
    path: String,
    input: File,
    cutter: Cutter,
    /// Reads in a row that gave nothing.
    idle: u32,
}

impl PartitionReader for Follower {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        loop {
            let Self { input, cutter, .. } = self;
            let (chunk, added, _) = cutter.next(|buffer| {
                buffer.reserve(CHUNK_BYTES.min(64 << 10) as usize);
                input.take(CHUNK_BYTES).read_to_end(buffer)?;
                Ok(false)
            })?;
            if let Some(chunk) = chunk {
                self.idle = 0;
                return Ok(Read::Chunk(chunk));
            }
            if added == 0 {
                if self.idle.is_multiple_of(READS_PER_CHECK) {
                    self.check()?;
                }
                self.idle = self.idle.wrapping_add(1);
                return Ok(Read::Pending);
            }
        }
    }
}

impl Follower {
    /// Offsets name places in one file for good: a file that was cut or replaced would give other rows the same offsets.
    fn check(&mut self) -> Result<(), ConnectorError> {
        let failed = |error: std::io::Error| ConnectorError::io(&self.path, &error);
        let position = self.input.stream_position().map_err(failed)?;
        let length = self.input.metadata().map_err(failed)?.len();
        if length < position {
            let reason =
                format!("the file was cut to {length} bytes while it was followed, {position} were read; start again to read it anew");
            return Err(ConnectorError::new(&self.path, reason));
        }
        if length == position && self.replaced().map_err(failed)? {
            return Err(ConnectorError::new(
                &self.path,
                "the file was replaced by another while it was followed; start again to read it anew",
            ));
        }
        Ok(())
    }

    #[cfg(unix)]
    fn replaced(&self) -> std::io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        let own = self.input.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(now) => Ok((own.dev(), own.ino()) != (now.dev(), now.ino())),
            // Moved away, and nothing in its place yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    #[cfg(not(unix))]
    fn replaced(&self) -> std::io::Result<bool> {
        Ok(false)
    }
}
