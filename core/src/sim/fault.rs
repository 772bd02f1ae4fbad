//! The faults that AWS allows, and those of processes: which there are, where they come from, and how often they strike.

use super::tape::{Kind, Tape};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

macro_rules! faults {
    ($($(#[doc = $doc:literal])* $fault:ident $name:literal from $source:literal, $rate:literal $($beyond:ident)?;)*) => {
        /// A fault: something that AWS, a network or a process may do, and that no handler may be hurt by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[doc = $doc])* $fault,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$fault,)*];

            /// Its name on the command line: `duplicate`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$fault => $name,)* }
            }

            /// Where AWS's documentation allows it, or why there is such a thing.
            pub fn source(self) -> &'static str {
                match self { $(Self::$fault => $source,)* }
            }

            /// Whether every system withstands it: no promise depends on its absence. Others strike only where they are named.
            pub fn is_withstood(self) -> bool {
                match self { $(Self::$fault => faults!(@withstood $($beyond)?),)* }
            }

            /// How often it strikes at most, of 1,000 chances.
            fn rate_max(self) -> u64 {
                match self { $(Self::$fault => $rate,)* }
            }
        }
    };
    (@withstood) => { true };
    (@withstood beyond) => { false };
}

faults! {
    /// A message arrives twice.
    Duplicate "duplicate" from "SQS Developer Guide, at-least-once delivery; EventBridge and SNS deliver at least once", 100;
    /// A message arrives hours late.
    Late "late" from "SQS keeps a message for its retention, and a consumer may be down", 50;
    /// A message is overtaken by others.
    Overtaken "overtaken" from "SQS Developer Guide, standard queues: best-effort ordering", 200;
    /// A message is visible again while its handler works.
    Visible "visible" from "SQS Developer Guide, visibility timeout: a message may be received again", 50;
    /// A message's receive count is one too high or too low.
    Count "count" from "SQS API: ApproximateReceiveCount", 100;
    /// A queue says that it holds a few messages more or fewer than it does.
    Depth "depth" from "SQS API: ApproximateNumberOfMessages", 300;
    /// One entry of a batch is refused, and the others are taken.
    Entry "entry" from "SendMessageBatch, PutEvents, BatchExecuteStatement answer each entry", 50;
    /// A call is refused as a whole: nothing of it is applied.
    Throttled "throttled" from "DynamoDB ProvisionedThroughputExceeded, SQS RequestThrottled, S3 503 Slow Down", 50;
    /// A call is applied, and its answer is lost.
    Lost "lost" from "any network", 50;
    /// A call takes long.
    Slow "slow" from "any network", 20;
    /// A page of an index lacks its latest entries, or has entries that were changed since.
    Stale "stale" from "DynamoDB Developer Guide: global secondary indexes are eventually consistent", 200;
    /// Records of a change stream are read again.
    Again "again" from "Lambda Developer Guide, DynamoDB: a batch may be delivered more than once", 50;
    /// A change stream stands for some minutes.
    Held "held" from "Lambda Developer Guide, DynamoDB: a shard waits while a batch is retried", 100;
    /// A schedule's message is not sent.
    Skipped "skipped" from "EventBridge Scheduler: retries end after the time that they are given", 50;
    /// An expired item is still there after days.
    Expiry "expiry" from "DynamoDB Developer Guide, TTL: typically within a few days", 500;
    /// A process dies at any await, and is started again.
    Crash "crash" from "Lambda ends a sandbox; a machine loses power", 3;
    /// The clock of a process is seconds ahead or behind.
    Clock "clock" from "two machines have two clocks", 300;
    /// The clock of a process is set back by minutes while it runs.
    SetBack "set-back" from "somebody sets it, or a virtual machine is moved", 200;
    /// A schedule sends up to a minute early or late.
    Minute "minute" from "EventBridge Scheduler: within 60 seconds of the time", 300;
    /// A port takes nothing for up to two minutes: a target without room, a service that is out.
    Outage "outage" from "any service of AWS; a quota that is used up; EventBridge retries for 24 hours", 2;
    /// Something outside can't be reached.
    Unreachable "unreachable" from "any service of others", 100;
    /// Something outside is asked, and its answer is lost: it may have given up waiting, or its caller has.
    Unanswered "unanswered" from "any service of others", 100;
    /// Something outside answers a question otherwise when it is asked again.
    Fickle "fickle" from "any service of others", 100;
    /// Dead letters are sent back while others come in.
    Redriven "redriven" from "an operator, or StartMessageMoveTask", 700;
    /// A process has the build before, beside others with this one.
    Build "build" from "Lambda Developer Guide: during a deployment both versions are invoked", 300;
    /// Records of a change stream are lost.
    RecordsLost "records-lost" from "DynamoDB Developer Guide, Streams: records are there for 24 hours", 20 beyond;
    /// A dead letter is gone before anybody has looked.
    LetterExpired "letter-expired" from "SQS Developer Guide: a message is kept for 14 days at most", 100 beyond;
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no fault's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no fault {name:?}; there are {}", Fault::ALL.iter().map(|fault| fault.as_str()).collect::<Vec<_>>().join(", "))]
pub struct FaultError {
    name: String,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(name: &str) -> Result<Self, FaultError> {
        let found = Self::ALL.iter().find(|fault| fault.as_str() == name);
        found.copied().ok_or_else(|| FaultError { name: name.to_owned() })
    }
}

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
    fn a_fault_is_named_and_found_by_its_name() {
        for fault in Fault::ALL {
            assert_eq!(fault.as_str().parse(), Ok(*fault));
            assert!(!fault.source().is_empty());
        }
        let error = "flood".parse::<Fault>().unwrap_err().to_string();
        assert!(error.contains("flood") && error.contains("duplicate"), "{error}");
    }

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
