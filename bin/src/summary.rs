//! # Summary
//!
//! What a run did, at its end: nothing that was dropped or failed goes unsaid. The same facts as lines for people or as one
//! JSON object for programs.

use std::fmt::Write as _;
use std::time::Duration;

use tidemark_dataflow::report::{LateReport, RunReport, StateReport};
use tidemark_planner::duration::format_us;

use crate::figures;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Its sources ended.
    Finished,
    /// It was stopped, by ^C or a limit, and drained.
    Stopped,
    /// It failed.
    Failed,
}

/// A summary.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Summary<'a> {
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// Why it failed.
    pub(crate) error: Option<String>,
    /// Worker threads.
    pub(crate) workers: usize,
    /// Processes, where this is the summary of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) processes: Option<usize>,
    /// Good rows read per second, over the whole run.
    pub(crate) rows_per_second: u64,
    /// Greatest resident memory of the process, where the system tells.
    pub(crate) memory_peak_bytes: Option<u64>,
    /// The counts.
    #[serde(flatten)]
    pub(crate) report: &'a RunReport,
}

impl<'a> Summary<'a> {
    /// A summary of a report.
    pub(crate) fn new(outcome: Outcome, error: Option<String>, workers: usize, report: &'a RunReport) -> Self {
        let rows: u64 = report.sources.iter().map(|source| source.rows).sum();
        let seconds = report.elapsed.as_secs_f64();
        let rows_per_second = if seconds > 0.0 { (rows as f64 / seconds) as u64 } else { 0 };
        Self { outcome, error, workers, processes: None, rows_per_second, memory_peak_bytes: memory_peak_bytes(), report }
    }

    /// Lines for people.
    pub(crate) fn text(&self) -> String {
        let report = self.report;
        let rows: u64 = report.sources.iter().map(|source| source.rows).sum();
        let changes: u64 = report.sinks.iter().map(|sink| sink.changes).sum();
        let verb = match self.outcome {
            Outcome::Finished => "finished in",
            Outcome::Stopped => "stopped after",
            Outcome::Failed => "failed after",
        };
        let processes = self.processes.map(|processes| match processes {
            1 => " in 1 process".to_owned(),
            many => format!(" in {} processes", figures::count(many as u64)),
        });
        let mut out = format!(
            "{verb} {} on {}{}: {} in ({}), {} out",
            figures::elapsed(report.elapsed),
            figures::counted(self.workers as u64, "worker"),
            processes.unwrap_or_default(),
            figures::counted(rows, "row"),
            figures::rate(rows, report.elapsed, "rows"),
            figures::counted(changes, "change"),
        );
        if let Some(peak) = self.memory_peak_bytes {
            let _ = write!(out, ", peak memory {}", figures::bytes(peak));
        }
        out.push('\n');

        let mut lines: Vec<(String, Vec<String>)> = Vec::new();
        for source in &report.sources {
            let mut facts = vec![figures::counted(source.rows, "row")];
            if source.bytes > 0 {
                facts.push(figures::bytes(source.bytes));
            }
            if source.bad > 0 {
                facts.push(format!("{} bad", figures::count(source.bad)));
            }
            if let Some(watermark) = source.watermark_us {
                facts.push(format!("watermark {}", figures::time(watermark)));
            }
            if source.ended < source.partitions && self.outcome != Outcome::Finished {
                facts.push(format!("{} of {} ended", source.ended, figures::counted(source.partitions, "partition")));
            }
            lines.push((format!("source {}", source.name), facts));
        }
        for operator in &report.operators {
            let mut facts = Vec::new();
            if operator.late > 0 {
                facts.push(format!("{} dropped: too late for their window", figures::counted(operator.late, "row")));
            }
            if let Some(late) = &operator.late_rows {
                facts.extend(late_facts(late));
            }
            if let Some(limits) = &operator.limits {
                facts.extend(limit_facts(limits, if operator.name == "Expire" { "row" } else { "group" }));
            }
            if operator.errors > 0 {
                facts.push(format!("{} could not be computed", figures::counted(operator.errors, "result")));
            }
            if operator.ignored > 0 {
                let ignored = figures::counted(operator.ignored, "change");
                facts.push(format!("{ignored} ignored: deletions of keys that are not there, or rows of an earlier partition"));
            }
            if operator.groups > 0 {
                let what = match &*operator.name {
                    "Arrange" | "Expire" => "row",
                    "Errors" => "error",
                    _ => "group",
                };
                facts.push(format!("{} held in {}", figures::counted(operator.groups, what), figures::bytes(operator.state_bytes)));
            }
            if !facts.is_empty() {
                lines.push((format!("n{} {}", operator.node, operator.name), facts));
            }
        }
        for sink in &report.sinks {
            let mut facts = vec![figures::counted(sink.changes, "change")];
            if sink.bytes > 0 {
                facts.push(figures::bytes(sink.bytes));
            }
            lines.push((format!("sink {}", sink.name), facts));
        }
        let width = lines.iter().map(|(title, _)| title.chars().count()).max().unwrap_or(0);
        for (title, facts) in &lines {
            let _ = writeln!(out, "  {title:width$}  {}", facts.join(", "));
        }
        for source in &report.sources {
            for example in &source.bad_examples {
                let _ = writeln!(out, "  bad row in {}: {example}", source.name);
            }
            let shown = source.bad_examples.len() as u64;
            if source.bad > shown && shown > 0 {
                let _ = writeln!(out, "  … and {} more in {}", figures::count(source.bad - shown), source.name);
            }
        }
        out
    }

