//! The story of an entity, as one answer: what happened, what fails now, what it waits for, and its dead letters.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Choreography, Consumer, Context, Definition, Event, Failure, Handled, Outcome, Pipeline, Stored, Table,
    Uses,
    http::{Method, Request},
    local::Local,
    memory::VirtualClock,
    operator::{Api, Story, story},
    port::{Damage, NewMessage, SeededRandom},
    server::Service as _,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, sync::Arc, time::Duration};
use support::{
    bags::{Bag, gate},
    *,
};

#[derive(Serialize, Deserialize)]
struct Cart {
    id: String,
}

quadrille::entity!(Cart: "cart", by id);

macro_rules! told {
    ($($event:ident $name:literal to $entity:ty),+) => {$(
        #[derive(Clone, Serialize, Deserialize)]
        struct $event {
            id: String,
            place: String,
        }

        impl $event {
            fn new(id: &str, place: &str) -> Self {
                Self { id: id.to_owned(), place: place.to_owned() }
            }
        }

        impl Event for $event {
            const TYPE: &'static str = $name;
            type Entity = $entity;

            fn subject(&self) -> Cow<'_, str> {
                Cow::Borrowed(&self.id)
            }
        }
    )+};
}

told!(Weighed "bag.weighed" to Bag, Packed "bag.packed" to Bag, Pushed "cart.pushed" to Cart, Round "round" to ());

fn failed<T>(place: &str) -> Option<Outcome<T>> {
    match place {
        BUSY => Some(Err(Failure::transient("carrier_busy", "the carrier does not answer"))),
        BURNT => Some(Err(Failure::permanent("burnt", "nothing is left of it"))),
        _ => None,
    }
}

async fn weigh(mut bag: Stored<Bag>, event: Weighed, _: Context<()>) -> Outcome<()> {
    if let Some(failed) = failed(&event.place) {
        return failed;
    }
    bag.is_gone = true;
    Ok(bag.commit("weighed and gone").into())
}

/// Puts the bag into a cart of its own.
async fn pack(mut bag: Stored<Bag>, event: Packed, cx: Context<()>) -> Outcome<()> {
    cx.commit(Stored::new(Cart { id: event.place.clone() }).commit("fetched")).await?;
    bag.cart = Some(event.place);
    Ok(bag.commit("packed").into())
}

async fn push(_: Stored<Cart>, event: Pushed, _: Context<()>) -> Outcome<()> {
    failed(&event.place).unwrap_or(Ok(Handled::Done))
}

/// The guard who looks for bags at the gate; he is kept away in the first hour after the start.
async fn collect(_: Round, cx: Context<()>) -> Outcome<()> {
    if cx.now() < START + secs(3_600) {
        return Err(Failure::transient("guard_away", "nobody answers"));
    }
    Ok(Handled::Done)
}

fn yard() -> Definition {
    Choreography::define("yard")
        .table(Table::new("bags").holds::<Bag>().holds::<Cart>())
        .route(gate::<(Weighed, Packed, Pushed)>())
        .schedule("rounds", secs(300), |at| Round::new(&at.to_string(), ""))
        .on(Consumer::new("weigh", weigh).attempts(3, BACKOFF))
        .on(Consumer::new("pack", pack).uses(Uses::new().commits_one::<Cart>()))
        .on(Consumer::new("push", push).attempts(3, BACKOFF))
        .on(Consumer::new("collect", collect).uses(Uses::new().queries::<Bag>()))
}

/// A world with one pipeline, which remembers.
struct Yard {
    world: World,
    pipeline: Pipeline,
}

impl Yard {
    fn new() -> Self {
        let world = World::new(yard());
        Self { pipeline: world.pipeline(), world }
    }

    async fn leave(&self, id: &str) {
        let path = format!("/bags/{id}");
        let left = self.pipeline.respond(Method::Post, &path, Request::default()).await.unwrap();
        assert_eq!(left.status, 202);
    }

    async fn tell(&self, step: &str, event: impl Event) {
        self.tell_of(None, step, event).await;
    }

    async fn tell_of(&self, flow: Option<String>, step: &str, event: impl Event) {
        let envelope = quadrille::Envelope { correlationid: flow, ..envelope(event) };
        self.world.send(step, text(&envelope)).await;
        self.pipeline.deliver(step, &self.world.receive(step).await).await.unwrap();
    }

