//! The one outgoing HTTP client: HTTP/1.1 over TCP or TLS.
//!
//! It is hyper's own client with rustls on ring: most of it is in the build already, and ring needs nothing but a C
//! compiler. The roots are Mozilla's, bundled (`webpki-roots`): a Lambda, a container without a certificate folder
//! and a laptop trust the same authorities, and nothing is read from a disk at a cold start. An authority that only
//! the machine trusts is therefore not trusted here, and no proxy of the environment is used.
//!
//! A URL may be a secret (whoever knows a webhook's can post to it), so no error, no `Debug` and no log of this
//! module has more of it than scheme and host.

use crate::{failure::excerpt, timestamp::Timestamp};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response, Uri,
    body::Body as _,
    body::Incoming,
    header::{DATE, RETRY_AFTER, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use jiff::fmt::rfc2822;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::{error::Error, fmt, io, sync::Arc, time::Duration};

pub use hyper::Method;

/// How long an unused connection is kept. Our own limit, just under the 5 s after which common servers close one
/// (Node.js, `server.keepAliveTimeout`): a request must not meet a connection that is being closed.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// How much of an error's text is kept, in bytes. Our own limit.
const DETAIL_BYTES_MAX: usize = 256;

/// What the client calls itself.
const AGENT: &str = concat!("quadrille/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer, or no client. No variant holds more of a URL than its host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpClientError {
    /// The request can't be sent as it is: a malformed URL or header. Nothing was sent.
    #[error("the request can not be sent: {0}")]
    Request(&'static str),
    /// No whole answer came within the client's timeout. The server may have acted.
    #[error("no whole answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// There was no connection, or it broke before the answer was whole. The server may have acted.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection could not be secured: an untrusted or expired certificate, or a server that speaks no TLS.
    #[error("no secure connection: {0}")]
    Tls(String),
    /// The answer's body is longer than the caller allows. The status is known, and the server has acted.
    #[error("an answer of more than {bytes_max} bytes, with status {status}")]
    TooLarge {
        /// The answer's status, for a caller that needs nothing else of it.
        status: u16,
        /// The caller's limit, in bytes.
        bytes_max: usize,
    },
    /// The answer is not HTTP/1.1.
    #[error("an answer that is not HTTP/1.1: {0}")]
    Protocol(String),
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Its status.
    pub status: u16,
    /// How long the server asks not to be asked again (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// The time by the server's clock, to the second (`Date`).
    pub date: Option<Timestamp>,
    /// Its body; `None` where that is longer than the caller allows.
    pub body: Option<Vec<u8>>,
}

/// What `Date` says.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = rfc2822::parse(headers.get(DATE)?.to_str().ok()?.trim()).ok()?;
    Some(Timestamp::from_millis(date.timestamp().as_millisecond()))
}

/// What `Retry-After` says: seconds, or a date, which is held against the server's own `Date`. Anything else says nothing.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let after = text(RETRY_AFTER)?;
    if after.bytes().all(|byte| byte.is_ascii_digit()) {
        return after.parse().ok().map(Duration::from_secs);
    }
    let second = |date: &str| Some(rfc2822::parse(date).ok()?.timestamp().as_second());
    let wait = second(after)?.saturating_sub(second(text(DATE)?)?);
    Some(Duration::from_secs(u64::try_from(wait).unwrap_or(0)))
}

