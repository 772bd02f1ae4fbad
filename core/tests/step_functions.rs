//! What people who come from Step Functions look for, written here: docs/step-functions.md shows the parts between
//! `begin` and `end`, and a test of the documents holds it to them.
#![allow(clippy::unwrap_used)] // In a test a panic is the assertion.

mod support;

use async_trait::async_trait;
use quadrille::{
    Backoff, Budget, Choreography, Committed, Consumer, Context, DeadLetter, Definition, Entity, Event,
    Failure, Handled, Outcome, Route, Stored, Table, Uses,
    engine::{Engine, trigger},
    http::{Method, Problem, Request, Response},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use support::World;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Placed,
    Paid,
    Declined,
    Cancelled,
    Shipped,
    Signed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Branch {
    Packed,
    Invoiced,
}

#[derive(Serialize, Deserialize)]
struct Order {
    id: String,
    amount: u32,
    state: State,
    done: BTreeSet<Branch>,
}

#[derive(Serialize, Deserialize)]
struct Night {
    id: String,
    page: u32,
    after: Option<String>,
    found: usize,
    resized: BTreeSet<String>,
}

impl Night {
    fn new(id: &str) -> Self {
        Self { id: id.to_owned(), page: 0, after: None, found: 0, resized: BTreeSet::new() }
    }
}

#[derive(Serialize, Deserialize)]
struct Image {
    /// `night/key`.
    id: String,
    night: String,
    is_small: bool,
}

macro_rules! entities {
    ($($entity:ident $kind:literal $id:ident),+) => {$(
        impl Entity for $entity {
            const KIND: &'static str = $kind;
            fn id(&self) -> Cow<'_, str> {
                Cow::Borrowed(&self.$id)
            }
        }
    )+};
}

entities!(Order "order" id, Night "night" id, Image "image" id);

macro_rules! events {
    ($($event:ident { $subject:ident $(, $more:ident: $kind:ty)* } $entity:ident $name:literal),+ $(,)?) => {$(
        #[derive(Clone, Debug, Serialize, Deserialize)]
        struct $event {
            $subject: String,
            $($more: $kind,)*
        }

        impl Event for $event {
            const TYPE: &'static str = $name;
            type Entity = $entity;
            fn subject(&self) -> Cow<'_, str> {
                Cow::Borrowed(&self.$subject)
            }
        }
    )+};
}

events! {
    Placed { order } Order "shop.placed",
    Paid { order } Order "shop.paid",
    Declined { order } Order "shop.declined",
    Ready { order } Order "shop.ready",
    Overdue { order } Order "shop.overdue",
    Page { night, number: u32 } Night "images.page",
    Resize { image } Image "images.resize",
    Resized { night, image: String } Night "images.resized",
}

/// The outside service of the flow.
#[async_trait]
trait Bank: Send + Sync {
    /// True: paid; false: declined. The same `key` again is the same payment.
    async fn charge(&self, key: &str, amount: u32) -> Result<bool, String>;
}

// begin: task
/// Every branch that `charge` may take, as the definition sees it.
type Charged = (Paid, Declined);

const ATTEMPTS: u32 = 4;

async fn charge(
    bank: &dyn Bank,
    mut order: Stored<Order>,
    event: Placed,
    cx: Context<Charged>,
) -> Outcome<Charged> {
    if order.state != State::Placed {
        return Ok(Handled::already("charged"));
    }
    // Before the commit, under a key derived from the entity: a repeated attempt charges nobody twice.
    let is_paid = match bank.charge(&format!("{}/charge", order.id), order.amount).await {
        Ok(is_paid) => is_paid,
        // Retry: the consumer's backoff says when.
        Err(why) if cx.attempt() < ATTEMPTS => return Err(Failure::transient("bank_unreachable", why)),
        // Catch: on the last attempt the flow goes on elsewhere.
        Err(_) => false,
    };
    // Choice.
    if is_paid {
        order.state = State::Paid;
        return Ok(order.commit("paid").emit(Paid { order: event.order }).into());
    }
    order.state = State::Declined;
    Ok(order.commit("not paid").emit(Declined { order: event.order }).into())
}
// end: task

// begin: ends
/// Succeed: a commit that emits nothing.
async fn cancel(mut order: Stored<Order>, _: Declined, _: Context<()>) -> Outcome<()> {
    if order.state == State::Cancelled {
        return Ok(Handled::already("cancelled"));
    }
    order.state = State::Cancelled;
    Ok(order.commit("cancelled").into())
}

