//! What the book says of a case.

use std::collections::BTreeMap;

use super::fires::fired;
use super::{Case, Event, Promise, Shape, Strategy};
use crate::value::{Row, Value};

/// A bag of rows.
pub type Bag = BTreeMap<Row, i64>;

/// What comes out of a case.
#[derive(Debug, Default)]
pub struct Answer {
    /// The result after each step.
    pub tables: Vec<Bag>,
    /// The windows over the windows after each step.
    pub outer: Vec<Bag>,
    /// The late rows that there are after each step.
    pub late: Vec<Bag>,
    /// Dead letters: source, partition, offset, window, watermark, diff.
    pub letters: Vec<(usize, usize, usize, (i64, i64), i64, i64)>,
    /// How often a row corrected a window.
    pub corrected: u64,
    /// How often a row missed a window and was dropped.
    pub dropped: u64,
    /// How many rows count in another window than their own.
    pub moved: u64,
    /// Rows without a time.
    pub bad: u64,
}

/// A row as it was judged when it arrived.
#[derive(Clone, Debug)]
pub(super) struct Judged<'a> {
    pub(super) event: &'a Event,
    pub(super) step: usize,
    pub(super) place: (usize, usize, usize),
    pub(super) ts: i64,
    /// The watermark of the rows before it in its partition, as the query has it.
    pub(super) watermark: Option<i64>,
}

impl Judged<'_> {
    /// Of a row that can only be late because it has one.
    fn its_watermark(&self) -> i64 {
        self.watermark.expect("only a row with a watermark is late")
    }
}

/// The watermark of the rows before each row in its partition, by the row's id. The source's own, without the query's delay.
pub type Watermarks = BTreeMap<i64, Option<i64>>;

/// By which watermark each row is judged where no partition is passed over.
pub fn watermarks(case: &Case) -> Watermarks {
    let mut all = Watermarks::new();
    for source in &case.sources {
        for partition in &source.partitions {
            let mut greatest: Option<i64> = None;
            for event in partition.iter().flatten() {
                // What takes a row back is judged too, but has no columns of its own to be asked by.
                all.entry(event.id).or_insert(greatest.map(|greatest| greatest - own_delay(source.promise)));
                greatest = greatest.max(moves(source.promise, event));
            }
        }
    }
    all
}

/// Works a case out. `given` says by which watermarks rows were judged, where that depends on when they came.
pub fn answer(case: &Case, given: Option<&Watermarks>) -> Answer {
    let mut answer = Answer::default();
    let rows = arrivals(case, given, &mut answer);
    // Where partitions are passed over, what has come out in the end is all that is known.
    let fired = case.firing.as_ref().filter(|_| !case.idles()).map(|firing| fired(case, firing, &rows));
    let last = case.steps().saturating_sub(1);
    for step in 0..=last {
        let known: Vec<&Judged<'_>> = rows.iter().filter(|row| row.step <= step).collect();
        let closed = watermark(case, step);
        let mut step_answer = Answer::default();
        let windows = match case.gap() {
            Some(gap) => sessions(case, gap, &known, closed, &mut step_answer),
            None => fixed(case, &known, &mut step_answer),
        };
        let table = match &fired {
            Some(tables) => tables[step].clone(),
            None => bag(windows
                .iter()
                .filter(|(_, end, _, _)| !case.fin || closed.is_some_and(|closed| *end <= closed))
                .filter_map(|(start, end, key, rows)| result(case, *start, *end, *key, rows))),
        };
        if let Some(size) = case.outer {
            answer.outer.push(outer(case, size, &table, closed));
        }
        answer.tables.push(table);
        answer.late.push(std::mem::take(&mut step_answer.late).pop().unwrap_or_default());
        if step == last {
            answer.letters = step_answer.letters;
            (answer.corrected, answer.dropped, answer.moved) = (step_answer.corrected, step_answer.dropped, step_answer.moved);
        }
    }
    answer
}

