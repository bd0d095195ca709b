//! Triggers, with late rows, strategies and windows of every kind, by the book: random arrivals compared change by change with an oracle of
//! time alone. `TIDEMARK_CASES` sets how many, `TIDEMARK_SEED` where they start.

use tidemark_testing::late::{search, triggered};

#[test]
fn firings_are_those_of_the_definition() {
    search(300, triggered);
}
