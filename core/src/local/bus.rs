//! Bus: an entry goes to the queue behind each rule that matches it.

use super::queue::LocalQueue;
use crate::{
    model::Rule,
    port::{Bus, BusEntry, NewMessage, PortError, Queue as _},
};
use async_trait::async_trait;
use futures_util::future::join_all;
use std::sync::Arc;

/// A bus, which is its rules and the queues behind them. A queue gets the detail of an entry.
pub(super) struct LocalBus {
    pub(super) name: String,
    pub(super) targets: Vec<(Rule, Arc<LocalQueue>)>,
}

#[async_trait]
impl Bus for LocalBus {
    async fn publish(&self, entries: Vec<BusEntry>) -> Vec<Result<(), PortError>> {
        let mut answers: Vec<Result<(), PortError>> = Vec::with_capacity(entries.len());
        let mut admitted = Vec::with_capacity(entries.len());
        for entry in entries {
            let at = answers.len();
            answers.push(entry.admitted(&self.name).map(|entry| admitted.push((at, entry))));
        }
        // All at once: the store takes them in one transaction.
        let sends = self.targets.iter().map(async |(rule, queue)| {
            let matched = admitted.iter().filter(|(_, entry)| rule.matches(entry));
            let message =
                |entry: &BusEntry| NewMessage { body: entry.detail.clone(), ..NewMessage::default() };
            let (places, messages): (Vec<usize>, Vec<NewMessage>) =
                matched.map(|(at, entry)| (*at, message(entry))).unzip();
            let sent = if messages.is_empty() { Vec::new() } else { queue.send(messages).await };
            places.into_iter().zip(sent).collect::<Vec<_>>()
        });
        for (at, sent) in join_all(sends).await.into_iter().flatten() {
            if sent.is_err() {
                answers[at] = sent;
            }
        }
        answers
    }
}
