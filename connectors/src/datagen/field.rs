//! What `fields.<column>.<property>` says of one column, checked against its type.
//!
//! Without `kind` the properties given tell it: `start`, `end`, `step` make a sequence, `values` a choice, `value` a constant,
//! `mean` or `stddev` a normal distribution, `exponent` a Zipf distribution. Without properties the type does: numbers are
//! uniform in 0 to 999 (floats and decimals: below 100), text is one of ten words, dates lie in 2024, timestamps are "now" when
//! rows come by the clock or without end, and otherwise ascend by a second from 2024-01-01.

use std::collections::BTreeMap;

use arrow::compute::kernels::cast_utils::parse_decimal;
use arrow::datatypes::{DataType, Decimal128Type, Field};
use rand_distr::{Normal, Zipf};
use tidemark_planner::duration::parse_us;
use tidemark_planner::error::nearest;

use super::draw::{Column, Floats, Integers, Texts, Values, stream};
use crate::time_text::{parse_date, parse_timestamp_us};

const KINDS: [&str; 7] = ["random", "sequence", "zipf", "normal", "choice", "constant", "now"];
const PROPERTIES: [&str; 14] =
    ["kind", "start", "end", "step", "min", "max", "length", "values", "value", "mean", "stddev", "exponent", "null-rate", "disorder"];
const PREFIX: &str = "prefix";
const WORDS: [&str; 10] = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett"];
/// 2024-01-01 in days.
const YEAR_START_DAYS: i64 = 19_723;
const DAY_US: i64 = 86_400_000_000;

/// How the rows of the source come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) seed: u64,
    /// Rows come by the clock or without end.
    pub(super) live: bool,
    pub(super) per_second: Option<f64>,
}

/// A column, and how many rows its sequence allows.
pub(super) struct Parsed {
    pub(super) column: Column,
    pub(super) rows: Option<u64>,
    /// Values ascend but for the column's lag.
    pub(super) ascending: bool,
}

/// The properties of one column.
struct Properties<'a> {
    name: &'a str,
    data_type: &'a DataType,
    given: BTreeMap<&'a str, &'a str>,
}

/// Splits `price.min` into the column it names and the property, for the columns declared.
pub(super) fn split<'a>(key: &'a str, columns: &'a [std::sync::Arc<Field>]) -> Result<(&'a str, &'a str), String> {
    let Some((name, property)) = key.rsplit_once('.') else {
        return Err(format!("option \"fields.{key}\" names no property; write for example fields.{key}.kind"));
    };
    let names = || columns.iter().map(|column| column.name().as_str());
    let column = names().find(|column| *column == name).or_else(|| names().find(|column| column.eq_ignore_ascii_case(name)));
    let Some(column) = column else {
        let hint = nearest(name, names()).map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
        return Err(format!("option \"fields.{key}\": there is no column \"{name}\"{hint}"));
    };
    let property = match property {
        "max-past" => "disorder",
        property => property,
    };
    if !PROPERTIES.contains(&property) && property != PREFIX {
        let hint = nearest(property, PROPERTIES)
            .map_or_else(|| format!("; known are {}", PROPERTIES.join(", ")), |near| format!("; did you mean \"{near}\"?"));
        return Err(format!("option \"fields.{key}\": there is no property \"{property}\"{hint}"));
    }
    Ok((column, property))
}

