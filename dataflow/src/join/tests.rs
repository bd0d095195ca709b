//! Joins against nested loops over vectors, after every epoch: random rows with nulls and retractions, any cut into epochs, one to
//! four workers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use datafusion_common::ScalarValue;
use datafusion_expr::Operator as Op;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use proptest::prelude::*;
use tidemark_planner::plan::{
    ArrangePlan, ChangelogKind, JoinKind, JoinPlan, Node, NodeId, PhysicalOp, PhysicalPlan, Props, Retention, SourceId, StateBound,
    TimeDomain, WatermarkPlan,
};
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::InputHandle;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::operators::vec::Broadcast;

use super::join;
use crate::arrange::{ArrangeContext, Floor, arrange, conditions};
use crate::batch::{Batch, NO_WATERMARK, RowWatermarks, record_batch};
use crate::control::{Metrics, OutTo};
use crate::watermark::{ENDED, WatermarkUpdate};

/// A row: key, value, text.
type Row = (Option<i64>, Option<i64>, Option<String>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Keys {
    None,
    One,
    Two,
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    kind: JoinKind,
    keys: Keys,
    residual: bool,
    null_equals_null: bool,
    null_aware: bool,
    same_side: bool,
    /// Changes of left (0) and right (1), by epoch.
    epochs: Vec<Vec<(usize, Row, i64)>>,
    /// Whether workers wait for the results of an epoch.
    waits: Vec<bool>,
    workers: usize,
    bound: Option<Bound>,
    /// The right side has all its changes by the end of this epoch, and ends.
    right_ends: Option<usize>,
}

impl Case {
    /// Whether rows of left are let go of once right has ended.
    fn lets_left_go(&self) -> bool {
        self.right_ends.is_some() && self.bound.is_none() && !matches!(self.kind, JoinKind::Right | JoinKind::Full)
    }
}

/// A join bounded by time: `v` is the time, `right <= left + ahead[0]` and `left <= right + ahead[1]`.
#[derive(Clone, Copy, Debug)]
struct Bound {
    ahead: [Option<i64>; 2],
    when_final: bool,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("s", DataType::Utf8, true),
    ]))
}

fn batch(rows: &[(Row, i64)]) -> Batch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|(row, _)| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|(row, _)| row.1).collect::<TimestampMicrosecondArray>()),
        Arc::new(rows.iter().map(|(row, _)| row.2.clone()).collect::<StringArray>()),
    ];
    let diffs: Vec<i64> = rows.iter().map(|(_, diff)| *diff).collect();
    Batch::computed(record_batch(&schema(), columns, rows.len()), diffs.iter().any(|diff| *diff != 1).then_some(diffs))
}

fn node(id: u32, op: PhysicalOp, schema: SchemaRef) -> Node {
    let props = Props {
        schema,
        changelog: ChangelogKind::Retract,
        unique_keys: vec![],
        watermarks: vec![],
        window: None,
        settled: None,
        state: StateBound::BoundedInput,
        limits: None,
        bounded: true,
    };
    Node { id: NodeId(id), op, props }
}

