//! Random queries as trees that can be written for each engine and made smaller when they fail.

use std::fmt::Write;

use tidemark_testing::random::Random;

use crate::tables::{Table, Type};

/// Which engine a query is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Tidemark and DataFusion.
    Standard,
    /// SQLite: bag INTERSECT and EXCEPT are spelled with row numbers, booleans are numbers.
    Sqlite,
}

/// A query.
#[derive(Clone, Debug)]
pub enum Query {
    /// SELECT.
    Select(Box<Select>),
    /// A set operation.
    Set {
        /// UNION, INTERSECT or EXCEPT.
        op: &'static str,
        /// ALL was said.
        all: bool,
        /// One side.
        left: Box<Query>,
        /// The other.
        right: Box<Query>,
    },
    /// The first rows of each group.
    Top {
        /// The rows.
        input: Box<Query>,
        /// ROW_NUMBER, RANK or DENSE_RANK.
        function: &'static str,
        /// Columns that make groups.
        partition: Vec<usize>,
        /// Columns that order, with direction and place of nulls; ROW_NUMBER is ordered by all.
        order: Vec<(usize, bool, bool)>,
        /// The greatest rank.
        limit: usize,
        /// The rank is a column.
        shown: bool,
    },
    /// ORDER BY all columns LIMIT OFFSET.
    Limit {
        /// The rows.
        input: Box<Query>,
        /// Directions, and place of nulls, of each column.
        order: Vec<(bool, bool)>,
        /// How many.
        limit: usize,
        /// After how many.
        offset: usize,
    },
    /// What can be reached over the rows of a table, as links from one of its columns to another.
    Recursive(Recursive),
}

