//! The infrastructure that a choreography needs, as a Pulumi YAML program.
//!
//! [`Infrastructure`] derives it from the definition: every table, queue, bucket, topic, function, permission, alarm and
//! schedule, for each follows from what the definition says. What the definition can't know, the variables of a system's
//! own and its secrets, is added to it. The text is meant to be committed and read; a test holds it to the code.
//!
//! ```
//! use quadrille::{Choreography, infrastructure::{Infrastructure, InfrastructureError, Stack}};
//!
//! fn program(choreography: &Choreography) -> Result<String, InfrastructureError> {
//!     let development = Stack::new("dev", "Where changes are tried.").set("alarmEmail", "team@example.org");
//!     let files = Infrastructure::of(choreography).stack(development).render()?;
//!     Ok(files.into_iter().find(|file| file.name == "Pulumi.yaml").map(|file| file.text).unwrap_or_default())
//! }
//! ```
//!
//! # What it is built for
//!
//! Pulumi's YAML runtime, and version [`PROVIDER_VERSION`] of its AWS provider, which the program pins. Functions are taken
//! from `packages/<function>.zip` beside the program.

mod actions;
mod deployment;
mod entry;
mod function;
pub(crate) mod keys;
mod observe;
mod permissions;
mod program;
mod settings;
mod state;
mod yaml;

pub use deployment::{DeployedTo, POLICY_BYTES_MAX, Rights, wide};
pub use settings::ConfigValue;

use crate::{
    choreography::Choreography,
    metrics::Metric,
    model::{Destination, Model, OutletTarget, RouteModel, Source, StepModel, TableModel},
    needs::Needs,
};
use program::{Options, Program, logical, reference};
use settings::ConfigKey;
use state::Feeder;
use std::collections::{BTreeMap, BTreeSet};
use yaml::{Map, call};

/// The version of Pulumi's AWS provider that a program pins: with another, properties may be others.
pub const PROVIDER_VERSION: &str = "7.51.1";

/// Longest name of a stack: 24 bytes. Ours: what is left for it in the 64 bytes of a Lambda function's name.
pub const STACK_BYTES_MAX: usize = 24;

/// Longest name of a function, a role or a schedule: 64 bytes (Lambda, IAM, EventBridge Scheduler).
const NAME_BYTES_MAX: usize = 64;

/// Longest name of a queue: 80 bytes (SQS).
const QUEUE_NAME_BYTES_MAX: usize = 80;

/// Longest name of a bucket: 63 bytes (S3).
const BUCKET_NAME_BYTES_MAX: usize = 63;

/// An account's number: 12 digits.
const ACCOUNT_BYTES: usize = 12;

/// The function that sends committed events on.
pub const RELAY: &str = function::RELAY;

/// Why there is no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InfrastructureError {
    /// Names that differ in `-`, `_` and capitals alone would be one resource, or one of the program's own.
    #[error("names_alike: {0:?} would name two resources of the program: rename one in the definition")]
    NamesAlike(Vec<String>),
    /// A name that AWS would refuse, with the system's name and that of a stack before it.
    #[error(
        "name_too_long: {name:?} is of {bytes} bytes with the names of system and stack, AWS takes {limit}: shorten one of them"
    )]
    NameTooLong {
        /// The name.
        name: String,
        /// What it comes to, with a stack's name of [`STACK_BYTES_MAX`].
        bytes: usize,
        /// What AWS takes.
        limit: usize,
    },
    /// Options for a function that the choreography has not.
    #[error("no_such_function: there are options for {0:?}, which is no step and no route: mend the name")]
    NoSuchFunction(String),
    /// A stack does not set what has no default.
    #[error("setting_missing: the stack {stack:?} has to set {setting:?}, which has no default")]
    SettingMissing {
        /// The stack.
        stack: String,
        /// The setting.
        setting: String,
    },
    /// A stack sets what the program does not have.
    #[error(
        "no_such_setting: the stack {stack:?} sets {setting:?}, which the program has not: mend the name"
    )]
    NoSuchSetting {
        /// The stack.
        stack: String,
        /// The setting.
        setting: String,
    },
    /// A resource of a type for which nobody knows what it takes to deploy it.
    #[error(
        "no_rights_known: {resource:?} is a {kind}, and it is not known what deploying one takes: add it to the kinds"
    )]
    NoRightsKnown {
        /// The resource's name in the program.
        resource: String,
        /// Its type.
        kind: String,
    },
    /// The name of a resource follows from what is not known before it is deployed.
    #[error(
        "name_unknown: the name of {resource:?} follows from {reference:?}, which the stack does not tell"
    )]
    NameUnknown {
        /// The resource's name in the program.
        resource: String,
        /// What is not known.
        reference: String,
    },
    /// The scheduler can put the scheduled time into a text in one form alone.
    #[error(
        "scheduled_time: the event of schedule {schedule:?} has to hold the scheduled time as `Timestamp` writes it, and \
         nothing else that changes with it"
    )]
    ScheduledTime {
        /// The schedule.
        schedule: String,
    },
}

