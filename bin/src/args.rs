//! The command line's grammar: commands, options and their help. No command is carried out here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Streaming SQL on timely and differential dataflow.
#[derive(Parser, Debug)]
#[command(name = "tidemark", version, about, max_term_width = 100, arg_required_else_help = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Colours in messages [NO_COLOR is honoured under auto]
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub(crate) color: ColorChoice,
}

const AFTER_HELP: &str = "\
`tidemark FILE.sql` is short for `tidemark run FILE.sql`.

Exit codes: 0 done, 1 the run failed, 2 a statement or the command line is wrong, 130 stopped by ^C.
TIDEMARK_LOG=debug shows what happens inside (syntax: https://docs.rs/tracing-subscriber EnvFilter).";

/// When to colour.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColorChoice {
    /// When standard error is a terminal and NO_COLOR is not set.
    Auto,
    /// Always, also without a terminal.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the statements: results to standard output, all else to standard error
    Run(RunArgs),
    /// Show what would run: every query and sink of the statements
    Explain(ExplainArgs),
    /// Plan the statements without running them, and report every mistake
    Check(CheckArgs),
    /// Run a built-in query over generated auctions
    Demo(DemoArgs),
    /// Look at a Kafka cluster: its topics, and the records in them
    Kafka(KafkaArgs),
    /// Run the statements as several processes on this machine, and end with them
    Cluster(crate::cluster::ClusterArgs),
    /// Make a program of the statements: one file that runs them, without tidemark
    Compile(crate::compile::CompileArgs),
    /// Look at dead letters: the bad rows that ON ERROR DEAD_LETTER keeps
    Dlq(crate::dlq::DlqArgs),
}

/// Where the statements come from, and what they are read with.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct StatementArgs {
    /// File of SQL statements; `-` reads standard input
    #[arg(value_name = "FILE", conflicts_with = "execute")]
    pub(crate) file: Option<PathBuf>,
    /// SQL statements on the command line; several -e are run as one text
    #[arg(short = 'e', long, value_name = "SQL", allow_hyphen_values = true)]
    pub(crate) execute: Vec<String>,
    /// A setting, as if SET stood before the statements
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) settings: Vec<(String, String)>,
    /// A value for ${NAME} in options; wins over the environment
    #[arg(short = 'D', value_name = "NAME=VALUE", value_parser = key_value)]
    pub(crate) variables: Vec<(String, String)>,
}

/// Arguments of `run`.
#[derive(Args, Debug, Clone)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) statements: StatementArgs,
    #[command(flatten)]
    pub(crate) how: HowArgs,
    #[command(flatten)]
    pub(crate) place: crate::cluster::PlaceArgs,
}

/// How a run goes.
#[derive(Args, Debug, Clone)]
pub(crate) struct HowArgs {
    /// Worker threads [default: SET workers, or one per core; in a cluster, one]
    #[arg(short = 'w', long, visible_alias = "threads", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) workers: Option<u16>,
    /// Format of what is printed: a table at the end for bounded input, else changes as they come
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<StdoutFormat>,
    /// Stop cleanly after a while: what was read is finished, windows still open are not printed, except with --flush
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) limit_time: Option<Duration>,
    /// When the run is stopped, by ^C or --limit-time, let out what is open, as at the end of the input
    #[arg(long, conflicts_with_all = ["record", "replay"])]
    pub(crate) flush: bool,
    /// Write a log of which records came in which tick, to be replayed
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub(crate) record: Option<PathBuf>,
    /// Take the same records in the same ticks as a run that wrote this log: what depends on processing time comes out as it did then
    #[arg(long, value_name = "FILE")]
    pub(crate) replay: Option<PathBuf>,
    /// Warn when one partition, operator or sink holds the others up for this long; 0s never does
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub(crate) stall_warning: Duration,
    /// No progress, no warnings, no summary
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Form of the summary on standard error
    #[arg(long, value_enum, value_name = "FORM", default_value_t = ReportForm::Text)]
    pub(crate) report: ReportForm,
}

/// Formats of standard output.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StdoutFormat {
    /// The rows that stand when the input ends, as a table.
    Table,
    /// Each change with its time and +1 or -1, as it comes.
    Changelog,
    /// Each change as a line of JSON.
    Ndjson,
    /// Each change as a line of CSV, under a header.
    Csv,
}

impl StdoutFormat {
    /// The format of a name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [Self::Table, Self::Changelog, Self::Ndjson, Self::Csv].into_iter().find(|format| format.name() == name)
    }

    /// The name the stdout sink knows it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Changelog => "changelog",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }
}

/// Forms of the summary.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportForm {
    /// Lines to read.
    Text,
    /// One JSON object.
    Json,
    /// The share of a process in a group, for the supervisor of the group.
    #[value(hide = true)]
    Share,
}

/// Arguments of `explain`.
#[derive(Args, Debug, Clone)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) statements: StatementArgs,
    /// Which plan
    #[arg(long, value_enum, default_value_t = Level::Physical)]
    pub(crate) level: Level,
    /// Form of the plan
    #[arg(long, value_enum, default_value_t = DocumentForm::Text)]
    pub(crate) format: DocumentForm,
}