/// WITH RECURSIVE.
#[derive(Clone, Debug)]
pub struct Recursive {
    /// Its name.
    pub name: String,
    /// The table and the column it begins with.
    pub base: (String, &'static str),
    /// The table of links.
    pub links: String,
    /// From which column to which; the other way round as well, if there are two.
    pub ways: Vec<(&'static str, &'static str)>,
    /// How many steps there may be; without a limit each row is kept once.
    pub steps: Option<i64>,
    /// UNION ALL, with a limit only.
    pub all: bool,
}

impl Recursive {
    fn sql(&self) -> String {
        let Self { name, base: (table, column), links, ways, steps, all } = self;
        let union = if *all && steps.is_some() { "UNION ALL" } else { "UNION" };
        let mut terms = vec![format!("SELECT {column}{} FROM {table}", if steps.is_some() { ", 0" } else { "" })];
        for (from, to) in ways {
            let (more, limit) = match steps {
                Some(steps) => (", r.c1 + 1", format!(" WHERE r.c1 < {steps}")),
                None => ("", String::new()),
            };
            terms.push(format!("SELECT e.{to}{more} FROM {name} AS r JOIN {links} AS e ON e.{from} = r.c0{limit}"));
        }
        let columns = if steps.is_some() { "c0, c1" } else { "c0" };
        format!("WITH RECURSIVE {name}({columns}) AS ({}) SELECT {columns} FROM {name}", terms.join(&format!(" {union} ")))
    }
}

/// SELECT.
#[derive(Clone, Debug)]
pub struct Select {
    /// DISTINCT.
    pub distinct: bool,
    /// Output: text and type.
    pub items: Vec<(String, Type)>,
    /// FROM.
    pub from: From,
    /// WHERE.
    pub filter: Option<Predicate>,
    /// GROUP BY, as texts; `None`: no grouping at all.
    pub group: Option<String>,
    /// HAVING.
    pub having: Option<String>,
}

/// FROM.
#[derive(Clone, Debug)]
pub enum From {
    /// A table and its alias.
    Table(String, String),
    /// A subquery and its alias.
    Sub(Box<Query>, String),
    /// A join.
    Join {
        /// `JOIN`, `LEFT JOIN`, …
        kind: &'static str,
        /// One side.
        left: Box<From>,
        /// The other.
        right: Box<From>,
        /// ON.
        on: Option<String>,
    },
}

/// WHERE.
#[derive(Clone, Debug)]
pub enum Predicate {
    /// A comparison or the like, as text.
    Plain(String),
    /// AND.
    And(Box<Predicate>, Box<Predicate>),
    /// OR.
    Or(Box<Predicate>, Box<Predicate>),
    /// NOT.
    Not(Box<Predicate>),
    /// `expr IN (query)`, or NOT IN.
    In(String, bool, Box<Query>),
    /// EXISTS, or NOT EXISTS; the query may read the columns outside.
    Exists(bool, Box<Query>),
    /// `expr op (query of one value)`.
    Scalar(String, &'static str, Box<Query>),
}

impl Query {
    /// The query as an engine reads it.
    pub fn sql(&self, dialect: Dialect) -> String {
        match self {
            Self::Select(select) => select.sql(dialect),
            Self::Set { op, all: true, left, right } if dialect == Dialect::Sqlite && *op != "UNION" => {
                // A bag is a set of numbered rows.
                let columns: Vec<String> = (0..left.types().len()).map(|at| format!("c{at}")).collect();
                let columns = columns.join(", ");
                let numbered = |query: &Self| {
                    format!(
                        "SELECT {columns}, ROW_NUMBER() OVER (PARTITION BY {columns} ORDER BY {columns}) AS number FROM ({}) AS side",
                        query.sql(dialect)
                    )
                };
                format!("SELECT {columns} FROM ({} {op} {}) AS bag", numbered(left), numbered(right))
            }
            Self::Set { op, all, left, right } => {
                let all = if *all { " ALL" } else { "" };
                let side = |query: &Self| format!("SELECT * FROM ({}) AS side", query.sql(dialect));
                format!("{} {op}{all} {}", side(left), side(right))
            }
            Self::Top { input, function, partition, order, limit, shown } => {
                let width = input.types().len();
                let columns: Vec<String> = (0..width).map(|at| format!("c{at}")).collect();
                let partition: Vec<String> = partition.iter().map(|at| format!("c{at}")).collect();
                let partition = if partition.is_empty() { String::new() } else { format!("PARTITION BY {} ", partition.join(", ")) };
                let order: Vec<String> = order.iter().map(|(at, down, first)| direction(&format!("c{at}"), *down, *first)).collect();
                let rank = if *shown { format!(", rn AS c{width}") } else { String::new() };
                format!(
                    "SELECT {}{rank} FROM (SELECT *, {function}() OVER ({partition}ORDER BY {}) AS rn FROM ({}) AS ranked) AS top WHERE rn <= {limit}",
                    columns.join(", "),
                    order.join(", "),
                    input.sql(dialect)
                )
            }
            Self::Recursive(recursive) => recursive.sql(),
            Self::Limit { input, order, limit, offset } => {
                let order: Vec<String> =
                    order.iter().enumerate().map(|(at, (down, first))| direction(&format!("c{at}"), *down, *first)).collect();
                let offset = if *offset == 0 { String::new() } else { format!(" OFFSET {offset}") };
                format!("SELECT * FROM ({}) AS sorted ORDER BY {} LIMIT {limit}{offset}", input.sql(dialect), order.join(", "))
            }
        }
    }

    /// The types of the columns, named `c0`, `c1`, ….
    pub fn types(&self) -> Vec<Type> {
        match self {
            Self::Select(select) => select.items.iter().map(|(_, ty)| *ty).collect(),
            Self::Set { left, .. } => left.types(),
            Self::Top { input, shown, .. } => {
                let mut types = input.types();
                types.extend(shown.then_some(Type::Int));
                types
            }
            Self::Limit { input, .. } => input.types(),
            Self::Recursive(recursive) => vec![Type::Int; 1 + usize::from(recursive.steps.is_some())],
        }
    }

