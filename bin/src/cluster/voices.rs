//! # What the processes of a group say
//!
//! Lines are passed on behind the number of the process that says them. Failures are held back for a moment: every process tells
//! of the first one, and one message is enough. What each has done comes as a share, and is told once, as that of the group.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidemark_dataflow::report::RunReport;

use crate::args::ReportForm;
use crate::exit::{self, Color};
use crate::summary::{Outcome, Summary};

/// What stands before a process's share of the summary.
const SHARE: &str = "share of the group's summary: ";

/// What a process of a group did, as its supervisor reads it.
#[derive(Debug, serde::Deserialize)]
struct Share {
    outcome: Outcome,
    error: Option<String>,
    workers: usize,
    memory_peak_bytes: Option<u64>,
    /// What results waited for when the run was stopped.
    waiting: String,
    #[serde(flatten)]
    report: RunReport,
}

/// The line by which a process tells its supervisor what it did, and what results waited for when it was stopped.
pub(crate) fn share(summary: &Summary<'_>, waiting: &str) -> serde_json::Result<String> {
    #[derive(serde::Serialize)]
    struct Said<'a> {
        #[serde(flatten)]
        summary: &'a Summary<'a>,
        waiting: &'a str,
    }
    serde_json::to_string(&Said { summary, waiting }).map(|json| format!("{SHARE}{json}\n"))
}

/// What has been heard and not passed on.
#[derive(Debug, Default)]
pub(super) struct Voices(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// Failures, each with the lines that belong to it.
    failures: Vec<(u16, String)>,
    shares: BTreeMap<u16, Share>,
    /// What was told of them.
    told: BTreeSet<String>,
}

impl Voices {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to a process until it says no more.
    pub(super) fn listen(&self, process: u16, stderr: impl Read) {
        let mut failing = false;
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some(share) = line.strip_prefix(SHARE) {
                match serde_json::from_str(share) {
                    Ok(share) => drop(self.lock().shares.insert(process, share)),
                    Err(error) => tracing::warn!(process, %error, "what a process did is not understood"),
                }
                continue;
            }
            let begins = line.starts_with("error:") || line.starts_with("\x1b[1;31merror:");
            failing = begins || failing && (line.starts_with(' ') || line.starts_with("help:"));
            let mut heard = self.lock();
            match heard.failures.iter_mut().rev().find(|failure| failure.0 == process) {
                _ if !failing => exit::tell(&format!("[{process}] {line}\n")),
                Some((_, failure)) if !begins => failure.push_str(&format!("\n[{process}] {line}")),
                _ => heard.failures.push((process, line)),
            }
        }
    }

    /// Passes on what failed, as far as it was not told before. `ended` are processes that ended without a word, each with what is
    /// known of it.
    pub(super) fn tell_failures(&self, ended: &BTreeMap<u16, String>, color: Color) {
        let Heard { failures, told, .. } = &mut *self.lock();
        for (process, how) in ended {
            let message = format!("process {process} was ended from outside: {how}");
            if told.insert(message.clone()) {
                exit::complain(&message, color);
            }
        }
        for (process, failure) in needed(failures, ended) {
            if told.insert(failure.to_owned()) {
                exit::tell(&format!("[{process}] {failure}\n"));
            }
        }
    }

    /// Whether others gave up on a process because it was silent: it will not end by itself.
    pub(super) fn gave_up_on(&self, process: u16) -> bool {
        let heard = self.lock();
        let named = format!("process {process} (");
        heard.failures.iter().any(|(_, failure)| failure.contains(&named) && failure.contains(") has not answered for "))
    }

    /// Tells what the group did.
    pub(super) fn tell_summary(&self, form: ReportForm, color: Color) {
        let heard = self.lock();
        let Some(share) = heard.shares.values().next() else { return };
        let mut report = share.report.clone();
        heard.shares.values().skip(1).for_each(|share| report.add(&share.report));
        let shares = || heard.shares.values();
        let outcome = if shares().any(|share| share.outcome == Outcome::Failed) {
            Outcome::Failed
        } else if shares().any(|share| share.outcome == Outcome::Stopped) {
            Outcome::Stopped
        } else {
            Outcome::Finished
        };
        let error = shares().find_map(|share| share.error.clone());
        let mut summary = Summary::new(outcome, error, shares().map(|share| share.workers).sum(), &report);
        summary.processes = Some(heard.shares.len());
        // Each had its peak, if not at the same time.
        summary.memory_peak_bytes = shares().map(|share| share.memory_peak_bytes).sum();
        match form {
            ReportForm::Text | ReportForm::Share => {
                exit::tell(&summary.text());
                // Most often all wait for the same.
                let waiting: BTreeSet<&str> = shares().map(|share| share.waiting.as_str()).collect();
                waiting.into_iter().for_each(exit::tell);
            }
            ReportForm::Json => match summary.json() {
                Ok(json) => exit::tell(&format!("{json}\n")),
                Err(error) => exit::complain(&format!("cannot write the summary: {error}"), color),
            },
        }
    }
}

/// The failures that say something which no other says: a process is the best witness of its own, and its supervisor of its end.
fn needed<'a>(failures: &'a [(u16, String)], ended: &BTreeMap<u16, String>) -> Vec<(u16, &'a str)> {
    let of = |process: u16| format!("error: process {process} (");
    let plain = |text: &str| text.replace("\x1b[1;31m", "").replace("\x1b[0m", "");
    let mut needed: Vec<(u16, &str)> = Vec::new();
    for (process, text) in failures {
        let plain = plain(text);
        let known = ended.keys().any(|ended| plain.contains(&of(*ended)))
            || failures.iter().any(|(witness, _)| plain.contains(&of(*witness)) && plain.contains(") failed: "))
            || needed.iter().any(|(_, told)| told == text);
        if !known {
            needed.push((*process, text));
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(of: &[(u16, &str)]) -> Vec<(u16, String)> {
        of.iter().map(|(process, text)| (*process, (*text).to_owned())).collect()
    }

    #[test]
    fn one_message_is_enough() {
        let all = failures(&[
            (1, "error: process 0 (127.0.0.1:1) failed: bad row"),
            (0, "error: bad row\n[0]   the record: x"),
            (2, "error: process 0 (127.0.0.1:1) failed: bad row"),
        ]);
        assert_eq!(needed(&all, &BTreeMap::new()), [(0, all[1].1.as_str())]);
        let lost =
            failures(&[(1, "\x1b[1;31merror:\x1b[0m process 2 (h:1) has gone"), (0, "\x1b[1;31merror:\x1b[0m process 2 (h:1) has gone")]);
        assert_eq!(needed(&lost, &BTreeMap::new()).len(), 1);
        assert_eq!(needed(&lost, &BTreeMap::from([(2, "signal 9".to_owned())])), []);
    }

    #[test]
    fn shares_are_read_and_failures_kept_together() {
        let report = RunReport::default();
        let line = share(&Summary::new(Outcome::Stopped, None, 3, &report), "for rows\n").unwrap();
        let voices = Voices::default();
        voices.listen(4, format!("error: a\n  b\n{line}").as_bytes());
        let heard = voices.lock();
        assert_eq!(heard.failures, failures(&[(4, "error: a\n[4]   b")]));
        let share = &heard.shares[&4];
        assert_eq!((share.workers, share.outcome, share.waiting.as_str()), (3, Outcome::Stopped, "for rows\n"));
    }
}
