//! Who answers, and what is stuck there: an engine, a folder at rest, or a stack on AWS.

use super::{
    Check,
    folder::{self, Found},
};
use crate::{App, access::Access, args::Doctor, client::Client, error::CommandError, target::Place, token};
use quadrille::{
    http_client::{HttpClient, Method},
    operator::{Api, QueueStatus},
    port::{Clock as _, SystemClock},
};
use serde_json::Value;
use std::{io::ErrorKind, net::SocketAddr, time::Duration};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How long a message may wait without a word. Ours: a backoff is shorter.
const WAITS_SILENT: Duration = Duration::from_secs(300);

/// Largest answer that is read, in bytes.
#[cfg(feature = "aws")]
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What there is to tell of what answers.
pub async fn checks(app: &App<'_>, args: &Doctor) -> Vec<Check> {
    if args.target.place == Place::Aws {
        return of_stack(app, args).await;
    }
    if let Some(url) = &args.target.url {
        return of_engine(app, args, url).await;
    }
    let (found, mut checks) = folder::checks(app, &args.target.data).await;
    match found {
        Found::Held(Some(address)) => {
            checks.extend(of_engine(app, args, &format!("http://{address}")).await);
            return checks;
        }
        Found::AtRest => checks.extend(of_rest(app, args).await),
        Found::Held(None) | Found::Nothing => {}
    }
    checks.push(of_port(args).await);
    checks
}

/// Whether an engine could listen where `up` would.
async fn of_port(args: &Doctor) -> Check {
    let address = SocketAddr::new(args.host, args.port);
    match std::net::TcpListener::bind(address) {
        Ok(_) => Check::ok("port", format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let who = match named(args, &format!("http://{address}")).await {
                Ok(name) => format!("the engine of {name} on another folder answers at {address}"),
                Err(_) => format!("another program listens on {address}"),
            };
            Check::fail("port", format!("{who}: end it, or take another port with --port"))
        }
        Err(error) => Check::fail("port", format!("{address}: {error}; take another with --port or --host")),
    }
}

fn client(args: &Doctor, url: &str) -> Result<Client, CommandError> {
    let token = token::text(args.target.token_file.as_deref())?;
    match Client::remote(url, token)? {
        Client::Remote { base, token, .. } => {
            Ok(Client::Remote { http: Box::new(HttpClient::new(TIMEOUT)?), base, token })
        }
        other => Ok(other),
    }
}

/// Which system an engine runs.
async fn named(args: &Doctor, url: &str) -> Result<String, CommandError> {
    let system: Value = client(args, url)?.get("/_quadrille/system").await?;
    let name = system["name"].as_str().ok_or_else(|| CommandError::Failed("it is no engine".into()))?;
    Ok(quadrille::excerpt(name, 100))
}

async fn of_engine(app: &App<'_>, args: &Doctor, url: &str) -> Vec<Check> {
    let wanted = app.system.name();
    let first = match named(args, url).await {
        Ok(name) if name == wanted => Check::ok("engine", format!("{url} answers, and runs {name}")),
        Ok(name) => {
            let text =
                format!("{url} runs {name:?} and not {wanted:?}: name the other system, or another engine");
            return vec![Check::fail("engine", text)];
        }
        Err(error) => {
            let text = format!("{url}: {error}; start it, or mend --url and --token-file");
            return vec![Check::fail("engine", text)];
        }
    };
    let mut checks = vec![first];
    let client = match client(args, url) {
        Ok(client) => client,
        Err(error) => return vec![Check::fail("engine", error.to_string())],
    };
    checks.push(match client.ask(Method::GET, "/healthz", None).await {
        Ok(answer) if answer.status == 200 => Check::ok("health", "all parts work"),
        Ok(answer) => {
            let text = format!("{}; docs/operating.md tells what stands (health)", answer.refused());
            Check::fail("health", text)
        }
        Err(error) => Check::fail("health", error.to_string()),
    });
    let metrics = client.ask(Method::GET, "/metrics", None).await.ok().filter(|answer| answer.status == 200);
    let metrics =
        metrics.map(|answer| String::from_utf8_lossy(&answer.body).into_owned()).unwrap_or_default();
    checks.push(of_build(&metrics));
    checks.extend(of_queues(app, &client).await);
    let oldest = samples(&metrics, "quadrille_queue_oldest_message_age_seconds");
    let oldest =
        oldest.filter_map(|(labels, value)| Some((label(labels, "queue")?, value.parse::<f64>().ok()?)));
    let ages = oldest.map(|(queue, age)| (queue.to_owned(), Duration::from_secs_f64(age.max(0.0))));
    checks.push(of_waiting(ages.collect()));
    checks
}

/// The lines of a metric: its labels, and its value.
fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "))
}

/// The value of a label that has nothing to escape.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
}

