//! Joins that are bounded by time: which condition bounds the distance between the times of two rows that meet, and hence how long a row
//! can still be met.
//!
//! A condition `l <= r + c` (written in any way) says that a right row `r` is met by no left row later than `r + c`: once the left
//! side's watermark is past that, the row can go. Equal times, such as the ends of windows, bound both sides with distance zero.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Literal};
use datafusion_physical_expr::split_conjunction;

use super::expr::{Physical, as_column, in_microseconds, interval_us, remap};
use super::join::side_of;
use super::relation::{Rel, delayed};
use super::{union_watermark, watermark_of};
use crate::plan::{Retention, WatermarkPlan};

/// What bounds the rows kept of each side.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds {
    pub(super) left: Option<Retention>,
    pub(super) right: Option<Retention>,
    /// By which late rows of a side are told that keeps its rows while the other side forgets: they would have met what is gone.
    pub(super) judged: [Option<Retention>; 2],
}

/// A row's time, over its side's columns, with its watermark.
#[derive(Clone)]
struct Time {
    expr: Physical,
    watermark: WatermarkPlan,
}

/// `left <= right + left_ahead_us` and `right <= left + right_ahead_us`, where known, for one pair of times.
struct Distance {
    times: [Time; 2],
    left_ahead_us: Option<i64>,
    right_ahead_us: Option<i64>,
}

/// Finds what bounds a join.
pub(super) fn bounds(rels: [&Rel; 2], on: &[(Physical, Physical)], residual: Option<&Physical>) -> Bounds {
    let mut known: Vec<Distance> = Vec::new();
    for (left, right) in on {
        if let (Some(left), Some(right)) = (time(left, rels[0]), time(right, rels[1])) {
            note(&mut known, [left, right], Some(0), Some(0));
        }
    }
    let width = rels[0].schema().fields().len();
    for part in residual.iter().flat_map(|it| split_conjunction(it)) {
        if let Some((times, left_ahead_us, right_ahead_us)) = comparison(part, rels, width) {
            note(&mut known, times, left_ahead_us, right_ahead_us);
        }
    }
    // The pair that lets rows go soonest: both sides bounded, then the shortest.
    let cost = |it: &Distance| {
        let one = |ahead: Option<i64>, other: &Time| ahead.map_or(i64::MAX / 4, |us| us.saturating_add(other.watermark.delay_us));
        one(it.right_ahead_us, &it.times[1]).saturating_add(one(it.left_ahead_us, &it.times[0]))
    };
    let Some(best) = known.into_iter().min_by_key(cost) else { return Bounds::default() };
    let [left, right] = &best.times;
    let retention = |own: &Time, other: &Time, slack_us: i64| Retention {
        time: Arc::clone(&own.expr),
        slack_us,
        watermark: other.watermark.clone(),
        own: own.watermark.clone(),
    };
    Bounds {
        left: best.right_ahead_us.map(|slack| retention(left, right, slack)),
        right: best.left_ahead_us.map(|slack| retention(right, left, slack)),
        judged: [
            (best.right_ahead_us.is_none() && best.left_ahead_us.is_some()).then(|| retention(left, right, Retention::FOREVER)),
            (best.left_ahead_us.is_none() && best.right_ahead_us.is_some()).then(|| retention(right, left, Retention::FOREVER)),
        ],
    }
}

/// Adds what a condition says to what is known of its two times.
fn note(known: &mut Vec<Distance>, times: [Time; 2], left_ahead_us: Option<i64>, right_ahead_us: Option<i64>) {
    let least = |a: Option<i64>, b: Option<i64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let same = |it: &&mut Distance| it.times.iter().zip(&times).all(|(a, b)| a.expr.as_ref() == b.expr.as_ref());
    match known.iter_mut().find(same) {
        Some(it) => {
            it.left_ahead_us = least(it.left_ahead_us, left_ahead_us);
            it.right_ahead_us = least(it.right_ahead_us, right_ahead_us);
        }
        None => known.push(Distance { times, left_ahead_us, right_ahead_us }),
    }
}

