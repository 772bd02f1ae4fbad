//! The auction: energy-market orders are taken, auctioned on an outside platform, and the accepted ones filed.

#[cfg(feature = "bench")]
mod bench;
mod demo;
mod infrastructure;
pub mod metrics;
pub mod orders;
pub mod platform;
#[cfg(feature = "sim")]
mod properties;
pub mod results;
pub mod run;

use async_trait::async_trait;
use platform::AuctionPlatform;
use quadrille::{
    Backlog, Backoff, Budget, Choreography, Consumer, Context, Definition, Outcome, Route, Setting, Stored,
    System, Table, Uses, Workload,
    domain::auction::{ORDERS_PER_REQUEST_MAX, Order, OrderStatus, UNDECIDABLE, open_partition},
    infrastructure::Infrastructure,
    limits,
    system::{Demo, Meaning, Word},
};
use results::{RESULTS_BUCKET, store_result};
use run::{PollAuction, Run, RunPage, Terms, given_up, leave_run, poll_auction};
use std::time::Duration;

/// The topic that alarms go to.
pub const ALERTS: &str = "alerts";

/// The schedule that starts a run.
pub const KICKOFF: &str = "kickoff";

/// The setting of the time between two runs of an engine on one machine.
pub const EVERY: &str = "every";
/// The setting of the first wait before a platform that was not ready is asked again.
pub const BACKOFF: &str = "backoff";
/// The setting of the longest a run may take.
pub const DEADLINE: &str = "deadline";
/// The setting of the most open orders that a run takes.
pub const ORDERS_PER_RUN: &str = "orders_per_run";
/// The setting of how many partitions of the index open orders are spread over.
pub const OPEN_SHARDS: &str = "open_shards";
/// The setting of how many runs a kickoff is divided into.
pub const RUN_PARTS: &str = "run_parts";
/// The setting of how many prefixes the keys of results are spread over.
pub const RESULT_PREFIXES: &str = "result_prefixes";

/// The wait before a platform is asked again doubles up to so many times the first one.
const BACKOFF_GROWTH: u32 = 60;

/// Attempts at a round, and at what follows it, the first included. With the waits between them, 1 s doubling to 5 min, they outlast
/// the hour that a run has by default: an outage of the platform ends a run by its deadline only.
const POLL_ATTEMPTS: u32 = 40;

/// The most partitions that open orders are spread over.
const OPEN_SHARDS_MAX: u64 = 1_024;

/// Orders that a round takes or decides.
#[allow(clippy::cast_possible_truncation)] // Some thousands.
const PER_ROUND: u32 = run::ORDERS_PER_ROUND as u32;

const HOUR: Duration = Duration::from_secs(3_600);

/// The auction as a system.
#[derive(Clone, Copy, Debug)]
pub struct Auction;

#[async_trait]
impl System for Auction {
    fn name(&self) -> &'static str {
        "auction"
    }

    fn about(&self) -> &'static str {
        "Energy-market orders are taken, auctioned on an outside platform, and the accepted ones filed."
    }

    fn define(&self) -> Definition {
        define()
    }

    fn infrastructure<'a>(&self, infrastructure: Infrastructure<'a>) -> Infrastructure<'a> {
        infrastructure::infrastructure(infrastructure)
    }

    fn dead_letter_queue(&self) -> Option<&'static str> {
        Some("auction-results-dlq")
    }

    fn words(&self) -> Vec<Word> {
        words()
    }

    fn demo(&self) -> Option<Box<dyn Demo>> {
        Some(Box::new(demo::AuctionDemo))
    }

    #[cfg(feature = "sim")]
    fn properties(&self) -> Vec<quadrille::sim::Property> {
        properties::properties()
    }
}

