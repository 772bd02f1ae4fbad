//! Queues with their dead-letter queue.

use super::{Both, alike, all_alike, played, same, seconds, sequences};
use proptest::{collection::vec, prelude::*};
use quadrille::port::{Depth, Message, NewMessage, PortError, Queue, Receipt, Received};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const QUEUES: [&str; 4] = ["redriven", "redriven-dlq", "forgetful", "work"];

/// Seconds that each queue keeps a message for at least.
const RETENTION_MIN: u32 = 60;

/// More than any sequence has.
const ALL: usize = 1_000;

#[derive(Clone, Debug)]
enum Call {
    Send(usize, Vec<(Draft, InPlaceOf)>),
    /// From a queue, in batches of at most so many, with a visibility timeout.
    Receive(usize, usize, Option<u32>),
    /// Receives given so far, each with its new timeout.
    Extend(Vec<(usize, u32)>),
    Delete(Vec<usize>),
    Depth(usize),
    Arrived(usize, usize),
    Pass(u32),
    Reopen,
}

/// A message to be sent; a number makes its body its own.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    delay: u32,
    key: Option<&'static str>,
    attributes: Vec<(&'static str, &'static str)>,
    body: Body,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Good,
    Empty,
    NoXml,
}

/// What a message stands for.
#[derive(Clone, Copy, Debug)]
enum InPlaceOf {
    Nothing,
    /// A message that was received.
    Received(usize),
    /// One of a queue that is not there.
    Nowhere,
}

pub(crate) fn draft() -> impl Strategy<Value = Draft> {
    let delay = prop_oneof![8 => Just(0_u32), 4 => 1..20_u32, 1 => Just(900), 1 => Just(901)];
    let key =
        prop::option::weighted(0.3, prop::sample::select(&["k", "K", "k\0a", "k\0b", "\"", "", "é"][..]));
    let attribute = (
        prop::sample::select(&["reason", "detail", "a.b", "aws.x", ".key", "é", "x"][..]),
        prop::sample::select(&["burnt", "", "\u{1}", "é\u{ffff}", "\"\\"][..]),
    );
    let attributes = prop_oneof![4 => Just(Vec::new()), 2 => vec(attribute, 0..3)];
    let body = prop_oneof![20 => Just(Body::Good), 1 => Just(Body::Empty), 1 => Just(Body::NoXml)];
    (delay, key, attributes, body).prop_map(|(delay, key, attributes, body)| Draft {
        delay,
        key,
        attributes,
        body,
    })
}

impl Draft {
    pub(crate) fn message(&self, number: usize) -> NewMessage {
        let body = match self.body {
            Body::Good => format!("{{\"number\": {number}, \"text\": \"é\\u0000\"}}\r\n"),
            Body::Empty => String::new(),
            Body::NoXml => format!("{number}\u{b}"),
        };
        let attribute = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        NewMessage {
            body,
            attributes: self.attributes.iter().map(attribute).collect(),
            delay: seconds(self.delay),
            in_place_of: None,
            key: self.key.map(str::to_owned),
        }
    }
}

fn call() -> impl Strategy<Value = Call> {
    let queue = || prop_oneof![6 => Just(0_usize), 2 => Just(1), 2 => Just(2), 1 => Just(3)];
    let received = || 0..12_usize;
    let visibility =
        || prop_oneof![2 => Just(0_u32), 8 => 1..4_u32, 2 => 4..15_u32, 1 => Just(43_200), 1 => Just(43_201)];
    let stands_for = prop_oneof![
        6 => Just(InPlaceOf::Nothing), 4 => received().prop_map(InPlaceOf::Received), 1 => Just(InPlaceOf::Nowhere),
    ];
    prop_oneof![
        8 => (queue(), vec((draft(), stands_for), 0..4)).prop_map(|(queue, drafts)| Call::Send(queue, drafts)),
        9 => (queue(), 0..4_usize, prop::option::weighted(0.6, visibility()))
            .prop_map(|(queue, max, visibility)| Call::Receive(queue, max, visibility)),
        3 => vec((received(), visibility()), 0..3).prop_map(Call::Extend),
        3 => vec(received(), 0..3).prop_map(Call::Delete),
        2 => queue().prop_map(Call::Depth),
        2 => (queue(), 0..6_usize).prop_map(|(queue, max)| Call::Arrived(queue, max)),
        6 => prop_oneof![12 => 1..7_u32, 2 => Just(60), 1 => Just(4 * 86_400)].prop_map(Call::Pass),
        1 => Just(Call::Reopen),
    ]
}

/// A receive: the queue, and the receipts of both.
struct Receive {
    queue: usize,
    receipts: [Receipt; 2],
}

struct Stage {
    both: Both,
    sent: usize,
    received: Vec<Receive>,
    was_reopened: bool,
    passed: u32,
}

/// A message as both have to give it: id and receipt are an adapter's own.
type Told = (String, BTreeMap<String, String>, u32, String, bool);

fn told(message: &Message) -> Told {
    let Message { body, attributes, receive_count, sent_at, unreadable, .. } = message;
    (body.clone(), attributes.clone(), *receive_count, sent_at.to_string(), unreadable.is_some())
}

