//! Streaming equals batch: the two halves against a naive answer that loops over vectors and shares no code with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use proptest::prelude::*;
use tidemark_planner::plan::{
    AggregateFunction, AggregatePlan, Emit, KeyPlan, LateStrategy, NamedExpr, WindowColumn, WindowKind, WindowPlan,
};

use super::local_half::Limits;
use super::test_accumulators::accumulator;
use super::{AggregateLayout, KeyedBatch, LateRows, LocalHalf, Output, RowWatermarks, Store, global_owner};

#[derive(Clone, Debug)]
struct Row {
    epoch: u64,
    time: Option<i64>,
    number: Option<i64>,
    text: Option<&'static str>,
    value: Option<i64>,
    flag: Option<bool>,
    diff: i64,
    watermark: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Keys {
    None,
    Number,
    Text,
    Both,
}

#[derive(Clone, Debug)]
struct Case {
    kind: Option<WindowKind>,
    offset: i64,
    lateness: i64,
    strategy: LateStrategy,
    emit: Emit,
    keys: Keys,
    window_keys: bool,
    aggregates: bool,
    retractable: bool,
    delay: i64,
    /// Rows of each partition, in order, epochs ascending.
    partitions: Vec<Vec<Row>>,
    epochs: u64,
    workers: usize,
    direct: bool,
    limits: (usize, usize, usize),
    chunk: usize,
    ahead: u64,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("number", DataType::Int64, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("value", DataType::Int64, true),
        Field::new("flag", DataType::Boolean, true),
    ]))
}

fn column(name: &str) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new_with_schema(name, &schema()).unwrap())
}

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.time).collect::<TimestampMicrosecondArray>()),
        Arc::new(rows.iter().map(|row| row.number).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.text).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.value).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.flag).collect::<BooleanArray>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn aggregate(function: AggregateFunction, argument: Option<&str>, filter: bool, retractable: bool) -> AggregatePlan {
    AggregatePlan {
        function,
        args: argument.map(column).into_iter().collect(),
        arg_types: argument.map(|_| DataType::Int64).into_iter().collect(),
        filter: filter.then(|| column("flag")),
        distinct: false,
        order_by: vec![],
        output: Arc::new(Field::new("result", DataType::Int64, true)),
        retractable,
        text: "result".into(),
    }
}

impl Case {
    fn layout(&self) -> Arc<AggregateLayout> {
        let mut keys = Vec::new();
        let mut fields = Vec::new();
        let mut key = |name: &str| {
            keys.push(KeyPlan::Expr(NamedExpr { name: name.into(), expr: column(name) }));
            fields.push(schema().field_with_name(name).unwrap().clone());
        };
        match self.keys {
            Keys::None => {}
            Keys::Number => key("number"),
            Keys::Text => key("text"),
            Keys::Both => {
                key("text");
                key("number");
            }
        }
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        if self.window_keys {
            for (column, name) in [(WindowColumn::Start, "s"), (WindowColumn::End, "e"), (WindowColumn::Time, "t")] {
                if self.kind != Some(WindowKind::Attached) || column != WindowColumn::Start {
                    keys.insert(0, KeyPlan::Window(column, name.into()));
                    fields.insert(0, Field::new(name, timestamp.clone(), true));
                }
            }
        }
        let aggregates = if self.aggregates {
            vec![
                aggregate(AggregateFunction::Count, None, false, self.retractable),
                aggregate(AggregateFunction::Sum, Some("value"), false, self.retractable),
                aggregate(AggregateFunction::Count, Some("value"), true, self.retractable),
            ]
        } else if self.delay % 2 == 0 {
            vec![aggregate(AggregateFunction::Min, Some("value"), false, self.retractable)]
        } else {
            vec![]
        };
        fields.extend(aggregates.iter().map(|aggregate| aggregate.output.as_ref().clone()));
        let window = self.kind.map(|kind| WindowPlan {
            kind,
            offset_us: self.offset,
            time: column("time"),
            start: None,
            watermark: None,
            lateness_us: self.lateness,
            late: self.strategy,
            letters: None,
            firing: None,
            places: vec![],
        });
        let output = Arc::new(Schema::new(fields));
        Arc::new(
            AggregateLayout::new(&schema(), self.retractable, &keys, &aggregates, window.as_ref(), self.emit, output, accumulator).unwrap(),
        )
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.partitions.iter().flatten()
    }

