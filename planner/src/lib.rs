//! # Planner
//!
//! SQL text to statements, to a logical plan, to a physical plan, and EXPLAIN. Pure: no clock, file, thread or timely.

mod catalog;
pub mod connector;
pub mod duration;
pub mod error;
mod functions;
mod logical;
pub mod parse;
pub mod plan;
pub mod settings;
pub mod statement;

pub use error::{PlanError, Span};
