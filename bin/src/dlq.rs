//! `tidemark dlq`: what lies in a dead letter file or topic, counted, shown, or written out as it was read so that it can be read again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use clap::{Args, Subcommand};
use tidemark_connectors::kafka::inspect::{Cluster, Look};
use tidemark_connectors::kafka::letters::{Address, TopicWriter};
use tidemark_planner::Output;

use crate::args::StdoutFormat;
use crate::exit::{self, Color, Exit};
use crate::outputs;

/// Arguments of `dlq`.
#[derive(Args, Debug, Clone)]
pub(crate) struct DlqArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug, Clone)]
enum What {
    /// Count the letters by source, stage and reason
    List {
        #[command(flatten)]
        which: WhichArgs,
        /// Form of the counts
        #[arg(long, value_enum, value_name = "FORMAT", default_value_t = StdoutFormat::Table)]
        format: StdoutFormat,
    },
    /// Show letters with all that is known of them
    Show {
        #[command(flatten)]
        which: WhichArgs,
    },
    /// Write the records as they were read, one per line: a source can read them again, a corrected one perhaps with success
    Replay {
        #[command(flatten)]
        which: WhichArgs,
        /// File to append the records to, or kafka://host:port/topic to send them to [default: standard output]
        #[arg(short = 'o', long, value_name = "FILE")]
        output: Option<String>,
    },
}

/// Which letters are meant.
#[derive(Args, Debug, Clone)]
struct WhichArgs {
    /// The dead letter file, or kafka://host:port/topic
    #[arg(value_name = "FILE")]
    file: String,
    /// Of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// That failed at this stage
    #[arg(long, value_name = "STAGE", value_parser = ["decode", "evaluate", "compute", "late", "refused"])]
    stage: Option<String>,
    /// Whose reason holds this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// With this id, or an id that begins so
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// No more than so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// A letter, as far as it is looked at.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
struct Letter {
    #[serde(default)]
    id: String,
    #[serde(default)]
    at: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(default)]
    stage: String,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<String>,
    #[serde(default)]
    plan: String,
}

impl Letter {
    /// The record as it was read, if that is known.
    fn record(&self) -> Option<Vec<u8>> {
        match (&self.raw, &self.raw_base64) {
            (Some(raw), _) => Some(raw.clone().into_bytes()),
            (None, Some(text)) if self.stage == "decode" || self.stage.is_empty() => from_base64(text),
            _ => None,
        }
    }
}

/// `tidemark dlq`.
pub(crate) fn command(args: &DlqArgs, color: Color) -> Exit {
    let done = match &args.what {
        What::List { which, format } => list(which, *format).map(|text| exit::print(&text, color)),
        What::Show { which } => show(which).map(|text| exit::print(&text, color)),
        What::Replay { which, output } => replay(which, output.as_deref(), color),
    };
    done.unwrap_or_else(|message| {
        exit::complain(&message, color);
        Exit::Wrong
    })
}

/// The topic that an address names; `None`: a path.
fn topic(place: &str) -> Result<Option<Address>, String> {
    Address::parse(place).transpose()
}

/// How long the brokers of a topic may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Calls with every letter that is meant, in the order of the file, or partition by partition as they come.
fn each(which: &WhichArgs, mut take: impl FnMut(Letter) -> Result<(), String>) -> Result<(), String> {
    let mut left = which.limit.unwrap_or(usize::MAX);
    let mut look = |place: &dyn Fn() -> String, line: &[u8]| -> Result<bool, String> {
        if left == 0 || line.trim_ascii().is_empty() {
            return Ok(left > 0);
        }
        let letter: Letter = serde_json::from_slice(line).map_err(|error| format!("{}: this is no dead letter: {error}", place()))?;
        let meant = which.source.as_ref().is_none_or(|source| letter.source == *source)
            && which.stage.as_ref().is_none_or(|stage| letter.stage == *stage)
            && which.reason.as_ref().is_none_or(|reason| letter.reason.contains(reason))
            && which.id.as_ref().is_none_or(|id| letter.id.starts_with(id));
        if meant {
            left -= 1;
            take(letter)?;
        }
        Ok(left > 0)
    };
    let name = &which.file;
    if let Some(address) = topic(name)? {
        let mut outcome = Ok(true);
        let cluster = Cluster::connect(&address.brokers, &address.properties, PATIENCE).map_err(|error| error.to_string())?;
        let all = Look { count: u64::MAX, partition: None, last: false };
        let shown = cluster.peek(&address.topic, all, |record| {
            let place = || format!("{}, partition {}, offset {}", address.shown(), record.partition, record.offset);
            outcome = look(&place, record.value.as_deref().unwrap_or_default());
            outcome == Ok(true)
        });
        shown.map_err(|error| error.to_string())?;
        return outcome.map(drop);
    }
    let file = File::open(name).map_err(|error| format!("cannot read {name}: {error}"))?;
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| format!("cannot read {name}: {error}"))?;
        if !look(&|| format!("{name}, line {}", number + 1), line.as_bytes())? {
            break;
        }
    }
    Ok(())
}