/// A file of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, in the program's folder.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// A stack: where the program is deployed to, and what is set for it.
#[derive(Clone, Debug)]
pub struct Stack {
    name: String,
    about: String,
    values: Vec<(String, ConfigValue)>,
    is_disposable: bool,
}

impl Stack {
    /// The stack `name`; `about` says what it is for.
    pub fn new(name: impl Into<String>, about: impl Into<String>) -> Self {
        Self { name: name.into(), about: about.into(), values: Vec::new(), is_disposable: false }
    }

    /// Sets a key of the configuration for it: one that every program has, or a [setting](crate::Setting) by its
    /// [key](crate::setting::SettingModel::key).
    #[must_use]
    pub fn set(mut self, setting: impl Into<String>, value: impl Into<ConfigValue>) -> Self {
        self.values.push((setting.into(), value.into()));
        self
    }

    /// A stack that may be removed with all that is in it, and that keeps little: for trials and tests.
    pub fn disposable(name: impl Into<String>, about: impl Into<String>) -> Self {
        Self { is_disposable: true, ..Self::new(name, about) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it sets, by the key of the configuration.
    pub fn values(&self) -> impl Iterator<Item = (&str, &ConfigValue)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    fn sets(&self, key: &str) -> bool {
        self.values.iter().any(|(set, _)| set == key)
    }

    fn text(&self, project: &str, settings: &[ConfigKey]) -> String {
        let disposable = settings::disposable().into_iter().filter(|(key, _)| {
            self.is_disposable && settings.iter().any(|setting| setting.name() == key) && !self.sets(key)
        });
        let values = self.values.iter().cloned().chain(disposable);
        let values = values.fold(Map::new(), |map, (key, value)| map.with(format!("{project}:{key}"), value));
        yaml::document(&Map::new().comment(&self.about).with("config", values))
    }
}

/// What a function has beyond what the definition says of it.
#[derive(Clone, Debug, Default)]
pub struct FunctionOptions {
    metrics: Vec<Metric>,
}

impl FunctionOptions {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows `metrics`, which the handler measures, in the function's row of the dashboard.
    #[must_use]
    pub fn metrics(mut self, metrics: impl IntoIterator<Item = Metric>) -> Self {
        self.metrics.extend(metrics);
        self
    }
}

/// The infrastructure of a choreography.
#[derive(Clone, Debug)]
pub struct Infrastructure<'a> {
    choreography: &'a Choreography,
    functions: BTreeMap<String, FunctionOptions>,
    stacks: Vec<Stack>,
    key_alias: Option<String>,
}

impl<'a> Infrastructure<'a> {
    /// Of `choreography`, with nothing added.
    pub fn of(choreography: &'a Choreography) -> Self {
        Self { choreography, functions: BTreeMap::new(), stacks: Vec::new(), key_alias: None }
    }

    /// What the function of a step or a route has beyond the definition.
    #[must_use]
    pub fn function(mut self, name: impl Into<String>, options: FunctionOptions) -> Self {
        self.functions.insert(name.into(), options);
        self
    }

    /// The alias of the key that everything is encrypted with, where that can't be `<choreography>-<stack>`. There is then one
    /// stack an account and region.
    #[must_use]
    pub fn key_alias(mut self, name: impl Into<String>) -> Self {
        self.key_alias = Some(name.into());
        self
    }

    /// Adds a stack.
    #[must_use]
    pub fn stack(mut self, stack: Stack) -> Self {
        self.stacks.push(stack);
        self
    }

