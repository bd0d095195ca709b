//! # Rows in order
//!
//! Operators that keep the rows of a group as bytes, in order. Rows are encoded before the exchange ([`RowEncoder`]): the keys that order
//! them and the columns that come out, as `arrow-row`, so that comparing is comparing bytes. Behind it a store keeps what one worker
//! owns and, when an epoch closes, puts out the net change.
//!
//! Plain Rust: timely is met in the shell only.

mod codec;
mod encoder;
mod functions;
mod over;
mod over_time;
#[cfg(test)]
mod property_tests;
mod reach;
mod top_n;
mod top_n_list;
mod top_n_tree;
mod totals;

pub use codec::RowCodec;
pub(crate) use codec::binary;
pub use encoder::RowEncoder;
pub use over::OverStore;
pub use over_time::OverTimeStore;
pub use top_n::TopNStore;

/// Changes that come out at once; a closing that brings more comes out in several batches.
const OUTPUT_ROWS: usize = if cfg!(test) { 8 } else { 64 << 10 };
