//! Against prost-reflect, which reads and writes any message by its descriptor.

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileOptions, MessageOptions,
    OneofDescriptorProto,
};
use prost_reflect::{DynamicMessage, MapKey, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::tests::{encoded, places, registry, values};
use super::super::{MessageFormat, SchemaKind};
use super::*;
use crate::format::changelog::Meaning;
use crate::testing::{options, schema};

fn field(number: i32, name: &str, of: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        r#type: Some(of as i32),
        label: Some(Label::Optional as i32),
        ..Default::default()
    }
}

fn typed(number: i32, name: &str, of: Type, type_name: &str) -> FieldDescriptorProto {
    FieldDescriptorProto { type_name: Some(type_name.into()), ..field(number, name, of) }
}

fn repeated(field: FieldDescriptorProto) -> FieldDescriptorProto {
    FieldDescriptorProto { label: Some(Label::Repeated as i32), ..field }
}

fn in_oneof(at: i32, field: FieldDescriptorProto, synthetic: bool) -> FieldDescriptorProto {
    FieldDescriptorProto { oneof_index: Some(at), proto3_optional: synthetic.then_some(true), ..field }
}

fn oneof(name: &str) -> OneofDescriptorProto {
    OneofDescriptorProto { name: Some(name.into()), ..Default::default() }
}

/// A descriptor set in a file, with messages that have one of everything.
fn descriptors() -> (tempfile::TempDir, String) {
    let inner = DescriptorProto {
        name: Some("Inner".into()),
        field: vec![field(1, "id", Type::Int64), in_oneof(0, field(2, "name", Type::String), true)],
        oneof_decl: vec![oneof("_name")],
        ..Default::default()
    };
    let entry = DescriptorProto {
        name: Some("AttrsEntry".into()),
        field: vec![field(1, "key", Type::String), field(2, "value", Type::Sint64)],
        options: Some(MessageOptions { map_entry: Some(true), ..Default::default() }),
        ..Default::default()
    };
    let word = |name: &str, number| EnumValueDescriptorProto { name: Some(name.into()), number: Some(number), ..Default::default() };
    let side = EnumDescriptorProto {
        name: Some("Side".into()),
        value: vec![word("NEITHER", 0), word("BUY", 1), word("SELL", 2)],
        ..Default::default()
    };
    let trade = DescriptorProto {
        name: Some("Trade".into()),
        field: vec![
            field(1, "symbol", Type::String),
            field(2, "price", Type::Double),
            in_oneof(0, field(3, "qty", Type::Int32), true),
            typed(4, "side", Type::Enum, ".shop.Side"),
            typed(5, "at", Type::Message, ".google.protobuf.Timestamp"),
            repeated(field(6, "tags", Type::String)),
            repeated(typed(7, "attrs", Type::Message, ".shop.Trade.AttrsEntry")),
            typed(8, "inner", Type::Message, ".shop.Trade.Inner"),
            repeated(typed(9, "inners", Type::Message, ".shop.Trade.Inner")),
            typed(10, "maybe", Type::Message, ".google.protobuf.Int64Value"),
            in_oneof(1, field(11, "a", Type::String), false),
            in_oneof(1, field(12, "b", Type::Sint32), false),
            field(13, "raw", Type::Bytes),
            field(14, "big", Type::Uint64),
            repeated(field(15, "nums", Type::Sint64)),
            field(16, "f", Type::Fixed32),
            field(17, "ok", Type::Bool),
            field(18, "u", Type::Uint32),
            field(19, "x", Type::Float),
            field(1000, "s", Type::Sfixed64),
        ],
        oneof_decl: vec![oneof("_qty"), oneof("choice")],
        nested_type: vec![inner, entry],
        ..Default::default()
    };
    let file = FileDescriptorProto {
        name: Some("shop.proto".into()),
        package: Some("shop".into()),
        dependency: vec!["google/protobuf/timestamp.proto".into(), "google/protobuf/wrappers.proto".into()],
        message_type: vec![trade],
        enum_type: vec![side],
        options: Some(FileOptions { java_package: Some("com.example.shop".into()), ..Default::default() }),
        syntax: Some("proto3".into()),
        ..Default::default()
    };
    let mut pool = DescriptorPool::global();
    pool.add_file_descriptor_proto(file).expect("valid");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shop.desc");
    std::fs::write(&path, pool.encode_to_vec()).expect("written");
    let path = path.display().to_string();
    (folder, path)
}