    /// Its stacks.
    pub fn stacks(&self) -> &[Stack] {
        &self.stacks
    }

    /// Whether a stack may set this key of the configuration.
    pub fn has_key(&self, key: &str) -> bool {
        settings::of(self.choreography.model()).iter().any(|known| known.name() == key)
    }

    /// The names of the functions, in the order of the flow. All are run by one package, `<choreography>.zip`.
    pub fn functions(model: &Model) -> Vec<String> {
        let routes = model.routes.iter().map(|route| route.step.clone());
        let relay = (!relayed_tables(model).is_empty()).then(|| RELAY.to_owned());
        routes.chain(relay).chain(model.steps.iter().map(|step| step.name.clone())).collect()
    }

    /// The program: `Pulumi.yaml`, and `Pulumi.<stack>.yaml` for each stack.
    ///
    /// # Errors
    /// [`InfrastructureError`]: what was added does not fit the choreography, or each other.
    pub fn render(&self) -> Result<Vec<File>, InfrastructureError> {
        let model = &**self.choreography.model();
        let settings = settings::of(model);
        self.check(model, &settings)?;
        let mut program = Program::default();
        self.resources(&mut program, model)?;
        let own = ["caller", "prefix"];
        let taken = program.taken(settings.iter().map(ConfigKey::name).chain(own));
        let alike: Vec<String> = program.doubles().cloned().chain(taken).collect();
        if !alike.is_empty() {
            return Err(InfrastructureError::NamesAlike(alike));
        }
        let project = format!("quadrille-{}", model.name);
        let head = self.head(model, &project, &settings);
        let text = program.text(head, outputs(model));
        let mut files = vec![File { name: "Pulumi.yaml".into(), text }];
        files.extend(self.stacks.iter().map(|stack| File {
            name: format!("Pulumi.{}.yaml", stack.name),
            text: stack.text(&project, &settings),
        }));
        Ok(files)
    }

    /// What it takes to deploy the program there: to apply it, apply it again, refresh it and remove it, and nothing else.
    ///
    /// # Errors
    /// [`InfrastructureError`]: as [`render`](Self::render), and where a resource's type or name is not known.
    pub fn deployment(&self, to: &DeployedTo) -> Result<Rights, InfrastructureError> {
        let model = &**self.choreography.model();
        let settings = settings::of(model);
        self.check(model, &settings)?;
        let mut program = Program::default();
        self.resources(&mut program, model)?;
        let stack = self.stacks.iter().find(|stack| stack.name == to.stack);
        let values = stack.into_iter().flat_map(|stack| &stack.values);
        let values = values.map(|(key, value)| (key.clone(), value.text())).collect();
        deployment::of(&program, model, &settings, values, to)
    }

    fn check(&self, model: &Model, settings: &[ConfigKey]) -> Result<(), InfrastructureError> {
        let functions = Self::functions(model);
        if let Some(name) = self.functions.keys().find(|name| !functions.contains(name)) {
            return Err(InfrastructureError::NoSuchFunction(name.clone()));
        }
        names_fit(model)?;
        for stack in &self.stacks {
            if stack.name.len() > STACK_BYTES_MAX {
                let (name, bytes) = (stack.name.clone(), stack.name.len());
                return Err(InfrastructureError::NameTooLong { name, bytes, limit: STACK_BYTES_MAX });
            }
            if let Some(missing) =
                settings.iter().find(|setting| setting.is_required() && !stack.sets(setting.name()))
            {
                let (stack, setting) = (stack.name.clone(), missing.name().to_owned());
                return Err(InfrastructureError::SettingMissing { stack, setting });
            }
            let known = |name: &str| settings.iter().any(|setting| setting.name() == name);
            if let Some((unknown, _)) = stack.values.iter().find(|(key, _)| !known(key)) {
                let (stack, setting) = (stack.name.clone(), unknown.clone());
                return Err(InfrastructureError::NoSuchSetting { stack, setting });
            }
        }
        Ok(())
    }

