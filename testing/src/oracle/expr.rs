//! Expressions over one row, with SQL's three-valued logic.

use crate::value::{Row, Value};

/// A type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// BOOLEAN.
    Bool,
    /// BIGINT.
    Int,
    /// DOUBLE.
    Float,
    /// DECIMAL(p, s).
    Decimal(u8, i8),
    /// VARCHAR.
    Text,
    /// TIMESTAMP.
    Time,
    /// A list, which expressions leave alone.
    List,
}

/// A binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `+` of integers.
    Add,
    /// `-` of integers.
    Sub,
    /// `*` of integers.
    Mul,
    /// `%` of integers, by a divisor that is not 0; the sign is the dividend's.
    Mod,
    /// `=`.
    Eq,
    /// `<>`.
    Ne,
    /// `<`.
    Lt,
    /// `<=`.
    Le,
    /// `AND`.
    And,
    /// `OR`.
    Or,
    /// `||` of texts.
    Concat,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A column of the input.
    Column(usize),
    /// A constant of a type.
    Literal(Value, Type),
    /// Two operands.
    Binary(Op, Box<Expr>, Box<Expr>),
    /// `NOT`.
    Not(Box<Expr>),
    /// `IS NULL`.
    IsNull(Box<Expr>),
    /// `CASE WHEN a THEN b ELSE c END`.
    Case(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `COALESCE(a, b)`.
    Coalesce(Box<Expr>, Box<Expr>),
    /// `upper(a)`.
    Upper(Box<Expr>),
    /// `character_length(a)`.
    Length(Box<Expr>),
}

impl Expr {
    /// The value for a row.
    ///
    /// # Panics
    /// When the expression is not well typed: a fault of the generator.
    pub fn eval(&self, row: &Row) -> Value {
        match self {
            Self::Column(index) => row[*index].clone(),
            Self::Literal(value, _) => value.clone(),
            Self::Not(inner) => match inner.eval(row) {
                Value::Bool(value) => Value::Bool(!value),
                _ => Value::Null,
            },
            Self::IsNull(inner) => Value::Bool(inner.eval(row).is_null()),
            Self::Case(when, then, other) => {
                if when.eval(row) == Value::Bool(true) {
                    then.eval(row)
                } else {
                    other.eval(row)
                }
            }
            Self::Coalesce(a, b) => {
                let first = a.eval(row);
                if first.is_null() { b.eval(row) } else { first }
            }
            Self::Upper(inner) => match inner.eval(row) {
                Value::Text(text) => Value::Text(text.to_uppercase()),
                _ => Value::Null,
            },
            Self::Length(inner) => match inner.eval(row) {
                Value::Text(text) => Value::Int(text.chars().count() as i128),
                _ => Value::Null,
            },
            Self::Binary(op, a, b) => binary(*op, &a.eval(row), &b.eval(row)),
        }
    }

    /// Its type over columns of some types.
    pub fn ty(&self, columns: &[Type]) -> Type {
        match self {
            Self::Column(index) => columns[*index],
            Self::Literal(_, ty) => *ty,
            Self::Not(_) | Self::IsNull(_) => Type::Bool,
            Self::Case(_, then, _) => then.ty(columns),
            Self::Coalesce(a, _) => a.ty(columns),
            Self::Upper(_) => Type::Text,
            Self::Length(_) => Type::Int,
            Self::Binary(op, ..) => match op {
                Op::Add | Op::Sub | Op::Mul | Op::Mod => Type::Int,
                Op::Concat => Type::Text,
                Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::And | Op::Or => Type::Bool,
            },
        }
    }
}

fn binary(op: Op, a: &Value, b: &Value) -> Value {
    match op {
        // False wins over NULL in AND, true wins in OR.
        Op::And => match (a, b) {
            (Value::Bool(false), _) | (_, Value::Bool(false)) => return Value::Bool(false),
            (Value::Bool(true), Value::Bool(true)) => return Value::Bool(true),
            _ => return Value::Null,
        },
        Op::Or => match (a, b) {
            (Value::Bool(true), _) | (_, Value::Bool(true)) => return Value::Bool(true),
            (Value::Bool(false), Value::Bool(false)) => return Value::Bool(false),
            _ => return Value::Null,
        },
        _ => {}
    }
    if a.is_null() || b.is_null() {
        return Value::Null;
    }
    match (op, a, b) {
        (Op::Add, Value::Int(a), Value::Int(b)) => Value::Int(a + b),
        (Op::Sub, Value::Int(a), Value::Int(b)) => Value::Int(a - b),
        (Op::Mul, Value::Int(a), Value::Int(b)) => Value::Int(a * b),
        (Op::Mod, Value::Int(a), Value::Int(b)) => Value::Int(a % b),
        (Op::Concat, Value::Text(a), Value::Text(b)) => Value::Text(format!("{a}{b}")),
        (Op::Eq, a, b) => Value::Bool(a == b),
        (Op::Ne, a, b) => Value::Bool(a != b),
        (Op::Lt, a, b) => Value::Bool(a < b),
        (Op::Le, a, b) => Value::Bool(a <= b),
        _ => panic!("the generator made {a} {op:?} {b}"),
    }
}
