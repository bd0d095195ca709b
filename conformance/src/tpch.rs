//! TPC-H: the eight tables, the 22 queries, and a stream of changes that inserts and deletes orders with their lines.
//!
//! Queries are those of the TPC-H specification (revision 3), with its validation parameters. An ORDER BY without LIMIT is left out,
//! since a view has no order, and one with LIMIT names enough columns to be total. The refresh streams follow the specification's
//! RF1 and RF2 in shape: each batch inserts new orders with their lines and deletes old ones with theirs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, Schema};
use arrow::record_batch::RecordBatchReader;
use tidemark_testing::memory::{TextPartition, TextRow};
use tpchgen::generators as g;
use tpchgen_arrow as a;

/// The queries, by number.
pub const QUERIES: [(usize, &str); 22] = [
    (1, include_str!("../tpch/q1.sql")),
    (2, include_str!("../tpch/q2.sql")),
    (3, include_str!("../tpch/q3.sql")),
    (4, include_str!("../tpch/q4.sql")),
    (5, include_str!("../tpch/q5.sql")),
    (6, include_str!("../tpch/q6.sql")),
    (7, include_str!("../tpch/q7.sql")),
    (8, include_str!("../tpch/q8.sql")),
    (9, include_str!("../tpch/q9.sql")),
    (10, include_str!("../tpch/q10.sql")),
    (11, include_str!("../tpch/q11.sql")),
    (12, include_str!("../tpch/q12.sql")),
    (13, include_str!("../tpch/q13.sql")),
    (14, include_str!("../tpch/q14.sql")),
    (15, include_str!("../tpch/q15.sql")),
    (16, include_str!("../tpch/q16.sql")),
    (17, include_str!("../tpch/q17.sql")),
    (18, include_str!("../tpch/q18.sql")),
    (19, include_str!("../tpch/q19.sql")),
    (20, include_str!("../tpch/q20.sql")),
    (21, include_str!("../tpch/q21.sql")),
    (22, include_str!("../tpch/q22.sql")),
];

/// Different values of columns, by the specification.
const VALUES: [(&str, usize); 10] = [
    ("r_name", 5),
    ("n_name", 25),
    ("p_type", 150),
    ("p_brand", 25),
    ("p_container", 40),
    ("p_size", 50),
    ("c_mktsegment", 5),
    ("o_orderstatus", 3),
    ("l_shipmode", 7),
    ("l_returnflag", 3),
];

/// A table, whole.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its rows, text as `Utf8`.
    pub rows: RecordBatch,
    /// Its key.
    pub key: &'static str,
    /// The step each row comes in, and the step it goes in, if it does.
    pub life: Vec<(usize, Option<usize>)>,
}

/// The eight tables at a scale factor; orders and lines come and go over some steps.
///
/// # Panics
/// When the generator fails, which it does not.
pub fn tables(scale: f64, steps: usize) -> Vec<Table> {
    let lines = g::LineItemGenerator::new(scale, 1, 1);
    let orders = g::OrderGenerator::new(scale, 1, 1);
    let mut tables = vec![
        table("region", "r_regionkey", a::RegionArrow::new(g::RegionGenerator::new(scale, 1, 1))),
        table("nation", "n_nationkey", a::NationArrow::new(g::NationGenerator::new(scale, 1, 1))),
        table("supplier", "s_suppkey", a::SupplierArrow::new(g::SupplierGenerator::new(scale, 1, 1))),
        table("part", "p_partkey", a::PartArrow::new(g::PartGenerator::new(scale, 1, 1))),
        table("partsupp", "ps_partkey, ps_suppkey", a::PartSuppArrow::new(g::PartSuppGenerator::new(scale, 1, 1))),
        table("customer", "c_custkey", a::CustomerArrow::new(g::CustomerGenerator::new(scale, 1, 1))),
        table("orders", "o_orderkey", a::OrderArrow::new(orders)),
        table("lineitem", "l_orderkey, l_linenumber", a::LineItemArrow::new(lines)),
    ];
    for table in tables.iter_mut().filter(|table| matches!(table.name, "orders" | "lineitem")) {
        let keys = table.rows.column(0).as_primitive::<Int64Type>();
        table.life = keys.values().iter().map(|key| life(*key, steps)).collect();
    }
    tables
}