/// Fail: a permanent failure. It is a dead letter with this reason, and somebody is told.
async fn overdue(order: Stored<Order>, _: Overdue, _: Context<()>) -> Outcome<()> {
    if order.state != State::Shipped {
        return Ok(Handled::already("signed in time"));
    }
    Err(Failure::permanent("not_signed", "nobody signed for the order in three days"))
}
// end: ends

// begin: parallel
/// Two consumers of one event are two branches. Each joins here; of two at the same time one commits and the other is run
/// again on what that left, so that exactly one sees both. A set and not a count: a repeated message must not count twice.
fn join(mut order: Stored<Order>, branch: Branch) -> Outcome<(Ready,)> {
    if !order.done.insert(branch) {
        return Ok(Handled::already("joined"));
    }
    let ready = Ready { order: order.id.clone() };
    let is_last = order.done.len() == 2;
    let commit = order.commit(format!("{branch:?}"));
    Ok(if is_last { commit.emit(ready) } else { commit }.into())
}

async fn pack(order: Stored<Order>, _: Paid, _: Context<(Ready,)>) -> Outcome<(Ready,)> {
    join(order, Branch::Packed)
}

async fn invoice(order: Stored<Order>, _: Paid, _: Context<(Ready,)>) -> Outcome<(Ready,)> {
    join(order, Branch::Invoiced)
}
// end: parallel

// begin: callback
/// Waits for a signature, three days at most: the answer and the end of the wait are both events, and the state tells which
/// came first.
async fn ship(mut order: Stored<Order>, event: Ready, _: Context<(Overdue,)>) -> Outcome<(Overdue,)> {
    if order.state != State::Paid {
        return Ok(Handled::already("shipped"));
    }
    order.state = State::Shipped;
    Ok(order.commit("shipped").emit_after(3 * DAY, Overdue { order: event.order }).into())
}

/// `POST /orders/{order}/signature`, in place of SendTaskSuccess.
async fn sign(request: Request, cx: Context<()>) -> Result<Response, Failure> {
    let id = request.parameters.get("order").map(String::as_str).unwrap_or_default();
    let waiting = cx.get::<Order>(&[id]).await?.pop().flatten();
    let Some(mut order) = waiting.filter(|order| order.state == State::Shipped) else {
        return Ok(Problem::new(409, "not_waiting", "nobody waits for this signature").into());
    };
    order.state = State::Signed;
    match cx.commit_all(vec![order.commit("signed")]).await?[..] {
        [Committed::Applied] => Ok(Response::json(200, &"signed")),
        _ => Ok(Problem::new(503, "changed_meanwhile", "send it again").into()),
    }
}
// end: callback

async fn place(request: Request, cx: Context<(Placed,)>) -> Result<Response, Failure> {
    let id = request.parameters.get("order").cloned().unwrap_or_default();
    let placed = Placed { order: id.clone() };
    let order = Order { id, amount: 5, state: State::Placed, done: BTreeSet::new() };
    cx.commit_all(vec![Stored::new(order).commit("placed").emit(placed)]).await?;
    Ok(Response::json(202, &"placed"))
}

fn shop(bank: Arc<dyn Bank>) -> Definition {
    // begin: definition
    let charge = move |order: Stored<Order>, event: Placed, cx: Context<Charged>| {
        let bank = Arc::clone(&bank);
        async move { charge(&*bank, order, event, cx).await }
    };
    let backoff = Backoff { initial: SECOND, max: MINUTE, multiplier: 2.0, jitter: 0.5 };
    Choreography::define("shop")
        .table(Table::new("orders").holds::<Order>())
        .route(Route::post("/orders/{order}", "place", place).uses(Uses::new().commits::<Order>()))
        .route(
            Route::post("/orders/{order}/signature", "sign", sign)
                .uses(Uses::new().gets::<Order>().commits::<Order>()),
        )
        .on(Consumer::new("charge", charge).timeout(20 * SECOND).attempts(ATTEMPTS, backoff))
        .on(Consumer::new("cancel", cancel))
        .on(Consumer::new("pack", pack))
        .on(Consumer::new("invoice", invoice))
        .on(Consumer::new("ship", ship).uses(Uses::new().emits_later::<Overdue>()))
        .on(Consumer::new("overdue", overdue))
    // end: definition
}

