//! The files in `slt/`: each query's final collection is what the file says.
//!
//! `UPDATE_EXPECT=1` has SQLite fill in the answers of the files it can run (those not named `*.own.slt`, which hold what SQLite lacks and
//! were worked out by hand).

use std::path::PathBuf;

use tidemark_conformance::slt::{Sqlite, Tables, Tidemark};

fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("slt");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder of tests").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn files_say_what_comes_out() {
    let mut failures = Vec::new();
    for file in files() {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if std::env::var_os("UPDATE_EXPECT").is_some() && !name.ends_with(".own.slt") {
            let mut runner = sqllogictest::Runner::new(|| async { Ok(Sqlite(Tables::new()?)) });
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime
                .block_on(runner.update_test_file(
                    &file,
                    " ",
                    sqllogictest::default_validator,
                    sqllogictest::default_normalizer,
                    sqllogictest::default_column_validator,
                ))
                .expect("SQLite answers");
        }
        // Each record on its own, so that one failure does not hide the others.
        let mut runner = sqllogictest::Runner::new(|| async { Ok(Tidemark(Tables::new()?)) });
        for record in sqllogictest::parse_file(&file).expect("a file of the format") {
            if let Err(error) = runner.run(record) {
                failures.push(format!("{name}: {error}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
}
