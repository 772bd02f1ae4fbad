//! What an order of every system costs: its demonstration's orders, by the processes that Lambda would run, counted at the wire.

use crate::{
    definition::told,
    document,
    function::Function,
    handed::{Stream, record},
    meter::{Counts, Meter},
    peer,
    server::{Server, response},
};
use quadrille::{
    Choreography, System, Timestamp, TrailEntryKind,
    aws::Names,
    choreography::StepModel,
    infrastructure::{ConfigValue, Infrastructure, RELAY},
    port::{Clock as _, NewMessage, Ports, Receipt, SystemClock},
    setting::SettingModel,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    time::Duration,
};

/// Orders of each system: the peer is slow, and a function has half a minute for a batch of them.
const ORDERS: u32 = 40;

/// Records of a stream in one batch.
const RECORDS: usize = 100;

/// How long a message may be on its way.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// What the document has a column for.
const COLUMNS: [&str; 7] = [
    "DynamoDB table write units",
    "DynamoDB index write units",
    "DynamoDB read units",
    "DynamoDB requests",
    "SQS requests",
    "SNS and EventBridge requests",
    "Lambda requests",
];

/// The system, and the binary of its functions.
const SYSTEMS: [(&dyn System, &str); 4] = [
    (&systems::auction::Auction, env!("CARGO_BIN_EXE_auction-functions")),
    (&systems::snacks::Snacks, env!("CARGO_BIN_EXE_snacks-functions")),
    (&systems::orders::Orders, env!("CARGO_BIN_EXE_orders-functions")),
    (&systems::checkout::Checkout, env!("CARGO_BIN_EXE_checkout-functions")),
];

/// A system on the peer, and Lambda's part.
struct Deployed<'a> {
    choreography: &'a Choreography,
    binary: &'static str,
    names: Names,
    meter: Meter,
    variables: BTreeMap<String, String>,
    functions: BTreeMap<String, (Function, Server)>,
    charged: Ports,
    looking: Ports,
    streams: BTreeMap<String, Stream>,
    _endpoint: Server,
}

impl<'a> Deployed<'a> {
    async fn new(
        url: &str,
        choreography: &'a Choreography,
        binary: &'static str,
        variables: BTreeMap<String, String>,
    ) -> Self {
        let model = choreography.model();
        let config = peer::configuration(url).await;
        let names = peer::provision(model, &config).await;
        // A bucket that only a service uses stands for something that is not AWS.
        let own = |bucket: &str| {
            model
                .handlers()
                .any(|step| model.uses_of(step).is_some_and(|uses| uses.buckets().contains_key(bucket)))
        };
        let foreign = model.buckets.iter().find(|bucket| !own(&bucket.name));
        let meter = Meter::new(url, foreign.map_or("none", |bucket| &names.buckets[&bucket.name]));
        let keys = model
            .tables
            .iter()
            .filter_map(|table| Some((names.tables[&table.name].clone(), table.key_attribute.clone()?)));
        meter.know_keys(keys);
        let endpoint = meter.endpoint("Lambda's poller").await;
        let charged = peer::configuration(&format!("http://{}", endpoint.address)).await;
        let peer = url.strip_prefix("http://").unwrap().to_owned();
        let mut streams = BTreeMap::new();
        for table in &model.tables {
            streams.insert(table.name.clone(), Stream::of(&peer, &names.tables[&table.name]).await);
        }
        Self {
            charged: quadrille::aws::ports(model, &names, &charged),
            looking: quadrille::aws::ports(model, &names, &config),
            choreography,
            binary,
            names,
            meter,
            variables,
            functions: BTreeMap::new(),
            streams,
            _endpoint: endpoint,
        }
    }