    /// `W(e)`: the least over partitions of the greatest time read, less the delay.
    fn watermark(&self, epoch: u64) -> i64 {
        let of = |rows: &Vec<Row>| {
            rows.iter().filter(|row| row.epoch <= epoch).filter_map(|row| row.time).max().map_or(i64::MIN, |time| time - self.delay)
        };
        self.partitions.iter().map(of).min().unwrap()
    }

    /// The windows of a time, `(start, end)`, by trying all starts.
    fn windows_of(&self, time: i64) -> Vec<(i64, i64)> {
        let mut windows = Vec::new();
        match self.kind {
            None => windows.push((0, 0)),
            Some(WindowKind::Attached) => windows.push((0, time)),
            Some(WindowKind::Session { .. } | WindowKind::Rows { .. }) => unreachable!("these have tests of their own"),
            Some(WindowKind::Tumble { size_us: size }) => {
                windows.extend((time - 200..=time).filter(|s| (s - self.offset) % size == 0).map(|s| (s, s + size)));
            }
            Some(WindowKind::Hop { size_us: size, slide_us }) => {
                windows.extend((time - 200..=time).filter(|s| (s - self.offset) % slide_us == 0).map(|s| (s, s + size)));
            }
            Some(WindowKind::Cumulate { size_us: size, step_us }) => {
                for start in (time - 200..=time).filter(|s| (s - self.offset) % size == 0) {
                    windows.extend((1..=size / step_us).map(|steps| (start, start + steps * step_us)));
                }
            }
        }
        if !matches!(self.kind, None | Some(WindowKind::Attached)) {
            windows.retain(|(start, end)| *start <= time && time < *end);
        }
        windows
    }

    fn counts(&self, end: i64, watermark: i64) -> bool {
        if self.kind.is_none() || watermark == i64::MIN {
            return true;
        }
        end + self.lateness > watermark
    }

    /// The windows a row counts in, `(start, end)`.
    fn counted_in(&self, row: &Row) -> Vec<(i64, i64)> {
        let mut windows = self.windows_of(row.time.unwrap_or(0));
        windows.retain(|(_, end)| self.counts(*end, row.watermark));
        if windows.is_empty() && self.moves() {
            windows = self.windows_of(row.watermark);
            if let Some(WindowKind::Hop { .. }) = self.kind {
                let first = windows.iter().map(|(_, end)| *end).min().unwrap();
                windows.retain(|(_, end)| *end == first);
            }
        }
        windows
    }

    fn moves(&self) -> bool {
        self.strategy == LateStrategy::IncludeInNextWindow && self.kind != Some(WindowKind::Attached)
    }

    fn key_of(&self, row: &Row) -> Vec<String> {
        let number = row.number.map_or("null".to_string(), |number| number.to_string());
        let text = row.text.map_or("null".to_string(), |text| format!("'{text}'"));
        match self.keys {
            Keys::None => vec![],
            Keys::Number => vec![number],
            Keys::Text => vec![text],
            Keys::Both => vec![text, number],
        }
    }

