//! # Files
//!
//! One file, a glob or a folder. The files, sorted by path, are the partitions: the same list on every worker and process.

mod list;
mod parquet;
mod sink;
#[cfg(test)]
mod tests;
mod text;

use tidemark_planner::connector::{ConnectorSpec, OptionKind, OptionSpec, Options, SourceFacts};
use tidemark_planner::plan::{ChangelogKind, SourcePlan};

use arrow::datatypes::SchemaRef;

use self::list::{Compression, list};
pub(crate) use self::sink::{open as open_sink, open_ordered};
use crate::format::changelog::{self, Changes, DebeziumOptions, Marks, Meaning, NO_CHANGES};
use crate::format::csv::CsvOptions;
use crate::format::encode::PROGRESS;
use crate::format::ndjson::NdjsonOptions;
use crate::options::{both, default, required, sink as sink_option, source as source_option};
use crate::record::TextFormat;
use crate::sink_changes::Shown;
use crate::source::{ConnectorError, Source};

/// Options of every text format, for sources.
pub(crate) const TEXT_OPTIONS: &[&[OptionSpec]] = &[crate::format::COMMON_SPECS, NdjsonOptions::SPECS, CsvOptions::SPECS, changelog::SPECS];

const OWN_OPTIONS: &[OptionSpec] = &[
    required(both(source_option("path", OptionKind::Text, "The file; for sources also a glob such as data/*.csv, or a folder."))),
    both(source_option("format", FORMATS, "How rows are encoded; told by the path's ending if not given.")),
    default(source_option("follow", OptionKind::Flag, "Keep reading as the files grow; the source never ends."), "false"),
    OP,
    PROGRESS_OPTION,
    default(
        sink_option(
            "per-process",
            OptionKind::Flag,
            "Each process of a cluster writes its own rows, to the path with -0, -1, … before its ending; otherwise process 0 writes all, in order.",
        ),
        "false",
    ),
    default(
        sink_option(
            "compression",
            OptionKind::OneOf(&["none", "snappy", "lz4", "zstd", "gzip", "brotli"]),
            "How parquet pages are compressed.",
        ),
        "snappy",
    ),
];

/// The option that shows what kind of change a row is.
pub(crate) const OP: OptionSpec =
    sink_option("op", OptionKind::Flag, "A first column op says +I or -D for each row; if not given, only where rows can be taken back.");

/// Whether a sink tells how far the watermark has come.
pub(crate) const PROGRESS_OPTION: OptionSpec = sink_option(
    "progress",
    OptionKind::Flag,
    "Whether lines tell how far the watermark has come: ndjson has an object with the key _progress, changelog a line that begins with @.",
);

/// Refuses to tell progress in a format that has no place for it.
pub(crate) fn check_progress(options: &Options, format: &str, schema: &SchemaRef) -> Result<(), String> {
    match options.get("progress") {
        Some("true") if format == "ndjson" && schema.column_with_name(PROGRESS).is_some() => {
            Err(format!("a column is called \"{PROGRESS}\", as the lines that tell progress; give it another name"))
        }
        Some("true") if !matches!(format, "ndjson" | "changelog") => {
            Err(format!("format \"{format}\" has no place for progress; choose ndjson, on standard output also changelog"))
        }
        _ => Ok(()),
    }
}

const FORMATS: OptionKind = OptionKind::OneOf(&["ndjson", "json", "csv", "parquet", "debezium-json"]);

const OPTIONS: [OptionSpec; count(OWN_OPTIONS)] = join(OWN_OPTIONS);

/// The connector.
pub(crate) const SPEC: ConnectorSpec =
    ConnectorSpec { name: "file", aliases: &["filesystem", "files"], source: true, sink: true, options: &OPTIONS };

/// How many options there are with those of the text formats.
pub(crate) const fn count(own: &[OptionSpec]) -> usize {
    let mut count = own.len();
    let mut list = 0;
    while list < TEXT_OPTIONS.len() {
        count += TEXT_OPTIONS[list].len();
        list += 1;
    }
    count
}

/// A connector's own options and those of the text formats.
pub(crate) const fn join<const N: usize>(own: &[OptionSpec]) -> [OptionSpec; N] {
    let mut all = [own[0]; N];
    let mut at = 0;
    while at < own.len() {
        all[at] = own[at];
        at += 1;
    }
    let mut list = 0;
    while list < TEXT_OPTIONS.len() {
        let mut option = 0;
        while option < TEXT_OPTIONS[list].len() {
            all[at] = TEXT_OPTIONS[list][option];
            at += 1;
            option += 1;
        }
        list += 1;
    }
    all
}

/// How rows are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Ndjson,
    Csv,
    Parquet,
    Debezium,
}

impl Format {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "ndjson" | "json" => Some(Self::Ndjson),
            "csv" => Some(Self::Csv),
            "parquet" => Some(Self::Parquet),
            "debezium-json" => Some(Self::Debezium),
            _ => None,
        }
    }

    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Debezium => "debezium-json",
        }
    }

    /// By a path's ending, that of a compressed file too.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        let (_, stem) = Compression::of_path(path);
        match stem.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" | "json" => Some(Self::Ndjson),
            "csv" | "tsv" => Some(Self::Csv),
            "parquet" | "pq" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Whether each process writes a file of its own.
pub(crate) fn per_process(options: &Options) -> bool {
    options.flag("per-process")
}

fn path(options: &Options) -> Result<&str, String> {
    options.get("path").filter(|path| !path.is_empty()).ok_or_else(|| "option \"path\" is missing".into())
}

