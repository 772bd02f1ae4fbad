//! One run: a system's processes, its clients and its faults, from a tape to what became of it.

use super::{
    alarm::{SimNotifier, untold_letter, watching},
    client::Clients,
    executor::Executor,
    fault::Fault,
    ledger::{LETTERS, ONE_END, ONE_OBJECT, SENT, TOLD, TRAIL, Violation, named},
    operator::operator,
    options::Options,
    ports::{Nature, ports_of},
    property::{Holds, Property},
    snapshot::{not_one_end, unexplained},
    tape::{Choice, Tape},
    world::{Posted, World},
};
use crate::{
    alarm::Alert,
    choreography::{Choreography, EntityView},
    engine::{Part, Tasks},
    event::Envelope,
    memory::{Memory, VirtualClock},
    model::{AlarmModel, DefinitionErrors, ScheduleModel},
    notify::Notifier,
    panics::PANICKED,
    pipeline::Pipeline,
    port::{Message, Ports, SeededRandom},
    setting::{SettingError, Settings},
    system::{Demo, System},
    timestamp::Timestamp,
};
use futures_util::FutureExt as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

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

/// How long it may take until all holds that has to, once nothing is under way: whatever goes on later goes on with a schedule, and
/// has two of its times at least. Not longer, as what is amiss may expire.
const SETTLED: Duration = Duration::from_secs(6 * 3_600);

/// How long after the faults everything has to be over.
const QUIET: Duration = Duration::from_secs(30 * 86_400);

/// Turns of tasks at one time, at most: with more, one of them turns without end.
const TURNS_MAX: u64 = 200_000;

/// The longest that a process that died stays so, in seconds.
const DEAD_MAX: u64 = 120;

/// The process of clients and operators, which never dies.
const CLIENTS: usize = 0;

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The hash of all that happened.
    pub trace_hash: u64,
    /// What does not hold.
    pub violation: Option<Violation>,
    /// How often each fault struck at each step where it could have.
    pub faults: BTreeMap<(Fault, Arc<str>), u64>,
    /// How often each property was tried.
    pub tried: BTreeMap<&'static str, u64>,
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
    /// All that happened, a line each, where it is kept. Two spaces part the words of a line: time, process, and what.
    pub trace: Option<String>,
    /// The entity that a violation names, and those its story is told with, where the trace is kept.
    pub concerned: Option<(EntityView, Vec<EntityView>)>,
}

/// A system that is simulated.
pub struct Simulator<'a> {
    system: &'a dyn System,
    choreography: Choreography,
    /// The build before it.
    earlier: Option<Choreography>,
    settings: Settings,
    properties: Vec<Property>,
}

/// Why a system can't be simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The definition of the build before is wrong.
    #[error("the build before: {0}")]
    Earlier(#[from] DefinitionErrors),
    /// A service can't be made of these settings.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

impl std::fmt::Debug for Simulator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulator").field("system", &self.system.name()).finish_non_exhaustive()
    }
}

impl<'a> Simulator<'a> {
    /// A simulator of `system`, whose definition is proved, with these values of its settings.
    ///
    /// # Errors
    /// A [`SimulatorError`]: a service that can't be made of the settings, or a build before that is wrong.
    pub fn new(
        system: &'a dyn System,
        choreography: Choreography,
        settings: Settings,
    ) -> Result<Self, SimulatorError> {
        let earlier = system.earlier().map(|definition| definition.build()).transpose()?;
        // What a service is made of is there in every run: what can't be made now never can.
        let clock = Arc::new(VirtualClock::new(BEGIN));
        let memory = Memory::new(choreography.model(), clock, Arc::new(Tape::of_seed(0)));
        for build in [Some(&choreography), earlier.as_ref()].into_iter().flatten() {
            build.equip(memory.ports(), settings.clone())?;
        }
        Ok(Self { system, choreography, earlier, settings, properties: system.properties() })
    }

    /// The properties that the system states.
    pub fn properties(&self) -> &[Property] {
        &self.properties
    }

    /// Runs it, by the choices of a tape.
    pub fn run(&self, tape: &Tape, options: &Options) -> Run {
        let tape = if options.is_kept { tape.clone().kept() } else { tape.clone() };
        let tape = if options.is_in_order { tape.in_order() } else { tape };
        Running::new(self, &tape, options).run()
    }

