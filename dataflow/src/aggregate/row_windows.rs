//! # Windows of so many rows
//!
//! **Meaning.** The rows of a key are numbered from 0: epoch by epoch, within one by their places (partition, offset). A row's number is to these
//! windows what time is to others: they end at each multiple of the slide and hold the numbers of one size before, so the first ones begin before
//! row 0. A window closes when its last row has come.
//! **Time.** Rows wait for their epoch to close. Then EMIT FINAL puts out the windows that have closed, at the end of the input those that are
//! open too; EMIT CHANGES puts out the net change of every window that rows came to.
//! **State.** Of each key the number of its rows, and the slides that windows to come will hold, each added up: `size / slide` of them in a ring.
//! Nothing of a window that has come out. Keys are kept for ever unless limits let them go; the rows of a key that comes again are numbered anew.
//! **Changelog.** In: append-only, with places. Out: append-only under FINAL, else retract.
//!
//! In an epoch a key may pass any number of slides. Rows of the slide that was open go where it is kept; slides that begin in the epoch have a place
//! of their own until it closes, and those that are still needed then move to the ring: each at most once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::{interleave, take};
use tidemark_planner::plan::{Emit, WindowKind};

use super::changes::{NONE, Results, joined};
use super::keyed_batch::{KeyedBatch, Payload};
use super::layout::AggregateLayout;
use super::limited::{LimitReport, Limited, Standing};
use super::output::{Emission, OUTPUT_ROWS, Output};
use super::triggered::order;
use super::waiting::Waiting;
use crate::state::group_states::GroupStates;
use crate::state::group_table::GroupTable;
use crate::state::keeper::passed;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct RowWindowStore {
    layout: Arc<AggregateLayout>,
    slide: i64,
    /// Slides of a window.
    slides: i64,
    /// The keys, each with its number of rows.
    keys: GroupTable,
    /// The slides of each key that are needed, slide `s` of key `k` at `k * slides + s % slides`.
    kept: GroupStates,
    /// How many keys there is room for.
    room: usize,
    /// Slides that begin in the epoch that closes.
    begun: GroupStates,
    standing: Vec<Standing>,
    /// One more than the place of each key's run.
    marks: Vec<u32>,
    waiting: Waiting,
    closing: Option<Closing>,
    limited: Option<Box<Limited>>,
    workers: usize,
}

/// What an epoch does to a key.
#[derive(Clone, Copy, Debug)]
struct Run {
    key: u32,
    /// Its rows before the epoch, and with it.
    before: i64,
    after: i64,
    /// Where the slides that begin in the epoch stand.
    begun: usize,
    /// Where the old results of the windows that were open stand.
    old: u32,
}

/// A window that an epoch changes or puts out: that which ends with a slide.
#[derive(Clone, Copy, Debug)]
struct Window {
    run: u32,
    last: i64,
}

/// Results as they were before an epoch, in portions, and those that were errors.
#[derive(Debug, Default)]
struct Old {
    parts: Vec<Vec<ArrayRef>>,
    rows: u32,
    errors: BTreeMap<u32, String>,
}

#[derive(Debug)]
struct Closing {
    epoch: u64,
    runs: Vec<Run>,
    windows: Vec<Window>,
    position: usize,
    old: Vec<ArrayRef>,
    old_errors: BTreeMap<u32, String>,
    /// The input has ended.
    over: bool,
}

impl RowWindowStore {
    pub(super) fn new(layout: Arc<AggregateLayout>, workers: usize) -> Self {
        let Some(WindowKind::Rows { size, slide }) = layout.window.map(|window| window.panes.kind()) else {
            panic!("these are no windows of so many rows")
        };
        Self {
            slide,
            slides: size / slide,
            keys: GroupTable::new(vec![], true),
            kept: layout.states(),
            room: 0,
            begun: layout.states(),
            standing: Vec::new(),
            marks: Vec::new(),
            waiting: Waiting::default(),
            closing: None,
            limited: Limited::new(&layout, workers).map(Box::new),
            layout,
            workers,
        }
    }

    pub(super) fn absorb(&mut self, epoch: u64, batch: KeyedBatch) {
        self.waiting.push(epoch, batch);
    }

    pub(super) fn close(&mut self, epoch: u64, watermark: i64) -> Output {
        if self.closing.is_none() {
            self.closing = Some(self.begin(epoch, watermark));
        }
        let mut closing = self.closing.take().expect("set above");
        assert_eq!(closing.epoch, epoch, "one epoch closes at a time");
        let end = (closing.position + OUTPUT_ROWS / 2).min(closing.windows.len());
        let mut output = self.output(&closing, &closing.windows[closing.position..end]);
        closing.position = end;
        if end < closing.windows.len() {
            self.closing = Some(closing);
            output.more = true;
        } else {
            self.settle(&closing);
        }
        output
    }

