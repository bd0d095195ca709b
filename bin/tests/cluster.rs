//! Several processes as one: real processes on this machine, what they print, and what happens when one of them dies, hangs,
//! differs or never comes.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use support::{Ran, start, tidemark};

/// Addresses that were free a moment ago.
fn hosts(folder: &std::path::Path, processes: usize) -> (String, Vec<String>) {
    let listeners: Vec<TcpListener> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let addresses: Vec<String> = listeners.iter().map(|listener| listener.local_addr().expect("an address").to_string()).collect();
    let path = folder.join("hosts.txt");
    std::fs::write(&path, addresses.join("\n")).expect("a host file");
    (path.display().to_string(), addresses)
}

/// Starts one process of a group.
fn member(hosts: &str, processes: usize, process: usize, more: &[&str]) -> Child {
    let (processes, process) = (processes.to_string(), process.to_string());
    let place = ["-n", &processes, "-p", &process, "-H", hosts, "--peer-timeout", "3s"];
    start(&[&["run"], &place[..], more].concat()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

/// Waits until a process listens.
fn listening(address: &str) {
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(began.elapsed() < Duration::from_secs(30), "it listens");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a process, for a limited time.
fn end(mut child: Child) -> Ran {
    let began = Instant::now();
    while child.try_wait().expect("it can be watched").is_none() {
        if began.elapsed() > Duration::from_secs(60) {
            child.kill().expect("it can be ended");
            let ran = Ran::from(child.wait_with_output().expect("it ends"));
            panic!("a process did not end by itself: {ran:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ran::from(child.wait_with_output().expect("it has ended"))
}

fn signal(child: &Child, signal: &str) {
    let status = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs");
    assert!(status.success(), "the process was still alive");
}

/// Waits until a process prints, and reads all it prints from then on, so that its pipe is never full.
fn printing(member: &mut Child) -> std::thread::JoinHandle<String> {
    let mut printed = member.stdout.take().expect("a pipe");
    let mut first = [0; 1000];
    printed.read_exact(&mut first).expect("it prints");
    std::thread::spawn(move || {
        let mut text = String::from_utf8(first.to_vec()).expect("text");
        printed.read_to_string(&mut text).map(|_| text).expect("text")
    })
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

const GROUPED: &str = "SELECT page, count(*) AS n, count(DISTINCT visitor) AS users, sum(load_ms) AS total \
    FROM 'examples/clickstream/clicks.csv' GROUP BY page";

const ENDLESS: &str = "CREATE SOURCE bid WITH (connector = 'nexmark', shape = 'bid', \"events-per-second\" = 2000, partitions = 3); \
    SELECT auction, count(*) AS n FROM bid GROUP BY auction EMIT CHANGES";

#[test]
fn any_shape_of_a_group_gives_the_same_answer() {
    let alone = tidemark(&["run", "-q", "-w", "1", "--format", "table", "-e", GROUPED]);
    assert_eq!(alone.code, Some(0), "{alone:?}");
    for (processes, workers) in [(1, 4), (2, 2), (4, 1)] {
        let (n, w) = (processes.to_string(), workers.to_string());
        let ran = tidemark(&["cluster", "-q", "-n", &n, "-w", &w, "--format", "table", "-e", GROUPED]);
        assert_eq!((ran.code, sorted(&ran.stdout)), (Some(0), sorted(&alone.stdout)), "{processes}x{workers}: {ran:?}");
    }
}

#[test]
fn partitions_are_divided_and_rows_come_out_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for part in 0..5 {
        let lines: String = (0..200).map(|row| format!("{{\"k\": {}, \"v\": {row}}}\n", row % 7)).collect();
        std::fs::write(folder.path().join(format!("part-{part}.ndjson")), lines).expect("a file");
    }
    let path = folder.path().join("part-*.ndjson").display().to_string();
    let sql = format!(
        "CREATE SOURCE t (k BIGINT, v BIGINT) WITH (connector = 'file', path = '{path}', format = 'json'); SELECT k, v FROM t; SELECT k, sum(v) AS s FROM t GROUP BY k"
    );
    let alone = tidemark(&["run", "-q", "-w", "1", "--format", "csv", "-e", &sql]);
    let both = tidemark(&["cluster", "-n", "2", "-w", "2", "--format", "csv", "-e", &sql]);
    assert_eq!((alone.code, both.code), (Some(0), Some(0)), "{alone:?} {both:?}");
    let inserted = |text: &str| text.lines().filter(|line| !line.contains("-1")).count();
    assert!(inserted(&both.stdout) >= 1000, "{both:?}");
    let plain = "SELECT k, v FROM t";
    let only = |n: &str| {
        let sql = sql.split(plain).next().expect("the source").to_owned() + plain;
        let ran = tidemark(&["cluster", "-n", n, "-q", "--format", "ndjson", "-e", &sql]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let mut values: Vec<String> =
            ran.stdout.lines().map(|line| line.split("\"k\"").nth(1).unwrap_or_else(|| panic!("{line}")).to_owned()).collect();
        values.sort_unstable();
        values
    };
    assert_eq!(only("3"), only("1"));
    // What the group did is told once.
    assert!(both.stderr.starts_with("finished in ") && both.stderr.contains(" on 4 workers in 2 processes: 1,000 rows in"), "{both:?}");
    assert_eq!(both.stderr.matches("finished in").count(), 1, "{both:?}");
    // Each process read its share: 3 files of 5 in one, 2 in the other.
    let (hosts, _) = hosts(folder.path(), 2);
    let members: Vec<Child> = (0..2).map(|process| member(&hosts, 2, process, &["-e", &sql])).collect();
    let mut shares: Vec<&str> = Vec::new();
    let ran: Vec<Ran> = members.into_iter().map(end).collect();
    for ran in &ran {
        shares.extend(["600 rows in", "400 rows in"].into_iter().filter(|share| ran.stderr.contains(share)));
    }
    shares.sort_unstable();
    assert_eq!(shares, ["400 rows in", "600 rows in"], "{ran:?}");
}

/// The processes of `tidemark cluster` speak with one voice.
#[test]
fn a_supervised_group_tells_once_what_it_did_and_what_failed() {
    let ran = tidemark(&["cluster", "-n", "3", "--report", "json", "--format", "csv", "-e", GROUPED]);
    let summary: serde_json::Value = serde_json::from_str(&ran.stderr).expect("one object");
    let facts = [
        &summary["outcome"],
        &summary["workers"],
        &summary["processes"],
        &summary["sources"][0]["rows"],
        &summary["operators"][0]["groups"],
    ];
    assert_eq!(
        (ran.code, facts.map(ToString::to_string)),
        (Some(0), ["\"finished\"", "3", "3", "1200", "6"].map(str::to_owned)),
        "{ran:?}"
    );
    assert_eq!(summary["sources"][0]["partition_reports"].as_array().map(Vec::len), Some(1));

    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.ndjson"), "{\"a\": 1}\n").expect("a file");
    std::fs::write(folder.path().join("b.ndjson"), "{\"a\": 2}\n{\"a\": oops}\n").expect("a file");
    let path = folder.path().join("*.ndjson").display().to_string();
    let sql = format!("CREATE SOURCE t (a BIGINT) WITH (connector = 'file', path = '{path}', format = 'json'); SELECT sum(a) AS s FROM t");
    let ran = tidemark(&["cluster", "-n", "3", "-e", &sql]);
    one_clear_message(&ran, &["[0] error: bad row in source \"t\"", "b.ndjson"]);
    assert!(ran.stderr.contains("[0]   the record: ") && ran.stderr.matches("failed after").count() == 1, "{ran:?}");
}

/// Starts a supervised group that goes on for ever, and waits until it prints.
fn supervised() -> (Child, std::thread::JoinHandle<String>) {
    let args = ["cluster", "-n", "3", "--peer-timeout", "3s", "--format", "ndjson", "-e", ENDLESS];
    let mut child = start(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let printed = printing(&mut child);
    (child, printed)
}

/// A process of a supervised group, by the number of its place.
fn started_by(supervisor: &Child, place: usize) -> String {
    let pid = supervisor.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("Linux tells");
    children.split_whitespace().nth(place).expect("it was started").to_owned()
}

#[test]
fn an_interrupted_supervisor_drains_its_group_and_reports() {
    let (child, printed) = supervised();
    signal(&child, "-INT");
    let mut ran = end(child);
    ran.stdout = printed.join().expect("it was read");
    assert!(ran.code == Some(130) && ran.stdout.ends_with("}\n"), "{:?} {}", ran.code, ran.stderr);
    let lines = ran.stdout.lines().count();
    assert!(ran.stderr.starts_with("stopped after ") && ran.stderr.contains(" on 3 workers in 3 processes: "), "{}", ran.stderr);
    // Nothing was printed that the summary does not count.
    let counted = ran.stderr.lines().find(|line| line.contains("sink stdout")).expect("a line").replace(',', "");
    assert!(counted.contains(&format!(" {lines} changes")), "{lines}: {counted}");
}

#[test]
fn a_supervisor_names_the_process_that_was_killed_or_hangs() {
    for (harm, needle) in [("-KILL", "process 1 was ended from outside: signal: 9"), ("-STOP", "process 1 (127.0.0.1:")] {
        let (child, printed) = supervised();
        let victim = started_by(&child, 1);
        assert!(std::process::Command::new("kill").args([harm, &victim]).status().is_ok_and(|status| status.success()));
        let began = Instant::now();
        let ran = end(child);
        assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
        printed.join().expect("it was read");
        one_clear_message(&ran, &[needle]);
        assert!(!std::path::Path::new(&format!("/proc/{victim}")).exists(), "nobody is left behind");
    }
}

/// In one file by process 0, in order, or in a file of each process: the rows are those of one worker.
#[test]
fn files_hold_the_same_rows_in_any_shape() {
    let folder = tempfile::tempdir().expect("a folder");
    for part in 0..4 {
        let lines: String = (0..300).map(|row| format!("{},{row}\n", row % 11)).collect();
        std::fs::write(folder.path().join(format!("in-{part}.csv")), format!("k,v\n{lines}")).expect("a file");
    }
    let path = |name: &str| folder.path().join(name).display().to_string();
    let sql = |per_process: bool, out: &str| {
        format!(
            "CREATE SOURCE t (k BIGINT, v BIGINT) WITH (connector = 'file', path = '{}'); \
             CREATE SINK out WITH (connector = 'file', path = '{}', \"per-process\" = '{per_process}') AS SELECT k, v * 2 AS w FROM t WHERE v > 7",
            path("in-*.csv"),
            path(out)
        )
    };
    let mut expected: Option<Vec<String>> = None;
    for (processes, workers) in [(1_usize, "1"), (1, "4"), (2, "2"), (4, "1")] {
        for per_process in [false, true] {
            let name = format!("out{processes}{workers}.csv");
            let statements = sql(per_process, &name);
            let ran = match processes {
                1 => tidemark(&["run", "-q", "-w", workers, "-e", &statements]),
                _ => tidemark(&["cluster", "-q", "-n", &processes.to_string(), "-w", workers, "-e", &statements]),
            };
            assert_eq!(ran.code, Some(0), "{ran:?}");
            let stem = name.trim_end_matches(".csv");
            let files = if per_process { (0..processes).map(|it| format!("{stem}-{it}.csv")).collect() } else { vec![name.clone()] };
            let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(path(file)).expect("written")).collect();
            assert!(texts.iter().all(|text| text.starts_with("k,w\n") && text.lines().count() > 1), "{texts:?}");
            let mut rows: Vec<String> = texts.iter().flat_map(|text| text.lines().skip(1).map(str::to_owned)).collect();
            rows.sort_unstable();
            assert_eq!(&rows, expected.get_or_insert_with(|| rows.clone()), "{processes}x{workers}, per process: {per_process}");
            assert_eq!(rows.len(), 4 * 292);
        }
    }
    let counts =
        sql(true, "n.csv").replace("SELECT k, v * 2 AS w FROM t WHERE v > 7", "SELECT k, count(*) AS n FROM t GROUP BY k EMIT CHANGES");
    let refused = tidemark(&["run", "-e", &counts]);
    assert!(refused.code == Some(2) && refused.stderr.contains("is for rows that are only added"), "{refused:?}");
}

#[test]
fn an_interrupt_of_one_ends_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hosts, _) = hosts(folder.path(), 3);
    let mut members: Vec<Child> = (0..3).map(|process| member(&hosts, 3, process, &["--format", "ndjson", "-e", ENDLESS])).collect();
    let printed = printing(&mut members[0]);
    signal(&members[1], "-INT");
    let began = Instant::now();
    let mut ran: Vec<Ran> = members.into_iter().map(end).collect();
    ran[0].stdout = printed.join().expect("it was read");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(ran.iter().map(|ran| ran.code).collect::<Vec<_>>(), [Some(0), Some(130), Some(0)], "{ran:?}");
    for ran in &ran {
        assert!(ran.stderr.contains("stopped after "), "{}", ran.stderr);
    }
    assert!(ran[0].stdout.lines().count() > 10 && ran[0].stdout.ends_with('\n'), "{}", ran[0].stdout.lines().count());
    assert_eq!((ran[1].stdout.as_str(), ran[2].stdout.as_str()), ("", ""));
}

/// Runs three processes, does something to one, and returns how the others ended.
fn survivors(harm: impl Fn(&mut Child), victim: usize) -> Vec<Ran> {
    let folder = tempfile::tempdir().expect("a folder");
    let (hosts, _) = hosts(folder.path(), 3);
    let mut members: Vec<Child> = (0..3).map(|process| member(&hosts, 3, process, &["--format", "ndjson", "-e", ENDLESS])).collect();
    let printed = printing(&mut members[0]);
    let mut victim = members.remove(victim);
    harm(&mut victim);
    let began = Instant::now();
    let ran: Vec<Ran> = members.into_iter().map(end).collect();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let _ = victim.kill();
    let _ = victim.wait();
    printed.join().expect("it was read");
    ran
}

fn one_clear_message(ran: &Ran, needles: &[&str]) {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let errors: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("error:")).collect();
    assert_eq!(errors.len(), 1, "{ran:?}");
    needles.iter().for_each(|needle| assert!(errors[0].contains(needle), "{needle}: {}", ran.stderr));
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

#[test]
fn a_killed_process_is_named_and_ends_the_group() {
    for victim in [0, 2] {
        for ran in survivors(|child| child.kill().expect("it was alive"), victim) {
            one_clear_message(&ran, &[&format!("process {victim} (127.0.0.1:"), "has gone"]);
        }
    }
}

#[test]
fn a_hung_process_is_named_and_ends_the_group() {
    for ran in survivors(|child| signal(child, "-STOP"), 1) {
        one_clear_message(&ran, &["process 1 (127.0.0.1:", "has not answered for 3 s"]);
    }
}

#[test]
fn a_failure_of_one_is_told_by_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hosts, _) = hosts(folder.path(), 2);
    std::fs::write(folder.path().join("a.ndjson"), "{\"a\": 1}\n").expect("a file");
    std::fs::write(folder.path().join("b.ndjson"), "{\"a\": 2}\n{\"a\": oops}\n").expect("a file");
    let path = folder.path().join("*.ndjson").display().to_string();
    let sql = format!("CREATE SOURCE t (a BIGINT) WITH (connector = 'file', path = '{path}', format = 'json'); SELECT sum(a) AS s FROM t");
    let members: Vec<Child> = (0..2).map(|process| member(&hosts, 2, process, &["-e", &sql])).collect();
    let ran: Vec<Ran> = members.into_iter().map(end).collect();
    // The second process reads the file, and the first, where all errors come to, does what the policy says.
    one_clear_message(&ran[0], &["bad row in source \"t\"", "b.ndjson"]);
    one_clear_message(&ran[1], &["process 0 (127.0.0.1:", "failed: bad row in source \"t\""]);
}

#[test]
fn another_plan_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hosts, _) = hosts(folder.path(), 2);
    let out = folder.path().join("out.csv").display().to_string();
    let sql = |more: &str| {
        format!(
            "CREATE SINK s WITH (connector = 'file', path = '{out}', format = 'csv') AS SELECT page FROM 'examples/clickstream/clicks.csv'{more}"
        )
    };
    let members = [member(&hosts, 2, 0, &["-e", &sql("")]), member(&hosts, 2, 1, &["-e", &sql(" WHERE page = '/cart'")])];
    for (own, child) in members.into_iter().enumerate() {
        let other = format!("process {} (127.0.0.1:", 1 - own);
        one_clear_message(&end(child), &[&other, "its plan fingerprint is"]);
    }
    assert!(!std::path::Path::new(&out).exists());
}

#[test]
fn a_late_process_is_waited_for_until_the_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hosts, addresses) = hosts(folder.path(), 2);
    let sql = "SELECT count(*) AS n FROM 'examples/clickstream/clicks.csv'";
    let first = member(&hosts, 2, 0, &["-q", "-e", sql]);
    std::thread::sleep(Duration::from_secs(2));
    let second = member(&hosts, 2, 1, &["-q", "-e", sql]);
    let (first, second) = (end(first), end(second));
    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{first:?} {second:?}");
    assert!(first.stdout.contains("1200"), "{first:?}");
    let alone = end(member(&hosts, 2, 1, &["--wait", "1s", "-e", sql]));
    one_clear_message(&alone, &[&format!("process 0 ({})", addresses[0]), "did not join within 1 s"]);
}

