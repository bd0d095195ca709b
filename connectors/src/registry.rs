//! All connectors: what the planner asks of them, and what the engine opens.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::{Field, SchemaRef};
use tidemark_planner::connector::{ConnectorCatalog, ConnectorSpec, Options, SourceFacts};
use tidemark_planner::plan::{ChangelogKind, SinkPlan, SourcePlan};

use crate::blackhole::{self, Blackhole};
use crate::dead_letters::DeadLetterFile;
use crate::io::{DeadLetters, Io};
#[cfg(feature = "kafka")]
use crate::kafka;
use crate::sink::{Placement, Sink};
use crate::source::{ConnectorError, Source};
use crate::stdout::{self, Stdout};
use crate::{datagen, file, nexmark, stdin};

const SPECS: &[ConnectorSpec] = &[
    file::SPEC,
    stdin::SPEC,
    #[cfg(feature = "kafka")]
    kafka::SPEC,
    datagen::SPEC,
    nexmark::SPEC,
    stdout::SPEC,
    blackhole::SPEC,
];

/// How results look on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StdoutStyle {
    /// Insertions and retractions are coloured.
    pub color: bool,
    /// Someone is looking: tables are cut to the width.
    pub terminal: bool,
    /// Columns of the terminal.
    pub width: Option<usize>,
}

/// The connectors, and the process's standard streams as the caller gave them.
pub struct Connectors {
    stdout: Stdout,
    style: StdoutStyle,
    stdin: stdin::Factory,
    stdin_taken: AtomicBool,
}

impl Connectors {
    /// Connectors that print to the given place and read standard input from the given one, which is called at most once.
    pub fn new(
        stdout: Box<dyn Write + Send>,
        style: StdoutStyle,
        stdin: impl Fn() -> Box<dyn std::io::Read + Send> + Send + Sync + 'static,
    ) -> Self {
        Self { stdout: Stdout::new(stdout), style, stdin: Box::new(stdin), stdin_taken: AtomicBool::new(false) }
    }

    /// Connectors on the process's own standard streams.
    pub fn of_process(style: StdoutStyle) -> Self {
        Self::new(Box::new(std::io::stdout()), style, || Box::new(std::io::stdin()))
    }
}

fn unknown(connector: &str) -> String {
    let names: Vec<&str> = SPECS.iter().map(|spec| spec.name).collect();
    format!("there is no connector \"{connector}\"; known are {}", names.join(", "))
}

fn not_a(connector: &str, side: &str) -> String {
    format!("connector \"{connector}\" is no {side}")
}

impl ConnectorCatalog for Connectors {
    fn connectors(&self) -> &[ConnectorSpec] {
        SPECS
    }

    fn source_facts(&self, connector: &str, options: &Options, declared: Option<&SchemaRef>) -> Result<SourceFacts, String> {
        match connector {
            "file" => file::facts(options, declared),
            "stdin" => stdin::facts(options, declared),
            "datagen" => datagen::facts(options, declared),
            "nexmark" => nexmark::facts(options, declared),
            #[cfg(feature = "kafka")]
            "kafka" => kafka::facts(options, declared),
            "stdout" | "blackhole" => Err(not_a(connector, "source")),
            other => Err(unknown(other)),
        }
    }

    fn metadata(&self, connector: &str) -> Vec<Field> {
        match connector {
            #[cfg(feature = "kafka")]
            "kafka" => kafka::metadata(),
            _ => Vec::new(),
        }
    }

    fn path_options(&self, path: &str) -> Result<(&'static str, Options), String> {
        file::path_options(path).map(|options| (file::SPEC.name, options))
    }

    #[cfg(feature = "kafka")]
    fn complete(&self, called: &str, options: &mut Options, primary_key: Option<&[String]>) -> Result<(), String> {
        let is_kafka = std::iter::once(&kafka::SPEC.name).chain(kafka::SPEC.aliases).any(|name| name.eq_ignore_ascii_case(called));
        if is_kafka { kafka::complete(called, options, primary_key) } else { Ok(()) }
    }

    fn needs_key(&self, connector: &str, options: &Options, changelog: ChangelogKind) -> Option<&'static str> {
        match connector {
            #[cfg(feature = "kafka")]
            "kafka" => kafka::needs_key(options, changelog),
            _ => (options.get("changelog.mode") == Some("upsert")).then_some("changelog.mode = 'retract'"),
        }
    }

    #[cfg(feature = "kafka")]
    fn check_dead_letters(&self, path: &str) -> Result<(), String> {
        kafka::letters::Address::parse(path).map_or(Ok(()), |address| address?.check())
    }

    fn check_sink(&self, connector: &str, options: &Options, schema: &SchemaRef, changelog: ChangelogKind) -> Result<(), String> {
        match connector {
            "file" => file::check_sink(options, schema, changelog),
            "stdout" => stdout::check_sink(options, schema, changelog),
            #[cfg(feature = "kafka")]
            "kafka" => kafka::check_sink(options, schema, changelog),
            "blackhole" => Ok(()),
            "stdin" | "datagen" | "nexmark" => Err(not_a(connector, "sink")),
            other => Err(unknown(other)),
        }
    }
}

