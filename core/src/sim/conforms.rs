//! The simulated ports are held to the conformance suite, under each fault alone.

use super::{
    executor::Executor,
    fault::Fault,
    options::Options,
    ports::{Nature, ports_of, waited},
    strikes::Faults,
    tape::Tape,
};
use crate::{
    conformance::{self, Capabilities, Report, World},
    memory::{Memory, all_wait},
    port::{
        Bucket, Bus, BusEntry, ChangeStream, CommitError, Damage, Depth, IndexPage, IndexQuery, Item,
        Message, NewMessage, ObjectPage, PortError, Ports, Queue, Receipt, ScanPage, StreamRecord, Table,
        Topic, Write,
    },
    timestamp::Timestamp,
};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

const BEGIN: Timestamp = Timestamp::from_millis(1_796_000_000_000);

/// How often a caller asks at most.
const ASKED_MAX: usize = 1_000;

/// How long a caller waits before it asks again.
const AGAIN: Duration = Duration::from_millis(100);

/// The longest that time goes on by itself for a call: as long as a fault lasts here.
const GOES_ON_MAX: Duration = Duration::from_secs(2);

/// How long an expired item stays under that fault.
const EXPIRY: Duration = Duration::from_secs(3 * 86_400);

struct Simulated {
    nature: Arc<Nature>,
    ports: Ports,
    capabilities: Capabilities,
}

#[async_trait]
impl World for Simulated {
    fn ports(&self) -> Ports {
        self.ports.clone()
    }

    async fn pass(&self, time: Duration) {
        self.nature.clock.pass(time).await;
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn damage(&self, damage: Damage<'_>) -> bool {
        self.nature.memory.damage(damage)
    }
}

/// A port, and a caller before it that asks again where it is refused for now.
struct Asking<P: ?Sized> {
    name: String,
    port: Arc<P>,
    nature: Arc<Nature>,
}

fn asking<P: ?Sized>(
    nature: &Arc<Nature>,
    ports: &mut BTreeMap<String, Arc<P>>,
    wrap: impl Fn(Asking<P>) -> Arc<P>,
) {
    for (name, port) in ports {
        *port = wrap(Asking { name: name.clone(), port: Arc::clone(port), nature: Arc::clone(nature) });
    }
}

impl<P: ?Sized> Asking<P> {
    /// Whether a call that failed may have been applied.
    fn may_lose(&self) -> bool {
        self.nature.faults.may_strike(Fault::Lost)
    }

    /// A little time passes, and others may go on.
    async fn wait(&self) {
        self.nature.clock.advance(AGAIN);
        tokio::task::yield_now().await;
    }

    async fn ask<'a, T>(
        &'a self,
        call: impl Fn() -> BoxFuture<'a, Result<T, PortError>> + Send,
    ) -> Result<T, PortError> {
        for _ in 1..ASKED_MAX {
            match call().await {
                Err(error) if error.is_transient() => self.wait().await,
                answer => return answer,
            }
        }
        call().await
    }

    /// Those entries that are refused for now are asked for again: the answers, and which were.
    async fn each<'a, T: Clone + Send, E: Send>(
        &'a self,
        entries: Vec<T>,
        is_transient: impl Fn(&E) -> bool + Send,
        call: impl Fn(Vec<T>) -> BoxFuture<'a, Vec<Result<(), E>>> + Send,
    ) -> (Vec<Result<(), E>>, BTreeSet<usize>) {
        let mut answers = call(entries.clone()).await;
        let mut asked_again = BTreeSet::new();
        for _ in 1..ASKED_MAX {
            let again: Vec<usize> =
                (0..answers.len()).filter(|at| answers[*at].as_ref().is_err_and(&is_transient)).collect();
            if again.is_empty() {
                break;
            }
            self.wait().await;
            let some = again.iter().map(|at| entries[*at].clone()).collect();
            asked_again.extend(&again);
            for (at, answer) in again.into_iter().zip(call(some).await) {
                answers[at] = answer;
            }
        }
        (answers, asked_again)
    }
}

