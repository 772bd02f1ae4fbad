//! A batch of SQS: each message has its own end. It is done, it comes again after a wait, or it is a dead letter with its reason.

use super::{log, unavailable, variable};
use aws_config::SdkConfig;
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use aws_sdk_sqs::{Client, types::MessageAttributeValue};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use quadrille::Failure;
use serde::Serialize;
use serde_json::json;
use std::{
    panic::AssertUnwindSafe,
    time::{Duration, SystemTime},
};

/// Messages of a batch that are worked at once.
const AT_ONCE: usize = 16;
/// What is left of an invocation's time for settling its messages.
const SETTLING: Duration = Duration::from_secs(2);
/// How often a message that lost a race for its item is worked anew at once.
const RACES_MAX: u32 = 5;

/// What became of a message, for the log; or its failure.
pub type Done = Result<&'static str, Failure>;

/// What a step does with a message.
pub trait Step {
    type Message;
    /// Reasons that end a message as business does: it is followed, and no dead letter.
    const BUSINESS_ENDS: &'static [&'static str] = &[];

    fn read(&self, body: &str) -> Result<Self::Message, Failure>;

    async fn handle(&self, message: &Self::Message, attempt: u32) -> Done;

    /// Writes into the history of the message's item what became of the message.
    async fn note(&self, message: &Self::Message, what: &str) -> Result<(), Failure>;

    /// Follows a message that is given up, before it is gone.
    async fn given_up(&self, _: &Self::Message, _: &Failure) -> Result<(), Failure> {
        Ok(())
    }
}

/// A queue that a step works, its dead-letter queue, and how often it tries.
pub struct Queue {
    client: Client,
    url: String,
    dead_letters: DeadLetters,
    attempts: u32,
    wait: fn(u32) -> Duration,
}

impl Queue {
    /// Of so many attempts, the first included, and the wait after each.
    pub fn new(config: &SdkConfig, attempts: u32, wait: fn(u32) -> Duration) -> Result<Self, Error> {
        let (client, url) = (Client::new(config), variable("QUEUE_URL")?);
        Ok(Self { client, url, dead_letters: DeadLetters::new(config)?, attempts, wait })
    }

    /// Works batches until Lambda ends the process.
    pub async fn work(self, step: impl Step) -> Result<(), Error> {
        let (queue, step) = (&self, &step);
        let batch = move |event: LambdaEvent<SqsEvent>| async move {
            let until = event.context.deadline().checked_sub(SETTLING).unwrap_or(SystemTime::UNIX_EPOCH);
            let settled = event.payload.records.iter().map(|message| queue.settle(step, message, until));
            let failed: Vec<Option<String>> = stream::iter(settled).buffered(AT_ONCE).collect().await;
            let mut response = SqsBatchResponse::default();
            for id in failed.into_iter().flatten() {
                let mut failure = BatchItemFailure::default();
                failure.item_identifier = id;
                response.batch_item_failures.push(failure);
            }
            Ok::<_, Error>(response)
        };
        lambda_runtime::run(service_fn(batch)).await
    }

    /// Works a message to its end; its id where it is to come again.
    async fn settle<S: Step>(&self, step: &S, message: &SqsMessage, until: SystemTime) -> Option<String> {
        let id = message.message_id.clone().unwrap_or_default();
        let received = message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok());
        let attempt: u32 = received.unwrap_or(1);
        let body = message.body.as_deref().unwrap_or_default();
        let read = step.read(body);
        let done = match &read {
            Ok(_) if attempt > self.attempts => {
                Err(Failure::permanent("receives_exhausted", "its process ended on each attempt"))
            }
            Ok(read) => handled(step, read, attempt, until).await,
            Err(failure) => Err(failure.clone()),
        };
        let failure = match done {
            Ok(done) => {
                log(json!({ "level": "INFO", "message": id, "attempt": attempt, "done": done }));
                return None;
            }
            Err(failure) => failure,
        };
        let (reason, detail) = (failure.reason(), failure.detail());
        log(
            json!({ "level": "WARN", "message": id, "attempt": attempt, "reason": reason, "detail": detail }),
        );
        if failure.is_permanent() || attempt >= self.attempts {
            match self.give_up(step, read.ok().as_ref(), message, attempt, &failure).await {
                Ok(()) => return None,
                Err(error) => log(json!({ "level": "ERROR", "message": id, "reason": error.reason() })),
            }
        }
        let wait = (self.wait)(attempt).max(failure.wait_at_least());
        let wait = i32::try_from(wait.as_secs().min(43_200)).unwrap_or(43_200);
        let (handle, later) = (message.receipt_handle.clone(), self.client.change_message_visibility());
        let later = later.queue_url(&self.url).set_receipt_handle(handle).visibility_timeout(wait);
        if let Err(error) = later.send().await {
            let detail = unavailable("queue", &error).detail().to_owned();
            log(json!({ "level": "WARN", "message": id, "reason": "wait_not_set", "detail": detail }));
        }
        Some(id)
    }

    async fn give_up<S: Step>(
        &self,
        step: &S,
        read: Option<&S::Message>,
        message: &SqsMessage,
        attempt: u32,
        failure: &Failure,
    ) -> Result<(), Failure> {
        let is_business = S::BUSINESS_ENDS.contains(&failure.reason());
        if let Some(read) = read {
            let end = if is_business { "given up" } else { "dead-lettered" };
            step.note(read, &format!("{end}: {}", failure.reason())).await?;
            step.given_up(read, failure).await?;
        }
        if is_business {
            return Ok(());
        }
        let first_seen = message.attributes.get("SentTimestamp").map_or("", String::as_str);
        let body = message.body.as_deref().unwrap_or_default();
        self.dead_letters.send(body, failure, attempt, first_seen).await
    }
}

