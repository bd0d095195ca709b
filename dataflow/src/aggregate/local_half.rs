//! # The half of an aggregate before the exchange
//!
//! Evaluates what the aggregate reads, assigns panes, judges lateness, and sends rows on: as partial states where that makes them
//! fewer, as they are where it does not.
//!
//! **Lateness and panes.** A row is judged for each window by its own watermark. The windows of a pane end at or after the pane does,
//! so a row whose watermark lies before the end of its pane is in time for all of them: the common case, decided for a whole batch.
//! Otherwise the row misses the first windows of its pane and may count for the rest. A cumulating window then counts it with
//! the pane of the first window that it is in time for, which lies in exactly the windows left. A hopping window sends it once for
//! each window left, marked [`KeyedBatch::single`]. Where state is kept for each window anyway ([`AggregateLayout::per_window`]), every
//! row is sent once for each window it counts for.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::TimestampMicrosecondType;

use super::admit::{Admission, Fate, admit, fate};
use super::keyed_batch::{KeyedBatch, Payload};
use super::late::{LateRows, Place, RefusedRow, earliest_open};
use super::layout::{AggregateLayout, Partial, WindowLayout};
use super::session;
use crate::eval::{BadRow, evaluate};
use crate::state::group_table::GroupTable;
use crate::state::key_rows::KeyRows;
use tidemark_planner::plan::WindowKind;

/// When partial aggregation is tried and given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Rows after which it is judged whether it pays.
    pub(super) trial_rows: usize,
    /// Rows sent as they are before the next trial.
    pub(super) raw_rows: usize,
    /// Groups at which partial states are sent before the epoch ends: about what the near caches hold.
    pub(super) groups_max: usize,
}

const LIMITS: Limits = Limits { trial_rows: 8 << 10, raw_rows: 1 << 20, groups_max: 32 << 10 };

/// The watermarks rows are judged by, in microseconds; `i64::MIN` is behind everything.
#[derive(Clone, Copy, Debug)]
pub enum RowWatermarks<'a> {
    /// No row is late.
    None,
    /// The same for all rows.
    Constant(i64),
    /// One for each row.
    Each(&'a [i64]),
}

/// What became of a batch of rows.
#[derive(Debug, Default)]
pub struct Pushed {
    /// What is to be sent now.
    pub batches: Vec<KeyedBatch>,
    /// Rows that cannot be evaluated or have no time.
    pub bad: Vec<BadRow>,
    /// Rows that were late.
    pub late: LateRows,
    /// Those that become dead letters.
    pub refused: Vec<RefusedRow>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct LocalHalf {
    layout: Arc<AggregateLayout>,
    /// The table rows are aggregated in, unless that never pays.
    table: Option<(GroupTable, f64)>,
    /// Rows still to be sent as they are before the next trial.
    raw_left: usize,
    trial_rows: usize,
    trial_groups: usize,
    limits: Limits,
    groups: Vec<u32>,
    /// Where the rows at hand were read.
    place: Place,
}

/// Rows ready to be sent, before it is known how.
struct Prepared {
    keys: KeyRows,
    panes: Option<Vec<i64>>,
    columns: Vec<ArrayRef>,
    diffs: Option<Vec<i64>>,
}

impl Prepared {
    fn take(&self, rows: Vec<u32>, panes: Vec<i64>) -> Self {
        let diffs = self.diffs.as_ref().map(|diffs| rows.iter().map(|row| diffs[*row as usize]).collect());
        let rows = UInt32Array::from(rows);
        let columns = self.columns.iter().map(|column| take(column, &rows, None).expect("rows lie within")).collect();
        Self { keys: self.keys.take(&rows), panes: Some(panes), columns, diffs }
    }

    fn into_batch(self, single: bool) -> KeyedBatch {
        let Self { keys, panes, columns, diffs } = self;
        KeyedBatch { hashes: keys.hashes(), panes, single, keys, payload: Payload::Raw { columns, diffs } }
    }
}

impl LocalHalf {
    /// The half of one worker. `direct` says that rows do not leave the worker: partial aggregation would only add work.
    pub fn new(layout: Arc<AggregateLayout>, direct: bool) -> Self {
        Self::with_limits(layout, direct, LIMITS)
    }

    pub(super) fn with_limits(layout: Arc<AggregateLayout>, direct: bool, limits: Limits) -> Self {
        let table = match layout.partial {
            Partial::Below(share) if !direct => Some((layout.table(), share)),
            Partial::Below(_) | Partial::Never => None,
        };
        Self { layout, table, raw_left: 0, trial_rows: 0, trial_groups: 0, limits, groups: Vec::new(), place: Place::default() }
    }

