//! Parquet files. A chunk is a stretch of a row group, decoded by whichever worker takes it: only the columns read, and never more
//! than a batch of rows.
//!
//! Columns are found by name in each file, and cast where the file's type is not the declared one. A value that the declared type
//! cannot hold is a bad row.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::reader::{ChunkReader, Length};
use tidemark_planner::plan::SourcePlan;

use super::list::Listed;
use crate::format::encode::CellFormatter;
use crate::source::{Chunk, ChunkBody, ConnectorError, Decoded, Decoder, Offsets, PartitionInfo, PartitionReader, Read, RowError, Source};

/// Most rows in a chunk.
const CHUNK_ROWS: usize = 65_536;

/// The columns of the first file, or a check that every file can give those declared.
pub(super) fn facts(files: &[Listed], declared: Option<&SchemaRef>) -> Result<SchemaRef, String> {
    let say = |error: ConnectorError| format!("file \"{}\": {}", error.what, error.reason);
    let Some(declared) = declared else {
        let footer = Footer::load(&files[0]).map_err(say)?;
        let fields: Vec<FieldRef> = footer.metadata.schema().fields().iter().map(usual).collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        for file in &files[1..] {
            Footer::load(file).and_then(|footer| footer.find(&schema)).map_err(say)?;
        }
        return Ok(schema);
    };
    for file in files {
        Footer::load(file).and_then(|footer| footer.find(declared)).map_err(say)?;
    }
    Ok(declared.clone())
}

/// The type a column is given when nothing is declared: times in microseconds, one kind of text, no dictionaries.
fn usual(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), usual_type(field.data_type()), field.is_nullable()))
}

fn usual_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => usual_type(value),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => DataType::Decimal128(*precision, *scale),
        DataType::List(item) | DataType::LargeList(item) => DataType::List(usual(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(usual).collect()),
        other => other.clone(),
    }
}

/// A file's description of itself.
#[derive(Clone)]
struct Footer {
    path: String,
    metadata: ArrowReaderMetadata,
}

impl Footer {
    fn load(file: &Listed) -> Result<Self, ConnectorError> {
        let input = Input::open(&file.path)?;
        // The index of pages lets a stretch of a large row group skip the pages before it.
        let options =
            ArrowReaderOptions::new().with_column_index_policy(PageIndexPolicy::Skip).with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&input, options).map_err(|error| damaged(&file.path, &error))?;
        Ok(Self { path: file.path.clone(), metadata })
    }

    /// Where the columns of a schema stand in the file.
    fn find(&self, columns: &SchemaRef) -> Result<Vec<usize>, ConnectorError> {
        let fields = self.metadata.schema().fields();
        let mut found = Vec::with_capacity(columns.fields().len());
        let mut missing = Vec::new();
        for column in columns.fields() {
            let exact = fields.iter().position(|field| field.name() == column.name());
            let Some(at) = exact.or_else(|| fields.iter().position(|field| field.name().eq_ignore_ascii_case(column.name()))) else {
                missing.push(column.name().as_str());
                continue;
            };
            let own = fields[at].data_type();
            if own != column.data_type() && !can_cast_types(own, column.data_type()) {
                let reason = format!("column \"{}\" is {own} in the file and cannot become {}", column.name(), column.data_type());
                return Err(ConnectorError::new(&self.path, reason));
            }
            found.push(at);
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let quoted: Vec<String> = missing.iter().map(|name| format!("\"{name}\"")).collect();
        let reason = format!("the file has no column {}; it has {}", quoted.join(", "), names.join(", "));
        Err(ConnectorError::new(&self.path, reason))
    }
}

fn damaged(path: &str, error: &ParquetError) -> ConnectorError {
    ConnectorError::new(path, format!("the parquet file cannot be read: {error}"))
}

/// A file read at places: readers of several columns do not share a cursor.
#[derive(Clone)]
struct Input {
    file: Arc<File>,
    bytes: u64,
}

impl Input {
    fn open(path: &str) -> Result<Self, ConnectorError> {
        let failed = |error: std::io::Error| ConnectorError::io(path, &error);
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        Ok(Self { file: Arc::new(file), bytes })
    }

    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self.file.as_ref(), buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(self.file.as_ref(), buffer, offset)
    }
}

/// Reads on from a place.
struct At {
    input: Input,
    offset: u64,
}

