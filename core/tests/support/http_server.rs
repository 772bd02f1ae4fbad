//! A server on the loopback address that answers as a test says, for tests of what calls others.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;

/// A server on the loopback address. `answer` is given every request, with its body; none hangs for ever.
pub async fn serve<F>(answer: F) -> SocketAddr
where
    F: Fn(Request<Bytes>) -> Option<Response<Full<Bytes>>> + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(converse(stream, answer));
        }
    });
    address
}

/// Answers one connection.
pub async fn converse<F, S>(stream: S, answer: Arc<F>)
where
    F: Fn(Request<Bytes>) -> Option<Response<Full<Bytes>>>,
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = Arc::clone(&answer);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            match answer(Request::from_parts(head, body)) {
                Some(response) => Ok::<_, Infallible>(response),
                None => std::future::pending().await,
            }
        }
    });
    let _closed = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

pub fn response(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(body.into())).unwrap()
}
