//! Values of any type, for oracles that know nothing of arrays.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use proptest::prelude::*;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum V {
    Null,
    Int(i128),
    Float(f64),
    Text(String),
    Bool(bool),
    Interval(i32, i32, i64),
    List(Vec<V>),
}
use V::*;

impl V {
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Null)
    }

    pub(super) fn int(&self) -> i128 {
        if let Int(x) = self { *x } else { panic!("{self:?} is no integer") }
    }

    pub(super) fn float(&self) -> f64 {
        if let Float(x) = self { *x } else { panic!("{self:?} is no float") }
    }

    /// Equal as a result: floats by bits, with one NaN.
    pub(super) fn same(&self, other: &V) -> bool {
        self.order(other) == Ordering::Equal
    }

    /// Ascending, nulls first.
    pub(super) fn order(&self, other: &V) -> Ordering {
        match (self, other) {
            (Null, Null) => Ordering::Equal,
            (Null, _) => Ordering::Less,
            (_, Null) => Ordering::Greater,
            (Int(a), Int(b)) => a.cmp(b),
            (Float(a), Float(b)) => {
                let nan = |x: f64| if x.is_nan() { f64::NAN } else { x };
                nan(*a).total_cmp(&nan(*b))
            }
            (Text(a), Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Bool(a), Bool(b)) => a.cmp(b),
            (Interval(a, b, c), Interval(d, e, f)) => (a, b, c).cmp(&(d, e, f)),
            (List(a), List(b)) => {
                for (x, y) in a.iter().zip(b) {
                    if x.order(y) != Ordering::Equal {
                        return x.order(y);
                    }
                }
                a.len().cmp(&b.len())
            }
            _ => panic!("{self:?} and {other:?} are of different types"),
        }
    }
}

macro_rules! ints {
    ($type:ty, $data_type:expr, $values:expr) => {{
        let array: PrimitiveArray<$type> = $values
            .iter()
            .map(|v| if v.is_null() { None } else { Some(<$type as ArrowPrimitiveType>::Native::try_from(v.int()).unwrap()) })
            .collect();
        Arc::new(array.with_data_type($data_type.clone())) as ArrayRef
    }};
}

/// An array of a type.
pub(super) fn array(data_type: &DataType, values: &[V]) -> ArrayRef {
    let texts = || values.iter().map(|v| if let Text(text) = v { Some(text.as_str()) } else { None });
    let floats = || values.iter().map(|v| if v.is_null() { None } else { Some(v.float()) });
    match data_type {
        DataType::Int8 => ints!(Int8Type, data_type, values),
        DataType::Int16 => ints!(Int16Type, data_type, values),
        DataType::Int32 => ints!(Int32Type, data_type, values),
        DataType::Int64 => ints!(Int64Type, data_type, values),
        DataType::UInt8 => ints!(UInt8Type, data_type, values),
        DataType::UInt16 => ints!(UInt16Type, data_type, values),
        DataType::UInt32 => ints!(UInt32Type, data_type, values),
        DataType::UInt64 => ints!(UInt64Type, data_type, values),
        DataType::Date32 => ints!(Date32Type, data_type, values),
        DataType::Timestamp(TimeUnit::Microsecond, _) => ints!(TimestampMicrosecondType, data_type, values),
        DataType::Duration(TimeUnit::Microsecond) => ints!(DurationMicrosecondType, data_type, values),
        DataType::Decimal32(..) => ints!(Decimal32Type, data_type, values),
        DataType::Decimal64(..) => ints!(Decimal64Type, data_type, values),
        DataType::Decimal128(..) => ints!(Decimal128Type, data_type, values),
        DataType::Decimal256(..) => {
            let array: Decimal256Array = values.iter().map(|v| if v.is_null() { None } else { Some(i256::from_i128(v.int())) }).collect();
            Arc::new(array.with_data_type(data_type.clone()))
        }
        DataType::Float64 => Arc::new(floats().collect::<Float64Array>()),
        DataType::Float32 => Arc::new(floats().map(|x| x.map(|x| x as f32)).collect::<Float32Array>()),
        DataType::Utf8 => Arc::new(texts().collect::<StringArray>()),
        DataType::LargeUtf8 => Arc::new(texts().collect::<LargeStringArray>()),
        DataType::Utf8View => Arc::new(texts().collect::<StringViewArray>()),
        DataType::Binary => Arc::new(texts().map(|text| text.map(str::as_bytes)).collect::<BinaryArray>()),
        DataType::Boolean => Arc::new(values.iter().map(|v| if let Bool(b) = v { Some(*b) } else { None }).collect::<BooleanArray>()),
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let array: IntervalMonthDayNanoArray =
                values.iter().map(|v| if let Interval(m, d, n) = v { Some(IntervalMonthDayNano::new(*m, *d, *n)) } else { None }).collect();
            Arc::new(array)
        }
        other => panic!("no test values of {other}"),
    }
}

macro_rules! from_ints {
    ($type:ty, $array:expr) => {
        $array.as_primitive::<$type>().iter().map(|v| v.map_or(Null, |v| Int(v.into()))).collect()
    };
}

