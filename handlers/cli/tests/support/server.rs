//! An HTTP server that answers as a test says, and remembers what it was asked.
#![allow(dead_code)] // Each test binary uses a part of it.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// With the query, still percent-encoded.
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// The same, byte by byte.
    pub bytes: Vec<u8>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A status and a body.
    Is(u16, String),
    /// A status, and how many seconds not to ask again.
    Later(u16, u64),
    /// Nothing, ever.
    Never,
}

impl Reply {
    pub fn ok(body: impl Into<String>) -> Self {
        Self::Is(200, body.into())
    }
}

/// A server on the loopback address, until it is dropped.
pub struct Server {
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    runtime: Option<Runtime>,
}

impl Server {
    /// Starts a server. `answer` runs where it may block, and for several requests at the same time.
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // Not by the runtime: a test may have one of its own already.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&asked));
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answer), Arc::clone(&log)));
            }
        });
        Self { address, asked, runtime: Some(runtime) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far, in the order in which it came.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Answers that never come must not hold up the test.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve<F>(stream: TcpStream, answer: Arc<F>, log: Arc<Mutex<Vec<Asked>>>)
where
    F: Fn(&Asked) -> Reply + Send + Sync + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let headers = head.headers.iter();
            let asked = Asked {
                method: head.method.to_string(),
                path: head.uri.to_string(),
                headers: headers
                    .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
                    .collect(),
                body: String::from_utf8_lossy(&body).into_owned(),
                bytes: body.to_vec(),
            };
            log.lock().unwrap().push(asked.clone());
            let reply = tokio::task::spawn_blocking(move || answer(&asked)).await;
            match reply.unwrap_or(Reply::Never) {
                Reply::Is(status, body) => {
                    let mut response = Response::new(Full::new(Bytes::from(body)));
                    *response.status_mut() = status.try_into().unwrap();
                    Ok::<_, Infallible>(response)
                }
                Reply::Later(status, seconds) => {
                    let mut response = Response::new(Full::default());
                    *response.status_mut() = status.try_into().unwrap();
                    response.headers_mut().insert("retry-after", seconds.into());
                    Ok(response)
                }
                Reply::Never => std::future::pending().await,
            }
        }
    });
    // A client that goes away is none of ours.
    let _closed = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
