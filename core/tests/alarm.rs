//! The alarms of the local adapter: every dead letter is told of, once, and soon, but not each by itself. On a store in
//! a folder; the clock is virtual except where a test says otherwise.
#![allow(clippy::unwrap_used, clippy::panic)] // In a test a panic is the assertion.

mod support;

use quadrille::{
    Alert, AlertState, Backoff, Choreography, Consumer, Context, Failure, Handled, Outcome, Pipeline,
    Timestamp,
    engine::Engine,
    local::{AlarmPolicy, Local},
    memory::VirtualClock,
    operator::{self, Act, Filter},
    port::{Clock, NewMessage, SeededRandom, SystemClock},
};
use std::{
    collections::BTreeMap,
    future::Future,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use support::{BOUND, PARCELS, Parcel, START, Scanned, asked, envelope, eventually, secs, text};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Longer than the step's work takes and shorter than the minute after which the adapter looks for what has expired, so
/// that in every test the next one to wake is the alarm.
const POLICY: AlarmPolicy =
    AlarmPolicy { gather: Duration::from_millis(500), digest_every: Duration::from_secs(20) };

const DEAD: &str = "scan-dlq";

/// A choreography in which every parcel burns, and whose alarms end in `alerts`. Where it `fails`, the first
/// notification is not delivered until it is tried again a second later.
fn burning(alerts: UnboundedSender<Alert>, fails: bool) -> Choreography {
    let scan = |event: Scanned, _: Context<()>| async move {
        Outcome::<()>::Err(Failure::permanent(event.place, "nothing is left of it"))
    };
    let fails = AtomicBool::new(fails);
    let notify = move |alert: Alert, _: Context<()>| {
        let outcome: Outcome<()> = if fails.swap(false, Ordering::Relaxed) {
            Err(Failure::transient("no_network", "nobody answers"))
        } else {
            alerts.send(alert).unwrap();
            Ok(Handled::Done)
        };
        std::future::ready(outcome)
    };
    let second = Backoff { initial: secs(1), max: secs(1), multiplier: 1.0, jitter: 0.0 };
    Choreography::define("parcels")
        .table(quadrille::Table::new(PARCELS).holds::<Parcel>())
        .topic("alerts")
        .schedule("scans", secs(86_400), |_| Scanned::new("0", "nowhere"))
        .on(Consumer::new("scan", scan))
        .on(Consumer::new("notify", notify).attempts(5, second).from_topic("alerts"))
        .alarm_to("alerts")
        .build()
        .unwrap()
}

/// A running engine on a folder.
struct Running {
    engine: Engine,
    pipeline: Pipeline,
    alerts: UnboundedReceiver<Alert>,
    // Keeps the folder locked.
    _local: Local,
}

impl Running {
    fn start(folder: &Path, clock: Arc<dyn Clock>, policy: AlarmPolicy) -> Self {
        Self::start_failing(folder, clock, policy, false)
    }

    fn start_failing(folder: &Path, clock: Arc<dyn Clock>, policy: AlarmPolicy, fails: bool) -> Self {
        let (sender, alerts) = unbounded_channel();
        let choreography = burning(sender, fails);
        let local = Local::open(folder, choreography.model(), clock, Arc::new(SeededRandom::new(1))).unwrap();
        let pipeline = local.pipeline(&choreography);
        let engine = local.start(&pipeline, policy);
        Self { engine, pipeline, alerts, _local: local }
    }

    async fn stop(self) {
        self.engine.stop().await;
    }

    /// Has parcels burn at one blow, and waits until all of them are dead letters, of which there are `total` then.
    async fn burn(&self, parcels: std::ops::Range<u32>, total: u64) {
        let message = |n: u32| {
            let reason = if n.is_multiple_of(2) { "burnt" } else { "drowned" };
            let body = text(&envelope(Scanned::new(format!("parcel {n}"), reason)));
            NewMessage { body, ..NewMessage::default() }
        };
        let sent = self.pipeline.ports().queues["scan"].send(parcels.map(message).collect()).await;
        assert!(sent.iter().all(Result::is_ok), "{sent:?}");
        eventually("they are dead letters", async || self.dead().await == total).await;
    }

    /// The dead letters there are.
    async fn dead(&self) -> u64 {
        self.pipeline.ports().queues[DEAD].depth().await.unwrap().total()
    }

    /// The next notification.
    async fn alert(&mut self) -> Alert {
        within(self.alerts.recv()).await.unwrap()
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future).await.unwrap_or_else(|_| panic!("not within {BOUND:?}"))
}

/// Waits until the next one to wake does so at `until`, then moves on to that time.
async fn pass_to(clock: &VirtualClock, until: Timestamp) {
    eventually("everybody waits", async || clock.next_wake() == Some(until)).await;
    clock.advance_to(until);
}

fn virtual_clock() -> Arc<VirtualClock> {
    Arc::new(VirtualClock::new(START))
}

#[tokio::test]
async fn a_burst_is_one_notification_what_comes_later_a_digest_and_the_end_is_told() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), virtual_clock());
    let mut running = Running::start(folder.path(), clock.clone(), POLICY);
    // More than fit in one batch.
    running.burn(0..25, 25).await;
    let first = START + POLICY.gather;
    pass_to(&clock, first).await;
    let alert = running.alert().await;
    assert_eq!((alert.state, alert.at, alert.depth, alert.arrived), (AlertState::Alarm, first, 25, 25));
    assert_eq!((alert.choreography.as_str(), alert.queue.as_str()), ("parcels", DEAD));
    assert_eq!(alert.reasons, BTreeMap::from([("burnt".to_owned(), 13), ("drowned".to_owned(), 12)]));
    let subjects: Vec<String> = (0..20).map(|n| format!("parcel {n}")).collect();
    assert_eq!(alert.subjects, subjects, "the count is whole, the ids are the first 20");

    // The alarm is red: what arrives now is told of, but not before it is time for a digest.
    let due = first + POLICY.digest_every;
    running.burn(25..28, 28).await;
    pass_to(&clock, first + POLICY.gather).await;
    eventually("the alarm waits for its digest", async || clock.next_wake() == Some(due)).await;
    running.burn(28..30, 30).await;
    pass_to(&clock, first + POLICY.gather + POLICY.gather).await;
    eventually("the alarm waits for its digest", async || clock.next_wake() == Some(due)).await;
    assert!(running.alerts.try_recv().is_err(), "told too soon");
    pass_to(&clock, due).await;
    pass_to(&clock, due + POLICY.gather).await;
    let digest = running.alert().await;
    assert_eq!((digest.state, digest.depth, digest.arrived), (AlertState::Digest, 30, 5));
    assert!(digest.at.since(alert.at) >= POLICY.digest_every);
    assert_eq!(digest.subjects, (25..30).map(|n| format!("parcel {n}")).collect::<Vec<_>>());

    // Half of them go, of which there is nothing to tell; then the others.
    let purge = async |limit| {
        operator::walk(&running.pipeline, &asked(DEAD, &Filter::default(), limit), Act::Purge).await.unwrap();
    };
    purge(15).await;
    pass_to(&clock, digest.at + POLICY.gather).await;
    purge(15).await;
    pass_to(&clock, digest.at + POLICY.gather + POLICY.gather).await;
    let end = running.alert().await;
    assert_eq!((end.state, end.depth, end.arrived), (AlertState::Ok, 0, 0));

    // The next one is an alarm again, at once.
    let now = clock.now();
    running.burn(30..31, 1).await;
    pass_to(&clock, now + POLICY.gather).await;
    let again = running.alert().await;
    assert_eq!((again.state, again.depth, again.arrived), (AlertState::Alarm, 1, 1));
    assert!(running.alerts.try_recv().is_err(), "one end, one beginning");
    running.stop().await;
}

