//! The normal form of `LATE(query)`: a table function that only the planner can write, `$late(data => (SELECT …)) AS alias`.

use datafusion_sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArgOperator, ObjectName, ObjectNamePart, TableAlias, TableFactor,
};
use datafusion_sql::sqlparser::tokenizer;

use super::window_table::ident;

const NAME: &str = "$late";

/// The rows that came too late for the windows of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct LateTable {
    /// The query: `Expr::Subquery`.
    pub data: Expr,
    /// What the user wrote, as sqlparser spans it.
    pub span: tokenizer::Span,
}

impl LateTable {
    /// Writes the normal form.
    pub fn encode(self, alias: Option<TableAlias>) -> TableFactor {
        let arg = FunctionArg::Named {
            name: ident("data", self.span),
            arg: FunctionArgExpr::Expr(self.data),
            operator: FunctionArgOperator::RightArrow,
        };
        let name = ObjectName(vec![ObjectNamePart::Identifier(ident(NAME, self.span))]);
        TableFactor::Function { lateral: false, name, args: vec![arg], with_ordinality: false, alias }
    }

    /// Reads the normal form: the query and the alias.
    pub fn decode(factor: &TableFactor) -> Option<(Self, Option<&TableAlias>)> {
        let TableFactor::Function { name: ObjectName(parts), args, alias, .. } = factor else { return None };
        let [ObjectNamePart::Identifier(name)] = parts.as_slice() else { return None };
        match args.as_slice() {
            [FunctionArg::Named { arg: FunctionArgExpr::Expr(data), .. }] if name.value == NAME => {
                Some((Self { data: data.clone(), span: name.span }, alias.as_ref()))
            }
            _ => None,
        }
    }
}
