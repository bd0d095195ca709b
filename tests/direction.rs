//! Which crate may know what: dependencies point one way, planner <- connectors <- dataflow <- bin, and each file says its idea.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const CRATES: [&str; 4] = ["planner", "connectors", "dataflow", "bin"];

/// What each crate must not depend on, as a whole name or a prefix that ends in `*`.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    (
        "planner",
        &[
            "tidemark-*",
            "timely*",
            "differential*",
            "parquet",
            "nexmark",
            "clap*",
            "indicatif",
            "comfy-table",
            "ctrlc",
            "tokio",
            "rdkafka",
            "crossbeam*",
            "tracing-subscriber",
            "glob",
        ],
    ),
    (
        "connectors",
        &[
            "tidemark-dataflow",
            "tidemark-cli",
            "timely*",
            "differential*",
            "clap*",
            "indicatif",
            "comfy-table",
            "ctrlc",
            "tracing-subscriber",
        ],
    ),
    (
        "dataflow",
        &[
            "tidemark-cli",
            "clap*",
            "indicatif",
            "comfy-table",
            "ctrlc",
            "rdkafka",
            "parquet",
            "arrow-csv",
            "arrow-json",
            "nexmark",
            "datafusion-sql",
            "datafusion-optimizer",
            "sqlparser",
            "tracing-subscriber",
        ],
    ),
    // The command line starts a run; it builds no operators.
    ("bin", &["timely*", "differential*", "datafusion*", "sqlparser", "arrow-row", "rdkafka"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names under `[dependencies]` (also of a target or with a table of their own); `[dev-dependencies]` may be anything.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let section = section.trim();
            let plain = if section.starts_with("target.") { section.rsplit_once('.').map_or(section, |(_, last)| last) } else { section };
            inside = plain == "dependencies" || plain == "build-dependencies";
            if let Some(name) = section.split_once("dependencies.").filter(|(before, _)| !before.ends_with("dev-")).map(|(_, name)| name) {
                names.insert(name.to_owned());
            }
        } else if inside
            && !line.starts_with('#')
            && let Some((name, _)) = line.split_once('=')
        {
            names.insert(name.trim().trim_end_matches(".workspace").trim_matches('"').to_owned());
        }
    }
    names
}

fn matches(name: &str, pattern: &str) -> bool {
    pattern.strip_suffix('*').map_or(name == pattern, |prefix| name.starts_with(prefix))
}

/// The names among `dependencies` that a crate must not have.
fn offences(folder: &str, dependencies: &BTreeSet<String>) -> Vec<String> {
    FORBIDDEN
        .iter()
        .filter(|(name, _)| *name == folder)
        .flat_map(|(_, patterns)| patterns.iter())
        .flat_map(|pattern| {
            dependencies.iter().filter(|name| matches(name, pattern)).map(move |name| format!("{folder} depends on {name}"))
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let mut wrong = Vec::new();
    for folder in CRATES {
        let path = root().join(folder).join("Cargo.toml");
        let manifest = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let dependencies = dependencies(&manifest);
        assert!(!dependencies.is_empty(), "{folder}: no dependency was found, so the test reads the manifest wrongly");
        wrong.extend(offences(folder, &dependencies));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_check_itself_sees_every_way_to_depend() {
    let manifest = "[dependencies]\ntimely.workspace = true\n\"clap\" = \"4\"\n[dev-dependencies]\nparquet = \"1\"\n\
        [dependencies.rdkafka]\nversion = \"1\"\n[target.'cfg(unix)'.dependencies]\nctrlc = \"3\"\n[dev-dependencies.tokio]\nversion = \"1\"\n";
    let found: Vec<String> = dependencies(manifest).into_iter().collect();
    assert_eq!(found, ["clap", "ctrlc", "rdkafka", "timely"]);
    assert_eq!(offences("planner", &dependencies(manifest)).len(), 4);
    assert_eq!(offences("connectors", &dependencies(manifest)).len(), 3);
    assert!(offences("planner", &BTreeSet::from(["arrow".to_owned(), "tidemark".to_owned()])).is_empty());
}

/// `bin/` is checked from outside: nothing may depend on it, and no code of the libraries may print or end the process.
#[test]
fn only_the_command_line_prints_and_exits() {
    let mut wrong = Vec::new();
    for folder in ["planner", "connectors", "dataflow"] {
        for file in rust_files(&root().join(folder).join("src")) {
            let of_tests = |part: &std::ffi::OsStr| part.to_string_lossy().trim_end_matches(".rs").ends_with("tests");
            if file.iter().any(of_tests) {
                continue;
            }
            let text = read(&file);
            // Tests at the end of a file may print.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (number, line) in code.lines().enumerate() {
                let line = line.trim_start();
                let forbidden = ["println!(", "eprintln!(", "process::exit("];
                if !line.starts_with("//") && forbidden.iter().any(|word| line.contains(word)) {
                    wrong.push(format!("{}:{}: {line}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_says_its_idea_first() {
    let mut files = 0;
    let mut wrong = Vec::new();
    for folder in ["planner", "connectors", "dataflow", "bin", "tests", "benches"] {
        for file in rust_files(&root().join(folder)) {
            files += 1;
            if !read(&file).starts_with("//!") {
                wrong.push(file.display().to_string());
            }
        }
    }
    assert!(files > 20, "only {files} files were found, so the test looks in the wrong place");
    assert!(wrong.is_empty(), "these files do not open with `//!`: {wrong:#?}");
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// All Rust files below a folder, which may be absent.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
