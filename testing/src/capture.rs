//! The real sources, with sinks that keep what they are given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use tidemark_connectors::io::{DeadLetters, Io};
use tidemark_connectors::sink::{Placement, Sink, SinkReport};
use tidemark_connectors::source::{ConnectorError, Source};
use tidemark_connectors::{Connectors, StdoutStyle};
use tidemark_planner::plan::{SinkPlan, SourcePlan};

use crate::value::{Row, Value};

/// Opens real sources and keeps all changes.
pub struct Capture {
    /// The real connectors.
    pub connectors: Connectors,
    rows: Arc<Mutex<BTreeMap<Row, i64>>>,
}

impl Default for Capture {
    fn default() -> Self {
        Self { connectors: Connectors::of_process(StdoutStyle::default()), rows: Arc::default() }
    }
}

impl Capture {
    /// All changes added up: rows with their counts, none of them 0.
    pub fn rows(&self) -> Vec<(Row, i64)> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().filter(|(_, count)| **count != 0).map(|(row, count)| (row.clone(), *count)).collect()
    }
}

impl Io for Capture {
    fn open_source(&self, plan: &SourcePlan) -> Result<Box<dyn Source>, ConnectorError> {
        self.connectors.open_source(plan)
    }

    fn placement(&self, _plan: &SinkPlan) -> Placement {
        Placement::EachWorker
    }

    fn open_sink(&self, _plan: &SinkPlan, _worker: usize) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(Keep(Arc::clone(&self.rows))))
    }

    fn open_dead_letters(&self, path: &str) -> Result<Box<dyn DeadLetters>, ConnectorError> {
        self.connectors.open_dead_letters(path)
    }
}

struct Keep(Arc<Mutex<BTreeMap<Row, i64>>>);

impl Sink for Keep {
    fn write(&mut self, rows: &RecordBatch, diffs: Option<&[i64]>) -> Result<(), ConnectorError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (i, row) in Value::rows(rows).into_iter().enumerate() {
            *all.entry(row).or_default() += diffs.map_or(1, |diffs| diffs[i]);
        }
        Ok(())
    }

    fn end_epoch(&mut self, _epoch: u64) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<SinkReport, ConnectorError> {
        Ok(SinkReport::default())
    }
}
