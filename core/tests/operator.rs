//! What an operator does with dead letters, over the in-memory adapter.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

mod support;

use async_trait::async_trait;
use quadrille::{
    Consumer, DeadLetter, RECEIVES_EXHAUSTED, Timestamp, Verdict,
    limits::SPARE_RECEIVES,
    operator::{self, Act, Filter, Listed, Moved, PAGE_MAX, Walk},
    port::{BusEntry, Depth, Message, NewMessage, PortError, Queue, Receipt},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use support::*;

const DEAD: &str = "scan-dlq";

/// A world whose dead letters are made by sending parcels to places that they don't come back from.
fn scanning() -> World {
    World::new(
        parcels::<(Scanned, Loaded)>()
            .on(Consumer::new("scan", scan).attempts(1, BACKOFF))
            .on(Consumer::new("load", idle::<Loaded>)),
    )
}

/// One dead letter for each parcel: parcels called `busy…` because nobody answered, the others as they burnt.
async fn dead_letters(world: &World, ids: &[&str]) {
    for id in ids {
        world.post(&[id]).await;
        let place = if id.starts_with("busy") { BUSY } else { BURNT };
        world.tell("scan", Scanned::new(*id, place)).await;
    }
    let verdicts = world.deliver("scan").await;
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::DeadLetter(_))), "{verdicts:?}");
    assert_eq!(verdicts.len(), ids.len());
}

fn only(reason: &str) -> Filter {
    Filter { reason: Some(reason.to_owned()), ..Filter::default() }
}

/// Letters looked at and moved by one call, and whether there was nothing left to look at.
fn figures(moved: &Moved) -> (u64, u64, bool) {
    (moved.examined, moved.moved, moved.done)
}

fn subjects(letters: &[Listed]) -> Vec<&str> {
    letters.iter().map(|listed| listed.letter.subject.as_deref().unwrap()).collect()
}

/// The parcels that the messages of a queue are told to, sorted.
async fn told_to(world: &World, queue: &str) -> Vec<String> {
    let messages = world.lying_in(queue).await;
    let mut subjects: Vec<String> =
        messages.iter().map(|message| DeadLetter::read(message).subject.unwrap()).collect();
    subjects.sort();
    subjects
}

