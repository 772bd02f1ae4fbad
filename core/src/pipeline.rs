//! The delivery pipeline: decode, load, handle, commit, then acknowledge, retry later or dead-letter. Written once;
//! the Lambda runtime, the local engine and the simulator differ only in the ports.
//!
//! A batch is worked as a whole: one read loads its entities, one request commits what its handlers return, one
//! acknowledges. Messages told to one entity are worked in turn, each after the one before it is committed. A commit
//! that loses a race is resolved by reading again.

use crate::{
    Choreography, Failure, Timestamp,
    choreography::{Model, StepModel},
    commit::{Carried, Pending},
    context::{About, Call, NotCommitted},
    dead_letter::{DeadLetter, Told},
    event::{Envelope, trace_id},
    handler::{Decoded, ErasedHandled, ErasedHandler, ErasedOutcome},
    http::{Method, Problem, Request, Response},
    limits::COMMIT_RACES_MAX,
    metrics::{self, Meter},
    port::{Item, Message, NewMessage, Ports, Receipt},
    relay::first_hop,
};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet, VecDeque},
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::broadcast;

/// Runs a choreography's handlers on messages and requests, over ports.
#[derive(Clone, Debug)]
pub struct Pipeline {
    choreography: Choreography,
    ports: Arc<Ports>,
    /// Made for the first onlooker: it takes up the room for all it may keep, some 3 MB.
    observers: Arc<OnceLock<broadcast::Sender<Arc<Observation>>>>,
    counts: Arc<BTreeMap<String, Counters>>,
    invocation: Invocation,
}

/// What bounds and measures a piece of work from outside: on Lambda, one invocation of a function. The default bounds and
/// measures nothing.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// Nothing is begun after this time, and what is not done by then counts as a transient failure.
    pub deadline: Option<Timestamp>,
    /// The trace of what carries none of its own (W3C `traceparent`).
    pub traceparent: Option<String>,
    /// Gathers the metrics.
    pub meter: Meter,
}

/// What became of a batch that its caller acknowledges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The verdicts, in the order of the messages.
    pub verdicts: Vec<Verdict>,
    /// Which of the messages, by their place, must not be acknowledged: they are to come again.
    pub kept: Vec<usize>,
}

impl Delivered {
    /// The receipts of those of `messages` that are to be acknowledged.
    pub(crate) fn done(&self, messages: &[Message]) -> Vec<Receipt> {
        let mut kept = self.kept.iter().peekable();
        messages
            .iter()
            .enumerate()
            .filter(|(at, _)| kept.next_if(|kept| *kept == at).is_none())
            .map(|(_, message)| message.receipt.clone())
            .collect()
    }
}

/// Messages of a step by what became of them, since this process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCounts {
    /// Handled, or nothing to do.
    pub done: u64,
    /// Sent on, as their time had not come.
    pub later: u64,
    /// To be tried again.
    pub retried: u64,
    /// Given up.
    pub dead_lettered: u64,
}

#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    later: AtomicU64,
    retried: AtomicU64,
    dead_lettered: AtomicU64,
}

/// A message that was worked, as an onlooker is told of it.
#[derive(Clone, Debug)]
pub struct Observation {
    /// When.
    pub at: Timestamp,
    /// Which handler.
    pub step: String,
    /// The entity the message was told to.
    pub subject: String,
    /// Which receive of the message, counted from 1.
    pub attempt: u32,
    /// What the handler did, in the words of the trail.
    pub what: String,
    /// What became of the message.
    pub verdict: Verdict,
}

/// Observations kept for an onlooker that is slow; it misses older ones.
const OBSERVATIONS_KEPT: usize = 16_384;

/// What is to become of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Handled, or nothing to do: delete it.
    Done,
    /// Not before its time: sent on with what is left of the delay, then deleted.
    Later(Duration),
    /// A transient failure: again after this long.
    Retry(Duration, Failure),
    /// A permanent failure, or the last attempt: to the dead-letter queue.
    DeadLetter(Failure),
}

/// A message in work.
struct Work<'a> {
    message: &'a Message,
    envelope: Option<Envelope<Box<RawValue>>>,
}

/// A batch in work.
struct Batch<'a> {
    works: Vec<Work<'a>>,
    failed: Vec<(usize, Failure)>,
    /// Those of the failed, by their place, of which the trail tells already.
    told: HashSet<usize>,
    notes: Vec<Option<String>>,
    /// When the step's timeout, which is for the whole batch, is over.
    end: Timestamp,
}

/// A message that was decoded and waits for its turn.
struct Task {
    at: usize,
    decoded: Decoded,
    about: Arc<About>,
    races: u32,
}