    /// The batch answer over the rows of some epochs: result rows, `Err` in place of one that does not exist, with its window's end.
    fn answer(&self, epoch: u64) -> BTreeMap<(i64, Vec<String>), Result<Vec<String>, ()>> {
        let mut groups: BTreeMap<(i64, i64, Vec<String>), Vec<Row>> = BTreeMap::new();
        for row in self.rows().filter(|row| row.epoch <= epoch) {
            if self.kind.is_some() && row.time.is_none() {
                continue;
            }
            for (start, end) in self.counted_in(row) {
                groups.entry((start, end, self.key_of(row))).or_default().push(row.clone());
            }
        }
        let global = self.kind.is_none() && self.keys == Keys::None && (self.aggregates || self.delay % 2 == 0);
        if global {
            groups.entry((0, 0, vec![])).or_default();
        }
        let mut answer = BTreeMap::new();
        for ((start, end, key), rows) in groups {
            let count: i64 = rows.iter().map(|row| row.diff).sum();
            if count == 0 && !global {
                continue;
            }
            let mut full = key;
            if self.window_keys {
                let columns = if self.kind == Some(WindowKind::Attached) { vec![end - 1, end] } else { vec![end - 1, end, start] };
                full = columns.iter().map(i64::to_string).chain(full).collect();
            }
            let text = |value: Option<i128>| value.map_or("null".to_string(), |value| value.to_string());
            let valued: i64 = rows.iter().filter(|row| row.value.is_some()).map(|row| row.diff).sum();
            let result = if self.aggregates {
                let sum: i128 = rows.iter().map(|row| i128::from(row.value.unwrap_or(0)) * i128::from(row.diff)).sum();
                let flagged: i64 = rows.iter().filter(|row| row.value.is_some() && row.flag == Some(true)).map(|row| row.diff).sum();
                if i64::try_from(sum).is_err() {
                    Err(())
                } else {
                    Ok(vec![count.to_string(), text((valued != 0).then_some(sum)), flagged.to_string()])
                }
            } else if self.delay % 2 == 0 {
                let mut multiset: BTreeMap<i64, i64> = BTreeMap::new();
                rows.iter()
                    .filter_map(|row| row.value.map(|value| (value, row.diff)))
                    .for_each(|(value, diff)| *multiset.entry(value).or_default() += diff);
                Ok(vec![text(multiset.iter().find(|(_, count)| **count != 0).map(|(value, _)| i128::from(*value)))])
            } else {
                Ok(vec![])
            };
            answer.insert((end, full), result);
        }
        answer
    }

    /// What each row meets: windows missed, by fate; the classes are left empty.
    fn late(&self) -> LateRows {
        let mut late = LateRows::default();
        for row in self.rows().filter(|row| self.kind.is_some() && row.time.is_some() && row.watermark != i64::MIN) {
            let windows = self.windows_of(row.time.unwrap());
            let all_missed = windows.iter().all(|(_, end)| end + self.lateness <= row.watermark);
            let last = windows.iter().map(|(_, end)| *end).max().unwrap();
            for (_, end) in windows.into_iter().filter(|(_, end)| *end <= row.watermark) {
                let too_late = end + self.lateness <= row.watermark;
                match self.strategy {
                    _ if !too_late => late.corrected += 1,
                    LateStrategy::Drop | LateStrategy::UpdatePrevious => late.dropped += 1,
                    LateStrategy::DeadLetterQueue => late.dead_lettered += 1,
                    // Once for the row, by its last window.
                    LateStrategy::IncludeInNextWindow if !all_missed || end != last => continue,
                    LateStrategy::IncludeInNextWindow if self.moves() => late.moved += 1,
                    LateStrategy::IncludeInNextWindow => late.dropped += 1,
                    LateStrategy::PutOut { .. } => unreachable!("of sessions alone, which have tests of their own"),
                }
                late.sum_us += (row.watermark - end) as u128;
                late.max_us = late.max_us.max(row.watermark - end);
            }
        }
        late
    }
}

/// Runs a case; calls `closed` with the epoch and the outputs of all workers.
struct Run {
    layout: Arc<AggregateLayout>,
    halves: Vec<LocalHalf>,
    stores: Vec<Store>,
    late: LateRows,
    refused: usize,
    bad: usize,
}

impl Run {
    fn new(case: &Case) -> Self {
        let layout = case.layout();
        let limits = Limits { trial_rows: case.limits.0, raw_rows: case.limits.1, groups_max: case.limits.2 };
        Self {
            halves: (0..case.workers).map(|_| LocalHalf::with_limits(layout.clone(), case.direct, limits)).collect(),
            stores: (0..case.workers).map(|worker| Store::new(layout.clone(), worker == global_owner(case.workers))).collect(),
            layout,
            late: LateRows::default(),
            refused: 0,
            bad: 0,
        }
    }

