//! # Test harness: a naive oracle, sources and sinks in memory, scripts.