/// The format of the options, else of the path.
pub(crate) fn format(options: &Options) -> Result<Format, String> {
    let path = path(options)?;
    match options.get("format") {
        Some(word) => {
            Format::parse(word).ok_or_else(|| format!("format \"{word}\" is not known; use ndjson, csv, parquet or debezium-json"))
        }
        None => Format::of_path(path)
            .ok_or_else(|| format!("the ending of \"{path}\" tells no format; add format = 'ndjson', 'csv' or 'parquet'")),
    }
}

/// The text format of the options.
pub(crate) fn text_format(format: Format, options: &Options) -> Result<TextFormat, String> {
    let changes = Changes::from_options(options, format == Format::Debezium)?;
    let rows = match format {
        Format::Csv => {
            let mut csv = CsvOptions::from_options(options)?;
            let tabs = options.get("path").is_some_and(|path| Compression::of_path(path).1.to_ascii_lowercase().ends_with(".tsv"));
            if tabs && csv.delimiter == b',' {
                csv.delimiter = b'\t';
            }
            TextFormat::Csv(csv)
        }
        Format::Ndjson => TextFormat::Ndjson(NdjsonOptions::from_options(options)),
        Format::Debezium => TextFormat::debezium(NdjsonOptions::from_options(options), DebeziumOptions::from_options(options)),
        Format::Parquet => return Err("parquet is no text format".into()),
    };
    Ok(match changes.marks {
        marks @ (Marks::Op(_) | Marks::Diff(_)) => TextFormat::marked(rows, marks),
        Marks::None | Marks::Debezium => rows,
    })
}

/// A list of files may name its format by the files' endings: a folder does.
fn source_format(options: &Options) -> Result<(Format, Vec<list::Listed>), String> {
    let path = path(options)?;
    let given = options.get("format").and_then(Format::parse);
    let files = list(path, given)?;
    let format = match given {
        Some(format) => format,
        None => {
            let mut formats = files.iter().map(|file| Format::of_path(&file.path));
            let first = formats.next().flatten();
            match first {
                Some(format) if formats.all(|other| other == Some(format)) => format,
                Some(_) => return Err(format!("the files of \"{path}\" differ in format; add format = 'ndjson', 'csv' or 'parquet'")),
                None => format(options)?,
            }
        }
    };
    let follow = options.flag("follow");
    if follow && format == Format::Parquet {
        return Err("a parquet file cannot be followed: it is complete when its end is written".into());
    }
    if let Some(file) = files.iter().find(|file| file.compression != Compression::None) {
        if format == Format::Parquet {
            return Err(format!("\"{}\" is a compressed parquet file; parquet compresses its own pages, so unpack it", file.path));
        }
        if follow {
            return Err(format!("\"{}\" is compressed and cannot be followed", file.path));
        }
    }
    Ok((format, files))
}

pub(crate) fn facts(options: &Options, declared: Option<&SchemaRef>) -> Result<SourceFacts, String> {
    let (format, files) = source_format(options)?;
    let bounded = !options.flag("follow");
    let changes = Changes::from_options(options, format == Format::Debezium)?;
    let schema = match format {
        Format::Parquet if changes != NO_CHANGES => {
            return Err("parquet is read as rows that are only added; leave out the options of changelogs".into());
        }
        Format::Parquet => Some(parquet::facts(&files, declared)?),
        Format::Ndjson | Format::Csv | Format::Debezium => text::facts(&text_format(format, options)?, &files, declared)?,
    };
    changes.tell(SourceFacts::append_only(schema, bounded))
}

/// Opens the source.
pub(crate) fn open_source(plan: &SourcePlan) -> Result<Box<dyn Source>, ConnectorError> {
    let wrong = |reason: String| ConnectorError::new(&plan.name, reason);
    let (format, files) = source_format(&plan.options).map_err(wrong)?;
    match format {
        Format::Parquet => Ok(Box::new(parquet::ParquetSource::open(plan, &files)?)),
        Format::Ndjson | Format::Csv | Format::Debezium => {
            let format = text_format(format, &plan.options).map_err(wrong)?.meaning(Meaning::of(plan));
            Ok(Box::new(text::TextSource::open(plan, format, files)?))
        }
    }
}

/// Options for a quoted path.
pub(crate) fn path_options(path: &str) -> Result<Options, String> {
    let mut options = Options::default();
    options.0.insert("path".into(), path.into());
    let format = match Format::of_path(path) {
        Some(format) => format,
        None if std::path::Path::new(path).is_dir() => source_format(&options)?.0,
        None => {
            return Err(format!("the ending of '{path}' tells no format; known are .ndjson, .jsonl, .json, .csv, .tsv and .parquet"));
        }
    };
    options.0.insert("format".into(), format.name().into());
    Ok(options)
}

/// What a file can take.
pub(crate) fn check_sink(options: &Options, schema: &SchemaRef, changelog: ChangelogKind) -> Result<(), String> {
    sink::check_path(path(options)?)?;
    if per_process(options) && changelog != ChangelogKind::AppendOnly {
        return Err(
            "option \"per-process\" is for rows that are only added: a row could be added in one file and taken back in another".into()
        );
    }
    let format = format(options)?;
    check_progress(options, if format == Format::Ndjson { "ndjson" } else { options.get("format").unwrap_or("of this file") }, schema)?;
    let shown = Shown::of(options, format == Format::Debezium, schema, changelog)?;
    sink::check_columns(format, options, schema, &shown)
}
