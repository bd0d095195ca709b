//! How a sink of rows shows what kind of change each is: not at all, by a column, as the last row of each key, or as Debezium does.

use std::collections::HashMap;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow_row::{RowConverter, SortField};
use tidemark_planner::connector::Options;
use tidemark_planner::plan::ChangelogKind;

use crate::changes::sortable;
use crate::format::changelog::{Changes, Marks};

/// The name of the column for the kind of change, if it is not given.
pub(crate) const OP: &str = "op";

/// How changes show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// They do not: rows are only added.
    Plain,
    /// A first column says `+I` or `-D`, one row for each copy.
    Op(String),
    /// A first column says `+U` for the row that a key has now, `-D` for the last row of a key that is gone.
    Upsert(String),
    /// A first column holds the signed number of copies.
    Diff(String),
    /// Envelopes with the row before and the row after.
    Debezium,
}

impl Shown {
    /// By the options of a sink and the changes that come.
    ///
    /// # Errors
    /// One sentence, when the sink cannot carry the changes.
    pub(crate) fn of(options: &Options, debezium: bool, schema: &SchemaRef, changelog: ChangelogKind) -> Result<Self, String> {
        let changes = Changes::from_options(options, debezium)?;
        let append_only = changelog == ChangelogKind::AppendOnly;
        let flag = options.get("op").map(|word| word == "true");
        if debezium {
            if flag.is_some() || changes.mode.is_some() {
                return Err("debezium-json writes the row before and the row after; leave out \"op\" and \"changelog.mode\"".into());
            }
            return Ok(Self::Debezium);
        }
        let named = if let Marks::Op(name) = &changes.marks { name.clone() } else { OP.to_owned() };
        let shown = match (&changes.marks, changes.mode) {
            (_, Some(ChangelogKind::AppendOnly)) if !append_only => {
                return Err(
                    "rows can be taken back here, and changelog.mode = 'append' cannot say so; make the query append-only with EMIT \
                            FINAL, or choose changelog.mode = 'retract' or 'upsert'"
                        .into(),
                );
            }
            (Marks::Diff(_), Some(ChangelogKind::Upsert)) => {
                return Err("a diff says how often a row is there, not which row it replaces; leave out \"changelog.diff-column\"".into());
            }
            (Marks::Diff(_), _) if flag.is_some() => return Err("a row has one mark; leave out \"op\" or \"changelog.diff-column\"".into()),
            (Marks::Diff(name), _) => Self::Diff(name.clone()),
            (_, Some(ChangelogKind::Upsert)) if flag == Some(false) => {
                return Err("without a column for it, a deletion would not show; leave out op = false".into());
            }
            (_, Some(ChangelogKind::Upsert)) => Self::Upsert(named),
            (Marks::Op(_), _) if flag == Some(false) => return Err("leave out op = false, or \"changelog.op-column\"".into()),
            (Marks::Op(_), _) => Self::Op(named),
            (_, mode) => match flag {
                Some(false) if !append_only => {
                    return Err(
                        "rows can be taken back here, and without a column op that would not show; leave out op = false, or make the \
                                query append-only with EMIT FINAL"
                            .into(),
                    );
                }
                Some(true) => Self::Op(named),
                None if !append_only || mode == Some(ChangelogKind::Retract) => Self::Op(named),
                _ => Self::Plain,
            },
        };
        if let Some(name) = shown.column()
            && schema.fields().iter().any(|field| field.name() == name)
        {
            return Err(format!("the sink writes a column \"{name}\", and the query has one too; give the query's column another name"));
        }
        Ok(shown)
    }

    /// The column that is written before the others.
    pub(crate) fn column(&self) -> Option<&str> {
        match self {
            Self::Plain | Self::Debezium => None,
            Self::Op(name) | Self::Upsert(name) | Self::Diff(name) => Some(name),
        }
    }

    /// Whether the rows taken back and added of one key belong together.
    pub(crate) fn pairs(&self) -> bool {
        matches!(self, Self::Upsert(_) | Self::Debezium)
    }
}

/// What became of a row: its place before and its place after among the changes of an epoch.
pub(crate) type Pair = (Option<usize>, Option<usize>);

