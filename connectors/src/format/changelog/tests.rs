//! A random changelog of a table, written in each form and cut anywhere, adds up to the table; and what is wrong is a bad row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use proptest::prelude::*;

use super::*;
use crate::format::csv::CsvOptions;
use crate::format::ndjson::NdjsonOptions;
use crate::record::TextFormat;
use crate::source::{Chunk, ChunkBody, Decoded, Decoder};

type Row = (i64, Option<String>);

/// One change of a table: the row before and the row after.
type Change = (Option<Row>, Option<Row>);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("name", DataType::Utf8, true)]))
}

fn meaning(upsert: bool) -> Meaning {
    Meaning { upsert, key: vec!["id".into()] }
}

fn add(sum: &mut BTreeMap<Row, i64>, decoded: &Decoded, upsert: bool) {
    let id = decoded.columns.column(0).as_primitive::<Int64Type>();
    let name = decoded.columns.column(1).as_string::<i32>();
    for row in 0..decoded.columns.num_rows() {
        let diff = decoded.diffs.as_ref().map_or(1, |diffs| diffs[row]);
        let value = (id.value(row), name.is_valid(row).then(|| name.value(row).to_owned()));
        if upsert {
            sum.retain(|(id, _), _| *id != value.0);
            if diff > 0 {
                sum.insert(value, 1);
            }
        } else {
            *sum.entry(value).or_default() += diff;
        }
    }
    sum.retain(|_, count| *count != 0);
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec((0..5i64, prop::option::of("[a-z\"é]{0,3}"), 0..3u8), 0..40).prop_map(|all| {
        let mut table: BTreeMap<i64, Row> = BTreeMap::new();
        let mut out = Vec::new();
        for (id, name, what) in all {
            let before = table.get(&id).cloned();
            let after = (what > 0 || before.is_none()).then_some((id, name));
            match &after {
                Some(row) => table.insert(id, row.clone()),
                None => table.remove(&id),
            };
            out.push((before, after));
        }
        out
    })
}

fn table(changes: &[Change]) -> BTreeMap<Row, i64> {
    let mut table: BTreeMap<i64, Row> = BTreeMap::new();
    for (before, after) in changes {
        before.iter().for_each(|row| drop(table.remove(&row.0)));
        after.iter().for_each(|row| drop(table.insert(row.0, row.clone())));
    }
    table.into_values().map(|row| (row, 1)).collect()
}

fn json(row: &Row) -> String {
    format!(r#""id":{},"name":{}"#, row.0, row.1.as_ref().map_or("null".into(), |name| format!("{name:?}")))
}

/// How changes are written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Words { upsert: bool },
    Diffs,
    Envelopes { payload: bool, upsert: bool, before: bool },
}

