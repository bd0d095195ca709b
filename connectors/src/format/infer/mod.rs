//! # Schemas from samples
//!
//! The columns of a file that declares none, from its first records: `BOOLEAN`, `BIGINT`, `DOUBLE`, `TIMESTAMP` (ISO text with
//! a time), `DATE` (ISO text without), structs and lists for JSON, and `VARCHAR` for everything else, for columns that are
//! null throughout, and for columns of several types. Whole numbers beside numbers with a point are `DOUBLE`; whole numbers
//! beyond `BIGINT` are `VARCHAR`, which keeps their digits. Fields come in the order of first appearance.

mod csv;
mod json;

pub use csv::infer_csv;
pub use json::infer_ndjson;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use super::parse::{number, time};

/// Bytes of a file that are worth sampling.
pub const SAMPLE_BYTES: usize = 1 << 20;

/// What the values of a column have in common so far.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// Nulls only.
    Null,
    Boolean,
    Integer,
    Float,
    Date,
    Timestamp,
    Text,
    List(Box<Kind>),
    Struct(Vec<(String, Kind)>),
}

impl Kind {
    /// The kind of a text.
    fn of_text(text: &str) -> Self {
        let bytes = text.as_bytes();
        if !bytes.first().is_some_and(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-')) {
            return Self::Text;
        }
        if time::date(bytes).is_some() {
            Self::Date
        } else if time::timestamp(bytes).is_some() {
            Self::Timestamp
        } else {
            Self::Text
        }
    }

    /// The kind of a number written as JSON wants it.
    fn of_number(digits: &[u8]) -> Self {
        if digits.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
            Self::Float
        } else if number::integer(digits).is_ok_and(|value| i64::try_from(value).is_ok()) {
            Self::Integer
        } else {
            Self::Text
        }
    }

    /// The kind of both.
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Null, kind) | (kind, Self::Null) => kind,
            (Self::Integer, Self::Float) | (Self::Float, Self::Integer) => Self::Float,
            (Self::Date, Self::Timestamp) | (Self::Timestamp, Self::Date) => Self::Timestamp,
            (Self::List(left), Self::List(right)) => Self::List(Box::new(left.join(*right))),
            (Self::Struct(left), Self::Struct(right)) => Self::Struct(join_fields(left, right)),
            (left, right) if left == right => left,
            _ => Self::Text,
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Null | Self::Text => DataType::Utf8,
            Self::List(item) => DataType::List(Arc::new(Field::new_list_field(item.data_type(), true))),
            Self::Struct(fields) if fields.is_empty() => DataType::Utf8,
            Self::Struct(fields) => DataType::Struct(to_fields(fields)),
        }
    }
}

fn join_fields(mut left: Vec<(String, Kind)>, right: Vec<(String, Kind)>) -> Vec<(String, Kind)> {
    for (at, (name, kind)) in right.into_iter().enumerate() {
        // Most records have the fields of the one before, in its order.
        let place = match left.get(at) {
            Some((known, _)) if *known == name => Some(at),
            _ => left.iter().position(|(known, _)| *known == name),
        };
        match place {
            Some(place) => {
                let known = std::mem::replace(&mut left[place].1, Kind::Null);
                left[place].1 = known.join(kind);
            }
            None => left.push((name, kind)),
        }
    }
    left
}

fn to_fields(fields: &[(String, Kind)]) -> Fields {
    fields.iter().map(|(name, kind)| Field::new(name, kind.data_type(), true)).collect()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;

    use super::super::csv::CsvOptions;
    use super::*;

    fn shown(schema: &Schema) -> String {
        let field = |field: &Arc<Field>| format!("{} {}", field.name(), super::super::column::sql_name(field.data_type()));
        schema.fields().iter().map(field).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn json_kinds() {
        let sample = br#"
            {"b":true,"i":1,"f":1,"t":"2024-01-01 10:00:00","d":"2024-01-01","s":"x","n":null,"m":1,"l":[1,null],"o":{"x":1,"y":[]},"e":{},"g":18446744073709551615}
            not json
            {"b":null,"i":-5,"f":2.5,"t":"2024-01-01T10:00:00.123Z","d":"2024-12-31","s":"2024-01-01","new":1,"m":"a","l":[2.5],"o":{"z":"q","x":"y"}}
            {"i":"unfin"#;
        let schema = infer_ndjson(sample, false).unwrap();
        assert_eq!(
            shown(&schema),
            "b BOOLEAN, i BIGINT, f DOUBLE, t TIMESTAMP, d DATE, s VARCHAR, n VARCHAR, m VARCHAR, l ARRAY, o STRUCT, e VARCHAR, g VARCHAR, new BIGINT"
        );
        assert_eq!(schema.field(8).data_type(), &DataType::new_list(DataType::Float64, true));
        let DataType::Struct(fields) = schema.field(9).data_type() else { panic!() };
        assert_eq!(shown(&Schema::new(fields.clone())), "x VARCHAR, y ARRAY, z VARCHAR");
        assert_eq!(fields[1].data_type(), &DataType::new_list(DataType::Utf8, true));
    }

    #[test]
    fn the_last_line_counts_when_the_sample_is_complete() {
        assert_eq!(shown(&infer_ndjson(b"{\"a\":1}\n{\"a\":1.5}", true).unwrap()), "a DOUBLE");
        assert_eq!(shown(&infer_ndjson(b"{\"a\":1}\n{\"a\":1.5}", false).unwrap()), "a BIGINT");
        assert_eq!(infer_ndjson(b"", true).unwrap_err(), "there is no record to infer columns from");
        assert_eq!(infer_ndjson(b"{\"a\":}\n", true).unwrap_err(), "no record to infer columns from: expected a value, found }");
        assert!(infer_ndjson(b"{}\n", true).unwrap_err().contains("no columns"));
        assert!(infer_ndjson("[".repeat(100_000).as_bytes(), true).is_err());
    }

    #[test]
    fn csv_kinds() {
        let sample = b"\xef\xbb\xbfid,price,at,day,zip,ok,none,\"a \"\"b\"\"\"\n1,1.5,2024-01-01 10:00:00,2024-01-01,00501,true,,x\n2,3,2024-01-02T00:00:00Z,2024-01-02,10001,FALSE,,\"1\n2\"\n3,4,5\n";
        let schema = infer_csv(sample, &CsvOptions::default(), true).unwrap();
        assert_eq!(
            shown(&schema),
            "id BIGINT, price DOUBLE, at TIMESTAMP, day DATE, zip VARCHAR, ok BOOLEAN, none VARCHAR, a \"b\" VARCHAR"
        );
        let bare = CsvOptions { header: false, null: "-".into(), ..CsvOptions::default() };
        assert_eq!(shown(&infer_csv(b"1,x\n-,y\n", &bare, true).unwrap()), "column1 BIGINT, column2 VARCHAR");
        assert_eq!(shown(&infer_csv(b"a,b\n", &CsvOptions::default(), true).unwrap()), "a VARCHAR, b VARCHAR");
        let comments = CsvOptions { comment: Some(b'#'), ..CsvOptions::default() };
        assert_eq!(shown(&infer_csv(b"# x,y\n# \"\na,b\n# z\n1,2", &comments, true).unwrap()), "a BIGINT, b BIGINT");
        assert!(infer_csv(b"", &CsvOptions::default(), true).is_err());
        assert!(infer_csv(b"a,a\n1,2\n", &CsvOptions::default(), true).unwrap_err().contains("twice"));
    }
}
