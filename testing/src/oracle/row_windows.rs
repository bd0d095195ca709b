//! Windows of so many rows, naively: after each step the whole list of results is made anew from the rows of each key, and compared with the
//! one before. Written from the definition in the book.

use std::collections::{BTreeMap, BTreeSet};

use crate::memory::{TextPartition, TextRow};
use crate::random::Random;
use crate::value::{Row, Value};

/// Rows `k, v`, windows over them, and perhaps a time that keys stay without rows.
#[derive(Clone, Debug)]
pub struct RowWindows {
    /// The rows of each partition, step by step, a second each: key, value.
    pub partitions: Vec<Vec<Vec<(i64, i64)>>>,
    /// Rows of a window.
    pub size: i64,
    /// Rows from one window's end to the next.
    pub slide: i64,
    /// EMIT CHANGES.
    pub changes: bool,
    /// Rows are counted for each key, else all together.
    pub keyed: bool,
    /// `state.ttl` in seconds, and whether results are sealed.
    pub ttl: Option<(usize, bool)>,
}

/// A row of a key: partition, offset and value.
type Counted = (usize, usize, i64);

/// A key as it stands.
#[derive(Default)]
struct Key {
    rows: Vec<Counted>,
    touched: usize,
    sealed: bool,
}

impl RowWindows {
    /// A random case.
    pub fn random(random: &mut Random) -> Self {
        let (steps, keys, most) = (random.between(1, 9) as usize, random.between(1, 4), *random.pick(&[2, 7, 30]));
        let partitions = (0..random.between(1, 3)).map(|_| {
            let mut step = || (0..random.below(most)).map(|_| (random.between(1, keys), random.between(-3, 9))).collect::<Vec<_>>();
            (0..steps).map(|_| step()).collect::<Vec<_>>()
        });
        let partitions = partitions.collect();
        let slide = random.between(1, 5);
        let keyed = random.chance(85);
        Self {
            partitions,
            size: slide * *random.pick(&[1, 1, 2, 3, 5]),
            slide,
            changes: random.chance(50),
            keyed,
            ttl: (keyed && random.chance(30)).then(|| (random.between(1, 3) as usize, random.chance(50))),
        }
    }

    /// The statements, with sources and sinks of the test connector.
    pub fn sql(&self) -> String {
        let window = if self.size == self.slide && self.size % 2 == 0 {
            format!("TUMBLING({} ROWS)", self.size)
        } else {
            format!("SLIDING({} ROWS, {} ROWS)", self.size, self.slide)
        };
        let (key, by) = if self.keyed { ("k, ", " GROUP BY k") } else { ("", "") };
        let emit = if self.changes { " EMIT CHANGES" } else { "" };
        let options = self.ttl.map_or(String::new(), |(seconds, seal)| {
            format!(" OPTIONS ('state.ttl' = '{seconds}s', 'state.evicted' = '{}')", if seal { "seal" } else { "retract" })
        });
        format!(
            "CREATE SOURCE t (k BIGINT, v BIGINT) WITH (connector = 'test');\n\
             CREATE SINK out WITH (connector = 'test') AS SELECT {key}window_start, window_end, count(*), sum(v), min(v), array_agg(v) FROM t \
             WINDOW {window}{by}{emit}{options};\n"
        )
    }

    /// The rows as the test connector reads them.
    pub fn table(&self) -> Vec<TextPartition> {
        let text = |(key, value): &(i64, i64)| -> TextRow { vec![Some(key.to_string()), Some(value.to_string())] };
        self.partitions.iter().map(|steps| steps.iter().map(|rows| rows.iter().map(text).collect()).collect()).collect()
    }

    /// The net changes of each step.
    pub fn answer(&self) -> Vec<BTreeMap<Row, i64>> {
        let steps = self.partitions[0].len();
        let mut keys: BTreeMap<i64, Key> = BTreeMap::new();
        let mut read = vec![0; self.partitions.len()];
        let (mut shown, mut stay) = (BTreeMap::new(), BTreeMap::new());
        let mut changes = Vec::new();
        for step in 0..steps {
            for (partition, rows) in self.partitions.iter().enumerate() {
                for (key, value) in &rows[step] {
                    let offset = read[partition];
                    read[partition] += 1;
                    let key = keys.entry(if self.keyed { *key } else { 0 }).or_default();
                    if !key.sealed {
                        key.rows.push((partition, offset, *value));
                        key.touched = step;
                    }
                }
            }
            let mut gone = BTreeSet::new();
            if let Some((seconds, seal)) = self.ttl {
                for (name, key) in keys.iter_mut().filter(|(_, key)| !key.sealed && key.touched + seconds <= step) {
                    // What has come out stays; of windows that are open, only what is sealed.
                    self.results(*name, key, seal, &mut stay);
                    key.sealed = seal;
                    key.rows.clear();
                    gone.insert(*name);
                }
            }
            keys.retain(|name, key| key.sealed || !gone.contains(name));
            let mut now = stay.clone();
            for (name, key) in &keys {
                self.results(*name, key, self.changes || step + 1 == steps, &mut now);
            }
            let mut difference = now.clone();
            for (row, count) in &shown {
                *difference.entry(Row::clone(row)).or_default() -= count;
            }
            difference.retain(|_, diff| *diff != 0);
            changes.push(difference);
            shown = now;
        }
        changes
    }

    /// The windows of a key that have some rows; `open`: also those whose last row has not come.
    fn results(&self, name: i64, key: &Key, open: bool, into: &mut BTreeMap<Row, i64>) {
        let rows = key.rows.len() as i64;
        for end in (1..).map(|at| at * self.slide).take_while(|end| rows > 0 && end - self.size < rows) {
            if end > rows && !open {
                break;
            }
            let mut inside: Vec<Counted> = (end - self.size..end.min(rows)).filter(|at| *at >= 0).map(|at| key.rows[at as usize]).collect();
            inside.sort_unstable();
            let values: Vec<i64> = inside.iter().map(|(_, _, value)| *value).collect();
            let int = |value: i64| Value::Int(value.into());
            let mut row = if self.keyed { vec![int(name)] } else { vec![] };
            row.extend([int(end - self.size), int(end), int(values.len() as i64), int(values.iter().sum())]);
            row.push(values.iter().min().map_or(Value::Null, |least| int(*least)));
            row.push(Value::List(values.into_iter().map(int).collect()));
            *into.entry(row).or_default() += 1;
        }
    }
}