/// The step's own work, within its time; a panic of it is a failure of its message alone.
async fn handled<S: Step>(step: &S, message: &S::Message, attempt: u32, until: SystemTime) -> Done {
    for race in 0.. {
        let time = until.duration_since(SystemTime::now()).unwrap_or_default();
        let work = AssertUnwindSafe(step.handle(message, attempt)).catch_unwind();
        let done = match tokio::time::timeout(time, work).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(Failure::transient("panicked", "the handler panicked")),
            Err(_) => Err(Failure::transient("timeout", "no end within the step's timeout")),
        };
        if race == RACES_MAX || !done.as_ref().is_err_and(|failure| failure.reason() == "conflict") {
            return done;
        }
    }
    Err(Failure::transient("conflict", "others keep changing the item"))
}

/// A dead-letter queue.
pub struct DeadLetters {
    client: Client,
    url: String,
    step: String,
}

impl DeadLetters {
    pub fn new(config: &SdkConfig) -> Result<Self, Error> {
        let (url, step) = (variable("DEAD_LETTERS_URL")?, variable("STEP")?);
        Ok(Self { client: Client::new(config), url, step })
    }

    /// Sends a message there, with its reason beside it.
    pub async fn send(
        &self,
        body: &str,
        failure: &Failure,
        attempt: u32,
        first_seen: &str,
    ) -> Result<(), Failure> {
        let mut letter = self.client.send_message().queue_url(&self.url).message_body(body);
        let attempts = attempt.to_string();
        for (name, value) in [
            ("reason", failure.reason()),
            ("detail", failure.detail()),
            ("step", &self.step),
            ("attempts", &attempts),
            ("first_seen", first_seen),
        ] {
            let text = MessageAttributeValue::builder().data_type("String").string_value(value).build();
            let text = text.map_err(|error| Failure::permanent("unwritable", error))?;
            // SQS takes no empty attribute.
            letter = if value.is_empty() { letter } else { letter.message_attributes(name, text) };
        }
        let sent = letter.send().await;
        sent.map(|_| ()).map_err(|error| unavailable("dead_letters", &error))
    }
}

/// Sends a message to a queue straight: what follows a message that is given up.
pub struct Sender {
    client: Client,
    url: String,
}

impl Sender {
    pub fn new(config: &SdkConfig, queue: &str) -> Result<Self, Error> {
        Ok(Self { client: Client::new(config), url: variable(queue)? })
    }

    pub async fn send(&self, body: &impl Serialize) -> Result<(), Failure> {
        let body = serde_json::to_string(body).map_err(|error| Failure::permanent("unwritable", error))?;
        let sent = self.client.send_message().queue_url(&self.url).message_body(body).send().await;
        sent.map(|_| ()).map_err(|error| unavailable("queue", &error))
    }
}

/// A message of our own, as JSON.
pub fn json<M: serde::de::DeserializeOwned>(body: &str) -> Result<M, Failure> {
    // The error's text may repeat what was sent.
    serde_json::from_str(body)
        .map_err(|_| Failure::permanent("malformed_event", "it is not what the step reads"))
}

/// Doubling waits from a second up to `max`, with jitter.
pub fn backoff(attempt: u32, max: Duration) -> Duration {
    let longest = Duration::from_secs(1 << attempt.saturating_sub(1).min(20)).min(max);
    longest.mul_f64(1.0 - 0.5 * rand::random::<f64>())
}
