//! Text functions with Flink's meaning: `REGEXP_EXTRACT` and `SPLIT_INDEX`. A constant pattern is prepared once per plan, and no
//! row allocates beyond the output column.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringArrayType, StringBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion_common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_datafusion_err, plan_err};
use datafusion_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use regex::Regex;

/// Calls `$body` with `$array` bound to the typed string array behind an [`ArrayRef`].
macro_rules! with_strings {
    ($input:expr, $array:ident => $body:expr) => {
        match $input.data_type() {
            DataType::Utf8 => {
                let $array = $input.as_string::<i32>();
                $body
            }
            DataType::LargeUtf8 => {
                let $array = $input.as_string::<i64>();
                $body
            }
            DataType::Utf8View => {
                let $array = $input.as_string_view();
                $body
            }
            other => exec_err!("text expected, not {other}"),
        }
    };
}

/// Text types pass, null becomes text, others are refused.
fn coerce_text(name: &str, data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(data_type.clone()),
        DataType::Null => Ok(DataType::Utf8),
        DataType::Dictionary(_, value) => coerce_text(name, value),
        other => plan_err!("{name} takes text, not {other}"),
    }
}

fn coerce_integer(name: &str, data_type: &DataType) -> Result<DataType> {
    if data_type.is_integer() || data_type.is_null() { Ok(DataType::Int64) } else { plan_err!("{name} takes an integer, not {data_type}") }
}

/// A literal's text, if the expression is one.
fn literal_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        Expr::Alias(alias) => literal_text(&alias.expr),
        _ => None,
    }
}

fn literal_integer(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::Int64(value), _) => *value,
        Expr::Alias(alias) => literal_integer(&alias.expr),
        _ => None,
    }
}

/// `REGEXP_EXTRACT(text, pattern [, group])`: the part of the first match that the group took; group 0, the default, is the whole
/// match. Null when nothing matches or the group took no part in the match.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct RegexpExtract {
    signature: Signature,
}

impl RegexpExtract {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn compile(pattern: &str) -> Result<Regex> {
    Regex::new(pattern).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string();
        plan_datafusion_err!("\"{pattern}\" is not a regular expression: {reason}")
    })
}

