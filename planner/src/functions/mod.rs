//! # Functions
//!
//! Every function a statement may call: DataFusion's, and those with Flink's or DuckDB's names and meaning.

mod aggregates;
mod counted;
mod numbers;
mod strings;
mod times;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion_expr::planner::ExprPlanner;
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};

use self::counted::Counted;
use crate::plan::FiringColumn;

/// All functions by every name they answer to, in lower case.
pub(crate) struct Functions {
    pub(crate) scalar: BTreeMap<String, Arc<ScalarUDF>>,
    pub(crate) higher_order: BTreeMap<String, Arc<HigherOrderUDF>>,
    pub(crate) aggregate: BTreeMap<String, Arc<AggregateUDF>>,
    pub(crate) window: BTreeMap<String, Arc<WindowUDF>>,
    pub(crate) planners: Vec<Arc<dyn ExprPlanner>>,
}

static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);

/// Other names of aggregates, as Flink, DuckDB and PostgreSQL write them.
const AGGREGATE_ALIASES: [(&str, &str); 10] = [
    ("approx_count_distinct", "approx_distinct"),
    ("first", "first_value"),
    ("last", "last_value"),
    ("arbitrary", "any_value"),
    ("list", "array_agg"),
    ("collect", "array_agg"),
    ("every", "bool_and"),
    ("some", "bool_or"),
    ("variance", "var_samp"),
    ("variance_pop", "var_pop"),
];

