//! What fails now: the last failure of each step with each entity, in memory. Written where a message failed, and forgotten once
//! the step is done with it.

use super::{
    Pipeline,
    batch::{Work, Worked},
    verdict::{Verdict, last_attempt},
};
use crate::{model::StepModel, timestamp::Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Failures that are remembered, in all; the oldest is forgotten for the next. Each takes some 2 KB at most.
pub const FAILING_MAX: usize = 10_000;

/// The last failure of a step with a message that is told to one entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// The step.
    pub step: String,
    /// The id of the entity.
    pub subject: String,
    /// Which receive of the message it was, counted from 1.
    pub attempt: u32,
    /// On which receive the message is given up.
    pub attempts_max: u32,
    /// Machine name of the cause.
    pub reason: String,
    /// A sentence about it.
    pub detail: String,
    /// When it failed.
    pub at: Timestamp,
    /// When it is tried again; `None` where it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

/// The failures that are remembered. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether there are any: as long as all goes well, nobody takes the lock.
    any: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By subject, then step.
    by_subject: HashMap<String, BTreeMap<String, Remembered>>,
    /// Which subject's and step's failure was written when, the oldest first.
    by_age: BTreeMap<u64, (String, String)>,
    written: u64,
}

#[derive(Debug)]
struct Remembered {
    age: u64,
    /// The event that failed: that another one is done says nothing of it.
    event: String,
    failing: Failing,
}

impl Failures {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        !self.0.any.load(Ordering::Relaxed)
    }

    fn remember(&self, event: &str, failing: Failing) {
        let mut kept = self.kept();
        kept.remember(event, failing);
        self.0.any.store(true, Ordering::Relaxed);
    }

    fn forget(&self, subject: &str, event: &str, step: &str) {
        let mut kept = self.kept();
        kept.forget(subject, step, |remembered| remembered.event == event);
        self.0.any.store(!kept.by_age.is_empty(), Ordering::Relaxed);
    }

    fn of(&self, subject: &str) -> Vec<Failing> {
        let kept = self.kept();
        let of_subject = kept.by_subject.get(subject).into_iter().flat_map(BTreeMap::values);
        of_subject.map(|remembered| remembered.failing.clone()).collect()
    }

    /// The latest ones that are meant, the latest first.
    fn latest(&self, max: usize, is_meant: impl Fn(&Failing) -> bool) -> Vec<Failing> {
        let kept = self.kept();
        let by_age = kept.by_age.values().rev();
        let all =
            by_age.filter_map(|(subject, step)| Some(&kept.by_subject.get(subject)?.get(step)?.failing));
        all.filter(|failing| is_meant(failing)).take(max).cloned().collect()
    }
}

impl Kept {
    fn remember(&mut self, event: &str, failing: Failing) {
        self.forget(&failing.subject, &failing.step, |_| true);
        while self.by_age.len() >= FAILING_MAX
            && let Some((_, (subject, step))) = self.by_age.pop_first()
        {
            self.forget(&subject, &step, |_| true);
        }
        self.written += 1;
        let (subject, step) = (failing.subject.clone(), failing.step.clone());
        self.by_age.insert(self.written, (subject.clone(), step.clone()));
        let remembered = Remembered { age: self.written, event: event.to_owned(), failing };
        self.by_subject.entry(subject).or_default().insert(step, remembered);
    }

    fn forget(&mut self, subject: &str, step: &str, is_meant: impl FnOnce(&Remembered) -> bool) {
        let Some(of_subject) = self.by_subject.get_mut(subject) else { return };
        if !of_subject.get(step).is_some_and(is_meant) {
            return;
        }
        if let Some(gone) = of_subject.remove(step) {
            self.by_age.remove(&gone.age);
        }
        if of_subject.is_empty() {
            self.by_subject.remove(subject);
        }
    }
}

