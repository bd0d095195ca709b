//! # Dataflow
//!
//! Renders a physical plan to timely operators and runs it: batches, exchange, epochs, watermarks, state. Knows no SQL text,
//! no terminal and no particular connector.

pub mod aggregate;
mod aggregate_operator;
mod arrange;
pub mod as_of;
pub mod batch;
pub mod cluster;
pub mod consolidate;
pub mod control;
pub mod epoch;
mod error_limits;
pub mod error_row;
mod errors_relation;
pub mod eval;
pub mod exchange;
mod expire;
mod group_report;
mod join;
mod keyed_operator;
mod late_letter;
mod letters;
mod limit_row;
mod partitions;
pub mod places;
pub mod progress;
pub mod ranked;
mod ranked_operator;
pub mod recursion;
mod render;
mod render_row;
pub mod report;
pub mod run;
pub mod set_operation;
mod sink;
mod sleepers;
mod source;
pub mod state;
mod stateless;
pub mod tick_log;
mod upsert;
mod values;
pub mod watermark;
mod window_step;
mod wire;
