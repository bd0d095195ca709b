//! Columns under construction. Unlike Arrow's builders they can be cut back to a length, which is how a record that turns
//! out bad in its last field leaves no trace, and how the last of two equal keys wins.

mod finish;
mod scalar;

use std::sync::Arc;

use arrow::array::NullBufferBuilder;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

pub(crate) use scalar::sql_name;

use super::fault::{Fallible, Fault};

/// Values of one width.
#[derive(Debug)]
pub(crate) struct Fixed<T> {
    values: Vec<T>,
    nulls: NullBufferBuilder,
}

impl<T: Copy + Default> Fixed<T> {
    fn new() -> Self {
        Self { values: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    /// Appends a value.
    #[inline(always)]
    pub(crate) fn push(&mut self, value: T) {
        self.values.push(value);
        self.nulls.append_non_null();
    }

    fn push_null(&mut self) {
        self.values.push(T::default());
        self.nulls.append_null();
    }

    fn truncate(&mut self, len: usize) {
        if self.values.len() > len {
            self.values.truncate(len);
            self.nulls.truncate(len);
        }
    }
}

/// Texts or bytes, end to end.
#[derive(Debug)]
pub(crate) struct Varying {
    values: Vec<u8>,
    /// One more than there are values.
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Varying {
    fn new() -> Self {
        Self { values: Vec::new(), offsets: vec![0], nulls: NullBufferBuilder::new(0) }
    }

    /// Appends a text.
    #[inline(always)]
    pub(crate) fn push(&mut self, text: &str) -> Fallible<()> {
        self.values.extend_from_slice(text.as_bytes());
        self.close()
    }

    /// Appends a value written by a function to the end of the bytes.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Fallible<()>) -> Fallible<()> {
        let result = write(&mut self.values);
        if result.is_err() {
            self.values.truncate(self.offsets[self.offsets.len() - 1] as usize);
        }
        result?;
        self.close()
    }

    #[inline(always)]
    fn close(&mut self) -> Fallible<()> {
        match i32::try_from(self.values.len()) {
            Ok(end) => {
                self.offsets.push(end);
                self.nulls.append_non_null();
                Ok(())
            }
            Err(_) => {
                self.values.truncate(self.offsets[self.offsets.len() - 1] as usize);
                Err(Fault::new("more than 2 GiB of text in one chunk"))
            }
        }
    }

    fn push_null(&mut self) {
        self.offsets.push(self.offsets[self.offsets.len() - 1]);
        self.nulls.append_null();
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    fn truncate(&mut self, len: usize) {
        if self.len() > len {
            self.offsets.truncate(len + 1);
            self.values.truncate(self.offsets[len] as usize);
            self.nulls.truncate(len);
        }
    }
}

/// Lists of any kind.
#[derive(Debug)]
pub(crate) struct Lists {
    pub(crate) child: Box<Column>,
    pub(crate) child_nullable: bool,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    /// All lists have this length.
    pub(crate) fixed: Option<usize>,
}

impl Lists {
    fn new(field: &Field, fixed: Option<usize>) -> Result<Self, String> {
        Ok(Self {
            child: Box::new(Column::new(field.data_type())?),
            child_nullable: field.is_nullable(),
            offsets: vec![0],
            nulls: NullBufferBuilder::new(0),
            fixed,
        })
    }

    /// Ends a list: its elements are those appended to the child since the last end.
    pub(crate) fn close(&mut self) -> Fallible<()> {
        let end = self.child.len();
        if let Some(fixed) = self.fixed
            && end - self.offsets[self.offsets.len() - 1] as usize != fixed
        {
            return Err(Fault::new(format!("expected a list of {fixed} elements")));
        }
        self.offsets.push(i32::try_from(end).map_err(|_| Fault::new("more than 2^31 list elements in one chunk"))?);
        self.nulls.append_non_null();
        Ok(())
    }

    fn push_null(&mut self) {
        for _ in 0..self.fixed.unwrap_or(0) {
            self.child.push_null();
        }
        self.offsets.push(self.child.len() as i32);
        self.nulls.append_null();
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        self.child.truncate(self.offsets[self.offsets.len() - 1] as usize);
        self.nulls.truncate(len);
    }
}

/// A field of a record or struct.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: Box<str>,
    pub(crate) nullable: bool,
    pub(crate) column: Column,
    /// The record it was last read in, counted from 1: tells what is missing and what is there twice.
    pub(crate) seen: u64,
}

/// Records: the columns of a struct, or of the rows themselves.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) slots: Vec<Slot>,
    nulls: NullBufferBuilder,
    /// Finished records.
    len: usize,
    /// Records begun since the decoder was made.
    pub(crate) begun: u64,
    /// What the reader expects.
    pub(crate) guess: super::ndjson::Guess,
}

impl Records {
    /// For fields.
    pub(crate) fn new(fields: &Fields) -> Result<Self, String> {
        let slots = fields
            .iter()
            .map(|field| {
                let column = Column::new(field.data_type()).map_err(|reason| format!("field \"{}\": {reason}", field.name()))?;
                Ok(Slot { name: field.name().as_str().into(), nullable: field.is_nullable(), column, seen: 0 })
            })
            .collect::<Result<Vec<_>, String>>()?;
        let guess = super::ndjson::Guess::new(&slots);
        Ok(Self { slots, nulls: NullBufferBuilder::new(0), len: 0, begun: 0, guess })
    }

