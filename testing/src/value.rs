//! Values as the oracle and the golden texts see them: a closed enum with SQL's order and equality, read out of Arrow arrays.

use std::cmp::Ordering;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};

/// One value.
#[derive(Clone, Debug)]
pub enum Value {
    /// SQL's NULL. First in the order; equal to itself here, as in GROUP BY.
    Null,
    /// A boolean.
    Bool(bool),
    /// Any integer.
    Int(i128),
    /// Any float. Ordered totally; all NaN are one, and so are both zeros.
    Float(f64),
    /// A decimal: unscaled value and scale.
    Decimal(i128, i8),
    /// Text.
    Text(String),
    /// A timestamp in microseconds, with or without a zone.
    Time(i64),
    /// A list.
    List(Vec<Value>),
    /// Anything else, as Arrow prints it.
    Other(String),
}

/// A row.
pub type Row = Vec<Value>;

impl Value {
    /// Text from a literal.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Int(_) | Self::Decimal(..) | Self::Float(_) => 2,
            Self::Text(_) => 3,
            Self::Time(_) => 4,
            Self::List(_) => 5,
            Self::Other(_) => 6,
        }
    }

    /// Equal, or floats that differ by less than `1e-12` of their size.
    pub fn close_to(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => {
                canonical(*a).to_bits() == canonical(*b).to_bits() || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
            }
            (Self::List(a), Self::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.close_to(b)),
            _ => self == other,
        }
    }

    /// Reads a cell.
    ///
    /// # Panics
    /// When Arrow cannot print a type this enum has no case for.
    pub fn read(array: &dyn Array, row: usize) -> Self {
        if array.is_null(row) {
            return Self::Null;
        }
        macro_rules! int {
            ($t:ty) => {
                Self::Int(i128::from(array.as_primitive::<$t>().value(row)))
            };
        }
        match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool(array.as_boolean().value(row)),
            DataType::Int8 => int!(Int8Type),
            DataType::Int16 => int!(Int16Type),
            DataType::Int32 => int!(Int32Type),
            DataType::Int64 => int!(Int64Type),
            DataType::UInt8 => int!(UInt8Type),
            DataType::UInt16 => int!(UInt16Type),
            DataType::UInt32 => int!(UInt32Type),
            DataType::UInt64 => int!(UInt64Type),
            DataType::Float32 => Self::Float(f64::from(array.as_primitive::<Float32Type>().value(row))),
            DataType::Float64 => Self::Float(array.as_primitive::<Float64Type>().value(row)),
            DataType::Decimal128(_, scale) => Self::Decimal(array.as_primitive::<Decimal128Type>().value(row), *scale),
            DataType::Utf8 => Self::text(array.as_string::<i32>().value(row)),
            DataType::LargeUtf8 => Self::text(array.as_string::<i64>().value(row)),
            DataType::Utf8View => Self::text(array.as_string_view().value(row)),
            DataType::Timestamp(TimeUnit::Second, _) => Self::Time(array.as_primitive::<TimestampSecondType>().value(row) * 1_000_000),
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                Self::Time(array.as_primitive::<TimestampMillisecondType>().value(row) * 1_000)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Time(array.as_primitive::<TimestampMicrosecondType>().value(row)),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                Self::Time(array.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1_000))
            }
            DataType::Date32 => Self::Other(
                array
                    .as_primitive::<Date32Type>()
                    .value_as_date(row)
                    .map_or_else(|| "date out of range".to_owned(), |date| date.to_string()),
            ),
            DataType::List(_) => {
                let list = array.as_list::<i32>().value(row);
                Self::List((0..list.len()).map(|i| Self::read(&list, i)).collect())
            }
            _ => Self::Other(arrow::util::display::array_value_to_string(array, row).expect("arrow prints all its types")),
        }
    }

    /// Reads all rows of a batch.
    pub fn rows(batch: &RecordBatch) -> Vec<Row> {
        (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| Self::read(column, row)).collect()).collect()
    }
}