// begin: map
/// Map over the objects of a bucket, a page a round: each becomes an entity with an event of its own; the parent's commit
/// comes last and emits the next round. What a crash left half done the repeated round finds there.
async fn list(
    night: Option<Stored<Night>>,
    page: Page,
    cx: Context<(Page, Resize)>,
) -> Outcome<(Page, Resize)> {
    let mut night = night.unwrap_or_else(|| Stored::new(Night::new(&page.night)));
    if night.page != page.number {
        return Ok(Handled::already("this page is over"));
    }
    let listed = cx.bucket("inbox")?.list("", night.after.as_deref(), 100).await?;
    let images = listed.keys.iter().map(|key| {
        let id = format!("{}/{key}", page.night);
        let image = Image { id: id.clone(), night: page.night.clone(), is_small: false };
        Stored::new(image).commit("found").emit(Resize { image: id })
    });
    cx.commit_all(images.collect()).await?;
    night.found += listed.keys.len();
    night.page += 1;
    night.after = listed.next;
    let next = night.after.is_some().then(|| Page { night: page.night, number: night.page });
    let what = format!("{} images found", night.found);
    let commit = night.commit(what);
    Ok(match next {
        Some(next) => commit.emit(next),
        None => commit,
    }
    .into())
}

async fn resize(mut image: Stored<Image>, event: Resize, _: Context<(Resized,)>) -> Outcome<(Resized,)> {
    if image.is_small {
        return Ok(Handled::already("resized"));
    }
    image.is_small = true;
    let resized = Resized { night: image.night.clone(), image: event.image };
    Ok(image.commit("resized").emit(resized).into())
}
// end: map

async fn count(mut night: Stored<Night>, event: Resized, _: Context<()>) -> Outcome<()> {
    if !night.resized.insert(event.image) {
        return Ok(Handled::already("counted"));
    }
    Ok(night.commit("one more is small").into())
}

fn thumbnails() -> Definition {
    // begin: map-definition
    Choreography::define("thumbnails")
        .table(Table::new("images").holds::<Night>().holds::<Image>())
        .bucket("inbox")
        .schedule("nightly", DAY, |at| Page { night: at.to_string(), number: 0 })
        // It calls itself: without a budget, `build` refuses it.
        .on(Consumer::new("list", list)
            .budget(Budget { deadline: 6 * HOUR, hops: 10_000 })
            // Without them, a night ends at an outage of 15 s: `build` refuses that too.
            .attempts(16, Backoff::default())
            .uses(Uses::new().lists("inbox").commits::<Image>()))
        .on(Consumer::new("resize", resize))
        .on(Consumer::new("count", count))
    // end: map-definition
}

/// A bank that answers as it is told and remembers its payments.
#[derive(Default)]
struct Told {
    answers: Mutex<Vec<Result<bool, String>>>,
    payments: Mutex<BTreeMap<String, u32>>,
}

impl Told {
    /// `answers` in their order, then nothing but payments.
    fn new(answers: impl IntoIterator<Item = Result<bool, &'static str>>) -> Arc<Self> {
        let mut answers: Vec<_> = answers.into_iter().map(|answer| answer.map_err(str::to_owned)).collect();
        answers.reverse();
        Arc::new(Self { answers: Mutex::new(answers), ..Self::default() })
    }

    fn payments(&self) -> Vec<(String, u32)> {
        self.payments.lock().unwrap().clone().into_iter().collect()
    }
}

#[async_trait]
impl Bank for Told {
    async fn charge(&self, key: &str, amount: u32) -> Result<bool, String> {
        let answer = self.answers.lock().unwrap().pop().unwrap_or(Ok(true))?;
        if answer {
            self.payments.lock().unwrap().insert(key.to_owned(), amount);
        }
        Ok(answer)
    }
}

async fn stored<E: Entity + DeserializeOwned>(world: &World, table: &str, id: &str) -> Option<Stored<E>> {
    let items = world.ports.tables[table].get(&[format!("{}/{id}", E::KIND)]).await.unwrap();
    items.into_iter().flatten().next().map(|item| Stored::read(&item).unwrap())
}

async fn trail(world: &World, id: &str) -> Vec<String> {
    let order = stored::<Order>(world, "orders", id).await;
    let trail = order.map(|order| order.trail().clone()).unwrap_or_default();
    trail.entries.iter().map(|entry| entry.what.to_string()).collect()
}

async fn post(world: &World, path: &str) -> u16 {
    world.pipeline().respond(Method::Post, path, Request::default()).await.unwrap().status
}

/// Waits until the order's trail ends so.
async fn comes_to(world: &World, id: &str, last: &str) -> Vec<String> {
    let within = 10 * MINUTE;
    world
        .until(last, within, async || {
            Some(trail(world, id).await).filter(|trail| trail.last().unwrap() == last)
        })
        .await
}

