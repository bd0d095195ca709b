//! # Protocol Buffers
//!
//! A value is one message of a type that a descriptor set defines: bare, or behind the number of its schema and the place of its type
//! there, as clients of a schema registry write it. Type and columns become a program once; then bytes go straight into columns and
//! back, and fields that nobody reads are stepped over.

mod read;
#[cfg(test)]
mod tests;
mod wire;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, Syntax};
use tidemark_planner::connector::Options;

use super::registry::Registry;
use crate::format::column::sql_name;
pub(crate) use read::ProtobufMessages;
pub(crate) use write::ProtobufEncoding;

/// Messages may nest this deep.
const DEPTH_MAX: usize = 64;

/// The type of values, and where the numbers before them come from, if there are any.
#[derive(Clone, Debug)]
pub(crate) struct ProtobufType {
    message: MessageDescriptor,
    registry: Option<Registry>,
}

impl ProtobufType {
    /// From validated options.
    pub(crate) fn from_options(options: &Options, registry: Option<Registry>) -> Result<Self, String> {
        let needed = |name: &str| options.get(name).ok_or_else(|| format!("format protobuf needs option \"{name}\""));
        let (path, name) = (needed("protobuf.descriptor")?, needed("protobuf.message")?);
        let bytes = std::fs::read(path).map_err(|error| format!("file \"{path}\" cannot be read: {}", crate::io::reason(&error)))?;
        let pool = DescriptorPool::decode(bytes.as_slice()).map_err(|error| {
            format!(
                "file \"{path}\" is no whole descriptor set ({error}); make it with protoc --include_imports --descriptor_set_out={path}"
            )
        })?;
        Ok(Self { message: find(&pool, name)?, registry })
    }

    /// The columns that messages have.
    pub(crate) fn schema(&self) -> Result<SchemaRef, String> {
        Ok(Arc::new(Schema::new(columns_of(&self.message, 0)?)))
    }
}

/// The message of a name: its own, or that of the class that Java has for it.
fn find(pool: &DescriptorPool, name: &str) -> Result<MessageDescriptor, String> {
    let dotted = name.replace('$', ".");
    let of_java = |message: &MessageDescriptor| {
        let file = message.parent_file();
        let package = file.file_descriptor_proto().options.as_ref().map_or("", |options| options.java_package());
        let package = if package.is_empty() { file.package_name() } else { package };
        let own = message.full_name().strip_prefix(message.package_name()).unwrap_or(message.full_name()).trim_start_matches('.');
        let rest = dotted.strip_prefix(package).map(|rest| rest.trim_start_matches('.'));
        // In a class for the whole file, or by itself.
        rest.is_some_and(|rest| rest == own || rest.strip_suffix(own).is_some_and(|outer| outer.ends_with('.')))
    };
    let found = pool.get_message_by_name(&dotted).or_else(|| pool.all_messages().find(of_java));
    found.ok_or_else(|| {
        let mut known: Vec<String> = pool.all_messages().filter(|it| !it.is_map_entry()).map(|it| it.full_name().to_owned()).collect();
        known.retain(|it| !it.starts_with("google.protobuf."));
        format!("message \"{name}\" is not in the descriptor set; there are {}", known.join(", "))
    })
}

/// The type that a value has in SQL, if nobody says otherwise.
fn type_of(kind: &Kind, depth: usize) -> Result<DataType, String> {
    Ok(match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => DataType::Int32,
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint32 | Kind::Fixed32 => DataType::Int64,
        Kind::Uint64 | Kind::Fixed64 => DataType::Decimal128(20, 0),
        Kind::Float => DataType::Float32,
        Kind::Double => DataType::Float64,
        Kind::Bool => DataType::Boolean,
        Kind::String | Kind::Enum(_) => DataType::Utf8,
        Kind::Bytes => DataType::Binary,
        Kind::Message(message) => match part(kind, None, depth)? {
            Part::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Part::Wrapper(_) => type_of(&wrapped(message)?, depth)?,
            _ => DataType::Struct(Fields::from(columns_of(message, depth + 1)?)),
        },
    })
}

