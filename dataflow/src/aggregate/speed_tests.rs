//! Rows per second through both halves on one core. Run by hand, in release:
//! `cargo test --release -p tidemark-dataflow -- --ignored --nocapture rows_per_second`.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;
use tidemark_planner::plan::{AggregateFunction, Emit, KeyPlan, NamedExpr, WindowColumn, WindowKind};

use super::test_rows::{aggregate, windows};
use super::{AggregateLayout, LocalHalf, RowWatermarks, Store};
use crate::state::accumulator::{Accumulator, AggregateInput};

/// Rows without argument, counted.
struct Count(Vec<i64>);

impl Accumulator for Count {
    fn resize(&mut self, groups: usize) {
        self.0.resize(groups, 0);
    }
    fn update(&mut self, groups: &[u32], _: AggregateInput<'_>, diffs: Option<&[i64]>) {
        assert!(diffs.is_none());
        groups.iter().for_each(|group| self.0[*group as usize] += 1);
    }
    fn partial_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }
    fn partials(&self, groups: &[u32]) -> Vec<ArrayRef> {
        vec![Arc::new(groups.iter().map(|group| Some(self.0[*group as usize])).collect::<Int64Array>())]
    }
    fn merge(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        let counts = partials[0].as_any().downcast_ref::<Int64Array>().unwrap();
        groups.iter().zip(counts.values()).for_each(|(group, count)| self.0[*group as usize] += count);
    }
    fn invertible(&self) -> bool {
        true
    }
    fn subtract(&mut self, groups: &[u32], partials: &[ArrayRef]) {
        let counts = partials[0].as_any().downcast_ref::<Int64Array>().unwrap();
        groups.iter().zip(counts.values()).for_each(|(group, count)| self.0[*group as usize] -= count);
    }
    fn evaluate(&self, groups: &[u32], _: &mut Vec<(usize, String)>) -> ArrayRef {
        self.partials(groups).remove(0)
    }
    fn clear(&mut self, groups: &[u32]) {
        groups.iter().for_each(|group| self.0[*group as usize] = 0);
    }
    fn reset(&mut self) {
        self.0.clear();
    }
    fn bytes(&self) -> usize {
        self.0.capacity() * 8
    }
}

fn schema(key: &DataType) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("key", key.clone(), true),
    ]))
}

fn layout(key: &DataType, kind: Option<WindowKind>, emit: Emit) -> Arc<AggregateLayout> {
    let column = |name: &str| Arc::new(Column::new_with_schema(name, &schema(key)).unwrap()) as Arc<dyn PhysicalExpr>;
    let count = aggregate(AggregateFunction::Count, None, DataType::Int64, false);
    let mut keys = vec![KeyPlan::Expr(NamedExpr { name: "key".into(), expr: column("key") })];
    let mut fields = vec![Field::new("key", key.clone(), true)];
    if kind.is_some() {
        keys.push(KeyPlan::Window(WindowColumn::End, "end".into()));
        fields.push(Field::new("end", DataType::Timestamp(TimeUnit::Microsecond, None), true));
    }
    fields.push(count.output.as_ref().clone());
    let window = kind.map(|kind| windows(kind, 0));
    let output = Arc::new(Schema::new(fields));
    Arc::new(
        AggregateLayout::new(&schema(key), false, &keys, &[count], window.as_ref(), emit, output, |_| Ok(Box::new(Count(vec![])))).unwrap(),
    )
}

#[test]
#[ignore = "a measurement"]
fn rows_per_second() {
    const ROWS: usize = 8192;
    let hop = WindowKind::Hop { size_us: 10_000_000, slide_us: 2_000_000 };
    let tumble = WindowKind::Tumble { size_us: 10_000_000 };
    let cases = [
        ("tumbling, final", Some(tumble), Emit::Final),
        ("hopping 5, final", Some(hop), Emit::Final),
        ("tumbling, changes", Some(tumble), Emit::Changes),
        ("all time, changes", None, Emit::Changes),
    ];
    for (name, kind, emit) in cases {
        for text in [false, true] {
            for keys in [1_000u64, 100_000, 1_000_000] {
                for direct in [true, false] {
                    // A million rows a second of event time, in order but for a second of disorder.
                    let mut random = 88_172_645_463_325_252u64;
                    let mut next = || {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        random
                    };
                    let key_type = if text { DataType::Utf8 } else { DataType::Int64 };
                    let batches: Vec<(RecordBatch, Vec<i64>)> = (0..2048i64)
                        .map(|batch| {
                            let first = batch * ROWS as i64;
                            let times: Vec<i64> = (0..ROWS as i64).map(|row| first + row - (next() % 1_000_000) as i64).collect();
                            let watermarks: Vec<i64> = (0..ROWS as i64).map(|row| first + row - 1_000_001).collect();
                            let numbers: Vec<i64> = (0..ROWS).map(|_| (next() % keys) as i64).collect();
                            let key: ArrayRef = if text {
                                Arc::new(numbers.iter().map(|number| Some(format!("user-{number}"))).collect::<StringArray>())
                            } else {
                                Arc::new(Int64Array::from(numbers))
                            };
                            let columns: Vec<ArrayRef> = vec![Arc::new(TimestampMicrosecondArray::from(times)), key];
                            (RecordBatch::try_new(schema(&key_type), columns).unwrap(), watermarks)
                        })
                        .collect();
                    let layout = layout(&key_type, kind, emit);
                    let (mut half, mut store) = (LocalHalf::new(layout.clone(), direct), Store::new(layout, false));
                    let start = Instant::now();
                    let (mut out, mut late) = (0, 0);
                    for (epoch, (batch, watermarks)) in batches.iter().enumerate() {
                        let epoch = epoch as u64;
                        let pushed = half.push(batch, None, RowWatermarks::Each(watermarks));
                        late += pushed.late.total();
                        pushed.batches.into_iter().for_each(|batch| store.absorb(epoch, batch));
                        if epoch % 2 == 1 {
                            half.flush().into_iter().for_each(|batch| store.absorb(epoch, batch));
                            loop {
                                let output = store.close(epoch, watermarks[0]);
                                out += output.rows.num_rows();
                                if !output.more {
                                    break;
                                }
                            }
                        }
                    }
                    let elapsed = start.elapsed().as_secs_f64();
                    let rows = batches.len() * ROWS;
                    println!(
                        "{name:18} {:6} {keys:8} keys {:8} {:6.1} M rows/s  {:4.1} MB  {out} out {late} late",
                        if text { "text" } else { "int64" },
                        if direct { "direct" } else { "partial" },
                        rows as f64 / elapsed / 1e6,
                        store.bytes() as f64 / 1e6,
                    );
                }
            }
        }
    }
}
