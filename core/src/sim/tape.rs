//! The tape: every choice of a run. The run is a function of it.

use super::fault::Fault;
use crate::{
    failure::excerpt,
    port::{Random, stable_hash},
};
use std::{
    collections::VecDeque,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What a choice is about. Each has numbers of its own: what is drawn for one changes nothing of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Which of the tasks that are ready goes on.
    Task,
    /// How often a fault strikes in this run.
    Rate,
    /// Whether this fault strikes now, and how hard.
    Fault(Fault),
    /// When a client asks, and how much at once.
    Client,
    /// A random number of a process, for jitter and ids.
    Random,
}

impl Kind {
    /// All of them.
    fn all() -> impl Iterator<Item = Self> {
        let faults = Fault::ALL.iter().map(|fault| Self::Fault(*fault));
        [Self::Task, Self::Rate, Self::Client, Self::Random].into_iter().chain(faults)
    }

    /// How many there are.
    const COUNT: usize = 4 + Fault::ALL.len();

    /// Its place among all of them.
    fn place(self) -> usize {
        match self {
            Self::Task => 0,
            Self::Rate => 1,
            Self::Client => 2,
            Self::Random => 3,
            Self::Fault(fault) => 4 + fault as usize,
        }
    }

    /// Its name on a tape; a fault's is its own.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Rate => "rate",
            Self::Client => "client",
            Self::Random => "random",
            Self::Fault(fault) => fault.as_str(),
        }
    }
}

/// One choice: a number below a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What it is about.
    pub kind: Kind,
    /// The number is below it; 0 stands for 2⁶⁴.
    pub bound: u64,
    /// The number.
    pub value: u64,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.kind.as_str(), self.bound, self.value)
    }
}

/// Bytes of a line that an error repeats. Ours: a choice has fewer.
const LINE_BYTES_MAX: usize = 100;

/// A line that is no choice, as far as it is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no choice: a line is a kind, a bound and a value below it")]
pub struct ChoiceError(String);

impl FromStr for Choice {
    type Err = ChoiceError;

    fn from_str(line: &str) -> Result<Self, ChoiceError> {
        let read = || {
            let mut words = line.split(' ');
            let (kind, bound, value) = (words.next()?, words.next()?, words.next()?);
            let kind = Kind::all().find(|known| known.as_str() == kind)?;
            let (bound, value) = (bound.parse().ok()?, value.parse().ok()?);
            let is_below = bound == 0 || value < bound;
            (words.next().is_none() && is_below).then_some(Self { kind, bound, value })
        };
        read().ok_or_else(|| ChoiceError(excerpt(line, LINE_BYTES_MAX)))
    }
}

/// Gives every choice of a run, and remembers it. Clones share it.
#[derive(Clone, Debug)]
pub struct Tape(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    source: Source,
    /// Of tasks the first one goes on, always.
    is_in_order: bool,
    /// The choices so far, where they are kept.
    kept: Option<Vec<Choice>>,
}

#[derive(Debug)]
enum Source {
    /// The state of each kind's numbers, by its place.
    Seed(Box<[u64; Kind::COUNT]>),
    /// What each kind is still to give. Behind it, each choice is 0: the first task, no fault, no delay.
    Choices(Box<[VecDeque<u64>; Kind::COUNT]>),
}

impl Tape {
    /// A tape that a seed makes: always the same one, in every version of this library.
    pub fn of_seed(seed: u64) -> Self {
        let mut numbers = Box::new([0; Kind::COUNT]);
        for kind in Kind::all() {
            numbers[kind.place()] = mixed(seed ^ stable_hash(kind.as_str().as_bytes()));
        }
        Self::new(Source::Seed(numbers))
    }

    /// A tape that was recorded.
    pub fn of_choices(choices: impl IntoIterator<Item = Choice>) -> Self {
        let mut by_kind = std::array::from_fn(|_| VecDeque::new());
        for choice in choices {
            by_kind[choice.kind.place()].push_back(choice.value);
        }
        Self::new(Source::Choices(Box::new(by_kind)))
    }

    fn new(source: Source) -> Self {
        Self(Arc::new(Mutex::new(State { source, is_in_order: false, kept: None })))
    }

    /// From now on the choices are kept, to be written down.
    #[must_use]
    pub fn kept(self) -> Self {
        self.state().kept.get_or_insert_default();
        self
    }

    /// From now on the first of the tasks that are ready goes on, each time.
    #[must_use]
    pub(super) fn in_order(self) -> Self {
        self.state().is_in_order = true;
        self
    }

    /// The choices so far; none where they are not [kept](Self::kept).
    pub fn choices(&self) -> Vec<Choice> {
        self.state().kept.clone().unwrap_or_default()
    }

    /// A number below `bound`; any number where that is 0.
    pub(super) fn choose(&self, kind: Kind, bound: u64) -> u64 {
        let mut state = self.state();
        let number = match &mut state.source {
            Source::Seed(numbers) => {
                let number = &mut numbers[kind.place()];
                *number = number.wrapping_add(STEP);
                mixed(*number)
            }
            Source::Choices(left) => left[kind.place()].pop_front().unwrap_or_default(),
        };
        let value = match (kind, bound) {
            (Kind::Task, _) if state.is_in_order => 0,
            (_, 0) => number,
            _ => number % bound,
        };
        if let Some(kept) = &mut state.kept {
            kept.push(Choice { kind, bound, value });
        }
        value
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of SplitMix64 (Steele, Lea and Flood, 2014), by which each kind's numbers go on.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Random numbers of a process come from the tape, too.
impl Random for Tape {
    fn next_u64(&self) -> u64 {
        self.choose(Kind::Random, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever_and_one_kind_changes_no_other() {
        let tape = Tape::of_seed(7);
        let numbers: Vec<u64> = (0..3).map(|_| tape.choose(Kind::Task, 1_000)).collect();
        let other = Tape::of_seed(7);
        other.choose(Kind::Fault(Fault::Lost), 0);
        assert_eq!(numbers, (0..3).map(|_| other.choose(Kind::Task, 1_000)).collect::<Vec<_>>());
        assert_ne!(Tape::of_seed(8).choose(Kind::Task, 0), Tape::of_seed(7).choose(Kind::Task, 0));
        // Of SplitMix64 with the seed 0, as its authors give it.
        assert_eq!(mixed(STEP), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn what_was_kept_is_given_again_and_behind_it_all_is_0() {
        let tape = Tape::of_seed(7).kept();
        let given = [tape.choose(Kind::Task, 9), tape.choose(Kind::Client, 0), tape.choose(Kind::Task, 9)];
        let lines: Vec<String> = tape.choices().iter().map(ToString::to_string).collect();
        let read: Vec<Choice> = lines.iter().map(|line| line.parse().unwrap()).collect();
        assert_eq!(read, tape.choices());
        let again = Tape::of_choices(read);
        assert_eq!(
            given,
            [again.choose(Kind::Task, 9), again.choose(Kind::Client, 0), again.choose(Kind::Task, 9)]
        );
        assert_eq!(again.choose(Kind::Task, 9), 0);
    }

    #[test]
    fn a_line_that_is_no_choice_is_an_error() {
        for line in ["", "task 2", "task 2 2", "tusk 2 1", "task 2 1 0", "task -2 1"] {
            assert!(line.parse::<Choice>().is_err(), "{line}");
        }
    }
}
