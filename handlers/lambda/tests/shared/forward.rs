//! What stands before the peer hands requests on by this.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Hands a request on.
pub async fn forward(peer: &str, request: Request<Bytes>) -> Response<Bytes> {
    let connection = TcpStream::connect(peer).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(connection)).await.unwrap();
    let connection = tokio::spawn(connection);
    let (mut head, body) = request.into_parts();
    head.headers.remove(header::TRANSFER_ENCODING);
    if head.method != "GET" {
        head.headers.insert(header::CONTENT_LENGTH, body.len().into());
    }
    let answer = sender.send_request(Request::from_parts(head, Full::new(body))).await.unwrap();
    let (mut head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    connection.abort();
    // The body is whole now, however it came.
    head.headers.remove(header::TRANSFER_ENCODING);
    Response::from_parts(head, body)
}