impl Functions {
    /// The one registry.
    pub(crate) fn get() -> &'static Self {
        &FUNCTIONS
    }

    fn new() -> Self {
        let mut scalar = BTreeMap::new();
        let theirs =
            datafusion_functions::all_default_functions().into_iter().chain(datafusion_functions_nested::all_default_nested_functions());
        // Ours come last: they take a name that both have, such as `date_format`, which DataFusion reads with C's patterns.
        let mut ours: Vec<ScalarUDF> = vec![
            ScalarUDF::new_from_impl(numbers::Modulo::new()),
            ScalarUDF::new_from_impl(strings::RegexpExtract::new()),
            ScalarUDF::new_from_impl(strings::SplitIndex::new()),
            ScalarUDF::new_from_impl(times::DateFormat::new()),
        ];
        ours.extend(times::TimePart::NAMES.map(|name| ScalarUDF::new_from_impl(times::TimePart::new(name))));
        let theirs = theirs.map(|function| match function.name() {
            name if counted::LENGTHS.contains(&name) => Arc::new(ScalarUDF::new_from_impl(Counted(function))),
            _ => function,
        });
        for function in theirs.chain(ours.into_iter().map(Arc::new)) {
            for alias in function.aliases() {
                scalar.insert(alias.to_lowercase(), Arc::clone(&function));
            }
            scalar.insert(function.name().to_lowercase(), function);
        }

        let mut aggregate = BTreeMap::new();
        let mut ours = vec![
            AggregateUDF::new_from_impl(aggregates::ArgBest::new(false)),
            AggregateUDF::new_from_impl(aggregates::ArgBest::new(true)),
            AggregateUDF::new_from_impl(aggregates::StringAgg::new()),
            AggregateUDF::new_from_impl(aggregates::Average::new()),
        ];
        ours.extend(aggregates::Percentile::ALL.map(|it| AggregateUDF::new_from_impl(aggregates::Percentile::new(it))));
        ours.extend(FiringColumn::ALL.map(|it| AggregateUDF::new_from_impl(aggregates::FiringValue::new(it))));
        let theirs = datafusion_functions_aggregate::all_default_aggregate_functions();
        let theirs = theirs.into_iter().map(|function| match function.name() {
            "approx_distinct" => Arc::new(AggregateUDF::new_from_impl(Counted(function))),
            _ => function,
        });
        for function in theirs.chain(ours.into_iter().map(Arc::new)) {
            for alias in function.aliases() {
                aggregate.insert(alias.to_lowercase(), Arc::clone(&function));
            }
            aggregate.insert(function.name().to_lowercase(), function);
        }
        for (alias, name) in AGGREGATE_ALIASES {
            if let (false, Some(function)) = (aggregate.contains_key(alias), aggregate.get(name).cloned()) {
                aggregate.insert(alias.to_string(), function);
            }
        }

        let mut higher_order = BTreeMap::new();
        for function in datafusion_functions_nested::all_default_higher_order_functions() {
            for alias in function.aliases() {
                higher_order.insert(alias.to_lowercase(), Arc::clone(&function));
            }
            higher_order.insert(function.name().to_lowercase(), function);
        }

        let mut window = BTreeMap::new();
        for function in datafusion_functions_window::all_default_window_functions() {
            let function = match function.name() {
                name if counted::POSITIONS.contains(&name) => Arc::new(WindowUDF::new_from_impl(Counted(function))),
                _ => function,
            };
            for alias in function.aliases() {
                window.insert(alias.to_lowercase(), Arc::clone(&function));
            }
            window.insert(function.name().to_lowercase(), function);
        }

        let planners: Vec<Arc<dyn ExprPlanner>> = vec![
            Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
            Arc::new(datafusion_functions_nested::planner::NestedFunctionPlanner),
            Arc::new(datafusion_functions_nested::planner::FieldAccessPlanner),
            Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
            Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
            Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
            Arc::new(datafusion_functions_window::planner::WindowFunctionPlanner),
        ];
        Self { scalar, higher_order, aggregate, window, planners }
    }

    /// Whether some function answers to a name in lower case.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.scalar.contains_key(name)
            || self.aggregate.contains_key(name)
            || self.higher_order.contains_key(name)
            || self.window.contains_key(name)
    }

    /// Whether a name is of a function that needs OVER.
    pub(crate) fn is_window_only(&self, name: &str) -> bool {
        self.window.contains_key(name)
            && !self.scalar.contains_key(name)
            && !self.aggregate.contains_key(name)
            && !self.higher_order.contains_key(name)
    }

    /// Every name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let keys = self.scalar.keys().chain(self.aggregate.keys()).chain(self.higher_order.keys()).chain(self.window.keys());
        // Columns to the user.
        keys.map(String::as_str).filter(|name| FiringColumn::of(name).is_none())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::ArrayRef;
    use arrow::datatypes::Field;
    use datafusion_common::config::ConfigOptions;
    use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl};

    use super::*;

    /// Calls a function the way the engine does.
    pub(super) fn call(function: impl ScalarUDFImpl, args: Vec<ColumnarValue>, number_rows: usize) -> ArrayRef {
        let arg_fields: Vec<_> = args.iter().map(|arg| Arc::new(Field::new("a", arg.data_type(), true))).collect();
        let types: Vec<_> = args.iter().map(ColumnarValue::data_type).collect();
        let return_field = Arc::new(Field::new("r", function.return_type(&types).expect("a type"), true));
        let config_options = Arc::new(ConfigOptions::default());
        let out = function
            .invoke_with_args(ScalarFunctionArgs { args, arg_fields, number_rows, return_field, config_options })
            .expect("no error");
        out.to_array(number_rows).expect("an array")
    }

    #[test]
    fn names_of_three_dialects_are_known() {
        let functions = Functions::get();
        for name in
            ["date_format", "split_index", "regexp_extract", "hour", "upper", "char_length", "sha256", "array_has", "to_timestamp_millis"]
        {
            assert!(functions.scalar.contains_key(name), "{name}");
        }
        for name in ["arg_max", "max_by", "listagg", "approx_count_distinct", "median", "bool_and", "every", "count"] {
            assert!(functions.aggregate.contains_key(name), "{name}");
        }
        assert_eq!(functions.scalar["date_format"].name(), "date_format");
        assert!(!functions.contains("frobnicate"));
    }
}
