//! Golden texts: tables in, SQL, changes out.
//!
//! ```text
//! # what the file is about
//! input trades (ts TIMESTAMP, symbol VARCHAR, price BIGINT, WATERMARK FOR ts AS ts)
//!   00:01  AAA  10
//!   --
//!   00:06  BBB  20
//!   partition
//!   00:02  AAA  30
//! query what this case shows
//!   SELECT symbol, sum(price) FROM trades WINDOW TUMBLING(5m) GROUP BY symbol
//! also
//!   SELECT …
//! ----
//! 2  +1  AAA  40
//! late 1
//! ```
//! `input NAME retract (…)` declares a changelog: each row then has its diff behind its columns. `upsert` instead of `retract`: rows
//! replace those with their PRIMARY KEY (`+1`) or delete them (`-1`). `endless`: the planner is told that the table does not end.
//! `--` ends a step: the rows between two of them enter in one epoch, in all inputs and partitions alike. `also` is another
//! spelling that must give the same. A change is its step (from 1), its diff and its row. Times without a day are on 1970-01-01.

use std::collections::BTreeMap;
use std::path::Path;

use tidemark_dataflow::report::{LateReport, StateReport};

use crate::memory::{TextPartition, TextRow};
use crate::run::{Job, Outcome, run_group};

/// A parsed file.
#[derive(Debug, Default)]
pub struct Script {
    inputs: Vec<(String, String, Vec<TextPartition>)>,
    setup: String,
    cases: Vec<ScriptCase>,
}

#[derive(Debug, Default)]
struct ScriptCase {
    line: usize,
    title: String,
    spellings: Vec<String>,
    expected: String,
    /// Lines of the expectation in the file: first and one past the last.
    lines: (usize, usize),
}

/// Reads a script.
///
/// # Panics
/// When the text is not a script: whoever wrote it should know where.
pub fn parse(text: &str) -> Script {
    let mut script = Script::default();
    let lines: Vec<&str> = text.lines().collect();
    let mut i = 0;
    while i < lines.len() {
        let line = lines[i];
        let start = i;
        i += 1;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mut body = Vec::new();
        while i < lines.len() && (lines[i].starts_with("  ") || lines[i].trim().is_empty()) {
            body.push(lines[i].trim_end());
            i += 1;
        }
        let sql = body.join("\n").trim().to_owned();
        match line.split_once(' ').unwrap_or((line, "")) {
            ("input", rest) => {
                let (name, columns) = rest.split_once(' ').unwrap_or_else(|| panic!("line {}: input NAME (columns)", start + 1));
                script.inputs.push((name.to_owned(), columns.to_owned(), parse_rows(&body)));
            }
            ("setup", _) => script.setup.push_str(&format!("{sql}\n")),
            ("query", title) => {
                script.cases.push(ScriptCase { line: start + 1, title: title.to_owned(), spellings: vec![sql], ..ScriptCase::default() });
            }
            ("also", _) => script.cases.last_mut().unwrap_or_else(|| panic!("line {}: also after a query", start + 1)).spellings.push(sql),
            ("----", _) => {
                let case = script.cases.last_mut().unwrap_or_else(|| panic!("line {}: ---- after a query", start + 1));
                i = start + 1;
                while i < lines.len() && !lines[i].trim().is_empty() {
                    i += 1;
                }
                case.lines = (start + 1, i);
                case.expected = lines[start + 1..i].join("\n");
            }
            _ => panic!("line {}: \"{line}\" starts no block", start + 1),
        }
    }
    for case in &script.cases {
        assert!(case.lines.0 > 0, "line {}: the query has no ----", case.line);
    }
    script
}