#[tokio::test]
async fn every_queue_is_shown_with_what_it_holds_and_its_dead_letters() {
    let world = scanning();
    dead_letters(&world, &["1", "2", "3"]).await;
    world.post(&["4"]).await;
    for _ in 0..5 {
        world.tell("load", Loaded::new("4", "oslo")).await;
    }
    let later = NewMessage { body: "later".to_owned(), delay: secs(60), ..NewMessage::default() };
    world.ports.queues["load"].send(vec![later]).await.remove(0).unwrap();
    world.ports.queues["load"].receive(2, secs(0), None).await.unwrap();
    let queues = operator::queues(&world.pipeline()).await.unwrap();
    let seen: Vec<_> =
        queues.iter().map(|q| (q.name.as_str(), q.depth, q.dead_letter_queue.as_str(), q.dead)).collect();
    let expected = [
        ("scan", Depth::default(), "scan-dlq", 3),
        ("load", Depth { visible: 3, in_flight: 2, delayed: 1 }, "load-dlq", 0),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn dead_letters_are_listed_page_by_page_without_being_touched() {
    let world = scanning();
    let ids = ["1", "2", "3", "4", "5", "6", "7"];
    dead_letters(&world, &ids).await;
    let pipeline = world.pipeline();
    let (mut listed, mut after, mut sizes) = (Vec::new(), 0, Vec::new());
    loop {
        let page = operator::dead_letters(&pipeline, DEAD, &Filter::default(), after, 3).await.unwrap();
        sizes.push(page.letters.len());
        listed.extend(page.letters);
        let Some(next) = page.next else { break };
        after = next;
    }
    assert_eq!((subjects(&listed), sizes), (ids.to_vec(), vec![3, 3, 1]));
    assert!(listed.iter().all(|listed| listed.letter.reason == "burnt" && listed.body.contains(BURNT)));
    let names: BTreeSet<&String> = listed.iter().map(|listed| &listed.id).collect();
    assert_eq!(names.len(), 7);
    // Listing receives nothing.
    assert_eq!(world.ports.queues[DEAD].depth().await.unwrap(), Depth { visible: 7, ..Depth::default() });
    assert!(world.lying_in(DEAD).await.iter().all(|message| message.receive_count == 0));
}

#[tokio::test]
async fn a_filter_lists_what_it_asks_for() {
    let world = scanning();
    dead_letters(&world, &["1", "busy 2"]).await;
    world.clock.advance(secs(60));
    dead_letters(&world, &["3", "busy 4"]).await;
    let pipeline = world.pipeline();
    let list = async |filter: Filter| {
        let page = operator::dead_letters(&pipeline, DEAD, &filter, 0, 100).await.unwrap();
        assert_eq!(page.next, None);
        subjects(&page.letters).join(", ")
    };
    let before = |at: Timestamp| Filter { before: Some(at), ..Filter::default() };
    assert_eq!(list(Filter::default()).await, "1, busy 2, 3, busy 4");
    assert_eq!(list(only("carrier_busy")).await, "busy 2, busy 4");
    assert_eq!(list(only("malformed")).await, "");
    assert_eq!(list(before(START)).await, "1, busy 2");
    assert_eq!(list(before(START + secs(59))).await, "1, busy 2");
    assert_eq!(list(before(START + secs(60))).await, "1, busy 2, 3, busy 4");
    assert_eq!(list(Filter { before: Some(START), ..only("burnt") }).await, "1");
}

#[tokio::test]
async fn one_call_looks_at_a_bounded_number_of_letters_however_few_it_finds() {
    let world = scanning();
    let ids: Vec<String> = (0..PAGE_MAX + 1).map(|n| n.to_string()).collect();
    for ids in ids.chunks(100) {
        dead_letters(&world, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    dead_letters(&world, &["busy"]).await;
    let pipeline = world.pipeline();
    let filter = only("carrier_busy");
    let page = operator::dead_letters(&pipeline, DEAD, &filter, 0, 10).await.unwrap();
    assert_eq!((page.letters.len(), page.next.is_some()), (0, true), "there is more to look at");
    let page = operator::dead_letters(&pipeline, DEAD, &filter, page.next.unwrap(), 10).await.unwrap();
    assert_eq!((subjects(&page.letters), page.next), (vec!["busy"], None));
    let moved =
        operator::walk(&pipeline, &asked(DEAD, &Filter::default(), usize::MAX), Act::Purge).await.unwrap();
    let most = PAGE_MAX as u64;
    assert_eq!(figures(&moved), (most, most, false));
}

#[tokio::test]
async fn an_end_of_business_is_left_by_a_redrive_that_does_not_ask_for_it() {
    let world = World::new(
        parcels::<(Scanned, Loaded)>()
            .on(Consumer::new("scan", scan).attempts(1, BACKOFF).dead_lettered_ends(["burnt"]))
            .on(Consumer::new("load", idle::<Loaded>)),
    );
    dead_letters(&world, &["1", "busy 2", "3"]).await;
    let pipeline = world.pipeline();
    let leaving = Filter { leaves_ends: true, ..Filter::default() };
    let page = operator::dead_letters(&pipeline, DEAD, &Filter::default(), 0, 10).await.unwrap();
    assert_eq!(page.letters.iter().map(|listed| listed.is_end).collect::<Vec<_>>(), [true, false, true]);
    let page = operator::dead_letters(&pipeline, DEAD, &leaving, 0, 10).await.unwrap();
    assert_eq!(subjects(&page.letters), ["busy 2"]);

    let moved = operator::walk(&pipeline, &asked(DEAD, &leaving, 100), Act::Redrive).await.unwrap();
    assert_eq!((figures(&moved), moved.ends_left), ((3, 1, true), 2));
    assert_eq!(told_to(&world, "scan").await, ["busy 2"]);
    let moved = operator::walk(&pipeline, &asked(DEAD, &Filter::default(), 100), Act::Redrive).await.unwrap();
    assert_eq!((figures(&moved), moved.ends_left), ((2, 2, true), 0));
}

#[tokio::test]
async fn a_redrive_sends_back_what_the_filter_takes_and_no_more_than_asked_for() {
    let world = scanning();
    dead_letters(&world, &["1", "busy 2", "3", "busy 4", "5"]).await;
    let pipeline = world.pipeline();
    let first = operator::walk(&pipeline, &asked(DEAD, &only("burnt"), 2), Act::Redrive).await.unwrap();
    assert_eq!(figures(&first), (3, 2, false));
    assert_eq!(told_to(&world, "scan").await, ["1", "3"]);
    // The others are not touched.
    assert_eq!(world.ports.queues[DEAD].depth().await.unwrap(), Depth { visible: 3, ..Depth::default() });
    let behind = Walk { after: first.next.unwrap(), ..asked(DEAD, &only("burnt"), 2) };
    let second = operator::walk(&pipeline, &behind, Act::Redrive).await.unwrap();
    assert_eq!((figures(&second), second.next), ((2, 1, true), None));
    assert_eq!(told_to(&world, "scan").await, ["1", "3", "5"]);
    assert_eq!(told_to(&world, DEAD).await, ["busy 2", "busy 4"]);
    let moved =
        operator::walk(&pipeline, &asked(DEAD, &only("carrier_busy"), 100), Act::Redrive).await.unwrap();
    assert_eq!(figures(&moved), (2, 2, true));
    assert_eq!((world.total("scan").await, world.total(DEAD).await), (5, 0));
}

/// However many others there are, and however few are asked for at a time: each letter is looked at once.
#[tokio::test]
async fn a_slow_redrive_meets_what_it_is_about_behind_many_others() {
    const OTHERS: usize = 1_200;
    let world = scanning();
    let others: Vec<String> = (0..OTHERS).map(|number| format!("busy {number}")).collect();
    for others in others.chunks(100) {
        dead_letters(&world, &others.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    dead_letters(&world, &["1", "2", "3"]).await;
    let pipeline = world.pipeline();
    let (mut ask, mut moved, mut examined, mut calls) = (asked(DEAD, &only("burnt"), 1), 0, 0, 0);
    loop {
        let step = operator::walk(&pipeline, &ask, Act::Redrive).await.unwrap();
        (moved, examined, calls) = (moved + step.moved, examined + step.examined, calls + 1);
        // Whoever shows itself again after a while is not met again.
        world.clock.advance(secs(3_600));
        let Some(next) = step.next else { break };
        ask.after = next;
    }
    assert_eq!((moved, examined, calls), (3, OTHERS as u64 + 3, 5));
    assert_eq!(told_to(&world, "scan").await, ["1", "2", "3"]);
    let depth = world.ports.queues[DEAD].depth().await.unwrap();
    assert_eq!(depth, Depth { visible: OTHERS as u64, ..Depth::default() });
}

#[tokio::test]
async fn what_a_walk_could_not_send_back_is_shown_at_once_and_what_others_hold_is_told() {
    let mut world = scanning();
    dead_letters(&world, &["1", "busy 2", "3"]).await;
    let mut fails = true;
    world.meddle_with_queue("scan", move |message| {
        let fails = message.body.contains("\"parcel\":\"3\"") && std::mem::take(&mut fails);
        fails.then(|| PortError::transient("scan", "no answer"))
    });
    let pipeline = world.pipeline();
    let walk =
        async || operator::walk(&pipeline, &asked(DEAD, &only("burnt"), 100), Act::Redrive).await.unwrap();
    let first = walk().await;
    assert_eq!((figures(&first), first.passed_over.len(), first.hidden), ((3, 1, true), 0, 0));
    assert_eq!(world.ports.queues[DEAD].depth().await.unwrap(), Depth { visible: 2, ..Depth::default() });
    // Somebody else has them in hand.
    let held = world.receive(DEAD).await;
    let second = walk().await;
    assert_eq!((figures(&second), second.hidden), ((2, 0, true), 1));
    let receipts: Vec<String> = held.into_iter().map(|message| message.receipt.0).collect();
    operator::give_back(&pipeline, DEAD, receipts.clone()).await.unwrap();
    assert_eq!(figures(&walk().await), (2, 1, true));
    assert_eq!(told_to(&world, DEAD).await, ["busy 2"]);
    let failure = operator::give_back(&pipeline, "scan", receipts).await.unwrap_err();
    assert_eq!(failure.reason(), "no_such_queue");
}

#[tokio::test]
async fn a_purge_deletes_what_the_filter_takes_and_sends_nothing() {
    let world = scanning();
    dead_letters(&world, &["1", "busy 2", "3"]).await;
    let moved =
        operator::walk(&world.pipeline(), &asked(DEAD, &only("burnt"), 100), Act::Purge).await.unwrap();
    assert_eq!(figures(&moved), (3, 2, true));
    assert_eq!((told_to(&world, DEAD).await, world.total("scan").await), (vec!["busy 2".to_owned()], 0));
}

#[tokio::test]
async fn a_redriven_message_is_the_one_that_died_and_remembers_when_it_was_first_seen() {
    let world = scanning();
    dead_letters(&world, &["1"]).await;
    let died = world.lying_in(DEAD).await.remove(0);
    world.clock.advance(secs(86_400));
    operator::walk(&world.pipeline(), &asked(DEAD, &Filter::default(), 1), Act::Redrive).await.unwrap();
    let message = world.lying_in("scan").await.remove(0);
    assert_eq!((&message.body, message.receive_count), (&died.body, 0));
    assert_eq!(
        message.attributes.keys().collect::<Vec<_>>(),
        ["first-seen", "redriven"],
        "its reason was another life's"
    );
    assert_eq!(DeadLetter::read(&message).redriven.unwrap().times, 1);
    // It fails again, a day after it was first seen.
    world.deliver("scan").await;
    let letter = DeadLetter::read(&world.lying_in(DEAD).await[0]);
    assert_eq!((letter.first_seen, letter.dead_at), (START, START + secs(86_400)));
}

#[tokio::test]
async fn a_redriven_message_that_can_be_handled_by_now_is() {
    let world = scanning();
    world.tell("scan", Scanned::new("1", "oslo")).await;
    assert_eq!(reason(&world.deliver("scan").await[0]), Some("entity_gone"));
    world.post(&["1"]).await;
    operator::walk(&world.pipeline(), &asked(DEAD, &Filter::default(), 1), Act::Redrive).await.unwrap();
    assert_eq!(world.deliver("scan").await, [Verdict::Done]);
    assert_eq!((world.stops("1").await, world.total(DEAD).await), (vec!["oslo".to_owned()], 0));
}

#[tokio::test]
async fn what_fails_again_during_a_redrive_is_not_redriven_twice() {
    let world = scanning();
    dead_letters(&world, &["1", "2", "3"]).await;
    world.clock.advance(secs(1));
    let filter = Filter { before: Some(world.now()), ..Filter::default() };
    let pipeline = world.pipeline();
    let (mut redriven, mut ask) = (0, asked(DEAD, &filter, 2));
    for _ in 0..10 {
        let moved = operator::walk(&pipeline, &ask, Act::Redrive).await.unwrap();
        redriven += moved.moved;
        ask.after = moved.next.unwrap_or_default();
        // The consumer is as fast as the redrive, and they all fail again.
        world.clock.advance(secs(1));
        world.deliver("scan").await;
        if moved.done {
            break;
        }
    }
    assert_eq!((redriven, world.total(DEAD).await), (3, 3));
    // A later redrive takes them.
    let filter = Filter { before: Some(world.now()), ..Filter::default() };
    world.clock.advance(secs(30));
    assert_eq!(operator::walk(&pipeline, &asked(DEAD, &filter, 100), Act::Redrive).await.unwrap().moved, 3);
}

/// The consumer's clock stands still, or is behind the operator's: by its time the letter is an old one each time.
#[tokio::test]
async fn what_fails_again_by_a_clock_that_is_behind_is_not_redriven_twice() {
    for shows_arrivals in [true, false] {
        let mut world = scanning();
        dead_letters(&world, &["1", "2", "3"]).await;
        if !shows_arrivals {
            opaque(&mut world);
        }
        let pipeline = world.pipeline();
        let (mut redriven, mut ask) = (0, asked(DEAD, &Filter::default(), 1));
        for _ in 0..20 {
            let moved = operator::walk(&pipeline, &ask, Act::Redrive).await.unwrap();
            redriven += moved.moved;
            (ask.after, ask.filter.before) = (moved.next.unwrap_or_default(), ask.filter.before.or(moved.at));
            world.deliver("scan").await;
            if moved.done {
                break;
            }
        }
        assert_eq!((redriven, world.total(DEAD).await), (3, 3), "shows arrivals: {shows_arrivals}");
    }
}

#[tokio::test]
async fn nothing_is_deleted_that_was_not_sent_on() {
    let mut world = scanning();
    dead_letters(&world, &["1", "2", "3"]).await;
    let mut fails = true;
    world.meddle_with_queue("scan", move |message| {
        let fails = message.body.contains("\"parcel\":\"2\"") && std::mem::take(&mut fails);
        fails.then(|| PortError::transient("scan", "no answer"))
    });
    let pipeline = world.pipeline();
    let moved = operator::walk(&pipeline, &asked(DEAD, &Filter::default(), 100), Act::Redrive).await.unwrap();
    assert_eq!(figures(&moved), (3, 2, true));
    assert_eq!((moved.failed, moved.is_denied), (BTreeMap::from([("scan: no answer".to_owned(), 1)]), false));
    assert_eq!(told_to(&world, DEAD).await, ["2"]);
    assert_eq!(told_to(&world, "scan").await, ["1", "3"]);
    let moved = operator::walk(&pipeline, &asked(DEAD, &Filter::default(), 100), Act::Redrive).await.unwrap();
    assert_eq!(figures(&moved), (1, 1, true));
    assert_eq!(told_to(&world, "scan").await, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_redrive_tells_of_what_it_has_no_permission_to_send_back() {
    let mut world = scanning();
    dead_letters(&world, &["1", "2"]).await;
    world.meddle_with_queue("scan", |_| Some(PortError::denied("scan", "AccessDenied: not you")));
    let moved =
        operator::walk(&world.pipeline(), &asked(DEAD, &Filter::default(), 100), Act::Redrive).await.unwrap();
    assert_eq!(figures(&moved), (2, 0, true));
    let why = BTreeMap::from([("scan: AccessDenied: not you".to_owned(), 2)]);
    assert_eq!((moved.failed, moved.is_denied), (why, true));
    assert_eq!(world.ports.queues[DEAD].depth().await.unwrap().total(), 2, "they stay");
}

#[tokio::test]
async fn a_letter_that_the_queue_moved_by_itself_has_a_reason_too() {
    let world = scanning();
    world.tell("scan", Scanned::new("1", "oslo")).await;
    // Its consumer dies on every receive: on its one attempt, and as often as it is received to be given up.
    for _ in 0..=SPARE_RECEIVES {
        assert_eq!(world.receive("scan").await.len(), 1);
        world.clock.advance(secs(6 * 30));
    }
    assert_eq!(world.receive("scan").await, []);
    let page =
        operator::dead_letters(&world.pipeline(), DEAD, &only(RECEIVES_EXHAUSTED), 0, 10).await.unwrap();
    assert_eq!(subjects(&page.letters), ["1"]);
    assert_eq!(
        (page.letters[0].letter.attempts, page.letters[0].letter.first_seen),
        (1 + SPARE_RECEIVES, START)
    );
    let moved = operator::walk(&world.pipeline(), &asked(DEAD, &only(RECEIVES_EXHAUSTED), 10), Act::Redrive)
        .await
        .unwrap();
    assert_eq!(moved.moved, 1);
    assert_eq!(told_to(&world, "scan").await, ["1"]);
}

#[tokio::test]
async fn a_queue_that_is_no_dead_letter_queue_is_refused() {
    let world = scanning();
    world.tell("scan", Scanned::new("1", "oslo")).await;
    let pipeline = world.pipeline();
    for queue in ["scan", "nowhere", ""] {
        let failure =
            operator::walk(&pipeline, &asked(queue, &Filter::default(), 1), Act::Purge).await.unwrap_err();
        assert_eq!((failure.reason(), failure.is_permanent()), ("no_such_queue", true), "{queue}");
        let failure = operator::dead_letters(&pipeline, queue, &Filter::default(), 0, 1).await.unwrap_err();
        assert_eq!(failure.reason(), "no_such_queue", "{queue}");
    }
    assert_eq!(world.total("scan").await, 1);
}

/// A queue that shows no message without a receive, as SQS does, and where a receive that does not wait answers nothing. Whoever is
/// `denied` may not receive.
struct Opaque {
    queue: Arc<dyn Queue>,
    denied: bool,
}

#[async_trait]
impl Queue for Opaque {
    async fn send(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        self.queue.send(messages).await
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        if self.denied {
            return Err(PortError::denied("queue", "sqs:ReceiveMessage"));
        }
        // On the virtual clock a wait would last for ever.
        if wait.is_zero() {
            Ok(Vec::new())
        } else {
            self.queue.receive(max, Duration::ZERO, visibility).await
        }
    }

    async fn extend(&self, receipts: &[(Receipt, Duration)]) -> Result<(), PortError> {
        self.queue.extend(receipts).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), PortError> {
        self.queue.delete(receipts).await
    }

    async fn depth(&self) -> Result<Depth, PortError> {
        self.queue.depth().await
    }
}

fn opaque(world: &mut World) {
    let queue = Arc::clone(&world.ports.queues[DEAD]);
    world.ports.queues.insert(DEAD.to_owned(), Arc::new(Opaque { queue, denied: false }));
}

#[tokio::test]
async fn where_nothing_is_shown_a_story_looks_for_letters_where_a_trail_tells_of_one_and_gives_them_back() {
    let mut world = scanning();
    dead_letters(&world, &["1", "2"]).await;
    world.post(&["3"]).await;
    let letters = Arc::clone(&world.ports.queues[DEAD]);
    opaque(&mut world);
    let pipeline = world.pipeline();
    let story = async |id: &str| operator::story(&pipeline, "parcel", id).await.unwrap();
    for _ in 0..3 {
        let told = story("1").await;
        let subjects: Vec<&str> = told.letters.iter().map(|letter| letter.subject.as_str()).collect();
        assert_eq!((subjects, told.letters_looked_at), (vec!["1"], 2));
    }
    // Of one whose trail tells of none, nobody's letters are hidden.
    let receives = async || {
        let lying = letters.arrived(0, 9).await.unwrap().into_iter();
        lying.map(|(_, letter)| letter.receive_count).collect::<Vec<_>>()
    };
    let before = receives().await;
    assert_eq!(story("3").await.letters_looked_at, 0);
    assert_eq!(receives().await, before);
    let queue = Arc::clone(&world.ports.queues[DEAD]);
    world.ports.queues.insert(DEAD.to_owned(), Arc::new(Opaque { queue, denied: true }));
    let told = operator::story(&world.pipeline(), "parcel", "1").await.unwrap();
    assert!(told.letters_untold.unwrap().starts_with("scan-dlq: port_denied: "));
    assert_eq!((told.entity.id.as_str(), told.letters.len()), ("1", 0));
}

#[tokio::test]
async fn where_nothing_is_shown_dead_letters_are_received_to_be_listed_and_given_back() {
    let mut world = scanning();
    dead_letters(&world, &["1", "busy 2", "3", "busy 4", "5"]).await;
    opaque(&mut world);
    let pipeline = world.pipeline();
    let (mut listed, mut held, mut after, mut sizes) = (Vec::new(), Vec::new(), 0, Vec::new());
    loop {
        let page = operator::dead_letters(&pipeline, DEAD, &only("burnt"), after, 2).await.unwrap();
        sizes.push(page.held.len());
        listed.extend(page.letters);
        held.extend(page.held);
        let Some(next) = page.next else { break };
        assert_eq!(next, held.len() as u64);
        after = next;
    }
    assert_eq!((subjects(&listed), sizes), (vec!["1", "3", "5"], vec![2, 2, 1, 0]));
    assert_eq!(world.ports.queues[DEAD].depth().await.unwrap(), Depth { in_flight: 5, ..Depth::default() });
    operator::give_back(&pipeline, DEAD, held).await.unwrap();
    assert_eq!(world.ports.queues[DEAD].depth().await.unwrap(), Depth { visible: 5, ..Depth::default() });
    // A listing that was killed gives them back as well, a minute later.
    operator::dead_letters(&pipeline, DEAD, &Filter::default(), 0, 100).await.unwrap();
    world.clock.advance(secs(60));
    let page = operator::dead_letters(&pipeline, DEAD, &Filter::default(), 0, 100).await.unwrap();
    assert_eq!(page.letters.len(), 5);
}

#[tokio::test]
async fn where_nothing_is_shown_a_walk_looks_further_than_it_may_move() {
    let mut world = scanning();
    dead_letters(&world, &["busy 1", "busy 2", "busy 3", "4", "5", "6"]).await;
    opaque(&mut world);
    let pipeline = world.pipeline();
    let walk =
        async || operator::walk(&pipeline, &asked(DEAD, &only("burnt"), 1), Act::Redrive).await.unwrap();
    assert_eq!(figures(&walk().await), (4, 1, false));
    // What it may not move yet is there at once.
    assert_eq!(world.ports.queues[DEAD].depth().await.unwrap().visible, 2);
    assert_eq!((figures(&walk().await), figures(&walk().await)), ((1, 1, false), (1, 1, false)));
    assert_eq!(figures(&walk().await), (0, 0, true));
    assert_eq!(told_to(&world, "scan").await, ["4", "5", "6"]);
}

#[tokio::test]
async fn where_nothing_is_shown_a_redrive_waits_for_what_it_receives() {
    let mut world = scanning();
    dead_letters(&world, &["1", "busy 2", "3"]).await;
    opaque(&mut world);
    let pipeline = world.pipeline();
    let moved = operator::walk(&pipeline, &asked(DEAD, &only("burnt"), 100), Act::Redrive).await.unwrap();
    assert_eq!(figures(&moved), (3, 2, false));
    // Calls over a network take their time: what was passed over stays hidden longer.
    world.clock.advance(secs(599));
    assert_eq!(
        figures(&operator::walk(&pipeline, &asked(DEAD, &only("burnt"), 100), Act::Redrive).await.unwrap()),
        (0, 0, true)
    );
    operator::give_back(&pipeline, DEAD, moved.passed_over).await.unwrap();
    assert_eq!(world.ports.queues[DEAD].depth().await.unwrap(), Depth { visible: 1, ..Depth::default() });
}

/// Moves all dead letters as a move task of SQS does: whole, with the attributes that tell why they died.
async fn move_as_sqs_does(world: &World) {
    for letter in world.receive(DEAD).await {
        let moved = NewMessage { body: letter.body, attributes: letter.attributes, ..NewMessage::default() };
        assert_eq!(world.ports.queues["scan"].send(vec![moved]).await, [Ok(())]);
        world.ports.queues[DEAD].delete(&[letter.receipt]).await.unwrap();
    }
}

#[tokio::test]
async fn a_message_that_comes_back_with_the_attributes_of_its_death_is_a_fresh_one() {
    let world = scanning();
    world.tell("scan", Scanned::new("1", "oslo")).await;
    world.tell("scan", Scanned::new("2", BURNT)).await;
    let verdicts = world.deliver("scan").await;
    assert_eq!(verdicts.iter().map(reason).collect::<Vec<_>>(), [Some("entity_gone"), Some("entity_gone")]);
    world.clock.advance(secs(86_400));
    world.post(&["1", "2"]).await;
    move_as_sqs_does(&world).await;
    assert!(world.lying_in("scan").await.iter().all(|message| message.attributes["reason"] == "entity_gone"));
    let verdicts = world.deliver("scan").await;
    assert_eq!(verdicts.iter().map(reason).collect::<Vec<_>>(), [None, Some("burnt")]);
    assert_eq!(world.stops("1").await, ["oslo"]);
    let letters = world.lying_in(DEAD).await;
    let letter = DeadLetter::read(&letters[0]);
    assert_eq!((letters.len(), letter.reason.as_str(), letter.attempts), (1, "burnt", 1));
    assert_eq!((letter.first_seen, letter.dead_at), (START, START + secs(86_400)));
}

#[tokio::test]
async fn what_fails_again_is_left_by_the_time_that_the_first_call_told() {
    let world = scanning();
    dead_letters(&world, &["1", "2"]).await;
    let walk = async |before, limit| {
        let filter = Filter { before, ..Filter::default() };
        operator::walk(&world.pipeline(), &asked(DEAD, &filter, limit), Act::Redrive).await.unwrap()
    };
    let first = walk(None, 1).await;
    assert_eq!((figures(&first), first.at), ((1, 1, false), Some(world.now())));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.deliver("scan").await.len(), 1);
    assert_eq!(figures(&walk(first.at, 100).await), (2, 1, true));
    assert_eq!(world.total("scan").await, 1);
}

#[tokio::test]
async fn what_left_by_a_topic_or_a_bus_is_shown_the_latest_of_it_or_what_came_behind_a_place() {
    let definition = parcels::<(Scanned, Loaded)>()
        .on(Consumer::new("scan", scan))
        .topic("news")
        .topic("quiet")
        .bus("town")
        .publish::<Loaded>("news")
        .publish_to_bus::<Loaded>("town");
    let world = World::new(definition);
    let event = |place: &str| text(&envelope(Loaded::new("1", place)));
    let notice = |place: &str| NewMessage { body: event(place), ..NewMessage::default() };
    let places = ["oslo", "rome", "kyiv"];
    for answer in world.ports.topics["news"].publish(places.map(notice).to_vec()).await {
        answer.unwrap();
    }
    let entry = |detail_type: &str| BusEntry {
        source: "parcels".to_owned(),
        detail_type: detail_type.to_owned(),
        detail: event("bonn"),
    };
    for answer in world.ports.buses["town"].publish(vec![entry("parcel.loaded"), entry("else")]).await {
        answer.unwrap();
    }
    let pipeline = world.pipeline();
    let shown = async |outlet: &str, after: Option<u64>, limit: usize| {
        let found = operator::publications(&pipeline, outlet, after, limit).await.unwrap();
        let place = |publication: &operator::Publication| {
            let event: serde_json::Value = serde_json::from_str(publication.event.get()).unwrap();
            assert_eq!(publication.at, START);
            (publication.place, event["data"]["place"].as_str().unwrap().to_owned())
        };
        found.iter().map(place).collect::<Vec<_>>()
    };
    let all = shown("news", None, 10).await;
    assert_eq!(all.iter().map(|(_, place)| place.as_str()).collect::<Vec<_>>(), places);
    assert_eq!(shown("news", None, 2).await, all[1..]);
    assert_eq!(shown("news", Some(all[0].0), 1).await, all[1..2]);
    assert_eq!(shown("news", Some(all[2].0), 10).await, []);
    assert_eq!(shown("town", None, 10).await.len(), 1, "of another type nothing leaves");
    let unknown = operator::publications(&pipeline, "quiet", None, 10).await.unwrap_err();
    assert_eq!(unknown.reason(), "no_outlet");
    assert!(unknown.detail().contains("news, town"), "{unknown}");
    // Nobody consumes it: it is no queue of the choreography.
    assert_eq!(operator::queues(&pipeline).await.unwrap().len(), 1);
}
