//! # What holds a result back
//!
//! For each operator that waits for a watermark: the partition that has the least, the row that set it, since when, and what would release
//! it; and the sink or operator that holds the frontier. Told by `EXPLAIN PROGRESS`, by the warning of a stall, and at the end of a run that
//! was stopped.

use std::time::Duration;

use tidemark_dataflow::report::{PartitionReport, RunReport};
use tidemark_planner::explain::explain;
use tidemark_planner::plan::{
    Emit, OverPlan, PhysicalOp, PhysicalPlan, TimeDomain, WatermarkPlan, WatermarkStrategy, WindowKind, WindowPlan,
};

use crate::figures;

/// Behind the clock by this much, something is at work and not merely in the middle of a tick.
const LAG: Duration = Duration::from_secs(1);

/// Something that is waited for.
#[derive(Debug)]
pub(crate) struct Held {
    /// What waits.
    pub(crate) title: String,
    /// What it waits for, as sentences.
    pub(crate) lines: Vec<String>,
    /// What holds it.
    pub(crate) holder: Holder,
    /// Since when, in microseconds since 1970.
    pub(crate) since_us: u64,
    /// Others have gone on meanwhile.
    pub(crate) alone: bool,
}

/// What holds a watermark or the frontier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A partition of a source.
    Partition(String, String),
    /// An operator or a sink, by its title.
    Work(String),
}

/// All that is waited for. `now_us` is the wall clock.
pub(crate) fn held(plan: &PhysicalPlan, report: &RunReport, now_us: u64) -> Vec<Held> {
    let lines = explain(plan);
    let title = |node: u32| {
        let name = lines.iter().find(|line| line.id.0 == node).map_or("", |line| line.name);
        format!("n{node} {name}")
    };
    // What waits for the same watermark for the same reason is told once.
    let mut waiting: Vec<(&WatermarkPlan, &str, Vec<String>)> = Vec::new();
    for node in plan.nodes() {
        let waits = waits(&node.op);
        for watermark in node.op.watermarks().into_iter().filter(|watermark| watermark.domain == TimeDomain::EventTime) {
            let title = title(node.id.0);
            match waiting.iter_mut().find(|(other, why, _)| *other == watermark && *why == waits) {
                Some((_, _, titles)) if titles.contains(&title) => {}
                Some((_, _, titles)) => titles.push(title),
                None => waiting.push((watermark, waits, vec![title])),
            }
        }
    }
    let mut all = Vec::new();
    for (watermark, waits, titles) in waiting {
        all.extend(watermark_held(plan, report, (watermark, waits), titles.join(", "), now_us));
    }
    all.extend(frontier_held(report, &title, now_us));
    all
}

/// What an operator keeps back until its watermark has passed it.
fn waits(op: &PhysicalOp) -> &'static str {
    match op {
        PhysicalOp::Aggregate { window: Some(WindowPlan { kind: WindowKind::Session { .. }, .. }), .. } => {
            "sessions that end later are open"
        }
        PhysicalOp::Aggregate { emit: Emit::Triggered, .. } => {
            "windows that end later are open, and have put out only what their triggers say"
        }
        PhysicalOp::Over(OverPlan { time: Some(_), .. }) => "rows of a later time wait for those before them",
        PhysicalOp::AsOf(_) => "rows of a later time wait for the versions they meet",
        PhysicalOp::Arrange(_) => "rows are kept that later ones may still meet",
        _ => "windows that end later are open",
    }
}

fn ago(then_us: u64, now_us: u64) -> String {
    figures::elapsed(Duration::from_micros(now_us.saturating_sub(then_us)))
}

