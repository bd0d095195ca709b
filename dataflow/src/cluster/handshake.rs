//! # Handshake
//!
//! Who connects proves first that it knows the secret, so that a stranger learns nothing but that it was refused; then the other
//! side proves it too. Every message has a fixed or bounded length and a time by which it must be there. Both proofs cover all
//! that was said, nonces of both sides included, so that nothing can be replayed, reflected or changed.

use std::io::ErrorKind;
use std::net::TcpStream;

use super::deadline::Deadline;
use super::facts::{FACTS_BYTES_MAX, Facts};
use super::secret::{Proof, Secret, random_bytes};

const MAGIC: [u8; 8] = *b"tidemark";
const VERSION: u32 = 1;
const CHALLENGE_BYTES: usize = 8 + 4 + 32;
const CLAIM_BYTES: usize = 8 + 4 + 4 + 1 + 32;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Watching each other.
    Watch = 0,
    /// Timely's data.
    Data = 1,
}

/// Why there is no connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing can be said of the other side: it is not there yet, or not of this kind. Trying again may help.
    Strange(String),
    /// The other side does not know the secret.
    Secret,
    /// The other side belongs to the group and will not do; the end of a sentence that begins with it.
    Unfit(String),
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::Strange(match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => "it did not answer in time".into(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "it closed the connection".into(),
            ErrorKind::ConnectionRefused => "connection refused".into(),
            _ => error.to_string(),
        })
    }
}

const WELCOME: u8 = 0;
const WRONG_SECRET: u8 = 1;
const TAKEN: u8 = 2;
const NO_SUCH_PROCESS: u8 = 3;

/// The side that listens. `claim` takes the peer's number and kind and says whether that place is free; `None` means there is no
/// such place.
pub(super) fn accept(
    stream: &TcpStream,
    secret: &Secret,
    facts: &Facts,
    until: Deadline,
    own: usize,
    claim: impl FnOnce(usize, Kind) -> Option<bool>,
) -> Result<(usize, Kind), (Option<usize>, Refusal)> {
    let nobody = |error: std::io::Error| (None, error.into());
    let mut challenge = Vec::with_capacity(CHALLENGE_BYTES);
    challenge.extend_from_slice(&MAGIC);
    challenge.extend_from_slice(&VERSION.to_le_bytes());
    challenge.extend_from_slice(&random_bytes::<32>().map_err(nobody)?);
    until.write(stream, &challenge).map_err(nobody)?;

    let mut answer = [0; CLAIM_BYTES + 32];
    until.read(stream, &mut answer).map_err(nobody)?;
    let (said, proof) = answer.split_at(CLAIM_BYTES);
    let proof: Proof = proof.try_into().expect("32 bytes");
    let word = |at: usize| u32::from_le_bytes(said[at..at + 4].try_into().expect("four bytes"));
    if said[..8] != MAGIC {
        return Err((None, Refusal::Strange("it is no process of tidemark".into())));
    }
    let talk: [&[u8]; 2] = [&challenge, said];
    let verdict = |code: u8| {
        let mut bytes = vec![code];
        bytes.extend_from_slice(&secret.prove("acceptor", &[&challenge, said, &[code]]));
        until.write(stream, &bytes)
    };
    if word(8) != VERSION {
        return Err((None, Refusal::Strange("it is of another version of tidemark".into())));
    }
    if !secret.accepts("connector", &talk, &proof) {
        // A stranger is told that it was refused, and nothing that depends on the secret.
        let _ = until.write(stream, &[WRONG_SECRET; 33]);
        return Err((None, Refusal::Secret));
    }
    let peer = word(12) as usize;
    let kind = if said[16] == Kind::Watch as u8 { Kind::Watch } else { Kind::Data };
    let known = |error: std::io::Error| (Some(peer), error.into());
    match claim(peer, kind) {
        Some(true) => verdict(WELCOME).map_err(known)?,
        Some(false) => {
            verdict(TAKEN).map_err(known)?;
            return Err((None, Refusal::Strange(format!("it says that it is process {peer}, which has joined already"))));
        }
        None => {
            verdict(NO_SUCH_PROCESS).map_err(known)?;
            return Err((None, Refusal::Strange(format!("it says that it is process {peer}, which may not connect here"))));
        }
    }
    if kind == Kind::Watch {
        let theirs = swap_facts(stream, &secret.session(&talk), facts, until, ("acceptor facts", "connector facts"))
            .map_err(|refusal| (Some(peer), refusal))?;
        if let Some(difference) = facts.difference(own, &theirs) {
            return Err((Some(peer), Refusal::Unfit(difference)));
        }
    }
    Ok((peer, kind))
}

