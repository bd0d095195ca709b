//! # Planner
//!
//! SQL text to statements, to a logical plan, to a physical plan, and EXPLAIN. Pure: no clock, file, thread or timely.

pub mod connector;
pub mod duration;
pub mod error;
pub mod parse;
pub mod plan;
pub mod statement;

pub use error::{PlanError, Span};