/// A column from its declared type and what is said of it.
pub(super) fn column(field: &Field, given: BTreeMap<&str, &str>, flow: Flow) -> Result<Parsed, String> {
    let properties = Properties { name: field.name(), data_type: field.data_type(), given };
    let kind = properties.kind(flow)?;
    let null_rate = properties.number("null-rate")?.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&null_rate) {
        return Err(properties.wrong("null-rate", "a number from 0 to 1"));
    }
    let mut rows = None;
    let mut ascending = false;
    let values = match field.data_type() {
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Decimal128(..)
        | DataType::Date32
        | DataType::Timestamp(..) => properties.integers(kind, flow, &mut rows, &mut ascending).map(Values::Integers)?,
        DataType::Float32 | DataType::Float64 => properties.floats(kind, &mut rows).map(Values::Floats)?,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => properties.texts(kind, flow, &mut rows).map(Values::Texts)?,
        DataType::Boolean => Values::Flags(properties.flags(kind)?),
        other => return Err(format!("datagen cannot make column \"{}\" of type {other}", field.name())),
    };
    let lag = match (properties.given.get("disorder"), field.data_type()) {
        (None, _) => 0,
        (Some(text), DataType::Timestamp(..)) => {
            parse_us(text).map_err(|error| format!("{}: {error}", properties.key("disorder")))?.unsigned_abs()
        }
        (Some(_), other) => {
            return Err(format!("{}: only a timestamp can be out of order, and the column is {other}", properties.key("disorder")));
        }
    };
    properties.check_used(kind)?;
    let column = Column {
        name: field.name().clone(),
        data_type: field.data_type().clone(),
        values,
        lag,
        null_rate,
        stream: stream(flow.seed, field.name()),
    };
    Ok(Parsed { column, rows, ascending: ascending && null_rate == 0.0 })
}