#[tokio::test]
async fn a_task_is_retried_branches_join_once_and_a_callback_ends_the_wait() {
    let bank = Told::new([Err("busy"), Err("busy")]);
    let world = World::new(shop(bank.clone()));
    let engine = Engine::start(world.pipeline());
    assert_eq!(post(&world, "/orders/1").await, 202);
    let trail_then = comes_to(&world, "1", "shipped").await;
    assert_eq!(bank.payments(), [("1/charge".to_owned(), 5)]);
    let mut joined = trail_then[2..4].to_vec();
    joined.sort();
    assert_eq!(joined, ["Invoiced", "Packed"]);
    assert_eq!([&trail_then[..2], &trail_then[4..]].concat(), ["placed", "paid", "shipped"]);
    assert_eq!(post(&world, "/orders/1/signature").await, 200);
    assert_eq!(post(&world, "/orders/1/signature").await, 409, "nobody waits any more");
    world.pass(4 * DAY).await;
    assert_eq!(trail(&world, "1").await.last().unwrap(), "signed");
    assert_eq!(world.total("overdue-dlq").await, 0);
    engine.stop().await;
}

#[tokio::test]
async fn of_two_branches_that_join_again_and_again_one_goes_on() {
    let world = World::new(shop(Told::new([])));
    post(&world, "/orders/1").await;
    world.tell("charge", Placed { order: "1".into() }).await;
    world.deliver("charge").await;
    for queue in ["pack", "invoice", "pack", "invoice"] {
        world.tell(queue, Paid { order: "1".into() }).await;
    }
    let (packing, invoicing) = (world.receive("pack").await, world.receive("invoice").await);
    let pipeline = world.pipeline();
    let both = tokio::join!(pipeline.deliver("pack", &packing), pipeline.deliver("invoice", &invoicing));
    assert!(both.0.is_ok() && both.1.is_ok());
    let records = world.ports.streams["orders"].read(100, Duration::ZERO).await.unwrap();
    let ready = records
        .iter()
        .flat_map(|record| record.outbox.as_ref().unwrap())
        .filter(|event| event.get().contains("shop.ready"));
    assert_eq!(ready.count(), 1);
}

#[tokio::test]
async fn what_is_not_signed_in_time_fails() {
    let world = World::new(shop(Told::new([])));
    let engine = Engine::start(world.pipeline());
    post(&world, "/orders/1").await;
    comes_to(&world, "1", "shipped").await;
    world.pass(3 * DAY + MINUTE).await;
    assert_eq!(trail(&world, "1").await.last().unwrap(), "dead-lettered: not_signed");
    let letters = world.lying_in("overdue-dlq").await;
    assert_eq!(
        letters.iter().map(|letter| DeadLetter::read(letter).reason).collect::<Vec<_>>(),
        ["not_signed"]
    );
    engine.stop().await;
}

#[tokio::test]
async fn what_is_declined_or_still_fails_on_the_last_attempt_goes_on_elsewhere() {
    for answers in [vec![Ok(false)], vec![Err("down"); 4]] {
        let bank = Told::new(answers);
        let world = World::new(shop(bank.clone()));
        let engine = Engine::start(world.pipeline());
        post(&world, "/orders/1").await;
        assert_eq!(comes_to(&world, "1", "cancelled").await, ["placed", "not paid", "cancelled"]);
        assert_eq!((bank.payments().len(), world.total("charge-dlq").await), (0, 0));
        engine.stop().await;
    }
}

#[tokio::test]
async fn a_map_reaches_every_object_once() {
    const IMAGES: usize = 250;
    let world = World::new(thumbnails());
    let inbox = &world.ports.buckets["inbox"];
    for number in 0..IMAGES {
        inbox.put_if_absent(&format!("{number:04}.png"), Vec::new()).await.unwrap();
    }
    let engine = Engine::start(world.pipeline());
    let night = world.now();
    for _ in 0..2 {
        trigger(engine.pipeline(), "nightly", night).await.unwrap();
    }
    let night = night.to_string();
    let done = async || {
        let run = stored::<Night>(&world, "images", &night).await?;
        (run.resized.len() == IMAGES).then_some((run.found, run.page))
    };
    assert_eq!(world.until("all are small", HOUR, done).await, (IMAGES, 3));
    for number in [0, IMAGES - 1] {
        let image = stored::<Image>(&world, "images", &format!("{night}/{number:04}.png")).await.unwrap();
        assert!(image.is_small && image.version() == 2);
    }
    engine.stop().await;
}
