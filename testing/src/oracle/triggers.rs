//! Triggers, naively: what happens to each group of a window, one event after the other, and what its firings put out.
//!
//! Written from the tables in the book. Within a step: the moments of processing time up to it, its rows by partition and offset, the
//! watermark, the end of windows that no row can reach.

use std::collections::BTreeMap;

use crate::memory::{START, TextPartition, TextRow};
use crate::random::Random;
use crate::value::{Row, Value};

const SECOND: i64 = 1_000_000;

/// A trigger with its own memory.
#[derive(Clone, Debug)]
pub enum When {
    /// ON WATERMARK.
    Watermark,
    /// EVERY some microseconds.
    Every(i64),
    /// EVERY n RECORDS, and how many have come.
    Records(u64, u64),
    /// AND: the parts, and which have occurred.
    And(Vec<(When, bool)>),
    /// OR.
    Or(Vec<When>),
    /// FIRST.
    First(Vec<When>),
}

#[derive(Clone, Copy, PartialEq)]
enum Happening {
    Row,
    Moment(i64),
    Watermark,
}

impl When {
    /// A random trigger.
    pub fn random(random: &mut Random, depth: usize) -> Self {
        match random.below(if depth == 0 { 3 } else { 6 }) {
            0 => Self::Watermark,
            1 => Self::Every(*random.pick(&[SECOND, 2 * SECOND, 3 * SECOND, SECOND / 2])),
            2 => Self::Records(random.between(1, 4) as u64, 0),
            kind => {
                let parts = (0..random.between(2, 3)).map(|_| Self::random(random, depth - 1));
                match kind {
                    3 => Self::And(parts.map(|part| (part, false)).collect()),
                    4 => Self::Or(parts.collect()),
                    _ => Self::First(parts.collect()),
                }
            }
        }
    }

    /// The trigger as SQL.
    pub fn sql(&self) -> String {
        let joined = |parts: Vec<String>, word: &str| format!("({})", parts.join(word));
        match self {
            Self::Watermark => "ON WATERMARK".into(),
            Self::Every(us) => format!("EVERY {} ms", us / 1000),
            Self::Records(records, _) => format!("EVERY {records} RECORDS"),
            Self::And(parts) => joined(parts.iter().map(|(part, _)| part.sql()).collect(), " AND "),
            Self::Or(parts) => joined(parts.iter().map(Self::sql).collect(), " OR "),
            Self::First(parts) => format!("FIRST{}", joined(parts.iter().map(Self::sql).collect(), ", ")),
        }
    }

    fn waits(&self) -> bool {
        match self {
            Self::Watermark => true,
            Self::Every(_) | Self::Records(..) => false,
            Self::And(parts) => parts.iter().any(|(part, _)| part.waits()),
            Self::Or(parts) | Self::First(parts) => parts.iter().any(Self::waits),
        }
    }

    fn anew(&mut self) {
        match self {
            Self::Watermark | Self::Every(_) => {}
            Self::Records(_, seen) => *seen = 0,
            Self::And(parts) => parts.iter_mut().for_each(|(part, occurred)| {
                part.anew();
                *occurred = false;
            }),
            Self::Or(parts) | Self::First(parts) => parts.iter_mut().for_each(Self::anew),
        }
    }

    fn happens(&mut self, what: Happening) -> Option<&'static str> {
        match self {
            Self::Watermark => (what == Happening::Watermark).then_some("watermark"),
            Self::Every(us) => match what {
                Happening::Moment(at) if at % *us == 0 => Some("processing_time"),
                _ => None,
            },
            Self::Records(records, seen) => {
                *seen += u64::from(what == Happening::Row);
                (*seen == *records).then(|| *seen = 0).map(|()| "count")
            }
            Self::And(parts) => {
                let mut why = None;
                for (part, occurred) in parts.iter_mut() {
                    if let Some(reason) = part.happens(what)
                        && !std::mem::replace(occurred, true)
                    {
                        why = why.or(Some(reason));
                    }
                }
                if parts.iter().all(|(_, occurred)| *occurred) {
                    self.anew();
                    why
                } else {
                    None
                }
            }
            Self::Or(parts) => parts.iter_mut().filter_map(|part| part.happens(what)).collect::<Vec<_>>().first().copied(),
            Self::First(parts) => {
                let why = parts.iter_mut().filter_map(|part| part.happens(what)).collect::<Vec<_>>().first().copied();
                if why.is_some() {
                    self.anew();
                }
                why
            }
        }
    }
}

