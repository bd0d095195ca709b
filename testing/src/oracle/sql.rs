//! The model as SQL text.

use super::aggregate::{Aggregate, Function};
use super::expr::{Expr, Op, Type};
use super::relation::{GroupBy, Relation};
use super::window::{Shape, Spelling, Window};
use crate::value::{Value, format_time};

/// How nested relations are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// `WITH r0 AS (…)`.
    With,
    /// `CREATE VIEW r0 AS …;` before the statement.
    View,
    /// `FROM (…) AS r0`.
    Subquery,
}

/// A query as a statement: what comes before it (views), and itself.
pub struct Statement {
    /// `CREATE VIEW` statements.
    pub before: String,
    /// The query, without EMIT.
    pub query: String,
}

/// Writes a query over sources of some names and columns.
pub fn statement(relation: &Relation, sources: &[(&str, Vec<String>)], nesting: Nesting) -> Statement {
    let mut writer = Writer { sources, nesting, parts: Vec::new(), level: b'a' };
    let (body, _) = writer.body(relation);
    match nesting {
        Nesting::With if !writer.parts.is_empty() => {
            let parts: Vec<String> = writer.parts.iter().map(|(name, body)| format!("{name} AS ({body})")).collect();
            Statement { before: String::new(), query: format!("WITH {} {body}", parts.join(", ")) }
        }
        _ => {
            let before = writer.parts.iter().map(|(name, body)| format!("CREATE VIEW {name} AS {body};\n")).collect();
            Statement { before, query: body }
        }
    }
}

struct Writer<'a> {
    sources: &'a [(&'a str, Vec<String>)],
    nesting: Nesting,
    parts: Vec<(String, String)>,
    level: u8,
}

impl Writer<'_> {
    /// Column names that no other part of the statement uses, so that no alias hides a column.
    fn names(&mut self, count: usize) -> Vec<String> {
        let letter = char::from(self.level);
        self.level += 1;
        (0..count).map(|i| format!("{letter}{letter}{i}")).collect()
    }

    /// What stands after FROM, and its columns. `named`: it must be a plain name.
    fn from(&mut self, relation: &Relation, named: bool) -> (String, Vec<String>) {
        if let Relation::Scan(source) = relation {
            let (name, columns) = &self.sources[*source];
            return ((*name).to_owned(), columns.clone());
        }
        let (body, columns) = self.body(relation);
        let name = format!("r{}", self.parts.len());
        if self.nesting == Nesting::Subquery && !named {
            return (format!("({body}) AS {name}"), columns);
        }
        // A subquery that must have a name becomes a view.
        self.parts.push((name.clone(), body));
        (name, columns)
    }

    fn body(&mut self, relation: &Relation) -> (String, Vec<String>) {
        match relation {
            Relation::Scan(source) => {
                let (name, columns) = &self.sources[*source];
                (format!("SELECT * FROM {name}"), columns.clone())
            }
            Relation::Select { input, filter, exprs, distinct } => {
                let (from, columns) = self.from(input, false);
                let names = self.names(exprs.len());
                let list: Vec<String> = exprs.iter().zip(&names).map(|(e, name)| format!("{} AS {name}", expr(e, &columns))).collect();
                let filter = filter.as_ref().map_or(String::new(), |filter| format!(" WHERE {}", expr(filter, &columns)));
                let distinct = if *distinct { "DISTINCT " } else { "" };
                (format!("SELECT {distinct}{} FROM {from}{filter}", list.join(", ")), names)
            }
            Relation::Union(branches) => {
                let mut out = Vec::new();
                let mut width = Vec::new();
                for branch in branches {
                    let (from, columns) = self.from(branch, false);
                    out.push(format!("SELECT {} FROM {from}", columns.join(", ")));
                    if width.is_empty() {
                        width = columns;
                    }
                }
                (out.join(" UNION ALL "), width)
            }
            Relation::Group(group) => self.group(group),
        }
    }

    fn group(&mut self, group: &GroupBy) -> (String, Vec<String>) {
        let named = group.window.is_some_and(|w| matches!(w.spelling, Spelling::TableFunction | Spelling::Short));
        let (from, columns) = self.from(&group.input, named);
        let mut texts = Vec::new();
        let mut by = Vec::new();
        let mut source = from.clone();
        let mut clause = String::new();
        if let Some(window) = &group.window {
            let time = &columns[window.time];
            match window.spelling {
                Spelling::TableFunction => {
                    let session = matches!(window.shape, Shape::Session { .. }) && !group.keys.is_empty();
                    let keys: Vec<String> = group.keys.iter().filter(|_| session).map(|key| expr(key, &columns)).collect();
                    let keys = if session { format!(" PARTITION BY {}", keys.join(", ")) } else { String::new() };
                    source = format!("TABLE({}(TABLE {from}{keys}, DESCRIPTOR({time}), {}))", function(window), arguments(window));
                }
                Spelling::Short => source = format!("{}({from}, {time}, {})", function(window), arguments(window)),
                Spelling::Clause => clause = format!(" WINDOW {} ON EVENT_TIME({time})", clause_text(window)),
                Spelling::GroupBy => {}
            }
            if window.spelling == Spelling::GroupBy {
                let call = |suffix: &str| format!("{}{suffix}({time}, {})", function(window), arguments(window));
                texts.extend([call("_START"), call("_END")]);
                by.push(call(""));
            } else {
                texts.extend(["window_start".to_owned(), "window_end".to_owned()]);
                // The clause groups by its window of itself.
                if window.spelling != Spelling::Clause {
                    by.extend(["window_start".to_owned(), "window_end".to_owned()]);
                }
            }
        }
        for key in &group.keys {
            texts.push(expr(key, &columns));
            by.push(expr(key, &columns));
        }
        texts.extend(group.aggregates.iter().map(|a| aggregate(a, &columns)));
        let names = self.names(texts.len());
        let list: Vec<String> = texts.iter().zip(&names).map(|(text, name)| format!("{text} AS {name}")).collect();
        let filter = group.filter.as_ref().map_or(String::new(), |filter| format!(" WHERE {}", expr(filter, &columns)));
        let by = if by.is_empty() { String::new() } else { format!(" GROUP BY {}", by.join(", ")) };
        let having = group.having.as_ref().map_or(String::new(), |having| format!(" HAVING {}", expr(having, &texts)));
        (format!("SELECT {} FROM {source}{filter}{clause}{by}{having}", list.join(", ")), names)
    }
}

