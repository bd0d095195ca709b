//! Writing messages, fields in the order of their numbers. A value that is the default of its field is not written where nobody could
//! tell it from an absent one.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use base64::Engine as _;
use prost_reflect::MessageDescriptor;

use super::super::MessageEncoder;
use super::super::registry::{Registry, SchemaKind};
use super::wire::{self, put_sized, put_tag, put_varint, zigzag};
use super::{FieldPart, Part, Program, ProtobufType, Shape, program};
use crate::format::column::sql_name;
use crate::format::parse::time::per_second;

/// A cell of any type of whole numbers.
fn whole(array: &ArrayRef, row: usize) -> i128 {
    macro_rules! at {
        ($type:ty) => {
            i128::from(array.as_primitive::<$type>().value(row))
        };
    }
    match array.data_type() {
        DataType::Int8 => at!(Int8Type),
        DataType::Int16 => at!(Int16Type),
        DataType::Int32 => at!(Int32Type),
        DataType::Int64 => at!(Int64Type),
        DataType::UInt8 => at!(UInt8Type),
        DataType::UInt16 => at!(UInt16Type),
        DataType::UInt32 => at!(UInt32Type),
        DataType::UInt64 => at!(UInt64Type),
        DataType::Decimal128(_, 0) => array.as_primitive::<Decimal128Type>().value(row),
        other => panic!("the program was made for whole numbers, not {}", sql_name(other)),
    }
}

fn double(array: &ArrayRef, row: usize) -> f64 {
    match array.data_type() {
        DataType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(row)),
        _ => array.as_primitive::<Float64Type>().value(row),
    }
}

fn bytes(array: &ArrayRef, row: usize) -> &[u8] {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).as_bytes(),
        _ => array.as_binary::<i32>().value(row),
    }
}

/// A whole number that the field can hold.
fn fitting(array: &ArrayRef, row: usize, bits: u32, signed: bool) -> Result<i128, String> {
    let value = whole(array, row);
    let (least, most) = if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
    if (least..=most).contains(&value) { Ok(value) } else { Err(format!("{value} is out of range for the field")) }
}

fn word(part: &Part, array: &ArrayRef, row: usize) -> Result<i32, String> {
    let Part::Enum(words, _) = part else { panic!("words are of enums") };
    if array.data_type() != &DataType::Utf8 {
        return Ok(fitting(array, row, 32, true)? as i32);
    }
    let text = array.as_string::<i32>().value(row);
    let named = words.iter().find(|(_, word)| *word == text).map(|(number, _)| *number);
    named.or_else(|| text.parse().ok()).ok_or_else(|| format!("\"{text}\" is no word of the enum"))
}

fn seconds_and_nanos(array: &ArrayRef, row: usize) -> (i64, i64) {
    let (value, unit) = match array.data_type() {
        DataType::Timestamp(unit @ TimeUnit::Second, _) => (array.as_primitive::<TimestampSecondType>().value(row), *unit),
        DataType::Timestamp(unit @ TimeUnit::Millisecond, _) => (array.as_primitive::<TimestampMillisecondType>().value(row), *unit),
        DataType::Timestamp(unit @ TimeUnit::Nanosecond, _) => (array.as_primitive::<TimestampNanosecondType>().value(row), *unit),
        _ => (array.as_primitive::<TimestampMicrosecondType>().value(row), TimeUnit::Microsecond),
    };
    let per = per_second(unit);
    (value.div_euclid(per), value.rem_euclid(per) * (1_000_000_000 / per))
}

/// Whether a cell is what an absent value is.
fn is_default(part: &Part, array: &ArrayRef, row: usize) -> Result<bool, String> {
    Ok(match part {
        Part::Varint { .. } | Part::Zigzag { .. } | Part::Fixed32 { .. } | Part::Fixed64 { .. } => whole(array, row) == 0,
        Part::Float | Part::Double => double(array, row).to_bits() == 0,
        Part::Bool => !array.as_boolean().value(row),
        Part::String | Part::Bytes => bytes(array, row).is_empty(),
        Part::Enum(_, first) => word(part, array, row)? == *first,
        Part::Timestamp | Part::Wrapper(_) | Part::Message(_) => false,
    })
}

/// Appends a cell without its tag.
fn cell(part: &Part, array: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
    match part {
        Part::Varint { bits, signed } => put_varint(fitting(array, row, *bits, *signed)? as u64, out),
        Part::Zigzag { bits } => put_varint(zigzag(fitting(array, row, *bits, true)? as i64), out),
        Part::Fixed32 { signed } => out.extend_from_slice(&(fitting(array, row, 32, *signed)? as u32).to_le_bytes()),
        Part::Fixed64 { signed } => out.extend_from_slice(&(fitting(array, row, 64, *signed)? as u64).to_le_bytes()),
        Part::Float => out.extend_from_slice(&(double(array, row) as f32).to_le_bytes()),
        Part::Double => out.extend_from_slice(&double(array, row).to_le_bytes()),
        Part::Bool => out.push(u8::from(array.as_boolean().value(row))),
        Part::String | Part::Bytes => {
            let bytes = bytes(array, row);
            put_varint(bytes.len() as u64, out);
            out.extend_from_slice(bytes);
        }
        Part::Enum(..) => put_varint(i64::from(word(part, array, row)?) as u64, out),
        Part::Timestamp => {
            let (seconds, nanos) = seconds_and_nanos(array, row);
            return put_sized(out, |out| {
                for (number, value) in [(1, seconds), (2, nanos)] {
                    if value != 0 {
                        put_tag(number, wire::VARINT, out);
                        put_varint(value as u64, out);
                    }
                }
                Ok(())
            });
        }
        Part::Wrapper(inner) => {
            return put_sized(out, |out| {
                if is_default(inner, array, row)? {
                    return Ok(());
                }
                put_tag(1, inner.wire(), out);
                cell(inner, array, row, out)
            });
        }
        Part::Message(program) => return put_sized(out, |out| message(program, array.as_struct().columns(), row, out)),
    }
    Ok(())
}