/// The values of an array.
pub(super) fn values(array: &ArrayRef) -> Vec<V> {
    let text = |v: Option<&str>| v.map_or(Null, |v| Text(v.to_string()));
    match array.data_type() {
        DataType::Int8 => from_ints!(Int8Type, array),
        DataType::Int16 => from_ints!(Int16Type, array),
        DataType::Int32 => from_ints!(Int32Type, array),
        DataType::Int64 => from_ints!(Int64Type, array),
        DataType::UInt8 => from_ints!(UInt8Type, array),
        DataType::UInt16 => from_ints!(UInt16Type, array),
        DataType::UInt32 => from_ints!(UInt32Type, array),
        DataType::UInt64 => from_ints!(UInt64Type, array),
        DataType::Date32 => from_ints!(Date32Type, array),
        DataType::Timestamp(TimeUnit::Microsecond, _) => from_ints!(TimestampMicrosecondType, array),
        DataType::Duration(TimeUnit::Microsecond) => from_ints!(DurationMicrosecondType, array),
        DataType::Decimal32(..) => from_ints!(Decimal32Type, array),
        DataType::Decimal64(..) => from_ints!(Decimal64Type, array),
        DataType::Decimal128(..) => from_ints!(Decimal128Type, array),
        DataType::Decimal256(..) => {
            array.as_primitive::<Decimal256Type>().iter().map(|v| v.map_or(Null, |v| Int(v.to_i128().unwrap()))).collect()
        }
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().map(|v| v.map_or(Null, Float)).collect(),
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().map(|v| v.map_or(Null, |v| Float(v.into()))).collect(),
        DataType::Utf8 => array.as_string::<i32>().iter().map(text).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(text).collect(),
        DataType::Utf8View => array.as_string_view().iter().map(text).collect(),
        DataType::Binary => {
            let bytes = array.as_binary::<i32>().iter();
            bytes.map(|v| v.map_or(Null, |v| Text(String::from_utf8(v.to_vec()).unwrap()))).collect()
        }
        DataType::Boolean => array.as_boolean().iter().map(|v| v.map_or(Null, Bool)).collect(),
        DataType::Interval(IntervalUnit::MonthDayNano) => array
            .as_primitive::<IntervalMonthDayNanoType>()
            .iter()
            .map(|v| v.map_or(Null, |v| Interval(v.months, v.days, v.nanoseconds)))
            .collect(),
        DataType::List(_) => array.as_list::<i32>().iter().map(|v| v.map_or(Null, |v| List(values(&v)))).collect(),
        other => panic!("no test values of {other}"),
    }
}

fn ints(least: i128, greatest: i128) -> BoxedStrategy<V> {
    prop_oneof![
        4 => (-5i128..6).prop_map(move |x| x.clamp(least, greatest)),
        2 => any::<i128>().prop_map(move |x| (if least < 0 { x % greatest } else { x.rem_euclid(greatest) }).clamp(least, greatest)),
        1 => Just(least),
        1 => Just(greatest),
    ]
    .prop_map(Int)
    .boxed()
}

/// Values of a type, some of them null, many of them equal.
pub(super) fn any_value(data_type: &DataType) -> BoxedStrategy<V> {
    let power = |digits: u8| 10i128.pow(digits.into()) - 1;
    let some = match data_type {
        DataType::Int8 => ints(-128, 127),
        DataType::Int16 => ints(i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 | DataType::Date32 => ints(i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 | DataType::Timestamp(..) | DataType::Duration(_) => ints(i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => ints(0, 255),
        DataType::UInt16 => ints(0, u16::MAX.into()),
        DataType::UInt32 => ints(0, u32::MAX.into()),
        DataType::UInt64 => ints(0, u64::MAX.into()),
        DataType::Decimal32(digits, _) | DataType::Decimal64(digits, _) | DataType::Decimal128(digits, _) => {
            ints(-power(*digits), power(*digits))
        }
        DataType::Decimal256(digits, _) => ints(-power(*digits.min(&36)), power(*digits.min(&36))),
        DataType::Float64 => any_float().prop_map(Float).boxed(),
        DataType::Float32 => any_float().prop_map(|x| Float(f64::from(x as f32))).boxed(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Binary => prop_oneof![
            3 => "[ab]{0,2}",
            1 => "[a-c]{5,20}",
            1 => "abcdefgh[a-b]{0,3}",
            1 => "\\PC{0,12}",
        ]
        .prop_map(Text)
        .boxed(),
        DataType::Boolean => any::<bool>().prop_map(Bool).boxed(),
        DataType::Interval(_) => prop_oneof![
            4 => (-2i32..3, -2i32..3, -2i64..3).prop_map(|(m, d, n)| Interval(m, d, n)),
            1 => (any::<i32>(), any::<i32>(), any::<i64>()).prop_map(|(m, d, n)| Interval(m, d, n)),
        ]
        .boxed(),
        other => panic!("no test values of {other}"),
    };
    prop_oneof![6 => some, 1 => Just(Null)].boxed()
}

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (-20i32..20).prop_map(|x| f64::from(x) / 10.0),
        3 => any::<f64>().prop_filter("finite", |x| x.is_finite()),
        3 => (any::<i32>(), -80i32..40).prop_map(|(m, e)| f64::from(m) * 2f64.powi(e)),
        1 => prop::sample::select(vec![0.0, -0.0, f64::MAX, f64::MIN, 5e-324, 1e300, -1e300, 2f64.powi(61), -2f64.powi(61)]),
    ]
}

/// Floats that are not numbers.
pub(super) fn special_float() -> impl Strategy<Value = V> {
    prop::sample::select(vec![f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY]).prop_map(Float)
}
