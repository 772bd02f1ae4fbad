//! `send`: hands the JSON of a file to a handler of requests.

use crate::{
    App,
    access::Access,
    args::{Cancel, OwnAsk, OwnSend, Send},
    client::{Answer, Client, encoded},
    error::CommandError,
    print::{Shown, line, readable, shown},
    target::Target,
    trace::named as entity_of,
};
use quadrille::{
    choreography::RouteModel, excerpt, http::Method as RouteMethod, http_client::Method,
    limits::HTTP_BODY_BYTES_MAX,
};
use serde_json::{Map, Value, json, value::RawValue};
use std::{io::Read as _, path::Path};

/// How a body is sent, and what its answers tell.
pub struct Way {
    pub step: &'static str,
    pub elements_max: Option<usize>,
    pub outcomes: &'static [&'static str],
    pub refused: Option<&'static str>,
}

/// `send STEP FILE`: prints the answer.
pub async fn named(app: &App<'_>, args: Send) -> Result<(), CommandError> {
    let Send { step, own } = args;
    route(app, &step)?;
    let text = read(&own.file).await?;
    body(app, &own.target, &step, text.into_bytes()).await
}

/// Sends a body to the handler `step`, and prints the answer.
pub async fn body(app: &App<'_>, target: &Target, step: &str, body: Vec<u8>) -> Result<(), CommandError> {
    let route = route(app, step)?;
    let client = Client::open(app, target, Access::Answers(step)).await?;
    let (method, address) = address(route);
    let answer = client.ask(method, &address, Some(body)).await?;
    print_answer(&answer, target.json)
}

/// A word of the system's own: asks about one thing, whose id is called `parameter`, and prints the answer.
pub async fn about(app: &App<'_>, args: OwnAsk, step: &str, parameter: &str) -> Result<(), CommandError> {
    let route = route(app, step)?;
    let client = Client::open(app, &args.target, Access::Answers(step)).await?;
    let path = format!("/_quadrille/invoke/{}", encoded(&route.step));
    let body = serde_json::to_vec(&json!({ (parameter): args.id }))?;
    print_answer(&client.ask(Method::POST, &path, Some(body)).await?, args.target.json)
}

/// `cancel [KIND] ID`: asks the route that cancels such a one, and prints the answer.
pub async fn cancel(app: &App<'_>, args: Cancel) -> Result<(), CommandError> {
    let (kind, id) = entity_of(app, &args.entity, None)?;
    let routes = &app.choreography.model().routes;
    let Some(route) = routes.iter().find(|route| route.cancels.as_deref() == Some(kind)) else {
        let kinds: Vec<&str> = routes.iter().filter_map(|route| route.cancels.as_deref()).collect();
        let others = if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(", ") };
        let name = app.system.name();
        return Err(CommandError::Usage(format!("{name} cancels no {kind}; what it cancels is {others}")));
    };
    let client = Client::open(app, &args.target, Access::Answers(&route.step)).await?;
    let path = format!("/_quadrille/cancel/{}/{}", encoded(kind), encoded(id));
    print_answer(&client.ask(Method::POST, &path, Some(b"{}".to_vec())).await?, args.target.json)
}

/// Prints an answer, or what is wrong with the request.
fn print_answer(answer: &Answer, json: bool) -> Result<(), CommandError> {
    if !(200..300).contains(&answer.status) {
        print_faults(answer, None);
        return Err(answer.refused());
    }
    if !answer.body.is_empty() {
        let value: Value = serde_json::from_slice(&answer.body)?;
        line(if json { value.to_string() } else { readable(serde_json::to_string_pretty(&value)?) });
    }
    Ok(())
}

/// A word of the system's own: sends a body of any length, and counts the outcomes that its answers tell.
pub async fn send(app: &App<'_>, args: OwnSend, way: Way) -> Result<(), CommandError> {
    let route = route(app, way.step)?;
    let text = read(&args.file).await?;
    let client = Client::open(app, &args.target, Access::Answers(way.step)).await?;
    let mut counts: Vec<(&str, u64)> = way.outcomes.iter().map(|outcome| (*outcome, 0)).collect();
    let (method, address) = address(route);
    let requests = bodies(text, way.elements_max);
    let is_split = requests.len() > 1;
    let all = requests.last().map_or(0, |last| last.first + last.count);
    for Part { first, body, .. } in requests {
        let so_far = || if first > 0 { done(first, all, &counts) } else { String::new() };
        let answer = client.ask(method.clone(), &address, Some(body)).await;
        let answer = answer.map_err(|error| error.after(&so_far()))?;
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        // An answer about one thing is its own row.
        let rows = told["results"].as_array().map_or_else(|| std::slice::from_ref(&told), Vec::as_slice);
        // A conflict tells the outcomes of all elements.
        let tells = || rows.iter().any(|row| row["outcome"].is_string());
        let is_told = (200..300).contains(&answer.status) || (answer.status == 409 && tells());
        if !is_told {
            let place = is_split.then_some((first, way.elements_max.is_some()));
            print_faults(&answer, place);
            return Err(answer.refused().after(&so_far()));
        }
        for row in rows {
            let outcome = row["outcome"].as_str().unwrap_or_default();
            counts.iter_mut().filter(|(name, _)| *name == outcome).for_each(|(_, count)| *count += 1);
            if way.refused == Some(outcome) && !args.target.json {
                eprintln!("{outcome}: {}", excerpt(&without_outcome(row).to_string(), 300));
            }
        }
    }
    if args.target.json {
        let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), Value::from(*count)));
        line(Value::from(counts.collect::<Map<String, Value>>()));
    } else {
        let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
        line(counts.join(", "));
    }
    let refused = counts.iter().find(|(name, count)| way.refused == Some(*name) && *count > 0);
    refused.map_or(Ok(()), |(name, count)| Err(CommandError::Refused(format!("{count} in {name}"))))
}