fn function(window: &Window) -> &'static str {
    match window.shape {
        Shape::Tumble { .. } => "TUMBLE",
        Shape::Hop { .. } => "HOP",
        Shape::Cumulate { .. } => "CUMULATE",
        Shape::Session { .. } => "SESSION",
    }
}

fn interval(us: i64) -> String {
    if us % 1_000_000 == 0 { format!("INTERVAL '{}' SECOND", us / 1_000_000) } else { format!("INTERVAL '{}' MILLISECOND", us / 1_000) }
}

/// Flink's order: slide before size, step before size.
fn arguments(window: &Window) -> String {
    let mut text = match window.shape {
        Shape::Tumble { size } => interval(size),
        Shape::Hop { size, slide } => format!("{}, {}", interval(slide), interval(size)),
        Shape::Cumulate { size, step } => format!("{}, {}", interval(step), interval(size)),
        Shape::Session { gap } => interval(gap),
    };
    if window.offset != 0 {
        text.push_str(&format!(", {}", interval(window.offset)));
    }
    text
}

/// The clause's order: size first.
fn clause_text(window: &Window) -> String {
    let ms = |us: i64| format!("{}ms", us / 1_000);
    match window.shape {
        Shape::Tumble { size } => format!("TUMBLING({})", ms(size)),
        Shape::Hop { size, slide } => format!("SLIDING({}, {})", ms(size), ms(slide)),
        Shape::Cumulate { size, step } => format!("CUMULATING({}, {})", ms(step), ms(size)),
        Shape::Session { gap } => format!("SESSION({} TIMEOUT)", ms(gap)),
    }
}