/// The side that connects.
pub(super) fn connect(
    stream: &TcpStream,
    secret: &Secret,
    facts: &Facts,
    until: Deadline,
    process: usize,
    kind: Kind,
) -> Result<(), Refusal> {
    let mut challenge = [0; CHALLENGE_BYTES];
    until.read(stream, &mut challenge)?;
    if challenge[..8] != MAGIC {
        return Err(Refusal::Strange("something else than tidemark answers there".into()));
    }
    if challenge[8..12] != VERSION.to_le_bytes() {
        return Err(Refusal::Unfit("does not fit: it is of another version of tidemark".into()));
    }
    let mut said = Vec::with_capacity(CLAIM_BYTES + 32);
    said.extend_from_slice(&MAGIC);
    said.extend_from_slice(&VERSION.to_le_bytes());
    said.extend_from_slice(&u32::try_from(process).unwrap_or(u32::MAX).to_le_bytes());
    said.push(kind as u8);
    said.extend_from_slice(&random_bytes::<32>()?);
    let proof = secret.prove("connector", &[&challenge, &said]);
    until.write(stream, &[&said[..], &proof].concat())?;

    let mut verdict = [0; 33];
    until.read(stream, &mut verdict)?;
    let proof: Proof = verdict[1..].try_into().expect("32 bytes");
    if !secret.accepts("acceptor", &[&challenge, &said, &verdict[..1]], &proof) {
        return Err(Refusal::Secret);
    }
    match verdict[0] {
        WELCOME => {}
        TAKEN => return Err(Refusal::Unfit(format!("has a process {process} already; is this one started twice?"))),
        _ => return Err(Refusal::Unfit(format!("knows no process {process}; do all processes have the same host file and -n?"))),
    }
    if kind == Kind::Watch {
        let session = secret.session(&[&challenge, &said]);
        let theirs = swap_facts(stream, &session, facts, until, ("connector facts", "acceptor facts"))?;
        if let Some(difference) = facts.difference(process, &theirs) {
            return Err(Refusal::Unfit(difference));
        }
    }
    Ok(())
}

/// Both sides say what they are before either judges, so that both can tell their users.
fn swap_facts(stream: &TcpStream, session: &Secret, facts: &Facts, until: Deadline, roles: (&str, &str)) -> Result<Facts, Refusal> {
    let ours = facts.to_bytes();
    let mut message = u32::try_from(ours.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    message.extend_from_slice(&ours);
    message.extend_from_slice(&session.prove(roles.0, &[&ours]));
    until.write(stream, &message)?;
    let mut length = [0; 4];
    until.read(stream, &mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    let damaged = || Refusal::Strange("what it says of itself is damaged".into());
    if length > FACTS_BYTES_MAX {
        return Err(damaged());
    }
    let mut theirs = vec![0; length + 32];
    until.read(stream, &mut theirs)?;
    let (bytes, proof) = theirs.split_at(length);
    let proof: Proof = proof.try_into().expect("32 bytes");
    if !session.accepts(roles.1, &[bytes], &proof) {
        return Err(damaged());
    }
    Facts::from_bytes(bytes).ok_or_else(damaged)
}