    /// One JSON object on one line.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// What else became of late rows, and how late all of them were.
fn late_facts(late: &LateReport) -> Vec<String> {
    let fates = [
        (late.corrected, "came late and corrected their window"),
        (late.dead_lettered, "too late: written as dead letters"),
        (late.moved, "too late: counted in the next window"),
    ];
    let time = |us: i64| figures::elapsed(Duration::from_micros(us.unsigned_abs()));
    let mut facts: Vec<String> =
        fates.into_iter().filter(|(rows, _)| *rows > 0).map(|(rows, fate)| format!("{} {fate}", figures::counted(rows, "row"))).collect();
    if late.classes.is_empty() {
        return facts;
    }
    facts.push(format!("late by {} on average, {} at most", time(late.mean_us), time(late.max_us)));
    let classes: Vec<String> = late
        .classes
        .iter()
        .map(|class| match class.below_us {
            Some(us) => format!("{} below {}", figures::count(class.rows), format_us(us)),
            None => format!("{} above", figures::count(class.rows)),
        })
        .collect();
    if classes.len() > 1 {
        facts.push(format!("of them {}", classes.join(", ")));
    }
    facts
}

/// What limits on state have done.
fn limit_facts(limits: &StateReport, what: &str) -> Vec<String> {
    let went = |groups: u64, how: &str| {
        let settings: Vec<&str> = limits.by_setting.iter().map(|class| &*class.setting).collect();
        format!("{} {how} ({})", figures::counted(groups, what), settings.join(", "))
    };
    let mut facts = Vec::new();
    if limits.expired + limits.evicted > 0 {
        let how = match (limits.expired, limits.evicted) {
            (_, 0) => "expired",
            (0, _) => "evicted",
            _ => "expired or evicted",
        };
        facts.push(went(limits.expired + limits.evicted, how));
    }
    if limits.refused_groups > 0 {
        let rows = figures::counted(limits.refused_rows, "row");
        facts.push(format!("{} with {rows} not taken in", figures::counted(limits.refused_groups, "group")));
    }
    if limits.sealed_rows > 0 {
        facts.push(format!("{} dropped: their group was sealed", figures::counted(limits.sealed_rows, "row")));
    }
    facts
}

/// Greatest resident memory of this process.
fn memory_peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_dataflow::report::{OperatorReport, SinkReport, SourceReport};

    fn report() -> RunReport {
        RunReport {
            sources: vec![SourceReport {
                name: "trades".into(),
                rows: 1000,
                bytes: 120_000,
                bad: 3,
                bad_examples: vec!["trades.ndjson offset 120: expected a number".into()],
                partitions: 1,
                ended: 1,
                watermark_us: Some(1_704_101_700_000_000),
                ..SourceReport::default()
            }],
            operators: vec![OperatorReport { node: 2, name: "WindowAggregate".into(), late: 1, ..OperatorReport::default() }],
            sinks: vec![SinkReport { name: "stdout".into(), changes: 20, ..SinkReport::default() }],
            elapsed: Duration::from_secs(2),
            ..RunReport::default()
        }
    }

    #[test]
    fn nothing_dropped_goes_unsaid() {
        let report = report();
        let mut summary = Summary::new(Outcome::Finished, None, 2, &report);
        summary.memory_peak_bytes = Some(45_100_000);
        let expected = "\
finished in 2.00 s on 2 workers: 1,000 rows in (500 rows/s), 20 changes out, peak memory 45.1 MB
  source trades       1,000 rows, 120 kB, 3 bad, watermark 2024-01-01 09:35:00
  n2 WindowAggregate  1 row dropped: too late for their window
  sink stdout         20 changes
  bad row in trades: trades.ndjson offset 120: expected a number
  … and 2 more in trades
";
        assert_eq!(summary.text(), expected);
    }

    #[test]
    fn json_holds_the_same_facts() {
        let report = report();
        let summary = Summary::new(Outcome::Failed, Some("disk full".into()), 2, &report);
        let json: serde_json::Value = serde_json::from_str(&summary.json().unwrap()).unwrap();
        assert_eq!(json["outcome"], "failed");
        assert_eq!(json["error"], "disk full");
        assert_eq!(json["sources"][0]["bad"], 3);
        assert_eq!(json["operators"][0]["late"], 1);
        assert_eq!(json["rows_per_second"], 500);
    }

    #[test]
    fn the_peak_is_known_here() {
        assert!(memory_peak_bytes().is_some_and(|bytes| bytes > 1_000_000));
    }
}
