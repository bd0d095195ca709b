//! Batch oracles for the streaming engine: DataFusion's own engine and SQLite answer the same query over the same tables.
//!
//! Neither shares code with the operators they check. SQLite is the judge where the two differ; a query that only one of them can
//! answer is checked by that one.

pub mod check;
pub mod engines;
pub mod query;
pub mod slt;
pub mod tables;
pub mod tpch;
