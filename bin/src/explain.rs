//! `tidemark explain`: what would run. The physical plan is one for the whole file, since its queries share sources; the logical
//! levels are told query by query.

use tidemark_planner::parse::parse;
use tidemark_planner::statement::Statement;
use tidemark_planner::{Output, PlanError, explain};

use crate::args::{DocumentForm, ExplainArgs, Level};
use crate::diagnose::Text;
use crate::exit::{self, Color, Exit};
use crate::session::Session;

/// Explains the statements, and runs nothing.
pub(crate) fn command(args: &ExplainArgs, color: Color) -> Exit {
    let session = match Session::open(&args.statements, None, color) {
        Ok(session) => session,
        Err(message) => {
            exit::complain(&message, color);
            return Exit::Wrong;
        }
    };
    let document = match args.level {
        Level::Physical => physical(&session, args.format),
        Level::Logical => logical(&session, "LOGICAL", args.format),
        Level::Optimized => logical(&session, "OPTIMIZED", args.format),
    };
    match document {
        Ok(Some(text)) => exit::print(&text, color),
        Ok(None) => {
            exit::complain("there is no query or sink among the statements", color);
            Exit::Wrong
        }
        Err(errors) => {
            session.complain(&errors);
            Exit::Wrong
        }
    }
}

fn physical(session: &Session, form: DocumentForm) -> Result<Option<String>, Vec<PlanError>> {
    let program = session.plan()?;
    session.warn(&program.warnings);
    Ok(program.plan.map(|plan| match form {
        DocumentForm::Text => explain::to_text(&explain::explain(&plan)),
        DocumentForm::Json => explain::to_json(&plan) + "\n",
    }))
}

/// One query of the file, as it is told.
struct Told {
    /// What it feeds.
    title: String,
    plan: String,
}

#[derive(serde::Serialize)]
struct ToldJson {
    query: String,
    plan: serde_json::Value,
}

fn logical(session: &Session, level: &str, form: DocumentForm) -> Result<Option<String>, Vec<PlanError>> {
    // Mistakes are found in the text as it stands, so that they are shown in their place.
    let program = session.plan()?;
    session.warn(&program.warnings);
    let format = if form == DocumentForm::Json { "JSON" } else { "TEXT" };
    let statements = parse(&session.text.sql, &|name| session.variable(name))?;
    let (text, titles) = with_explains(&session.text.sql, &statements, &format!("EXPLAIN {level} (FORMAT {format})"));
    let explained = session.with_text(Text { sql: text, ..session.text.clone() }).plan()?;
    let plans = explained.outputs.into_iter().filter_map(|output| match output {
        Output::Text(text) => Some(text),
        Output::Table { .. } => None,
    });
    let told: Vec<Told> = titles.into_iter().zip(plans).map(|(title, plan)| Told { title, plan }).collect();
    if told.is_empty() {
        return Ok(None);
    }
    Ok(Some(match form {
        DocumentForm::Text => {
            told.iter().map(|told| format!("-- {}\n{}\n", told.title, told.plan.trim_end())).collect::<Vec<_>>().join("\n")
        }
        DocumentForm::Json => {
            let all: Vec<ToldJson> = told
                .into_iter()
                .map(|told| ToldJson {
                    query: told.title,
                    plan: serde_json::from_str(&told.plan).unwrap_or(serde_json::Value::String(told.plan)),
                })
                .collect();
            serde_json::to_string_pretty(&all).map_err(|error| vec![PlanError::new("cli::json", error.to_string(), None)])? + "\n"
        }
    }))
}

/// The text with an EXPLAIN behind each query and sink, and without what prints by itself; and what each EXPLAIN is of.
fn with_explains(sql: &str, statements: &[Statement], explain: &str) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut titles = Vec::new();
    for statement in statements {
        let own = |span: tidemark_planner::Span| &sql[span.start..span.end];
        let mut explained = |title: String, query: &str| {
            titles.push(title);
            format!("{explain} {query};\n")
        };
        match statement {
            Statement::Query(query) => text += &explained("query".to_owned(), own(query.span)),
            Statement::Insert(insert) => text += &explained(format!("insert into {}", insert.target.value), own(insert.span)),
            Statement::CreateSink(sink) => {
                text += &format!("{};\n", own(sink.span));
                if let Some(query) = &sink.query {
                    text += &explained(format!("sink {}", sink.name.value), own(query.span));
                }
            }
            Statement::CreateSource(_)
            | Statement::CreateView(_)
            | Statement::CreateFunction(_)
            | Statement::Set(_)
            | Statement::Reset(_) => {
                text += &format!("{};\n", own(statement.span()));
            }
            Statement::Explain(inner) => text += &explained("query".to_owned(), own(inner.statement.span())),
            Statement::Show(_) | Statement::Describe(_) => {}
        }
    }
    (text, titles)
}