fn watermark_held(
    plan: &PhysicalPlan,
    report: &RunReport,
    (watermark, waits): (&WatermarkPlan, &str),
    title: String,
    now_us: u64,
) -> Option<Held> {
    let mut open: Vec<(usize, &PartitionReport)> = Vec::new();
    for source in &watermark.sources {
        let of = report.sources.get(source.index())?;
        open.extend(of.partition_reports.iter().filter(|partition| !partition.ended).map(|partition| (source.index(), partition)));
    }
    // None before some: a partition without a watermark holds all.
    open.sort_by_key(|(_, partition)| partition.watermark_us);
    let ((at, slowest), rest) = (*open.first()?, &open[1..]);
    let source = &plan.sources()[at];
    let mut lines = Vec::new();
    if watermark.waits_for_end() {
        lines.push(format!("windows come out at the end of the input: partition {} of {} has not ended", slowest.name, source.name));
        let holder = Holder::Partition(source.name.clone(), slowest.name.clone());
        return Some(Held { title, lines, holder, since_us: slowest.read_at_us.unwrap_or(0), alone: false });
    }
    let time = source.event_time.as_ref()?;
    let column = &time.column;
    match slowest.watermark_us {
        None => lines.push(format!("no window is out: no row with a {column} has come from partition {} of {}", slowest.name, source.name)),
        Some(us) => {
            let reached = us.saturating_sub(watermark.delay_us);
            lines.push(format!("the watermark is {}: {waits}", figures::time(reached)));
            let since = slowest.set_at_us.map_or_else(String::new, |at| format!(" for {}", ago(at, now_us)));
            lines.push(format!("held by partition {} of {}{since}", slowest.name, source.name));
            match (slowest.set_by_offset, slowest.set_by_time_us) {
                (Some(offset), Some(set_by)) => {
                    lines.push(format!("set by the row at offset {offset}, whose {column} is {}", figures::time(set_by)));
                }
                _ if slowest.passed_over => lines.push("it was idle and follows the fastest partition".into()),
                _ => {}
            }
        }
    }
    lines.push(match slowest.read_at_us {
        _ if slowest.waits => "it is ahead of another partition and waits for that (watermark.max-drift)".into(),
        Some(at) if now_us.saturating_sub(at) >= micros(LAG) => {
            format!("no row has come from it for {}; the next is at offset {}", ago(at, now_us), slowest.next_offset)
        }
        Some(_) => format!("rows come from it, up to offset {}, none with a greater {column}", slowest.next_offset),
        None => "no row has come from it".into(),
    });
    let mut release = match (time.strategy, slowest.set_by_time_us) {
        (WatermarkStrategy::Carried, _) => "a row of it that carries a later watermark".to_owned(),
        (WatermarkStrategy::Bounded { .. }, Some(us)) => format!("a row of it with a {column} after {}", figures::time(us)),
        (WatermarkStrategy::Bounded { .. }, None) => format!("a row of it with a {column}"),
    };
    release.push_str(", or its end");
    match time.timing.idle_timeout_us {
        Some(us) if !rest.is_empty() => {
            release
                .push_str(&format!("; others go on without it when it has had nothing for {}", tidemark_planner::duration::format_us(us)));
        }
        None if rest.iter().any(|(other, _)| *other == at) => {
            release.push_str(&format!("; 'watermark.idle-timeout' in the options of {} lets the others go on without it", source.name));
        }
        _ => {}
    }
    lines.push(format!("released by {release}"));
    if let Some((other, next)) = rest.first() {
        let reached = next.watermark_us.map_or_else(|| "no watermark yet".to_owned(), |us| format!("at {}", figures::time(us)));
        lines.push(format!("then by partition {} of {}, {reached}", next.name, plan.sources()[*other].name));
    }
    let since_us = slowest.set_at_us.or(slowest.read_at_us).unwrap_or(0);
    let alone = rest.iter().any(|(_, other)| other.watermark_us > slowest.watermark_us && other.read_at_us > Some(since_us));
    Some(Held { title, lines, holder: Holder::Partition(source.name.clone(), slowest.name.clone()), since_us, alone })
}

fn frontier_held(report: &RunReport, title: &dyn Fn(u32) -> String, now_us: u64) -> Option<Held> {
    let behind = |us: u64| us > 0 && us < now_us && now_us - us >= micros(LAG);
    let held = |what: String, verb: &str, us: u64| Held {
        title: "frontier".into(),
        lines: vec![format!("{what} {verb} what came {} ago", ago(us, now_us))],
        holder: Holder::Work(what),
        since_us: us,
        alone: true,
    };
    if let Some(sink) = report.sinks.iter().filter(|sink| sink.written_to_us < sink.given_to_us).min_by_key(|sink| sink.written_to_us)
        && behind(sink.written_to_us)
    {
        return Some(held(format!("sink {}", sink.name), "is still writing", sink.written_to_us));
    }
    // One that does not let its worker go holds up all others there, also those that come before it.
    let at_work = report.operators.iter().filter(|operator| operator.at_work_on_us.is_some_and(behind));
    let at_work = at_work.min_by_key(|operator| operator.at_work_on_us).and_then(|operator| Some((operator, operator.at_work_on_us?)));
    let first = report.operators.iter().find_map(|operator| Some((operator, operator.out_to_us.filter(|us| behind(*us))?)));
    let (operator, us) = at_work.or(first)?;
    let mut found = held(title(operator.node), "is still at work on", us);
    if operator.groups > 0 {
        let held = figures::counted(operator.groups, "group");
        found.lines.push(format!("it holds {held} in {}", figures::bytes(operator.state_bytes)));
    }
    found.lines.push("released when it has put out what follows from that: sources wait for it".into());
    Some(found)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What results waited for when the run was stopped, to be said after its summary; nothing if none did.
pub(crate) fn at_the_end(held: &[Held]) -> String {
    if held.is_empty() { String::new() } else { format!("results that waited when the run was stopped:\n{}", text(held)) }
}

/// Everything held, as lines.
pub(crate) fn text(all: &[Held]) -> String {
    let mut text = String::new();
    for held in all {
        text.push_str(&format!("{}\n", held.title));
        held.lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    text
}

/// Tells once of each thing that holds others up for a while.
#[derive(Debug)]
pub(crate) struct Watch {
    after: Duration,
    told: Vec<(Holder, u64)>,
}

impl Watch {
    /// A watch that warns after a while; never if that is zero.
    pub(crate) fn new(after: Duration) -> Self {
        Self { after, told: Vec::new() }
    }

    /// What has been holding others up for long enough and was not told before.
    pub(crate) fn look(&mut self, plan: &PhysicalPlan, report: &RunReport, now_us: u64) -> Vec<Held> {
        if self.after.is_zero() {
            return Vec::new();
        }
        let mut stalled = held(plan, report, now_us);
        stalled.retain(|held| {
            let known = (held.holder.clone(), held.since_us);
            let long = held.alone && held.since_us > 0 && now_us.saturating_sub(held.since_us) >= micros(self.after);
            let new = match &held.holder {
                Holder::Partition(..) => !self.told.contains(&known),
                // Its epoch moves on, slowly: told once.
                Holder::Work(_) => !self.told.iter().any(|(holder, _)| *holder == held.holder),
            };
            if long && new {
                self.told.push(known);
            }
            long && new
        });
        stalled
    }
}
