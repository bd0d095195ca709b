//! # Aggregate
//!
//! **Meaning.** For each key and window, the aggregates over the admitted rows whose event time falls in the window; without a window,
//! over all rows. Equal to the batch `GROUP BY`. Plain Rust without timely: a shell moves batches and capabilities.
pub mod admit;
pub mod panes;
