//! # Meeting
//!
//! Listens at the process's own address, reaches the processes with lower numbers, and waits for the rest, for a limited time.
//! Strangers are turned away at little cost: they get a few seconds, a few at a time.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::deadline::Deadline;
use super::handshake::{self, Kind, Refusal};
use super::{ClusterConfig, Facts, Group};
use crate::control::{Control, RunError};
use crate::epoch::{Epoch, EpochClock};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Pause between attempts, and between looks at the listener.
const PAUSE: Duration = Duration::from_millis(20);
/// Connections in their handshake at once; more are closed at sight.
const STRANGERS_MAX: usize = 64;

/// A process among its peers.
pub(crate) struct Met {
    pub(crate) group: Arc<Group>,
    /// Connections for timely's data, by process.
    pub(crate) data: Vec<Option<TcpStream>>,
    /// The group's first epoch. A clock may have gone on when it is asked: other processes may be at work already.
    pub(crate) start: Epoch,
}

/// Meets the other processes. `None` when the run was stopped meanwhile.
pub(crate) fn meet(config: &ClusterConfig, facts: Facts, control: &Arc<Control>, clock: &Arc<EpochClock>) -> Result<Option<Met>, RunError> {
    let group = Group::new(config, control, clock);
    let until = Deadline::after(config.wait);
    let over = Arc::new(Over(AtomicBool::new(false)));
    let outcome = listen(&group, until).and_then(|listener| {
        let facts = Arc::new(facts);
        spawn("beat", &group, &facts, &over, |group, _, _| group.beat())?;
        if let Some(listener) = listener {
            spawn("listen", &group, &facts, &over, move |group, facts, over| admit(group, facts, over, &listener))?;
        }
        for peer in 0..config.process {
            spawn("reach", &group, &facts, &over, move |group, facts, over| reach(group, facts, over, peer, until))?;
        }
        group.assemble(until)
    });
    if let Err(error) = &outcome
        && !until.over()
    {
        control.fail(error.clone());
        group.last_call();
    }
    over.0.store(true, Ordering::SeqCst);
    match outcome {
        Ok(Some((data, start))) => Ok(Some(Met { group, data, start })),
        Ok(None) => {
            group.part();
            Ok(None)
        }
        Err(error) => {
            control.fail(error.clone());
            control.abandon();
            group.leave();
            // The first failure, which may be another than the one met last.
            Err(control.failure().unwrap_or(error))
        }
    }
}

/// The meeting is over: whoever still tries stops.
struct Over(AtomicBool);