fn plan(case: &Case) -> PhysicalPlan {
    let column = |name: &str, position| Arc::new(Column::new(name, position)) as Arc<dyn PhysicalExpr>;
    let keys = match case.keys {
        Keys::None => vec![],
        Keys::One => vec![column("k", 0)],
        Keys::Two => vec![column("s", 2), column("k", 0)],
    };
    let output = match case.kind {
        JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => vec![0, 4, 3, 1, 5, 2],
        JoinKind::LeftSemi | JoinKind::LeftAnti => vec![2, 0, 1],
        JoinKind::LeftMark => vec![0, 6, 1, 2],
    };
    let fields: Vec<Field> = output
        .iter()
        .map(|column| match column {
            6 => Field::new("mark", DataType::Boolean, false),
            column => schema().field(column % 3).clone(),
        })
        .collect();
    let values = || PhysicalOp::Values { rows: RecordBatch::new_empty(schema()) };
    let watermark = |side: u32| WatermarkPlan { domain: TimeDomain::EventTime, sources: vec![SourceId(side)], delay_us: 0 };
    let arrange = |input: u32| {
        let retention = case.bound.map(|bound| Retention {
            time: column("v", 1),
            slack_us: bound.ahead[input as usize].unwrap_or(i64::MAX),
            watermark: watermark(1 - input),
            own: watermark(input),
        });
        PhysicalOp::Arrange(ArrangePlan { input: NodeId(input), keys: keys.clone(), retention })
    };
    let number = |value: i64| Arc::new(Literal::new(ScalarValue::Int64(Some(value)))) as Arc<dyn PhysicalExpr>;
    let time = |place| Arc::new(CastExpr::new(column("v", place), DataType::Int64, None)) as Arc<dyn PhysicalExpr>;
    let binary = |l, op, r| Arc::new(BinaryExpr::new(l, op, r)) as Arc<dyn PhysicalExpr>;
    let mut residual = case.residual.then(|| binary(column("v", 1), Op::Lt, column("v", 4)));
    for (side, ahead) in case.bound.iter().flat_map(|bound| bound.ahead.into_iter().enumerate()) {
        let (this, other) = if side == 0 { (1, 4) } else { (4, 1) };
        let part = ahead.map(|ahead| binary(time(other), Op::LtEq, binary(time(this), Op::Plus, number(ahead))));
        residual = match (residual, part) {
            (Some(all), Some(part)) => Some(binary(all, Op::And, part)),
            (all, part) => all.or(part),
        };
    }
    let join = JoinPlan {
        left: NodeId(2),
        right: NodeId(if case.same_side { 2 } else { 3 }),
        kind: case.kind,
        null_equals_null: case.null_equals_null,
        null_aware: case.null_aware,
        residual,
        output,
        nulls_when_final: case.bound.is_some_and(|bound| bound.when_final),
        order: None,
    };
    let nodes = vec![
        node(0, values(), schema()),
        node(1, values(), schema()),
        node(2, arrange(0), schema()),
        node(3, arrange(1), schema()),
        node(4, PhysicalOp::Join(join), Arc::new(Schema::new(fields))),
    ];
    PhysicalPlan::new(nodes, vec![], vec![])
}

/// A change as it is read.
struct Judged {
    side: usize,
    partition: usize,
    row: Row,
    diff: i64,
    /// The row's own watermark.
    watermark: i64,
}

/// What is read, epoch by epoch, and the watermarks of each side's partitions behind each epoch.
struct Script {
    changes: Vec<Vec<Judged>>,
    watermarks: Vec<[Vec<i64>; 2]>,
}

fn judge(case: &Case) -> Script {
    let mut now = [vec![NO_WATERMARK; case.workers], vec![NO_WATERMARK; case.workers]];
    let mut script = Script { changes: vec![], watermarks: vec![] };
    for (epoch, changes) in case.epochs.iter().enumerate() {
        let mut judged = Vec::new();
        for (side, row, diff) in changes {
            // A row is taken back where it came from.
            let partition = (row.0.unwrap_or(5) * 3 + row.1.unwrap_or(1)) as usize % case.workers;
            judged.push(Judged { side: *side, partition, row: row.clone(), diff: *diff, watermark: now[*side][partition] });
            now[*side][partition] = now[*side][partition].max(row.1.unwrap_or(NO_WATERMARK));
        }
        if epoch + 1 == case.epochs.len() {
            now.iter_mut().for_each(|side| side.fill(ENDED));
        }
        script.changes.push(judged);
        script.watermarks.push(now.clone());
    }
    script
}

type Output = Vec<(u64, Vec<String>, i64)>;

fn text_of(column: &ArrayRef, row: usize) -> String {
    match column.data_type() {
        _ if column.is_null(row) => "null".into(),
        DataType::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
        _ => array_value_to_string(column, row).unwrap(),
    }
}