impl From<Stage> for Both {
    fn from(stage: Stage) -> Self {
        stage.both
    }
}

impl Stage {
    fn queues(&self, queue: usize) -> [Arc<dyn Queue>; 2] {
        self.both.ports().map(|ports| ports.queues[&self.both.own(QUEUES[queue])].clone())
    }

    async fn play(&mut self, call: &Call) -> Result<(), TestCaseError> {
        match call {
            Call::Send(queue, drafts) => {
                let messages = [0, 1].map(|side| self.messages(drafts, side));
                self.sent += drafts.len();
                let [memory, local] = self.queues(*queue);
                let [first, second] = messages;
                same(call, [memory.send(first).await, local.send(second).await].map(all_alike))?;
            }
            Call::Receive(queue, max, visibility) => self.receive(call, *queue, *max, *visibility).await?,
            Call::Extend(changes) => self.extend(call, changes).await?,
            Call::Delete(places) => {
                for queue in 0..QUEUES.len() {
                    let of_queue = |side: usize| -> Vec<Receipt> {
                        let found = places.iter().filter_map(|place| self.received.get(*place));
                        found.filter(|one| one.queue == queue).map(|one| one.receipts[side].clone()).collect()
                    };
                    let [memory, local] = self.queues(queue);
                    let answers = [memory.delete(&of_queue(0)).await, local.delete(&of_queue(1)).await];
                    same(call, answers.map(alike))?;
                }
            }
            Call::Depth(queue) => {
                let [memory, local] = self.queues(*queue);
                same(
                    call,
                    [memory.depth().await, local.depth().await]
                        .map(|depth| alike(depth.map(|depth| self.depth(depth)))),
                )?;
                same(call, [memory.total().await, local.total().await].map(alike))?;
            }
            Call::Arrived(queue, max) => self.arrived(call, *queue, *max).await?,
            Call::Pass(time) => {
                self.both.clock.advance(seconds(*time));
                self.passed += time;
                // In memory what is past its retention is gone at once, and the local engine looks for it.
                if self.passed >= RETENTION_MIN {
                    self.both.sweep().await;
                }
            }
            Call::Reopen => self.reopen().await?,
        }
        Ok(())
    }

    fn messages(&self, drafts: &[(Draft, InPlaceOf)], side: usize) -> Vec<NewMessage> {
        let message = |(at, (draft, stands_for)): (usize, &(Draft, InPlaceOf))| {
            let of = |receive: &Receive| Received {
                queue: self.both.own(QUEUES[receive.queue]),
                receipt: receive.receipts[side].clone(),
            };
            let in_place_of = match stands_for {
                InPlaceOf::Nothing => None,
                InPlaceOf::Received(at) => self.received.get(*at).map(of),
                InPlaceOf::Nowhere => {
                    Some(Received { queue: "nowhere".into(), receipt: Receipt("1.1".into()) })
                }
            };
            NewMessage { in_place_of, ..draft.message(self.sent + at) }
        };
        drafts.iter().enumerate().map(message).collect()
    }

    /// Receives all that is visible. In which order it comes, and so what a batch leaves, is promised by nobody: the batches
    /// are compared together.
    async fn receive(
        &mut self,
        call: &Call,
        queue: usize,
        max: usize,
        visibility: Option<u32>,
    ) -> Result<(), TestCaseError> {
        // With no timeout, one would be in every batch.
        let max = if visibility == Some(0) { ALL } else { max };
        let visibility = visibility.map(seconds);
        let [memory, local] = self.queues(queue);
        let both = [all_of(&*memory, max, visibility).await, all_of(&*local, max, visibility).await];
        let [first, second] = both.map(alike);
        same(
            call,
            [&first, &second].map(|all| all.as_ref().map(|all| all.iter().map(told).collect::<Vec<_>>())),
        )?;
        for (one, other) in first.unwrap_or_default().into_iter().zip(second.unwrap_or_default()) {
            self.received.push(Receive { queue, receipts: [one.receipt, other.receipt] });
        }
        // The latest are those that sequences speak of.
        self.received.drain(..self.received.len().saturating_sub(12));
        Ok(())
    }

    async fn extend(&self, call: &Call, changes: &[(usize, u32)]) -> Result<(), TestCaseError> {
        for queue in 0..QUEUES.len() {
            let of_queue = |side: usize| -> Vec<(Receipt, Duration)> {
                let found = changes.iter().filter_map(|(at, time)| Some((self.received.get(*at)?, *time)));
                let found = found.filter(|(one, _)| one.queue == queue);
                found.map(|(one, time)| (one.receipts[side].clone(), seconds(time))).collect()
            };
            let [memory, local] = self.queues(queue);
            let answers = [memory.extend(&of_queue(0)).await, local.extend(&of_queue(1)).await];
            same(call, answers.map(alike))?;
        }
        Ok(())
    }

