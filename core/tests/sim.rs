//! The simulator, on a small system: what holds under every fault, and what a planted mistake looks like.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

use quadrille::{
    Choreography, Consumer, Context, Definition, Failure, Handled, Outcome, Route, Settings, Stored, System,
    Table, Timestamp, Uses,
    http::{Request, Response},
    setting::Place,
    sim::{
        Explored, Fault, Options, Paused, Property, Simulator, Tape, Until, always, eventually, explore,
        shrink, sometimes,
    },
    system::Demo,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    future::{Future as _, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};

#[derive(Serialize, Deserialize)]
struct Cup {
    id: String,
    poured: u32,
}
quadrille::entity!(Cup: "cup", by id);

#[derive(Serialize, Deserialize)]
struct Ordered {
    id: String,
}
quadrille::event!(Ordered: "cup.ordered", to Cup by id);

/// A mistake that is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// A message that comes twice is worked twice.
    Twice,
    /// It waits by tokio's clock.
    Tokio,
    /// It waits for a thread.
    Thread,
    /// It panics.
    Panic,
    /// The build before works a message twice that comes twice.
    Earlier,
}

struct TeaShop(Mistake);

impl TeaShop {
    /// Whether its handler comes to an end by itself.
    fn is_sound(&self) -> bool {
        [Mistake::None, Mistake::Twice, Mistake::Earlier].contains(&self.0)
    }
}

async fn order(request: Request, cx: Context<(Ordered,)>) -> Result<Response, Failure> {
    let order: Value = serde_json::from_slice(&request.body).unwrap();
    let id = order["id"].as_str().unwrap().to_owned();
    let cup = Stored::new(Cup { id: id.clone(), poured: 0 });
    // Whether it was there before is all the same: it is asked for again until it is taken.
    cx.commit(cup.commit("ordered").emit(Ordered { id })).await?;
    Ok(Response::json(202, &()))
}

async fn pour(mut cup: Stored<Cup>, mistake: Mistake) -> Outcome<()> {
    match mistake {
        Mistake::Tokio => tokio::time::sleep(Duration::from_secs(1)).await,
        Mistake::Thread => {
            let (wake, mut woken) = tokio::sync::oneshot::channel();
            poll_fn(|context| {
                let _ = Pin::new(&mut woken).poll(context);
                Poll::Ready(())
            })
            .await;
            std::thread::spawn(move || wake.send(())).join().unwrap().unwrap();
            woken.await.unwrap();
        }
        Mistake::Panic => panic!("the pot is broken"),
        Mistake::None | Mistake::Twice | Mistake::Earlier => {}
    }
    if cup.poured > 0 && mistake != Mistake::Twice {
        return Ok(Handled::already("poured"));
    }
    cup.poured += 1;
    Ok(cup.commit("poured").into())
}

impl System for TeaShop {
    fn name(&self) -> &'static str {
        "tea-shop"
    }

    fn about(&self) -> &'static str {
        "Pours tea."
    }

    fn define(&self) -> Definition {
        let mistake = self.0;
        Choreography::define("tea-shop")
            .table(Table::new("cups").holds::<Cup>())
            .route(Route::post("/cups", "order", order).uses(Uses::new().commits_one::<Cup>()))
            // Each copy of a message is worked until it is.
            .on(Consumer::new("pour", move |cup: Stored<Cup>, _: Ordered, _: Context<()>| pour(cup, mistake))
                .attempts(if self.is_sound() { 997 } else { 1 }, quadrille::Backoff::default()))
    }

    fn earlier(&self) -> Option<Definition> {
        (self.0 == Mistake::Earlier).then(|| TeaShop(Mistake::Twice).define())
    }

    fn demo(&self) -> Option<Box<dyn Demo>> {
        Some(Box::new(TeaDemo))
    }

    fn properties(&self) -> Vec<Property> {
        vec![
            always("no cup runs over", |world| {
                match world.entities::<Cup>().iter().find(|cup| cup.poured > 1) {
                    Some(cup) => Err(format!("{} was poured {} times", cup.id, cup.poured)),
                    None => Ok(()),
                }
            }),
            eventually("each cup that was ordered is poured", |world| {
                let is_poured = |id: &str| world.entity::<Cup>(id).is_some_and(|cup| cup.poured > 0);
                match world.posted().iter().find(|posted| !is_poured(&posted.entity)) {
                    Some(posted) => Err(format!("{} is empty", posted.entity)),
                    None => Ok(()),
                }
            }),
            sometimes("there are two cups", |world| world.entities::<Cup>().len() > 1),
        ]
    }
}

