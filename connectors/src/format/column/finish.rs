//! From columns under construction to Arrow arrays, without copying.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeListArray, GenericListArray, LargeBinaryArray, LargeStringArray,
    MapArray, NullArray, NullBufferBuilder, PrimitiveArray, StringArray, StringViewArray, StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, Field, Fields, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};

use super::{Column, Fixed, Lists, Records, Varying};

impl<T: Copy + Default> Fixed<T> {
    /// Takes the values out, leaving room for as many.
    fn take(&mut self) -> (Vec<T>, Option<NullBuffer>) {
        let next = Vec::with_capacity(self.values.len());
        (std::mem::replace(&mut self.values, next), take_nulls(&mut self.nulls))
    }
}

fn take_nulls(nulls: &mut NullBufferBuilder) -> Option<NullBuffer> {
    nulls.finish()
}

fn primitive<P: ArrowPrimitiveType>(fixed: &mut Fixed<P::Native>, data_type: &DataType) -> ArrayRef
where
    P::Native: Copy + Default,
{
    let (values, nulls) = fixed.take();
    Arc::new(PrimitiveArray::<P>::new(ScalarBuffer::from(values), nulls).with_data_type(data_type.clone()))
}

impl Varying {
    fn take(&mut self) -> (OffsetBuffer<i32>, Buffer, Option<NullBuffer>) {
        let room = self.values.len() + self.values.len() / 16;
        let values = std::mem::replace(&mut self.values, Vec::with_capacity(room));
        let next = Vec::with_capacity(self.offsets.len());
        let offsets = std::mem::replace(&mut self.offsets, next);
        self.offsets.push(0);
        (OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(values), take_nulls(&mut self.nulls))
    }
}

fn widen(offsets: &OffsetBuffer<i32>) -> OffsetBuffer<i64> {
    OffsetBuffer::new(offsets.iter().map(|offset| i64::from(*offset)).collect::<ScalarBuffer<i64>>())
}

impl Lists {
    fn take(&mut self, field: &Field) -> (OffsetBuffer<i32>, ArrayRef, Option<NullBuffer>) {
        let child = self.child.finish(field.data_type());
        let next = Vec::with_capacity(self.offsets.len());
        let offsets = std::mem::replace(&mut self.offsets, next);
        self.offsets.push(0);
        (OffsetBuffer::new(ScalarBuffer::from(offsets)), child, take_nulls(&mut self.nulls))
    }
}

impl Records {
    /// The columns, and nothing is left.
    pub(crate) fn finish(&mut self, fields: &Fields) -> Vec<ArrayRef> {
        self.len = 0;
        self.slots.iter_mut().zip(fields).map(|(slot, field)| slot.column.finish(field.data_type())).collect()
    }
}

