//! One round of a run per message: open orders are handed to the platform, which is asked until it has decided; then every
//! decision is committed. A round ends with the run's own write, which carries the next round's number and its message.
//!
//! An order that a run takes leaves the index of open orders; the run's pages tell which it took, each written before the first of
//! its orders is taken. Runs gather one after the other, and the next takes over one that is left.

mod change;
mod decide;
mod gather;
mod part;
mod queue;

use super::store_result::OrderDecided;
use crate::shared::{Done, Item, Message, Queue, Step, Table, To, backoff, config, json, now, variable};
use gather::Cursor;
use lambda_runtime::Error;
use quadrille::{Entity, Failure, Timestamp, domain::auction::OPEN_SHARDS_MIN, port::IndexEntry};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};
use systems::auction::platform::HttpPlatform;

/// Orders taken at once: so many of the longest ids fit an item of 400 KB.
const ORDERS_PER_PAGE: usize = 760;
/// Orders worked in a round.
const ORDERS_PER_ROUND: usize = 4 * ORDERS_PER_PAGE;
/// A round begins no further page after this long.
const ROUND_TIME: Duration = Duration::from_secs(10);
/// How long a run is kept after its deadline.
const RUN_KEPT: Duration = Duration::from_secs(2 * 86_400);
/// The wait before a platform is asked again doubles up to so many times the first one.
const BACKOFF_GROWTH: u32 = 60;
const WAIT_MAX: Duration = Duration::from_secs(300);

/// "It is time for this round of this run." Round 0 is the kickoff; the run's id is its scheduled time.
#[derive(Debug, Serialize, Deserialize)]
pub struct PollAuction {
    run_id: String,
    #[serde(default)]
    round: u32,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Phase {
    /// Until the runs before it have gathered.
    Queued,
    /// Taking the undecided orders of a run that is left.
    TakingOver {
        from: String,
        page: u32,
    },
    Gathering(Cursor),
    /// The platform has them all and has not decided.
    Waiting,
    /// From the platform's page token on; some decisions of that page are committed.
    Deciding {
        after: Option<String>,
        offset: usize,
    },
    /// Looking through its own pages for orders whose decision is missing.
    Reconciling {
        page: u32,
    },
    Ended,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Run {
    run_id: String,
    /// Orders received after this are the next run's.
    started_at: Timestamp,
    deadline: Timestamp,
    round: u32,
    phase: Phase,
    /// Asks answered "not ready".
    polls: u32,
    pages: u32,
    submitted: u64,
    accepted: u64,
    rejected: u64,
    undecidable: u64,
    /// A decision was found made before: the orders are counted in the end.
    is_uncertain: bool,
    /// Decisions that the platform has told: one that tells too many tells in circles.
    heard: u64,
    /// The message of its round was given up.
    is_given_up: bool,
    /// Open orders that it passed over, for they can't be read.
    unreadable: u64,
}

impl Entity for Run {
    const KIND: &'static str = "run";

    fn id(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.run_id)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        Some(self.deadline + RUN_KEPT)
    }

    fn index(&self) -> Option<IndexEntry> {
        (self.phase != Phase::Ended).then(|| IndexEntry {
            partition: "live-runs".into(),
            sort: format!("{:015}/{}", self.deadline.as_millis(), self.run_id),
        })
    }
}

impl Run {
    /// Whether it is left to the next run: it passed its deadline, or its round was given up.
    fn is_left(&self) -> bool {
        self.is_given_up || self.deadline < now()
    }

    /// The kickoff of the run that goes on where this one is full: a time of its own, though no time may have passed.
    fn next_kickoff(&self) -> Result<PollAuction, Failure> {
        let at = now().max(part::read(&self.run_id)?.0 + Duration::from_millis(1));
        Ok(PollAuction { run_id: format!("{at}{}", self.behind_time()), round: 0 })
    }

    fn kicked_off(run_id: &str, time: Duration) -> Result<Self, Failure> {
        let (started_at, _) = part::read(run_id)?;
        Ok(Self {
            run_id: run_id.to_owned(),
            started_at,
            deadline: started_at + time,
            round: 0,
            phase: Phase::Queued,
            polls: 0,
            pages: 0,
            submitted: 0,
            accepted: 0,
            rejected: 0,
            undecidable: 0,
            is_uncertain: false,
            heard: 0,
            is_given_up: false,
            unreadable: 0,
        })
    }
}

/// How much more a round may do.
struct Round {
    orders: usize,
    until: Timestamp,
}

impl Round {
    fn begin() -> Self {
        Self { orders: ORDERS_PER_ROUND, until: now() + ROUND_TIME }
    }

    fn worked(&mut self, orders: usize) {
        self.orders = self.orders.saturating_sub(orders);
    }

