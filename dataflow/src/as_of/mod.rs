//! # AS OF join
//!
//! **Meaning.** Each left row with the one right row of its key that was valid at its time: the latest at or before it (or as the condition
//! says). Among versions of one time the greatest by its bytes is taken, or the least where the first after is asked for. Null keys and
//! null times match nothing.
//! **Time.** With watermarks ([`Waiting`]) a left row waits until no right row can come that it should see, and is answered once; rows of
//! either side behind their own watermark are late, counted and dropped. Without ([`Corrected`]), answers come as the epoch closes and are
//! corrected when versions come or go. By processing time ([`Current`]) a left row sees the version that its epoch leaves current.
//! **State.** With watermarks: left rows that wait, and the versions that they or future rows can see. Without: all rows of both sides.
//! **Changelog.** In: any. Out: as the left input with watermarks and by processing time, otherwise retract.
//!
//! Plain Rust: timely is met in the shell only.

mod corrected;
mod current;
mod joiner;
#[cfg(test)]
mod tests;
mod waiting;

pub use corrected::Corrected;
pub use current::Current;
pub use joiner::Joiner;
pub use waiting::Waiting;

use std::cmp::Ordering;

use tidemark_planner::plan::AsOfCondition;

use crate::state::counted_tree::CountedTree;
use crate::state::row_store::RowStore;

/// Changes that come out at once; a closing that brings more comes out in several batches.
const OUTPUT_ROWS: usize = if cfg!(test) { 8 } else { 64 << 10 };
/// No version.
const NONE: u32 = u32::MAX;

/// The version of a key that a left row of a time sees.
fn version(condition: AsOfCondition, versions: &CountedTree, rows: &RowStore, time: &[u8]) -> u32 {
    let below = |inclusive: bool| {
        versions.before(&|id| match rows.order(id).cmp(time) {
            Ordering::Equal if inclusive => Ordering::Less,
            other => other,
        })
    };
    let position = match condition {
        AsOfCondition::AtOrBefore => below(true).checked_sub(1),
        AsOfCondition::Before => below(false).checked_sub(1),
        AsOfCondition::AtOrAfter => Some(below(false)),
        AsOfCondition::After => Some(below(true)),
    };
    position.and_then(|position| versions.nth(position)).unwrap_or(NONE)
}
