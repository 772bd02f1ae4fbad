//! The peer that stands in for AWS: one that the environment gives, or else ministack 1.5.33 (`peer.py`), which speaks the
//! wire protocols and keeps everything in memory. It is one process for the whole test binary. Nothing has to end it: it ends
//! with the pipe that this process holds.
#![allow(dead_code)] // Each test binary uses a part of it.

use aws_config::{Region, SdkConfig};
use aws_sdk_dynamodb::{
    config::Credentials,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
        ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType,
    },
};
use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::types::QueueAttributeName;
use quadrille::{
    aws::{self, Names},
    choreography::{Model, QueueModel, TableModel},
    layout,
    port::{Random as _, SystemRandom},
};
use std::{
    collections::BTreeMap,
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// How long the peer may take to start.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// What a test asks of a peer beyond the calls that all of them make. One that a peer can't do is left out there, aloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Can {
    /// It speaks plain HTTP and checks no signature: a proxy in between can change a call.
    BeMeddledWith,
    /// Its queues' depth is exact and told at once.
    CountExactly,
    /// It moves the messages of a queue (`StartMessageMoveTask`).
    MoveMessages,
    /// It runs functions that are deployed on it, behind an HTTP API, event source mappings and a scheduler, without roles.
    RunFunctions,
}

/// What is known of a peer.
pub struct Kind {
    pub name: &'static str,
    pub can: &'static [Can],
    /// How late at most something due is seen.
    pub lateness: Duration,
}

/// Every peer that these tests know. One that is given without a name (`QUADRILLE_PEER`) is the last: nothing is asked of it
/// that a peer may lack.
const KINDS: [Kind; 3] = [
    Kind {
        name: "ministack",
        can: &[Can::BeMeddledWith, Can::CountExactly, Can::MoveMessages, Can::RunFunctions],
        lateness: Duration::from_secs(2),
    },
    // AWS's own, by its user guide: HTTPS on a port of its own, signatures checked, at most 1,000 messages a queue, in memory.
    // Nobody has seen these tests run there yet: what the guide does not promise it is not asked for.
    Kind { name: "aws-emulator", can: &[], lateness: Duration::from_secs(10) },
    Kind { name: "unnamed", can: &[], lateness: Duration::from_secs(10) },
];

/// A running peer, and what a process has to be told to call it.
struct Peer {
    kind: &'static Kind,
    url: String,
    variables: Vec<(String, String)>,
}

/// What the environment tells of credentials and certificates, and a process that calls a given peer is told as well.
const PASSED_ON: [&str; 5] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "SSL_CERT_FILE"];

fn told(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn region() -> String {
    told("AWS_REGION").unwrap_or_else(|| "us-east-1".to_owned())
}

/// The peer that the environment gives: `AWS_ENDPOINT_URL`, and `QUADRILLE_PEER`, which names its kind.
fn given() -> Option<Result<Peer, String>> {
    let (url, name) = (told("AWS_ENDPOINT_URL"), told("QUADRILLE_PEER"));
    let given = |url: String, name: &str| {
        let kind = KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
            let names = KINDS.map(|kind| kind.name).join(", ");
            format!("QUADRILLE_PEER names {name:?}, and not one of {names}")
        })?;
        if url.contains(".amazonaws.com") {
            return Err(format!(
                "{url} is AWS itself, and these tests remove nothing of what they make there"
            ));
        }
        if told("AWS_CA_BUNDLE") != told("SSL_CERT_FILE") && told("AWS_CA_BUNDLE").is_some() {
            return Err(
                "the SDK for Rust reads SSL_CERT_FILE: set it to the file of AWS_CA_BUNDLE".to_owned()
            );
        }
        let missing = PASSED_ON[..2].iter().find(|name| told(name).is_none());
        if let Some(missing) = missing {
            return Err(format!("AWS_ENDPOINT_URL gives {url}, and {missing} is not set"));
        }
        // Empty where it is not set: a function is told one by default.
        let passed = PASSED_ON.iter().filter_map(|name| {
            let value = told(name).or_else(|| name.contains("TOKEN").then(String::new))?;
            Some(((*name).to_owned(), value))
        });
        Ok(Peer { kind, variables: passed.collect(), url })
    };
    match (url, name) {
        (None, None) => None,
        (None, Some(name)) => {
            Some(Err(format!("QUADRILLE_PEER names {name}, and AWS_ENDPOINT_URL gives no address")))
        }
        (Some(url), name) => Some(given(url, name.as_deref().unwrap_or("unnamed"))),
    }
}

/// The peer, or why there is none.
fn peer() -> &'static Result<Peer, String> {
    static PEER: OnceLock<Result<Peer, String>> = OnceLock::new();
    PEER.get_or_init(|| {
        given().unwrap_or_else(|| {
            let url = python().and_then(|python| start(&python))?;
            Ok(Peer { kind: &KINDS[0], url, variables: example_keys() })
        })
    })
}