fn format(path: &str, more: &[(&str, &str)]) -> MessageFormat {
    let pairs = [&[("protobuf.descriptor", path), ("protobuf.message", "shop.Trade")], more].concat();
    MessageFormat::from_options("protobuf", SchemaKind::Value, &options(&pairs)).expect("valid")
}

fn one_of(kind: &Kind, random: &mut StdRng) -> Value {
    let small = random.random_range(0..4) > 0;
    match kind {
        Kind::Double => Value::F64(f64::from(random.random_range(-4..5)) / 4.0),
        Kind::Float => Value::F32(random.random_range(-4..5) as f32 / 4.0),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(if small { random.random_range(-2..3) } else { random.random() }),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(if small { random.random_range(-2..3) } else { random.random() }),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(if small { random.random_range(0..3) } else { random.random() }),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(if small { random.random_range(0..3) } else { random.random() }),
        Kind::Bool => Value::Bool(random.random()),
        Kind::String => Value::String(
            ["", "a", "é€", "long enough to need more than one byte for ".repeat(3).as_str()][random.random_range(0..4)].into(),
        ),
        Kind::Bytes => Value::Bytes(vec![random.random(); random.random_range(0..3)].into()),
        // 7 is no word of the enum.
        Kind::Enum(_) => Value::EnumNumber([0, 1, 2, 7][random.random_range(0..4)]),
        Kind::Message(message) => Value::Message(message_of(message, random)),
    }
}

fn message_of(of: &MessageDescriptor, random: &mut StdRng) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    for field in of.fields() {
        if random.random_range(0..3) == 0 {
            continue;
        }
        let many = random.random_range(0..4);
        let value = match field.kind() {
            Kind::Message(entry) if field.is_map() => Value::Map(
                (0..many)
                    .map(|_| {
                        let Value::String(key) = one_of(&Kind::String, random) else { panic!("a text") };
                        (MapKey::String(key), one_of(&entry.map_entry_value_field().kind(), random))
                    })
                    .collect(),
            ),
            kind if field.is_list() => Value::List((0..many).map(|_| one_of(&kind, random)).collect()),
            // Columns count microseconds.
            _ if of.full_name() == "google.protobuf.Timestamp" && field.name() == "nanos" => {
                Value::I32(random.random_range(0..1_000_000) * 1_000)
            }
            _ if of.full_name() == "google.protobuf.Timestamp" => Value::I64(random.random_range(-5_000_000_000..5_000_000_000)),
            kind => one_of(&kind, random),
        };
        message.set_field(&field, value);
    }
    message
}

fn rows(format: &MessageFormat, bytes: &[Vec<u8>]) -> (RecordBatch, Vec<(u32, String)>) {
    let columns = format.schema().expect("known").expect("valid");
    let mut decoder = format.decoder(&columns, &columns, &Meaning::default()).expect("a decoder");
    let decoded = decoder.decode(&values(bytes.iter().map(|it| Some(it.as_slice())))).expect("decoded");
    let options = RecordBatchOptions::new().with_row_count(Some(decoded.rows));
    (RecordBatch::try_new_with_options(columns, decoded.columns, &options).expect("columns of the schema"), decoded.errors)
}