fn columns_of(message: &MessageDescriptor, depth: usize) -> Result<Vec<Field>, String> {
    if depth > DEPTH_MAX {
        return Err(format!("message \"{}\" is nested too deep, or holds itself; declare the columns that are read", message.full_name()));
    }
    let column = |field: FieldDescriptor| {
        let data_type = if field.is_map() {
            let Kind::Message(entry) = field.kind() else { return Err("a map without entries".to_owned()) };
            let (key, value) =
                (type_of(&entry.map_entry_key_field().kind(), depth)?, type_of(&entry.map_entry_value_field().kind(), depth)?);
            let entries = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
            DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
        } else {
            let one = type_of(&field.kind(), depth)?;
            if field.is_list() { DataType::List(Arc::new(Field::new_list_field(one, true))) } else { one }
        };
        Ok(Field::new(field.name(), data_type, field.supports_presence()))
    };
    message.fields().map(|field| column(field.clone()).map_err(|reason| format!("field \"{}\": {reason}", field.name()))).collect()
}

/// How one value is written.
#[derive(Debug)]
enum Part {
    /// A varint, of which so many bits count, and whether the value has a sign.
    Varint {
        bits: u32,
        signed: bool,
    },
    /// A varint whose lowest bit is the sign.
    Zigzag {
        bits: u32,
    },
    Fixed32 {
        signed: bool,
    },
    Fixed64 {
        signed: bool,
    },
    Float,
    Double,
    Bool,
    String,
    Bytes,
    /// Words by number, the first of which stands for an absent value.
    Enum(BTreeMap<i32, String>, i32),
    /// Seconds and nanoseconds in a message.
    Timestamp,
    /// A value alone in a message, so that it may be absent.
    Wrapper(Box<Part>),
    Message(Program),
}

impl Part {
    /// Its wire type.
    fn wire(&self) -> u8 {
        match self {
            Self::Varint { .. } | Self::Zigzag { .. } | Self::Bool | Self::Enum(..) => wire::VARINT,
            Self::Fixed64 { .. } | Self::Double => wire::FIXED64,
            Self::Fixed32 { .. } | Self::Float => wire::FIXED32,
            Self::String | Self::Bytes | Self::Timestamp | Self::Wrapper(_) | Self::Message(_) => wire::SIZED,
        }
    }

    /// Many of them may stand together.
    fn packs(&self) -> bool {
        self.wire() != wire::SIZED
    }
}

/// How the values of a field stand in a message.
#[derive(Debug)]
enum Shape {
    One,
    List {
        packed: bool,
    },
    /// Entries with keys.
    Map(Part),
}

/// A field, and the column it belongs to.
#[derive(Debug)]
struct FieldPart {
    number: u32,
    /// Where the column stands among those of the message.
    place: usize,
    part: Part,
    shape: Shape,
    /// An absent value is told from the default.
    presence: bool,
    required: bool,
    /// Columns of which only one may be set with this one.
    others: Vec<usize>,
}

/// A message: its fields that have columns, by number.
#[derive(Debug)]
struct Program {
    name: String,
    fields: Vec<FieldPart>,
}

/// The kind inside one of the wrappers of numbers and texts.
fn wrapped(message: &MessageDescriptor) -> Result<Kind, String> {
    message.get_field(1).map(|field| field.kind()).ok_or_else(|| format!("\"{}\" wraps nothing", message.full_name()))
}

fn part(kind: &Kind, target: Option<&DataType>, depth: usize) -> Result<Part, String> {
    Ok(match kind {
        Kind::Int32 => Part::Varint { bits: 32, signed: true },
        Kind::Int64 => Part::Varint { bits: 64, signed: true },
        Kind::Uint32 => Part::Varint { bits: 32, signed: false },
        Kind::Uint64 => Part::Varint { bits: 64, signed: false },
        Kind::Sint32 => Part::Zigzag { bits: 32 },
        Kind::Sint64 => Part::Zigzag { bits: 64 },
        Kind::Fixed32 => Part::Fixed32 { signed: false },
        Kind::Sfixed32 => Part::Fixed32 { signed: true },
        Kind::Fixed64 => Part::Fixed64 { signed: false },
        Kind::Sfixed64 => Part::Fixed64 { signed: true },
        Kind::Float => Part::Float,
        Kind::Double => Part::Double,
        Kind::Bool => Part::Bool,
        Kind::String => Part::String,
        Kind::Bytes => Part::Bytes,
        Kind::Enum(words) => {
            let first = words.default_value().number();
            Part::Enum(words.values().map(|word| (word.number(), word.name().to_owned())).collect(), first)
        }
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp" if !matches!(target, Some(DataType::Struct(_))) => Part::Timestamp,
            "google.protobuf.DoubleValue"
            | "google.protobuf.FloatValue"
            | "google.protobuf.Int64Value"
            | "google.protobuf.UInt64Value"
            | "google.protobuf.Int32Value"
            | "google.protobuf.UInt32Value"
            | "google.protobuf.BoolValue"
            | "google.protobuf.StringValue"
            | "google.protobuf.BytesValue"
                if !matches!(target, Some(DataType::Struct(_))) =>
            {
                Part::Wrapper(Box::new(part(&wrapped(message)?, target, depth)?))
            }
            name @ ("google.protobuf.Struct" | "google.protobuf.Value" | "google.protobuf.ListValue" | "google.protobuf.Any") => {
                return Err(format!("type {name} has no fixed columns, and is not supported"));
            }
            _ => match target {
                Some(DataType::Struct(fields)) => Part::Message(program(message, fields, depth + 1)?),
                Some(other) => {
                    return Err(format!("message {} does not go into {}; declare a STRUCT", message.full_name(), sql_name(other)));
                }
                None => Part::Message(Program { name: message.full_name().to_owned(), fields: Vec::new() }),
            },
        },
    })
}