#[async_trait]
impl Table for Asking<dyn Table> {
    async fn get(&self, keys: &[String]) -> Result<Vec<Option<Item>>, PortError> {
        self.ask(|| self.port.get(keys)).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        let is_transient =
            |error: &CommitError| matches!(error, CommitError::Port(error) if error.is_transient());
        let call = |writes| self.port.commit(writes);
        let (mut answers, asked_again) = self.each(writes.clone(), is_transient, call).await;
        for at in asked_again.into_iter().filter(|_| self.may_lose()) {
            if answers[at] == Err(CommitError::Conflict) {
                // Perhaps with itself, whose answer was lost.
                let item = &writes[at].item;
                let found = self.get(std::slice::from_ref(&item.key)).await;
                if found.is_ok_and(|found| found.first() == Some(&Some(item.clone()))) {
                    answers[at] = Ok(());
                }
            }
        }
        answers
    }

    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        self.ask(|| self.port.query(query)).await
    }

    async fn count(&self, partition: &str, at_most: u64) -> Result<Option<u64>, PortError> {
        self.ask(|| self.port.count(partition, at_most)).await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        self.ask(|| self.port.scan(after, limit)).await
    }
}

#[async_trait]
impl ChangeStream for Asking<dyn ChangeStream> {
    async fn read(&self, max: usize, wait: Duration) -> Result<Vec<StreamRecord>, PortError> {
        self.ask(|| self.port.read(max, wait)).await
    }

    async fn checkpoint(&self, sequence: u64) -> Result<(), PortError> {
        self.ask(|| self.port.checkpoint(sequence)).await
    }
}

#[async_trait]
impl Queue for Asking<dyn Queue> {
    async fn send(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        self.each(messages, PortError::is_transient, |messages| self.port.send(messages)).await.0
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        if self.may_lose() {
            // What nobody got would be hidden for longer than any scenario lasts: a test below has that.
            let ports = self.nature.memory.ports();
            let wait = waited(wait);
            return ports.queue(&self.name)?.receive(max, wait, visibility).await;
        }
        self.ask(|| self.port.receive(max, wait, visibility)).await
    }

    async fn receive_these(
        &self,
        ids: &[String],
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        if self.may_lose() {
            return self.nature.memory.ports().queue(&self.name)?.receive_these(ids, visibility).await;
        }
        self.ask(|| self.port.receive_these(ids, visibility)).await
    }

    async fn extend(&self, receipts: &[(Receipt, Duration)]) -> Result<(), PortError> {
        self.ask(|| self.port.extend(receipts)).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), PortError> {
        self.ask(|| self.port.delete(receipts)).await
    }

    async fn depth(&self) -> Result<Depth, PortError> {
        self.ask(|| self.port.depth()).await
    }

    fn shows_arrivals(&self) -> bool {
        self.port.shows_arrivals()
    }

    async fn arrived(&self, after: u64, max: usize) -> Result<Vec<(u64, Message)>, PortError> {
        self.ask(|| self.port.arrived(after, max)).await
    }
}

