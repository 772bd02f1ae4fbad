//! `sim --console`: one run, stopped at any point, looked at in a browser.

use crate::{App, error::CommandError, print::line, signal::signal};
use quadrille::{
    Timestamp,
    console::{Console, Stage},
    excerpt,
    http::{Problem, Request, Response},
    operator::{Api, OPERATOR},
    server::{EventStream, Server, ServerConfig, Service},
    sim::{Options, Simulator, Tape, Until},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, oneshot};

/// Questions that wait for the thread that simulates.
const WAITING_MAX: usize = 16;

/// Where somebody wants to go.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Travel {
    /// To this step.
    ToStep(u64),
    /// So many steps on.
    BySteps(u64),
    /// To this time.
    ToTime(Timestamp),
}

/// A point of the run.
#[derive(Clone)]
struct Point {
    step: u64,
    clock: Value,
    console: Console<Api>,
}

type Asked = (Until, oneshot::Sender<Point>);

/// The consoles of all points of a run, one at a time.
struct Travelling {
    point: Mutex<Point>,
    ask: mpsc::Sender<Asked>,
}

/// Serves the console of the run that such tapes make, until ctrl-C or SIGTERM.
pub fn serve(
    app: &App<'_>,
    simulator: &Simulator<'_>,
    tape: impl Fn() -> Tape,
    options: &Options,
    port: u16,
) -> Result<(), CommandError> {
    let end = simulator.paused(&tape(), options, Until::End);
    let (steps, broken) = (end.turns, end.violation);
    let at = |until: Until| {
        let paused = simulator.paused(&tape(), options, until);
        let clock = json!({ "now": paused.now, "step": paused.turns, "steps": steps, "is_at_end": paused.is_at_end,
            "faults": paused.are_faults_on });
        let api = Api::new(paused.pipeline.clone());
        Point { step: paused.turns, clock, console: Console::new(api, paused.pipeline, Stage::Simulated) }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(CommandError::io("the server's threads"))?;
    let (ask, mut asked) = mpsc::channel::<Asked>(WAITING_MAX);
    // Where it fails there is most to see.
    let point = at(Until::End);
    let path = point.console.path();
    let service = Travelling { point: Mutex::new(point), ask };
    let served = runtime.spawn(async move {
        let config = ServerConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let server = Server::bind(config, service).await?;
        let ended = signal()?;
        line(format_args!(
            "the console of the run, stopped at its end: http://{}{path}",
            server.local_addr()
        ));
        server.run(ended).await;
        Ok::<_, CommandError>(())
    });
    match &broken {
        Some(violation) => {
            let (name, detail) = (app.system.name(), excerpt(&violation.detail, 500));
            line(format_args!("{name}: {:?} does not hold: {detail}; {steps} steps", violation.property));
        }
        None => line(format_args!("{}: all properties hold; {steps} steps", app.system.name())),
    }
    // A run is played by one thread. It ends with the service, which holds the other end.
    while let Some((until, answer)) = asked.blocking_recv() {
        // Somebody who has gone needs no answer.
        let _ = answer.send(at(until));
    }
    runtime.block_on(served).map_err(|error| CommandError::Failed(error.to_string()))?
}

impl Travelling {
    fn point(&self) -> MutexGuard<'_, Point> {
        self.point.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn console(&self) -> Console<Api> {
        self.point().console.clone()
    }

    async fn travel(&self, request: &Request) -> Response {
        if !request.is_json() {
            return Problem::new(415, "unsupported_media_type", "send application/json").into();
        }
        let until = match serde_json::from_slice(&request.body) {
            Ok(Travel::ToStep(step)) => Until::Turn(step),
            Ok(Travel::BySteps(steps)) => Until::Turn(self.point().step.saturating_add(steps)),
            Ok(Travel::ToTime(time)) => Until::Time(time),
            Err(error) => return Problem::new(400, "invalid_request", error).into(),
        };
        let (answer, answered) = oneshot::channel();
        let gone = || Problem::new(503, "stopping", "the simulation ends").into();
        if self.ask.send((until, answer)).await.is_err() {
            return gone();
        }
        let Ok(point) = answered.await else { return gone() };
        let clock = Response::json(200, &point.clock);
        *self.point() = point;
        clock
    }
}

impl Service for Travelling {
    async fn respond(&self, method: &str, path: &str, request: Request) -> Response {
        match (method, path.strip_prefix(OPERATOR)) {
            ("GET", Some("clock")) => Response::json(200, &self.point().clock),
            ("POST", Some("clock")) => self.travel(&request).await,
            (_, Some("clock")) => Problem::method_not_allowed(method, "GET, HEAD, POST"),
            _ => {
                let console = self.console();
                console.respond(method, path, request).await
            }
        }
    }

    fn listen(&self, method: &str, path: &str, request: &Request) -> Option<Result<EventStream, Response>> {
        self.console().listen(method, path, request)
    }

    fn is_open(&self, path: &str) -> bool {
        self.console().is_open(path)
    }
}
