//! Aggregates, classed by their algebra: the class decides what state they keep and what a retraction costs.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_physical_expr::PhysicalExpr;

use super::FiringColumn;

/// One aggregate of an operator.
#[derive(Clone, Debug)]
pub struct AggregatePlan {
    /// What is computed.
    pub function: AggregateFunction,
    /// Arguments, over the operator's input. `count(*)` has none.
    pub args: Vec<Arc<dyn PhysicalExpr>>,
    /// The arguments' types, after coercion.
    pub arg_types: Vec<DataType>,
    /// Only rows for which this is true count.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Equal arguments count once.
    pub distinct: bool,
    /// The order values are taken in, for functions where it matters; ends with what breaks ties.
    pub order_by: Vec<SortKey>,
    /// The output column.
    pub output: FieldRef,
    /// The input may take rows back.
    pub retractable: bool,
    /// The aggregate as written, for EXPLAIN.
    pub text: String,
}

/// One key of an order.
#[derive(Clone, Debug)]
pub struct SortKey {
    /// The value.
    pub expr: Arc<dyn PhysicalExpr>,
    /// Its type.
    pub data_type: DataType,
    /// Greatest first.
    pub descending: bool,
    /// Nulls before all others.
    pub nulls_first: bool,
}

/// The functions Tidemark keeps incrementally.
#[derive(Clone, Debug, PartialEq)]
pub enum AggregateFunction {
    /// Rows (no argument), or rows whose arguments are all not null. `Int64`.
    Count,
    /// Sum. Integers and decimals exact, overflow an error; floats exact and rounded once.
    Sum,
    /// Mean. Decimals and integers divide the exact sum; floats round once.
    Avg,
    /// Least value.
    Min,
    /// Greatest value.
    Max,
    /// Variance over `n`.
    VarPop,
    /// Variance over `n − 1`.
    VarSamp,
    /// Standard deviation over `n`.
    StddevPop,
    /// Standard deviation over `n − 1`.
    StddevSamp,
    /// All true.
    BoolAnd,
    /// Any true.
    BoolOr,
    /// Bitwise and.
    BitAnd,
    /// Bitwise or.
    BitOr,
    /// Bitwise exclusive or.
    BitXor,
    /// List of values in `order_by`.
    ArrayAgg {
        /// Leave nulls out.
        ignore_nulls: bool,
    },
    /// Text of values in `order_by`, joined.
    StringAgg {
        /// What stands between.
        delimiter: String,
    },
    /// First value in `order_by`.
    FirstValue {
        /// Leave nulls out.
        ignore_nulls: bool,
    },
    /// Last value in `order_by`.
    LastValue {
        /// Leave nulls out.
        ignore_nulls: bool,
    },
    /// `arg_min(value, by)`: the value of the row with the least `by`; ties by `order_by`.
    ArgMin,
    /// `arg_max(value, by)`.
    ArgMax,
    /// Number of distinct values, estimated (HyperLogLog, 2^14 registers, about 0.8 % error). `Int64`.
    ApproxDistinct,
    /// The value below which the fraction lies, interpolated, exact.
    Percentile {
        /// Between 0 and 1; 0.5 is the median.
        fraction: f64,
    },
    /// The value below which the fraction lies, within 1 % of its value (log-linear histogram, as DDSketch).
    ApproxPercentile {
        /// Between 0 and 1.
        fraction: f64,
    },
    /// What is known of the firing that put the result out. Not computed from rows: the operator fills it in.
    Firing(FiringColumn),
}

/// The algebra of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AggregateClass {
    /// Undone by subtraction; constant state.
    Accumulable,
    /// Keeps the best value if append-only, the ordered values otherwise.
    Hierarchical,
    /// Keeps all values.
    Holistic,
}

impl AggregatePlan {
    /// The class, from function and DISTINCT.
    pub fn class(&self) -> AggregateClass {
        use AggregateFunction as F;
        if self.distinct && !matches!(self.function, F::Min | F::Max | F::BoolAnd | F::BoolOr | F::BitAnd | F::BitOr) {
            return AggregateClass::Holistic;
        }
        match self.function {
            F::Count
            | F::Sum
            | F::Avg
            | F::VarPop
            | F::VarSamp
            | F::StddevPop
            | F::StddevSamp
            | F::BoolAnd
            | F::BoolOr
            | F::BitAnd
            | F::BitOr
            | F::BitXor
            | F::ApproxPercentile { .. }
            | F::Firing(_) => AggregateClass::Accumulable,
            F::Min | F::Max | F::FirstValue { .. } | F::LastValue { .. } | F::ArgMin | F::ArgMax | F::ApproxDistinct => {
                AggregateClass::Hierarchical
            }
            F::ArrayAgg { .. } | F::StringAgg { .. } | F::Percentile { .. } => AggregateClass::Holistic,
        }
    }
}
