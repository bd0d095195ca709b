//! # Row chunks
//!
//! The storage of arrangements: differential's [`Chunk`] over sorted row bytes. Rows that differ in times or diffs only where
//! they are fresh, which is what compaction makes of them, cost nothing for either. Advancing such a chunk copies no rows.
//!
//! A sequence of chunks is sorted by (hash, key, value, time), each combination once. Keys may lie across chunks.
//!
//! **Forgetting.** Where rows have event times, [`Chunk::advance`] drops those that no reader from the frontier on can meet.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::rc::Rc;

use differential_dataflow::trace::chunk::{Chunk, pack};
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;

use super::column::Column;
use super::row_time::RowTime;
use super::rows::{Key, Rows};
use super::shared::Shared;

/// Rows in a chunk. Tests have small ones, so that keys lie across chunks.
pub(crate) const CHUNK_ROWS: usize = if cfg!(test) { 6 } else { 8192 };

/// Sorted rows and their times.
#[derive(Clone, Debug)]
pub(crate) struct RowChunk<T> {
    pub(crate) rows: Rc<Rows>,
    pub(crate) times: Rc<Column<T>>,
}

impl<T: RowTime> RowChunk<T> {
    /// The time of a row.
    #[inline]
    pub(crate) fn time(&self, row: usize) -> &T {
        self.times.get(row)
    }

    fn key_at(&self, row: usize) -> Key<'_> {
        self.rows.key(self.rows.key_of(row))
    }

    /// Whether the last row and the first of another chunk differ in time only.
    fn runs_into(&self, next: &Self) -> bool {
        let last = self.rows.len() - 1;
        self.rows.compare_values(last, &next.rows, 0) == Ordering::Equal && self.key_at(last) == next.key_at(0)
    }

    fn slice(&self, rows: std::ops::Range<usize>) -> Self {
        let mut builder = ChunkBuilder::new(Rc::clone(&self.rows.shared));
        builder.extend(self, rows);
        builder.finish().expect("some rows")
    }
}

/// Writes a chunk.
pub(super) struct ChunkBuilder<T> {
    rows: Rows,
    times: Column<T>,
}

impl<T: RowTime> ChunkBuilder<T> {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self { rows: Rows::new(shared), times: Column::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn push(&mut self, key: Key<'_>, same_key: bool, value: &[u8], time: T, diff: i64, event: Option<i64>) {
        self.rows.push(key, same_key, value, diff, event);
        self.times.push(time);
    }

    fn push_row(&mut self, from: &RowChunk<T>, key: usize, row: usize, time: T, diff: i64) {
        let key = from.rows.key(key);
        let same_key = self.rows.ends_with(key);
        self.push(key, same_key, from.rows.value(row), time, diff, from.rows.event(row));
    }

    fn extend(&mut self, from: &RowChunk<T>, rows: std::ops::Range<usize>) {
        self.times.extend(&from.times, rows.clone());
        self.rows.extend(&from.rows, rows);
    }

    /// Adds rows that lie behind all others; chunks that become full go out.
    pub(super) fn append(&mut self, from: &RowChunk<T>, mut rows: std::ops::Range<usize>, out: &mut impl Extend<RowChunk<T>>) {
        while !rows.is_empty() {
            let piece = rows.start..rows.end.min(rows.start + CHUNK_ROWS - self.len());
            rows.start = piece.end;
            self.extend(from, piece);
            if self.len() >= CHUNK_ROWS {
                out.extend(self.finish());
            }
        }
    }

    /// The chunk, unless it would be empty. The builder starts anew.
    pub(super) fn finish(&mut self) -> Option<RowChunk<T>> {
        if self.rows.is_empty() {
            return None;
        }
        let shared = Rc::clone(&self.rows.shared);
        let rows = std::mem::replace(&mut self.rows, Rows::new(shared));
        let mut times = std::mem::take(&mut self.times);
        times.shrink_to_fit();
        Some(RowChunk { rows: rows.seal(), times: Rc::new(times) })
    }
}

/// A place in a chunk that is being merged.
struct Head<T> {
    chunk: RowChunk<T>,
    key: usize,
    row: usize,
}

impl<T: RowTime> Head<T> {
    fn new(chunk: RowChunk<T>) -> Self {
        Self { chunk, key: 0, row: 0 }
    }

    fn key(&self) -> Key<'_> {
        self.chunk.rows.key(self.key)
    }

    fn key_end(&self) -> usize {
        self.chunk.rows.rows_of(self.key).end
    }

    fn done(&self) -> bool {
        self.row >= self.chunk.rows.len()
    }

    /// Moves to a later row of the same key, or to the next key.
    fn step(&mut self) {
        self.row += 1;
        if self.row == self.key_end() {
            self.key += 1;
        }
    }