/// The rows of a batch as text, with their diffs.
pub(super) fn texts(batch: &Batch) -> Vec<(Vec<String>, i64)> {
    (0..batch.len())
        .map(|row| {
            let cells = batch.rows.columns().iter().map(|column| text_of(column, row)).collect();
            (cells, batch.diffs.as_ref().map_or(1, |diffs| diffs[row]))
        })
        .collect()
}

fn run(case: &Case) -> Output {
    let plan = Arc::new(plan(case));
    let found = Arc::new(Mutex::new(Vec::new()));
    let results = Arc::clone(&found);
    let case = case.clone();
    let config = if case.workers == 1 { timely::Config::thread() } else { timely::Config::process(case.workers) };
    let guards = timely::execute(config, move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let metrics = Arc::new(Metrics::new(&plan, peers));
        let probe = Handle::new();
        let mut inputs = [(); 2].map(|()| Some(InputHandle::<u64, NoopBuilder<Batch>>::new_with_builder()));
        let mut updates = InputHandle::<u64, CapacityContainerBuilder<Vec<WatermarkUpdate>>>::new();
        let judged = judge(&case);
        worker.dataflow::<u64, _, _>(|scope| {
            let told = updates.to_stream(scope).broadcast();
            let partitions = |_| peers;
            let arrangements: Vec<_> = (0..2)
                .map(|side| {
                    let stream = inputs[side].as_mut().expect("open").to_stream(scope);
                    let node = plan.node(NodeId(2 + side as u32));
                    let PhysicalOp::Arrange(arrange_plan) = &node.op else { unreachable!() };
                    let waited = arrange_plan.retention.as_ref().and_then(|retention| conditions(&plan, node.id, retention));
                    let waited = waited.unwrap_or_default();
                    let context = ArrangeContext {
                        node,
                        input: plan.node(NodeId(side as u32)),
                        floors: waited.iter().map(|(watermark, slack)| Floor::new(watermark, *slack, &partitions)).collect(),
                        metrics: Arc::clone(&metrics),
                        local_worker: index,
                    };
                    arrange(stream, told.clone(), context).0
                })
                .collect();
            let PhysicalOp::Join(join_plan) = &plan.node(NodeId(4)).op else { unreachable!() };
            let right = if case.same_side { 0 } else { 1 };
            let out_to = OutTo { metrics: Arc::clone(&metrics), node: 4, worker: index, part: 0 };
            let [left, right] = [0, right].map(|side| arrangements[side].clone());
            let (rows, _) = join(left, right, told, join_plan, plan.node(NodeId(4)), &partitions, &out_to);
            let results = Arc::clone(&results);
            rows.unary::<NoopBuilder<Batch>, _, _, _>(Pipeline, "collect", move |_, _| {
                move |input, output| {
                    input.for_each(|time, batch| {
                        let epoch = *time.least().unwrap();
                        results.lock().unwrap().extend(texts(batch).into_iter().map(|(row, diff)| (epoch, row, diff)));
                        output.session_with_builder(&time).give_container(batch);
                    });
                }
            })
            .probe_with(&probe);
        });
        for (epoch, changes) in judged.changes.iter().enumerate() {
            for (side, open) in inputs.iter_mut().enumerate() {
                let Some(input) = open else { continue };
                // Worker by worker, some rows at a time.
                let ours: Vec<&Judged> = changes.iter().filter(|change| change.side == side && change.partition == index).collect();
                for rows in ours.chunks(3) {
                    let watermarks = rows.iter().map(|row| row.watermark).collect::<Vec<_>>();
                    let rows: Vec<_> = rows.iter().map(|row| (row.row.clone(), row.diff)).collect();
                    let mut batch = batch(&rows);
                    batch.watermarks = RowWatermarks::Each(watermarks.into());
                    input.send_batch(&mut batch);
                }
                let update =
                    WatermarkUpdate { source: side as u32, partition: index as u32, watermark: judged.watermarks[epoch][side][index] };
                if update.watermark != NO_WATERMARK {
                    updates.send(update);
                }
                input.advance_to(epoch as u64 + 1);
                if side == 1 && case.right_ends == Some(epoch) {
                    *open = None;
                }
            }
            updates.advance_to(epoch as u64 + 1);
            if case.waits[epoch % case.waits.len()] {
                worker.step_while(|| probe.less_than(&(epoch as u64 + 1)));
            }
        }
        if case.lets_left_go() {
            let held = || metrics.operator(2).held[index].1.load(std::sync::atomic::Ordering::Relaxed);
            let mut steps = 0;
            while held() > 0 && steps < 100_000 {
                worker.step();
                // Others may be far behind.
                std::thread::sleep(std::time::Duration::from_micros(50));
                steps += 1;
            }
            assert_eq!(held(), 0, "the other side has ended, this one keeps nothing");
        }
        drop(inputs);
        drop(updates);
        while worker.step() {}
        assert!(metrics.operator(2).held.iter().all(|held| held.1.load(std::sync::atomic::Ordering::Relaxed) == 0), "state is dropped");
    })
    .unwrap();
    guards.join().into_iter().for_each(|result| result.unwrap());
    Arc::try_unwrap(found).unwrap().into_inner().unwrap()
}