/// The variables by which a process calls the peer at `url`, or what stands before it there.
pub fn variables(url: &str) -> Vec<(String, String)> {
    let own = [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_REGION", &region()),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.chain(peer().as_ref().map_or_else(|_| example_keys(), |peer| peer.variables.clone())).collect()
}

fn example_keys() -> Vec<(String, String)> {
    let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_SESSION_TOKEN", "")];
    keys.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// The Python that has the peer installed.
fn python() -> Result<PathBuf, String> {
    if let Some(python) = env::var_os("QUADRILLE_PEER_PYTHON").filter(|python| !python.is_empty()) {
        return Ok(python.into());
    }
    // Where `.ci/aws-peer` puts it: this binary is in `<target>/<profile>/deps`.
    let binary = env::current_exe().map_err(|error| error.to_string())?;
    let python = binary.ancestors().nth(3).map(|target| target.join("aws-peer/venv/bin/python"));
    python.filter(|python| python.exists()).ok_or_else(|| "it is not installed".to_owned())
}

fn start(python: &PathBuf) -> Result<String, String> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.map_err(|error| error.to_string())?;
    let home = env::temp_dir().join(format!("quadrille-aws-peer-{}", address.port()));
    fs::create_dir_all(&home).map_err(|error| error.to_string())?;
    // Nothing of the caller's environment, where credentials may be.
    let child = Command::new(python)
        .args(["-c", include_str!("peer.py")])
        .env_clear()
        .envs([("BIND_HOST", "127.0.0.1"), ("MINISTACK_HOST", "127.0.0.1"), ("LANG", "C.UTF-8")])
        .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
        .envs([("AWS_EC2_METADATA_DISABLED", "true"), ("LOG_LEVEL", "WARNING")])
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("GATEWAY_PORT", address.port().to_string())
        // What its functions are told; without it they would call AWS itself.
        .env("AWS_ENDPOINT_URL", format!("http://{address}"))
        .envs([("HOME", &home), ("TMPDIR", &home)])
        .current_dir(&home)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(fs::File::create(home.join("log")).map_err(|error| error.to_string())?)
        .spawn()
        .map_err(|error| format!("{}: {error}", python.display()))?;
    await_ready(child, address).map_err(|error| {
        let log = fs::read_to_string(home.join("log")).unwrap_or_default();
        format!("{error}; its log:\n{log}")
    })
}

fn await_ready(mut child: Child, address: SocketAddr) -> Result<String, String> {
    let began = Instant::now();
    loop {
        if is_ready(address) {
            // The pipe stays open, and with it the peer alive, until this process ends.
            std::mem::forget(child);
            return Ok(format!("http://{address}"));
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("it ended at once: {status}"));
        }
        if began.elapsed() > START_TIME_MAX {
            return Err(format!("it is not ready after {START_TIME_MAX:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut connection = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        connection
            .write_all(b"GET /_ministack/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// The peer's address. Where there is none, the test is left out, aloud; or it fails, where `QUADRILLE_REQUIRE_PEER` is
/// set, as `.ci/run` does.
pub fn require(test: &str) -> Option<&'static str> {
    match peer() {
        Ok(peer) => Some(&peer.url),
        Err(why) => {
            let how = "run `.ci/aws-peer` once (python3, and PyPI within reach) and then the tests again";
            let text = format!("LEFT OUT: {test}: no peer that stands in for AWS: {why}; {how}");
            assert!(env::var_os("QUADRILLE_REQUIRE_PEER").is_none_or(|value| value.is_empty()), "{text}");
            aloud(&text);
            None
        }
    }
}

/// The same, for a test that asks more of the peer. It is left out, aloud, where the peer can't do that.
pub fn require_that_can(test: &str, can: Can) -> Option<&'static str> {
    let url = require(test)?;
    let is_able = kind().can.contains(&can);
    if !is_able {
        aloud(&format!("LEFT OUT: {test}: the peer {} can't {can:?}", kind().name));
    }
    is_able.then_some(url)
}

/// What is known of the peer that was required.
pub fn kind() -> &'static Kind {
    peer().as_ref().map_or(&KINDS[KINDS.len() - 1], |peer| peer.kind)
}

/// Not by a macro: what a test that passes prints is kept back.
pub fn aloud(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The configuration of a client of `url`, the peer or what stands before it: the adapter's own, but for where it calls and
/// as whom.
pub async fn configuration(url: &str) -> SdkConfig {
    let variables: BTreeMap<String, String> = variables(url).into_iter().collect();
    let key = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
    let credentials = Credentials::new(
        key("AWS_ACCESS_KEY_ID").unwrap_or_default(),
        key("AWS_SECRET_ACCESS_KEY").unwrap_or_default(),
        key("AWS_SESSION_TOKEN"),
        None,
        "tests",
    );
    aws::configuration()
        .endpoint_url(url)
        .region(Region::new(region()))
        .credentials_provider(credentials)
        .load()
        .await
}

/// Makes all that `model` names, under names that nothing else uses.
pub async fn provision(model: &Model, config: &SdkConfig) -> Names {
    let tag = format!("t{:016x}", SystemRandom.next_u64());
    let physical = |name: &str| format!("{tag}-{name}");
    let mut names = Names::default();
    for model in &model.tables {
        create_table(config, model, &physical(&model.name)).await;
        names.tables.insert(model.name.clone(), physical(&model.name));
    }
    let sqs = aws_sdk_sqs::Client::new(config);
    let mut arns = BTreeMap::new();
    // Dead-letter queues first: the others name them.
    let mut queues: Vec<&QueueModel> = model.queues.iter().collect();
    queues.sort_by_key(|queue| queue.redrive.is_some());
    for queue in queues {
        let mut request = sqs
            .create_queue()
            .queue_name(physical(&queue.name))
            .attributes(QueueAttributeName::VisibilityTimeout, queue.visibility_timeout.as_secs().to_string())
            .attributes(QueueAttributeName::MessageRetentionPeriod, queue.retention.as_secs().to_string())
            .attributes(QueueAttributeName::MaximumMessageSize, "1048576");
        if let Some(redrive) = &queue.redrive {
            let arn: &String = &arns[&redrive.dead_letter_queue];
            let policy =
                format!("{{\"deadLetterTargetArn\":\"{arn}\",\"maxReceiveCount\":{}}}", redrive.receives_max);
            request = request.attributes(QueueAttributeName::RedrivePolicy, policy);
        }
        let url = request.send().await.unwrap().queue_url.unwrap();
        let told = sqs.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::QueueArn);
        let told = told.send().await.unwrap().attributes.unwrap();
        arns.insert(queue.name.clone(), told[&QueueAttributeName::QueueArn].clone());
        names.queues.insert(queue.name.clone(), url);
    }
    for model in &model.buckets {
        let s3 = aws_sdk_s3::config::Builder::from(config).force_path_style(true).build();
        let s3 = aws_sdk_s3::Client::from_conf(s3);
        s3.create_bucket().bucket(physical(&model.name)).send().await.unwrap();
        names.buckets.insert(model.name.clone(), physical(&model.name));
    }
    let sns = aws_sdk_sns::Client::new(config);
    for topic in &model.topics {
        let arn = sns.create_topic().name(physical(&topic.name)).send().await.unwrap().topic_arn.unwrap();
        for step in model.steps.iter().filter(|step| step.topic() == Some(&topic.name)) {
            let subscription = sns.subscribe().topic_arn(&arn).protocol("sqs").endpoint(&arns[&step.queue]);
            subscription.attributes("RawMessageDelivery", "true").send().await.unwrap();
        }
        names.topics.insert(topic.name.clone(), arn);
    }
    let eventbridge = aws_sdk_eventbridge::Client::new(config);
    for bus in &model.buses {
        let name = physical(&bus.name);
        eventbridge.create_event_bus().name(&name).send().await.unwrap();
        for step in &model.steps {
            let Some((_, rule)) = step.bus().filter(|(of, _)| *of == bus.name) else { continue };
            let put = eventbridge.put_rule().name(&step.name).event_bus_name(&name);
            put.event_pattern(rule.pattern()).send().await.unwrap();
            let target = Target::builder().id("queue").arn(&arns[&step.queue]).input_path("$.detail");
            let put = eventbridge.put_targets().rule(&step.name).event_bus_name(&name);
            put.targets(target.build().unwrap()).send().await.unwrap();
        }
        names.buses.insert(bus.name.clone(), name);
    }
    names
}

async fn create_table(config: &SdkConfig, model: &TableModel, name: &str) {
    let partition = model.key_attribute.as_deref().unwrap_or(layout::KEY);
    let text = |name: &str| {
        let text = AttributeDefinition::builder().attribute_name(name);
        text.attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let key = |name: &str, kind: KeyType| {
        KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
    };
    let projection = Projection::builder()
        .projection_type(ProjectionType::Include)
        .set_non_key_attributes(Some(layout::INDEX_PROJECTED.map(str::to_owned).to_vec()));
    let index = GlobalSecondaryIndex::builder()
        .index_name(layout::INDEX)
        .key_schema(key(layout::INDEX_PARTITION, KeyType::Hash))
        .key_schema(key(layout::INDEX_SORT, KeyType::Range))
        .projection(projection.build())
        .build()
        .unwrap();
    let created = aws_sdk_dynamodb::Client::new(config)
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(text(partition))
        .attribute_definitions(text(layout::INDEX_PARTITION))
        .attribute_definitions(text(layout::INDEX_SORT))
        .key_schema(key(partition, KeyType::Hash))
        .global_secondary_indexes(index)
        .stream_specification(
            StreamSpecification::builder()
                .stream_enabled(true)
                .stream_view_type(StreamViewType::NewImage)
                .build()
                .unwrap(),
        );
    created.send().await.unwrap();
}