    /// Takes rows in. `diffs` and watermarks are of the rows, in their order.
    pub fn push(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>, watermarks: RowWatermarks<'_>) -> Pushed {
        let layout = self.layout.clone();
        let mut pushed = Pushed::default();
        let total = rows.num_rows();
        if total == 0 {
            return pushed;
        }
        let mut evaluated = evaluate(&layout.exprs, rows);
        if let (Some(window), Some(time)) = (&layout.window, layout.time_expr) {
            let (nulls, extremes) = unusable(&evaluated.columns[time], window);
            evaluated.reject(total, &nulls, "event time is null");
            let extremes: Vec<u32> = if nulls.is_empty() { extremes } else { unusable(&evaluated.columns[time], window).1 };
            evaluated.reject(total, &extremes, "event time is out of range");
        }
        pushed.bad = std::mem::take(&mut evaluated.bad);
        let count = evaluated.kept.as_ref().map_or(total, Vec::len);
        if count == 0 {
            return pushed;
        }
        let key_columns: Vec<ArrayRef> = layout.key_exprs.iter().map(|position| evaluated.columns[*position].clone()).collect();
        let keys = match layout.codec.encode(&key_columns, count) {
            Ok(keys) => keys,
            Err(_) if total > 1 => return self.push_halves(rows, diffs, watermarks),
            Err(reason) => {
                pushed.bad.push(BadRow { row: 0, reason });
                return pushed;
            }
        };
        let mut prepared = Prepared {
            keys,
            panes: None,
            columns: layout.payload_exprs.iter().map(|position| evaluated.columns[*position].clone()).collect(),
            diffs: diffs.map(|diffs| evaluated.keep(diffs).into_owned()),
        };
        if let (Some(window), Some(time)) = (&layout.window, layout.time_expr) {
            let times = evaluated.columns[time].as_primitive::<TimestampMicrosecondType>().values();
            let kept;
            let watermarks = match watermarks {
                RowWatermarks::Each(each) => {
                    kept = evaluated.keep(each);
                    RowWatermarks::Each(&kept)
                }
                other => other,
            };
            if let Some(gap) = layout.session_gap() {
                let came = session::rows_came(times, watermarks, gap, layout.session_lateness(), &mut pushed.late);
                prepared.panes = Some(times.to_vec());
                if layout.puts_out_late() {
                    // Counted where the sessions are that the query is about.
                    pushed.late = LateRows::default();
                }
                if let (Some(came), true) = (&came, layout.carries_late()) {
                    self.send_wide(prepared, came, gap, rows, evaluated.kept.as_deref(), &mut pushed.batches);
                    return pushed;
                }
                prepared.columns.extend(came.map(|came| Arc::new(Int64Array::from(came)) as ArrayRef));
                pushed.batches.push(prepared.into_batch(false));
                return pushed;
            }
            let assigned = window.panes.assign(times);
            let in_time = in_time_for_all(assigned.least, watermarks);
            let several = !matches!(window.panes.kind(), WindowKind::Tumble { .. } | WindowKind::Attached) && layout.per_window();
            if in_time && !several {
                prepared.panes = Some(assigned.panes);
            } else if let Some(late) = all_count(&layout, window, &assigned.panes, watermarks) {
                pushed.late = late;
                prepared.panes = Some(assigned.panes);
            } else {
                let mut judged = judge(&layout, window, &assigned.panes, watermarks);
                pushed.late = judged.late;
                if let Some(kept) = &evaluated.kept {
                    judged.refused.iter_mut().for_each(|refused| refused.row = kept[refused.row] as usize);
                }
                pushed.refused = judged.refused;
                if !judged.single_rows.is_empty() {
                    pushed.batches.push(prepared.take(judged.single_rows, judged.single_windows).into_batch(true));
                }
                if judged.rows.is_empty() {
                    return pushed;
                }
                prepared = prepared.take(judged.rows, judged.panes);
            }
        }
        self.send(prepared, &mut pushed.batches);
        pushed
    }

    /// Sends rows of sessions, those that may be too late with all their columns and their place ([`super::Homeless`]).
    fn send_wide(
        &self,
        prepared: Prepared,
        came: &[i64],
        gap: i64,
        rows: &RecordBatch,
        kept: Option<&[u32]>,
        batches: &mut Vec<KeyedBatch>,
    ) {
        let times = prepared.panes.as_deref().unwrap_or_default();
        let (good, late): (Vec<u32>, Vec<u32>) =
            (0..came.len() as u32).partition(|row| session::in_time(times[*row as usize], came[*row as usize], gap));
        let pick = |of: &[i64], rows: &[u32]| -> Vec<i64> { rows.iter().map(|row| of[*row as usize]).collect() };
        for (chosen, wide) in [(good, false), (late, true)] {
            if chosen.is_empty() {
                continue;
            }
            let (chosen_times, chosen_came) = (pick(times, &chosen), pick(came, &chosen));
            let own: Vec<u32> = chosen.iter().map(|row| kept.map_or(*row, |kept| kept[*row as usize])).collect();
            let mut part = prepared.take(chosen, chosen_times);
            part.columns.push(Arc::new(Int64Array::from(chosen_came)));
            if wide {
                part.columns.extend(self.place.columns(&own));
                let own = UInt32Array::from(own);
                part.columns.extend(rows.columns().iter().map(|column| take(column, &own, None).expect("rows lie within")));
            }
            batches.push(part.into_batch(false));
        }
    }

