//! A batch, from its messages to their verdicts.

use super::{
    Pipeline,
    admit::{NotAdmitted, admit},
    batch::{Batch, Task, Work, next_round},
    observe::log,
    verdict::Verdict,
};
use crate::{event::Envelope, failure::Failure, port::Message};
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

impl Pipeline {
    /// Works a batch without settling it: what the Lambda runtime needs, which settles by its answer.
    ///
    /// # Errors
    /// A [`Failure`] where there is no such step.
    pub async fn work(&self, step: &str, messages: &[Message]) -> Result<Vec<Verdict>, Failure> {
        let step = self.step(step)?;
        let Some(handler) = self.choreography.handlers.get(&step.name) else {
            return Err(Failure::permanent("no_step", format_args!("step {:?} has no handler", step.name)));
        };
        let now = self.ports.clock.now();
        let mut verdicts: Vec<Verdict> = vec![Verdict::Done; messages.len()];
        let mut batch = Batch {
            works: Vec::with_capacity(messages.len()),
            failed: Vec::new(),
            told: HashSet::new(),
            notes: vec![None; messages.len()],
            end: self.end_of(step.timeout),
        };
        let mut tasks = VecDeque::with_capacity(messages.len());
        for (at, message) in messages.iter().enumerate() {
            let (envelope, decoded) = match Envelope::parse(&message.body) {
                Ok(envelope) => {
                    let decoded =
                        admit(self.choreography.model(), step, handler.as_ref(), &envelope, message, now);
                    let decoded = decoded.map(|(decoded, mut about)| {
                        about.traceparent = about.traceparent.or_else(|| self.invocation.traceparent.clone());
                        (decoded, about)
                    });
                    (Some(envelope), decoded)
                }
                Err(failure) => (None, Err(NotAdmitted::Failed(failure))),
            };
            match decoded {
                Ok((decoded, about)) => {
                    tasks.push_back(Task { at, decoded, about: Arc::new(about), races: 0 })
                }
                Err(NotAdmitted::Early(left)) => verdicts[at] = Verdict::Later(left),
                Err(NotAdmitted::Failed(failure)) => batch.failed.push((at, failure)),
            }
            batch.works.push(Work { message, envelope });
        }
        while !tasks.is_empty() {
            // Past the step's own timeout, what needs no time is still done; past the invocation's deadline, its caller has
            // to answer.
            if self.invocation.deadline.is_some_and(|deadline| self.ports.clock.now() >= deadline) {
                let detail = "not begun in time: what came before it took all of it";
                let failure = Failure::transient("timeout", detail);
                batch.failed.extend(tasks.drain(..).map(|task| (task.at, failure.clone())));
                break;
            }
            let round = next_round(&mut tasks);
            let again = self.round(step, handler.as_ref(), round, &mut batch).await;
            // Before the others, so that messages told to one entity stay in their order.
            again.into_iter().rev().for_each(|task| tasks.push_front(task));
        }
        self.note_failures(step, &batch).await;
        let Batch { works, failed, notes, .. } = batch;
        for (at, failure) in failed {
            verdicts[at] = self.verdict(step, messages[at].receive_count, failure);
        }
        for ((work, verdict), note) in works.iter().zip(&verdicts).zip(notes) {
            log(step, work, verdict, self.invocation.traceparent.as_deref());
            self.observed(step, work, verdict, note);
        }
        Ok(verdicts)
    }
}