type Bag = BTreeMap<Vec<String>, i64>;

fn add(bag: &mut Bag, row: Vec<String>, diff: i64) {
    let count = bag.entry(row.clone()).or_default();
    *count += diff;
    if *count == 0 {
        bag.remove(&row);
    }
}

/// The answer over the rows so far, by nested loops.
fn oracle(case: &Case, through: usize) -> Bag {
    let mut sides: [BTreeMap<Row, i64>; 2] = Default::default();
    let script = judge(case);
    for change in script.changes[..=through].iter().flatten() {
        let late = case.bound.is_some() && change.row.1.is_some_and(|time| time < change.watermark);
        if !late {
            *sides[change.side].entry(change.row.clone()).or_default() += change.diff;
        }
    }
    if case.same_side {
        sides[1] = sides[0].clone();
    }
    let rows: Vec<Vec<(Row, i64)>> = sides.into_iter().map(|side| side.into_iter().filter(|(_, count)| *count != 0).collect()).collect();
    let (left, right) = (&rows[0], &rows[1]);
    let key = |row: &Row| match case.keys {
        Keys::None => vec![],
        Keys::One => vec![row.0.map(|key| key.to_string())],
        Keys::Two => vec![row.2.clone(), row.0.map(|key| key.to_string())],
    };
    let matches = |l: &Row, r: &Row| {
        let (a, b) = (key(l), key(r));
        let equal = a == b && (case.null_equals_null || !a.contains(&None));
        let near = |this: &Row, other: &Row, side: usize| match case.bound.and_then(|bound| bound.ahead[side]) {
            Some(ahead) => matches!((this.1, other.1), (Some(this), Some(other)) if other <= this + ahead),
            None => true,
        };
        equal && near(l, r, 0) && near(r, l, 1) && (!case.residual || matches!((l.1, r.1), (Some(l), Some(r)) if l < r))
    };
    let number = |value: Option<i64>| value.map_or("null".to_string(), |value| value.to_string());
    let cells = |row: &Row| [number(row.0), number(row.1), row.2.clone().unwrap_or("null".into())];
    let none = || ["null".to_string(), "null".to_string(), "null".to_string()];
    let pair = |l: [String; 3], r: [String; 3]| vec![l[0].clone(), r[1].clone(), r[0].clone(), l[1].clone(), r[2].clone(), l[2].clone()];
    // Whether a row without a match comes out already.
    let ripe = |row: &Row, side: usize| match case.bound {
        Some(Bound { when_final: true, ahead }) => {
            let other = *script.watermarks[through][1 - side].iter().min().unwrap();
            match row.1 {
                _ if other == ENDED => true,
                None => other != NO_WATERMARK,
                Some(time) => ahead[side].is_some_and(|ahead| time + ahead < other),
            }
        }
        _ => true,
    };
    let mut bag = Bag::new();
    let pairs_kind = matches!(case.kind, JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full);
    for (l, count) in left {
        let mut any = false;
        for (r, times) in right {
            if matches(l, r) {
                any = true;
                if pairs_kind {
                    add(&mut bag, pair(cells(l), cells(r)), count * times);
                }
            }
        }
        let [k, v, s] = cells(l);
        let null_key = key(l).contains(&None);
        match case.kind {
            JoinKind::Left | JoinKind::Full if !any && ripe(l, 0) => add(&mut bag, pair([k, v, s], none()), *count),
            JoinKind::LeftSemi if any => add(&mut bag, vec![s, k, v], *count),
            JoinKind::LeftAnti if case.null_aware => {
                let out = right.is_empty() || (!null_key && !any && !right.iter().any(|(r, _)| key(r).contains(&None)));
                if out {
                    add(&mut bag, vec![s, k, v], *count);
                }
            }
            JoinKind::LeftAnti if !any && ripe(l, 0) => add(&mut bag, vec![s, k, v], *count),
            JoinKind::LeftMark => add(&mut bag, vec![k, any.to_string(), v, s], *count),
            _ => {}
        }
    }
    if matches!(case.kind, JoinKind::Right | JoinKind::Full) {
        for (r, count) in right {
            if !left.iter().any(|(l, _)| matches(l, r)) && ripe(r, 1) {
                add(&mut bag, pair(none(), cells(r)), *count);
            }
        }
    }
    bag
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let output = run(case);
    for epoch in 0..case.epochs.len() {
        let mut found = Bag::new();
        for (_, row, diff) in output.iter().filter(|(time, ..)| *time <= epoch as u64) {
            add(&mut found, row.clone(), *diff);
        }
        prop_assert_eq!(found, oracle(case, epoch), "after epoch {} of {:?}", epoch, case);
    }
    prop_assert!(output.iter().all(|(time, ..)| (*time as usize) < case.epochs.len()));
    Ok(())
}

