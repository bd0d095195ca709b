//! Values as pure functions of seed, field and row number.
//!
//! Row `i` of a field draws from a generator whose state is a hash of the field's stream and `i`: any worker can make any range
//! of rows, in any order, and other fields or chunk sizes change nothing.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::CastOptions;
use arrow::datatypes::DataType;
use rand::RngCore;
use rand_distr::{Distribution, Normal, Zipf};

use crate::source::ConnectorError;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finaliser of SplitMix64: a bijection that spreads every bit.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Draws of one row of one field: SplitMix64 from a hashed start.
pub(super) struct Draws(u64);

impl Draws {
    fn new(stream: u64, row: u64) -> Self {
        Self(mix(stream.wrapping_add(row.wrapping_mul(GOLDEN))))
    }

    /// Uniform in `0..=span`.
    fn up_to(&mut self, span: u64) -> u64 {
        ((u128::from(self.next_u64()) * (u128::from(span) + 1)) >> 64) as u64
    }

    /// Uniform in `0..1`.
    fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl RngCore for Draws {
    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next_u64().to_le_bytes()[..part.len()]);
        }
    }
}

/// The stream of a field: by name, so that its values do not depend on the other columns.
pub(super) fn stream(seed: u64, field: &str) -> u64 {
    field.bytes().fold(mix(seed ^ GOLDEN), |hash, byte| mix(hash ^ u64::from(byte)))
}

/// Whole numbers, in the unit of the column: scaled decimals, microseconds, days.
#[derive(Clone, Debug)]
pub(super) enum Integers {
    Sequence {
        start: i64,
        step: i64,
    },
    Uniform {
        min: i64,
        span: u64,
    },
    /// `min` is the most frequent.
    Zipf {
        min: i64,
        ranks: Zipf<f64>,
    },
    Normal {
        normal: Normal<f64>,
        min: i64,
        max: i64,
    },
    Choice(Vec<i64>),
    /// The time of the row, in microseconds, less a random lag.
    Now,
}

/// Floating-point numbers.
#[derive(Clone, Debug)]
pub(super) enum Floats {
    Sequence { start: f64, step: f64 },
    Uniform { min: f64, max: f64 },
    Normal { normal: Normal<f64>, min: f64, max: f64 },
    Choice(Vec<f64>),
}

/// Text.
#[derive(Clone, Debug)]
pub(super) enum Texts {
    /// Lower-case letters.
    Letters { length: usize },
    /// `ranks`: the first are more frequent.
    Choice { values: Vec<String>, ranks: Option<Zipf<f64>> },
    /// A number behind a prefix.
    Numbered { prefix: String, numbers: Integers },
}

/// How the values of a column come about.
#[derive(Clone, Debug)]
pub(super) enum Values {
    Integers(Integers),
    Floats(Floats),
    Texts(Texts),
    /// True with a probability.
    Flags(f64),
}

/// One column to be made.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) data_type: DataType,
    pub(super) values: Values,
    /// Greatest random amount that is taken off, in the unit of the column.
    pub(super) lag: u64,
    pub(super) null_rate: f64,
    pub(super) stream: u64,
}

/// Rows to be made, and their times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) first: u64,
    pub(super) count: u64,
    /// Time of row `first`, in microseconds.
    pub(super) now_us: i64,
    /// Microseconds from row to row.
    pub(super) gap_us: f64,
}

impl Integers {
    fn fill(&self, stream: u64, rows: Rows) -> Vec<i64> {
        let numbers = rows.first..rows.first + rows.count;
        let draws = |row: u64| Draws::new(stream, row);
        match self {
            Self::Sequence { start, step } => numbers.map(|row| start.wrapping_add((row as i64).wrapping_mul(*step))).collect(),
            Self::Uniform { min, span } => numbers.map(|row| min.wrapping_add(draws(row).up_to(*span) as i64)).collect(),
            Self::Zipf { min, ranks } => numbers.map(|row| min.wrapping_add(ranks.sample(&mut draws(row)) as i64 - 1)).collect(),
            Self::Normal { normal, min, max } => {
                numbers.map(|row| (normal.sample(&mut draws(row)).round() as i64).clamp(*min, *max)).collect()
            }
            Self::Choice(values) => numbers.map(|row| values[draws(row).up_to(values.len() as u64 - 1) as usize]).collect(),
            Self::Now => (0..rows.count).map(|row| rows.now_us + (row as f64 * rows.gap_us) as i64).collect(),
        }
    }
}