    /// Copies rows up to the first key that is not less than `bound`.
    fn copy_below(&mut self, bound: Key<'_>, builder: &mut ChunkBuilder<T>, out: &mut VecDeque<RowChunk<T>>) {
        let rows = &self.chunk.rows;
        let key = rows.seek(self.key, bound);
        let end = if key == rows.key_count() { rows.len() } else { rows.rows_of(key).start };
        builder.append(&self.chunk, self.row..end, out);
        (self.row, self.key) = (end, key);
    }

    fn rest(&self) -> Option<RowChunk<T>> {
        let len = self.chunk.rows.len();
        match self.row {
            0 => Some(self.chunk.clone()),
            row if row < len => Some(self.chunk.slice(row..len)),
            _ => None,
        }
    }
}

impl<T: RowTime> Chunk for RowChunk<T> {
    type Time = T;

    const TARGET: usize = CHUNK_ROWS;

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn merge(in1: &mut VecDeque<Self>, in2: &mut VecDeque<Self>, out: &mut VecDeque<Self>) {
        let (Some(a), Some(b)) = (in1.pop_front(), in2.pop_front()) else { return };
        let mut builder = ChunkBuilder::new(Rc::clone(&a.rows.shared));
        let (mut a, mut b) = (Head::new(a), Head::new(b));
        loop {
            match a.key().cmp(&b.key()) {
                Ordering::Less => a.copy_below(b.key(), &mut builder, out),
                Ordering::Greater => b.copy_below(a.key(), &mut builder, out),
                Ordering::Equal => merge_key(&mut a, &mut b, &mut builder, out),
            }
            if a.done() {
                match in1.pop_front() {
                    Some(next) => a = Head::new(next),
                    None => break,
                }
            }
            if b.done() {
                match in2.pop_front() {
                    Some(next) => b = Head::new(next),
                    None => break,
                }
            }
        }
        out.extend(builder.finish());
        if let Some(rest) = a.rest() {
            in1.push_front(rest);
        }
        if let Some(rest) = b.rest() {
            in2.push_front(rest);
        }
    }

    fn extract(
        input: &mut VecDeque<Self>,
        frontier: AntichainRef<'_, T>,
        residual: &mut Antichain<T>,
        keep: &mut VecDeque<Self>,
        ship: &mut VecDeque<Self>,
    ) {
        let Some(chunk) = input.pop_front() else { return };
        let mut parts = [(); 2].map(|()| ChunkBuilder::new(Rc::clone(&chunk.rows.shared)));
        for key in 0..chunk.rows.key_count() {
            for row in chunk.rows.rows_of(key) {
                let time = chunk.time(row);
                let kept = frontier.less_equal(time);
                if kept {
                    residual.insert_ref(time);
                }
                parts[usize::from(kept)].push_row(&chunk, key, row, time.clone(), chunk.rows.diff(row));
            }
        }
        let [mut shipped, mut kept] = parts;
        ship.extend(shipped.finish());
        keep.extend(kept.finish());
    }

    fn advance(input: &mut VecDeque<Self>, frontier: AntichainRef<'_, T>, done: bool, out: &mut VecDeque<Self>) {
        // A stretch of chunks, each of which runs into the next, is advanced as one. The last may still grow.
        while let Some(chunk) = input.pop_front() {
            let mut stretch = vec![chunk];
            while let Some(next) = input.front()
                && stretch.last().expect("not empty").runs_into(next)
            {
                stretch.extend(input.pop_front());
            }
            if input.is_empty() && !done {
                stretch.into_iter().rev().for_each(|chunk| input.push_front(chunk));
                return;
            }
            advance_stretch(&stretch, frontier, out);
        }
    }

    fn settle(input: &mut VecDeque<Self>, done: bool, out: &mut VecDeque<Self>) {
        pack(
            input,
            done,
            out,
            |run| {
                let mut builder = ChunkBuilder::new(Rc::clone(&run[0].rows.shared));
                run.iter().for_each(|chunk| builder.extend(chunk, 0..chunk.rows.len()));
                builder.finish().expect("chunks have rows")
            },
            |chunk, rows| (chunk.slice(0..rows), chunk.slice(rows..chunk.rows.len())),
            |chunk| chunk,
        );
    }
}

