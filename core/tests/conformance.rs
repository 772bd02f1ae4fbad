//! The conformance suite on the adapters of this crate, and on adapters that are broken on purpose: a suite that
//! can't fail proves nothing.

use async_trait::async_trait;
use quadrille::{
    Choreography, Timestamp,
    conformance::{self, Capabilities, Outcome, Report, World},
    local::{AlarmPolicy, Local, OpenError},
    memory::{Memory, VirtualClock},
    port::{
        Bucket, ChangeStream, Clock, CommitError, Damage, Depth, IndexPage, IndexQuery, Item, Message,
        NewMessage, ObjectPage, PortError, Ports, Queue, Receipt, ScanPage, SeededRandom, StreamRecord,
        Table, Topic, Write,
    },
};
use std::{path::Path, sync::Arc, time::Duration};

/// A world on a virtual clock, whatever adapter its ports are of.
struct Virtual {
    ports: Ports,
    clock: Arc<VirtualClock>,
    capabilities: Capabilities,
    /// Real time given to an adapter's own threads after each step of the clock.
    pause: Duration,
    stored: Stored,
}

/// The adapter itself, for what no port does.
enum Stored {
    Memory(Box<Memory>),
    Local(Arc<Local>),
}

#[async_trait]
impl World for Virtual {
    fn ports(&self) -> Ports {
        self.ports.clone()
    }

