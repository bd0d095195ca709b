//! # Data connections
//!
//! What timely reads from and writes to. Timely's network threads panic when a socket breaks; through this wrapper they never see
//! one break. What was lost is told to the group, writing goes on into nowhere, and a reader waits for the process to end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use timely::communication::allocator::zero_copy::stream::Stream;

use super::Group;

/// Bytes of the header before each of timely's messages: six words, of which the fifth is the length of what follows.
const HEADER_BYTES: usize = 48;
const LENGTH_AT: usize = 32;

/// A connection to a peer.
pub(crate) struct PeerStream {
    stream: TcpStream,
    group: Arc<Group>,
    peer: usize,
    frames: Frames,
}

impl PeerStream {
    pub(crate) fn new(stream: TcpStream, group: &Arc<Group>, peer: usize) -> Self {
        Self { stream, group: Arc::clone(group), peer, frames: Frames::default() }
    }

    /// The peer has gone without closing. There is nothing to give to timely, and nothing that could be said to it: the thread
    /// waits until the process ends, which the group sees to.
    fn lost(&self, reason: &str) -> ! {
        self.group.suspect(self.peer, reason);
        loop {
            std::thread::park();
        }
    }
}

impl Read for PeerStream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) if self.frames.closed => return Ok(0),
                Ok(0) => self.lost("has gone: its connection was closed"),
                Ok(count) => {
                    self.frames.see(&buffer[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // All was said before.
                Err(_) if self.frames.closed => return Ok(0),
                Err(error) => self.lost(&format!("cannot be heard any more: {error}")),
            }
        }
    }
}

impl Write for PeerStream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.stream.write(bytes) {
            Ok(count) if count > 0 || bytes.is_empty() => Ok(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            failed => {
                if !self.group.broken(self.peer) {
                    let reason = failed.err().map_or_else(|| "the connection is closed".into(), |error| error.to_string());
                    self.group.suspect(self.peer, &format!("cannot be reached any more: {reason}"));
                }
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Stream for PeerStream {
    fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self::new(self.stream.try_clone()?, &self.group, self.peer))
    }

    fn set_nonblocking(&self, nonblocking: bool) -> std::io::Result<()> {
        self.stream.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> std::io::Result<()> {
        // The other end may have gone already.
        let _ = self.stream.shutdown(how);
        Ok(())
    }
}

/// Follows timely's messages as they pass, to know whether the last one was its farewell: a header without a body.
#[derive(Default)]
struct Frames {
    header: Vec<u8>,
    /// Bytes of the present message's body that are still to come.
    body: u64,
    closed: bool,
}

impl Frames {
    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.body > 0 {
                let skipped = bytes.len().min(usize::try_from(self.body).unwrap_or(usize::MAX));
                self.body -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            let (head, rest) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.header.len()));
            self.header.extend_from_slice(head);
            bytes = rest;
            if self.header.len() == HEADER_BYTES {
                self.body = u64::from_be_bytes(self.header[LENGTH_AT..LENGTH_AT + 8].try_into().expect("eight bytes"));
                self.closed = self.body == 0;
                self.header.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timely::communication::networking::MessageHeader;

    fn message(length: usize) -> Vec<u8> {
        let header = MessageHeader { channel: 1, source: 2, target_lower: 3, target_upper: 4, length, seqno: 5 };
        let mut bytes = Vec::new();
        header.write_to(&mut bytes).unwrap();
        bytes.extend(std::iter::repeat_n(0, length));
        bytes
    }

    #[test]
    fn a_farewell_is_told_from_an_end_in_the_middle() {
        let talk = [message(5), message(100), message(1)].concat();
        let whole = [&talk[..], &message(0)].concat();
        for piece in [1, 7, 48, 53, 1000] {
            let mut frames = Frames::default();
            talk.chunks(piece).for_each(|bytes| frames.see(bytes));
            assert!(!frames.closed, "{piece}");
            let mut frames = Frames::default();
            whole.chunks(piece).for_each(|bytes| frames.see(bytes));
            assert!(frames.closed, "{piece}");
        }
    }
}
