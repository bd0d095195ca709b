//! The statements of a SQL file, as [`crate::parse::parse`] hands them on: checked for form, not yet for meaning.
//!
//! Every part a later message may point at keeps its [`Span`] in bytes of the text. Inside a query the spans are sqlparser's
//! own (line and column); [`crate::parse::LineIndex`] turns those into bytes.
//!
//! # Windows: the one normal form
//!
//! Whatever spelling the user chose, a windowed relation reaches the planner as a table function in FROM:
//!
//! ```text
//! $tumble(data => D, timecol => T, size => N, offset => N, lateness => N, late => 'drop') AS alias
//! $hop(data => D, timecol => T, size => N, slide => N, offset => N, lateness => N, late => 'drop') AS alias
//! $cumulate(data => D, timecol => T, size => N, step => N, offset => N, lateness => N, late => 'drop') AS alias
//! ```
//!
//! It is a `TableFactor::Function` (`lateral: false`, `with_ordinality: false`) whose name is one identifier, `$tumble`,
//! `$hop` or `$cumulate`, with the span of what the user wrote (`TUMBLING(5m)`, `TUMBLE(TABLE bid, …)`). All arguments are
//! `FunctionArg::Named`:
//!
//! - `data`: `Expr::Identifier` or `Expr::CompoundIdentifier` naming the relation (a quoted path keeps its quote: the
//!   identifier's `quote_style` is `'`), or `Expr::Subquery`.
//! - `timecol`: `Expr::Identifier` or `Expr::CompoundIdentifier` of the time column; the function call `proctime()` for
//!   processing time; the argument is absent when the relation's declared event time is meant.
//! - `size`, `slide`, `step`, `offset`, `lateness`: whole numbers, in microseconds. Checked here: `size`, `slide` and `step`
//!   are positive, `slide` and `step` divide `size`, and `0 <= offset <` slide (of a hop) or size.
//! - `late`: what becomes of late rows. Today always `'drop'`.
//!
//! [`crate::parse::WindowTable`] reads and writes this form; use it instead of matching on the arguments.
//!
//! The alias is the user's, else the last name of the relation, so that `trades.price` still resolves; a subquery without an
//! alias has none. The relation has all columns of `data`, then `window_start`, `window_end` and `window_time`.
//! Grouping by the window is grouping by plain columns: after the WINDOW clause and after `GROUP BY TUMBLE(…)` the query
//! groups by `window_start` and `window_end`, behind the user's own grouping (and by `window_time`, if it is selected), and `TUMBLE_START(…)`, `TUMBLE_END(…)`,
//! `TUMBLE_ROWTIME(…)`, `_window_start` and `_window_end` have become references to `window_start`, `window_end` and
//! `window_time` (selected under the name `_window_start`, if that is what was written). With a WINDOW clause, an aggregate
//! and no GROUP BY, the window is the whole grouping; without any aggregate the rows themselves are the result, one for each
//! window a row lies in. `SELECT DISTINCT a` with a WINDOW clause is distinct within each window: it becomes
//! `SELECT a … GROUP BY a, window_start, window_end`.

use datafusion_sql::sqlparser::ast;

use crate::Span;
use crate::plan::ErrorPolicy;

/// A name as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The text without quotes; letters are as written.
    pub value: String,
    /// Was in double quotes or backticks: upper and lower case count.
    pub quoted: bool,
    /// Where, quotes included.
    pub span: Span,
}

/// One statement.
#[derive(Clone, Debug)]
pub enum Statement {
    /// `CREATE SOURCE` or `CREATE TABLE`.
    CreateSource(CreateSource),
    /// `CREATE SINK`, with or without its query.
    CreateSink(CreateSink),
    /// `CREATE VIEW`.
    CreateView(CreateView),
    /// `CREATE FUNCTION`.
    CreateFunction(CreateFunction),
    /// `INSERT INTO`.
    Insert(Insert),
    /// A query alone: its result is shown.
    Query(Query),
    /// `SET`.
    Set(Set),
    /// `RESET`.
    Reset(Reset),
    /// `SHOW`.
    Show(Show),
    /// `DESCRIBE`.
    Describe(Describe),
    /// `EXPLAIN`.
    Explain(Explain),
}