/// Appends a field.
fn field(field: &FieldPart, array: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
    if array.is_null(row) {
        return if field.required { Err("is null, and the field is required".into()) } else { Ok(()) };
    }
    let whole = |values: &ArrayRef| if values.null_count() > 0 { Err("holds a null, which has no place here".to_owned()) } else { Ok(()) };
    match &field.shape {
        Shape::One if !field.presence && is_default(&field.part, array, row)? => Ok(()),
        Shape::One => {
            put_tag(field.number, field.part.wire(), out);
            cell(&field.part, array, row, out)
        }
        Shape::List { packed } => {
            let values = array.as_list::<i32>().value(row);
            whole(&values)?;
            if *packed && field.part.packs() && !values.is_empty() {
                put_tag(field.number, wire::SIZED, out);
                return put_sized(out, |out| (0..values.len()).try_for_each(|at| cell(&field.part, &values, at, out)));
            }
            (0..values.len()).try_for_each(|at| {
                put_tag(field.number, field.part.wire(), out);
                cell(&field.part, &values, at, out)
            })
        }
        Shape::Map(key) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            whole(values)?;
            (0..entries.len()).try_for_each(|at| {
                put_tag(field.number, wire::SIZED, out);
                put_sized(out, |out| {
                    for (number, part, column) in [(1, key, keys), (2, &field.part, values)] {
                        put_tag(number, part.wire(), out);
                        cell(part, column, at, out)?;
                    }
                    Ok(())
                })
            })
        }
    }
}

fn message(program: &Program, columns: &[ArrayRef], row: usize, out: &mut Vec<u8>) -> Result<(), String> {
    for part in &program.fields {
        let set = |place: &usize| columns[*place].is_valid(row);
        if columns[part.place].is_valid(row) && part.others.iter().any(set) {
            return Err(format!("message {}: of a oneof only one field can be set", program.name));
        }
        field(part, &columns[part.place], row, out).map_err(|reason| format!("field {} of {}: {reason}", part.number, program.name))?;
    }
    Ok(())
}

/// Writes messages.
pub(crate) struct ProtobufEncoding {
    program: Program,
    of: MessageDescriptor,
    registry: Option<Registry>,
    kind: SchemaKind,
    /// What stands before each value, once the registry has given the schema its number.
    frame: Option<Vec<u8>>,
}

impl ProtobufEncoding {
    pub(crate) fn new(schema: &SchemaRef, of: &ProtobufType, kind: SchemaKind) -> Result<Self, String> {
        let program = program(&of.message, schema.fields(), 0)?;
        Ok(Self { program, of: of.message.clone(), registry: of.registry.clone(), kind, frame: None })
    }

    /// The number of the schema, and where in it the type stands: among the messages of the file, and on inside them.
    fn frame(&self, registry: &Registry) -> Result<Vec<u8>, String> {
        let file = self.of.parent_file();
        if file.dependencies().any(|other| !other.name().starts_with("google/protobuf/")) {
            return Err(format!("\"{}\" imports other files, which is not supported with a schema registry", file.name()));
        }
        let schema = base64::engine::general_purpose::STANDARD.encode(file.encode_to_vec());
        let mut frame = vec![0];
        frame.extend_from_slice(&registry.register_as(self.kind, &schema, "PROTOBUF")?.to_be_bytes());
        // The numbers of a path say at every other place which list they are about.
        let places: Vec<i32> = self.of.path().iter().skip(1).step_by(2).copied().collect();
        if places == [0] {
            frame.push(0);
        } else {
            put_varint(zigzag(places.len() as i64), &mut frame);
            places.iter().for_each(|place| put_varint(zigzag(i64::from(*place)), &mut frame));
        }
        Ok(frame)
    }
}

impl MessageEncoder for ProtobufEncoding {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>, ends: &mut Vec<usize>) -> Result<(), String> {
        if let (Some(registry), None) = (&self.registry, &self.frame) {
            self.frame = Some(self.frame(registry)?);
        }
        for row in 0..rows.num_rows() {
            out.extend_from_slice(self.frame.as_deref().unwrap_or_default());
            message(&self.program, rows.columns(), row, out)?;
            ends.push(out.len());
        }
        Ok(())
    }
}