impl ScalarUDFImpl for RegexpExtract {
    fn name(&self) -> &str {
        "regexp_extract"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [text, pattern] => Ok(vec![coerce_text(self.name(), text)?, coerce_text(self.name(), pattern)?]),
            [text, pattern, group] => {
                Ok(vec![coerce_text(self.name(), text)?, coerce_text(self.name(), pattern)?, coerce_integer(self.name(), group)?])
            }
            _ => plan_err!("regexp_extract takes a text, a pattern and optionally the number of a group"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn simplify(&self, args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let group = if args.len() == 3 { literal_integer(&args[2]) } else { Some(0) };
        let (Some(pattern), Some(group)) = (literal_text(&args[1]), group) else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        let regex = compile(pattern)?;
        let Some(group) = usize::try_from(group).ok().filter(|group| *group < regex.captures_len()) else {
            return plan_err!("\"{pattern}\" has no group {group}: its groups are 0 to {}", regex.captures_len() - 1);
        };
        let bound = ScalarUDF::new_from_impl(BoundRegexpExtract::new(regex, group));
        Ok(ExprSimplifyResult::Simplified(bound.call(args.into_iter().take(1).collect())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let patterns = arrow::compute::cast(&arrays[1], &DataType::Utf8)?;
        let patterns = patterns.as_string::<i32>();
        let groups = arrays.get(2).map(|groups| groups.as_primitive::<Int64Type>());
        let out = with_strings!(arrays[0], texts => Ok(extract_each(texts, patterns, groups)?))?;
        Ok(ColumnarValue::Array(out))
    }
}

/// Patterns that differ from row to row: the last one compiled is kept.
fn extract_each<'a>(texts: impl StringArrayType<'a>, patterns: &StringArray, groups: Option<&Int64Array>) -> Result<ArrayRef> {
    let mut out = StringBuilder::with_capacity(texts.len(), 0);
    let mut last: Option<(String, Regex)> = None;
    for row in 0..texts.len() {
        let group = groups.map_or(Some(0), |groups| groups.is_valid(row).then(|| groups.value(row)));
        let (false, false, Some(group)) = (texts.is_null(row), patterns.is_null(row), group) else {
            out.append_null();
            continue;
        };
        let pattern = patterns.value(row);
        if last.as_ref().is_none_or(|(text, _)| text != pattern) {
            last = Some((pattern.to_string(), compile(pattern)?));
        }
        let found = last.as_ref().and_then(|(_, regex)| {
            let group = usize::try_from(group).ok()?;
            Some(regex.captures(texts.value(row))?.get(group)?.as_str())
        });
        out.append_option(found);
    }
    Ok(Arc::new(out.finish()))
}

/// [`RegexpExtract`] with its pattern and group fixed.
#[derive(Debug)]
pub(super) struct BoundRegexpExtract {
    signature: Signature,
    /// Tells the pattern and the group: plans that differ in them read differently.
    name: String,
    regex: Regex,
    group: usize,
}

impl BoundRegexpExtract {
    fn new(regex: Regex, group: usize) -> Self {
        let name = format!("regexp_extract['{regex}', {group}]");
        Self { signature: Signature::user_defined(Volatility::Immutable), name, regex, group }
    }

    fn extract<'a>(&self, texts: impl StringArrayType<'a>) -> ArrayRef {
        let mut out = StringBuilder::with_capacity(texts.len(), texts.len() * 8);
        let mut places = self.regex.capture_locations();
        for row in 0..texts.len() {
            if texts.is_null(row) {
                out.append_null();
                continue;
            }
            let text = texts.value(row);
            let place = if self.group == 0 {
                self.regex.find(text).map(|found| found.range())
            } else {
                self.regex.captures_read(&mut places, text).and_then(|_| places.get(self.group)).map(|(start, end)| start..end)
            };
            match place {
                Some(range) => out.append_value(&text[range]),
                None => out.append_null(),
            }
        }
        Arc::new(out.finish())
    }
}

impl PartialEq for BoundRegexpExtract {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str() && self.group == other.group
    }
}

impl Eq for BoundRegexpExtract {}

impl Hash for BoundRegexpExtract {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.regex.as_str().hash(state);
        self.group.hash(state);
    }
}

impl ScalarUDFImpl for BoundRegexpExtract {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        types.iter().map(|text| coerce_text("regexp_extract", text)).collect()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        Ok(ColumnarValue::Array(with_strings!(arrays[0], texts => Ok(self.extract(texts)))?))
    }
}

/// `SPLIT_INDEX(text, separator, index)`: the part of the text at a place, counted from 0. Null when there is no such part.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SplitIndex {
    signature: Signature,
}

impl SplitIndex {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for SplitIndex {
    fn name(&self) -> &str {
        "split_index"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [text, separator, index] => {
                Ok(vec![coerce_text(self.name(), text)?, coerce_text(self.name(), separator)?, coerce_integer(self.name(), index)?])
            }
            _ => plan_err!("split_index takes a text, a separator and an index from 0"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [text, separator, index] = args.args.as_slice() else {
            return exec_err!("split_index takes three arguments");
        };
        let texts = text.to_array(args.number_rows)?;
        if let (ColumnarValue::Scalar(separator), ColumnarValue::Scalar(ScalarValue::Int64(index))) = (separator, index) {
            let (Some(separator), Some(index)) = (separator.try_as_str().flatten(), index) else {
                return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None)));
            };
            return Ok(ColumnarValue::Array(with_strings!(texts, texts => Ok(split_constant(texts, separator, *index)))?));
        }
        let separators = arrow::compute::cast(&separator.to_array(args.number_rows)?, &DataType::Utf8)?;
        let separators = separators.as_string::<i32>();
        let indices = index.to_array(args.number_rows)?;
        let indices = indices.as_primitive_opt::<Int64Type>().ok_or_else(|| exec_datafusion_err!("split_index takes an integer index"))?;
        let out = with_strings!(texts, texts => {
            let mut out = StringBuilder::with_capacity(texts.len(), 0);
            for row in 0..texts.len() {
                if texts.is_null(row) || separators.is_null(row) || indices.is_null(row) {
                    out.append_null();
                } else {
                    out.append_option(part(texts.value(row), separators.value(row), indices.value(row)));
                }
            }
            Ok(Arc::new(out.finish()) as ArrayRef)
        })?;
        Ok(ColumnarValue::Array(out))
    }
}

