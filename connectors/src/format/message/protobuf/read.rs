//! Reading messages. Fields come in any order and more than once: of single values the last holds, messages are merged, and elements
//! add up.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::{SchemaRef, TimeUnit};

use super::super::avro::{put_bytes, put_float, put_text};
use super::super::registry::Registry;
use super::super::{DecodedValues, MessageDecoder, Values};
use super::wire::{self, Input, unzigzag};
use super::{DEPTH_MAX, FieldPart, Part, Program, ProtobufType, Shape, program};
use crate::format::column::{Column, Records, Slot};
use crate::format::fault::{Fallible, Fault};
use crate::format::parse::time::per_second;

fn put_whole(value: i64, column: &mut Column) -> Fallible<()> {
    match column {
        Column::Int64(fixed) => fixed.push(value),
        Column::Int32(fixed) if i32::try_from(value).is_ok() => fixed.push(value as i32),
        Column::Text(varying) => varying.push(itoa::Buffer::new().format(value))?,
        column => column.push_number(itoa::Buffer::new().format(value).as_bytes(), TimeUnit::Millisecond)?,
    }
    Ok(())
}

fn put_unsigned(value: u64, column: &mut Column) -> Fallible<()> {
    match i64::try_from(value) {
        Ok(value) => put_whole(value, column),
        Err(_) => column.push_number(itoa::Buffer::new().format(value).as_bytes(), TimeUnit::Millisecond),
    }
}

fn put_bool(value: bool, column: &mut Column) -> Fallible<()> {
    match column {
        Column::Boolean(fixed) => fixed.push(value),
        column => column.push_text(if value { "true" } else { "false" }, TimeUnit::Millisecond)?,
    }
    Ok(())
}

fn put_word(words: &BTreeMap<i32, String>, number: i32, column: &mut Column) -> Fallible<()> {
    match (words.get(&number), &*column) {
        (Some(word), Column::Text(_)) => put_text(word, column),
        _ => put_whole(i64::from(number), column),
    }
}

fn put_time(bytes: &[u8], column: &mut Column) -> Fallible<()> {
    let (mut seconds, mut nanos, mut input) = (0i64, 0i64, Input(bytes));
    while !input.is_empty() {
        match input.tag()? {
            (1, wire::VARINT) => seconds = input.varint()? as i64,
            (2, wire::VARINT) => nanos = i64::from(input.varint()? as i32),
            (number, wire) => input.skip(number, wire, 0)?,
        }
    }
    let Column::Timestamp(fixed, unit, _) = column else { return Err(column.expected(b"a timestamp")) };
    let per = i128::from(per_second(*unit));
    let ticks = i128::from(seconds) * per + (i128::from(nanos) * per).div_euclid(1_000_000_000);
    fixed.push(i64::try_from(ticks).map_err(|_| Fault::new("a time is out of range"))?);
    Ok(())
}

/// Reads a value into a column.
fn put(part: &Part, input: &mut Input<'_>, column: &mut Column, depth: usize) -> Fallible<()> {
    match part {
        Part::Varint { bits: 32, signed: true } => put_whole(i64::from(input.varint()? as i32), column),
        Part::Varint { bits: 32, signed: false } => put_whole(i64::from(input.varint()? as u32), column),
        Part::Varint { signed: true, .. } => put_whole(input.varint()? as i64, column),
        Part::Varint { signed: false, .. } => put_unsigned(input.varint()?, column),
        Part::Zigzag { bits: 32 } => put_whole(i64::from(unzigzag(u64::from(input.varint()? as u32)) as i32), column),
        Part::Zigzag { .. } => put_whole(unzigzag(input.varint()?), column),
        Part::Fixed32 { signed: true } => put_whole(i64::from(i32::from_le_bytes(input.array()?)), column),
        Part::Fixed32 { signed: false } => put_whole(i64::from(u32::from_le_bytes(input.array()?)), column),
        Part::Fixed64 { signed: true } => put_whole(i64::from_le_bytes(input.array()?), column),
        Part::Fixed64 { signed: false } => put_unsigned(u64::from_le_bytes(input.array()?), column),
        Part::Float => put_float(f64::from(f32::from_le_bytes(input.array()?)), column),
        Part::Double => put_float(f64::from_le_bytes(input.array()?), column),
        Part::Bool => put_bool(input.varint()? != 0, column),
        Part::String => put_text(simdutf8::basic::from_utf8(input.sized()?).map_err(|_| Fault::new("invalid UTF-8"))?, column),
        Part::Bytes => put_bytes(input.sized()?, column),
        Part::Enum(words, _) => put_word(words, input.varint()? as i32, column),
        Part::Timestamp => put_time(input.sized()?, column),
        Part::Wrapper(inner) => {
            let (mut message, mut last) = (Input(input.sized()?), None);
            while !message.is_empty() {
                let (number, wire) = message.tag()?;
                if number == 1 && wire == inner.wire() {
                    last = Some(message);
                }
                message.skip(number, wire, depth)?;
            }
            match last {
                Some(mut value) => put(inner, &mut value, column, depth),
                None => put_default(inner, column),
            }
        }
        Part::Message(program) => match column {
            Column::Struct(records) => put_message(program, input.sized()?, records, depth + 1),
            column => Err(column.expected(b"a message")),
        },
    }
}