    /// All resources, in the order of the flow.
    fn resources(&self, program: &mut Program, model: &Model) -> Result<(), InfrastructureError> {
        let tables = relayed_tables(model);
        program.section("The provider, and the key that everything is encrypted with.");
        provider(program, &model.name);
        state::key(program, &model.name, self.key_alias.as_deref());
        for secret in settings::needed(model).filter(|setting| setting.is_secret) {
            state::secret(program, secret);
        }
        for table in &model.tables {
            let is_read = model.steps.iter().any(|step| step.stream() == Some(&table.name));
            program.section(&table_heading(model, table));
            state::table(program, table, tables.contains(&&table.name) || is_read);
        }
        routes(program, model);
        if !tables.is_empty() {
            program.section(&relay_heading(model));
            state::failures_queue(program, function::RELAY_FAILURES);
            function::relay(program, model, &tables);
        }
        for topic in &model.topics {
            program.section(&topic_heading(model, &topic.name));
            let is_alarmed = model.alarms.iter().any(|alarm| alarm.topic == topic.name);
            state::topic(program, topic, is_alarmed);
        }
        for bus in model.buses.iter().filter(|bus| !bus.is_outside) {
            program.section(&bus_heading(model, &bus.name));
            state::bus(program, bus);
        }
        let mut refused = BTreeSet::new();
        for outlet in &model.outlets {
            if refused.insert(&outlet.dead_letter_queue) {
                program.section(&outlet_heading(outlet.to.name(), &outlet.to));
                state::outlet_dead_letters(program, model, &outlet.dead_letter_queue);
            }
        }
        self.steps(program, model)?;
        program.section("Alarms. Each says what it means.");
        observe::alarms(program, model, !tables.is_empty());
        program.section("For people: the dashboard, and the names that an operator's command goes by.");
        let relay = tables.first().map(|table| table.as_str());
        observe::dashboard(program, model, relay, &self.functions);
        state::parameter(program, model);
        Ok(())
    }

    /// Each step with what it alone needs: its queue, what fills that, its buckets, its function. Then the other buckets.
    fn steps(&self, program: &mut Program, model: &Model) -> Result<(), InfrastructureError> {
        let (mut schedules, mut buckets) = (BTreeSet::new(), BTreeSet::new());
        for step in &model.steps {
            program.section(&step_heading(model, step));
            for schedule in entry::of_queue(model, &step.queue) {
                if schedules.insert(&schedule.name) {
                    entry::schedule(program, self.choreography, schedule)?;
                }
            }
            if let Some(queue) = model.queue(&step.queue) {
                state::queue(program, model, queue, Feeder::of(step).as_ref());
            }
            if let Some((bus, rule)) = step.bus() {
                state::bus_rule(program, model, step, bus, rule);
            }
            if let Some(topic) = step.topic() {
                state::subscription(program, model, topic, &step.queue);
            }
            for bucket in Needs::of_step(model, &step.name).unwrap_or_default().buckets.into_keys() {
                if !buckets.contains(&bucket) {
                    state::bucket(program, &bucket);
                    buckets.insert(bucket);
                }
            }
            function::of_step(program, model, step);
        }
        for bucket in model.buckets.iter().filter(|bucket| !buckets.contains(&bucket.name)) {
            program.section(&format!("Bucket {}.", bucket.name));
            state::bucket(program, &bucket.name);
        }
        Ok(())
    }

