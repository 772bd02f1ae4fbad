//! Lambda's part where a test plays it: it reads streams, and makes records of messages.

use crate::forward::forward;
use bytes::Bytes;
use hyper::Request;
use quadrille::{layout, port::Message};
use serde_json::{Value, json};

/// The change stream of a table, and how far it was read.
pub struct Stream {
    peer: String,
    iterator: String,
}

impl Stream {
    /// From its first record on.
    pub async fn of(peer: &str, table: &str) -> Self {
        let ask = async |operation: &str, body: Value| {
            dynamodb(peer, &format!("DynamoDBStreams_20120810.{operation}"), &body).await
        };
        let streams = ask("ListStreams", json!({ "TableName": table })).await;
        let arn = &streams["Streams"][0]["StreamArn"];
        let described = ask("DescribeStream", json!({ "StreamArn": arn })).await;
        let shards = described["StreamDescription"]["Shards"].as_array().unwrap();
        assert_eq!(shards.len(), 1);
        let asked = json!({
            "StreamArn": arn, "ShardId": shards[0]["ShardId"], "ShardIteratorType": "TRIM_HORIZON",
        });
        let answer = ask("GetShardIterator", asked).await;
        Self { peer: peer.to_owned(), iterator: answer["ShardIterator"].as_str().unwrap().to_owned() }
    }

    /// What is new, as far as the relay's filter lets it through.
    pub async fn relayed(&mut self) -> Vec<Value> {
        let mut records = Vec::new();
        loop {
            let asked = json!({ "ShardIterator": self.iterator, "Limit": 1_000 });
            let read = dynamodb(&self.peer, "DynamoDBStreams_20120810.GetRecords", &asked).await;
            read["NextShardIterator"].as_str().unwrap().clone_into(&mut self.iterator);
            let new = read["Records"].as_array().unwrap();
            if new.is_empty() {
                return records;
            }
            let told = new.iter().filter(|record| record["dynamodb"]["NewImage"][layout::RELAY]["S"] == "1");
            records.extend(told.cloned());
        }
    }
}

/// Asks the peer itself, past what counts or watches.
pub async fn dynamodb(peer: &str, target: &str, body: &Value) -> Value {
    let scope = "test/20261120/us-east-1/dynamodb/aws4_request";
    let request = Request::post("/")
        .header("host", peer)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", target)
        // The peer tells a service by it, and does not check it.
        .header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
        )
        .body(Bytes::from(body.to_string()))
        .unwrap();
    let answer = forward(peer, request).await;
    let text = String::from_utf8_lossy(answer.body());
    assert_eq!(answer.status(), 200, "{target}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// A message as Lambda hands it over.
pub fn record(message: &Message) -> Value {
    let attribute = |value: &String| {
        json!({
            "stringValue": value, "dataType": "String", "stringListValues": [], "binaryListValues": [],
        })
    };
    let attributes: serde_json::Map<String, Value> =
        message.attributes.iter().map(|(name, value)| (name.clone(), attribute(value))).collect();
    json!({
        "messageId": message.id, "receiptHandle": message.receipt.0, "body": message.body,
        "attributes": {
            "ApproximateReceiveCount": message.receive_count.to_string(),
            "SentTimestamp": message.sent_at.as_millis().to_string(),
        },
        "messageAttributes": attributes, "eventSource": "aws:sqs", "awsRegion": "us-east-1",
    })
}
