//! What is worked, live: numbered, kept for a while, and told to each who listens from where he was.

use crate::{
    failure::excerpt,
    http::Problem,
    model::Model,
    pipeline::{Observation, Pipeline, StepCounts, Verdict},
    server::EventStream,
    timestamp::Timestamp,
};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    broadcast::{self, error::TryRecvError},
};

/// Those who may listen at once: each holds a connection.
const LISTENERS_MAX: usize = 16;

/// What is kept for somebody who was away.
const KEPT_MAX: usize = 4_096;

/// Between two events of a stream: more often a page need not be drawn.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// Looks after which somebody is told that nothing happened: 15 s. Proxies cut silent connections after a minute.
const SILENT_LOOKS_MAX: u32 = 60;

/// Entries of one event; it tells how many more there were.
const TOLD_MAX: usize = 100;

/// A text of an entry, in bytes.
const TEXT_BYTES_MAX: usize = 500;

/// What is worked, live.
#[derive(Debug)]
pub(super) struct Feed {
    pipeline: Pipeline,
    /// Of this process: a cursor of another one is of no use here.
    id: String,
    kept: Mutex<Option<Kept>>,
    seats: Arc<Semaphore>,
}

/// What was worked lately.
#[derive(Debug)]
struct Kept {
    /// From it what happened since the last look is taken. It keeps more than is kept here.
    seen: broadcast::Receiver<Arc<Observation>>,
    latest: VecDeque<Arc<Observation>>,
    /// How many there were in all.
    count: u64,
}