impl Pipeline {
    /// A pipeline of `choreography` over `ports`.
    pub fn new(choreography: Choreography, ports: Ports) -> Self {
        let steps = choreography.model().steps.iter();
        let counts = Arc::new(steps.map(|step| (step.name.clone(), Counters::default())).collect());
        Self {
            choreography,
            ports: Arc::new(ports),
            observers: Arc::default(),
            counts,
            invocation: Invocation::default(),
        }
    }

    /// The same pipeline, bounded and measured as `invocation` says. Cheap: all is shared.
    #[must_use]
    pub fn during(&self, invocation: Invocation) -> Self {
        Self { invocation, ..self.clone() }
    }

    /// What bounds and measures it.
    #[cfg(feature = "lambda")]
    pub(crate) fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    /// When work that may take `timeout` has to be over.
    fn end_of(&self, timeout: Duration) -> Timestamp {
        let end = self.ports.clock.now() + timeout;
        self.invocation.deadline.map_or(end, |deadline| deadline.min(end))
    }

    /// What became of the messages of each step, since this process started.
    pub fn counts(&self) -> BTreeMap<String, StepCounts> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.counts
            .iter()
            .map(|(step, counters)| {
                let counts = StepCounts {
                    done: read(&counters.done),
                    later: read(&counters.later),
                    retried: read(&counters.retried),
                    dead_lettered: read(&counters.dead_lettered),
                };
                (step.clone(), counts)
            })
            .collect()
    }

    fn count(&self, step: &StepModel, verdicts: &[Verdict]) {
        let Some(counters) = self.counts.get(&step.name) else {
            return;
        };
        for verdict in verdicts {
            let (counter, metric) = match verdict {
                Verdict::Done => (&counters.done, metrics::HANDLED),
                Verdict::Later(_) => (&counters.later, metrics::DELAYED),
                Verdict::Retry(..) => (&counters.retried, metrics::RETRIED),
                Verdict::DeadLetter(_) => (&counters.dead_lettered, metrics::DEAD_LETTERED),
            };
            counter.fetch_add(1, Ordering::Relaxed);
            self.invocation.meter.add(metric, 1.0);
        }
    }

    /// Tells of every message worked from now on. Costs nothing while nobody listens.
    pub fn observe(&self) -> broadcast::Receiver<Arc<Observation>> {
        self.observers.get_or_init(|| broadcast::Sender::new(OBSERVATIONS_KEPT)).subscribe()
    }

    /// Whoever listens to what is worked.
    fn onlookers(&self) -> Option<&broadcast::Sender<Arc<Observation>>> {
        self.observers.get().filter(|observers| observers.receiver_count() > 0)
    }

    fn observed(&self, step: &StepModel, work: &Work<'_>, verdict: &Verdict, note: Option<String>) {
        let Some(onlookers) = self.onlookers() else {
            return;
        };
        let what = match verdict {
            Verdict::DeadLetter(failure) | Verdict::Retry(_, failure) => failure.to_string(),
            Verdict::Done | Verdict::Later(_) => note.unwrap_or_default(),
        };
        let observation = Observation {
            at: self.ports.clock.now(),
            step: step.name.clone(),
            subject: work.envelope.as_ref().map(|envelope| envelope.subject.clone()).unwrap_or_default(),
            attempt: work.message.receive_count,
            what,
            verdict: verdict.clone(),
        };
        // An onlooker that went away is none.
        let _ = onlookers.send(Arc::new(observation));
    }

    /// The ports it works over.
    pub fn ports(&self) -> &Arc<Ports> {
        &self.ports
    }

    /// What it runs.
    pub fn choreography(&self) -> &Choreography {
        &self.choreography
    }

    /// Works a batch of messages of `step`'s queue and settles each: deletes it, hides it for its backoff, sends it on,
    /// or dead-letters it. Returns the verdicts in the order of `messages`.
    ///
    /// # Errors
    /// A [`Failure`] where there is no such step. A message that can't be settled is left as it is: its visibility
    /// timeout gives it back.
    pub async fn deliver(&self, step: &str, messages: &[Message]) -> Result<Vec<Verdict>, Failure> {
        let delivered = self.deliver_unacknowledged(step, messages).await?;
        self.acknowledge(step, &delivered.done(messages)).await;
        Ok(delivered.verdicts)
    }

    /// Deletes messages that are done.
    pub(crate) async fn acknowledge(&self, step: &str, done: &[Receipt]) {
        if done.is_empty() {
            return;
        }
        let deleted =
            async { self.ports.queue(&self.step(step)?.queue)?.delete(done).await.map_err(Failure::from) };
        if let Err(failure) = deleted.await {
            tracing::warn!(step, %failure, "messages were not deleted; their visibility timeout gives them back");
        }
    }

    /// [`deliver`](Self::deliver) for a caller that acknowledges the messages itself, as a Lambda function does by its
    /// answer: hides, sends on and dead-letters, and deletes nothing.
    ///
    /// # Errors
    /// A [`Failure`] where there is no such step. A message that can't be sent on or dead-lettered is among those kept.
    pub async fn deliver_unacknowledged(
        &self,
        step: &str,
        messages: &[Message],
    ) -> Result<Delivered, Failure> {
        let verdicts = self.work(step, messages).await?;
        let step = self.step(step)?;
        let kept = self.settle(step, messages, &verdicts).await;
        self.count(step, &verdicts);
        Ok(Delivered { verdicts, kept })
    }

    /// [`deliver`](Self::deliver) for messages that no queue holds: of what can't be handled, a permanent failure is
    /// dead-lettered, a transient one is left to the caller.
    ///
    /// # Errors
    /// A [`Failure`] where there is no such step, or a message could not be dead-lettered.
    #[cfg(feature = "lambda")]
    pub(crate) async fn deliver_unreceived(
        &self,
        step: &str,
        messages: &[Message],
    ) -> Result<Vec<Verdict>, Failure> {
        let verdicts = self.work(step, messages).await?;
        let step = self.step(step)?;
        let settling =
            messages.iter().zip(&verdicts).filter(|(_, verdict)| !matches!(verdict, Verdict::Retry(..)));
        let (settling, given): (Vec<Message>, Vec<Verdict>) =
            settling.map(|(message, verdict)| (message.clone(), verdict.clone())).unzip();
        let kept = self.settle(step, &settling, &given).await;
        self.count(step, &verdicts);
        if kept.is_empty() {
            return Ok(verdicts);
        }
        Err(Failure::transient("not_dead_lettered", "the dead-letter queue could not be reached"))
    }

    /// Answers any request: as its route does, with 405 where a route has its path and another method, and else with
    /// 404. Of the routes, only those of `step` count where it is given.
    pub async fn answer(&self, step: Option<&str>, method: &str, path: &str, request: Request) -> Response {
        let parsed = match method {
            "GET" | "HEAD" => Some(Method::Get),
            "POST" => Some(Method::Post),
            _ => None,
        };
        if let Some(method) = parsed
            && let Some(response) = self.route(step, method, path, request).await
        {
            return response;
        }
        // A path that is a route's own and still was not answered (its parameter is no UTF-8) names nothing.
        let routes = self.choreography.model().routes.iter();
        let others: Vec<Method> = routes
            .filter(|route| step.is_none_or(|step| step == route.step))
            .filter(|route| Some(route.method) != parsed && has_shape(path, &route.path))
            .map(|route| route.method)
            .collect();
        if others.is_empty() {
            return Problem::new(404, "not_found", "there is nothing here").into();
        }
        let allowed = [(Method::Get, "GET, HEAD"), (Method::Post, "POST")].into_iter();
        let allowed: Vec<&str> =
            allowed.filter(|(method, _)| others.contains(method)).map(|(_, names)| names).collect();
        Problem::method_not_allowed(method, &allowed.join(", "))
    }

    /// Whether every table answers: what `GET /healthz` is to tell.
    ///
    /// # Errors
    /// The first table's [`Failure`].
    pub async fn health(&self) -> Result<(), Failure> {
        for table in self.ports.tables.values() {
            table.get(&["health/probe".to_owned()]).await?;
        }
        Ok(())
    }

    /// Answers a request. `None` where no route matches path and method.
    pub async fn respond(&self, method: Method, path: &str, request: Request) -> Option<Response> {
        self.route(None, method, path, request).await
    }

    async fn route(
        &self,
        step: Option<&str>,
        method: Method,
        path: &str,
        mut request: Request,
    ) -> Option<Response> {
        let model = self.choreography.model();
        let (route, parameters) = model
            .routes
            .iter()
            .filter(|route| route.method == method && step.is_none_or(|step| step == route.step))
            .find_map(|route| Some((route, matched(&route.path, path)?)))?;
        let handler = self.choreography.routes.get(&route.step)?;
        request.parameters = parameters;
        let traceparent =
            request.header("traceparent").filter(|given| trace_id(given).is_some()).map(str::to_owned);
        let traceparent = traceparent.or_else(|| self.invocation.traceparent.clone());
        let random = &self.ports.random;
        let about = About {
            attempt: 1,
            correlation_id: Some(random.id()),
            traceparent: traceparent
                .or_else(|| Some(format!("00-{}-{:016x}-01", random.id(), random.next_u64() | 1))),
            carried: Carried::default(),
        };
        let about = Arc::new(about);
        let call = self.call(route.step.as_str().into(), Arc::clone(&about));
        let clock = &self.ports.clock;
        let answered = tokio::select! {
            biased;
            answered = handler.call(request, call) => answered,
            () = clock.sleep_until(self.end_of(route.timeout)) => {
                Err(Failure::transient("timeout", format_args!("no answer within {:?}", route.timeout)))
            }
        };
        let correlation_id = about.correlation_id.as_deref().unwrap_or_default();
        let trace = about.traceparent.as_deref().and_then(trace_id).unwrap_or_default();
        let failure = match answered {
            Ok(response) => {
                let status = response.status;
                tracing::debug!(step = %route.step, status, correlation_id, trace_id = trace, "answered");
                return Some(response);
            }
            Err(failure) => failure,
        };
        tracing::warn!(step = %route.step, %failure, correlation_id, trace_id = trace, "a request failed");
        let status = if failure.is_permanent() { 500 } else { 503 };
        Some(
            Problem::new(
                status,
                failure.reason(),
                "the request could not be finished; it is safe to send it again",
            )
            .into(),
        )
    }

    fn step(&self, name: &str) -> Result<&StepModel, Failure> {
        let unknown = || Failure::permanent("no_step", format_args!("no step is named {name:?}"));
        self.choreography.model().step(name).ok_or_else(unknown)
    }

    fn call(&self, step: Arc<str>, about: Arc<About>) -> Call {
        Call {
            ports: Arc::clone(&self.ports),
            model: Arc::clone(self.choreography.model()),
            step,
            about,
            meter: self.invocation.meter.clone(),
        }
    }

    /// Works a batch without settling it: what the Lambda runtime needs, which settles by its answer.
    ///
    /// # Errors
    /// A [`Failure`] where there is no such step.
    pub async fn work(&self, step: &str, messages: &[Message]) -> Result<Vec<Verdict>, Failure> {
        let step = self.step(step)?;
        let Some(handler) = self.choreography.handlers.get(&step.name) else {
            return Err(Failure::permanent("no_step", format_args!("step {:?} has no handler", step.name)));
        };
        let now = self.ports.clock.now();
        let mut verdicts: Vec<Verdict> = vec![Verdict::Done; messages.len()];
        let mut batch = Batch {
            works: Vec::with_capacity(messages.len()),
            failed: Vec::new(),
            told: HashSet::new(),
            notes: vec![None; messages.len()],
            end: self.end_of(step.timeout),
        };
        let mut tasks = VecDeque::with_capacity(messages.len());
        for (at, message) in messages.iter().enumerate() {
            let (envelope, decoded) = match Envelope::parse(&message.body) {
                Ok(envelope) => {
                    let decoded =
                        admit(self.choreography.model(), step, handler.as_ref(), &envelope, message, now);
                    let decoded = decoded.map(|(decoded, mut about)| {
                        about.traceparent = about.traceparent.or_else(|| self.invocation.traceparent.clone());
                        (decoded, about)
                    });
                    (Some(envelope), decoded)
                }
                Err(failure) => (None, Err(NotAdmitted::Failed(failure))),
            };
            match decoded {
                Ok((decoded, about)) => {
                    tasks.push_back(Task { at, decoded, about: Arc::new(about), races: 0 })
                }
                Err(NotAdmitted::Early(left)) => verdicts[at] = Verdict::Later(left),
                Err(NotAdmitted::Failed(failure)) => batch.failed.push((at, failure)),
            }
            batch.works.push(Work { message, envelope });
        }
        while !tasks.is_empty() {
            // Past the step's own timeout, what needs no time is still done; past the invocation's deadline, its caller has
            // to answer.
            if self.invocation.deadline.is_some_and(|deadline| self.ports.clock.now() >= deadline) {
                let detail = "not begun in time: what came before it took all of it";
                let failure = Failure::transient("timeout", detail);
                batch.failed.extend(tasks.drain(..).map(|task| (task.at, failure.clone())));
                break;
            }
            let round = next_round(&mut tasks);
            let again = self.round(step, handler.as_ref(), round, &mut batch).await;
            // Before the others, so that messages told to one entity stay in their order.
            again.into_iter().rev().for_each(|task| tasks.push_front(task));
        }
        self.note_failures(step, &batch).await;
        let Batch { works, failed, notes, .. } = batch;
        for (at, failure) in failed {
            verdicts[at] = self.verdict(step, messages[at].receive_count, failure);
        }
        for ((work, verdict), note) in works.iter().zip(&verdicts).zip(notes) {
            log(step, work, verdict, self.invocation.traceparent.as_deref());
            self.observed(step, work, verdict, note);
        }
        Ok(verdicts)
    }

    /// One round: no two tasks are told to the same entity. Returns those that lost a race, to be tried again.
    async fn round(
        &self,
        step: &StepModel,
        handler: &dyn ErasedHandler,
        round: Vec<Task>,
        batch: &mut Batch<'_>,
    ) -> Vec<Task> {
        let Batch { works, failed, told, notes, end } = batch;
        let mut round = round;
        let keys: Vec<String> = round.iter().filter_map(|task| task.decoded.key.clone()).collect();
        let mut loaded = match self.load(keys).await {
            Ok(items) => items.into_iter(),
            Err(failure) => {
                failed.extend(round.into_iter().map(|task| (task.at, failure.clone())));
                return Vec::new();
            }
        };
        let now = self.ports.clock.now();
        // The entity that each is told to.
        let items = round.iter().map(|task| {
            let item = task.decoded.key.as_ref().and_then(|_| loaded.next().flatten());
            item.filter(|item| {
                same_entity(item, works.get(task.at).and_then(|work| work.envelope.as_ref()), now)
            })
        });
        let items: Vec<Option<Item>> = items.collect();
        let name: Arc<str> = step.name.as_str().into();
        let calls = round.iter_mut().zip(&items).enumerate().map(|(place, (task, item))| {
            let event = std::mem::replace(&mut task.decoded.event, Box::new(()));
            let call = self.call(Arc::clone(&name), Arc::clone(&task.about));
            let running = handler.call(event, item.as_ref(), call);
            async move { (place, running.await) }
        });
        let calls: Vec<_> = calls.collect();
        let outcomes = self.within(step, round.len(), calls, *end).await;
        let mut committing: Vec<Task> = Vec::with_capacity(round.len());
        let mut commits: Vec<(Pending, Arc<About>)> = Vec::with_capacity(round.len());
        let mut noting = Vec::new();
        for ((task, item), outcome) in round.into_iter().zip(&items).zip(outcomes) {
            let outcome = outcome.unwrap_or_else(|| {
                let detail = format_args!("no end within {:?}, the step's timeout", step.timeout);
                Err(Failure::transient("timeout", detail))
            });
            match outcome {
                Ok(ErasedHandled::Commit(pending)) => {
                    self.note(notes, task.at, || pending.what().to_owned());
                    commits.push((*pending, Arc::clone(&task.about)));
                    committing.push(task);
                }
                Ok(ErasedHandled::Already(why)) => self.note(notes, task.at, || why.into_owned()),
                Ok(ErasedHandled::Done) => self.note(notes, task.at, || "done".to_owned()),
                Err(failure) => {
                    let item = item.as_ref();
                    if let Some(item) = item.filter(|_| is_given_up(step, task.about.attempt, &failure))
                        && let Some(note) = noted(item, &failure, task.about.attempt)
                    {
                        noting.push((task.at, note));
                    }
                    failed.push((task.at, failure));
                }
            }
        }
        // In one request with the others: what is given up costs none of its own.
        let (noting, given_up): (Vec<usize>, Vec<_>) = noting.into_iter().unzip();
        commits.extend(given_up);
        let mut outcomes = self.commit(&step.name, commits).await;
        let given_up = outcomes.split_off(committing.len());
        told.extend(
            noting.into_iter().zip(given_up).filter(|(_, outcome)| outcome.is_ok()).map(|(at, _)| at),
        );
        let mut again = Vec::new();
        for (mut task, outcome) in committing.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => {}
                Err(NotCommitted::Failed(failure)) => failed.push((task.at, failure)),
                Err(NotCommitted::Conflict) if task.races >= COMMIT_RACES_MAX => {
                    let failure = Failure::transient(
                        "conflict",
                        "lost every race for the entity; others keep changing it",
                    );
                    failed.push((task.at, failure));
                }
                Err(NotCommitted::Conflict) => {
                    task.races += 1;
                    // The event was consumed by the handler; it is decoded anew from the envelope.
                    match works
                        .get(task.at)
                        .and_then(|work| work.envelope.as_ref())
                        .map(|e| handler.decode(e))
                    {
                        Some(Ok(decoded)) => {
                            task.decoded = decoded;
                            again.push(task);
                        }
                        Some(Err(failure)) => failed.push((task.at, failure)),
                        None => {}
                    }
                }
            }
        }
        again
    }

    /// Runs the calls, a bounded number at a time; `None` for those that did not end by `end`.
    async fn within<F: Future<Output = (usize, ErasedOutcome)>>(
        &self,
        step: &StepModel,
        count: usize,
        calls: Vec<F>,
        end: Timestamp,
    ) -> Vec<Option<ErasedOutcome>> {
        let mut outcomes: Vec<Option<ErasedOutcome>> = (0..count).map(|_| None).collect();
        let mut running = stream::iter(calls).buffer_unordered(step.concurrency.max(1));
        let mut timeout = self.ports.clock.sleep_until(end);
        loop {
            tokio::select! {
                biased;
                next = running.next() => match next {
                    Some((place, outcome)) => outcomes[place] = Some(outcome),
                    None => return outcomes,
                },
                () = &mut timeout => return outcomes,
            }
        }
    }

    fn note(&self, notes: &mut [Option<String>], at: usize, what: impl FnOnce() -> String) {
        if self.onlookers().is_some()
            && let Some(note) = notes.get_mut(at)
        {
            *note = Some(what());
        }
    }

    async fn commit(&self, step: &str, commits: Vec<(Pending, Arc<About>)>) -> Vec<Result<(), NotCommitted>> {
        let (model, meter) = (self.choreography.model(), &self.invocation.meter);
        crate::context::commit(&self.ports, model, step, meter, commits).await
    }

    /// The items of these keys, in their order: one request a table.
    async fn load(&self, keys: Vec<String>) -> Result<Vec<Option<Item>>, Failure> {
        let mut items: Vec<Option<Item>> = vec![None; keys.len()];
        let mut by_table: BTreeMap<&str, (Vec<usize>, Vec<String>)> = BTreeMap::new();
        for (place, key) in keys.into_iter().enumerate() {
            let kind = key.split_once('/').map_or("", |(kind, _)| kind);
            let table = self.choreography.model().table_of(kind);
            let table = table
                .ok_or_else(|| Failure::permanent("no_table", format_args!("no table holds {kind:?}")))?;
            let (places, keys) = by_table.entry(table).or_default();
            places.push(place);
            keys.push(key);
        }
        for (table, (places, keys)) in by_table {
            for (place, item) in places.into_iter().zip(self.ports.table(table)?.get(&keys).await?) {
                items[place] = item;
            }
        }
        Ok(items)
    }

    /// Writes into the trail of each entity that does not tell of it yet why its message is given up, so that one read of
    /// it tells. Best effort: the dead letter itself is what counts.
    async fn note_failures(&self, step: &StepModel, batch: &Batch<'_>) {
        let Some(kind) = step.entity_kind.as_deref() else {
            return;
        };
        let mut left: Vec<(String, &Failure, &Work<'_>)> = batch
            .failed
            .iter()
            .filter(|(at, _)| !batch.told.contains(at))
            .map(|(at, failure)| (failure, &batch.works[*at]))
            .filter(|(failure, work)| is_given_up(step, work.message.receive_count, failure))
            .filter_map(|(failure, work)| {
                let envelope = work.envelope.as_ref()?;
                Some((format!("{kind}/{}", envelope.subject), failure, work))
            })
            .collect();
        let now = self.ports.clock.now();
        for _ in 0..COMMIT_RACES_MAX {
            if left.is_empty() {
                return;
            }
            let Ok(items) = self.load(left.iter().map(|(key, ..)| key.clone()).collect()).await else {
                return;
            };
            let mut seen = HashSet::new();
            let mut commits = Vec::new();
            let mut committing = Vec::new();
            let mut later = Vec::new();
            for ((key, failure, work), item) in left.into_iter().zip(&items) {
                // A later entity of the same id has nothing to do with it.
                let told = item.as_ref().filter(|item| same_entity(item, work.envelope.as_ref(), now));
                let Some(item) = told else { continue };
                if !seen.insert(key.clone()) {
                    later.push((key, failure, work));
                    continue;
                }
                if let Some(note) = noted(item, failure, work.message.receive_count) {
                    commits.push(note);
                    committing.push((key, failure, work));
                }
            }
            let outcomes = self.commit(&step.name, commits).await;
            left = later;
            for (note, outcome) in committing.into_iter().zip(outcomes) {
                match outcome {
                    Ok(()) => {}
                    Err(NotCommitted::Conflict) => left.push(note),
                    Err(NotCommitted::Failed(failure)) => {
                        let (correlation_id, trace) = known_by(note.2.envelope.as_ref());
                        tracing::warn!(key = %note.0, correlation_id, trace_id = trace, %failure, "the trail could not be told of a dead letter");
                    }
                }
            }
        }
    }

    fn verdict(&self, step: &StepModel, receive_count: u32, failure: Failure) -> Verdict {
        if failure.is_permanent() {
            return Verdict::DeadLetter(failure);
        }
        if is_given_up(step, receive_count, &failure) {
            let detail = format!("attempt {receive_count} of {} failed: {}", step.attempts, failure.detail());
            return Verdict::DeadLetter(Failure::permanent(failure.reason().to_owned(), detail));
        }
        Verdict::Retry(step.backoff.after(receive_count, &*self.ports.random), failure)
    }

    /// Does with each message what its verdict says, but for deleting it. Returns which, by their place, are not to be
    /// deleted, in order.
    async fn settle(&self, step: &StepModel, messages: &[Message], verdicts: &[Verdict]) -> Vec<usize> {
        let mut kept: Vec<usize> = Vec::new();
        let mut retries: Vec<(Receipt, Duration)> = Vec::new();
        let mut later: Vec<(usize, NewMessage)> = Vec::new();
        let mut dead: Vec<(usize, NewMessage)> = Vec::new();
        let now = self.ports.clock.now();
        for (at, (message, verdict)) in messages.iter().zip(verdicts).enumerate() {
            match verdict {
                Verdict::Done => {}
                Verdict::Retry(after, _) => {
                    kept.push(at);
                    retries.push((message.receipt.clone(), *after));
                }
                Verdict::Later(delay) => later.push((
                    at,
                    NewMessage {
                        body: message.body.clone(),
                        attributes: message.attributes.clone(),
                        delay: *delay,
                    },
                )),
                Verdict::DeadLetter(failure) => {
                    let envelope = Envelope::parse(&message.body).ok();
                    let told = Told {
                        correlation_id: envelope
                            .as_ref()
                            .and_then(|envelope| envelope.correlationid.as_deref()),
                        subject: envelope.as_ref().map(|envelope| envelope.subject.as_str()),
                    };
                    dead.push((
                        at,
                        DeadLetter::message(message, failure, &step.name, &step.queue, told, now),
                    ));
                }
            }
        }
        // Sent on before deleted: in between, a crash leaves a message twice, never none.
        let redrive = self.choreography.model().queue(&step.queue).and_then(|queue| queue.redrive.as_ref());
        match redrive {
            Some(redrive) => self.send_on(&redrive.dead_letter_queue, dead, messages, &mut kept).await,
            None => kept.extend(dead.into_iter().map(|(at, _)| at)),
        }
        self.send_on(&step.queue, later, messages, &mut kept).await;
        if !retries.is_empty()
            && let Err(error) = async { self.ports.queue(&step.queue)?.extend(&retries).await }.await
        {
            tracing::warn!(step = %step.name, %error, "backoffs could not be set; the visibility timeout gives the messages back");
        }
        kept.sort_unstable();
        kept
    }

    /// Sends messages on; those that can't be stay where they are.
    async fn send_on(
        &self,
        queue: &str,
        sending: Vec<(usize, NewMessage)>,
        messages: &[Message],
        kept: &mut Vec<usize>,
    ) {
        if sending.is_empty() {
            return;
        }
        let (places, new): (Vec<usize>, Vec<NewMessage>) = sending.into_iter().unzip();
        let sent = match self.ports.queue(queue) {
            Ok(queue) => queue.send(new).await,
            Err(error) => vec![Err(error); places.len()],
        };
        for (at, sent) in places.into_iter().zip(sent) {
            if let (Err(error), Some(message)) = (sent, messages.get(at)) {
                let envelope = Envelope::parse(&message.body).ok();
                let (correlation_id, trace) = known_by(envelope.as_ref());
                tracing::error!(queue, id = %message.id, correlation_id, trace_id = trace, %error, "a message could not be sent on; it stays where it is");
                kept.push(at);
            }
        }
    }
}

