//! # Avro
//!
//! A value is one datum in Avro's binary form: bare, or behind the five bytes by which a schema registry tells its schema. The schema
//! it was written with and the columns that are read become a program once; then bytes go straight into columns, and fields that
//! nobody reads are stepped over.

use std::collections::{BTreeMap, HashMap};

use apache_avro::Schema;
use apache_avro::schema::{Name, ResolvedSchema};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};

use super::registry::Registry;
use super::{DecodedValues, MessageDecoder, Values, avro_write};
use crate::format::column::{Column, Records, Slot, sql_name};
use crate::format::fault::{Fallible, Fault};

/// Types may nest this deep.
const DEPTH_MAX: usize = 64;

/// How one part of a datum is read.
#[derive(Debug)]
enum Part {
    Null,
    Boolean,
    /// Whole numbers of any size are written alike.
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Vec<String>),
    /// A whole number that counts so many to a second, or days.
    Timestamp(i64),
    Date,
    Time(i64),
    /// Digits behind the point, and how many bytes, if always as many.
    Decimal(u32, Option<usize>),
    Array(Box<Part>),
    Map(Box<Part>),
    Union(Vec<Part>),
    Record(Record),
}

/// A record: for each field the column it goes to, if any; and the columns that no field fills.
#[derive(Debug)]
struct Record {
    fields: Vec<(Option<usize>, Part)>,
    missing: Vec<usize>,
}

type Names<'a> = HashMap<Name, &'a Schema>;

fn fields_of(data_type: &DataType) -> Option<&arrow::datatypes::Fields> {
    match data_type {
        DataType::Struct(fields) => Some(fields),
        _ => None,
    }
}

fn part(schema: &Schema, names: &Names<'_>, target: Option<&DataType>, depth: usize) -> Result<Part, String> {
    if depth > DEPTH_MAX {
        return Err("the schema is nested too deep, or holds itself".into());
    }
    let below = |schema: &Schema, target: Option<&DataType>| part(schema, names, target, depth + 1);
    Ok(match schema {
        Schema::Null => Part::Null,
        Schema::Boolean => Part::Boolean,
        Schema::Int | Schema::Long => Part::Long,
        Schema::Float => Part::Float,
        Schema::Double => Part::Double,
        Schema::Bytes => Part::Bytes,
        Schema::String | Schema::Uuid => Part::String,
        Schema::Fixed(fixed) => Part::Fixed(fixed.size),
        Schema::Duration => Part::Fixed(12),
        Schema::Enum(words) => Part::Enum(words.symbols.clone()),
        Schema::Date => Part::Date,
        Schema::TimeMillis => Part::Time(1_000),
        Schema::TimeMicros => Part::Time(1_000_000),
        Schema::TimestampMillis | Schema::LocalTimestampMillis => Part::Timestamp(1_000),
        Schema::TimestampMicros | Schema::LocalTimestampMicros => Part::Timestamp(1_000_000),
        Schema::TimestampNanos | Schema::LocalTimestampNanos => Part::Timestamp(1_000_000_000),
        Schema::Decimal(decimal) => {
            let size = match decimal.inner.as_ref() {
                Schema::Fixed(fixed) => Some(fixed.size),
                _ => None,
            };
            Part::Decimal(u32::try_from(decimal.scale).map_err(|_| "a scale out of range")?, size)
        }
        Schema::BigDecimal if target.is_some() => return Err("type big-decimal is not read".into()),
        Schema::BigDecimal => Part::Bytes,
        Schema::Array(array) => {
            let element = match target {
                Some(DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _)) => Some(field.data_type()),
                Some(other) => return Err(format!("an array does not go into {}", sql_name(other))),
                None => None,
            };
            Part::Array(Box::new(below(&array.items, element)?))
        }
        Schema::Map(map) => {
            let value = match target {
                Some(DataType::Map(entries, _)) => fields_of(entries.data_type()).map(|fields| fields[1].data_type()),
                Some(other) => return Err(format!("a map does not go into {}", sql_name(other))),
                None => None,
            };
            Part::Map(Box::new(below(&map.types, value)?))
        }
        Schema::Union(union) => {
            let variants = union.variants().iter().map(|variant| below(variant, target));
            Part::Union(variants.collect::<Result<_, _>>()?)
        }
        Schema::Record(record) => {
            let columns = match target {
                Some(DataType::Struct(fields)) => Some(fields),
                Some(other) => return Err(format!("a record does not go into {}", sql_name(other))),
                None => None,
            };
            let mut filled = Vec::new();
            let mut fields = Vec::new();
            for field in &record.fields {
                let place = columns.and_then(|columns| columns.iter().position(|column| *column.name() == field.name));
                let column = place.zip(columns).map(|(place, columns)| columns[place].data_type());
                filled.extend(place);
                fields.push((place, below(&field.schema, column).map_err(|reason| format!("field \"{}\": {reason}", field.name))?));
            }
            let missing = (0..columns.map_or(0, |columns| columns.len())).filter(|place| !filled.contains(place)).collect();
            Part::Record(Record { fields, missing })
        }
        Schema::Ref { name } => below(names.get(name).ok_or_else(|| format!("type {name} is not defined"))?, target)?,
    })
}

