//! Late rows, by the book: random arrivals under every strategy, compared change by change with an oracle of time alone.
//!
//! `TIDEMARK_CASES` sets how many, `TIDEMARK_SEED` where they start.

use tidemark_testing::late::{case, search};

#[test]
fn late_rows_are_handled_by_the_book() {
    search(400, case);
}
