//! Starting the binary, at the repository's root, and keeping what it said.
#![allow(dead_code, reason = "each test file uses its share")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What a process did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".."))
}

/// A command that runs the binary, with an empty standard input and a plain environment.
pub(crate) fn start(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemark"));
    command.args(args).current_dir(root()).stdin(Stdio::null());
    for name in ["NO_COLOR", "TIDEMARK_LOG", "RUST_LOG", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
}

/// Runs the binary to its end.
pub(crate) fn tidemark(args: &[&str]) -> Ran {
    start(args).output().map(Ran::from).unwrap_or_else(|error| panic!("cannot start the binary: {error}"))
}

/// Runs the binary to its end with something to read.
pub(crate) fn tidemark_with_input(args: &[&str], input: &str) -> Ran {
    let mut child = start(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start the binary: {error}"));
    let mut stdin = child.stdin.take().unwrap_or_else(|| panic!("standard input is piped"));
    let input = input.to_owned();
    // On a thread: a child that fails early does not read, and one that writes much must be read meanwhile.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("cannot wait for the binary: {error}"));
    writer.join().unwrap_or_else(|_| panic!("the writer ends"));
    Ran::from(output)
}
