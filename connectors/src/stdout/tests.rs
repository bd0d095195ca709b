//! Golden output: equal changes print as equal bytes, whatever their order within an epoch.

use std::io::Write;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use proptest::prelude::*;
use tidemark_planner::plan::{ChangelogKind, SinkPlan};

use super::*;
use crate::sink::SinkReport;
use crate::testing::{options, schema, sink_plan};

/// A stream that can be looked at.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u8>>>);

impl Write for Seen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("one thread").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Seen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("one thread").clone()).expect("text")
    }
}

fn rows(symbols: &[Option<&str>], prices: &[i128], times: &[i64]) -> RecordBatch {
    let symbols: ArrayRef = Arc::new(StringArray::from(symbols.to_vec()));
    let prices = Decimal128Array::from_iter_values(prices.iter().copied()).with_precision_and_scale(10, 2).expect("in range");
    let times = TimestampMicrosecondArray::from_iter_values(times.iter().map(|minute| 1_704_067_200_000_000 + minute * 60_000_000));
    RecordBatch::try_from_iter_with_nullable([
        ("symbol", symbols, true),
        ("avg", Arc::new(prices) as ArrayRef, true),
        ("at", Arc::new(times), true),
    ])
    .expect("columns of one length")
}

fn plan(rows: &RecordBatch, pairs: &[(&str, &str)], changelog: ChangelogKind) -> SinkPlan {
    sink_plan("stdout", pairs, &rows.schema(), changelog)
}

fn print(plan: &SinkPlan, style: StdoutStyle, epochs: &[(&RecordBatch, Option<&[i64]>)]) -> (String, SinkReport) {
    let seen = Seen::default();
    let stdout = Stdout::new(Box::new(seen.clone()));
    let mut sink = open(plan, &stdout, style).expect("opened");
    for (epoch, (rows, diffs)) in epochs.iter().enumerate() {
        sink.write(rows, *diffs).expect("written");
        sink.end_epoch(epoch as u64).expect("written");
    }
    let report = sink.finish().expect("finished");
    assert_eq!(report.bytes, seen.text().len() as u64);
    (seen.text(), report)
}

#[test]
fn a_changelog_is_one_line_per_change() {
    let first = rows(&[Some("AAA"), None], &[1000, 5], &[5, 5]);
    let second = rows(&[Some("AAA"), Some("AAA"), Some("a long\nname")], &[2000, 1000, 123_456], &[5, 5, 6]);
    let mut plan = plan(&first, &[("format", "changelog")], ChangelogKind::Retract);
    plan.key = Some(vec![0]);
    let (text, report) = print(&plan, StdoutStyle::default(), &[(&first, None), (&second, Some(&[1, -1, 3]))]);
    let expected = "\
diff  symbol    avg  at
+1    null     0.05  2024-01-01 00:05:00
+1    AAA     10.00  2024-01-01 00:05:00
-1    AAA              10.00  2024-01-01 00:05:00
+1    AAA              20.00  2024-01-01 00:05:00
+3    a long\\nname    1234.56  2024-01-01 00:06:00
";
    assert_eq!(squeeze(&text), squeeze(expected), "{text}");
    assert_eq!(report.changes, 2 + 5);
    let aligned: Vec<usize> = text.lines().skip(3).map(|line| line.find("2024").expect("a time")).collect();
    assert!(aligned.iter().all(|at| *at == aligned[0]), "{text}");
}

/// Words with single spaces: for what is said, apart from how wide it is.
fn squeeze(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn colours_surround_the_change_only() {
    let batch = rows(&[Some("A")], &[100], &[0]);
    let plan = plan(&batch, &[], ChangelogKind::Retract);
    let style = StdoutStyle { color: true, ..StdoutStyle::default() };
    let (text, _) = print(&plan, style, &[(&batch, None), (&batch, Some(&[-1]))]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].starts_with("\x1b[32m+1\x1b[0m    A"), "{text:?}");
    assert!(lines[2].starts_with("\x1b[31m-1\x1b[0m    A"), "{text:?}");
}

