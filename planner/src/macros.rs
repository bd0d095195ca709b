//! # Functions of a file
//!
//! `CREATE FUNCTION f(x) AS expr` puts the expression, with its arguments, wherever `f` is called: before anything is resolved, so that
//! an expression means what it would mean if it were written there. Functions may call those declared before them, never themselves.
//! What is wrong inside keeps the place where it was written, which is the declaration.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self, CastKind, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart, SelectItem, Spanned, VisitMut, VisitorMut,
};

use crate::PlanError;
use crate::error::nearest;
use crate::functions::Functions;
use crate::parse::{LineIndex, is_parameter};
use crate::statement::{ColumnKind, CreateFunction, Statement};

/// The functions declared so far, by their names in lower case.
pub(crate) struct Macros<'a> {
    lines: &'a LineIndex<'a>,
    declared: BTreeMap<String, CreateFunction>,
}

impl<'a> Macros<'a> {
    pub(crate) fn new(lines: &'a LineIndex<'a>) -> Self {
        Self { lines, declared: BTreeMap::new() }
    }

    /// Enters a function.
    pub(crate) fn declare(&mut self, create: &CreateFunction) -> Result<(), Vec<PlanError>> {
        let name = create.name.value.to_lowercase();
        if Functions::get().contains(&name) || self.declared.contains_key(&name) {
            let message = format!("function \"{}\" exists already", create.name.value);
            return Err(vec![PlanError::new("plan::duplicate_function", message, create.name.span).help("Choose another name.")]);
        }
        let mut create = create.clone();
        let mut errors = self.check_body(&create);
        let mut expander = Expander { macros: self, errors: vec![] };
        let _ = create.body.visit(&mut expander);
        errors.append(&mut expander.errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        self.declared.insert(name, create);
        Ok(())
    }

    /// What a body may hold: its parameters, and calls of other functions.
    fn check_body(&self, create: &CreateFunction) -> Vec<PlanError> {
        struct Checker<'a> {
            create: &'a CreateFunction,
            lines: &'a LineIndex<'a>,
            errors: Vec<PlanError>,
        }
        impl Checker<'_> {
            fn wrong(&mut self, code: &'static str, message: String, span: datafusion_sql::sqlparser::tokenizer::Span, help: &str) {
                self.errors.push(PlanError::new(code, message, self.lines.span(span).unwrap_or(self.create.body_span)).help(help));
            }
        }
        impl ast::Visitor for Checker<'_> {
            type Break = ();
            fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
                let message = format!("function \"{}\" holds a query", self.create.name.value);
                self.wrong("plan::not_yet", message, query.span(), "Write the query where the function is called.");
                ControlFlow::Break(())
            }
            fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
                let parameters = &self.create.parameters;
                match expr {
                    Expr::Identifier(ident) if !parameters.iter().any(|it| is_parameter(ident, &it.name)) => {
                        let message = format!("\"{}\" is no parameter of \"{}\"", ident.value, self.create.name.value);
                        let help = match nearest(&ident.value, parameters.iter().map(|it| it.name.value.as_str())) {
                            Some(near) => format!("Did you mean \"{near}\"?"),
                            None => "A function reads its parameters only: add one for it.".into(),
                        };
                        self.wrong("plan::unknown_column", message, ident.span, &help);
                    }
                    Expr::CompoundIdentifier(_) => {
                        let message = format!("{expr} is no parameter of \"{}\"", self.create.name.value);
                        self.wrong("plan::unknown_column", message, expr.span(), "Read a field with get_field(parameter, 'name').");
                    }
                    Expr::Function(function) if call_name(function).is_some_and(|it| it.eq_ignore_ascii_case(&self.create.name.value)) => {
                        let message = format!("function \"{}\" calls itself", self.create.name.value);
                        self.wrong(
                            "plan::recursive_function",
                            message,
                            function.name.span(),
                            "Write it without the call: it would never end.",
                        );
                    }
                    _ => {}
                }
                ControlFlow::Continue(())
            }
        }
        let mut checker = Checker { create, lines: self.lines, errors: vec![] };
        let _ = ast::Visit::visit(create.body.as_ref(), &mut checker);
        checker.errors
    }

    /// A statement with the bodies of functions in place of their calls.
    pub(crate) fn expand(&self, statement: &Statement) -> Result<Statement, Vec<PlanError>> {
        let mut statement = statement.clone();
        if self.declared.is_empty() {
            return Ok(statement);
        }
        let mut expander = Expander { macros: self, errors: vec![] };
        expander.statement(&mut statement);
        if expander.errors.is_empty() { Ok(statement) } else { Err(expander.errors) }
    }
}

