//! # Test harness
//!
//! A naive oracle, sources and sinks in memory whose epochs follow a script, and golden texts. For tests and benchmarks only.

pub mod batches;
pub mod capture;
pub mod flat;
pub mod late;
pub mod memory;
pub mod oracle;
pub mod property;
pub mod random;
pub mod run;
pub mod script;
pub mod value;
