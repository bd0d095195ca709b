//! # The oracle
//!
//! A batch database of loops over vectors, for a small model of queries that also prints itself as SQL. Written from the
//! definitions in the book and sharing no code with the engine, so that a fault would have to be made twice to go unseen.

mod aggregate;
mod expr;
mod generate;
mod relation;
mod row_windows;
mod session;
mod sql;
mod triggers;
mod window;

pub use aggregate::{Aggregate, Function};
pub use expr::{Expr, Op, Type};
pub use generate::{COLUMNS, Case, Generator, Partition, Source, Step, windowed};
pub use relation::{GroupBy, Input, InputRow, Relation, evaluate};
pub use row_windows::RowWindows;
pub use session::{Session, sessions};
pub use sql::{Nesting, Statement, statement};
pub use triggers::{Happening, When};
pub use window::{Shape, Spelling, Window};