fn part<'t>(text: &'t str, separator: &str, index: i64) -> Option<&'t str> {
    let index = usize::try_from(index).ok()?;
    if separator.is_empty() {
        return (index == 0).then_some(text);
    }
    text.split(separator).nth(index)
}

fn split_constant<'a>(texts: impl StringArrayType<'a>, separator: &str, index: i64) -> ArrayRef {
    let mut out = StringBuilder::with_capacity(texts.len(), texts.len() * 8);
    let one_byte = (separator.len() == 1).then(|| separator.as_bytes()[0]);
    for row in 0..texts.len() {
        if texts.is_null(row) {
            out.append_null();
            continue;
        }
        let text = texts.value(row);
        out.append_option(match (one_byte, usize::try_from(index)) {
            (Some(byte), Ok(index)) => part_by_byte(text, byte, index),
            _ => part(text, separator, index),
        });
    }
    Arc::new(out.finish())
}

/// The part of a text between bytes that are one ASCII character: found by scanning bytes, without decoding.
fn part_by_byte(text: &str, byte: u8, index: usize) -> Option<&str> {
    let bytes = text.as_bytes();
    let mut start = 0;
    for _ in 0..index {
        start += memchr::memchr(byte, &bytes[start..])? + 1;
    }
    let end = memchr::memchr(byte, &bytes[start..]).map_or(bytes.len(), |length| start + length);
    Some(&text[start..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::tests::call;

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    #[test]
    fn regexp_extract_takes_the_group_or_null() {
        let regex = compile("(&|^)channel_id=([^&]*)").expect("compiles");
        let bound = BoundRegexpExtract::new(regex, 2);
        let input = texts(&[Some("a&channel_id=77&x"), Some("channel_id="), Some("xchannel_id=5"), None]);
        let out = call(bound, vec![ColumnarValue::Array(input)], 4);
        assert_eq!(out.as_string::<i32>(), &StringArray::from(vec![Some("77"), Some(""), None, None]));
    }

    #[test]
    fn regexp_extract_follows_patterns_by_row() {
        let args = vec![
            ColumnarValue::Array(texts(&[Some("ab12"), Some("ab12"), Some("zz")])),
            ColumnarValue::Array(texts(&[Some("[0-9]+"), Some("(a)(x)?"), None])),
            ColumnarValue::Array(Arc::new(Int64Array::from(vec![0, 2, 0]))),
        ];
        let out = call(RegexpExtract::new(), args, 3);
        assert_eq!(out.as_string::<i32>(), &StringArray::from(vec![Some("12"), None, None]));
    }

    #[test]
    fn split_index_counts_from_zero() {
        for (text, separator, index, expected) in [
            ("https://a/b/c", "/", 3, Some("b")),
            ("https://a/b/c", "/", 0, Some("https:")),
            ("https://a/b/c", "/", 1, Some("")),
            ("a/b", "/", 2, None),
            ("a/b", "/", -1, None),
            ("a--b--c", "--", 1, Some("b")),
            ("aéb", "é", 1, Some("b")),
            ("abc", "", 0, Some("abc")),
        ] {
            let args = vec![
                ColumnarValue::Array(texts(&[Some(text), None])),
                ColumnarValue::Scalar(ScalarValue::Utf8(Some(separator.into()))),
                ColumnarValue::Scalar(ScalarValue::Int64(Some(index))),
            ];
            let out = call(SplitIndex::new(), args.clone(), 2);
            assert_eq!(out.as_string::<i32>(), &StringArray::from(vec![expected, None]), "{text} {separator} {index}");
            let by_row = args.iter().map(|arg| arg.to_array(2).map(ColumnarValue::Array)).collect::<Result<Vec<_>>>().expect("arrays");
            assert_eq!(call(SplitIndex::new(), by_row, 2).as_string::<i32>(), &StringArray::from(vec![expected, None]));
        }
    }
}