    async fn pass(&self, time: Duration) {
        let until = self.clock.now() + time;
        // Everybody wakes at the time for which they asked, not at the end of it all.
        while let Some(wake) = self.clock.next_wake().filter(|wake| *wake < until) {
            self.clock.advance_to(wake);
            self.let_others_run().await;
        }
        self.clock.advance_to(until);
        self.let_others_run().await;
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn damage(&self, damage: Damage<'_>) -> bool {
        match &self.stored {
            Stored::Memory(memory) => memory.damage(damage),
            Stored::Local(local) => local.damage(damage).await == Ok(true),
        }
    }
}

impl Virtual {
    async fn let_others_run(&self) {
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
    }
}

fn clock() -> Arc<VirtualClock> {
    Arc::new(VirtualClock::new(Timestamp::from_millis(1_800_000_000_123)))
}

/// All that can be claimed.
fn everything() -> Capabilities {
    Capabilities::everything(Memory::EXPIRY_LAG)
}

/// The in-memory adapter, with its ports changed by `change`.
fn memory(change: impl FnOnce(&mut Ports)) -> Virtual {
    let clock = clock();
    let random = Arc::new(SeededRandom::new(1));
    let memory = Memory::new(&conformance::model(), Arc::clone(&clock) as Arc<dyn Clock>, random);
    let mut ports = memory.ports();
    change(&mut ports);
    let stored = Stored::Memory(Box::new(memory));
    Virtual { ports, clock, capabilities: everything(), pause: Duration::ZERO, stored }
}

/// Runs the suite and asserts that nothing fails, and that only what `skipped` names is left out.
async fn assert_conforms(adapter: &str, world: &Virtual, skipped: &[&str]) {
    let report = conformance::run(world).await;
    println!("{adapter}:\n{report}\n");
    assert!(report.failures().is_empty(), "{adapter}:\n{report}");
    let left_out: Vec<&str> = report.skipped().iter().map(|scenario| scenario.name).collect();
    assert_eq!(left_out, skipped, "{adapter}:\n{report}");
}

#[tokio::test]
async fn the_in_memory_adapter_conforms() {
    let world = memory(|_| {});
    // A world is to be as good the second time.
    for run in ["memory", "memory, used before"] {
        assert_conforms(run, &world, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_in_memory_adapter_conforms_on_several_threads() {
    let world = memory(|_| {});
    // Spawned, so that the suite's future has to be one that may move between threads.
    tokio::spawn(async move { assert_conforms("memory on threads", &world, &[]).await }).await.unwrap();
}

/// The local adapter in `folder`, as far as it goes without an engine: that is what deletes what has expired.
fn local(folder: &Path, clock: &Arc<VirtualClock>) -> Result<(Arc<Local>, Virtual), OpenError> {
    let (shared, random) = (Arc::clone(clock) as Arc<dyn Clock>, Arc::new(SeededRandom::new(1)));
    let local = Arc::new(Local::open(folder, &conformance::model(), shared, random)?);
    let world = Virtual {
        ports: local.ports().clone(),
        clock: Arc::clone(clock),
        capabilities: Capabilities { expiry_within: None, retention_within: None, ..everything() },
        pause: Duration::from_millis(2),
        stored: Stored::Local(Arc::clone(&local)),
    };
    Ok((local, world))
}

#[tokio::test]
async fn the_local_adapter_conforms() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let skipped = ["table::an_expired_item_is_deleted", "queue::a_message_past_its_retention_vanishes"];
    for opened in ["local", "local, reopened"] {
        let (_local, world) = local(folder.path(), &clock).unwrap();
        assert_conforms(opened, &world, &skipped).await;
    }
}

#[tokio::test]
async fn the_local_adapter_with_its_engine_conforms() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let (local, mut world) = local(folder.path(), &clock).unwrap();
    // A choreography that does nothing itself. Its engine looks for what has expired once a minute, and its relay
    // reads the streams.
    let idle = Choreography::define("idle").build().unwrap();
    let engine = local.start(&local.pipeline(&idle), AlarmPolicy::default());
    world.capabilities = Capabilities {
        expiry_within: Some(Duration::from_secs(60)),
        retention_within: Some(Duration::from_secs(60)),
        readable_stream: false,
        ordered_stream: false,
        damaged_records: false,
        ..everything()
    };
    let report = conformance::run(&world).await;
    println!("local with its engine:\n{report}\n");
    assert!(report.failures().is_empty(), "{report}");
    assert!(report.skipped().iter().all(|scenario| scenario.name.starts_with("stream::")), "{report}");
    engine.stop().await;
}

#[tokio::test]
async fn what_is_not_claimed_is_skipped_aloud() {
    let world = Virtual { capabilities: Capabilities::default(), ..memory(|ports| ports.streams.clear()) };
    let report = conformance::run(&world).await;
    assert!(report.failures().is_empty(), "{report}");
    let depth = report
        .skipped()
        .into_iter()
        .find(|one| one.name == "queue::depth_counts_visible_in_flight_and_delayed");
    let outcome = depth.map(|depth| &depth.outcome);
    assert_eq!(outcome, Some(&Outcome::Skipped("exact_depth is not claimed".to_owned())));
    let all = conformance::run(&memory(|_| {})).await;
    assert_eq!(report.scenarios.len(), all.scenarios.len(), "a skipped scenario is still reported");
}

/// Asserts that the suite finds what is broken in the ports, in these scenarios at least.
async fn assert_found(change: impl FnOnce(&mut Ports), scenarios: &[&str]) -> Report {
    assert_found_in(&memory(change), scenarios).await
}

async fn assert_found_in(world: &Virtual, scenarios: &[&str]) -> Report {
    let report = conformance::run(world).await;
    let failed: Vec<&str> = report.failures().iter().map(|scenario| scenario.name).collect();
    for scenario in scenarios {
        assert!(failed.contains(scenario), "{scenario} does not see it:\n{report}");
    }
    let port = scenarios[0].split("::").next();
    let others: Vec<_> = failed.iter().filter(|failed| failed.split("::").next() != port).collect();
    assert!(others.is_empty(), "{others:?} blame another port:\n{report}");
    report
}

/// Takes any write, whatever version it expects.
struct CarelessTable(Arc<dyn Table>);

#[async_trait]
impl Table for CarelessTable {
    async fn get(&self, keys: &[String]) -> Result<Vec<Option<Item>>, PortError> {
        self.0.get(keys).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        let mut answers = Vec::new();
        for mut write in writes {
            let stored = self.0.get(std::slice::from_ref(&write.item.key)).await.unwrap_or_default();
            write.expected = stored.into_iter().flatten().next().map_or(0, |item| item.version);
            write.item.version = write.expected + 1;
            (write.index_changed, write.expiry_changed) = (true, true);
            answers.extend(self.0.commit(vec![write]).await);
        }
        answers
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        self.0.scan(after, limit).await
    }

    async fn count(&self, partition: &str, at_most: u64) -> Result<Option<u64>, PortError> {
        self.0.count(partition, at_most).await
    }

    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        self.0.query(query).await
    }
}

#[tokio::test]
async fn a_table_that_ignores_versions_is_found() {
    let scenarios = [
        "table::an_insert_needs_an_absent_item",
        "table::a_wrong_version_conflicts",
        "table::one_of_several_commits_at_a_version_wins",
        "table::one_of_two_writes_of_a_key_in_one_call_wins",
    ];
    let change = |ports: &mut Ports| {
        let table = ports.tables["things"].clone();
        ports.tables.insert("things".to_owned(), Arc::new(CarelessTable(table)));
    };
    let report = assert_found(change, &scenarios).await;
    let text = report.to_string();
    assert!(text.contains("FAILED   table::a_wrong_version_conflicts\n"), "{text}");
    assert!(text.contains("a commit at an old version: expected [Conflict], found [Applied]"), "{text}");
}

/// Keeps one page of the index for itself.
struct SkippingTable(Arc<dyn Table>);

#[async_trait]
impl Table for SkippingTable {
    async fn get(&self, keys: &[String]) -> Result<Vec<Option<Item>>, PortError> {
        self.0.get(keys).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Result<(), CommitError>> {
        self.0.commit(writes).await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<ScanPage, PortError> {
        self.0.scan(after, limit).await
    }

    async fn count(&self, partition: &str, at_most: u64) -> Result<Option<u64>, PortError> {
        self.0.count(partition, at_most).await
    }

    async fn query(&self, query: &IndexQuery) -> Result<IndexPage, PortError> {
        let mut page = self.0.query(query).await?;
        if query.after.is_some() && page.items.len() > 1 {
            page.items.remove(0);
        }
        Ok(page)
    }
}

#[tokio::test]
async fn an_index_that_skips_is_found() {
    let change = |ports: &mut Ports| {
        let table = ports.tables["things"].clone();
        ports.tables.insert("things".to_owned(), Arc::new(SkippingTable(table)));
    };
    assert_found(change, &["index::pages_neither_skip_nor_repeat", "index::bounds_are_exclusive"]).await;
}

/// Shows commits, and forgets what was checkpointed.
struct ForgetfulStream(Arc<dyn ChangeStream>);

#[async_trait]
impl ChangeStream for ForgetfulStream {
    async fn read(&self, max: usize, wait: Duration) -> Result<Vec<StreamRecord>, PortError> {
        self.0.read(max, wait).await
    }

    async fn checkpoint(&self, _: u64) -> Result<(), PortError> {
        Ok(())
    }
}

/// Checkpoints a record more than it is told to.
struct HastyStream(Arc<dyn ChangeStream>);

#[async_trait]
impl ChangeStream for HastyStream {
    async fn read(&self, max: usize, wait: Duration) -> Result<Vec<StreamRecord>, PortError> {
        self.0.read(max, wait).await
    }

    async fn checkpoint(&self, sequence: u64) -> Result<(), PortError> {
        self.0.checkpoint(sequence + 1).await
    }
}

#[tokio::test]
async fn a_stream_that_forgets_its_checkpoint_is_found() {
    let change = |ports: &mut Ports| {
        let stream = ports.streams["flows"].clone();
        ports.streams.insert("flows".to_owned(), Arc::new(ForgetfulStream(stream)));
    };
    assert_found(change, &["stream::a_checkpoint_moves_on"]).await;
}

/// What is wrong with a [`BrokenQueue`].
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    DoesNotCount,
    LosesEveryThirdSend,
    SendsTwice,
    Polls,
    IgnoresDelays,
}

struct BrokenQueue(Arc<dyn Queue>, Fault, Arc<dyn Clock>);

#[async_trait]
impl Queue for BrokenQueue {
    async fn send(&self, mut messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        let count = messages.len();
        match self.1 {
            Fault::LosesEveryThirdSend if count >= 3 => {
                messages.remove(2);
                let mut answers = self.0.send(messages).await;
                answers.insert(2, Ok(()));
                return answers;
            }
            Fault::SendsTwice => drop(self.0.send(messages.clone()).await),
            Fault::IgnoresDelays => messages.iter_mut().for_each(|message| message.delay = Duration::ZERO),
            _ => {}
        }
        self.0.send(messages).await
    }