    fn head(&self, model: &Model, project: &str, settings: &[ConfigKey]) -> Map {
        let mut head = Map::new().comment(format!(
            "Derived from the choreography {name:?} by the command `infra render`: change the definition, not this file.\n\n\
             The flow, in whose order it is written:\n\n{flow}\n ",
            name = model.name,
            flow = self.choreography.to_text()
        ));
        head = head
            .with("name", project)
            .with("runtime", "yaml")
            .with("description", format!("The choreography {} on AWS Lambda", model.name));
        head.blank();
        head.put("config", settings::config(settings));
        head.blank();
        let caller = Map::new().with("function", "aws:getCallerIdentity").with("arguments", Map::new());
        let variables = Map::new()
            .with("caller", call("invoke", caller))
            .comment("before every name that is the account's and not the world's")
            .with("prefix", format!("{}-{}", model.name, reference("pulumi.stack")));
        let variables =
            model.queues.iter().filter(|queue| queue.is_outside).fold(variables, |variables, queue| {
                let name = reference(&settings::outside(&queue.name));
                let queue_of_others = Map::new()
                    .with("function", "aws:sqs:getQueue")
                    .with("arguments", Map::new().with("name", name));
                variables.with(logical(&queue.name, "Queue"), call("invoke", queue_of_others))
            });
        let variables = model.buses.iter().filter(|bus| bus.is_outside).fold(variables, |variables, bus| {
            let name = bus.physical.as_ref().unwrap_or(&bus.name);
            let bus_of_others = Map::new()
                .with("function", "aws:cloudwatch:getEventBus")
                .with("arguments", Map::new().with("name", name));
            variables.with(logical(&bus.name, "Bus"), call("invoke", bus_of_others))
        });
        head.put("variables", variables);
        head
    }
}

/// Whether all names are short enough for AWS, with the longest name of a stack.
fn names_fit(model: &Model) -> Result<(), InfrastructureError> {
    let prefix = model.name.len() + 1 + STACK_BYTES_MAX + 1;
    let schedules = model.schedules.iter().map(entry::role_name);
    let ours = |queue: &&crate::model::QueueModel| !queue.is_outside;
    // A role has the name of its step, a function may keep another.
    let short = Infrastructure::functions(model).into_iter().chain(schedules);
    let short = short.map(|name| (prefix + name.len(), NAME_BYTES_MAX, name));
    let kept = |name: &Option<String>, limit| name.clone().map(|name| (name.len(), limit, name));
    let functions = model.routes.iter().map(|route| &route.physical);
    let functions = functions.chain(model.steps.iter().map(|step| &step.physical));
    let short = short.chain(functions.filter_map(|name| kept(name, NAME_BYTES_MAX)));
    let queues = model.queues.iter().filter(ours).map(|queue| {
        let derived = || (prefix + queue.name.len(), QUEUE_NAME_BYTES_MAX, queue.name.clone());
        kept(&queue.physical, QUEUE_NAME_BYTES_MAX).unwrap_or_else(derived)
    });
    let after = 1 + STACK_BYTES_MAX + 1 + ACCOUNT_BYTES;
    let buckets = model.buckets.iter().map(|bucket| bucket.name.clone());
    let buckets = buckets.map(|name| (name.len() + after, BUCKET_NAME_BYTES_MAX, name));
    match short.chain(queues).chain(buckets).find(|(bytes, limit, _)| bytes > limit) {
        Some((bytes, limit, name)) => Err(InfrastructureError::NameTooLong { name, bytes, limit }),
        None => Ok(()),
    }
}

/// The tables whose stream has something to relay: those that hold entities whose handlers emit, unless steps take all of it
/// from streams themselves. Which handler commits what it emits with which entity is not declared, so that it is all tables
/// or none.
fn relayed_tables(model: &Model) -> Vec<&String> {
    let emits =
        model.steps.iter().map(|step| &step.emits).chain(model.routes.iter().map(|route| &route.emits));
    let mut destinations = emits.flatten().flat_map(|event_type| model.destinations(event_type));
    if destinations.any(|destination| !matches!(destination, Destination::Stream { .. })) {
        model.tables.iter().map(|table| &table.name).collect()
    } else {
        Vec::new()
    }
}

/// The API, where a route has a path, and the function of each route.
fn routes(program: &mut Program, model: &Model) {
    let of_api = || model.routes.iter().filter(|route| route.path.is_some());
    if of_api().next().is_some() {
        program.section("Requests come in by the API.");
        entry::api(program, &model.name);
    }
    // Health is that a request can be taken: a function that commits tells it, where there is one.
    let commits = |route: &&RouteModel| {
        model.tables_of(&route.step).values().any(|uses| uses.iter().any(|used| used.is_commit()))
    };
    let healthy = of_api().find(commits).or(of_api().next()).map(|route| &route.step);
    for route in &model.routes {
        program.section(&format!("{}: {}", route.address(), route.step));
        function::of_route(program, model, route);
        if let Some(path) = &route.path {
            entry::route(program, route, path, healthy == Some(&route.step));
        }
    }
}

fn provider(program: &mut Program, system: &str) {
    let tags = Map::new().with("system", system).with("stack", reference("pulumi.stack"));
    let properties = Map::new()
        .with("region", reference(settings::REGION))
        .with("defaultTags", Map::new().with("tags", tags));
    program.resource("aws", "pulumi:providers:aws", properties, Options::version(PROVIDER_VERSION));
}

fn outputs(model: &Model) -> Map {
    let mut outputs = Map::new();
    if model.routes.iter().any(|route| route.path.is_some()) {
        outputs.put("api", reference("api.apiEndpoint"));
    }
    let buses = state::listed(model.buses.iter().map(|bus| &bus.name), "Bus", "name");
    let mut outputs = outputs
        .with("queues", state::listed(model.queues.iter().map(|queue| &queue.name), "Queue", "url"))
        .with("tables", state::listed(model.tables.iter().map(|table| &table.name), "Table", "name"))
        .with("buckets", state::listed(model.buckets.iter().map(|bucket| &bucket.name), "Bucket", "bucket"))
        .with("topics", state::listed(model.topics.iter().map(|topic| &topic.name), "Topic", "arn"));
    if !model.buses.is_empty() {
        outputs.put("buses", buses);
    }
    outputs.with("dashboard", reference("dashboard.dashboardName")).with("parameter", reference("names.name"))
}

fn relay_heading(model: &Model) -> String {
    let needs = Needs::of_relay(model);
    let is_source = |queue: &&String| model.redrive_target(queue).is_none();
    let queues = needs.queues.keys().filter(is_source);
    let targets: Vec<&str> =
        queues.chain(needs.topics.keys()).chain(needs.buses.keys()).map(String::as_str).collect();
    format!("Change stream: relay sends committed events on, to {}.", targets.join(", "))
}

fn table_heading(model: &Model, table: &TableModel) -> String {
    let readers = model.steps.iter().filter(|step| step.stream() == Some(&table.name));
    let readers: Vec<&str> = readers.map(|step| step.name.as_str()).collect();
    let told = match (readers.is_empty(), relayed_tables(model).is_empty()) {
        (true, _) => "What its stream tells, the relay sends on.".to_owned(),
        (false, true) => format!("What its stream tells, {} consumes.", readers.join(", ")),
        (false, false) => {
            format!("What its stream tells, {} consumes, or the relay sends on.", readers.join(", "))
        }
    };
    format!("Table {}: {}. {told}", table.name, table.kinds.join(", "))
}

fn topic_heading(model: &Model, topic: &str) -> String {
    format!("Topic {topic}.{}", told(model, |step| step.topic() == Some(topic)))
}

fn bus_heading(model: &Model, bus: &str) -> String {
    format!("Event bus {bus}.{}", told(model, |step| step.bus().is_some_and(|(of, _)| of == bus)))
}

/// The steps that are told by what the heading names.
fn told(model: &Model, is_told: impl Fn(&StepModel) -> bool) -> String {
    let steps = model.steps.iter().filter(|step| is_told(step));
    let names: Vec<&str> = steps.map(|step| step.name.as_str()).collect();
    if names.is_empty() { String::new() } else { format!(" It tells {}.", names.join(", ")) }
}

fn outlet_heading(name: &str, to: &OutletTarget) -> String {
    match to {
        OutletTarget::Topic(_) => format!("What the topic {name} refuses for good."),
        OutletTarget::Bus(_) => format!("What the event bus {name} refuses for good."),
        OutletTarget::Queue(_) => format!("What {name}, a queue of others, refuses for good."),
    }
}

fn step_heading(model: &Model, step: &StepModel) -> String {
    let mut sources: Vec<String> = entry::of_queue(model, &step.queue)
        .map(|schedule| format!("the schedule {}", schedule.name))
        .collect();
    match &step.source {
        Source::Topic(topic) => sources.push(format!("the topic {topic}")),
        Source::Bus { bus, .. } => sources.push(format!("the event bus {bus}")),
        Source::Stream(table) => {
            sources.push(format!("the stream of {table}, which does not go by the queue"))
        }
        Source::Outside(_) => sources.push("others".into()),
        Source::Events if model.emitted().contains(step.event_type.as_str()) => {
            sources.push("the relay".into());
        }
        Source::Events => {}
    }
    let dead = model.queue(&step.queue).and_then(|queue| queue.redrive.as_ref());
    let dead = dead
        .map(|redrive| format!("; what it gives up, to {}", redrive.dead_letter_queue))
        .unwrap_or_default();
    format!("{}: fed by {}. {} consumes it{dead}.", step.queue, sources.join(" and "), step.name)
}