/// Whether a message is dead-lettered for a failure, and not tried again.
fn is_given_up(step: &StepModel, receive_count: u32, failure: &Failure) -> bool {
    failure.is_permanent() || receive_count >= step.attempts
}

/// The commit that writes into an entity's trail why its message is given up; `None` where the entity can't be read.
fn noted(item: &Item, failure: &Failure, attempt: u32) -> Option<(Pending, Arc<About>)> {
    let what = Cow::Owned(format!("dead-lettered: {}", failure.reason()));
    let pending = Pending::note(item, what).ok()?;
    Some((pending, Arc::new(About { attempt, ..About::default() })))
}

enum NotAdmitted {
    /// Not before its time: this much of the delay is left.
    Early(Duration),
    Failed(Failure),
}

/// Whether a message is to be handled now: in time, within its budget, of the right type.
fn admit(
    model: &Model,
    step: &StepModel,
    handler: &dyn ErasedHandler,
    envelope: &Envelope<Box<RawValue>>,
    message: &Message,
    now: Timestamp,
) -> Result<(Decoded, About), NotAdmitted> {
    let decoded = handler.decode(envelope).map_err(NotAdmitted::Failed)?;
    let left = first_hop(envelope.notbefore, now);
    if !left.is_zero() {
        return Err(NotAdmitted::Early(left));
    }
    let mut carried = Carried { deadline: envelope.deadline, hops: envelope.hops };
    if let Some(budget) = model.budget_of(step) {
        if carried == Carried::default() {
            carried = model.entering(step, envelope.time);
        }
        if let Some(deadline) = carried.deadline.filter(|deadline| now > *deadline) {
            let failure = Failure::permanent("deadline_passed", format_args!("the deadline was {deadline}"));
            return Err(NotAdmitted::Failed(failure));
        }
        if let Some(hops) = carried.hops.filter(|hops| *hops > budget.hops) {
            let detail = format_args!("{hops} events along the cycle, the budget is {}", budget.hops);
            return Err(NotAdmitted::Failed(Failure::permanent("hops_exhausted", detail)));
        }
    }
    let about = About {
        attempt: message.receive_count,
        correlation_id: envelope.correlationid.clone().or_else(|| Some(envelope.id.clone())),
        traceparent: envelope.traceparent.clone(),
        carried,
    };
    Ok((decoded, about))
}