    async fn invoke(&mut self, name: &str, event: &Value) -> Value {
        if !self.functions.contains_key(name) {
            let endpoint = self.meter.endpoint(name).await;
            let mut variables = self.variables.clone();
            variables.extend(told(self.choreography.model(), name, &self.names));
            variables.insert("AWS_ENDPOINT_URL".to_owned(), format!("http://{}", endpoint.address));
            let function = Function::start_of(self.binary, name, &variables).await;
            self.functions.insert(name.to_owned(), (function, endpoint));
        }
        self.meter.add(name, "Lambda requests", 1.0);
        self.functions.get_mut(name).unwrap().0.invoke(event).await.unwrap()
    }

    /// Hands on what the streams have. Whether that was anything.
    async fn relay(&mut self) -> bool {
        let mut found = false;
        for table in &self.choreography.model().tables {
            let records = self.streams.get_mut(&table.name).unwrap().relayed().await;
            // Each reader gets all that the filter lets through, and sends or works what is its own.
            let model = self.choreography.model();
            let steps = model.steps.iter().filter(|step| step.stream() == Some(&table.name));
            let relay = Infrastructure::functions(model).into_iter().filter(|name| name == RELAY);
            let readers: Vec<String> = steps.map(|step| step.name.clone()).chain(relay).collect();
            for batch in records.chunks(RECORDS) {
                found = true;
                for reader in &readers {
                    let answer = self.invoke(reader, &json!({ "Records": batch })).await;
                    assert_eq!(answer, json!({ "batchItemFailures": [] }), "{reader}");
                }
            }
        }
        found
    }

    /// Hands the step what its queue has. Whether that was anything.
    async fn poll(&mut self, step: &StepModel) -> bool {
        let mut found = false;
        while self.looking.queue(&step.queue).unwrap().depth().await.unwrap().total() > 0 {
            found = true;
            let queue = self.charged.queue(&step.queue).unwrap().clone();
            let messages = queue.receive(step.batch, WAIT_MAX, None).await.unwrap();
            let records: Vec<Value> = messages.iter().map(record).collect();
            let answer = self.invoke(&step.name, &json!({ "Records": records })).await;
            // A message that failed comes again by itself.
            let failed = answer["batchItemFailures"].as_array().unwrap().iter();
            let failed: BTreeSet<&str> = failed.map(|one| one["itemIdentifier"].as_str().unwrap()).collect();
            let done = messages.iter().filter(|message| !failed.contains(message.id.as_str()));
            let done: Vec<Receipt> = done.map(|message| message.receipt.clone()).collect();
            queue.delete(&done).await.unwrap();
        }
        found
    }

    async fn trigger(&self, schedule: &str) {
        let now = Timestamp::from_millis(SystemClock.now().as_millis() / 1_000 * 1_000);
        let (queues, body) = self.choreography.scheduled_message(schedule, now).unwrap();
        for queue in queues {
            let message = NewMessage { body: body.clone(), ..NewMessage::default() };
            let sent = self.charged.queue(&queue).unwrap().send(vec![message]).await;
            assert!(sent.iter().all(Result::is_ok), "{sent:?}");
        }
    }
}

/// What a stack for trials sets, as the functions are told it.
fn trial(system: &dyn System, choreography: &Choreography) -> BTreeMap<String, String> {
    let infrastructure = system.infrastructure(Infrastructure::of(choreography));
    let stack = infrastructure.stacks().iter().find(|stack| stack.name() == "dev").unwrap();
    // Its words, such as `simulated`; its numbers make the demonstration fail here and there.
    let set: BTreeMap<&str, String> = stack
        .values()
        .filter_map(|(key, value)| match value {
            ConfigValue::Text(text) => Some((key, text.clone())),
            ConfigValue::Integer(_) | ConfigValue::Boolean(_) => None,
        })
        .collect();
    let settings = choreography.model().settings.iter().filter(|setting| !setting.is_secret);
    settings
        .filter_map(|setting| {
            let value = set.get(setting.key().as_str()).cloned().or_else(|| setting.default.clone())?;
            Some((setting.function_variable(), value))
        })
        .collect()
}