proptest! {
    /// What prost-reflect wrote, read into columns and written again, is the same message to prost-reflect: also where fields come
    /// twice, because two messages lie one behind the other.
    #[test]
    fn messages_survive_columns(seeds in prop::collection::vec((any::<u64>(), any::<bool>()), 1..6)) {
        let (_folder, path) = descriptors();
        let format = format(&path, &[]);
        let MessageFormat::Protobuf(of) = &format else { panic!("protobuf") };
        let bytes: Vec<Vec<u8>> = seeds.iter().map(|(seed, twice)| {
            let random = &mut StdRng::seed_from_u64(*seed);
            let mut bytes = message_of(&of.message, random).encode_to_vec();
            if *twice {
                bytes.extend(message_of(&of.message, random).encode_to_vec());
            }
            bytes
        }).collect();
        let (rows, errors) = rows(&format, &bytes);
        prop_assert_eq!(errors, vec![]);
        let again = encoded(&format, &rows);
        for (before, after) in bytes.iter().zip(&again) {
            let read = |bytes: &[u8]| DynamicMessage::decode(of.message.clone(), bytes).expect("a message");
            // Encoded once more, for a default that is set is not a value that is there.
            prop_assert_eq!(read(after), read(&read(before).encode_to_vec()));
        }
    }

    #[test]
    fn any_bytes_are_a_row_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..40), cut in any::<prop::sample::Index>(), seed in any::<u64>()) {
        let (_folder, path) = descriptors();
        let format = format(&path, &[]);
        let MessageFormat::Protobuf(of) = &format else { panic!("protobuf") };
        let mut damaged = message_of(&of.message, &mut StdRng::seed_from_u64(seed)).encode_to_vec();
        damaged.truncate(cut.index(damaged.len() + 1));
        let (found, errors) = rows(&format, &[bytes, damaged]);
        prop_assert_eq!(found.num_rows() + errors.len(), 2);
    }
}

#[test]
fn columns_are_those_of_the_message_and_absent_is_not_zero() {
    let (_folder, path) = descriptors();
    let format = format(&path, &[]);
    let columns = format.schema().expect("known").expect("valid");
    let shown: Vec<String> = columns
        .fields()
        .iter()
        .map(|field| format!("{} {}{}", field.name(), sql_name(field.data_type()), if field.is_nullable() { "" } else { " NOT NULL" }))
        .collect();
    assert_eq!(shown[..5], ["symbol VARCHAR NOT NULL", "price DOUBLE NOT NULL", "qty INT", "side VARCHAR NOT NULL", "at TIMESTAMP"]);
    assert_eq!(shown[9..12], ["maybe BIGINT", "a VARCHAR", "b INT"]);
    assert_eq!(shown[13], "big DECIMAL(20, 0) NOT NULL");
    let MessageFormat::Protobuf(of) = &format else { panic!("protobuf") };
    let mut full = DynamicMessage::new(of.message.clone());
    full.set_field_by_name("side", Value::EnumNumber(2));
    let at = DynamicMessage::decode(
        of.message.get_field_by_name("at").expect("at").kind().as_message().expect("a message").clone(),
        &[8, 128, 236, 201, 172, 6, 16, 128, 202, 181, 238, 1][..],
    );
    full.set_field_by_name("at", Value::Message(at.expect("a time")));
    let (rows, errors) = rows(&format, &[full.encode_to_vec(), vec![]]);
    assert_eq!(errors, []);
    let column = |name: &str| rows.column_by_name(name).expect("a column");
    assert_eq!(column("side").as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["SELL", "NEITHER"]);
    let at = column("at").as_primitive::<TimestampMicrosecondType>();
    assert_eq!((at.value(0), at.is_null(1)), (1_704_097_280_500_000, true));
    assert!(column("qty").is_null(1) && column("maybe").is_null(1) && column("inner").is_null(1));
    assert_eq!(column("u").as_primitive::<Int64Type>().value(1), 0);
    assert_eq!(column("tags").as_list::<i32>().value(1).len(), 0);
}