#[async_trait]
impl Bucket for Asking<dyn Bucket> {
    async fn put_if_absent(&self, key: &str, body: Vec<u8>) -> Result<bool, PortError> {
        match self.port.put_if_absent(key, body.clone()).await {
            Err(error) if error.is_transient() => self.wait().await,
            answer => return answer,
        }
        let is_new = self.ask(|| self.port.put_if_absent(key, body.clone())).await?;
        // Or it is there by the call whose answer was lost.
        Ok(is_new || self.may_lose() && self.get(key).await?.as_ref() == Some(&body))
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.ask(|| self.port.get(key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ObjectPage, PortError> {
        self.ask(|| self.port.list(prefix, after, limit)).await
    }
}

#[async_trait]
impl Topic for Asking<dyn Topic> {
    async fn publish(&self, messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        self.each(messages, PortError::is_transient, |messages| self.port.publish(messages)).await.0
    }
}

#[async_trait]
impl Bus for Asking<dyn Bus> {
    async fn publish(&self, entries: Vec<BusEntry>) -> Vec<Result<(), PortError>> {
        self.each(entries, PortError::is_transient, |entries| self.port.publish(entries)).await.0
    }
}

/// All that the ports in memory claim.
fn everything() -> Capabilities {
    Capabilities::everything(Memory::EXPIRY_LAG)
}

/// No wait of the simulation ends but by what is waited for: nothing else could be seen of idle days.
const ENDLESS: [&str; 2] =
    ["stream::a_waiting_read_ends_after_its_wait", "queue::a_waiting_receive_ends_after_its_wait"];

/// How a fault stands to the promises of the ports.
enum Standing {
    /// It strikes at ports.
    Ports(Trial),
    /// It is no matter of a port, and why.
    Elsewhere(&'static str),
}

/// How the suite is played under a fault.
struct Trial {
    /// It strikes at the first of so many chances.
    every: u64,
    /// No amount of it is over this one, in its own unit.
    amount_max: u64,
    /// What can't be claimed under it.
    unclaimed: fn(Capabilities) -> Capabilities,
    /// The promise that it changes, where it does, and the scenarios that show it.
    changes: &'static str,
    broken: &'static [&'static str],
}

impl Trial {
    const fn new() -> Self {
        Self { every: 2, amount_max: u64::MAX, unclaimed: |all| all, changes: "", broken: &[] }
    }
}

/// What comes late by up to so many seconds.
fn late(seconds: u64, capabilities: Capabilities) -> Capabilities {
    Capabilities { lateness: Duration::from_secs(seconds), ..capabilities }
}

/// Where messages may have copies. Such a one has no key, nothing that it is sent in place of, and is whole beside a damaged one.
fn with_copies(all: Capabilities) -> Capabilities {
    let all = Capabilities { once: false, exact_depth: false, damaged_messages: false, ..late(3, all) };
    // What moves nothing shows nothing either, as SQS.
    Capabilities { moves: false, arrived: false, ..all }
}

/// Of each fault: one that is added has to be placed here.
fn standing(fault: Fault) -> Standing {
    let trial = Trial::new();
    let trial = match fault {
        Fault::Duplicate => Trial {
            // Milliseconds.
            amount_max: 2_000,
            unclaimed: with_copies,
            ..trial
        },
        Fault::Late | Fault::Overtaken => Trial {
            // Seconds of the one, milliseconds of the other.
            amount_max: if fault == Fault::Late { 2 } else { 2_000 },
            unclaimed: |all| Capabilities { exact_depth: false, ..late(3, all) },
            ..trial
        },
        Fault::Count => Trial { unclaimed: |all| Capabilities { exact_receives: false, ..all }, ..trial },
        Fault::Depth => Trial {
            every: 1,
            changes: "the depth of a queue is about what it holds",
            broken: &["queue::depth_counts_visible_in_flight_and_delayed"],
            ..trial
        },
        // The scenarios leave a second to each call.
        Fault::Slow => Trial { amount_max: 1, unclaimed: |all| late(3, all), ..trial },
        Fault::Held => Trial { amount_max: 2, unclaimed: |all| late(3, all), ..trial },
        Fault::Outage => Trial { every: 500, amount_max: 2, unclaimed: |all| late(3, all), ..trial },
        Fault::Stale => Trial {
            every: 1,
            unclaimed: |all| Capabilities { consistent_index: false, ..late(3, all) },
            ..trial
        },
        Fault::Again => Trial { unclaimed: |all| Capabilities { kept_checkpoints: false, ..all }, ..trial },
        Fault::Expiry => {
            Trial { unclaimed: |all| Capabilities { expiry_within: Some(EXPIRY), ..all }, ..trial }
        }
        Fault::Clock => Trial { unclaimed: |all| late(6, all), ..trial },
        Fault::Skipped => return Standing::Elsewhere("a schedule does not send"),
        Fault::Minute => return Standing::Elsewhere("a schedule sends at another time"),
        Fault::Crash => return Standing::Elsewhere("a process dies, and its ports do not"),
        Fault::Build => return Standing::Elsewhere("a process has other handlers"),
        Fault::Redriven => return Standing::Elsewhere("somebody sends"),
        Fault::Unreachable | Fault::Unanswered | Fault::Fickle => {
            return Standing::Elsewhere("a service of others");
        }
        Fault::Visible | Fault::Entry | Fault::Throttled | Fault::Lost | Fault::SetBack => changing(fault),
        Fault::RecordsLost | Fault::LetterExpired => changing(fault),
    };
    Standing::Ports(trial)
}

/// Under a fault that changes a promise.
fn changing(fault: Fault) -> Trial {
    let trial = Trial::new();
    match fault {
        Fault::Visible => Trial {
            every: 1,
            unclaimed: |all| Capabilities { exact_depth: false, ..all },
            changes: "a received message is not hidden for its whole visibility timeout",
            broken: &[
                "queue::a_delayed_message_is_hidden_until_it_is_due",
                "queue::a_message_not_deleted_is_delivered_again",
            ],
            ..trial
        },
        Fault::Entry => Trial {
            unclaimed: |all| late(3, all),
            changes: "an entry that is sent again arrives behind the others",
            broken: &["queue::arrivals_are_seen_without_receiving"],
            ..trial
        },
        Fault::Throttled => Trial {
            unclaimed: |all| late(3, all),
            changes: "a checkpoint that is made again comes behind a read beside it",
            broken: &["stream::a_read_beside_a_checkpoint_begins_behind_it"],
            ..trial
        },
        Fault::Lost => Trial {
            // A message is sent again, and the one before was taken: there are copies.
            unclaimed: with_copies,
            changes: "a write that is repeated may meet its own, and a receive hides what nobody got",
            broken: &["stream::a_commit_emits_all_its_events_or_none", "bucket::an_object_is_written_once"],
            ..trial
        },
        Fault::SetBack => Trial {
            unclaimed: |all| late(6, all),
            changes: "the caller's time is minutes off that of the ports, and goes on more slowly",
            broken: &[
                "queue::a_message_arrives_as_it_was_sent",
                "queue::a_waiting_receive_answers_once_a_message_is_due",
            ],
            ..trial
        },
        Fault::RecordsLost => Trial {
            every: 1,
            changes: "a commit's events may never be read",
            broken: &[
                "stream::a_commit_emits_all_its_events_or_none",
                "stream::a_commit_without_events_does_not_appear",
                "stream::each_entity_keeps_its_order",
                "stream::all_commits_keep_their_order",
                "stream::reading_again_without_a_checkpoint_gives_the_same",
                "stream::a_checkpoint_moves_on",
                "stream::a_record_that_can_not_be_read_fails_alone",
                "stream::a_read_beside_a_checkpoint_begins_behind_it",
                "stream::a_waiting_read_is_woken_by_a_commit",
            ],
            ..trial
        },
        Fault::LetterExpired => Trial {
            every: 1,
            changes: "a dead letter may never be received",
            broken: &["queue::what_is_sent_in_place_of_a_message_takes_its_place_once"],
            ..trial
        },
        _ => trial,
    }
}

fn world(fault: Option<Fault>, trial: &Trial) -> Simulated {
    let (tape, model) = (Tape::of_seed(1), Arc::new(conformance::model()));
    let ready = Executor::new(&tape).ready();
    let mut nature = Nature::new(&model, &[], &tape, ready, &Options::default(), BEGIN);
    nature.faults = Faults::in_turn(&tape, &fault.into_iter().collect(), trial.every, trial.amount_max);
    let capabilities = (trial.unclaimed)(everything());
    nature.is_plain = !capabilities.moves;
    if nature.strikes(Fault::Expiry, &nature.faults.place("tables")) {
        nature.memory.expire_after(EXPIRY);
    }
    let nature = Arc::new(nature);
    let mut ports = ports_of(&nature, "caller");
    asking(&nature, &mut ports.tables, |port| Arc::new(port));
    asking(&nature, &mut ports.streams, |port| Arc::new(port));
    asking(&nature, &mut ports.queues, |port| Arc::new(port));
    asking(&nature, &mut ports.buckets, |port| Arc::new(port));
    asking(&nature, &mut ports.topics, |port| Arc::new(port));
    asking(&nature, &mut ports.buses, |port| Arc::new(port));
    Simulated { nature, ports, capabilities }
}

/// Lets time go on by itself while a call takes long.
async fn time_goes_on(nature: &Nature) {
    let next = || nature.clock.next_wake().filter(|wake| *wake <= nature.now() + GOES_ON_MAX);
    loop {
        if next().is_none() {
            // Nothing tells that somebody has lain down.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        all_wait().await;
        next().into_iter().for_each(|wake| nature.clock.advance_to(wake));
    }
}

fn report(world: &Simulated) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            biased;
            report = conformance::run(world) => report,
            () = time_goes_on(&world.nature) => unreachable!(),
        }
    })
}

