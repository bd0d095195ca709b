//! Rows with one more column, which says what the row does.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, SchemaRef};

use super::{Marks, Meaning, assemble, keep, relaxed, schema_of};
use crate::format::fault::excerpt;
use crate::source::{Decoded, Offsets, RowError};

/// Takes the marks off rows that were decoded with one column more.
#[derive(Debug)]
pub(crate) struct MarkedDecoder {
    /// The columns of the plan.
    read: SchemaRef,
    /// The columns that are decoded.
    inner: SchemaRef,
    /// Where the mark is in `inner`.
    mark: usize,
    /// It is not among the columns of the plan.
    extra: bool,
    kind: Kind,
    upsert: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Op,
    Diff,
}

impl MarkedDecoder {
    /// For the columns read.
    ///
    /// # Errors
    /// One sentence, when the column of the mark is declared with a type that cannot hold one.
    pub(crate) fn new(read: &SchemaRef, marks: &Marks, meaning: &Meaning) -> Result<Self, String> {
        let (name, kind, data_type) = match marks {
            Marks::Op(name) => (name, Kind::Op, DataType::Utf8),
            Marks::Diff(name) => (name, Kind::Diff, DataType::Int64),
            Marks::None | Marks::Debezium => panic!("rows without a column for marks"),
        };
        let mut fields = if meaning.upsert { relaxed(read, |field| meaning.is_key(field)) } else { read.fields().to_vec() };
        let there = fields.iter().position(|field| field.name() == name);
        let mark = match there {
            Some(place) => {
                let found = fields[place].data_type();
                let fits = if kind == Kind::Op { *found == DataType::Utf8 } else { found.is_signed_integer() };
                if !fits {
                    let (found, wanted) = (crate::format::column::sql_name(found), crate::format::column::sql_name(&data_type));
                    return Err(format!("column \"{name}\" says what a row does, and is {found}; declare it {wanted}, or not at all"));
                }
                place
            }
            None => {
                fields.push(Arc::new(Field::new(name, data_type, true)));
                fields.len() - 1
            }
        };
        Ok(Self { read: Arc::clone(read), inner: schema_of(fields), mark, extra: there.is_none(), kind, upsert: meaning.upsert })
    }

    /// The columns to decode.
    pub(crate) fn inner(&self) -> &SchemaRef {
        &self.inner
    }

    /// Gives rows their diffs. `raw` gives the bytes of the record at an offset.
    pub(crate) fn take_marks(&self, mut decoded: Decoded, raw: &dyn Fn(u64) -> Vec<u8>) -> Decoded {
        let rows = decoded.columns.num_rows();
        let mut columns = decoded.columns.columns().to_vec();
        let marks = if self.extra { columns.remove(self.mark) } else { Arc::clone(&columns[self.mark]) };
        let not_null: Vec<usize> = match self.upsert {
            true => (0..columns.len()).filter(|at| !self.read.field(*at).is_nullable() && columns[*at].null_count() > 0).collect(),
            false => Vec::new(),
        };
        let mut bad: Vec<(usize, String)> = Vec::new();
        let mut diffs: Vec<i64> = self
            .diffs(&marks)
            .into_iter()
            .enumerate()
            .map(|(row, diff)| match diff {
                Ok(diff) => {
                    // A deletion needs no more than its key.
                    if diff > 0
                        && let Some(at) = not_null.iter().find(|at| columns[**at].is_null(row))
                    {
                        bad.push((row, format!("field \"{}\": is null, and the column is NOT NULL", self.read.field(*at).name())));
                    }
                    diff
                }
                Err(reason) => {
                    bad.push((row, reason));
                    1
                }
            })
            .collect();
        if !bad.is_empty() {
            let mut mask = vec![true; rows];
            for (row, reason) in bad {
                mask[row] = false;
                let offset = decoded.offsets.get(row);
                decoded.errors.push(RowError { offset, raw: raw(offset), reason });
            }
            decoded.errors.sort_by_key(|error| error.offset);
            let kept = |row: &usize| mask[*row];
            decoded.offsets = Offsets::Each(Arc::new((0..rows).filter(kept).map(|row| decoded.offsets.get(row)).collect()));
            diffs = (0..rows).filter(kept).map(|row| diffs[row]).collect();
            columns = keep(&columns, &BooleanArray::from(mask));
        }
        let columns = assemble(&self.read, columns, diffs.len());
        let diffs = diffs.iter().any(|diff| *diff != 1).then_some(diffs);
        Decoded { columns, diffs, ..decoded }
    }

    fn diffs(&self, marks: &ArrayRef) -> Vec<Result<i64, String>> {
        let name = || self.inner.field(self.mark).name();
        match self.kind {
            Kind::Op => marks
                .as_string::<i32>()
                .iter()
                .map(|word| match word {
                    None => Err(format!("field \"{}\": is missing, and says what the row does", name())),
                    Some(word) => match diff_of(word) {
                        Some(Op::Add) => Ok(1),
                        Some(Op::Remove) => Ok(-1),
                        Some(Op::Update) if self.upsert => Ok(1),
                        Some(Op::Update) => {
                            Err(format!("field \"{}\": an update without the row before it; use changelog.mode = 'upsert'", name()))
                        }
                        None => Err(format!("field \"{}\": {} is no kind of change", name(), excerpt(word.as_bytes()))),
                    },
                })
                .collect(),
            Kind::Diff => {
                let wide = cast(marks, &DataType::Int64).unwrap_or_else(|error| panic!("an integer is an integer: {error}"));
                let wide: &Int64Array = wide.as_primitive::<Int64Type>();
                wide.iter()
                    .map(|diff| match diff {
                        None => Err(format!("field \"{}\": is missing, and says how often the row is there", name())),
                        Some(0) => Err(format!("field \"{}\": 0 changes nothing", name())),
                        Some(diff) => Ok(diff),
                    })
                    .collect()
            }
        }
    }
}

/// What a word says.
enum Op {
    Add,
    Remove,
    /// The row takes the place of another, which is not said.
    Update,
}

fn diff_of(word: &str) -> Option<Op> {
    let is = |words: &[&str]| words.iter().any(|it| word.eq_ignore_ascii_case(it));
    if is(&["+I", "+U", "I", "insert", "C", "create", "R", "read"]) {
        Some(Op::Add)
    } else if is(&["-D", "-U", "D", "delete"]) {
        Some(Op::Remove)
    } else if is(&["U", "update"]) {
        Some(Op::Update)
    } else {
        None
    }
}