/// Puts the row taken back of each key together with the row added. Without a key, each change stands alone. In the order in which
/// keys first come.
pub(crate) fn pairs(rows: &RecordBatch, diffs: Option<&[i64]>, key: Option<&[usize]>) -> Vec<Pair> {
    let copies = |row: usize| diffs.map_or(1, |diffs| diffs[row]);
    let alone = |row: usize| if copies(row) < 0 { (Some(row), None) } else { (None, Some(row)) };
    let each = (0..rows.num_rows()).flat_map(|row| std::iter::repeat_n(row, usize::try_from(copies(row).unsigned_abs()).unwrap_or(0)));
    let (Some(key), Some(_)) = (key, diffs) else { return each.map(alone).collect() };
    let columns: Vec<ArrayRef> = key.iter().map(|column| sortable(rows.column(*column))).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields).unwrap_or_else(|error| panic!("sortable columns have row bytes: {error}"));
    let keys = if columns.is_empty() {
        None
    } else {
        Some(converter.convert_columns(&columns).unwrap_or_else(|error| panic!("columns of the converter's types: {error}")))
    };
    let bytes = |row: usize| keys.as_ref().map_or(&[][..], |keys| keys.row(row).data());
    let mut pairs: Vec<Pair> = Vec::new();
    // Of each key the pairs that lack a half. Only looked up, never iterated.
    let mut halves: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for row in each {
        let removed = copies(row) < 0;
        let waiting = halves.entry(bytes(row)).or_default();
        let fits = |pair: &&usize| if removed { pairs[**pair].0.is_none() } else { pairs[**pair].1.is_none() };
        match waiting.iter().position(|pair| fits(&pair)) {
            Some(at) => {
                let pair = &mut pairs[waiting.swap_remove(at)];
                if removed { pair.0 = Some(row) } else { pair.1 = Some(row) }
            }
            None => {
                waiting.push(pairs.len());
                pairs.push(alone(row));
            }
        }
    }
    pairs
}

/// Of each key the row it has now, or, taken back, the last it had.
pub(crate) fn last_of_key(rows: &RecordBatch, diffs: Option<&[i64]>, key: Option<&[usize]>) -> (RecordBatch, Vec<i64>) {
    let pairs = pairs(rows, diffs, key);
    let places = pairs.iter().filter_map(|(before, after)| after.or(*before)).map(|row| row as u32);
    let rows = take_record_batch(rows, &UInt32Array::from_iter_values(places));
    let diffs = pairs.iter().map(|(_, after)| if after.is_some() { 1 } else { -1 }).collect();
    (rows.unwrap_or_else(|error| panic!("places lie within the rows: {error}")), diffs)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::DataType;

    use super::*;
    use crate::testing::{options, schema};

    #[test]
    fn rows_of_a_key_find_each_other() {
        let schema = schema(&[("k", DataType::Int64), ("v", DataType::Int64)]);
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![1, 2, 1, 3, 2])), Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5]))];
        let rows = RecordBatch::try_new(schema, columns).unwrap();
        let diffs = [-1, 1, 1, -1, -1];
        let found = pairs(&rows, Some(&diffs), Some(&[0]));
        assert_eq!(found, [(Some(0), Some(2)), (Some(4), Some(1)), (Some(3), None)]);
        let (last, diffs) = last_of_key(&rows, Some(&diffs), Some(&[0]));
        assert_eq!((last.num_rows(), diffs), (3, vec![1, 1, -1]));
        assert_eq!(pairs(&rows, Some(&[2, -1, 1, 1, 1]), None).len(), 6);
    }

    #[test]
    fn what_cannot_be_carried_is_refused() {
        let schema = schema(&[("op", DataType::Int64)]);
        let of = |pairs: &[(&str, &str)], debezium, changelog| Shown::of(&options(pairs), debezium, &schema, changelog);
        let (append, retract) = (ChangelogKind::AppendOnly, ChangelogKind::Retract);
        assert_eq!(of(&[], false, append), Ok(Shown::Plain));
        assert!(of(&[], false, retract).is_err_and(|reason| reason.contains("the query has one too")));
        assert_eq!(of(&[("changelog.op-column", "kind")], false, retract), Ok(Shown::Op("kind".into())));
        assert_eq!(of(&[("changelog.diff-column", "n")], false, append), Ok(Shown::Diff("n".into())));
        assert_eq!(of(&[("changelog.mode", "upsert"), ("changelog.op-column", "x")], false, append), Ok(Shown::Upsert("x".into())));
        assert_eq!(of(&[], true, retract), Ok(Shown::Debezium));
        for (wrong, changelog) in [
            (vec![("changelog.mode", "append")], retract),
            (vec![("op", "false")], retract),
            (vec![("changelog.mode", "upsert"), ("changelog.diff-column", "n")], retract),
            (vec![("op", "true"), ("changelog.diff-column", "n")], retract),
            (vec![("changelog.mode", "upsert"), ("op", "false")], append),
        ] {
            assert!(of(&wrong, false, changelog).is_err(), "{wrong:?}");
        }
        assert!(of(&[("op", "true")], true, retract).is_err());
    }
}