struct TeaDemo;

impl Demo for TeaDemo {
    fn subjects(&self) -> &'static str {
        "cups"
    }

    fn title(&self) -> &'static str {
        "A test's"
    }

    fn kind(&self) -> &'static str {
        "cup"
    }

    fn step(&self) -> &'static str {
        "order"
    }

    fn body(&self, ids: &[String]) -> Value {
        json!({ "id": ids.concat() })
    }

    fn ends(&self) -> &'static [&'static str] {
        &["poured"]
    }

    fn counted(&self, evidence: &quadrille::system::Evidence<'_>) -> Vec<&'static str> {
        evidence.entity.map(|_| "poured").into_iter().collect()
    }
}

fn explored(mistake: Mistake, options: &Options) -> Explored {
    explore(&simulator(&TeaShop(mistake)), 0..40, options)
}

fn simulator(shop: &TeaShop) -> Simulator<'_> {
    let choreography = shop.define().build().unwrap();
    let settings = Settings::read(Place::Command, &choreography.model().settings, |_| None).unwrap();
    Simulator::new(shop, choreography, settings).unwrap()
}

/// It has no schedule and no alarm, looks into no index, and asks nobody outside; and there is no build before.
const ABSENT: [Fault; 8] = [
    Fault::Depth,
    Fault::Skipped,
    Fault::Minute,
    Fault::Stale,
    Fault::Build,
    Fault::Unreachable,
    Fault::Unanswered,
    Fault::Fickle,
];

fn options() -> Options {
    Options { orders: 10, minutes: 10, ..Options::default() }
}

#[test]
fn a_sound_system_holds_under_every_fault_and_each_fault_strikes() {
    let explored = explored(Mistake::None, &options());
    assert_eq!(explored.failed, []);
    assert_eq!((explored.seeds, explored.taken, explored.refused), (40, 400, 0));
    let struck = explored.faults.iter().filter(|(_, count)| **count > 0);
    let struck: Vec<Fault> = struck.map(|((fault, _), _)| *fault).collect();
    let can_strike = Fault::ALL.iter().filter(|fault| fault.is_withstood() && !ABSENT.contains(fault));
    assert_eq!(can_strike.filter(|fault| !struck.contains(fault)).collect::<Vec<_>>(), [&Fault::Late; 0]);
    assert!(
        explored.tried["no cup runs over"]
            > explored.tried["every queue drains once the faults have stopped"]
    );
}

#[test]
fn a_seed_makes_the_same_run_and_its_tape_too() {
    let shop = TeaShop(Mistake::None);
    let simulator = simulator(&shop);
    let options = Options { is_kept: true, ..options() };
    let run = simulator.run(&Tape::of_seed(7), &options);
    let again = simulator.run(&Tape::of_choices(run.choices.clone()), &options);
    assert_eq!((run.trace, run.trace_hash), (again.trace, again.trace_hash));
    let other = simulator.run(&Tape::of_seed(8), &options);
    assert_ne!(run.trace_hash, other.trace_hash);
}

/// Step, time, and what is kept and was done of a run that stops there.
async fn stopped(simulator: &Simulator<'_>, until: Until) -> (u64, Timestamp, bool, String) {
    let Paused { turns, now, is_at_end, pipeline, .. } =
        simulator.paused(&Tape::of_seed(7), &options(), until);
    let ports = pipeline.ports();
    let mut kept = String::new();
    for (name, table) in &ports.tables {
        let items = table.scan(None, 1_000).await.unwrap().items;
        kept +=
            &items.iter().map(|item| format!("{name} {} {}\n", item.key, item.version)).collect::<String>();
    }
    for (name, queue) in &ports.queues {
        kept += &format!("{name} {:?}\n", queue.depth().await.unwrap());
    }
    kept += &format!("{:?}", pipeline.counts());
    (turns, now, is_at_end, kept)
}