impl Statement {
    /// From the first word to the last, without the semicolon.
    pub fn span(&self) -> Span {
        match self {
            Self::CreateSource(it) => it.span,
            Self::CreateSink(it) => it.span,
            Self::CreateView(it) => it.span,
            Self::CreateFunction(it) => it.span,
            Self::Insert(it) => it.span,
            Self::Query(it) => it.span,
            Self::Set(it) => it.span,
            Self::Reset(it) => it.span,
            Self::Show(it) => it.span,
            Self::Describe(it) => it.span,
            Self::Explain(it) => it.span,
        }
    }
}

/// `CREATE FUNCTION name(parameters) [RETURNS type] [LANGUAGE SQL] AS expr`.
#[derive(Clone, Debug)]
pub struct CreateFunction {
    /// The name it is called by.
    pub name: Name,
    /// What it takes.
    pub parameters: Vec<Parameter>,
    /// The type its value is converted to.
    pub returns: Option<ast::DataType>,
    /// What it computes.
    pub body: Box<ast::Expr>,
    /// Where that was written.
    pub body_span: Span,
    /// The whole statement.
    pub span: Span,
}

/// A parameter of a function.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: Name,
    /// The type its argument is converted to.
    pub data_type: Option<ast::DataType>,
}

/// `CREATE SOURCE|TABLE [IF NOT EXISTS] name [(columns)] [WITH (options)] [ON ERROR policy]`.
#[derive(Clone, Debug)]
pub struct CreateSource {
    /// The relation's name.
    pub name: Name,
    /// `CREATE TABLE` was written: the relation may be a source, or the target of an INSERT.
    pub table: bool,
    /// Keep an earlier relation of that name.
    pub if_not_exists: bool,
    /// The columns and what was declared among them; `None` when there are no parentheses: the schema is inferred.
    pub columns: Option<Columns>,
    /// Event time: `WATERMARK FOR` among the columns, or `TIMESTAMP BY` behind them.
    pub watermark: Option<Watermark>,
    /// The options, in order, each key once.
    pub options: Vec<OptionSetting>,
    /// `ON ERROR`, if said.
    pub on_error: Option<(ErrorPolicy, Span)>,
    /// The statement.
    pub span: Span,
}

/// The declarations in the parentheses of a CREATE.
#[derive(Clone, Debug)]
pub struct Columns {
    /// The columns in order; names are not checked for duplicates.
    pub columns: Vec<Column>,
    /// `PRIMARY KEY (a, b) NOT ENFORCED`, or `PRIMARY KEY` behind a column.
    pub primary_key: Option<PrimaryKey>,
    /// The parentheses.
    pub span: Span,
}

/// One declared column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: Name,
    /// What it holds.
    pub kind: ColumnKind,
    /// `COMMENT 'text'`.
    pub comment: Option<String>,
    /// The declaration.
    pub span: Span,
}

/// What a column holds.
#[derive(Clone, Debug)]
pub enum ColumnKind {
    /// A field of the record: `name type [NOT NULL]`.
    Physical {
        /// Its type.
        data_type: TypeName,
        /// `NOT NULL` was said.
        not_null: bool,
    },
    /// Something the connector knows of the record: `name type METADATA [FROM 'key'] [VIRTUAL]`.
    Metadata {
        /// Its type.
        data_type: TypeName,
        /// `NOT NULL` was said.
        not_null: bool,
        /// The key, if it is not the column's name; the span holds the quotes.
        key: Option<(String, Span)>,
        /// Read only: not written when the table is a sink.
        is_virtual: bool,
    },
    /// Computed from the others: `name AS expr`.
    Computed {
        /// The expression.
        expr: Box<ast::Expr>,
        /// Where it stands.
        span: Span,
    },
}

/// A declared key.
#[derive(Clone, Debug)]
pub struct PrimaryKey {
    /// The columns, in order.
    pub columns: Vec<Name>,
    /// The declaration.
    pub span: Span,
}