fn of_build(metrics: &str) -> Check {
    let version = samples(metrics, "quadrille_build_info").find_map(|(labels, _)| label(labels, "version"));
    match version {
        Some(version) if version == quadrille::VERSION => {
            Check::ok("engine's version", format!("{version}, as this command"))
        }
        Some(version) => {
            let text =
                format!("{version}, and this command is {}: use one version of both", quadrille::VERSION);
            Check::warn("engine's version", text)
        }
        None => {
            Check::warn("engine's version", "it tells none, as earlier ones: start it anew with this version")
        }
    }
}

/// What is stuck in a folder at rest.
async fn of_rest(app: &App<'_>, args: &Doctor) -> Vec<Check> {
    let node = match folder::at_rest(app, args.target.data.clone()).await {
        Ok(node) => node,
        Err(error) => return vec![Check::fail("folder", error.to_string())],
    };
    let pipeline = node.pipeline();
    let now = SystemClock.now();
    let (mut ages, mut unread) = (Vec::new(), Vec::new());
    for queue in pipeline.choreography().model().queues.iter().filter(|queue| queue.redrive.is_some()) {
        let oldest = match pipeline.ports().queue(&queue.name) {
            Ok(port) => port.arrived(0, 1).await,
            Err(error) => Err(error),
        };
        match oldest {
            Ok(found) => {
                ages.extend(found.first().map(|(_, one)| (queue.name.clone(), now.since(one.sent_at))))
            }
            Err(error) => unread.push(Check::fail("waiting", format!("{}: {error}", queue.name))),
        }
    }
    let client = Client::Local { api: Api::new(pipeline), _node: Box::new(node) };
    let mut checks = of_queues(app, &client).await;
    checks.push(of_waiting(ages));
    checks.extend(unread);
    checks
}

/// Dead letters, by queue.
async fn of_queues(app: &App<'_>, client: &Client) -> Vec<Check> {
    let queues: Vec<QueueStatus> = match client.get("/_quadrille/queues").await {
        Ok(queues) => queues,
        Err(error) => return vec![Check::fail("queues", format!("they do not answer: {error}"))],
    };
    let dead = queues.iter().filter(|queue| queue.dead > 0).map(|queue| {
        let name = &queue.dead_letter_queue;
        let way = app.typed(&format!("dlq list --queue {name}"));
        Check::warn("dead letters", format!("{} in {name}: {way} tells why", queue.dead))
    });
    let dead: Vec<Check> = dead.collect();
    if dead.is_empty() {
        return vec![Check::ok("dead letters", format!("none in {} queues", queues.len()))];
    }
    dead
}

/// The message that has waited longest.
fn of_waiting(ages: Vec<(String, Duration)>) -> Check {
    let Some((queue, age)) = ages.into_iter().max_by_key(|(_, age)| *age) else {
        return Check::ok("waiting", "no message waits");
    };
    let text = format!("the oldest message is in {queue}, for {} s", age.as_secs());
    match age > WAITS_SILENT {
        true => Check::warn("waiting", format!("{text}: `queues` and `trace` tell what it waits for")),
        false => Check::ok("waiting", text),
    }
}

/// A stack on AWS.
async fn of_stack(app: &App<'_>, args: &Doctor) -> Vec<Check> {
    let client = match Client::open(app, &args.target, Access::Looks).await {
        Ok(client) => client,
        Err(error) => return vec![Check::fail("stack", error.to_string())],
    };
    let mut checks = vec![Check::ok("stack", "its names are read, and none is missing")];
    #[cfg(feature = "aws")]
    if let Client::Aws(aws) = &client {
        checks.push(of_clock_there(&aws.endpoint()).await);
    }
    checks.extend(of_queues(app, &client).await);
    checks
}

/// How far the clock here may be from AWS's without a word. Ours: `Date` counts seconds.
#[cfg(feature = "aws")]
const SKEW_SILENT: Duration = Duration::from_secs(5);

/// How far a request's time may be off (AWS): five minutes.
#[cfg(feature = "aws")]
const SKEW_MAX: Duration = Duration::from_secs(300);

/// The clock here beside that of AWS.
#[cfg(feature = "aws")]
async fn of_clock_there(endpoint: &str) -> Check {
    let answer = async {
        HttpClient::new(TIMEOUT)?.exchange(Method::GET, endpoint, &[], None, ANSWER_BYTES_MAX).await
    };
    let there = match answer.await {
        Ok(answer) => answer.date,
        Err(error) => return Check::warn("clock", format!("{endpoint} does not tell its time: {error}")),
    };
    let Some(there) = there else { return Check::warn("clock", format!("{endpoint} tells no time")) };
    let here = SystemClock.now();
    let skew = here.since(there).max(there.since(here));
    let text = format!("{here} here, {there} at {endpoint}");
    match skew {
        skew if skew > SKEW_MAX => {
            Check::fail("clock", format!("{text}: AWS refuses such requests; set the clock"))
        }
        skew if skew > SKEW_SILENT => Check::warn("clock", format!("{text}: set the clock")),
        _ => Check::ok("clock", text),
    }
}