#[tokio::test]
async fn a_run_stops_at_any_step_and_time_and_is_the_same_there_each_time() {
    let shop = TeaShop(Mistake::None);
    let simulator = simulator(&shop);
    let end = stopped(&simulator, Until::End).await;
    assert!(end.2, "{end:?}");
    let mut last = (Timestamp::from_millis(0), String::new());
    let mut different = 0;
    for step in (0..end.0).step_by(7) {
        let there = stopped(&simulator, Until::Turn(step)).await;
        assert_eq!((there.0, there.2), (step, false));
        assert!(there.1 >= last.0, "time goes on");
        different += u32::from(there.3 != last.1);
        last = (there.1, there.3);
    }
    assert!(different > 5, "{different}");
    let back = stopped(&simulator, Until::Turn(end.0 / 2)).await;
    assert_eq!(stopped(&simulator, Until::Turn(end.0 / 2)).await, back);
    assert_eq!(stopped(&simulator, Until::Turn(u64::MAX)).await, end);
    let time = back.1 + Duration::from_millis(1);
    let at_time = stopped(&simulator, Until::Time(time)).await;
    assert!(at_time.0 >= back.0 && at_time.1 == time && !at_time.2, "{at_time:?}");
}

#[test]
fn without_faults_nothing_strikes_and_all_is_over_soon() {
    let explored = explored(Mistake::None, &Options { faults: [].into(), ..options() });
    assert_eq!((explored.failed.len(), explored.faults.values().sum::<u64>()), (0, 0));
}

#[test]
fn a_message_that_is_worked_twice_is_found_and_told_by_the_smallest_run() {
    let shop = TeaShop(Mistake::Twice);
    let simulator = simulator(&shop);
    let explored = explore(&simulator, 0..40, &options());
    let failed = explored.failed.first().unwrap();
    assert_eq!(failed.violation.property, "no cup runs over");
    let smallest = shrink(&simulator, failed, &options(), || true);
    assert!(smallest.faults.len() < 5 && smallest.strikes_max < 10, "{smallest:?}");
    let run = simulator.run(&Tape::of_seed(failed.seed), &smallest);
    assert_eq!(run.violation.unwrap().property, "no cup runs over");
    // Where no message comes twice, nobody sees it.
    assert_eq!(explored_without_repeats(&simulator), 0);
}

#[test]
fn a_mistake_of_the_build_before_is_found_while_both_run() {
    let shop = TeaShop(Mistake::Earlier);
    let simulator = simulator(&shop);
    let found = explore(&simulator, 0..40, &options());
    assert_eq!(found.failed.first().unwrap().violation.property, "no cup runs over");
    let mut alone = options();
    alone.faults.remove(&Fault::Build);
    assert_eq!(explore(&simulator, 0..10, &alone).failed, []);
}

fn explored_without_repeats(simulator: &Simulator<'_>) -> usize {
    let faults = [Fault::Clock, Fault::Overtaken].into();
    explore(simulator, 0..40, &Options { faults, ..options() }).failed.len()
}

#[test]
fn a_handler_that_waits_for_what_no_tape_knows_is_told_which_ports_to_use() {
    for (mistake, property) in [
        (Mistake::Tokio, "a handler waits for ports alone"),
        (Mistake::Thread, "a handler waits for ports alone"),
        (Mistake::Panic, "no handler panics"),
    ] {
        let faultless = Options { faults: [].into(), orders: 1, ..options() };
        let explored = explore(&simulator(&TeaShop(mistake)), 0..1, &faultless);
        let failed = explored.failed.first().unwrap_or_else(|| panic!("{mistake:?}"));
        assert_eq!(failed.violation.property, property, "{mistake:?}: {}", failed.violation.detail);
        let names = failed.violation.detail.contains("the ports of `Context`");
        assert_eq!(names, mistake != Mistake::Panic, "{}", failed.violation.detail);
    }
}

#[test]
fn what_has_to_be_so_sometimes_and_never_is_is_named() {
    let shop = TeaShop(Mistake::None);
    let simulator = simulator(&shop);
    let one = explore(&simulator, 0..4, &Options { orders: 1, ..options() });
    assert_eq!(one.never(&simulator), ["there are two cups"]);
    assert_eq!(explore(&simulator, 0..4, &options()).never(&simulator), [""; 0]);
}