/// When an order comes and goes. Most are there from the start; a part comes later, a part goes again.
fn life(key: i64, steps: usize) -> (usize, Option<usize>) {
    let lot = key.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    let steps_later = steps.saturating_sub(1) as u64;
    if steps_later == 0 {
        return (0, None);
    }
    match lot % 10 {
        0 | 1 => (1 + (lot / 10 % steps_later) as usize, None),
        2 => (0, Some(1 + (lot / 10 % steps_later) as usize)),
        _ => (0, None),
    }
}

fn table(name: &'static str, key: &'static str, reader: impl RecordBatchReader) -> Table {
    let batches: Vec<RecordBatch> = reader.map(|batch| plain(&batch.expect("the generator does not fail"))).collect();
    let rows = concat_batches(&batches[0].schema(), &batches).expect("batches of one table have one schema");
    let life = vec![(0, None); rows.num_rows()];
    Table { name, rows, key, life }
}

/// The batch with plain text columns and 64-bit keys.
fn plain(batch: &RecordBatch) -> RecordBatch {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let to = match field.data_type() {
            DataType::Utf8View => DataType::Utf8,
            other => other.clone(),
        };
        columns.push(cast(column, &to).expect("views of text are text"));
        fields.push(field.as_ref().clone().with_data_type(to).with_nullable(true));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("as many columns as fields")
}

impl Table {
    /// Declares the table over a connector.
    ///
    /// # Panics
    /// On a type TPC-H does not have.
    pub fn declaration(&self, options: &str) -> String {
        let columns: Vec<String> = self
            .rows
            .schema_ref()
            .fields()
            .iter()
            .map(|field| {
                let ty = match field.data_type() {
                    DataType::Int64 => "BIGINT".to_owned(),
                    DataType::Int32 => "INT".to_owned(),
                    DataType::Utf8 => "VARCHAR".to_owned(),
                    DataType::Date32 => "DATE".to_owned(),
                    DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
                    other => panic!("TPC-H has no {other}"),
                };
                format!("{} {ty}", field.name())
            })
            .collect();
        format!("CREATE SOURCE {} ({}, PRIMARY KEY ({}) NOT ENFORCED) WITH ({options});\n", self.name, columns.join(", "), self.key)
    }

    /// Options that tell the planner how many rows the table has, and how many values the columns that queries filter.
    pub fn statistics(&self, rows: usize) -> String {
        let mut text = format!("'statistics.rows' = '{rows}'");
        for (column, values) in VALUES.iter().filter(|(column, _)| self.rows.schema_ref().index_of(column).is_ok()) {
            text.push_str(&format!(", 'statistics.distinct.{column}' = '{values}'"));
        }
        text
    }

    /// The rows that are there after a step.
    ///
    /// # Panics
    /// Never: positions are in range.
    pub fn at(&self, step: usize) -> RecordBatch {
        let there = |(from, to): &(usize, Option<usize>)| *from <= step && to.is_none_or(|to| to > step);
        self.select(&(0..self.life.len()).filter(|row| there(&self.life[*row])).collect::<Vec<_>>())
    }

    /// The changes of a step: rows and their diffs.
    pub fn changes(&self, step: usize) -> (RecordBatch, Vec<i64>) {
        let mut rows = Vec::new();
        let mut diffs = Vec::new();
        for (row, (from, to)) in self.life.iter().enumerate() {
            if *from == step {
                rows.push(row);
                diffs.push(1);
            }
            if *to == Some(step) {
                rows.push(row);
                diffs.push(-1);
            }
        }
        (self.select(&rows), diffs)
    }

    fn select(&self, rows: &[usize]) -> RecordBatch {
        let rows: UInt32Array = rows.iter().map(|row| u32::try_from(*row).expect("tables are small")).collect();
        take_record_batch(&self.rows, &rows).expect("positions are in range")
    }

    /// The changes of all steps as the test source takes them.
    pub fn partition(&self, steps: usize) -> TextPartition {
        (0..steps)
            .map(|step| {
                let (rows, diffs) = self.changes(step);
                let diffs: ArrayRef = Arc::new(Int64Array::from(diffs));
                let texts: Vec<StringArray> = rows
                    .columns()
                    .iter()
                    .chain([&diffs])
                    .map(|column| cast(column, &DataType::Utf8).expect("everything has a text").as_string::<i32>().clone())
                    .collect();
                let cell = |text: &StringArray, row: usize| (!text.is_null(row)).then(|| text.value(row).to_owned());
                (0..rows.num_rows()).map(|row| texts.iter().map(|text| cell(text, row)).collect::<TextRow>()).collect()
            })
            .collect()
    }
}
