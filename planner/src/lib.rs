//! # Planner
//!
//! SQL text to statements, to a logical plan, to a physical plan, and EXPLAIN. Pure: no clock, file, thread or timely.

mod catalog;
pub mod connector;
pub mod duration;
pub mod error;
pub mod explain;
mod functions;
mod logical;
mod lower;
mod macros;
mod optimize;
pub mod parse;
pub mod plan;
mod program;
pub mod secrets;
pub mod settings;
mod state_request;
pub mod statement;

pub use error::{PlanError, Span};
pub use program::{Observation, Output, PlanContext, Program, plan_text};
