//! Random cases: disorder, gaps, silence, several sources and partitions, every strategy, triggers.

use super::{Case, Event, Firing, Partition, Promise, SECOND, Shape, Source, Strategy};
use crate::oracle::When;
use crate::random::Random;

/// A random case that depends on the seed only.
pub fn case(seed: u64) -> Case {
    random_case(&mut Random::new(seed))
}

/// A random case with a trigger.
pub fn triggered(seed: u64) -> Case {
    let mut random = Random::new(seed);
    let mut case = random_case(&mut random);
    // Rows of two sources, and what takes rows back, have no order to be counted in.
    let counts = case.sources.len() == 1 && !case.retracts();
    let when = loop {
        let when = When::random(&mut random, 2);
        if counts || !when.counts() {
            break when;
        }
    };
    // When partitions are passed over is not known, so it is only known what has come out in the end.
    let purge = !case.retracts() && !case.idles() && random.chance(30);
    let told = !case.idles() && random.chance(70);
    case.firing = Some(Firing { when, purge, told });
    case
}

fn random_case(random: &mut Random) -> Case {
    let mut next_id = 0;
    let steps = 1 + random.below(7);
    let two = random.chance(25);
    let shape = *random.pick(&[
        Shape::Tumble { size: 5 * SECOND, offset: 0 },
        Shape::Tumble { size: 10 * SECOND, offset: 3 * SECOND },
        Shape::Tumble { size: SECOND, offset: 0 },
        Shape::Hop { size: 10 * SECOND, slide: 5 * SECOND },
        Shape::Hop { size: 12 * SECOND, slide: 3 * SECOND },
        Shape::Hop { size: 30 * SECOND, slide: SECOND },
        Shape::Cumulate { size: 12 * SECOND, step: 4 * SECOND },
        Shape::Cumulate { size: 10 * SECOND, step: 10 * SECOND },
        Shape::Session { gap: 2 * SECOND },
        Shape::Session { gap: 5 * SECOND },
        Shape::Session { gap: 12 * SECOND },
    ]);
    let session = matches!(shape, Shape::Session { .. });
    // Which of several rows of one instant was taken back is another matter: see the sessions' own tests.
    let retracts = !session && random.chance(15);
    let sources: Vec<Source> = (0..if two { 2 } else { 1 }).map(|_| source(random, &mut next_id, steps, retracts)).collect();
    let own = !two && sources[0].promise != Promise::Carried && random.chance(20);
    let own_delay = own.then(|| *random.pick(&[0, SECOND, 4 * SECOND, 9 * SECOND]));
    let mut strategy = *random.pick(&[Strategy::Drop, Strategy::UpdatePrevious, Strategy::DeadLetter, Strategy::NextWindow]);
    if retracts && strategy == Strategy::NextWindow {
        strategy = Strategy::UpdatePrevious;
    }
    let lateness = match strategy {
        Strategy::Drop => 0,
        Strategy::UpdatePrevious => *random.pick(&[1_000, SECOND, 5 * SECOND, 20 * SECOND]),
        Strategy::DeadLetter | Strategy::NextWindow => *random.pick(&[0, 0, 3 * SECOND, 15 * SECOND]),
    };
    let fin = random.chance(60);
    let outer = (fin && random.chance(20)).then(|| *random.pick(&[7 * SECOND, 20 * SECOND]));
    Case {
        sources,
        shape,
        own_delay,
        lateness,
        strategy,
        fin,
        keyed: random.chance(60),
        lists: random.chance(50),
        filter: random.chance(25),
        late_sink: !retracts && random.chance(50),
        outer,
        firing: None,
        chunking: random.bits(),
    }
}

fn source(random: &mut Random, next_id: &mut i64, steps: usize, retracts: bool) -> Source {
    let promise = *random.pick(&[
        Promise::Bounded(0),
        Promise::Bounded(0),
        Promise::Bounded(2 * SECOND),
        Promise::Bounded(6_500_000),
        Promise::Strict,
        Promise::Carried,
    ]);
    let partitions = (0..1 + random.below(3)).map(|_| partition(random, next_id, steps, promise, retracts)).collect();
    let idle_steps = (!retracts && steps > 2 && random.chance(20)).then(|| 1 + random.below(3));
    Source { promise, retracts, idle_steps, partitions }
}

fn partition(random: &mut Random, next_id: &mut i64, steps: usize, promise: Promise, retracts: bool) -> Partition {
    // Some end early, some begin before 1970, some are silent for steps, some are in order.
    let steps = if random.chance(20) { 1 + random.below(steps) } else { steps };
    let mut clock = if random.chance(15) { -40 * SECOND } else { random.between(0, 10) * SECOND };
    let disorder = *random.pick(&[0, 2, 6, 15, 40]);
    let pace = *random.pick(&[0, 1, 3, 8]);
    let busy = *random.pick(&[1, 3, 8, 20]);
    let mut given: Vec<Event> = Vec::new();
    (0..steps)
        .map(|_| {
            let count = if random.chance(20) { 0 } else { random.below(busy + 1) };
            (0..count)
                .map(|_| {
                    if retracts && !given.is_empty() && random.chance(25) {
                        let at = random.below(given.len());
                        return Event { diff: -1, ..given.swap_remove(at) };
                    }
                    clock += random.between(0, pace) * SECOND;
                    if random.chance(3) {
                        clock += random.between(20, 90) * SECOND;
                    }
                    let mut ts = clock - if random.chance(60) { 0 } else { random.between(0, disorder) * SECOND };
                    if random.chance(20) {
                        ts += *random.pick(&[-1, 1, 500_000]);
                    }
                    let mark = match promise {
                        Promise::Carried if random.chance(30) => Some(clock - random.between(0, 3) * SECOND),
                        _ => None,
                    };
                    let ts = (!random.chance(3)).then_some(ts);
                    *next_id += 1;
                    let event = Event { id: *next_id, ts, mark, key: random.between(0, 2), value: random.between(-3, 9), diff: 1 };
                    if event.ts.is_some() {
                        given.push(event.clone());
                    }
                    event
                })
                .collect()
        })
        .collect()
}
