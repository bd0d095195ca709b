//! Recursion over tables that change: after every step, what has come out adds up to the fixed point over the rows as they stand, found
//! by starting with nothing and putting base and step together until nothing changes; and no row changes twice in one step.
//!
//! Graphs are small, dense and full of circles, so that deletions cut them. `TIDEMARK_CASES` sets how many, `TIDEMARK_SEED` where they start.

use std::collections::BTreeMap;

use tidemark_testing::memory::{TextPartition, TextRow};
use tidemark_testing::random::Random;
use tidemark_testing::run::{Job, Outcome, run, run_group};
use tidemark_testing::value::{Row, Value};

type Bag = BTreeMap<Vec<i64>, i64>;

/// A table of whole numbers, changed step by step.
#[derive(Clone, Debug)]
struct Table(Vec<Vec<(Vec<i64>, i64)>>);

impl Table {
    fn random(random: &mut Random, steps: usize, rows: usize, row: &dyn Fn(&mut Random) -> Vec<i64>) -> Self {
        let mut live: Vec<Vec<i64>> = Vec::new();
        let mut step = |_| {
            let mut changes = Vec::new();
            for _ in 0..random.below(rows) + 1 {
                if !live.is_empty() && random.chance(45) {
                    changes.push((live.swap_remove(random.below(live.len())), -1));
                } else {
                    let new = if !live.is_empty() && random.chance(10) { random.pick(&live).clone() } else { row(random) };
                    live.push(new.clone());
                    changes.push((new, 1));
                }
            }
            changes
        };
        Self((0..steps).map(&mut step).collect())
    }

    fn at(&self, step: usize) -> Bag {
        let mut bag = Bag::new();
        self.0.iter().take(step + 1).flatten().for_each(|(row, diff)| *bag.entry(row.clone()).or_default() += diff);
        bag.retain(|_, count| *count != 0);
        bag
    }

    fn partition(&self) -> TextPartition {
        let text = |(row, diff): &(Vec<i64>, i64)| -> TextRow { row.iter().chain([diff]).map(|it| Some(it.to_string())).collect() };
        self.0.iter().map(|step| step.iter().map(text).collect()).collect()
    }
}

/// Pairs for which the columns are equal, as one row.
fn join(left: &Bag, at: usize, right: &Bag, of: usize) -> Bag {
    let mut out = Bag::new();
    for (l, m) in left {
        for (r, n) in right.iter().filter(|(r, _)| r[of] == l[at]) {
            *out.entry(l.iter().chain(r).copied().collect()).or_default() += m * n;
        }
    }
    out
}

fn map(bag: &Bag, f: impl Fn(&[i64]) -> Option<Vec<i64>>) -> Bag {
    let mut out = Bag::new();
    bag.iter().for_each(|(row, count)| {
        if let Some(row) = f(row) {
            *out.entry(row).or_default() += count;
        }
    });
    out
}

fn sum(bags: &[&Bag]) -> Bag {
    let mut out = Bag::new();
    bags.iter().copied().flatten().for_each(|(row, count)| *out.entry(row.clone()).or_default() += count);
    out
}

fn fixed_point(distinct: bool, base: &Bag, step: impl Fn(&Bag) -> Bag) -> Bag {
    let mut relation = Bag::new();
    loop {
        let mut next = sum(&[base, &step(&relation)]);
        if distinct {
            next.values_mut().for_each(|count| *count = 1);
        }
        if next == relation {
            return relation;
        }
        relation = next;
    }
}

type Answer = fn(&Bag, &Bag) -> Bag;

