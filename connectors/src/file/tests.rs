//! What a file sink writes, a file source reads; a file is the same whatever is projected; mistakes are named.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow::array::cast::AsArray;
use arrow::array::types::{Int32Type, Int64Type};
use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type as Int64, Schema};

use super::*;
use crate::source::{Decoder as _, Read};
use crate::testing::{Whole, options, read_on, read_partition, schema, sink_plan, source_plan};

/// Rows of many types, with nulls, unicode, quotes and nesting.
fn sample(rows: usize) -> RecordBatch {
    let some = |row: usize, modulus: usize| row % modulus != modulus - 1;
    let numbers: Int64Array = (0..rows).map(|row| some(row, 7).then_some(row as i64 * 1_000_000_007)).collect();
    let floats: Float64Array = (0..rows).map(|row| some(row, 5).then_some(row as f64 / 3.0)).collect();
    let words: StringArray =
        (0..rows).map(|row| some(row, 4).then(|| ["plain", "größe, \"quoted\"", "line\nbreak", "日本", " x "][row % 5])).collect();
    let flags: BooleanArray = (0..rows).map(|row| some(row, 3).then_some(row % 2 == 0)).collect();
    let prices = Decimal128Array::from_iter((0..rows).map(|row| some(row, 6).then_some(row as i128 * 12_345 - 500)));
    let times: TimestampMicrosecondArray =
        (0..rows).map(|row| some(row, 8).then_some(1_700_000_000_000_001 + row as i64 * 999_999)).collect();
    let days: Date32Array = (0..rows).map(|row| some(row, 9).then_some(row as i32 - 40)).collect();
    let (numbers, words): (ArrayRef, ArrayRef) = (Arc::new(numbers), Arc::new(words));
    RecordBatch::try_from_iter_with_nullable([
        ("n", numbers, true),
        ("f", Arc::new(floats), true),
        ("w", words, true),
        ("b", Arc::new(flags), true),
        ("p", Arc::new(prices.with_precision_and_scale(20, 3).expect("in range")), true),
        ("t", Arc::new(times), true),
        ("d", Arc::new(days), true),
    ])
    .expect("columns of one length")
}

/// The same with nested columns.
fn nested(rows: usize) -> RecordBatch {
    let flat = sample(rows);
    let list =
        ListArray::from_iter_primitive::<Int64, _, _>((0..rows).map(|row| (row % 4 != 3).then(|| (0..row % 3).map(|at| Some(at as i64)))));
    let fields = vec![Field::new("inner", DataType::Int64, true), Field::new("text", DataType::Utf8, true)];
    let row = StructArray::new(fields.into(), vec![flat.column(0).clone(), flat.column(2).clone()], None);
    let mut columns: Vec<(String, ArrayRef)> =
        flat.schema().fields().iter().map(|field| field.name().clone()).zip(flat.columns().iter().cloned()).collect();
    columns.push(("l".into(), Arc::new(list)));
    columns.push(("r".into(), Arc::new(row)));
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).expect("columns of one length")
}

fn write(path: &Path, pairs: &[(&str, &str)], rows: &RecordBatch, diffs: Option<&[i64]>) {
    let path = path.display().to_string();
    let pairs: Vec<(&str, &str)> = pairs.iter().copied().chain([("path", path.as_str())]).collect();
    let changelog = if diffs.is_some() { ChangelogKind::Retract } else { ChangelogKind::AppendOnly };
    let plan = sink_plan("file", &pairs, &rows.schema(), changelog);
    check_sink(&plan.options, &plan.schema, changelog).expect("fit for the sink");
    let mut sink = open_ordered(&plan, crate::changes::Order::of(&plan).unsorted()).expect("opened");
    for start in (0..rows.num_rows()).step_by(1000) {
        let length = 1000.min(rows.num_rows() - start);
        sink.write(&rows.slice(start, length), diffs.map(|diffs| &diffs[start..start + length])).expect("written");
        sink.end_epoch(start as u64).expect("written");
    }
    assert!(sink.finish().expect("finished").bytes > 0);
}

fn open_one(
    path: &Path,
    pairs: &[(&str, &str)],
    declared: &SchemaRef,
    read: &[usize],
) -> Result<(Box<dyn Source>, SchemaRef), ConnectorError> {
    let path = path.display().to_string();
    let pairs: Vec<(&str, &str)> = pairs.iter().copied().chain([("path", path.as_str())]).collect();
    let plan = source_plan("file", &pairs, declared, read);
    open_source(&plan).map(|source| (source, plan.read_schema))
}

