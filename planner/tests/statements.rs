//! Golden statements: what is right and how it is understood (`right/`), what is wrong and what is said about it (`wrong/`).
//! `UPDATE_EXPECT=1 cargo test -p tidemark-planner --test statements` writes the expected texts; read the diff.

mod common;

use common::{draw, golden, render, sql_files, variables};
use tidemark_planner::parse::parse;

#[test]
fn right_statements_are_understood() {
    let mut equal = true;
    for path in sql_files("right") {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let actual = match parse(&text, &variables) {
            Ok(statements) => statements.iter().map(|statement| render(&text, statement)).collect::<String>(),
            Err(errors) => {
                let drawn: String = errors.iter().map(|error| draw(&text, error)).collect();
                panic!("{} should be right:\n{drawn}", path.display())
            }
        };
        equal &= golden(&path, &actual);
    }
    assert!(equal, "see the differences above");
}

#[test]
fn wrong_statements_say_what_and_where() {
    let mut equal = true;
    for path in sql_files("wrong") {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let actual = match parse(&text, &variables) {
            Ok(statements) => panic!("{} should be wrong, but was read as {statements:?}", path.display()),
            Err(errors) => errors.iter().map(|error| draw(&text, error)).collect::<Vec<_>>().join("\n"),
        };
        equal &= golden(&path, &actual);
    }
    assert!(equal, "see the differences above");
}