impl Io for Connectors {
    fn open_source(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, ConnectorError> {
        match plan.connector.as_str() {
            "file" => file::open_source(plan),
            "stdin" => {
                if self.stdin_taken.swap(true, Ordering::Relaxed) {
                    return Err(ConnectorError::new(&plan.name, "stdin can be read only once, and another source reads it"));
                }
                stdin::open(plan, (self.stdin)())
            }
            "datagen" => datagen::open(plan),
            "nexmark" => nexmark::open(plan),
            #[cfg(feature = "kafka")]
            "kafka" => kafka::open_source(plan),
            other => Err(ConnectorError::new(&plan.name, unknown(other))),
        }
    }

    fn placement(&self, plan: &SinkPlan) -> Placement {
        match plan.connector.as_str() {
            name if name == blackhole::SPEC.name => Placement::EachWorker,
            "file" if file::per_process(&plan.options) => Placement::EachProcess,
            _ => Placement::OneWorker,
        }
    }

    fn open_sink(&self, plan: &SinkPlan, place: usize) -> Result<Box<dyn Sink>, ConnectorError> {
        match plan.connector.as_str() {
            "file" => file::open_sink(plan, place),
            "stdout" => stdout::open(plan, &self.stdout, self.style),
            #[cfg(feature = "kafka")]
            "kafka" => kafka::open_sink(plan),
            "blackhole" => Ok(Box::new(Blackhole::default())),
            other => Err(ConnectorError::new(&plan.name, unknown(other))),
        }
    }

    fn open_dead_letters(&self, path: &str) -> Result<Box<dyn DeadLetters>, ConnectorError> {
        #[cfg(feature = "kafka")]
        if let Some(address) = kafka::letters::Address::parse(path) {
            let address = address.map_err(|reason| ConnectorError::new("dead letters", reason))?;
            return Ok(Box::new(kafka::letters::TopicWriter::open(&address)?));
        }
        Ok(Box::new(DeadLetterFile::open(path)?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::datatypes::DataType;
    use tidemark_planner::connector::OptionKind;

    use super::*;
    use crate::testing::{options, schema, sink_plan, source_plan};

    fn connectors() -> Connectors {
        Connectors::new(Box::new(std::io::sink()), StdoutStyle::default(), || Box::new(std::io::empty()))
    }

    #[test]
    fn names_and_options_are_told_apart_and_explained() {
        let connectors = connectors();
        let mut names = BTreeSet::new();
        for spec in connectors.connectors() {
            assert!(spec.source || spec.sink);
            for name in std::iter::once(&spec.name).chain(spec.aliases) {
                assert!(names.insert(*name), "{name} names two connectors");
            }
            let mut keys = BTreeSet::new();
            for option in spec.options {
                for key in std::iter::once(&option.name).chain(option.aliases) {
                    assert!(keys.insert(*key), "{key} names two options of {}", spec.name);
                }
                assert!(option.help.ends_with('.'), "{}.{}: {}", spec.name, option.name, option.help);
                assert!(!(option.required && option.default.is_some()), "{}", option.name);
                let Some(default) = option.default else { continue };
                match option.kind {
                    OptionKind::OneOf(words) => assert!(words.contains(&default), "{}", option.name),
                    OptionKind::Flag => assert!(["true", "false"].contains(&default)),
                    OptionKind::Integer { min } => assert!(default.parse::<i64>().is_ok_and(|value| value >= min)),
                    OptionKind::Number => assert!(default.parse::<f64>().is_ok()),
                    OptionKind::Duration => assert!(tidemark_planner::duration::parse_us(default).is_ok()),
                    OptionKind::Text => {}
                }
            }
        }
        assert!(names.is_superset(&["filesystem", "print", "console", "datagen", "nexmark", "blackhole", "stdin"].into()));
    }

    #[test]
    fn every_connector_answers_for_its_side_only() {
        let connectors = connectors();
        let columns = schema(&[("n", DataType::Int64)]);
        for spec in connectors.connectors() {
            let source = connectors.source_facts(spec.name, &options(&[]), Some(&columns));
            let sink = connectors.check_sink(spec.name, &options(&[]), &columns, ChangelogKind::AppendOnly);
            if !spec.source {
                assert_eq!(source.expect_err("no source"), format!("connector \"{}\" is no source", spec.name));
                assert!(connectors.open_source(&source_plan(spec.name, &[], &columns, &[0])).is_err());
            }
            if !spec.sink {
                assert_eq!(sink.expect_err("no sink"), format!("connector \"{}\" is no sink", spec.name));
                assert!(connectors.open_sink(&sink_plan(spec.name, &[], &columns, ChangelogKind::AppendOnly), 0).is_err());
            }
        }
        let unknown = connectors.source_facts("pulsar", &options(&[]), None).expect_err("unknown");
        assert!(unknown.starts_with("there is no connector \"pulsar\"; known are file, stdin, "), "{unknown}");
    }

    #[test]
    fn stdin_is_read_by_one_source() {
        let connectors = connectors();
        let plan = source_plan("stdin", &[], &schema(&[("n", DataType::Int64)]), &[0]);
        assert!(connectors.open_source(&plan).is_ok());
        let error = connectors.open_source(&plan).err().expect("refused").to_string();
        assert_eq!(error, "t: stdin can be read only once, and another source reads it");
    }

    #[test]
    fn a_blackhole_counts_at_each_worker() {
        let connectors = connectors();
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let rows = RecordBatch::try_from_iter([("n", numbers)]).expect("a column");
        let plan = sink_plan("blackhole", &[], &rows.schema(), ChangelogKind::Retract);
        assert_eq!(connectors.placement(&plan), Placement::EachWorker);
        let mut sink = connectors.open_sink(&plan, 1).expect("opened");
        sink.write(&rows, None).expect("counted");
        sink.write(&rows, Some(&[-1, 1, 4])).expect("counted");
        sink.end_epoch(1).expect("counted");
        assert_eq!(sink.finish().expect("counted").changes, 9);
    }
}