/// Rows `ts, k, v`, a window over them and its trigger.
#[derive(Clone, Debug)]
pub struct Triggered {
    /// The rows of each partition, step by step: time in microseconds, key, value.
    pub partitions: Vec<Vec<Vec<(i64, i64, i64)>>>,
    /// The delay of the watermark.
    pub delay: i64,
    /// Size and slide.
    pub window: (i64, i64),
    /// The allowed lateness.
    pub lateness: i64,
    /// When.
    pub trigger: When,
    /// FIRE AND PURGE.
    pub purge: bool,
    /// The columns of the firing are selected too.
    pub told: bool,
}

struct Group {
    trigger: When,
    values: Vec<i64>,
    fresh: bool,
    revision: i128,
    finished: bool,
    shown: Option<Row>,
}

impl Triggered {
    /// A random case.
    pub fn random(random: &mut Random) -> Self {
        let steps = random.between(1, 9) as usize;
        let keys = random.between(1, 3);
        let slide = 10 * SECOND;
        let spread = random.between(1, 30);
        let partitions = (0..random.between(1, 3)).map(|_| {
            let mut step = |at: usize| {
                let rows = (0..random.below(7)).map(|_| {
                    let time = (at as i64 * 5 + random.between(-spread, 10)) * SECOND;
                    (time, random.between(1, keys), random.between(-2, 4))
                });
                rows.collect::<Vec<_>>()
            };
            (0..steps).map(&mut step).collect::<Vec<_>>()
        });
        Self {
            partitions: partitions.collect(),
            delay: random.between(0, 5) * SECOND,
            window: (slide * random.between(1, 2), slide),
            lateness: *random.pick(&[0, 0, 10 * SECOND, 40 * SECOND]),
            trigger: When::random(random, 2),
            purge: random.chance(30),
            told: random.chance(70),
        }
    }

    /// The statements, with sources and sinks of the test connector.
    pub fn sql(&self) -> String {
        let told = if self.told { ", _trigger_reason, _revision, _is_final, _fired_at" } else { "" };
        let purge = if self.purge { " FIRE AND PURGE" } else { "" };
        format!(
            "CREATE SOURCE t (ts TIMESTAMP, k BIGINT, v BIGINT, WATERMARK FOR ts AS ts - INTERVAL '{}' SECOND) WITH (connector = 'test');\n\
             CREATE SINK out WITH (connector = 'test') AS SELECT k, window_end, count(*), sum(v){told} FROM t\n\
             WINDOW SLIDING({}s, {}s) TRIGGER {}{purge} ALLOWED_LATENESS {}s GROUP BY k;\n",
            self.delay / SECOND,
            self.window.0 / SECOND,
            self.window.1 / SECOND,
            self.trigger.sql(),
            self.lateness / SECOND,
        )
    }

    /// The rows as the test connector reads them.
    pub fn table(&self) -> Vec<TextPartition> {
        let text = |(time, key, value): &(i64, i64, i64)| -> TextRow {
            vec![Some(Value::Time(*time).to_string()), Some(key.to_string()), Some(value.to_string())]
        };
        self.partitions.iter().map(|steps| steps.iter().map(|rows| rows.iter().map(text).collect()).collect()).collect()
    }

