//! # Upsert
//!
//! **Meaning.** A source's rows replace the row with the same key, or delete it. Kept is the last row of each key, by partition and
//! offset; put out is a changelog of rows that are added and taken back.
//! **Time.** When the frontier passes an epoch, its rows are put in the order of their partitions, whichever workers decoded them, and
//! for each key the net change comes out: at most one row taken back and one added.
//! **State.** One row for each key. A key of which several partitions tell is that of the last partition; in an input that ends,
//! deleted keys are remembered for that.
//! **Changelog.** In: upsert. Out: retract, with the key as unique key.
//! **Errors.** None: a key that is null is a bad record, found where records are read. Deletions of keys that are not there, and rows
//! of partitions before the one a key was last in, change nothing and are counted.

mod arena;
mod operator;
#[cfg(test)]
mod property_tests;
mod store;

pub(crate) use operator::{UpsertContext, upsert};
