//! Random cases: sources with disorder, nulls and duplicates, cut into steps; queries over them; and their shrinking.

use super::aggregate::{Aggregate, Function};
use super::expr::{Expr, Op, Type};
use super::relation::{GroupBy, Input, InputRow, Relation};
use super::sql::{Nesting, Statement, statement};
use super::window::{Shape, Spelling, Window};
use crate::random::Random;
use crate::value::{Row, Value};

/// The columns of every generated source, with their types.
pub const COLUMNS: [(&str, Type); 8] = [
    ("id", Type::Int),
    ("ts", Type::Time),
    ("k", Type::Text),
    ("g", Type::Int),
    ("v", Type::Int),
    ("d", Type::Decimal(12, 2)),
    ("f", Type::Float),
    ("b", Type::Bool),
];
const ID: usize = 0;
const TS: usize = 1;
const SECOND: i64 = 1_000_000;

/// Rows that come in one epoch.
pub type Step = Vec<Row>;

/// One partition of a source.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Its rows, step by step; it ends after its last step.
    pub steps: Vec<Step>,
}

/// One source.
#[derive(Clone, Debug)]
pub struct Source {
    /// Delay of its watermark in microseconds.
    pub delay: i64,
    /// Its partitions.
    pub partitions: Vec<Partition>,
}

/// Everything about one random run but the number of workers.
#[derive(Clone, Debug)]
pub struct Case {
    /// The sources, named `t0`, `t1`.
    pub sources: Vec<Source>,
    /// The query.
    pub relation: Relation,
    /// EMIT FINAL, otherwise EMIT CHANGES.
    pub fin: bool,
    /// How nested relations are written.
    pub nesting: Nesting,
    /// Where rows of a step are cut into chunks.
    pub chunking: u64,
}

impl Case {
    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.sources.iter().flat_map(|source| &source.partitions).map(|partition| partition.steps.len()).max().unwrap_or(0)
    }

    /// The rows admitted up to a step, with their watermarks.
    pub fn admitted(&self, step: usize) -> Vec<Input> {
        self.sources
            .iter()
            .map(|source| {
                let mut input = Vec::new();
                for partition in &source.partitions {
                    let mut greatest: Option<i64> = None;
                    for values in partition.steps.iter().take(step + 1).flatten() {
                        input.push(InputRow { values: values.clone(), watermark: greatest.map(|time| time - source.delay) });
                        if let Value::Time(time) = values[TS] {
                            greatest = Some(greatest.map_or(time, |before| before.max(time)));
                        }
                    }
                }
                input
            })
            .collect()
    }

    /// The watermark of the sources that the query reads, after a step: `None` before there is one, `i64::MAX` when all have ended.
    pub fn watermark(&self, step: usize) -> Option<i64> {
        let mut least = Some(i64::MAX);
        for (index, source) in self.sources.iter().enumerate() {
            if !reads(&self.relation, index) {
                continue;
            }
            for partition in &source.partitions {
                if partition.steps.len() <= step + 1 {
                    continue;
                }
                let greatest = partition.steps.iter().take(step + 1).flatten().filter_map(|row| match row[TS] {
                    Value::Time(time) => Some(time),
                    _ => None,
                });
                let own = greatest.max().map(|time| time - source.delay);
                least = match (least, own) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    _ => None,
                };
            }
        }
        least
    }

    /// The types of every source.
    pub fn types(&self) -> Vec<Vec<Type>> {
        self.sources.iter().map(|_| COLUMNS.iter().map(|(_, ty)| *ty).collect()).collect()
    }

    /// The query in SQL.
    pub fn sql(&self) -> Statement {
        let names: Vec<String> = COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let sources = [("t0", names.clone()), ("t1", names)];
        statement(&self.relation, &sources[..self.sources.len()], self.nesting)
    }

    /// Smaller cases, largest cuts first.
    pub fn shrink(&self) -> Vec<Case> {
        let mut out = Vec::new();
        for (s, source) in self.sources.iter().enumerate() {
            for p in 0..source.partitions.len() {
                if source.partitions.len() > 1 {
                    let mut case = self.clone();
                    case.sources[s].partitions.remove(p);
                    out.push(case);
                }
            }
        }
        for step in 0..self.steps() {
            let mut case = self.clone();
            for partition in case.sources.iter_mut().flat_map(|source| &mut source.partitions) {
                if step < partition.steps.len() && partition.steps.len() > 1 {
                    partition.steps.remove(step);
                }
            }
            if case.steps() < self.steps() {
                out.push(case);
            }
        }
        for (s, source) in self.sources.iter().enumerate() {
            for (p, partition) in source.partitions.iter().enumerate() {
                for (t, step) in partition.steps.iter().enumerate() {
                    if step.len() > 1 {
                        for half in [0..step.len() / 2, step.len() / 2..step.len()] {
                            let mut case = self.clone();
                            case.sources[s].partitions[p].steps[t].drain(half);
                            out.push(case);
                        }
                    }
                    if step.len() <= 4 {
                        for r in 0..step.len() {
                            let mut case = self.clone();
                            case.sources[s].partitions[p].steps[t].remove(r);
                            out.push(case);
                        }
                    }
                }
            }
        }
        for relation in shrink_relation(&self.relation) {
            out.push(Case { relation, ..self.clone() });
        }
        out
    }
}

