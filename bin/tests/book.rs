//! The book's tables of options are what the connectors say of themselves. `BLESS=1 cargo test -p tidemark-cli --test book` writes them.

mod support;

use std::fmt::Write;

use support::root;
use tidemark_connectors::{Connectors, StdoutStyle};
use tidemark_planner::connector::{ConnectorCatalog, ConnectorSpec, OptionKind, Side};
use tidemark_planner::settings::{SettingKind, Settings};

/// The options of one side of a connector as a table.
fn table(spec: &ConnectorSpec, side: Side) -> String {
    let mut rows = String::new();
    for option in spec.options.iter().filter(|option| option.side == side || option.side == Side::Both) {
        let kind = match option.kind {
            OptionKind::Text => "text".to_owned(),
            OptionKind::Integer { min } => format!("whole number from {min}"),
            OptionKind::Number => "number".to_owned(),
            OptionKind::Flag => "`true` or `false`".to_owned(),
            OptionKind::Duration => "duration".to_owned(),
            OptionKind::OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        };
        let default = match option.default {
            _ if option.required => "required".to_owned(),
            Some("") | None => String::new(),
            Some(default) => format!("`{}`", default.escape_debug()),
        };
        let aliases = option.aliases.iter().map(|alias| format!("`{alias}`")).collect::<Vec<_>>().join(", ");
        let help = option.help.replace('|', "\\|");
        let _ = writeln!(rows, "| `{}` | {kind} | {default} | {help} | {aliases} |", option.name);
    }
    if rows.is_empty() {
        return "No options.\n".to_owned();
    }
    format!("| Option | Value | Default | Meaning | Also written |\n|---|---|---|---|---|\n{rows}")
}

fn settings_table() -> String {
    let mut rows = String::from("| Setting | Value | Default | Meaning |\n|---|---|---|---|\n");
    for spec in Settings::specs() {
        let kind = match spec.kind {
            SettingKind::Text => "text".to_owned(),
            SettingKind::Integer { min } => format!("whole number from {min}"),
            SettingKind::Duration => "duration".to_owned(),
            SettingKind::Flag => "`true` or `false`".to_owned(),
            SettingKind::OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        };
        let default = if spec.default.is_empty() { String::new() } else { format!("`{}`", spec.default) };
        let _ = writeln!(rows, "| `{}` | {kind} | {default} | {} |", spec.name, spec.help.replace('|', "\\|"));
    }
    rows
}

/// Puts a table between its marks.
fn put(page: &str, mark: &str, table: &str) -> Option<String> {
    let open = format!("<!-- options: {mark} -->\n");
    let (before, rest) = page.split_once(&open)?;
    let (_, after) = rest.split_once("<!-- end -->")?;
    Some(format!("{before}{open}{table}<!-- end -->{after}"))
}

#[test]
fn tables_of_options_are_true() {
    let connectors = Connectors::of_process(StdoutStyle::default());
    let bless = std::env::var_os("BLESS").is_some();
    let mut marks = Vec::new();
    for spec in connectors.connectors() {
        if spec.source {
            marks.push(("sources.md", format!("{} source", spec.name), table(spec, Side::Source)));
        }
        if spec.sink {
            marks.push(("sinks.md", format!("{} sink", spec.name), table(spec, Side::Sink)));
        }
    }
    marks.push(("sql.md", "settings".to_owned(), settings_table()));
    for (page, mark, table) in marks {
        let path = root().join("docs/book").join(page);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
        let wanted = put(&text, &mark, &table).unwrap_or_else(|| panic!("{page} has no place for the options of \"{mark}\""));
        if bless {
            std::fs::write(&path, &wanted).unwrap_or_else(|error| panic!("{page}: {error}"));
        } else {
            assert!(text == wanted, "{page}: the options of \"{mark}\" have changed; BLESS=1 writes them anew");
        }
    }
}

/// Every SQL block of the book is planned by `tidemark check`, but for those that begin with `-- sketch`.
#[test]
fn examples_of_the_book_are_planned() {
    let mut checked = 0;
    for entry in std::fs::read_dir(root().join("docs/book")).expect("the book").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("a page");
        for block in text.split("```sql\n").skip(1) {
            let sql = block.split("```").next().unwrap_or_default();
            let name = entry.path().display().to_string();
            if sql.starts_with("-- sketch") {
                continue;
            }
            let ran = support::tidemark(&["check", "-e", sql]);
            assert_eq!(ran.code, Some(0), "{name}:\n{sql}\n{}", ran.stderr);
            checked += 1;
        }
    }
    assert!(checked >= 12, "only {checked} blocks were checked");
}

/// The examples about time do what the page says they do: they run, and something comes out.
#[test]
fn examples_about_time_run() {
    let text = std::fs::read_to_string(root().join("docs/book/time.md")).expect("the page");
    let mut ran = 0;
    for block in text.split("```sql\n").skip(1) {
        let sql = block.split("```").next().unwrap_or_default();
        let run = support::tidemark(&["run", "-q", "--limit-time", "20s", "-e", sql]);
        assert_eq!(run.code, Some(0), "{sql}\n{}", run.stderr);
        assert!(!run.stdout.is_empty(), "nothing comes out of\n{sql}");
        ran += 1;
    }
    assert!(ran > 8, "the page has examples");
}

/// The architecture page names files and folders that exist.
#[test]
fn the_code_map_is_true() {
    let page = std::fs::read_to_string(root().join("docs/architecture.md")).expect("the page");
    let mut base = String::new();
    let mut named = 0;
    for line in page.lines() {
        for path in line.split('`').skip(1).step_by(2).filter(|word| !word.contains([' ', '<'])) {
            let is_path = path.ends_with('/') || path.ends_with(".rs") || path == ".ci/run";
            if !is_path {
                continue;
            }
            named += 1;
            // `source.rs` behind `connectors/src/…` is in the same folder.
            let full = if path.trim_end_matches('/').contains('/') || root().join(path).exists() {
                path.to_owned()
            } else {
                format!("{base}{path}")
            };
            assert!(root().join(&full).exists(), "docs/architecture.md names {path}, which is not there");
            base = full.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        }
    }
    assert!(named > 30, "only {named} paths were found");
}
