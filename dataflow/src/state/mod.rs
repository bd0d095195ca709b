//! # Keyed state
//!
//! Hash tables over row bytes with struct-of-arrays accumulators. Plain Rust, no timely: time is an argument.

pub mod accumulator;
pub mod accumulators;
pub mod counted_tree;
pub mod exact_sum;
pub mod group_states;
pub mod group_table;
pub mod keeper;
pub mod key_rows;
pub mod key_table;
pub mod row_store;
pub mod wide;