    /// Says where the rows that are pushed next were read.
    pub fn read_at(&mut self, place: Place) {
        self.place = place;
    }

    /// The keys of a batch are too long to be encoded together.
    #[cold]
    fn push_halves(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>, watermarks: RowWatermarks<'_>) -> Pushed {
        let half = rows.num_rows() / 2;
        let mut joined = Pushed::default();
        let place = std::mem::take(&mut self.place);
        for (first, len) in [(0, half), (half, rows.num_rows() - half)] {
            let rows_here: UInt32Array = (first as u32..(first + len) as u32).collect();
            self.place = Place { places: place.places.take(&rows_here), ..place };
            let watermarks = match watermarks {
                RowWatermarks::Each(each) => RowWatermarks::Each(&each[first..first + len]),
                other => other,
            };
            let pushed = self.push(&rows.slice(first, len), diffs.map(|diffs| &diffs[first..first + len]), watermarks);
            joined.batches.extend(pushed.batches);
            joined.bad.extend(pushed.bad.into_iter().map(|bad| BadRow { row: bad.row + first, ..bad }));
            joined.late.add(&pushed.late);
            joined.refused.extend(pushed.refused.into_iter().map(|refused| RefusedRow { row: refused.row + first, ..refused }));
        }
        joined
    }

    fn send(&mut self, prepared: Prepared, batches: &mut Vec<KeyedBatch>) {
        let rows = prepared.keys.len();
        let Some((table, share)) = self.table.as_mut().filter(|_| self.raw_left == 0) else {
            self.raw_left = self.raw_left.saturating_sub(rows);
            batches.push(prepared.into_batch(false));
            return;
        };
        let hashes = prepared.keys.hashes();
        table.locate(&prepared.keys, &hashes, prepared.panes.as_deref(), &mut self.groups);
        table.update(&self.groups, &self.layout.inputs(&prepared.columns), prepared.diffs.as_deref());
        self.trial_rows += rows;
        if self.trial_rows >= self.limits.trial_rows && (self.trial_groups + table.len()) as f64 > *share * self.trial_rows as f64 {
            batches.extend(self.flush());
            self.raw_left = self.limits.raw_rows;
            (self.trial_rows, self.trial_groups) = (0, 0);
        } else if table.len() >= self.limits.groups_max {
            batches.extend(self.flush());
        }
    }

    /// Sends what is held: at the end of an epoch, before its capability is given up.
    pub fn flush(&mut self) -> Vec<KeyedBatch> {
        let Some((table, _)) = self.table.as_mut().filter(|(table, _)| !table.is_empty()) else { return Vec::new() };
        self.trial_groups += table.len();
        if self.trial_rows >= self.limits.raw_rows {
            (self.trial_rows, self.trial_groups) = (0, 0);
        }
        let mut groups = Vec::with_capacity(table.len());
        let mut panes = Vec::with_capacity(table.len());
        for pane in table.panes() {
            groups.extend(table.pane_groups(pane, false));
            panes.resize(groups.len(), pane);
        }
        let batch = table.keys(&groups).map(|keys| KeyedBatch {
            hashes: table.hashes(&groups),
            panes: self.layout.window.is_some().then_some(panes),
            single: false,
            keys,
            payload: Payload::Partial { columns: table.partials(&groups) },
        });
        table.reset();
        batch.into_iter().collect()
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.table.as_ref().map_or(0, |(table, _)| table.bytes())
    }
}

/// Rows without a time, and rows whose windows cannot be written.
fn unusable(times: &ArrayRef, window: &WindowLayout) -> (Vec<u32>, Vec<u32>) {
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let nulls = match times.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => Vec::new(),
        Some(nulls) => (0..times.len() as u32).filter(|row| nulls.is_null(*row as usize)).collect(),
    };
    let least = times.values().iter().copied().min().unwrap_or(0);
    let greatest = times.values().iter().copied().max().unwrap_or(0);
    let extremes = if window.panes.in_range(least) && window.panes.in_range(greatest) {
        Vec::new()
    } else {
        (0..times.len() as u32).filter(|row| times.is_valid(*row as usize) && !window.panes.in_range(times.value(*row as usize))).collect()
    };
    (nulls, extremes)
}