/// Also while nobody has come yet: there is nothing to drain.
#[test]
fn a_process_that_waits_for_others_can_be_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hosts, addresses) = hosts(folder.path(), 3);
    let child = member(&hosts, 3, 0, &["--format", "ndjson", "-e", ENDLESS]);
    listening(&addresses[0]);
    signal(&child, "-TERM");
    let began = Instant::now();
    let ran = end(child);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(ran.code == Some(130) && ran.stderr.contains("stopped after "), "{ran:?}");
}

#[test]
fn strangers_are_turned_away_and_harm_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hosts, addresses) = hosts(folder.path(), 2);
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "known to the group alone\n").expect("a file");
    let secret = secret.display().to_string();
    let sql = "SELECT count(*) AS n FROM 'examples/clickstream/clicks.csv'";
    let first = member(&hosts, 2, 0, &["-q", "--cluster-secret-file", &secret, "-e", sql]);
    listening(&addresses[0]);
    let mut held = Vec::new();
    for attempt in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        if let Ok(mut stream) = TcpStream::connect(&addresses[0]) {
            if attempt % 2 == 0 {
                let _ = stream.write_all(&[b'G'; 300]);
            }
            held.push(stream);
        }
    }
    assert!(!held.is_empty());
    // A process without the secret is told so.
    let stranger = end(member(&hosts, 2, 1, &["-e", sql]));
    one_clear_message(&stranger, &[&format!("process 0 ({})", addresses[0]), "it has another secret, or none"]);
    let second = member(&hosts, 2, 1, &["-q", "--cluster-secret-file", &secret, "-e", sql]);
    let (first, second) = (end(first), end(second));
    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{first:?} {second:?}");
    assert!(first.stdout.contains("1200"), "{first:?}");
    assert!(first.stderr.contains("does not know the cluster's secret"), "{first:?}");
}

