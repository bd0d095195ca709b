//! Every folder of `examples/` is run as its README says, and prints what its file `expected` holds, with any number of workers.

mod support;

use support::{root, tidemark};

#[test]
fn every_example_prints_what_it_promises() {
    let mut names: Vec<String> = std::fs::read_dir(root().join("examples"))
        .expect("the folder of examples")
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 3, "{names:?}");
    for name in &names {
        let query = format!("examples/{name}/query.sql");
        let expected =
            std::fs::read_to_string(root().join(format!("examples/{name}/expected"))).unwrap_or_else(|error| panic!("{name}: {error}"));
        let readme =
            std::fs::read_to_string(root().join(format!("examples/{name}/README.md"))).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(readme.contains(&format!("run {query}")), "{name}: the README must say how to run it");
        for workers in ["1", "2", "4"] {
            let ran = tidemark(&["run", &query, "-q", "-w", workers]);
            assert_eq!(ran.code, Some(0), "{name} with {workers} workers: {ran:?}");
            assert_eq!(ran.stdout, expected, "{name} with {workers} workers");
        }
    }
}

#[test]
fn the_trades_example_counts_its_bad_and_its_late_row() {
    let ran = tidemark(&["run", "examples/trades/query.sql"]);
    assert!(ran.stderr.contains("600 rows in") || ran.stderr.contains("601 rows in"), "{}", ran.stderr);
    assert!(ran.stderr.contains("1 bad"), "{}", ran.stderr);
    assert!(ran.stderr.contains("1 row dropped: too late"), "{}", ran.stderr);
    assert!(ran.stderr.contains("bad row in trades: "), "{}", ran.stderr);
}
