//! From connections to what timely's workers are built of.

use timely::communication::allocator::ProcessBuilder;
pub(crate) use timely::communication::allocator::zero_copy::initialize::CommsGuard;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Hooks};

use super::meet::Met;
use super::stream::PeerStream;
use crate::control::RunError;

/// Builders for the workers of this process. The guard waits, when it is dropped, until all has been sent and received.
pub(crate) fn join_network(met: Met, workers: usize) -> Result<(Vec<AllocatorBuilder>, CommsGuard), RunError> {
    let Met { group, data, .. } = met;
    let hooks = Hooks::default();
    let inside = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), None);
    let streams = data.into_iter().enumerate().map(|(peer, stream)| stream.map(|stream| PeerStream::new(stream, &group, peer))).collect();
    let (builders, guard) = initialize_networking_from_sockets(inside, streams, group.config.process, workers, hooks)
        .map_err(|error| RunError::Worker(format!("the network between processes: {error}")))?;
    Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), guard))
}