#[test]
fn wrong_places_are_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a host file");
        path.display().to_string()
    };
    let remote = file("remote", "127.0.0.1:2101\n192.0.2.1:2101\n");
    let unknown = file("unknown", "127.0.0.1:2101\nnowhere.invalid:2101\n");
    let wrong = file("wrong", "# both\n::1:2102\n");
    for (options, needle) in [
        (vec!["-n", "4"], "Add -p with a number from 0 to 3"),
        (vec!["-n", "2", "-p", "2"], "there is no process 2 among 2"),
        (vec!["-n", "2", "-p", "0", "-H", "no/such/file"], "cannot read no/such/file"),
        (vec!["-n", "2", "-p", "0", "--cluster-secret-file", "no/such/file"], "cannot read no/such/file"),
        (vec!["-n", "2", "-p", "0", "--cluster-secret-file", "/dev/null"], "at least 16 characters, this one has 0"),
        (vec!["-p", "0", "-H", &remote], "192.0.2.1:2101 is not an address of this machine alone, so the cluster needs a secret"),
        (vec!["-p", "0", "-H", &unknown], "nowhere.invalid:2101 is a name that is not known here"),
        (vec!["-p", "0", "-H", &wrong], ": line 2: \"::1:2102\" is no address; write an IPv6 address in brackets"),
        (vec!["-n", "2", "-p", "0", "--record", "no/such/log"], "a group of processes keeps no log of ticks yet"),
    ] {
        let ran = tidemark(&[&["run", "-e", "SELECT page FROM 'examples/clickstream/clicks.csv'"], &options[..]].concat());
        assert!(ran.code == Some(2) && ran.stderr.contains(needle), "{ran:?}");
    }
    let ran = tidemark(&["cluster", "-"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("all processes must read the statements"), "{ran:?}");
    for (options, needle) in [
        (vec!["no/such/file.sql"], "cannot read no/such/file.sql"),
        (vec!["--record", "no/such/log", "-e", GROUPED], "keeps no log of ticks"),
    ] {
        let ran = tidemark(&[&["cluster"], &options[..]].concat());
        assert!(ran.code == Some(2) && ran.stderr.contains(needle), "{ran:?}");
    }
    let ran = tidemark(&["cluster", "-n", "2", "-e", "SELECT pag FROM 'examples/clickstream/clicks.csv'"]);
    assert!(ran.code == Some(2) && ran.stderr.matches("does not exist").count() == 1, "{ran:?}");
}