fn reads(relation: &Relation, source: usize) -> bool {
    match relation {
        Relation::Scan(index) => *index == source,
        Relation::Select { input, .. } => reads(input, source),
        Relation::Union(branches) => branches.iter().any(|branch| reads(branch, source)),
        Relation::Group(group) => reads(&group.input, source),
    }
}

/// Simpler relations of the same width where something above needs it; only the outermost loses columns.
fn shrink_relation(relation: &Relation) -> Vec<Relation> {
    let mut out = Vec::new();
    match relation {
        Relation::Scan(_) => {}
        Relation::Select { input, filter, exprs, distinct } => {
            for input in shrink_inner(input) {
                out.push(Relation::Select { input: Box::new(input), filter: filter.clone(), exprs: exprs.clone(), distinct: *distinct });
            }
            if filter.is_some() {
                out.push(Relation::Select { input: input.clone(), filter: None, exprs: exprs.clone(), distinct: *distinct });
            }
            for i in 0..exprs.len() {
                if exprs.len() > 1 {
                    let mut exprs = exprs.clone();
                    exprs.remove(i);
                    out.push(Relation::Select { input: input.clone(), filter: filter.clone(), exprs, distinct: *distinct });
                }
            }
        }
        Relation::Union(branches) => {
            if branches.len() > 1 {
                for i in 0..branches.len() {
                    let mut branches = branches.clone();
                    branches.remove(i);
                    out.push(if branches.len() == 1 { branches.remove(0) } else { Relation::Union(branches) });
                }
            }
        }
        Relation::Group(group) => {
            for input in shrink_inner(&group.input) {
                out.push(Relation::Group(Box::new(GroupBy { input, ..(**group).clone() })));
            }
            if group.filter.is_some() {
                out.push(Relation::Group(Box::new(GroupBy { filter: None, ..(**group).clone() })));
            }
            if group.having.is_some() {
                out.push(Relation::Group(Box::new(GroupBy { having: None, ..(**group).clone() })));
            } else {
                let attached = group.window.is_none() && matches!(group.input, Relation::Group(_));
                for i in 0..group.aggregates.len() {
                    let mut smaller = (**group).clone();
                    smaller.aggregates.remove(i);
                    if smaller.window.is_some() || !smaller.keys.is_empty() || !smaller.aggregates.is_empty() {
                        out.push(Relation::Group(Box::new(smaller)));
                    }
                }
                for i in if attached { 2 } else { 0 }..group.keys.len() {
                    let mut smaller = (**group).clone();
                    smaller.keys.remove(i);
                    if smaller.window.is_some() || !smaller.keys.is_empty() || !smaller.aggregates.is_empty() {
                        out.push(Relation::Group(Box::new(smaller)));
                    }
                }
            }
        }
    }
    out
}

/// Simpler relations with the same columns.
fn shrink_inner(relation: &Relation) -> Vec<Relation> {
    match relation {
        Relation::Scan(_) => vec![],
        Relation::Select { input, filter, exprs, distinct } => {
            let mut out: Vec<Relation> = shrink_inner(input)
                .into_iter()
                .map(|input| Relation::Select { input: Box::new(input), filter: filter.clone(), exprs: exprs.clone(), distinct: *distinct })
                .collect();
            if filter.is_some() {
                out.push(Relation::Select { input: input.clone(), filter: None, exprs: exprs.clone(), distinct: *distinct });
            }
            out
        }
        Relation::Union(branches) => branches.clone(),
        Relation::Group(group) => {
            let mut out: Vec<Relation> = shrink_inner(&group.input)
                .into_iter()
                .map(|input| Relation::Group(Box::new(GroupBy { input, ..(**group).clone() })))
                .collect();
            if group.filter.is_some() {
                out.push(Relation::Group(Box::new(GroupBy { filter: None, ..(**group).clone() })));
            }
            if group.having.is_some() {
                out.push(Relation::Group(Box::new(GroupBy { having: None, ..(**group).clone() })));
            }
            out
        }
    }
}