/// Sends requests and reads answers whole. Cheap to clone; clones share their connections.
///
/// Redirects are not followed: an answer of 3xx is an answer like any other.
#[derive(Clone)]
pub struct HttpClient {
    /// Shared, for it is large where another crate of the build has hyper speak HTTP/2.
    client: Arc<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
    timeout: Duration,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl HttpClient {
    /// A client whose every request has `timeout` from its start (the name's resolution) to the last byte of the
    /// answer.
    ///
    /// # Errors
    /// [`HttpClientError::Tls`] where TLS can't be set up.
    pub fn new(timeout: Duration) -> Result<Self, HttpClientError> {
        Self::trusting(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(), timeout)
    }

    fn trusting(roots: RootCertStore, timeout: Duration) -> Result<Self, HttpClientError> {
        // The provider is named, since rustls can't choose one where a second is linked in.
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| HttpClientError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared out among the addresses of a host, so that a dead one leaves time for the next.
        tcp.set_connect_timeout(Some(timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { client: Arc::new(client), timeout })
    }

    /// Sends one request and reads its answer: the status, whatever it is, and the body of at most
    /// `response_bytes_max` bytes.
    ///
    /// It is sent once, and perhaps a second time where a kept connection turns out to be closed before any of it
    /// was written.
    ///
    /// # Errors
    /// [`HttpClientError`], where there is no whole answer.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, &str)],
        body: Option<Vec<u8>>,
        response_bytes_max: usize,
    ) -> Result<(u16, Vec<u8>), HttpClientError> {
        let answer = self.exchange(method, url, headers, body, response_bytes_max).await?;
        let (status, bytes_max) = (answer.status, response_bytes_max);
        answer.body.map(|body| (status, body)).ok_or(HttpClientError::TooLarge { status, bytes_max })
    }

    /// [`send`](Self::send), for a caller to whom the answer's head says something where its body is too long.
    ///
    /// # Errors
    /// [`HttpClientError`], where there is no whole answer.
    pub async fn exchange(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, &str)],
        body: Option<Vec<u8>>,
        response_bytes_max: usize,
    ) -> Result<HttpAnswer, HttpClientError> {
        let request = request(method, url, headers, body)?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| self.classify(&error))?;
            self.read(response, response_bytes_max).await
        };
        self.within_time(exchange).await
    }

    /// GET of an answer that may have no end, such as server-sent events: it is read piece by piece. Its head has the client's
    /// timeout, and so has each piece.
    ///
    /// # Errors
    /// [`HttpClientError`], where no head comes.
    pub async fn stream(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<HttpStream, HttpClientError> {
        let request = request(Method::GET, url, headers, None)?;
        let head = async { self.client.request(request).await.map_err(|error| self.classify(&error)) };
        let response = self.within_time(head).await?;
        let (status, client) = (response.status().as_u16(), self.clone());
        Ok(HttpStream { status, body: response.into_body(), client })
    }

    async fn within_time<T>(
        &self,
        asked: impl Future<Output = Result<T, HttpClientError>>,
    ) -> Result<T, HttpClientError> {
        let timeout = Err(HttpClientError::Timeout(self.timeout));
        tokio::time::timeout(self.timeout, asked).await.unwrap_or(timeout)
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        bytes_max: usize,
    ) -> Result<HttpAnswer, HttpClientError> {
        let (status, headers) = (response.status().as_u16(), response.headers());
        let too_large =
            HttpAnswer { status, retry_after: retry_after(headers), date: date(headers), body: None };
        let mut body = response.into_body();
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > bytes_max {
            return Ok(too_large);
        }
        let mut bytes = Vec::with_capacity(announced);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| self.classify(&error))?.into_data() else {
                continue;
            };
            if data.len() > bytes_max - bytes.len() {
                return Ok(too_large);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(HttpAnswer { body: Some(bytes), ..too_large })
    }

    /// What kind of error it is, by the layers it passed through. The text is that of the innermost: TCP, TLS and
    /// the name's resolution know the host and nothing else of the URL, and hyper's texts name nothing.
    fn classify(&self, error: &(dyn Error + 'static)) -> HttpClientError {
        let mut layer = error;
        loop {
            if let Some(tls) = layer.downcast_ref::<rustls::Error>() {
                return HttpClientError::Tls(excerpt(&tls.to_string(), DETAIL_BYTES_MAX));
            }
            if let Some(http) = layer.downcast_ref::<hyper::Error>()
                && (http.is_parse() || http.is_user())
            {
                return HttpClientError::Protocol(excerpt(&http.to_string(), DETAIL_BYTES_MAX));
            }
            let inner = match layer.downcast_ref::<io::Error>() {
                Some(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return HttpClientError::Timeout(self.timeout);
                }
                // What an I/O error wraps is not its source, but what stands for it.
                Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
                None => layer.source(),
            };
            match inner {
                Some(inner) => layer = inner,
                None => return HttpClientError::Connect(excerpt(&layer.to_string(), DETAIL_BYTES_MAX)),
            }
        }
    }
}

/// An answer whose body is read as it comes. No more of it is held than the connection's buffer has; dropped, it ends.
#[derive(Debug)]
pub struct HttpStream {
    status: u16,
    body: Incoming,
    client: HttpClient,
}

impl HttpStream {
    /// The answer's status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The next piece of the body, wherever it was cut on its way; `None` behind its end.
    ///
    /// # Errors
    /// [`HttpClientError`], where the connection breaks, or nothing comes within the client's timeout.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HttpClientError> {
        let Self { body, client, .. } = self;
        let piece = async {
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame.map_err(|error| client.classify(&error))?.into_data() {
                    return Ok(Some(data));
                }
            }
            Ok(None)
        };
        client.within_time(piece).await
    }
}

