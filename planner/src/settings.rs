//! What `SET` can say: typed, checked, each with a default and a sentence of help.

use std::collections::BTreeMap;

use crate::duration::{format_us, parse_us};
use crate::error::nearest;
use crate::plan::{AtLimit, Evicted};
use crate::state_request::StateRequest;
use crate::statement::{EmitClause, OptionSetting};
use crate::{PlanError, Span};

/// What a setting's value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// Any text.
    Text,
    /// A whole number not below the least.
    Integer {
        /// Least value.
        min: i64,
    },
    /// `true` or `false`.
    Flag,
    /// A length of time above zero.
    Duration,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct SettingSpec {
    /// Its name.
    pub name: &'static str,
    /// What its value must be.
    pub kind: SettingKind,
    /// The value when none is set; empty when that is decided elsewhere.
    pub default: &'static str,
    /// One sentence.
    pub help: &'static str,
}

/// Names that settings have elsewhere.
const ALIASES: [(&str, &str); 2] = [("table.exec.state.ttl", "state.ttl"), ("state.max_keys", "state.max_groups")];

const SPECS: &[SettingSpec] = &[
    SettingSpec {
        name: "allow_unbounded_state",
        kind: SettingKind::Flag,
        default: "false",
        help: "Plan queries whose state grows with an unbounded input, as ALLOW UNBOUNDED STATE does for one query.",
    },
    SettingSpec {
        name: "emit",
        kind: SettingKind::OneOf(&["default", "changes", "final"]),
        default: "default",
        help: "When queries without an EMIT clause emit; by default FINAL with a window and a watermark, else CHANGES.",
    },
    SettingSpec {
        name: "format",
        kind: SettingKind::Text,
        default: "",
        help: "How a bare SELECT is written: table, changelog, ndjson or csv; by default table if the input is bounded, else changelog.",
    },
    SettingSpec {
        name: "progress",
        kind: SettingKind::Flag,
        default: "false",
        help: "A bare SELECT prints how far its watermark has come, too, in the formats changelog and ndjson.",
    },
    SettingSpec {
        name: "recursion_limit",
        kind: SettingKind::Integer { min: 1 },
        default: "10000",
        help: "Rounds that WITH RECURSIVE may take to end; a run fails when one more still changes something.",
    },
    SettingSpec {
        name: "state.at_limit",
        kind: SettingKind::OneOf(&AtLimit::WORDS),
        default: "fail",
        help: "What happens when state would pass a state.max_…: fail the run, refuse new groups, or evict the group that came first, \
               was touched least recently, has the fewest rows, or the most.",
    },
    SettingSpec {
        name: "state.evicted",
        kind: SettingKind::OneOf(&Evicted::WORDS),
        default: "",
        help: "What becomes of the result of a group that goes: it is taken back (the default), it stays and later rows are dropped, or it \
               stays and later rows begin anew.",
    },
    SettingSpec { name: "state.max_age", kind: SettingKind::Duration, default: "", help: "How long after its first row a group goes." },
    SettingSpec {
        name: "state.max_bytes",
        kind: SettingKind::Integer { min: 1 },
        default: "",
        help: "Bytes of memory that an operator's state may take, about; each worker has its share.",
    },
    SettingSpec {
        name: "state.max_groups",
        kind: SettingKind::Integer { min: 1 },
        default: "",
        help: "Groups that an operator may keep, with windows each key in each window; each worker has its share.",
    },
    SettingSpec {
        name: "state.max_rows_per_group",
        kind: SettingKind::Integer { min: 1 },
        default: "",
        help: "Rows that one group may have.",
    },
    SettingSpec {
        name: "state.max_windows_per_key",
        kind: SettingKind::Integer { min: 1 },
        default: "",
        help: "Windows that one key may have at a time.",
    },
    SettingSpec {
        name: "state.time",
        kind: SettingKind::OneOf(&["processing", "event"]),
        default: "processing",
        help: "What state.ttl and state.max_age are measured by: the time rows are read at, or the watermark.",
    },
    SettingSpec {
        name: "state.ttl",
        kind: SettingKind::Duration,
        default: "",
        help: "How long a group is kept that no row comes for, and a row of a join.",
    },
    SettingSpec {
        name: "workers",
        kind: SettingKind::Integer { min: 1 },
        default: "",
        help: "Number of worker threads; by default what the command line says.",
    },
];