fn parse_rows(lines: &[&str]) -> Vec<TextPartition> {
    let mut partitions: Vec<TextPartition> = vec![vec![vec![]]];
    for line in lines {
        let line = line.trim();
        let line = line.split_once(" #").map_or(line, |(row, _)| row.trim());
        let partition = partitions.last_mut().expect("there is always one");
        match line {
            "" => {}
            "--" => partition.push(vec![]),
            "partition" => partitions.push(vec![vec![]]),
            row => partition.last_mut().expect("there is always one").push(cells(row)),
        }
    }
    // All partitions have the steps of the longest: a partition ends with the script, unless it says so.
    let steps = partitions.iter().map(Vec::len).max().unwrap_or(1);
    for partition in &mut partitions {
        if partition.last().is_some_and(|step| step.last() == Some(&vec![Some("end".to_owned())])) {
            partition.last_mut().expect("it has a last step").pop();
        } else {
            partition.resize(steps, vec![]);
        }
    }
    partitions
}

fn cells(row: &str) -> TextRow {
    let mut out = Vec::new();
    let mut rest = row.trim();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('\'') {
            let mut text = String::new();
            let mut chars = quoted.char_indices().peekable();
            let mut end = quoted.len();
            while let Some((at, c)) = chars.next() {
                if c == '\'' {
                    if chars.peek().is_some_and(|(_, next)| *next == '\'') {
                        chars.next();
                    } else {
                        end = at + 1;
                        break;
                    }
                }
                text.push(c);
            }
            out.push(Some(text));
            rest = quoted[end.min(quoted.len())..].trim_start();
        } else {
            let end = rest.find(' ').unwrap_or(rest.len());
            out.push(if &rest[..end] == "null" { None } else { Some(rest[..end].to_owned()) });
            rest = rest[end..].trim_start();
        }
    }
    out
}

