//! # Changes of a key
//!
//! What a key's rows on both sides before and in some epochs make of our side: without a residual a question of whether the other
//! side has rows at all; with one, of how many rows each of ours matches. Pairs are evaluated many at a time, and only those that
//! can have changed something: ours with what is new of theirs, then those of ours that are new or were met with all of theirs.

use std::ops::Range;

use super::one_sided::{OneSided, View};
use super::output::BadPair;
use super::pairs::{Pairs, Side};
use crate::arrange::{Column, Key, Reader, Stretch};
use crate::batch::Batch;
use crate::epoch::Epoch;
use crate::error_row::{ErrorAt, ErrorRow};

/// Rows of ours that come out.
pub(super) struct Emitted {
    pub(super) rows: Side<Epoch>,
    pub(super) times: Column<Epoch>,
    pub(super) diffs: Column<i64>,
    pub(super) marks: Vec<bool>,
}

/// Rows that come out or pairs that are evaluated, at a time.
const ROWS: usize = if cfg!(test) { 5 } else { 8192 };

/// A row of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyRow {
    stretch: u32,
    row: u32,
    diff: i64,
    /// When it came; `None` for old rows.
    time: Option<Epoch>,
}

/// The rows of a key on one side.
#[derive(Default)]
pub(super) struct SideRows {
    stretches: Vec<Stretch<Epoch>>,
    rows: Vec<KeyRow>,
}

impl SideRows {
    /// Takes the key's rows from batches that are worked off in part. Rows before the epochs are old, rows behind them to come.
    pub(super) fn take_fresh(&mut self, readers: &mut [Reader<Epoch>], key: Key<'_>, epochs: &Range<Epoch>) {
        for reader in readers.iter_mut().filter(|reader| reader.key() == Some(key)) {
            let first = self.stretches.len();
            reader.take(&mut self.stretches);
            for (position, stretch) in self.stretches.iter().enumerate().skip(first) {
                for row in stretch.rows.clone() {
                    let time = *stretch.chunk.time(row);
                    if time < epochs.end {
                        let time = (time >= epochs.start).then_some(time);
                        let diff = stretch.chunk.rows.diff(row);
                        self.rows.push(KeyRow { stretch: position as u32, row: row as u32, diff, time });
                    }
                }
            }
        }
    }

