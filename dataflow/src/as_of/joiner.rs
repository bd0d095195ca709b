//! Pairs of rows as bytes become output rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use tidemark_planner::plan::AsOfPlan;

use crate::aggregate::{GroupError, Output};
use crate::batch::record_batch;
use crate::eval::evaluate;
use crate::ranked::RowCodec;
use crate::render_row::render_row;

/// A left row, the version it sees, and how often that is said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    pub(super) left: &'a [u8],
    pub(super) right: Option<&'a [u8]>,
    pub(super) diff: i64,
}

/// Joins left rows with their versions.
#[derive(Debug)]
pub struct Joiner {
    left: RowCodec,
    right: RowCodec,
    outer: bool,
    residual: Option<Arc<dyn PhysicalExpr>>,
    /// Left's columns, then right's, all of which may be null.
    both: SchemaRef,
    output: Vec<usize>,
    schema: SchemaRef,
}

impl Joiner {
    /// A joiner of rows of two schemas, with output of a third.
    ///
    /// # Errors
    /// When a column cannot be encoded.
    pub fn new(plan: &AsOfPlan, left: &SchemaRef, right: &SchemaRef, output: &SchemaRef) -> Result<Self, String> {
        let codec = |schema: &SchemaRef| {
            let types: Vec<_> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
            RowCodec::keeping(&types)
        };
        let fields = left.fields().iter().chain(right.fields()).map(|field| field.as_ref().clone().with_nullable(true));
        Ok(Self {
            left: codec(left)?,
            right: codec(right)?,
            outer: plan.outer,
            residual: plan.residual.clone(),
            both: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            output: plan.output.clone(),
            schema: output.clone(),
        })
    }

    /// The output of some pairs. What is said of one left row stands together.
    pub(super) fn join(&self, pairs: &[Pair<'_>], more: bool) -> Output {
        let mut columns = self.left.decode(pairs.iter().map(|pair| pair.left));
        let versions = self.right.decode(pairs.iter().filter_map(|pair| pair.right));
        let mut next = 0;
        let mut places: Vec<Option<u32>> = Vec::with_capacity(pairs.len());
        for pair in pairs {
            places.push(pair.right.map(|_| next));
            next += u32::from(pair.right.is_some());
        }
        let mut errors = Vec::new();
        let mut failed = vec![false; pairs.len()];
        if let Some(residual) = &self.residual {
            let matched: Vec<u32> = (0..pairs.len() as u32).filter(|pair| places[*pair as usize].is_some()).collect();
            let lefts = UInt32Array::from(matched.clone());
            let both: Vec<ArrayRef> = columns
                .iter()
                .map(|column| take(column, &lefts, None).expect("pairs lie within"))
                .chain(versions.iter().cloned())
                .collect();
            let both = record_batch(&self.both, both, matched.len());
            self.ask(residual, &both, &matched, pairs, &mut places, &mut failed, &mut errors);
        }
        let mut kept: Vec<u32> = Vec::with_capacity(pairs.len());
        let mut diffs: Vec<i64> = Vec::with_capacity(pairs.len());
        for (place, pair) in pairs.iter().enumerate() {
            if failed[place] || (places[place].is_none() && !self.outer) {
                continue;
            }
            // A row whose old version fails the condition as its new one does has not changed.
            if let Some(last) = kept
                .last()
                .copied()
                .filter(|last| places[place].is_none() && places[*last as usize].is_none() && pairs[*last as usize].left == pair.left)
            {
                let diff = diffs.pop().expect("as many as rows") + pair.diff;
                kept.pop();
                if diff != 0 {
                    kept.push(last);
                    diffs.push(diff);
                }
                continue;
            }
            kept.push(place as u32);
            diffs.push(pair.diff);
        }
        let rights: UInt32Array = kept.iter().map(|place| places[*place as usize]).collect();
        columns.extend(versions);
        let width = self.left.types().len();
        let kept = UInt32Array::from(kept);
        let picked = self.output.iter().map(|place| {
            let rows = if *place < width { &kept } else { &rights };
            take(&columns[*place], rows, None).expect("pairs lie within")
        });
        let picked: Vec<ArrayRef> = picked.collect();
        let rows = record_batch(&self.schema, picked, kept.len());
        let diffs = diffs.iter().any(|diff| *diff != 1).then_some(diffs);
        Output { rows, diffs, errors, homeless: vec![], more }
    }

    /// Takes their version from pairs that do not meet the condition.
    #[allow(clippy::too_many_arguments)] // the parts of one loop
    fn ask(
        &self,
        residual: &Arc<dyn PhysicalExpr>,
        both: &RecordBatch,
        matched: &[u32],
        pairs: &[Pair<'_>],
        places: &mut [Option<u32>],
        failed: &mut [bool],
        errors: &mut Vec<GroupError>,
    ) {
        let evaluated = evaluate(std::slice::from_ref(residual), both);
        let answers: &BooleanArray = evaluated.columns[0].as_boolean();
        for row in 0..answers.len() {
            let at = evaluated.kept.as_ref().map_or(row, |kept| kept[row] as usize);
            if answers.is_null(row) || !answers.value(row) {
                places[matched[at] as usize] = None;
            }
        }
        for bad in evaluated.bad {
            let pair = matched[bad.row] as usize;
            failed[pair] = true;
            errors.push(GroupError { group: render_row(both, bad.row), reason: bad.reason, diff: pairs[pair].diff });
        }
    }
}