    async fn story(&self, id: &str) -> Story {
        story(&self.pipeline, "bag", id).await.unwrap()
    }
}

fn reasons(story: &Story) -> Vec<(&str, &str)> {
    story.failing.iter().map(|failing| (failing.step.as_str(), failing.reason.as_str())).collect()
}

#[tokio::test]
async fn a_story_tells_what_fails_now_and_when_it_is_tried_again() {
    let yard = Yard::new();
    yard.leave("1").await;
    assert!(yard.story("1").await.failing.is_empty());
    yard.tell("weigh", Weighed::new("1", BUSY)).await;
    let failing = yard.story("1").await.failing.remove(0);
    assert_eq!((failing.attempt, failing.attempts_max, &*failing.reason), (1, 3, "carrier_busy"));
    assert!(failing.next.is_some_and(|next| next > yard.world.now()) && failing.at == yard.world.now());
    // That of a related one stands in its way too.
    yard.tell("pack", Packed::new("1", "cart 7")).await;
    yard.tell("push", Pushed::new("cart 7", BUSY)).await;
    assert_eq!(reasons(&yard.story("1").await), [("weigh", "carrier_busy"), ("push", "carrier_busy")]);
    // Of one that has ended, nothing of others.
    yard.tell("weigh", Weighed::new("1", "oslo")).await;
    assert_eq!(reasons(&yard.story("1").await), [("weigh", "carrier_busy")]);
}

#[tokio::test]
async fn a_story_tells_of_the_dead_letters_of_its_entity_and_of_nobody_else() {
    let yard = Yard::new();
    for id in ["1", "2"] {
        yard.leave(id).await;
        yard.tell("weigh", Weighed::new(id, BURNT)).await;
        // Of the same id, and another kind.
        yard.tell("push", Pushed::new(id, BURNT)).await;
        yard.world.clock.advance(secs(5));
    }
    let told = yard.story("1").await;
    assert_eq!((told.letters.len(), told.letters_looked_at, &told.letters_next), (1, 2, &None));
    let letter = &told.letters[0];
    let lying = yard.world.lying_in("weigh-dlq").await;
    assert_eq!((letter.queue.as_str(), &letter.id), ("weigh-dlq", &lying[0].id));
    assert_eq!(
        (&*letter.subject, &*letter.handler, &*letter.reason, &*letter.detail),
        ("1", "weigh", "burnt", "nothing is left of it")
    );
    assert_eq!((letter.dead_at, letter.deadline), (START, START + Duration::from_secs(14 * 86_400)));
    // What was given up is not tried again.
    assert_eq!(told.failing[0].next, None);
}

#[tokio::test]
async fn of_many_dead_letters_the_latest_are_told_and_where_there_are_more() {
    let yard = Yard::new();
    yard.leave("1").await;
    for letter in 0..25 {
        let mut envelope = envelope(Weighed::new("1", BURNT));
        envelope.id = letter.to_string();
        yard.world.send("weigh", text(&envelope)).await;
        yard.world.clock.advance(secs(1));
        yard.pipeline.deliver("weigh", &yard.world.receive("weigh").await).await.unwrap();
    }
    let story = yard.story("1").await;
    assert_eq!((story.letters.len(), story.letters_looked_at), (20, 20));
    assert_eq!(story.letters_next.as_deref(), Some("weigh-dlq"));
    let at: Vec<_> = story.letters.iter().map(|letter| letter.dead_at).collect();
    assert!(at.is_sorted_by(|a, b| a > b) && at[0] == yard.world.now(), "{at:?}");
}

#[tokio::test]
async fn a_story_tells_when_somebody_looks_for_it_and_what_is_in_the_way() {
    let yard = Yard::new();
    yard.leave("1").await;
    let next = yard.story("1").await.next_run.unwrap();
    let at = START.as_millis() / 300_000 * 300_000 + 300_000;
    assert_eq!(
        (&*next.schedule, next.at.as_millis(), &next.steps[..]),
        ("rounds", at, &["collect".to_owned()][..])
    );
    assert!(next.in_its_way.is_empty());
    yard.tell("collect", Round::new("the first", "")).await;
    let next = yard.story("1").await.next_run.unwrap();
    let in_its_way: Vec<_> = next.in_its_way.iter().map(|one| (&*one.subject, &*one.reason)).collect();
    assert_eq!(in_its_way, [("the first", "guard_away")]);
    // Nobody looks for one that has been found.
    yard.tell("pack", Packed::new("1", "cart 7")).await;
    assert_eq!(yard.story("1").await.next_run, None);
}

