//! Cutting a stream of bytes into chunks of whole records, and the decoders for such chunks.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::format::changelog::{DebeziumDecoder, DebeziumOptions, MarkedDecoder, Marks, Meaning, line_at};
use crate::format::csv::{CsvDecoder, CsvLayout, CsvOptions, CsvSplitter};
use crate::format::ndjson::{self, NdjsonDecoder, NdjsonOptions};
use crate::source::{Chunk, ChunkBody, ConnectorError, Decoded, Decoder};

/// Bytes that one record may have. Beyond, the input is taken for something else, such as a quote that is never closed.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// A text format and its options.
#[derive(Clone, Debug)]
pub(crate) enum TextFormat {
    Ndjson(NdjsonOptions),
    Csv(CsvOptions),
    /// Rows in one of those formats, with a column that says what each does.
    Marked {
        rows: Box<TextFormat>,
        marks: Marks,
        meaning: Meaning,
    },
    /// Debezium's envelopes, one a line.
    Debezium {
        json: NdjsonOptions,
        options: DebeziumOptions,
        meaning: Meaning,
    },
}

impl TextFormat {
    /// Rows with a column that says what each does.
    pub(crate) fn marked(rows: Self, marks: Marks) -> Self {
        Self::Marked { rows: Box::new(rows), marks, meaning: Meaning::default() }
    }

    /// Debezium's envelopes.
    pub(crate) fn debezium(json: NdjsonOptions, options: DebeziumOptions) -> Self {
        Self::Debezium { json, options, meaning: Meaning::default() }
    }

    /// The same, where changes are meant as a plan says.
    #[must_use]
    pub(crate) fn meaning(self, meaning: Meaning) -> Self {
        match self {
            Self::Marked { rows, marks, .. } => Self::Marked { rows, marks, meaning },
            Self::Debezium { json, options, .. } => Self::Debezium { json, options, meaning },
            plain => plain,
        }
    }

    /// The format of the rows themselves, and the column that marks them.
    pub(crate) fn rows(&self) -> (&Self, Option<&str>) {
        match self {
            Self::Marked { rows, marks: Marks::Op(name) | Marks::Diff(name), .. } => (rows, Some(name)),
            plain => (plain, None),
        }
    }

    /// A decoder for the columns read.
    pub(crate) fn decoder(&self, what: &str, read: &SchemaRef) -> Result<TextDecoder, ConnectorError> {
        let kind = match self {
            Self::Ndjson(options) => Kind::Ndjson(NdjsonDecoder::new(read.clone(), options.clone())?),
            Self::Csv(options) => {
                let layout = Arc::new(CsvLayout::positional(read));
                Kind::Csv(CsvDecoder::new(read.clone(), options.clone(), layout)?)
            }
            Self::Marked { rows, marks, meaning } => {
                let marks = MarkedDecoder::new(read, marks, meaning).map_err(|reason| ConnectorError::new(what, reason))?;
                let inner = rows.decoder(what, marks.inner())?;
                let csv = if let Self::Csv(options) = rows.as_ref() { Some(options.clone()) } else { None };
                Kind::Marked { marks, csv, inner: Box::new(inner) }
            }
            Self::Debezium { json, options, meaning } => Kind::Debezium(Box::new(DebeziumDecoder::new(read, json, options, meaning)?)),
        };
        Ok(TextDecoder { what: what.into(), kind })
    }
}

/// Decodes chunks that a [`Cutter`] made.
pub(crate) struct TextDecoder {
    what: String,
    kind: Kind,
}

enum Kind {
    Ndjson(NdjsonDecoder),
    Csv(CsvDecoder),
    Debezium(Box<DebeziumDecoder>),
    Marked { marks: MarkedDecoder, csv: Option<CsvOptions>, inner: Box<TextDecoder> },
}

/// Records of CSV and how they are laid out.
struct CsvChunk {
    bytes: Vec<u8>,
    layout: Arc<CsvLayout>,
}

impl Decoder for TextDecoder {
    fn decode(&mut self, chunk: Chunk) -> Result<Decoded, ConnectorError> {
        match (&mut self.kind, chunk.body) {
            (Kind::Ndjson(decoder), ChunkBody::Bytes(bytes)) => Ok(decoder.decode(&bytes, chunk.offset)),
            (Kind::Csv(decoder), ChunkBody::Task(task)) => match task.downcast::<CsvChunk>() {
                Ok(records) => {
                    decoder.set_layout(&records.layout);
                    Ok(decoder.decode(&records.bytes, chunk.offset))
                }
                Err(_) => Err(ConnectorError::new(&self.what, "was given a chunk of another source")),
            },
            (Kind::Debezium(decoder), ChunkBody::Bytes(bytes)) => Ok(decoder.decode(&bytes, chunk.offset)),
            (Kind::Marked { marks, csv, inner }, body) => inner.decode_marked(Chunk { body, ..chunk }, marks, csv.as_ref()),
            _ => Err(ConnectorError::new(&self.what, "was given a chunk of another source")),
        }
    }
}