/// Makes cases.
pub struct Generator {
    random: Random,
    next_id: i128,
}

impl Generator {
    /// A generator whose cases depend on the seed only.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), next_id: 0 }
    }

    /// A random case.
    pub fn case(&mut self) -> Case {
        let steps = 1 + self.random.below(6);
        let two = self.random.chance(35);
        let sources: Vec<Source> = (0..if two { 2 } else { 1 }).map(|_| self.source(steps)).collect();
        let types: Vec<Vec<Type>> = sources.iter().map(|_| COLUMNS.iter().map(|(_, ty)| *ty).collect()).collect();
        let relation = self.relation(&types);
        let fin = windowed(&relation) && self.random.chance(55) || !windowed(&relation) && self.random.chance(8);
        // EMIT FINAL is for results that close: without a group anywhere there is nothing to close.
        let fin = fin && matches!(relation, Relation::Group(_));
        let nesting = *self.random.pick(&[Nesting::With, Nesting::View, Nesting::Subquery]);
        Case { sources, relation, fin, nesting, chunking: self.random.bits() }
    }

    /// A query over one source of many rows, all in one step.
    pub fn large(&mut self, rows: usize, partitions: usize) -> Case {
        let mut case = self.case();
        while case.sources.len() > 1 {
            case = self.case();
        }
        let partitions = (0..partitions)
            .map(|_| {
                let mut clock = 0;
                let step = (0..rows / partitions)
                    .map(|_| {
                        clock += self.random.between(0, 200) * 1_000;
                        let ts = clock - self.random.between(0, 4_000) * 1_000;
                        self.row(ts)
                    })
                    .collect();
                Partition { steps: vec![step] }
            })
            .collect();
        case.sources = vec![Source { delay: 2 * SECOND, partitions }];
        case
    }

    fn source(&mut self, steps: usize) -> Source {
        let delay = *self.random.pick(&[0, 2 * SECOND, 5 * SECOND]);
        let partitions = (0..1 + self.random.below(3)).map(|_| self.partition(steps)).collect();
        Source { delay, partitions }
    }

    fn partition(&mut self, steps: usize) -> Partition {
        // Some end early, some start before the Unix epoch, some are ordered.
        let steps = if self.random.chance(20) { 1 + self.random.below(steps) } else { steps };
        let mut clock = if self.random.chance(20) { -30 * SECOND } else { self.random.between(0, 10) * SECOND };
        let disorder = *self.random.pick(&[0, 0, 3, 12]);
        let busy = *self.random.pick(&[0, 2, 6, 6, 20]);
        let steps = (0..steps)
            .map(|_| {
                let rows = if self.random.chance(15) { 0 } else { self.random.below(busy + 1) };
                (0..rows)
                    .map(|_| {
                        clock += self.random.between(0, 3) * SECOND;
                        let mut ts = clock - self.random.between(0, disorder) * SECOND;
                        if self.random.chance(20) {
                            ts += *self.random.pick(&[-1, 1, 500_000]);
                        }
                        self.row(ts)
                    })
                    .collect()
            })
            .collect();
        Partition { steps }
    }

    fn row(&mut self, ts: i64) -> Row {
        let id = self.next_id;
        self.next_id += 1;
        let mut row = vec![Value::Int(id), Value::Time(ts)];
        for (_, ty) in &COLUMNS[2..] {
            row.push(if self.random.chance(15) { Value::Null } else { self.value(*ty) });
        }
        row
    }

    fn value(&mut self, ty: Type) -> Value {
        match ty {
            Type::Bool => Value::Bool(self.random.chance(50)),
            Type::Int => Value::Int(i128::from(self.random.between(-4, 12))),
            Type::Float => Value::Float(self.random.between(-4000, 4000) as f64 / *self.random.pick(&[1.0, 4.0, 1024.0])),
            Type::Decimal(_, scale) => Value::Decimal(i128::from(self.random.between(-1500, 1500)), scale),
            Type::Text => Value::text(self.random.pick::<&str>(&["a", "b", "ab", "", "ß", "日本", "c"])),
            Type::Time => Value::Time(self.random.between(0, 30) * SECOND),
            Type::List => panic!("lists are made by aggregates only"),
        }
    }

    fn relation(&mut self, sources: &[Vec<Type>]) -> Relation {
        let two = sources.len() > 1;
        let base = if two {
            // Both sources are read as a bag; sometimes through projections that keep the columns.
            Relation::Union(vec![Relation::Scan(0), Relation::Scan(1)])
        } else {
            Relation::Scan(0)
        };
        let base = if self.random.chance(25) { self.keep_columns(base, sources) } else { base };
        let ordered = !two;
        match self.random.below(12) {
            0 => self.select(base, sources),
            1 => {
                let input = if self.random.chance(40) { self.group(base, sources, None, false) } else { base };
                self.distinct(input, sources)
            }
            2..=4 => {
                let window = self.window();
                self.group(base, sources, Some(window), ordered)
            }
            5 | 6 => self.group(base, sources, None, ordered),
            // Aggregates over a changing relation.
            7 | 8 => {
                let inner = self.group(base, sources, None, ordered);
                self.group(inner, sources, None, false)
            }
            // Aggregates over windows that are in the rows.
            9 | 10 => {
                let window = self.window();
                let inner = self.group(base, sources, Some(window), ordered);
                self.attached(inner, sources)
            }
            _ => {
                let inner = self.group(base, sources, None, ordered);
                self.select(inner, sources)
            }
        }
    }

    fn keep_columns(&mut self, input: Relation, sources: &[Vec<Type>]) -> Relation {
        let types = input.types(sources);
        let filter = self.random.chance(60).then(|| self.predicate(&types));
        let exprs = (0..types.len()).map(Expr::Column).collect();
        Relation::Select { input: Box::new(input), filter, exprs, distinct: false }
    }

    fn select(&mut self, input: Relation, sources: &[Vec<Type>]) -> Relation {
        let types = input.types(sources);
        let filter = self.random.chance(60).then(|| self.predicate(&types));
        let exprs = (0..1 + self.random.below(4)).map(|_| self.any_expr(&types)).collect();
        Relation::Select { input: Box::new(input), filter, exprs, distinct: false }
    }

    fn distinct(&mut self, input: Relation, sources: &[Vec<Type>]) -> Relation {
        let types = input.types(sources);
        let filter = self.random.chance(40).then(|| self.predicate(&types));
        let exprs = (0..1 + self.random.below(2)).map(|_| self.any_expr(&types)).collect();
        Relation::Select { input: Box::new(input), filter, exprs, distinct: true }
    }

    fn window(&mut self) -> Window {
        let shape = *self.random.pick(&[
            Shape::Tumble { size: 5 * SECOND },
            Shape::Tumble { size: 10 * SECOND },
            Shape::Tumble { size: 7 * SECOND },
            Shape::Hop { size: 10 * SECOND, slide: 5 * SECOND },
            Shape::Hop { size: 10 * SECOND, slide: 2 * SECOND },
            Shape::Hop { size: 6 * SECOND, slide: 6 * SECOND },
            Shape::Cumulate { size: 10 * SECOND, step: 5 * SECOND },
            Shape::Cumulate { size: 12 * SECOND, step: 3 * SECOND },
            Shape::Hop { size: 40 * SECOND, slide: SECOND },
            Shape::Session { gap: SECOND },
            Shape::Session { gap: 3 * SECOND },
            Shape::Session { gap: 8 * SECOND },
        ]);
        let spelling = *self.random.pick(&[Spelling::TableFunction, Spelling::Short, Spelling::Clause, Spelling::GroupBy]);
        let session = matches!(shape, Shape::Session { .. });
        let offset = if spelling != Spelling::Clause && !session && self.random.chance(25) { SECOND } else { 0 };
        Window { shape, offset, time: TS, spelling }
    }

    /// Groups. `ordered`: rows have an order of arrival that functions may depend on.
    fn group(&mut self, input: Relation, sources: &[Vec<Type>], window: Option<Window>, ordered: bool) -> Relation {
        let types = input.types(sources);
        let filter = self.random.chance(30).then(|| self.predicate(&types));
        let mut keys = Vec::new();
        for _ in 0..*self.random.pick(&[0, 1, 1, 2]) {
            let mut key = self.key(&types);
            if matches!(key, Expr::Literal(..)) {
                // A number in GROUP BY would name a column by its place.
                key = Expr::IsNull(Box::new(Expr::Column(0)));
            }
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let aggregates: Vec<Aggregate> = (0..1 + self.random.below(4)).map(|_| self.aggregate(&types, ordered)).collect();
        // The table function's sessions are those of all rows, by columns it names.
        let window = window.map(|window| {
            let by_columns = filter.is_none() && keys.iter().all(|key| matches!(key, Expr::Column(_)));
            match (window.shape, window.spelling) {
                (Shape::Session { .. }, Spelling::Short) if !by_columns || !keys.is_empty() => {
                    Window { spelling: Spelling::Clause, ..window }
                }
                (Shape::Session { .. }, Spelling::TableFunction) if !by_columns => Window { spelling: Spelling::GroupBy, ..window },
                _ => window,
            }
        });
        let mut group = GroupBy { input, filter, window, keys, aggregates, having: None };
        if self.random.chance(25) {
            let out = Relation::Group(Box::new(group.clone())).types(sources);
            group.having = Some(self.predicate(&out));
        }
        Relation::Group(Box::new(group))
    }

    fn attached(&mut self, inner: Relation, sources: &[Vec<Type>]) -> Relation {
        let outer = self.group(inner, sources, None, false);
        let Relation::Group(mut group) = outer else { unreachable!("group makes groups") };
        // Window columns come first among the keys; HAVING would have to be shifted.
        group.having = None;
        let mut keys = vec![Expr::Column(0), Expr::Column(1)];
        keys.extend(group.keys.into_iter().filter(|key| !matches!(key, Expr::Column(0 | 1))));
        group.keys = keys;
        Relation::Group(group)
    }

    fn columns_of(&mut self, types: &[Type], wanted: impl Fn(Type) -> bool) -> Option<usize> {
        let found: Vec<usize> = types.iter().enumerate().filter(|(_, ty)| wanted(**ty)).map(|(i, _)| i).collect();
        if found.is_empty() { None } else { Some(*self.random.pick(&found)) }
    }

    fn key(&mut self, types: &[Type]) -> Expr {
        if self.random.chance(35) {
            return self.any_expr(types);
        }
        match self.columns_of(types, |ty| matches!(ty, Type::Text | Type::Bool | Type::Int)) {
            Some(ID) if types.len() == COLUMNS.len() => Expr::Column(3),
            Some(index) => Expr::Column(index),
            None => self.literal(Type::Int),
        }
    }

    fn aggregate(&mut self, types: &[Type], ordered: bool) -> Aggregate {
        use Function as F;
        let filter = self.random.chance(20).then(|| self.predicate(types));
        let function = *self.random.pick(&[
            F::CountStar,
            F::CountStar,
            F::Count,
            F::Sum,
            F::Sum,
            F::Avg,
            F::Min,
            F::Max,
            F::VarPop,
            F::VarSamp,
            F::StddevPop,
            F::Stddev,
            F::BoolAnd,
            F::BoolOr,
            F::BitAnd,
            F::BitOr,
            F::BitXor,
            F::ArrayAgg,
            F::StringAgg,
            F::First,
            F::Last,
            F::ArgMin,
            F::ArgMax,
            F::Median,
        ]);
        let wanted = |ty: Type| match function {
            F::Sum | F::Avg => matches!(ty, Type::Int | Type::Float | Type::Decimal(..)),
            // Squares of integers stay in the oracle's range; decimals would be turned to floats first.
            F::VarPop | F::VarSamp | F::StddevPop | F::Stddev => matches!(ty, Type::Int | Type::Float),
            F::BoolAnd | F::BoolOr => ty == Type::Bool,
            F::BitAnd | F::BitOr | F::BitXor => ty == Type::Int,
            F::StringAgg => ty == Type::Text,
            F::Median => ty == Type::Float,
            _ => ty != Type::List,
        };
        // Floats that came out of an aggregate are no longer whole numbers of 2^-10.
        let plain = types.len() == COLUMNS.len() && types[ID] == Type::Int && types[TS] == Type::Time;
        let exact = |ty: Type| {
            plain || ty != Type::Float || !matches!(function, F::Sum | F::Avg | F::VarPop | F::VarSamp | F::StddevPop | F::Stddev)
        };
        let column = if function == F::CountStar { None } else { self.columns_of(types, |ty| wanted(ty) && exact(ty)) };
        let Some(column) = column else {
            return Aggregate { function: F::CountStar, arg: None, distinct: false, filter, order: None };
        };
        let arg = if types[column] == Type::Int && self.random.chance(20) {
            Expr::Binary(Op::Add, Box::new(Expr::Column(column)), Box::new(self.literal(Type::Int)))
        } else {
            Expr::Column(column)
        };
        let takes_order = matches!(function, F::ArrayAgg | F::StringAgg | F::First | F::Last);
        let by_arg = matches!(function, F::ArgMin | F::ArgMax);
        let descending = self.random.chance(40);
        let order = if takes_order || by_arg {
            if ordered {
                let by = match self.random.below(3) {
                    0 => Expr::Column(ID),
                    1 => Expr::Column(4),
                    _ => Expr::Column(TS),
                };
                // Without ORDER BY values come as they arrived: by partition and offset.
                if takes_order && self.random.chance(30) { None } else { Some((by, descending && !by_arg)) }
            } else {
                Some((arg.clone(), descending && !by_arg))
            }
        } else {
            None
        };
        let may = matches!(function, F::Count | F::Sum | F::Avg | F::Min | F::Max);
        let distinct = may && self.random.chance(25);
        Aggregate { function, arg: Some(arg), distinct, filter, order }
    }

    fn any_expr(&mut self, types: &[Type]) -> Expr {
        let ty = *self.random.pick(&[Type::Int, Type::Text, Type::Bool]);
        self.expr(ty, types, 2)
    }

    fn literal(&mut self, ty: Type) -> Expr {
        Expr::Literal(self.value(ty), ty)
    }

    fn predicate(&mut self, types: &[Type]) -> Expr {
        self.expr(Type::Bool, types, 2)
    }

    fn expr(&mut self, ty: Type, types: &[Type], depth: usize) -> Expr {
        if depth == 0 || self.random.chance(25) {
            return match self.columns_of(types, |other| other == ty) {
                Some(column) => Expr::Column(column),
                None => self.literal(ty),
            };
        }
        let one = |this: &mut Self, ty: Type| Box::new(this.expr(ty, types, depth - 1));
        match (ty, self.random.below(6)) {
            (_, 0) => Expr::Case(one(self, Type::Bool), one(self, ty), one(self, ty)),
            (_, 1) => Expr::Coalesce(one(self, ty), one(self, ty)),
            (Type::Int, 2) => Expr::Binary(Op::Mod, one(self, Type::Int), Box::new(Expr::Literal(Value::Int(3), Type::Int))),
            (Type::Int, 3) => Expr::Length(one(self, Type::Text)),
            (Type::Int, 4) => Expr::Binary(Op::Sub, one(self, Type::Int), one(self, Type::Int)),
            (Type::Int, _) => Expr::Binary(Op::Add, one(self, Type::Int), one(self, Type::Int)),
            (Type::Text, 2) => Expr::Upper(one(self, Type::Text)),
            (Type::Text, _) => Expr::Binary(Op::Concat, one(self, Type::Text), one(self, Type::Text)),
            (Type::Bool, 2) => Expr::Not(one(self, Type::Bool)),
            (Type::Bool, 3) => {
                let column = self.columns_of(types, |ty| ty != Type::List).unwrap_or(0);
                if types[column] == Type::List { self.literal(Type::Bool) } else { Expr::IsNull(Box::new(Expr::Column(column))) }
            }
            (Type::Bool, 4) => {
                let op = *self.random.pick(&[Op::And, Op::Or]);
                Expr::Binary(op, one(self, Type::Bool), one(self, Type::Bool))
            }
            (Type::Bool, _) => {
                let op = *self.random.pick(&[Op::Eq, Op::Ne, Op::Lt, Op::Le]);
                // Compare what is at hand: a column with a constant of its type.
                match self.columns_of(types, |ty| !matches!(ty, Type::List | Type::Float | Type::Bool)) {
                    Some(column) => Expr::Binary(op, Box::new(Expr::Column(column)), Box::new(self.literal(types[column]))),
                    None => self.literal(Type::Bool),
                }
            }
            (other, _) => match self.columns_of(types, |ty| ty == other) {
                Some(column) => Expr::Column(column),
                None => self.literal(other),
            },
        }
    }
}

/// A window is assigned somewhere in the query.
pub fn windowed(relation: &Relation) -> bool {
    match relation {
        Relation::Scan(_) => false,
        Relation::Select { input, .. } => windowed(input),
        Relation::Union(branches) => branches.iter().any(windowed),
        Relation::Group(group) => group.window.is_some() || windowed(&group.input),
    }
}