/// Merges the rows of one key, until one side has none left.
fn merge_key<T: RowTime>(a: &mut Head<T>, b: &mut Head<T>, builder: &mut ChunkBuilder<T>, out: &mut VecDeque<RowChunk<T>>) {
    let (a_end, b_end) = (a.key_end(), b.key_end());
    while a.row < a_end && b.row < b_end {
        let order = a.chunk.rows.compare_values(a.row, &b.chunk.rows, b.row);
        match order.then_with(|| a.chunk.time(a.row).cmp(b.chunk.time(b.row))) {
            Ordering::Less => {
                builder.push_row(&a.chunk, a.key, a.row, a.chunk.time(a.row).clone(), a.chunk.rows.diff(a.row));
                a.step();
            }
            Ordering::Greater => {
                builder.push_row(&b.chunk, b.key, b.row, b.chunk.time(b.row).clone(), b.chunk.rows.diff(b.row));
                b.step();
            }
            Ordering::Equal => {
                let diff = a.chunk.rows.diff(a.row) + b.chunk.rows.diff(b.row);
                if diff != 0 {
                    builder.push_row(&a.chunk, a.key, a.row, a.chunk.time(a.row).clone(), diff);
                }
                a.step();
                b.step();
            }
        }
        if builder.len() >= CHUNK_ROWS {
            out.extend(builder.finish());
        }
    }
}

/// Advances chunks that start and end with rows of their own.
fn advance_stretch<T: RowTime>(stretch: &[RowChunk<T>], frontier: AntichainRef<'_, T>, out: &mut VecDeque<RowChunk<T>>) {
    let shared = &stretch[0].rows.shared;
    let floor = if stretch[0].rows.events.is_some() {
        frontier.iter().map(RowTime::epoch).min().map_or(i64::MAX, |since| shared.floor(since))
    } else {
        i64::MIN
    };
    let expired = |events: &super::rows::Events| events.greatest < floor;
    if stretch.iter().all(|chunk| chunk.rows.events.as_ref().is_some_and(expired)) {
        return;
    }
    let some_expired = stretch.iter().any(|chunk| chunk.rows.events.as_ref().is_some_and(|events| events.least < floor));
    if let [only] = stretch
        && !some_expired
        && let Some(times) = advance_times(only, frontier)
    {
        out.push_back(RowChunk { rows: Rc::clone(&only.rows), times: Rc::new(times) });
        return;
    }
    let mut builder = ChunkBuilder::new(Rc::clone(shared));
    // The times of one row, and the place where it stands last.
    let mut group: Vec<(T, i64)> = Vec::new();
    let mut place: Option<(&RowChunk<T>, usize, usize)> = None;
    let mut flush = |group: &mut Vec<(T, i64)>, (chunk, key, row): (&RowChunk<T>, usize, usize)| {
        if chunk.rows.event(row).is_none_or(|event| event >= floor) {
            group.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            let mut updates = group.drain(..).peekable();
            while let Some((time, mut diff)) = updates.next() {
                while let Some((_, more)) = updates.next_if(|(next, _)| *next == time) {
                    diff += more;
                }
                if diff != 0 {
                    builder.push_row(chunk, key, row, time, diff);
                    if builder.len() >= CHUNK_ROWS {
                        out.extend(builder.finish());
                    }
                }
            }
        }
        group.clear();
    };
    for chunk in stretch {
        for key in 0..chunk.rows.key_count() {
            for row in chunk.rows.rows_of(key) {
                if let Some((before, before_key, before_row)) = place
                    && (before.rows.compare_values(before_row, &chunk.rows, row) != Ordering::Equal
                        || !(std::ptr::eq(before, chunk) && before_key == key) && before.rows.key(before_key) != chunk.rows.key(key))
                {
                    flush(&mut group, (before, before_key, before_row));
                }
                let mut time = chunk.time(row).clone();
                time.advance_by(frontier);
                group.push((time, chunk.rows.diff(row)));
                place = Some((chunk, key, row));
            }
        }
    }
    if let Some(place) = place {
        flush(&mut group, place);
    }
    out.extend(builder.finish());
}

/// The advanced times of a chunk, if all its rows stay as they are: no two become one.
fn advance_times<T: RowTime>(chunk: &RowChunk<T>, frontier: AntichainRef<'_, T>) -> Option<Column<T>> {
    if let Column::Same(time, rows) = &*chunk.times {
        // Rows of one time are different rows.
        let mut time = time.clone();
        time.advance_by(frontier);
        return Some(Column::Same(time, *rows));
    }
    for key in 0..chunk.rows.key_count() {
        let mut rows = chunk.rows.rows_of(key);
        rows.next_back();
        if rows.into_iter().any(|row| chunk.rows.value(row) == chunk.rows.value(row + 1)) {
            return None;
        }
    }
    let mut times = Column::default();
    for row in 0..chunk.rows.len() {
        let mut time = chunk.time(row).clone();
        time.advance_by(frontier);
        times.push(time);
    }
    times.shrink_to_fit();
    Some(times)
}