#[test]
fn a_table_is_the_sum_of_all_changes() {
    let first = rows(&[Some("BBB"), Some("AAA"), None], &[300, 1000, 5], &[0, 5, 5]);
    let second = rows(&[Some("AAA"), Some("AAA"), Some("BBB")], &[1000, 2000, 300], &[5, 5, 0]);
    let plan = plan(&first, &[("format", "table")], ChangelogKind::Retract);
    let (text, report) = print(&plan, StdoutStyle::default(), &[(&first, None), (&second, Some(&[-1, 1, 1]))]);
    let expected = " symbol |   avg | at
--------+-------+---------------------
 null   |  0.05 | 2024-01-01 00:05:00
 AAA    | 20.00 | 2024-01-01 00:05:00
 BBB    |  3.00 | 2024-01-01 00:00:00
 BBB    |  3.00 | 2024-01-01 00:00:00
(4 rows)
";
    assert_eq!(text, expected);
    assert_eq!(report.changes, 6);
}

#[test]
fn a_table_stands_in_time_order_and_fits_the_terminal() {
    let batch = rows(&[Some("a very long name indeed"), Some("B")], &[100, 200], &[1, 0]);
    let mut plan = plan(&batch, &[("format", "table")], ChangelogKind::AppendOnly);
    plan.time_column = Some(2);
    let style = StdoutStyle { terminal: true, width: Some(42), color: false };
    let (text, _) = print(&plan, style, &[(&batch, None)]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[2].contains("B") && lines[3].contains("a very"), "{text}");
    assert!(lines.iter().all(|line| line.chars().count() <= 42), "{text}");
    assert!(lines[3].contains('…'), "{text}");
    let (text, _) = print(&plan, StdoutStyle::default(), &[(&batch, None)]);
    assert!(text.contains("a very long name indeed") && text.ends_with("(2 rows)\n"), "nothing is cut where nobody looks: {text}");
}

#[test]
fn an_empty_result_is_a_heading_and_no_rows() {
    let empty = rows(&[], &[], &[]);
    for (format, lines) in [("table", 3), ("changelog", 0), ("ndjson", 0), ("csv", 1)] {
        let (text, _) = print(&plan(&empty, &[("format", format)], ChangelogKind::AppendOnly), StdoutStyle::default(), &[]);
        assert_eq!(text.lines().count(), lines, "{format}: {text}");
    }
    let (text, _) = print(&plan(&empty, &[("format", "table")], ChangelogKind::AppendOnly), StdoutStyle::default(), &[]);
    assert!(text.ends_with("(0 rows)\n"));
}

#[test]
fn lines_carry_an_op_where_rows_can_be_taken_back() {
    let batch = rows(&[Some("A"), Some("A")], &[100, 200], &[0, 0]);
    let retract = ChangelogKind::Retract;
    let (text, _) = print(&plan(&batch, &[("format", "ndjson")], retract), StdoutStyle::default(), &[(&batch, Some(&[1, -1]))]);
    assert_eq!(
        text,
        "{\"op\":\"-D\",\"symbol\":\"A\",\"avg\":2.00,\"at\":\"2024-01-01T00:00:00\"}\n\
         {\"op\":\"+I\",\"symbol\":\"A\",\"avg\":1.00,\"at\":\"2024-01-01T00:00:00\"}\n"
    );
    let append = ChangelogKind::AppendOnly;
    let (text, _) = print(&plan(&batch, &[("format", "csv")], append), StdoutStyle::default(), &[(&batch, None), (&batch, None)]);
    assert_eq!(text.lines().next(), Some("symbol,avg,at"));
    assert_eq!(text.lines().count(), 5);
    let (text, _) = print(&plan(&batch, &[("format", "csv"), ("op", "true")], append), StdoutStyle::default(), &[(&batch, None)]);
    assert_eq!(text.lines().next(), Some("op,symbol,avg,at"));
}

#[test]
fn sinks_that_share_the_stream_say_who_speaks() {
    let batch = rows(&[Some("A")], &[100], &[0]);
    let seen = Seen::default();
    let stdout = Stdout::new(Box::new(seen.clone()));
    let named = SinkPlan { name: "alerts".into(), ..plan(&batch, &[], ChangelogKind::AppendOnly) };
    let mut first = open(&plan(&batch, &[], ChangelogKind::AppendOnly), &stdout, StdoutStyle::default()).expect("opened");
    let mut second = open(&named, &stdout, StdoutStyle::default()).expect("opened");
    for (sink, epoch) in [(0, 1), (0, 2), (1, 2), (0, 3)] {
        let sink = if sink == 0 { &mut first } else { &mut second };
        sink.write(&batch, None).expect("written");
        sink.end_epoch(epoch).expect("written");
    }
    let firsts: Vec<String> = seen.text().lines().map(|line| line.split("  ").next().unwrap_or_default().to_string()).collect();
    assert_eq!(firsts, ["diff", "+1", "+1", "", "-- alerts", "diff", "+1", "", "diff", "+1"]);
}

