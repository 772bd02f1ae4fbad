//! A batch, from its messages to their verdicts.

use super::{
    Pipeline,
    admit::{NotAdmitted, admit},
    batch::{Batch, Task, Work, Worked, next_round},
    observe::log,
    verdict::Verdict,
};
use crate::{
    dead_letter::DeadLetter,
    failure::Failure,
    handler::ErasedHandler,
    model::StepModel,
    panics::{PANICKED, caught_now},
    port::Message,
};
use std::{collections::VecDeque, sync::Arc};

impl Pipeline {
    /// Works a batch without settling it.
    pub(super) async fn work<'a>(
        &self,
        step: &StepModel,
        messages: &'a [Message],
    ) -> Result<Vec<Worked<'a>>, Failure> {
        let Some(handler) = self.choreography.handlers.get(&step.name) else {
            return Err(Failure::permanent("no_step", format_args!("step {:?} has no handler", step.name)));
        };
        let (mut batch, mut tasks) = self.admitted(step, handler.as_ref(), messages);
        while !tasks.is_empty() {
            // Past the step's own timeout, what needs no time is still done; past the invocation's deadline, its caller has
            // to answer.
            if self.invocation.deadline.is_some_and(|deadline| self.ports.clock.now() >= deadline) {
                let detail = "not begun in time: what came before it took all of it";
                batch.fail(tasks.drain(..), &Failure::transient("timeout", detail));
                break;
            }
            let round = next_round(&mut tasks);
            let again = self.round(step, handler.as_ref(), round, &mut batch).await;
            // Before the others, so that messages told to one entity stay in their order.
            again.into_iter().rev().for_each(|task| tasks.push_front(task));
        }
        self.note_failures(step, &mut batch).await;
        Ok(self.judged(step, batch))
    }

    /// The batch of these messages, and those of them that are to be handled now.
    fn admitted<'a>(
        &self,
        step: &StepModel,
        handler: &dyn ErasedHandler,
        messages: &'a [Message],
    ) -> (Batch<'a>, VecDeque<Task>) {
        let (model, now) = (self.choreography.model(), self.ports.clock.now());
        let mut batch = Batch::of(messages.len(), self.end_of(step.timeout));
        let mut tasks = VecDeque::with_capacity(messages.len());
        for (at, message) in messages.iter().enumerate() {
            let read = caught_now(|| match DeadLetter::damage(message) {
                Some(damage) => Err(damage),
                None => self.choreography.envelope(&step.name, &message.body, message.sent_at),
            });
            let read = read.unwrap_or_else(|text| Err(Failure::transient(PANICKED, text)));
            let (envelope, decoded) = match read {
                Ok(envelope) => {
                    let decoded = admit(model, step, handler, &envelope, message, now);
                    (Some(envelope), decoded)
                }
                Err(failure) => (None, Err(NotAdmitted::Failed(failure))),
            };
            match decoded {
                Ok((decoded, mut about)) => {
                    about.traceparent = Some(self.context(step, message, envelope.as_ref()));
                    tasks.push_back(Task { at, decoded, about: Arc::new(about), races: 0 });
                }
                Err(NotAdmitted::Early(left)) => batch.verdicts[at] = Verdict::Later(left),
                Err(NotAdmitted::Failed(failure)) => batch.failed.push((at, failure)),
            }
            batch.works.push(Work { message, envelope });
        }
        (batch, tasks)
    }

    /// The messages of a batch that is done, each with its verdict, which the log is told.
    fn judged<'a>(&self, step: &StepModel, batch: Batch<'a>) -> Vec<Worked<'a>> {
        let Batch { works, mut verdicts, failed, open, notes, .. } = batch;
        for (at, failure) in failed {
            let message = works[at].message;
            verdicts[at] = match open.contains(&at) {
                true => self.kept(step, message, failure),
                false => self.verdict(step, message.receive_count, failure),
            };
        }
        let worked = works.into_iter().zip(verdicts).zip(notes);
        let worked: Vec<Worked<'a>> =
            worked.map(|((work, verdict), note)| Worked { work, verdict, note }).collect();
        for Worked { work, verdict, .. } in &worked {
            log(step, work, verdict, self.invocation.traceparent.as_deref());
        }
        worked
    }
}