    /// Runs it by the choices of a tape until then, and stops there. It is run from its beginning: the same tape stops at the same
    /// point each time, and so a later point and an earlier one are reached alike.
    pub fn paused(&self, tape: &Tape, options: &Options, until: Until) -> Paused {
        let tape = if options.is_in_order { tape.clone().in_order() } else { tape.clone() };
        let mut running = Running::new(self, &tape, options);
        running.until = until;
        running.play();
        running.pause()
    }
}

/// How far a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until a task has gone on so often, in all.
    Turn(u64),
    /// Until all has happened that happens up to this time.
    Time(Timestamp),
    /// To its end.
    End,
}

/// A run that was stopped.
#[derive(Clone, Debug)]
pub struct Paused {
    /// How often a task has gone on.
    pub turns: u64,
    /// The time.
    pub now: Timestamp,
    /// Nothing would come any more.
    pub is_at_end: bool,
    /// Whether faults strike still.
    pub are_faults_on: bool,
    /// What does not hold.
    pub violation: Option<Violation>,
    /// The choreography over what is kept, to be looked at: no fault strikes here, and no time passes. It counts what the run's
    /// processes did, and knows what fails.
    pub pipeline: Pipeline,
}

/// A process: a function on AWS, a relay, a schedule.
struct Process {
    name: String,
    part: Does,
    /// When it is started again, where it is dead.
    restarts_at: Option<Timestamp>,
    /// It has the build before.
    is_earlier: bool,
}

/// What a process does.
enum Does {
    Part(Part),
    Alarm(AlarmModel),
}

/// How long it may take until all holds that has to, once nothing is under way.
fn patience(simulator: &Simulator<'_>) -> Duration {
    let gap = |schedule: &ScheduleModel| {
        let every = schedule.setting.as_ref().and_then(|name| simulator.settings.get::<Duration>(name).ok());
        every.or_else(|| schedule.when.longest_gap())
    };
    let gaps = simulator.choreography.model().schedules.iter().filter_map(gap);
    gaps.max().map_or(SETTLED, |longest| SETTLED.max(longest * 2))
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
    clients: Clients,
    tasks: Tasks,
    changes: u64,
    /// How much had been done when something was found amiss last.
    amiss_at: Option<u64>,
    /// Since when nothing is under way.
    settled_at: Option<Timestamp>,
    /// How long it may take from then on until all holds that has to.
    patience: Duration,
    /// How far it goes.
    until: Until,
    /// What knows of all processes how much they did.
    known: Pipeline,
    is_at_end: bool,
    run: Run,
}

impl<'a> Running<'a> {
    fn new(simulator: &'a Simulator<'a>, tape: &Tape, options: &'a Options) -> Self {
        let model = simulator.choreography.model();
        let executor = Executor::new(tape);
        let (properties, ready) = (&simulator.properties, executor.ready());
        let nature = Nature::new(model, properties, tape, ready, options, BEGIN);
        if nature.strikes(Fault::Expiry, &nature.faults.place("tables")) {
            nature.memory.expire_after(Duration::from_secs(nature.faults.amount(Fault::Expiry, 5) * 86_400));
        }
        let memory = nature.memory.ports();
        let process = |name, part| Process { name, part, restarts_at: None, is_earlier: false };
        let parts = Part::of(model).into_iter().map(|part| process(part.name(), Does::Part(part)));
        let alarms = model.alarms.iter();
        let alarms = alarms
            .map(|alarm| process(format!("alarm {}", alarm.dead_letter_queue), Does::Alarm(alarm.clone())));
        Self {
            simulator,
            options,
            tape: tape.clone(),
            nature: Arc::new(nature),
            executor,
            processes: parts.chain(alarms).collect(),
            demo: simulator.system.demo().map(Arc::from),
            clients: Clients::default(),
            tasks: Tasks::default(),
            changes: 0,
            amiss_at: None,
            settled_at: None,
            patience: patience(simulator),
            until: Until::End,
            known: Pipeline::new(simulator.choreography.clone(), memory),
            is_at_end: false,
            run: Run::default(),
        }
    }

    fn run(mut self) -> Run {
        self.play();
        self.finish()
    }

    /// Whether it was to go no further.
    fn is_stopped(&self) -> bool {
        self.until == Until::Turn(self.run.turns)
    }

