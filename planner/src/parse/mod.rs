//! # Parse
//!
//! SQL text to [statements](crate::statement).

mod line_index;
mod types;
mod window_table;

pub use line_index::LineIndex;
pub use types::arrow_type;
pub use window_table::{WindowTable, WindowTime};
