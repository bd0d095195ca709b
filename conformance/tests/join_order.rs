//! Joins of three and more relations over random tables of which random sizes are told: in whatever order they are joined, the answer after
//! every step is the batch answer.
//!
//! `TIDEMARK_CASES` sets how many, `TIDEMARK_SEED` where they start.

use tidemark_conformance::check::{accumulate, same};
use tidemark_conformance::engines;
use tidemark_conformance::tables::Table;
use tidemark_planner::explain;
use tidemark_testing::random::Random;
use tidemark_testing::run::{Job, plan, run};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

const COLUMNS: [&str; 3] = ["k", "a", "b"];

/// A relation of three numbers.
fn relation(random: &mut Random, tables: &[Table]) -> String {
    let table = &random.pick(tables).name;
    match random.below(6) {
        0 => format!("(SELECT k, count(*) AS a, max(b) AS b FROM {table} GROUP BY k)"),
        1 => format!("(SELECT k, a, b FROM {table} WHERE a < {})", random.between(0, 4)),
        2 => format!("(SELECT l.k, l.a, r.b FROM {table} AS l LEFT JOIN {} AS r ON l.k = r.k)", random.pick(tables).name),
        3 => format!("(SELECT l.k, r.a, l.b FROM {table} AS l JOIN {} AS r ON l.a = r.b)", random.pick(tables).name),
        _ => format!("(SELECT k, a, b FROM {table})"),
    }
}

fn query(random: &mut Random, tables: &[Table]) -> String {
    let count = 3 + random.below(3);
    let relations: Vec<String> = (0..count).map(|it| format!("{} AS r{it}", relation(random, tables))).collect();
    let column = |random: &mut Random, of: usize| format!("r{of}.{}", random.pick(&COLUMNS));
    let column_below = |random: &mut Random, count: usize| {
        let of = random.below(count);
        column(random, of)
    };
    // Each but the first meets one before it; so all hang together, mostly.
    let mut conditions: Vec<Vec<String>> = vec![vec![]];
    for it in 1..count {
        let (before, mut own) = (random.below(it), vec![]);
        if random.chance(92) {
            own.push(format!("{} = {}", column(random, before), column(random, it)));
        }
        if random.chance(20) {
            own.push(format!("{} = {}", column_below(random, it), column(random, it)));
        }
        if random.chance(15) {
            own.push(format!("{} = {} + {}", column(random, it), column(random, 0), column(random, it - 1)));
        }
        if random.chance(20) {
            own.push(format!("({} < {} OR {} = 1)", column(random, before), column(random, it), column(random, 0)));
        }
        if random.chance(15) {
            own.push(format!("{} > {}", column(random, it), random.between(-1, 3)));
        }
        conditions.push(own);
    }
    let picked: Vec<String> = (0..1 + random.below(4)).map(|it| format!("{} AS c{it}", column_below(random, count))).collect();
    let commas = random.chance(40);
    let all = conditions.concat().join(" AND ");
    let from = if commas {
        relations.join(", ")
    } else {
        let join = |(it, relation): (usize, &String)| match conditions[it].as_slice() {
            _ if it == 0 => relation.clone(),
            [] => format!(" CROSS JOIN {relation}"),
            own => format!(" JOIN {relation} ON {}", own.join(" AND ")),
        };
        relations.iter().enumerate().map(join).collect()
    };
    let filter = if commas && !all.is_empty() { format!(" WHERE {all}") } else { String::new() };
    match random.below(4) {
        0 => format!("SELECT count(*) AS n FROM {from}{filter}"),
        1 => {
            let key = column_below(random, count);
            format!("SELECT {key} AS k, count(*) AS n FROM {from}{filter} GROUP BY {key}")
        }
        _ => format!("SELECT {} FROM {from}{filter}", picked.join(", ")),
    }
}

#[test]
fn joins_in_any_order_equal_their_batch_answers() {
    let (start, cases) = (number("TIDEMARK_SEED", 1), number("TIDEMARK_CASES", 120));
    let mut failures = Vec::new();
    let mut reordered = 0;
    for seed in start..start + cases {
        let mut random = Random::new(seed);
        let steps = 1 + random.below(3);
        let tables: Vec<Table> = (0..4).map(|number| Table::random(&mut random, number, steps, 6)).collect();
        let declare = |random: &mut Random, table: &Table| match random.below(4) {
            0 => table.declaration(),
            size => table.declaration_with(&format!(", 'statistics.rows' = '{}'", 10_u64.pow(2 * size as u32 - 1))),
        };
        let declarations: String = tables.iter().map(|table| declare(&mut random, table)).collect();
        let query = query(&mut random, &tables);
        let sql = format!("{declarations}CREATE SINK out WITH (connector = 'test') AS {query} EMIT CHANGES;");
        let planned = plan(&sql).unwrap_or_else(|errors| panic!("seed {seed}: {errors:#?}\n{sql}")).plan.expect("a query");
        let lines = explain::explain(&planned);
        reordered += u64::from(lines.iter().flat_map(|line| &line.fields).any(|(name, text)| *name == "order" && text.contains(" by ")));
        let partitions = tables.iter().map(|table| (table.name.clone(), vec![table.partition()])).collect();
        let job = Job { sql: sql.clone(), tables: partitions, workers: 1 + (seed % 4) as usize, chunking: (seed % 3 != 0).then_some(seed) };
        let outcome = run(&job);
        if let Err(error) = &outcome.report {
            failures.push(format!("seed {seed} failed: {error}\n{sql}"));
            continue;
        }
        let changes = outcome.written.get("out").cloned().unwrap_or_default();
        for step in 0..steps {
            let expected = engines::sqlite(&query, &tables, step).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{query}"));
            if let Err(wrong) = accumulate(&changes, step).and_then(|found| same(found, expected)) {
                failures.push(format!("seed {seed} after step {step}: {wrong}\n{sql}\n{}", explain::to_text(&lines)));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
    println!("{reordered} of {cases} in an order that is not the written one");
    assert!(cases < 50 || reordered * 5 > cases, "{reordered} of {cases} are reordered");
}