/// One step of a case: a new epoch, a row, or a retraction of a row that is there.
type Step = (u8, bool, u8, u8, u8);

#[expect(clippy::too_many_arguments, reason = "they are what a case is drawn from")]
fn case(kind: JoinKind, steps: Vec<Step>, keys: u8, flags: u8, waits: Vec<bool>, workers: usize, keys_max: u8, drift: bool) -> Case {
    let mut epochs = vec![vec![]];
    let mut alive: Vec<(usize, Row)> = Vec::new();
    let mut drifted = 0;
    for (what, right, k, v, s) in steps {
        match what % 8 {
            0 => epochs.push(vec![]),
            1..=3 if !alive.is_empty() => {
                let (side, row) = alive.swap_remove(k as usize * 7 % alive.len());
                epochs.last_mut().unwrap().push((side, row, -1));
            }
            _ => {
                let number = |of: u8, max: u8| (of % (max + 1)).checked_sub(1).map(i64::from);
                let text = number(s, 3).map(|s| "x".repeat(40 * s as usize * s as usize));
                // Times go forward on the whole.
                drifted += i64::from(drift && k % 3 == 0);
                let row = (number(k, keys_max), number(v, 4).map(|v| v + drifted), text);
                let copies = 1 + i64::from(what % 8 == 7);
                (0..copies).for_each(|_| alive.push((usize::from(right), row.clone())));
                epochs.last_mut().unwrap().push((usize::from(right), row, copies));
            }
        }
    }
    let keys = [Keys::One, Keys::One, Keys::Two, Keys::None][keys as usize % 4];
    let flag = |bit: u8| flags & (1 << bit) != 0;
    Case {
        kind,
        keys,
        residual: flag(0),
        null_equals_null: flag(1),
        null_aware: false,
        same_side: flag(2) && flag(3),
        epochs,
        waits,
        workers,
        bound: None,
        right_ends: None,
    }
}