    fn has_room(&self) -> bool {
        self.orders > 0 && now() < self.until
    }
}

struct Poll {
    table: Table,
    platform: HttpPlatform,
    /// The first wait for a platform that is not ready.
    backoff: Duration,
    /// The longest a run may take.
    time: Duration,
    /// The most open orders that a run takes; more are the next one's.
    orders_per_run: u64,
    /// Partitions of the index that open orders are spread over.
    shards: u64,
    /// Runs that a kickoff is divided into.
    parts: u64,
}

pub async fn run() -> Result<(), Error> {
    let config = config().await;
    let seconds = |name| Ok::<_, Error>(Duration::from_secs(variable(name)?.parse()?));
    let platform = HttpPlatform::new(&variable("PLATFORM")?, seconds("PLATFORM_TIMEOUT")?)?;
    let table = Table::new(&config, "TABLE_NAME", "key")?;
    let (backoff_at_first, time) = (seconds("BACKOFF")?, seconds("DEADLINE")?);
    let number = |name| Ok::<u64, Error>(variable(name)?.parse()?);
    let (orders_per_run, parts) = (number("ORDERS_PER_RUN")?, number("RUN_PARTS")?);
    let shards = number("OPEN_SHARDS")?.max(OPEN_SHARDS_MIN);
    let poll = Poll { table, platform, backoff: backoff_at_first, time, orders_per_run, shards, parts };
    Queue::new(&config, 40, |attempt| backoff(attempt, WAIT_MAX))?.work(poll).await
}

impl Step for Poll {
    type Message = PollAuction;

    fn read(&self, body: &str) -> Result<PollAuction, Failure> {
        json(body)
    }

    async fn handle(&self, event: &PollAuction, _: u32) -> Done {
        let run = match self.table.get::<Run>(&event.run_id).await? {
            None if event.round == 0 => Item::new(Run::kicked_off(&event.run_id, self.time)?),
            None => return Err(Failure::permanent("entity_gone", "the run of this round has expired")),
            Some(run) if run.round != event.round => return Ok("this round is over"),
            // A redrive goes on with a run that nobody has begun to take over: its round would be another one.
            Some(run) => Item { state: Run { is_given_up: false, ..run.state }, ..run },
        };
        if now() > run.deadline && run.phase != Phase::Ended {
            let detail = format_args!("the deadline was {}", run.deadline);
            return Err(Failure::permanent("deadline_passed", detail));
        }
        if run.version == 0 && self.parts > 1 && run.behind_time().is_empty() {
            return self.divide(run).await;
        }
        match run.phase.clone() {
            Phase::Queued => self.leave_queue(run).await,
            Phase::TakingOver { from, page } => self.take_over(run, from, page).await,
            Phase::Gathering(cursor) => self.gather(run, cursor).await,
            Phase::Waiting => self.poll(run).await,
            Phase::Deciding { after, offset } => self.go_on_deciding(run, after, offset).await,
            Phase::Reconciling { page } => self.reconcile(run, page).await,
            Phase::Ended => Ok("the run has ended"),
        }
    }

    async fn note(&self, event: &PollAuction, what: &str) -> Result<(), Failure> {
        self.table.note::<Run>(&event.run_id, what).await
    }

    /// The run is left to the next one: its undecided orders are open to it at once.
    async fn given_up(&self, event: &PollAuction, _: &Failure) -> Result<(), Failure> {
        match self.table.get::<Run>(&event.run_id).await? {
            Some(mut run) if run.round == event.round && run.phase != Phase::Ended && !run.is_given_up => {
                run.is_given_up = true;
                self.table.commit(&run, "given up: its orders are open to the next run", Vec::new()).await
            }
            _ => Ok(()),
        }
    }
}

impl Poll {
    /// The run's write that calls its next round, with what else it tells.
    async fn next_round(
        &self,
        mut run: Item<Run>,
        what: &str,
        delay: Duration,
        mut messages: Vec<Message>,
    ) -> Done {
        run.round += 1;
        let next = poll(&PollAuction { run_id: run.run_id.clone(), round: run.round })?;
        messages.push(Message { delay, ..next });
        self.table.commit(&run, what, messages).await?;
        Ok("goes on with its next round")
    }

    /// How many more open orders a run takes.
    fn room(&self, run: &Run) -> usize {
        usize::try_from(self.orders_per_run.saturating_sub(run.submitted)).unwrap_or(usize::MAX)
    }

    /// The run's last write.
    async fn end(&self, mut run: Item<Run>, messages: Vec<Message>) -> Done {
        run.round += 1;
        run.phase = Phase::Ended;
        let what = format!(
            "ended: {} submitted, {} accepted, {} rejected, {} undecidable",
            run.submitted, run.accepted, run.rejected, run.undecidable
        );
        self.table.commit(&run, &what, messages).await?;
        Ok("the run has ended")
    }

    /// The run as it stands in the table, written down now where it was not: an order that is a run's must find that run there.
    async fn written_down(&self, run: Item<Run>) -> Result<Option<Item<Run>>, Failure> {
        if run.version > 0 {
            return Ok(Some(run));
        }
        // Of several who write it down one wins, and all go on with what is there.
        self.table.put(&run, "started", Vec::new()).await?;
        let written = self.table.get::<Run>(&run.run_id).await?;
        Ok(written.filter(|written| written.round == run.round))
    }
}

/// The message of a round.
fn poll(event: &PollAuction) -> Result<Message, Failure> {
    Message::new(To::Queue("POLL_QUEUE_URL".to_owned()), "auction.poll", event)
}

/// The message that tells of an order that is decided.
fn decided(event: &OrderDecided) -> Result<Message, Failure> {
    Message::new(To::Queue("RESULTS_QUEUE_URL".to_owned()), "auction.order.decided", event)
}