/// Levels of a plan.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// As written, names resolved.
    Logical,
    /// After the rewriting rules.
    Optimized,
    /// The operators that run.
    Physical,
}

/// Forms of a document.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DocumentForm {
    /// Text to read.
    Text,
    /// JSON for programs.
    Json,
}

/// Arguments of `check`.
#[derive(Args, Debug, Clone)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) statements: StatementArgs,
    /// Form of the diagnostics; JSON goes to standard output
    #[arg(long, value_enum, default_value_t = DocumentForm::Text)]
    pub(crate) format: DocumentForm,
}

/// Arguments of `kafka`.
#[derive(Args, Debug, Clone)]
pub(crate) struct KafkaArgs {
    /// What to look at.
    #[command(subcommand)]
    pub(crate) what: KafkaCommand,
}

/// What of a cluster is looked at.
#[derive(Subcommand, Debug, Clone)]
pub(crate) enum KafkaCommand {
    /// List topics with their partitions and records
    Topics(BrokerArgs),
    /// Print records of a topic: partition, offset, timestamp, key, headers, value
    Peek(PeekArgs),
}

/// Where a cluster is reached.
#[derive(Args, Debug, Clone)]
pub(crate) struct BrokerArgs {
    /// Where the cluster is reached: host:port, several with commas
    #[arg(short, long, value_name = "HOST:PORT", default_value = "localhost:9092")]
    pub(crate) brokers: String,
    /// A property of librdkafka, such as security.protocol=SASL_SSL
    #[arg(short = 'X', value_name = "NAME=VALUE", value_parser = key_value)]
    pub(crate) properties: Vec<(String, String)>,
    /// How long to wait for the brokers
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub(crate) timeout: Duration,
    /// Text to read, or a line of JSON for each
    #[arg(long, value_enum, default_value_t = DocumentForm::Text)]
    pub(crate) format: DocumentForm,
}

/// Arguments of `kafka peek`.
#[derive(Args, Debug, Clone)]
pub(crate) struct PeekArgs {
    /// The topic
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// How many records
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Only this partition
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: Option<i32>,
    /// The last records of each partition instead of the first
    #[arg(long)]
    pub(crate) last: bool,
}

/// Arguments of `demo`.
#[derive(Args, Debug, Clone)]
pub(crate) struct DemoArgs {
    /// Print the SQL instead of running it
    #[arg(long)]
    pub(crate) sql: bool,
    /// How many events to generate
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) events: u64,
    #[command(flatten)]
    pub(crate) how: HowArgs,
}

/// Reads `key=value`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write it as name=value".to_owned()),
    }
}

/// Reads a duration such as `10s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let us = tidemark_planner::duration::parse_us(text)?;
    u64::try_from(us).map(Duration::from_micros).map_err(|_| format!("\"{text}\" is negative"))
}

/// The arguments with `run` put in where a file or an option of `run` stands in the command's place.
pub(crate) fn with_default_command(mut args: Vec<OsString>) -> Vec<OsString> {
    // Global options may come before the command.
    let mut at = 1;
    while let Some(arg) = args.get(at).and_then(|arg| arg.to_str()) {
        match arg {
            "--color" => at += 2,
            other if other.starts_with("--color=") => at += 1,
            _ => break,
        }
    }
    let Some(first) = args.get(at).map(|arg| arg.to_string_lossy()) else { return args };
    let is_file = first.ends_with(".sql") || (first.contains('/') && !first.starts_with('-'));
    let is_text = first == "-" || (first.starts_with("-e") && !first.starts_with("--")) || first.starts_with("--execute");
    if is_file || is_text {
        args.insert(at, OsString::from("run"));
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(with_default_command(line.split(' ').map(OsString::from).collect()))
    }

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_file_in_the_commands_place_is_run() {
        for line in
            ["tidemark a.sql", "tidemark dir/a", "tidemark -", "tidemark -e x", "tidemark --color never a.sql -w 2", "tidemark -eSELECT"]
        {
            let cli = parse(line);
            assert!(matches!(cli.map(|cli| cli.command), Ok(Command::Run(_))), "{line}");
        }
        assert!(parse("tidemark run a.sql -e x").is_err(), "a file and a text at once");
    }

    #[test]
    fn a_wrong_command_gets_the_nearest_name() {
        let error = parse("tidemark explian a.sql").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("'explain'"), "{error}");
    }

    #[test]
    fn values_are_checked() {
        for line in [
            "tidemark run a.sql -w 0",
            "tidemark run a.sql --set workers",
            "tidemark run a.sql --set =1",
            "tidemark run a.sql --limit-time 10",
            "tidemark run a.sql --format yaml",
            "tidemark demo --events 0",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        let cli = parse("tidemark run a.sql --limit-time 1m -D A=b=c --set x=").unwrap();
        let Command::Run(run) = cli.command else { panic!("run") };
        assert_eq!(run.how.limit_time, Some(Duration::from_secs(60)));
        assert_eq!(run.statements.variables, [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!(run.statements.settings, [("x".to_owned(), String::new())]);
    }
}