    /// Reads the rows of an epoch.
    fn read(&mut self, case: &Case, epoch: u64) {
        for (partition, rows) in case.partitions.iter().enumerate() {
            let rows: Vec<Row> = rows.iter().filter(|row| row.epoch == epoch).cloned().collect();
            for (number, rows) in rows.chunks(case.chunk).enumerate() {
                let half = (partition + number) % case.workers;
                let diffs: Vec<i64> = rows.iter().map(|row| row.diff).collect();
                let watermarks: Vec<i64> = rows.iter().map(|row| row.watermark).collect();
                let constant = watermarks.iter().all(|watermark| *watermark == watermarks[0]);
                let watermarks = if constant { RowWatermarks::Constant(watermarks[0]) } else { RowWatermarks::Each(&watermarks) };
                let pushed = self.halves[half].push(&batch(rows), case.retractable.then_some(&diffs), watermarks);
                self.bad += pushed.bad.len();
                for bad in pushed.bad {
                    assert!(rows[bad.row].time.is_none());
                }
                self.late.add(&pushed.late);
                self.refused += pushed.refused.len();
                self.exchange(epoch, pushed.batches);
            }
        }
        for half in 0..self.halves.len() {
            let batches = self.halves[half].flush();
            self.exchange(epoch, batches);
        }
    }

    fn exchange(&mut self, epoch: u64, batches: Vec<KeyedBatch>) {
        for batch in batches {
            let (rows, workers) = (batch.len(), self.stores.len());
            let parts = KeyedBatch::from_bytes(&KeyedBatch::concat(&[batch]).to_bytes()).unwrap().split(workers);
            assert_eq!(parts.iter().map(KeyedBatch::len).sum::<usize>(), rows);
            for (store, part) in self.stores.iter_mut().zip(parts) {
                store.absorb(epoch, part);
            }
        }
    }

    /// Closes an epoch: rows with diffs, and error changes.
    fn close(&mut self, epoch: u64, watermark: i64) -> (Vec<(Vec<String>, i64)>, Vec<(String, i64)>) {
        let (mut rows, mut errors) = (Vec::new(), Vec::new());
        for store in &mut self.stores {
            loop {
                let Output { rows: batch, diffs, errors: failed, more, .. } = store.close(epoch, watermark);
                assert_eq!(batch.schema(), *self.layout.output());
                for row in 0..batch.num_rows() {
                    rows.push((text(&batch, row), diffs.as_ref().map_or(1, |diffs| diffs[row])));
                }
                errors.extend(failed.into_iter().map(|error| (error.group, error.diff)));
                if !more {
                    break;
                }
            }
        }
        (rows, errors)
    }
}

fn text(batch: &RecordBatch, row: usize) -> Vec<String> {
    let value = |column: &ArrayRef| match column.data_type() {
        _ if column.is_null(row) => "null".to_string(),
        DataType::Utf8 => format!("'{}'", array_value_to_string(column, row).unwrap()),
        DataType::Timestamp(_, _) => {
            let column = column.as_any().downcast_ref::<TimestampMicrosecondArray>().unwrap();
            column.value(row).to_string()
        }
        _ => array_value_to_string(column, row).unwrap(),
    };
    batch.columns().iter().map(value).collect()
}

fn kinds() -> impl Strategy<Value = Option<WindowKind>> {
    prop_oneof![
        1 => Just(None),
        2 => (1..30i64).prop_map(|size_us| Some(WindowKind::Tumble { size_us })),
        3 => (1..12i64, 1..7i64).prop_map(|(slide_us, n)| Some(WindowKind::Hop { size_us: slide_us * n, slide_us })),
        2 => (1..4i64, 8..40i64).prop_map(|(slide_us, n)| Some(WindowKind::Hop { size_us: slide_us * n, slide_us })),
        2 => (1..12i64, 1..6i64).prop_map(|(step_us, n)| Some(WindowKind::Cumulate { size_us: step_us * n, step_us })),
        1 => Just(Some(WindowKind::Attached)),
    ]
}

