//! `kill -9`, twenty times, in the middle of 2,000 orders. Whatever was answered with 202 reaches exactly one end.
//! `ATTACK_KILLS` says another number, of as many orders a kill.

use crate::support::{
    self, BOUND, Engine, Order, POLL, POLL_DEAD, RESULTS, RESULTS_DEAD, ask, body, decision, eventually,
    filed, filed_by_id, on, orders, subjects,
};
use quadrille::{
    domain::auction::OrderStatus,
    port::{Random as _, SeededRandom},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

const KILLS: u64 = 20;
const ORDERS_PER_KILL: usize = 100;
/// How long nothing may happen before the test looks what is missing.
const STANDSTILL: Duration = Duration::from_secs(10);
/// Orders in a request.
const BATCH: usize = 20;
/// Draws the moments of the kills, unless `CRASH_SEED` does.
const SEED: u64 = 20_261_120;
const PLATFORM_SEED: u64 = 7;

/// When the process is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// As soon as it listens: what it found unfinished is just being taken up.
    Starting,
    /// After so many more answers to POST requests, the next one being under way.
    Posting { answers: usize },
    /// So many short requests after the kickoff was answered.
    Gathering { requests: u64 },
    /// While the run waits for the platform.
    Waiting,
    /// So many short requests after the last "not ready".
    Deciding { requests: u64 },
    /// Once so many more results are filed.
    Storing { files: usize },
}

impl Moment {
    fn drawn(kill: usize, random: &SeededRandom) -> Self {
        let below = |limit: u64| random.next_u64() % limit;
        let below_usize = |limit: u64| usize::try_from(below(limit)).unwrap();
        // Each kind comes up, more often those where much is under way, and a start after a kill in the middle.
        match kill % 10 {
            0 | 5 => Self::Posting { answers: below_usize(5) },
            1 => Self::Gathering { requests: below(12) },
            2 | 7 => Self::Starting,
            3 => Self::Waiting,
            4 | 8 => Self::Deciding { requests: below(12) },
            _ => Self::Storing { files: 1 + below_usize(60) },
        }
    }
}

/// Posts what it is given until it is taken, to whichever process listens at the time.
struct Poster {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    address: Option<String>,
    /// Batches that may be posted, and those that are answered with 202.
    released: usize,
    answered: usize,
    /// Requests that got no answer.
    unanswered: usize,
}

impl Poster {
    fn run(&self, batches: &[Vec<Order>]) {
        for (at, batch) in batches.iter().enumerate() {
            let body = body(batch);
            loop {
                let address = self.wait(|state| state.address.clone().filter(|_| state.released > at));
                match ask(&address, "POST", "/orders", &[], Some(body.as_bytes())) {
                    Ok(answer) => {
                        assert_eq!(answer.status, 202, "{}", answer.text());
                        break;
                    }
                    Err(_) => self.change(|state| {
                        state.unanswered += 1;
                        // Nobody listens there any more; there may be another one by now.
                        if state.address.as_ref() == Some(&address) {
                            state.address = None;
                        }
                    }),
                }
            }
            self.change(|state| state.answered += 1);
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn wait<T>(&self, mut seen: impl FnMut(&State) -> Option<T>) -> T {
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(seen) = seen(&state) {
                return seen;
            }
            let (next, waited) = self.changed.wait_timeout(state, BOUND).unwrap();
            assert!(!waited.timed_out(), "not within {BOUND:?}: a change of what is posted");
            state = next;
        }
    }
}

/// The kills so far, printed where the test fails.
struct Kills {
    seed: u64,
    moments: Vec<String>,
}

impl Drop for Kills {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("CRASH_SEED={}, killed:\n{}", self.seed, self.moments.join("\n"));
        }
    }
}

fn up(folder: &std::path::Path) -> Engine {
    Engine::up(folder, &["--seed", "7", "--not-ready", "2", "--backoff", "20ms"])
}