#[tokio::test]
async fn a_story_names_what_it_waits_for_what_it_led_to_and_what_of_it_cannot_be_read() {
    let yard = Yard::new();
    yard.leave("1").await;
    let flow = yard.story("1").await.entity.correlation_id;
    assert!(flow.is_some());
    yard.world.clock.advance(secs(60));
    yard.tell_of(flow, "pack", Packed::new("1", "cart 7")).await;
    let story = yard.story("1").await;
    assert_eq!(story.related.len(), 1);
    assert_eq!(story.entity.correlation_id, story.related[0].correlation_id);
    assert_eq!(story.led_to, [("cart".to_owned(), "cart 7".to_owned())]);
    let waiting = story.waiting.unwrap();
    assert_eq!((&*waiting.what, &*waiting.of.kind, &*waiting.of.id), ("fetched", "cart", "cart 7"));
    assert!(yard.world.memory.damage(Damage::Item { table: "bags", key: "cart/cart 7" }));
    let story = yard.story("1").await;
    assert_eq!((story.related.len(), story.untold.len()), (0, 1));
}

#[tokio::test]
async fn a_story_is_one_answer_of_the_api() {
    let yard = Yard::new();
    yard.leave("a b").await;
    let api = Api::new(yard.pipeline.clone());
    let answer = api.respond("GET", "/_quadrille/stories/bag/a%20b", Request::default()).await;
    let story: Story = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, &*story.entity.id), (200, "a b"));
    for (path, status) in [("bag/c", 404), ("box/c", 404), ("bag", 404)] {
        let answer = api.respond("GET", &format!("/_quadrille/stories/{path}"), Request::default()).await;
        assert_eq!(answer.status, status, "{path}");
    }
}

/// Messages whose subjects are told in every way there is, and one that has none.
fn letters(id: &str) -> Vec<NewMessage> {
    let told = serde_json::json!({ "subject": id });
    let wrapped = serde_json::json!({ "subject": 7, "detail-type": "x", "detail": told });
    let beside =
        NewMessage { attributes: [("subject".to_owned(), id.to_owned())].into(), ..NewMessage::default() };
    let mut all: Vec<NewMessage> = [told.to_string(), "no json".to_owned(), "{}".to_owned()]
        .into_iter()
        .map(|body| NewMessage { body, ..NewMessage::default() })
        .collect();
    all.push(NewMessage { body: "no json".to_owned(), ..beside });
    all.push(NewMessage { body: wrapped["detail"].to_string(), ..NewMessage::default() });
    all
}

#[tokio::test]
async fn a_letter_is_found_by_its_subject_alike_in_memory_and_in_a_folder() {
    let world = World::new(yard());
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(VirtualClock::new(START));
    let random = Arc::new(SeededRandom::new(1));
    let local = Local::open(folder.path(), world.choreography.model(), clock, random).unwrap();
    let ids = ["1", "2", "é'\"; DROP", "$.x", "", "a\u{202e}b"];
    let ports = [world.ports.clone(), local.ports().clone()];
    let mut found = Vec::new();
    for ports in &ports {
        let queue = &ports.queues["weigh-dlq"];
        for id in ids.iter().cycle().take(40) {
            assert!(queue.send(letters(id)).await.iter().all(Result::is_ok));
        }
        let mut told = Vec::new();
        for id in ids {
            for max in [1, 3, 100] {
                let letters = queue.arrived_for(id, max).await.unwrap();
                told.push(
                    letters.into_iter().map(|(place, letter)| (place, letter.body)).collect::<Vec<_>>(),
                );
            }
        }
        found.push(told);
    }
    assert!(found[0].iter().take(3).all(|told| !told.is_empty()));
    assert_eq!(found[0], found[1]);
}