    /// Queries that are smaller.
    pub fn smaller(&self) -> Vec<Self> {
        let mut found = Vec::new();
        match self {
            Self::Select(select) => {
                for from in select.from.smaller() {
                    found.push(Self::Select(Box::new(Select { from, ..select.as_ref().clone() })));
                }
                if let From::Sub(inner, _) = &select.from {
                    found.push(inner.as_ref().clone());
                }
                if let Some(filter) = &select.filter {
                    found.push(Self::Select(Box::new(Select { filter: None, ..select.as_ref().clone() })));
                    for filter in filter.smaller() {
                        found.push(Self::Select(Box::new(Select { filter: Some(filter), ..select.as_ref().clone() })));
                    }
                }
                if select.having.is_some() {
                    found.push(Self::Select(Box::new(Select { having: None, ..select.as_ref().clone() })));
                }
                if select.distinct {
                    found.push(Self::Select(Box::new(Select { distinct: false, ..select.as_ref().clone() })));
                }
                for at in 0..select.items.len() {
                    if select.items.len() > 1 {
                        let mut other = select.as_ref().clone();
                        other.items.remove(at);
                        found.push(Self::Select(Box::new(other)));
                    }
                }
            }
            Self::Set { left, right, op, all } => {
                found.push(left.as_ref().clone());
                found.push(right.as_ref().clone());
                for left in left.smaller().into_iter().filter(|it| it.types() == right.types()) {
                    found.push(Self::Set { op, all: *all, left: Box::new(left), right: right.clone() });
                }
                for right in right.smaller().into_iter().filter(|it| it.types() == left.types()) {
                    found.push(Self::Set { op, all: *all, left: left.clone(), right: Box::new(right) });
                }
            }
            Self::Top { input, function, partition, order, limit, shown } => {
                found.push(input.as_ref().clone());
                for input in input.smaller().into_iter().filter(|it| it.types() == input.types()) {
                    found.push(Self::Top {
                        input: Box::new(input),
                        function,
                        partition: partition.clone(),
                        order: order.clone(),
                        limit: *limit,
                        shown: *shown,
                    });
                }
            }
            Self::Recursive(recursive) => {
                if recursive.ways.len() > 1 {
                    found.extend(recursive.ways.iter().map(|way| Self::Recursive(Recursive { ways: vec![*way], ..recursive.clone() })));
                }
            }
            Self::Limit { input, order, limit, offset } => {
                found.push(input.as_ref().clone());
                for input in input.smaller().into_iter().filter(|it| it.types() == input.types()) {
                    found.push(Self::Limit { input: Box::new(input), order: order.clone(), limit: *limit, offset: *offset });
                }
            }
        }
        found
    }
}

fn direction(column: &str, down: bool, nulls_first: bool) -> String {
    format!("{column} {} NULLS {}", if down { "DESC" } else { "ASC" }, if nulls_first { "FIRST" } else { "LAST" })
}

impl Select {
    fn sql(&self, dialect: Dialect) -> String {
        let items: Vec<String> = self.items.iter().enumerate().map(|(at, (text, _))| format!("{text} AS c{at}")).collect();
        let mut sql = format!("SELECT {}{}", if self.distinct { "DISTINCT " } else { "" }, items.join(", "));
        let _ = write!(sql, " FROM {}", self.from.sql(dialect));
        if let Some(filter) = &self.filter {
            let _ = write!(sql, " WHERE {}", filter.sql(dialect));
        }
        match self.group.as_deref() {
            None | Some("") => {}
            Some(group) => {
                let _ = write!(sql, " GROUP BY {group}");
            }
        }
        if let Some(having) = &self.having {
            let _ = write!(sql, " HAVING {having}");
        }
        sql
    }
}

impl From {
    fn sql(&self, dialect: Dialect) -> String {
        match self {
            Self::Table(name, alias) => format!("{name} AS {alias}"),
            Self::Sub(query, alias) => format!("({}) AS {alias}", query.sql(dialect)),
            Self::Join { kind, left, right, on } => {
                let on = on.as_ref().map(|on| format!(" ON {on}")).unwrap_or_default();
                format!("{} {kind} {}{on}", left.sql(dialect), right.sql(dialect))
            }
        }
    }