impl Over {
    fn is(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

fn spawn(
    name: &str,
    group: &Arc<Group>,
    facts: &Arc<Facts>,
    over: &Arc<Over>,
    work: impl FnOnce(&Arc<Group>, &Arc<Facts>, &Arc<Over>) + Send + 'static,
) -> Result<(), RunError> {
    let (group, facts, over) = (Arc::clone(group), Arc::clone(facts), Arc::clone(over));
    let spawned = std::thread::Builder::new().name(format!("cluster {name}")).spawn(move || work(&group, &facts, &over));
    spawned.map(|_| ()).map_err(|error| RunError::Worker(format!("cannot start a thread: {error}")))
}

/// Listens at this process's address, if somebody will connect to it. Its name may be unknown for a while, as names of containers
/// are.
fn listen(group: &Group, until: Deadline) -> Result<Option<TcpListener>, RunError> {
    let config = &group.config;
    let own = &config.addresses[config.process];
    let refused = |reason: String| RunError::Connector { what: format!("cannot listen at {own}"), reason };
    config.check_secret().map_err(RunError::Worker)?;
    if config.process + 1 == config.addresses.len() {
        return Ok(None);
    }
    loop {
        let bound = resolve(own).and_then(|found| TcpListener::bind(&found[..]));
        match bound {
            Ok(listener) => {
                listener.set_nonblocking(true).map_err(|error| refused(error.to_string()))?;
                return Ok(Some(listener));
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                return Err(refused(format!("the address is in use; does process {} run already?", config.process)));
            }
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
                return Err(refused("it is no address of this machine; do -p and the host file fit?".into()));
            }
            Err(error) if until.over() || error.kind() == ErrorKind::PermissionDenied => return Err(refused(error.to_string())),
            Err(_) if group.control.stopping() => return Ok(None),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

pub(super) fn resolve(address: &str) -> std::io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    if found.is_empty() { Err(std::io::Error::new(ErrorKind::NotFound, "the name is not known")) } else { Ok(found) }
}

/// Lets peers in until the meeting is over.
fn admit(group: &Arc<Group>, facts: &Arc<Facts>, over: &Arc<Over>, listener: &TcpListener) {
    let strangers = Arc::new(AtomicUsize::new(0));
    while !over.is() {
        let Ok((stream, from)) = listener.accept() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        if strangers.load(Ordering::SeqCst) >= STRANGERS_MAX {
            tracing::warn!(%from, "a connection was closed at sight: too many strangers at once");
            continue;
        }
        strangers.fetch_add(1, Ordering::SeqCst);
        let count = Arc::clone(&strangers);
        let greeted = spawn("greet", group, facts, over, move |group, facts, over| {
            greet(group, facts, over, stream, from);
            count.fetch_sub(1, Ordering::SeqCst);
        });
        if greeted.is_err() {
            strangers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn greet(group: &Arc<Group>, facts: &Facts, over: &Over, stream: TcpStream, from: SocketAddr) {
    let mut claimed = None;
    // Connections that are taken from a listener that does not block may themselves not block, on some systems.
    let blocking = stream.set_nonblocking(false).and_then(|()| stream.set_nodelay(true)).map_err(|error| (None, error.into()));
    let outcome = blocking.and_then(|()| {
        handshake::accept(&stream, &group.secret, facts, Deadline::after(HANDSHAKE), group.config.process, |peer, kind| {
            let free = group.claim(peer, kind);
            claimed = free.filter(|free| *free).map(|_| (peer, kind));
            free
        })
    });
    match outcome {
        Ok((peer, kind)) => {
            if !over.is()
                && let Err(error) = group.join(peer, kind, stream)
            {
                group.lost(peer, &format!("cannot be talked to: {error}"));
            }
        }
        Err((Some(peer), Refusal::Unfit(difference))) => group.lost(peer, &difference),
        Err((_, refusal)) => {
            if let Some((peer, kind)) = claimed {
                group.unclaim(peer, kind);
            }
            let reason = match refusal {
                Refusal::Secret => {
                    group.turned_away();
                    "it does not know the cluster's secret".into()
                }
                Refusal::Strange(reason) | Refusal::Unfit(reason) => reason,
            };
            tracing::warn!(%from, reason, "a connection was refused");
        }
    }
}

/// Connects to a peer, as often as it takes.
fn reach(group: &Arc<Group>, facts: &Facts, over: &Over, peer: usize, until: Deadline) {
    for kind in [Kind::Watch, Kind::Data] {
        loop {
            if over.is() || until.over() {
                return;
            }
            let attempt = dial(&group.config.addresses[peer], until).map_err(Refusal::from).and_then(|stream| {
                handshake::connect(&stream, &group.secret, facts, Deadline::after(HANDSHAKE), group.config.process, kind)?;
                group.join(peer, kind, stream)?;
                Ok(())
            });
            match attempt {
                Ok(()) => break,
                Err(Refusal::Strange(reason)) => group.excuse(peer, reason),
                Err(Refusal::Secret) => {
                    return group.lost(peer, "refused this process: it has another secret, or none");
                }
                Err(Refusal::Unfit(difference)) => return group.lost(peer, &difference),
            }
            std::thread::sleep(PAUSE * 5);
        }
    }
}

fn dial(address: &str, until: Deadline) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(ErrorKind::NotFound, "the name is not known");
    for found in resolve(address)? {
        match TcpStream::connect_timeout(&found, until.left().clamp(Duration::from_millis(10), HANDSHAKE)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
