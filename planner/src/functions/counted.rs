//! Counts and positions as BIGINT, which they are with other systems; DataFusion has them unsigned.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, not_impl_err};
use datafusion_expr::function::{AccumulatorArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, LimitEffect, PartitionEvaluator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, WindowUDF, WindowUDFImpl,
};

/// A function of the registry's that gives BIGINT where it would give an unsigned number.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Counted<F>(pub(super) Arc<F>);

/// Window functions that count rows.
pub(super) const POSITIONS: [&str; 4] = ["row_number", "rank", "dense_rank", "ntile"];

/// Functions of lists that count elements.
pub(super) const LENGTHS: [&str; 4] = ["cardinality", "array_length", "array_ndims", "array_position"];

/// What a function has in common with the registry's.
macro_rules! as_it_was {
    () => {
        fn name(&self) -> &str {
            self.0.name()
        }

        fn aliases(&self) -> &[String] {
            self.0.aliases()
        }

        fn signature(&self) -> &Signature {
            self.0.signature()
        }

        fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
            self.0.coerce_types(types)
        }
    };
}

impl WindowUDFImpl for Counted<WindowUDF> {
    as_it_was!();

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        self.0.partition_evaluator_factory(args)
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(self.0.field(args)?.as_ref().clone().with_data_type(DataType::Int64)))
    }

    fn limit_effect(&self, _: &[Arc<dyn datafusion_physical_expr::PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

impl AggregateUDFImpl for Counted<AggregateUDF> {
    as_it_was!();

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("{} is computed by the engine", self.name())
    }
}

impl ScalarUDFImpl for Counted<ScalarUDF> {
    as_it_was!();

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let return_field = Arc::new(Field::new(args.return_field.name(), DataType::UInt64, true));
        self.0.invoke_with_args(ScalarFunctionArgs { return_field, ..args })?.cast_to(&DataType::Int64, None)
    }
}
