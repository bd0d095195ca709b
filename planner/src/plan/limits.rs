//! What bounds the state of an operator beyond its meaning: how long groups are kept without rows, how many there may be, and what becomes
//! of those that go. A limit that can change an answer is here because a statement or a setting asked for it.

use super::WatermarkPlan;
use crate::duration::format_us;

/// Limits of one operator. At least one is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateLimits {
    /// A group goes when no row has come for it for so long.
    pub ttl_us: Option<i64>,
    /// A group goes so long after its first row.
    pub max_age_us: Option<i64>,
    /// What both are measured by.
    pub clock: StateClock,
    /// Groups of the operator, over all workers: each of `n` workers holds an `n`-th of them.
    pub max_groups: Option<u64>,
    /// Windows of one key.
    pub max_windows_per_key: Option<u64>,
    /// Rows of one group.
    pub max_rows_per_group: Option<u64>,
    /// Bytes of memory of the operator, over all workers: each of `n` workers holds an `n`-th of them.
    pub max_bytes: Option<u64>,
    /// What happens beyond a number.
    pub at_limit: AtLimit,
    /// What becomes of the results of a group that goes.
    pub evicted: Evicted,
}

/// What the age of state is measured by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateClock {
    /// Epochs: the time rows are read at.
    Processing,
    /// The watermark of the input, as an epoch closes.
    Event(WatermarkPlan),
}

/// What happens when a limit on a number is passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtLimit {
    /// The run fails.
    #[default]
    Fail,
    /// Groups that are new are not taken in.
    Refuse,
    /// Some group goes.
    Evict(EvictBy),
}

/// Which group goes first. Among equals the one whose window ends first, then the one whose key's bytes come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictBy {
    /// The one that came first.
    Oldest,
    /// The one whose last row came first.
    LeastRecent,
    /// The one with the fewest rows.
    LeastFrequent,
    /// The one with the most rows.
    Largest,
}

/// What becomes of the result of a group that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// It is taken back. A later row begins the group anew.
    Retract,
    /// It stays, and is final: the key is remembered, later rows of the group are dropped and counted.
    Seal,
    /// It stays. A later row begins the group anew, beside it.
    Forget,
}

impl AtLimit {
    /// The words a setting knows.
    pub const WORDS: [&str; 6] = ["fail", "refuse", "oldest", "lru", "lfu", "largest"];

    /// The one with a name.
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "fail" => Self::Fail,
            "refuse" => Self::Refuse,
            "oldest" => Self::Evict(EvictBy::Oldest),
            "lru" => Self::Evict(EvictBy::LeastRecent),
            "lfu" => Self::Evict(EvictBy::LeastFrequent),
            "largest" => Self::Evict(EvictBy::Largest),
            _ => return None,
        })
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Refuse => "refuse",
            Self::Evict(EvictBy::Oldest) => "oldest",
            Self::Evict(EvictBy::LeastRecent) => "lru",
            Self::Evict(EvictBy::LeastFrequent) => "lfu",
            Self::Evict(EvictBy::Largest) => "largest",
        }
    }
}

impl Evicted {
    /// The words a setting knows.
    pub const WORDS: [&str; 3] = ["retract", "seal", "forget"];

    /// The one with a name.
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "retract" => Self::Retract,
            "seal" => Self::Seal,
            "forget" => Self::Forget,
            _ => return None,
        })
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Retract => "retract",
            Self::Seal => "seal",
            Self::Forget => "forget",
        }
    }
}

impl StateLimits {
    /// Whether some group may go, or not come in: then the answer is not the batch answer.
    pub fn loses(&self) -> bool {
        self.ttl_us.is_some() || self.max_age_us.is_some() || self.at_limit != AtLimit::Fail
    }

    /// Whether something depends on a number.
    pub fn counts(&self) -> bool {
        [self.max_groups, self.max_windows_per_key, self.max_rows_per_group, self.max_bytes].iter().any(Option::is_some)
    }

    /// The watermark that ages are measured by.
    pub fn watermark(&self) -> Option<&WatermarkPlan> {
        match &self.clock {
            StateClock::Event(watermark) if self.ttl_us.is_some() || self.max_age_us.is_some() => Some(watermark),
            StateClock::Event(_) | StateClock::Processing => None,
        }
    }
}

impl std::fmt::Display for StateLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ages = [("ttl", self.ttl_us), ("max_age", self.max_age_us)];
        let numbers = [
            ("max_groups", self.max_groups),
            ("max_windows_per_key", self.max_windows_per_key),
            ("max_rows_per_group", self.max_rows_per_group),
            ("max_bytes", self.max_bytes),
        ];
        let mut parts: Vec<String> = ages.iter().filter_map(|(name, us)| Some(format!("{name}={}", format_us((*us)?)))).collect();
        if !parts.is_empty() {
            parts.push(format!("time={}", if self.watermark().is_some() { "event" } else { "processing" }));
        }
        parts.extend(numbers.iter().filter_map(|(name, number)| Some(format!("{name}={}", (*number)?))));
        if self.counts() {
            parts.push(format!("at_limit={}", self.at_limit.word()));
        }
        if self.loses() && self.at_limit != AtLimit::Refuse {
            parts.push(format!("evicted={}", self.evicted.word()));
        }
        f.write_str(&parts.join(", "))
    }
}
