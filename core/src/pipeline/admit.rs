//! Whether a message is to be handled now.

use crate::{
    commit::Carried,
    context::About,
    dead_letter::{RECEIVES_EXHAUSTED, Redriven},
    event::Envelope,
    failure::Failure,
    handler::{Decoded, ErasedHandler},
    limits::QUEUE_DELAY_MAX,
    model::{Model, StepModel},
    panics::{PANICKED, caught_now},
    planted::planted,
    port::Message,
    relay::first_hop,
    timestamp::Timestamp,
    trail::cut,
};
use serde_json::value::RawValue;
use std::{sync::OnceLock, time::Duration};

pub(super) enum NotAdmitted {
    /// Not before its time: this much of the delay is left.
    Early(Duration),
    Failed(Failure),
}

/// Whether a message is to be handled now: in time, within its attempts and its budget, of the right type.
pub(super) fn admit(
    model: &Model,
    step: &StepModel,
    handler: &dyn ErasedHandler,
    envelope: &Envelope<Box<RawValue>>,
    message: &Message,
    now: Timestamp,
) -> Result<(Decoded, About), NotAdmitted> {
    if message.receive_count > step.attempts {
        let detail = format_args!(
            "received {} times and never answered: its process died, or its time ran out, on each of its {} attempts",
            message.receive_count, step.attempts
        );
        return Err(NotAdmitted::Failed(Failure::permanent(RECEIVES_EXHAUSTED, detail)));
    }
    let decoded = decode(handler, envelope).map_err(NotAdmitted::Failed)?;
    let is_never_due = planted("never_due") && envelope.notbefore.is_some();
    let left = if is_never_due { QUEUE_DELAY_MAX } else { first_hop(envelope.notbefore, now) };
    if !left.is_zero() {
        return Err(NotAdmitted::Early(left));
    }
    let mut carried = Carried { deadline: envelope.deadline, hops: envelope.hops };
    if let Some(budget) = model.budget_of(step) {
        if carried == Carried::default() {
            let detail = "its `time`, from which the budget of its cycle counts, is missing or none";
            let missing = || NotAdmitted::Failed(Failure::permanent("malformed", detail));
            carried = model.entering(step, envelope.time.ok_or_else(missing)?);
        }
        if let Some(deadline) = carried.deadline.filter(|deadline| now > *deadline) {
            let failure = Failure::permanent("deadline_passed", format_args!("the deadline was {deadline}"));
            return Err(NotAdmitted::Failed(failure));
        }
        if let Some(hops) = carried.hops.filter(|hops| *hops > budget.hops) {
            let detail = format_args!("{hops} events along the cycle, the budget is {}", budget.hops);
            return Err(NotAdmitted::Failed(Failure::permanent("hops_exhausted", detail)));
        }
    }
    let about = About {
        attempt: message.receive_count,
        correlation_id: envelope.correlationid.clone().or_else(|| Some(envelope.id.clone())),
        traceparent: None,
        carried,
        input: kept(model, envelope.data.get().as_bytes()),
        redriven: Redriven::of(message),
        called_at: OnceLock::new(),
    };
    Ok((decoded, about))
}

/// What a handler was given, as far as a trail keeps it; none where no table keeps it.
pub(super) fn kept(model: &Model, input: &[u8]) -> Option<String> {
    let is_kept = model.tables.iter().any(|table| table.keeps_details);
    is_kept.then(|| cut(&String::from_utf8_lossy(input)))
}

/// The event of an envelope. How it is read is written by others too, so that a panic is a failure of its message.
pub(super) fn decode(
    handler: &dyn ErasedHandler,
    envelope: &Envelope<Box<RawValue>>,
) -> Result<Decoded, Failure> {
    let decoded = caught_now(|| handler.decode(envelope));
    decoded.unwrap_or_else(|text| Err(Failure::transient(PANICKED, text)))
}
