//! # Test harness
//!
//! A naive oracle, sources and sinks in memory whose epochs follow a script, and golden texts. For tests and benchmarks only.

pub mod oracle;
pub mod random;
pub mod value;
