//! One run: a system's processes, its clients and its faults, from a tape to what became of it.

use super::{
    executor::{Executor, Pause, TaskFuture},
    fault::{Fault, Faults},
    ledger::{Ledger, SENT, Violation},
    ports::{Nature, ports_of},
    property::{Holds, Property},
    tape::{Choice, Kind, Tape},
    trace::Trace,
    world::{Posted, World},
};
use crate::{
    alarm::Alert,
    choreography::Choreography,
    engine::{Part, Tasks},
    failure::Failure,
    http::Request,
    memory::{Memory, VirtualClock},
    notify::Notifier,
    panics::PANICKED,
    pipeline::Pipeline,
    port::{Clock as _, Ports},
    services::Services,
    setting::Settings,
    system::{Demo, System},
    timestamp::Timestamp,
};
use async_trait::async_trait;
use futures_util::FutureExt as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

/// The property that each of those that were posted comes to one end.
const ONE_END: &str = "each that was posted comes to one end";
/// The property that nothing is left in a queue or a change stream.
const DRAINED: &str = "every queue drains once the faults have stopped";
/// The property that no handler panics.
const NO_PANIC: &str = "no handler panics";
/// The property that time comes from the ports alone.
const BY_PORTS: &str = "a handler waits for ports alone";
/// The property that the run goes on.
const GOES_ON: &str = "no task keeps all others from going on";

/// When a run begins.
const BEGIN: Timestamp = Timestamp::from_millis(1_796_000_000_000);

/// How long after the faults everything has to be over.
const QUIET: Duration = Duration::from_secs(30 * 86_400);

/// Turns of tasks at one time, at most: with more, one of them turns without end.
const TURNS_MAX: u64 = 200_000;

/// The longest that a process that died stays so, in seconds.
const DEAD_MAX: u64 = 120;

/// The longest that a client waits before it asks again, in milliseconds.
const CLIENT_WAITS_MAX: u64 = 30_000;

/// The process of the clients, which never dies.
const CLIENTS: usize = 0;

/// How a run is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many clients post something.
    pub orders: u64,
    /// For how many minutes faults strike.
    pub minutes: u64,
    /// The faults that may strike.
    pub faults: BTreeSet<Fault>,
    /// How many strikes there are at most.
    pub strikes_max: u64,
    /// Whether the choices and the trace are kept.
    pub is_kept: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            orders: 20,
            minutes: 60,
            faults: Fault::ALL.iter().copied().collect(),
            strikes_max: u64::MAX,
            is_kept: false,
        }
    }
}

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The hash of all that happened.
    pub trace_hash: u64,
    /// What does not hold.
    pub violation: Option<Violation>,
    /// How often each fault struck at each step.
    pub faults: BTreeMap<(Fault, String), u64>,
    /// How often each property was tried.
    pub tried: BTreeMap<String, u64>,
    /// The properties that were so at its end, of those that have to be so sometimes.
    pub seen: BTreeSet<&'static str>,
    /// How much time passed in it.
    pub time: Duration,
    /// How often a task went on.
    pub turns: u64,
    /// What was posted.
    pub posted: Vec<Posted>,
    /// The choices, where they are kept.
    pub choices: Vec<Choice>,
    /// All that happened, a line each, where it is kept.
    pub trace: Option<String>,
}

/// Takes alerts: in a simulation nobody is there to be told.
struct Nobody;

#[async_trait]
impl Notifier for Nobody {
    async fn notify(&self, _: &Alert) -> Result<(), Failure> {
        Ok(())
    }
}

/// A system that is simulated.
pub struct Simulator<'a> {
    system: &'a dyn System,
    choreography: Choreography,
    settings: Settings,
    properties: Vec<Property>,
}

impl std::fmt::Debug for Simulator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").field("system", &self.system.name()).finish_non_exhaustive()
    }
}

impl<'a> Simulator<'a> {
    /// A simulator of `system`, whose definition is proved, with these values of its settings.
    pub fn new(system: &'a dyn System, choreography: Choreography, settings: Settings) -> Self {
        let properties = system.properties();
        Self { system, choreography, settings, properties }
    }

    /// The properties that the system states.
    pub fn properties(&self) -> &[Property] {
        &self.properties
    }

    /// Runs it, by the choices of a tape.
    pub fn run(&self, tape: &Tape, options: &Options) -> Run {
        let tape = if options.is_kept { tape.clone().kept() } else { tape.clone() };
        Running::new(self, &tape, options).run()
    }
}

/// A process: a function on AWS, a relay, a schedule.
struct Process {
    name: Arc<str>,
    part: Part,
    /// When it is started again, where it is dead.
    restarts_at: Option<Timestamp>,
}