/// The row of an element without its outcome: what tells which one it is.
fn without_outcome(row: &Value) -> Value {
    let mut row = row.clone();
    if let Some(fields) = row.as_object_mut() {
        fields.remove("outcome");
    }
    row
}

fn route<'a>(app: &'a App<'_>, step: &str) -> Result<&'a RouteModel, CommandError> {
    let routes = &app.choreography.model().routes;
    routes.iter().find(|route| route.step == step).ok_or_else(|| {
        let known: Vec<&str> = routes.iter().map(|route| route.step.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        CommandError::NotFound(format!(
            "{} has no handler of requests {:?}; its handlers: {known}",
            app.system.name(),
            excerpt(step, 100)
        ))
    })
}

fn method(route: &RouteModel) -> Method {
    match route.method {
        RouteMethod::Get => Method::GET,
        RouteMethod::Post => Method::POST,
        RouteMethod::Put => Method::PUT,
        RouteMethod::Patch => Method::PATCH,
        RouteMethod::Delete => Method::DELETE,
        RouteMethod::Options => Method::OPTIONS,
    }
}

/// How a route is reached; one with parameters, or without a path, as its function is invoked directly.
fn address(route: &RouteModel) -> (Method, String) {
    match route.path.as_ref().filter(|path| !path.contains('{')) {
        Some(path) => (method(route), path.clone()),
        None => (Method::POST, format!("/_quadrille/invoke/{}", encoded(&route.step))),
    }
}

/// What was sent before a request failed.
fn done(elements: usize, all: usize, counts: &[(&str, u64)]) -> String {
    let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    format!("; of {all} in all, {elements} were sent before it: {}", counts.join(", "))
}

/// Prints what an answer says is wrong. Where it is about a part of what was to be sent, `part` tells which: the place of its first
/// element, and whether the request was an array.
fn print_faults(answer: &Answer, part: Option<(usize, bool)>) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    for fault in body["errors"].as_array().into_iter().flatten() {
        let text = |name: &str| fault[name].as_str().map(|text| excerpt(text, 300)).unwrap_or_default();
        let pointer = match part {
            Some((first, is_array)) => pointer_in_all(&text("pointer"), first, is_array),
            None => text("pointer"),
        };
        eprintln!("{}  {}", shown(&pointer, Shown::Dim), text("detail"));
    }
}

/// The JSON Pointer into all that was to be sent, for one into a request that begins with the element `first`.
fn pointer_in_all(pointer: &str, first: usize, is_array: bool) -> String {
    let (place, rest) = match pointer.strip_prefix('/').filter(|_| is_array) {
        None => (0, pointer.to_owned()),
        Some(path) => {
            let (place, rest) =
                path.split_once('/').map_or((path, String::new()), |(at, rest)| (at, format!("/{rest}")));
            let Ok(place) = place.parse::<usize>() else { return pointer.to_owned() };
            (place, rest)
        }
    };
    format!("/{}{rest}", first + place)
}

/// A request of several: its body, and the place of its first element in all of them.
struct Part {
    first: usize,
    /// How many elements it has.
    count: usize,
    body: Vec<u8>,
}

/// The body, or several where it is an array and one request takes fewer of its elements.
fn bodies(text: String, elements_max: Option<usize>) -> Vec<Part> {
    // What is no array is sent as it is: the handler says what is wrong, and where.
    let elements: Vec<Box<RawValue>> = serde_json::from_str(&text).unwrap_or_default();
    match elements_max {
        None if !elements.is_empty() => {
            let texts = elements.iter().map(|element| element.get());
            texts.enumerate().map(|(first, text)| Part { first, count: 1, body: text.into() }).collect()
        }
        Some(max) if !elements.is_empty() && (elements.len() > max || text.len() > HTTP_BODY_BYTES_MAX) => {
            requests(&elements, max)
        }
        _ => vec![Part { first: 0, count: elements.len(), body: text.into_bytes() }],
    }
}

/// Bodies of as many elements as one request takes.
fn requests(elements: &[Box<RawValue>], max: usize) -> Vec<Part> {
    let mut bodies: Vec<(usize, Vec<u8>)> = Vec::new();
    for element in elements {
        let element = element.get().as_bytes();
        // The comma before it, the bracket behind it.
        let fits = |(count, body): &&mut (usize, Vec<u8>)| {
            *count < max && body.len() + element.len() + 2 <= HTTP_BODY_BYTES_MAX
        };
        match bodies.last_mut().filter(fits) {
            Some((count, body)) => {
                *count += 1;
                body.push(b',');
                body.extend_from_slice(element);
            }
            None => bodies.push((1, [b"[", element].concat())),
        }
    }
    let parts = bodies.into_iter().scan(0, |next, (count, body)| {
        let first = std::mem::replace(next, *next + count);
        Some(Part { first, count, body: [body.as_slice(), b"]"].concat() })
    });
    parts.collect()
}

async fn read(file: &Path) -> Result<String, CommandError> {
    if file.as_os_str() == "-" {
        let read = tokio::task::spawn_blocking(|| {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        });
        let read = read.await.map_err(|error| CommandError::Failed(error.to_string()))?;
        return read.map_err(CommandError::io("standard input"));
    }
    tokio::fs::read_to_string(file).await.map_err(CommandError::io(file.display().to_string()))
}