impl std::io::Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl Length for Input {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Input {
    type T = std::io::BufReader<At>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(std::io::BufReader::with_capacity(64 << 10, At { input: self.clone(), offset: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut buffer = Vec::with_capacity(length);
        std::io::Read::read_to_end(&mut std::io::Read::take(At { input: self.clone(), offset: start }, length as u64), &mut buffer)?;
        if buffer.len() != length {
            return Err(ParquetError::EOF(format!("{length} bytes are expected at {start}, {} are there", buffer.len())));
        }
        Ok(buffer.into())
    }
}

/// What decoders share of one file.
struct Opened {
    footer: Footer,
    input: Input,
    /// Where each column read stands in the file, in the order of the plan.
    found: Vec<usize>,
    mask: ProjectionMask,
}

/// Parquet files as a source.
pub(super) struct ParquetSource {
    files: Arc<[Opened]>,
    partitions: Vec<PartitionInfo>,
    schema: SchemaRef,
}

impl ParquetSource {
    pub(super) fn open(plan: &SourcePlan, files: &[Listed]) -> Result<Self, ConnectorError> {
        let open = |file: &Listed| {
            let footer = Footer::load(file)?;
            let found = footer.find(&plan.read_schema)?;
            let mask = ProjectionMask::roots(footer.metadata.parquet_schema(), found.iter().copied());
            Ok(Opened { input: Input::open(&file.path)?, footer, found, mask })
        };
        let opened = files.iter().map(open).collect::<Result<Vec<_>, ConnectorError>>()?;
        Ok(Self {
            partitions: opened
                .iter()
                .map(|file| PartitionInfo { name: file.footer.path.clone(), bytes: Some(file.groups().map(|(_, bytes)| bytes).sum()) })
                .collect(),
            files: opened.into(),
            schema: plan.read_schema.clone(),
        })
    }
}

/// Rows `start..start + rows` of a row group.
struct Stretch {
    file: usize,
    group: usize,
    start: usize,
    rows: usize,
}

impl Source for ParquetSource {
    fn reads_again(&self) -> bool {
        true
    }

    fn partitions(&self) -> &[PartitionInfo] {
        &self.partitions
    }

    fn open(&self, partition: usize) -> Result<Box<dyn PartitionReader>, ConnectorError> {
        let groups = self.files[partition].groups().collect();
        Ok(Box::new(ParquetReader { file: partition, groups, group: 0, start: 0, row: 0 }))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(ParquetDecoder { files: self.files.clone(), schema: self.schema.clone() })
    }
}

/// Hands out the stretches of one file.
struct ParquetReader {
    file: usize,
    /// Rows and bytes of each row group.
    groups: Vec<(usize, u64)>,
    group: usize,
    start: usize,
    /// Row of the file that comes next.
    row: u64,
}

impl PartitionReader for ParquetReader {
    fn next(&mut self) -> Result<Read, ConnectorError> {
        while let Some((rows, bytes)) = self.groups.get(self.group).copied() {
            if self.start >= rows {
                self.group += 1;
                self.start = 0;
                continue;
            }
            // Equal stretches: a group just above the limit makes two halves, not a batch and a crumb.
            let stretches = rows.div_ceil(CHUNK_ROWS);
            let length = rows.div_ceil(stretches).min(rows - self.start);
            let chunk = Chunk {
                offset: self.row,
                bytes: (bytes as u128 * length as u128 / rows as u128) as u64,
                body: ChunkBody::Task(Box::new(Stretch { file: self.file, group: self.group, start: self.start, rows: length })),
            };
            self.start += length;
            self.row += length as u64;
            return Ok(Read::Chunk(chunk));
        }
        Ok(Read::End)
    }
}

struct ParquetDecoder {
    files: Arc<[Opened]>,
    schema: SchemaRef,
}

impl Decoder for ParquetDecoder {
    fn decode(&mut self, chunk: Chunk) -> Result<Decoded, ConnectorError> {
        let stretch = match chunk.body {
            ChunkBody::Task(task) => task.downcast::<Stretch>().ok(),
            _ => None,
        };
        let Some(stretch) = stretch else {
            return Err(ConnectorError::new("parquet", "was given a chunk of another source"));
        };
        let file = &self.files[stretch.file];
        let rows = if file.found.is_empty() { RecordBatch::new_empty(self.schema.clone()) } else { file.read(&stretch)? };
        file.convert(&rows, &self.schema, stretch.rows, chunk.offset)
    }
}

impl Opened {
    /// Rows of each row group, and the bytes of the columns read as they are unpacked: that is what a chunk of them will take.
    fn groups(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.footer.metadata.metadata().row_groups().iter().map(|group| {
            let read = group.columns().iter().enumerate().filter(|(leaf, _)| self.mask.leaf_included(*leaf));
            let bytes: i64 = read.map(|(_, column)| column.uncompressed_size().max(0)).sum();
            let rows = group.num_rows().max(0);
            (rows as usize, bytes.max(rows) as u64)
        })
    }

    fn read(&self, stretch: &Stretch) -> Result<RecordBatch, ConnectorError> {
        let group_rows = self.footer.metadata.metadata().row_group(stretch.group).num_rows().max(0) as usize;
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.input.clone(), self.footer.metadata.clone())
            .with_projection(self.mask.clone())
            .with_row_groups(vec![stretch.group])
            .with_batch_size(stretch.rows);
        if stretch.rows < group_rows {
            let behind = group_rows - stretch.start - stretch.rows;
            let selectors = [RowSelector::skip(stretch.start), RowSelector::select(stretch.rows), RowSelector::skip(behind)];
            builder = builder.with_row_selection(RowSelection::from_iter(selectors.into_iter().filter(|selector| selector.row_count > 0)));
        }
        let reader = builder.build().map_err(|error| damaged(&self.footer.path, &error))?;
        let schema = arrow::array::RecordBatchReader::schema(&reader);
        let wrong =
            |error: arrow::error::ArrowError| ConnectorError::new(&self.footer.path, format!("the parquet file cannot be read: {error}"));
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        match batches.as_slice() {
            [one] => Ok(one.clone()),
            _ => concat_batches(&schema, &batches).map_err(wrong),
        }
    }

    /// The file's own column for a column of the plan. The file's columns come in its order, those not read left out.
    fn own<'a>(&self, rows: &'a RecordBatch, column: usize) -> &'a ArrayRef {
        rows.column(self.found.iter().filter(|at| **at < self.found[column]).count())
    }

