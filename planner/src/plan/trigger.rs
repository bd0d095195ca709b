//! Triggers: when a window puts out what it has.

use std::fmt;

use arrow::datatypes::{DataType, TimeUnit};

/// A trigger with what a firing does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct FiringPlan {
    /// When.
    pub trigger: TriggerPlan,
    /// A firing also forgets the rows that it put out: the next one is of the rows since.
    pub purge: bool,
}

impl FiringPlan {
    /// Whether results come out once, when the watermark reaches the window's end, and as corrections after that: as EMIT FINAL has it.
    pub fn is_final(&self) -> bool {
        self.trigger == TriggerPlan::Watermark && !self.purge
    }
}

/// A column that tells of the firing a row came out by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FiringColumn {
    /// `_trigger_reason`: what made the window fire.
    Reason,
    /// `_revision`: the how manieth firing of its group it is, from 1.
    Revision,
    /// `_is_final`: no other firing of the group will come.
    Final,
    /// `_fired_at`: the epoch of the firing, which is processing time.
    FiredAt,
}

impl FiringColumn {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Reason, Self::Revision, Self::Final, Self::FiredAt];

    /// The name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reason => "_trigger_reason",
            Self::Revision => "_revision",
            Self::Final => "_is_final",
            Self::FiredAt => "_fired_at",
        }
    }

    /// The column of a name, in any case.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(name))
    }

    /// The type of its values.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Reason => DataType::Utf8,
            Self::Revision => DataType::Int64,
            Self::Final => DataType::Boolean,
            Self::FiredAt => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }
}

/// When a window fires. Each group of a window has its own state of the trigger.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerPlan {
    /// When the watermark reaches the window's end, and after that at the close of each epoch in which late rows corrected it.
    Watermark,
    /// At each multiple of an interval of processing time, in microseconds, at which the group has something new.
    Every(i64),
    /// At every n-th row of the group.
    EveryRecords(u64),
    /// When all have fired since this one fired last; all begin anew then.
    All(Vec<TriggerPlan>),
    /// When any fires; each keeps its own count.
    Any(Vec<TriggerPlan>),
    /// When the first fires; all begin anew then.
    First(Vec<TriggerPlan>),
}

impl TriggerPlan {
    /// Whether the watermark is among what it waits for.
    pub fn waits_for_watermark(&self) -> bool {
        match self {
            Self::Watermark => true,
            Self::Every(_) | Self::EveryRecords(_) => false,
            Self::All(inside) | Self::Any(inside) | Self::First(inside) => inside.iter().any(Self::waits_for_watermark),
        }
    }

    /// The intervals of processing time in it, in order.
    pub fn intervals(&self) -> Vec<i64> {
        match self {
            Self::Every(us) => vec![*us],
            Self::Watermark | Self::EveryRecords(_) => vec![],
            Self::All(inside) | Self::Any(inside) | Self::First(inside) => inside.iter().flat_map(Self::intervals).collect(),
        }
    }

    /// Whether it counts rows.
    pub fn counts(&self) -> bool {
        match self {
            Self::EveryRecords(_) => true,
            Self::Watermark | Self::Every(_) => false,
            Self::All(inside) | Self::Any(inside) | Self::First(inside) => inside.iter().any(Self::counts),
        }
    }
}

impl fmt::Display for TriggerPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, inside: &[Self], word: &str| {
            for (at, one) in inside.iter().enumerate() {
                if at > 0 {
                    f.write_str(word)?;
                }
                match one {
                    Self::All(_) | Self::Any(_) => write!(f, "({one})")?,
                    _ => write!(f, "{one}")?,
                }
            }
            Ok(())
        };
        match self {
            Self::Watermark => f.write_str("watermark"),
            Self::Every(us) => write!(f, "every {}", crate::duration::format_us(*us)),
            Self::EveryRecords(1) => f.write_str("every record"),
            Self::EveryRecords(records) => write!(f, "every {records} records"),
            Self::All(inside) => list(f, inside, " and "),
            Self::Any(inside) => list(f, inside, " or "),
            Self::First(inside) => {
                f.write_str("first(")?;
                list(f, inside, ", ")?;
                f.write_str(")")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_read_as_they_are_written() {
        let trigger = TriggerPlan::Any(vec![
            TriggerPlan::All(vec![TriggerPlan::Watermark, TriggerPlan::Every(30_000_000)]),
            TriggerPlan::First(vec![TriggerPlan::EveryRecords(10), TriggerPlan::Watermark]),
        ]);
        assert_eq!(trigger.to_string(), "(watermark and every 30s) or first(every 10 records, watermark)");
        assert!(trigger.waits_for_watermark() && trigger.counts());
        assert_eq!(trigger.intervals(), [30_000_000]);
    }
}
