//! # Group
//!
//! What a process knows of the others, and what they tell each other beside timely's data: that they live, that the run is to
//! stop, why it failed, that they have done. The first failure is told to everybody, so that every process names the same one.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::deadline::Deadline;
use super::handshake::Kind;
use super::{ClusterConfig, Secret};
use crate::control::{Control, RunError, lock};
use crate::epoch::{Epoch, EpochClock};
use tidemark_connectors::io::BROKEN_PIPE;

/// How often this process looks whether it has something to tell.
const LOOK: Duration = Duration::from_millis(50);
/// Beats within the time that a peer may be silent.
const BEATS_PER_TIMEOUT: u32 = 8;
/// How long the better word on a lost peer, which travels on another connection, is waited for.
const BETTER_WORD: Duration = Duration::from_millis(500);
/// How long a process that failed waits for its peers to have heard so.
const LAST_WORD: Duration = Duration::from_millis(500);
/// How long a group that cannot form waits for those who are on their way.
const LAST_CALL: Duration = Duration::from_secs(1);
/// Bytes of a message between processes.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

const BEAT: u8 = 1;
const READY: u8 = 2;
const START: u8 = 3;
const STOP: u8 = 4;
const FAILED: u8 = 5;
const DONE: u8 = 6;
/// The workers of a process that failed have gone, and nobody waits for their frontier.
const ABANDONED: u8 = 7;

/// A process's view of its group.
pub(crate) struct Group {
    pub(super) config: ClusterConfig,
    pub(super) secret: Secret,
    pub(super) control: Arc<Control>,
    clock: Arc<EpochClock>,
    state: Mutex<State>,
    changed: Condvar,
    /// By process; written to by any thread, one message at a time.
    writers: Vec<Mutex<Option<TcpStream>>>,
    /// This process has no more to say or to hear.
    closed: AtomicBool,
}

struct State {
    peers: Vec<Peer>,
    start: Option<Epoch>,
    /// Why connections were turned away, for the message when somebody is missing.
    turned_away: u64,
}

#[derive(Default)]
struct Peer {
    claimed: [bool; 2],
    watched: bool,
    data: Option<TcpStream>,
    ready: bool,
    done: bool,
    /// The data connection has been closed by us or the peer is lost: what is written to it is of no use any more.
    broken: bool,
    /// Why it could not be reached so far.
    excuse: Option<String>,
}

impl Group {
    pub(super) fn new(config: &ClusterConfig, control: &Arc<Control>, clock: &Arc<EpochClock>) -> Arc<Self> {
        let peers = config.addresses.len();
        Arc::new(Self {
            secret: config.secret.clone().unwrap_or_else(Secret::open),
            config: config.clone(),
            control: Arc::clone(control),
            clock: Arc::clone(clock),
            state: Mutex::new(State { peers: (0..peers).map(|_| Peer::default()).collect(), start: None, turned_away: 0 }),
            changed: Condvar::new(),
            writers: (0..peers).map(|_| Mutex::new(None)).collect(),
            closed: AtomicBool::new(false),
        })
    }

    /// All processes but this one.
    pub(super) fn peers(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.config.process;
        (0..self.config.addresses.len()).filter(move |peer| *peer != own)
    }

    /// Takes a place for a connection. `None`: there is no such place.
    pub(super) fn claim(&self, peer: usize, kind: Kind) -> Option<bool> {
        if peer <= self.config.process || peer >= self.config.addresses.len() {
            return None;
        }
        let mut state = lock(&self.state);
        Some(!std::mem::replace(&mut state.peers[peer].claimed[kind as usize], true))
    }

    /// Gives a place back that was taken for a connection which came to nothing.
    pub(super) fn unclaim(&self, peer: usize, kind: Kind) {
        if let Some(peer) = lock(&self.state).peers.get_mut(peer) {
            peer.claimed[kind as usize] = false;
        }
    }