/// Takes the tasks that can be worked together: no two of one entity, in their order.
fn next_round(tasks: &mut VecDeque<Task>) -> Vec<Task> {
    let mut keys: HashSet<&str> = HashSet::with_capacity(tasks.len());
    let is_first = tasks.iter().map(|task| task.decoded.key.as_ref().is_none_or(|key| keys.insert(key)));
    let is_first: Vec<bool> = is_first.collect();
    let mut round = Vec::with_capacity(tasks.len());
    let mut left = VecDeque::new();
    for (task, is_first) in tasks.drain(..).zip(is_first) {
        if is_first {
            round.push(task);
        } else {
            left.push_back(task);
        }
    }
    *tasks = left;
    round
}

/// Whether an item is the entity an event is told to: not expired, and not a later one of the same id.
fn same_entity(item: &Item, envelope: Option<&Envelope<Box<RawValue>>>, now: Timestamp) -> bool {
    let expired = item.expires_at.is_some_and(|at| at <= now);
    let Some(created) = envelope.and_then(|envelope| envelope.entitycreated) else {
        return !expired;
    };
    let same = crate::entity::created_at(item).is_none_or(|at| at == created);
    !expired && same
}

/// The parameters of `path` where it matches `pattern`, percent-decoded; `None` where it does not match, or a
/// parameter is not UTF-8.
fn matched(pattern: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    let mut parameters = BTreeMap::new();
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return Some(parameters),
            (Some(pattern), Some(part)) => {
                if let Some(name) = pattern.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                    let value = percent_encoding::percent_decode_str(part).decode_utf8().ok()?;
                    if value.is_empty() {
                        return None;
                    }
                    parameters.insert(name.to_owned(), value.into_owned());
                } else if pattern != part {
                    return None;
                }
            }
            _ => return None,
        }
    }
}