    /// Takes the key's rows from old batches.
    pub(super) fn take_old(&mut self, readers: &mut [Reader<Epoch>], key: Key<'_>) {
        for reader in readers {
            reader.seek(key);
            if reader.key() != Some(key) {
                continue;
            }
            let first = self.stretches.len();
            reader.take(&mut self.stretches);
            for (position, stretch) in self.stretches.iter().enumerate().skip(first) {
                self.rows.extend(stretch.rows.clone().map(|row| KeyRow {
                    stretch: position as u32,
                    row: row as u32,
                    diff: stretch.chunk.rows.diff(row),
                    time: None,
                }));
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.stretches.clear();
        self.rows.clear();
    }

    /// The event times of rows that came.
    pub(super) fn fresh_events(&self) -> impl Iterator<Item = i64> {
        self.rows.iter().filter(|row| row.time.is_some()).filter_map(|row| self.event(row))
    }

    fn event(&self, row: &KeyRow) -> Option<i64> {
        self.stretches[row.stretch as usize].chunk.rows.event(row.row as usize)
    }

    pub(super) fn is_untouched(&self) -> bool {
        self.rows.iter().all(|row| row.time.is_none())
    }

    fn value(&self, row: &KeyRow) -> &[u8] {
        self.stretches[row.stretch as usize].chunk.rows.value(row.row as usize)
    }
}

/// The rows of a key.
pub(super) struct KeyRows {
    pub(super) ours: SideRows,
    pub(super) theirs: SideRows,
    null: bool,
    /// Old rows may come and go in the epoch without a change of their matches.
    extra: bool,
    /// How many matches rows of ours have: of old rows, and changes by time. Only with a residual.
    matches: Vec<(i64, Vec<(Epoch, i64)>)>,
}

impl KeyRows {
    pub(super) fn new(null: bool, extra: bool) -> Self {
        Self { ours: SideRows::default(), theirs: SideRows::default(), null, extra, matches: Vec::new() }
    }
}

/// A change of a row of ours: its value's place, the time, the mark, the diff.
struct Change {
    row: KeyRow,
    time: Epoch,
    mark: bool,
    diff: i64,
}

type PutOut<'a> = dyn FnMut(Vec<(Epoch, Batch)>, Vec<(Epoch, ErrorRow)>) + 'a;

/// Works off keys, and puts out what changes.
pub(super) struct Evaluation<'a> {
    join: &'a OneSided,
    /// Before and in the epochs; they differ when there is one epoch.
    views: (View, View),
    epochs: Range<Epoch>,
    emitted: Emitted,
    /// Keys that wait for the evaluation of their pairs.
    waiting: Vec<KeyRows>,
    waiting_pairs: usize,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(join: &'a OneSided, views: (View, View), epochs: Range<Epoch>) -> Self {
        Self { join, views, epochs, emitted: Emitted::new(), waiting: Vec::new(), waiting_pairs: 0 }
    }

    pub(super) fn epochs(&self) -> &Range<Epoch> {
        &self.epochs
    }

    /// Whether old rows of ours can come or go.
    pub(super) fn needs_our_old(&self, rows: &KeyRows) -> bool {
        if rows.theirs.is_untouched() {
            return false;
        }
        if self.join.shape.residual.is_some() {
            return true;
        }
        let mut flips = false;
        let mut counts: Vec<(Epoch, i64)> = rows.theirs.rows.iter().filter_map(|row| Some((row.time?, row.diff))).collect();
        counts.sort_unstable();
        let mut count: i64 = rows.theirs.rows.iter().filter(|row| row.time.is_none()).map(|row| row.diff).sum();
        for (_, diff) in counts {
            flips |= (count > 0) != (count + diff > 0);
            count += diff;
        }
        flips
    }

    /// Takes a key.
    pub(super) fn add(&mut self, mut rows: KeyRows, put_out: &mut PutOut<'_>) {
        if self.join.shape.residual.is_none() {
            self.emit_by_presence(&rows, put_out);
            return;
        }
        rows.matches.resize(rows.ours.rows.len(), (0, Vec::new()));
        self.waiting_pairs += 1 + rows.ours.rows.len() * rows.theirs.rows.len();
        self.waiting.push(rows);
        if self.waiting_pairs >= ROWS {
            self.evaluate(put_out);
        }
    }

    /// Puts out what is left.
    pub(super) fn finish(mut self, put_out: &mut PutOut<'_>) {
        self.evaluate(put_out);
        self.flush(put_out);
    }

    fn flush(&mut self, put_out: &mut PutOut<'_>) {
        if !self.emitted.times.is_empty() {
            let emitted = std::mem::replace(&mut self.emitted, Emitted::new());
            put_out(self.join.batches(emitted), Vec::new());
        }
    }

    /// Without a residual: what matters is whether the other side has rows.
    fn emit_by_presence(&mut self, rows: &KeyRows, put_out: &mut PutOut<'_>) {
        let fresh = rows.ours.rows.iter().chain(&rows.theirs.rows).filter_map(|row| row.time);
        let mut times: Vec<Epoch> = fresh.chain(rows.extra.then_some(self.epochs.start)).collect();
        times.sort_unstable();
        times.dedup();
        let sum = |time: Option<Epoch>| rows.theirs.rows.iter().filter(|row| row.time == time).map(|row| row.diff).sum::<i64>();
        let mut count = sum(None);
        let mut changes = Vec::new();
        for time in times {
            let next = count + sum(Some(time));
            rows.ours.rows.iter().for_each(|row| self.change(&mut changes, rows, row, time, (count, next)));
            count = next;
        }
        self.emit(&rows.ours, changes, put_out);
    }

    /// Evaluates the pairs of the keys that wait, and puts out their changes.
    fn evaluate(&mut self, put_out: &mut PutOut<'_>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.waiting_pairs = 0;
        // First what is new of theirs, then old rows of theirs for those of ours that are new or were met.
        for old in [false, true] {
            let mut pairs = Pairs::new();
            let mut places = Vec::new();
            for key in 0..waiting.len() {
                for ours in 0..waiting[key].ours.rows.len() {
                    let our = waiting[key].ours.rows[ours];
                    if old && our.time.is_none() && !waiting[key].extra && waiting[key].matches[ours].1.is_empty() {
                        continue;
                    }
                    // Our row's place among the pairs.
                    let mut slot = None;
                    for theirs in 0..waiting[key].theirs.rows.len() {
                        let rows = &waiting[key];
                        let their = rows.theirs.rows[theirs];
                        if their.time.is_none() != old {
                            continue;
                        }
                        let (our_side, their_side) =
                            if self.join.left { (&mut pairs.left, &mut pairs.right) } else { (&mut pairs.right, &mut pairs.left) };
                        let our_slot =
                            *slot.get_or_insert_with(|| our_side.add(&rows.ours.stretches[our.stretch as usize], our.row as usize));
                        let their_slot = their_side.add(&rows.theirs.stretches[their.stretch as usize], their.row as usize);
                        let time = our.time.max(their.time).unwrap_or(self.epochs.start);
                        let (left, right) = if self.join.left { (our_slot, their_slot) } else { (their_slot, our_slot) };
                        pairs.push(left, right, time, our.diff * their.diff);
                        places.push((key, ours, theirs));
                        if places.len() >= ROWS {
                            self.select(std::mem::replace(&mut pairs, Pairs::new()), &mut places, &mut waiting, put_out);
                            slot = None;
                        }
                    }
                }
            }
            self.select(pairs, &mut places, &mut waiting, put_out);
        }
        for rows in &waiting {
            self.emit_by_matches(rows, put_out);
        }
    }
}

type Place = (usize, usize, usize);

impl Evaluation<'_> {
    /// Evaluates pairs and counts those that match.
    fn select(&self, pairs: Pairs<Epoch>, places: &mut Vec<Place>, waiting: &mut [KeyRows], put_out: &mut PutOut<'_>) {
        if places.is_empty() {
            return;
        }
        let shape = &self.join.shape;
        let residual = shape.residual.as_ref().expect("pairs are evaluated where there is a residual");
        let width = shape.left_width();
        let left = pairs.left.columns(&shape.left, |column| residual.reads(column));
        let right = pairs.right.columns(&shape.right, |column| residual.reads(width + column));
        let (kept, bad) = residual.select(&left, &right, &pairs.left_index, &pairs.right_index);
        for pair in kept {
            let (key, ours, theirs) = places[pair as usize];
            let their = waiting[key].theirs.rows[theirs];
            let matches = &mut waiting[key].matches[ours];
            match their.time {
                None => matches.0 += their.diff,
                Some(time) => matches.1.push((time, their.diff)),
            }
        }
        if self.join.reports {
            // A pair of old rows has been reported before.
            let fresh = bad.into_iter().filter(|bad| {
                let (key, ours, theirs) = places[bad.pair];
                waiting[key].ours.rows[ours].time.is_some() || waiting[key].theirs.rows[theirs].time.is_some()
            });
            let error = |bad: BadPair| {
                let (time, diff) = (*pairs.times.get(bad.pair), *pairs.diffs.get(bad.pair));
                (time, ErrorRow { at: ErrorAt::Node { node: shape.node }, error: bad.error, diff })
            };
            put_out(Vec::new(), fresh.map(error).collect());
        }
        places.clear();
    }

