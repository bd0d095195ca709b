//! # Rounds
//!
//! What a recursion has made in which round, in plain Rust: rows come in with the round that made them; when a round has closed, the
//! changes of the relation in that round go out to be made into more; when an epoch's rounds have ended, so does its net change.
//!
//! For UNION a row is in the relation from the first round on that has made it, all told. What is remembered of epochs before is, for each row,
//! how often each round made it. A change in a round is a change in later ones, too, where the row was made before: a row that is taken
//! back in round 2 but was also made in round 5 goes in 2 and comes again in 5. So rounds with such rows close although nothing came.
//! For UNION ALL the changes of a round are what came in it, added up, and nothing is remembered.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;

use super::Round;
use crate::aggregate::{KeyedBatch, Payload};
use crate::batch::{Batch, record_batch};
use crate::set_operation::codec;
use crate::state::key_rows::KeyCodec;
use crate::state::key_table::KeyTable;

/// Changes that come out at once.
const OUTPUT_ROWS: usize = if cfg!(test) { 3 } else { 64 << 10 };

/// How often UNION ALL may make a row in a round: more is no count but a sign of a recursion that does not end, and the products of joins
/// would overflow before long.
pub const COPIES_MAX: i64 = 1 << 40;

/// How often a row was made, by round.
#[derive(Clone, Debug, Default, PartialEq)]
enum Tally {
    #[default]
    None,
    One(Round, i64),
    /// Ascending, none of them zero.
    Many(Vec<(Round, i64)>),
}

impl Tally {
    fn add(&mut self, round: Round, count: i64) {
        match self {
            _ if count == 0 => {}
            Self::None => *self = Self::One(round, count),
            Self::One(at, sum) if *at == round => {
                *sum += count;
                if *sum == 0 {
                    *self = Self::None;
                }
            }
            Self::One(at, sum) => {
                let mut both = vec![(*at, *sum), (round, count)];
                both.sort_unstable();
                *self = Self::Many(both);
            }
            Self::Many(counts) => {
                match counts.binary_search_by_key(&round, |(at, _)| *at) {
                    Ok(place) => {
                        counts[place].1 += count;
                        if counts[place].1 == 0 {
                            counts.remove(place);
                        }
                    }
                    Err(place) => counts.insert(place, (round, count)),
                }
                match counts.as_slice() {
                    [] => *self = Self::None,
                    [(at, sum)] => *self = Self::One(*at, *sum),
                    _ => {}
                }
            }
        }
    }

    fn counts(&self) -> impl Iterator<Item = (Round, i64)> + '_ {
        let (one, many): (Option<(Round, i64)>, &[(Round, i64)]) = match self {
            Self::None => (None, &[]),
            Self::One(round, count) => (Some((*round, *count)), &[]),
            Self::Many(counts) => (None, counts),
        };
        one.into_iter().chain(many.iter().copied())
    }

    fn at(&self, round: Round) -> i64 {
        self.counts().find(|(at, _)| *at == round).map_or(0, |(_, count)| count)
    }

    /// The sum over the rounds up to one, or all.
    fn until(&self, last: Option<Round>) -> i64 {
        self.counts().filter(|(at, _)| last.is_none_or(|last| *at <= last)).map(|(_, count)| count).sum()
    }

    fn bytes(&self) -> usize {
        match self {
            Self::None | Self::One(..) => 0,
            Self::Many(counts) => counts.capacity() * size_of::<(Round, i64)>(),
        }
    }
}

/// One row.
#[derive(Clone, Debug, Default)]
struct Row {
    /// What the epochs before have made of it.
    settled: Tally,
    /// The changes of this one.
    fresh: Tally,
    touched: bool,
}

impl Row {
    /// How the row's presence after the rounds up to one differs from that in the epochs before.
    fn change(&self, last: Option<Round>) -> i64 {
        let settled = self.settled.until(last);
        let now = settled + self.fresh.until(last);
        i64::from(now > 0) - i64::from(settled > 0)
    }
}

/// A row was made too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOften;

/// The rows of one worker.
#[derive(Debug)]
pub struct Rounds {
    distinct: bool,
    codec: KeyCodec,
    schema: SchemaRef,
    keys: KeyTable,
    rows: Vec<Row>,
    /// Rows to look at when a round closes.
    due: BTreeMap<Round, Vec<u32>>,
    /// Rows that this epoch changed.
    touched: Vec<u32>,
    ids: Vec<u32>,
    tally_bytes: usize,
}

