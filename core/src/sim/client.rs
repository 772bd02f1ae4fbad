//! Clients, who post until they are answered.

use super::{executor::TaskFuture, options::Options, ports::Nature, tape::Kind, world::Posted};
use crate::{http::Request, pipeline::Pipeline, port::Clock as _, system::Demo, timestamp::Timestamp};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The longest that a client waits before it asks again, in milliseconds.
const WAITS_MAX: u64 = 30_000;

/// The clients of a run, and what became of what they posted.
#[derive(Clone, Default)]
pub(super) struct Clients {
    posted: Arc<Mutex<Vec<Posted>>>,
    /// Those that have had no answer yet.
    waiting: Arc<AtomicU64>,
}

impl Clients {
    /// What was posted so far.
    pub(super) fn posted(&self) -> MutexGuard<'_, Vec<Posted>> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether each has had its answer.
    pub(super) fn are_answered(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    /// Clients who post, within the first half of the time, what a demonstration does.
    pub(super) fn start(
        &self,
        nature: &Arc<Nature>,
        demo: Arc<dyn Demo>,
        pipeline: Pipeline,
        options: &Options,
        begin: Timestamp,
    ) -> TaskFuture {
        let id = |number: u64| format!("{}-{number}", demo.kind());
        let first = demo.before(&id(1), options.orders);
        let half = options.minutes * 60_000 / 2;
        let (mut number, mut requests) = (1, Vec::new());
        while number <= options.orders {
            let most = u64::try_from(demo.batch()).unwrap_or(1).clamp(1, 4);
            let count = (nature.tape.choose(Kind::Client, most) + 1).min(options.orders + 1 - number);
            let ids: Vec<String> = (number..number + count).map(id).collect();
            number += count;
            let after = Duration::from_millis(nature.tape.choose(Kind::Client, half.max(1)));
            requests.push((begin + after, ids));
        }
        self.waiting.store(requests.len() as u64, Ordering::Relaxed);
        let client = Client { demo, pipeline, nature: Arc::clone(nature), clients: self.clone() };
        Box::pin(async move {
            for (step, body) in first {
                client.ask(step, &body).await;
            }
            let requests = requests.into_iter().map(|(at, ids)| client.post(at, ids));
            futures_util::future::join_all(requests).await;
        })
    }
}

/// Who posts.
struct Client {
    demo: Arc<dyn Demo>,
    pipeline: Pipeline,
    nature: Arc<Nature>,
    clients: Clients,
}

impl Client {
    async fn post(&self, at: Timestamp, ids: Vec<String>) {
        self.nature.clock.sleep_until(at).await;
        let status = self.ask(self.demo.step(), &self.demo.body(&ids)).await;
        let entity = |id: &String| self.demo.entity(id).unwrap_or_else(|| id.clone());
        let posted = ids.iter().map(|id| Posted { id: id.clone(), entity: entity(id), status });
        self.clients.posted().extend(posted);
        for (step, body) in self.demo.then(&ids) {
            self.ask(step, &body).await;
        }
        self.clients.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Asks until there is an answer that says yes or no.
    async fn ask(&self, step: &str, body: &serde_json::Value) -> u16 {
        loop {
            let headers = [("content-type".to_owned(), "application/json".to_owned())].into();
            let request = Request { body: body.to_string().into(), headers, ..Request::default() };
            let asked = self.nature.mortal(self.pipeline.invoke(step, request)).await;
            let status = asked.and_then(Result::ok).map_or(503, |response| response.status);
            self.nature.trace.tell(self.nature.now(), &["client", step, &status.to_string()]);
            if status < 500 && status != 429 {
                return status;
            }
            let wait = Duration::from_millis(self.nature.tape.choose(Kind::Client, WAITS_MAX) + 1);
            self.nature.clock.sleep_until(self.nature.now() + wait).await;
        }
    }
}