    /// The net changes of each step.
    pub fn answer(&self) -> Vec<BTreeMap<Row, i64>> {
        let steps = self.partitions[0].len();
        let mut groups: BTreeMap<(i64, i64), Group> = BTreeMap::new();
        let mut greatest: Vec<Option<i64>> = vec![None; self.partitions.len()];
        let mut changes = vec![BTreeMap::new(); steps];
        let mut before = None;
        let trigger = if self.trigger.waits() {
            self.trigger.clone()
        } else {
            match self.trigger.clone() {
                When::Or(parts) => When::Or(parts.into_iter().chain([When::Watermark]).collect()),
                other => When::Or(vec![other, When::Watermark]),
            }
        };
        for step in 0..steps {
            let now = START as i64 + step as i64 * SECOND;
            for (moment, of_step) in [(now - SECOND / 2, step.saturating_sub(1)), (now, step)] {
                for (key, group) in groups.iter_mut().filter(|(_, group)| group.fresh) {
                    if let Some(reason) = group.trigger.happens(Happening::Moment(moment)) {
                        self.fire(*key, group, reason, false, moment, &mut changes[of_step]);
                    }
                }
            }
            let mut came = Vec::new();
            for (partition, rows) in self.partitions.iter().enumerate() {
                for (time, key, value) in &rows[step] {
                    let watermark = greatest[partition].map(|greatest| greatest - self.delay);
                    let first = (time.div_euclid(self.window.1) + 1) * self.window.1;
                    for end in (0..self.window.0 / self.window.1).map(|at| first + at * self.window.1) {
                        if watermark.is_some_and(|watermark| end + self.lateness <= watermark) {
                            continue;
                        }
                        let group = groups.entry((end, *key)).or_insert_with(|| Group {
                            trigger: trigger.clone(),
                            values: vec![],
                            fresh: false,
                            revision: 0,
                            finished: false,
                            shown: None,
                        });
                        group.values.push(*value);
                        group.fresh = true;
                        came.push((end, *key));
                        if let Some(reason) = group.trigger.happens(Happening::Row) {
                            self.fire((end, *key), group, reason, false, now, &mut changes[step]);
                        }
                    }
                    greatest[partition] = greatest[partition].max(Some(*time));
                }
            }
            let watermark = if step + 1 == steps {
                Some(i64::MAX)
            } else {
                let least: Option<Vec<i64>> = greatest.iter().copied().collect();
                least.and_then(|all| all.into_iter().min()).map(|least| least - self.delay)
            };
            let Some(watermark) = watermark else { continue };
            let out = &mut changes[step];
            for (key, group) in groups.iter_mut().filter(|((end, _), _)| *end <= watermark) {
                let late = before.is_some_and(|before| key.0 <= before);
                if late && !came.contains(key) {
                    continue;
                }
                let reason = group.trigger.happens(Happening::Watermark);
                if reason.is_some() && (group.fresh || (!late && !self.purge)) {
                    let is_final = key.0.saturating_add(self.lateness) <= watermark;
                    self.fire(*key, group, if late { "late" } else { "watermark" }, is_final, now, out);
                }
            }
            for (key, group) in groups.iter_mut().filter(|((end, _), _)| end.saturating_add(self.lateness) <= watermark) {
                if group.fresh || (self.told && !self.purge && !group.finished) {
                    self.fire(*key, group, "closing", true, now, out);
                }
            }
            groups.retain(|(end, _), _| end.saturating_add(self.lateness) > watermark);
            before = Some(watermark);
        }
        changes.iter_mut().for_each(|step| step.retain(|_, diff| *diff != 0));
        changes
    }

    fn fire(&self, key: (i64, i64), group: &mut Group, reason: &str, is_final: bool, at: i64, out: &mut BTreeMap<Row, i64>) {
        group.revision += 1;
        group.fresh = false;
        group.finished = is_final;
        let sum = group.values.iter().map(|value| i128::from(*value)).sum();
        let mut row = vec![Value::Int(key.1.into()), Value::Time(key.0), Value::Int(group.values.len() as i128), Value::Int(sum)];
        if self.told {
            row.extend([Value::text(reason), Value::Int(group.revision), Value::Bool(is_final), Value::Time(at)]);
        }
        *out.entry(row.clone()).or_default() += 1;
        if self.purge {
            group.values.clear();
        } else if let Some(old) = group.shown.replace(row) {
            *out.entry(old).or_default() -= 1;
        }
    }
}