    fn play(&mut self) {
        for process in 0..self.processes.len() {
            self.start(process);
        }
        self.people();
        let end_of_faults = BEGIN + Duration::from_secs(self.options.minutes * 60);
        let end = end_of_faults + QUIET;
        while self.run.violation.is_none() {
            self.turns();
            if self.is_stopped() {
                return;
            }
            if self.nature.faults.are_on() && self.next().is_none_or(|next| next > end_of_faults) {
                self.calm(end_of_faults);
            }
            let is_over = !self.nature.faults.are_on() && self.is_over();
            let next = self.next().filter(|next| *next <= end && !is_over);
            let Some(next) = next else { break };
            if let Until::Time(until) = self.until
                && next > until
            {
                self.nature.clock.advance_to(until);
                return;
            }
            self.nature.clock.advance_to(next);
            self.restart(next);
        }
        self.is_at_end = true;
    }

    fn pause(mut self) -> Paused {
        if self.is_at_end && self.run.violation.is_none() {
            self.run.violation = self.told_wrongly().or_else(|| self.amiss());
        }
        let ports = self.nature.memory.ports();
        let random = Arc::new(SeededRandom::new(self.run.turns));
        let ports = Ports { random, clock: Arc::clone(&self.nature.clock) as _, ..ports };
        let settings = self.simulator.settings.clone();
        let ports = self.simulator.choreography.equip(ports.clone(), settings).unwrap_or(ports);
        Paused {
            turns: self.run.turns,
            now: self.nature.now(),
            is_at_end: self.is_at_end,
            are_faults_on: self.nature.faults.are_on(),
            violation: self.run.violation,
            pipeline: self.known.over(ports),
        }
    }

    /// The faults stop: who is dead is started again, and the deployment is over.
    fn calm(&mut self, now: Timestamp) {
        self.nature.clock.advance_to(now);
        self.nature.trace.tell(now, &["the faults have stopped"]);
        self.nature.faults.stop();
        for (number, process) in self.processes.iter_mut().enumerate() {
            if std::mem::take(&mut process.is_earlier) && process.restarts_at.is_none() {
                self.executor.kill(number + 1);
                process.restarts_at = Some(now);
            }
            process.restarts_at = process.restarts_at.map(|_| now);
        }
    }

    /// When the next sleeper wakes, or the next process is started again.
    fn next(&self) -> Option<Timestamp> {
        let restarts = self.processes.iter().filter_map(|process| process.restarts_at);
        restarts.chain(self.nature.clock.next_wake()).min()
    }

    /// Lets tasks go on until all of them wait.
    fn turns(&mut self) {
        let before = self.run.turns;
        while !self.is_stopped()
            && let Some((task, process)) = self.executor.pick()
        {
            self.run.turns += 1;
            self.executor.go_on(task);
            if self.nature.is_doomed.swap(false, Ordering::Relaxed) {
                self.die(process);
            }
            self.check();
            if self.executor.is_foreign() {
                let detail = "a thread woke a task: use the ports of `Context` and of `Service`, which a simulation knows";
                self.violated(BY_PORTS, detail.to_owned());
            }
            if self.run.turns - before > TURNS_MAX {
                self.violated(GOES_ON, format!("{TURNS_MAX} turns at {}", self.nature.now()));
            }
            if let Some(violation) = &mut self.run.violation {
                let at_work = self.processes.get(process.wrapping_sub(1));
                violation.step = at_work.map_or("clients", |process| &process.name).to_owned();
                break;
            }
        }
    }

