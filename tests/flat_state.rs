//! State that is bounded by time stays flat, however long the streams are.
//!
//! The same over ten million rows of each stream: `cargo test --release --test flat_state -- --ignored`, or with figures
//! `cargo bench --bench operators -- --flat 10000000`.

use tidemark_testing::flat::{BOUNDED_BY_TIME, held_by_tenths};

fn check(rows: u64) {
    for (name, query) in BOUNDED_BY_TIME {
        let held = held_by_tenths(query, rows, 2);
        // How much is held moves as batches are merged; what was forgotten would be several times what is held.
        let (first, last) = (held[1..4].iter().max().expect("some"), held[7..].iter().max().expect("some"));
        assert!(*first > 0, "{name} holds something: {held:?}");
        assert!(*last < 2 * first, "{name}: state grows: {held:?}");
    }
}

#[test]
fn state_bounded_by_time_stays_flat() {
    check(300_000);
}

#[test]
#[ignore = "takes minutes"]
fn state_bounded_by_time_stays_flat_over_ten_million_rows() {
    check(10_000_000);
}
