//! The functions, deployed on the peer by its own wire protocols.

use crate::definition::told;
use base64::Engine as _;
use quadrille::{aws::Names, choreography::Model, layout::RELAY_FILTER};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";

/// A deployed stack.
pub struct Cloud {
    address: String,
    api: String,
    arns: BTreeMap<String, String>,
    tag: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    body: Vec<u8>,
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error}: {} {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }
}

/// The functions that are deployed: all but the one that tells people of alarms, which this peer does not have.
const FUNCTIONS: [&str; 7] =
    ["post_orders", "get_order", "withdraw_order", "poll_auction", "leave_run", "store_result", "relay"];

/// The package of all functions: their binary as `bootstrap`, to be executed.
fn package() -> Vec<u8> {
    // Stored: it is unpacked on this machine, and compressing a debug build takes longer than all the rest.
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored).unix_permissions(0o755);
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.start_file("bootstrap", options).unwrap();
    writer.write_all(&std::fs::read(env!("CARGO_BIN_EXE_auction-functions")).unwrap()).unwrap();
    writer.finish().unwrap().into_inner()
}

impl Cloud {
    /// Makes functions, HTTP API and event source mappings over what `names` tells.
    pub async fn deploy(url: &str, model: &Model, names: &Names, variables: &[(&str, &str)]) -> Self {
        let address = url.strip_prefix("http://").unwrap().to_owned();
        let table = &names.tables["orders"];
        let tag = table.strip_suffix("-orders").unwrap().to_owned();
        let arn =
            |url: &String| format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{}", url.rsplit('/').next().unwrap());
        let arns = names.queues.iter().map(|(name, url)| (name.clone(), arn(url))).collect();
        let mut cloud = Self { address, api: String::new(), arns, tag };

        let zip = base64::engine::general_purpose::STANDARD.encode(package());
        for name in FUNCTIONS {
            let given = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let environment: BTreeMap<String, String> = given.chain(told(model, name, names)).collect();
            let function = json!({
                "FunctionName": cloud.function(name), "Runtime": "provided.al2023", "Handler": "bootstrap",
                "Role": format!("arn:aws:iam::{ACCOUNT}:role/any"), "Code": { "ZipFile": zip },
                "Timeout": 30, "MemorySize": 256, "Environment": { "Variables": environment },
            });
            cloud.made("POST", "/2015-03-31/functions", &function);
        }
        for step in model.steps.iter().filter(|step| step.topic().is_none()) {
            let mapping = json!({
                "EventSourceArn": cloud.arns[&step.queue], "FunctionName": cloud.function(&step.name),
                "BatchSize": step.batch.min(10), "FunctionResponseTypes": ["ReportBatchItemFailures"],
            });
            cloud.made("POST", "/2015-03-31/event-source-mappings/", &mapping);
        }
        let described = cloud.dynamodb("DescribeTable", &json!({ "TableName": table }));
        let mapping = json!({
            "EventSourceArn": described["Table"]["LatestStreamArn"], "FunctionName": cloud.function("relay"),
            "BatchSize": 100, "StartingPosition": "TRIM_HORIZON", "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "FilterCriteria": { "Filters": [{ "Pattern": RELAY_FILTER }] },
        });
        cloud.made("POST", "/2015-03-31/event-source-mappings/", &mapping);

        let api =
            cloud.made("POST", "/v2/apis", &json!({ "name": cloud.function("api"), "protocolType": "HTTP" }));
        cloud.api = api["apiId"].as_str().unwrap().to_owned();
        for route in &model.routes {
            let uri = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", cloud.function(&route.step));
            let integration = json!({
                "integrationType": "AWS_PROXY", "integrationUri": uri, "payloadFormatVersion": "2.0",
            });
            let integration =
                cloud.made("POST", &format!("/v2/apis/{}/integrations", cloud.api), &integration);
            let target = format!("integrations/{}", integration["integrationId"].as_str().unwrap());
            let key = route.address();
            cloud.made(
                "POST",
                &format!("/v2/apis/{}/routes", cloud.api),
                &json!({ "routeKey": key, "target": target }),
            );
        }
        let stage = json!({ "stageName": "$default", "autoDeploy": true });
        cloud.made("POST", &format!("/v2/apis/{}/stages", cloud.api), &stage);
        cloud
    }

    fn function(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    /// Calls the HTTP API.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answered {
        let path = format!("/_aws/execute-api/{}/$default{path}", self.api);
        let body = body.map(Value::to_string).unwrap_or_default();
        self.ask(method, &path, &[("content-type", "application/json")], body.as_bytes())
    }

    /// Has the scheduler send `message` to a queue at once.
    pub fn schedule(&self, queue: &str, message: &str) {
        let schedule = json!({
            // In the past: due as soon as it is looked at.
            "ScheduleExpression": "at(2026-01-01T00:00:00)", "FlexibleTimeWindow": { "Mode": "OFF" },
            "Target": { "Arn": self.arns[queue], "RoleArn": format!("arn:aws:iam::{ACCOUNT}:role/any"), "Input": message },
        });
        self.made("POST", &format!("/schedules/{}", self.function("kickoff")), &schedule);
    }

    fn dynamodb(&self, operation: &str, body: &Value) -> Value {
        let target = format!("DynamoDB_20120810.{operation}");
        let headers = [("x-amz-target", target.as_str()), ("content-type", "application/x-amz-json-1.0")];
        let answered = self.ask("POST", "/", &headers, body.to_string().as_bytes());
        assert_eq!(answered.status, 200, "{operation}: {answered:?}");
        answered.json()
    }

    fn made(&self, method: &str, path: &str, body: &Value) -> Value {
        let answered =
            self.ask(method, path, &[("content-type", "application/json")], body.to_string().as_bytes());
        assert!(
            (200..300).contains(&answered.status),
            "{path}: {} {}",
            answered.status,
            String::from_utf8_lossy(&answered.body)
        );
        answered.json()
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answered {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        // The peer tells a service by the scope of the signature, which it does not check.
        let service = match path {
            "/" => "dynamodb",
            path if path.starts_with("/v2/") => "apigateway",
            path if path.starts_with("/schedules/") => "scheduler",
            path if path.starts_with("/_aws/") => "execute-api",
            _ => "lambda",
        };
        let scope = format!("test/20261120/{REGION}/{service}/aws4_request");
        head += &format!(
            "authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n"
        );
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n", body.len());
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(body).unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = &answer[end + 4..];
        let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_vec() };
        Answered { status, body }
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap().trim(), 16).unwrap();
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + length]);
        body = &body[end + 2 + length + 2..];
    }
}
