//! Lambda's part: it hands requests, messages and stream records to the functions, in the batches of the definition.

use crate::{
    definition::told,
    function::Function,
    handed::{Stream, dynamodb, record},
    meter::{Counts, Meter},
    peer,
    permissions::Done,
    server::Server,
};
use quadrille::{
    Choreography, Timestamp,
    aws::Names,
    layout,
    port::{Clock as _, Message, Ports, Receipt, SystemClock},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use systems::auction::{KICKOFF, results::RESULTS_BUCKET};

/// Records of the stream in one batch.
const RELAY_BATCH: usize = 100;
/// How long a message may be on its way.
const WAIT_MAX: Duration = Duration::from_secs(20);

pub struct Stack {
    choreography: Choreography,
    peer: String,
    names: Names,
    meter: Meter,
    functions: BTreeMap<&'static str, Function>,
    /// The ports of Lambda's poller and of the scheduler, whose calls are charged.
    charged: Ports,
    /// The same past the meter, to look.
    looking: Ports,
    stream: Stream,
    _endpoints: Vec<Server>,
}

impl Stack {
    pub async fn deploy(
        url: &str,
        choreography: Choreography,
        seed: u64,
        not_ready: u32,
        platform_bucket: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let model = choreography.model();
        let config = peer::configuration(url).await;
        let names = peer::provision(model, &config).await;
        let meter = Meter::new(url, &names.buckets[platform_bucket]);
        let mut variables = BTreeMap::from(
            [
                ("QUADRILLE_PLATFORM", "simulated".to_owned()),
                ("QUADRILLE_SEED", seed.to_string()),
                ("QUADRILLE_NOT_READY", not_ready.to_string()),
                ("QUADRILLE_BACKOFF", "200ms".to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        variables.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let (mut functions, mut endpoints) = (BTreeMap::new(), Vec::new());
        for name in ["post_orders", "poll_auction", "relay", "store_result"] {
            let endpoint = meter.endpoint(name).await;
            let mut variables = variables.clone();
            variables.extend(told(model, name, &names));
            variables.extend(peer::variables(&format!("http://{}", endpoint.address)));
            functions.insert(name, Function::start(name, &variables).await);
            endpoints.push(endpoint);
        }
        let endpoint = meter.endpoint("Lambda's poller").await;
        let charged = peer::configuration(&format!("http://{}", endpoint.address)).await;
        endpoints.push(endpoint);
        let peer = url.strip_prefix("http://").unwrap().to_owned();
        Self {
            stream: Stream::of(&peer, &names.tables["orders"]).await,
            peer,
            charged: quadrille::aws::ports(model, &names, &charged),
            looking: quadrille::aws::ports(model, &names, &config),
            names,
            meter,
            functions,
            _endpoints: endpoints,
            choreography,
        }
    }

    /// What was used, by caller, and the size of the largest order.
    pub fn used(&self) -> (BTreeMap<String, Counts>, usize) {
        self.meter.read()
    }

    /// What each function did.
    pub fn done(&self) -> BTreeMap<String, Done> {
        let Names { tables, queues, buckets, topics, buses } = &self.names;
        let logical: BTreeMap<&String, &String> = [tables, queues, buckets, topics, buses]
            .into_iter()
            .flatten()
            .map(|(name, physical)| (physical, name))
            .collect();
        let mut done: BTreeMap<String, Done> = BTreeMap::new();
        for (caller, action, on) in self.meter.calls() {
            if self.functions.contains_key(caller.as_str()) {
                let name = logical.get(&on).unwrap_or_else(|| panic!("{caller} did {action} on {on:?}"));
                done.entry(caller.clone()).or_default().insert((action, (*name).clone()));
            }
        }
        done
    }

    async fn invoke(&mut self, name: &'static str, event: &Value) -> Value {
        self.meter.add(name, "Lambda requests", 1.0);
        self.functions.get_mut(name).unwrap().invoke(event).await.unwrap()
    }

    pub async fn post(&mut self, orders: &[Value]) {
        self.meter.add("post_orders", "HTTP API requests", 1.0);
        let path = format!("{}/tests/fixtures/http_api.json", env!("CARGO_MANIFEST_DIR"));
        let mut event: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        event["routeKey"] = json!("POST /orders");
        event["requestContext"]["routeKey"] = json!("POST /orders");
        event["requestContext"]["http"]["path"] = json!("/orders");
        event["rawPath"] = json!("/orders");
        event["headers"]["content-type"] = json!("application/json");
        event["body"] = json!(Value::from(orders).to_string());
        let answer = self.invoke("post_orders", &event).await;
        assert_eq!(answer["statusCode"], 202, "{answer}");
    }

    /// What the scheduler does.
    pub async fn kick_off(&mut self) {
        let now = Timestamp::from_millis(SystemClock.now().as_millis() / 1_000 * 1_000);
        let (queues, message) = self.choreography.scheduled_message(KICKOFF, now).unwrap();
        let message = quadrille::port::NewMessage { body: message, ..Default::default() };
        let sent = self.charged.queue(&queues[0]).unwrap().send(vec![message]).await;
        assert!(sent.iter().all(Result::is_ok), "{sent:?}");
        self.polled().await;
    }

    /// One round of the run: its message is waited for, handed in, and deleted.
    pub async fn polled(&mut self) {
        let step = self.choreography.model().step("poll_auction").unwrap();
        let (queue, batch) = (step.queue.clone(), step.batch);
        let received = self.charged.queue(&queue).unwrap().receive(batch, WAIT_MAX, None).await.unwrap();
        assert_eq!(received.len(), 1, "the next round is called");
        self.deliver("poll_auction", &queue, &received).await;
    }

    /// All that is decided, in batches; on SQS each is received and deleted ten messages at a time.
    pub async fn results(&mut self) {
        let step = self.choreography.model().step("store_result").unwrap();
        let (queue, batch) = (step.queue.clone(), step.batch);
        while self.looking.queue(&queue).unwrap().depth().await.unwrap().total() > 0 {
            let received = self.charged.queue(&queue).unwrap().receive(batch, WAIT_MAX, None).await.unwrap();
            self.deliver("store_result", &queue, &received).await;
        }
    }

    async fn deliver(&mut self, step: &'static str, queue: &str, messages: &[Message]) {
        let records: Vec<Value> = messages.iter().map(record).collect();
        let answer = self.invoke(step, &json!({ "Records": records })).await;
        assert_eq!(answer, json!({ "batchItemFailures": [] }));
        let done: Vec<Receipt> = messages.iter().map(|message| message.receipt.clone()).collect();
        self.charged.queue(queue).unwrap().delete(&done).await.unwrap();
    }

    /// Hands the relay what its filter lets through of what the stream has. Whether a round of the run was called.
    pub async fn relay(&mut self) -> bool {
        let records = self.stream.relayed().await;
        for batch in records.chunks(RELAY_BATCH) {
            let answer = self.invoke("relay", &json!({ "Records": batch })).await;
            assert_eq!(answer, json!({ "batchItemFailures": [] }));
        }
        // What a run tells is its next round.
        let key = |record: &Value| record["dynamodb"]["Keys"][layout::KEY]["S"].as_str().unwrap().to_owned();
        records.iter().any(|record| key(record).starts_with("run/"))
    }

    /// Asserts that every order is at its end and told of it, and that the units were counted of what the table holds.
    pub async fn assert_over(&self, status: &str, orders: usize) {
        let mut filed = BTreeSet::new();
        let mut after = None;
        loop {
            let page = self.looking.bucket(RESULTS_BUCKET).unwrap().list("", after.as_deref(), 1_000);
            let page = page.await.unwrap();
            filed.extend(page.keys);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let dead = self.looking.queue("auction-results-dlq").unwrap().depth().await.unwrap().total();
        let expected = if status == "accepted" { (orders, 0) } else { (0, orders as u64) };
        assert_eq!((filed.len(), dead), expected);
        let mut items = Vec::new();
        let mut asked = json!({ "TableName": self.names.tables["orders"] });
        loop {
            let page = dynamodb(&self.peer, "DynamoDB_20120810.Scan", &asked).await;
            items.extend(page["Items"].as_array().unwrap().iter().cloned());
            match page.get("LastEvaluatedKey").filter(|key| !key.is_null()) {
                Some(key) => asked["ExclusiveStartKey"] = key.clone(),
                None => break,
            }
        }
        self.meter.assert_counted(&items);
    }
}