/// What a value is that is not written.
fn put_default(part: &Part, column: &mut Column) -> Fallible<()> {
    match part {
        Part::Varint { .. } | Part::Zigzag { .. } | Part::Fixed32 { .. } | Part::Fixed64 { .. } => put_whole(0, column),
        Part::Float | Part::Double => put_float(0.0, column),
        Part::Bool => put_bool(false, column),
        Part::String => put_text("", column),
        Part::Bytes => put_bytes(b"", column),
        Part::Enum(words, first) => put_word(words, *first, column),
        Part::Timestamp | Part::Wrapper(_) | Part::Message(_) => put(part, &mut Input(&[0]), column, 0),
    }
}

/// Reads the fields of a message as a record. After a fault the record is unfinished.
fn put_message(program: &Program, bytes: &[u8], records: &mut Records, depth: usize) -> Fallible<()> {
    if depth > DEPTH_MAX {
        return Err(Fault::new("messages are nested too deep"));
    }
    records.begun += 1;
    let (begun, row) = (records.begun, records.len());
    let mut input = Input(bytes);
    let mut expected = 0;
    while !input.is_empty() {
        let (number, wire) = input.tag()?;
        // Mostly fields come in the order of their numbers.
        let guess = program.fields.get(expected).filter(|field| field.number == number).map(|_| expected);
        let Some(at) = guess.or_else(|| program.fields.binary_search_by_key(&number, |field| field.number).ok()) else {
            input.skip(number, wire, depth)?;
            continue;
        };
        let field = &program.fields[at];
        expected = if matches!(field.shape, Shape::One) { at + 1 } else { at };
        let Slot { name, column, seen, .. } = &mut records.slots[field.place];
        let again = std::mem::replace(seen, begun) == begun;
        let done = match &field.shape {
            Shape::One => {
                if again {
                    column.truncate(row);
                }
                if again && matches!(field.part, Part::Message(_) | Part::Timestamp | Part::Wrapper(_)) {
                    input.skip(number, wire, depth).and_then(|()| {
                        // Messages one behind the other are their union.
                        let mut whole = Vec::new();
                        let together = merged(bytes, number)?;
                        wire::put_varint(together.len() as u64, &mut whole);
                        whole.extend(together);
                        put(&field.part, &mut Input(&whole), column, depth)
                    })
                } else {
                    one(field, wire, &mut input, column, depth)
                }
            }
            Shape::List { .. } => elements(field, wire, &mut input, column, depth),
            Shape::Map(_) if again => input.skip(number, wire, depth),
            Shape::Map(key) => {
                let rest = input;
                input.skip(number, wire, depth).and_then(|()| entries(key, field, rest, wire, column, depth))
            }
        };
        done.map_err(|fault| fault.within(name))?;
        for other in &field.others {
            let Slot { column, seen, .. } = &mut records.slots[*other];
            if std::mem::take(seen) == begun {
                column.truncate(row);
            }
        }
    }
    for field in &program.fields {
        let Slot { name, nullable, column, seen } = &mut records.slots[field.place];
        let done = match (&field.shape, column) {
            (Shape::List { .. } | Shape::Map(_), Column::List(lists) | Column::Map(lists)) => lists.close(),
            (_, _) if *seen == begun => Ok(()),
            (_, column) if !field.presence => put_default(&field.part, column),
            (_, column) if *nullable => {
                column.push_null();
                Ok(())
            }
            _ => Err(Fault::new("is missing")),
        };
        done.map_err(|fault| fault.within(name))?;
    }
    records.close();
    Ok(())
}

#[cold]
fn another_wire() -> Box<Fault> {
    Fault::new("is written in another way than its type is; was the message written with another schema?")
}

fn one(field: &FieldPart, wire: u8, input: &mut Input<'_>, column: &mut Column, depth: usize) -> Fallible<()> {
    if wire != field.part.wire() {
        return Err(another_wire());
    }
    put(&field.part, input, column, depth)
}

/// All that is written of a message, end to end.
fn merged(bytes: &[u8], wanted: u32) -> Fallible<Vec<u8>> {
    let (mut input, mut all) = (Input(bytes), Vec::new());
    while !input.is_empty() {
        let (number, wire) = input.tag()?;
        if number == wanted && wire == wire::SIZED {
            all.extend_from_slice(input.sized()?);
        } else {
            input.skip(number, wire, 0)?;
        }
    }
    Ok(all)
}