/// A timestamp with a watermark.
fn time(expr: &Physical, rel: &Rel) -> Option<Time> {
    let data_type = expr.data_type(rel.schema()).ok()?;
    if !matches!(data_type, DataType::Timestamp(_, _)) {
        return None;
    }
    let watermark = watermark_of(expr, rel)?;
    Some(Time { expr: in_microseconds(Arc::clone(expr), &data_type), watermark })
}

/// `plus − minus + offset`: at most one time with each sign.
#[derive(Default)]
struct Linear {
    plus: Option<Physical>,
    minus: Option<Physical>,
    offset_us: i64,
}

impl Linear {
    fn less(self, other: Self) -> Option<Self> {
        let one = |a: Option<Physical>, b: Option<Physical>| match (a, b) {
            (Some(_), Some(_)) => None,
            (a, b) => Some(a.or(b)),
        };
        Some(Self {
            plus: one(self.plus, other.minus)?,
            minus: one(self.minus, other.plus)?,
            offset_us: self.offset_us.checked_sub(other.offset_us)?,
        })
    }

    fn more(self, other: Self) -> Option<Self> {
        self.less(Self { plus: other.minus, minus: other.plus, offset_us: other.offset_us.checked_neg()? })
    }
}

fn linear(expr: &Physical) -> Option<Linear> {
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return Some(Linear { offset_us: interval_us(literal.value())?, ..Linear::default() });
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return match binary.op() {
            Operator::Plus => linear(binary.left())?.more(linear(binary.right())?),
            Operator::Minus => linear(binary.left())?.less(linear(binary.right())?),
            _ => None,
        };
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>()
        && matches!(cast.cast_type(), DataType::Duration(_) | DataType::Interval(_))
    {
        return linear(cast.expr());
    }
    Some(Linear { plus: Some(Arc::clone(expr)), ..Linear::default() })
}

type Compared = ([Time; 2], Option<i64>, Option<i64>);

/// What a comparison says of the distance between a time of left and one of right.
fn comparison(expr: &Physical, rels: [&Rel; 2], width: usize) -> Option<Compared> {
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    if !matches!(binary.op(), Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq | Operator::Eq) {
        return None;
    }
    // `plus − minus + offset` compared with zero.
    let Linear { plus: Some(plus), minus: Some(minus), offset_us } = linear(binary.left())?.less(linear(binary.right())?)? else {
        return None;
    };
    let of_right = |expr: &Physical| remap(expr, &|place| place - width);
    let (left, right, left_is_plus) = match (side_of(&plus, width)?, side_of(&minus, width)?) {
        (0, 1) => (plus, of_right(&minus), true),
        (1, 0) => (minus, of_right(&plus), false),
        _ => return None,
    };
    let times = [time(&left, rels[0])?, time(&right, rels[1])?];
    // plus <= minus − offset, and plus >= minus − offset.
    let (upper, lower) = match binary.op() {
        Operator::Lt | Operator::LtEq => (Some(offset_us.checked_neg()?), None),
        Operator::Gt | Operator::GtEq => (None, Some(offset_us)),
        _ => (Some(offset_us.checked_neg()?), Some(offset_us)),
    };
    Some(if left_is_plus { (times, upper, lower) } else { (times, lower, upper) })
}

/// The columns of a side whose values, in pairs, keep to a watermark: a row that is kept may still be met, so only a side that lets rows go
/// promises something.
pub(super) fn watermarks(rel: &Rel, retention: Option<&Retention>) -> Vec<(usize, WatermarkPlan)> {
    let Some(retention) = retention else { return vec![] };
    let Some(held) = union_watermark([Some(&retention.own), Some(&delayed(&retention.watermark, retention.slack_us))].into_iter()) else {
        return vec![];
    };
    let Some(place) = as_column(&retention.time) else { return vec![] };
    let mut out = vec![(place, held.clone())];
    // The parts of a row's window go together.
    if let Some(window) = &rel.props.window
        && window.end == Some(place)
    {
        out.extend(window.time.map(|it| (it, delayed(&held, 1))));
        out.extend(window.start.zip(window.size_us).map(|(it, size)| (it, delayed(&held, size))));
    }
    out
}
