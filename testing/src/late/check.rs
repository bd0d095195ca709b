//! Runs a case and compares every change with what the book says.

use std::collections::{BTreeMap, BTreeSet};

use tidemark_dataflow::report::LateReport;

use super::answer::{Bag, moves, own_delay};
use super::{Answer, Case, Event, Firing, Strategy, Watermarks, answer, job, watermarks};
use crate::memory::Change;
use crate::run::{Outcome, run_group};
use crate::value::{Row, Value};

/// Checks a case in some processes with some workers each.
///
/// # Errors
/// What is wrong, with the statements.
pub fn check(case: &Case, processes: usize, workers: usize) -> Result<(), String> {
    let job = job(case, workers);
    let outcome = run_group(&job, processes);
    let given = if case.idles() { Some(judged(case, &outcome).map_err(|wrong| format!("{wrong}\n{}", job.sql))?) } else { None };
    compare(case, &answer(case, given.as_ref()), &outcome).map_err(|wrong| format!("{wrong}\n{processes}x{workers} workers\n{}", job.sql))
}

/// By which watermarks rows were judged, as the run says itself: each by that of the rows before it in its partition, or, where partitions
/// are passed over, by more, but no more than what moves the watermark of its source up to its step.
fn judged(case: &Case, outcome: &Outcome) -> Result<Watermarks, String> {
    let (least, mut found) = (watermarks(case), Watermarks::new());
    for (s, source) in case.sources.iter().enumerate() {
        let most = |id: i64| {
            let has = |events: &Vec<Event>| events.iter().any(|event| event.id == id);
            let step = source.partitions.iter().find_map(|steps| steps.iter().position(has))?;
            let before = source.partitions.iter().flat_map(|steps| steps.iter().take(step + 1)).flatten();
            let greatest = before.filter_map(|event| moves(source.promise, event)).max();
            greatest.map(|greatest| greatest - own_delay(source.promise))
        };
        for change in outcome.written.get(&format!("judged{s}")).map_or(&[][..], Vec::as_slice) {
            let (Value::Int(id), watermark) = (&change.row[0], &change.row[1]) else { return Err("an id is no number".into()) };
            let id = i64::try_from(*id).map_err(|error| error.to_string())?;
            let watermark = match watermark {
                Value::Time(us) => Some(*us),
                _ => None,
            };
            let own = least.get(&id).copied().flatten();
            let allowed = watermark == own || (source.idle_steps.is_some() && watermark > own && watermark <= most(id));
            if !allowed {
                return Err(format!("row {id} was judged by {watermark:?}, its partition had {own:?}"));
            }
            found.insert(id, watermark);
        }
    }
    Ok(found)
}

fn compare(case: &Case, expected: &Answer, outcome: &Outcome) -> Result<(), String> {
    if let Some(errors) = &outcome.plan_errors {
        return Err(format!("did not plan: {errors:#?}"));
    }
    let report = outcome.report.as_ref().map_err(|error| format!("failed: {error}"))?;
    if let Some(fault) = outcome.faults.first() {
        return Err(fault.clone());
    }
    let written = |sink: &str| outcome.written.get(sink).map_or(&[][..], Vec::as_slice);
    // When a window comes out depends on when partitions were passed over; what is in it in the end does not.
    let whole = case.idles() && (case.fin || case.gap().is_some() || case.firing.is_some());
    let by_step = |sink: &str, tables: &[Bag], whole: bool| match whole {
        true => same(
            sink,
            &at_the_end(written(sink), tables.len()),
            &[vec![Bag::new(); tables.len() - 1], tables[tables.len() - 1..].to_vec()].concat(),
        ),
        false => same(sink, written(sink), tables),
    };
    by_step("out", &expected.tables, whole)?;
    if case.fin
        && case.lateness == 0
        && case.firing.is_none()
        && let Some(taken) = written("out").iter().find(|change| change.diff < 0)
    {
        return Err(format!("a final result was taken back: {taken:?}"));
    }
    if case.late_sink {
        by_step("late", &expected.late, case.idles() && case.gap().is_some())?;
    }
    if case.outer.is_some() {
        by_step("outside", &expected.outer, whole)?;
    }
    // A second query over the same windows counts the same rows once more.
    let times = 1 + u64::from(case.outer.is_some());
    let of = |count: fn(&LateReport) -> u64| -> u64 {
        report.operators.iter().filter_map(|operator| operator.late_rows.as_ref()).map(count).sum()
    };
    let dropped: u64 = report.operators.iter().map(|operator| operator.late).sum();
    let letters = expected.letters.len() as u64;
    for (what, found, expected) in [
        ("corrected", of(|late| late.corrected), expected.corrected),
        ("dropped", dropped, expected.dropped),
        ("dead-lettered", of(|late| late.dead_lettered), letters),
        ("moved", of(|late| late.moved), expected.moved),
    ] {
        if found != expected * times {
            return Err(format!("{found} rows were {what} instead of {}", expected * times));
        }
    }
    if case.strategy == Strategy::DeadLetter && case.outer.is_none() {
        same_letters(outcome, expected)?;
    }
    let bad: u64 = report.sources.iter().map(|source| source.bad).sum();
    if (bad == 0) != (expected.bad == 0) {
        return Err(format!("{bad} rows were bad instead of {}", expected.bad));
    }
    Ok(())
}