fn bag(rows: impl Iterator<Item = Row>) -> Bag {
    let mut bag = Bag::new();
    rows.for_each(|row| *bag.entry(row).or_default() += 1);
    bag
}

/// What moves a partition's watermark.
pub(super) fn moves(promise: Promise, event: &Event) -> Option<i64> {
    match promise {
        Promise::Carried => event.mark,
        Promise::Bounded(_) | Promise::Strict => event.ts,
    }
}

fn delay(case: &Case, promise: Promise) -> i64 {
    case.own_delay.unwrap_or_else(|| own_delay(promise))
}

pub(super) fn own_delay(promise: Promise) -> i64 {
    match promise {
        Promise::Bounded(delay) => delay,
        Promise::Strict => -1,
        Promise::Carried => 0,
    }
}

/// All rows that the query reads, partition by partition, in the order in which they arrive there.
fn arrivals<'a>(case: &'a Case, given: Option<&Watermarks>, answer: &mut Answer) -> Vec<Judged<'a>> {
    let mut rows = Vec::new();
    for (s, source) in case.sources.iter().enumerate() {
        for (p, partition) in source.partitions.iter().enumerate() {
            let mut greatest: Option<i64> = None;
            let events = partition.iter().enumerate().flat_map(|(step, events)| events.iter().map(move |event| (step, event)));
            for (offset, (step, event)) in (0..).zip(events) {
                let own = own_delay(source.promise);
                let watermark = match given {
                    Some(given) => given.get(&event.id).copied().flatten().map(|watermark| watermark + own),
                    None => greatest,
                };
                let watermark = watermark.map(|greatest| greatest - delay(case, source.promise));
                if !case.filter || event.value % 2 == 0 {
                    match event.ts {
                        Some(ts) => rows.push(Judged { event, step, place: (s, p, offset), ts, watermark }),
                        None => answer.bad += 1,
                    }
                }
                greatest = greatest.max(moves(source.promise, event));
            }
        }
    }
    rows
}

/// The watermark after a step: the least over the partitions that have not ended. `None` before all have one, `i64::MAX` when all have ended.
pub(super) fn watermark(case: &Case, step: usize) -> Option<i64> {
    let mut least = Some(i64::MAX);
    for source in &case.sources {
        for partition in source.partitions.iter().filter(|partition| partition.len() > step + 1) {
            let greatest = partition[..=step].iter().flatten().filter_map(|event| moves(source.promise, event)).max();
            let own = greatest.map(|greatest| greatest - delay(case, source.promise));
            least = least.zip(own).map(|(least, own)| least.min(own));
        }
    }
    least
}

/// A window with rows: start, end, key, the events that count.
type Filled<'a> = (i64, i64, Option<i64>, Vec<&'a Event>);

/// All windows near a time: every start within reach is tried.
fn candidates(shape: Shape, time: i64) -> Vec<(i64, i64)> {
    let (stride, offset, lengths): (i64, i64, Vec<i64>) = match shape {
        Shape::Tumble { size, offset } => (size, offset, vec![size]),
        Shape::Hop { size, slide } => (slide, 0, vec![size]),
        Shape::Cumulate { size, step } => (size, 0, (1..=size / step).map(|n| n * step).collect()),
        Shape::Session { .. } => unreachable!("sessions are not known from one row"),
    };
    let reach = lengths.iter().max().map_or(0, |longest| longest / stride) + 2;
    let near = time / stride;
    let mut windows = Vec::new();
    for n in near - reach..=near + reach {
        windows.extend(lengths.iter().map(|length| (n * stride + offset, n * stride + offset + length)));
    }
    windows
}

fn holds(window: &(i64, i64), time: i64) -> bool {
    window.0 <= time && time < window.1
}

