//! The decoder against an oracle that walks over characters and knows nothing of the decoder.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Null,
    Int(i64),
    Text(String),
    Float(f64),
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("i", DataType::Int64, true),
        Field::new("t", DataType::Utf8, true),
        Field::new("n", DataType::Int64, false),
        Field::new("f", DataType::Float64, true),
    ]))
}

fn cell(array: &dyn Array, row: usize) -> Cell {
    match array.data_type() {
        _ if array.is_null(row) => Cell::Null,
        DataType::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        _ => Cell::Text(array.as_string::<i32>().value(row).into()),
    }
}

/// Good rows with offsets, and bad records with offsets.
type Answer = (Vec<(u64, Vec<Cell>)>, Vec<(u64, Vec<u8>)>);

fn answer(decoded: &Decoded) -> Answer {
    let rows = 0..decoded.columns.num_rows();
    let row = |row: usize| decoded.columns.columns().iter().map(|column| cell(column, row)).collect();
    let good = rows.map(|at| (decoded.offsets.get(at), row(at))).collect();
    (good, decoded.errors.iter().map(|error| (error.offset, error.raw.clone())).collect())
}

/// A field of the oracle: content, quoted, well-formed.
type Raw = (Vec<u8>, bool, bool);

fn oracle_record(bytes: &[u8], options: &CsvOptions, mut at: usize) -> (usize, Vec<Raw>) {
    let mut fields = Vec::new();
    loop {
        let (mut content, mut good) = (Vec::new(), true);
        let quoted = at < bytes.len() && Some(bytes[at]) == options.quote;
        if quoted {
            at += 1;
            loop {
                if at >= bytes.len() {
                    fields.push((content, true, false));
                    return (bytes.len(), fields);
                }
                if Some(bytes[at]) == options.escape {
                    content.extend(bytes.get(at + 1));
                    at += 2;
                } else if Some(bytes[at]) == options.quote {
                    if at + 1 < bytes.len() && Some(bytes[at + 1]) == options.quote {
                        content.push(bytes[at]);
                        at += 2;
                    } else {
                        at += 1;
                        break;
                    }
                } else {
                    content.push(bytes[at]);
                    at += 1;
                }
            }
        }
        let mut rest = Vec::new();
        while at < bytes.len() && bytes[at] != options.delimiter && bytes[at] != b'\n' {
            rest.push(bytes[at]);
            at += 1;
        }
        let last = at >= bytes.len() || bytes[at] == b'\n';
        if last && rest.last() == Some(&b'\r') {
            rest.pop();
        }
        if quoted {
            good = rest.is_empty();
        } else {
            content = rest;
        }
        fields.push((content, quoted, good));
        at += 1;
        if last {
            return (at.min(bytes.len()), fields);
        }
    }
}

fn oracle(bytes: &[u8], options: &CsvOptions, names: &[&str], schema: &Schema) -> Answer {
    let (mut good, mut bad, mut at) = (Vec::new(), Vec::new(), 0);
    while at < bytes.len() {
        if Some(bytes[at]) == options.comment {
            at += bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len() - at, |end| end + 1);
            continue;
        }
        let (end, fields) = oracle_record(bytes, options, at);
        let raw = bytes[at..end].to_vec();
        if fields.len() == 1 && !fields[0].1 && fields[0].0.is_empty() {
            at = end;
            continue;
        }
        let value = |field: &Field| -> Result<Cell, ()> {
            let (content, quoted, _) = &fields[names.iter().position(|name| name == field.name()).unwrap()];
            let text = String::from_utf8(content.clone()).map_err(|_| ())?;
            let is_text = field.data_type() == &DataType::Utf8;
            if text == options.null && (!quoted || text.is_empty() && !is_text) {
                return if field.is_nullable() { Ok(Cell::Null) } else { Err(()) };
            }
            match field.data_type() {
                DataType::Utf8 => Ok(Cell::Text(text)),
                DataType::Int64 => text.trim_ascii().parse().map(Cell::Int).map_err(|_| ()),
                _ => text.trim_ascii().parse().map(Cell::Float).map_err(|_| ()),
            }
        };
        let sound = fields.len() == names.len() && fields.iter().all(|field| field.2) && std::str::from_utf8(&raw).is_ok();
        match if sound { schema.fields().iter().map(|field| value(field)).collect::<Result<Vec<_>, _>>() } else { Err(()) } {
            Ok(row) => good.push((at as u64, row)),
            Err(()) => {
                let raw = raw.strip_suffix(b"\n").unwrap_or(&raw);
                bad.push((at as u64, raw.strip_suffix(b"\r").unwrap_or(raw).to_vec()));
            }
        }
        at = end;
    }
    (good, bad)
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![4 => any::<i64>().prop_map(|value| value.to_string()), 2 => "[0-9]{1,3}", 1 => " ?-?[0-9]{1,20} ?", 1 => Just("".into())]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z ]{0,8}", 1 => "[-~ !#-+é漢]{0,70}", 1 => "\"([a-z,\n\r#]|\"\"|\\\\.){0,6}\"", 1 => "[a\",\\\\]{0,4}", 1 => Just("NULL".into())]
}