fn canonical(value: f64) -> f64 {
    if value.is_nan() {
        f64::NAN
    } else if value == 0.0 {
        0.0
    } else {
        value
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => canonical(*a).total_cmp(&canonical(*b)),
            (Self::Decimal(a, s), Self::Decimal(b, t)) => {
                let common = (*s).max(*t);
                let raise = |value: i128, scale: i8| value * 10i128.pow(u32::from((common - scale).unsigned_abs()));
                raise(*a, *s).cmp(&raise(*b, *t)).then(s.cmp(t))
            }
            (Self::Text(a), Self::Text(b)) | (Self::Other(a), Self::Other(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Time(a), Self::Time(b)) => a.cmp(b),
            (Self::List(a), Self::List(b)) => a.cmp(b),
            _ => (self.rank(), self.kind()).cmp(&(other.rank(), other.kind())),
        }
    }
}

impl Value {
    fn kind(&self) -> u8 {
        match self {
            Self::Int(_) => 0,
            Self::Decimal(..) => 1,
            Self::Float(_) => 2,
            _ => 0,
        }
    }
}

/// Prints microseconds as a time: `HH:MM`, with seconds and their parts where there are any, and the day unless it is 1970-01-01.
pub fn format_time(us: i64) -> String {
    let day = us.div_euclid(86_400_000_000);
    let rest = us.rem_euclid(86_400_000_000);
    let (hour, minute, second, micro) = (rest / 3_600_000_000, rest / 60_000_000 % 60, rest / 1_000_000 % 60, rest % 1_000_000);
    let mut text = String::new();
    if day != 0 {
        let (y, m, d) = civil(day);
        text.push_str(&format!("{y:04}-{m:02}-{d:02}T"));
    }
    text.push_str(&format!("{hour:02}:{minute:02}"));
    if second != 0 || micro != 0 {
        text.push_str(&format!(":{second:02}"));
    }
    if micro != 0 {
        text.push('.');
        text.push_str(format!("{micro:06}").trim_end_matches('0'));
    }
    text
}

/// Days since 1970-01-01 to year, month, day, by counting: slow and plain.
fn civil(day: i64) -> (i64, i64, i64) {
    let leap = |y: i64| (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    let length = |y: i64| if leap(y) { 366 } else { 365 };
    let (mut year, mut rest) = (1970, day);
    while rest < 0 {
        year -= 1;
        rest += length(year);
    }
    while rest >= length(year) {
        rest -= length(year);
        year += 1;
    }
    let months = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while rest >= months[month] {
        rest -= months[month];
        month += 1;
    }
    (year, month as i64 + 1, rest + 1)
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{:?}", canonical(*value)),
            Self::Decimal(value, scale) => {
                if *scale <= 0 {
                    return write!(f, "{}", value * 10i128.pow(u32::from(scale.unsigned_abs())));
                }
                let unit = 10u128.pow(u32::from(scale.unsigned_abs()));
                let sign = if *value < 0 { "-" } else { "" };
                let (whole, part) = (value.unsigned_abs() / unit, value.unsigned_abs() % unit);
                write!(f, "{sign}{whole}.{part:0width$}", width = usize::from(scale.unsigned_abs()))
            }
            Self::Text(text) => {
                let plain = !text.is_empty() && text != "null" && !text.contains([' ', '\'', '\n', '\t']);
                if plain {
                    f.write_str(text)
                } else {
                    write!(f, "'{}'", text.replace('\'', "''").replace('\n', "\\n").replace('\t', "\\t"))
                }
            }
            Self::Time(us) => f.write_str(&format_time(*us)),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{item}")?;
                }
                f.write_str("]")
            }
            Self::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_decimals_print_as_people_write_them() {
        assert_eq!(format_time(60_000_000), "00:01");
        assert_eq!(format_time(61_500_000), "00:01:01.5");
        assert_eq!(format_time(-1), "1969-12-31T23:59:59.999999");
        assert_eq!(format_time(951_782_400_000_000), "2000-02-29T00:00");
        assert_eq!(Value::Decimal(-105, 2).to_string(), "-1.05");
        assert_eq!(Value::Decimal(5, 0).to_string(), "5");
    }

    #[test]
    fn kinds_do_not_mix() {
        assert_ne!(Value::Int(1), Value::Float(1.0));
        assert_ne!(Value::Null, Value::Int(0));
        assert_eq!(Value::Float(-0.0), Value::Float(0.0));
        assert!(Value::Float(0.1 + 0.2).close_to(&Value::Float(0.3)));
        assert!(!Value::Float(0.31).close_to(&Value::Float(0.3)));
    }
}
