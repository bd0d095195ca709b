//! Golden texts: every file of `tests/sql` runs with 1, 2 and 4 workers and must give its changes. `UPDATE_EXPECT=1` rewrites them
//! (then read the difference), `TIDEMARK_TEST=name` picks files.

use std::path::Path;

#[test]
fn golden_texts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql");
    let wanted = std::env::var("TIDEMARK_TEST").unwrap_or_default();
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "test") && path.to_string_lossy().contains(&wanted))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no file is named like \"{wanted}\"");
    let failures: Vec<String> = paths.iter().flat_map(|path| tidemark_testing::script::check_file(path)).collect();
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n\n"));
}
