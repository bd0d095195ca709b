//! Aggregates DataFusion does not have. Declarations only: names, signatures and types. The engine computes them.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL128_MAX_SCALE, DataType};
use datafusion_common::{Result, not_impl_err, plan_err};
use datafusion_expr::function::AccumulatorArgs;
use datafusion_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use crate::plan::FiringColumn;

/// `arg_min(value, by)` and `arg_max(value, by)`: the value of the row with the least or greatest `by`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ArgBest {
    signature: Signature,
    greatest: bool,
    aliases: Vec<String>,
}

impl ArgBest {
    pub(super) fn new(greatest: bool) -> Self {
        let aliases = if greatest { ["max_by", "argmax"] } else { ["min_by", "argmin"] };
        Self { signature: Signature::any(2, Volatility::Immutable), greatest, aliases: aliases.map(String::from).to_vec() }
    }
}

impl AggregateUDFImpl for ArgBest {
    fn name(&self) -> &str {
        if self.greatest { "arg_max" } else { "arg_min" }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("{} is computed by the engine", self.name())
    }
}

/// What is known of a firing: `_trigger_reason` and the like. A column to the user, who writes no parentheses; a value of each result to
/// the planner, and so an aggregate.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct FiringValue {
    signature: Signature,
    column: FiringColumn,
}

impl FiringValue {
    pub(super) fn new(column: FiringColumn) -> Self {
        Self { signature: Signature::nullary(Volatility::Immutable), column }
    }
}

impl AggregateUDFImpl for FiringValue {
    fn name(&self) -> &str {
        self.column.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.column.data_type())
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("{} is filled in by the engine", self.name())
    }
}

/// Percentiles: `median(x)`, `percentile_cont(x, f)`, and their estimates `approx_median(x)`, `approx_percentile(x, f)`. Answers are
/// `Float64`, also over integers: the middle of 1 and 2 is 1.5.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Percentile {
    signature: Signature,
    name: &'static str,
    aliases: Vec<String>,
    arguments: usize,
}

impl Percentile {
    /// Name, other names, and how many arguments, of each of them.
    pub(super) const ALL: [(&'static str, &'static [&'static str], usize); 5] = [
        ("median", &[], 1),
        ("percentile_cont", &["quantile_cont"], 2),
        ("approx_median", &[], 1),
        ("approx_percentile_cont", &[], 2),
        ("approx_percentile", &["approx_quantile"], 2),
    ];

    pub(super) fn new((name, aliases, arguments): (&'static str, &[&str], usize)) -> Self {
        let aliases = aliases.iter().map(|alias| (*alias).to_string()).collect();
        Self { signature: Signature::user_defined(Volatility::Immutable), name, aliases, arguments }
    }
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if types.len() == self.arguments && types.iter().all(|it| it.is_numeric() || it.is_null()) {
            return Ok(vec![DataType::Float64; self.arguments]);
        }
        match self.arguments {
            1 => plan_err!("{} takes one number", self.name),
            _ => plan_err!("{} takes a number and a fraction between 0 and 1", self.name),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("{} is computed by the engine", self.name)
    }

    fn supports_within_group_clause(&self) -> bool {
        self.arguments == 2
    }
}

/// `string_agg(text [, separator])`: the texts, joined; the separator is a comma if none is given.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct StringAgg {
    signature: Signature,
    aliases: Vec<String>,
}

impl StringAgg {
    pub(super) fn new() -> Self {
        let aliases = ["listagg", "group_concat"].map(String::from).to_vec();
        Self { signature: Signature::user_defined(Volatility::Immutable), aliases }
    }
}

impl AggregateUDFImpl for StringAgg {
    fn name(&self) -> &str {
        "string_agg"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let separator_is_text = match types {
            [_] => true,
            [_, separator] => separator.is_string() || separator.is_null(),
            _ => false,
        };
        if !separator_is_text || types[0].is_nested() {
            return plan_err!("string_agg takes a text and optionally a separator");
        }
        Ok(vec![DataType::Utf8; types.len()])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("string_agg is computed by the engine")
    }
}

/// `avg(x)`: the mean. Integers stay integers on the way in, so that their sum is exact; decimals get four digits more.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Average {
    signature: Signature,
    aliases: Vec<String>,
}

impl Average {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable), aliases: vec!["mean".into()] }
    }
}

impl AggregateUDFImpl for Average {
    fn name(&self) -> &str {
        "avg"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [one] = types else { return plan_err!("avg takes one number") };
        Ok(vec![match one {
            it if it.is_signed_integer() => DataType::Int64,
            it if it.is_unsigned_integer() => DataType::UInt64,
            it if it.is_floating() || it.is_null() => DataType::Float64,
            DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) | DataType::Decimal128(precision, scale) => {
                DataType::Decimal128(*precision, *scale)
            }
            other => return plan_err!("avg takes a number, not {other}"),
        }])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match types.first() {
            Some(DataType::Decimal128(precision, scale)) => {
                DataType::Decimal128((precision + 4).min(DECIMAL128_MAX_PRECISION), (scale + 4).min(DECIMAL128_MAX_SCALE))
            }
            _ => DataType::Float64,
        })
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("avg is computed by the engine")
    }
}