fn call_name(function: &ast::Function) -> Option<&str> {
    match function.name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Some(&ident.value),
        _ => None,
    }
}

/// Replaces calls, inner ones first.
struct Expander<'a> {
    macros: &'a Macros<'a>,
    errors: Vec<PlanError>,
}

impl Expander<'_> {
    fn statement(&mut self, statement: &mut Statement) {
        let mut query = |query: &mut crate::statement::Query| {
            let _ = query.body.visit(&mut *self);
        };
        match statement {
            Statement::Query(it) => query(it),
            Statement::Insert(it) => query(&mut it.query),
            Statement::CreateView(it) => query(&mut it.query),
            Statement::CreateSink(it) => it.query.iter_mut().for_each(query),
            Statement::CreateSource(it) => {
                for column in it.columns.iter_mut().flat_map(|columns| &mut columns.columns) {
                    if let ColumnKind::Computed { expr, .. } = &mut column.kind {
                        let _ = expr.visit(&mut *self);
                    }
                }
            }
            Statement::Explain(it) => self.statement(&mut it.statement),
            Statement::CreateFunction(_) | Statement::Set(_) | Statement::Reset(_) | Statement::Show(_) | Statement::Describe(_) => {}
        }
    }

    fn declared(&self, expr: &Expr) -> Option<&CreateFunction> {
        let Expr::Function(function) = expr else { return None };
        self.macros.declared.get(&call_name(function)?.to_lowercase())
    }

    /// The expression a call stands for.
    fn call(&mut self, function: &ast::Function, create: &CreateFunction) -> Option<Expr> {
        let span = self.macros.lines.span(function.span());
        let wrong = |message: String, help: String| PlanError::new("plan::wrong_arguments", message, span).help(help);
        let names: Vec<&str> = create.parameters.iter().map(|it| it.name.value.as_str()).collect();
        let written = format!("{}({})", create.name.value, names.join(", "));
        let args = match &function.args {
            FunctionArguments::List(list) if list.duplicate_treatment.is_none() && list.clauses.is_empty() => list.args.as_slice(),
            FunctionArguments::None => &[],
            _ => {
                self.errors.push(wrong(format!("\"{}\" takes plain arguments", create.name.value), format!("Write {written}.")));
                return None;
            }
        };
        if function.filter.is_some() || function.over.is_some() || !function.within_group.is_empty() {
            let message = format!("\"{}\" is no aggregate", create.name.value);
            self.errors.push(wrong(message, format!("Write {written} without FILTER, OVER and WITHIN GROUP.")));
            return None;
        }
        let args: Option<Vec<&Expr>> = args
            .iter()
            .map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            })
            .collect();
        let Some(args) = args.filter(|args| args.len() == names.len()) else {
            let message = format!("\"{}\" takes {} arguments", create.name.value, names.len());
            self.errors.push(wrong(message, format!("Write {written}.")));
            return None;
        };
        let mut body = create.body.as_ref().clone();
        let mut filler = Filler { create, args: &args };
        let _ = body.visit(&mut filler);
        let body = Expr::Nested(Box::new(body));
        Some(match &create.returns {
            Some(data_type) => to_type(body, data_type),
            None => body,
        })
    }
}

fn to_type(expr: Expr, data_type: &ast::DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type: data_type.clone(), array: false, format: None }
}

impl VisitorMut for Expander<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<()> {
        // A column that is a call keeps the name it was written as.
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && self.declared(expr).is_some()
            {
                let alias = ast::Ident { value: expr.to_string(), quote_style: Some('"'), span: expr.span() };
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Some(create) = self.declared(expr).cloned() else { return ControlFlow::Continue(()) };
        if let Expr::Function(function) = expr
            && let Some(body) = self.call(&function.clone(), &create)
        {
            *expr = body;
        }
        ControlFlow::Continue(())
    }
}

/// Puts arguments in place of parameters.
struct Filler<'a> {
    create: &'a CreateFunction,
    args: &'a [&'a Expr],
}

impl VisitorMut for Filler<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(ident) = expr
            && let Some(place) = self.create.parameters.iter().position(|it| is_parameter(ident, &it.name))
        {
            let arg = Expr::Nested(Box::new(self.args[place].clone()));
            *expr = match &self.create.parameters[place].data_type {
                Some(data_type) => to_type(arg, data_type),
                None => arg,
            };
        }
        ControlFlow::Continue(())
    }
}
