//! What the next record will look like: like the last one. The bytes between two values (comma, key, colon, spaces) are
//! compared at once with those of the record before; only where they differ is the key looked up.

use std::collections::HashMap;

use crate::format::column::Slot;

/// Longest stretch between two values that is remembered.
const GLUE_MAX: usize = 32;
/// Most stretches remembered.
const STEPS_MAX: usize = 128;
/// Fewer fields than this are found by comparing names.
const FEW: usize = 10;

/// The slot of a key that is not read.
pub(crate) const SKIP: u32 = u32::MAX;

/// One stretch between values, and the field behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    glue: [u64; GLUE_MAX / 8],
    mask: [u64; GLUE_MAX / 8],
    /// Its length.
    pub(crate) len: usize,
    /// The field, or [`SKIP`].
    pub(crate) slot: u32,
}

impl Step {
    fn new(glue: &[u8], slot: u32) -> Option<Self> {
        let mut padded = [0u8; GLUE_MAX];
        let mut mask = [0u8; GLUE_MAX];
        padded.get_mut(..glue.len())?.copy_from_slice(glue);
        mask[..glue.len()].fill(0xff);
        Some(Self { glue: words(&padded), mask: words(&mask), len: glue.len(), slot })
    }

    #[inline(always)]
    fn matches(&self, window: &[u8; GLUE_MAX]) -> bool {
        let window = words(window);
        let mut other = 0;
        for ((window, glue), mask) in window.iter().zip(&self.glue).zip(&self.mask) {
            other |= (window ^ glue) & mask;
        }
        other == 0
    }
}

#[inline(always)]
fn words(bytes: &[u8; GLUE_MAX]) -> [u64; GLUE_MAX / 8] {
    let mut words = [0; GLUE_MAX / 8];
    for (word, eight) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = <[u8; 8]>::try_from(eight).map_or(0, u64::from_le_bytes);
    }
    words
}

/// What a reader of records remembers.
#[derive(Debug)]
pub(crate) struct Guess {
    steps: Vec<Step>,
    /// Only for many fields.
    names: HashMap<Box<str>, u32>,
}

impl Guess {
    /// Knowing the names of the fields.
    pub(crate) fn new(slots: &[Slot]) -> Self {
        let mut names = HashMap::new();
        if slots.len() >= FEW {
            for (at, slot) in slots.iter().enumerate().rev() {
                names.insert(slot.name.clone(), at as u32);
            }
        }
        Self { steps: Vec::new(), names }
    }

    /// The step that fits the bytes at a place, or one soon after it: keys may be left out.
    #[inline(always)]
    pub(crate) fn step(&self, bytes: &[u8], at: usize, next: &mut usize) -> Option<(u32, usize)> {
        let window = bytes.get(at..at + GLUE_MAX).and_then(|window| <&[u8; GLUE_MAX]>::try_from(window).ok())?;
        let step = self.steps.get(*next)?;
        if step.matches(window) {
            *next += 1;
            return Some((step.slot, at + step.len));
        }
        self.later_step(window, at, next)
    }

    #[inline(never)]
    fn later_step(&self, window: &[u8; GLUE_MAX], at: usize, next: &mut usize) -> Option<(u32, usize)> {
        let later = self.steps.iter().enumerate().skip(*next + 1).take(4);
        for (place, step) in later {
            if step.matches(window) {
                *next = place + 1;
                return Some((step.slot, at + step.len));
            }
        }
        None
    }

    /// The field of a key.
    pub(crate) fn find(&self, slots: &[Slot], key: &str) -> u32 {
        if slots.len() < FEW {
            return slots.iter().position(|slot| &*slot.name == key).map_or(SKIP, |at| at as u32);
        }
        self.names.get(key).copied().unwrap_or(SKIP)
    }

    /// Remembers what was found where something else was expected.
    pub(crate) fn learn(&mut self, glue: &[u8], slot: u32, next: &mut usize) {
        let Some(step) = Step::new(glue, slot) else { return };
        if self.steps.get(*next) != Some(&step) {
            if self.steps.len() >= STEPS_MAX {
                self.steps.truncate(*next);
            }
            if self.steps.len() < STEPS_MAX {
                self.steps.insert((*next).min(self.steps.len()), step);
            }
        }
        *next += 1;
    }
}
