//! # Formats
//!
//! Encodings of rows, apart from where the bytes come from or go to. A decoder is directed by the schema of the columns that
//! are read: it makes one pass over a chunk, builds Arrow columns directly and skips the rest. A bad record never stops a
//! chunk: it becomes a [`RowError`](crate::source::RowError) with its offset, its bytes and what was found.

pub(crate) mod changelog;
mod column;
pub mod csv;
pub mod encode;
mod fault;
pub mod infer;
#[cfg(feature = "kafka")]
pub(crate) mod message;
pub mod ndjson;
mod parse;

use tidemark_planner::connector::OptionSpec;

/// Options of sources in any text format.
pub const COMMON_SPECS: &[OptionSpec] = &[ndjson::TIMESTAMP_UNIT];
