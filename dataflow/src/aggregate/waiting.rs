//! Rows that came before the turn of their epoch: the frontier may let rows of later epochs in while earlier ones are open, or while an epoch's
//! results are on their way out in portions.

use std::collections::BTreeMap;

use super::KeyedBatch;

/// Rows that wait, by epoch.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    of_epoch: BTreeMap<u64, Vec<KeyedBatch>>,
    /// No rows of epochs before this one will come.
    frontier: Option<u64>,
}

impl Waiting {
    /// Whether rows of an epoch need not wait for others.
    pub(super) fn is_turn(&self, epoch: u64) -> bool {
        self.frontier == Some(epoch)
    }

    /// Keeps rows until their turn.
    ///
    /// # Panics
    /// When the frontier has passed the epoch: a fault of the operator.
    pub(super) fn push(&mut self, epoch: u64, batch: KeyedBatch) {
        assert!(self.frontier.is_none_or(|frontier| epoch >= frontier), "rows of epoch {epoch} behind the frontier");
        self.of_epoch.entry(epoch).or_default().push(batch);
    }

    /// The frontier has come to an epoch: the rows whose turn it is now. None if an epoch is closing still.
    pub(super) fn advance(&mut self, frontier: u64, closing: bool) -> Vec<KeyedBatch> {
        if self.frontier.is_some_and(|known| known >= frontier) {
            return Vec::new();
        }
        self.frontier = Some(frontier);
        if closing || self.of_epoch.keys().next() != Some(&frontier) {
            return Vec::new();
        }
        self.of_epoch.remove(&frontier).unwrap_or_default()
    }

    /// The rows of each epoch up to one, in order.
    pub(super) fn until(&mut self, epoch: u64) -> Vec<Vec<KeyedBatch>> {
        let mut epochs = Vec::new();
        while let Some(first) = self.of_epoch.first_entry().filter(|first| *first.key() <= epoch) {
            epochs.push(first.remove());
        }
        epochs
    }

    /// An epoch has closed: the rows whose turn it is now.
    pub(super) fn closed(&mut self, epoch: u64) -> Vec<KeyedBatch> {
        self.frontier = self.frontier.max(Some(epoch + 1));
        self.frontier.and_then(|frontier| self.of_epoch.remove(&frontier)).unwrap_or_default()
    }

    pub(super) fn bytes(&self) -> usize {
        self.of_epoch.values().flatten().map(KeyedBatch::bytes).sum()
    }
}
