//! # Values
//!
//! **Meaning.** The rows that stand in the statement, once.
//! **Time.** They come in the first epoch of the run, from the first worker alone; nothing comes afterwards.
//! **State.** None. **Changelog.** Append-only.

use arrow::array::RecordBatch;
use timely::container::NoopBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};

use crate::batch::Batch;
use crate::epoch::Epoch;

/// Builds the operator on one worker.
pub(crate) fn values<'scope>(scope: Scope<'scope, Epoch>, name: &str, rows: &RecordBatch, start: Epoch) -> Stream<'scope, Epoch, Batch> {
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let (output, stream) = builder.new_output::<Batch>();
    let mut output = OutputBuilder::<_, NoopBuilder<Batch>>::from(output);
    let rows = rows.clone();
    let first = scope.index() == 0;
    builder.build(move |mut capabilities| {
        let mut capability = capabilities.pop();
        move |_frontiers| {
            let Some(capability) = capability.take() else { return };
            if first && rows.num_rows() > 0 {
                let mut session = output.activate();
                session.session_with_builder(&capability.delayed(&start)).give_container(&mut Batch::computed(rows.clone(), None));
            }
        }
    });
    stream
}