/// Reads one element of a list, or several that stand together.
fn elements(field: &FieldPart, wire: u8, input: &mut Input<'_>, column: &mut Column, depth: usize) -> Fallible<()> {
    let Column::List(lists) = column else { return Err(column.expected(b"a repeated field")) };
    if wire == wire::SIZED && field.part.packs() {
        let mut packed = Input(input.sized()?);
        while !packed.is_empty() {
            put(&field.part, &mut packed, &mut lists.child, depth)?;
        }
        return Ok(());
    }
    one(field, wire, input, &mut lists.child, depth)
}

/// Reads the entries of a map, the first of which lies at the head of `rest`: of equal keys the last.
fn entries(key: &Part, field: &FieldPart, mut rest: Input<'_>, wire: u8, column: &mut Column, depth: usize) -> Fallible<()> {
    let Column::Map(lists) = column else { return Err(column.expected(b"a map")) };
    let Column::Struct(records) = lists.child.as_mut() else { return Err(Fault::new("a map without entries")) };
    if wire != wire::SIZED {
        return Err(another_wire());
    }
    let mut found = vec![entry(key, &field.part, rest.sized()?, depth)?];
    while !rest.is_empty() {
        match rest.tag()? {
            (number, wire::SIZED) if number == field.number => found.push(entry(key, &field.part, rest.sized()?, depth)?),
            (number, wire) => rest.skip(number, wire, depth)?,
        }
    }
    let last: HashMap<&[u8], usize> = found.iter().enumerate().map(|(at, [key, _])| (key.unwrap_or_default(), at)).collect();
    for (at, entry) in found.iter().enumerate() {
        if last.get(entry[0].unwrap_or_default()) != Some(&at) {
            continue;
        }
        for ((part, bytes), slot) in [key, &field.part].into_iter().zip(entry).zip(&mut records.slots) {
            match bytes {
                Some(bytes) => put(part, &mut Input(bytes), &mut slot.column, depth)?,
                None => put_default(part, &mut slot.column)?,
            }
        }
        records.close();
    }
    Ok(())
}

/// The bytes of an entry's key and value, where they are written.
fn entry<'a>(key: &Part, value: &Part, bytes: &'a [u8], depth: usize) -> Fallible<[Option<&'a [u8]>; 2]> {
    let mut message = Input(bytes);
    let mut last = [None, None];
    while !message.is_empty() {
        let (number, wire) = message.tag()?;
        let before = message.0;
        message.skip(number, wire, depth)?;
        let part = if number == 1 { key } else { value };
        if matches!(number, 1 | 2) && wire == part.wire() {
            last[number as usize - 1] = Some(&before[..before.len() - message.0.len()]);
        }
    }
    Ok(last)
}

/// Decodes messages.
pub(crate) struct ProtobufMessages {
    read: SchemaRef,
    rows: Records,
    program: Program,
    registry: Option<Registry>,
    /// Numbers of schemas that values have named, and why one is none of ours.
    known: BTreeMap<u32, Result<(), String>>,
}

impl ProtobufMessages {
    pub(crate) fn new(read: &SchemaRef, of: &ProtobufType) -> Result<Self, String> {
        let program = program(&of.message, read.fields(), 0)?;
        let rows = Records::new(read.fields())?;
        Ok(Self { read: read.clone(), rows, program, registry: of.registry.clone(), known: BTreeMap::new() })
    }

    /// The message in a value, behind the number of its schema and the place of its type there.
    fn unframed<'v>(&mut self, value: &'v [u8]) -> Result<Fallible<&'v [u8]>, String> {
        let Some(registry) = &self.registry else { return Ok(Ok(value)) };
        let [0, a, b, c, d, rest @ ..] = value else {
            return Ok(Err(Fault::new("the value does not begin with the number of a schema, as a registry's clients write it")));
        };
        let number = u32::from_be_bytes([*a, *b, *c, *d]);
        let known = match self.known.get(&number) {
            Some(known) => known.clone(),
            None => {
                let known = registry.is_of(number, "PROTOBUF")?;
                self.known.insert(number, known.clone());
                known
            }
        };
        let mut input = Input(rest);
        let place = |input: &mut Input<'_>| -> Fallible<()> {
            let count = unzigzag(input.varint()?);
            (0..count).try_for_each(|_| input.varint().map(drop))
        };
        Ok(known.map_err(Fault::new).and_then(|()| place(&mut input)).map(|()| input.0))
    }
}

impl MessageDecoder for ProtobufMessages {
    fn decode(&mut self, values: &Values) -> Result<DecodedValues, String> {
        let (mut places, mut errors) = (Vec::with_capacity(values.len()), Vec::new());
        for (place, value) in values.iter().enumerate() {
            let Some(value) = value else { continue };
            let row = self.rows.len();
            match self.unframed(value)?.and_then(|message| put_message(&self.program, message, &mut self.rows, 0)) {
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
