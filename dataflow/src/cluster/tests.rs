//! Handshakes over real sockets: who is let in, who is not, and that nobody can hold a process up.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::deadline::Deadline;
use super::handshake::{Kind, Refusal, accept, connect};
use super::{ClusterConfig, Facts, Met, Secret, meet};
use crate::control::{Control, RunError};
use crate::epoch::EpochClock;

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes()).unwrap()
}

fn facts(plan: &str) -> Facts {
    let mut facts = Facts::default();
    facts.add("build", "1");
    facts.add("plan fingerprint", plan);
    facts
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

/// A handshake of process 1 with process 0: what each side makes of it.
#[allow(clippy::type_complexity, reason = "both ends at once")]
fn shake(theirs: (&Secret, &Facts), ours: (&Secret, &Facts)) -> (Result<(usize, Kind), (Option<usize>, Refusal)>, Result<(), Refusal>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let accepted = scope.spawn(|| {
            let (stream, _) = listener.accept().unwrap();
            accept(&stream, ours.0, ours.1, soon(), 0, |peer, _| (peer == 1).then_some(true))
        });
        let stream = TcpStream::connect(address).unwrap();
        let connected = connect(&stream, theirs.0, theirs.1, soon(), 1, Kind::Watch);
        drop(stream);
        (accepted.join().unwrap(), connected)
    })
}

#[test]
fn processes_of_one_group_know_each_other() {
    let (key, same) = (secret("a secret of the group"), facts("aa"));
    assert_eq!(shake((&key, &same), (&key, &same)), (Ok((1, Kind::Watch)), Ok(())));
}

#[test]
fn a_wrong_secret_is_refused_on_both_sides() {
    let (key, other, same) = (secret("a secret of the group"), secret("a secret of strangers"), facts("aa"));
    assert_eq!(shake((&other, &same), (&key, &same)), (Err((None, Refusal::Secret)), Err(Refusal::Secret)));
    assert_eq!(shake((&Secret::open(), &same), (&key, &same)).0, Err((None, Refusal::Secret)));
}

#[test]
fn another_plan_is_named_on_both_sides() {
    let key = secret("a secret of the group");
    let (accepted, connected) = shake((&key, &facts("bb")), (&key, &facts("aa")));
    let said = |theirs: &str, own: usize, ours: &str| {
        Refusal::Unfit(format!("does not fit: its plan fingerprint is {theirs}, that of process {own} is {ours}"))
    };
    assert_eq!(accepted, Err((Some(1), said("bb", 0, "aa"))));
    assert_eq!(connected, Err(said("aa", 1, "bb")));
}

#[test]
fn garbage_silence_and_trickles_end_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let greet = |send: &(dyn Fn(TcpStream) + Sync)| {
        let began = Instant::now();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(move || send(TcpStream::connect(address).unwrap()));
            let (stream, _) = listener.accept().unwrap();
            let until = Deadline::after(Duration::from_millis(300));
            accept(&stream, &secret("a secret of the group"), &facts("aa"), until, 0, |_, _| panic!("nobody is let in"))
        });
        assert!(outcome.is_err());
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    };
    greet(&|mut stream| drop(stream.write_all(&[b'x'; 4096])));
    greet(&drop);
    greet(&|mut stream| drop(stream.read(&mut [0; 100]).and_then(|_| stream.read(&mut [0; 100]))));
    greet(&|mut stream| {
        for _ in 0..30 {
            std::thread::sleep(Duration::from_millis(20));
            if stream.write_all(b"t").is_err() {
                return;
            }
        }
    });
}

fn group(processes: usize, wait: Duration) -> Vec<ClusterConfig> {
    let listeners: Vec<TcpListener> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<String> = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    let config = |process| ClusterConfig {
        process,
        addresses: addresses.clone(),
        secret: Some(secret("a secret of the group")),
        wait,
        peer_timeout: Duration::from_secs(2),
        build: String::new(),
    };
    (0..processes).map(config).collect()
}

fn meet_all(configs: &[ClusterConfig], facts_of: impl Fn(usize) -> Facts + Sync) -> Vec<Result<(Option<Met>, Arc<EpochClock>), RunError>> {
    std::thread::scope(|scope| {
        let meeting: Vec<_> = configs
            .iter()
            .map(|config| {
                let facts_of = &facts_of;
                scope.spawn(move || {
                    let clock = Arc::new(EpochClock::system());
                    meet(config, facts_of(config.process), &Control::new(), &clock).map(|met| (met, clock))
                })
            })
            .collect();
        meeting.into_iter().map(|meeting| meeting.join().unwrap()).collect()
    })
}

#[test]
fn three_processes_meet_and_begin_at_one_epoch() {
    let met = meet_all(&group(3, Duration::from_secs(20)), |_| facts("aa"));
    let met: Vec<_> = met.into_iter().map(|met| met.expect("they meet")).collect();
    for (own, (met, clock)) in met.iter().enumerate() {
        let data = &met.as_ref().expect("nobody stopped").data;
        for (peer, stream) in data.iter().enumerate() {
            assert_eq!(stream.is_some(), peer != own);
        }
        assert!(clock.now().abs_diff(met.as_ref().map_or(0, |_| clock.now())) < 1_000_000);
    }
    let starts: Vec<u64> = met.iter().map(|(_, clock)| clock.current()).collect();
    assert!(starts.iter().all(|start| *start == starts[0]), "{starts:?}");
    for (met, _) in met {
        met.expect("nobody stopped").group.leave();
    }
}

#[test]
fn who_differs_is_named_by_all() {
    let outcomes = meet_all(&group(3, Duration::from_secs(20)), |process| facts(if process == 1 { "bb" } else { "aa" }));
    for (own, outcome) in outcomes.into_iter().enumerate() {
        let error = outcome.err().expect("they do not fit").to_string();
        if own != 1 {
            assert!(error.starts_with("process 1 (127.0.0.1:"), "{own}: {error}");
        }
        assert!(error.contains("does not fit: its plan fingerprint is "), "{own}: {error}");
    }
}

#[test]
fn a_process_that_does_not_come_is_named() {
    let configs = group(3, Duration::from_millis(700));
    let outcomes = meet_all(&configs[..2], |_| facts("aa"));
    for outcome in outcomes {
        let error = outcome.err().expect("somebody is missing").to_string();
        assert!(error.starts_with("process 2 (127.0.0.1:") && error.contains("did not join within 0.7 s"), "{error}");
    }
}

#[test]
fn addresses_of_other_machines_need_a_secret() {
    let mut config = group(2, Duration::from_secs(1)).remove(0);
    config.secret = None;
    config.addresses[1] = "192.0.2.1:2101".into();
    let error = meet(&config, facts("aa"), &Control::new(), &Arc::new(EpochClock::system())).err().expect("refused").to_string();
    assert!(error.contains("needs a secret"), "{error}");
}