struct Running<'a> {
    simulator: &'a Simulator<'a>,
    options: &'a Options,
    tape: Tape,
    nature: Arc<Nature>,
    executor: Executor,
    /// By number, from 1 on.
    processes: Vec<Process>,
    demo: Option<Arc<dyn Demo>>,
    posted: Arc<Mutex<Vec<Posted>>>,
    /// Clients that have had no answer yet.
    waiting: Arc<Mutex<u64>>,
    tasks: Tasks,
    changes: u64,
    run: Run,
}

impl<'a> Running<'a> {
    fn new(simulator: &'a Simulator<'a>, tape: &Tape, options: &'a Options) -> Self {
        let clock = Arc::new(VirtualClock::new(BEGIN));
        let model = simulator.choreography.model();
        let memory = Memory::new(model, clock.clone(), Arc::new(tape.clone()));
        let nature = Nature {
            memory,
            clock,
            faults: Faults::draw(tape, &options.faults, options.strikes_max),
            ledger: Ledger::default(),
            trace: Trace::new(options.is_kept),
        };
        if nature.faults.strikes(Fault::Expiry, "tables") {
            nature.memory.expire_after(Duration::from_secs(nature.faults.amount(Fault::Expiry, 5) * 86_400));
        }
        let parts = Part::of(model);
        let processes =
            parts.into_iter().map(|part| Process { name: part.name().into(), part, restarts_at: None });
        Self {
            simulator,
            options,
            tape: tape.clone(),
            nature: Arc::new(nature),
            executor: Executor::new(tape),
            processes: processes.collect(),
            demo: simulator.system.demo().map(Arc::from),
            posted: Arc::default(),
            waiting: Arc::default(),
            tasks: Tasks::default(),
            changes: 0,
            run: Run::default(),
        }
    }

    fn run(mut self) -> Run {
        for process in 0..self.processes.len() {
            self.start(process);
        }
        self.clients();
        let end_of_faults = BEGIN + Duration::from_secs(self.options.minutes * 60);
        let end = end_of_faults + QUIET;
        while self.run.violation.is_none() {
            self.turns();
            if self.nature.faults.are_on() && self.next().is_none_or(|next| next > end_of_faults) {
                self.nature.clock.advance_to(end_of_faults);
                self.nature.trace.tell(end_of_faults, &["the faults have stopped"]);
                self.nature.faults.stop();
                for process in &mut self.processes {
                    process.restarts_at = process.restarts_at.map(|_| end_of_faults);
                }
            }
            let is_over = !self.nature.faults.are_on() && self.is_over();
            let next = self.next().filter(|next| *next <= end && !is_over);
            let Some(next) = next else { break };
            self.nature.clock.advance_to(next);
            self.restart(next);
        }
        self.finish()
    }

    /// When the next sleeper wakes, or the next process is started again.
    fn next(&self) -> Option<Timestamp> {
        let restarts = self.processes.iter().filter_map(|process| process.restarts_at);
        restarts.chain(self.nature.clock.next_wake()).min()
    }

    /// Lets tasks go on until all of them wait.
    fn turns(&mut self) {
        let mut turns = 0;
        while let Some((task, process)) = self.executor.pick() {
            turns += 1;
            if process != CLIENTS {
                let name = &self.processes[process - 1].name;
                if self.nature.faults.strikes(Fault::Crash, name) {
                    self.nature.trace.tell(self.nature.clock.now(), &[name, "dies"]);
                    self.executor.kill(process);
                    let time = Duration::from_secs(self.nature.faults.amount(Fault::Crash, DEAD_MAX));
                    self.processes[process - 1].restarts_at = Some(self.nature.clock.now() + time);
                    continue;
                }
            }
            self.executor.go_on(task);
            self.check();
            if self.executor.is_foreign() {
                let detail = "a thread woke a task: use the ports of `Context` and of `Service`, which a simulation knows";
                self.violated(BY_PORTS, detail.to_owned());
            }
            if turns > TURNS_MAX {
                self.violated(GOES_ON, format!("{TURNS_MAX} turns at {}", self.nature.clock.now()));
            }
            if self.run.violation.is_some() {
                break;
            }
        }
        self.run.turns += turns;
    }

    /// What holds after every change.
    fn check(&mut self) {
        let changes = self.nature.ledger.changes();
        if changes == self.changes {
            return;
        }
        self.changes = changes;
        if let Some(violation) = self.nature.ledger.violation() {
            self.run.violation.get_or_insert(violation);
        }
        self.check_all(Holds::Always);
    }

