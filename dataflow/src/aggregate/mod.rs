//! # Aggregate
//!
//! **Meaning.** For each key and window, the aggregates over the admitted rows whose event time falls in the window; without a window,
//! over all rows. Equal to the batch `GROUP BY`. Without aggregates: DISTINCT.
//! **Time.** Rows are judged where they are, each by its own watermark ([`admit`](admit::admit)), before the exchange ([`LocalHalf`]).
//! Behind it ([`Store`]), when the watermark of a closed epoch reaches a window's exclusive end, EMIT FINAL puts the window out and forgets
//! it; EMIT CHANGES puts out each epoch's net change as the epoch closes, and forgets a window when the watermark reaches its end
//! plus the allowed lateness. EMIT FINAL with an allowed lateness puts a window out when the watermark reaches its end and each epoch's
//! corrections after that, and forgets it likewise.
//! **State.** One state per key and pane (FINAL, and windows that overlap much) or window (CHANGES) that is alive; see [`panes`].
//! **Changelog.** In: any. Out: append-only under FINAL without lateness, else retract.
//! **Errors.** A row that cannot be evaluated is handed back with a reason; a result that does not exist (a sum that overflows) is an
//! error of its group, taken back when the result exists again or the group is gone.
//!
//! Plain Rust: timely is met in [`exchange`] only.

pub mod admit;
mod changes;
pub mod exchange;
mod final_windows;
mod fired;
mod firings;
pub mod keyed_batch;
pub mod late;
pub mod layout;
#[cfg(test)]
mod limit_tests;
#[cfg(test)]
mod limit_trigger_tests;
pub mod limited;
pub mod local_half;
mod output;
mod pane_blocks;
pub mod panes;
#[cfg(test)]
mod property_tests;
mod row_windows;
mod session;
mod session_deadlines;
mod session_instants;
#[cfg(test)]
mod session_limit_tests;
mod session_limits;
mod session_store;
#[cfg(test)]
mod session_tests;
mod session_triggers;
mod sessions;
mod sliding;
#[cfg(test)]
mod speed_tests;
mod store;
#[cfg(test)]
mod test_accumulators;
#[cfg(test)]
mod test_limits;
#[cfg(test)]
mod test_rows;
pub mod trigger;
mod triggered;
mod waiting;
mod wire;

pub use keyed_batch::{KeyedBatch, Payload, global_owner};
pub use late::{Homeless, LateRows, Place, RefusedRow};
pub use layout::{AggregateLayout, MakeAccumulator};
pub use limited::{LimitCounts, LimitReport};
pub use local_half::{LocalHalf, Pushed, RowWatermarks};
pub use output::{GroupError, Output};
pub use store::Store;