    /// Finished records.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Ends a record whose fields have all been appended.
    #[inline]
    pub(crate) fn close(&mut self) {
        self.len += 1;
        self.nulls.append_non_null();
    }

    fn push_null(&mut self) {
        for slot in &mut self.slots {
            slot.column.push_null();
        }
        self.len += 1;
        self.nulls.append_null();
    }

    /// Forgets records from a place on, one that is unfinished among them.
    pub(crate) fn truncate(&mut self, len: usize) {
        for slot in &mut self.slots {
            slot.column.truncate(len);
        }
        self.len = len.min(self.len);
        self.nulls.truncate(len);
    }

    /// Makes room.
    pub(crate) fn reserve(&mut self, rows: usize) {
        for slot in &mut self.slots {
            slot.column.reserve(rows);
        }
    }
}

/// A column under construction, by its type.
#[derive(Debug)]
pub(crate) enum Column {
    Null(usize),
    Boolean(Fixed<bool>),
    Int8(Fixed<i8>),
    Int16(Fixed<i16>),
    Int32(Fixed<i32>),
    Int64(Fixed<i64>),
    UInt8(Fixed<u8>),
    UInt16(Fixed<u16>),
    UInt32(Fixed<u32>),
    UInt64(Fixed<u64>),
    Float32(Fixed<f32>),
    Float64(Fixed<f64>),
    Decimal(Fixed<i128>, u8, i8),
    Date32(Fixed<i32>),
    Date64(Fixed<i64>),
    Time32(Fixed<i32>, TimeUnit),
    Time64(Fixed<i64>, TimeUnit),
    Timestamp(Fixed<i64>, TimeUnit, Option<Zone>),
    Text(Varying),
    Binary(Varying),
    Struct(Box<Records>),
    List(Lists),
    /// Entries are records of a key and a value.
    Map(Lists),
}

/// A time zone, for texts without an offset.
pub(crate) type Zone = Arc<arrow::array::timezone::Tz>;

macro_rules! each_fixed {
    ($column:expr, $fixed:ident => $do:expr, $($other:pat => $then:expr),+ $(,)?) => {
        match $column {
            Column::Boolean($fixed) => $do,
            Column::Int8($fixed) => $do,
            Column::Int16($fixed) => $do,
            Column::Int32($fixed) | Column::Date32($fixed) | Column::Time32($fixed, _) => $do,
            Column::Int64($fixed) | Column::Date64($fixed) | Column::Time64($fixed, _) | Column::Timestamp($fixed, _, _) => $do,
            Column::UInt8($fixed) => $do,
            Column::UInt16($fixed) => $do,
            Column::UInt32($fixed) => $do,
            Column::UInt64($fixed) => $do,
            Column::Float32($fixed) => $do,
            Column::Float64($fixed) => $do,
            Column::Decimal($fixed, _, _) => $do,
            $($other => $then),+
        }
    };
}

impl Column {
    /// An empty column of a type.
    ///
    /// # Errors
    /// When text cannot carry the type.
    pub(crate) fn new(data_type: &DataType) -> Result<Self, String> {
        Ok(match data_type {
            DataType::Null => Self::Null(0),
            DataType::Boolean => Self::Boolean(Fixed::new()),
            DataType::Int8 => Self::Int8(Fixed::new()),
            DataType::Int16 => Self::Int16(Fixed::new()),
            DataType::Int32 => Self::Int32(Fixed::new()),
            DataType::Int64 => Self::Int64(Fixed::new()),
            DataType::UInt8 => Self::UInt8(Fixed::new()),
            DataType::UInt16 => Self::UInt16(Fixed::new()),
            DataType::UInt32 => Self::UInt32(Fixed::new()),
            DataType::UInt64 => Self::UInt64(Fixed::new()),
            DataType::Float32 => Self::Float32(Fixed::new()),
            DataType::Float64 => Self::Float64(Fixed::new()),
            DataType::Decimal128(precision, scale) => Self::Decimal(Fixed::new(), *precision, *scale),
            DataType::Date32 => Self::Date32(Fixed::new()),
            DataType::Date64 => Self::Date64(Fixed::new()),
            DataType::Time32(unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => Self::Time32(Fixed::new(), *unit),
            DataType::Time64(unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond)) => Self::Time64(Fixed::new(), *unit),
            DataType::Timestamp(unit, None) => Self::Timestamp(Fixed::new(), *unit, None),
            DataType::Timestamp(unit, Some(zone)) => {
                let zone = zone.parse().map_err(|_| format!("unknown time zone '{zone}'"))?;
                Self::Timestamp(Fixed::new(), *unit, Some(Arc::new(zone)))
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text(Varying::new()),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Binary(Varying::new()),
            DataType::Struct(fields) => Self::Struct(Box::new(Records::new(fields)?)),
            DataType::List(field) | DataType::LargeList(field) => Self::List(Lists::new(field, None)?),
            DataType::FixedSizeList(field, size) => {
                Self::List(Lists::new(field, Some(usize::try_from(*size).map_err(|_| "a list of negative size")?))?)
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => Self::Map(Lists::new(entries, None)?),
                _ => return Err("a map without keys and values".into()),
            },
            other => return Err(format!("type {} cannot be read from text", sql_name(other))),
        })
    }

    /// Values so far.
    pub(crate) fn len(&self) -> usize {
        each_fixed!(self, fixed => fixed.values.len(),
            Self::Null(len) => *len,
            Self::Text(varying) | Self::Binary(varying) => varying.len(),
            Self::Struct(records) => records.len(),
            Self::List(lists) | Self::Map(lists) => lists.len(),
        )
    }

    /// Appends a null, also in columns that should have none: the caller checks.
    pub(crate) fn push_null(&mut self) {
        each_fixed!(self, fixed => fixed.push_null(),
            Self::Null(len) => *len += 1,
            Self::Text(varying) | Self::Binary(varying) => varying.push_null(),
            Self::Struct(records) => records.push_null(),
            Self::List(lists) | Self::Map(lists) => lists.push_null(),
        )
    }

    /// Forgets values from a place on.
    pub(crate) fn truncate(&mut self, to: usize) {
        each_fixed!(self, fixed => fixed.truncate(to),
            Self::Null(len) => *len = to.min(*len),
            Self::Text(varying) | Self::Binary(varying) => varying.truncate(to),
            Self::Struct(records) => records.truncate(to),
            Self::List(lists) | Self::Map(lists) => lists.truncate(to),
        )
    }

    /// Makes room for values to come.
    pub(crate) fn reserve(&mut self, rows: usize) {
        each_fixed!(self, fixed => fixed.values.reserve(rows),
            Self::Null(_) => {},
            Self::Text(varying) | Self::Binary(varying) => varying.offsets.reserve(rows),
            Self::Struct(records) => records.reserve(rows),
            Self::List(lists) | Self::Map(lists) => lists.offsets.reserve(rows),
        )
    }
}