impl Floats {
    fn fill(&self, stream: u64, rows: Rows) -> Vec<f64> {
        let numbers = rows.first..rows.first + rows.count;
        let draws = |row: u64| Draws::new(stream, row);
        match self {
            Self::Sequence { start, step } => numbers.map(|row| start + row as f64 * step).collect(),
            Self::Uniform { min, max } => numbers.map(|row| min + (max - min) * draws(row).unit()).collect(),
            Self::Normal { normal, min, max } => numbers.map(|row| normal.sample(&mut draws(row)).clamp(*min, *max)).collect(),
            Self::Choice(values) => numbers.map(|row| values[draws(row).up_to(values.len() as u64 - 1) as usize]).collect(),
        }
    }
}

impl Texts {
    fn fill(&self, stream: u64, rows: Rows) -> (Vec<u8>, Vec<i32>) {
        let mut bytes: Vec<u8> = Vec::new();
        let mut ends = Vec::with_capacity(rows.count as usize + 1);
        ends.push(0);
        match self {
            Self::Letters { length } => {
                bytes.reserve(rows.count as usize * length);
                for row in rows.first..rows.first + rows.count {
                    let mut draws = Draws::new(stream, row);
                    bytes.extend((0..*length).map(|_| b'a' + draws.up_to(25) as u8));
                    ends.push(bytes.len() as i32);
                }
            }
            Self::Choice { values, ranks } => {
                for row in rows.first..rows.first + rows.count {
                    let mut draws = Draws::new(stream, row);
                    let index = match ranks {
                        Some(ranks) => ranks.sample(&mut draws) as usize - 1,
                        None => draws.up_to(values.len() as u64 - 1) as usize,
                    };
                    bytes.extend_from_slice(values[index].as_bytes());
                    ends.push(bytes.len() as i32);
                }
            }
            Self::Numbered { prefix, numbers } => {
                let mut digits = itoa::Buffer::new();
                for number in numbers.fill(stream, rows) {
                    bytes.extend_from_slice(prefix.as_bytes());
                    bytes.extend_from_slice(digits.format(number).as_bytes());
                    ends.push(bytes.len() as i32);
                }
            }
        }
        (bytes, ends)
    }
}

impl Column {
    /// The column's values in some rows.
    pub(super) fn make(&self, rows: Rows) -> Result<ArrayRef, ConnectorError> {
        let wrong = |error: arrow::error::ArrowError| ConnectorError::new(format!("datagen column {}", self.name), error);
        let nulls = (self.null_rate > 0.0).then(|| {
            let stream = mix(self.stream ^ 1);
            let valid = |row: usize| Draws::new(stream, rows.first + row as u64).unit() >= self.null_rate;
            NullBuffer::new(BooleanBuffer::collect_bool(rows.count as usize, valid))
        });
        let array: ArrayRef = match &self.values {
            Values::Integers(integers) => {
                let mut values = integers.fill(self.stream, rows);
                if self.lag > 0 {
                    let stream = mix(self.stream ^ 2);
                    for (row, value) in (rows.first..).zip(&mut values) {
                        *value = value.saturating_sub_unsigned(Draws::new(stream, row).up_to(self.lag));
                    }
                }
                self.integers(values, nulls).map_err(wrong)?
            }
            Values::Floats(floats) => Arc::new(Float64Array::new(floats.fill(self.stream, rows).into(), nulls)),
            Values::Texts(texts) => {
                let (bytes, ends) = texts.fill(self.stream, rows);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                Arc::new(StringArray::try_new(offsets, Buffer::from_vec(bytes), nulls).map_err(wrong)?)
            }
            Values::Flags(chance) => {
                let flag = |row: usize| Draws::new(self.stream, rows.first + row as u64).unit() < *chance;
                Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(rows.count as usize, flag), nulls))
            }
        };
        if array.data_type() == &self.data_type {
            return Ok(array);
        }
        // Never a silent null: a sequence that outgrows its type ends the run.
        let options = CastOptions { safe: false, ..CastOptions::default() };
        arrow::compute::cast_with_options(&array, &self.data_type, &options).map_err(wrong)
    }

    fn integers(&self, values: Vec<i64>, nulls: Option<NullBuffer>) -> Result<ArrayRef, arrow::error::ArrowError> {
        Ok(match &self.data_type {
            DataType::Decimal128(precision, scale) => {
                let values: Vec<i128> = values.into_iter().map(i128::from).collect();
                Arc::new(Decimal128Array::new(values.into(), nulls).with_precision_and_scale(*precision, *scale)?)
            }
            DataType::Timestamp(_, zone) => Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone_opt(zone.clone())),
            DataType::Date32 => {
                let days: Vec<i32> = values.into_iter().map(|days| days.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32).collect();
                Arc::new(Date32Array::new(days.into(), nulls))
            }
            _ => Arc::new(Int64Array::new(values.into(), nulls)),
        })
    }
}
