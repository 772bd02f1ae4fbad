//! The peer that stands in for AWS: ministack 1.5.33, which speaks the wire protocols and keeps everything in memory. One
//! process for the whole test binary. Nothing has to end it: it ends with the pipe that this process holds.

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

/// Ends with its standard input, so that it never outlives the tests, however these end; with it end the processes that it
/// started, and its folder goes. Three things are mended. A send and the receives of event source mappings change a queue's
/// list in several threads without a common lock, so that a message can be lost. There are no message move tasks; these
/// move all at once, whatever rate is asked for. And what a PartiQL statement changes does not appear in the stream.
const PROGRAM: &str = "
import os, shutil, signal, sys, threading, time, uuid
os.setpgid(0, 0)
def ends():
    sys.stdin.buffer.read()
    shutil.rmtree(os.environ['HOME'], ignore_errors=True)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=ends, daemon=True).start()
from ministack.services import sqs
one_at_a_time = sqs._queues_lock = threading.RLock()
def guarded(change):
    def alone(*given, **named):
        with one_at_a_time:
            return change(*given, **named)
    return alone
for name in ('_dlq_sweep', '_collect_msgs', '_expire_retained', '_refresh_counts'):
    setattr(sqs, name, guarded(getattr(sqs, name)))
for name in ('SendMessage', 'SendMessageBatch', 'DeleteMessage', 'DeleteMessageBatch'):
    sqs._HANDLERS[name] = guarded(sqs._HANDLERS[name])
tasks = []
def start_move(asked, _):
    source, target = (sqs._queue_by_arn(asked.get(name, '')) for name in ('SourceArn', 'DestinationArn'))
    if source is None or target is None:
        raise sqs._Err('ResourceNotFoundException', 'no such queue')
    now = time.time()
    moved = [message for message in source['messages'] if message['visible_at'] <= now]
    for message in moved:
        source['messages'].remove(message)
        fresh = {'id': str(uuid.uuid4()), 'receipt_handle': None, 'receive_count': 0, 'first_receive_at': None}
        target['messages'].append({**message, **fresh, 'sent_at': now, 'visible_at': now})
    sqs.esm_wake.set()
    tasks.insert(0, {'TaskHandle': str(uuid.uuid4()), 'Status': 'COMPLETED', 'SourceArn': asked['SourceArn'],
        'DestinationArn': asked['DestinationArn'], 'ApproximateNumberOfMessagesMoved': len(moved),
        'ApproximateNumberOfMessagesToMove': len(moved), 'StartedTimestamp': int(now * 1000)})
    return {'TaskHandle': tasks[0]['TaskHandle']}
def list_moves(asked, _):
    found = [task for task in tasks if task['SourceArn'] == asked.get('SourceArn')]
    shown = [{name: value for name, value in task.items() if name != 'TaskHandle'} for task in found]
    return {'Results': shown[:asked.get('MaxResults', 1)]}
sqs._HANDLERS['StartMessageMoveTask'] = guarded(start_move)
sqs._HANDLERS['ListMessageMoveTasks'] = list_moves
from ministack.services import dynamodb
def streamed(execute):
    def executed(table, parsed, *more):
        set_item, changes = dynamodb._set_item, []
        def noted(table, partition, sort, item):
            changes.append((table['items'].get(partition, {}).get(sort), item))
            set_item(table, partition, sort, item)
        dynamodb._set_item = noted
        try:
            answer = execute(table, parsed, *more)
        finally:
            dynamodb._set_item = set_item
        for old, new in changes:
            dynamodb._emit_stream_event(parsed['table'], 'MODIFY' if old else 'INSERT', old, new)
        return answer
    return executed
for name in ('_partiql_insert', '_partiql_update'):
    setattr(dynamodb, name, streamed(getattr(dynamodb, name)))
from ministack.app import main
main()
";

/// The peer's address, or why there is none.
fn address() -> &'static Result<String, String> {
    static PEER: OnceLock<Result<String, String>> = OnceLock::new();
    PEER.get_or_init(|| match env::var("QUADRILLE_AWS_PEER") {
        Ok(url) if !url.is_empty() => Ok(url),
        _ => python().and_then(|python| start(&python)),
    })
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
        .args(["-c", PROGRAM])
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
    match address() {
        Ok(url) => Some(url),
        Err(why) => {
            let how = "run `.ci/aws-peer` once (python3, and PyPI within reach) and then the tests again";
            let text = format!("LEFT OUT: {test}: no peer that stands in for AWS: {why}; {how}");
            assert!(env::var_os("QUADRILLE_REQUIRE_PEER").is_none_or(|value| value.is_empty()), "{text}");
            // Not by a macro: what a test that passes prints is kept back.
            let _ = writeln!(std::io::stderr(), "{text}");
            None
        }
    }
}

/// The configuration of a client of `url`: the adapter's own, but for where it calls and as whom.
pub async fn configuration(url: &str) -> SdkConfig {
    aws::configuration()
        .endpoint_url(url)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
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