/// The program for data of a schema.
fn program(schema: &Schema, read: &SchemaRef) -> Result<Record, String> {
    let resolved = ResolvedSchema::try_from(schema).map_err(|error| error.to_string())?;
    let target = DataType::Struct(read.fields().clone());
    match part(schema, resolved.get_names(), Some(&target), 0)? {
        Part::Record(record) => Ok(record),
        _ => Err("the schema is no record".into()),
    }
}

/// Bytes that are being read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    #[inline]
    fn take(&mut self, count: usize) -> Fallible<&'a [u8]> {
        match self.0.split_at_checked(count) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => Err(Fault::new("the record ends too soon; was it written with another schema?")),
        }
    }

    fn array<const N: usize>(&mut self) -> Fallible<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| Fault::new("the record ends too soon"))
    }

    #[inline]
    fn long(&mut self) -> Fallible<i64> {
        let mut value = 0u64;
        for (at, byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Fault::new("a number does not end; was the record written with another schema?"))
    }

    fn length(&mut self) -> Fallible<usize> {
        usize::try_from(self.long()?).map_err(|_| Fault::new("a negative length; was the record written with another schema?"))
    }

    fn sized(&mut self) -> Fallible<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Fallible<&'a str> {
        simdutf8::basic::from_utf8(self.sized()?).map_err(|_| Fault::new("invalid UTF-8"))
    }

    /// Calls for each element of an array or map, which come in blocks.
    fn blocks(&mut self, mut each: impl FnMut(&mut Self) -> Fallible<()>) -> Fallible<()> {
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // The size in bytes follows.
                self.long()?;
                count = count.checked_neg().ok_or_else(|| Fault::new("a block of 2^63 elements"))?;
            }
            for _ in 0..count {
                if self.0.is_empty() {
                    return Err(Fault::new("the record ends too soon; was it written with another schema?"));
                }
                each(self)?;
            }
        }
    }
}

/// Steps over a part.
fn skip(part: &Part, input: &mut Input<'_>) -> Fallible<()> {
    match part {
        Part::Null => Ok(()),
        Part::Boolean => input.take(1).map(drop),
        Part::Long | Part::Enum(_) | Part::Timestamp(_) | Part::Date | Part::Time(_) => input.long().map(drop),
        Part::Float => input.take(4).map(drop),
        Part::Double => input.take(8).map(drop),
        Part::Bytes | Part::String | Part::Decimal(_, None) => input.sized().map(drop),
        Part::Fixed(size) | Part::Decimal(_, Some(size)) => input.take(*size).map(drop),
        // Elements without bytes, such as nulls, must not make a short record long to read.
        Part::Array(element) => input.blocks(|input| skip(element, input)),
        Part::Map(value) => input.blocks(|input| {
            input.sized()?;
            skip(value, input)
        }),
        Part::Union(variants) => skip(variant(variants, input)?, input),
        Part::Record(record) => record.fields.iter().try_for_each(|(_, part)| skip(part, input)),
    }
}

