//! Each rule alone: a query it rewrites, and one it must leave as it is.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::*;
use crate::catalog::Catalog;
use crate::connector::{ConnectorCatalog, ConnectorSpec, Options, SourceFacts};
use crate::parse::{LineIndex, parse};
use crate::plan::ChangelogKind;
use crate::statement::Statement;

struct Streams;

impl ConnectorCatalog for Streams {
    fn connectors(&self) -> &[ConnectorSpec] {
        &[ConnectorSpec { name: "stream", aliases: &[], source: true, sink: false, options: &[] }]
    }

    fn source_facts(&self, _: &str, _: &Options, _: Option<&SchemaRef>) -> std::result::Result<SourceFacts, String> {
        Ok(SourceFacts::append_only(None, false))
    }

    fn path_options(&self, path: &str) -> std::result::Result<(&'static str, Options), String> {
        Err(path.to_string())
    }

    fn check_sink(&self, _: &str, _: &Options, _: &SchemaRef, _: ChangelogKind) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// A query's plan before and after one rule.
fn with_rule(name: &str, query: &str) -> (String, String) {
    let source = "CREATE SOURCE a (x BIGINT, y BIGINT, z BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (connector = 'stream');";
    let text = format!("{source}\n{query}");
    let statements = parse(&text, &|_| None).expect("parses");
    let lines = LineIndex::new(&text);
    let mut catalog = Catalog::new(&Streams, &lines);
    let [Statement::CreateSource(create), Statement::Query(query)] = statements.as_slice() else { panic!("a source and a query") };
    catalog.create_source(create).expect("a source");
    let plan = crate::logical::plan_query(&catalog, query).expect("a plan");
    let before = plan.display_indent().to_string();
    let rule = rules().into_iter().find(|rule| rule.name() == name).unwrap_or_else(|| panic!("{name} is a rule"));
    let context = OptimizerContext::new_with_config_options(Arc::new(crate::logical::config())).without_query_execution_start_time();
    let after = Optimizer::with_rules(vec![rule]).optimize(plan, &context, |_, _| {}).expect("the rule runs");
    (before, after.display_indent().to_string())
}

#[test]
fn every_rule_fires_where_it_should_and_only_there() {
    let cases = [
        (
            "optimize_unions",
            "SELECT x FROM a UNION ALL SELECT y FROM a UNION ALL SELECT z FROM a".to_string(),
            "SELECT x FROM a UNION ALL SELECT x FROM (SELECT DISTINCT x FROM a) AS t".to_string(),
        ),
        ("simplify_expressions", "SELECT x FROM a WHERE y > 1 + 2".into(), "SELECT x FROM a WHERE y > random()".into()),
        ("replace_distinct_aggregate", "SELECT DISTINCT x FROM a".into(), "SELECT x FROM a".into()),
        (
            "eliminate_duplicated_expr",
            "SELECT x + 0 AS p, count(*) AS n FROM a GROUP BY x, x".into(),
            "SELECT count(*) AS n FROM a GROUP BY x, y".into(),
        ),
        (
            "push_down_filter",
            "SELECT x, count(*) AS n FROM a GROUP BY x HAVING x > 3".into(),
            "SELECT x, count(*) AS n FROM a GROUP BY x HAVING count(*) > 3".into(),
        ),
        (
            "rewrite_set_comparison",
            "SELECT x FROM a WHERE x > ALL (SELECT y FROM a)".into(),
            "SELECT x FROM a WHERE x IN (SELECT y FROM a)".into(),
        ),
        (
            "subqueries_to_joins",
            "SELECT x FROM a WHERE x IN (SELECT y FROM a)".into(),
            "SELECT x FROM a WHERE x = (SELECT max(y) FROM a)".into(),
        ),
        (
            "one_aggregate_for_each",
            "SELECT x, y, count(*) AS n FROM a GROUP BY GROUPING SETS ((x), (y))".into(),
            "SELECT x, y, count(*) AS n FROM a GROUP BY x, y".into(),
        ),
        ("first_row_of_each", "SELECT DISTINCT ON (x) x, y FROM a ORDER BY x, y".into(), "SELECT DISTINCT x, y FROM a".into()),
        (
            "scalar_subquery_to_join",
            "SELECT x FROM a WHERE x = (SELECT max(y) FROM a)".into(),
            "SELECT x FROM a WHERE x IN (SELECT y FROM a)".into(),
        ),
        (
            "decorrelate_lateral_join",
            "SELECT p.x, q.m FROM a AS p, LATERAL (SELECT max(y) AS m FROM a WHERE a.x = p.x) AS q".into(),
            "SELECT p.x, q.y FROM a AS p, a AS q".into(),
        ),
        (
            "unnest_involved_subqueries",
            "SELECT x, (SELECT y FROM a AS q WHERE q.x = p.x ORDER BY y LIMIT 1) AS least FROM a AS p".into(),
            "SELECT x, (SELECT max(y) FROM a AS q WHERE q.x = p.x) AS most FROM a AS p".into(),
        ),
        (
            "unnest_subqueries",
            "SELECT x, (SELECT max(y) FROM a AS q WHERE q.x < p.x) AS most FROM a AS p".into(),
            "SELECT x, (SELECT max(y) FROM a) AS most FROM a AS p".into(),
        ),
        (
            "extract_equijoin_predicate",
            "SELECT p.x FROM a AS p JOIN a AS q ON p.x < q.y AND p.x + 1 = q.x".into(),
            "SELECT p.x FROM a AS p JOIN a AS q ON p.x < q.x".into(),
        ),
        (
            "eliminate_cross_join",
            "SELECT p.x FROM a AS p, a AS q WHERE p.x = q.y".into(),
            "SELECT p.x FROM a AS p JOIN a AS q ON p.x = q.y".into(),
        ),
        (
            "eliminate_outer_join",
            "SELECT p.x FROM a AS p LEFT JOIN a AS q ON p.x = q.y WHERE q.z > 3".into(),
            "SELECT p.x FROM a AS p LEFT JOIN a AS q ON p.x = q.y WHERE q.z IS NULL".into(),
        ),
        (
            "common_sub_expression_eliminate",
            "SELECT x * y + 1 AS p, x * y + 2 AS q FROM a".into(),
            "SELECT random() + 1 AS p, random() + 2 AS q FROM a".into(),
        ),
    ];
    for rule in rules().iter().filter(|rule| rule.name() != "optimize_projections") {
        assert!(cases.iter().any(|(name, ..)| *name == rule.name()), "{} has a case", rule.name());
    }
    for (name, fires, leaves) in cases {
        let (before, after) = with_rule(name, &fires);
        assert_ne!(before, after, "{name} should rewrite {fires}");
        let (before, after) = with_rule(name, &leaves);
        let columns = |text: &str| text.replace(" projection=[x, y, z, ts]", "");
        assert_eq!(columns(&before), columns(&after), "{name} should leave {leaves}");
    }
}

#[test]
fn predicates_pass_windows_only_when_they_are_on_the_row() {
    let pushed = |predicate: &str| {
        let query = format!("SELECT x FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) WHERE {predicate}");
        let (_, after) = with_rule("push_down_filter", &query);
        let place = |word: &str| after.find(word).unwrap_or_else(|| panic!("no {word} in {after}"));
        place("Filter") > place("AssignWindows")
    };
    assert!(pushed("x > 3"));
    assert!(!pushed("window_end > TIMESTAMP '2024-01-01 00:00:00'"));
    assert!(!pushed("x > 3 OR window_end > TIMESTAMP '2024-01-01 00:00:00'"));
}

#[test]
fn columns_that_windows_need_are_kept() {
    let (_, after) = with_rule("optimize_projections", "SELECT x FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '1' MINUTE))");
    assert!(after.contains("projection=[x, ts]"), "{after}");
    // What is counted here are different rows: every column tells them apart.
    let (_, after) = with_rule("optimize_projections", "SELECT count(*) AS n FROM (SELECT DISTINCT x, y FROM a) AS t");
    assert!(after.contains("projection=[x, y]"), "{after}");
    let (before, after) = with_rule("optimize_projections", "SELECT count(*) AS n FROM (SELECT DISTINCT x, y FROM a) AS t");
    assert_ne!(before, after);
}
