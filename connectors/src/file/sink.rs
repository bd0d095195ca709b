//! Files as sinks.
//!
//! A result that ends is written under a temporary name beside the path and takes the path when it is complete: whoever reads the
//! path sees the old result or the whole new one. A stream that does not end is written to the path as it comes, epoch by epoch, from
//! an empty file; parquet, which nobody can read before its end is written, always waits under the temporary name.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{BrotliLevel, Compression as PageCompression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tidemark_planner::connector::Options;
use tidemark_planner::plan::SinkPlan;

use super::list::Compression;
use super::{Format, format, text_format};
use crate::changes::{Epoch, Order};
use crate::encoder::TextEncoder;
use crate::io::reason;
use crate::sink::{Sink, SinkReport};
use crate::sink_changes::Shown;
use crate::source::ConnectorError;

/// Text that may wait before it is written, where nobody reads the file yet.
const BUFFER_BYTES: usize = 256 << 10;
/// Rows of a parquet row group: small enough to be read in parallel.
const GROUP_ROWS: usize = 131_072;

/// Whether a file can be made at a path.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    if Compression::of_path(path).0 != Compression::None {
        return Err(format!("\"{path}\" would be a compressed file, which is read but not written; leave out the last ending"));
    }
    if path.contains(['*', '?']) {
        return Err(format!("a sink writes one file, and \"{path}\" is a pattern"));
    }
    if Path::new(path).is_dir() {
        return Err(format!("\"{path}\" is a folder; name a file in it"));
    }
    let folder = folder(Path::new(path));
    if !folder.is_dir() {
        return Err(format!("folder \"{}\" does not exist; make it first", folder.display()));
    }
    Ok(())
}

/// Whether a format can hold the columns.
pub(super) fn check_columns(format: Format, options: &Options, schema: &SchemaRef, shown: &Shown) -> Result<(), String> {
    match format {
        Format::Parquet if !matches!(shown, Shown::Plain | Shown::Op(_)) => {
            Err("parquet files show changes in a column op only; leave out the options of changelogs".into())
        }
        Format::Parquet => {
            ArrowSchemaConverter::new().convert(schema).map(drop).map_err(|error| format!("parquet cannot hold these columns: {error}"))
        }
        Format::Ndjson | Format::Csv | Format::Debezium => {
            TextEncoder::new(&text_format(format, options)?, schema, shown, None).map(drop).map_err(|error| error.reason)
        }
    }
}

