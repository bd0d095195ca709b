//! Joins whose rows live for a while after they came, against their definition: pairs whose rows came less than the other's time-to-live apart, at
//! every step, over random rows, times-to-live and chunks on 1 to 4 workers. `TIDEMARK_CASES` sets how many, `TIDEMARK_SEED` where they start.

use std::collections::BTreeMap;

use tidemark_testing::random::Random;
use tidemark_testing::run::{Job, run};
use tidemark_testing::value::{Row, Value};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Rows of one side: when they came, a key and a value.
type Rows = Vec<(usize, i64, i64)>;

#[derive(Debug)]
struct Case {
    sides: [Rows; 2],
    /// In seconds; a step is one. `None`: that side lives as long as the query says of all.
    own: [Option<usize>; 2],
    all: Option<usize>,
    outer: bool,
    steps: usize,
}

impl Case {
    fn random(random: &mut Random) -> Self {
        let steps = 4 + random.below(8);
        let mut rows = || -> Rows {
            let mut rows: Rows = (0..random.below(25)).map(|at| (random.below(steps), random.between(0, 3), at as i64)).collect();
            rows.sort_unstable();
            rows
        };
        let sides = [rows(), rows()];
        let mut own = || random.chance(60).then(|| 1 + random.below(5));
        let own = [own(), own()];
        // A side that nothing bounds would be kept for ever.
        let all = (own.contains(&None) || random.chance(30)).then(|| 1 + random.below(5));
        Self { sides, own, all, outer: random.chance(50), steps }
    }

    fn sql(&self) -> String {
        let named: Vec<String> =
            ["a", "b"].iter().zip(self.own).filter_map(|(name, own)| Some(format!("'{name}' = '{}s'", own?))).collect();
        let hint = if named.is_empty() { String::new() } else { format!("/*+ STATE_TTL({}) */ ", named.join(", ")) };
        let kind = if self.outer { "LEFT JOIN" } else { "JOIN" };
        let options = self.all.map_or(String::new(), |all| format!(" OPTIONS ('state.ttl' = '{all}s')"));
        format!(
            "CREATE SOURCE a (k BIGINT, x BIGINT) WITH (connector = 'test', bounded = false);\n\
             CREATE SOURCE b (k BIGINT, y BIGINT) WITH (connector = 'test', bounded = false);\n\
             CREATE SINK out WITH (connector = 'test') AS SELECT {hint}a.k, x, y FROM a {kind} b ON a.k = b.k{options};\n"
        )
    }

    fn tables(&self) -> BTreeMap<String, Vec<tidemark_testing::memory::TextPartition>> {
        let table = |rows: &Rows| -> tidemark_testing::memory::TextPartition {
            let of = |step: usize| rows.iter().filter(move |row| row.0 == step);
            let text = |(_, key, value): &(usize, i64, i64)| vec![Some(key.to_string()), Some(value.to_string())];
            (0..self.steps).map(|step| of(step).map(text).collect()).collect()
        };
        [("a", &self.sides[0]), ("b", &self.sides[1])].map(|(name, rows)| (name.to_string(), vec![table(rows)])).into()
    }

    /// What has come out after each step.
    fn answer(&self) -> Vec<BTreeMap<Row, i64>> {
        let live = |side: usize| self.own[side].or(self.all).expect("a side has a time of its own or that of all");
        let meets = |a: &(usize, i64, i64), b: &(usize, i64, i64)| a.1 == b.1 && b.0 < a.0 + live(0) && a.0 < b.0 + live(1);
        let answer = |step: usize| {
            let mut answer: BTreeMap<Row, i64> = BTreeMap::new();
            for a in self.sides[0].iter().filter(|row| row.0 <= step) {
                let pairs: Vec<_> = self.sides[1].iter().filter(|b| b.0 <= step && meets(a, b)).collect();
                let row = |y: Value| vec![Value::Int(a.1.into()), Value::Int(a.2.into()), y];
                for b in &pairs {
                    *answer.entry(row(Value::Int(b.2.into()))).or_default() += 1;
                }
                if pairs.is_empty() && self.outer {
                    *answer.entry(row(Value::Null)).or_default() += 1;
                }
            }
            answer
        };
        (0..self.steps).map(answer).collect()
    }
}

#[test]
fn rows_of_a_join_live_as_long_as_the_definition_says() {
    let (start, cases) = (number("TIDEMARK_SEED", 1), number("TIDEMARK_CASES", 200));
    for seed in start..start + cases {
        let case = Case::random(&mut Random::new(seed));
        let workers = 1 + (seed % 4) as usize;
        let outcome = run(&Job { sql: case.sql(), tables: case.tables(), workers, chunking: Some(seed) });
        assert!(outcome.plan_errors.is_none(), "seed {seed}: {:#?}\n{}", outcome.plan_errors, case.sql());
        outcome.report.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(outcome.faults.first(), None, "seed {seed}");
        let mut total: BTreeMap<Row, i64> = BTreeMap::new();
        let changes: Vec<_> = outcome.written.get("out").into_iter().flatten().collect();
        for (step, expected) in case.answer().iter().enumerate() {
            for change in changes.iter().filter(|change| change.step == step) {
                *total.entry(change.row.clone()).or_default() += change.diff;
            }
            total.retain(|_, count| *count != 0);
            assert_eq!(total, *expected, "seed {seed}, step {step}, {workers} workers\n{}{case:#?}", case.sql());
        }
    }
}
