//! # Cluster
//!
//! Several processes as one timely computation. The sockets are ours, so that a stranger, a wrong build, a peer that dies, hangs
//! or comes late is an error with a name, never a panic in a thread of timely's.
//!
//! **Meeting** ([`meet`]). Every process listens at its own address and connects to those with lower numbers, twice to each: one
//! connection for timely's data, one to watch each other. Both begin with a mutual proof of the shared secret and a comparison of
//! what must be equal (build, plan, workers, partitions). When all are there, process 0 gives the first epoch.
//! **Watching** ([`group`]). Beats, the wish to stop and failures travel on the second connection. A peer that is silent for too
//! long, or goes without a farewell, is lost: the run fails, names it, and no worker waits for its frontier any more.
//! **Data** ([`stream`]). Timely reads and writes through a wrapper that never lets it see a broken socket.

mod deadline;
mod facts;
mod group;
mod handshake;
mod hosts;
mod meet;
mod network;
mod secret;
mod stream;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use hosts::{default_addresses, parse_hosts};
pub use secret::{Secret, random_bytes};

pub(crate) use facts::Facts;
pub(crate) use group::Group;
pub(crate) use meet::{Met, meet};
pub(crate) use network::{CommsGuard, join_network};

/// The place of a process in its group.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The number of this process, from 0.
    pub process: usize,
    /// Addresses of all processes, in order: `host:port`.
    pub addresses: Vec<String>,
    /// What all processes know and nobody else does. Without one, only addresses of this machine are allowed.
    pub secret: Option<Secret>,
    /// How long to wait for the others.
    pub wait: Duration,
    /// Silence after which a peer counts as lost.
    pub peer_timeout: Duration,
    /// What the program was built from: all processes must run the same.
    pub build: String,
}

impl ClusterConfig {
    /// Whether the processes may do with the secret that they have, or without one.
    ///
    /// # Errors
    /// When there is none, and an address is not of this machine alone.
    pub fn check_secret(&self) -> Result<(), String> {
        if self.secret.is_some() {
            return Ok(());
        }
        const HELP: &str =
            "so the cluster needs a secret; give all processes the same one, with --cluster-secret-file or TIDEMARK_CLUSTER_SECRET";
        for address in &self.addresses {
            match meet::resolve(address) {
                Ok(found) if found.iter().all(|found| found.ip().is_loopback()) => {}
                Ok(_) => return Err(format!("{address} is not an address of this machine alone, {HELP}")),
                Err(_) => return Err(format!("{address} is a name that is not known here, and may be of another machine, {HELP}")),
            }
        }
        Ok(())
    }
}

/// How long to wait for the others, unless told otherwise.
pub const WAIT: Duration = Duration::from_secs(60);
/// Silence after which a peer counts as lost, unless told otherwise.
pub const PEER_TIMEOUT: Duration = Duration::from_secs(5);

/// The BLAKE3 hash of what a reader gives, as text.
///
/// # Errors
/// When it cannot be read.
pub fn digest_of(reader: impl std::io::Read) -> std::io::Result<String> {
    Ok(blake3::Hasher::new().update_reader(reader)?.finalize().to_hex().to_string())
}

/// The BLAKE3 hash of some bytes, as text: what builds and programs are told apart by.
pub fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}
