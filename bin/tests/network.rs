//! A group whose processes are apart: each in a network namespace of its own, with delay and loss between them where the kernel can make
//! them, and cut off from each other; and behind relays that hold every byte back, which any machine can do.
//!
//! Where namespaces are not permitted, the tests that need them say so and check nothing.

mod support;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use support::{Ran, start, tidemark};

const GROUPED: &str = "SELECT page, count(*) AS n, count(DISTINCT visitor) AS users, sum(load_ms) AS total \
    FROM 'examples/clickstream/clicks.csv' GROUP BY page";

const ENDLESS: &str = "CREATE SOURCE bid WITH (connector = 'nexmark', shape = 'bid', \"events-per-second\" = 2000, partitions = 3); \
    CREATE SINK nowhere WITH (connector = 'blackhole') AS SELECT auction, count(*) AS n FROM bid GROUP BY auction EMIT CHANGES";

const SECRET: &str = "known to the group alone";

/// Two namespaces with a wire between them; gone when dropped.
struct Wire {
    names: [String; 2],
}

impl Wire {
    /// `None`, and a word about it, where this is not permitted.
    fn lay(test: &str) -> Option<Self> {
        let names = ["a", "b"].map(|end| format!("tm{}{test}{end}", std::process::id()));
        let wire = Self { names };
        let [a, b] = &wire.names;
        let commands = [
            format!("netns add {a}"),
            format!("netns add {b}"),
            format!("link add wire netns {a} type veth peer name wire netns {b}"),
            format!("-n {a} addr add 10.77.0.1/24 dev wire"),
            format!("-n {b} addr add 10.77.0.2/24 dev wire"),
            format!("-n {a} link set wire up"),
            format!("-n {b} link set wire up"),
        ];
        for command in commands {
            let words: Vec<&str> = command.split(' ').collect();
            if let Err(reason) = quietly("ip", &words) {
                eprintln!("skipped: `ip {command}` is not possible here: {reason}");
                return None;
            }
        }
        Some(wire)
    }

    /// What happens to packets at both ends; `None`, and a word about it, where the kernel cannot do it.
    fn disturb(&self, how: &str) -> Option<()> {
        for name in &self.names {
            let command = format!("netns exec {name} tc qdisc add dev wire root netem {how}");
            let words: Vec<&str> = command.split(' ').collect();
            if let Err(reason) = quietly("ip", &words) {
                eprintln!("skipped: netem {how} is not possible here: {reason}");
                return None;
            }
        }
        Some(())
    }

    fn cut(&self) {
        quietly("ip", &["-n", &self.names[0], "link", "set", "wire", "down"]).expect("the wire is there");
    }

    /// Starts a process of the group in its namespace.
    fn member(&self, hosts: &str, process: usize, sql: &str) -> Child {
        let number = process.to_string();
        let inner = start(&["run", "-q", "-p", &number, "-H", hosts, "--peer-timeout", "3s", "--format", "table", "-e", sql]);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[process]]).arg(inner.get_program()).args(inner.get_args());
        command.current_dir(support::root()).stdin(Stdio::null()).env("TIDEMARK_CLUSTER_SECRET", SECRET);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = quietly("ip", &["netns", "del", name]);
        }
    }
}

/// Runs a command; what it complains of, if it fails.
fn quietly(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")) }
}

fn end(mut child: Child) -> Ran {
    let began = Instant::now();
    while child.try_wait().expect("it can be watched").is_none() {
        assert!(began.elapsed() < Duration::from_secs(60) || child.kill().is_err(), "a process did not end by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ran::from(child.wait_with_output().expect("it has ended"))
}

fn same_answer(first: &Ran, second: &Ran) {
    let alone = tidemark(&["run", "-q", "-w", "1", "--format", "table", "-e", GROUPED]);
    assert_eq!((alone.code, first.code, second.code), (Some(0), Some(0), Some(0)), "{first:?} {second:?}");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(sorted(&first.stdout), sorted(&alone.stdout));
    assert_eq!(second.stdout, "");
}

fn host_file(folder: &Path, addresses: [&str; 2]) -> String {
    let path = folder.join(format!("hosts-{}.txt", addresses[0].replace([':', '.'], "-")));
    std::fs::write(&path, addresses.join("\n")).expect("a host file");
    path.display().to_string()
}

#[test]
fn delay_and_loss_change_no_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = host_file(folder.path(), ["10.77.0.1:2101", "10.77.0.2:2101"]);
    for (place, how) in ["", "delay 40ms 20ms", "loss 5%", "delay 20ms loss 2% duplicate 2% reorder 20%"].into_iter().enumerate() {
        let Some(wire) = Wire::lay(&format!("d{place}")) else { return };
        if !how.is_empty() && wire.disturb(how).is_none() {
            continue;
        }
        let members = [0, 1].map(|process| wire.member(&hosts, process, GROUPED));
        let [first, second] = members.map(end);
        same_answer(&first, &second);
    }
}

#[test]
fn a_cut_wire_ends_both_sides_with_one_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = host_file(folder.path(), ["10.77.0.1:2101", "10.77.0.2:2101"]);
    let Some(wire) = Wire::lay("c") else { return };
    let members = [0, 1].map(|process| wire.member(&hosts, process, ENDLESS));
    std::thread::sleep(Duration::from_secs(4));
    wire.cut();
    let began = Instant::now();
    let ran = members.map(end);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    for (ran, peer) in ran.iter().zip(["process 1 (10.77.0.2:2101)", "process 0 (10.77.0.1:2101)"]) {
        let errors: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("error:")).collect();
        assert!(ran.code == Some(1) && errors.len() == 1 && errors[0].contains(peer), "{peer}: {ran:?}");
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    }
}

#[test]
fn bytes_that_are_held_back_change_no_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let free = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [first, second] = free.map(|listener| listener.local_addr().expect("an address").to_string());
    // Each process is where it is, and finds the other behind a relay.
    let relays = [&first, &second].map(|behind| relay(behind.clone(), Duration::from_millis(25)));
    let hosts = [host_file(folder.path(), [&first, &relays[1]]), host_file(folder.path(), [&relays[0], &second])];
    let members = [0, 1].map(|process| {
        let (number, hosts) = (process.to_string(), hosts[process].as_str());
        let mut command = start(&["run", "-q", "-p", &number, "-H", hosts, "--format", "table", "-e", GROUPED]);
        command.env("TIDEMARK_CLUSTER_SECRET", SECRET).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    });
    let [first, second] = members.map(end);
    same_answer(&first, &second);
}

/// Listens at an address of its own and passes every connection on, each byte after a delay.
fn relay(behind: String, delay: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            // Nobody there yet: whoever came tries again.
            let Ok(far) = TcpStream::connect(&behind) else { continue };
            let ends = [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))];
            for (from, to) in ends {
                let (from, to) = (from.expect("a socket"), to.expect("a socket"));
                std::thread::spawn(move || pass_on(from, to, delay));
            }
        }
    });
    address
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    let writer = std::thread::spawn(move || {
        let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        loop {
            let Some((due, _)) = waiting.front() else {
                match receiver.recv() {
                    Ok(next) => waiting.push_back(next),
                    Err(_) => break,
                }
                continue;
            };
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let Some((_, bytes)) = waiting.pop_front() else { break };
            if to.write_all(&bytes).is_err() {
                break;
            }
            waiting.extend(receiver.try_iter());
        }
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if sender.send((Instant::now() + delay, buffer[..read].to_vec())).is_err() {
            break;
        }
    }
    drop(sender);
    let _ = writer.join();
}
