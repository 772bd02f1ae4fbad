//! A system with one table on the peer: table, queues, buses and topics, and the functions over them.

#![allow(dead_code)] // Each test binary uses a part of it.

use crate::{definition::told, function::Function, peer};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::QueueAttributeName;
use quadrille::{
    Choreography,
    aws::Names,
    layout,
    port::{Message, Ports, Random as _, SystemRandom},
    system::{System, choreography},
};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a message is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Cloud {
    url: &'static str,
    choreography: Choreography,
    config: SdkConfig,
    pub names: Names,
    pub ports: Ports,
    /// A queue that has subscribed to the topic.
    subscriber: String,
}

impl Cloud {
    /// `system`, with a subscriber of `topic`.
    pub async fn new(url: &'static str, system: &dyn System, topic: &str) -> Self {
        let choreography = choreography(system).unwrap();
        let config = peer::configuration(url).await;
        let names = peer::provision(choreography.model(), &config).await;
        let ports = quadrille::aws::ports(choreography.model(), &names, &config);
        let sqs = aws_sdk_sqs::Client::new(&config);
        let name = format!("subscriber-{}", SystemRandom.id());
        let subscriber = sqs.create_queue().queue_name(name).send().await.unwrap().queue_url.unwrap();
        let asked = sqs.get_queue_attributes().queue_url(&subscriber);
        let attributes =
            asked.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap().attributes.unwrap();
        let subscription = aws_sdk_sns::Client::new(&config).subscribe().topic_arn(&names.topics[topic]);
        let subscription = subscription.protocol("sqs").endpoint(&attributes[&QueueAttributeName::QueueArn]);
        subscription.attributes("RawMessageDelivery", "true").send().await.unwrap();
        Self { url, choreography, config, names, ports, subscriber }
    }

    /// Starts a function, told the names of what it needs and `settings`.
    pub async fn function(&self, name: &str, settings: &[(&str, &str)]) -> Function {
        self.function_behind(self.url, name, settings).await
    }

    /// The same, that finds the peer behind `url`.
    pub async fn function_behind(&self, url: &str, name: &str, settings: &[(&str, &str)]) -> Function {
        let told = told(self.choreography.model(), name, &self.names).into_iter();
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Function::start(name, &told.chain(settings).chain(peer::variables(url)).collect()).await
    }

    /// The item of this id, as DynamoDB writes it.
    pub async fn item(&self, id: &str) -> Value {
        let table = &self.choreography.model().tables[0];
        let key = table.key_attribute.as_deref().unwrap_or(layout::KEY);
        let get = aws_sdk_dynamodb::Client::new(&self.config).get_item().consistent_read(true);
        let get = get.table_name(&self.names.tables[&table.name]).key(key, AttributeValue::S(id.to_owned()));
        let item = get.send().await.unwrap().item;
        let item = item.unwrap_or_else(|| panic!("there is no item {id}"));
        item.iter().map(|(name, value)| (name.clone(), written(value))).collect()
    }

    /// The next message of a queue.
    pub async fn letter(&self, queue: &str) -> Message {
        let queue = self.ports.queue(queue).unwrap();
        queue.receive(1, PATIENCE, None).await.unwrap().into_iter().next().unwrap()
    }

    /// The body of the next message of a queue.
    pub async fn received(&self, queue: &str) -> String {
        self.letter(queue).await.body
    }

    /// What a subscriber of the topic was notified of.
    pub async fn notified(&self) -> String {
        let sqs = aws_sdk_sqs::Client::new(&self.config);
        let received =
            sqs.receive_message().queue_url(&self.subscriber).wait_time_seconds(20).send().await.unwrap();
        received.messages.unwrap().remove(0).body.unwrap()
    }
}

/// A value as DynamoDB writes it.
fn written(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::Bool(is) => json!({ "BOOL": is }),
        AttributeValue::Null(is) => json!({ "NULL": is }),
        AttributeValue::L(list) => json!({ "L": list.iter().map(written).collect::<Vec<_>>() }),
        AttributeValue::M(map) => {
            let fields = map.iter().map(|(name, value)| (name.clone(), written(value)));
            json!({ "M": fields.collect::<serde_json::Map<_, _>>() })
        }
        other => panic!("no item has a {other:?}"),
    }
}