/// A query over `edge (a, b)` and `root (n)`, and its answer.
const QUERIES: [(&str, Answer); 16] = [
    ("WITH RECURSIVE reach(n) AS (SELECT n FROM root UNION SELECT b FROM edge JOIN reach ON a = n) SELECT * FROM reach", |edge, root| {
        fixed_point(true, root, |reach| map(&join(reach, 0, edge, 0), |row| Some(vec![row[2]])))
    }),
    (
        "WITH RECURSIVE path AS (SELECT a, b FROM edge UNION SELECT p.a, e.b FROM path p JOIN edge e ON p.b = e.a) SELECT * FROM path",
        |edge, _| fixed_point(true, edge, |path| map(&join(path, 1, edge, 0), |row| Some(vec![row[0], row[3]]))),
    ),
    (
        "WITH RECURSIVE path AS (SELECT a, b FROM edge UNION SELECT p.a, q.b FROM path p JOIN path q ON p.b = q.a) SELECT * FROM path",
        |edge, _| fixed_point(true, edge, |path| map(&join(path, 1, path, 0), |row| Some(vec![row[0], row[3]]))),
    ),
    (
        "WITH RECURSIVE walk AS (SELECT n, 0 AS d FROM root UNION ALL SELECT b, d + 1 FROM walk JOIN edge ON a = n WHERE d < 4) \
         SELECT * FROM walk",
        |edge, root| {
            let base = map(root, |row| Some(vec![row[0], 0]));
            fixed_point(false, &base, |walk| map(&join(walk, 0, edge, 0), |row| (row[1] < 4).then(|| vec![row[3], row[1] + 1])))
        },
    ),
    (
        "WITH RECURSIVE walk AS (SELECT n, 0 AS d FROM root UNION SELECT b, d + 1 FROM walk JOIN edge ON a = n WHERE d < 5) \
         SELECT n, min(d), count(*) FROM walk GROUP BY n",
        |edge, root| {
            let base = map(root, |row| Some(vec![row[0], 0]));
            let step = |walk: &Bag| map(&join(walk, 0, edge, 0), |row| (row[1] < 5).then(|| vec![row[3], row[1] + 1]));
            let mut groups: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
            for row in fixed_point(true, &base, step).keys() {
                let group = groups.entry(row[0]).or_insert((row[1], 0));
                *group = (group.0.min(row[1]), group.1 + 1);
            }
            groups.into_iter().map(|(n, (least, count))| (vec![n, least, count], 1)).collect()
        },
    ),
    (
        "WITH RECURSIVE near(n) AS (SELECT n FROM root UNION SELECT b FROM near, edge WHERE a = n UNION SELECT a FROM near, edge WHERE b = n) \
         SELECT * FROM near",
        |edge, root| {
            fixed_point(true, root, |near| {
                sum(&[&map(&join(near, 0, edge, 0), |row| Some(vec![row[2]])), &map(&join(near, 0, edge, 1), |row| Some(vec![row[1]]))])
            })
        },
    ),
    (
        "WITH RECURSIVE even AS (SELECT n FROM root UNION SELECT f.b FROM even JOIN edge e ON e.a = n JOIN edge f ON f.a = e.b WHERE f.b <> e.a) \
         SELECT * FROM even",
        |edge, root| {
            fixed_point(true, root, |even| map(&join(&join(even, 0, edge, 0), 2, edge, 0), |row| (row[4] != row[1]).then(|| vec![row[4]])))
        },
    ),
    (
        "WITH RECURSIVE up AS (SELECT a, b FROM edge WHERE a < b UNION ALL SELECT up.a, e.b FROM up JOIN edge e ON up.b = e.a WHERE e.a < e.b) \
         SELECT * FROM up",
        |edge, _| {
            let edge = map(edge, |row| (row[0] < row[1]).then(|| row.to_vec()));
            fixed_point(false, &edge, |up| map(&join(up, 1, &edge, 0), |row| Some(vec![row[0], row[3]])))
        },
    ),
    (
        "WITH RECURSIVE reach(n) AS (SELECT n FROM root UNION SELECT b FROM edge JOIN reach ON a = n), \
         back(n) AS (SELECT n FROM root UNION SELECT e.a FROM edge e JOIN back ON e.b = back.n JOIN reach ON reach.n = e.a) SELECT * FROM back",
        |edge, root| {
            let reach = fixed_point(true, root, |reach| map(&join(reach, 0, edge, 0), |row| Some(vec![row[2]])));
            fixed_point(true, root, |back| map(&join(&join(back, 0, edge, 1), 1, &reach, 0), |row| Some(vec![row[1]])))
        },
    ),
    (
        "WITH RECURSIVE reach(n) AS (SELECT n FROM root UNION SELECT DISTINCT b FROM edge JOIN reach ON a = n) \
         SELECT e.a, e.b FROM edge e WHERE e.a NOT IN (SELECT n FROM reach)",
        |edge, root| {
            let reach = fixed_point(true, root, |reach| map(&join(reach, 0, edge, 0), |row| Some(vec![row[2]])));
            map(edge, |row| (!reach.contains_key(&vec![row[0]])).then(|| row.to_vec()))
        },
    ),
    (
        "WITH RECURSIVE reach(n) AS (SELECT a FROM edge WHERE a = 1 UNION SELECT b FROM edge JOIN reach ON a = n WHERE b NOT IN (1, 9) \
           AND NOT EXISTS (SELECT 1 FROM root WHERE root.n = reach.n)) SELECT * FROM reach",
        |edge, root| {
            let base = map(edge, |row| (row[0] == 1).then(|| vec![1]));
            fixed_point(true, &base, |reach| {
                let open = map(reach, |row| (!holds(root, 0, row[0])).then(|| row.to_vec()));
                map(&join(&open, 0, edge, 0), |row| (row[2] != 1 && row[2] != 9).then(|| vec![row[2]]))
            })
        },
    ),
    (
        "WITH RECURSIVE walk AS (SELECT n, 0 AS d FROM root UNION ALL SELECT b, d + 1 FROM walk JOIN edge ON a = n \
           WHERE d < 4 AND b IN (SELECT a FROM edge)) SELECT * FROM walk",
        |edge, root| {
            let base = map(root, |row| Some(vec![row[0], 0]));
            fixed_point(false, &base, |walk| {
                map(&join(walk, 0, edge, 0), |row| (row[1] < 4 && holds(edge, 0, row[3])).then(|| vec![row[3], row[1] + 1]))
            })
        },
    ),
    (
        "WITH RECURSIVE walk AS (SELECT n, 0 AS d FROM root UNION ALL \
           SELECT coalesce(edge.b, -1), d + 1 FROM walk LEFT JOIN edge ON a = n WHERE d < 3) SELECT * FROM walk",
        |edge, root| {
            let base = map(root, |row| Some(vec![row[0], 0]));
            fixed_point(false, &base, |walk| {
                let live = map(walk, |row| (row[1] < 3).then(|| row.to_vec()));
                let pairs = map(&join(&live, 0, edge, 0), |row| Some(vec![row[3], row[1] + 1]));
                sum(&[&pairs, &map(&live, |row| (!holds(edge, 0, row[0])).then(|| vec![-1, row[1] + 1]))])
            })
        },
    ),
    (
        "WITH RECURSIVE walk AS (SELECT n, 0 AS d FROM root UNION \
           SELECT coalesce(edge.b, 7), d + 1 FROM edge RIGHT JOIN walk ON b = n WHERE d < 3) SELECT * FROM walk",
        |edge, root| {
            let base = map(root, |row| Some(vec![row[0], 0]));
            fixed_point(true, &base, |walk| {
                let live = map(walk, |row| (row[1] < 3).then(|| row.to_vec()));
                let pairs = map(&join(&live, 0, edge, 1), |row| Some(vec![row[3], row[1] + 1]));
                sum(&[&pairs, &map(&live, |row| (!holds(edge, 1, row[0])).then(|| vec![7, row[1] + 1]))])
            })
        },
    ),
    (
        "WITH RECURSIVE walk AS (SELECT n, 0 AS d FROM root UNION ALL SELECT b, d + 1 FROM walk JOIN edge ON a = n \
           WHERE d < 3 AND (d = 0 OR EXISTS (SELECT 1 FROM root WHERE root.n = edge.b))) SELECT * FROM walk",
        |edge, root| {
            let base = map(root, |row| Some(vec![row[0], 0]));
            fixed_point(false, &base, |walk| {
                let goes = |row: &[i64]| row[1] < 3 && (row[1] == 0 || holds(root, 0, row[3]));
                map(&join(walk, 0, edge, 0), |row| goes(row).then(|| vec![row[3], row[1] + 1]))
            })
        },
    ),
    (
        "WITH RECURSIVE climb AS (SELECT n, 0 AS d FROM root UNION ALL \
           SELECT (SELECT max(b) FROM edge WHERE a = n), d + 1 FROM climb WHERE d < 4 AND n IS NOT NULL) \
         SELECT coalesce(n, -1), d FROM climb",
        |edge, root| {
            let base = map(root, |row| Some(vec![row[0], 0]));
            fixed_point(false, &base, |climb| {
                map(climb, |row| {
                    let most = edge.keys().filter(|edge| edge[0] == row[0]).map(|edge| edge[1]).max();
                    (row[1] < 4 && row[0] >= 0).then(|| vec![most.unwrap_or(-1), row[1] + 1])
                })
            })
        },
    ),
];