fn float() -> impl Strategy<Value = String> {
    prop_oneof![4 => (-100_000i64..100_000).prop_map(|value| format!("{:.2}", value as f64 / 8.0)), 1 => "\"?[0-9]{1,2}\\.5\"?", 1 => "[.0-9e]{0,3}"]
}

/// Bytes that a failing case shows as text.
#[derive(Clone)]
struct Shown(Vec<u8>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

fn records() -> impl Strategy<Value = Shown> {
    let record = (number(), text(), number(), float(), text(), 0u8..14).prop_map(|(i, t, n, f, x, shape)| match shape {
        0 => String::new(),
        1 => format!("#{t}"),
        2 => format!("{t},{i}"),
        3 => format!("\"{t}\",{i}"),
        4 => format!("{t},{i},{f},{x},{n},"),
        5 => format!("{t},{i},{f},{x},{n}\r"),
        _ => format!("{t},{i},{f},{x},{n}"),
    });
    let change = prop_oneof![5 => Just(None), 1 => any::<(prop::sample::Index, u8)>().prop_map(Some)];
    (prop::collection::vec(record, 0..12), any::<bool>(), change).prop_map(|(records, last, change)| {
        let mut bytes = records.join("\n").into_bytes();
        if last {
            bytes.push(b'\n');
        }
        if let Some((at, byte)) = change {
            bytes.insert(at.index(bytes.len() + 1), byte);
        }
        Shown(bytes)
    })
}

const NAMES: [&str; 5] = ["t", "i", "f", "x", "n"];

fn options() -> impl Strategy<Value = CsvOptions> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(escape, comment, null)| CsvOptions {
        escape: escape.then_some(b'\\'),
        comment: comment.then_some(b'#'),
        null: if null { "NULL".into() } else { String::new() },
        ..CsvOptions::default()
    })
}

fn decoder(options: &CsvOptions, schema: SchemaRef) -> CsvDecoder {
    let layout = Arc::new(CsvLayout::named(NAMES.iter().map(|name| (*name).to_owned()).collect()));
    CsvDecoder::new(schema, options.clone(), layout).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn decodes_what_the_oracle_decodes(Shown(bytes) in records(), options in options(), keep in prop::collection::vec(any::<bool>(), 4)) {
        let kept: Vec<usize> = (0..4).filter(|at| keep[*at]).collect();
        let schema = Arc::new(schema().project(&kept).unwrap());
        let decoded = decoder(&options, schema.clone()).decode(&bytes, 0);
        prop_assert_eq!(answer(&decoded), oracle(&bytes, &options, &NAMES, &schema));
    }

    /// Cut where the splitter says, a file gives the same rows, offsets and errors.
    #[test]
    fn cuts_change_nothing(Shown(bytes) in records(), options in options(), pieces in 1usize..60) {
        let whole = decoder(&options, schema()).decode(&bytes, 5);
        let mut splitter = CsvSplitter::new(&options);
        let mut decoder = decoder(&options, schema());
        let (mut good, mut bad, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        let (mut start, mut taken) = (0, 0);
        while taken < bytes.len() {
            let end = (taken + pieces).min(bytes.len());
            let cut = splitter.split_point(&bytes[taken..end]).map(|cut| taken + cut);
            taken = end;
            if let Some(end) = if taken == bytes.len() { Some(taken) } else { cut } {
                let decoded = decoder.decode(&bytes[start..end], 5 + start as u64);
                let (rows, raws) = answer(&decoded);
                good.extend(rows);
                bad.extend(raws);
                errors.extend(decoded.errors);
                start = end;
            }
        }
        prop_assert_eq!(errors, whole.errors.clone());
        prop_assert_eq!((good, bad), answer(&whole));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\",\n\r\\#a1.".to_vec())], 0..300), options in options()) {
        let decoded = decoder(&options, schema()).decode(&bytes, 0);
        prop_assert_eq!(answer(&decoded).1.len() + decoded.columns.num_rows(), {
            let (good, bad) = oracle(&bytes, &options, &NAMES, &schema());
            good.len() + bad.len()
        });
    }
}