/// Where a row belongs among windows of a fixed size.
pub(super) struct Homes {
    /// The windows that count it.
    pub(super) counts: Vec<(i64, i64)>,
    /// Those that it came too late for.
    missed: Vec<(i64, i64)>,
    /// How many it corrects.
    corrected: u64,
    /// It counts in windows that are not its own.
    moved: bool,
}

/// The windows of a row.
pub(super) fn homes(case: &Case, row: &Judged<'_>) -> Homes {
    let mut homes = Homes { counts: Vec::new(), missed: Vec::new(), corrected: 0, moved: false };
    for window in candidates(case.shape, row.ts).into_iter().filter(|window| holds(window, row.ts)) {
        match row.watermark {
            Some(watermark) if window.1 + case.lateness <= watermark => homes.missed.push(window),
            Some(watermark) if window.1 <= watermark => {
                homes.corrected += 1;
                homes.counts.push(window);
            }
            _ => homes.counts.push(window),
        }
    }
    if let (Strategy::NextWindow, true, Some(watermark)) = (case.strategy, homes.counts.is_empty(), row.watermark) {
        homes.moved = true;
        let open: Vec<(i64, i64)> = candidates(case.shape, watermark).into_iter().filter(|window| window.1 > watermark).collect();
        let first = *open.iter().min_by_key(|window| (window.1, window.0)).expect("some window is open");
        // Of a cumulation, all that are left.
        homes.counts = match case.shape {
            Shape::Cumulate { .. } => open.into_iter().filter(|window| window.0 == first.0).collect(),
            _ => vec![first],
        };
    }
    homes
}

/// Windows of a fixed size.
fn fixed<'a>(case: &Case, rows: &[&Judged<'a>], answer: &mut Answer) -> Vec<Filled<'a>> {
    let mut filled: BTreeMap<(i64, i64, Option<i64>), Vec<&'a Event>> = BTreeMap::new();
    let mut late = Bag::new();
    for row in rows {
        let key = case.keyed.then_some(row.event.key);
        let homes = homes(case, row);
        for window in &homes.missed {
            let watermark = row.its_watermark();
            *late.entry(late_row(row, *window, watermark)).or_default() += row.event.diff;
            match case.strategy {
                Strategy::Drop | Strategy::UpdatePrevious => answer.dropped += 1,
                Strategy::DeadLetter => {
                    let (source, partition, offset) = row.place;
                    answer.letters.push((source, partition, offset, *window, watermark, row.event.diff));
                }
                Strategy::NextWindow => {}
            }
        }
        answer.corrected += homes.corrected;
        answer.moved += u64::from(homes.moved);
        for (start, end) in homes.counts {
            filled.entry((start, end, key)).or_default().push(row.event);
        }
    }
    answer.late.push(late);
    filled.into_iter().map(|((start, end, key), rows)| (start, end, key, rows)).collect()
}

/// A session while it is put together: where its stretch begins and ends, the least time of its rows, and they.
#[derive(Clone, Debug)]
struct Stretch<'a> {
    from: i64,
    end: i64,
    start: i64,
    rows: Vec<&'a Event>,
}

/// Adds a stretch to others, and joins what overlaps until nothing does.
fn join<'a>(all: &mut Vec<Stretch<'a>>, mut one: Stretch<'a>) {
    while let Some(at) = all.iter().position(|other| other.from < one.end && one.from < other.end) {
        let other = all.remove(at);
        one.from = one.from.min(other.from);
        one.end = one.end.max(other.end);
        one.start = one.start.min(other.start);
        one.rows.extend(other.rows);
    }
    all.push(one);
}