    fn smaller(&self) -> Vec<Self> {
        match self {
            Self::Table(..) => vec![],
            Self::Sub(query, alias) => query
                .smaller()
                .into_iter()
                .filter(|it| it.types() == query.types())
                .map(|it| Self::Sub(Box::new(it), alias.clone()))
                .collect(),
            Self::Join { kind, left, right, on } => {
                let mut found = vec![];
                let join = |left: &Self, right: &Self| Self::Join {
                    kind,
                    left: Box::new(left.clone()),
                    right: Box::new(right.clone()),
                    on: on.clone(),
                };
                found.extend(left.smaller().iter().map(|it| join(it, right)));
                found.extend(right.smaller().iter().map(|it| join(left, it)));
                found
            }
        }
    }
}

impl Predicate {
    fn sql(&self, dialect: Dialect) -> String {
        let not = |negated: &bool| if *negated { "NOT " } else { "" };
        match self {
            Self::Plain(text) => text.clone(),
            Self::And(left, right) => format!("({} AND {})", left.sql(dialect), right.sql(dialect)),
            Self::Or(left, right) => format!("({} OR {})", left.sql(dialect), right.sql(dialect)),
            Self::Not(inner) => format!("(NOT {})", inner.sql(dialect)),
            Self::In(expr, negated, query) => format!("({expr} {}IN ({}))", not(negated), query.sql(dialect)),
            Self::Exists(negated, query) => format!("({}EXISTS ({}))", not(negated), query.sql(dialect)),
            Self::Scalar(expr, op, query) => format!("({expr} {op} ({}))", query.sql(dialect)),
        }
    }

    fn smaller(&self) -> Vec<Self> {
        match self {
            Self::Plain(_) => vec![],
            Self::And(left, right) | Self::Or(left, right) => {
                let mut found = vec![left.as_ref().clone(), right.as_ref().clone()];
                let again = |left: Self, right: Self| match self {
                    Self::And(..) => Self::And(Box::new(left), Box::new(right)),
                    _ => Self::Or(Box::new(left), Box::new(right)),
                };
                found.extend(left.smaller().into_iter().map(|it| again(it, right.as_ref().clone())));
                found.extend(right.smaller().into_iter().map(|it| again(left.as_ref().clone(), it)));
                found
            }
            Self::Not(inner) => {
                let mut found = vec![inner.as_ref().clone()];
                found.extend(inner.smaller().into_iter().map(|it| Self::Not(Box::new(it))));
                found
            }
            Self::In(expr, negated, query) => query
                .smaller()
                .into_iter()
                .filter(|it| it.types() == query.types())
                .map(|it| Self::In(expr.clone(), *negated, Box::new(it)))
                .collect(),
            Self::Exists(negated, query) => query.smaller().into_iter().map(|it| Self::Exists(*negated, Box::new(it))).collect(),
            Self::Scalar(expr, op, query) => query
                .smaller()
                .into_iter()
                .filter(|it| it.types() == query.types() && single(it))
                .map(|it| Self::Scalar(expr.clone(), op, Box::new(it)))
                .collect(),
        }
    }
}

/// A query of one row at most: an aggregate over everything, or the first row.
fn single(query: &Query) -> bool {
    match query {
        Query::Select(select) => select.group.as_deref() == Some(""),
        Query::Limit { limit, .. } => *limit == 1,
        _ => false,
    }
}

/// A column that can be read: its text and its type.
type Column = (String, Type);

/// Makes queries.
pub struct Generator<'a> {
    random: &'a mut Random,
    tables: &'a [Table],
    aliases: usize,
}

impl<'a> Generator<'a> {
    /// Queries over some tables.
    pub fn new(random: &'a mut Random, tables: &'a [Table]) -> Self {
        Self { random, tables, aliases: 0 }
    }

    /// A query of some depth.
    pub fn query(&mut self, depth: usize) -> Query {
        match self.random.below(20) {
            0..=2 if depth > 0 => self.set(depth),
            3..=5 if depth > 0 => self.top(depth),
            6 if depth > 0 => self.limit(depth),
            7 => self.recursive(),
            _ => Query::Select(Box::new(self.select(depth, &[], None))),
        }
    }

    fn set(&mut self, depth: usize) -> Query {
        let left = self.query(depth - 1);
        let types = left.types();
        let right = Query::Select(Box::new(self.select(depth - 1, &[], Some(&types))));
        let op = *self.random.pick(&["UNION", "INTERSECT", "EXCEPT"]);
        Query::Set { op, all: self.random.chance(50), left: Box::new(left), right: Box::new(right) }
    }

