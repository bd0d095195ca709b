//! Relations: the model of a query and its batch answer.

use super::aggregate::Aggregate;
use super::expr::{Expr, Type};
use super::session::sessions;
use super::window::{Shape, Window};
use crate::value::{Row, Value};

/// A row of a source, as it was read.
#[derive(Clone, Debug)]
pub struct InputRow {
    /// Its columns.
    pub values: Row,
    /// The watermark of its partition before it: greatest event time so far minus the delay. `None` before the first.
    pub watermark: Option<i64>,
}

/// A source's rows in order of arrival: partition by partition, by offset.
pub type Input = Vec<InputRow>;

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub enum Relation {
    /// All rows of a source.
    Scan(usize),
    /// `SELECT [DISTINCT] exprs FROM input [WHERE filter]`.
    Select {
        /// The input.
        input: Box<Relation>,
        /// WHERE.
        filter: Option<Expr>,
        /// The columns.
        exprs: Vec<Expr>,
        /// DISTINCT.
        distinct: bool,
    },
    /// UNION ALL.
    Union(Vec<Relation>),
    /// Groups.
    Group(Box<GroupBy>),
}

/// `SELECT [window_start, window_end,] keys, aggregates FROM input [WHERE] GROUP BY [window,] keys [HAVING]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupBy {
    /// The input.
    pub input: Relation,
    /// WHERE.
    pub filter: Option<Expr>,
    /// The window, whose start and end become the first two columns.
    pub window: Option<Window>,
    /// The keys.
    pub keys: Vec<Expr>,
    /// The aggregates.
    pub aggregates: Vec<Aggregate>,
    /// HAVING, over the output columns.
    pub having: Option<Expr>,
}

impl Relation {
    /// The types of the output columns.
    pub fn types(&self, sources: &[Vec<Type>]) -> Vec<Type> {
        match self {
            Self::Scan(source) => sources[*source].clone(),
            Self::Select { input, exprs, .. } => {
                let types = input.types(sources);
                exprs.iter().map(|expr| expr.ty(&types)).collect()
            }
            Self::Union(inputs) => inputs[0].types(sources),
            Self::Group(group) => {
                let types = group.input.types(sources);
                let mut out = if group.window.is_some() { vec![Type::Time, Type::Time] } else { vec![] };
                out.extend(group.keys.iter().map(|key| key.ty(&types)));
                out.extend(group.aggregates.iter().map(|aggregate| aggregate.ty(&types)));
                out
            }
        }
    }
}

/// The batch answer over some rows. `late` counts each window that each late row misses.
pub fn evaluate(relation: &Relation, inputs: &[Input], late: &mut u64) -> Vec<Row> {
    run(relation, inputs, late).into_iter().map(|row| row.values).collect()
}

fn run(relation: &Relation, inputs: &[Input], late: &mut u64) -> Input {
    match relation {
        Relation::Scan(source) => inputs[*source].clone(),
        Relation::Union(branches) => branches.iter().flat_map(|branch| run(branch, inputs, late)).collect(),
        Relation::Select { input, filter, exprs, distinct } => {
            let mut out: Input = Vec::new();
            for row in run(input, inputs, late) {
                if filter.as_ref().is_some_and(|filter| filter.eval(&row.values) != Value::Bool(true)) {
                    continue;
                }
                let values: Row = exprs.iter().map(|expr| expr.eval(&row.values)).collect();
                if *distinct && out.iter().any(|other| other.values == values) {
                    continue;
                }
                out.push(InputRow { values, watermark: row.watermark });
            }
            out
        }
        Relation::Group(group) => run_group(group, inputs, late),
    }
}

fn run_group(group: &GroupBy, inputs: &[Input], late: &mut u64) -> Input {
    let mut groups: Vec<(Row, Input)> = Vec::new();
    let gap = match group.window.map(|window| window.shape) {
        Some(Shape::Session { gap }) => Some(gap),
        _ => None,
    };
    for row in run(&group.input, inputs, late) {
        if group.filter.as_ref().is_some_and(|filter| filter.eval(&row.values) != Value::Bool(true)) {
            continue;
        }
        let keys: Row = group.keys.iter().map(|key| key.eval(&row.values)).collect();
        let mut places = Vec::new();
        match &group.window {
            None => places.push(keys),
            Some(_) if gap.is_some() => places.push(keys),
            Some(window) => {
                // A row without event time is in no window.
                let Value::Time(time) = row.values[window.time] else { continue };
                for (start, end) in window.assign(time) {
                    if Window::late(end, &row) {
                        *late += 1;
                    } else {
                        let mut place = vec![Value::Time(start), Value::Time(end)];
                        place.extend(keys.iter().cloned());
                        places.push(place);
                    }
                }
            }
        }
        for place in places {
            match groups.iter_mut().find(|(other, _)| *other == place) {
                Some((_, rows)) => rows.push(row.clone()),
                None => groups.push((place, vec![row.clone()])),
            }
        }
    }
    if let (Some(window), Some(gap)) = (&group.window, gap) {
        let keyed = std::mem::take(&mut groups);
        for (keys, rows) in keyed {
            let (found, lost) = sessions(&rows, window.time, gap);
            *late += lost;
            groups.extend(found.into_iter().map(|(start, end, rows)| {
                let place = [Value::Time(start), Value::Time(end)].into_iter().chain(keys.iter().cloned()).collect();
                (place, rows)
            }));
        }
    }
    // Without keys there is one group, also over nothing.
    if group.keys.is_empty() && group.window.is_none() && groups.is_empty() {
        groups.push((vec![], vec![]));
    }
    let mut out = Vec::new();
    for (mut values, rows) in groups {
        let rows: Vec<&Row> = rows.iter().map(|row| &row.values).collect();
        values.extend(group.aggregates.iter().map(|aggregate| aggregate.compute(&rows)));
        if group.having.as_ref().is_none_or(|having| having.eval(&values) == Value::Bool(true)) {
            out.push(InputRow { values, watermark: None });
        }
    }
    out
}