/// Sessions of each key, by comparing every stretch with every other.
fn sessions<'a>(case: &Case, gap: i64, rows: &[&Judged<'a>], closed: Option<i64>, answer: &mut Answer) -> Vec<Filled<'a>> {
    let mut keys: Vec<Option<i64>> = rows.iter().map(|row| case.keyed.then_some(row.event.key)).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut late_rows = Bag::new();
    let mut filled = Vec::new();
    for key in keys {
        let mut all: Vec<Stretch<'a>> = Vec::new();
        let mut late: Vec<(i64, &Judged<'a>)> = Vec::new();
        for row in rows.iter().filter(|row| case.keyed.then_some(row.event.key) == key) {
            let alone = row.ts + gap;
            // A session is kept for the lateness behind the watermark.
            let came = row.watermark.map_or(row.ts, |watermark| (watermark - case.lateness).max(row.ts));
            if came < alone {
                answer.corrected += u64::from(row.watermark.is_some_and(|watermark| watermark >= alone));
                join(&mut all, Stretch { from: came, end: alone, start: row.ts, rows: vec![row.event] });
            } else {
                late.push((came, row));
            }
        }
        // Late rows in the order of the watermarks they came at: each is held by what stands then, or is too late.
        late.sort_by_key(|(came, _)| *came);
        for (came, row) in late {
            let alone = row.ts + gap;
            if let Some(held) = all.iter_mut().find(|session| session.from < alone && came < session.end) {
                held.start = held.start.min(row.ts);
                held.rows.push(row.event);
                continue;
            }
            // It is not known to be too late before the watermark has passed its own: until then a session may come to hold it.
            let watermark = row.its_watermark();
            if closed.is_none_or(|closed| closed <= watermark) {
                continue;
            }
            *late_rows.entry(late_row(row, (row.ts, alone), watermark)).or_default() += row.event.diff;
            match case.strategy {
                Strategy::Drop | Strategy::UpdatePrevious => answer.dropped += 1,
                Strategy::DeadLetter => {
                    let (source, partition, offset) = row.place;
                    answer.letters.push((source, partition, offset, (row.ts, alone), watermark, row.event.diff));
                }
                Strategy::NextWindow => {
                    answer.moved += 1;
                    join(&mut all, Stretch { from: watermark, end: watermark + gap, start: watermark, rows: vec![row.event] });
                }
            }
        }
        filled.extend(all.into_iter().map(|session| (session.start, session.end, key, session.rows)));
    }
    answer.late.push(late_rows);
    filled
}

fn late_row(row: &Judged<'_>, window: (i64, i64), watermark: i64) -> Row {
    let int = |value: i64| Value::Int(i128::from(value));
    vec![
        int(row.event.id),
        Value::Time(row.ts),
        Value::Time(window.0),
        Value::Time(window.1),
        Value::Time(watermark),
        int(watermark - window.1),
    ]
}

/// The result of a window, if any row is left in it.
pub(super) fn result(case: &Case, start: i64, end: i64, key: Option<i64>, rows: &[&Event]) -> Option<Row> {
    let int = |value: i64| Value::Int(i128::from(value));
    let count: i64 = rows.iter().map(|row| row.diff).sum();
    if count == 0 {
        return None;
    }
    let mut left: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    rows.iter().for_each(|row| *left.entry((row.id, row.value)).or_default() += row.diff);
    left.retain(|_, times| *times != 0);
    let sum = left.iter().map(|((_, value), times)| value * times).sum();
    let most = left.keys().map(|(_, value)| *value).max()?;
    let mut out: Row = key.into_iter().map(int).collect();
    out.extend([Value::Time(start), Value::Time(end), int(count), int(sum), int(most)]);
    if case.lists {
        let ids = left.iter().flat_map(|((id, _), times)| (0..*times).map(|_| int(*id))).collect();
        out.push(Value::List(ids));
    }
    Some(out)
}

