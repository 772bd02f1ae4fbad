//! What this build would do with a message: its handler runs on a copy of the state, and every effect and commit is held back.
//!
//! Tables and buckets are read as they are, and what the handler writes stays beside them, for the next message to see. Nothing that
//! is sent or published leaves. A service is asked only where its definition says that it is [safe to try](crate::Service::tried_where).

mod held;

use crate::{
    dead_letter::DeadLetter,
    failure::Failure,
    model::Destination,
    notify::Notifier,
    pipeline::{Observation, Pipeline, Verdict},
    port::{Message, Receipt},
    services::Services,
    setting::SettingError,
};
use held::{Held, Silent};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::broadcast;
use tracing::{instrument::WithSubscriber as _, subscriber::NoSubscriber};

/// What this build would do with a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum TrialOutcome {
    /// It is done.
    Done {
        /// What the handler would do, in the words of the trail.
        what: String,
    },
    /// There is nothing to do: it was done before.
    Duplicate {
        /// Why there is nothing to do.
        why: String,
    },
    /// It fails.
    Fails {
        /// The reason, the same as before or another one.
        reason: String,
        /// A sentence about it.
        detail: String,
        /// It would be tried again after a time, and may pass then: some attempts were tried, and no time passed between them.
        is_tried_again: bool,
    },
    /// It can't be read, and a redrive leaves it.
    Unreadable {
        /// Why.
        why: String,
    },
    /// Nobody can tell without doing it.
    Unknown {
        /// Why not.
        why: String,
    },
}

impl TrialOutcome {
    /// All the words of [`word`](Self::word).
    pub const WORDS: [&'static str; 5] = ["done", "duplicate", "fails", "unreadable", "unknown"];

    /// In one word, as it stands in a plan.
    pub fn word(&self) -> &'static str {
        let [done, duplicate, fails, unreadable, unknown] = Self::WORDS;
        match self {
            Self::Done { .. } => done,
            Self::Duplicate { .. } => duplicate,
            Self::Fails { .. } => fails,
            Self::Unreadable { .. } => unreadable,
            Self::Unknown { .. } => unknown,
        }
    }

    /// In a few words, of a letter that is there for `reason`: `done`, `fails again`, `fails: timeout`.
    pub fn summary(&self, reason: &str) -> String {
        match self {
            Self::Done { .. } => "done".to_owned(),
            Self::Duplicate { .. } => "a duplicate".to_owned(),
            Self::Fails { reason: again, .. } if again == reason => "fails again".to_owned(),
            Self::Fails { reason, .. } => format!("fails: {reason}"),
            Self::Unreadable { .. } => "unreadable".to_owned(),
            Self::Unknown { why } => format!("unknown: {why}"),
        }
    }
}

/// Attempts at a message that fails for a cause that may pass. No time passes between them.
const ATTEMPTS_MAX: u32 = 5;

/// Tries messages, one after the other.
pub(super) struct Trial {
    pipeline: Pipeline,
    held: Arc<Held>,
    observed: broadcast::Receiver<Arc<Observation>>,
}

impl Trial {
    /// Over the state that `pipeline` works on, and with the settings that it has.
    ///
    /// # Errors
    /// A service that is safe to try, and can't be made.
    pub(super) fn over(pipeline: &Pipeline) -> Result<Self, SettingError> {
        let held = Arc::new(Held::default());
        let mut ports = held.ports(pipeline.ports());
        ports.services = Services::new().with::<dyn Notifier>(Arc::new(Silent));
        let ports = pipeline.choreography().equip_to_try(ports)?;
        let pipeline = Pipeline::new(pipeline.choreography().clone(), ports);
        let observed = pipeline.observe();
        Ok(Self { pipeline, held, observed })
    }

    /// What would become of a dead letter of `queue` that is sent back, with this body in place of its own.
    pub(super) async fn of(&mut self, queue: &str, letter: &Message, body: Option<&str>) -> TrialOutcome {
        let read = DeadLetter::read(letter);
        if body.is_none() && read.is_damaged() {
            return TrialOutcome::Unreadable { why: read.detail };
        }
        let model = Arc::clone(self.pipeline.choreography().model());
        let step = match model.redrive_target(queue) {
            Some(Destination::Queue(name) | Destination::Stream { queue: name, .. }) => {
                model.steps.iter().find(|step| step.queue == name)
            }
            _ => None,
        };
        let Some(step) = step else {
            return TrialOutcome::Unknown { why: "it goes to others".to_owned() };
        };
        let again = DeadLetter::redriven(letter);
        let message = Message {
            body: body.map_or(again.body, str::to_owned),
            attributes: again.attributes,
            receive_count: 1,
            receipt: Receipt("a trial".to_owned()),
            unreadable: None,
            ..letter.clone()
        };
        let mut outcome = self.attempt(&step.name, &message).await;
        for attempt in 2..=step.attempts.min(ATTEMPTS_MAX) {
            if !matches!(outcome, TrialOutcome::Fails { is_tried_again: true, .. }) {
                break;
            }
            let message = Message { receive_count: attempt, ..message.clone() };
            outcome = self.attempt(&step.name, &message).await;
        }
        self.held.forget_what_is_much();
        outcome
    }

    /// One receive of it.
    async fn attempt(&mut self, step: &str, message: &Message) -> TrialOutcome {
        while self.observed.try_recv().is_ok() {}
        let before = self.held.effects();
        // What it says of itself is of no message that there is.
        let worked = self.pipeline.deliver(step, std::slice::from_ref(message));
        let worked = worked.with_subscriber(NoSubscriber::new()).await;
        let what = self.observed.try_recv().map(|observed| observed.what.clone()).unwrap_or_default();
        match worked.map(|mut verdicts| verdicts.pop()) {
            Err(failure) => unknown(&failure),
            Ok(None) => TrialOutcome::Unknown { why: "no verdict was given".to_owned() },
            Ok(Some(verdict)) => told(verdict, what, self.held.effects() > before),
        }
    }
}

/// What a verdict says; `has_effects` where something was to be written or sent.
fn told(verdict: Verdict, what: String, has_effects: bool) -> TrialOutcome {
    let fails = |failure: Failure, is_tried_again| TrialOutcome::Fails {
        reason: failure.reason().to_owned(),
        detail: failure.detail().to_owned(),
        is_tried_again,
    };
    match verdict {
        Verdict::Done if has_effects || what == "done" => TrialOutcome::Done { what },
        Verdict::Done => TrialOutcome::Duplicate { why: what },
        Verdict::Later(_) => TrialOutcome::Done { what: "waits for its time".to_owned() },
        Verdict::Ended(failure) => TrialOutcome::Done { what: failure.to_string() },
        Verdict::Retry(_, failure) | Verdict::DeadLetter(failure) if is_none_of_its_own(&failure) => {
            unknown(&failure)
        }
        Verdict::Retry(_, failure) => fails(failure, true),
        Verdict::DeadLetter(failure) => fails(failure, false),
    }
}

/// Whether a failure is the trial's, and not the message's.
fn is_none_of_its_own(failure: &Failure) -> bool {
    matches!(failure.reason(), "no_service" | "not_tried" | "port_unavailable" | "port_denied")
}

fn unknown(failure: &Failure) -> TrialOutcome {
    TrialOutcome::Unknown { why: failure.detail().to_owned() }
}