    fn top(&mut self, depth: usize) -> Query {
        let input = self.query(depth - 1);
        let width = input.types().len();
        let function = *self.random.pick(&["ROW_NUMBER", "ROW_NUMBER", "RANK", "DENSE_RANK"]);
        let partition = if self.random.chance(70) { vec![self.random.below(width)] } else { vec![] };
        let mut order: Vec<(usize, bool, bool)> = (0..width).map(|at| (at, self.random.chance(50), self.random.chance(50))).collect();
        let turn = self.random.below(width);
        order.rotate_left(turn);
        if function != "ROW_NUMBER" {
            order.truncate(1 + self.random.below(width));
        }
        Query::Top { input: Box::new(input), function, partition, order, limit: 1 + self.random.below(3), shown: self.random.chance(50) }
    }

    fn limit(&mut self, depth: usize) -> Query {
        let input = self.query(depth - 1);
        let order = input.types().iter().map(|_| (self.random.chance(50), self.random.chance(50))).collect();
        let offset = if self.random.chance(30) { self.random.below(3) } else { 0 };
        Query::Limit { input: Box::new(input), order, limit: 1 + self.random.below(4), offset }
    }

    fn recursive(&mut self) -> Query {
        const COLUMNS: [&str; 3] = ["k", "a", "b"];
        let mut table = || self.tables[self.random.below(self.tables.len())].name.clone();
        let (base, links) = (table(), table());
        let way = (*self.random.pick(&COLUMNS), *self.random.pick(&COLUMNS));
        let mut ways = vec![way];
        if self.random.chance(30) {
            ways.push((way.1, way.0));
        }
        let steps = self.random.chance(50).then(|| self.random.between(1, 4));
        let name = self.alias();
        let base = (base, *self.random.pick(&COLUMNS));
        Query::Recursive(Recursive { name, base, links, ways, steps, all: self.random.chance(50) })
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("x{}", self.aliases)
    }

    fn select(&mut self, depth: usize, outer: &[Column], types: Option<&[Type]>) -> Select {
        let (from, scope) = self.from(depth);
        let filter = self.random.chance(60).then(|| self.predicate(depth, &scope, outer));
        let wanted: Vec<Type> = match types {
            Some(types) => types.to_vec(),
            None => (0..1 + self.random.below(3)).map(|_| if self.random.chance(70) { Type::Int } else { Type::Text }).collect(),
        };
        if self.random.chance(40) {
            let keys: Vec<Column> = (0..self.random.below(3)).map(|_| self.random.pick(&scope).clone()).collect();
            let items = wanted.iter().map(|ty| (self.grouped(*ty, &keys, &scope), *ty)).collect();
            let texts: Vec<&str> = keys.iter().map(|(text, _)| text.as_str()).collect();
            let having = self.random.chance(25).then(|| {
                let aggregate = self.aggregate(Type::Int, &scope);
                format!("{aggregate} {} {}", self.comparison(), self.random.between(0, 4))
            });
            return Select { distinct: self.random.chance(10), items, from, filter, group: Some(texts.join(", ")), having };
        }
        let over = depth > 0 && self.random.chance(20);
        let items = wanted
            .iter()
            .map(|ty| {
                let text = match *ty {
                    Type::Int if over && self.random.chance(60) => self.over(&scope),
                    Type::Int if depth > 0 && self.random.chance(10) => self.column_of_value(&scope),
                    ty => self.expr(ty, &scope),
                };
                (text, *ty)
            })
            .collect();
        Select { distinct: self.random.chance(20), items, from, filter, group: None, having: None }
    }