/// Whether all rows are in time for all windows of their panes, the first of which ends at `least`.
fn in_time_for_all(least: i64, watermarks: RowWatermarks<'_>) -> bool {
    let greatest = match watermarks {
        RowWatermarks::None => return true,
        RowWatermarks::Constant(watermark) => watermark,
        RowWatermarks::Each(each) => each.iter().copied().max().unwrap_or(i64::MIN),
    };
    admit(least, greatest, 0) == Admission::InTime
}

impl RowWatermarks<'_> {
    fn of(&self, row: usize) -> i64 {
        match self {
            Self::None => i64::MIN,
            Self::Constant(watermark) => *watermark,
            Self::Each(each) => each[row],
        }
    }
}

/// Whether a pane says all there is to say of a row that counts for all its windows.
fn pane_is_all(layout: &AggregateLayout, window: &WindowLayout) -> bool {
    !layout.per_window() || matches!(window.panes.kind(), WindowKind::Tumble { .. } | WindowKind::Attached)
}

/// Notes the windows that had closed when a row came that counts for all windows of its pane.
fn note_corrected(window: &WindowLayout, pane: i64, watermark: i64, late: &mut LateRows) {
    if pane <= watermark {
        for end in window.panes.windows(pane).take_while(|end| *end <= watermark) {
            late.note(Fate::Corrects, watermark.saturating_sub(end));
        }
    }
}

/// What is to be noted of rows each of which counts for all windows of its pane, though some are late; `None` when there are others.
/// Such rows are sent as they stand.
fn all_count(layout: &AggregateLayout, window: &WindowLayout, assigned: &[i64], watermarks: RowWatermarks<'_>) -> Option<LateRows> {
    if !pane_is_all(layout, window) {
        return None;
    }
    let mut late = LateRows::default();
    for (row, pane) in assigned.iter().enumerate() {
        let watermark = watermarks.of(row);
        if admit(*pane, watermark, window.lateness_us) == Admission::TooLate {
            return None;
        }
        note_corrected(window, *pane, watermark, &mut late);
    }
    Some(late)
}

#[derive(Default)]
struct Judged {
    rows: Vec<u32>,
    panes: Vec<i64>,
    single_rows: Vec<u32>,
    single_windows: Vec<i64>,
    late: LateRows,
    refused: Vec<RefusedRow>,
}

/// Judges each row for each window of its pane.
fn judge(layout: &AggregateLayout, window: &WindowLayout, assigned: &[i64], watermarks: RowWatermarks<'_>) -> Judged {
    let mut judged = Judged::default();
    let mut left = Vec::new();
    // A row in time for the first window of its pane is so for all: it is sent by its pane, where that says all there is to say.
    let panes_are_windows = matches!(window.panes.kind(), WindowKind::Tumble { .. } | WindowKind::Attached);
    let pane_is_all = pane_is_all(layout, window);
    for (row, pane) in assigned.iter().enumerate() {
        let watermark = watermarks.of(row);
        let row = row as u32;
        if pane_is_all && admit(*pane, watermark, window.lateness_us) != Admission::TooLate {
            note_corrected(window, *pane, watermark, &mut judged.late);
            judged.rows.push(row);
            judged.panes.push(*pane);
            continue;
        }
        left.clear();
        let mut moves = None;
        for end in window.panes.windows(*pane) {
            let fate = fate(admit(end, watermark, window.lateness_us), window.late);
            let late_us = watermark.saturating_sub(end);
            match fate {
                Fate::Counts | Fate::Corrects => left.push(end),
                Fate::Dropped => {}
                Fate::DeadLetter => judged.refused.push(RefusedRow { row: row as usize, window_end: end, watermark }),
                Fate::Moves => moves = Some(late_us),
            }
            if fate != Fate::Moves {
                judged.late.note(fate, late_us);
            }
        }
        if let (Some(late_us), true) = (moves, left.is_empty()) {
            match earliest_open(window.panes, watermark) {
                Some(end) => {
                    judged.late.note(Fate::Moves, late_us);
                    match window.panes.kind() {
                        WindowKind::Cumulate { .. } => left.extend(window.panes.windows(end)),
                        _ => left.push(end),
                    }
                }
                None => judged.late.note(Fate::Dropped, late_us),
            }
        }
        if layout.per_window() || panes_are_windows {
            judged.rows.extend(left.iter().map(|_| row));
            judged.panes.extend(&left);
        } else if let (WindowKind::Cumulate { .. }, Some(first)) = (window.panes.kind(), left.first()) {
            judged.rows.push(row);
            judged.panes.push(*first);
        } else {
            judged.single_rows.extend(left.iter().map(|_| row));
            judged.single_windows.extend(&left);
        }
    }
    judged
}
