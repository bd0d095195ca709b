//! A moment by which something must have happened. The only clock of the cluster: networks need one, results never do.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// Some time from now.
    pub(super) fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// Time left.
    pub(super) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// It has passed.
    pub(super) fn over(self) -> bool {
        self.left().is_zero()
    }

    /// Reads exactly as many bytes, however slowly they trickle, or fails at the deadline.
    pub(super) fn read(self, mut stream: &TcpStream, buffer: &mut [u8]) -> Result<()> {
        let mut have = 0;
        while have < buffer.len() {
            stream.set_read_timeout(Some(self.left().max(Duration::from_millis(1))))?;
            match stream.read(&mut buffer[have..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => have += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.over() && have < buffer.len() {
                return Err(Error::from(ErrorKind::TimedOut));
            }
        }
        Ok(())
    }

    /// Writes all bytes, or fails at the deadline.
    pub(super) fn write(self, mut stream: &TcpStream, bytes: &[u8]) -> Result<()> {
        stream.set_write_timeout(Some(self.left().max(Duration::from_millis(1))))?;
        stream.write_all(bytes)
    }
}
