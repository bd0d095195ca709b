//! # Dataflow
//!
//! Renders a physical plan to timely operators and runs it: batches, exchange, epochs, watermarks, state. Knows no SQL text,
//! no terminal and no particular connector.

pub mod aggregate;
pub mod eval;
pub mod report;
pub mod state;