fn cases(kind: JoinKind, drift: bool) -> impl Strategy<Value = Case> {
    let steps = proptest::collection::vec(any::<Step>(), 0..60);
    (steps, any::<u8>(), any::<u8>(), proptest::collection::vec(any::<bool>(), 1..4), 1..=4usize, 1..8u8)
        .prop_map(move |(steps, keys, flags, waits, workers, keys_max)| case(kind, steps, keys, flags, waits, workers, keys_max, drift))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn inner(case in cases(JoinKind::Inner, false)) {
        check(&case)?;
    }

    #[test]
    fn left(case in cases(JoinKind::Left, false)) {
        check(&case)?;
    }

    #[test]
    fn right_and_full(case in cases(JoinKind::Right, false), full in any::<bool>()) {
        check(&Case { kind: if full { JoinKind::Full } else { JoinKind::Right }, ..case })?;
    }

    #[test]
    fn semi_and_anti(case in cases(JoinKind::LeftSemi, false), anti in any::<bool>()) {
        check(&Case { kind: if anti { JoinKind::LeftAnti } else { JoinKind::LeftSemi }, ..case })?;
    }

    #[test]
    fn mark(case in cases(JoinKind::LeftMark, false)) {
        check(&case)?;
    }

    #[test]
    fn not_in(case in cases(JoinKind::LeftAnti, false)) {
        check(&Case { null_aware: true, residual: false, null_equals_null: false, keys: Keys::One, ..case })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bounded_by_time(
        case in cases(JoinKind::Inner, true),
        kind in 0..7usize,
        (left, right) in (proptest::option::weighted(0.8, -2..4i64), proptest::option::weighted(0.8, 0..4i64)),
        when_final in any::<bool>(),
    ) {
        use JoinKind::*;
        let kind = [Inner, Left, Right, Full, LeftSemi, LeftAnti, LeftMark][kind];
        let when_final = when_final && match kind {
            Left | LeftAnti => left.is_some(),
            Right => right.is_some(),
            Full => left.is_some() && right.is_some(),
            _ => false,
        };
        let case = Case { kind, same_side: false, bound: Some(Bound { ahead: [left, right], when_final }), ..case };
        check(&case)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_side_that_ends(case in cases(JoinKind::Inner, false), kind in 0..8usize, end in 0..4usize) {
        use JoinKind::*;
        let (kind, null_aware) =
            [(Inner, false), (Left, false), (Right, false), (Full, false), (LeftSemi, false), (LeftAnti, false), (LeftMark, false), (LeftAnti, true)][kind];
        let end = end.min(case.epochs.len() - 1);
        let mut epochs = case.epochs.clone();
        let late: Vec<_> = epochs[end..].iter_mut().flat_map(|changes| changes.extract_if(.., |change| change.0 == 1).collect::<Vec<_>>()).collect();
        epochs[end].extend(late);
        let case = Case { kind, epochs, same_side: false, right_ends: Some(end), ..case };
        let case = if null_aware { Case { null_aware, residual: false, null_equals_null: false, keys: Keys::One, ..case } } else { case };
        check(&case)?;
    }
}

/// A row without a time is met by all that come, where no bound asks for the time of its side.
#[test]
fn rows_without_a_time_stay_where_nothing_bounds_them() {
    let first = vec![(0, (None, None, None), 1), (0, (None, Some(2), None), 1), (1, (None, None, None), 1)];
    let last = vec![(0, (Some(1), None, None), 1)];
    for waits in [vec![false], vec![true], vec![false, true]] {
        let epochs = vec![first.clone(), vec![], vec![(1, (None, None, Some(String::new())), 1)], vec![], last.clone()];
        for kind in [JoinKind::Inner, JoinKind::Right, JoinKind::Full] {
            let bound = Some(Bound { ahead: [None, None], when_final: false });
            let case = case(kind, vec![], 3, 0, waits.clone(), 1, 1, false);
            check(&Case { epochs: epochs.clone(), bound, ..case }).unwrap();
        }
    }
}