/// Windows over what has come out of the windows: each counts at its last instant.
fn outer(case: &Case, size: i64, table: &Bag, closed: Option<i64>) -> Bag {
    let mut groups: BTreeMap<i64, (i128, i128)> = BTreeMap::new();
    let place = usize::from(case.keyed) + 1;
    for (row, times) in table {
        let (Value::Time(end), Value::Int(count)) = (&row[place], &row[place + 1]) else { unreachable!("an end and a count") };
        let group = groups.entry((end - 1).div_euclid(size) * size).or_default();
        *group = (group.0 + i128::from(*times), group.1 + count * i128::from(*times));
    }
    // Corrections are in time for them.
    let closed = closed.map(|closed| if closed == i64::MAX { closed } else { closed - case.lateness });
    let out = groups.into_iter().filter(|(start, _)| closed.is_some_and(|closed| start + size <= closed));
    bag(out.map(|(start, (windows, rows))| vec![Value::Time(start), Value::Int(windows), Value::Int(rows)]))
}

#[cfg(test)]
mod tests {
    use super::super::{SECOND, Source};
    use super::*;

    fn case(shape: Shape, strategy: Strategy, lateness: i64, times: &[i64]) -> Case {
        let event = |(id, ts): (usize, &i64)| Event { id: id as i64, ts: Some(*ts), mark: None, key: 0, value: 1, diff: 1 };
        let events = times.iter().enumerate().map(event).collect();
        let source = Source { promise: Promise::Bounded(0), retracts: false, idle_steps: None, partitions: vec![vec![events]] };
        Case {
            sources: vec![source],
            shape,
            own_delay: None,
            lateness,
            strategy,
            fin: true,
            keyed: false,
            lists: false,
            filter: false,
            late_sink: true,
            outer: None,
            firing: None,
            chunking: 0,
        }
    }

    fn counts(answer: &Answer) -> Vec<(i64, i64, i128)> {
        let last = answer.tables.last().expect("a case has a step");
        let of = |row: &Row| match row[..3] {
            [Value::Time(start), Value::Time(end), Value::Int(count)] => (start, end, count),
            _ => panic!("no window: {row:?}"),
        };
        last.keys().map(of).collect()
    }

    #[test]
    fn a_late_row_by_hand() {
        let tumble = Shape::Tumble { size: 10, offset: 0 };
        let times = [1, 12, 2, 11, 25, 13];
        let dropped = answer(&case(tumble, Strategy::Drop, 0, &times), None);
        assert_eq!(counts(&dropped), [(0, 10, 1), (10, 20, 2), (20, 30, 1)]);
        assert_eq!((dropped.dropped, dropped.late[0].len()), (2, 2));
        let corrected = answer(&case(tumble, Strategy::UpdatePrevious, 3, &times), None);
        assert_eq!(counts(&corrected), [(0, 10, 2), (10, 20, 2), (20, 30, 1)]);
        assert_eq!((corrected.corrected, corrected.dropped), (1, 1));
        let moved = answer(&case(tumble, Strategy::NextWindow, 0, &times), None);
        assert_eq!(counts(&moved), [(0, 10, 1), (10, 20, 3), (20, 30, 2)]);
        let letters = answer(&case(Shape::Hop { size: 10, slide: 5 }, Strategy::DeadLetter, 0, &[1, 12, 2]), None);
        assert_eq!(letters.letters, [(0, 0, 2, (-5, 5), 12, 1), (0, 0, 2, (0, 10), 12, 1)]);
    }

    #[test]
    fn a_late_row_of_sessions_by_hand() {
        let session = Shape::Session { gap: 10 };
        // Held by the session that was open from 11 on; too late; moved to when it came.
        assert_eq!(counts(&answer(&case(session, Strategy::Drop, 0, &[0, 9, 12, 1]), None)), [(0, 22, 4)]);
        let times = [0, 30, 1];
        let dropped = answer(&case(session, Strategy::Drop, 0, &times), None);
        assert_eq!((counts(&dropped), dropped.dropped), (vec![(0, 10, 1), (30, 40, 1)], 1));
        assert_eq!(counts(&answer(&case(session, Strategy::NextWindow, 0, &times), None)), [(0, 10, 1), (30, 40, 2)]);
        assert_eq!(SECOND, 1_000_000);
    }
}
