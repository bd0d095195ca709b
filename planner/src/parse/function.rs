//! CREATE FUNCTION: an expression under a name.

use datafusion_sql::sqlparser::ast;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parsed};
use super::dialect::StreamingDialect;
use super::{query, types};
use crate::statement::{CreateFunction, Name, Parameter, Statement};
use crate::{PlanError, Span};

/// Takes what stands behind CREATE FUNCTION, to the end of the cursor.
pub(super) fn take_function(cursor: &mut Cursor<'_>) -> Parsed<Statement> {
    let name = cursor.name("the name of the function")?;
    if !cursor.sees_mark(&Token::LParen) && cursor.sees(&["AS"]) {
        let span = cursor.here();
        return Err(PlanError::new("parse::syntax", "a function is an expression of its parameters", span)
            .label("parameters expected before AS")
            .help("Write for example CREATE FUNCTION twice(x BIGINT) AS 2 * x."));
    }
    cursor.expect_mark(&Token::LParen)?;
    let mut parameters: Vec<Parameter> = Vec::new();
    while !cursor.take_mark(&Token::RParen) {
        if !parameters.is_empty() {
            cursor.expect_mark(&Token::Comma)?;
        }
        let own = cursor.name("the name of a parameter")?;
        if parameters.iter().any(|it| it.name.value.eq_ignore_ascii_case(&own.value)) {
            let message = format!("parameter \"{}\" is declared twice", own.value);
            return Err(PlanError::new("parse::syntax", message, own.span).help("Give each parameter a name of its own."));
        }
        let typed = !cursor.sees_mark(&Token::Comma) && !cursor.sees_mark(&Token::RParen);
        let data_type = if typed { Some(take_cast_type(cursor)?) } else { None };
        parameters.push(Parameter { name: own, data_type });
    }
    let mut returns = None;
    loop {
        if cursor.take(&["RETURNS"]) {
            returns = Some(take_cast_type(cursor)?);
        } else if cursor.take(&["LANGUAGE"]) {
            let language = cursor.name("SQL")?;
            if !language.value.eq_ignore_ascii_case("sql") {
                let message = format!("a function in {} cannot be called", language.value);
                return Err(PlanError::new("parse::unsupported_statement", message, language.span)
                    .label("only SQL")
                    .help("Write what it computes as an expression: AS …"));
            }
        } else if !cursor.take(&["IMMUTABLE"]) && !cursor.take(&["DETERMINISTIC"]) {
            break;
        }
    }
    if !cursor.take(&["AS"]) && !cursor.take(&["RETURN"]) {
        return Err(cursor.expected_words("AS or RETURN and an expression", &["AS", "RETURN", "RETURNS", "LANGUAGE"]));
    }
    let (body, body_span) = query::take_expr(cursor)?;
    if let ast::Expr::Value(value) = body.as_ref()
        && let ast::Value::SingleQuotedString(text) = &value.value
        && text.contains('.')
        && parameters.is_empty()
    {
        return Err(PlanError::new("parse::unsupported_statement", "a class cannot be called", body_span)
            .label("a class")
            .help("Write what it computes as an expression of its parameters: CREATE FUNCTION twice(x BIGINT) AS 2 * x."));
    }
    Ok(Statement::CreateFunction(CreateFunction { name, parameters, returns, body, body_span, span: cursor.whole() }))
}

/// A type as CAST takes it.
fn take_cast_type(cursor: &mut Cursor<'_>) -> Parsed<ast::DataType> {
    let start = cursor.at;
    types::take_type(cursor)?;
    let span = cursor.since(start);
    let dialect = StreamingDialect;
    let parsed = Parser::new(&dialect).try_with_sql(cursor.text(span)).and_then(|mut parser| parser.parse_data_type());
    parsed.map_err(|_| unfit(cursor.text(span), span))
}

fn unfit(text: &str, span: Span) -> PlanError {
    PlanError::new("parse::unsupported_type", format!("{text} is no type for a function"), span)
        .help("Leave the type out: the argument keeps its own.")
}

/// A name in an expression, if it is nothing but one.
pub(crate) fn is_parameter(ident: &ast::Ident, name: &Name) -> bool {
    let exact = ident.quote_style.is_some() || name.quoted;
    if exact { ident.value == name.value } else { ident.value.eq_ignore_ascii_case(&name.value) }
}