    fn check_all(&mut self, holds: Holds) {
        let properties = &self.simulator.properties;
        for property in properties.iter().filter(|property| property.holds == holds) {
            *self.run.tried.entry(property.name.to_owned()).or_default() += 1;
            let shown = (property.check)(&self.world(&self.posted()));
            match (holds, shown) {
                (Holds::Sometimes, Ok(())) => {
                    self.run.seen.insert(property.name);
                }
                (Holds::Sometimes, Err(_)) | (_, Ok(())) => {}
                (_, Err(detail)) => self.violated(property.name, detail),
            }
        }
    }

    fn violated(&mut self, property: &str, detail: String) {
        self.run.violation.get_or_insert(Violation { property: property.to_owned(), detail });
    }

    fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn world<'b>(&'b self, posted: &'b [Posted]) -> World<'b> {
        World {
            memory: &self.nature.memory,
            choreography: &self.simulator.choreography,
            posted,
            now: self.nature.clock.now(),
        }
    }

    /// Whether nothing is under way any longer, and all that has to hold in the end does.
    fn is_over(&self) -> bool {
        let is_answered = *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) == 0;
        is_answered && self.undrained().is_none() && self.amiss().is_none()
    }

    /// A queue or a stream that something waits in.
    fn undrained(&self) -> Option<String> {
        let ports = self.nature.memory.ports();
        let steps = self.simulator.choreography.model().steps.iter();
        for queue in steps.filter_map(|step| ports.queues.get_key_value(&step.queue)) {
            let depth = queue.1.depth().now_or_never().and_then(Result::ok).unwrap_or_default();
            if depth.total() > 0 {
                return Some(format!("{} messages wait in {}", depth.total(), queue.0));
            }
        }
        let read = |stream: &(&String, &Arc<dyn crate::port::ChangeStream>)| {
            let read = stream.1.read(1, Duration::ZERO).now_or_never().and_then(Result::ok);
            read.is_some_and(|records| !records.is_empty())
        };
        ports.streams.iter().find(read).map(|(name, _)| format!("a record waits in the stream of {name}"))
    }

    /// What does not hold of all that has to in the end.
    fn amiss(&self) -> Option<Violation> {
        let posted = self.posted();
        let world = self.world(&posted);
        let violation = |property: &str, detail| Some(Violation { property: property.to_owned(), detail });
        if let Some(id) = self.nature.ledger.unsent() {
            return violation(SENT, id);
        }
        if let Some(demo) = &self.demo
            && let Some((id, ends)) = world.ends(&**demo).into_iter().find(|(_, ends)| ends.len() != 1)
        {
            return violation(
                ONE_END,
                format!("{} {id} came to {} ends: {}", demo.kind(), ends.len(), ends.join(", ")),
            );
        }
        let properties = self.simulator.properties.iter();
        properties.filter(|property| property.holds == Holds::Eventually).find_map(|property| {
            (property.check)(&world).err().and_then(|detail| violation(property.name, detail))
        })
    }

    /// A dead letter that a panic made.
    fn panicked(&self) -> Option<Violation> {
        let world = self.world(&[]);
        let queues = self.simulator.choreography.model().dead_letter_queues();
        let mut letters = queues.into_iter().flat_map(|queue| world.dead_letters(queue));
        let letter = letters.find(|letter| letter.reason == PANICKED)?;
        let detail = letter.detail;
        let property = if detail.contains("Tokio") { BY_PORTS } else { NO_PANIC };
        let cure = "tokio's timers, tasks and network are none of a simulation: use the ports of `Context` and of `Service`";
        let detail = if property == BY_PORTS { format!("{cure} ({detail})") } else { detail };
        Some(Violation { property: property.to_owned(), detail })
    }

    fn finish(mut self) -> Run {
        if self.run.violation.is_none() {
            let undrained = self.undrained();
            let drained = |detail| Violation { property: DRAINED.to_owned(), detail };
            self.run.violation = self.panicked().or_else(|| self.amiss()).or_else(|| undrained.map(drained));
            self.check_all(Holds::Sometimes);
            for property in [ONE_END, DRAINED, NO_PANIC, SENT] {
                *self.run.tried.entry(property.to_owned()).or_default() += 1;
            }
        }
        let posted = self.posted();
        Run {
            trace_hash: self.nature.trace.hash(),
            faults: self.nature.faults.counts(),
            time: self.nature.clock.now().since(BEGIN),
            posted,
            choices: self.tape.choices(),
            trace: self.nature.trace.text(),
            ..self.run
        }
    }

    /// Starts a process: its tasks over ports of its own.
    fn start(&mut self, process: usize) {
        let Process { name, part, .. } = &self.processes[process];
        let pipeline = self.pipeline(name);
        for task in self.tasks.of(&pipeline, part) {
            self.executor.spawn(process + 1, task);
        }
    }

    fn restart(&mut self, now: Timestamp) {
        for process in 0..self.processes.len() {
            if self.processes[process].restarts_at.is_some_and(|at| at <= now) {
                self.processes[process].restarts_at = None;
                self.nature.trace.tell(now, &[&self.processes[process].name, "starts again"]);
                self.start(process);
            }
        }
    }

    fn pipeline(&self, process: &Arc<str>) -> Pipeline {
        let nobody: Arc<dyn Notifier> = Arc::new(Nobody);
        let mut ports: Ports = ports_of(&self.nature, process, &self.tape);
        ports.services = Services::new().with::<dyn Notifier>(nobody);
        let choreography = self.simulator.choreography.clone();
        let settings = self.simulator.settings.clone();
        // Where a service can't be made, its handlers say so.
        let ports = choreography.equip(ports.clone(), settings).unwrap_or(ports);
        Pipeline::new(choreography, ports)
    }

    /// The clients: each posts something at a time of its own, until it is taken.
    fn clients(&mut self) {
        let Some(demo) = self.demo.clone() else { return };
        let pipeline = self.pipeline(&"api".into());
        let id = |number: u64| format!("{}-{number}", demo.kind());
        let first = demo.before(&id(1), self.options.orders);
        let half = self.options.minutes * 60_000 / 2;
        let (mut number, mut requests) = (1, Vec::new());
        while number <= self.options.orders {
            let most = u64::try_from(demo.batch()).unwrap_or(1).clamp(1, 4);
            let count = (self.tape.choose(Kind::Client, most) + 1).min(self.options.orders + 1 - number);
            let ids: Vec<String> = (number..number + count).map(id).collect();
            number += count;
            requests.push((BEGIN + Duration::from_millis(self.tape.choose(Kind::Client, half.max(1))), ids));
        }
        let client = Client {
            demo,
            pipeline,
            nature: Arc::clone(&self.nature),
            tape: self.tape.clone(),
            posted: Arc::clone(&self.posted),
            waiting: Arc::clone(&self.waiting),
        };
        *client.waiting.lock().unwrap_or_else(PoisonError::into_inner) = requests.len() as u64;
        self.executor.spawn(CLIENTS, client.clone().all(first, requests));
    }
}

