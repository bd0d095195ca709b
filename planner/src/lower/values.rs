//! Rows that stand in the statement: VALUES, and the one row of a query without FROM.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion_common::{DFSchema, DataFusionError};
use datafusion_expr::logical_plan::{EmptyRelation, Values};

use super::expr::physical;
use super::relation::{Rel, plain_props};
use super::{Lowering, Result};
use crate::logical::QueryScope;
use crate::plan::{PhysicalOp, StateBound};

impl Lowering<'_> {
    pub(super) fn values(&mut self, values: &Values, scope: &QueryScope) -> Result<Rel> {
        let failed = self.failed(scope.span);
        let nothing = DFSchema::empty();
        let one_row = one_row();
        let mut columns: Vec<ArrayRef> = Vec::new();
        let mut fields: Vec<FieldRef> = Vec::new();
        for (place, field) in values.schema.fields().iter().enumerate() {
            let mut cells = Vec::new();
            for row in &values.values {
                let made = physical(&row[place], &nothing).map_err(&failed)?;
                let cell = made.evaluate(&one_row).and_then(|it| it.into_array(1)).map_err(&failed)?;
                let cell = arrow::compute::cast(&cell, field.data_type()).map_err(|error| failed(DataFusionError::from(error)))?;
                cells.push(cell);
            }
            let cells: Vec<&dyn arrow::array::Array> = cells.iter().map(AsRef::as_ref).collect();
            let column = if cells.is_empty() {
                new_empty_array(field.data_type())
            } else {
                arrow::compute::concat(&cells).map_err(|error| failed(DataFusionError::from(error)))?
            };
            fields.push(Arc::new(Field::new(field.name(), field.data_type().clone(), column.null_count() > 0 || field.is_nullable())));
            columns.push(column);
        }
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| failed(DataFusionError::from(error)))?;
        Ok(self.given(rows))
    }

    /// One row without columns, or no row at all. A column stands for those that are not there.
    pub(super) fn empty(&mut self, empty: &EmptyRelation) -> Rel {
        let rows = if empty.schema.fields().is_empty() {
            let one: ArrayRef = Arc::new(BooleanArray::from(vec![true; usize::from(empty.produce_one_row)]));
            let schema = Arc::new(Schema::new(vec![Field::new("$row", DataType::Boolean, false)]));
            RecordBatch::try_new(schema, vec![one]).expect("one column of the schema's type")
        } else {
            RecordBatch::new_empty(Arc::clone(empty.schema.inner()))
        };
        self.given(rows)
    }

    fn given(&mut self, rows: RecordBatch) -> Rel {
        let mut props = plain_props(rows.schema(), true);
        props.state = StateBound::None;
        let node = self.node(PhysicalOp::Values { rows }, props);
        self.rel(node, BTreeSet::new(), None)
    }
}

fn one_row() -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).expect("a row without columns")
}
