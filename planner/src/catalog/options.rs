//! Options of connectors: names resolved, values checked, defaults filled in.

use std::collections::BTreeMap;

use super::find_name;
use crate::connector::{ConnectorCatalog, ConnectorSpec, OptionKind, OptionSpec, Options, Side};
use crate::duration::parse_us;
use crate::error::nearest;
use crate::statement::{Columns, Name, OptionSetting};
use crate::{PlanError, Span, secrets};

/// The connector a statement names, with the setting that does.
pub(super) fn connector<'a>(
    connectors: &'a dyn ConnectorCatalog,
    settings: &[OptionSetting],
    relation: &str,
    span: Span,
) -> Result<&'a ConnectorSpec, PlanError> {
    let all = connectors.connectors();
    let names = || all.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", ");
    let Some(setting) = settings.iter().find(|setting| setting.key.eq_ignore_ascii_case("connector")) else {
        return Err(PlanError::new("plan::missing_option", format!("\"{relation}\" names no connector"), span)
            .label("option \"connector\" is missing")
            .help(format!("Add WITH (connector = '…'); connectors are {}.", names())));
    };
    let is = |name: &str| name.eq_ignore_ascii_case(&setting.value);
    all.iter().find(|spec| is(spec.name) || spec.aliases.iter().any(|alias| is(alias))).ok_or_else(|| {
        let known = all.iter().flat_map(|spec| std::iter::once(spec.name).chain(spec.aliases.iter().copied()));
        let help = match nearest(&setting.value, known) {
            Some(name) => format!("Did you mean \"{name}\"?"),
            None => format!("Connectors are {}.", names()),
        };
        PlanError::new("plan::unknown_connector", format!("connector \"{}\" does not exist", setting.value), setting.value_span).help(help)
    })
}

/// Options of a statement, checked, and completed by the rest of it.
pub(super) fn complete(
    connectors: &dyn ConnectorCatalog,
    settings: &[OptionSetting],
    mut options: Options,
    columns: Option<&Columns>,
    span: Span,
) -> Result<Options, PlanError> {
    let Some(setting) = settings.iter().find(|setting| setting.key.eq_ignore_ascii_case("connector")) else { return Ok(options) };
    let key: Option<Vec<String>> = columns.and_then(|columns| {
        let all = || columns.columns.iter().map(|column| column.name.value.as_str());
        let declared = |name: &Name| find_name(all(), name).and_then(|place| all().nth(place)).unwrap_or(&name.value).to_owned();
        Some(columns.primary_key.as_ref()?.columns.iter().map(declared).collect())
    });
    let completed = connectors.complete(&setting.value, &mut options, key.as_deref());
    completed.map_err(|reason| PlanError::new("plan::wrong_option", reason, span))?;
    Ok(options)
}

fn allows(spec: &OptionSpec, side: Side) -> bool {
    spec.side == Side::Both || side == Side::Both || spec.side == side
}

/// The option a key means, and its canonical name.
pub(super) fn find<'a>(spec: &'a ConnectorSpec, key: &str) -> Option<(&'a OptionSpec, String)> {
    spec.options.iter().find_map(|option| {
        std::iter::once(option.name).chain(option.aliases.iter().copied()).find_map(|name| match name.strip_suffix('*') {
            Some(prefix) => {
                let rest = key.get(..prefix.len()).filter(|head| head.eq_ignore_ascii_case(prefix)).map(|_| &key[prefix.len()..])?;
                (!rest.is_empty()).then(|| (option, format!("{}{rest}", option.name.trim_end_matches('*'))))
            }
            None => name.eq_ignore_ascii_case(key).then(|| (option, option.name.to_string())),
        })
    })
}

/// A value in its canonical text, or what was expected instead.
fn check_value(kind: OptionKind, value: &str) -> Result<String, String> {
    let word = value.trim();
    match kind {
        OptionKind::Text => Ok(value.to_string()),
        OptionKind::Integer { min } => match word.replace('_', "").parse::<i64>() {
            Ok(number) if number >= min => Ok(number.to_string()),
            Ok(_) => Err(format!("a whole number from {min} expected")),
            Err(_) => Err("a whole number expected".into()),
        },
        OptionKind::Number => match word.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(word.to_string()),
            _ => Err("a number expected".into()),
        },
        OptionKind::Flag => match word.to_lowercase().as_str() {
            "true" => Ok("true".into()),
            "false" => Ok("false".into()),
            _ => Err("true or false expected".into()),
        },
        OptionKind::Duration => match parse_us(word) {
            Ok(_) => Ok(word.to_string()),
            Err(_) => Err("a duration such as 5s or 250ms expected".into()),
        },
        OptionKind::OneOf(words) => words
            .iter()
            .find(|it| it.eq_ignore_ascii_case(word))
            .map(|it| (*it).to_string())
            .ok_or_else(|| format!("{} expected", words.join(" or "))),
    }
}