    /// With a residual: what matters is how many rows of the other side each row of ours matches.
    fn emit_by_matches(&mut self, rows: &KeyRows, put_out: &mut PutOut<'_>) {
        let mut changes = Vec::new();
        for (row, (old, by_time)) in rows.ours.rows.iter().zip(&rows.matches) {
            let mut times: Vec<Epoch> =
                by_time.iter().map(|(time, _)| *time).chain(row.time).chain(rows.extra.then_some(self.epochs.start)).collect();
            times.sort_unstable();
            times.dedup();
            let mut count = *old;
            for time in times {
                let next = count + by_time.iter().filter(|(when, _)| *when == time).map(|(_, diff)| diff).sum::<i64>();
                self.change(&mut changes, rows, row, time, (count, next));
                count = next;
            }
        }
        self.emit(&rows.ours, changes, put_out);
    }

    /// What becomes of a row at a time, with so many matches before and after.
    fn change(&self, changes: &mut Vec<Change>, rows: &KeyRows, row: &KeyRow, time: Epoch, matches: (i64, i64)) {
        let event = rows.ours.event(row);
        let outcome = |view: &View, count: i64| self.join.outcome.of(view.regime, rows.null, count > 0).filter(|_| view.ripe(event));
        let before = outcome(&self.views.0, matches.0).filter(|_| row.time.is_none_or(|came| came < time));
        let after = outcome(&self.views.1, matches.1).filter(|_| row.time.is_none_or(|came| came <= time));
        if before != after {
            changes.extend(before.map(|mark| Change { row: *row, time, mark, diff: -row.diff }));
            changes.extend(after.map(|mark| Change { row: *row, time, mark, diff: row.diff }));
        }
    }

    /// Adds up the changes of a key and puts them out.
    fn emit(&mut self, ours: &SideRows, mut changes: Vec<Change>, put_out: &mut PutOut<'_>) {
        let order = |change: &Change| (change.time, change.mark);
        changes.sort_unstable_by(|a, b| order(a).cmp(&order(b)).then_with(|| ours.value(&a.row).cmp(ours.value(&b.row))));
        let mut changes = changes.into_iter().peekable();
        while let Some(mut change) = changes.next() {
            let same = |next: &Change| order(next) == order(&change) && ours.value(&next.row) == ours.value(&change.row);
            let mut sum = change.diff;
            while let Some(next) = changes.next_if(same) {
                sum += next.diff;
            }
            change.diff = sum;
            if change.diff == 0 {
                continue;
            }
            let stretch = &ours.stretches[change.row.stretch as usize];
            self.emitted.rows.add(stretch, change.row.row as usize);
            self.emitted.times.push(change.time);
            self.emitted.diffs.push(change.diff);
            self.emitted.marks.push(change.mark);
            if self.emitted.times.len() >= ROWS {
                self.flush(put_out);
            }
        }
    }
}
