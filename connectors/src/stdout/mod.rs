//! # Standard output
//!
//! Results for eyes (`table`, `changelog`) and for pipes (`ndjson`, `csv`). Several sinks share the stream: each epoch is written
//! whole, and a printer for eyes says its columns again when another one has printed in between.

mod cells;
mod changelog;
mod lines;
mod table;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use tidemark_planner::connector::{ConnectorSpec, OptionKind, OptionSpec, Options};
use tidemark_planner::plan::{ChangelogKind, SinkPlan};

use crate::encoder::TextEncoder;
use crate::file::{Format, OP, PROGRESS_OPTION, check_progress, count, join, text_format};
use crate::format::changelog::{Changes, NO_CHANGES};
use crate::options::{alias, default, sink as sink_option};
use crate::record::TextFormat;
use crate::registry::StdoutStyle;
use crate::sink::Sink;
use crate::sink_changes::Shown;
use crate::source::ConnectorError;

const OWN_OPTIONS: &[OptionSpec] = &[
    default(
        alias(
            sink_option(
                "format",
                OptionKind::OneOf(&["table", "changelog", "ndjson", "json", "csv", "debezium-json"]),
                "table prints the result once, at the end; changelog each change as it comes; ndjson, csv and debezium-json are for pipes.",
            ),
            &["print.format"],
        ),
        "changelog",
    ),
    OP,
    PROGRESS_OPTION,
];

const OPTIONS: [OptionSpec; count(OWN_OPTIONS)] = join(OWN_OPTIONS);

/// The connector.
pub(crate) const SPEC: ConnectorSpec =
    ConnectorSpec { name: "stdout", aliases: &["print", "console"], source: false, sink: true, options: &OPTIONS };

/// The stream that all sinks to standard output share.
#[derive(Clone)]
pub(crate) struct Stdout(Arc<Mutex<Shared>>);

struct Shared {
    out: Box<dyn Write + Send>,
    /// The sink that wrote last.
    last: Option<u64>,
    /// Sinks opened.
    sinks: u64,
}

impl Stdout {
    pub(crate) fn new(out: Box<dyn Write + Send>) -> Self {
        Self(Arc::new(Mutex::new(Shared { out, last: None, sinks: 0 })))
    }

    /// A place for one sink.
    fn register(&self, name: &str) -> Place {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.sinks += 1;
        Place { stdout: self.clone(), number: shared.sinks, name: name.into() }
    }
}

/// One sink's share of the stream.
pub(crate) struct Place {
    stdout: Stdout,
    number: u64,
    name: String,
}

impl Place {
    /// Writes and flushes. Where another sink has written last, `heading` goes before, behind the sink's name if it has one of its
    /// own. Returns the bytes written.
    fn write(&self, heading: &[u8], bytes: &[u8]) -> Result<u64, ConnectorError> {
        let mut shared = self.stdout.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = Vec::new();
        if shared.last != Some(self.number) && !heading.is_empty() {
            if shared.last.is_some() {
                before.push(b'\n');
            }
            if self.name != SPEC.name {
                before.extend_from_slice(format!("-- {}\n", self.name).as_bytes());
            }
            before.extend_from_slice(heading);
        }
        shared.last = Some(self.number);
        let out = &mut shared.out;
        let written = out.write_all(&before).and_then(|()| out.write_all(bytes)).and_then(|()| out.flush());
        written.map_err(|error| ConnectorError::io("stdout", &error))?;
        Ok((before.len() + bytes.len()) as u64)
    }
}

fn text(options: &Options) -> Result<Option<TextFormat>, String> {
    match options.get("format") {
        Some("ndjson" | "json") => text_format(Format::Ndjson, options).map(Some),
        Some("csv") => text_format(Format::Csv, options).map(Some),
        Some("debezium-json") => text_format(Format::Debezium, options).map(Some),
        _ => Ok(None),
    }
}

/// What standard output can take: every type, in the formats for eyes.
pub(crate) fn check_sink(options: &Options, schema: &SchemaRef, changelog: ChangelogKind) -> Result<(), String> {
    let name = match options.get("format") {
        Some("json") => "ndjson",
        name => name.unwrap_or("changelog"),
    };
    check_progress(options, name, schema)?;
    match text(options)? {
        Some(format) => {
            let debezium = matches!(format, TextFormat::Debezium { .. });
            let shown = Shown::of(options, debezium, schema, changelog)?;
            TextEncoder::new(&format, schema, &shown, None).map(drop).map_err(|error| error.reason)
        }
        None if options.get("op").is_some() => {
            Err("option \"op\" is for the formats ndjson and csv; a changelog shows its diffs anyway".into())
        }
        None if Changes::from_options(options, false)? != NO_CHANGES => {
            Err("the options of changelogs are for the formats ndjson and csv; a changelog shows its diffs anyway".into())
        }
        None => Ok(()),
    }
}

/// Opens the sink.
pub(crate) fn open(plan: &SinkPlan, stdout: &Stdout, style: StdoutStyle) -> Result<Box<dyn Sink>, ConnectorError> {
    let place = stdout.register(&plan.name);
    match text(&plan.options).map_err(|reason| ConnectorError::new(&plan.name, reason))? {
        Some(format) => Ok(Box::new(lines::Lines::new(plan, &format, place)?)),
        None if plan.options.get("format") == Some("table") => Ok(Box::new(table::Table::new(plan, place, style))),
        None => Ok(Box::new(changelog::Changelog::new(plan, place, style))),
    }
}
