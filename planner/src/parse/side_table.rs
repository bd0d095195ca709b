//! The normal form of `LATE(query)` and `ERRORS(query)`: a table function that only the planner can write,
//! `$late(data => (SELECT …)) AS alias`.

use datafusion_sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArgOperator, ObjectName, ObjectNamePart, TableAlias, TableFactor,
};
use datafusion_sql::sqlparser::tokenizer;

use super::window_table::ident;

/// Which rows beside a query's own are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The rows that came too late for the windows of a query.
    Late,
    /// What went wrong in a query.
    Errors,
}

impl Side {
    const ALL: [Self; 2] = [Self::Late, Self::Errors];

    fn name(self) -> &'static str {
        match self {
            Self::Late => "$late",
            Self::Errors => "$errors",
        }
    }

    /// As the user writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Late => "LATE",
            Self::Errors => "ERRORS",
        }
    }

    /// The function of a name.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|side| side.word().eq_ignore_ascii_case(word))
    }
}

/// Rows beside those of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct SideTable {
    /// Which.
    pub side: Side,
    /// The query: `Expr::Subquery`.
    pub data: Expr,
    /// What the user wrote, as sqlparser spans it.
    pub span: tokenizer::Span,
}

impl SideTable {
    /// Writes the normal form.
    pub fn encode(self, alias: Option<TableAlias>) -> TableFactor {
        let arg = FunctionArg::Named {
            name: ident("data", self.span),
            arg: FunctionArgExpr::Expr(self.data),
            operator: FunctionArgOperator::RightArrow,
        };
        let name = ObjectName(vec![ObjectNamePart::Identifier(ident(self.side.name(), self.span))]);
        TableFactor::Function { lateral: false, name, args: vec![arg], with_ordinality: false, alias }
    }

    /// Reads the normal form: the query and the alias.
    pub fn decode(factor: &TableFactor) -> Option<(Self, Option<&TableAlias>)> {
        let TableFactor::Function { name: ObjectName(parts), args, alias, .. } = factor else { return None };
        let [ObjectNamePart::Identifier(name)] = parts.as_slice() else { return None };
        let side = Side::ALL.into_iter().find(|side| side.name() == name.value)?;
        match args.as_slice() {
            [FunctionArg::Named { arg: FunctionArgExpr::Expr(data), .. }] => {
                Some((Self { side, data: data.clone(), span: name.span }, alias.as_ref()))
            }
            _ => None,
        }
    }
}