fn read(path: &Path, pairs: &[(&str, &str)], declared: &SchemaRef, read: &[usize]) -> Whole {
    let (source, schema) = open_one(path, pairs, declared, read).expect("opened");
    assert_eq!(source.partitions().len(), 1);
    read_partition(source.as_ref(), 0, &schema).expect("read")
}

fn told(path: &Path, pairs: &[(&str, &str)], declared: Option<&SchemaRef>) -> String {
    let path = path.display().to_string();
    let pairs: Vec<(&str, &str)> = pairs.iter().copied().chain([("path", path.as_str())]).collect();
    facts(&options(&pairs), declared).expect_err("refused").replace(&path, "PATH")
}

#[test]
fn every_format_gives_back_what_it_wunsorted() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, rows) in [("a.ndjson", nested(2500)), ("a.csv", sample(2500)), ("a.parquet", nested(2500)), ("a.tsv", sample(2500))] {
        let path = folder.path().join(name);
        // Empty text and null look alike in CSV unless null has a word of its own.
        let pairs: &[(&str, &str)] = if name.ends_with("sv") { &[("null", "NULL")] } else { &[] };
        write(&path, pairs, &rows, None);
        let all: Vec<usize> = (0..rows.num_columns()).collect();
        let whole = read(&path, pairs, &rows.schema(), &all);
        assert_eq!(whole.errors, [], "{name}");
        assert_eq!(whole.rows, rows, "{name}");
        for projection in [vec![], vec![2], vec![5, 0], vec![6, 4, 2]] {
            let part = read(&path, pairs, &rows.schema(), &projection);
            assert_eq!(part.rows, rows.project(&projection).expect("in range"), "{name} {projection:?}");
            assert_eq!(part.offsets, whole.offsets, "{name}: offsets do not depend on what is read");
        }
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(left.len(), 4, "no temporary file stays: {left:?}");
}

#[test]
fn a_column_op_shows_each_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows =
        RecordBatch::try_from_iter_with_nullable([("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef, true)]).expect("a column");
    let declared = schema(&[("op", DataType::Utf8), ("n", DataType::Int64)]);
    for name in ["a.ndjson", "a.csv", "a.parquet"] {
        let path = folder.path().join(name);
        write(&path, &[], &rows, Some(&[1, -1, 2]));
        let whole = read(&path, &[], &declared, &[0, 1]).rows;
        let words: Vec<&str> = whole.column(0).as_string::<i32>().iter().flatten().collect();
        assert_eq!(words, ["+I", "-D", "+I", "+I"], "{name}");
        assert_eq!(whole.column(1).as_primitive::<Int64Type>().values().to_vec(), [1, 2, 3, 3], "{name}");
    }
}

#[test]
fn large_row_groups_are_read_in_stretches() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.parquet");
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(Int32Array::from_iter_values(0..300_000)) as ArrayRef, true),
        ("w", Arc::new(StringArray::from_iter((0..300_000).map(|row| (row % 3 > 0).then(|| format!("w{}", row % 1000))))), true),
    ])
    .expect("columns");
    // One row group of 200,001 rows and one of the rest.
    let properties = ::parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(200_001)).build();
    let file = std::fs::File::create(&path).expect("created");
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(file, rows.schema(), Some(properties)).expect("a writer");
    writer.write(&rows).expect("written");
    writer.close().expect("closed");
    for projection in [vec![0, 1], vec![1], vec![]] {
        let whole = read(&path, &[], &rows.schema(), &projection);
        assert_eq!(whole.chunks, 4 + 2);
        assert_eq!(whole.rows, rows.project(&projection).expect("in range"));
        assert_eq!(whole.offsets, (0..300_000).collect::<Vec<_>>());
    }
}