/// Whether a path has the segments of a route's, whatever its parameters are.
fn has_shape(path: &str, route: &str) -> bool {
    let (mut parts, mut wanted) = (path.split('/'), route.split('/'));
    loop {
        match (parts.next(), wanted.next()) {
            (None, None) => return true,
            (Some(part), Some(wanted)) if wanted.starts_with('{') || part == wanted => {}
            _ => return false,
        }
    }
}

/// Correlation id and trace id, as log lines tell them.
fn known_by(envelope: Option<&Envelope<Box<RawValue>>>) -> (&str, &str) {
    let correlation_id = envelope.and_then(|envelope| envelope.correlationid.as_deref()).unwrap_or_default();
    let trace = envelope.and_then(|envelope| trace_id(envelope.traceparent.as_deref()?)).unwrap_or_default();
    (correlation_id, trace)
}

fn log(step: &StepModel, work: &Work<'_>, verdict: &Verdict, traceparent: Option<&str>) {
    let millis = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let envelope = work.envelope.as_ref();
    let (correlation_id, trace) = known_by(envelope);
    let trace = if trace.is_empty() { traceparent.and_then(trace_id).unwrap_or_default() } else { trace };
    let event = envelope.map(|envelope| envelope.id.as_str()).unwrap_or_default();
    let (step, attempt) = (step.name.as_str(), work.message.receive_count);
    match verdict {
        Verdict::Done => {
            tracing::debug!(step, event, attempt, correlation_id, trace_id = trace, "handled");
        }
        Verdict::Later(left) => {
            tracing::debug!(
                step,
                event,
                attempt,
                correlation_id,
                trace_id = trace,
                left_ms = millis(left),
                "not yet"
            );
        }
        Verdict::Retry(after, failure) => {
            tracing::warn!(step, event, attempt, correlation_id, trace_id = trace, after_ms = millis(after), %failure, "retry");
        }
        Verdict::DeadLetter(failure) => {
            tracing::warn!(step, event, attempt, correlation_id, trace_id = trace, %failure, "dead-lettered");
        }
    }
}
