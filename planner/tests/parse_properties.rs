//! Properties of the parser: the spans of a statement are the user's words, and no text, however wrong, makes it panic.

mod common;

use std::ops::ControlFlow;

use common::{draw, slice, sql_files, variables};
use datafusion_sql::sqlparser::ast::{Expr, Ident, ObjectName, Query as Tree, TableFactor, Visit, Visitor};
use proptest::prelude::*;
use tidemark_planner::Span;
use tidemark_planner::parse::{LineIndex, parse};
use tidemark_planner::statement::{ColumnKind, Columns, Name, OptionSetting, Query, Statement};

/// A name and how it is written; letters of several lengths in bytes.
fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z][a-z0-9_]{3,8}x", "[a-zäöµ]{4,8}x", "\"[A-Za-zß€ ]{2,8}x\"", "`[a-z üñ]{2,8}x`",]
}

/// What may stand between words.
fn blank() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(" ".to_string()),
        Just("\n\t".to_string()),
        Just(" /* näh ; ' */ ".to_string()),
        Just(" -- ü; (\n".to_string()),
        Just("\r\n  ".to_string()),
    ]
}

/// Statements whose words are parted by `~`; names are filled in for `@1`, `@2`, `@3`.
const TEMPLATES: [&str; 12] = [
    "CREATE~SOURCE~@1~(~@2~BIGINT~NOT~NULL~,~@3~TIMESTAMP(3)~,~WATERMARK~FOR~@3~AS~@3~-~INTERVAL~'5'~SECOND~)~WITH~(~connector~=~'fileä'~,~'rows'~=~10~)~ON~ERROR~SKIP",
    "CREATE~TABLE~@1~(~@2~ROW<a~ARRAY<INT>>~,~@3~AS~@2~+~1~,~PRIMARY~KEY~(~@2~)~NOT~ENFORCED~)~WITH~(~a.b-c~=~1h~)",
    "CREATE~VIEW~@1~(~@2~)~AS~SELECT~@3~FROM~@1~EMIT~CHANGES",
    "CREATE~SINK~@1~WITH~(~connector~=~blackhole~)~FORMAT~csv~AS~SELECT~@2~,~count(*)~FROM~@3~WINDOW~TUMBLING(5m)~GROUP~BY~@2~EMIT~FINAL~ALLOW~UNBOUNDED~STATE",
    "INSERT~INTO~@1~(~@2~)~SELECT~@3~FROM~@2~WHERE~@3~>~5m",
    "SELECT~@1~.~@2~,~sum(~@3~)~FROM~@1~WHERE~@3~=~'€'~WINDOW~SLIDING(1h,~10m,~@2)~GROUP~BY~@1~.~@2",
    "SELECT~TUMBLE_START(@1,~1m)~,~@2~FROM~@3~GROUP~BY~@2~,~TUMBLE(@1,~INTERVAL~'1'~MINUTE)",
    "SELECT~@2~FROM~TABLE(TUMBLE(TABLE~@1~,~DESCRIPTOR(~@2~),~INTERVAL~'10'~SECOND~))~AS~@3",
    "WITH~@1~AS~(~SELECT~@2~FROM~@3~WINDOW~TUMBLING(5m)~)~SELECT~*~FROM~(~SELECT~max(~@2~)~FROM~@1~WINDOW~CUMULATING(1m,~5m)~)",
    "SET~@1~=~@2",
    "DESCRIBE~@1",
    "EXPLAIN~LOGICAL~SELECT~@1~FROM~@2~JOIN~@3~ON~@1~=~@2",
];

fn statement_text() -> impl Strategy<Value = (String, [String; 3])> {
    (prop::sample::select(&TEMPLATES[..]), [name(), name(), name()], prop::collection::vec(blank(), 64)).prop_map(
        |(template, names, blanks)| {
            let mut out = String::new();
            for (word, blank) in template.split('~').zip(blanks.iter().cycle()) {
                let word = word.replace("@1", &names[0]).replace("@2", &names[1]).replace("@3", &names[2]);
                out.push_str(&word);
                out.push_str(blank);
            }
            (out, names)
        },
    )
}

/// What the user wrote for a name.
fn is_word(text: &str, value: &str) -> bool {
    text == value || text.len() == value.len() + 2 && text.get(1..text.len() - 1) == Some(value)
}

struct Walk<'a> {
    text: &'a str,
    around: Span,
    seen: Vec<String>,
}

