//! How often each fault strikes in a run, and where.

use super::{
    fault::Fault,
    tape::{Kind, Tape},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// A place where faults strike: a process.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: Arc<str>,
    /// Whether each fault could have struck here, and how often it did.
    could: [AtomicBool; Fault::ALL.len()],
    did: [AtomicU64; Fault::ALL.len()],
}

/// Strikes in turn: each `every`th chance, the first one to begin with, and no amount over `amount_max`.
#[derive(Debug)]
struct Beat {
    every: u64,
    amount_max: u64,
    chances: AtomicU64,
}

/// The faults of one run. Some runs have few of them and many strikes of each, some have all.
#[derive(Debug)]
pub(super) struct Faults {
    tape: Tape,
    /// Those that may strike at all.
    allowed: [bool; Fault::ALL.len()],
    /// Of 1,000 chances, so many strike.
    rates: [u64; Fault::ALL.len()],
    /// No strike behind this one.
    strikes_max: u64,
    /// When they strike whatever the tape says, in a test.
    beat: Option<Beat>,
    strikes: AtomicU64,
    are_on: AtomicBool,
    places: Mutex<BTreeMap<Arc<str>, Arc<Place>>>,
}

impl Faults {
    pub(super) fn draw(tape: &Tape, allowed: &BTreeSet<Fault>, strikes_max: u64) -> Self {
        let is_all = tape.choose(Kind::Rate, 4) == 0;
        let (mut rates, mut may) = ([0; Fault::ALL.len()], [false; Fault::ALL.len()]);
        for (place, fault) in Fault::ALL.iter().enumerate() {
            // Drawn for each, allowed or not: what is left out changes nothing of the others.
            let (is_in, rate) =
                (tape.choose(Kind::Rate, 3) == 0, tape.choose(Kind::Rate, fault.rate_max()) + 1);
            may[place] = allowed.contains(fault);
            if may[place] && (is_all || is_in) {
                rates[place] = rate;
            }
        }
        Self {
            tape: tape.clone(),
            allowed: may,
            rates,
            strikes_max,
            beat: None,
            strikes: AtomicU64::new(0),
            are_on: AtomicBool::new(true),
            places: Mutex::default(),
        }
    }

    /// These alone, which strike at the first of each `every` chances, and no amount over `amount_max`.
    #[cfg(test)]
    pub(super) fn in_turn(tape: &Tape, faults: &BTreeSet<Fault>, every: u64, amount_max: u64) -> Self {
        let beat = Some(Beat { every, amount_max, chances: AtomicU64::new(0) });
        let mut alone = Self { beat, ..Self::draw(tape, faults, u64::MAX) };
        faults.iter().for_each(|fault| alone.rates[*fault as usize] = 1_000);
        alone
    }

    /// No fault strikes any longer.
    pub(super) fn stop(&self) {
        self.are_on.store(false, Ordering::Relaxed);
    }

    pub(super) fn are_on(&self) -> bool {
        self.are_on.load(Ordering::Relaxed)
    }

    /// The place of this name.
    pub(super) fn place(&self, name: &str) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(name) {
            return Arc::clone(place);
        }
        let place = Arc::new(Place {
            name: name.into(),
            could: std::array::from_fn(|_| AtomicBool::new(false)),
            did: std::array::from_fn(|_| AtomicU64::new(0)),
        });
        places.insert(Arc::clone(&place.name), Arc::clone(&place));
        place
    }

    /// Whether a fault may strike in this run, now or later.
    pub(super) fn may_strike(&self, fault: Fault) -> bool {
        self.are_on() && self.rates[fault as usize] > 0
    }

    /// Whether a fault strikes here now.
    pub(super) fn strikes(&self, fault: Fault, place: &Place) -> bool {
        let number = fault as usize;
        if !self.allowed[number] || !self.are_on() {
            return false;
        }
        place.could[number].store(true, Ordering::Relaxed);
        let rate = self.rates[number];
        let is_out_of_turn =
            |beat: &Beat| !beat.chances.fetch_add(1, Ordering::Relaxed).is_multiple_of(beat.every);
        if rate == 0
            || self.beat.as_ref().is_some_and(is_out_of_turn)
            || self.tape.choose(Kind::Fault(fault), 1_000) >= rate
            || self.strikes.load(Ordering::Relaxed) >= self.strikes_max
        {
            return false;
        }
        self.strikes.fetch_add(1, Ordering::Relaxed);
        place.did[number].fetch_add(1, Ordering::Relaxed);
        true
    }

    /// A number from 1 to `most`: how long a fault lasts, or how much it takes.
    pub(super) fn amount(&self, fault: Fault, most: u64) -> u64 {
        let most = self.beat.as_ref().map_or(most, |beat| most.min(beat.amount_max));
        self.tape.choose(Kind::Fault(fault), most) + 1
    }

    /// How often each fault struck where it could have.
    pub(super) fn counts(&self) -> BTreeMap<(Fault, Arc<str>), u64> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = BTreeMap::new();
        for place in places.values() {
            for (number, fault) in Fault::ALL.iter().enumerate() {
                if place.could[number].load(Ordering::Relaxed) {
                    let did = place.did[number].load(Ordering::Relaxed);
                    counts.insert((*fault, Arc::clone(&place.name)), did);
                }
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_allowed_or_too_much_never_strikes_and_all_that_strikes_is_counted() {
        let allowed = BTreeSet::from([Fault::Late, Fault::Duplicate]);
        let mut struck = BTreeSet::new();
        for seed in 0..50 {
            let faults = Faults::draw(&Tape::of_seed(seed), &allowed, 3);
            let place = faults.place("a");
            let strikes = (0..1_000).flat_map(|_| Fault::ALL).filter(|fault| faults.strikes(**fault, &place));
            let strikes: Vec<Fault> = strikes.copied().collect();
            assert!(strikes.len() <= 3);
            assert_eq!(faults.counts().values().sum::<u64>(), strikes.len() as u64);
            struck.extend(strikes);
            faults.stop();
            assert!(!faults.strikes(Fault::Late, &place));
            // Where it could have, though it did not: named, with none.
            let named = faults.counts().into_keys().map(|(fault, _)| fault);
            assert_eq!(named.collect::<BTreeSet<_>>(), allowed);
        }
        assert_eq!(struck, allowed);
    }
}