fn sql_type(ty: Type) -> String {
    match ty {
        Type::Bool => "BOOLEAN".into(),
        Type::Int => "BIGINT".into(),
        Type::Float => "DOUBLE".into(),
        Type::Decimal(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        Type::Text => "VARCHAR".into(),
        Type::Time => "TIMESTAMP".into(),
        Type::List => panic!("no literal lists"),
    }
}

fn expr(e: &Expr, columns: &[String]) -> String {
    match e {
        Expr::Column(index) => columns[*index].clone(),
        Expr::Literal(value, ty) => match value {
            Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
            Value::Time(us) => {
                let text = format_time(*us);
                if text.contains('T') { format!("TIMESTAMP '{text}'") } else { format!("TIMESTAMP '1970-01-01T{}'", long(&text)) }
            }
            Value::Null | Value::Decimal(..) | Value::Float(_) => {
                let inner = if value.is_null() { "NULL".to_owned() } else { format!("'{value}'") };
                format!("CAST({inner} AS {})", sql_type(*ty))
            }
            other => other.to_string(),
        },
        Expr::Binary(op, a, b) => {
            let op = match op {
                Op::Add => "+",
                Op::Sub => "-",
                Op::Mul => "*",
                Op::Mod => "%",
                Op::Eq => "=",
                Op::Ne => "<>",
                Op::Lt => "<",
                Op::Le => "<=",
                Op::And => "AND",
                Op::Or => "OR",
                Op::Concat => "||",
            };
            format!("({} {op} {})", expr(a, columns), expr(b, columns))
        }
        Expr::Not(inner) => format!("(NOT {})", expr(inner, columns)),
        Expr::IsNull(inner) => format!("({} IS NULL)", expr(inner, columns)),
        Expr::Case(when, then, other) => {
            format!("CASE WHEN {} THEN {} ELSE {} END", expr(when, columns), expr(then, columns), expr(other, columns))
        }
        Expr::Coalesce(a, b) => format!("COALESCE({}, {})", expr(a, columns), expr(b, columns)),
        Expr::Upper(inner) => format!("upper({})", expr(inner, columns)),
        Expr::Length(inner) => format!("CAST(character_length({}) AS BIGINT)", expr(inner, columns)),
    }
}

fn long(time: &str) -> String {
    if time.len() == 5 { format!("{time}:00") } else { time.to_owned() }
}

fn aggregate(a: &Aggregate, columns: &[String]) -> String {
    let arg = a.arg.as_ref().map_or(String::new(), |arg| expr(arg, columns));
    let distinct = if a.distinct { "DISTINCT " } else { "" };
    let order = a.order.as_ref().map_or(String::new(), |(by, descending)| {
        format!(" ORDER BY {} {}", expr(by, columns), if *descending { "DESC NULLS LAST" } else { "ASC NULLS FIRST" })
    });
    let name = match a.function {
        Function::CountStar => "count",
        Function::Count => "count",
        Function::Sum => "sum",
        Function::Avg => "avg",
        Function::Min => "min",
        Function::Max => "max",
        Function::VarPop => "var_pop",
        Function::VarSamp => "var_samp",
        Function::StddevPop => "stddev_pop",
        Function::Stddev => "stddev",
        Function::BoolAnd => "bool_and",
        Function::BoolOr => "bool_or",
        Function::BitAnd => "bit_and",
        Function::BitOr => "bit_or",
        Function::BitXor => "bit_xor",
        Function::ArrayAgg => "array_agg",
        Function::StringAgg => "string_agg",
        Function::First => "first_value",
        Function::Last => "last_value",
        Function::ArgMin => "arg_min",
        Function::ArgMax => "arg_max",
        Function::Median => "median",
    };
    let inside = match a.function {
        Function::CountStar => "*".to_owned(),
        Function::StringAgg => format!("{distinct}{arg}, ','{order}"),
        Function::ArgMin | Function::ArgMax => format!("{arg}, {}", a.order.as_ref().map_or(String::new(), |(by, _)| expr(by, columns))),
        _ => format!("{distinct}{arg}{order}"),
    };
    let filter = a.filter.as_ref().map_or(String::new(), |filter| format!(" FILTER (WHERE {})", expr(filter, columns)));
    format!("{name}({inside}){filter}")
}
