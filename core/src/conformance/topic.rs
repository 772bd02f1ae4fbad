//! Scenarios of the topic.

use super::{
    Violation,
    queue::{Line, refused},
    scenarios,
    stage::{Stage, filled, same, same_ids},
};
use crate::{
    limits::NOTIFICATION_BYTES_MAX,
    port::{Attributes, NewMessage, PortError, Topic},
};
use std::{sync::Arc, time::Duration};

pub(super) const TOPIC: &str = "published";
/// The queues subscribed to [`TOPIC`].
pub(super) const SUBSCRIPTIONS: [&str; 2] = ["subscribed-one", "subscribed-two"];

const LONG: Duration = Duration::from_secs(300);

scenarios!("topic":
    every_subscription_gets_every_message,
    a_notification_over_the_limit_is_refused_alone,
    a_delay_is_refused_alone,
    calls_with_nothing_do_nothing,
);

impl Stage<'_> {
    fn topic(&self) -> Result<&Arc<dyn Topic>, Violation> {
        Ok(self.ports.topic(TOPIC)?)
    }

    fn notification(&self, text: &str) -> NewMessage {
        NewMessage { body: format!("{}/{text}", self.tag), ..NewMessage::default() }
    }

    async fn publish(&self, messages: Vec<NewMessage>) -> Result<Vec<Result<(), PortError>>, Violation> {
        let count = messages.len();
        let answers = self.topic()?.publish(messages).await;
        same("answers of a publication", &count, &answers.len())?;
        Ok(answers)
    }

    /// Asserts that each subscription gets these messages, and no others.
    async fn all_get(&self, what: &str, messages: &[NewMessage]) -> Result<(), Violation> {
        for name in SUBSCRIPTIONS {
            let line = Line::new(self, name)?;
            let received = line.receive(messages.len(), Some(LONG)).await?;
            let more = line.look(Some(LONG)).await?;
            let describe = |body: &str, attributes: &Attributes| format!("{body:?} {attributes:?}");
            same_ids(
                &format!("{what}, at {name}"),
                messages.iter().map(|message| describe(&message.body, &message.attributes)),
                received.iter().chain(&more).map(|message| describe(&message.body, &message.attributes)),
            )?;
            line.delete(&received).await?;
        }
        Ok(())
    }
}

async fn every_subscription_gets_every_message(stage: &Stage<'_>) -> Result<(), Violation> {
    let mut messages: Vec<NewMessage> = (0..25).map(|at| stage.notification(&format!("{at}"))).collect();
    messages.push(stage.notification("{\"text\":\"é \\\"😀\\\" 日本\"}\r\n\t"));
    let named = Attributes::from([("event-type".to_owned(), "it's \"é\"".to_owned())]);
    messages.push(NewMessage { attributes: named, ..stage.notification("with attributes") });
    let answers = stage.publish(messages.clone()).await?;
    answers.into_iter().collect::<Result<(), PortError>>()?;
    stage.all_get("27 messages published", &messages).await
}

async fn a_notification_over_the_limit_is_refused_alone(stage: &Stage<'_>) -> Result<(), Violation> {
    let of_size = |bytes: usize| NewMessage {
        body: filled(stage.notification("").body, bytes),
        ..NewMessage::default()
    };
    let small = stage.notification("small");
    let largest = of_size(NOTIFICATION_BYTES_MAX);
    let messages = vec![small.clone(), of_size(NOTIFICATION_BYTES_MAX + 1), largest.clone()];
    let answers = stage.publish(messages).await?;
    refused("a notification of 256 KiB and a byte", &answers[1])?;
    same("a small notification and one of 256 KiB", &(&Ok(()), &Ok(())), &(&answers[0], &answers[2]))?;
    stage.all_get("notifications beside a refused one", &[small, largest]).await
}

async fn a_delay_is_refused_alone(stage: &Stage<'_>) -> Result<(), Violation> {
    let (one, other) = (stage.notification("one"), stage.notification("other"));
    let delayed = NewMessage { delay: Duration::from_secs(1), ..stage.notification("delayed") };
    let answers = stage.publish(vec![one.clone(), delayed, other.clone()]).await?;
    refused("a notification with a delay", &answers[1])?;
    same("the notifications beside it", &(&Ok(()), &Ok(())), &(&answers[0], &answers[2]))?;
    stage.pass(Duration::from_secs(1)).await;
    stage.all_get("notifications beside a refused one", &[one, other]).await
}

async fn calls_with_nothing_do_nothing(stage: &Stage<'_>) -> Result<(), Violation> {
    stage.publish(Vec::new()).await.map(drop)
}
