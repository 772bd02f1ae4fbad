//! A planned redrive: what would become of each letter is told, nothing is changed by telling it, and only what the plan names is sent.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Consumer, Context, DeadLetter, Failure, Handled, Outcome, Redriven, Service, Stored, Uses,
    operator::{
        Filter, LetterResult, PlanAsk, Planned, Plans, RedriveAsk, Redriving, TrialOutcome, Wanted, plan,
        redrive_planned,
    },
    port::{Attributes, NewMessage},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use support::*;

const DEAD: &str = "scan-dlq";
const LABELS: &str = "labels";

trait Scale: Send + Sync {
    fn weigh(&self) -> u64;
}

/// Counts how often it is asked.
#[derive(Default)]
struct CountingScale(AtomicU64);

impl Scale for Arc<CountingScale> {
    fn weigh(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Where parcels burn until somebody mends it. One that is there says so, one that is not gets a label and is loaded.
struct Depot {
    world: World,
    is_mended: Arc<AtomicBool>,
    scale: Arc<CountingScale>,
}

impl Depot {
    fn new(is_safe: bool) -> Self {
        let (is_mended, scale) = (Arc::new(AtomicBool::new(false)), Arc::new(CountingScale::default()));
        let mended = Arc::clone(&is_mended);
        let scan = move |parcel: Stored<Parcel>, event: Scanned, cx: Context<(Loaded,)>| {
            let is_mended = mended.load(Ordering::Relaxed);
            async move { scanned(parcel, event, is_mended, &cx).await }
        };
        let weigh = |_: Loaded, cx: Context<()>| async move {
            cx.service::<dyn Scale>()?.weigh();
            if cx.attempt() < 9 {
                Err(Failure::permanent("too_heavy", "nobody lifts it"))
            } else {
                Ok(Handled::Done)
            }
        };
        let made = Arc::clone(&scale);
        let service = Service::<dyn Scale>::new(move |_| Ok(Arc::new(Arc::clone(&made))));
        let service = if is_safe { service.tried_where(|_| Ok(true)) } else { service };
        let definition = parcels::<(Scanned, Loaded)>()
            .bucket(LABELS)
            .service(service)
            .on(Consumer::new("scan", scan).attempts(2, BACKOFF).uses(Uses::new().puts(LABELS)))
            .on(Consumer::new("weigh", weigh).attempts(1, BACKOFF).uses(Uses::new().service::<dyn Scale>()));
        let mut world = World::new(definition);
        world.ports = world.choreography.equip(world.ports.clone(), quadrille::Settings::default()).unwrap();
        Self { world, is_mended, scale }
    }

    /// A dead letter for each of these places.
    async fn burnt(&self, id: &str, places: &[&str]) {
        self.world.post(&[id]).await;
        for place in places {
            self.world.tell("scan", Scanned::new(id, *place)).await;
        }
        self.world.deliver("scan").await;
    }

    async fn plan(&self, queue: &str, bodies: &[(&str, &str)]) -> Vec<Planned> {
        let bodies = bodies.iter().map(|(id, body)| ((*id).to_owned(), (*body).to_owned())).collect();
        let (queue, filter) = (queue.to_owned(), Filter::default());
        let ask = PlanAsk { queue, filter, after: 0, limit: 100, bodies, plan: None };
        let page = plan(&self.world.pipeline(), &Plans::default(), &ask).await.unwrap();
        assert_eq!(page.next, None);
        page.letters
    }

    async fn redrive(&self, letters: &[&Planned], limit: usize, to: Option<&str>) -> Redriving {
        let wanted = |letter: &&Planned| {
            (letter.id.clone(), Wanted { content: letter.content.clone(), body: letter.body.clone() })
        };
        let ask = RedriveAsk {
            queue: DEAD.to_owned(),
            letters: letters.iter().map(wanted).collect(),
            limit,
            to: to.map(str::to_owned),
            by: "ann".to_owned(),
            why: "the fire is out".to_owned(),
        };
        redrive_planned(&self.world.pipeline(), &ask).await.unwrap()
    }

    /// All that there is: messages, parcels, labels.
    async fn everything(&self) -> String {
        let mut all = String::new();
        for (name, queue) in &self.world.ports.queues {
            let arrived = queue.arrived(0, 1_000).await.unwrap();
            all += &format!("{name} {:?} {arrived:?}\n", queue.depth().await.unwrap());
        }
        let items = self.world.ports.tables[PARCELS].scan(None, 1_000).await.unwrap().items;
        let keys = self.world.ports.buckets[LABELS].list("", None, 1_000).await.unwrap().keys;
        all + &format!("{items:?} {keys:?} {:?}", self.world.emitted().await)
    }
}

async fn scanned(
    mut parcel: Stored<Parcel>,
    event: Scanned,
    is_mended: bool,
    cx: &Context<(Loaded,)>,
) -> Outcome<(Loaded,)> {
    if !is_mended {
        return Err(Failure::permanent("burnt", event.place));
    }
    if event.place == "nowhere" {
        return Err(Failure::permanent("no_such_place", event.place));
    }
    if parcel.stops.contains(&event.place) {
        return Ok(Handled::already("it is there"));
    }
    if event.place == "slow" && cx.attempt() == 1 {
        return Err(Failure::transient("not_yet", "once more"));
    }
    cx.bucket(LABELS)?.put_if_absent(&format!("{}/{}", parcel.id, event.place), b"label".to_vec()).await?;
    parcel.stops.push(event.place.clone());
    let loaded = Loaded::new(parcel.id.clone(), event.place);
    Ok(parcel.commit("scanned").emit(loaded).into())
}

fn outcomes(letters: &[Planned]) -> Vec<String> {
    letters.iter().map(|planned| planned.trial.summary(&planned.letter.reason)).collect()
}

#[tokio::test]
async fn a_plan_tells_what_would_become_of_each_letter_and_changes_nothing() {
    let depot = Depot::new(false);
    depot.burnt("1", &["oslo", "oslo", "nowhere", "slow", "rome"]).await;
    let damaged = Attributes::from([("reason".to_owned(), "unreadable_message".to_owned())]);
    let torn = NewMessage { body: "torn".to_owned(), attributes: damaged, ..NewMessage::default() };
    depot.world.ports.queues[DEAD].send(vec![torn]).await.remove(0).unwrap();
    let before = depot.everything().await;
    assert_eq!(outcomes(&depot.plan(DEAD, &[]).await), [vec!["fails again"; 4], vec!["unreadable"]].concat());
    depot.is_mended.store(true, Ordering::Relaxed);
    let letters = depot.plan(DEAD, &[]).await;
    // The second message of one place is dropped as it is given up: one event, one letter.
    assert_eq!(outcomes(&letters), ["done", "fails: no_such_place", "done", "done", "unreadable"]);
    assert_eq!(letters[0].trial, TrialOutcome::Done { what: "scanned".to_owned() });
    let letter = &letters[0].letter;
    assert_eq!((letter.reason.as_str(), letter.redriven.as_ref()), ("burnt", None));
    assert!(letters[0].deadline > letter.dead_at + secs(13 * 86_400));
    assert_eq!(depot.everything().await, before);
}

#[tokio::test]
async fn a_letter_is_tried_behind_those_before_it() {
    let depot = Depot::new(false);
    depot.burnt("1", &["oslo"]).await;
    depot.burnt("2", &["oslo"]).await;
    // Somebody sent the event of the first one again, as another message.
    let body = depot.world.lying_in(DEAD).await[0].body.replacen("\"id\":\"", "\"id\":\"again-", 1);
    depot.world.send("scan", body).await;
    depot.world.deliver("scan").await;
    depot.is_mended.store(true, Ordering::Relaxed);
    assert_eq!(outcomes(&depot.plan(DEAD, &[]).await), ["done", "done", "a duplicate"]);
    // The same where each is on a page of its own, for as long as the plan is known.
    let (plans, mut letters) = (Plans::default(), Vec::new());
    let filter = Filter::default();
    let mut ask =
        PlanAsk { queue: DEAD.to_owned(), filter, after: 0, limit: 1, bodies: BTreeMap::new(), plan: None };
    loop {
        let page = plan(&depot.world.pipeline(), &plans, &ask).await.unwrap();
        letters.extend(page.letters);
        let Some(next) = page.next else { break };
        (ask.after, ask.plan) = (next, page.plan);
    }
    assert_eq!(outcomes(&letters), ["done", "done", "a duplicate"]);
    ask = PlanAsk { after: 2, plan: Some("another".to_owned()), ..ask };
    let alone = plan(&depot.world.pipeline(), &plans, &ask).await.unwrap();
    assert_eq!(outcomes(&alone.letters), ["done"]);
}

#[tokio::test]
async fn a_service_is_asked_only_where_it_is_safe_to_try() {
    for is_safe in [false, true] {
        let depot = Depot::new(is_safe);
        depot.world.post(&["1"]).await;
        depot.world.tell("weigh", Loaded::new("1", "oslo")).await;
        depot.world.deliver("weigh").await;
        let asked = depot.scale.0.load(Ordering::Relaxed);
        assert_eq!(asked, 1);
        let outcome = depot.plan("weigh-dlq", &[]).await.remove(0).trial;
        match is_safe {
            true => assert_eq!(outcome.summary("too_heavy"), "fails again"),
            false => assert!(
                matches!(&outcome, TrialOutcome::Unknown { why } if why.contains("Scale")),
                "{outcome:?}"
            ),
        }
        assert_eq!(depot.scale.0.load(Ordering::Relaxed) - asked, u64::from(is_safe));
    }
}

#[tokio::test]
async fn only_what_a_plan_names_is_sent_and_the_trail_tells_who_did_it() {
    let depot = Depot::new(false);
    depot.burnt("1", &["oslo", "rome", "paris"]).await;
    let letters = depot.plan(DEAD, &[]).await;
    depot.is_mended.store(true, Ordering::Relaxed);
    // One of two that are wanted now, the other with the next call; the third is not of the plan.
    let wanted = [&letters[0], &letters[2]];
    let first = depot.redrive(&wanted, 1, None).await;
    assert_eq!(first.results, BTreeMap::from([(letters[0].id.clone(), LetterResult::Sent)]));
    let second = depot.redrive(&wanted, 5, None).await;
    assert_eq!(second.results, BTreeMap::from([(letters[2].id.clone(), LetterResult::Sent)]));
    assert!(depot.redrive(&wanted, 5, None).await.results.is_empty());
    depot.world.deliver("scan").await;
    assert_eq!(depot.world.stops("1").await, ["oslo", "paris"]);
    assert_eq!(depot.world.lying_in(DEAD).await.len(), 1);
    let parcel = depot.world.parcel("1").await.unwrap();
    let redriven = parcel.trail().last().unwrap().redriven.clone().unwrap();
    let expected = Redriven { times: 1, at: START, by: "ann".to_owned(), why: "the fire is out".to_owned() };
    assert_eq!(redriven, expected);
}

/// The letters of a plan lie behind so many others that no look at the queue holds them all.
#[tokio::test]
async fn the_letters_of_a_plan_are_found_behind_many_others() {
    const OTHERS: usize = 1_300;
    let depot = Depot::new(false);
    for number in 0..OTHERS + 30 {
        depot.burnt(&format!("p{number}"), &["oslo"]).await;
    }
    let (mut letters, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        let (queue, filter) = (DEAD.to_owned(), Filter::default());
        let ask = PlanAsk { queue, filter, after: from, limit: 500, bodies: BTreeMap::new(), plan: None };
        let page = plan(&depot.world.pipeline(), &Plans::default(), &ask).await.unwrap();
        letters.extend(page.letters);
        after = page.next;
    }
    assert_eq!(letters.len(), OTHERS + 30);
    let mut wanted: Vec<&Planned> = letters.iter().step_by(100).chain(&letters[OTHERS..]).collect();
    wanted.dedup_by_key(|letter| letter.id.clone());
    let (mut sent, mut calls) = (BTreeSet::new(), 0);
    while sent.len() < wanted.len() && calls < 60 {
        let left: Vec<&Planned> =
            wanted.iter().copied().filter(|letter| !sent.contains(&letter.id)).collect();
        sent.extend(depot.redrive(&left, 5, None).await.results.into_keys());
        calls += 1;
    }
    assert_eq!(sent.len(), wanted.len(), "after {calls} calls");
    let depth = depot.world.ports.queues[DEAD].depth().await.unwrap();
    assert_eq!(depth.total(), (OTHERS + 30 - wanted.len()) as u64);
    assert_eq!(depth.in_flight + depth.delayed, 0, "nothing is hidden");
}

#[tokio::test]
async fn a_letter_counts_how_often_it_was_sent_back() {
    let depot = Depot::new(false);
    depot.burnt("1", &["oslo"]).await;
    for times in 1..4 {
        let letters = depot.plan(DEAD, &[]).await;
        depot.redrive(&[&letters[0]], 1, None).await;
        depot.world.deliver("scan").await;
        let letters = depot.plan(DEAD, &[]).await;
        assert_eq!(letters[0].letter.redriven.as_ref().map(|redriven| redriven.times), Some(times));
    }
}

#[tokio::test]
async fn a_letter_that_is_another_one_than_was_planned_stays() {
    let depot = Depot::new(false);
    depot.burnt("1", &["oslo"]).await;
    let mut letters = depot.plan(DEAD, &[]).await;
    letters[0].content = "0".repeat(16);
    let redriving = depot.redrive(&[&letters[0]], 1, None).await;
    assert!(matches!(redriving.results[&letters[0].id], LetterResult::Left { .. }));
    assert_eq!(depot.world.lying_in(DEAD).await.len(), 1);
}

#[tokio::test]
async fn a_letter_may_be_sent_with_another_body_or_to_another_queue() {
    let depot = Depot::new(false);
    depot.burnt("1", &["nowhere"]).await;
    depot.is_mended.store(true, Ordering::Relaxed);
    let id = depot.plan(DEAD, &[]).await.remove(0).id;
    let body = depot.world.lying_in(DEAD).await[0].body.replace("nowhere", "oslo");
    let wrong = depot.plan(DEAD, &[(&id, "{}")]).await;
    assert!(matches!(wrong[0].trial, TrialOutcome::Fails { is_tried_again: false, .. }), "{wrong:?}");
    let letters = depot.plan(DEAD, &[(&id, &body)]).await;
    assert_eq!(outcomes(&letters), ["done"]);
    let ask = RedriveAsk { ..ask_of(&letters[0], Some("nobody's")) };
    assert_eq!(redrive_planned(&depot.world.pipeline(), &ask).await.unwrap_err().reason(), "no_such_queue");
    depot.redrive(&[&letters[0]], 1, Some("weigh")).await;
    let sent = depot.world.lying_in("weigh").await;
    assert_eq!((sent.len(), sent[0].body.as_str()), (1, body.as_str()));
    assert_eq!(DeadLetter::read(&sent[0]).redriven.unwrap().times, 1);
}

fn ask_of(letter: &Planned, to: Option<&str>) -> RedriveAsk {
    let wanted = Wanted { content: letter.content.clone(), body: None };
    RedriveAsk {
        queue: DEAD.to_owned(),
        letters: BTreeMap::from([(letter.id.clone(), wanted)]),
        limit: 1,
        to: to.map(str::to_owned),
        by: String::new(),
        why: String::new(),
    }
}
