//! Small random tables that change: rows come and go in steps, and only rows that are there are taken back.

use tidemark_testing::memory::{TextPartition, TextRow};
use tidemark_testing::random::Random;

/// The type of a column. The engines that are compared agree on the meaning of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A 64-bit integer.
    Int,
    /// Text.
    Text,
}

/// A value of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// NULL.
    Null,
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
}

impl Cell {
    /// The cell as a test source takes it.
    fn text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Int(number) => Some(number.to_string()),
            Self::Text(text) => Some(text.clone()),
        }
    }
}

/// One change: a row and how often it is added.
pub type Change = (Vec<Cell>, i64);

/// A table and its changes, step by step.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<(String, Type)>,
    /// The changes of each step.
    pub steps: Vec<Vec<Change>>,
}

impl Table {
    /// A random table `t{number}`: about `rows` rows over `steps` steps.
    pub fn random(random: &mut Random, number: usize, steps: usize, rows: usize) -> Self {
        let columns: Vec<(String, Type)> = [("k", Type::Int), ("a", Type::Int), ("b", Type::Int), ("s", Type::Text)]
            .into_iter()
            .map(|(name, ty)| (name.to_owned(), ty))
            .collect();
        let append_only = random.chance(25);
        let mut live: Vec<Vec<Cell>> = Vec::new();
        let mut changes = Vec::new();
        for _ in 0..steps {
            let mut step: Vec<Change> = Vec::new();
            for _ in 0..random.below(2 * rows / steps.max(1) + 2) {
                if !append_only && !live.is_empty() && random.chance(40) {
                    let row = live.swap_remove(random.below(live.len()));
                    step.push((row, -1));
                    continue;
                }
                // Equal rows matter: they are what tells bags from sets.
                let row = if !live.is_empty() && random.chance(15) {
                    random.pick(&live).clone()
                } else {
                    columns.iter().map(|(name, ty)| cell(random, name, *ty)).collect()
                };
                live.push(row.clone());
                step.push((row, 1));
            }
            changes.push(step);
        }
        Self { name: format!("t{number}"), columns, steps: changes }
    }

    /// The rows that are there after a step.
    pub fn rows(&self, step: usize) -> Vec<Vec<Cell>> {
        let mut live: Vec<Vec<Cell>> = Vec::new();
        for (row, diff) in self.steps.iter().take(step + 1).flatten() {
            if *diff > 0 {
                live.push(row.clone());
            } else if let Some(place) = live.iter().position(|other| other == row) {
                live.swap_remove(place);
            }
        }
        live
    }

    /// Declares the table.
    pub fn declaration(&self) -> String {
        self.declaration_with("")
    }

    /// Declares the table with more options, each behind a comma.
    pub fn declaration_with(&self, options: &str) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(name, ty)| {
                let ty = match ty {
                    Type::Int => "BIGINT",
                    Type::Text => "VARCHAR",
                };
                format!("{name} {ty}")
            })
            .collect();
        let mode = if self.append_only() { "" } else { ", changelog = 'retract'" };
        format!("CREATE SOURCE {} ({}) WITH (connector = 'test'{mode}{options});\n", self.name, columns.join(", "))
    }

    fn append_only(&self) -> bool {
        self.steps.iter().flatten().all(|(_, diff)| *diff > 0)
    }

    /// The changes as the test source takes them: one partition.
    pub fn partition(&self) -> TextPartition {
        let append_only = self.append_only();
        let text = |(row, diff): &Change| -> TextRow {
            let mut cells: TextRow = row.iter().map(Cell::text).collect();
            if !append_only {
                cells.push(Some(diff.to_string()));
            }
            cells
        };
        self.steps.iter().map(|step| step.iter().map(text).collect()).collect()
    }

    /// Tables that are one change smaller.
    pub fn smaller(&self) -> Vec<Self> {
        let mut found = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            for place in 0..step.len() {
                let mut other = self.clone();
                let (row, diff) = other.steps[at].remove(place);
                // What takes a row back goes with it.
                if diff > 0
                    && let Some(back) = other.steps[at..]
                        .iter_mut()
                        .find_map(|step| step.iter().position(|(other, diff)| *other == row && *diff < 0).map(|place| (step, place)))
                {
                    back.0.remove(back.1);
                } else if diff < 0 && other.rows(other.steps.len()).len() > 40 {
                    continue;
                }
                found.push(other);
            }
        }
        found
    }
}

fn cell(random: &mut Random, name: &str, ty: Type) -> Cell {
    if random.chance(12) {
        return Cell::Null;
    }
    match ty {
        Type::Int if name == "k" => Cell::Int(random.between(0, 3)),
        Type::Int => Cell::Int(random.between(-3, 9)),
        Type::Text => Cell::Text((*random.pick(&["", "a", "b", "ab", "Zürich", "日本"])).to_owned()),
    }
}