impl Walk<'_> {
    fn inside(&self, span: Span) -> &str {
        assert!(
            span.start <= span.end && self.around.start <= span.start && span.end <= self.around.end,
            "{span:?} outside of {:?}",
            self.around
        );
        slice(self.text, span)
    }

    fn name(&mut self, name: &Name) {
        let text = self.inside(name.span).to_string();
        assert!(is_word(&text, &name.value), "{text} is not {}", name.value);
        self.seen.push(text);
    }

    fn option(&mut self, option: &OptionSetting) {
        let key = self.inside(option.key_span).to_string();
        assert!(is_word(&key, &option.key) || key.eq_ignore_ascii_case(&option.key), "{key} is not {}", option.key);
        let value = self.inside(option.value_span).to_string();
        assert!(is_word(&value, &option.value), "{value} is not {}", option.value);
        self.seen.extend([key, value]);
    }

    fn columns(&mut self, columns: &Columns) {
        self.inside(columns.span);
        for column in &columns.columns {
            self.inside(column.span);
            self.name(&column.name);
            match &column.kind {
                ColumnKind::Physical { data_type, .. } | ColumnKind::Metadata { data_type, .. } => {
                    assert!(self.inside(data_type.span).starts_with(|c: char| c.is_ascii_uppercase()));
                }
                ColumnKind::Computed { expr, span } => {
                    self.inside(*span);
                    let _ = expr.visit(&mut Idents(self));
                }
            }
        }
        if let Some(key) = &columns.primary_key {
            assert!(self.inside(key.span).starts_with("PRIMARY"));
            key.columns.iter().for_each(|name| self.name(name));
        }
    }

    fn query(&mut self, query: &Query) {
        self.inside(query.span);
        if let Some((_, span)) = query.emit {
            assert!(self.inside(span).starts_with("EMIT"));
        }
        let _ = query.body.visit(&mut Idents(self));
    }

    fn statement(&mut self, statement: &Statement) {
        self.inside(statement.span());
        match statement {
            Statement::CreateSource(it) => {
                self.name(&it.name);
                if let Some(columns) = &it.columns {
                    self.columns(columns);
                }
                if let Some(watermark) = &it.watermark {
                    self.name(&watermark.column);
                    assert!(self.inside(watermark.span).starts_with("WATERMARK"));
                    self.inside(watermark.strategy_span);
                }
                it.options.iter().for_each(|option| self.option(option));
                if let Some((_, span)) = &it.on_error {
                    assert!(self.inside(*span).starts_with("ON"));
                }
            }
            Statement::CreateSink(it) => {
                self.name(&it.name);
                it.options.iter().for_each(|option| self.option(option));
                it.query.iter().for_each(|query| self.query(query));
            }
            Statement::CreateView(it) => {
                self.name(&it.name);
                it.columns.iter().for_each(|name| self.name(name));
                self.query(&it.query);
            }
            Statement::CreateFunction(it) => {
                self.name(&it.name);
                it.parameters.iter().for_each(|it| self.name(&it.name));
            }
            Statement::Insert(it) => {
                self.name(&it.target);
                it.columns.iter().for_each(|name| self.name(name));
                self.query(&it.query);
            }
            Statement::Query(it) => self.query(it),
            Statement::Set(it) => self.option(&it.setting),
            Statement::Describe(it) => self.name(&it.name),
            Statement::Explain(it) => self.statement(&it.statement),
            Statement::Reset(_) | Statement::Show(_) => {}
        }
    }
}

/// Looks at the identifiers of a tree: each has a place, and what stands there is its name, or the window it stands for.
struct Idents<'a, 'b>(&'a mut Walk<'b>);

impl Idents<'_, '_> {
    fn ident(&mut self, ident: &Ident) {
        let lines = LineIndex::new(self.0.text);
        let span = lines.span(ident.span).unwrap_or_else(|| panic!("{ident} has no place"));
        let text = self.0.inside(span).to_string();
        let stands_for = ["TUMBL", "SLIDING", "CUMULATING"].iter().any(|window| text.starts_with(window));
        let ours = ident.value.starts_with("window_") || ident.value.starts_with('$') || ident.value == "proctime";
        assert!(is_word(&text, &ident.value) || (ours && stands_for), "{text} is not {ident}");
        self.0.seen.push(text);
    }
}

impl Visitor for Idents<'_, '_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.ident(ident),
            Expr::CompoundIdentifier(parts) => parts.iter().for_each(|ident| self.ident(ident)),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        relation.0.iter().filter_map(|part| part.as_ident()).for_each(|ident| self.ident(ident));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Function { name, alias, .. } = factor {
            name.0.iter().filter_map(|part| part.as_ident()).for_each(|ident| self.ident(ident));
            alias.iter().for_each(|alias| self.ident(&alias.name));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Tree) -> ControlFlow<()> {
        query.with.iter().flat_map(|with| &with.cte_tables).for_each(|cte| self.ident(&cte.alias.name));
        ControlFlow::Continue(())
    }
}