/// Runs all cases of a file with several numbers of workers and chunkings. With `UPDATE_EXPECT=1` the file is rewritten.
/// Returns what does not fit.
///
/// # Panics
/// When the file cannot be read.
pub fn check_file(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut script = parse(&text);
    let mut failures = Vec::new();
    let update = std::env::var("UPDATE_EXPECT").is_ok_and(|value| value == "1");
    for case in &mut script.cases {
        let place = format!("{}:{} {}", path.display(), case.line, case.title);
        let mut first: Option<String> = None;
        for (s, spelling) in case.spellings.iter().enumerate() {
            for (processes, workers, chunking) in [(1, 1, None), (1, 2, Some(7)), (1, 4, Some(11)), (2, 2, Some(5))] {
                // What is spelled otherwise is planned alike: once across processes will do.
                if processes > 1 && s > 0 {
                    continue;
                }
                let job = job(&script.inputs, &script.setup, spelling, workers, chunking);
                let outcome = run_group(&job, processes);
                for fault in &outcome.faults {
                    failures.push(format!("{place}: {processes}x{workers} workers: {fault}"));
                }
                let got = outcome_text(&outcome);
                match &first {
                    None => first = Some(got),
                    Some(first) if *first != got => {
                        failures.push(format!(
                            "{place}: spelling {s} with {processes}x{workers} workers gives\n{got}\nand not, as before,\n{first}"
                        ));
                    }
                    Some(_) => {}
                }
                // What does not plan does so for any number of workers.
                if outcome.plan_errors.is_some() {
                    break;
                }
            }
        }
        let got = first.unwrap_or_default();
        if got != case.expected {
            if update {
                case.expected = got;
            } else {
                failures.push(format!("{place}: expected\n{}\nbut got\n{got}", case.expected));
            }
        }
    }
    if update {
        let lines: Vec<&str> = text.lines().collect();
        let mut out = String::new();
        let mut at = 0;
        for case in &script.cases {
            for line in &lines[at..case.lines.0] {
                out.push_str(line);
                out.push('\n');
            }
            if !case.expected.is_empty() {
                out.push_str(&case.expected);
                out.push('\n');
            }
            at = case.lines.1;
        }
        for line in &lines[at..] {
            out.push_str(line);
            out.push('\n');
        }
        std::fs::write(path, out).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    failures
}

fn job(inputs: &[(String, String, Vec<TextPartition>)], setup: &str, query: &str, workers: usize, chunking: Option<u64>) -> Job {
    let mut sql = String::new();
    let mut tables = BTreeMap::new();
    for (name, columns, partitions) in inputs {
        let (columns, rest) = columns.rsplit_once(')').unwrap_or((columns, ""));
        let kinds = [
            ("retract ", "connector = 'test', changelog = 'retract'"),
            ("upsert ", "connector = 'test', changelog = 'upsert'"),
            ("endless ", "connector = 'test', bounded = 'false'"),
            ("", "connector = 'test'"),
        ];
        let of = kinds.iter().find_map(|(word, options)| Some((columns.strip_prefix(word)?, *options)));
        let (columns, options) = of.expect("every text begins with no word");
        sql.push_str(&format!("CREATE SOURCE {name} {columns}) WITH ({options}){rest};\n"));
        tables.insert(name.clone(), partitions.clone());
    }
    sql.push_str(setup);
    sql.push_str(query);
    Job { sql, tables, workers, chunking }
}

/// An outcome as golden text.
pub fn outcome_text(outcome: &Outcome) -> String {
    let mut lines = Vec::new();
    if let Some(errors) = &outcome.plan_errors {
        for error in errors {
            lines.push(format!("error {}: {}", error.code, error.message));
            if let Some(help) = &error.help {
                lines.push(format!("help: {help}"));
            }
        }
        return lines.join("\n");
    }
    // How far a failing run came is not defined.
    if let Err(error) = &outcome.report {
        return format!("failed: {error}");
    }
    let several = outcome.written.len() > 1;
    for (sink, changes) in &outcome.written {
        let mut changes = changes.clone();
        changes.sort();
        for change in changes {
            let row: Vec<String> = change.row.iter().map(ToString::to_string).collect();
            let sink = if several { format!("{sink}  ") } else { String::new() };
            lines.push(format!("{sink}{}  {:+}  {}", change.step.saturating_add(1), change.diff, row.join("  ")));
        }
    }
    if let Ok(report) = &outcome.report {
        let late: u64 = report.operators.iter().map(|operator| operator.late).sum();
        let errors: u64 = report.operators.iter().map(|operator| operator.errors).sum();
        let ignored: u64 = report.operators.iter().map(|operator| operator.ignored).sum();
        let bad: u64 = report.sources.iter().map(|source| source.bad).sum();
        let of =
            |count: fn(&LateReport) -> u64| report.operators.iter().filter_map(|operator| operator.late_rows.as_ref()).map(count).sum();
        let limited =
            |count: fn(&StateReport) -> u64| report.operators.iter().filter_map(|operator| operator.limits.as_ref()).map(count).sum();
        let (corrected, lettered, moved): (u64, u64, u64) =
            (of(|late| late.corrected), of(|late| late.dead_lettered), of(|late| late.moved));
        for (name, count) in [
            ("late", late),
            ("corrected", corrected),
            ("dead-lettered", lettered),
            ("moved", moved),
            ("expired", limited(|limits| limits.expired)),
            ("evicted", limited(|limits| limits.evicted)),
            ("refused groups", limited(|limits| limits.refused_groups)),
            ("refused rows", limited(|limits| limits.refused_rows)),
            ("sealed rows", limited(|limits| limits.sealed_rows)),
            ("errors", errors),
            ("ignored", ignored),
            ("bad", bad),
        ] {
            if count > 0 {
                lines.push(format!("{name} {count}"));
            }
        }
    }
    let mut letters = outcome.letters.clone();
    letters.sort();
    lines.extend(letters.into_iter().map(|letter| format!("letter {letter}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_read() {
        let script = parse(
            "# x\ninput t (a INT)\n  1 'x y' # one\n  --\n  null  'it''s'\n  partition\n  2  b\nquery q\n  SELECT 1\n----\n1  +1  2\n",
        );
        assert_eq!(script.inputs[0].2.len(), 2);
        assert_eq!(script.inputs[0].2[0][1][0], vec![None, Some("it's".into())]);
        assert_eq!(script.inputs[0].2[0][0][0], vec![Some("1".into()), Some("x y".into())]);
        assert_eq!(script.inputs[0].2[1].len(), 2);
        assert_eq!(script.cases[0].expected, "1  +1  2");
    }
}