/// The same changes as if all had come in the last step.
fn at_the_end(changes: &[Change], steps: usize) -> Vec<Change> {
    changes.iter().map(|change| Change { step: steps - 1, ..change.clone() }).collect()
}

/// The changes of each step are the difference between the tables after it and before it.
fn same(sink: &str, changes: &[Change], tables: &[Bag]) -> Result<(), String> {
    let mut before = &Bag::new();
    if let Some(change) = changes.iter().find(|change| change.step >= tables.len()) {
        return Err(format!("a change after the end: {change:?}"));
    }
    for (step, table) in tables.iter().enumerate() {
        let mut expected = table.clone();
        before.iter().for_each(|(row, times)| *expected.entry(row.clone()).or_default() -= times);
        expected.retain(|_, times| *times != 0);
        let mut found = Bag::new();
        changes.iter().filter(|change| change.step == step).for_each(|change| *found.entry(change.row.clone()).or_default() += change.diff);
        found.retain(|_, times| *times != 0);
        if found != expected {
            let text = |bag: &Bag, other: &Bag| -> String {
                let differing = bag.iter().filter(|(row, times)| other.get(*row) != Some(times));
                differing.map(|(row, times)| format!("\n    {times:+} {}", show(row))).collect()
            };
            return Err(format!(
                "sink {sink}, step {step} of {}:\n  found{}\n  expected{}",
                tables.len() - 1,
                text(&found, &expected),
                text(&expected, &found)
            ));
        }
        before = table;
    }
    Ok(())
}

fn show(row: &Row) -> String {
    row.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
}

/// Letters are the same but for the row, whose columns are those that the plan reads.
fn same_letters(outcome: &Outcome, expected: &Answer) -> Result<(), String> {
    let mut found: BTreeMap<String, i64> = BTreeMap::new();
    for letter in outcome.letters.iter().filter(|letter| letter.contains(" late ")) {
        let (place, reason) = letter.split_once(" {").zip(letter.split_once(" late ")).map_or(("", ""), |(a, b)| (a.0, b.1));
        let window = reason.rsplit_once(", ").map_or(reason, |(window, _)| window);
        *found.entry(format!("{place} {window}")).or_default() += 1;
    }
    let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
    let time = |us: i64| {
        let text = Value::Time(us).to_string();
        // Letters spell days and seconds.
        let text = if text.contains('T') { text } else { format!("1970-01-01T{text}") };
        match text.len() {
            16 => format!("{text}:00"),
            // Of a fraction, three digits or six.
            20..=22 => format!("{text:0<23}"),
            24..=25 => format!("{text:0<26}"),
            _ => text,
        }
    };
    for (source, partition, offset, (start, end), watermark, diff) in &expected.letters {
        let what = if *diff < 0 { "retraction" } else { "arrival" };
        let window = format!("window [{}, {}), watermark {}", time(*start), time(*end), time(*watermark));
        let text = format!("t{source} t{source}/{partition} {offset} {what}: {window}");
        *wanted.entry(text).or_default() += 1;
    }
    if found == wanted { Ok(()) } else { Err(format!("letters\n  found {found:#?}\n  expected {wanted:#?}")) }
}

/// Smaller cases, largest cuts first.
pub fn smaller(case: &Case) -> Vec<Case> {
    let mut out = Vec::new();
    for s in 0..case.sources.len() {
        for p in 0..case.sources[s].partitions.len() {
            if case.sources[s].partitions.len() > 1 {
                let mut less = case.clone();
                less.sources[s].partitions.remove(p);
                out.push(less);
            }
            for t in 0..case.sources[s].partitions[p].len() {
                let rows = case.sources[s].partitions[p][t].len();
                for cut in [0..rows / 2, rows / 2..rows] {
                    if cut.len() > 1 {
                        let mut less = case.clone();
                        less.sources[s].partitions[p][t].drain(cut);
                        out.push(less);
                    }
                }
                for row in 0..rows.min(12) {
                    let mut less = case.clone();
                    less.sources[s].partitions[p][t].remove(row);
                    out.push(less);
                }
            }
        }
    }
    out.iter_mut().for_each(forget_orphans);
    for plainer in [
        Case { keyed: false, ..case.clone() },
        Case { lists: false, ..case.clone() },
        Case { filter: false, ..case.clone() },
        Case { late_sink: false, ..case.clone() },
        Case { outer: None, ..case.clone() },
        Case { firing: case.firing.clone().map(|firing| Firing { told: false, ..firing }), ..case.clone() },
        Case { firing: case.firing.clone().map(|firing| Firing { purge: false, ..firing }), ..case.clone() },
    ] {
        let same = (plainer.keyed, plainer.lists, plainer.filter, plainer.late_sink, plainer.outer, &plainer.firing)
            == (case.keyed, case.lists, case.filter, case.late_sink, case.outer, &case.firing);
        if !same {
            out.push(plainer);
        }
    }
    out
}

/// Leaves out what takes back rows that are not there any more.
fn forget_orphans(case: &mut Case) {
    for partition in case.sources.iter_mut().flat_map(|source| &mut source.partitions) {
        let given: BTreeSet<i64> = partition.iter().flatten().filter(|event| event.diff > 0).map(|event| event.id).collect();
        partition.iter_mut().for_each(|step| step.retain(|event| given.contains(&event.id)));
    }
}