fn variant<'p>(variants: &'p [Part], input: &mut Input<'_>) -> Fallible<&'p Part> {
    let at = input.length()?;
    variants.get(at).ok_or_else(|| Fault::new(format!("there is no variant {at} in a union; was the record written with another schema?")))
}

/// Reads a part into a column.
fn put(part: &Part, input: &mut Input<'_>, column: &mut Column, nullable: bool) -> Fallible<()> {
    match part {
        Part::Null if nullable => {
            column.push_null();
            Ok(())
        }
        Part::Null => Err(Fault::new("is null, and the column is NOT NULL")),
        Part::Boolean => match (input.take(1)?[0], column) {
            (byte @ (0 | 1), Column::Boolean(fixed)) => {
                fixed.push(byte == 1);
                Ok(())
            }
            (byte @ (0 | 1), column) => column.push_text(if byte == 1 { "true" } else { "false" }, TimeUnit::Millisecond),
            (byte, _) => Err(Fault::new(format!("expected a boolean, found byte {byte}"))),
        },
        Part::Long => {
            let value = input.long()?;
            match column {
                Column::Int64(fixed) => fixed.push(value),
                Column::Float64(fixed) => fixed.push(value as f64),
                Column::Text(varying) => varying.push(itoa::Buffer::new().format(value))?,
                column => column.push_number(itoa::Buffer::new().format(value).as_bytes(), TimeUnit::Millisecond)?,
            }
            Ok(())
        }
        Part::Float => put_float(f64::from(f32::from_le_bytes(input.array()?)), column),
        Part::Double => put_float(f64::from_le_bytes(input.array()?), column),
        Part::Bytes => put_bytes(input.sized()?, column),
        Part::Fixed(size) => put_bytes(input.take(*size)?, column),
        Part::String => put_text(input.text()?, column),
        Part::Enum(words) => {
            let at = input.length()?;
            put_text(words.get(at).ok_or_else(|| Fault::new(format!("there is no word {at} in an enum")))?, column)
        }
        Part::Timestamp(per_second) => {
            let value = input.long()?;
            match column {
                Column::Timestamp(fixed, unit, _) => {
                    let per = i128::from(crate::format::parse::time::per_second(*unit));
                    let ticks = (i128::from(value) * per).div_euclid(i128::from(*per_second));
                    fixed.push(i64::try_from(ticks).map_err(|_| Fault::new("a time is out of range"))?);
                }
                Column::Int64(fixed) => fixed.push(value),
                column => return Err(column.expected(b"a timestamp")),
            }
            Ok(())
        }
        Part::Date => {
            let days = input.long()?;
            match column {
                Column::Date32(fixed) => fixed.push(i32::try_from(days).map_err(|_| Fault::new("a date is out of range"))?),
                Column::Int64(fixed) => fixed.push(days),
                column => return Err(column.expected(b"a date")),
            }
            Ok(())
        }
        Part::Time(per_second) => {
            let nanos = input.long()?.checked_mul(1_000_000_000 / per_second).ok_or_else(|| Fault::new("a time is out of range"))?;
            match column {
                Column::Time64(fixed, unit) => fixed.push(nanos / (1_000_000_000 / crate::format::parse::time::per_second(*unit))),
                Column::Time32(fixed, unit) => fixed.push((nanos / (1_000_000_000 / crate::format::parse::time::per_second(*unit))) as i32),
                column => return Err(column.expected(b"a time of day")),
            }
            Ok(())
        }
        Part::Decimal(scale, size) => {
            let bytes = match size {
                Some(size) => input.take(*size)?,
                None => input.sized()?,
            };
            put_decimal(bytes, *scale, column)
        }
        Part::Array(element) => {
            let Column::List(lists) = column else { return Err(column.expected(b"an array")) };
            let (child, nullable) = (&mut lists.child, lists.child_nullable);
            input.blocks(|input| put(element, input, child, nullable))?;
            lists.close()
        }
        Part::Map(value) => {
            let Column::Map(lists) = column else { return Err(column.expected(b"a map")) };
            let Column::Struct(entries) = lists.child.as_mut() else { return Err(Fault::new("a map without entries")) };
            input.blocks(|input| {
                let key = input.text()?;
                put_text(key, &mut entries.slots[0].column)?;
                let Slot { column, nullable, .. } = &mut entries.slots[1];
                put(value, input, column, *nullable)?;
                entries.close();
                Ok(())
            })?;
            lists.close()
        }
        Part::Union(variants) => put(variant(variants, input)?, input, column, nullable),
        Part::Record(record) => match column {
            Column::Struct(records) => put_record(record, input, records),
            column => Err(column.expected(b"a record")),
        },
    }
}