/// Event time, and how far behind it rows may come.
#[derive(Clone, Debug)]
pub struct Watermark {
    /// The column, declared or computed.
    pub column: Name,
    /// The watermark is the greatest time so far minus this, in microseconds; 0 for ascending times, −1 for strictly ascending ones.
    pub delay_us: i64,
    /// Any other watermark: the greatest value so far of this expression over the row; a null moves nothing.
    pub expr: Option<Box<ast::Expr>>,
    /// The strategy's words: `ts - INTERVAL '5' SECOND`.
    pub strategy_span: Span,
    /// The declaration.
    pub span: Span,
}

/// A type in a column declaration.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeName {
    /// Which type.
    pub kind: TypeKind,
    /// Where, arguments included.
    pub span: Span,
}

/// The types of columns. Each is one Arrow type: see [`crate::parse::arrow_type`].
#[derive(Clone, Debug, PartialEq)]
pub enum TypeKind {
    /// `BOOLEAN`, `BOOL`.
    Boolean,
    /// `TINYINT`, `INT1`.
    Int8,
    /// `SMALLINT`, `INT2`.
    Int16,
    /// `INT`, `INTEGER`, `INT4`.
    Int32,
    /// `BIGINT`, `INT8`.
    Int64,
    /// `TINYINT UNSIGNED`.
    UInt8,
    /// `SMALLINT UNSIGNED`.
    UInt16,
    /// `INT UNSIGNED`.
    UInt32,
    /// `BIGINT UNSIGNED`.
    UInt64,
    /// `FLOAT`, `REAL`, `FLOAT4`.
    Float32,
    /// `DOUBLE`, `DOUBLE PRECISION`, `FLOAT8`.
    Float64,
    /// `DECIMAL(p, s)`, `NUMERIC(p, s)`. `DECIMAL(p)` has scale 0; `DECIMAL` alone is `DECIMAL(38, 10)`, as in CAST.
    Decimal {
        /// Digits, 1 to 38.
        precision: u8,
        /// Digits behind the point, 0 to `precision`.
        scale: i8,
    },
    /// `VARCHAR`, `STRING`, `TEXT`, `CHAR`. A length is accepted and not enforced.
    Text,
    /// `BYTES`, `BYTEA`, `BINARY`, `VARBINARY`, `BLOB`. A length is accepted and not enforced.
    Bytes,
    /// `DATE`.
    Date,
    /// `TIME`, in microseconds.
    Time,
    /// `TIMESTAMP[(p)] [WITHOUT TIME ZONE]`, `DATETIME`: microseconds, no zone.
    Timestamp,
    /// `TIMESTAMP_LTZ[(p)]`, `TIMESTAMPTZ`, `TIMESTAMP WITH [LOCAL] TIME ZONE`: microseconds, UTC.
    TimestampUtc,
    /// `ARRAY<t>`, `t ARRAY`, `t[]`.
    Array(Box<TypeName>),
    /// `MAP<k, v>`.
    Map(Box<TypeName>, Box<TypeName>),
    /// `ROW<a INT, b ROW<…>>`, `STRUCT<…>`, `ROW(…)`.
    Row(Vec<RowField>),
}

/// One field of a ROW.
#[derive(Clone, Debug, PartialEq)]
pub struct RowField {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub data_type: TypeName,
    /// `NOT NULL` was said.
    pub not_null: bool,
}

/// One `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionSetting {
    /// The key without quotes, letters as written.
    pub key: String,
    /// The value as text: quotes gone, `${VAR}` replaced, an INTERVAL as a duration such as `5s`.
    pub value: String,
    /// Where the key stands.
    pub key_span: Span,
    /// Where the value stands.
    pub value_span: Span,
}

/// `CREATE SINK [IF NOT EXISTS] name [(columns)] WITH (options) [FORMAT word] [AS query]`.
#[derive(Clone, Debug)]
pub struct CreateSink {
    /// The sink's name.
    pub name: Name,
    /// Keep an earlier relation of that name.
    pub if_not_exists: bool,
    /// Declared columns. Only physical ones.
    pub columns: Option<Columns>,
    /// The options, in order, each key once; `FORMAT word` is the option `format`.
    pub options: Vec<OptionSetting>,
    /// What feeds it; `None` when INSERT statements do.
    pub query: Option<Query>,
    /// The statement.
    pub span: Span,
}

