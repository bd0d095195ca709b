//! A list of values that is mostly one value repeated: times and diffs. Then only the value and the count are kept.

/// The list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Column<X> {
    /// One value, so many times.
    Same(X, usize),
    /// The values.
    Each(Vec<X>),
}

impl<X> Default for Column<X> {
    fn default() -> Self {
        Self::Each(Vec::new())
    }
}

impl<X: Clone + PartialEq> Column<X> {
    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Same(_, len) => *len,
            Self::Each(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One value.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> &X {
        match self {
            Self::Same(value, _) => value,
            Self::Each(values) => &values[row],
        }
    }

    /// Adds a value.
    #[inline]
    pub(crate) fn push(&mut self, value: X) {
        self.push_many(value, 1);
    }

    /// Adds a value several times.
    pub(crate) fn push_many(&mut self, value: X, count: usize) {
        match self {
            Self::Same(same, len) if *same == value => *len += count,
            Self::Each(values) if values.is_empty() => *self = Self::Same(value, count),
            Self::Each(values) => values.extend(std::iter::repeat_n(value, count)),
            Self::Same(same, len) => {
                let mut values = Vec::with_capacity(2 * (*len + count));
                values.resize(*len, same.clone());
                values.extend(std::iter::repeat_n(value, count));
                *self = Self::Each(values);
            }
        }
    }

    /// Adds the values of another list at `rows`.
    pub(crate) fn extend(&mut self, other: &Self, rows: std::ops::Range<usize>) {
        match other {
            _ if rows.is_empty() => {}
            Self::Same(value, _) => self.push_many(value.clone(), rows.len()),
            Self::Each(values) => match self {
                Self::Each(ours) if !ours.is_empty() => ours.extend_from_slice(&values[rows]),
                _ => values[rows].iter().for_each(|value| self.push(value.clone())),
            },
        }
    }

    /// Bytes of memory held.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Same(..) => 0,
            Self::Each(values) => values.capacity() * size_of::<X>(),
        }
    }

    /// Gives back unused room.
    pub(crate) fn shrink_to_fit(&mut self) {
        if let Self::Each(values) = self {
            values.shrink_to_fit();
        }
    }
}