/// The settings in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<&'static str, String>,
}

impl Settings {
    /// All settings there are, by name.
    pub fn specs() -> &'static [SettingSpec] {
        SPECS
    }

    fn spec(key: &str, span: Option<Span>) -> Result<&'static SettingSpec, PlanError> {
        let own = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(key)).map_or(key, |(_, name)| name);
        SPECS.iter().find(|spec| spec.name.eq_ignore_ascii_case(own)).ok_or_else(|| {
            let error = PlanError::new("plan::unknown_setting", format!("setting \"{key}\" does not exist"), span);
            match nearest(key, SPECS.iter().map(|spec| spec.name)) {
                Some(name) => error.help(format!("Did you mean \"{name}\"?")),
                None => error.help(format!("Settings are {}.", SPECS.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", "))),
            }
        })
    }

    /// Sets a setting from text.
    ///
    /// # Errors
    /// When there is no such setting (at the key's span), or it cannot have that value (at the value's).
    pub fn set(&mut self, key: &str, value: &str, key_span: Option<Span>, value_span: Option<Span>) -> Result<(), PlanError> {
        let spec = Self::spec(key, key_span)?;
        let word = value.trim().to_lowercase();
        let wrong = |expected: String| {
            PlanError::new("plan::wrong_setting", format!("setting \"{}\" cannot be \"{value}\"", spec.name), value_span)
                .label(expected)
                .help(spec.help)
        };
        let kept = match spec.kind {
            SettingKind::Text => value.trim().to_string(),
            SettingKind::Flag => match word.as_str() {
                "true" | "on" => "true".into(),
                "false" | "off" => "false".into(),
                _ => return Err(wrong("true or false expected".into())),
            },
            SettingKind::Integer { min } => match word.parse::<i64>() {
                Ok(number) if number >= min => number.to_string(),
                _ => return Err(wrong(format!("a whole number from {min} expected"))),
            },
            SettingKind::Duration => match parse_us(&word) {
                Ok(us) if us > 0 => format_us(us),
                _ => return Err(wrong("a length of time above zero expected, such as 1h".into())),
            },
            SettingKind::OneOf(words) => match words.iter().find(|it| **it == word) {
                Some(it) => (*it).to_string(),
                None => return Err(wrong(format!("{} expected", words.join(" or ")))),
            },
        };
        self.values.insert(spec.name, kept);
        Ok(())
    }

    /// Gives a setting its default again; all of them without a key.
    ///
    /// # Errors
    /// When there is no such setting.
    pub fn reset(&mut self, key: Option<(&str, Option<Span>)>) -> Result<(), PlanError> {
        match key {
            Some((key, span)) => {
                let spec = Self::spec(key, span)?;
                self.values.remove(spec.name);
            }
            None => self.values.clear(),
        }
        Ok(())
    }

    /// A setting's value as text: what was set, or the default.
    ///
    /// # Errors
    /// When there is no such setting.
    pub fn show(&self, key: &str, span: Option<Span>) -> Result<&str, PlanError> {
        let spec = Self::spec(key, span)?;
        Ok(self.values.get(spec.name).map_or(spec.default, String::as_str))
    }

    fn given(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The number of workers, if set.
    pub fn workers(&self) -> Option<usize> {
        self.given("workers").and_then(|text| text.parse().ok())
    }

    /// How many rounds a recursion may take.
    pub fn recursion_limit(&self) -> u64 {
        self.show("recursion_limit", None).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
    }

    /// Whether state may grow with an unbounded input.
    pub fn allow_unbounded_state(&self) -> bool {
        self.given("allow_unbounded_state") == Some("true")
    }

    /// What is asked of state, by these settings with others on top that a query has for itself; `None` if nothing is.
    ///
    /// # Errors
    /// Everything that is no setting of state, or cannot have its value.
    pub(crate) fn state(&self, own: &[OptionSetting]) -> Result<Option<StateRequest>, Vec<PlanError>> {
        let mut errors = Vec::new();
        let mut settings = self.clone();
        let mut ttl_of = Vec::new();
        for option in own {
            if let Some(relation) = option.key.strip_prefix("state.ttl.").filter(|name| !name.is_empty()) {
                match parse_us(&option.value.trim().to_lowercase()) {
                    Ok(us) if us > 0 => ttl_of.push((relation.to_lowercase(), us, option.key_span)),
                    _ => errors.push(
                        PlanError::new(
                            "plan::wrong_setting",
                            format!("the time-to-live of \"{relation}\" cannot be \"{}\"", option.value),
                            option.value_span,
                        )
                        .label("a length of time above zero expected, such as 1h"),
                    ),
                }
                continue;
            }
            let known = Self::spec(&option.key, None).is_ok_and(|spec| spec.name.starts_with("state."));
            let set = if known {
                settings.set(&option.key, &option.value, Some(option.key_span), Some(option.value_span))
            } else {
                let names: Vec<&str> = SPECS.iter().map(|spec| spec.name).filter(|name| name.starts_with("state.")).collect();
                let error = PlanError::new(
                    "plan::unknown_setting",
                    format!("option \"{}\" of a query does not exist", option.key),
                    option.key_span,
                );
                Err(match nearest(&option.key, names.iter().copied()) {
                    Some(name) => error.help(format!("Did you mean \"{name}\"?")),
                    None => error.help(format!("Options of a query are {}.", names.join(", "))),
                })
            };
            errors.extend(set.err());
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let us = |name| settings.given(name).and_then(|text| parse_us(text).ok());
        let number = |name| settings.given(name).and_then(|text| text.parse().ok());
        let request = StateRequest {
            ttl_us: us("state.ttl"),
            ttl_of,
            max_age_us: us("state.max_age"),
            event_time: settings.given("state.time") == Some("event"),
            max_groups: number("state.max_groups"),
            max_windows_per_key: number("state.max_windows_per_key"),
            max_rows_per_group: number("state.max_rows_per_group"),
            max_bytes: number("state.max_bytes"),
            at_limit: settings.given("state.at_limit").and_then(AtLimit::of_word).unwrap_or_default(),
            evicted: settings.given("state.evicted").and_then(Evicted::of_word),
            span: own.first().map(|first| own.iter().fold(first.key_span, |span, option| span.to(option.value_span))),
        };
        Ok(request.asks().then_some(request))
    }

    /// How a bare SELECT is written, if set.
    pub fn format(&self) -> Option<&str> {
        self.given("format")
    }

    /// Whether a bare SELECT tells its progress.
    pub fn progress(&self) -> bool {
        self.given("progress") == Some("true")
    }

    /// When queries without an EMIT clause emit, if set.
    pub fn emit(&self) -> Option<EmitClause> {
        match self.given("emit") {
            Some("changes") => Some(EmitClause::Changes),
            Some("final") => Some(EmitClause::Final),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_typed_and_have_defaults() {
        let mut settings = Settings::default();
        assert_eq!((settings.workers(), settings.allow_unbounded_state(), settings.emit()), (None, false, None));
        settings.set("WORKERS", "4", None, None).expect("a setting");
        settings.set("allow_unbounded_state", "on", None, None).expect("a setting");
        settings.set("emit", "FINAL", None, None).expect("a setting");
        assert_eq!((settings.workers(), settings.allow_unbounded_state(), settings.emit()), (Some(4), true, Some(EmitClause::Final)));
        settings.reset(Some(("workers", None))).expect("a setting");
        assert_eq!(settings.workers(), None);
        assert_eq!(settings.show("emit", None), Ok("final"));
    }

    #[test]
    fn wrong_settings_say_what_is_meant() {
        let mut settings = Settings::default();
        let error = settings.set("worker", "4", None, None).expect_err("unknown");
        assert_eq!((error.code, error.help.as_deref()), ("plan::unknown_setting", Some("Did you mean \"workers\"?")));
        let error = settings.set("workers", "0", None, Some(Span::new(3, 4))).expect_err("too few");
        assert_eq!((error.code, error.span), ("plan::wrong_setting", Some(Span::new(3, 4))));
        assert!(settings.set("emit", "sometimes", None, None).is_err());
    }
}