    /// A connection that passed the handshake.
    pub(super) fn join(self: &Arc<Self>, peer: usize, kind: Kind, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        match kind {
            Kind::Data => {
                stream.set_read_timeout(None)?;
                stream.set_write_timeout(None)?;
                lock(&self.state).peers[peer].data = Some(stream);
            }
            Kind::Watch => {
                stream.set_read_timeout(Some(self.config.peer_timeout))?;
                stream.set_write_timeout(Some(self.config.peer_timeout))?;
                *lock(&self.writers[peer]) = Some(stream.try_clone()?);
                let group = Arc::clone(self);
                std::thread::Builder::new().name(format!("watch process {peer}")).spawn(move || group.listen(peer, stream))?;
                lock(&self.state).peers[peer].watched = true;
            }
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Why a peer could not be reached so far.
    pub(super) fn excuse(&self, peer: usize, reason: String) {
        lock(&self.state).peers[peer].excuse = Some(reason);
    }

    /// A stranger was turned away.
    pub(super) fn turned_away(&self) {
        lock(&self.state).turned_away += 1;
    }

    /// The connections for timely's data, once all processes have all of theirs, and the group's first epoch. `None` when the
    /// run was stopped meanwhile.
    pub(super) fn assemble(&self, until: Deadline) -> Result<Option<(Vec<Option<TcpStream>>, Epoch)>, RunError> {
        let here = self.wait(until, |state| {
            self.peers().find(|peer| {
                let peer = &state.peers[*peer];
                !(peer.watched && peer.data.is_some())
            })
        })?;
        if !here {
            return Ok(None);
        }
        self.tell(READY, &[]);
        if !self.wait(until, |state| self.peers().find(|peer| !state.peers[*peer].ready))? {
            return Ok(None);
        }
        if self.config.process == 0 {
            let start = self.clock.current();
            lock(&self.state).start = Some(start);
            self.tell(START, &start.to_le_bytes());
        } else if !self.wait(until, |state| state.start.is_none().then_some(0))? {
            return Ok(None);
        }
        let state = lock(&self.state);
        // The clock of process 0, which gives the time, is right as it is.
        let start = state.start.unwrap_or_else(|| self.clock.current());
        if self.config.process != 0 {
            self.clock.start_at(start);
        }
        let cloned = state.peers.iter().map(|peer| peer.data.as_ref().map(TcpStream::try_clone).transpose()).collect::<Result<_, _>>();
        cloned
            .map(|data| Some((data, start)))
            .map_err(|error: std::io::Error| RunError::Worker(format!("the network between processes: {error}")))
    }

    /// The meeting has failed before its time: those who are on their way are let in for a moment, so that they hear why, rather
    /// than find nobody.
    pub(super) fn last_call(&self) {
        let until = Deadline::after(LAST_CALL);
        let at_fault = if let Some(RunError::Peer { process, .. }) = self.control.failure() { Some(process) } else { None };
        let mut state = lock(&self.state);
        while !until.over() && self.peers().any(|peer| Some(peer) != at_fault && !state.peers[peer].watched) {
            state = wait(&self.changed, state);
        }
    }

    /// Waits until nobody is missing. `false` when the run was stopped meanwhile.
    fn wait(&self, until: Deadline, missing: impl Fn(&State) -> Option<usize>) -> Result<bool, RunError> {
        let mut state = lock(&self.state);
        loop {
            if let Some(error) = self.control.failure() {
                return Err(error);
            }
            if self.control.stopping() {
                return Ok(false);
            }
            let Some(peer) = missing(&state) else { return Ok(true) };
            if until.over() {
                return Err(self.absent(&state, peer));
            }
            state = self.changed.wait_timeout(state, LOOK).map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
    }

    fn absent(&self, state: &State, peer: usize) -> RunError {
        let mut reason = format!("did not join within {}", seconds(self.config.wait));
        // Who only listens for the peer has not looked for its name.
        let unknown = || super::meet::resolve(&self.config.addresses[peer]).is_err().then(|| "its name is not known here".to_owned());
        if let Some(excuse) = state.peers[peer].excuse.clone().or_else(unknown) {
            reason.push_str(&format!(": {excuse}"));
        }
        if state.turned_away > 0 {
            reason.push_str(&format!("; {} turned away for not knowing the secret", connections(state.turned_away)));
        }
        self.error(peer, reason)
    }

    /// The error that names a peer.
    pub(super) fn error(&self, process: usize, reason: String) -> RunError {
        let address = self.config.addresses.get(process).cloned().unwrap_or_default();
        RunError::Peer { process, address, reason }
    }

    /// A peer will not come back. The run fails, and nobody waits for the peer's frontier.
    pub(super) fn lost(&self, peer: usize, reason: &str) {
        if self.closed.load(Ordering::SeqCst) {
            return;
        }
        self.control.fail(self.error(peer, reason.to_owned()));
        self.control.abandon();
        self.break_data(Some(peer));
        self.changed.notify_all();
    }

    /// The data connection to a peer does not work. Most often the connection on which processes watch each other knows why.
    pub(super) fn suspect(&self, peer: usize, reason: &str) {
        let until = Deadline::after(BETTER_WORD);
        while !until.over() && self.control.failure().is_none() && !self.closed.load(Ordering::SeqCst) {
            std::thread::sleep(LOOK / 10);
        }
        self.lost(peer, reason);
    }

    /// What is written to a peer's data connection would reach nobody.
    pub(super) fn broken(&self, peer: usize) -> bool {
        lock(&self.state).peers[peer].broken
    }

    /// Closes data connections, of one peer or of all: whoever reads or writes there comes back.
    fn break_data(&self, only: Option<usize>) {
        let mut state = lock(&self.state);
        for (number, peer) in state.peers.iter_mut().enumerate() {
            if only.is_none_or(|only| only == number) {
                peer.broken = true;
                if let Some(data) = &peer.data {
                    // It may be closed already.
                    let _ = data.shutdown(Shutdown::Both);
                }
            }
        }
    }

    /// Sends a message to all peers.
    fn tell(&self, kind: u8, payload: &[u8]) {
        let mut message = vec![kind];
        message.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        message.extend_from_slice(payload);
        for peer in self.peers() {
            let mut writer = lock(&self.writers[peer]);
            // Whoever listens to the peer finds out why it does not take the message.
            if writer.as_mut().is_some_and(|stream| stream.write_all(&message).is_err()) {
                *writer = None;
            }
        }
    }

    /// Beats, and tells the peers once that the run is to stop or has failed. Runs on a thread of its own until the end.
    pub(super) fn beat(&self) {
        let pause = (self.config.peer_timeout / BEATS_PER_TIMEOUT).max(LOOK);
        let mut told = (false, false);
        let mut next = Deadline::after(Duration::ZERO);
        loop {
            if next.over() {
                self.tell(BEAT, &self.clock.now().to_le_bytes());
                next = Deadline::after(pause);
            }
            if !self.tell_news(&mut told) {
                return;
            }
            let state = lock(&self.state);
            let _ = self.changed.wait_timeout(state, LOOK);
        }
    }

    fn tell_news(&self, told: &mut (bool, bool)) -> bool {
        if self.closed.load(Ordering::SeqCst) {
            return false;
        }
        match self.control.failure() {
            Some(error) if !told.1 => {
                *told = (true, true);
                self.tell_failure(&error);
            }
            None if self.control.stopping() && !told.0 => {
                told.0 = true;
                self.tell(STOP, &[]);
            }
            _ => {}
        }
        true
    }

    /// The process that is at fault, and what is said of it.
    fn tell_failure(&self, error: &RunError) {
        if matches!(error, RunError::Connector { reason, .. } if reason == BROKEN_PIPE) {
            // Whoever read this process's output has gone, which is no fault and needs no words.
            return self.tell(STOP, &[]);
        }
        let (process, reason) = match error {
            RunError::Peer { process, reason, .. } => (*process, reason.clone()),
            other => (self.config.process, format!("failed: {other}")),
        };
        let mut payload = u32::try_from(process).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        let reason = reason.as_bytes();
        payload.extend_from_slice(&reason[..reason.len().min(MESSAGE_BYTES_MAX / 2)]);
        self.tell(FAILED, &payload);
    }

    /// Listens to a peer until it has said farewell or is lost.
    fn listen(&self, peer: usize, mut stream: TcpStream) {
        loop {
            match read_message(&mut stream) {
                Ok((kind, payload)) => {
                    self.heard(peer, kind, &payload);
                    self.changed.notify_all();
                }
                Err(error) => {
                    if lock(&self.state).peers[peer].done || self.closed.load(Ordering::SeqCst) {
                        return;
                    }
                    let reason = match error.kind() {
                        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                            format!("has not answered for {}", seconds(self.config.peer_timeout))
                        }
                        ErrorKind::InvalidData => "sent what nobody understands".into(),
                        _ => "has gone: its connection was closed".into(),
                    };
                    return self.lost(peer, &reason);
                }
            }
        }
    }

    fn heard(&self, peer: usize, kind: u8, payload: &[u8]) {
        let epoch = || payload.try_into().ok().map(u64::from_le_bytes);
        match kind {
            BEAT => {
                // Process 0 gives the time: the clocks of the others follow it.
                if let Some(epoch) = epoch().filter(|_| peer == 0 && lock(&self.state).start.is_some()) {
                    self.clock.follow(epoch);
                }
            }
            READY => lock(&self.state).peers[peer].ready = true,
            START if peer == 0 => lock(&self.state).start = epoch(),
            STOP => self.control.stop(),
            FAILED => {
                if let Some((process, reason)) = payload.split_first_chunk::<4>() {
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    let process = u32::from_le_bytes(*process) as usize;
                    // What others say of this process, such as that it was silent, it cannot know better.
                    self.control.fail(self.error(process, reason));
                }
            }
            ABANDONED => self.control.abandon(),
            DONE => lock(&self.state).peers[peer].done = true,
            _ => tracing::debug!(peer, kind, "a message of an unknown kind"),
        }
    }

    /// The workers of this process have gone; `ended` closes timely's connections in order. Waits until all processes have come as
    /// far, so that all agree on how the run went.
    pub(crate) fn close(&self, ended: impl FnOnce() + Send + 'static) {
        let (done, ending) = std::sync::mpsc::channel();
        let spawned = std::thread::Builder::new().name("close connections".into()).spawn(move || {
            ended();
            let _ = done.send(());
        });
        while spawned.is_ok() && !self.control.abandoned() {
            match ending.recv_timeout(LOOK) {
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                _ => break,
            }
        }
    }

    /// Waits until every process has done its part, then says nothing more.
    pub(crate) fn part(&self) {
        let failed = self.control.failure();
        if let Some(error) = &failed {
            self.tell_failure(error);
        }
        if self.control.abandoned() {
            self.tell(ABANDONED, &[]);
        }
        self.tell(DONE, &[]);
        let until = failed.is_some().then(|| Deadline::after(LAST_WORD));
        let mut state = lock(&self.state);
        // A peer that has not come, because this process was stopped while it waited for it, has nothing to finish.
        let at_work = |state: &State| self.peers().any(|peer| state.peers[peer].watched && !state.peers[peer].done);
        while at_work(&state) && !self.control.abandoned() && until.is_none_or(|until| !until.over()) {
            state = wait(&self.changed, state);
        }
        drop(state);
        self.leave();
    }

    /// Says nothing more, and lets every thread of the group end.
    pub(super) fn leave(&self) {
        if let Some(error) = self.control.failure() {
            self.tell_failure(&error);
        }
        self.closed.store(true, Ordering::SeqCst);
        for peer in self.peers() {
            if let Some(stream) = lock(&self.writers[peer]).take() {
                let _ = stream.shutdown(Shutdown::Write);
            }
        }
        if self.control.abandoned() {
            self.break_data(None);
        }
        self.changed.notify_all();
    }
}

fn wait<'a>(changed: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0
}

fn read_message(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let length = u32::from_le_bytes(head[1..].try_into().expect("four bytes")) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok((head[0], payload))
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

fn connections(count: u64) -> String {
    if count == 1 { "1 connection was".into() } else { format!("{count} connections were") }
}