    async fn receive(
        &self,
        max: usize,
        wait: Duration,
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        if self.1 == Fault::Polls {
            let until = self.2.now() + wait;
            loop {
                let received = self.0.receive(max, Duration::ZERO, visibility).await?;
                if !received.is_empty() || self.2.now() >= until {
                    return Ok(received);
                }
                self.2.sleep_until(self.2.now() + Duration::from_secs(1)).await;
            }
        }
        let mut received = self.0.receive(max, wait, visibility).await?;
        if self.1 == Fault::DoesNotCount {
            received.iter_mut().for_each(|message| message.receive_count = 1);
        }
        Ok(received)
    }

    async fn receive_these(
        &self,
        ids: &[String],
        visibility: Option<Duration>,
    ) -> Result<Vec<Message>, PortError> {
        self.0.receive_these(ids, visibility).await
    }

    async fn extend(&self, receipts: &[(Receipt, Duration)]) -> Result<(), PortError> {
        self.0.extend(receipts).await
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<(), PortError> {
        self.0.delete(receipts).await
    }

    async fn depth(&self) -> Result<Depth, PortError> {
        self.0.depth().await
    }

    fn shows_arrivals(&self) -> bool {
        self.0.shows_arrivals()
    }

    async fn arrived(&self, after: u64, max: usize) -> Result<Vec<(u64, Message)>, PortError> {
        self.0.arrived(after, max).await
    }
}

fn broken_queues(fault: Fault) -> impl FnOnce(&mut Ports) {
    move |ports| {
        let clock = Arc::clone(&ports.clock);
        for queue in ports.queues.values_mut() {
            *queue = Arc::new(BrokenQueue(Arc::clone(queue), fault, Arc::clone(&clock)));
        }
    }
}

/// The least that can be claimed of messages and records.
fn about() -> Capabilities {
    Capabilities {
        once: false,
        exact_receives: false,
        kept_checkpoints: false,
        exact_depth: false,
        moves: false,
        damaged_messages: false,
        ..everything()
    }
}

#[tokio::test]
async fn a_queue_that_sends_copies_is_found_unless_it_says_so() {
    assert_found(broken_queues(Fault::SendsTwice), &["queue::a_message_arrives_as_it_was_sent"]).await;
    let says_so = Virtual { capabilities: about(), ..memory(broken_queues(Fault::SendsTwice)) };
    let report = conformance::run(&says_so).await;
    assert!(report.failures().is_empty(), "{report}");
}

#[tokio::test]
async fn what_is_lost_or_not_counted_is_found_however_little_is_claimed() {
    let claiming_less = |fault| Virtual { capabilities: about(), ..memory(broken_queues(fault)) };
    let lossy = claiming_less(Fault::LosesEveryThirdSend);
    assert_found_in(&lossy, &["queue::a_thousand_messages_arrive_once"]).await;
    let uncounted = claiming_less(Fault::DoesNotCount);
    assert_found_in(&uncounted, &["queue::a_message_received_too_often_is_dead_lettered"]).await;
    let hasty = memory(|ports| {
        let stream = ports.streams["flows"].clone();
        ports.streams.insert("flows".to_owned(), Arc::new(HastyStream(stream)));
    });
    let hasty = Virtual { capabilities: about(), ..hasty };
    assert_found_in(&hasty, &["stream::a_checkpoint_moves_on"]).await;
}

#[tokio::test]
async fn a_queue_that_does_not_count_receives_is_found() {
    let scenarios = [
        "queue::a_message_not_deleted_is_delivered_again",
        "queue::a_message_received_too_often_is_dead_lettered",
    ];
    assert_found(broken_queues(Fault::DoesNotCount), &scenarios).await;
}

#[tokio::test]
async fn a_queue_that_loses_messages_is_found() {
    let report =
        assert_found(broken_queues(Fault::LosesEveryThirdSend), &["queue::a_thousand_messages_arrive_once"])
            .await;
    assert!(report.to_string().contains("a thousand messages: missing 4 ("), "{report}");
}

#[tokio::test]
async fn a_queue_that_ignores_delays_is_found() {
    let scenarios = [
        "queue::a_delayed_message_is_hidden_until_it_is_due",
        "queue::a_delay_over_the_limit_is_refused_alone",
        "queue::depth_counts_visible_in_flight_and_delayed",
        "queue::a_waiting_receive_answers_once_a_message_is_due",
    ];
    assert_found(broken_queues(Fault::IgnoresDelays), &scenarios).await;
}

#[tokio::test]
async fn a_queue_that_polls_is_found() {
    let scenarios = [
        "queue::a_waiting_receive_is_woken_by_a_send",
        "queue::a_waiting_receive_is_woken_by_an_extension_to_zero",
    ];
    assert_found(broken_queues(Fault::Polls), &scenarios).await;
}

/// Makes file names of keys by leaving out what a file name may not hold.
struct TidyBucket(Arc<dyn Bucket>);

impl TidyBucket {
    fn tidy(key: &str) -> String {
        let kept = |character: &char| character.is_alphanumeric() || "/-_.".contains(*character);
        format!("f{}", key.chars().filter(kept).collect::<String>())
    }
}

#[async_trait]
impl Bucket for TidyBucket {
    async fn put_if_absent(&self, key: &str, body: Vec<u8>) -> Result<bool, PortError> {
        self.0.put_if_absent(&Self::tidy(key), body).await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.0.get(&Self::tidy(key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ObjectPage, PortError> {
        let after = after.map(Self::tidy);
        let mut page = self.0.list(&Self::tidy(prefix), after.as_deref(), limit).await?;
        page.keys.iter_mut().for_each(|key| *key = key[1..].to_owned());
        page.next = page.next.map(|next| next[1..].to_owned());
        Ok(page)
    }
}

#[tokio::test]
async fn a_bucket_that_tidies_keys_is_found() {
    let change = |ports: &mut Ports| {
        for bucket in ports.buckets.values_mut() {
            *bucket = Arc::new(TidyBucket(Arc::clone(bucket)));
        }
    };
    assert_found(change, &["bucket::hostile_keys_stay_apart", "bucket::a_key_over_the_limits_is_refused"])
        .await;
}

/// Publishes bodies without their attributes.
struct BareTopic(Arc<dyn Topic>);

#[async_trait]
impl Topic for BareTopic {
    async fn publish(&self, mut messages: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        messages.iter_mut().for_each(|message| message.attributes.clear());
        self.0.publish(messages).await
    }
}

#[tokio::test]
async fn a_topic_that_loses_attributes_is_found() {
    let change = |ports: &mut Ports| {
        for topic in ports.topics.values_mut() {
            *topic = Arc::new(BareTopic(Arc::clone(topic)));
        }
    };
    assert_found(change, &["topic::every_subscription_gets_every_message"]).await;
}

/// Fails in a way that no answer tells.
struct PanickingTopic;

#[async_trait]
#[allow(clippy::panic)] // It is what this topic is for.
impl Topic for PanickingTopic {
    async fn publish(&self, _: Vec<NewMessage>) -> Vec<Result<(), PortError>> {
        panic!("on purpose")
    }
}

#[tokio::test]
async fn a_panic_fails_its_scenario_and_not_the_suite() {
    let change = |ports: &mut Ports| {
        for topic in ports.topics.values_mut() {
            *topic = Arc::new(PanickingTopic);
        }
    };
    let report = assert_found(change, &["topic::every_subscription_gets_every_message"]).await;
    assert!(report.to_string().contains("a panic: on purpose"), "{report}");
}