    fn from(&mut self, depth: usize) -> (From, Vec<Column>) {
        if depth > 0 && self.random.chance(45) {
            let (left, mut scope) = self.from(depth - 1);
            let (right, other) = self.from(0);
            let kind = *self.random.pick(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN"]);
            let on = (kind != "CROSS JOIN").then(|| self.on(&scope, &other));
            scope.extend(other);
            return (From::Join { kind, left: Box::new(left), right: Box::new(right), on }, scope);
        }
        let alias = self.alias();
        if depth > 0 && self.random.chance(30) {
            let query = self.query(depth - 1);
            let scope = query.types().iter().enumerate().map(|(at, ty)| (format!("{alias}.c{at}"), *ty)).collect();
            return (From::Sub(Box::new(query), alias), scope);
        }
        let table = self.random.below(self.tables.len());
        let table = &self.tables[table];
        let scope = table.columns.iter().map(|(name, ty)| (format!("{alias}.{name}"), *ty)).collect();
        (From::Table(table.name.clone(), alias), scope)
    }

    fn on(&mut self, left: &[Column], right: &[Column]) -> String {
        let ty = if self.random.chance(85) { Type::Int } else { Type::Text };
        let (a, b) = (self.column(ty, left), self.column(ty, right));
        let mut on = match (a, b) {
            (Some(a), Some(b)) => format!("{a} = {b}"),
            _ => return "1 = 1".into(),
        };
        if self.random.chance(30)
            && let (Some(a), Some(b)) = (self.column(Type::Int, left), self.column(Type::Int, right))
        {
            let _ = write!(on, " AND {a} {} {b}", self.comparison());
        }
        on
    }

    fn column(&mut self, ty: Type, scope: &[Column]) -> Option<String> {
        let fitting: Vec<&Column> = scope.iter().filter(|(_, other)| *other == ty).collect();
        if fitting.is_empty() { None } else { Some(self.random.pick(&fitting).0.clone()) }
    }

    fn comparison(&mut self) -> &'static str {
        ["=", "<>", "<", "<=", ">", ">="][self.random.below(6)]
    }

    fn expr(&mut self, ty: Type, scope: &[Column]) -> String {
        let column = self.column(ty, scope);
        match (ty, column) {
            (Type::Int, Some(column)) => match self.random.below(8) {
                0 => format!("{column} + {}", self.random.between(1, 5)),
                1 => format!("{column} * 2 - 1"),
                2 => format!("COALESCE({column}, {})", self.random.between(0, 3)),
                3 => format!("CASE WHEN {column} > {} THEN 1 ELSE 0 END", self.random.between(0, 4)),
                _ => column,
            },
            (Type::Text, Some(column)) => match self.random.below(6) {
                0 => format!("COALESCE({column}, '-')"),
                1 => format!("{column} || 'x'"),
                _ => column,
            },
            (Type::Int, None) => self.random.between(0, 9).to_string(),
            (Type::Text, None) => "'c'".into(),
        }
    }

    fn aggregate(&mut self, ty: Type, scope: &[Column]) -> String {
        let column = self.column(ty, scope);
        match (ty, column) {
            (Type::Text, Some(column)) => format!("{}({column})", self.random.pick(&["MIN", "MAX"])),
            (Type::Text, None) => "MIN('c')".into(),
            (Type::Int, column) => {
                let column = column.unwrap_or_else(|| "1".into());
                match self.random.below(9) {
                    0..=1 => "COUNT(*)".into(),
                    2 => format!("COUNT({column})"),
                    3 => format!("COUNT(DISTINCT {column})"),
                    4..=5 => format!("SUM({column})"),
                    6 => format!("MIN({column})"),
                    7 => format!("MAX({column})"),
                    _ => format!("SUM({column}) FILTER (WHERE {column} > 2)"),
                }
            }
        }
    }

    fn grouped(&mut self, ty: Type, keys: &[Column], scope: &[Column]) -> String {
        match self.column(ty, keys) {
            Some(key) if self.random.chance(50) => key,
            _ => self.aggregate(ty, scope),
        }
    }

    /// A window function whose answer does not depend on how ties are broken.
    fn over(&mut self, scope: &[Column]) -> String {
        let value = self.column(Type::Int, scope).unwrap_or_else(|| "1".into());
        let partition = match self.random.chance(60) {
            true => format!("PARTITION BY {} ", self.random.pick(scope).0.clone()),
            false => String::new(),
        };
        let key = self.random.pick(scope).0.clone();
        let order = direction(&key, self.random.chance(50), self.random.chance(50));
        match self.random.below(8) {
            0 => format!("RANK() OVER ({partition}ORDER BY {order})"),
            1 => format!("DENSE_RANK() OVER ({partition}ORDER BY {order})"),
            2 => format!("SUM({value}) OVER ({partition}ORDER BY {order})"),
            3 => format!("COUNT({value}) OVER ({partition}ORDER BY {order})"),
            4 => format!("MAX({value}) OVER ({partition}ORDER BY {order} RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)"),
            5 => format!("SUM({value}) OVER ({partition}ORDER BY {order} GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW)"),
            6 => format!("MIN({value}) OVER ({partition}ORDER BY {key} ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)"),
            _ => format!("COUNT(*) OVER ({})", partition.trim()),
        }
    }