fn request(
    method: Method,
    url: &str,
    headers: &[(&'static str, &str)],
    body: Option<Vec<u8>>,
) -> Result<Request<Full<Bytes>>, HttpClientError> {
    let mut request = Request::builder().method(method).uri(parse_url(url)?).header(USER_AGENT, AGENT);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::from(body.unwrap_or_default());
    request.body(body).map_err(|_| HttpClientError::Request("a header is malformed"))
}

/// A URL the client can take: `http` or `https`, a host, and no credentials, since they would be dropped unsaid.
///
/// # Errors
/// [`HttpClientError::Request`] for any other; it does not repeat the URL.
pub fn parse_url(url: &str) -> Result<Uri, HttpClientError> {
    let url: Uri = url.parse().map_err(|_| HttpClientError::Request("the URL is malformed"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(HttpClientError::Request("the URL has neither http nor https"));
    }
    if url.host().is_none_or(str::is_empty) {
        return Err(HttpClientError::Request("the URL has no host"));
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(HttpClientError::Request("the URL has credentials"));
    }
    Ok(url)
}

/// What may be shown of a URL: scheme and host.
pub fn origin(url: &Uri) -> String {
    format!("{}://{}", url.scheme_str().unwrap_or_default(), url.host().unwrap_or_default())
}

#[cfg(test)]
#[path = "../tests/support/http_server.rs"]
pub(crate) mod http_server;

#[cfg(test)]
mod tests {
    use super::{
        http_server::{converse, response, serve},
        *,
    };
    use hyper::header::CONTENT_LENGTH;
    use rustls::pki_types::PrivateKeyDer;
    use std::net::SocketAddr;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    const TIMEOUT: Duration = Duration::from_secs(5);

    /// A server that takes one connection after the other and answers each with `bytes` before it closes it.
    async fn babble(bytes: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Readiness may be announced in vain, and who speaks before the request is another kind of broken.
                while stream.try_read(&mut [0; 4_096]).is_err() {
                    stream.readable().await.unwrap();
                }
                let _written = stream.try_write(bytes);
            }
        });
        address
    }

    async fn get(url: &str, bytes_max: usize) -> Result<(u16, Vec<u8>), HttpClientError> {
        HttpClient::new(TIMEOUT).unwrap().send(Method::GET, url, &[], None, bytes_max).await
    }

    #[tokio::test]
    async fn a_request_arrives_as_it_was_sent() {
        let server = serve(|request| {
            let seen =
                (request.method().as_str(), request.uri().to_string(), request.headers()["x-key"].as_bytes());
            assert_eq!(seen, ("PUT", "/a%2Fb?c=d".to_owned(), b"1/2".as_slice()));
            assert_eq!(request.headers()[CONTENT_LENGTH], "4");
            Some(response(418, request.into_body()))
        })
        .await;
        let client = HttpClient::new(TIMEOUT).unwrap();
        let url = format!("http://{server}/a%2Fb?c=d");
        let answer = client.send(Method::PUT, &url, &[("x-key", "1/2")], Some(b"body".to_vec()), 4).await;
        assert_eq!(answer, Ok((418, b"body".to_vec())));
    }

    #[test]
    fn a_servers_wish_not_to_be_asked_is_read_as_seconds_or_as_a_date() {
        let date = "Sun, 29 Nov 2026 18:00:00 GMT";
        for (after, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 29 Nov 2026 18:02:00 GMT", Some(120)),
            ("Sun, 29 Nov 2026 17:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("99999999999999999999999", None),
        ] {
            let headers = [(RETRY_AFTER, after), (DATE, date)];
            let headers = headers.map(|(name, value)| (name, value.parse().unwrap()));
            assert_eq!(
                retry_after(&headers.into_iter().collect()).map(|wait| wait.as_secs()),
                seconds,
                "{after:?}"
            );
        }
    }

    #[tokio::test]
    async fn redirects_are_answers() {
        let server = serve(|_| {
            let mut response = response(302, "");
            response.headers_mut().insert("location", "/elsewhere".parse().unwrap());
            Some(response)
        })
        .await;
        assert_eq!(get(&format!("http://{server}/"), 0).await, Ok((302, Vec::new())));
    }

    #[tokio::test]
    async fn errors_are_told_apart() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let refused = get(&format!("http://{closed}/secret"), 0).await;
        assert!(
            matches!(&refused, Err(HttpClientError::Connect(detail)) if detail.contains("refused")),
            "{refused:?}"
        );

        let silent = babble(b"").await;
        let broken = get(&format!("http://{silent}/secret"), 0).await;
        assert!(matches!(&broken, Err(HttpClientError::Connect(_))), "{broken:?}");

        let short = babble(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        let half = get(&format!("http://{short}/secret"), 9).await;
        assert!(matches!(&half, Err(HttpClientError::Connect(_))), "{half:?}");

        let garbage = babble(b"220 mail.example.net ESMTP\r\n\r\n").await;
        let protocol = get(&format!("http://{garbage}/secret"), 0).await;
        assert!(matches!(&protocol, Err(HttpClientError::Protocol(_))), "{protocol:?}");
        let tls = get(&format!("https://{garbage}/secret"), 0).await;
        assert!(matches!(&tls, Err(HttpClientError::Tls(_))), "{tls:?}");

        for error in [refused, broken, half, protocol, tls] {
            let error = error.unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_may_be_as_long_as_allowed() {
        let server = serve(|_| Some(response(200, "12345"))).await;
        let url = format!("http://{server}/");
        assert_eq!(get(&url, 5).await, Ok((200, b"12345".to_vec())));
        let too_large = Err(HttpClientError::TooLarge { status: 200, bytes_max: 4 });
        assert_eq!(get(&url, 4).await, too_large);
        // A length that is not announced is found out while reading.
        let chunked =
            babble(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n123\r\n2\r\n45\r\n0\r\n\r\n")
                .await;
        let url = format!("http://{chunked}/");
        assert_eq!(get(&url, 5).await, Ok((200, b"12345".to_vec())));
        assert_eq!(get(&url, 4).await, too_large);
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_read_as_it_comes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let timeout = Duration::from_millis(200);
        let client = HttpClient::new(timeout).unwrap();
        let asked = tokio::spawn(async move { client.stream(&url, &[("x-key", "1")]).await });
        let (mut server, _) = listener.accept().await.unwrap();
        let mut request = [0; 4_096];
        let read = server.read(&mut request).await.unwrap();
        assert!(String::from_utf8_lossy(&request[..read]).contains("x-key: 1"));
        server.write_all(b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        let mut stream = asked.await.unwrap().unwrap();
        assert_eq!(stream.status(), 201);
        for piece in ["one", "two"] {
            server.write_all(format!("3\r\n{piece}\r\n").as_bytes()).await.unwrap();
            assert_eq!(stream.next().await.unwrap().unwrap(), piece, "though there is no end yet");
        }
        // Each piece has the time anew, and not for ever.
        assert_eq!(stream.next().await, Err(HttpClientError::Timeout(timeout)));
        server.write_all(b"0\r\n\r\n").await.unwrap();
        assert_eq!(stream.next().await, Ok(None));

        let broken = babble(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        let client = HttpClient::new(TIMEOUT).unwrap();
        let mut stream = client.stream(&format!("http://{broken}/secret"), &[]).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "half");
        assert!(matches!(stream.next().await, Err(HttpClientError::Connect(_))));
        let refused = client.stream("nowhere", &[]).await;
        assert!(matches!(refused, Err(HttpClientError::Request(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn a_server_that_hangs_times_out() {
        let server = serve(|_| None).await;
        let timeout = Duration::from_millis(50);
        let client = HttpClient::new(timeout).unwrap();
        let answer = client.send(Method::GET, &format!("http://{server}/secret"), &[], None, 0).await;
        assert_eq!(answer, Err(HttpClientError::Timeout(timeout)));
    }

    #[tokio::test]
    async fn tls_is_spoken_with_those_it_trusts() {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = certified.cert.der().clone();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stream: TcpStream = stream;
                let Ok(stream) = acceptor.accept(stream).await else {
                    continue;
                };
                tokio::spawn(converse(stream, Arc::new(|_| Some(response(200, "secure")))));
            }
        });

        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let trusting = HttpClient::trusting(roots, TIMEOUT).unwrap();
        assert_eq!(trusting.send(Method::GET, &url, &[], None, 6).await, Ok((200, b"secure".to_vec())));
        let wary = get(&url, 6).await;
        assert!(matches!(&wary, Err(HttpClientError::Tls(_))), "{wary:?}");
    }

    #[tokio::test]
    async fn what_can_not_be_sent_is_refused() {
        let client = HttpClient::new(TIMEOUT).unwrap();
        for url in
            ["", "/path", "localhost", "ftp://host/", "http://", "http://user:secret@host/", "http://a b/"]
        {
            let refused = client.send(Method::GET, url, &[], None, 0).await;
            assert!(matches!(refused, Err(HttpClientError::Request(_))), "{url}: {refused:?}");
        }
        let refused = client.send(Method::GET, "http://localhost/", &[("a", "b\nc")], None, 0).await;
        assert_eq!(refused, Err(HttpClientError::Request("a header is malformed")));
        assert_eq!(format!("{client:?}"), "HttpClient { timeout: 5s, .. }");
        let url = parse_url("https://hooks.example.net/services/secret?secret").unwrap();
        assert_eq!(origin(&url), "https://hooks.example.net");
    }
}