/// Waits until the moment has come, or everything is over without it; true where it came.
fn reached(
    engine: &Engine,
    moment: Moment,
    run: Option<&str>,
    poster: &Poster,
    before: (usize, usize),
) -> bool {
    let (answered, files) = before;
    // A kickoff that finds another run queued is none: then the moment is over once everything is. One that finds a run
    // gathering may leave it nothing to ask for.
    let polls = |run: &str| match engine.run(run) {
        Some(run) => Some((run["state"]["phase"].clone(), run["state"]["polls"].as_u64()?)),
        None => is_idle(engine).then(|| (Value::from("ended"), u64::MAX)),
    };
    let spin = |requests: u64| (0..requests).for_each(|_| assert_eq!(engine.get("/healthz").status, 200));
    match (moment, run) {
        (Moment::Starting, _) => true,
        (Moment::Posting { answers }, _) => {
            poster.wait(|state| (state.answered >= state.released.min(answered + answers)).then_some(()));
            true
        }
        (Moment::Gathering { requests }, _) => {
            spin(requests);
            true
        }
        (Moment::Waiting, Some(run)) => eventually("the run waits, or is over", || {
            let (phase, polls) = polls(run)?;
            (polls >= 1 || phase == "ended").then_some(phase == "waiting")
        }),
        (Moment::Deciding { requests }, Some(run)) => {
            eventually("the run waits for the last time, or is over", || {
                let (phase, polls) = polls(run)?;
                (polls >= 2 || phase == "ended").then(|| {
                    spin(requests);
                    phase != "ended"
                })
            })
        }
        (Moment::Storing { files: more }, _) => {
            eventually("results are filed, or everything is over", || {
                let is_reached = filed(&engine.folder).len() >= files + more;
                (is_reached || is_idle(engine)).then_some(is_reached)
            })
        }
        (_, None) => panic!("{moment:?} needs a run"),
    }
}

/// Whether no message of the auction is anywhere.
fn is_quiet(engine: &Engine) -> bool {
    let queues = engine.queues();
    let is_empty =
        |name: &str| ["visible", "in_flight", "delayed"].iter().all(|kind| queues[name][kind] == 0);
    is_empty(POLL) && is_empty(RESULTS)
}

/// Whether no message of the auction is anywhere, and no order waits for a decision.
fn is_idle(engine: &Engine) -> bool {
    let submitted = || on(&engine.folder, &["orders", "--status", "submitted", "--limit", "1"]).ok();
    is_quiet(engine) && submitted().is_empty()
}

/// How many orders are at an end, or at several.
fn ends_reached(engine: &Engine) -> usize {
    let mut ends: BTreeSet<String> = subjects(&engine.dead_letters(RESULTS_DEAD)).into_iter().collect();
    let id = |key: &String| Some(key.strip_suffix(".json")?.rsplit_once("Z_")?.1.to_owned());
    ends.extend(filed(&engine.folder).keys().filter_map(id));
    ends.len()
}

/// Sends back what was given up for the deaths that it saw; how many that were.
fn redriven(engine: &Engine) -> u64 {
    let moved = [POLL_DEAD, RESULTS_DEAD].map(|queue| {
        let exhausted = ["dlq", "redrive", "--queue", queue, "--reason", "receives_exhausted", "--json"];
        on(&engine.folder, &exhausted).json()["redriven"].as_u64().unwrap()
    });
    moved.iter().sum()
}