impl Column {
    /// The array, of the type the column was made for; and nothing is left.
    pub(crate) fn finish(&mut self, data_type: &DataType) -> ArrayRef {
        match self {
            Self::Null(len) => Arc::new(NullArray::new(std::mem::take(len))),
            Self::Boolean(fixed) => {
                let (values, nulls) = fixed.take();
                Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls))
            }
            Self::Int8(fixed) => primitive::<Int8Type>(fixed, data_type),
            Self::Int16(fixed) => primitive::<Int16Type>(fixed, data_type),
            Self::Int32(fixed) => primitive::<Int32Type>(fixed, data_type),
            Self::Int64(fixed) => primitive::<Int64Type>(fixed, data_type),
            Self::UInt8(fixed) => primitive::<UInt8Type>(fixed, data_type),
            Self::UInt16(fixed) => primitive::<UInt16Type>(fixed, data_type),
            Self::UInt32(fixed) => primitive::<UInt32Type>(fixed, data_type),
            Self::UInt64(fixed) => primitive::<UInt64Type>(fixed, data_type),
            Self::Float32(fixed) => primitive::<Float32Type>(fixed, data_type),
            Self::Float64(fixed) => primitive::<Float64Type>(fixed, data_type),
            Self::Decimal(fixed, _, _) => primitive::<Decimal128Type>(fixed, data_type),
            Self::Date32(fixed) => primitive::<Date32Type>(fixed, data_type),
            Self::Date64(fixed) => primitive::<Date64Type>(fixed, data_type),
            Self::Time32(fixed, TimeUnit::Second) => primitive::<Time32SecondType>(fixed, data_type),
            Self::Time32(fixed, _) => primitive::<Time32MillisecondType>(fixed, data_type),
            Self::Time64(fixed, TimeUnit::Microsecond) => primitive::<Time64MicrosecondType>(fixed, data_type),
            Self::Time64(fixed, _) => primitive::<Time64NanosecondType>(fixed, data_type),
            Self::Timestamp(fixed, unit, _) => match unit {
                TimeUnit::Second => primitive::<TimestampSecondType>(fixed, data_type),
                TimeUnit::Millisecond => primitive::<TimestampMillisecondType>(fixed, data_type),
                TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(fixed, data_type),
                TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(fixed, data_type),
            },
            Self::Text(varying) => {
                let (offsets, values, nulls) = varying.take();
                match data_type {
                    DataType::LargeUtf8 => Arc::new(LargeStringArray::new(widen(&offsets), values, nulls)),
                    DataType::Utf8View => Arc::new(StringViewArray::from(&StringArray::new(offsets, values, nulls))),
                    _ => Arc::new(StringArray::new(offsets, values, nulls)),
                }
            }
            Self::Binary(varying) => {
                let (offsets, values, nulls) = varying.take();
                match data_type {
                    DataType::LargeBinary => Arc::new(LargeBinaryArray::new(widen(&offsets), values, nulls)),
                    DataType::BinaryView => Arc::new(BinaryViewArray::from(&BinaryArray::new(offsets, values, nulls))),
                    _ => Arc::new(BinaryArray::new(offsets, values, nulls)),
                }
            }
            Self::Struct(records) => {
                let DataType::Struct(fields) = data_type else { panic!("a struct column was made for {data_type}") };
                let (len, nulls) = (records.len, take_nulls(&mut records.nulls));
                let columns = records.finish(fields);
                if fields.is_empty() {
                    return Arc::new(StructArray::new_empty_fields(len, nulls));
                }
                // A null struct has nulls inside, also where its fields have none otherwise: Arrow masks them.
                Arc::new(StructArray::new(fields.clone(), columns, nulls))
            }
            Self::List(lists) => match data_type {
                DataType::LargeList(field) => {
                    let (offsets, child, nulls) = lists.take(field);
                    Arc::new(GenericListArray::<i64>::new(field.clone(), widen(&offsets), child, nulls))
                }
                DataType::FixedSizeList(field, size) => {
                    let len = lists.len();
                    let (_, child, nulls) = lists.take(field);
                    match FixedSizeListArray::try_new_with_length(field.clone(), *size, child, nulls, len) {
                        Ok(array) => Arc::new(array),
                        Err(error) => panic!("lists of {size} were counted: {error}"),
                    }
                }
                DataType::List(field) => {
                    let (offsets, child, nulls) = lists.take(field);
                    Arc::new(GenericListArray::<i32>::new(field.clone(), offsets, child, nulls))
                }
                other => panic!("a list column was made for {other}"),
            },
            Self::Map(lists) => {
                let DataType::Map(field, ordered) = data_type else { panic!("a map column was made for {data_type}") };
                let (offsets, child, nulls) = lists.take(field);
                let entries = child.as_any().downcast_ref::<StructArray>().cloned();
                let entries = entries.unwrap_or_else(|| panic!("entries of a map are structs"));
                Arc::new(MapArray::new(field.clone(), offsets, entries, nulls, *ordered))
            }
        }
    }
}
