//! Joins against nested loops over vectors, after every epoch: random rows with nulls and retractions, any cut into epochs, one to
//! four workers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use datafusion_expr::Operator as Op;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Column};
use proptest::prelude::*;
use tidemark_planner::plan::{ArrangePlan, ChangelogKind, JoinKind, JoinPlan, Node, NodeId, PhysicalOp, PhysicalPlan, Props, StateBound};
use timely::container::NoopBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::operators::{Concatenate, Probe};

use super::join;
use crate::arrange::{ArrangeContext, arrange};
use crate::batch::{Batch, record_batch};
use crate::control::Metrics;

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
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
        Field::new("s", DataType::Utf8, true),
    ]))
}

fn batch(rows: &[(Row, i64)]) -> Batch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|(row, _)| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|(row, _)| row.1).collect::<Int64Array>()),
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
        state: StateBound::BoundedInput,
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
    let residual = || Arc::new(BinaryExpr::new(column("v", 1), Op::Lt, column("v", 4))) as Arc<dyn PhysicalExpr>;
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
    let arrange = |input| PhysicalOp::Arrange(ArrangePlan { input: NodeId(input), keys: keys.clone(), retention: None });
    let join = JoinPlan {
        left: NodeId(2),
        right: NodeId(if case.same_side { 2 } else { 3 }),
        kind: case.kind,
        null_equals_null: case.null_equals_null,
        null_aware: case.null_aware,
        residual: case.residual.then(residual),
        output,
        nulls_when_final: false,
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

type Output = Vec<(u64, Vec<String>, i64)>;

/// The rows of a batch as text, with their diffs.
pub(super) fn texts(batch: &Batch) -> Vec<(Vec<String>, i64)> {
    let text = |column: &ArrayRef, row| if column.is_null(row) { "null".into() } else { array_value_to_string(column, row).unwrap() };
    (0..batch.len())
        .map(|row| {
            let cells = batch.rows.columns().iter().map(|column| text(column, row)).collect();
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
        let mut inputs = [(); 2].map(|()| InputHandle::<u64, NoopBuilder<Batch>>::new_with_builder());
        worker.dataflow::<u64, _, _>(|scope| {
            let arrangements: Vec<_> = (0..2)
                .map(|side| {
                    let stream = inputs[side].to_stream(scope);
                    let context = ArrangeContext {
                        node: plan.node(NodeId(2 + side as u32)),
                        input: plan.node(NodeId(side as u32)),
                        partitions: vec![],
                        metrics: Arc::clone(&metrics),
                        local_worker: index,
                    };
                    arrange(stream, scope.concatenate(vec![]), &context).0
                })
                .collect();
            let PhysicalOp::Join(join_plan) = &plan.node(NodeId(4)).op else { unreachable!() };
            let right = if case.same_side { 0 } else { 1 };
            let (rows, _) = join(arrangements[0].clone(), arrangements[right].clone(), join_plan, plan.node(NodeId(4)));
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
        for (epoch, changes) in case.epochs.iter().enumerate() {
            for side in 0..2 {
                // Worker by worker, some rows at a time.
                let ours: Vec<(Row, i64)> = changes
                    .iter()
                    .enumerate()
                    .filter(|(place, change)| change.0 == side && place % peers == index)
                    .map(|(_, (_, row, diff))| (row.clone(), *diff))
                    .collect();
                for rows in ours.chunks(3) {
                    inputs[side].send_batch(&mut batch(rows));
                }
                inputs[side].advance_to(epoch as u64 + 1);
            }
            if case.waits[epoch % case.waits.len()] {
                worker.step_while(|| probe.less_than(&(epoch as u64 + 1)));
            }
        }
        drop(inputs);
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
    for (side, row, diff) in case.epochs[..=through].iter().flatten() {
        *sides[*side].entry(row.clone()).or_default() += diff;
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
        equal && (!case.residual || matches!((l.1, r.1), (Some(l), Some(r)) if l < r))
    };
    let number = |value: Option<i64>| value.map_or("null".to_string(), |value| value.to_string());
    let cells = |row: &Row| [number(row.0), number(row.1), row.2.clone().unwrap_or("null".into())];
    let none = || ["null".to_string(), "null".to_string(), "null".to_string()];
    let pair = |l: [String; 3], r: [String; 3]| vec![l[0].clone(), r[1].clone(), r[0].clone(), l[1].clone(), r[2].clone(), l[2].clone()];
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
            JoinKind::Left | JoinKind::Full if !any => add(&mut bag, pair([k, v, s], none()), *count),
            JoinKind::LeftSemi if any => add(&mut bag, vec![s, k, v], *count),
            JoinKind::LeftAnti if case.null_aware => {
                let out = right.is_empty() || (!null_key && !any && !right.iter().any(|(r, _)| key(r).contains(&None)));
                if out {
                    add(&mut bag, vec![s, k, v], *count);
                }
            }
            JoinKind::LeftAnti if !any => add(&mut bag, vec![s, k, v], *count),
            JoinKind::LeftMark => add(&mut bag, vec![k, any.to_string(), v, s], *count),
            _ => {}
        }
    }
    if matches!(case.kind, JoinKind::Right | JoinKind::Full) {
        for (r, count) in right {
            if !left.iter().any(|(l, _)| matches(l, r)) {
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

fn case(kind: JoinKind, steps: Vec<Step>, keys: u8, flags: u8, waits: Vec<bool>, workers: usize, keys_max: u8) -> Case {
    let mut epochs = vec![vec![]];
    let mut alive: Vec<(usize, Row)> = Vec::new();
    for (what, right, k, v, s) in steps {
        match what % 8 {
            0 => epochs.push(vec![]),
            1 | 2 | 3 if !alive.is_empty() => {
                let (side, row) = alive.swap_remove(k as usize * 7 % alive.len());
                epochs.last_mut().unwrap().push((side, row, -1));
            }
            _ => {
                let number = |of: u8, max: u8| (of % (max + 1)).checked_sub(1).map(i64::from);
                let text = number(s, 3).map(|s| "x".repeat(40 * s as usize * s as usize));
                let row = (number(k, keys_max), number(v, 4), text);
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
    }
}

fn cases(kind: JoinKind) -> impl Strategy<Value = Case> {
    let steps = proptest::collection::vec(any::<Step>(), 0..60);
    (steps, any::<u8>(), any::<u8>(), proptest::collection::vec(any::<bool>(), 1..4), 1..=4usize, 1..8u8)
        .prop_map(move |(steps, keys, flags, waits, workers, keys_max)| case(kind, steps, keys, flags, waits, workers, keys_max))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn inner(case in cases(JoinKind::Inner)) {
        check(&case)?;
    }

    #[test]
    fn left(case in cases(JoinKind::Left)) {
        check(&case)?;
    }

    #[test]
    fn right_and_full(case in cases(JoinKind::Right), full in any::<bool>()) {
        check(&Case { kind: if full { JoinKind::Full } else { JoinKind::Right }, ..case })?;
    }

    #[test]
    fn semi_and_anti(case in cases(JoinKind::LeftSemi), anti in any::<bool>()) {
        check(&Case { kind: if anti { JoinKind::LeftAnti } else { JoinKind::LeftSemi }, ..case })?;
    }

    #[test]
    fn mark(case in cases(JoinKind::LeftMark)) {
        check(&case)?;
    }

    #[test]
    fn not_in(case in cases(JoinKind::LeftAnti)) {
        check(&Case { null_aware: true, residual: false, null_equals_null: false, keys: Keys::One, ..case })?;
    }
}
