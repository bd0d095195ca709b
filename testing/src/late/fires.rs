//! What comes out as triggers fire: each group of a window with a trigger of its own, one event after the other.
//!
//! Within a step: the moments of processing time up to it, its rows by partition and offset, the late rows of which it is known now which
//! session holds them, the watermark, the end of what no row can reach.

use super::answer::{Bag, Judged, homes, result, watermark};
use super::{Case, Event, Firing, SECOND, Strategy};
use crate::memory::START;
use crate::oracle::{Happening, When};
use crate::value::{Row, Value};

/// A window of a key, or a session.
struct Group<'a> {
    key: Option<i64>,
    start: i64,
    end: i64,
    /// Where a session begins to cover event time.
    from: i64,
    trigger: When,
    rows: Vec<&'a Event>,
    fresh: bool,
    /// Rows came in this step.
    touched: bool,
    revision: i128,
    finished: bool,
    /// What stands, with its end. Of a session several, if it is several that became one.
    shown: Vec<(i64, Row)>,
}

impl Group<'_> {
    fn count(&self) -> i64 {
        self.rows.iter().map(|row| row.diff).sum()
    }
}

/// One case while it is worked out.
struct Firings<'a> {
    case: &'a Case,
    firing: &'a Firing,
    trigger: When,
    groups: Vec<Group<'a>>,
    /// Late rows of sessions that nothing is known of yet, and when they came.
    waiting: Vec<(i64, &'a Judged<'a>)>,
    table: Bag,
    now: i64,
}

/// What stands after each step.
pub(super) fn fired<'a>(case: &'a Case, firing: &'a Firing, rows: &'a [Judged<'a>]) -> Vec<Bag> {
    let trigger = firing.when.clone().with_end();
    let mut it = Firings { case, firing, trigger, groups: vec![], waiting: vec![], table: Bag::new(), now: 0 };
    let mut tables: Vec<Bag> = Vec::new();
    let mut before = None;
    for step in 0..case.steps() {
        let now = START as i64 + step as i64 * SECOND;
        // A moment between two steps is an epoch of its own, and counts for the step before.
        it.moment(now - SECOND / 2);
        it.forget_empty();
        if let Some(last) = tables.last_mut() {
            *last = it.table.clone();
        }
        it.moment(now);
        let mut of_step: Vec<&Judged<'a>> = rows.iter().filter(|row| row.step == step).collect();
        of_step.sort_by_key(|row| row.place);
        of_step.into_iter().for_each(|row| it.row(row));
        let closed = watermark(case, step);
        it.late(closed);
        if let Some(closed) = closed {
            it.watermark(before, closed);
            before = Some(closed);
        }
        it.forget_empty();
        it.groups.iter_mut().for_each(|group| group.touched = false);
        tables.push(it.table.clone());
    }
    tables.iter_mut().for_each(|table| table.retain(|_, times| *times != 0));
    tables
}

impl<'a> Firings<'a> {
    fn moment(&mut self, moment: i64) {
        self.now = moment;
        for at in 0..self.groups.len() {
            if self.groups[at].fresh
                && let Some(reason) = self.groups[at].trigger.happens(Happening::Moment(moment))
            {
                self.fire(at, reason, false);
            }
        }
    }

    fn row(&mut self, row: &'a Judged<'a>) {
        let case = self.case;
        let key = case.keyed.then_some(row.event.key);
        let Some(gap) = case.gap() else {
            for (start, end) in homes(case, row).counts {
                let known = self.groups.iter().position(|group| (group.key, group.start, group.end) == (key, start, end));
                let at = known.unwrap_or_else(|| self.open(key, (start, start, end)));
                self.add(at, row.event);
            }
            return;
        };
        let came = row.watermark.map_or(row.ts, |watermark| (watermark - case.lateness).max(row.ts));
        if came < row.ts + gap {
            let at = self.join(key, (came, row.ts, row.ts + gap));
            self.add(at, row.event);
        } else {
            self.waiting.push((came, row));
        }
    }

    /// A new group that covers `from..end`.
    fn open(&mut self, key: Option<i64>, (from, start, end): (i64, i64, i64)) -> usize {
        self.groups.push(Group {
            key,
            start,
            end,
            from,
            trigger: self.trigger.clone(),
            rows: vec![],
            fresh: false,
            touched: false,
            revision: 0,
            finished: false,
            shown: vec![],
        });
        self.groups.len() - 1
    }