/// Checks the options of a statement for one side of a pipeline. All mistakes are told.
pub(super) fn resolve(
    spec: &ConnectorSpec,
    settings: &[OptionSetting],
    side: Side,
    relation: &str,
    span: Span,
) -> Result<Options, Vec<PlanError>> {
    let mut errors = Vec::new();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    for setting in settings.iter().filter(|setting| !setting.key.eq_ignore_ascii_case("connector")) {
        let Some((option, name)) = find(spec, &setting.key) else {
            let known = spec.options.iter().filter(|option| allows(option, side));
            let names = known.clone().flat_map(|option| std::iter::once(option.name).chain(option.aliases.iter().copied()));
            let help = match nearest(&setting.key, names) {
                Some(name) => format!("Did you mean \"{name}\"?"),
                None => format!("Options are {}.", known.map(|option| option.name).collect::<Vec<_>>().join(", ")),
            };
            let message = format!("connector \"{}\" has no option \"{}\"", spec.name, setting.key);
            errors.push(PlanError::new("plan::unknown_option", message, setting.key_span).help(help));
            continue;
        };
        if !allows(option, side) {
            let (is, of) = if side == Side::Source { ("sinks", "source") } else { ("sources", "sink") };
            let message = format!("option \"{}\" is for {is}, and \"{relation}\" is a {of}", setting.key);
            errors.push(PlanError::new("plan::wrong_option", message, setting.key_span).help(format!("Leave \"{}\" out.", setting.key)));
            continue;
        }
        match check_value(option.kind, &setting.value) {
            Ok(value) => {
                if values.insert(name.clone(), value).is_some() {
                    let message = format!("option \"{name}\" is given twice");
                    errors.push(PlanError::new("plan::wrong_option", message, setting.key_span).help("Keep one of them."));
                }
            }
            Err(expected) => {
                let message = format!("option \"{}\" cannot be \"{}\"", setting.key, secrets::shown(&setting.key, &setting.value));
                errors.push(PlanError::new("plan::wrong_option", message, setting.value_span).label(expected).help(option.help));
            }
        }
    }
    for option in spec.options.iter().filter(|option| allows(option, side) && !option.name.ends_with('*')) {
        if values.contains_key(option.name) {
            continue;
        }
        if option.required {
            // An option that only one side needs cannot be missed before the side is known.
            let message = format!("\"{relation}\" needs option \"{}\"", option.name);
            if side != Side::Both || option.side == Side::Both {
                errors.push(PlanError::new("plan::missing_option", message, span).help(option.help));
            }
        } else if let Some(default) = option.default {
            values.insert(option.name.to_string(), default.to_string());
        }
    }
    if errors.is_empty() { Ok(Options(values)) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: ConnectorSpec = ConnectorSpec {
        name: "file",
        aliases: &["filesystem"],
        source: true,
        sink: true,
        options: &[
            OptionSpec {
                name: "path",
                aliases: &["file"],
                kind: OptionKind::Text,
                side: Side::Both,
                required: true,
                default: None,
                help: "Name a file.",
            },
            OptionSpec {
                name: "follow",
                aliases: &[],
                kind: OptionKind::Flag,
                side: Side::Source,
                required: false,
                default: Some("false"),
                help: "Wait for more.",
            },
            OptionSpec {
                name: "fields.*",
                aliases: &["field.*"],
                kind: OptionKind::Text,
                side: Side::Source,
                required: false,
                default: None,
                help: "About one field.",
            },
        ],
    };

    fn settings(pairs: &[(&str, &str)]) -> Vec<OptionSetting> {
        let one = |(at, (key, value)): (usize, &(&str, &str))| OptionSetting {
            key: (*key).into(),
            value: (*value).into(),
            key_span: Span::new(10 * at, 10 * at + 1),
            value_span: Span::new(10 * at + 5, 10 * at + 6),
        };
        pairs.iter().enumerate().map(one).collect()
    }

    fn resolved(pairs: &[(&str, &str)], side: Side) -> Result<Vec<(String, String)>, Vec<(&'static str, Span)>> {
        match resolve(&SPEC, &settings(pairs), side, "t", Span::new(99, 100)) {
            Ok(Options(values)) => Ok(values.into_iter().collect()),
            Err(errors) => Err(errors.into_iter().map(|error| (error.code, error.span.unwrap_or_default())).collect()),
        }
    }

    #[test]
    fn names_are_canonical_and_defaults_filled_in() {
        let options = resolved(&[("connector", "file"), ("FILE", "a"), ("field.price.min", "3")], Side::Source);
        let pair = |key: &str, value: &str| (key.to_string(), value.to_string());
        assert_eq!(options, Ok(vec![pair("fields.price.min", "3"), pair("follow", "false"), pair("path", "a")]));
        assert_eq!(resolved(&[("path", "a")], Side::Sink), Ok(vec![pair("path", "a")]));
    }

    #[test]
    fn every_mistake_is_told_at_its_place() {
        let wrong = resolved(&[("pth", "a"), ("follow", "maybe"), ("path", "x"), ("file", "y")], Side::Source);
        let expected = [
            ("plan::unknown_option", Span::new(0, 1)),
            ("plan::wrong_option", Span::new(15, 16)),
            ("plan::wrong_option", Span::new(30, 31)),
        ];
        assert_eq!(wrong, Err(expected.to_vec()));
        assert_eq!(resolved(&[], Side::Sink), Err(vec![("plan::missing_option", Span::new(99, 100))]));
        assert_eq!(resolved(&[("path", "a"), ("follow", "true")], Side::Sink), Err(vec![("plan::wrong_option", Span::new(10, 11))]));
    }
}