/// Whether values of a kind and of a type can become each other; what fits is judged value by value.
fn fits(part: &Part, data_type: &DataType) -> bool {
    match part {
        Part::Varint { .. } | Part::Zigzag { .. } | Part::Fixed32 { .. } | Part::Fixed64 { .. } => {
            data_type.is_integer() || matches!(data_type, DataType::Decimal128(_, 0))
        }
        Part::Float | Part::Double => data_type.is_floating(),
        Part::Bool => *data_type == DataType::Boolean,
        Part::String => *data_type == DataType::Utf8,
        Part::Bytes => matches!(data_type, DataType::Binary | DataType::Utf8),
        Part::Enum(..) => *data_type == DataType::Utf8 || data_type.is_integer(),
        Part::Timestamp => matches!(data_type, DataType::Timestamp(_, _)),
        Part::Wrapper(inner) => fits(inner, data_type),
        Part::Message(_) => matches!(data_type, DataType::Struct(_)),
    }
}

fn checked(kind: &Kind, target: &DataType, depth: usize) -> Result<Part, String> {
    let made = part(kind, Some(target), depth)?;
    if fits(&made, target) { Ok(made) } else { Err(format!("{} does not go into {}", kind_name(kind), sql_name(target))) }
}

fn kind_name(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(words) => format!("enum {}", words.full_name()),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// The program for messages of a type and their columns. Every column needs a field.
fn program(message: &MessageDescriptor, columns: &Fields, depth: usize) -> Result<Program, String> {
    if depth > DEPTH_MAX {
        return Err("messages are nested too deep".into());
    }
    let mut fields = Vec::new();
    for (place, column) in columns.iter().enumerate() {
        let within = |reason: String| format!("column \"{}\": {reason}", column.name());
        let field = message.get_field_by_name(column.name()).or_else(|| message.get_field_by_json_name(column.name()));
        let field = field.ok_or_else(|| format!("message {} has no field \"{}\"", message.full_name(), column.name()))?;
        let (part, shape) = match (field.kind(), column.data_type()) {
            (Kind::Message(entry), DataType::Map(entries, _)) if field.is_map() => {
                let DataType::Struct(types) = entries.data_type() else { return Err("a map without entries".into()) };
                let key = checked(&entry.map_entry_key_field().kind(), types[0].data_type(), depth).map_err(within)?;
                let value = checked(&entry.map_entry_value_field().kind(), types[1].data_type(), depth).map_err(within)?;
                (value, Shape::Map(key))
            }
            (_, other) if field.is_map() => return Err(within(format!("a map does not go into {}", sql_name(other)))),
            (kind, DataType::List(element)) if field.is_list() => {
                (checked(&kind, element.data_type(), depth).map_err(within)?, Shape::List { packed: field.is_packed() })
            }
            (_, other) if field.is_list() => return Err(within(format!("a repeated field does not go into {}", sql_name(other)))),
            (kind, target) => (checked(&kind, target, depth).map_err(within)?, Shape::One),
        };
        let alike = |other: &Arc<Field>| {
            let oneof = field.containing_oneof()?;
            let it = message.get_field_by_name(other.name())?;
            (it.number() != field.number() && it.containing_oneof().as_ref() == Some(&oneof)).then_some(())
        };
        let others = columns.iter().enumerate().filter_map(|(place, other)| alike(other).map(|()| place)).collect();
        fields.push(FieldPart {
            number: field.number(),
            place,
            part,
            shape,
            presence: field.supports_presence() || message.parent_file().syntax() == Syntax::Proto2,
            required: field.is_required(),
            others,
        });
    }
    fields.sort_by_key(|field| field.number);
    Ok(Program { name: message.full_name().to_owned(), fields })
}