#[test]
fn every_order_taken_reaches_exactly_one_end_whatever_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let count = usize::try_from(support::number("ATTACK_KILLS", KILLS)).unwrap();
    let all = orders("order-", count * ORDERS_PER_KILL);
    let batches: Vec<Vec<Order>> = all.chunks(BATCH).map(<[Order]>::to_vec).collect();
    let poster = Poster { state: Mutex::default(), changed: Condvar::new() };
    let seed = std::env::var("CRASH_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    let random = SeededRandom::new(seed);
    let mut kills = Kills { seed, moments: Vec::new() };
    let mut unreached = 0;

    thread::scope(|scope| {
        scope.spawn(|| poster.run(&batches));
        for kill in 0..count {
            let moment = Moment::drawn(kill, &random);
            let engine = up(folder.path());
            let before = (poster.state.lock().unwrap().answered, filed(folder.path()).len());
            let was_reached = if matches!(moment, Moment::Starting) {
                true
            } else {
                poster.change(|state| {
                    state.address = Some(engine.address.clone());
                    state.released = (kill + 1) * batches.len() / count;
                });
                let run = if matches!(moment, Moment::Posting { .. }) {
                    None
                } else {
                    // The rest of what was released may still be on its way when the run starts.
                    poster.wait(|state| (state.answered + 2 >= state.released).then_some(()));
                    let started =
                        ask(&engine.address, "POST", "/_quadrille/schedules/kickoff", &[], Some(b"{}"))
                            .unwrap();
                    Some(started.json()["at"].as_str().unwrap().to_owned())
                };
                reached(&engine, moment, run.as_deref(), &poster, before)
            };
            let state = poster.state.lock().unwrap();
            kills.moments.push(format!(
                "{kill}: {moment:?}{}, {} of {} batches answered, {} files",
                if was_reached { "" } else { " (over before)" },
                state.answered,
                state.released,
                filed(folder.path()).len()
            ));
            drop(state);
            unreached += usize::from(!was_reached);
            engine.kill();
        }

        let engine = up(folder.path());
        poster.change(|state| {
            state.address = Some(engine.address.clone());
            state.released = batches.len();
        });
        poster.wait(|state| (state.answered == batches.len()).then_some(()));
        engine.kickoff();
        // Where nothing happens any more, what is missing is told below.
        let (mut ends, mut since) = ((0, 0), Instant::now());
        eventually("every order is at an end, or nothing happens any more", || {
            let now = (filed(&engine.folder).len(), engine.queues()[RESULTS]["dead"].as_u64()?);
            if now != ends {
                (ends, since) = (now, Instant::now());
            }
            if !is_quiet(&engine) {
                return None;
            }
            // A message that was in hand alone at many deaths is a dead letter, and a redrive finishes it.
            if redriven(&engine) > 0 {
                return None;
            }
            let is_all =
                now.0 + usize::try_from(now.1).unwrap() >= all.len() && ends_reached(&engine) >= all.len();
            (is_all || since.elapsed() > STANDSTILL).then_some(())
        });
        engine.terminate();
    });
    let unanswered = poster.state.lock().unwrap().unanswered;
    assert!(unanswered >= 3, "requests were cut off: {unanswered}");
    assert!(unreached <= count / 4, "{unreached} kills came when everything was over");
    let filed = filed_by_id(folder.path());
    let mut dead: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for letter in support::dead_letters(folder.path(), RESULTS_DEAD) {
        let subject = letter["subject"].as_str().unwrap().to_owned();
        dead.entry(subject).or_default().push(letter);
    }
    let doubled = dead.iter().filter(|(_, letters)| letters.len() > 1);
    let doubled: Vec<(&String, usize)> = doubled.map(|(id, letters)| (id, letters.len())).collect();
    assert_eq!(doubled, [], "orders that are dead letters more than once");
    let reasons: BTreeSet<&str> =
        dead.values().flatten().map(|letter| letter["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, BTreeSet::from(["rejected"]), "why orders are dead letters");
    let told = on(folder.path(), &["orders", "--json", "--limit", &all.len().to_string()]).json();
    let told: BTreeMap<&str, &Value> =
        told.as_array().unwrap().iter().map(|order| (order["record_id"].as_str().unwrap(), order)).collect();
    assert_eq!(told.len(), all.len());
    let (mut missing, mut extra) = (BTreeSet::new(), BTreeSet::new());
    for order in &all {
        let id = order.record_id.as_str();
        let (status, _) = decision(PLATFORM_SEED, id);
        let (is_filed, is_dead) = (filed.contains_key(id), dead.contains_key(id));
        if status == OrderStatus::Accepted {
            missing.extend((!is_filed).then_some(id));
            extra.extend(is_dead.then_some(id));
        } else {
            missing.extend((!is_dead).then_some(id));
            extra.extend(is_filed.then_some(id));
        }
    }
    assert_eq!((missing, extra), (BTreeSet::new(), BTreeSet::new()), "missing, and at both ends");
    for order in &all {
        let id = order.record_id.as_str();
        let (status, power) = decision(PLATFORM_SEED, id);
        assert_eq!(told[id]["status"], status.as_str(), "{id}");
        if let Some((key, object)) = filed.get(id) {
            assert_eq!(told[id]["result_key"], key.as_str(), "{id}");
            let members = support::members(object);
            let sent = (order.parameter_2.as_str(), power.unwrap().to_string());
            assert_eq!((members["parameter_2"].as_str(), members["power"].clone()), sent, "{id}");
        }
    }
    assert_eq!(filed.len() + dead.len(), all.len(), "nothing but these orders");
    assert_eq!(support::dead_letters(folder.path(), POLL_DEAD), [] as [Value; 0]);
}