/// Who posts.
#[derive(Clone)]
struct Client {
    demo: Arc<dyn Demo>,
    pipeline: Pipeline,
    nature: Arc<Nature>,
    tape: Tape,
    posted: Arc<Mutex<Vec<Posted>>>,
    waiting: Arc<Mutex<u64>>,
}

impl Client {
    /// First what has to be there, and then each request at its time.
    fn all(
        self,
        first: Vec<(&'static str, serde_json::Value)>,
        requests: Vec<(Timestamp, Vec<String>)>,
    ) -> TaskFuture {
        Box::pin(async move {
            for (step, body) in first {
                self.ask(step, &body).await;
            }
            let requests = requests.into_iter().map(|(at, ids)| self.post(at, ids));
            futures_util::future::join_all(requests).await;
        })
    }

    async fn post(&self, at: Timestamp, ids: Vec<String>) {
        self.nature.clock.sleep_until(at).await;
        let status = self.ask(self.demo.step(), &self.demo.body(&ids)).await;
        let entity = |id: &String| self.demo.entity(id).unwrap_or_else(|| id.clone());
        let posted = ids.iter().map(|id| Posted { id: id.clone(), entity: entity(id), status });
        self.posted.lock().unwrap_or_else(PoisonError::into_inner).extend(posted);
        for (step, body) in self.demo.then(&ids) {
            self.ask(step, &body).await;
        }
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }

    /// Asks until there is an answer that says yes or no.
    async fn ask(&self, step: &str, body: &serde_json::Value) -> u16 {
        loop {
            let headers = [("content-type".to_owned(), "application/json".to_owned())].into();
            let request = Request { body: body.to_string().into(), headers, ..Request::default() };
            let asked = self.mortal(self.pipeline.invoke(step, request)).await;
            let status = asked.and_then(Result::ok).map_or(503, |response| response.status);
            self.nature.trace.tell(self.nature.clock.now(), &["client", step, &status.to_string()]);
            if status < 500 && status != 429 {
                return status;
            }
            let wait = Duration::from_millis(self.tape.choose(Kind::Client, CLIENT_WAITS_MAX) + 1);
            self.nature.clock.sleep_until(self.nature.clock.now() + wait).await;
        }
    }

    /// The answer of a process that may die before it gives one.
    async fn mortal<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = pin!(answer);
        let answered = poll_fn(|context| {
            if self.nature.faults.strikes(Fault::Crash, "api") {
                return Poll::Ready(None);
            }
            answer.as_mut().poll(context).map(Some)
        })
        .await;
        Pause::default().await;
        answered
    }
}
