//! # Sources that sleep until the next tick
//!
//! A source without rows still holds back the frontier: at the epoch in which it last looked. How long a tick is turns out only
//! while it lasts, since rows that any source reads make it short. So a source must not set itself a timer by what it knew when it lay
//! down: each worker wakes its own when the epoch has changed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use timely::scheduling::Activator;

use crate::epoch::Epoch;

/// The sources of one worker.
#[derive(Default)]
pub(crate) struct Sleepers {
    beds: RefCell<Vec<(Rc<Cell<bool>>, Activator)>>,
    /// The epoch of the last call.
    epoch: Cell<Epoch>,
}

impl Sleepers {
    /// What a source sets to be woken at the next tick, once.
    pub(crate) fn bed(&self, activator: Activator) -> Rc<Cell<bool>> {
        let bed = Rc::new(Cell::new(false));
        self.beds.borrow_mut().push((Rc::clone(&bed), activator));
        bed
    }

    /// Wakes those that sleep if a tick has passed since the last call.
    pub(crate) fn wake(&self, epoch: Epoch) {
        if self.epoch.replace(epoch) == epoch {
            return;
        }
        for (bed, activator) in self.beds.borrow().iter() {
            if bed.take() {
                activator.activate();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use timely::scheduling::Activations;

    use super::*;

    #[test]
    fn a_tick_wakes_whoever_sleeps_once() {
        let queue = Rc::new(RefCell::new(Activations::new(None)));
        let sleepers = Sleepers::default();
        let beds: Vec<_> = (0..3).map(|place| sleepers.bed(Activator::new(vec![place].into(), Rc::clone(&queue)))).collect();
        let woken = || {
            queue.borrow_mut().advance();
            let mut woken = Vec::new();
            queue.borrow().for_extensions(&[], |place| woken.push(place));
            woken
        };
        sleepers.wake(10);
        assert!(woken().is_empty(), "nobody sleeps");
        beds[0].set(true);
        beds[2].set(true);
        sleepers.wake(10);
        assert!(woken().is_empty(), "the tick is not over");
        sleepers.wake(12);
        assert_eq!(woken(), [0, 2]);
        sleepers.wake(22);
        assert!(woken().is_empty(), "each is woken once");
    }
}