prop_compose! {
    fn row()(
        step in prop_oneof![10 => -12..14i64, 1 => 40..90i64, 1 => Just(1000)],
        number in prop_oneof![1 => Just(None), 9 => (0..6i64).prop_map(Some)],
        text in prop::sample::select(vec![None, Some(""), Some("a"), Some("bcdefghijk"), Some("bcdefghijl")]),
        value in prop_oneof![1 => Just(None), 8 => (-5..20i64).prop_map(Some), 1 => Just(Some(i64::MAX - 3))],
        flag in prop::sample::select(vec![None, Some(true), Some(false)]),
        next in prop::bool::weighted(0.3),
        takes_back in prop::bool::weighted(0.25),
        which in any::<prop::sample::Index>(),
    ) -> (i64, Row, bool, Option<prop::sample::Index>) {
        (step, Row { epoch: 0, time: None, number, text, value, flag, diff: 1, watermark: i64::MIN }, next, takes_back.then_some(which))
    }
}

prop_compose! {
    fn cases()(
        kind in kinds(), offset in 0..4i64, lateness in prop_oneof![Just(0), 1..30i64],
        strategy in prop::sample::select(vec![
            LateStrategy::Drop, LateStrategy::UpdatePrevious, LateStrategy::DeadLetterQueue, LateStrategy::IncludeInNextWindow,
        ]),
        changes in any::<bool>(), retractable in any::<bool>(),
        keys in prop::sample::select(vec![Keys::None, Keys::Number, Keys::Text, Keys::Both]),
        window_keys in prop::bool::weighted(0.8), aggregates in any::<bool>(), delay in 0..15i64,
        raw in prop::collection::vec(prop::collection::vec(row(), 0..60), 1..4),
        first in -60..60i64,
        workers in 1..=4usize, direct in any::<bool>(),
        limits in (1..40usize, 1..40usize, 1..20usize), chunk in 1..30usize, ahead in 0..3u64,
    ) -> Case {
        let mut epochs = 1;
        let partitions = raw.into_iter().map(|raw| {
            let (mut rows, mut time, mut epoch, mut greatest): (Vec<Row>, i64, u64, Option<i64>) = (Vec::new(), first, 1, None);
            // Each row taken back once at most.
            let mut alive: Vec<usize> = Vec::new();
            for (step, mut row, next, takes_back) in raw {
                epoch += u64::from(next);
                time += if step == 1000 { 0 } else { step };
                row.time = (step != 1000).then_some(time);
                if let (true, Some(which), false) = (retractable, takes_back, alive.is_empty()) {
                    row = rows[alive.swap_remove(which.index(alive.len()))].clone();
                    row.diff = -1;
                } else {
                    alive.push(rows.len());
                }
                row.epoch = epoch;
                row.watermark = greatest.map_or(i64::MIN, |greatest: i64| greatest - delay);
                greatest = greatest.max(row.time);
                rows.push(row);
            }
            epochs = epochs.max(epoch);
            rows
        }).collect();
        let emit = if changes { Emit::Changes } else { Emit::Final };
        // Without its windows among the keys, equal keys of different windows would be told apart by nothing but order.
        let window_keys = kind.is_some() && window_keys;
        // A row that is taken back must be so where it was counted: only rows that stay can move.
        let strategy = if retractable && strategy == LateStrategy::IncludeInNextWindow { LateStrategy::Drop } else { strategy };
        Case {
            kind, offset: if kind == Some(WindowKind::Attached) { 0 } else { offset }, lateness, strategy, emit, keys, window_keys, aggregates,
            retractable, delay, partitions, epochs, workers, direct, limits, chunk, ahead,
        }
    }
}

type Changes = BTreeMap<Vec<String>, i64>;

/// Adds up the rows and errors of an answer.
fn expected(case: &Case, epoch: u64) -> (Changes, usize) {
    let (mut rows, mut errors) = (Changes::new(), 0);
    for ((_, key), result) in case.answer(epoch) {
        match result {
            Ok(result) => *rows.entry(key.into_iter().chain(result).collect()).or_default() += 1,
            Err(()) => errors += 1,
        }
    }
    (rows, errors)
}

