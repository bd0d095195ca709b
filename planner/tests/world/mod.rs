//! A small world of connectors for tests of planning: nothing in it touches a file.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use tidemark_planner::connector::{ConnectorCatalog, ConnectorSpec, OptionKind, OptionSpec, Options, Side, SourceFacts};
use tidemark_planner::plan::ChangelogKind;

const fn option(name: &'static str, kind: OptionKind, side: Side, default: Option<&'static str>, help: &'static str) -> OptionSpec {
    OptionSpec { name, aliases: &[], kind, side, required: false, default, help }
}

const FORMATS: &[&str] = &["ndjson", "csv", "parquet"];
const PRINTED: &[&str] = &["table", "changelog", "ndjson", "csv"];

const SPECS: &[ConnectorSpec] = &[
    ConnectorSpec { name: "blackhole", aliases: &[], source: false, sink: true, options: &[] },
    ConnectorSpec {
        name: "datagen",
        aliases: &[],
        source: true,
        sink: false,
        options: &[
            option("rows", OptionKind::Integer { min: 0 }, Side::Source, None, "Stop after so many rows."),
            option("rate", OptionKind::Number, Side::Source, None, "Rows in a second."),
            option("fields.*", OptionKind::Text, Side::Source, None, "How a field is made up."),
        ],
    },
    ConnectorSpec {
        name: "file",
        aliases: &["filesystem"],
        source: true,
        sink: true,
        options: &[
            OptionSpec {
                name: "path",
                aliases: &["file"],
                kind: OptionKind::Text,
                side: Side::Both,
                required: true,
                default: None,
                help: "Name a file, or several with a glob.",
            },
            option("format", OptionKind::OneOf(FORMATS), Side::Both, Some("ndjson"), "How records are written."),
            option("follow", OptionKind::Flag, Side::Source, Some("false"), "Wait for records that are appended."),
        ],
    },
    ConnectorSpec {
        name: "nexmark",
        aliases: &[],
        source: true,
        sink: false,
        options: &[
            option("table", OptionKind::OneOf(&["bid", "auction"]), Side::Source, Some("bid"), "Which relation."),
            option("events", OptionKind::Integer { min: 1 }, Side::Source, None, "Stop after so many events."),
        ],
    },
    ConnectorSpec {
        name: "stdout",
        aliases: &["print"],
        source: false,
        sink: true,
        options: &[option("format", OptionKind::OneOf(PRINTED), Side::Sink, Some("table"), "How rows are written.")],
    },
    ConnectorSpec {
        name: "stream",
        aliases: &[],
        source: true,
        sink: false,
        options: &[option("topic", OptionKind::Text, Side::Source, None, "Which topic.")],
    },
];

/// The connectors of the tests.
pub(crate) struct World;

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

impl ConnectorCatalog for World {
    fn connectors(&self) -> &[ConnectorSpec] {
        SPECS
    }

    fn source_facts(&self, connector: &str, options: &Options, declared: Option<&SchemaRef>) -> Result<SourceFacts, String> {
        let facts = SourceFacts::append_only;
        match connector {
            "file" => {
                let path = options.get("path").unwrap_or_default();
                if path.contains("missing") {
                    return Err(format!("file \"{path}\" does not exist"));
                }
                let inferred = Schema::new(vec![
                    Field::new("symbol", DataType::Utf8, true),
                    Field::new("price", DataType::Float64, true),
                    Field::new("ts", time(), true),
                ]);
                Ok(facts(declared.is_none().then(|| Arc::new(inferred)), !options.flag("follow")))
            }
            "nexmark" => {
                let bid = Schema::new(vec![
                    Field::new("auction", DataType::Int64, false),
                    Field::new("bidder", DataType::Int64, false),
                    Field::new("price", DataType::Int64, false),
                    Field::new("channel", DataType::Utf8, false),
                    Field::new("url", DataType::Utf8, false),
                    Field::new("dateTime", time(), false),
                    Field::new("extra", DataType::Utf8, false),
                ]);
                let bounded = options.get("events").is_some();
                Ok(SourceFacts { event_time: Some(("dateTime".into(), 0)), ..facts(Some(Arc::new(bid)), bounded) })
            }
            "datagen" => Ok(facts(None, options.get("rows").is_some())),
            _ => Ok(facts(None, false)),
        }
    }

    fn path_options(&self, path: &str) -> Result<(&'static str, Options), String> {
        let format =
            FORMATS.iter().find(|format| path.ends_with(*format)).ok_or_else(|| format!("\"{path}\" ends like no known format"))?;
        let options = [("format", *format), ("path", path), ("follow", "false")];
        Ok(("file", Options(options.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect())))
    }

    fn check_sink(&self, connector: &str, options: &Options, _: &SchemaRef, changelog: ChangelogKind) -> Result<(), String> {
        if connector == "file" && options.get("format") == Some("parquet") && changelog != ChangelogKind::AppendOnly {
            return Err("parquet cannot hold rows that are taken back".into());
        }
        Ok(())
    }
}
