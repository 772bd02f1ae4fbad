//! Metrics: what a system counts and measures of itself.
//!
//! A system declares its metrics as constants and tells them where the thing happens: with a commit
//! ([`Commit::measure`](crate::Commit::measure)), which counts only once it is applied, or in passing
//! ([`Context::measure`](crate::Context::measure)). The pipeline adds its own. On Lambda each invocation writes what it
//! gathered as one line of CloudWatch's Embedded Metric Format; the local engine, whose state can be asked directly,
//! gathers none.

use crate::timestamp::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};

/// What a metric's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// How many. Those of one invocation are summed.
    Count,
    /// A time in milliseconds. Each value is kept, so that percentiles can be asked for.
    Milliseconds,
    /// A time in seconds, of which each value is kept.
    Seconds,
}

impl Unit {
    /// As CloudWatch names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
            Self::Seconds => "Seconds",
        }
    }
}

/// A metric: its name and its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    name: &'static str,
    unit: Unit,
}

impl Metric {
    /// A metric that counts.
    pub const fn count(name: &'static str) -> Self {
        Self { name, unit: Unit::Count }
    }

    /// A metric of times.
    pub const fn milliseconds(name: &'static str) -> Self {
        Self { name, unit: Unit::Milliseconds }
    }

    /// A metric of long times.
    pub const fn seconds(name: &'static str) -> Self {
        Self { name, unit: Unit::Seconds }
    }

    /// Its name, as CloudWatch shows it.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Its unit.
    pub fn unit(self) -> Unit {
        self.unit
    }
}

/// The time between two points of a life, as the value of a metric of [`Unit::Milliseconds`].
pub fn millis(from: Timestamp, to: Timestamp) -> f64 {
    to.since(from).as_secs_f64() * 1_000.0
}

/// Messages handled, those with nothing to do among them.
pub const HANDLED: Metric = Metric::count("Handled");
/// Messages sent on, as their time had not come.
pub const DELAYED: Metric = Metric::count("Delayed");
/// Messages to be tried again.
pub const RETRIED: Metric = Metric::count("Retried");
/// Messages given up: each is a dead letter with its reason.
pub const DEAD_LETTERED: Metric = Metric::count("DeadLettered");
/// Events that the relay sent on, once for each destination.
pub const RELAYED: Metric = Metric::count("Relayed");
/// Stream records and events that the relay passed over, for they can't be read, or nobody consumes them: worth an alarm at 1.
pub const PASSED_OVER: Metric = Metric::count("PassedOver");

/// Messages of a schedule that were handled, each schedule's by itself: worth an alarm where none come.
pub const SCHEDULED: Metric = Metric::count("Scheduled");
/// How long the oldest has waited of what a schedule works off, each schedule's by itself: worth an alarm where it is long.
pub const OLDEST_WAITING: Metric = Metric::seconds("OldestWaiting");
/// Entities that a handler met and that can't be read, each time it met them: the log says which.
pub const UNREADABLE: Metric = Metric::count("Unreadable");

/// All that the library measures by itself.
pub const ALL: [Metric; 9] =
    [HANDLED, DELAYED, RETRIED, DEAD_LETTERED, RELAYED, PASSED_OVER, SCHEDULED, OLDEST_WAITING, UNREADABLE];

/// The values of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The metric.
    pub metric: Metric,
    /// The schedule that it is measured of, where it is of one.
    pub schedule: Option<String>,
    /// Its values; of a count, their sum.
    pub values: Vec<f64>,
}

/// Gathers what is measured. Its clones gather together; the default one gathers nothing.
#[derive(Clone, Debug, Default)]
pub struct Meter(Option<Arc<Mutex<Vec<Measured>>>>);

impl Meter {
    /// One that gathers.
    pub fn gathering() -> Self {
        Self(Some(Arc::default()))
    }

    /// Adds a value. One that is no finite number is left out: CloudWatch would refuse the whole line.
    pub fn add(&self, metric: Metric, value: f64) {
        self.add_of(metric, None, value);
    }

    /// [`add`](Self::add) of one schedule alone.
    pub(crate) fn add_of(&self, metric: Metric, schedule: Option<&str>, value: f64) {
        let Some(gathered) = self.0.as_ref().filter(|_| value.is_finite()) else {
            return;
        };
        let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same =
            |measured: &&mut Measured| measured.metric == metric && measured.schedule.as_deref() == schedule;
        let Some(measured) = gathered.iter_mut().find(is_same) else {
            gathered.push(Measured { metric, schedule: schedule.map(str::to_owned), values: vec![value] });
            return;
        };
        match (metric.unit, measured.values.first_mut()) {
            (Unit::Count, Some(sum)) => *sum += value,
            _ => measured.values.push(value),
        }
    }

    /// Takes what was gathered, in the order in which the metrics first came.
    pub fn take(&self) -> Vec<Measured> {
        let Some(gathered) = &self.0 else { return Vec::new() };
        std::mem::take(&mut *gathered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_and_times_are_kept() {
        const TAKEN: Metric = Metric::count("Taken");
        const TIME: Metric = Metric::milliseconds("Time");
        let meter = Meter::gathering();
        let clone = meter.clone();
        clone.add(TAKEN, 2.0);
        meter.add(TIME, 5.0);
        meter.add(TAKEN, 3.0);
        meter.add(TIME, 5.0);
        meter.add(TIME, f64::NAN);
        let expected = [
            Measured { metric: TAKEN, schedule: None, values: vec![5.0] },
            Measured { metric: TIME, schedule: None, values: vec![5.0, 5.0] },
        ];
        assert_eq!(meter.take(), expected);
        assert_eq!(clone.take(), []);
    }

    #[test]
    fn the_default_one_gathers_nothing() {
        let meter = Meter::default();
        meter.add(HANDLED, 1.0);
        assert_eq!(meter.take(), []);
    }
}