/// The file of one process: `out-1.csv` of `out.csv`.
fn of_process(path: &Path, process: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{process}{ending}"))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens the sink of a process. Changes of an epoch are put in order.
pub(crate) fn open(plan: &SinkPlan, process: usize) -> Result<Box<dyn Sink>, ConnectorError> {
    if !super::per_process(&plan.options) {
        return open_ordered(plan, Order::of(plan));
    }
    let mut own = plan.clone();
    let path = of_process(Path::new(plan.options.get("path").unwrap_or_default()), process);
    own.options.0.insert("path".into(), path.to_string_lossy().into_owned());
    open_ordered(&own, Order::of(&own))
}

/// Opens the sink with another order of the changes of an epoch.
pub(crate) fn open_ordered(plan: &SinkPlan, order: Order) -> Result<Box<dyn Sink>, ConnectorError> {
    let wrong = |reason: String| ConnectorError::new(&plan.name, reason);
    let format = format(&plan.options).map_err(wrong)?;
    let path = PathBuf::from(plan.options.get("path").unwrap_or_default());
    let target = if plan.bounded || format == Format::Parquet {
        Target::temporary(path)
    } else {
        Target { written: path.clone(), path, done: false }
    };
    let file = File::create(&target.written).map_err(|error| target.failed(&error))?;
    let shown = Shown::of(&plan.options, format == Format::Debezium, &plan.schema, plan.changelog).map_err(wrong)?;
    let writer = match format {
        Format::Parquet => parquet_writer(plan, shown.column(), file, &target)?,
        Format::Ndjson | Format::Csv | Format::Debezium => {
            let text = text_format(format, &plan.options).map_err(wrong)?;
            let encoder = TextEncoder::new(&text, &plan.schema, &shown, plan.key.clone())?;
            let mut buffer = Vec::new();
            encoder.begin(&mut buffer);
            Writer::Text { file, encoder, buffer, wait: if plan.bounded { BUFFER_BYTES } else { 0 } }
        }
    };
    Ok(Box::new(FileSink { target, writer, epoch: Epoch::new(order.shown(&shown)), report: SinkReport::default() }))
}

fn parquet_writer(plan: &SinkPlan, op: Option<&str>, file: File, target: &Target) -> Result<Writer, ConnectorError> {
    let compression = match plan.options.get("compression") {
        Some("none") => PageCompression::UNCOMPRESSED,
        Some("lz4") => PageCompression::LZ4_RAW,
        Some("zstd") => PageCompression::ZSTD(ZstdLevel::default()),
        Some("gzip") => PageCompression::GZIP(GzipLevel::default()),
        Some("brotli") => PageCompression::BROTLI(BrotliLevel::default()),
        _ => PageCompression::SNAPPY,
    };
    let schema = op.map_or_else(|| plan.schema.clone(), |op| with_op(op, &plan.schema));
    let properties = WriterProperties::builder().set_compression(compression).set_max_row_group_row_count(Some(GROUP_ROWS)).build();
    let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(|error| ConnectorError::new(target.name(), error))?;
    Ok(Writer::Parquet { writer: Some(writer), schema, op: op.is_some() })
}

fn with_op(op: &str, schema: &SchemaRef) -> SchemaRef {
    let mut fields = vec![Arc::new(Field::new(op, DataType::Utf8, false))];
    fields.extend(schema.fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

/// The file that is written and the path it will have.
struct Target {
    path: PathBuf,
    written: PathBuf,
    done: bool,
}

impl Target {
    fn temporary(path: PathBuf) -> Self {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let written = folder(&path).join(format!(".{name}.{}.part", std::process::id()));
        Self { path, written, done: false }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn failed(&self, error: &std::io::Error) -> ConnectorError {
        ConnectorError::new(self.name(), reason(error))
    }

    fn complete(&mut self) -> Result<u64, ConnectorError> {
        let bytes = std::fs::metadata(&self.written).map_err(|error| self.failed(&error))?.len();
        if self.written != self.path {
            std::fs::rename(&self.written, &self.path).map_err(|error| self.failed(&error))?;
        }
        self.done = true;
        Ok(bytes)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.done && self.written != self.path {
            // The run failed already; what it leaves behind is not worth a second error.
            let _ = std::fs::remove_file(&self.written);
        }
    }
}

enum Writer {
    Text { file: File, encoder: TextEncoder, buffer: Vec<u8>, wait: usize },
    Parquet { writer: Option<ArrowWriter<File>>, schema: SchemaRef, op: bool },
}

struct FileSink {
    target: Target,
    writer: Writer,
    epoch: Epoch,
    report: SinkReport,
}

impl Sink for FileSink {
    fn write(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>) -> Result<(), ConnectorError> {
        self.epoch.push(rows, diffs);
        Ok(())
    }

    fn end_epoch(&mut self, _epoch: u64) -> Result<(), ConnectorError> {
        let Some((rows, diffs)) = self.epoch.take()? else {
            return Ok(());
        };
        match &mut self.writer {
            Writer::Text { file, encoder, buffer, wait } => {
                self.report.changes += encoder.encode(&rows, diffs.as_deref(), buffer);
                if buffer.len() > *wait {
                    file.write_all(buffer).map_err(|error| self.target.failed(&error))?;
                    buffer.clear();
                }
            }
            Writer::Parquet { writer, schema, op } => {
                let rows = flatten(&rows, diffs.as_deref(), schema, *op).map_err(|error| ConnectorError::new(self.target.name(), error))?;
                self.report.changes += rows.num_rows() as u64;
                if let Some(writer) = writer {
                    writer.write(&rows).map_err(|error| ConnectorError::new(self.target.name(), error))?;
                }
            }
        }
        Ok(())
    }

    fn progress(&mut self, watermark_us: i64) -> Result<(), ConnectorError> {
        if let Writer::Text { file, encoder, buffer, wait } = &mut self.writer {
            encoder.progress(watermark_us, buffer);
            if buffer.len() > *wait {
                file.write_all(buffer).map_err(|error| self.target.failed(&error))?;
                buffer.clear();
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<SinkReport, ConnectorError> {
        self.end_epoch(0)?;
        match &mut self.writer {
            Writer::Text { file, buffer, .. } => {
                file.write_all(buffer).map_err(|error| self.target.failed(&error))?;
                buffer.clear();
            }
            Writer::Parquet { writer, .. } => {
                if let Some(writer) = writer.take() {
                    writer.close().map_err(|error| ConnectorError::new(self.target.name(), error))?;
                }
            }
        }
        self.report.bytes = self.target.complete()?;
        Ok(self.report)
    }
}

/// One row for each copy, and what kind of change it is.
fn flatten(rows: &RecordBatch, diffs: Option<&[i64]>, schema: &SchemaRef, op: bool) -> Result<RecordBatch, arrow::error::ArrowError> {
    let copies = match diffs {
        Some(diffs) if diffs.iter().any(|diff| diff.unsigned_abs() != 1) => {
            let order = (0..).zip(diffs).flat_map(|(row, diff)| std::iter::repeat_n(row, diff.unsigned_abs() as usize));
            Some((UInt32Array::from_iter_values(order), diffs))
        }
        _ => None,
    };
    let rows = match &copies {
        Some((order, _)) => take_record_batch(rows, order)?,
        None => rows.clone(),
    };
    if !op {
        return Ok(rows);
    }
    let word = |diff: i64| if diff < 0 { "-D" } else { "+I" };
    let words: StringArray = match (&copies, diffs) {
        (Some((order, diffs)), _) => order.values().iter().map(|row| Some(word(diffs[*row as usize]))).collect(),
        (None, Some(diffs)) => diffs.iter().map(|diff| Some(word(*diff))).collect(),
        (None, None) => std::iter::repeat_n(Some("+I"), rows.num_rows()).collect(),
    };
    let mut columns: Vec<ArrayRef> = vec![Arc::new(words)];
    columns.extend(rows.columns().iter().cloned());
    RecordBatch::try_new(schema.clone(), columns)
}