fn define() -> Definition {
    let definition = Choreography::define("auction")
        .table(
            Table::new("orders")
                .holds::<Order>()
                .holds::<Run>()
                .holds::<RunPage>()
                .spread::<Order>(OPEN_SHARDS)
                .warm(limits::WARM_READS_MIN, limits::WARM_WRITES_MIN),
        )
        .bucket(RESULTS_BUCKET)
        .spread_bucket(RESULTS_BUCKET, RESULT_PREFIXES)
        .bucket(platform::PLATFORM_BUCKET)
        .service(platform::service());
    platform::settings()
        .into_iter()
        .chain(settings())
        .fold(definition, Definition::setting)
        .route(
            Route::post("/orders", "post_orders", orders::post_orders)
                .backlog(Backlog::new().open::<Order>((0..OPEN_SHARDS_MAX).map(open_partition)))
                .uses(Uses::new().gets::<Order>().creates::<Order>().setting(OPEN_SHARDS))
                // Read only where an order is there already.
                .workload(Workload::new().per_message(100).reads(0).time(Duration::from_millis(60))),
        )
        .route(
            Route::get("/orders/{record_id}", "get_order", orders::get_order)
                .uses(Uses::new().gets_one::<Order>()),
        )
        .route(
            Route::post("/orders/{record_id}/withdrawal", "withdraw_order", orders::withdraw_order)
                .uses(Uses::new().gets_one::<Order>().commits_one::<Order>())
                .cancels::<Order>(),
        )
        .schedule(KICKOFF, Duration::from_secs(300), |at| PollAuction { run_id: at.to_string(), round: 0 })
        .schedule_setting(KICKOFF, EVERY)
        .on(polling())
        .on(Consumer::new("leave_run", leave_run)
            .queue("auction-left")
            // Nothing else can tell that the run is left before its deadline.
            .attempts(POLL_ATTEMPTS, Backoff::default())
            .creates_none())
        .on(Consumer::new("store_result", store_result)
            .queue("auction-results")
            // An order that is filed, and can't be said to be, would have a dead letter beside its file.
            .attempts(POLL_ATTEMPTS, Backoff::default())
            .batch(100, Duration::from_secs(1))
            .concurrency(100)
            // While some wait for the disk, others work: what they commit meanwhile shares the next flush.
            .workers(8)
            .dead_lettered_ends([results::REJECTED])
            .creates_none()
            .timeout(Duration::from_secs(30))
            .uses(Uses::new().puts(RESULTS_BUCKET).setting(RESULT_PREFIXES))
            .workload(Workload::new().time(Duration::from_millis(400))))
        .notify_by(ALERTS)
}

/// Its settings but those of the platform.
fn settings() -> [Setting; 7] {
    let every = "The time between two runs.";
    let backoff =
        "The first wait before a platform that was not ready is asked again; it doubles, up to 60 times it.";
    let deadline = "The longest a run may take before it fails and its orders are open again.";
    let orders = "The most open orders that a run takes; where more are open, the next one starts at once.";
    let shards = "Partitions of the index that open orders are spread over; only ever raise it.";
    let parts = "Runs side by side that a kickoff is divided into; at most as many as `open_shards`.";
    let prefixes = "Prefixes that the keys of results are spread over; 1 puts none before the time.";
    [
        Setting::duration(EVERY).default("5m").default_locally("30s").help(every),
        Setting::duration(BACKOFF).default("10s").default_locally("200ms").help(backoff),
        Setting::duration(DEADLINE).up_to(24 * HOUR).default("1h").help(deadline),
        Setting::integer(ORDERS_PER_RUN).within(1..=10_000_000).default("100000").help(orders),
        Setting::integer(OPEN_SHARDS)
            .within(1..=OPEN_SHARDS_MAX)
            .default("64")
            .default_locally("8")
            .help(shards),
        Setting::integer(RUN_PARTS).within(1..=64).default("1").help(parts),
        Setting::integer(RESULT_PREFIXES).within(1..=4_096).default("1").help(prefixes),
    ]
}