    fn predicate(&mut self, depth: usize, scope: &[Column], outer: &[Column]) -> Predicate {
        match self.random.below(14) {
            0 if depth > 0 => {
                Predicate::And(Box::new(self.predicate(depth - 1, scope, outer)), Box::new(self.predicate(depth - 1, scope, outer)))
            }
            1 if depth > 0 => {
                Predicate::Or(Box::new(self.predicate(depth - 1, scope, outer)), Box::new(self.predicate(depth - 1, scope, outer)))
            }
            2 if depth > 0 => Predicate::Not(Box::new(self.predicate(depth - 1, scope, outer))),
            3..=4 if depth > 0 => {
                if self.random.chance(30) {
                    let pair = [Type::Int, Type::Int].map(|ty| self.column(ty, scope).unwrap_or_else(|| "1".into()));
                    let query = self.select(depth - 1, &[], Some(&[Type::Int, Type::Int]));
                    let expr = format!("({})", pair.join(", "));
                    return Predicate::In(expr, self.random.chance(40), Box::new(Query::Select(Box::new(query))));
                }
                let ty = if self.random.chance(80) { Type::Int } else { Type::Text };
                let expr = self.column(ty, scope).unwrap_or_else(|| "1".into());
                let ty = if expr == "1" { Type::Int } else { ty };
                if ty == Type::Int && self.random.chance(30) {
                    let query = self.involved(depth - 1, scope);
                    return Predicate::In(expr, self.random.chance(40), Box::new(query));
                }
                let query = self.select(depth - 1, &[], Some(&[ty]));
                Predicate::In(expr, self.random.chance(40), Box::new(Query::Select(Box::new(query))))
            }
            5..=6 if depth > 0 => {
                let query = self.involved(depth - 1, scope);
                Predicate::Exists(self.random.chance(40), Box::new(query))
            }
            7..=8 if depth > 0 => {
                let expr = self.column(Type::Int, scope).unwrap_or_else(|| "1".into());
                if self.random.chance(40) {
                    let query = self.value(depth - 1, scope);
                    let op = self.comparison();
                    return Predicate::Scalar(expr, op, Box::new(query));
                }
                let mut query = self.correlated(depth - 1, scope);
                let (_, inner) = (&query.from, self.scope_of(&query.from));
                query.items = vec![(self.aggregate(Type::Int, &inner), Type::Int)];
                query.distinct = false;
                query.group = Some(String::new());
                let op = self.comparison();
                Predicate::Scalar(expr, op, Box::new(Query::Select(Box::new(query))))
            }
            9 if !outer.is_empty() => {
                let (a, b) = (self.column(Type::Int, scope), self.column(Type::Int, outer));
                match (a, b) {
                    (Some(a), Some(b)) => Predicate::Plain(format!("{a} = {b}")),
                    _ => Predicate::Plain("1 = 1".into()),
                }
            }
            10 => match self.column(Type::Text, scope) {
                Some(text) => Predicate::Plain(format!("{text} {} 'a'", self.comparison())),
                None => Predicate::Plain("1 = 1".into()),
            },
            11 => Predicate::Plain(format!(
                "{} IS {}NULL",
                self.random.pick(scope).0.clone(),
                if self.random.chance(50) { "NOT " } else { "" }
            )),
            _ => {
                let a = self.column(Type::Int, scope).unwrap_or_else(|| "1".into());
                Predicate::Plain(format!("{a} {} {}", self.comparison(), self.random.between(-1, 6)))
            }
        }
    }