    fn begin(&mut self, epoch: u64, watermark: i64) -> Closing {
        let (batch, keys) = self.rows_until(epoch);
        let (mut runs, numbers) = self.number(&keys);
        let mut begun = 0;
        for run in &mut runs {
            run.begun = begun;
            begun += ((run.after - 1) / self.slide - run.before / self.slide) as usize;
        }
        self.begun.resize(begun);
        let mut old = Old::default();
        self.remember(&mut runs, 0, &mut old);
        self.add(&batch, &keys, &numbers, &runs);
        self.keys.update(&keys, &[], None);

        let touched: Vec<u32> = runs.iter().map(|run| run.key).collect();
        let going = self.limited.as_mut().map(|limited| limited.close(&self.keys, None, &touched, epoch, watermark)).unwrap_or_default();
        for (key, standing) in &going {
            self.standing[*key as usize] = *standing;
        }
        let over = watermark == i64::MAX;
        let ending = if over { self.keys.pane_groups(0, false) } else { Vec::new() };
        let first = runs.len();
        for key in going.into_iter().map(|(key, _)| key).chain(ending) {
            if self.marks[key as usize] == 0 {
                let rows = self.keys.rows(key);
                runs.push(Run { key, before: rows, after: rows, begun, old: 0 });
                self.marks[key as usize] = runs.len() as u32;
            }
        }
        self.remember(&mut runs, first, &mut old);
        let windows = self.windows(&runs, over);
        Closing { epoch, old: joined(&old.parts), old_errors: old.errors, runs, windows, position: 0, over }
    }

    /// The rows up to an epoch in their order, with their keys; without those of sealed keys.
    fn rows_until(&mut self, epoch: u64) -> (KeyedBatch, Vec<u32>) {
        let mut batches = Vec::new();
        for waited in self.waiting.until(epoch) {
            let batch = KeyedBatch::concat(&waited);
            let ordered = order(&self.layout, &batch);
            batches.push(ordered.map_or(batch.clone(), |order| batch.take(&order)));
        }
        let mut batch = each_by_itself(KeyedBatch::concat(&batches));
        let mut keys = Vec::new();
        if !batch.is_empty() {
            self.keys.locate(&batch.keys, &batch.hashes, None, &mut keys);
        }
        if let Some(limited) = &mut self.limited {
            let standing = &self.standing;
            let sealed = |key: u32| standing.get(key as usize) == Some(&Standing::Sealed);
            if let Some(kept) = limited.unsealed(&batch, &mut keys, sealed) {
                batch = kept;
            }
        }
        self.room = self.room.max(self.keys.groups());
        let slots = self.room * self.slides as usize;
        assert!(slots < u32::MAX as usize, "fewer than 2^32 - 1 slides in one table");
        self.kept.resize(slots);
        self.standing.resize(self.room, Standing::Here);
        self.marks.resize(self.room, 0);
        (batch, keys)
    }

    /// The number of each row, and what the rows do to their keys, in order of appearance.
    fn number(&mut self, keys: &[u32]) -> (Vec<Run>, Vec<i64>) {
        let mut runs: Vec<Run> = Vec::new();
        let mut numbers = Vec::with_capacity(keys.len());
        for key in keys {
            let mark = &mut self.marks[*key as usize];
            if *mark == 0 {
                let rows = self.keys.rows(*key);
                runs.push(Run { key: *key, before: rows, after: rows, begun: 0, old: 0 });
                *mark = runs.len() as u32;
            }
            let run = &mut runs[*mark as usize - 1];
            numbers.push(run.after);
            run.after += 1;
        }
        (runs, numbers)
    }

    /// Puts rows into their slides.
    fn add(&mut self, batch: &KeyedBatch, keys: &[u32], numbers: &[i64], runs: &[Run]) {
        if keys.is_empty() {
            return;
        }
        let Payload::Raw { columns, .. } = &batch.payload else { panic!("rows that are counted travel as they are") };
        let (mut kept, mut begun) = (Places::default(), Places::default());
        for (row, (key, number)) in keys.iter().zip(numbers).enumerate() {
            let run = &runs[self.marks[*key as usize] as usize - 1];
            let into = if number / self.slide == run.before / self.slide { &mut kept } else { &mut begun };
            into.rows.push(row as u32);
            into.groups.push(self.place(run, number / self.slide) as u32);
        }
        for (states, Places { rows, groups }) in [(&mut self.kept, kept), (&mut self.begun, begun)] {
            if rows.len() == keys.len() {
                states.update(&groups, &self.layout.inputs(columns), None);
            } else if !rows.is_empty() {
                let rows = UInt32Array::from(rows);
                let columns: Vec<ArrayRef> = columns.iter().map(|column| take(column, &rows, None).expect("rows lie within")).collect();
                states.update(&groups, &self.layout.inputs(&columns), None);
            }
        }
    }

