//! Relations as DataFusion's planner sees them: scans of sources, and views that stand for their query.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, SchemaRef, TimeUnit};
use datafusion_common::config::ConfigOptions;
use datafusion_common::datatype::DataTypeExt;
use datafusion_common::{Result, TableReference, plan_datafusion_err, plan_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion_expr::{AggregateUDF, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion_sql::sqlparser::ast;

use super::pivot::PivotPlanner;
use super::recursion::RecursiveScan;
use super::sets::SetPlanner;
use super::special_joins::JoinPlanner;
use super::windows::WindowPlanner;
use crate::catalog::{Catalog, Relation, SourceTable, View};
use crate::functions::Functions;

/// A scan of a source. No constraints are told: a declared primary key is not enforced, so no rule may lean on it.
pub(crate) struct SourceScan {
    pub(crate) table: Arc<SourceTable>,
    schema: SchemaRef,
}

impl TableSource for SourceScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

struct ViewScan {
    view: Arc<View>,
    schema: SchemaRef,
}

impl TableSource for ViewScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.view.plan))
    }
}

/// Names and types of CAST, as in declarations: times in microseconds.
#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        let planned = match sql_type {
            ast::DataType::Timestamp(precision, zone) => {
                if precision.is_some_and(|digits| digits > 6) {
                    return plan_err!("{sql_type} is finer than a microsecond; times are kept in microseconds");
                }
                match zone {
                    ast::TimezoneInfo::None | ast::TimezoneInfo::WithoutTimeZone => micros(None),
                    ast::TimezoneInfo::WithTimeZone | ast::TimezoneInfo::Tz => micros(Some("UTC")),
                }
            }
            ast::DataType::Datetime(_) => micros(None),
            ast::DataType::Custom(name, _) if name.to_string().eq_ignore_ascii_case("timestamp_ltz") => micros(Some("UTC")),
            _ => return Ok(None),
        };
        Ok(Some(planned.into_nullable_field_ref()))
    }
}

/// Answers DataFusion's questions about relations and functions, for one query.
pub(super) struct Provider<'a> {
    catalog: &'a Catalog<'a>,
    options: ConfigOptions,
    /// The query names metadata columns: scans have them.
    with_metadata: bool,
    relation_planners: Vec<Arc<dyn RelationPlanner>>,
}

impl<'a> Provider<'a> {
    pub(super) fn new(catalog: &'a Catalog<'a>, with_metadata: bool) -> Self {
        let relation_planners: Vec<Arc<dyn RelationPlanner>> =
            vec![Arc::new(WindowPlanner), Arc::new(SetPlanner), Arc::new(JoinPlanner), Arc::new(PivotPlanner)];
        Self { catalog, options: super::config(), with_metadata, relation_planners }
    }
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let wanted = name.table();
        // Mistakes of the declaration were told when the query was checked.
        let source = self.catalog.source(wanted).unwrap_or_default();
        if let Some(table) = source {
            let schema = table.schema(self.with_metadata);
            return Ok(Arc::new(SourceScan { table, schema }));
        }
        match self.catalog.find(wanted) {
            Some((_, Relation::View(view))) => {
                let schema = Arc::clone(view.plan.schema().inner());
                Ok(Arc::new(ViewScan { view: Arc::clone(view), schema }))
            }
            _ => Err(plan_datafusion_err!("relation \"{wanted}\" does not exist")),
        }
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(Arc::new(RecursiveScan::new(name, schema)))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &Functions::get().planners
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relation_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        Functions::get().scalar.get(&name.to_lowercase()).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        Functions::get().higher_order.get(&name.to_lowercase()).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        Functions::get().aggregate.get(&name.to_lowercase()).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        Functions::get().window.get(&name.to_lowercase()).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        Functions::get().scalar.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Functions::get().higher_order.keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        Functions::get().aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        Functions::get().window.keys().cloned().collect()
    }
}
