//! Options every source has beside its connector's own: what moves and holds its watermark.

use crate::connector::{ConnectorSpec, OptionKind, OptionSpec, Options, Side};
use crate::duration::parse_us;
use crate::plan::SourceTiming;
use crate::statement::OptionSetting;
use crate::{PlanError, Span};

use super::options;

const fn duration(name: &'static str, aliases: &'static [&'static str], help: &'static str) -> OptionSpec {
    OptionSpec { name, aliases, kind: OptionKind::Duration, side: Side::Source, required: false, default: None, help }
}

/// The options, under Tidemark's names and Flink's.
pub(crate) const OPTIONS: [OptionSpec; 3] = [
    duration(
        "watermark.idle-timeout",
        &["scan.watermark.idle-timeout", "idle_timeout"],
        "A partition without rows for this long stops holding the watermark of the others back.",
    ),
    duration(
        "watermark.max-drift",
        &["scan.watermark.alignment.max-drift"],
        "A partition whose watermark is this far ahead of the slowest waits for it.",
    ),
    duration(
        "watermark.future-bound",
        &["future_guard"],
        "A row whose event time is this far ahead of the clock is bad: it moves no watermark and goes where ON ERROR says.",
    ),
];

const SPEC: ConnectorSpec = ConnectorSpec { name: "watermark", aliases: &[], source: true, sink: false, options: &OPTIONS };

/// Whether an option is one of these.
pub(super) fn is_option(key: &str) -> bool {
    options::find(&SPEC, key).is_some()
}

/// The error when a source without a watermark has such an option.
pub(super) fn without_watermark(settings: &[OptionSetting], source: &str) -> Option<PlanError> {
    let first = settings.first()?;
    let message = format!("option \"{}\" is about a watermark, and \"{source}\" declares none", first.key);
    let help = "Declare one: WATERMARK FOR ts AS ts - INTERVAL '5' SECOND among the columns.";
    Some(PlanError::new("plan::wrong_option", message, first.key_span).help(help))
}

/// Reads the options.
pub(super) fn resolve(settings: &[OptionSetting], source: &str) -> Result<SourceTiming, Vec<PlanError>> {
    if settings.is_empty() {
        return Ok(SourceTiming::default());
    }
    let Options(values) = options::resolve(&SPEC, settings, Side::Source, source, Span::default())?;
    let mut errors = Vec::new();
    let mut read = |name: &str, least: i64| {
        let us = parse_us(values.get(name)?).ok()?;
        if us < least {
            let place = settings
                .iter()
                .find(|setting| options::find(&SPEC, &setting.key).is_some_and(|(_, known)| known == name))
                .map_or(Span::default(), |setting| setting.value_span);
            errors.push(
                PlanError::new("plan::wrong_option", format!("option \"{name}\" must be positive"), place)
                    .help("Write a duration such as 30s."),
            );
        }
        Some(us)
    };
    let timing = SourceTiming {
        idle_timeout_us: read(OPTIONS[0].name, 1),
        max_drift_us: read(OPTIONS[1].name, 1),
        future_bound_us: read(OPTIONS[2].name, 0),
    };
    if errors.is_empty() { Ok(timing) } else { Err(errors) }
}