fn holds(bag: &Bag, at: usize, value: i64) -> bool {
    bag.keys().any(|row| row[at] == value)
}

fn job(query: &str, edge: &Table, root: &Table, workers: usize, chunking: Option<u64>) -> Job {
    let sql = format!(
        "CREATE SOURCE edge (a BIGINT NOT NULL, b BIGINT NOT NULL) WITH (connector = 'test', changelog = 'retract');
         CREATE SOURCE root (n BIGINT NOT NULL) WITH (connector = 'test', changelog = 'retract');
         CREATE SINK out WITH (connector = 'test') AS {query} EMIT CHANGES;"
    );
    let tables = [("edge", edge), ("root", root)].map(|(name, table)| (name.to_owned(), vec![table.partition()]));
    Job { sql, tables: tables.into_iter().collect(), workers, chunking }
}

fn numbers(row: &Row) -> Vec<i64> {
    let number = |value: &Value| match value {
        Value::Int(number) => i64::try_from(*number).expect("a small number"),
        other => panic!("{other} is no whole number"),
    };
    row.iter().map(number).collect()
}

fn check(outcome: &Outcome, steps: usize, answer: &dyn Fn(usize) -> Bag) -> Result<(), String> {
    if let Some(errors) = &outcome.plan_errors {
        return Err(format!("did not plan: {errors:#?}"));
    }
    outcome.report.as_ref().map_err(ToString::to_string)?;
    if let Some(fault) = outcome.faults.first() {
        return Err(fault.clone());
    }
    let changes = outcome.written.get("out").cloned().unwrap_or_default();
    let mut found = Bag::new();
    for step in 0..steps {
        let mut net = Bag::new();
        for change in changes.iter().filter(|change| change.step == step) {
            let row = numbers(&change.row);
            if net.insert(row.clone(), change.diff).is_some() {
                return Err(format!("{row:?} changes twice in step {step}"));
            }
            *found.entry(row).or_default() += change.diff;
        }
        found.retain(|_, count| *count != 0);
        let expected = answer(step);
        if found != expected {
            return Err(format!("after step {step}: {found:?} instead of {expected:?}"));
        }
    }
    Ok(())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn changes_add_up_to_the_fixed_point() {
    let (start, cases) = (number("TIDEMARK_SEED", 1), number("TIDEMARK_CASES", 120));
    for seed in start..start + cases {
        let mut random = Random::new(seed);
        let steps = 1 + random.below(6);
        let nodes = random.between(2, 7);
        let edge = Table::random(&mut random, steps, 10, &|random| vec![random.between(1, nodes), random.between(1, nodes)]);
        let root = Table::random(&mut random, steps, 2, &|random| vec![random.between(1, nodes)]);
        let (query, answer) = QUERIES[(seed % QUERIES.len() as u64) as usize];
        let workers = 1 + (seed / QUERIES.len() as u64 % 4) as usize;
        let job = job(query, &edge, &root, workers, random.chance(70).then_some(seed));
        let outcome = if seed % 16 == 5 { run_group(&job, 2) } else { run(&job) };
        let checked = check(&outcome, steps, &|step| answer(&edge.at(step), &root.at(step)));
        checked.unwrap_or_else(|wrong| panic!("seed {seed}, {workers} workers: {wrong}\n{query}\n{edge:?}\n{root:?}"));
    }
}

/// A long way takes a round for each step of it; cutting it at the start takes everything back.
#[test]
fn a_long_chain_comes_and_goes() {
    let length = 300;
    let chain: Vec<(Vec<i64>, i64)> = (0..length).map(|n| (vec![n, n + 1], 1)).collect();
    let edge = Table(vec![chain, vec![(vec![0, 1], -1)], vec![(vec![0, 100], 1)]]);
    let root = Table(vec![vec![(vec![0], 1)], vec![], vec![]]);
    let (query, answer) = QUERIES[0];
    let outcome = run(&job(query, &edge, &root, 2, None));
    check(&outcome, 3, &|step| answer(&edge.at(step), &root.at(step))).unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// Recursions that do not end fail with their name, and nothing of theirs comes out.
#[test]
fn recursion_without_an_end_fails() {
    let edge = Table(vec![vec![(vec![1, 2], 1), (vec![2, 1], 1), (vec![1, 1], 1)]]);
    let root = Table(vec![vec![(vec![1], 1)]]);
    let cases = [
        ("WITH RECURSIVE up(n) AS (SELECT n FROM root UNION SELECT n + 1 FROM up) SELECT * FROM up", "recursion_limit is 200"),
        (
            "WITH RECURSIVE walk(n) AS (SELECT n FROM root UNION ALL SELECT b FROM walk JOIN edge ON a = n) SELECT * FROM walk",
            "goes in a circle",
        ),
    ];
    for (query, words) in cases {
        let mut job = job(query, &edge, &root, 2, None);
        job.sql = format!("SET recursion_limit = 200; {}", job.sql);
        let outcome = run(&job);
        let error = outcome.report.expect_err("it does not end").to_string();
        let name = query.split(&[' ', '('][..]).nth(2).unwrap_or_default();
        assert!(error.contains(words) && error.contains(&format!("recursion \"{name}\"")), "{error}");
        assert!(outcome.written.values().all(Vec::is_empty), "{:?}", outcome.written);
    }
}