fn put_record(record: &Record, input: &mut Input<'_>, records: &mut Records) -> Fallible<()> {
    for (slot, part) in &record.fields {
        match slot {
            Some(slot) => {
                let Slot { name, nullable, column, .. } = &mut records.slots[*slot];
                put(part, input, column, *nullable).map_err(|fault| fault.within(name))?;
            }
            None => skip(part, input)?,
        }
    }
    for slot in &record.missing {
        let Slot { name, nullable, column, .. } = &mut records.slots[*slot];
        if !*nullable {
            return Err(Fault::new("is missing").within(name));
        }
        column.push_null();
    }
    records.close();
    Ok(())
}

pub(super) fn put_float(value: f64, column: &mut Column) -> Fallible<()> {
    match column {
        Column::Float64(fixed) => fixed.push(value),
        Column::Float32(fixed) => fixed.push(value as f32),
        column => column.push_text(ryu::Buffer::new().format(value), TimeUnit::Millisecond)?,
    }
    Ok(())
}

pub(super) fn put_text(text: &str, column: &mut Column) -> Fallible<()> {
    match column {
        Column::Text(varying) => varying.push(text),
        column => column.push_text(text, TimeUnit::Millisecond),
    }
}

pub(super) fn put_bytes(bytes: &[u8], column: &mut Column) -> Fallible<()> {
    match column {
        Column::Binary(varying) => varying.push_with(|out| {
            out.extend_from_slice(bytes);
            Ok(())
        }),
        Column::Text(varying) => varying.push(simdutf8::basic::from_utf8(bytes).map_err(|_| Fault::new("invalid UTF-8"))?),
        column => Err(column.expected(b"bytes")),
    }
}

fn put_decimal(bytes: &[u8], scale: u32, column: &mut Column) -> Fallible<()> {
    let out_of_range = || Fault::new("a decimal is out of range");
    let (first, sign) = (bytes.first().copied().unwrap_or(0), bytes.first().is_some_and(|byte| byte & 0x80 != 0));
    let filler = if sign { 0xff } else { 0 };
    let extra = bytes.len().saturating_sub(16);
    if bytes[..extra].iter().any(|byte| *byte != filler) || (extra > 0 && (bytes[extra] & 0x80 != 0) != (first & 0x80 != 0)) {
        return Err(out_of_range());
    }
    let mut whole = [filler; 16];
    let kept = &bytes[extra..];
    whole[16 - kept.len()..].copy_from_slice(kept);
    let value = i128::from_be_bytes(whole);
    match column {
        Column::Decimal(fixed, precision, wanted) => {
            let shift = i32::from(*wanted) - i32::try_from(scale).map_err(|_| out_of_range())?;
            let factor = 10i128.checked_pow(shift.unsigned_abs()).ok_or_else(out_of_range)?;
            let value = match shift {
                0.. => value.checked_mul(factor).ok_or_else(out_of_range)?,
                _ if value % factor != 0 => return Err(Fault::new("a decimal has more digits behind the point than the column")),
                _ => value / factor,
            };
            if 10u128.checked_pow(u32::from(*precision)).is_some_and(|limit| value.unsigned_abs() >= limit) {
                return Err(out_of_range());
            }
            fixed.push(value);
            Ok(())
        }
        Column::Float64(fixed) => {
            fixed.push(value as f64 / 10f64.powi(i32::try_from(scale).map_err(|_| out_of_range())?));
            Ok(())
        }
        column => Err(column.expected(b"a decimal")),
    }
}

