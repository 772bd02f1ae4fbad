//! Many runs: what they found together, and the smallest run that still shows a failure.

use super::{
    fault::Fault,
    ledger::Violation,
    options::Options,
    property::Holds,
    run::{Run, Simulator},
    tape::Tape,
    trace::{added, nothing},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

/// A run that failed: by its seed it is made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// What does not hold.
    pub violation: Violation,
}

/// What runs found together. Those of several ranges of seeds are [added](Self::add) in the order of the ranges.
#[derive(Clone, Debug)]
pub struct Explored {
    /// How many seeds were tried.
    pub seeds: u64,
    /// Those that failed.
    pub failed: Vec<Failed>,
    /// The hash of all traces, in the order of the seeds.
    pub trace_hash: u64,
    /// How often each fault struck at each step where it could have.
    pub faults: BTreeMap<(Fault, Arc<str>), u64>,
    /// How often each property was tried.
    pub tried: BTreeMap<&'static str, u64>,
    /// The properties that were so, of those that have to be so sometimes.
    pub seen: BTreeSet<&'static str>,
    /// How much time passed in all of them.
    pub time: Duration,
    /// How often a task went on.
    pub turns: u64,
    /// How many of those that were posted were taken.
    pub taken: u64,
    /// How many were refused for good.
    pub refused: u64,
}

impl Default for Explored {
    fn default() -> Self {
        Self {
            seeds: 0,
            failed: Vec::new(),
            trace_hash: nothing(),
            faults: BTreeMap::new(),
            tried: BTreeMap::new(),
            seen: BTreeSet::new(),
            time: Duration::ZERO,
            turns: 0,
            taken: 0,
            refused: 0,
        }
    }
}

impl Explored {
    /// What was found by one run.
    fn of(seed: u64, run: Run) -> Self {
        let taken = run.posted.iter().filter(|posted| posted.is_taken()).count() as u64;
        Self {
            seeds: 1,
            failed: run.violation.into_iter().map(|violation| Failed { seed, violation }).collect(),
            trace_hash: run.trace_hash,
            faults: run.faults,
            tried: run.tried,
            seen: run.seen,
            time: run.time,
            turns: run.turns,
            taken,
            refused: run.posted.len() as u64 - taken,
        }
    }

    /// What was found by these runs and by `others`, which came behind them.
    pub fn add(&mut self, others: Self) {
        self.seeds += others.seeds;
        self.trace_hash = added(self.trace_hash, &others.trace_hash.to_le_bytes());
        self.failed.extend(others.failed);
        others.faults.into_iter().for_each(|(key, count)| *self.faults.entry(key).or_default() += count);
        others.tried.into_iter().for_each(|(key, count)| *self.tried.entry(key).or_default() += count);
        self.seen.extend(others.seen);
        self.time += others.time;
        self.turns += others.turns;
        self.taken += others.taken;
        self.refused += others.refused;
    }

    /// The steps that a fault could have struck and never did.
    pub fn spared(&self) -> Vec<(Fault, &str)> {
        let spared = self.faults.iter().filter(|(_, count)| **count == 0);
        spared.map(|((fault, step), _)| (*fault, &**step)).collect()
    }

    /// The properties that have to be so sometimes and never were.
    pub fn never(&self, simulator: &Simulator<'_>) -> Vec<&'static str> {
        let sometimes = simulator.properties().iter().filter(|property| property.holds == Holds::Sometimes);
        sometimes.map(|property| property.name).filter(|name| !self.seen.contains(name)).collect()
    }
}

/// Runs each of these seeds.
pub fn explore(simulator: &Simulator<'_>, seeds: Range<u64>, options: &Options) -> Explored {
    let mut explored = Explored::default();
    for seed in seeds {
        explored.add(Explored::of(seed, simulator.run(&Tape::of_seed(seed), options)));
    }
    explored
}

/// The smallest run of a seed that still breaks the same property: with fewer orders, less time, the simplest
/// order of tasks, fewer kinds of faults and fewer strikes. `goes_on` says whether there is time for another try.
pub fn shrink(
    simulator: &Simulator<'_>,
    failed: &Failed,
    options: &Options,
    mut goes_on: impl FnMut() -> bool,
) -> Options {
    let mut smallest = options.clone();
    let mut is_smaller = |smallest: &mut Options, smaller: Options| {
        let fails = goes_on() && smaller != *smallest && {
            let run = simulator.run(&Tape::of_seed(failed.seed), &smaller);
            run.violation.is_some_and(|violation| {
                (violation.property, violation.step)
                    == (failed.violation.property.clone(), failed.violation.step.clone())
            })
        };
        if fails {
            *smallest = smaller;
        }
        fails
    };
    loop {
        let before = smallest.clone();
        for orders in [1, smallest.orders / 2, smallest.orders.saturating_sub(1)] {
            let smaller = Options { orders: orders.clamp(1, smallest.orders), ..smallest.clone() };
            is_smaller(&mut smallest, smaller);
        }
        for minutes in [1, smallest.minutes / 4, smallest.minutes / 2] {
            let smaller = Options { minutes: minutes.clamp(1, smallest.minutes), ..smallest.clone() };
            is_smaller(&mut smallest, smaller);
        }
        let in_order = Options { is_in_order: true, ..smallest.clone() };
        is_smaller(&mut smallest, in_order);
        for fault in smallest.faults.clone() {
            let mut smaller = smallest.clone();
            smaller.faults.remove(&fault);
            is_smaller(&mut smallest, smaller);
        }
        // The fewest strikes, between those that are enough and those that are not.
        let (mut too_few, mut enough) = (0, smallest.strikes_max.min(1 << 16));
        while too_few + 1 < enough {
            let strikes_max = too_few.midpoint(enough);
            let smaller = Options { strikes_max, ..smallest.clone() };
            if is_smaller(&mut smallest, smaller) { enough = strikes_max } else { too_few = strikes_max }
        }
        if smallest == before {
            return smallest;
        }
    }
}
