//! # Connectors
//!
//! Reads and writes the outside world in Arrow batches. Knows the description of a source or sink, never the plan around it.

pub mod format;
pub mod io;
pub mod sink;
pub mod source;