impl TextDecoder {
    /// Decodes rows and takes their marks off.
    fn decode_marked(&mut self, chunk: Chunk, marks: &MarkedDecoder, csv: Option<&CsvOptions>) -> Result<Decoded, ConnectorError> {
        let at = |offset: u64| usize::try_from(offset - chunk.offset).unwrap_or(usize::MAX);
        match (&mut self.kind, chunk.body) {
            (Kind::Ndjson(decoder), ChunkBody::Bytes(bytes)) => {
                let decoded = decoder.decode(&bytes, chunk.offset);
                Ok(marks.take_marks(decoded, &|offset| line_at(&bytes, at(offset)).to_vec()))
            }
            (Kind::Csv(decoder), ChunkBody::Task(task)) if csv.is_some() => match (task.downcast::<CsvChunk>(), csv) {
                (Ok(records), Some(options)) => {
                    decoder.set_layout(&records.layout);
                    let decoded = decoder.decode(&records.bytes, chunk.offset);
                    let raw = |offset: u64| {
                        let rest = &records.bytes[at(offset).min(records.bytes.len())..];
                        let record = &rest[..CsvSplitter::new(options).first_end(rest).unwrap_or(rest.len())];
                        let record = record.strip_suffix(b"\n").unwrap_or(record);
                        record.strip_suffix(b"\r").unwrap_or(record).to_vec()
                    };
                    Ok(marks.take_marks(decoded, &raw))
                }
                _ => Err(ConnectorError::new(&self.what, "was given a chunk of another source")),
            },
            _ => Err(ConnectorError::new(&self.what, "was given a chunk of another source")),
        }
    }
}

/// Takes a stream piece by piece and gives chunks of whole records.
pub(crate) struct Cutter {
    what: String,
    format: Splitter,
    /// Columns that a header must have.
    read: SchemaRef,
    /// Bytes taken but not given out.
    carry: Vec<u8>,
    /// Place of the first byte of `carry` in the stream.
    offset: u64,
}

enum Splitter {
    Ndjson,
    Csv { options: CsvOptions, splitter: CsvSplitter, layout: Option<Arc<CsvLayout>> },
}

impl Cutter {
    /// At the start of a stream. `declared` are all columns of the source, `read` those that are decoded.
    pub(crate) fn new(what: &str, format: &TextFormat, declared: &SchemaRef, read: &SchemaRef) -> Self {
        let (rows, mark) = format.rows();
        let format = match rows {
            TextFormat::Csv(options) => Splitter::Csv {
                options: options.clone(),
                splitter: CsvSplitter::new(options),
                layout: (!options.header).then(|| Arc::new(CsvLayout::positional(&with_mark(declared, mark)))),
            },
            TextFormat::Ndjson(_) | TextFormat::Debezium { .. } | TextFormat::Marked { .. } => Splitter::Ndjson,
        };
        Self { what: what.into(), format, read: with_mark(read, mark), carry: Vec::new(), offset: 0 }
    }

    /// Lets `fill` append the next piece behind what is carried, and gives the records that are whole now. `fill` returns whether
    /// the stream has ended: then the last record needs no newline. Returns also how many bytes were added.
    pub(crate) fn next(
        &mut self,
        fill: impl FnOnce(&mut Vec<u8>) -> std::io::Result<bool>,
    ) -> Result<(Option<Chunk>, usize, bool), ConnectorError> {
        let carried = self.carry.len();
        let ended = fill(&mut self.carry).map_err(|error| ConnectorError::io(&self.what, &error))?;
        let added = self.carry.len() - carried;
        let mut from = carried;
        if let Splitter::Csv { options, splitter, layout } = &mut self.format
            && layout.is_none()
        {
            // The header, behind comments.
            loop {
                let end = match splitter.first_end(&self.carry[from..]) {
                    Some(end) => from + end,
                    None if ended && !self.carry.is_empty() => self.carry.len(),
                    None => break,
                };
                let rest = self.carry.split_off(end);
                let record = std::mem::replace(&mut self.carry, rest);
                self.offset += record.len() as u64;
                from = 0;
                if options.comment.is_some() && record.first().copied() == options.comment {
                    continue;
                }
                let found = CsvLayout::from_header(&record, options).map_err(|reason| ConnectorError::new(&self.what, reason))?;
                found.check(&self.read).map_err(|reason| ConnectorError::new(&self.what, reason))?;
                *layout = Some(Arc::new(found));
                break;
            }
            if layout.is_none() {
                self.check_length()?;
                return Ok((None, added, ended));
            }
        }
        let piece = &self.carry[from..];
        let cut = match &mut self.format {
            Splitter::Ndjson => ndjson::split_point(piece),
            Splitter::Csv { splitter, .. } => splitter.split_point(piece),
        };
        let end = if ended { self.carry.len() } else { cut.map_or(0, |cut| from + cut) };
        if end == 0 {
            self.check_length()?;
            return Ok((None, added, ended));
        }
        let rest = self.carry[end..].to_vec();
        let mut bytes = std::mem::replace(&mut self.carry, rest);
        bytes.truncate(end);
        let (offset, length) = (self.offset, bytes.len() as u64);
        self.offset += length;
        let body = match &self.format {
            Splitter::Csv { layout: Some(layout), .. } => ChunkBody::Task(Box::new(CsvChunk { bytes, layout: layout.clone() })),
            Splitter::Csv { layout: None, .. } | Splitter::Ndjson => ChunkBody::Bytes(bytes),
        };
        Ok((Some(Chunk { offset, bytes: length, body }), added, ended))
    }

    fn check_length(&self) -> Result<(), ConnectorError> {
        if self.carry.len() <= RECORD_BYTES_MAX {
            return Ok(());
        }
        let reason = format!(
            "the record at byte {} has no end within {} MiB; is a quote never closed, or is this another format?",
            self.offset,
            RECORD_BYTES_MAX >> 20
        );
        Err(ConnectorError::new(&self.what, reason))
    }
}

/// Columns with the one that marks rows, in front if it is not among them.
pub(crate) fn with_mark(columns: &SchemaRef, mark: Option<&str>) -> SchemaRef {
    match mark {
        Some(mark) if columns.field_with_name(mark).is_err() => {
            let mut fields = vec![Arc::new(Field::new(mark, DataType::Utf8, true))];
            fields.extend(columns.fields().iter().cloned());
            Arc::new(Schema::new(fields))
        }
        _ => columns.clone(),
    }
}
