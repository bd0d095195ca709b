//! What the parser's tests share: golden files, errors drawn in plain text, statements in short.

#![allow(dead_code)] // Each test uses its part.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tidemark_planner::parse::{LineIndex, arrow_type};
use tidemark_planner::statement::{ColumnKind, Columns, Query, ShowWhat, Statement};
use tidemark_planner::{PlanError, Span};

/// The variables statements may use: only these are set.
pub(crate) fn variables(name: &str) -> Option<String> {
    match name {
        "DIR" => Some("/data".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

/// All `.sql` files of a folder beside this one, sorted.
pub(crate) fn sql_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "sql"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no statements in {}", folder.display());
    files
}

/// Compares with the golden file beside a statement, or writes it when UPDATE_EXPECT is set. Returns whether they are equal.
pub(crate) fn golden(sql: &Path, actual: &str) -> bool {
    let path = sql.with_extension("txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, actual).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return true;
    }
    let expected =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error} (set UPDATE_EXPECT=1 to write it)", path.display()));
    if expected != actual {
        eprintln!("{} differs\n--- expected\n{expected}\n--- actual\n{actual}", path.display());
    }
    expected == actual
}

/// An error as a terminal would show it, without colours.
pub(crate) fn draw(text: &str, error: &PlanError) -> String {
    let lines = LineIndex::new(text);
    let mut out = format!("{}: {}\n", error.code, error.message);
    if let Some(span) = error.span {
        let (line, column) = lines.line_column(span.start);
        let shown = lines.line(line);
        let marked = text[span.start..span.end].lines().next().unwrap_or_default().chars().count().max(1);
        let gutter = format!("{line:>4} | ");
        let _ = writeln!(out, "{gutter}{}", shown.replace('\t', " "));
        let _ = writeln!(out, "{}{} {}", " ".repeat(gutter.len() + column - 1), "^".repeat(marked), error.label);
    }
    if let Some(help) = &error.help {
        let _ = writeln!(out, "help: {help}");
    }
    out
}

/// A statement in short.
pub(crate) fn render(text: &str, statement: &Statement) -> String {
    let mut out = String::new();
    match statement {
        Statement::CreateSource(it) => {
            let _ = writeln!(out, "source {}{}{}", it.name.value, flag(it.table, " table"), flag(it.if_not_exists, " if-not-exists"));
            columns(&mut out, it.columns.as_ref());
            if let Some(watermark) = &it.watermark {
                let _ =
                    writeln!(out, "  watermark {} - {}us `{}`", watermark.column.value, watermark.delay_us, slice(text, watermark.span));
            }
            options(&mut out, text, &it.options);
            if let Some((policy, span)) = &it.on_error {
                let _ = writeln!(out, "  {policy:?} `{}`", slice(text, *span));
            }
        }
        Statement::CreateSink(it) => {
            let _ = writeln!(out, "sink {}{}", it.name.value, flag(it.if_not_exists, " if-not-exists"));
            columns(&mut out, it.columns.as_ref());
            options(&mut out, text, &it.options);
            if let Some(body) = &it.query {
                query(&mut out, text, body);
            }
        }
        Statement::CreateView(it) => {
            let _ = writeln!(out, "view {} {:?}", it.name.value, it.columns.iter().map(|name| &name.value).collect::<Vec<_>>());
            query(&mut out, text, &it.query);
        }
        Statement::CreateFunction(it) => {
            let names: Vec<&str> = it.parameters.iter().map(|it| it.name.value.as_str()).collect();
            let _ = writeln!(out, "function {} {names:?} {}", it.name.value, it.body);
        }
        Statement::Insert(it) => {
            let _ = writeln!(out, "insert {} {:?}", it.target.value, it.columns.iter().map(|name| &name.value).collect::<Vec<_>>());
            query(&mut out, text, &it.query);
        }
        Statement::Query(it) => {
            out.push_str("query\n");
            query(&mut out, text, it);
        }
        Statement::Set(it) => {
            out.push_str("set\n");
            options(&mut out, text, std::slice::from_ref(&it.setting));
        }
        Statement::Reset(it) => {
            let _ = writeln!(out, "reset {:?}", it.key.as_ref().map(|(key, _)| key));
        }
        Statement::Show(it) => {
            let what = match &it.what {
                ShowWhat::Create(name) => format!("Create {}", name.value),
                ShowWhat::Setting(key, _) => format!("Setting {key}"),
                other => format!("{other:?}"),
            };
            let _ = writeln!(out, "show {what}");
        }
        Statement::Describe(it) => {
            let _ = writeln!(out, "describe {}", it.name.value);
        }
        Statement::Explain(it) => {
            let _ = writeln!(out, "explain {:?} {:?}", it.level, it.format);
            for line in render(text, &it.statement).lines() {
                let _ = writeln!(out, "  {line}");
            }
        }
    }
    out
}

fn columns(out: &mut String, columns: Option<&Columns>) {
    let Some(columns) = columns else { return };
    for column in &columns.columns {
        let kind = match &column.kind {
            ColumnKind::Physical { data_type, not_null } => format!("{}{}", arrow_type(data_type), flag(*not_null, " not null")),
            ColumnKind::Metadata { data_type, not_null, key, is_virtual } => format!(
                "{}{} metadata {:?}{}",
                arrow_type(data_type),
                flag(*not_null, " not null"),
                key.as_ref().map(|(key, _)| key),
                flag(*is_virtual, " virtual")
            ),
            ColumnKind::Computed { expr, .. } => format!("as {expr}"),
        };
        let comment = column.comment.as_ref().map(|comment| format!(" -- {comment}")).unwrap_or_default();
        let _ = writeln!(out, "  column {}: {kind}{comment}", column.name.value);
    }
    if let Some(key) = &columns.primary_key {
        let _ = writeln!(out, "  key {:?}", key.columns.iter().map(|name| &name.value).collect::<Vec<_>>());
    }
}

fn options(out: &mut String, text: &str, options: &[tidemark_planner::statement::OptionSetting]) {
    for option in options {
        let _ = writeln!(out, "  {} = {}   `{}`", option.key, option.value, slice(text, option.value_span));
    }
}

fn query(out: &mut String, text: &str, query: &Query) {
    let _ = writeln!(out, "  {}", query.body);
    if let Some((emit, span)) = &query.emit {
        let _ = writeln!(out, "  emit {emit:?} `{}`", slice(text, *span));
    }
    out.push_str(flag(query.allow_unbounded_state, "  unbounded\n"));
    options(out, text, &query.options);
}

fn flag(set: bool, text: &str) -> &str {
    if set { text } else { "" }
}

/// The text of a span.
pub(crate) fn slice(text: &str, span: Span) -> &str {
    &text[span.start..span.end]
}