impl Properties<'_> {
    fn key(&self, property: &str) -> String {
        format!("option \"fields.{}.{property}\"", self.name)
    }

    fn wrong(&self, property: &str, expected: &str) -> String {
        format!("{}: \"{}\" is not {expected}", self.key(property), self.given.get(property).copied().unwrap_or_default())
    }

    fn has(&self, properties: &[&str]) -> bool {
        properties.iter().any(|property| self.given.contains_key(property))
    }

    fn is_text(&self) -> bool {
        matches!(self.data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
    }

    fn is_time(&self) -> bool {
        matches!(self.data_type, DataType::Timestamp(..))
    }

    fn kind(&self, flow: Flow) -> Result<&'static str, String> {
        if let Some(text) = self.given.get("kind") {
            return KINDS.into_iter().find(|kind| kind.eq_ignore_ascii_case(text)).ok_or_else(|| {
                let hint = nearest(text, KINDS)
                    .map_or_else(|| format!("one of {}", KINDS.join(", ")), |near| format!("a kind; did you mean \"{near}\"?"));
                self.wrong("kind", &hint)
            });
        }
        Ok(if self.has(&["start", "end", "step"]) {
            "sequence"
        } else if self.has(&["exponent"]) {
            "zipf"
        } else if self.has(&["values"]) {
            "choice"
        } else if self.has(&["value"]) {
            "constant"
        } else if self.has(&["mean", "stddev"]) {
            "normal"
        } else if self.has(&["min", "max", "length", PREFIX]) {
            "random"
        } else if self.is_time() {
            if flow.live { "now" } else { "sequence" }
        } else if self.is_text() {
            "choice"
        } else {
            "random"
        })
    }

    /// Refuses what the kind does not read: an option is never ignored.
    fn check_used(&self, kind: &str) -> Result<(), String> {
        let used: &[&str] = match kind {
            "sequence" => &["start", "end", "step"],
            "random" if self.is_text() => &["length", "min", "max"],
            "random" => &["min", "max"],
            "zipf" => &["min", "max", "exponent", "values"],
            "normal" => &["mean", "stddev", "min", "max"],
            "choice" => &["values"],
            "constant" => &["value", "values"],
            _ => &[],
        };
        for property in self.given.keys() {
            let common =
                matches!(*property, "kind" | "null-rate" | "disorder") || (*property == PREFIX && self.is_text() && kind != "choice");
            if !common && !used.contains(property) {
                return Err(format!("{}: a column of kind {kind} and type {} does not use it", self.key(property), self.data_type));
            }
        }
        Ok(())
    }

    fn number(&self, property: &str) -> Result<Option<f64>, String> {
        let text = self.given.get(property);
        text.map(|text| text.trim().parse::<f64>().ok().filter(|value| value.is_finite()).ok_or_else(|| self.wrong(property, "a number")))
            .transpose()
    }

    /// A value in the unit of the column.
    fn value(&self, property: &str, text: &str) -> Result<i64, String> {
        let text = text.trim();
        let parsed = match self.data_type {
            DataType::Decimal128(precision, scale) => {
                parse_decimal::<Decimal128Type>(text, *precision, *scale).ok().and_then(|value| i64::try_from(value).ok())
            }
            DataType::Date32 => parse_date(text).map(i64::from),
            DataType::Timestamp(..) => parse_timestamp_us(text),
            _ => text.parse::<i64>().ok().filter(|value| (self.least()..=self.greatest()).contains(value)),
        };
        parsed.ok_or_else(|| format!("{}: \"{text}\" is not a value of type {}", self.key(property), self.data_type))
    }

    fn get(&self, property: &str) -> Result<Option<i64>, String> {
        self.given.get(property).map(|text| self.value(property, text)).transpose()
    }

    fn least(&self) -> i64 {
        match self.data_type {
            DataType::Int8 => i8::MIN.into(),
            DataType::Int16 => i16::MIN.into(),
            DataType::Int32 => i32::MIN.into(),
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => 0,
            DataType::Decimal128(precision, _) => 10_i64.checked_pow(u32::from(*precision)).map_or(i64::MIN, |limit| 1 - limit),
            _ => i64::MIN,
        }
    }

    fn greatest(&self) -> i64 {
        match self.data_type {
            DataType::Int8 => i8::MAX.into(),
            DataType::Int16 => i16::MAX.into(),
            DataType::Int32 => i32::MAX.into(),
            DataType::UInt8 => u8::MAX.into(),
            DataType::UInt16 => u16::MAX.into(),
            DataType::UInt32 => u32::MAX.into(),
            DataType::Decimal128(precision, _) => 10_i64.checked_pow(u32::from(*precision)).map_or(i64::MAX, |limit| limit - 1),
            _ => i64::MAX,
        }
    }

    /// Least and greatest value when nothing is said.
    fn usual_range(&self) -> (i64, i64) {
        match self.data_type {
            DataType::Decimal128(_, scale) => {
                let hundred = 10_i64.checked_pow(2 + u32::from(scale.unsigned_abs())).unwrap_or(i64::MAX);
                (0, (hundred - 1).min(self.greatest()))
            }
            DataType::Date32 => (YEAR_START_DAYS, YEAR_START_DAYS + 365),
            DataType::Timestamp(..) => (YEAR_START_DAYS * DAY_US, (YEAR_START_DAYS + 366) * DAY_US - 1),
            _ => (0, 999.min(self.greatest())),
        }
    }

    fn range(&self) -> Result<(i64, i64), String> {
        let (usual_min, usual_max) = self.usual_range();
        let (min, max) = match (self.get("min")?, self.get("max")?) {
            (None, None) => (usual_min, usual_max),
            (Some(min), None) => (min, usual_max.max(min)),
            (None, Some(max)) => (usual_min.min(max), max),
            (Some(min), Some(max)) => (min, max),
        };
        if min > max { Err(format!("{}: min is greater than max", self.key("min"))) } else { Ok((min, max)) }
    }

    fn step(&self, flow: Flow) -> Result<i64, String> {
        let Some(text) = self.given.get("step") else {
            return Ok(match (self.data_type, flow.per_second) {
                (DataType::Timestamp(..), Some(rate)) => ((1e6 / rate) as i64).max(1),
                (DataType::Timestamp(..), None) => 1_000_000,
                _ => 1,
            });
        };
        match self.data_type {
            DataType::Timestamp(..) => parse_us(text).map_err(|error| format!("{}: {error}", self.key("step"))),
            DataType::Date32 => match text.trim().parse::<i64>() {
                Ok(days) => Ok(days),
                Err(_) => parse_us(text)
                    .ok()
                    .filter(|us| us % DAY_US == 0)
                    .map(|us| us / DAY_US)
                    .ok_or_else(|| self.wrong("step", "a number of days")),
            },
            _ => self.value("step", text),
        }
    }

    fn exponent(&self) -> Result<f64, String> {
        let exponent = self.number("exponent")?.unwrap_or(1.0);
        if exponent < 0.0 { Err(self.wrong("exponent", "a number from 0 on")) } else { Ok(exponent) }
    }

    fn zipf(&self, count: f64) -> Result<Zipf<f64>, String> {
        Zipf::new(count, self.exponent()?).map_err(|error| format!("{}: {error}", self.key("exponent")))
    }

    fn list(&self) -> Result<Vec<&str>, String> {
        match self.given.get("values") {
            Some(text) => Ok(text.split(',').map(str::trim).collect()),
            None => Err(format!("{} is missing: list the values with commas between them", self.key("values"))),
        }
    }

    fn constant(&self) -> Result<&str, String> {
        let value = self.given.get("value").or_else(|| self.given.get("values"));
        value.copied().ok_or_else(|| format!("{} is missing", self.key("value")))
    }

    fn normal(&self, usual_mean: f64, usual_deviation: f64, unit: f64) -> Result<Normal<f64>, String> {
        let mean = self.number("mean")?.map_or(usual_mean, |mean| mean * unit);
        let deviation = self.number("stddev")?.map_or(usual_deviation, |deviation| deviation * unit);
        if deviation < 0.0 {
            return Err(self.wrong("stddev", "a number from 0 on"));
        }
        Normal::new(mean, deviation).map_err(|error| format!("{}: {error}", self.key("stddev")))
    }

    fn integers(&self, kind: &str, flow: Flow, rows: &mut Option<u64>, ascending: &mut bool) -> Result<Integers, String> {
        Ok(match kind {
            "sequence" => {
                let start = match self.get("start")? {
                    Some(start) => start,
                    None if self.is_time() => YEAR_START_DAYS * DAY_US,
                    None if matches!(self.data_type, DataType::Date32) => YEAR_START_DAYS,
                    None => 0,
                };
                let step = self.step(flow)?;
                if let Some(end) = self.get("end")? {
                    let distance = if step >= 0 { i128::from(end) - i128::from(start) } else { i128::from(start) - i128::from(end) };
                    if distance < 0 {
                        return Err(format!("{}: the sequence never gets there from its start", self.key("end")));
                    }
                    *rows = (step != 0).then(|| (distance / i128::from(step).abs() + 1).min(i128::from(u64::MAX)) as u64);
                }
                *ascending = step >= 0;
                Integers::Sequence { start, step }
            }
            "random" => {
                let (min, max) = self.range()?;
                Integers::Uniform { min, span: max.abs_diff(min) }
            }
            "zipf" => {
                if self.has(&["values"]) {
                    return Err(format!(
                        "{}: only text can be a Zipf distribution over listed values; give min and max",
                        self.key("values")
                    ));
                }
                let (min, max) = self.range()?;
                Integers::Zipf { min, ranks: self.zipf(max.abs_diff(min) as f64 + 1.0)? }
            }
            "normal" if !self.is_time() && !matches!(self.data_type, DataType::Date32) => {
                let (min, max) = (self.get("min")?.unwrap_or_else(|| self.least()), self.get("max")?.unwrap_or_else(|| self.greatest()));
                if min > max {
                    return Err(format!("{}: min is greater than max", self.key("min")));
                }
                let unit = if let DataType::Decimal128(_, scale) = self.data_type { 10_f64.powi(i32::from(*scale)) } else { 1.0 };
                Integers::Normal { normal: self.normal(50.0 * unit, 10.0 * unit, unit)?, min, max }
            }
            "choice" => Integers::Choice(self.list()?.into_iter().map(|text| self.value("values", text)).collect::<Result<_, _>>()?),
            "constant" => Integers::Choice(vec![self.value("value", self.constant()?)?]),
            "now" if self.is_time() => {
                *ascending = true;
                Integers::Now
            }
            _ => return Err(self.unfit(kind)),
        })
    }

    fn unfit(&self, kind: &str) -> String {
        format!("column \"{}\" of type {} cannot be of kind {kind}", self.name, self.data_type)
    }

    fn floats(&self, kind: &str, rows: &mut Option<u64>) -> Result<Floats, String> {
        let number = |property: &str, text: &str| {
            text.trim().parse::<f64>().map_err(|_| format!("{}: \"{text}\" is not a number", self.key(property)))
        };
        Ok(match kind {
            "sequence" => {
                let (start, step) = (self.number("start")?.unwrap_or(0.0), self.number("step")?.unwrap_or(1.0));
                if let Some(end) = self.number("end")? {
                    let steps = (end - start) / step;
                    if steps.is_nan() || steps < 0.0 {
                        return Err(format!("{}: the sequence never gets there from its start", self.key("end")));
                    }
                    // A little more than the quotient, which rounding may leave below the whole number.
                    *rows = steps.is_finite().then(|| (steps * (1.0 + 1e-12)).floor() as u64 + 1);
                }
                Floats::Sequence { start, step }
            }
            "random" => {
                let (min, max) = match (self.number("min")?, self.number("max")?) {
                    (None, None) => (0.0, 100.0),
                    (Some(min), None) => (min, 100.0_f64.max(min)),
                    (None, Some(max)) => (0.0_f64.min(max), max),
                    (Some(min), Some(max)) => (min, max),
                };
                if min > max {
                    return Err(format!("{}: min is greater than max", self.key("min")));
                }
                Floats::Uniform { min, max }
            }
            "normal" => {
                let (min, max) = (self.number("min")?.unwrap_or(f64::MIN), self.number("max")?.unwrap_or(f64::MAX));
                if min > max {
                    return Err(format!("{}: min is greater than max", self.key("min")));
                }
                Floats::Normal { normal: self.normal(0.0, 1.0, 1.0)?, min, max }
            }
            "choice" => Floats::Choice(self.list()?.into_iter().map(|text| number("values", text)).collect::<Result<_, _>>()?),
            "constant" => Floats::Choice(vec![number("value", self.constant()?)?]),
            _ => return Err(self.unfit(kind)),
        })
    }

    fn texts(&self, kind: &str, flow: Flow, rows: &mut Option<u64>) -> Result<Texts, String> {
        let prefix = self.given.get(PREFIX).copied().unwrap_or_default().to_string();
        let owned = |values: Vec<&str>| values.into_iter().map(str::to_string).collect::<Vec<_>>();
        Ok(match kind {
            "choice" if !self.has(&["values"]) => Texts::Choice { values: owned(WORDS.to_vec()), ranks: None },
            "choice" => Texts::Choice { values: owned(self.list()?), ranks: None },
            "zipf" if self.has(&["values"]) => {
                if self.has(&["min", "max", PREFIX]) {
                    return Err(format!("{}: give either values or a range of numbers", self.key("values")));
                }
                let values = owned(self.list()?);
                let ranks = self.zipf(values.len() as f64)?;
                Texts::Choice { values, ranks: Some(ranks) }
            }
            "constant" => Texts::Choice { values: vec![format!("{prefix}{}", self.constant()?)], ranks: None },
            "random" if !self.has(&["min", "max", PREFIX]) => {
                let length =
                    self.given.get("length").map_or(Some(8), |text| text.trim().parse::<usize>().ok().filter(|length| *length <= 1 << 20));
                Texts::Letters { length: length.ok_or_else(|| self.wrong("length", "a length"))? }
            }
            "random" if self.has(&["length"]) => return Err(format!("{}: give either a length or a range of numbers", self.key("length"))),
            "random" | "sequence" | "zipf" | "normal" => Texts::Numbered { prefix, numbers: self.integers(kind, flow, rows, &mut false)? },
            _ => return Err(self.unfit(kind)),
        })
    }

    fn flags(&self, kind: &str) -> Result<f64, String> {
        match kind {
            "random" if !self.has(&["min", "max"]) => Ok(0.5),
            "constant" => match self.constant()?.to_ascii_lowercase().as_str() {
                "true" => Ok(1.0),
                "false" => Ok(0.0),
                _ => Err(self.wrong("value", "true or false")),
            },
            "choice" => {
                let values = self.list()?;
                let trues = values.iter().filter(|value| value.eq_ignore_ascii_case("true")).count();
                let falses = values.iter().filter(|value| value.eq_ignore_ascii_case("false")).count();
                if trues + falses != values.len() {
                    return Err(self.wrong("values", "a list of true and false"));
                }
                Ok(trues as f64 / values.len() as f64)
            }
            _ => Err(self.unfit(kind)),
        }
    }
}
