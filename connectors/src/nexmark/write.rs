//! Writes the events as a file, for benchmarks that read files.

use std::path::Path;
use std::sync::mpsc::sync_channel;

use tidemark_planner::connector::Options;
use tidemark_planner::plan::{ChangelogKind, SinkPlan};

use super::{BLOCK, NexmarkSource, Settings, Shape};
use crate::changes::Order;
use crate::file::open_ordered;
use crate::source::ConnectorError;

/// Batches that may wait for the writer.
const BATCHES_WAITING: usize = 4;

/// Writes the first `events` events (of all kinds) in a shape, in order, as ndjson, csv or parquet, told by the path's ending; event
/// time runs at `rate` events per second from 2015-07-15. Returns the number of rows. The file appears when it is complete.
///
/// # Errors
/// When the path's ending tells no format, or the file cannot be written.
pub fn write_file(path: &Path, shape: Shape, events: u64, rate: u64) -> Result<u64, ConnectorError> {
    let name = path.display().to_string();
    let mut options = Options::default();
    options.0.insert("rate".into(), rate.max(1).to_string());
    let settings = Settings { shape, ..Settings::new(&options).map_err(|reason| ConnectorError::new(&name, reason))? };
    let schema = shape.schema();
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let source = NexmarkSource::new(settings, &all, schema.clone());
    let plan = SinkPlan {
        name: name.clone(),
        connector: "file".into(),
        options: Options([("path".to_string(), name)].into()),
        schema,
        changelog: ChangelogKind::AppendOnly,
        key: None,
        time_column: None,
        bounded: true,
        order: vec![],
        progress: None,
    };
    let mut sink = open_ordered(&plan, Order::of(&plan).unsorted())?;
    let (sender, batches) = sync_channel(BATCHES_WAITING);
    std::thread::scope(|scope| {
        let shared = source.shared.clone();
        scope.spawn(move || {
            for block in 0..events.div_ceil(BLOCK) {
                let made = shared.batch(block * BLOCK, BLOCK.min(events - block * BLOCK));
                // A writer that is gone has failed, and says so itself.
                if sender.send(made).is_err() {
                    return;
                }
            }
        });
        for (epoch, made) in (0..).zip(batches) {
            sink.write(&made?.0, None)?;
            sink.end_epoch(epoch)?;
        }
        sink.finish().map(|report| report.changes)
    })
}
