//! # The half of an aggregate behind the exchange
//!
//! Keeps the groups that one worker owns. The shell hands it what arrives, with its epoch, and closes epochs in order.

use std::sync::Arc;

use tidemark_planner::plan::Emit;

use super::changes::ChangesStore;
use super::final_windows::FinalStore;
use super::keyed_batch::KeyedBatch;
use super::late::LateRows;
use super::layout::AggregateLayout;
use super::limited::LimitReport;
use super::output::Output;
use super::row_windows::RowWindowStore;
use super::session_store::SessionStore;
use super::sliding::SlidingStore;
use super::triggered::TriggeredStore;

/// Groups of one worker.
#[derive(Debug)]
pub struct Store {
    kind: Kind,
    closed: Option<u64>,
}

#[derive(Debug)]
enum Kind {
    Final(Box<FinalStore>),
    Changes(Box<ChangesStore>),
    Sessions(Box<SessionStore>),
    Triggered(Box<TriggeredStore>),
    Sliding(Box<SlidingStore>),
    Rows(Box<RowWindowStore>),
}

impl Store {
    /// An empty store. `owns_empty` says that this worker is the one that owns the one group of an aggregate without keys
    /// ([`super::global_owner`]), whose result exists even over no rows.
    pub fn new(layout: Arc<AggregateLayout>, owns_empty: bool) -> Self {
        Self::among(layout, owns_empty, 1)
    }

    /// The same on one of some workers, who share what limits allow.
    pub fn among(layout: Arc<AggregateLayout>, owns_empty: bool, workers: usize) -> Self {
        let kind = match layout.emit {
            _ if layout.session_gap().is_some() => Kind::Sessions(Box::new(SessionStore::new(layout, workers))),
            _ if layout.slides() => Kind::Sliding(Box::new(SlidingStore::new(layout))),
            _ if layout.counts_rows() => Kind::Rows(Box::new(RowWindowStore::new(layout, workers))),
            Emit::Final if layout.stays_open() => Kind::Changes(Box::new(ChangesStore::new(layout, owns_empty, workers))),
            Emit::Final => Kind::Final(Box::new(FinalStore::new(layout, owns_empty))),
            Emit::Triggered => Kind::Triggered(Box::new(TriggeredStore::new(layout, workers))),
            Emit::Changes => Kind::Changes(Box::new(ChangesStore::new(layout, owns_empty, workers))),
        };
        Self { kind, closed: None }
    }

    /// Takes rows of an epoch that is not closed.
    ///
    /// # Panics
    /// If the epoch is closed, or a row counts for a window that has come out: lateness was judged wrongly.
    pub fn absorb(&mut self, epoch: u64, batch: KeyedBatch) {
        assert!(self.closed.is_none_or(|closed| epoch > closed), "rows of epoch {epoch}, which is closed");
        if batch.is_empty() {
            return;
        }
        match &mut self.kind {
            Kind::Final(store) => store.absorb(&batch),
            Kind::Changes(store) => store.absorb(epoch, batch),
            Kind::Sessions(store) => store.absorb(epoch, batch),
            Kind::Triggered(store) => store.absorb(epoch, batch),
            Kind::Sliding(store) => store.absorb(epoch, batch),
            Kind::Rows(store) => store.absorb(epoch, batch),
        }
    }

    /// Says that all epochs before this one are closed, or will not be since they have no rows: rows of this one need not wait for
    /// its closing. Optional; the epoch after one that was closed is known anyway.
    pub fn advance(&mut self, frontier: u64) {
        match &mut self.kind {
            Kind::Final(_) | Kind::Triggered(_) | Kind::Rows(_) => {}
            Kind::Changes(store) => store.advance(frontier),
            Kind::Sessions(store) => store.advance(frontier),
            Kind::Sliding(store) => store.advance(frontier),
        }
    }

    /// Closes an epoch with its watermark: all rows of it and of those before have come. Call again while [`Output::more`].
    /// `i64::MAX` ends the input: everything comes out.
    ///
    /// # Panics
    /// If a later epoch is closed already.
    pub fn close(&mut self, epoch: u64, watermark: i64) -> Output {
        assert!(self.closed.is_none_or(|closed| epoch > closed), "epoch {epoch} is closed");
        let output = match &mut self.kind {
            Kind::Final(store) => store.close(watermark),
            Kind::Changes(store) => store.close(epoch, watermark),
            Kind::Sessions(store) => store.close(epoch, watermark),
            Kind::Triggered(store) => store.close(epoch, watermark),
            Kind::Sliding(store) => store.close(epoch, watermark),
            Kind::Rows(store) => store.close(epoch, watermark),
        };
        if !output.more {
            self.closed = Some(epoch);
        }
        output
    }

    /// Rows that turned out too late only here, since this was asked last: whether a late row belongs to a session is known where the
    /// session is.
    pub fn take_too_late(&mut self) -> LateRows {
        match &mut self.kind {
            Kind::Final(_) | Kind::Changes(_) | Kind::Triggered(_) | Kind::Sliding(_) | Kind::Rows(_) => LateRows::default(),
            Kind::Sessions(store) => store.take_too_late(),
        }
    }

    /// All groups that have something new shall come out when an epoch closes, where a trigger says when groups do.
    pub fn flush(&mut self, epoch: u64) {
        match &mut self.kind {
            Kind::Final(_) | Kind::Changes(_) | Kind::Sliding(_) | Kind::Rows(_) => {}
            Kind::Sessions(store) => store.flush(epoch),
            Kind::Triggered(store) => store.flush(epoch),
        }
    }

    /// The next epoch that must be closed for a trigger or a limit of processing time, even if no rows come in it.
    pub fn next_tick(&self) -> Option<u64> {
        match &self.kind {
            Kind::Final(_) | Kind::Sliding(_) => None,
            Kind::Changes(store) => store.next_due(),
            Kind::Rows(store) => store.next_due(),
            Kind::Sessions(store) => store.next_tick(),
            Kind::Triggered(store) => store.next_tick(),
        }
    }

    /// What limits have done since this was asked last.
    pub fn take_limit_report(&mut self) -> Option<LimitReport> {
        match &mut self.kind {
            Kind::Changes(store) => store.take_limit_report(),
            Kind::Rows(store) => store.take_limit_report(),
            Kind::Sessions(store) => store.take_limit_report(),
            Kind::Triggered(store) => store.take_limit_report(),
            // Windows under limits are kept one by one.
            Kind::Final(_) | Kind::Sliding(_) => None,
        }
    }

    /// The next epoch at which a window of processing time ends, where a trigger tells of it.
    pub fn next_end(&self) -> Option<u64> {
        match &self.kind {
            Kind::Final(_) | Kind::Changes(_) | Kind::Sliding(_) | Kind::Rows(_) => None,
            Kind::Sessions(store) => store.next_end(),
            Kind::Triggered(store) => store.next_end(),
        }
    }

    /// Number of groups kept: of each pane or window its own.
    pub fn groups(&self) -> usize {
        match &self.kind {
            Kind::Final(store) => store.groups(),
            Kind::Changes(store) => store.groups(),
            Kind::Sessions(store) => store.groups(),
            Kind::Triggered(store) => store.groups(),
            Kind::Sliding(store) => store.groups(),
            Kind::Rows(store) => store.groups(),
        }
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Final(store) => store.bytes(),
            Kind::Changes(store) => store.bytes(),
            Kind::Sessions(store) => store.bytes(),
            Kind::Triggered(store) => store.bytes(),
            Kind::Sliding(store) => store.bytes(),
            Kind::Rows(store) => store.bytes(),
        }
    }
}