#[test]
fn reasons_name_the_field_and_what_was_found() {
    let mut decoder = decoder(&CsvOptions::default(), schema());
    for (record, reason) in [
        ("t,x,1,x,1", r#"field "i": expected BIGINT, found x"#),
        ("t,1,1,x,", r#"field "n": is null, and the column is NOT NULL"#),
        ("t,1,one,x,1", r#"field "f": expected DOUBLE, found one"#),
        ("t,1,1,x", "expected 5 fields, found 4"),
        ("t,1,1,x,1,2", "expected 5 fields, found 6"),
        ("\"t\"u,1,1,x,1", "text behind a closing quote: \"u"),
        ("\"t,1,1,x,1", "a quoted field is not closed"),
        ("t,99999999999999999999,1,x,1", r#"field "i": 99999999999999999999 is out of range for BIGINT"#),
    ] {
        let decoded = decoder.decode(record.as_bytes(), 1);
        assert_eq!(decoded.errors.iter().map(|error| error.reason.as_str()).collect::<Vec<_>>(), [reason]);
        assert_eq!(decoded.columns.num_rows(), 0);
    }
}

#[test]
fn headers_place_columns() {
    let options = CsvOptions::default();
    let layout = CsvLayout::from_header(b"\xef\xbb\xbfn,,\"t\"\r\n", &options).unwrap();
    assert_eq!(layout.names(), ["n", "column2", "t"]);
    assert_eq!(layout.check(&schema()).unwrap_err(), "the header has no column \"i\"; it has n, column2, t");
    let mut decoder = CsvDecoder::new(schema(), options.clone(), Arc::new(layout)).unwrap();
    let decoded = decoder.decode(b"7,x,hello\n", 20);
    assert_eq!(answer(&decoded).0, [(20, vec![Cell::Null, Cell::Text("hello".into()), Cell::Int(7), Cell::Null])]);
    decoder.set_layout(&Arc::new(CsvLayout::positional(&schema())));
    let decoded = decoder.decode(b"1,a,2,3", 40);
    assert_eq!(answer(&decoded).0, [(40, vec![Cell::Int(1), Cell::Text("a".into()), Cell::Int(2), Cell::Float(3.0)])]);
    decoder.set_layout(&Arc::new(CsvLayout::named(vec!["i".into()])));
    assert_eq!(
        decoder.decode(b"1\n\n", 0).errors.iter().map(|error| error.reason.as_str()).collect::<Vec<_>>(),
        [r#"field "n": is missing"#; 2]
    );
    assert!(CsvLayout::from_header(b"a,b,a", &options).is_err());
}

#[test]
fn options_are_checked() {
    let of = |pairs: &[(&str, &str)]| {
        CsvOptions::from_options(&tidemark_planner::connector::Options(pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect()))
    };
    assert_eq!(of(&[]), Ok(CsvOptions::default()));
    let options = of(&[("delimiter", "\\t"), ("quote", ""), ("escape", "\\"), ("header", "false"), ("null", "\\N")]).unwrap();
    assert_eq!((options.delimiter, options.quote, options.escape, options.header), (b'\t', None, Some(b'\\'), false));
    assert_eq!(of(&[("delimiter", ";;")]).unwrap_err(), "option 'delimiter' must be one ASCII character, not ';;'");
    assert!(of(&[("delimiter", "é")]).is_err() && of(&[("quote", "\n")]).is_err());
    assert!(of(&[("null", "a,b")]).unwrap_err().contains("'a,b'"));
    assert!(of(&[("delimiter", "\"")]).unwrap_err().contains("different characters"));
}
