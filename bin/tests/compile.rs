//! Programs: compiled, moved, run alone and as two processes, and refused when they are damaged.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Ran, root, tidemark};

/// A program in a folder of its own, run at the repository's root.
fn run(program: &Path, args: &[&str]) -> Ran {
    command(program, args).output().map(Ran::from).expect("it starts")
}

fn command(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()).stdin(Stdio::null());
    for name in ["NO_COLOR", "TIDEMARK_LOG", "RUST_LOG", "CLICKS"] {
        command.env_remove(name);
    }
    command
}

const SQL: &str = "-- clicks of each page\nCREATE SOURCE clicks WITH (connector = 'file', path = '${CLICKS}', format = 'csv');\n\
    SELECT page, count(*) AS n FROM clicks GROUP BY page;\n";
const CLICKS: &str = "CLICKS=examples/clickstream/clicks.csv";

/// Compiles, and moves the program away from where it was made.
fn compiled(folder: &Path) -> PathBuf {
    let text = folder.join("pages.sql").display().to_string();
    std::fs::write(&text, SQL).expect("a file");
    let made = folder.join("made").display().to_string();
    let ran = tidemark(&["compile", &text, "-o", &made, "-D", CLICKS, "--format", "csv", "-w", "2"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    std::fs::remove_file(&text).expect("the statements are not needed any more");
    let moved = folder.join("elsewhere");
    std::fs::create_dir(&moved).expect("a folder");
    let moved = moved.join("pages");
    std::fs::rename(made, &moved).expect("it can be moved");
    moved
}

#[test]
fn a_program_runs_alone_and_as_two_processes() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = compiled(folder.path());
    let wanted = tidemark(&["run", "-q", "--format", "csv", "-D", CLICKS, "-e", SQL]);
    let sorted = |ran: &Ran| {
        let mut lines: Vec<String> = ran.stdout.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let ran = run(&program, &["-q"]);
    assert_eq!((ran.code, sorted(&ran)), (Some(0), sorted(&wanted)), "{ran:?}");

    let hosts = folder.path().join("hosts");
    let free: Vec<_> = (0..2).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let addresses: Vec<String> = free.iter().map(|one| one.local_addr().expect("an address").to_string()).collect();
    drop(free);
    std::fs::write(&hosts, addresses.join("\n")).expect("a host file");
    let hosts = hosts.display().to_string();
    let place = |process| ["-q", "-n", "2", "-p", process, "-H", &hosts, "-w", "1", "--format", "ndjson"];
    let second = command(&program, &place("1")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let first = run(&program, &place("0"));
    let second = Ran::from(second.wait_with_output().expect("it ends"));
    assert_eq!((first.code, second.code, second.stdout.as_str()), (Some(0), Some(0), ""), "{first:?} {second:?}");
    assert_eq!(first.stdout.lines().count(), wanted.stdout.lines().count() - 1, "{first:?}");

    // The program and the command line are one build: they may form a group.
    let text = folder.path().join("same.sql").display().to_string();
    std::fs::write(&text, SQL).expect("a file");
    let second = command(&program, &place("1")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let first = tidemark(&[&["run", text.as_str(), "-D", CLICKS], &place("0")[..]].concat());
    let second = Ran::from(second.wait_with_output().expect("it ends"));
    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{first:?} {second:?}");
}

#[test]
fn a_program_tells_what_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = compiled(folder.path());
    assert_eq!(run(&program, &["--sql"]).stdout, SQL);
    let version = run(&program, &["--version"]).stdout;
    assert!(version.starts_with("made (tidemark ") && version.contains(", build ") && version.contains(", plan "), "{version}");
    let explained = tidemark(&["explain", "-D", CLICKS, "-e", SQL]).stdout.replace("format=table", "format=csv");
    assert_eq!(run(&program, &["--explain"]).stdout, explained);
    let help = run(&program, &["--help"]).stdout;
    for option in ["--workers", "--processes", "--hostfile", "--explain", "-D"] {
        assert!(help.contains(option), "{option}: {help}");
    }
    let code = std::fs::metadata(env!("CARGO_BIN_EXE_tidemark")).expect("a binary").len();
    let size = std::fs::metadata(&program).expect("a program").len();
    assert!(size > code && size - code < 1 << 20, "{size} of {code}");
}

#[test]
fn only_variables_can_be_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = compiled(folder.path());
    let other = folder.path().join("other.csv");
    std::fs::write(&other, "at,visitor,page,country,load_ms\n2024-03-01 12:00:00,u1,/only,,1\n").expect("a file");
    let other = format!("CLICKS={}", other.display());
    let by_option = run(&program, &["-q", "-D", &other]);
    assert!(by_option.code == Some(0) && by_option.stdout.contains("/only"), "{by_option:?}");
    let by_set = run(&program, &["-q", "--set", &other, "--set", "workers=2"]);
    assert!(by_set.code == Some(0) && by_set.stdout == by_option.stdout, "{by_set:?}");
    let wrong = run(&program, &["--set", "CLIKS=x"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("setting \"CLIKS\" does not exist"), "{wrong:?}");
    let by_environment = command(&program, &["-q"]).env("CLICKS", other.split_once('=').expect("a value").1).output().map(Ran::from);
    assert!(by_environment.is_ok_and(|ran| ran.stdout.contains("/only")));
    let wrong = run(&program, &["-D", "CLIKS=x"]);
    assert_eq!((wrong.code, wrong.stderr.as_str()), (Some(2), "error: there is no ${CLIKS} in the statements; variables are CLICKS\n"));
    let wrong = tidemark(&["compile", "-e", "SELECT 1 AS a FROM 'examples/clickstream/clicks.csv'", "-D", "X=1", "-o", "/tmp/never"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("there is no ${X}"), "{wrong:?}");
}

#[test]
fn a_damaged_program_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = compiled(folder.path());
    let length = std::fs::metadata(&program).expect("a program").len();
    {
        use std::io::{Read, Seek, SeekFrom, Write};
        let mut file = std::fs::File::options().read(true).write(true).open(&program).expect("a program");
        file.seek(SeekFrom::Start(length - 100)).expect("in the payload");
        let mut byte = [0];
        file.read_exact(&mut byte).expect("a byte");
        file.seek(SeekFrom::Start(length - 100)).expect("in the payload");
        file.write_all(&[byte[0] ^ 1]).expect("written");
    }
    let ran = run(&program, &[]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("this program is damaged") && ran.stdout.is_empty(), "{ran:?}");
    // Cut short, in what it carries and in its code: it is not taken for the command line.
    for cut in [10, 100_000] {
        std::fs::File::options().write(true).open(&program).and_then(|file| file.set_len(length - cut)).expect("it can be cut");
        let ran = run(&program, &["--version"]);
        assert!(ran.code == Some(2) && ran.stderr.contains("this program is damaged") && ran.stdout.is_empty(), "{cut}: {ran:?}");
    }
}

#[test]
fn a_program_does_not_take_the_place_of_its_statements() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("q.sql");
    std::fs::write(&text, "SELECT page FROM 'examples/clickstream/clicks.csv'").expect("a file");
    let text = text.display().to_string();
    let ran = tidemark(&["compile", &text, "-o", &text]);
    assert!(ran.code == Some(2) && ran.stderr.contains("holds the statements; name another file"), "{ran:?}");
    assert!(std::fs::read_to_string(&text).is_ok_and(|text| text.starts_with("SELECT")));
    let nowhere = folder.path().join("no/such/folder").display().to_string();
    let ran = tidemark(&["compile", &text, "-o", &nowhere]);
    assert!(ran.code == Some(2) && ran.stderr.contains(&format!("cannot write {nowhere}")), "{ran:?}");
}

#[test]
fn wrong_statements_make_no_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("never");
    let ran = tidemark(&["compile", "-e", "SELECT pag FROM 'examples/clickstream/clicks.csv'", "-o", &output.display().to_string()]);
    assert!(ran.code == Some(2) && ran.stderr.contains("does not exist") && !output.exists(), "{ran:?}");
}