#[test]
fn parquet_columns_are_found_by_name_and_cast() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.parquet");
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(5_000_000_000), None, Some(4)]));
    let words: ArrayRef = Arc::new(StringArray::from(vec!["1.50", "2", "x", "4"]));
    let rows = RecordBatch::try_from_iter_with_nullable([("Number", numbers, true), ("word", words, true)]).expect("columns");
    write(&path, &[], &rows, None);
    let declared = schema(&[("word", DataType::Utf8), ("number", DataType::Int32)]);
    let whole = read(&path, &[], &declared, &[0, 1]);
    assert_eq!(whole.offsets, [0, 2, 3]);
    assert_eq!(whole.rows.column(1).as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), [Some(1), None, Some(4)]);
    assert_eq!(whole.errors.len(), 1);
    assert_eq!((whole.errors[0].offset, whole.errors[0].raw.as_slice()), (1, &b"5000000000"[..]));
    assert_eq!(whole.errors[0].reason, "column \"number\": 5000000000 does not fit Int32");
    // A column that must not be null.
    let strict: SchemaRef = Arc::new(Schema::new(vec![Field::new("number", DataType::Int64, false)]));
    let whole = read(&path, &[], &strict, &[0]);
    assert_eq!((whole.offsets.as_slice(), whole.errors[0].reason.as_str()), (&[0, 1, 3][..], "column \"number\" must not be null"));
    // What cannot be.
    assert_eq!(
        told(&path, &[], Some(&schema(&[("price", DataType::Int64)]))),
        "file \"PATH\": the file has no column \"price\"; it has Number, word"
    );
    let list = DataType::new_list(DataType::Int64, true);
    let impossible = schema(&[("number", DataType::Struct(vec![Field::new("x", list, true)].into()))]);
    assert!(
        told(&path, &[], Some(&impossible)).starts_with("file \"PATH\": column \"number\" is Int64 in the file and cannot become Struct")
    );
    // Inferred, when nothing is declared.
    let path_text = path.display().to_string();
    let inferred = facts(&options(&[("path", &path_text)]), None).expect("a parquet file").schema.expect("its columns");
    assert_eq!(inferred, rows.schema());
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    assert_eq!(told(&at("none.csv"), &[], None), "file \"PATH\" does not exist");
    assert_eq!(told(&at("*.csv"), &[], None), "no file matches \"PATH\"");
    assert_eq!(told(&at(""), &[], None), "folder \"PATH\" holds no file whose ending tells a format");
    std::fs::write(at("a.txt"), "x").expect("written");
    assert_eq!(told(&at("a.txt"), &[], None), "the ending of \"PATH\" tells no format; add format = 'ndjson', 'csv' or 'parquet'");
    std::fs::write(at("bad.parquet"), "no parquet at all").expect("written");
    assert!(told(&at("bad.parquet"), &[], None).starts_with("file \"PATH\": the parquet file cannot be read: "));
    assert_eq!(
        told(&at("bad.parquet"), &[("follow", "true")], None),
        "a parquet file cannot be followed: it is complete when its end is written"
    );
    std::fs::write(at("empty.ndjson"), "").expect("written");
    assert_eq!(
        told(&at("empty.ndjson"), &[], None),
        "file \"PATH\" is empty, so its columns cannot be inferred; declare them with CREATE SOURCE"
    );
    std::fs::write(at("array.json"), " [{\"a\": 1}]").expect("written");
    assert_eq!(told(&at("array.json"), &[], None), "file \"PATH\": it is one JSON array; write one object per line");
    assert_eq!(
        path_options("trades.xls").expect_err("refused"),
        "the ending of 'trades.xls' tells no format; known are .ndjson, .jsonl, .json, .csv, .tsv and .parquet"
    );
    for (path, format) in [("a.jsonl", "ndjson"), ("d/*.CSV", "csv"), ("x.parquet", "parquet"), ("x.csv.gz", "csv"), ("x.tsv", "csv")] {
        assert_eq!(path_options(path).expect("known").get("format"), Some(format));
    }
}

#[test]
fn a_sink_refuses_what_it_cannot_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let columns = schema(&[("n", DataType::Int64)]);
    let refused = |name: &str, more: &[(&str, &str)], columns: &SchemaRef, changelog: ChangelogKind| {
        let path = folder.path().join(name).display().to_string();
        let pairs: Vec<(&str, &str)> = more.iter().copied().chain([("path", path.as_str())]).collect();
        check_sink(&options(&pairs), columns, changelog).expect_err("refused").replace(&path, "PATH")
    };
    let append = ChangelogKind::AppendOnly;
    assert!(refused("none/a.csv", &[], &columns, append).ends_with("none\" does not exist; make it first"));
    assert_eq!(refused("", &[], &columns, append), "\"PATH\" is a folder; name a file in it");
    assert_eq!(
        refused("a.csv.gz", &[], &columns, append),
        "\"PATH\" would be a compressed file, which is read but not written; leave out the last ending"
    );
    assert!(refused("a.parquet", &[("op", "false")], &columns, ChangelogKind::Retract).starts_with("rows can be taken back here"));
    let op = schema(&[("op", DataType::Utf8)]);
    assert!(refused("a.parquet", &[], &op, ChangelogKind::Retract).starts_with("the sink writes a column \"op\""));
    let empty = schema(&[("i", DataType::Struct(arrow::datatypes::Fields::empty()))]);
    assert!(refused("a.parquet", &[], &empty, append).starts_with("parquet cannot hold these columns: "));
}