fn add(total: &mut Changes, rows: &[(Vec<String>, i64)]) {
    for (row, diff) in rows {
        let count = total.entry(row.clone()).or_default();
        *count += diff;
        if *count == 0 {
            total.remove(row);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn streaming_equals_batch(case in cases()) {
        let mut run = Run::new(&case);
        let (mut total, mut total_errors): (Changes, BTreeMap<String, i64>) = (Changes::new(), BTreeMap::new());
        let mut read = 0;
        for epoch in 1..=case.epochs + 1 {
            while read < (epoch + case.ahead).min(case.epochs) {
                read += 1;
                run.read(&case, read);
            }
            let last = epoch > case.epochs;
            let watermark = if last { i64::MAX } else { case.watermark(epoch) };
            let (rows, errors) = run.close(epoch, watermark);
            add(&mut total, &rows);
            for (group, diff) in errors {
                let count = total_errors.entry(group.clone()).or_default();
                *count += diff;
                if *count == 0 {
                    total_errors.remove(&group);
                }
            }
            let error_count = total_errors.values().sum::<i64>() as usize;
            prop_assert!(total_errors.values().all(|count| *count > 0));
            match case.emit {
                Emit::Changes | Emit::Triggered => {
                    let (wanted, wanted_errors) = expected(&case, epoch);
                    prop_assert_eq!(&total, &wanted, "after epoch {}", epoch);
                    prop_assert_eq!(error_count, wanted_errors);
                    // The net change, and no more: consolidated.
                    let mut net: BTreeMap<(Vec<String>, i64), usize> = BTreeMap::new();
                    for (row, diff) in rows {
                        prop_assert!(diff == 1 || diff == -1);
                        *net.entry((row, diff)).or_default() += 1;
                    }
                    if case.window_keys || case.kind.is_none() {
                        for ((row, diff), count) in &net {
                            prop_assert!(*count == 1 && !net.contains_key(&(row.clone(), -diff)));
                        }
                    }
                }
                Emit::Final => {
                    let corrects = case.lateness > 0 && case.kind.is_some();
                    prop_assert!(corrects || rows.iter().all(|(_, diff)| *diff == 1));
                    let mut wanted = Changes::new();
                    let mut wanted_errors = 0;
                    // Rows of later epochs change a window that is out only where it may be corrected.
                    for ((end, key), result) in case.answer(if corrects { epoch } else { u64::MAX }) {
                        if (case.kind.is_some() && end <= watermark) || last {
                            match result {
                                Ok(result) => *wanted.entry(key.into_iter().chain(result).collect()).or_default() += 1,
                                Err(()) => wanted_errors += 1,
                            }
                        }
                    }
                    prop_assert_eq!(&total, &wanted, "after epoch {} at {}", epoch, watermark);
                    prop_assert_eq!(error_count, wanted_errors);
                }
            }
        }
        let mut late = case.late();
        if case.kind.is_none() {
            late = LateRows::default();
        }
        prop_assert_eq!(run.late.classes.iter().sum::<u64>(), run.late.total());
        prop_assert_eq!(run.refused as u64, run.late.dead_lettered);
        run.late.classes = Default::default();
        prop_assert_eq!(run.late, late);
        let bad = if case.kind.is_some() { case.rows().filter(|row| row.time.is_none()).count() } else { 0 };
        prop_assert_eq!(run.bad, bad);
        if case.kind.is_some() || case.emit == Emit::Final {
            prop_assert_eq!(run.stores.iter().map(Store::groups).sum::<usize>(), 0, "nothing is kept after the end");
        }
    }

    #[test]
    fn all_taken_back_leaves_nothing(mut case in cases()) {
        case.emit = Emit::Changes;
        case.retractable = true;
        for row in case.partitions.iter_mut().flatten() {
            row.watermark = i64::MIN;
        }
        let mut back: Vec<Row> = case.rows().cloned().collect();
        case.epochs += 1;
        for row in &mut back {
            row.epoch = case.epochs;
            row.diff = -row.diff;
        }
        case.partitions.push(back);
        let mut run = Run::new(&case);
        let mut total = Changes::new();
        for epoch in 1..=case.epochs {
            run.read(&case, epoch);
            let (rows, _) = run.close(epoch, i64::MIN);
            add(&mut total, &rows);
            prop_assert_eq!(&total, &expected(&case, epoch).0);
        }
        let global = run.layout.global();
        prop_assert_eq!(total.len(), usize::from(global));
        prop_assert_eq!(run.stores.iter().map(Store::groups).sum::<usize>(), usize::from(global));
    }
}
