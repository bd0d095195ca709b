//! # Connectors
//!
//! Reads and writes the outside world in Arrow batches. Knows the description of a source or sink, never the plan around it.

mod blackhole;
mod changes;
mod datagen;
mod dead_letters;
mod encoder;
mod file;
pub mod format;
pub mod io;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod nexmark;
mod options;
mod pace;
mod record;
mod registry;
pub mod sink;
mod sink_changes;
pub mod source;
mod stdin;
mod stdout;
#[cfg(test)]
mod testing;
mod time_text;
mod width;

pub use registry::{Connectors, StdoutStyle};
