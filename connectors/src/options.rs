//! Building option specifications in constants.

use tidemark_planner::connector::{OptionKind, OptionSpec, Side};

/// An option of sources without default or aliases.
pub(crate) const fn source(name: &'static str, kind: OptionKind, help: &'static str) -> OptionSpec {
    OptionSpec { name, aliases: &[], kind, side: Side::Source, required: false, default: None, help }
}

/// An option of sinks without default or aliases.
pub(crate) const fn sink(name: &'static str, kind: OptionKind, help: &'static str) -> OptionSpec {
    OptionSpec { name, aliases: &[], kind, side: Side::Sink, required: false, default: None, help }
}

/// The same, for sources and sinks.
pub(crate) const fn both(spec: OptionSpec) -> OptionSpec {
    OptionSpec { side: Side::Both, ..spec }
}

/// The same with other names.
pub(crate) const fn alias(spec: OptionSpec, aliases: &'static [&'static str]) -> OptionSpec {
    OptionSpec { aliases, ..spec }
}

/// The same with a default.
pub(crate) const fn default(spec: OptionSpec, value: &'static str) -> OptionSpec {
    OptionSpec { default: Some(value), ..spec }
}

/// The same, but it must be given.
pub(crate) const fn required(spec: OptionSpec) -> OptionSpec {
    OptionSpec { required: true, ..spec }
}