    /// Where a slide of a key stands: among those that are kept, or that begin in the epoch.
    fn place(&self, run: &Run, slide: i64) -> usize {
        let first = run.before / self.slide;
        if slide <= first {
            run.key as usize * self.slides as usize + (slide % self.slides) as usize
        } else {
            run.begun + (slide - first - 1) as usize
        }
    }

    /// The last slides of the windows that so many rows leave open with something in them.
    fn open(&self, rows: i64) -> std::ops::Range<i64> {
        if rows == 0 { 0..0 } else { rows / self.slide..(rows - 1) / self.slide + self.slides }
    }

    /// Keeps the results of the windows that were open, of the runs from one on, if they have come out.
    fn remember(&self, runs: &mut [Run], first: usize, old: &mut Old) {
        if self.layout.emit != Emit::Changes {
            return;
        }
        let mut windows = Vec::new();
        for (at, run) in runs.iter_mut().enumerate().skip(first) {
            run.old = old.rows + windows.len() as u32;
            windows.extend(self.open(run.before).map(|last| Window { run: at as u32, last }));
        }
        if windows.is_empty() {
            return;
        }
        let mut failed = Vec::new();
        old.parts.push(self.results(runs, &windows, |run| run.before, &mut failed));
        old.errors.extend(failed.into_iter().map(|(position, reason)| (old.rows + position as u32, reason)));
        old.rows += windows.len() as u32;
    }

    /// The windows that an epoch changes or puts out, by key and end.
    fn windows(&self, runs: &[Run], over: bool) -> Vec<Window> {
        let mut keys: Vec<u32> = runs.iter().map(|run| run.key).collect();
        self.keys.sort(&mut keys);
        let changes = self.layout.emit == Emit::Changes;
        let mut windows = Vec::new();
        for key in keys {
            let run = self.marks[key as usize] - 1;
            let Run { before, after, .. } = runs[run as usize];
            let standing = self.standing[key as usize];
            // A key that is not taken in, or goes at once, leaves nothing.
            let nothing = after == 0 || standing == Standing::Gone && before == 0;
            let unchanged = standing == Standing::Sealed || changes && before == after && standing != Standing::Gone;
            if nothing || unchanged {
                continue;
            }
            let closed = before / self.slide..after / self.slide;
            let all = before / self.slide..self.open(after).end;
            let whole = changes || standing == Standing::Sealing || over && standing == Standing::Here;
            windows.extend(if whole { all } else { closed }.map(|last| Window { run, last }));
        }
        windows
    }

    /// The results of windows over the rows that came before or with the epoch.
    fn results(&self, runs: &[Run], windows: &[Window], rows: impl Fn(&Run) -> i64, failed: &mut Vec<(usize, String)>) -> Vec<ArrayRef> {
        // One slide of each window after another.
        let slides = |back: i64| {
            let (mut kept, mut begun) = (Places::default(), Places::default());
            for (at, window) in windows.iter().enumerate() {
                let run = &runs[window.run as usize];
                let slide = window.last - back;
                if slide < 0 || slide * self.slide >= rows(run) {
                    continue;
                }
                let into = if slide <= run.before / self.slide { &mut kept } else { &mut begun };
                into.rows.push(at as u32);
                into.groups.push(self.place(run, slide) as u32);
            }
            [(&self.kept, kept), (&self.begun, begun)]
        };
        if self.slides > 1 {
            let mut whole = self.layout.states();
            whole.resize(windows.len());
            for back in 0..self.slides {
                for (states, Places { rows, groups }) in slides(back) {
                    if !rows.is_empty() {
                        whole.merge(&rows, &states.partials(&groups));
                    }
                }
            }
            return whole.evaluate(&(0..windows.len() as u32).collect::<Vec<_>>(), failed);
        }
        let mut picks = vec![(0, 0); windows.len()];
        let mut parts = Vec::new();
        for (part, (states, Places { rows, groups })) in slides(0).into_iter().enumerate() {
            let mut wrong = Vec::new();
            parts.push(states.evaluate(&groups, &mut wrong));
            failed.extend(wrong.into_iter().map(|(position, reason)| (rows[position] as usize, reason)));
            rows.iter().enumerate().for_each(|(position, row)| picks[*row as usize] = (part, position));
        }
        failed.sort_by_key(|(position, _)| *position);
        let join = |(kept, begun): (&ArrayRef, &ArrayRef)| match (kept.len(), begun.len()) {
            (_, 0) => kept.clone(),
            (0, _) => begun.clone(),
            _ => interleave(&[kept.as_ref(), begun.as_ref()], &picks).expect("results of one aggregate have one type"),
        };
        parts[0].iter().zip(&parts[1]).map(join).collect()
    }