#[tokio::test]
async fn by_the_clock_of_the_machine_none_is_missing_and_no_digest_comes_too_soon() {
    let policy = AlarmPolicy { gather: Duration::from_millis(20), digest_every: Duration::from_millis(250) };
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(folder.path(), Arc::new(SystemClock), policy);
    let mut alerts = Vec::new();
    for (parcels, total) in [(0..7, 7), (7..8, 8), (8..20, 20), (20..21, 21)] {
        running.burn(parcels, total).await;
    }
    while alerts.iter().map(|alert: &Alert| alert.arrived).sum::<u64>() < 21 {
        alerts.push(running.alert().await);
    }
    assert_eq!(alerts.iter().map(|alert| alert.arrived).sum::<u64>(), 21);
    assert_eq!(alerts[0].state, AlertState::Alarm);
    for pair in alerts.windows(2) {
        assert_eq!(pair[1].state, AlertState::Digest);
        assert!(pair[1].at.since(pair[0].at) >= policy.digest_every, "{pair:?}");
    }
    operator::walk(&running.pipeline, &asked(DEAD, &Filter::default(), 100), Act::Purge).await.unwrap();
    let end = running.alert().await;
    assert_eq!((end.state, end.depth), (AlertState::Ok, 0));
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_lost_or_told_twice_where_the_engine_stops_between_arrival_and_notification() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), virtual_clock());
    let mut running = Running::start(folder.path(), clock.clone(), POLICY);
    running.burn(0..4, 4).await;
    // The alarm gathers; it has told nobody yet.
    eventually("it gathers", async || clock.next_wake() == Some(START + POLICY.gather)).await;
    assert!(running.alerts.try_recv().is_err());
    running.stop().await;

    // The next engine tells of what it finds, without being told of a change.
    let mut running = Running::start(folder.path(), clock.clone(), POLICY);
    pass_to(&clock, START + POLICY.gather).await;
    let alert = running.alert().await;
    assert_eq!((alert.state, alert.at, alert.arrived), (AlertState::Alarm, START + POLICY.gather, 4));
    running.stop().await;

    // The one after that knows what was told: a digest for what is new, and when it is due.
    let mut running = Running::start(folder.path(), clock.clone(), POLICY);
    running.burn(4..5, 5).await;
    pass_to(&clock, alert.at + POLICY.gather).await;
    let due = alert.at + POLICY.digest_every;
    pass_to(&clock, due).await;
    pass_to(&clock, due + POLICY.gather).await;
    let digest = running.alert().await;
    assert_eq!((digest.state, digest.depth, digest.arrived), (AlertState::Digest, 5, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_notification_that_did_not_get_through_is_delivered_after_a_restart_and_once() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), virtual_clock());
    let mut running = Running::start_failing(folder.path(), clock.clone(), POLICY, true);
    running.burn(0..3, 3).await;
    pass_to(&clock, START + POLICY.gather).await;
    let tried = START + POLICY.gather + secs(1);
    let counts = || running.pipeline.counts()["notify"];
    eventually("the notification was tried", async || counts().retried == 1).await;
    assert!(running.alerts.try_recv().is_err());
    running.stop().await;

    let mut running = Running::start(folder.path(), clock.clone(), POLICY);
    pass_to(&clock, START + POLICY.gather + POLICY.gather).await;
    pass_to(&clock, tried).await;
    let alert = running.alert().await;
    assert_eq!((alert.state, alert.at, alert.arrived), (AlertState::Alarm, START + POLICY.gather, 3));
    let notify = Arc::clone(&running.pipeline.ports().queues["notify"]);
    eventually("nothing is left to tell", async || notify.depth().await.unwrap().total() == 0).await;
    assert!(running.alerts.try_recv().is_err());
    running.stop().await;
}

#[tokio::test]
async fn what_an_alarm_told_is_told_anew_where_its_row_is_damaged() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), virtual_clock());
    let mut running = Running::start(folder.path(), clock.clone(), POLICY);
    running.burn(0..2, 2).await;
    pass_to(&clock, START + POLICY.gather).await;
    assert_eq!(running.alert().await.arrived, 2);
    running.stop().await;
    let database = rusqlite::Connection::open(folder.path().join("quadrille.db")).unwrap();
    let damaged = database.execute("UPDATE alarm SET told = 'x', red = X'FF', last = 'y'", ()).unwrap();
    assert_eq!(damaged, 1);
    database.close().unwrap();
    let mut running = Running::start(folder.path(), clock.clone(), POLICY);
    running.burn(2..3, 3).await;
    pass_to(&clock, clock.now() + POLICY.gather).await;
    assert_eq!(running.alert().await.arrived, 3);
    running.stop().await;
}