    /// A process dies, with all that it holds.
    fn die(&mut self, process: usize) {
        let (now, Some(dying)) = (self.nature.now(), self.processes.get_mut(process.wrapping_sub(1))) else {
            return;
        };
        self.nature.trace.tell(now, &[&dying.name, "dies"]);
        self.executor.kill(process);
        let time = Duration::from_secs(self.nature.faults.amount(Fault::Crash, DEAD_MAX));
        dying.restarts_at = Some(now + time);
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
        let properties: Vec<&'a Property> =
            self.simulator.properties.iter().filter(|property| property.holds == holds).collect();
        if properties.is_empty() {
            return;
        }
        let shown: Vec<Result<(), String>> =
            self.with_world(|world| properties.iter().map(|property| property.check(world)).collect());
        for (property, shown) in properties.into_iter().zip(shown) {
            *self.run.tried.entry(property.name).or_default() += 1;
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
        self.run.violation.get_or_insert(Violation::in_the_end(property, detail));
    }

    fn with_world<T>(&self, see: impl FnOnce(&World<'_>) -> T) -> T {
        let (posted, book) = (self.clients.posted(), self.nature.ledger.book());
        let choreography = &self.simulator.choreography;
        see(&World::of(&self.nature.memory, &book, choreography, &posted, self.nature.now()))
    }

    /// Whether nothing is under way any longer, and all that has to hold in the end does.
    fn is_over(&mut self) -> bool {
        let progress = self.nature.ledger.progress();
        // Where nothing was done since, what was amiss is so still.
        if self.amiss_at != Some(progress) {
            if !self.clients.are_answered() || self.undrained().is_some() {
                self.settled_at = None;
                return false;
            }
            if self.amiss().is_none() {
                return true;
            }
            self.amiss_at = Some(progress);
        }
        let settled_at = *self.settled_at.get_or_insert(self.nature.now());
        settled_at + self.patience <= self.nature.now()
    }

    /// A queue or a stream that something waits in.
    fn undrained(&self) -> Option<String> {
        let ports = self.nature.memory.ports_ref();
        let steps = self.simulator.choreography.model().steps.iter();
        for (name, queue) in steps.filter_map(|step| ports.queues.get_key_value(&step.queue)) {
            let depth = queue.depth().now_or_never().and_then(Result::ok).unwrap_or_default();
            if depth.total() > 0 {
                return Some(format!("{} messages wait in {name}", depth.total()));
            }
        }
        let waits = |stream: &Arc<dyn crate::port::ChangeStream>| {
            let read = stream.read(1, Duration::ZERO).now_or_never().and_then(Result::ok);
            read.is_some_and(|records| !records.is_empty())
        };
        let waiting = ports.streams.iter().find(|(_, stream)| waits(stream));
        waiting.map(|(name, _)| format!("a record waits in the stream of {name}"))
    }

    /// What does not hold of all that has to in the end.
    fn amiss(&self) -> Option<Violation> {
        let violation = |property: &str, detail| Violation::in_the_end(property, detail);
        if let Some(id) = self.nature.ledger.unsent() {
            return Some(violation(SENT, id));
        }
        if let Some(untold) = untold_letter(&self.nature).or_else(|| self.unnotified()) {
            return Some(violation(TOLD, untold));
        }
        self.with_world(|world| {
            if let Some(not_one) = self.demo.as_deref().and_then(|demo| not_one_end(world, demo)) {
                return Some(not_one);
            }
            let properties = self.simulator.properties.iter();
            properties.filter(|property| property.holds == Holds::Eventually).find_map(|property| {
                property.check(world).err().map(|detail| violation(property.name, detail))
            })
        })
    }

    /// A notification that nobody got, and that is no dead letter either.
    fn unnotified(&self) -> Option<String> {
        // Mostly there is none at all.
        self.nature.ledger.unnotified(|_| false)?;
        let given_up = self.with_world(|world| {
            let queues = self.simulator.choreography.model().dead_letter_queues();
            let letters = queues.flat_map(|queue| world.messages(queue).into_owned());
            let alert = |letter: Message| {
                let envelope = Envelope::parse(&letter.body).ok()?;
                Some(named(&serde_json::from_str::<Alert>(envelope.data.get()).ok()?))
            };
            letters.filter_map(alert).collect::<BTreeSet<_>>()
        });
        let unnotified = self.nature.ledger.unnotified(|alert| given_up.contains(alert))?;
        Some(format!("nobody got the notification {unnotified}"))
    }

    /// What dead letters and trails show, once it is over.
    fn told_wrongly(&self) -> Option<Violation> {
        let violation = |property: &str, detail| Violation::in_the_end(property, detail);
        let panicked = self.with_world(|world| {
            let queues = self.simulator.choreography.model().dead_letter_queues();
            let mut letters = queues.flat_map(|queue| world.dead_letters(queue));
            let letter = letters.find(|letter| letter.reason == PANICKED)?;
            let cure = "tokio's timers, tasks and network are none of a simulation: use the ports of `Context` and of `Service`";
            let detail = letter.detail;
            Some(match detail.contains("Tokio") {
                true => violation(BY_PORTS, format!("{cure} ({detail})")),
                false => violation(NO_PANIC, detail),
            })
        });
        panicked
            .or_else(|| self.with_world(unexplained).map(|detail| violation(LETTERS, detail)))
            .or_else(|| self.unsent_letter().map(|detail| violation(LETTERS, detail)))
            .or_else(|| self.nature.ledger.untold().map(|detail| violation(TRAIL, detail)))
    }

    /// A dead letter of something that nobody sent.
    fn unsent_letter(&self) -> Option<String> {
        let queues = self.simulator.choreography.model().dead_letter_queues();
        let letters = self.with_world(|world| {
            queues.flat_map(|queue| world.messages(queue).into_owned()).collect::<Vec<_>>()
        });
        let letter = letters.into_iter().find(|letter| !self.nature.ledger.was_sent(&letter.body))?;
        Some(format!("nobody sent what a letter is of: {}", letter.body))
    }

    fn finish(mut self) -> Run {
        if self.run.violation.is_none() {
            let undrained = self.undrained();
            let drained = |detail: String| Violation::in_the_end(DRAINED, detail);
            // What is under way still may be why something else is amiss.
            let found = self.told_wrongly().or_else(|| undrained.map(drained));
            self.run.violation = found.or_else(|| self.amiss());
            self.check_all(Holds::Sometimes);
            let eventually = self.simulator.properties.iter();
            let eventually = eventually.filter(|property| property.holds == Holds::Eventually);
            let names = eventually.map(|property| property.name);
            for property in names.chain([ONE_END, DRAINED, NO_PANIC, SENT, TRAIL, LETTERS, ONE_OBJECT]) {
                *self.run.tried.entry(property).or_default() += 1;
            }
        }
        self.run.tried.extend(self.nature.ledger.tried());
        self.run.concerned = self.concerned();
        Run {
            trace_hash: self.nature.trace.hash(),
            faults: self.nature.faults.counts(),
            time: self.nature.now().since(BEGIN),
            posted: self.clients.posted().clone(),
            choices: self.tape.choices(),
            trace: self.nature.trace.text(),
            ..self.run
        }
    }

    /// The entity that the violation names by the longest id, and its relatives.
    fn concerned(&self) -> Option<(EntityView, Vec<EntityView>)> {
        let violation = self.run.violation.as_ref().filter(|_| self.options.is_kept)?;
        let (book, choreography) = (self.nature.ledger.book(), &self.simulator.choreography);
        let id = |key: &str| key.split_once('/').map_or_else(String::new, |(_, id)| id.to_owned());
        let named = book
            .entities
            .0
            .iter()
            .filter(|(key, _)| !id(key).is_empty() && violation.detail.contains(&id(key)));
        let (_, known) = named.max_by_key(|(key, _)| id(key).len())?;
        let entity = choreography.view(&known.item).ok()?;
        let related = entity.related.iter().filter_map(|(kind, id)| {
            let known = book.entities.0.get(&format!("{kind}/{id}"))?;
            choreography.view(&known.item).ok()
        });
        let related = related.collect();
        Some((entity, related))
    }

    /// Starts a process: its tasks over ports of its own.
    fn start(&mut self, process: usize) {
        let name = &self.processes[process].name;
        let is_earlier = self.simulator.earlier.is_some()
            && self.nature.strikes(Fault::Build, &self.nature.faults.place(name));
        let pipeline = self.pipeline(name, is_earlier);
        self.processes[process].is_earlier = is_earlier;
        let tasks = match &self.processes[process].part {
            Does::Part(part) => self.tasks.of(&pipeline, part),
            Does::Alarm(alarm) => {
                watching(&self.nature, &self.processes[process].name, alarm, pipeline.ports())
                    .into_iter()
                    .collect()
            }
        };
        for task in tasks {
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

    fn pipeline(&self, process: &str, is_earlier: bool) -> Pipeline {
        let mut ports: Ports = ports_of(&self.nature, process);
        let notifier =
            SimNotifier { nature: Arc::clone(&self.nature), place: self.nature.faults.place(process) };
        ports.services = ports.services.with::<dyn Notifier>(Arc::new(notifier));
        let earlier = self.simulator.earlier.as_ref().filter(|_| is_earlier);
        let choreography = earlier.unwrap_or(&self.simulator.choreography).clone();
        // It was seen that each service can be made.
        let ports = choreography.equip(ports.clone(), self.simulator.settings.clone()).unwrap_or(ports);
        match earlier {
            Some(_) => Pipeline::new(choreography, ports),
            None => self.known.over(ports),
        }
    }

    /// Clients, each of whom posts something at a time of its own until it is taken, and an operator.
    fn people(&mut self) {
        let at_work = self.pipeline("operator", false);
        let time = Duration::from_secs(self.options.minutes * 60);
        self.executor.spawn(CLIENTS, operator(&self.nature, at_work, BEGIN, time));
        if let Some(demo) = self.demo.clone() {
            let pipeline = self.pipeline("api", false);
            let clients = self.clients.start(&self.nature, demo, pipeline, self.options, BEGIN);
            self.executor.spawn(CLIENTS, clients);
        }
    }
}