    fn output(&self, closing: &Closing, windows: &[Window]) -> Output {
        let run = |window: &Window| &closing.runs[window.run as usize];
        let keys: Vec<u32> = windows.iter().map(|window| run(window).key).collect();
        let Some(keys) = self.keys.keys(&keys) else { return Emission::new(&self.layout).finish(false) };
        let ends: Vec<i64> = windows.iter().map(|window| (window.last + 1) * self.slide).collect();
        let key_columns = self.layout.key_columns(&keys, &ends);
        let mut failed = Vec::new();
        let new = self.results(&closing.runs, windows, |run| run.after, &mut failed);
        if self.layout.emit != Emit::Changes {
            let mut emission = Emission::new(&self.layout);
            emission.add(key_columns, new, windows.len(), failed);
            return emission.finish(false);
        }
        let old = |window: &Window| {
            let run = run(window);
            let open = self.open(run.before);
            if open.contains(&window.last) { run.old + (window.last - open.start) as u32 } else { NONE }
        };
        let there = |window: &Window| {
            let run = run(window);
            // A window that has closed stays, whatever becomes of its key.
            self.standing[run.key as usize] != Standing::Gone || window.last < run.after / self.slide
        };
        let results = Results {
            key_columns,
            olds: windows.iter().map(old).collect(),
            old: &closing.old,
            old_errors: &closing.old_errors,
            new,
            failed,
            there: windows.iter().map(there).collect(),
        };
        results.changes(&self.layout)
    }

    /// Ends an epoch: forgets slides that no window to come holds, and keys that have gone; keeps slides that have begun.
    fn settle(&mut self, closing: &Closing) {
        let (mut dead, mut moved, mut into, mut gone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for run in &closing.runs {
            let standing = &mut self.standing[run.key as usize];
            let goes = matches!(standing, Standing::Gone | Standing::Left);
            if goes {
                *standing = Standing::Here;
                gone.push(run.key);
            } else if *standing == Standing::Sealing {
                *standing = Standing::Sealed;
            }
            let needed = if goes || *standing == Standing::Sealed { i64::MAX } else { run.after / self.slide - self.slides + 1 };
            let (first, last) = (run.before / self.slide, (run.after - 1) / self.slide);
            dead.extend(
                (0.max(first - self.slides + 1)..=first).filter(|slide| *slide < needed).map(|slide| self.place(run, slide) as u32),
            );
            for slide in needed.max(first + 1)..=last {
                moved.push(self.place(run, slide) as u32);
                into.push(run.key * self.slides as u32 + (slide % self.slides) as u32);
            }
            self.marks[run.key as usize] = 0;
        }
        self.kept.clear(&dead);
        if !moved.is_empty() {
            self.kept.merge(&into, &self.begun.partials(&moved));
        }
        self.begun.reset();
        self.keys.release(&gone);
        if closing.over {
            self.keys.reset();
            self.kept.reset();
            self.standing.clear();
            self.marks.clear();
            self.room = 0;
        }
    }

    /// The next epoch in which some key may have to go, though no row comes.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.limited.as_ref().and_then(|limited| limited.next_due())
    }

    pub(super) fn take_limit_report(&mut self) -> Option<LimitReport> {
        let found = (self.groups(), self.bytes());
        let limits = self.layout.limits.clone()?;
        let mut report = self.limited.as_mut()?.take_report();
        if let Some(passed) = passed(&limits, self.workers, found) {
            report.get_or_insert_default().passed.get_or_insert(passed);
        }
        report
    }

    pub(super) fn groups(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let limited = self.limited.as_ref().map_or(0, |limited| limited.bytes());
        self.keys.bytes() + self.kept.bytes() + self.begun.bytes() + self.waiting.bytes() + limited + self.marks.capacity() * 5
    }
}

/// Rows, or windows, and where they belong.
#[derive(Default)]
struct Places {
    rows: Vec<u32>,
    groups: Vec<u32>,
}

/// Rows that count several times, as so many rows.
fn each_by_itself(batch: KeyedBatch) -> KeyedBatch {
    let Payload::Raw { diffs: Some(diffs), .. } = &batch.payload else { return batch };
    let rows = diffs.iter().zip(0..).flat_map(|(diff, row)| {
        assert!(*diff > 0, "rows that are counted are not taken back");
        std::iter::repeat_n(row, *diff as usize)
    });
    let mut batch = batch.take(&rows.collect());
    if let Payload::Raw { diffs, .. } = &mut batch.payload {
        *diffs = None;
    }
    batch
}