/// What an order uses.
async fn measure(url: &str, system: &dyn System, binary: &'static str) -> Counts {
    let choreography = quadrille::system::choreography(system).unwrap();
    let mut variables = trial(system, &choreography);
    // Waits are not charged: they are short.
    variables.extend([("QUADRILLE_BACKOFF".to_owned(), "200ms".to_owned())]);
    // The peer has no Secrets Manager: it has this one secret, whatever it is called.
    let secrets = Server::start(move |_| {
        let secret = json!({ "Name": "a-secret", "SecretString": "sesame" });
        std::future::ready(Some(response(200, secret.to_string())))
    })
    .await;
    let secret = |setting: &SettingModel| (setting.function_variable(), "a-secret".to_owned());
    variables.extend(choreography.model().settings.iter().filter(|setting| setting.is_secret).map(secret));
    variables.insert("AWS_ENDPOINT_URL_SECRETS_MANAGER".to_owned(), format!("http://{}", secrets.address));
    let mut deployed = Deployed::new(url, &choreography, binary, variables).await;
    let mut demo = system.demo().unwrap();
    demo.seed(1);
    let ids: Vec<String> =
        (0..ORDERS).map(|number| format!("7f8c1d2e-4b6a-4c3d-9e0f-{number:012}")).collect();
    for (step, body) in demo.before(&ids[0], ORDERS.into()) {
        deployed.invoke(step, &body).await;
    }
    // What is there before costs no order anything.
    while deployed.relay().await {}
    let before = sum(&deployed.meter);
    for ids in ids.chunks(demo.batch().min(100)) {
        deployed.invoke(demo.step(), &demo.body(ids)).await;
    }
    for schedule in demo.triggers() {
        deployed.trigger(schedule).await;
    }
    let model = choreography.model();
    let alarmed: BTreeSet<&str> = model.alarms.iter().map(|alarm| alarm.topic.as_str()).collect();
    let steps: Vec<&StepModel> =
        model.steps.iter().filter(|step| step.topic().is_none_or(|topic| !alarmed.contains(topic))).collect();
    loop {
        let mut moved = deployed.relay().await;
        for step in &steps {
            moved |= deployed.poll(step).await;
        }
        if !moved {
            break;
        }
    }
    let table = deployed.looking.table(model.table_of(demo.kind()).unwrap()).unwrap().clone();
    for id in &ids {
        let id = demo.entity(id).unwrap_or_else(|| id.clone());
        let item = table.get(&[format!("{}/{id}", demo.kind())]).await.unwrap().pop().flatten();
        let view = choreography.view(&item.unwrap_or_else(|| panic!("{id} is not there"))).unwrap();
        let last = view.trail.last().map(|entry| &entry.kind);
        let is_dead = matches!(last, Some(TrailEntryKind::DeadLettered { .. }));
        assert!(view.is_ended || is_dead, "{id} is {:?}: {last:?}", view.status);
    }
    let mut used = sum(&deployed.meter);
    for (what, count) in &mut used {
        *count = (*count - before.get(what).copied().unwrap_or(0.0)) / f64::from(ORDERS);
    }
    let count = |what: &str| used.get(what).copied().unwrap_or(0.0);
    let told = count("SNS requests") + count("EventBridge requests");
    used.insert("SNS and EventBridge requests".to_owned(), told);
    used
}

/// What all callers used.
fn sum(meter: &Meter) -> Counts {
    let mut sum = Counts::new();
    for (what, count) in meter.read().0.into_values().flatten() {
        *sum.entry(what).or_default() += count;
    }
    sum
}

#[tokio::test]
async fn an_order_of_every_system_costs_what_the_document_says() {
    let Some(url) = peer::require("the cost of an order of every system") else { return };
    let mut measured = BTreeMap::new();
    for (system, binary) in SYSTEMS {
        let used = measure(url, system, binary).await;
        // Not by a macro: what a test that passes prints is kept back.
        let _ = writeln!(std::io::stderr(), "{}: {used:#?}", system.name());
        measured.insert(system.name(), used);
    }
    document::check_systems(&measured, &COLUMNS);
}