/// The rounds of runs.
fn polling() -> Consumer {
    Consumer::new("poll_auction", poll)
        .queue("auction-poll")
        .batch(1, Duration::ZERO)
        .workers(4)
        .timeout(Duration::from_secs(60))
        .attempts(POLL_ATTEMPTS, Backoff::default())
        .budget(Budget { deadline: 24 * HOUR, hops: 100_000 })
        .on_given_up(given_up)
        .uses(Uses::new().gets::<Order>().queries::<Order>().changes::<Order>())
        .uses(Uses::new().queries::<Run>().gets_one::<RunPage>().commits_one::<RunPage>())
        .uses(Uses::new().emits_later::<PollAuction>())
        .uses(Uses::new().service::<dyn AuctionPlatform>().setting(BACKOFF).setting(DEADLINE))
        .uses(Uses::new().setting(ORDERS_PER_RUN).setting(OPEN_SHARDS).setting(RUN_PARTS))
        // Each order is taken and submitted in one pass, and read and decided in another.
        .workload(
            Workload::new()
                .per_message(PER_ROUND)
                .passes(2)
                .commits(2)
                .reads(1)
                .time(Duration::from_millis(800))
                .in_turn(RUN_PARTS),
        )
}

/// Lambda A: one round of a run, on the terms that the settings say.
async fn poll(run: Option<Stored<Run>>, event: PollAuction, cx: Context<run::Emits>) -> Outcome<run::Emits> {
    let initial: Duration = cx.setting(BACKOFF)?;
    let backoff = Backoff { initial, max: initial * BACKOFF_GROWTH, ..Backoff::default() };
    let terms = Terms {
        backoff,
        time: cx.setting(DEADLINE)?,
        orders: cx.setting(ORDERS_PER_RUN)?,
        shards: cx.setting(OPEN_SHARDS)?,
        parts: cx.setting(RUN_PARTS)?,
    };
    let platform = cx.service::<dyn AuctionPlatform>()?;
    poll_auction(&*platform, terms, run, event, cx).await
}

/// What `orders --status` takes.
const STATUSES: [&str; 6] = [
    OrderStatus::Received.as_str(),
    OrderStatus::Submitted.as_str(),
    OrderStatus::Accepted.as_str(),
    OrderStatus::Rejected.as_str(),
    OrderStatus::Withdrawn.as_str(),
    UNDECIDABLE,
];

/// What `runs --status` takes: the phases of a run, in their order.
const RUN_STATUSES: [&str; 7] =
    ["queued", "taking_over", "gathering", "waiting", "deciding", "reconciling", "ended"];

fn words() -> Vec<Word> {
    let of_runs =
        &["run_id", "status", "started_at", "deadline", "submitted", "accepted", "rejected", "undecidable"];
    let fields = &["record_id", "status", "received_at", "run_id", "result_key"];
    vec![
        #[cfg(feature = "bench")]
        Word {
            name: "bench",
            about: "Measures the engine: orders a second from POST to file or dead letter, latency, processor time, memory",
            example: "bench --orders 1000,10000,100000",
            means: Meaning::Call(bench::bench),
        },
        Word {
            name: "post",
            about: "Posts orders from a file, or from standard input (`-`): a JSON array of any length",
            example: "post orders.json",
            means: Meaning::Send {
                step: "post_orders",
                elements_max: Some(ORDERS_PER_REQUEST_MAX),
                outcomes: &["stored", "unchanged", "conflict"],
                refused: Some("conflict"),
            },
        },
        Word {
            name: "kickoff",
            about: "Starts a run now: sends what the schedule sends, with the present time, to the poll queue",
            example: "kickoff --url http://127.0.0.1:8080",
            means: Meaning::Trigger { schedule: KICKOFF, field: "run_id" },
        },
        Word {
            name: "orders",
            about: "Lists orders",
            example: "orders --status rejected --limit 20",
            means: Meaning::List { kind: "order", statuses: &STATUSES, fields },
        },
        Word {
            name: "runs",
            about: "Lists runs, with how many orders each has, and how they were decided",
            example: "runs --limit 5",
            means: Meaning::List { kind: "run", statuses: &RUN_STATUSES, fields: of_runs },
        },
        Word {
            name: "trace",
            about: "Tells what happened to an order: what, when, which handler, which attempt, waiting for what until when",
            example: "trace unique_id_1",
            means: Meaning::Trace { kind: "order", fields: &["record_id", "status", "run_id", "result_key"] },
        },
    ]
}