    /// A subquery of one column that may read columns outside, some way below what makes its rows.
    fn involved(&mut self, depth: usize, outer: &[Column]) -> Query {
        let mut select = self.correlated(depth, outer);
        match self.random.below(9) {
            0 => {
                let order = vec![(self.random.chance(50), self.random.chance(50))];
                let offset = if self.random.chance(30) { 1 } else { 0 };
                Query::Limit { input: Box::new(Query::Select(Box::new(select))), order, limit: 1 + self.random.below(2), offset }
            }
            1 => {
                let right = Query::Select(Box::new(self.correlated(depth, outer)));
                let op = *self.random.pick(&["UNION", "INTERSECT", "EXCEPT"]);
                Query::Set { op, all: self.random.chance(50), left: Box::new(Query::Select(Box::new(select))), right: Box::new(right) }
            }
            2 => {
                let order = vec![(0, self.random.chance(50), self.random.chance(50))];
                let function = *self.random.pick(&["ROW_NUMBER", "RANK"]);
                let input = Box::new(Query::Select(Box::new(select)));
                Query::Top { input, function, partition: vec![], order, limit: 1 + self.random.below(2), shown: false }
            }
            3 => {
                let inner = self.scope_of(&select.from);
                let key = self.random.pick(&inner).0.clone();
                select.items = vec![(self.aggregate(Type::Int, &inner), Type::Int)];
                if self.random.chance(50) {
                    select.having = Some(format!("COUNT(*) {} {}", self.comparison(), self.random.between(0, 2)));
                }
                select.group = Some(key);
                Query::Select(Box::new(select))
            }
            4 => {
                select.distinct = true;
                Query::Select(Box::new(select))
            }
            _ => Query::Select(Box::new(select)),
        }
    }

    /// A subquery of one value that may read columns outside.
    fn value(&mut self, depth: usize, outer: &[Column]) -> Query {
        if self.random.chance(40) {
            let order = vec![(self.random.chance(50), self.random.chance(50))];
            let input = Box::new(Query::Select(Box::new(self.correlated(depth, outer))));
            return Query::Limit { input, order, limit: 1, offset: self.random.below(2) };
        }
        let rows = self.involved(depth, outer);
        let alias = self.alias();
        let scope = [(format!("{alias}.c0"), Type::Int)];
        let items = vec![(self.aggregate(Type::Int, &scope), Type::Int)];
        let from = From::Sub(Box::new(rows), alias);
        Query::Select(Box::new(Select { distinct: false, items, from, filter: None, group: Some(String::new()), having: None }))
    }

    /// A subquery of one value as a column: the same words for each engine.
    fn column_of_value(&mut self, outer: &[Column]) -> String {
        let (from, scope) = self.from(0);
        let (From::Table(..), Some(a), Some(b)) = (&from, self.column(Type::Int, &scope), self.column(Type::Int, outer)) else {
            return "1".into();
        };
        let (op, from) = (self.comparison(), from.sql(Dialect::Standard));
        if self.random.chance(50) {
            let direction = direction(&a, self.random.chance(50), self.random.chance(50));
            return format!("(SELECT {a} FROM {from} WHERE {a} {op} {b} ORDER BY {direction} LIMIT 1)");
        }
        format!("(SELECT {} FROM {from} WHERE {a} {op} {b})", self.aggregate(Type::Int, &scope))
    }

    /// A subquery that may read columns outside, by an equality as a rule.
    fn correlated(&mut self, depth: usize, outer: &[Column]) -> Select {
        let (from, scope) = self.from(depth.min(1));
        let own = self.predicate(0, &scope, &[]);
        let filter = match (self.column(Type::Int, &scope), self.column(Type::Int, outer)) {
            (Some(a), Some(b)) if self.random.chance(75) => {
                let op = if self.random.chance(70) { "=" } else { self.comparison() };
                Predicate::And(Box::new(Predicate::Plain(format!("{a} {op} {b}"))), Box::new(own))
            }
            _ => own,
        };
        let item = self.expr(Type::Int, &scope);
        Select { distinct: false, items: vec![(item, Type::Int)], from, filter: Some(filter), group: None, having: None }
    }

    fn scope_of(&self, from: &From) -> Vec<Column> {
        match from {
            From::Table(name, alias) => {
                let table = self.tables.iter().find(|table| table.name == *name);
                let columns = table.map(|table| table.columns.as_slice()).unwrap_or_default();
                columns.iter().map(|(name, ty)| (format!("{alias}.{name}"), *ty)).collect()
            }
            From::Sub(query, alias) => query.types().iter().enumerate().map(|(at, ty)| (format!("{alias}.c{at}"), *ty)).collect(),
            From::Join { left, right, .. } => {
                let mut scope = self.scope_of(left);
                scope.extend(self.scope_of(right));
                scope
            }
        }
    }
}