fn list(which: &WhichArgs, format: StdoutFormat) -> Result<String, String> {
    struct Found {
        count: u64,
        first: String,
        last: String,
    }
    let mut counts: BTreeMap<(String, String, String), Found> = BTreeMap::new();
    each(which, |letter| {
        let at = letter.at.clone();
        let found = counts.entry((letter.source, letter.stage, letter.reason)).or_insert_with(|| Found {
            count: 0,
            first: letter.at.clone(),
            last: String::new(),
        });
        found.count += 1;
        found.last = at;
        Ok(())
    })?;
    let columns = ["source", "stage", "reason", "letters", "first", "last"].map(str::to_owned).to_vec();
    let mut rows: Vec<(u64, Vec<String>)> = counts
        .into_iter()
        .map(|((source, stage, reason), found)| {
            (found.count, vec![source, stage, reason, found.count.to_string(), found.first, found.last])
        })
        .collect();
    // Most letters first; equal ones stay in the order of their names.
    rows.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    Ok(outputs::text(&[Output::Table { columns, rows }], Some(format)))
}

fn show(which: &WhichArgs) -> Result<String, String> {
    let mut text = String::new();
    each(which, |letter| {
        let line = serde_json::to_string_pretty(&letter).map_err(|error| error.to_string())?;
        text.push_str(&line);
        text.push('\n');
        Ok(())
    })?;
    Ok(text)
}

fn replay(which: &WhichArgs, output: Option<&str>, color: Color) -> Result<Exit, String> {
    let (mut records, mut unknown) = (Vec::new(), 0_u64);
    each(which, |letter| {
        match letter.record() {
            Some(record) => records.push(record),
            None => unknown += 1,
        }
        Ok(())
    })?;
    let written = records.len();
    let lines = || records.iter().flat_map(|record| record.iter().chain(b"\n")).copied().collect::<Vec<u8>>();
    let to = output.map(|place| Ok::<_, String>((place, topic(place)?))).transpose()?;
    let done = match to {
        Some((_, Some(address))) => {
            let sent = TopicWriter::open(&address).and_then(|writer| {
                records.iter().try_for_each(|record| writer.send(record))?;
                writer.finish()
            });
            sent.map_err(|error| error.to_string())?;
            Exit::Done
        }
        Some((path, None)) => {
            let file = File::options().create(true).append(true).open(path);
            file.and_then(|mut file| file.write_all(&lines())).map_err(|error| format!("cannot write {path}: {error}"))?;
            Exit::Done
        }
        None => {
            let mut out = std::io::stdout().lock();
            match out.write_all(&lines()).and_then(|()| out.flush()) {
                Ok(()) => Exit::Done,
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::PipeClosed,
                Err(error) => return Err(format!("cannot write to standard output: {error}")),
            }
        }
    };
    exit::tell(&format!("{written} written\n"));
    if unknown > 0 {
        exit::complain(
            &format!("{unknown} left out: a row or result failed after it was decoded, and its record is not known any more"),
            color,
        );
        return Ok(Exit::Failed);
    }
    Ok(done)
}

/// Bytes of base64 text, with the standard alphabet.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        for (text, bytes) in [("//4=", &b"\xff\xfe"[..]), ("", b""), ("YQ==", b"a"), ("YWI=", b"ab"), ("YWJj", b"abc")] {
            assert_eq!(from_base64(text).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!(from_base64("a b"), None);
    }
}