/// Where the schema of a value is found.
#[derive(Clone, Debug)]
pub(crate) enum AvroSchema {
    /// It is the same for all: given, or made of the columns.
    Fixed(Option<String>),
    /// Each value names it, and a registry has it.
    Registry(Registry),
}

/// Decodes Avro.
pub(crate) struct AvroMessages {
    read: SchemaRef,
    rows: Records,
    source: AvroSchema,
    /// Programs by the number of their schema; 0 where there is one only. Wrong ones say why.
    programs: BTreeMap<u32, Result<Record, String>>,
}

impl AvroMessages {
    pub(crate) fn new(all: &SchemaRef, read: &SchemaRef, source: AvroSchema) -> Result<Self, String> {
        let rows = Records::new(read.fields())?;
        let mut programs = BTreeMap::new();
        if let AvroSchema::Fixed(text) = &source {
            let text = match text {
                Some(text) => text.clone(),
                None => avro_write::schema_of(all, "record")?.to_string(),
            };
            let schema = Schema::parse_str(&text).map_err(|error| format!("option \"avro.schema\" is no schema of Avro: {error}"))?;
            programs.insert(0, Ok(program(&schema, read).map_err(|reason| format!("option \"avro.schema\": {reason}"))?));
        }
        Ok(Self { read: read.clone(), rows, source, programs })
    }

    /// The number of a value's schema, and the value behind it.
    fn frame<'v>(&self, value: &'v [u8]) -> Fallible<(u32, &'v [u8])> {
        if matches!(self.source, AvroSchema::Fixed(_)) {
            return Ok((0, value));
        }
        match value {
            [0, a, b, c, d, rest @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), rest)),
            _ => Err(Fault::new("the value does not begin with the number of a schema, as a registry's clients write it")),
        }
    }
}

impl MessageDecoder for AvroMessages {
    fn decode(&mut self, values: &Values) -> Result<DecodedValues, String> {
        let (mut places, mut errors) = (Vec::with_capacity(values.len()), Vec::new());
        for (place, value) in values.iter().enumerate() {
            let Some(value) = value else { continue };
            let framed = self.frame(value);
            if let (Ok((number, _)), AvroSchema::Registry(registry)) = (&framed, &self.source)
                && !self.programs.contains_key(number)
            {
                let found = registry.schema(*number)?;
                let read = &self.read;
                let made = found.and_then(|text| {
                    let schema = Schema::parse_str(&text).map_err(|error| format!("schema {number} is none of Avro: {error}"))?;
                    program(&schema, read).map_err(|reason| format!("schema {number}: {reason}"))
                });
                self.programs.insert(*number, made);
            }
            let row = self.rows.len();
            let result = framed.and_then(|(number, bytes)| match self.programs.get(&number) {
                Some(Ok(record)) => {
                    let mut input = Input(bytes);
                    put_record(record, &mut input, &mut self.rows)?;
                    match input.0.len() {
                        0 => Ok(()),
                        more => Err(Fault::new(format!("{more} bytes are left over; was the record written with another schema?"))),
                    }
                }
                Some(Err(reason)) => Err(Fault::new(reason.clone())),
                None => Err(Fault::new("the value has no schema")),
            });
            match result {
                Ok(()) => places.push(place as u32),
                Err(fault) => {
                    self.rows.truncate(row);
                    errors.push((place as u32, fault.sentence()));
                }
            }
        }
        let rows = places.len();
        let columns = self.rows.finish(self.read.fields());
        Ok(DecodedValues { columns, rows, places: (rows < values.len()).then_some(places), diffs: None, errors })
    }
}