#[test]
fn a_closed_pipe_is_recognised() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let batch = rows(&[Some("A")], &[100], &[0]);
    let mut sink =
        open(&plan(&batch, &[], ChangelogKind::AppendOnly), &Stdout::new(Box::new(Closed)), StdoutStyle::default()).expect("opened");
    sink.write(&batch, None).expect("kept");
    let error = sink.end_epoch(1).expect_err("closed");
    assert!(error.is_broken_pipe());
    assert_eq!(error.to_string(), "stdout: broken pipe");
}

#[test]
fn what_would_be_lost_is_refused() {
    let columns = schema(&[("n", arrow::datatypes::DataType::Int64)]);
    let refused = |pairs: &[(&str, &str)], changelog| check_sink(&options(pairs), &columns, changelog).expect_err("refused");
    assert!(refused(&[("format", "csv"), ("op", "false")], ChangelogKind::Retract).starts_with("rows can be taken back here"));
    assert!(refused(&[("format", "table"), ("op", "true")], ChangelogKind::Retract).starts_with("option \"op\" is for the formats"));
    assert!(check_sink(&options(&[("format", "csv"), ("op", "false")]), &columns, ChangelogKind::AppendOnly).is_ok());
}

proptest! {
    /// The same changes, cut and shuffled in any way within their epoch, print as the same bytes.
    #[test]
    fn equal_changes_print_alike(
        changes in prop::collection::vec((0_usize..4, 0_i128..5, 0_i64..3, -2_i64..3), 0..30),
        order in prop::collection::vec(any::<u8>(), 30),
        cut in 0_usize..30,
        keyed in any::<bool>(),
        timed in any::<bool>(),
    ) {
        let changes: Vec<_> = changes.into_iter().filter(|change| change.3 != 0).collect();
        let names = [Some("a"), Some("b"), None, Some("ccc")];
        let batch = rows(
            &changes.iter().map(|change| names[change.0]).collect::<Vec<_>>(),
            &changes.iter().map(|change| change.1).collect::<Vec<_>>(),
            &changes.iter().map(|change| change.2).collect::<Vec<_>>(),
        );
        let diffs: Vec<i64> = changes.iter().map(|change| change.3).collect();
        let mut shuffled: Vec<usize> = (0..changes.len()).collect();
        shuffled.sort_by_key(|row| order[*row]);
        let indices = UInt32Array::from_iter_values(shuffled.iter().map(|row| *row as u32));
        let other = take_record_batch(&batch, &indices).expect("rows");
        let other_diffs: Vec<i64> = shuffled.iter().map(|row| diffs[*row]).collect();
        let cut = cut.min(changes.len());
        for format in ["changelog", "table", "ndjson", "csv"] {
            let mut plan = plan(&batch, &[("format", format)], ChangelogKind::Retract);
            plan.key = keyed.then(|| vec![0]);
            plan.time_column = timed.then_some(2);
            let (expected, _) = print(&plan, StdoutStyle::default(), &[(&batch, Some(&diffs))]);
            let seen = Seen::default();
            let mut sink = open(&plan, &Stdout::new(Box::new(seen.clone())), StdoutStyle::default()).expect("opened");
            sink.write(&other.slice(0, cut), Some(&other_diffs[..cut])).expect("written");
            sink.write(&other.slice(cut, changes.len() - cut), Some(&other_diffs[cut..])).expect("written");
            sink.end_epoch(0).expect("written");
            sink.finish().expect("finished");
            prop_assert_eq!(seen.text(), expected, "{}", format);
        }
    }
}

#[test]
fn integers_stand_in_order_of_value() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![10, 9, -1, 100]));
    let batch = RecordBatch::try_from_iter_with_nullable([("n", numbers, true)]).expect("a column");
    let (text, _) = print(&plan(&batch, &[("format", "csv")], ChangelogKind::AppendOnly), StdoutStyle::default(), &[(&batch, None)]);
    assert_eq!(text, "n\n-1\n9\n10\n100\n");
}