impl Rounds {
    /// An empty store of rows of a schema; `distinct`: each row counts once.
    ///
    /// # Errors
    /// When a column has a type without equality.
    pub fn new(distinct: bool, schema: &SchemaRef) -> Result<Self, String> {
        Ok(Self {
            distinct,
            codec: codec(schema)?,
            schema: schema.clone(),
            keys: KeyTable::new(),
            rows: Vec::new(),
            due: BTreeMap::new(),
            touched: Vec::new(),
            ids: Vec::new(),
            tally_bytes: 0,
        })
    }

    /// Takes rows that a round of the present epoch has made, as whole rows. The round has not closed yet.
    ///
    /// # Panics
    /// When the rows were added up before the exchange: whole rows are not.
    pub fn absorb(&mut self, round: Round, batch: &KeyedBatch) {
        let Payload::Raw { diffs, .. } = &batch.payload else { panic!("whole rows are not added up before the exchange") };
        let mut ids = std::mem::take(&mut self.ids);
        batch.number(&mut self.keys, &mut ids);
        self.rows.resize(self.keys.numbers().max(self.rows.len()), Row::default());
        for (place, id) in ids.iter().enumerate() {
            let row = &mut self.rows[*id as usize];
            self.tally_bytes -= row.fresh.bytes();
            row.fresh.add(round, diffs.as_ref().map_or(1, |diffs| diffs[place]));
            self.tally_bytes += row.fresh.bytes();
            if !std::mem::replace(&mut row.touched, true) {
                self.touched.push(*id);
            }
        }
        self.due.entry(round).or_default().extend(&ids);
        self.ids = ids;
    }

    /// The next round that changes something, as far as is known.
    pub fn next(&self) -> Option<Round> {
        self.due.keys().next().copied()
    }

    /// Closes a round: what changes in it.
    ///
    /// # Errors
    /// When a row was made more than [`COPIES_MAX`] times.
    pub fn close(&mut self, round: Round) -> Result<Vec<Batch>, TooOften> {
        let mut due = self.due.remove(&round).unwrap_or_default();
        due.sort_unstable();
        due.dedup();
        let (mut ids, mut diffs) = (Vec::new(), Vec::new());
        for id in due {
            let row = &self.rows[id as usize];
            let came = row.fresh.at(round);
            let diff = if self.distinct {
                if came != 0 {
                    row.settled.counts().filter(|(at, _)| *at > round).for_each(|(at, _)| self.due.entry(at).or_default().push(id));
                }
                row.change(Some(round)) - round.checked_sub(1).map_or(0, |before| row.change(Some(before)))
            } else {
                came
            };
            if diff.abs() > COPIES_MAX {
                return Err(TooOften);
            }
            if diff != 0 {
                ids.push(id);
                diffs.push(diff);
            }
        }
        Ok(self.batches(&mut ids, &diffs))
    }

    /// Ends the epoch: its net change.
    pub fn finish(&mut self) -> Vec<Batch> {
        assert!(self.due.is_empty(), "every round has closed");
        let mut touched = std::mem::take(&mut self.touched);
        let (mut ids, mut diffs) = (Vec::new(), Vec::new());
        for id in &touched {
            let row = &self.rows[*id as usize];
            let diff = if self.distinct { row.change(None) } else { row.fresh.until(None) };
            if diff != 0 {
                ids.push(*id);
                diffs.push(diff);
            }
        }
        let batches = self.batches(&mut ids, &diffs);
        if !self.distinct {
            self.keys.reset();
            self.rows.clear();
            self.tally_bytes = 0;
            return batches;
        }
        for id in touched.drain(..) {
            let row = &mut self.rows[id as usize];
            row.touched = false;
            self.tally_bytes -= row.fresh.bytes() + row.settled.bytes();
            let fresh = std::mem::take(&mut row.fresh);
            fresh.counts().for_each(|(round, count)| row.settled.add(round, count));
            self.tally_bytes += row.settled.bytes();
            if row.settled == Tally::None {
                self.keys.remove(id);
            }
        }
        self.touched = touched;
        batches
    }

    fn batches(&self, ids: &mut [u32], diffs: &[i64]) -> Vec<Batch> {
        let pieces = ids.chunks(OUTPUT_ROWS).zip(diffs.chunks(OUTPUT_ROWS));
        let batch = |(ids, diffs): (&[u32], &[i64])| {
            let columns: Vec<ArrayRef> = self.codec.decode(&self.keys.rows(ids));
            let rows = record_batch(&self.schema, columns, ids.len());
            Batch::computed(rows, diffs.iter().any(|diff| *diff != 1).then(|| diffs.to_vec()))
        };
        pieces.map(batch).collect()
    }

    /// Rows kept, and bytes of memory held.
    pub fn held(&self) -> (usize, usize) {
        (self.keys.len(), self.keys.bytes() + self.rows.capacity() * size_of::<Row>() + self.tally_bytes)
    }
}
