//! Visits every join that is written in a query, in whatever SELECT or pair of parentheses it stands.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{Join, Query, Select, TableFactor, TableWithJoins, VisitMut, VisitorMut};

/// Calls with each join of a query.
pub(super) fn each_join(query: &mut Query, call: impl FnMut(&mut Join)) {
    let _ = VisitMut::visit(query, &mut Joins(call));
}

struct Joins<F>(F);

impl<F: FnMut(&mut Join)> Joins<F> {
    fn table(&mut self, table: &mut TableWithJoins) {
        table.joins.iter_mut().for_each(&mut self.0);
    }
}

impl<F: FnMut(&mut Join)> VisitorMut for Joins<F> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        select.from.iter_mut().for_each(|from| self.table(from));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            self.table(table_with_joins);
        }
        ControlFlow::Continue(())
    }
}