    /// The columns in the order and of the types of the plan; rows with a value that does not fit become errors.
    fn convert(&self, rows: &RecordBatch, schema: &SchemaRef, count: usize, offset: u64) -> Result<Decoded, ConnectorError> {
        let wrong = |error: arrow::error::ArrowError| ConnectorError::new(&self.footer.path, error);
        let cast = CastOptions { safe: true, ..CastOptions::default() };
        let mut columns = Vec::with_capacity(self.found.len());
        let mut bad: Vec<(usize, usize)> = Vec::new();
        for (column, field) in schema.fields().iter().enumerate() {
            let own = self.own(rows, column);
            let new = if own.data_type() == field.data_type() {
                own.clone()
            } else {
                cast_with_options(own, field.data_type(), &cast).map_err(wrong)?
            };
            let allowed = if field.is_nullable() { own.logical_null_count() } else { 0 };
            if new.logical_null_count() > allowed {
                let fits = |row: usize| new.is_valid(row) || (own.is_null(row) && field.is_nullable());
                bad.extend((0..own.len()).filter(|row| !fits(*row)).map(|row| (row, column)));
            }
            columns.push(new);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        if bad.is_empty() {
            let columns = RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(wrong)?;
            return Ok(Decoded { columns, offsets: Offsets::Dense { first: offset }, diffs: None, errors: Vec::new() });
        }
        bad.sort_unstable();
        bad.dedup_by_key(|(row, _)| *row);
        let errors = bad.iter().map(|(row, column)| self.error(rows, schema, *row, *column, offset)).collect();
        let mut keep = vec![true; count];
        bad.iter().for_each(|(row, _)| keep[*row] = false);
        let offsets = (offset..).zip(&keep).filter(|(_, keep)| **keep).map(|(offset, _)| offset).collect();
        // Fields may be declared NOT NULL, which only holds once the bad rows are gone.
        let mask = BooleanArray::from(keep);
        let columns = columns.iter().map(|column| arrow::compute::filter(column, &mask)).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let options = RecordBatchOptions::new().with_row_count(Some(count - bad.len()));
        let columns = RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(wrong)?;
        Ok(Decoded { columns, offsets: Offsets::Each(Arc::new(offsets)), diffs: None, errors })
    }

    fn error(&self, rows: &RecordBatch, schema: &SchemaRef, row: usize, column: usize, offset: u64) -> RowError {
        let own = self.own(rows, column);
        let mut value = String::new();
        CellFormatter::new(own).write(row, &mut value);
        let field = schema.field(column);
        let reason = match own.is_null(row) {
            true => format!("column \"{}\" must not be null", field.name()),
            false => format!("column \"{}\": {value} does not fit {}", field.name(), field.data_type()),
        };
        RowError { offset: offset + row as u64, raw: value.into_bytes(), reason }
    }
}
