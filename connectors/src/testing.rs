//! Plans and whole reads for tests.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemark_planner::connector::Options;
use tidemark_planner::plan::{ChangelogKind, ErrorPolicy, SinkPlan, SourcePlan};

use crate::source::{ConnectorError, Read, RowError, Source};

pub(crate) fn options(pairs: &[(&str, &str)]) -> Options {
    Options(pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
}

pub(crate) fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect::<Vec<_>>()))
}

/// A plan that reads some of the declared columns.
pub(crate) fn source_plan(connector: &str, pairs: &[(&str, &str)], declared: &SchemaRef, read: &[usize]) -> SourcePlan {
    SourcePlan {
        name: "t".into(),
        connector: connector.into(),
        options: options(pairs),
        declared: declared.clone(),
        read: read.to_vec(),
        read_schema: Arc::new(declared.project(read).expect("columns in range")),
        metadata: Vec::new(),
        output: Vec::new(),
        event_time: None,
        on_error: ErrorPolicy::Fail,
        bounded: true,
        changelog: ChangelogKind::AppendOnly,
        key: None,
    }
}

pub(crate) fn sink_plan(connector: &str, pairs: &[(&str, &str)], schema: &SchemaRef, changelog: ChangelogKind) -> SinkPlan {
    SinkPlan {
        name: "stdout".into(),
        connector: connector.into(),
        options: options(pairs),
        schema: schema.clone(),
        changelog,
        key: None,
        time_column: None,
        bounded: true,
        order: vec![],
        progress: None,
    }
}

/// What a partition holds.
#[derive(Debug, PartialEq)]
pub(crate) struct Whole {
    pub(crate) rows: RecordBatch,
    pub(crate) offsets: Vec<u64>,
    pub(crate) errors: Vec<RowError>,
    pub(crate) chunks: usize,
}

/// Reads a partition to its end, or until it has nothing more to give now.
pub(crate) fn read_partition(source: &dyn Source, partition: usize, schema: &SchemaRef) -> Result<Whole, ConnectorError> {
    let mut reader = source.open(partition)?;
    read_on(source, reader.as_mut(), schema, false)
}

/// Reads on with a reader. With `wait`, until the end; otherwise until there is nothing now.
pub(crate) fn read_on(
    source: &dyn Source,
    reader: &mut dyn crate::source::PartitionReader,
    schema: &SchemaRef,
    wait: bool,
) -> Result<Whole, ConnectorError> {
    let mut decoder = source.decoder();
    let (mut batches, mut offsets, mut errors, mut chunks) = (Vec::new(), Vec::new(), Vec::new(), 0);
    loop {
        match reader.next()? {
            Read::Chunk(chunk) => {
                let decoded = decoder.decode(chunk)?;
                assert_eq!(decoded.columns.schema(), *schema, "a decoder gives the columns of the plan");
                offsets.extend((0..decoded.columns.num_rows()).map(|row| decoded.offsets.get(row)));
                batches.push(decoded.columns);
                errors.extend(decoded.errors);
                chunks += 1;
            }
            Read::Pending if wait => std::thread::sleep(std::time::Duration::from_millis(1)),
            Read::Pending | Read::End => break,
        }
    }
    assert!(offsets.is_sorted_by(|a, b| a < b), "offsets ascend");
    let rows = concat_batches(schema, &batches).expect("batches of one schema");
    Ok(Whole { rows, offsets, errors, chunks })
}