#[test]
fn a_failed_run_leaves_the_old_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.csv");
    std::fs::write(&path, "old\n").expect("written");
    let text = path.display().to_string();
    let plan = sink_plan("file", &[("path", &text)], &schema(&[("n", DataType::Int64)]), ChangelogKind::AppendOnly);
    let sink = open_sink(&plan, 0).expect("opened");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 2);
    drop(sink);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    assert_eq!(std::fs::read_to_string(&path).expect("readable"), "old\n");
}

#[test]
fn files_of_a_glob_and_a_folder_are_partitions_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in
        [("b.ndjson", "{\"n\":2}\n"), ("a.ndjson", "{\"n\":1}\n"), (".hidden.ndjson", "x"), ("notes.txt", "x"), ("c.ndjson", "")]
    {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let declared = schema(&[("n", DataType::Int64)]);
    for path in [folder.path().join("*.ndjson"), folder.path().to_path_buf()] {
        let (source, read_schema) = open_one(&path, &[], &declared, &[0]).expect("opened");
        let names: Vec<&str> = source.partitions().iter().map(|partition| partition.name.rsplit('/').next().unwrap_or_default()).collect();
        assert_eq!(names, ["a.ndjson", "b.ndjson", "c.ndjson"]);
        let rows: Vec<usize> = (0..3).map(|at| read_partition(source.as_ref(), at, &read_schema).expect("read").rows.num_rows()).collect();
        assert_eq!(rows, [1, 1, 0]);
    }
    std::fs::write(folder.path().join("d.csv"), "n\n1\n").expect("written");
    assert_eq!(
        told(folder.path(), &[], Some(&declared)),
        "the files of \"PATH\" differ in format; add format = 'ndjson', 'csv' or 'parquet'"
    );
}

#[test]
fn packed_files_are_unpacked() {
    let folder = tempfile::tempdir().expect("a folder");
    let declared = schema(&[("n", DataType::Int64)]);
    let text: String = (0..200_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).expect("packed");
    for (name, bytes) in
        [("a.ndjson.gz", gzip.finish().expect("packed")), ("a.ndjson.zst", zstd::encode_all(text.as_bytes(), 1).expect("packed"))]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let whole = read(&path, &[], &declared, &[0]);
        assert_eq!(whole.rows.column(0).as_primitive::<Int64Type>().values().to_vec(), (0..200_000).collect::<Vec<_>>());
        assert!(whole.chunks > 1);
        assert!(told(&path, &[("follow", "true")], Some(&declared)).ends_with("is compressed and cannot be followed"));
    }
}

