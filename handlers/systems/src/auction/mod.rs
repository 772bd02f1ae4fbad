//! The auction: energy-market orders are taken, auctioned on an outside platform, and the accepted ones filed.

pub mod infrastructure;
pub mod metrics;
pub mod orders;
pub mod platform;
pub mod results;
pub mod run;

use crate::notify::{Notifier, notify};
use platform::AuctionPlatform;
use quadrille::{
    Backoff, Budget, Choreography, Consumer, Context, Route, Stored, Table, Uses,
    choreography::DefinitionErrors, domain::auction::Order,
};
use results::{RESULTS_BUCKET, store_result};
use run::{PollAuction, Run, RunPage, poll_auction};
use std::{sync::Arc, time::Duration};

/// The topic that alarms go to.
pub const ALERTS: &str = "alerts";

/// The step that tells people of alarms.
pub const NOTIFY: &str = "notify";

/// The bucket that a simulated platform remembers in, on AWS.
pub const PLATFORM_BUCKET: &str = "auction-platform";

/// The schedule that starts a run.
pub const KICKOFF: &str = "kickoff";

/// What may differ from one auction to another.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time between two runs.
    pub every: Duration,
    /// Waits between two asks of a platform that is not ready.
    pub poll_backoff: Backoff,
    /// The longest a run may take.
    pub deadline: Duration,
    /// A bucket that the platform's adapter keeps its memory in, and `poll_auction` therefore uses. On one machine it needs
    /// none of the definition's.
    pub platform_bucket: Option<String>,
}

impl Default for Settings {
    /// A run every 5 minutes, asks after 10 s and up to every 5 minutes, an hour at most.
    fn default() -> Self {
        Self {
            every: Duration::from_secs(300),
            poll_backoff: Backoff { initial: Duration::from_secs(10), ..Backoff::default() },
            deadline: Duration::from_secs(3_600),
            platform_bucket: None,
        }
    }
}

/// The auction's definition. `notifiers` are the subscribers of its alarms, each by the name of its step.
///
/// # Errors
/// The mistakes that `settings` make of it: a backoff longer than the deadline, a name used twice.
pub fn auction(
    settings: &Settings,
    platform: Arc<dyn AuctionPlatform>,
    notifiers: Vec<(String, Arc<dyn Notifier>)>,
) -> Result<Choreography, DefinitionErrors> {
    let backoff = settings.poll_backoff;
    let poll = move |run: Option<Stored<Run>>, event: PollAuction, cx: Context<run::Emits>| {
        let platform = Arc::clone(&platform);
        async move { poll_auction(&*platform, backoff, run, event, cx).await }
    };
    let retries =
        Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(60), ..Backoff::default() };
    // The retries of a round fit well within the run's deadline: with 5 attempts they last half of it at most.
    let poll_retries = Backoff { initial: retries.initial.min(settings.deadline / 32), ..retries };
    let mut poll_auction = Consumer::new("poll_auction", poll)
        .queue("auction-poll")
        .batch(1, Duration::ZERO)
        .workers(4)
        .timeout(Duration::from_secs(60))
        .attempts(5, poll_retries)
        .budget(Budget { deadline: settings.deadline, hops: 100_000 })
        .uses(Uses::new().gets::<Order>().queries::<Order>().commits::<Order>())
        .uses(Uses::new().queries::<Run>().gets::<RunPage>().commits::<RunPage>());
    if let Some(bucket) = &settings.platform_bucket {
        poll_auction = poll_auction.uses(Uses::new().puts(bucket).reads(bucket).lists(bucket));
    }
    let mut definition = Choreography::define("auction")
        .table(Table::new("orders").holds::<Order>().holds::<Run>().holds::<RunPage>())
        .bucket(RESULTS_BUCKET)
        .topic(ALERTS)
        .route(
            Route::post("/orders", "post_orders", orders::post_orders)
                .uses(Uses::new().gets::<Order>().commits::<Order>()),
        )
        .route(
            Route::get("/orders/{record_id}", "get_order", orders::get_order)
                .uses(Uses::new().gets::<Order>()),
        )
        .schedule(KICKOFF, settings.every, |at| PollAuction { run_id: at.to_string(), round: 0 })
        .on(poll_auction)
        .on(Consumer::new("store_result", store_result)
            .queue("auction-results")
            .batch(100, Duration::from_secs(1))
            .concurrency(100)
            // While some wait for the disk, others work: what they commit meanwhile shares the next flush.
            .workers(8)
            .timeout(Duration::from_secs(30))
            .attempts(5, retries)
            .uses(Uses::new().puts(RESULTS_BUCKET)))
        .alarm_to(ALERTS);
    if let Some(bucket) = &settings.platform_bucket {
        definition = definition.bucket(bucket);
    }
    for (name, notifier) in notifiers {
        let handler = move |alert, _: Context<()>| {
            let notifier = Arc::clone(&notifier);
            async move { notify(notifier, alert).await }
        };
        definition = definition.subscribe(ALERTS, Consumer::new(name, handler));
    }
    definition.build()
}