#[test]
fn what_does_not_fit_is_told() {
    let (folder, path) = descriptors();
    let of = |pairs: &[(&str, &str)]| MessageFormat::from_options("protobuf", SchemaKind::Value, &options(pairs)).map(drop);
    assert!(of(&[]).expect_err("no file").contains("needs option \"protobuf.descriptor\""));
    assert!(of(&[("protobuf.descriptor", "/nowhere"), ("protobuf.message", "x")]).expect_err("no file").contains("no such file"));
    let text = folder.path().join("shop.proto").display().to_string();
    std::fs::write(&text, "syntax = \"proto3\";").expect("written");
    assert!(of(&[("protobuf.descriptor", &text), ("protobuf.message", "x")]).expect_err("text").contains("--descriptor_set_out"));
    let named = |name: &str| of(&[("protobuf.descriptor", &path), ("protobuf.message", name)]);
    for name in ["shop.Trade", "com.example.shop.Trade", "com.example.shop.ShopProto$Trade", "com.example.shop.Trade$Inner"] {
        assert_eq!(named(name), Ok(()), "{name}");
    }
    assert!(named("shop.Trad").expect_err("unknown").ends_with("there are shop.Trade, shop.Trade.Inner"));
    let format = format(&path, &[]);
    let refused = |columns: &[(&str, DataType)]| {
        let columns = schema(columns);
        format.decoder(&columns, &columns, &Meaning::default()).map(drop).expect_err("refused")
    };
    assert_eq!(refused(&[("colour", DataType::Utf8)]), "message shop.Trade has no field \"colour\"");
    assert_eq!(refused(&[("symbol", DataType::Int64)]), "column \"symbol\": string does not go into BIGINT");
    assert_eq!(refused(&[("tags", DataType::Utf8)]), "column \"tags\": a repeated field does not go into VARCHAR");
    // A column may be narrower than its field; what does not fit is a bad row.
    let narrow = schema(&[("s", DataType::Int32)]);
    let mut decoder = format.decoder(&narrow, &narrow, &Meaning::default()).expect("a decoder");
    let mut bytes = Vec::new();
    wire::put_tag(1000, wire::FIXED64, &mut bytes);
    let small = [&bytes[..], &5i64.to_le_bytes()].concat();
    let large = [&bytes[..], &(1i64 << 40).to_le_bytes()].concat();
    let decoded = decoder.decode(&values([Some(small.as_slice()), Some(&large), Some(&bytes)])).expect("decoded");
    assert_eq!(decoded.columns[0].as_primitive::<Int32Type>().value(0), 5);
    let (rows, errors) = places(&decoded);
    assert_eq!((rows, errors[0]), (vec![0], (1, "field \"s\": 1099511627776 is out of range for INT")));
    assert!(errors[1].1.contains("ends too soon"));
}

#[test]
fn values_stand_behind_the_number_of_their_schema() {
    let (_folder, path) = descriptors();
    let (address, _) = registry();
    let format = format(&path, &[("schema-registry", &address), ("schema-registry.login", "me:pw"), ("topic", "t")]);
    let plain = self::format(&path, &[]);
    let bytes = vec![vec![0x0a, 1, b'A'], vec![]];
    let (rows, _) = rows(&plain, &bytes);
    let framed = encoded(&format, &rows);
    assert_eq!(framed, [&[0, 0, 0, 0, 7, 0, 0x0a, 1, b'A'][..], &[0, 0, 0, 0, 7, 0]]);
    let other = [0, 0, 0, 0, 7, 4, 0, 2, 0x0a, 1, b'B'].to_vec();
    let (again, errors) = self::rows(&format, &[framed[0].clone(), other, vec![0, 0, 0, 0, 8, 0], vec![1]]);
    assert_eq!(again.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["A", "B"]);
    assert_eq!((errors[0].0, errors[0].1.as_str()), (2, "the schema registry has no schema 8"));
    assert!(errors[1].1.contains("does not begin with the number of a schema"));
}