/// Whether just those scenarios fail that have to.
fn play(fault: Option<Fault>, trial: &Trial) -> Result<(), String> {
    let world = world(fault, trial);
    let report = report(&world);
    let failed: BTreeSet<&str> = report.failures().iter().map(|scenario| scenario.name).collect();
    let expected: BTreeSet<&str> = ENDLESS.iter().chain(trial.broken).copied().collect();
    let strikes = world.nature.faults.counts().into_iter().filter(|((struck, _), _)| Some(*struck) == fault);
    let strikes: u64 = strikes.map(|(_, count)| count).sum();
    if failed != expected {
        return Err(format!("{fault:?} breaks {failed:?}, and not {expected:?}:\n{report}"));
    }
    if fault.is_some() && strikes == 0 {
        return Err(format!("{fault:?} never strikes"));
    }
    Ok(())
}

#[test]
fn the_simulated_ports_conform_under_each_fault_that_changes_no_promise() {
    let trials = Fault::ALL.iter().filter_map(|fault| match standing(*fault) {
        Standing::Ports(trial) => Some((Some(*fault), trial)),
        Standing::Elsewhere(_) => None,
    });
    let trials = [(None, Trial::new())].into_iter().chain(trials);
    let broken: Vec<String> = std::thread::scope(|threads| {
        let begin = |(fault, trial)| threads.spawn(move || play(fault, &trial));
        let playing: Vec<_> = trials.map(begin).collect();
        playing.into_iter().filter_map(|trial| trial.join().unwrap().err()).collect()
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What the document says of a fault's promises.
fn told(fault: Fault) -> String {
    let trial = match standing(fault) {
        Standing::Ports(trial) => trial,
        Standing::Elsewhere(why) => return format!("no port's: {why}"),
    };
    let fields = |capabilities: Capabilities| serde_json::to_value(capabilities).unwrap();
    let (all, claimed) = (fields(everything()), fields((trial.unclaimed)(everything())));
    let less = all.as_object().unwrap().iter().filter(|(name, value)| claimed[name.as_str()] != **value);
    let less: Vec<String> = less.map(|(name, _)| format!("`{name}`")).collect();
    let less = if less.is_empty() { String::new() } else { format!("; claims less: {}", less.join(", ")) };
    match trial.changes {
        "" => format!("kept{less}"),
        changes => format!("changed: {changes}{less}"),
    }
}

#[test]
fn the_document_tells_of_each_fault_which_promises_it_changes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/simulation.md");
    let document = std::fs::read_to_string(path).unwrap();
    let mut lacking = Vec::new();
    for fault in Fault::ALL {
        let (name, told) = (format!("| `{fault}` | "), format!(" | {} |", told(*fault)));
        let row = document.lines().find(|line| line.starts_with(&name));
        if !row.is_some_and(|row| row.ends_with(&told)) {
            lacking.push(format!("{name}…{told}"));
        }
        let Standing::Ports(trial) = standing(*fault) else { continue };
        assert_eq!(trial.changes.is_empty(), trial.broken.is_empty(), "{fault}");
    }
    assert!(lacking.is_empty(), "docs/simulation.md lacks\n{}", lacking.join("\n"));
}

/// What a lost answer changes of a receive, and no more: the messages come again.
#[tokio::test]
async fn messages_whose_receive_is_lost_come_again_once_their_visibility_timeout_is_over() {
    let world = world(Some(Fault::Lost), &Trial::new());
    let queue = Arc::clone(ports_of(&world.nature, "caller").queue("work").unwrap());
    let message = NewMessage { body: "told".to_owned(), ..NewMessage::default() };
    let sent = world.nature.memory.ports().queue("work").unwrap().send(vec![message]).await;
    assert_eq!(sent, [Ok(())]);
    let visibility = Duration::from_secs(30);
    let receive = || queue.receive(10, Duration::ZERO, Some(visibility));
    assert!(receive().await.unwrap_err().is_transient());
    assert_eq!(receive().await.unwrap(), []);
    world.pass(visibility).await;
    assert!(receive().await.unwrap_err().is_transient());
    world.pass(visibility).await;
    let received = receive().await.unwrap();
    let received: Vec<_> =
        received.iter().map(|message| (message.body.as_str(), message.receive_count)).collect();
    assert_eq!(received, [("told", 3)]);
}