/// Words of our grammar and of SQL, and worse.
const SOUP: [&str; 112] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "HAVING",
    "WINDOW",
    "TUMBLING",
    "SLIDING",
    "SESSION",
    "CUMULATING",
    "TUMBLE",
    "HOP",
    "TABLE",
    "DESCRIPTOR",
    "(",
    ")",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "<",
    ">",
    ">>",
    ",",
    ",",
    ";",
    ".",
    "=",
    "=>",
    "*",
    "+",
    "-",
    "::",
    "$",
    "$$",
    "${",
    "'",
    "'x'",
    "\"",
    "\"q\"",
    "`",
    "`b`",
    "/*",
    "*/",
    "--",
    "5m",
    "10",
    "1.5",
    "5",
    "1h 30m",
    "5 s",
    "INTERVAL",
    "'5'",
    "SECOND",
    "MONTH",
    "TO",
    "ON",
    "EVENT_TIME",
    "PROCESSING_TIME",
    "WITH",
    "WATERMARK",
    "BOUNDED_OUT_OF_ORDERNESS",
    "ASCENDING_TIMESTAMPS",
    "TRIGGER",
    "EVERY",
    "RECORDS",
    "SESSION_END",
    "ALLOWED_LATENESS",
    "LATE_DATA_STRATEGY",
    "DROP",
    "EMIT",
    "CHANGES",
    "FINAL",
    "AFTER",
    "CLOSE",
    "ALLOW",
    "UNBOUNDED",
    "STATE",
    "CREATE",
    "SOURCE",
    "SINK",
    "VIEW",
    "INSERT",
    "INTO",
    "SET",
    "SHOW",
    "EXPLAIN",
    "FORMAT",
    "JSON",
    "AS",
    "a",
    "b",
    "ü",
    "€",
    "count(*)",
    "FOR",
    "PRIMARY",
    "KEY",
    "METADATA",
    "ARRAY",
    "MAP",
    "ROW",
    "DECIMAL",
    "UNION",
    "ALL",
    "OVER",
    "TUMBLE_START",
    "\n",
    "ERROR",
];

fn never_panics(text: &str) {
    if let Err(errors) = parse(text, &variables) {
        assert!(!errors.is_empty(), "an error says something");
        for error in errors {
            assert!(!error.message.is_empty() && error.span.is_some(), "{error:?}");
            // Drawing slices the text by the span.
            draw(text, &error);
        }
    }
}

fn corpus() -> Vec<String> {
    let files = sql_files("right").into_iter().chain(sql_files("wrong"));
    files
        .flat_map(|path| {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            text.split(';').map(str::to_string).collect::<Vec<_>>()
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spans_are_the_users_words((text, names) in statement_text(), before in blank()) {
        let text = format!("{before}SELECT 'ä;' AS x;{before}{text};");
        let statements = parse(&text, &variables).unwrap_or_else(|errors| panic!("{text}\n{}", errors.iter().map(|error| draw(&text, error)).collect::<String>()));
        prop_assert_eq!(statements.len(), 2);
        let statement = &statements[1];
        let mut walk = Walk { text: &text, around: statement.span(), seen: Vec::new() };
        walk.statement(statement);
        // The walk is not idle: it met at least one of the names.
        prop_assert!(names.iter().any(|name| walk.seen.contains(name)), "{:?} in {:?}", names, walk.seen);
    }

    #[test]
    fn no_soup_of_words_panics(words in prop::collection::vec(prop::sample::select(&SOUP[..]), 0..40), glue in prop::bool::ANY) {
        never_panics(&words.join(if glue { "" } else { " " }));
        never_panics(&format!("SELECT a FROM t {}", words.join(" ")));
        never_panics(&format!("CREATE SOURCE s ({})", words.join(" ")));
        never_panics(&format!("CREATE SOURCE s WITH ({})", words.join(" ")));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        never_panics(&text);
    }

    #[test]
    fn no_statement_with_a_hole_panics(pick in any::<prop::sample::Index>(), from in any::<prop::sample::Index>(), length in 0usize..20, insert in prop::sample::select(&SOUP[..])) {
        let corpus = corpus();
        let text = pick.get(&corpus);
        let chars: Vec<char> = text.chars().collect();
        let from = if chars.is_empty() { 0 } else { from.index(chars.len()) };
        let to = (from + length).min(chars.len());
        let cut: String = chars[..from].iter().chain(insert.chars().collect::<Vec<_>>().iter()).chain(&chars[to..]).collect();
        never_panics(&cut);
    }
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    for (open, close) in
        [("(", ")"), ("ARRAY<", ">"), ("SELECT * FROM (", ")"), ("[", "]"), ("CASE WHEN ", " END"), ("NOT ", ""), ("- ", "")]
    {
        for depth in [10, 100, 2_000] {
            let nested = format!("{}{}", open.repeat(depth), close.repeat(depth));
            never_panics(&format!("SELECT {nested}"));
            never_panics(&format!("SELECT * FROM {nested}"));
            never_panics(&format!("CREATE SOURCE s (a {nested}) WITH (connector = 'x')"));
            never_panics(&format!("SELECT a FROM t WINDOW TUMBLING(5m) TRIGGER {nested}"));
            never_panics(&nested);
        }
    }
    never_panics(&"EXPLAIN ".repeat(5_000));
}
