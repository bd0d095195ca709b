//! Writes the events as files, for benchmarks.
