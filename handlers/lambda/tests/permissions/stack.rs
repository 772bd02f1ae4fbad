//! A system's functions on the peer, with the test in Lambda's part: it hands streams and queues to them until all is quiet.

use crate::{
    definition::told,
    function::Function,
    handed::{Stream, record},
    peer,
    server::{Server, response},
    watch::{Fault, Watch},
};
use quadrille::{
    Choreography,
    aws::Names,
    infrastructure::Infrastructure,
    port::{NewMessage, Ports, Receipt},
    system::{System, choreography},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How long until all is quiet, on any machine.
const BOUND: Duration = Duration::from_secs(120);

pub struct Stack {
    pub choreography: Choreography,
    pub watch: Watch,
    pub ports: Ports,
    functions: BTreeMap<String, Function>,
    streams: BTreeMap<String, Stream>,
    /// The first message that each step was handed, and the records that the relay was.
    pub handed: BTreeMap<String, String>,
    pub records: Vec<Value>,
    webhook_is_away: Arc<AtomicBool>,
    _servers: Vec<Server>,
}

impl Stack {
    pub async fn deploy(
        url: &str,
        system: &dyn System,
        binary: &'static str,
        settings: &[(&str, &str)],
    ) -> Self {
        let choreography = choreography(system).unwrap();
        let model = choreography.model();
        let config = peer::configuration(url).await;
        let names = peer::provision(model, &config).await;
        let ports = quadrille::aws::ports(model, &names, &config);
        let Names { tables, queues, buckets, topics, buses } = &names;
        let all = [tables, queues, buckets, topics, buses].into_iter().flatten();
        let by_physical = all.map(|(name, physical)| (physical.clone(), name.clone())).collect();
        let webhook_is_away = Arc::new(AtomicBool::new(false));
        let away = Arc::clone(&webhook_is_away);
        let webhook = Server::start(move |_| {
            std::future::ready(Some(response(if away.load(Ordering::Relaxed) { 500 } else { 200 }, "ok")))
        })
        .await;
        let watch = Watch::new(url, by_physical, format!("http://{}/hook", webhook.address));
        watch.situation("starts", Fault::None);
        let (mut functions, mut servers) = (BTreeMap::new(), vec![webhook]);
        for name in Infrastructure::functions(model) {
            let endpoint = watch.endpoint(&name).await;
            let mut variables: BTreeMap<String, String> = told(model, &name, &names).into_iter().collect();
            for setting in model.settings_of(&name) {
                let variable = setting.function_variable();
                if setting.is_secret {
                    variables.insert(variable, setting.name.clone());
                } else if let Some((_, value)) = settings.iter().find(|(of, _)| *of == setting.name) {
                    variables.insert(variable, (*value).to_owned());
                }
            }
            variables.insert("AWS_ENDPOINT_URL".to_owned(), format!("http://{}", endpoint.address));
            functions.insert(name.clone(), Function::start_of(binary, &name, &variables).await);
            servers.push(endpoint);
        }
        let peer = url.strip_prefix("http://").unwrap();
        let mut streams = BTreeMap::new();
        for (table, physical) in &names.tables {
            streams.insert(table.clone(), Stream::of(peer, physical).await);
        }
        Self {
            watch,
            ports,
            functions,
            streams,
            handed: BTreeMap::new(),
            records: Vec::new(),
            webhook_is_away,
            _servers: servers,
            choreography,
        }
    }

    pub fn webhook_is_away(&self, away: bool) {
        self.webhook_is_away.store(away, Ordering::Relaxed);
    }

    /// The names of all functions.
    pub fn functions(&self) -> Vec<String> {
        self.functions.keys().cloned().collect()
    }

    pub async fn invoke(&mut self, function: &str, event: &Value) -> Value {
        self.functions.get_mut(function).unwrap().invoke(event).await.unwrap()
    }

    /// Sends a message to the queue of a step, as others would.
    pub async fn send(&self, queue: &str, body: &str) {
        let message = NewMessage { body: body.to_owned(), ..NewMessage::default() };
        self.ports.queue(queue).unwrap().send(vec![message]).await.remove(0).unwrap();
    }

    /// Works on until no stream and no queue has anything.
    pub async fn settle(&mut self) {
        self.settle_without(None).await;
    }

    /// Works on until no stream and no queue has anything, but for what waits for the step `held`.
    pub async fn settle_without(&mut self, held: Option<&str>) {
        let began = Instant::now();
        loop {
            let mut is_quiet = !self.work_streams().await;
            let steps = self.choreography.model().steps.clone();
            for step in steps.iter().filter(|step| held != Some(step.name.as_str())) {
                let depth = self.ports.queue(&step.queue).unwrap().depth().await.unwrap();
                is_quiet &= depth.total() == 0;
                // What waits for its backoff comes with the others: together it is a batch.
                if depth.in_flight + depth.delayed == 0 {
                    self.work(&step.name).await;
                }
            }
            if is_quiet {
                return;
            }
            assert!(began.elapsed() < BOUND, "not quiet within {BOUND:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Hands a step what its queue has now; whether that was anything.
    pub async fn work(&mut self, step: &str) -> bool {
        self.work_at(step, None).await
    }

    /// Waits for a message of a step, and hands it over as its last attempt, while tables and buckets are away. So it is given up.
    pub async fn give_up(&mut self, step: &str, situation: &'static str) {
        self.watch.situation(situation, Fault::Away);
        let attempts = self.choreography.model().step(step).unwrap().attempts;
        let began = Instant::now();
        while !self.work_at(step, Some(attempts)).await {
            assert!(began.elapsed() < BOUND, "{step} has had no message for {BOUND:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Hands a step what its queue has now, as the attempt `attempt` where that is given.
    async fn work_at(&mut self, step: &str, attempt: Option<u32>) -> bool {
        let step = self.choreography.model().step(step).unwrap().clone();
        let queue = Arc::clone(self.ports.queue(&step.queue).unwrap());
        let mut messages = queue.receive(step.batch.min(100), Duration::ZERO, None).await.unwrap();
        for message in &mut messages {
            message.receive_count = attempt.unwrap_or(message.receive_count);
        }
        let Some(first) = messages.first() else { return false };
        self.handed.entry(step.name.clone()).or_insert_with(|| first.body.clone());
        let records: Vec<Value> = messages.iter().map(record).collect();
        let answer = self.invoke(&step.name, &json!({ "Records": records })).await;
        let failed: BTreeSet<&str> = answer["batchItemFailures"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|failure| failure["itemIdentifier"].as_str())
            .collect();
        let done = messages.iter().filter(|message| !failed.contains(message.id.as_str()));
        let done: Vec<Receipt> = done.map(|message| message.receipt.clone()).collect();
        queue.delete(&done).await.unwrap();
        true
    }

    async fn work_streams(&mut self) -> bool {
        let mut worked = false;
        for table in self.streams.keys().cloned().collect::<Vec<_>>() {
            let records = self.streams.get_mut(&table).unwrap().relayed().await;
            if records.is_empty() {
                continue;
            }
            worked = true;
            self.records.extend(records.iter().cloned());
            let steps = self.choreography.model().steps.iter();
            let readers = steps.filter(|step| step.stream() == Some(&table)).map(|step| step.name.clone());
            let relay = self.functions.contains_key("relay").then(|| "relay".to_owned());
            for reader in relay.into_iter().chain(readers).collect::<Vec<_>>() {
                self.invoke(&reader, &json!({ "Records": records })).await;
            }
        }
        worked
    }
}