fn lines(changes: &[Change], form: Form) -> Vec<String> {
    let side = |row: &Option<Row>| row.as_ref().map_or("null".to_owned(), |row| format!("{{{}}}", json(row)));
    let mut lines = Vec::new();
    for (before, after) in changes {
        match form {
            Form::Words { upsert: false } => {
                let pair = before.is_some() && after.is_some();
                before.iter().for_each(|row| lines.push(format!(r#"{{"op":"{}",{}}}"#, if pair { "-U" } else { "-D" }, json(row))));
                after.iter().for_each(|row| lines.push(format!(r#"{{{},"op":"{}"}}"#, json(row), if pair { "+U" } else { "insert" })));
            }
            Form::Words { upsert: true } => lines.push(match after {
                Some(row) => format!(r#"{{"op":"{}",{}}}"#, if before.is_some() { "update" } else { "I" }, json(row)),
                None => format!(r#"{{"op":"delete","id":{}}}"#, before.as_ref().map_or(0, |row| row.0)),
            }),
            Form::Diffs => {
                before.iter().for_each(|row| lines.push(format!(r#"{{"n":-1,{}}}"#, json(row))));
                after.iter().for_each(|row| lines.push(format!(r#"{{"n":1,{}}}"#, json(row))));
            }
            Form::Envelopes { payload, before: whole, .. } => {
                let op = match (before, after) {
                    (None, _) => "c",
                    (_, Some(_)) => "u",
                    (_, None) => "d",
                };
                // A database that does not log rows whole gives the key of a deleted row only, and nothing of an updated one.
                let before = match (op, before) {
                    ("d", Some(row)) if !whole => format!(r#"{{"id":{}}}"#, row.0),
                    ("u", Some(_)) if !whole => "null".into(),
                    (_, before) => side(before),
                };
                let envelope = format!(r#"{{"before":{before},"after":{},"source":{{"lsn":1}},"op":"{op}","ts_ms":5}}"#, side(after));
                lines.push(if payload { format!(r#"{{"schema":{{"type":"struct"}},"payload":{envelope}}}"#) } else { envelope });
                if op == "d" {
                    lines.push("null".into());
                }
            }
        }
    }
    lines
}

fn decoder(form: Form) -> impl Decoder {
    let json = TextFormat::Ndjson(NdjsonOptions::default());
    let (format, upsert) = match form {
        Form::Words { upsert } => (TextFormat::marked(json, Marks::Op("op".into())), upsert),
        Form::Diffs => (TextFormat::marked(json, Marks::Diff("n".into())), false),
        Form::Envelopes { upsert, .. } => (TextFormat::debezium(NdjsonOptions::default(), DebeziumOptions::default()), upsert),
    };
    format.meaning(meaning(upsert)).decoder("test", &schema()).expect("a decoder")
}

fn decode(decoder: &mut impl Decoder, text: &str, offset: u64) -> Decoded {
    let body = ChunkBody::Bytes(text.as_bytes().to_vec());
    decoder.decode(Chunk { offset, bytes: text.len() as u64, body }).expect("decoded")
}

proptest! {
    #[test]
    fn a_changelog_adds_up_to_its_table(changes in changes(), cuts in prop::collection::vec(1usize..6, 60)) {
        let wanted = table(&changes);
        for form in [
            Form::Words { upsert: false },
            Form::Words { upsert: true },
            Form::Diffs,
            Form::Envelopes { payload: false, upsert: false, before: true },
            Form::Envelopes { payload: true, upsert: false, before: true },
            Form::Envelopes { payload: true, upsert: true, before: false },
            Form::Envelopes { payload: false, upsert: true, before: true },
        ] {
            let upsert = matches!(form, Form::Words { upsert: true } | Form::Envelopes { upsert: true, .. });
            let lines = lines(&changes, form);
            let mut decoder = decoder(form);
            let mut sum = BTreeMap::new();
            let (mut rest, mut offset) = (lines.as_slice(), 0);
            for cut in &cuts {
                let (chunk, behind) = rest.split_at(rest.len().min(*cut));
                rest = behind;
                let text: String = chunk.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
                let decoded = decode(&mut decoder, &text, offset);
                prop_assert_eq!(&decoded.errors, &vec![], "{:?}", form);
                offset += text.len() as u64;
                add(&mut sum, &decoded, upsert);
            }
            let text: String = rest.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
            add(&mut sum, &decode(&mut decoder, &text, offset), upsert);
            prop_assert_eq!(&sum, &wanted, "{:?}", form);
        }
    }
}

#[test]
fn what_is_wrong_is_a_bad_row_with_its_place() {
    let envelopes = |upsert| Form::Envelopes { payload: false, upsert, before: true };
    let words = |upsert| Form::Words { upsert };
    for (form, line, reason) in [
        (words(false), r#"{"id":1}"#, "field \"op\": is missing, and says what the row does"),
        (words(false), r#"{"id":1,"op":"x"}"#, "field \"op\": x is no kind of change"),
        (words(false), r#"{"id":1,"op":"update"}"#, "field \"op\": an update without the row before it; use changelog.mode = 'upsert'"),
        (words(true), r#"{"name":"x","op":"delete"}"#, "field \"id\": is missing"),
        (Form::Diffs, r#"{"id":1,"n":0}"#, "field \"n\": 0 changes nothing"),
        (Form::Diffs, r#"{"id":1}"#, "field \"n\": is missing, and says how often the row is there"),
        (envelopes(false), r#"{"id":1}"#, "there is no \"before\", \"after\" or \"op\" in it: this is no Debezium record"),
        (envelopes(false), r#"{"after":{"id":1}}"#, "field \"op\": is missing, and says what the record does"),
        (envelopes(false), r#"{"after":{"id":1},"op":"z"}"#, "field \"op\": z is no kind of change"),
        (envelopes(false), r#"{"op":"t"}"#, "field \"op\": a table was emptied (t), and which rows it had is not said"),
        (envelopes(false), r#"{"before":{"id":1},"op":"c"}"#, "field \"after\": is missing, and a record with op \"c\" needs it"),
        (
            envelopes(false),
            r#"{"after":{"id":1},"op":"u"}"#,
            "field \"before\": is missing, and a record with op \"u\" needs it; log whole rows, or declare the table's PRIMARY KEY",
        ),
        (envelopes(true), r#"{"op":"d"}"#, "field \"before\": is missing, and a record with op \"d\" needs it"),
        (envelopes(true), r#"{"before":{"name":"x"},"op":"d"}"#, "field \"before.id\": is null, and the column is NOT NULL"),
        (envelopes(false), r#"{"before":{"name":"x"},"op":"d"}"#, "field \"before.id\": is null, and the column is NOT NULL"),
        (envelopes(true), r#"{"after":{"id":null},"op":"c"}"#, "field \"after.id\": is null, and the column is NOT NULL"),
        (envelopes(true), r#"{"after":{"id":"x"},"op":"c"}"#, "field \"after.id\": expected BIGINT, found x"),
    ] {
        let good = match form {
            Form::Words { .. } => r#"{"id":7,"op":"+I"}"#,
            Form::Diffs => r#"{"id":7,"n":1}"#,
            Form::Envelopes { .. } => r#"{"after":{"id":7},"op":"r"}"#,
        };
        let text = format!("{good}\n{line}\r\n{good}\n");
        let decoded = decode(&mut decoder(form), &text, 100);
        assert_eq!(decoded.columns.num_rows(), 2, "{line}");
        let place = 100 + good.len() as u64 + 1;
        let found: Vec<_> = decoded.errors.iter().map(|error| (error.offset, error.raw.as_slice(), error.reason.as_str())).collect();
        assert_eq!(found, [(place, line.as_bytes(), reason)], "{line}");
        assert_eq!((decoded.offsets.get(0), decoded.offsets.get(1)), (100, place + line.len() as u64 + 2), "{line}");
    }
}

#[test]
fn an_update_that_moves_a_row_deletes_its_old_key() {
    let text = "{\"before\":{\"id\":1},\"after\":{\"id\":2},\"op\":\"u\"}\n{\"before\":{\"id\":2},\"after\":{\"id\":2},\"op\":\"u\"}\n";
    let decoded = decode(&mut decoder(Form::Envelopes { payload: false, upsert: true, before: true }), text, 0);
    assert_eq!(decoded.columns.column(0).as_primitive::<Int64Type>().values().to_vec(), [1, 2, 2]);
    assert_eq!(decoded.diffs, Some(vec![-1, 1, 1]));
}

#[test]
fn csv_says_it_in_a_column_too() {
    let csv = TextFormat::Csv(CsvOptions { header: false, ..CsvOptions::default() });
    let format = TextFormat::marked(csv, Marks::Op("op".into())).meaning(meaning(true));
    let mut cutter = crate::record::Cutter::new("test", &format, &schema(), &schema());
    let text = b"+I,1,\"a\nb\"\nx,2,\"c\nd\"\n-D,1,\n";
    let fill = |buffer: &mut Vec<u8>| {
        buffer.extend_from_slice(text);
        Ok(true)
    };
    let chunk = cutter.next(fill).expect("cut").0.expect("a chunk");
    let decoded = format.decoder("test", &schema()).expect("a decoder").decode(chunk).expect("decoded");
    assert_eq!(decoded.diffs, Some(vec![1, -1]));
    assert_eq!(decoded.errors.len(), 1);
    assert_eq!((decoded.errors[0].offset, decoded.errors[0].raw.as_slice()), (11, &b"x,2,\"c\nd\""[..]));
}