/// `CREATE VIEW [IF NOT EXISTS] name [(columns)] AS query`.
#[derive(Clone, Debug)]
pub struct CreateView {
    /// The view's name.
    pub name: Name,
    /// Keep an earlier relation of that name.
    pub if_not_exists: bool,
    /// New names of the query's columns; empty when none are given.
    pub columns: Vec<Name>,
    /// The query.
    pub query: Query,
    /// The statement.
    pub span: Span,
}

/// `INSERT INTO name [(columns)] query`.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The target.
    pub target: Name,
    /// Target columns, in the query's order; empty when none are given.
    pub columns: Vec<Name>,
    /// The query.
    pub query: Query,
    /// The statement.
    pub span: Span,
}

/// A query with what was said about its output. Windows are in normal form (see the module).
#[derive(Clone, Debug)]
pub struct Query {
    /// The query, without EMIT and ALLOW UNBOUNDED STATE. Spans are of the whole text.
    pub body: Box<ast::Query>,
    /// `EMIT …`, if said.
    pub emit: Option<(EmitClause, Span)>,
    /// `ALLOW UNBOUNDED STATE` was said.
    pub allow_unbounded_state: bool,
    /// `OPTIONS (…)`: settings for this query alone.
    pub options: Vec<OptionSetting>,
    /// The query, with those clauses.
    pub span: Span,
}

/// When results come out, as the user said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmitClause {
    /// `EMIT CHANGES`.
    Changes,
    /// `EMIT FINAL`, `EMIT AFTER WINDOW CLOSE`, `EMIT ON WINDOW CLOSE`.
    Final,
}

/// `SET key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// What is set to what.
    pub setting: OptionSetting,
    /// The statement.
    pub span: Span,
}

/// `RESET key` or `RESET ALL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The key; `None` for all.
    pub key: Option<(String, Span)>,
    /// The statement.
    pub span: Span,
}

/// `SHOW …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Show {
    /// What to show.
    pub what: ShowWhat,
    /// The statement.
    pub span: Span,
}

/// What to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShowWhat {
    /// All relations.
    Tables,
    /// What can be read.
    Sources,
    /// What can be written.
    Sinks,
    /// Views.
    Views,
    /// Functions.
    Functions,
    /// All settings and their values: `SHOW SETTINGS`, `SHOW ALL`.
    Settings,
    /// `SHOW CREATE [kind] name`: the statement that made it.
    Create(Name),
    /// One setting.
    Setting(String, Span),
}

/// `DESCRIBE name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Describe {
    /// The relation.
    pub name: Name,
    /// The statement.
    pub span: Span,
}

/// `EXPLAIN [level] [(FORMAT f, LEVEL l)] statement`, `EXPLAIN WATERMARK statement` or `EXPLAIN PROGRESS statement`.
#[derive(Clone, Debug)]
pub struct Explain {
    /// Which plan.
    pub level: ExplainLevel,
    /// What is looked at while the query runs, instead of the plan.
    pub observe: Option<Observe>,
    /// How it is written.
    pub format: ExplainFormat,
    /// A query, INSERT, CREATE VIEW or CREATE SINK … AS.
    pub statement: Box<Statement>,
    /// The statement, EXPLAIN included.
    pub span: Span,
}

/// What EXPLAIN looks at while a query runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observe {
    /// How far the rows of its sources are out of order, and what each delay of the watermark would buy.
    Watermark,
    /// What holds its results back.
    Progress,
}

/// Which plan EXPLAIN shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExplainLevel {
    /// After name resolution.
    Logical,
    /// After the rules.
    Optimized,
    /// What runs.
    #[default]
    Physical,
}

/// How EXPLAIN writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExplainFormat {
    /// One line for each node.
    #[default]
    Text,
    /// JSON.
    Json,
}