impl Kept {
    fn look(&mut self) {
        loop {
            match self.seen.try_recv() {
                Ok(observation) => {
                    self.count += 1;
                    self.latest.push_back(observation);
                    if self.latest.len() > KEPT_MAX {
                        self.latest.pop_front();
                    }
                }
                Err(TryRecvError::Lagged(missed)) => {
                    self.count += missed;
                    // There is a gap behind them.
                    self.latest.clear();
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

/// The first event of a stream.
#[derive(Serialize)]
struct Hello {
    cursor: String,
    /// Of those since the cursor, what is no longer known.
    missed: u64,
    /// The cursor is of no use: all is to be loaded anew.
    is_new: bool,
}

/// A further one.
#[derive(Serialize)]
struct Told {
    now: Timestamp,
    counts: BTreeMap<String, StepCounts>,
    work: Vec<Worked>,
    left_out: u64,
}

/// A message that was worked, as a feed tells it. Its texts are cut and escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worked {
    /// When it was settled.
    pub at: Timestamp,
    /// By which handler.
    pub step: String,
    /// The entity that it was told to.
    pub subject: String,
    /// The entity's kind, where the handler has one.
    pub kind: Option<String>,
    /// Which receive of the message, counted from 1.
    pub attempt: u32,
    /// What the handler did, or why it failed.
    pub what: String,
    /// What became of the message.
    pub verdict: Became,
    /// When it comes again.
    #[serde(default)]
    pub next: Option<Timestamp>,
}

/// What became of a message, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Became {
    /// Handled, or nothing to do.
    Done,
    /// Sent on, as its time had not come.
    Later,
    /// To be tried again.
    Retry,
    /// Ended for a reason that is business.
    Ended,
    /// Given up.
    DeadLetter,
}

impl From<&Observation> for Worked {
    fn from(observation: &Observation) -> Self {
        let Observation { at, step, subject, attempt, what, verdict, .. } = observation;
        let (verdict, after) = match verdict {
            Verdict::Done => (Became::Done, None),
            Verdict::Later(after) => (Became::Later, Some(*after)),
            Verdict::Retry(after, _) => (Became::Retry, Some(*after)),
            Verdict::Ended(_) => (Became::Ended, None),
            Verdict::DeadLetter(_) => (Became::DeadLetter, None),
        };
        Self {
            at: *at,
            step: step.clone(),
            subject: excerpt(subject, TEXT_BYTES_MAX),
            kind: None,
            attempt: *attempt,
            what: excerpt(what, TEXT_BYTES_MAX),
            verdict,
            next: after.map(|after| *at + after),
        }
    }
}

/// Somebody who listens.
struct Listener {
    feed: Arc<Feed>,
    /// How many he was told of, or told that he missed.
    told: u64,
    first: Option<Hello>,
    silent: u32,
    _seat: OwnedSemaphorePermit,
}

impl Feed {
    pub(super) fn new(pipeline: Pipeline) -> Self {
        let id = pipeline.ports().random.id();
        let seats = Arc::new(Semaphore::new(LISTENERS_MAX));
        Self { pipeline, id, kept: Mutex::new(None), seats }
    }

    /// What happens from now on, and since `cursor`, as server-sent events that never end.
    ///
    /// # Errors
    /// A [`Problem`] where too many listen.
    pub(super) fn listen(self: &Arc<Self>, cursor: Option<&str>) -> Result<EventStream, Problem> {
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            let detail = format_args!("{LISTENERS_MAX} listen already, and no more can: close a page");
            return Err(Problem::new(503, "too_many_listen", detail));
        };
        let (count, first) = self.with_kept(|kept| (kept.count, kept.count - kept.latest.len() as u64));
        let named = cursor.and_then(|cursor| cursor.rsplit_once('-')).filter(|(id, _)| *id == self.id);
        let known = named.and_then(|(_, told)| told.parse().ok()).filter(|told| *told <= count);
        let told = known.unwrap_or(count);
        let missed = first.saturating_sub(told);
        let hello =
            Hello { cursor: self.cursor(told + missed), missed, is_new: cursor.is_some() && known.is_none() };
        let listener = Listener {
            feed: Arc::clone(self),
            told: told + missed,
            first: Some(hello),
            silent: 0,
            _seat: seat,
        };
        Ok(Box::pin(stream::unfold(listener, |mut listener| async {
            let text = listener.next().await;
            Some((Bytes::from(text), listener))
        })))
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept, as of now; from the first call on, something is.
    fn with_kept<T>(&self, take: impl FnOnce(&mut Kept) -> T) -> T {
        let mut kept = self.kept();
        let begun = || Kept { seen: self.pipeline.observe(), latest: VecDeque::new(), count: 0 };
        let kept = kept.get_or_insert_with(begun);
        kept.look();
        take(kept)
    }

    fn cursor(&self, told: u64) -> String {
        format!("{}-{told}", self.id)
    }
}

impl Listener {
    /// The text of the next event, or a comment where nothing happens.
    async fn next(&mut self) -> String {
        if let Some(hello) = self.first.take() {
            return event("hello", None, &hello);
        }
        loop {
            let clock = &self.feed.pipeline.ports().clock;
            clock.sleep_until(clock.now() + TOLD_EVERY).await;
            let (count, latest) = self.feed.with_kept(|kept| {
                let new = kept.count.saturating_sub(self.told);
                let told = usize::try_from(new).unwrap_or(usize::MAX).min(TOLD_MAX).min(kept.latest.len());
                let latest: Vec<_> = kept.latest.range(kept.latest.len() - told..).cloned().collect();
                (kept.count, latest)
            });
            if count > self.told {
                self.silent = 0;
                return self.tell(count, &latest);
            }
            self.silent += 1;
            if self.silent >= SILENT_LOOKS_MAX {
                self.silent = 0;
                return ": nothing happens\n\n".to_owned();
            }
        }
    }

    fn tell(&mut self, count: u64, latest: &[Arc<Observation>]) -> String {
        let pipeline = &self.feed.pipeline;
        let model = pipeline.choreography().model();
        let told = Told {
            now: pipeline.ports().clock.now(),
            counts: pipeline.counts(),
            work: latest.iter().map(|observation| worked(model, observation)).collect(),
            left_out: (count - self.told).saturating_sub(latest.len() as u64),
        };
        self.told = count;
        event("work", Some(&self.feed.cursor(count)), &told)
    }
}

fn worked(model: &Model, observation: &Observation) -> Worked {
    let kind = model.step(&observation.step).and_then(|step| step.entity_kind.clone());
    Worked { kind, ..observation.into() }
}

/// An event of a stream. Its data is one line: JSON has no others.
fn event(name: &str, id: Option<&str>, data: &impl Serialize) -> String {
    let mut text = format!("event: {name}\n");
    if let Some(id) = id {
        // Writing to a String can't fail.
        let _ = writeln!(text, "id: {id}");
    }
    match serde_json::to_string(data) {
        Ok(data) => _ = write!(text, "data: {data}\n\n"),
        Err(error) => {
            tracing::error!(%error, name, "an event of the console's feed can't be written");
            return ": an event that can't be written\n\n".to_owned();
        }
    }
    text
}