    /// A message that waited when the folder was closed counts as delayed on one machine, whether or not it was received
    /// before.
    fn depth(&self, depth: Depth) -> [u64; 3] {
        let Depth { visible, in_flight, delayed } = depth;
        if self.was_reopened { [visible, in_flight + delayed, 0] } else { [visible, in_flight, delayed] }
    }

    /// What has arrived. The numbers of the places are an adapter's own, and rise.
    async fn arrived(&self, call: &Call, queue: usize, max: usize) -> Result<(), TestCaseError> {
        let mut found = Vec::new();
        for queue in self.queues(queue) {
            let (mut all, mut after) = (Vec::new(), 0);
            loop {
                let page = queue.arrived(after, max).await.unwrap();
                prop_assert!(page.len() <= max, "{page:?}");
                let Some((last, _)) = page.last() else { break };
                prop_assert!(page.is_sorted_by(|one, next| one.0 < next.0) && page[0].0 > after, "{page:?}");
                prop_assert!(page.iter().all(|(_, message)| message.receipt.0.is_empty()), "{page:?}");
                after = *last;
                all.extend(page.into_iter().map(|(_, message)| message));
            }
            // Messages that were moved in one receive arrived together.
            all.sort_by(|one, other| one.body.cmp(&other.body));
            found.push(
                all.iter()
                    .map(|message| {
                        // How often it was received so far, an adapter may know only when it is received next.
                        let (body, attributes, _, sent_at, unreadable) = told(message);
                        (body, attributes, sent_at, unreadable)
                    })
                    .collect::<Vec<_>>(),
            );
        }
        prop_assert_eq!(
            &found[0],
            &found[1],
            "{:?}: memory answers the first, the local engine the second",
            call
        );
        Ok(())
    }

    /// Closes and opens. What is in hand is given back first: what a death with messages in hand costs them is told by the
    /// tests of that.
    async fn reopen(&mut self) -> Result<(), TestCaseError> {
        let all: Vec<(usize, u32)> = (0..self.received.len()).map(|at| (at, 0)).collect();
        self.extend(&Call::Reopen, &all).await?;
        self.received.clear();
        self.was_reopened = true;
        self.both.reopen();
        Ok(())
    }
}

/// All that is visible, in batches, in the order of bodies, each of which is its own.
async fn all_of(
    queue: &dyn Queue,
    max: usize,
    visibility: Option<Duration>,
) -> Result<Vec<Message>, PortError> {
    let mut all = Vec::new();
    loop {
        let batch = queue.receive(max, Duration::ZERO, visibility).await?;
        assert!(batch.len() <= max, "{} messages in a batch of {max}", batch.len());
        let is_last = batch.is_empty() || visibility == Some(Duration::ZERO);
        all.extend(batch);
        if is_last {
            all.sort_by(|one: &Message, other| one.body.cmp(&other.body));
            return Ok(all);
        }
    }
}

fn check(calls: Vec<Call>) -> Result<(), TestCaseError> {
    let start = |both| Stage { both, sent: 0, received: Vec::new(), was_reopened: false, passed: 0 };
    played(start, async |stage| {
        for call in calls {
            stage.play(&call).await?;
        }
        Ok(())
    })
}

/// A message of nothing but its body.
const PLAIN: Draft = Draft { delay: 0, key: None, attributes: Vec::new(), body: Body::Good };

#[test]
fn a_receive_of_at_most_no_message_takes_none() {
    check(vec![Call::Send(0, vec![(PLAIN, InPlaceOf::Nothing)]), Call::Receive(0, 0, None)]).unwrap();
}

#[test]
fn a_message_is_gone_as_soon_as_its_retention_is_over() {
    let sent = vec![(PLAIN, InPlaceOf::Nothing)];
    check(vec![Call::Send(2, sent), Call::Pass(RETENTION_MIN), Call::Receive(2, 1, None)]).unwrap();
}

/// Receives until the queue's redrive policy moves a message, which the next receive finds.
const TOO_OFTEN: [Call; 8] = [
    Call::Receive(0, 1, Some(1)),
    Call::Pass(1),
    Call::Receive(0, 1, Some(1)),
    Call::Pass(1),
    Call::Receive(0, 1, Some(1)),
    Call::Pass(1),
    Call::Receive(0, 1, Some(1)),
    Call::Receive(1, 1, Some(1)),
];

#[test]
fn a_message_that_the_redrive_policy_moves_keeps_its_count_of_receives() {
    let sent = Call::Send(0, vec![(PLAIN, InPlaceOf::Nothing)]);
    check([sent].into_iter().chain(TOO_OFTEN).collect()).unwrap();
}

#[test]
fn a_message_that_the_redrive_policy_moves_is_kept_beside_one_of_its_key() {
    let keyed = || vec![(Draft { key: Some("k"), ..PLAIN }, InPlaceOf::Nothing)];
    let sent = [Call::Send(1, keyed()), Call::Send(0, keyed())];
    check(sent.into_iter().chain(TOO_OFTEN).collect()).unwrap();
}

proptest! {
    #![proptest_config(sequences(100))]

    #[test]
    fn queues_answer_the_same(calls in vec(call(), 1..25)) {
        check(calls)?;
    }
}
