//! What `SET` can say: typed, checked, each with a default and a sentence of help.

use std::collections::BTreeMap;

use crate::error::nearest;
use crate::statement::EmitClause;
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
        SPECS.iter().find(|spec| spec.name.eq_ignore_ascii_case(key)).ok_or_else(|| {
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

    /// Whether state may grow with an unbounded input.
    pub fn allow_unbounded_state(&self) -> bool {
        self.given("allow_unbounded_state") == Some("true")
    }

    /// How a bare SELECT is written, if set.
    pub fn format(&self) -> Option<&str> {
        self.given("format")
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