#[test]
fn a_followed_file_gives_rows_as_they_are_complete() {
    for (name, header) in [("a.ndjson", ""), ("a.csv", "n\n")] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        std::fs::write(&path, "").expect("written");
        let line = |n: i64| if header.is_empty() { format!("{{\"n\":{n}}}\n") } else { format!("{n}\n") };
        let declared = schema(&[("n", DataType::Int64)]);
        let (source, read_schema) = open_one(&path, &[("follow", "true")], &declared, &[0]).expect("opened");
        assert_eq!(source.partitions()[0].bytes, None);
        let mut reader = source.open(0).expect("opened");
        let append = |text: &str| {
            let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("opened");
            file.write_all(text.as_bytes()).expect("written");
        };
        let mut next = || {
            let whole = read_on(source.as_ref(), reader.as_mut(), &read_schema, false).expect("read");
            whole.rows.column(0).as_primitive::<Int64Type>().values().to_vec()
        };
        assert_eq!(next(), Vec::<i64>::new());
        append(header);
        append(&line(1));
        append(&line(2)[..1]);
        assert_eq!(next(), [1]);
        assert_eq!(next(), Vec::<i64>::new());
        append(&line(2)[1..]);
        append(&line(3));
        assert_eq!(next(), [2, 3]);
        // Cut: offsets would mean other rows.
        std::fs::write(&path, header).expect("written");
        let mut error = None;
        for _ in 0..100 {
            match reader.next() {
                Ok(Read::Pending) => {}
                Ok(_) => panic!("nothing new was written"),
                Err(failed) => error = Some(failed),
            }
        }
        let error = error.expect("a cut file is told").to_string();
        assert!(error.contains("the file was cut to "), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_followed_file_that_is_replaced_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.ndjson");
    std::fs::write(&path, "{\"n\":1}\n").expect("written");
    let declared = schema(&[("n", DataType::Int64)]);
    let (source, read_schema) = open_one(&path, &[("follow", "true")], &declared, &[0]).expect("opened");
    let mut reader = source.open(0).expect("opened");
    assert_eq!(read_on(source.as_ref(), reader.as_mut(), &read_schema, false).expect("read").rows.num_rows(), 1);
    std::fs::rename(&path, folder.path().join("a.ndjson.1")).expect("moved");
    std::fs::write(&path, "{\"n\":2}\n").expect("written");
    let error = (0..100).find_map(|_| reader.next().err()).expect("told").to_string();
    assert!(error.contains("was replaced by another"), "{error}");
}

#[test]
fn nexmark_files_hold_the_events() {
    use crate::nexmark::{Shape, write_file};
    let folder = tempfile::tempdir().expect("a folder");
    for (name, shape) in
        [("bids.ndjson", Shape::Bid), ("bids.csv", Shape::Bid), ("all.parquet", Shape::Combined), ("all.ndjson", Shape::Combined)]
    {
        let path = folder.path().join(name);
        let rows = write_file(&path, shape, 40_000, 10_000).expect("written");
        let declared = shape.schema();
        let all: Vec<usize> = (0..declared.fields().len()).collect();
        let whole = read(&path, &[], &declared, &all);
        assert_eq!(whole.rows.num_rows() as u64, rows, "{name}");
        let word = if shape == Shape::Bid { "bid" } else { "combined" };
        let plan = source_plan("nexmark", &[("shape", word), ("events", "40000")], &declared, &all);
        let source = crate::nexmark::open(&plan).expect("valid");
        assert_eq!(whole.rows, read_partition(source.as_ref(), 0, &declared).expect("read").rows, "{name}");
    }
}

#[test]
fn text_is_cut_at_records_however_it_is_read() {
    use crate::record::Cutter;
    let text = "n,w\n1,\"a\nb\"\n2,\"c \"\"q\"\"\n\n\"\n3,plain\n4,\"x\"";
    let declared = schema(&[("n", DataType::Int64), ("w", DataType::Utf8)]);
    let csv = text_format(Format::Csv, &options(&[])).expect("valid");
    let mut expected: Option<RecordBatch> = None;
    for size in 1..=text.len() {
        let mut cutter = Cutter::new("t", &csv, &declared, &declared);
        let mut decoder = csv.decoder("t", &declared).expect("valid");
        let mut pieces = text.as_bytes().chunks(size);
        let mut batches = Vec::new();
        let mut offsets = Vec::new();
        loop {
            let (chunk, _, ended) = cutter
                .next(|buffer| {
                    let piece = pieces.next();
                    buffer.extend_from_slice(piece.unwrap_or_default());
                    Ok(piece.is_none())
                })
                .expect("cut");
            if let Some(chunk) = chunk {
                let decoded = decoder.decode(chunk).expect("decoded");
                assert_eq!(decoded.errors, [], "pieces of {size}");
                offsets.extend((0..decoded.columns.num_rows()).map(|row| decoded.offsets.get(row)));
                batches.push(decoded.columns);
            }
            if ended {
                break;
            }
        }
        let rows = arrow::compute::concat_batches(&declared, &batches).expect("one schema");
        assert_eq!(offsets, [4, 12, 26, 34], "pieces of {size}");
        assert_eq!(&rows, expected.get_or_insert_with(|| rows.clone()), "pieces of {size}");
    }
    let rows = expected.expect("at least one size");
    let words: Vec<&str> = rows.column(1).as_string::<i32>().iter().flatten().collect();
    assert_eq!(words, ["a\nb", "c \"q\"\n\n", "plain", "x"]);
}