impl Pipeline {
    /// The last failures of the steps that work entities of `kind`, or none of any kind, with what was told to that of this `id`:
    /// what is tried again, and what was given up. As long as this process remembers, which is for the last [`FAILING_MAX`].
    pub fn failing(&self, kind: &str, id: &str) -> Vec<Failing> {
        let model = self.choreography.model();
        let is_of_kind = |failing: &Failing| {
            let step = model.step(&failing.step);
            step.is_some_and(|step| step.entity_kind.as_deref().is_none_or(|of| of == kind))
        };
        let mut failing = self.failures.of(id);
        failing.retain(is_of_kind);
        failing
    }

    /// The latest failures that are tried again, of all steps or those named, at most `max`, the latest first. As far as this process
    /// remembers: see [`failing`](Self::failing).
    pub fn failing_now(&self, steps: Option<&[&str]>, max: usize) -> Vec<Failing> {
        let is_meant = |failing: &Failing| {
            failing.next.is_some() && steps.is_none_or(|steps| steps.contains(&failing.step.as_str()))
        };
        self.failures.latest(max, is_meant)
    }

    /// Remembers which of these messages failed, and forgets the failures of those that are done.
    pub(super) fn remember_failures(&self, step: &StepModel, worked: &[Worked<'_>], at: Timestamp) {
        for Worked { work: Work { message, envelope }, verdict, .. } in worked {
            let Some(envelope) = envelope else { continue };
            let (failure, next) = match verdict {
                Verdict::Retry(wait, failure) => (failure, Some(at + *wait)),
                Verdict::DeadLetter(failure) => (failure, None),
                Verdict::Done | Verdict::Ended(_) => {
                    if !self.failures.is_empty() {
                        self.failures.forget(&envelope.subject, &envelope.id, &step.name);
                    }
                    continue;
                }
                // Its time has not come: that is no attempt.
                Verdict::Later(_) => continue,
            };
            // The attempt is told beside it.
            let detail = failure.detail();
            let detail = detail.strip_prefix(&*last_attempt(step, message.receive_count)).unwrap_or(detail);
            let failing = Failing {
                step: step.name.clone(),
                subject: envelope.subject.clone(),
                attempt: message.receive_count,
                attempts_max: step.attempts,
                reason: failure.reason().to_owned(),
                detail: detail.to_owned(),
                at,
                next,
            };
            self.failures.remember(&envelope.id, failing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(subject: &str, step: &str, attempt: u32) -> Failing {
        let (reason, detail) = ("busy".to_owned(), String::new());
        let (step, subject, at) = (step.to_owned(), subject.to_owned(), Timestamp::from_millis(0));
        Failing { step, subject, attempt, attempts_max: 5, reason, detail, at, next: None }
    }

    #[test]
    fn no_more_failures_are_kept_than_there_is_room_for_and_the_oldest_go_first() {
        let failures = Failures::default();
        for subject in 0..=FAILING_MAX {
            failures.remember("e", failing(&subject.to_string(), "s", 1));
            // That of the second is written anew each time, so that it is never the oldest.
            failures.remember("e", failing("1", "s", 2));
        }
        assert_eq!(["0", "1", "2"].map(|subject| failures.of(subject).len()), [0, 1, 1]);
        let latest = failures.latest(2, |failing| failing.attempt == 1);
        assert_eq!(latest[1].subject, (FAILING_MAX - 1).to_string());
        let kept = failures.kept();
        assert_eq!((kept.by_age.len(), kept.by_subject.len()), (FAILING_MAX, FAILING_MAX));
    }

    #[test]
    fn nothing_is_left_of_what_is_forgotten() {
        let failures = Failures::default();
        assert!(failures.is_empty());
        for step in ["s", "t"] {
            failures.remember("e", failing("1", step, 1));
            failures.remember("e", failing("1", step, 2));
        }
        failures.forget("1", "another", "s");
        assert_eq!(failures.of("1").len(), 2);
        failures.forget("1", "e", "s");
        assert_eq!(failures.of("1"), [failing("1", "t", 2)]);
        failures.forget("1", "e", "t");
        let kept = failures.kept();
        assert!(kept.by_age.is_empty() && kept.by_subject.is_empty());
        drop(kept);
        assert!(failures.is_empty());
    }
}