    /// The session that a stretch is in, made of all that overlap.
    fn join(&mut self, key: Option<i64>, stretch: (i64, i64, i64)) -> usize {
        let at = self.open(key, stretch);
        let mut one = self.groups.remove(at);
        while let Some(at) = self.groups.iter().position(|it| it.key == key && it.from < one.end && one.from < it.end) {
            let other = self.groups.remove(at);
            one.from = one.from.min(other.from);
            one.start = one.start.min(other.start);
            one.end = one.end.max(other.end);
            one.rows.extend(other.rows);
            one.trigger.join(&other.trigger);
            one.fresh |= other.fresh;
            one.touched |= other.touched;
            one.revision = one.revision.max(other.revision);
            one.shown.extend(other.shown);
        }
        self.groups.push(one);
        self.groups.len() - 1
    }

    fn add(&mut self, at: usize, event: &'a Event) {
        let group = &mut self.groups[at];
        group.rows.push(event);
        group.fresh = true;
        group.touched = true;
        if let Some(reason) = group.trigger.happens(Happening::Row) {
            self.fire(at, reason, false);
        }
    }

    /// Late rows of sessions.
    fn late(&mut self, closed: Option<i64>) {
        let Some(gap) = self.case.gap() else { return };
        let kept = closed.map(|closed| if closed == i64::MAX { closed } else { closed - self.case.lateness });
        let moves = self.case.strategy == Strategy::NextWindow;
        let mut waiting = std::mem::take(&mut self.waiting);
        if moves {
            waiting.sort_by_key(|(came, _)| *came);
        }
        for (came, row) in waiting {
            let key = self.case.keyed.then_some(row.event.key);
            let held = self.groups.iter().position(|it| it.key == key && it.from < row.ts + gap && came < it.end);
            if let Some(at) = held {
                self.groups[at].start = self.groups[at].start.min(row.ts);
                self.add(at, row.event);
            } else if kept.is_none_or(|kept| kept <= came) {
                self.waiting.push((came, row));
            } else if moves {
                let to = came + self.case.lateness;
                let at = self.join(key, (to, to, to + gap));
                self.add(at, row.event);
            }
        }
    }

    fn watermark(&mut self, before: Option<i64>, closed: i64) {
        let session = self.case.gap().is_some();
        let (lateness, purge, told) = (self.case.lateness, self.firing.purge, self.firing.told);
        let over = |end: i64| if closed == i64::MAX { true } else { end + lateness <= closed };
        for at in 0..self.groups.len() {
            let (end, touched) = (self.groups[at].end, self.groups[at].touched);
            let late = before.is_some_and(|before| end <= before);
            if end > closed || (late && !touched) {
                continue;
            }
            let group = &mut self.groups[at];
            let fires = group.trigger.happens(Happening::Watermark).is_some();
            // At its end a group that has told everything tells that it has ended.
            let tells = told && !late && !purge && group.count() != 0;
            if fires && (group.fresh || tells) {
                let on_time = if session { "session_end" } else { "watermark" };
                self.fire(at, if late { "late" } else { on_time }, over(end));
            }
        }
        for at in 0..self.groups.len() {
            let group = &self.groups[at];
            if over(group.end) && (group.fresh || (told && !purge && !group.finished && group.count() != 0)) {
                self.fire(at, "closing", true);
            }
        }
        // No result of a session outlives its end, if the session has grown since.
        for group in self.groups.iter_mut().filter(|_| session) {
            let end = group.end;
            for (_, row) in group.shown.extract_if(.., |(shown, _)| *shown <= closed && *shown < end) {
                *self.table.entry(row).or_default() -= 1;
            }
        }
        self.groups.retain(|group| !over(group.end));
    }

    /// Groups without rows that have said so are forgotten.
    fn forget_empty(&mut self) {
        self.groups.retain(|group| group.fresh || group.count() != 0 || self.firing.purge);
    }

    fn fire(&mut self, at: usize, reason: &str, is_final: bool) {
        let group = &mut self.groups[at];
        group.revision += 1;
        group.fresh = false;
        group.finished = is_final;
        for (_, old) in group.shown.drain(..) {
            *self.table.entry(old).or_default() -= 1;
        }
        let Some(mut row) = result(self.case, group.start, group.end, group.key, &group.rows) else { return };
        if self.firing.told {
            row.extend([Value::text(reason), Value::Int(group.revision), Value::Bool(is_final), Value::Time(self.now)]);
        }
        *self.table.entry(row.clone()).or_default() += 1;
        if self.firing.purge {
            group.rows.clear();
        } else {
            group.shown.push((group.end, row));
        }
    }
}
