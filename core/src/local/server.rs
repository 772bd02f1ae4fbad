//! The HTTP server of the local engine: HTTP/1.1 on one address, for programs on this machine and for those that have
//! the token.
//!
//! It listens where web pages the user visits can reach it, so it trusts no request for having arrived. A `Host` that
//! is not its own is refused (a page may have its name resolve to 127.0.0.1), and so is a browser's request from
//! another site. Everything a client can make it hold is bounded: header, body, time, connections.
//!
//! A service gets whole requests only, and may stop in the middle of one: a client that goes away takes its request
//! with it. Errors are problems (RFC 9457), but for what is not HTTP or has too large a header: hyper answers that
//! with an empty 400, 414 or 431.

use crate::{
    http::{Problem, Request, Response},
    limits::HTTP_BODY_BYTES_MAX,
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, StatusCode,
    body::{Body as _, Incoming},
    header::{self, HeaderMap, HeaderName, HeaderValue},
    http::request::Parts,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    future::poll_fn,
    hint::black_box,
    io,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, Sleep, sleep, timeout, timeout_at},
};

/// Request line and headers at most. Ours; API Gateway takes 10 KB of headers.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// What hyper buffers of a connection at most.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long, and for how many bytes, a client that was refused may go on sending: closed before it has finished, its
/// connection would be reset, and the answer lost with it.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Until the next try, where a connection can't be accepted: mostly there are too many open files.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Answered without the token: it tells whether the service works and nothing else.
const HEALTH_PATH: &str = "/healthz";

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request, whatever its method (a HEAD is asked as a GET); `path` is as it was sent, still
    /// percent-encoded. The future is dropped where the client goes away.
    fn respond(&self, method: &str, path: &str, request: Request) -> impl Future<Output = Response> + Send;
}

/// A secret that a client shows to be let in. Never printed.
#[derive(Clone)]
pub struct Token(String);

/// A token that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token is {} to {} visible ASCII characters without spaces; `openssl rand -hex 32` makes a good one",
    Token::BYTES_MIN,
    Token::BYTES_MAX
)]
pub struct TokenError;

impl Token {
    /// Shortest token, in bytes. Ours: 16 hexadecimal digits are 64 bits.
    pub const BYTES_MIN: usize = 16;

    /// Longest token, in bytes. Ours: it has to fit in a header.
    pub const BYTES_MAX: usize = 4_096;

    /// A token of 16 to 4,096 visible ASCII characters.
    ///
    /// # Errors
    /// [`TokenError`] where it is shorter, longer, or holds another character.
    pub fn new(secret: String) -> Result<Self, TokenError> {
        let fits = (Self::BYTES_MIN..=Self::BYTES_MAX).contains(&secret.len());
        if fits && secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(secret))
        } else {
            Err(TokenError)
        }
    }

    /// Whether `given` is the token. How long it takes depends on the lengths and not on how much of the token was
    /// guessed: every byte is compared, whatever the ones before it were.
    fn is(&self, given: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let differences =
            secret.iter().zip(given).fold(0, |found, (one, other)| black_box(found | (one ^ other)));
        secret.len() == given.len() && differences == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes any that is free.
    pub address: SocketAddr,
    /// Names, beside those of this machine, under which clients reach it: `example.org` with any port, or
    /// `example.org:8443`.
    pub hosts: Vec<String>,
    /// What clients have to show; required unless the address is one of the loopback.
    pub token: Option<Token>,
    /// Largest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// For a whole request, from its first byte to its last. Also how long a connection may idle, and how long a
    /// client may take none of its answer.
    pub read_timeout: Duration,
    /// Connections at once, at least 1; further ones wait until the operating system gives them to us.
    pub connections_max: usize,
    /// How long requests in hand may take to finish when the server is stopped.
    pub grace: Duration,
}

impl ServerConfig {
    /// The defaults: this machine's names, no token, bodies of 1 MiB, 10 s to read a request, 512 connections, 10 s
    /// of grace.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            hosts: Vec::new(),
            token: None,
            body_bytes_max: HTTP_BODY_BYTES_MAX,
            read_timeout: Duration::from_secs(10),
            connections_max: 512,
            grace: Duration::from_secs(10),
        }
    }
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another program listens there.
    #[error(
        "{address} is in use; stop what listens there, or choose another port (0 takes any that is free)"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// Other machines can reach the address, and nothing would keep them out.
    #[error("{address} can be reached from other machines; set a token, or listen on 127.0.0.1")]
    TokenRequired {
        /// The address.
        address: SocketAddr,
    },
    /// The operating system refused the address.
    #[error("can't listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A server that listens. Clients can connect from here on; they are answered once it runs.
#[derive(Debug)]
pub struct Server<S> {
    listener: TcpListener,
    address: SocketAddr,
    config: ServerConfig,
    service: S,
}

impl<S: Service> Server<S> {
    /// Listens at the configuration's address.
    ///
    /// # Errors
    /// [`ServerError`]: the address is in use, can't be had, or needs a token.
    pub async fn bind(config: ServerConfig, service: S) -> Result<Self, ServerError> {
        let address = config.address;
        if !address.ip().to_canonical().is_loopback() && config.token.is_none() {
            return Err(ServerError::TokenRequired { address });
        }
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ServerError::AddressInUse { address },
            _ => ServerError::Bind { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, config, service })
    }

    /// Where it listens, with the port it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `shutdown` is done; then accepts no more, lets those in hand finish, for
    /// [`ServerConfig::grace`] at most, and returns.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, address, config, service } = self;
        let mut shutdown = pin!(shutdown);
        let seats = Arc::new(Semaphore::new(config.connections_max.max(1)));
        let (stop, stopping) = watch::channel(());
        let grace = config.grace;
        let door = Arc::new(Door::new(address, config, service));
        let mut connections = JoinSet::new();
        loop {
            let accepted = async {
                let seat = Arc::clone(&seats).acquire_owned().await;
                (seat, listener.accept().await)
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                (seat, accepted) = accepted => match accepted {
                    Ok((stream, _)) => {
                        let connection = serve(stream, Arc::clone(&door), stopping.clone());
                        connections.spawn(connection.map(|()| drop(seat)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(ACCEPT_AGAIN_AFTER).await;
                    }
                },
            }
            while connections.try_join_next().is_some() {}
        }
        drop((listener, stop));
        let finished = async { while connections.join_next().await.is_some() {} };
        if timeout(grace, finished).await.is_err() {
            tracing::warn!(left = connections.len(), "requests were not finished in time and are cut off");
            connections.shutdown().await;
        }
    }
}

/// Serves one connection, until it or the server ends.
async fn serve<S: Service>(stream: TcpStream, door: Arc<Door<S>>, mut stopping: watch::Receiver<()>) {
    // Best effort: it makes small answers faster and nothing else.
    let _ = stream.set_nodelay(true);
    let progress = Arc::new(Progress::default());
    let read_timeout = door.config.read_timeout;
    let watched = Watched { stream, progress: Arc::clone(&progress), stall: read_timeout, stalled: None };
    let answering = Arc::clone(&progress);
    let service = service_fn(move |request| {
        let (door, progress) = (Arc::clone(&door), Arc::clone(&answering));
        Box::pin(async move { Ok::<_, Infallible>(door.answer(request, &progress).await) })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(read_timeout)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(watched), service);
    let mut told = false;
    let served = loop {
        tokio::select! {
            biased;
            // First: a connection that ended by itself is no longer to be told.
            served = poll_fn(|context| connection.poll_without_shutdown(context)) => break served,
            _ = stopping.changed(), if !told => {
                told = true;
                if !progress.begun.load(Ordering::Relaxed) {
                    return;
                }
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let refused = match served {
        Ok(()) => progress.unread.load(Ordering::Relaxed),
        Err(error) => {
            tracing::debug!(%error, "a connection ended with an error");
            error.is_parse()
        }
    };
    linger(connection.into_parts().io.into_inner().stream, refused).await;
}

/// Closes a connection so that the answer survives: what the client has sent is read first, and, where it was refused,
/// what it is still sending.
async fn linger(mut stream: TcpStream, refused: bool) {
    let drained = async {
        poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context)).await?;
        let mut buffer = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match stream.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && refused => {
                    stream.readable().await?
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    // The connection ends here in any case.
    let _: Result<io::Result<()>, _> = timeout(LINGER_MAX, drained).await;
}

/// What is known of the request a connection is at.
#[derive(Default)]
struct Progress {
    /// When its first byte arrived.
    since: Mutex<Option<Instant>>,
    /// Anything arrived at all.
    begun: AtomicBool,
    /// It was answered before it was read to its end.
    unread: AtomicBool,
}

impl Progress {
    fn arrived(&self) {
        self.begun.store(true, Ordering::Relaxed);
        self.since.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    fn take_since(&self) -> Option<Instant> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A stream that notes when a request begins, and fails where the peer takes nothing for too long.
struct Watched {
    stream: TcpStream,
    progress: Arc<Progress>,
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn unless_stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stall = self.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.progress.arrived();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.unless_stalled(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.unless_stalled(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What every request passes before the service sees it.
struct Door<S> {
    config: ServerConfig,
    /// `host:port` by which this machine's programs reach the server, in lower case.
    names: Vec<String>,
    service: S,
}

/// An answer of the server itself.
struct Refusal {
    problem: Response,
    /// A header that belongs to it.
    header: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    fn new(status: u16, name: &str, detail: impl fmt::Display) -> Self {
        Self { problem: Problem::new(status, name, detail).into(), header: None }
    }

    fn with(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }
}

impl<S: Service> Door<S> {
    fn new(address: SocketAddr, mut config: ServerConfig, service: S) -> Self {
        let port = address.port();
        let mut names = vec![address.to_string()];
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            names.push(format!("{host}:{port}"));
        }
        if port == 80 {
            // The port that is left out.
            names.extend(names.clone().iter().map(|name| without_port(name).to_owned()));
        }
        config.hosts.iter_mut().for_each(|host| host.make_ascii_lowercase());
        Self { config, names, service }
    }

    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
        progress: &Progress,
    ) -> hyper::Response<Full<Bytes>> {
        let since = progress.take_since().unwrap_or_else(Instant::now);
        let (head, body) = request.into_parts();
        let mut unread = !body.is_end_stream();
        let answered = self.pass(&head, body, since + self.config.read_timeout, &mut unread).await;
        let mut response = match answered {
            Ok(response) => written(response),
            Err(refusal) => {
                let mut response = written(refusal.problem);
                if let Some((name, value)) = refusal.header {
                    response.headers_mut().insert(name, HeaderValue::from_static(value));
                }
                response
            }
        };
        if unread {
            progress.unread.store(true, Ordering::Relaxed);
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // What has arrived by now belongs to the next request, whose time begins when it is its turn.
        progress.take_since();
        response
    }

    async fn pass(
        &self,
        head: &Parts,
        body: Incoming,
        deadline: Instant,
        unread: &mut bool,
    ) -> Result<Response, Refusal> {
        self.check_host(head)?;
        self.check_site(&head.headers)?;
        let method = if head.method == Method::HEAD { "GET" } else { head.method.as_str() };
        if !(method == "GET" && head.uri.path() == HEALTH_PATH) {
            self.check_token(&head.headers)?;
        }
        let body = self.read(body, deadline).await?;
        *unread = false;
        let request = Request {
            parameters: BTreeMap::new(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: self.readable(&head.headers),
            body,
        };
        let answered =
            AssertUnwindSafe(self.service.respond(method, head.uri.path(), request)).catch_unwind().await;
        answered.map_err(|_| {
            tracing::error!(method, path = head.uri.path(), "a request's handler panicked");
            Refusal::new(500, "panicked", "the request could not be finished; the engine's log tells why")
        })
    }

    fn check_host(&self, head: &Parts) -> Result<(), Refusal> {
        let mut hosts = head.headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(Refusal::new(400, "host_required", "a request has exactly one Host header"));
        };
        // The request line may name a host too, and then that one counts (RFC 9112, 3.2.2).
        let named = head.uri.authority().map(|authority| authority.as_str());
        let all_own =
            host.to_str().is_ok_and(|host| self.is_own(host)) && named.is_none_or(|name| self.is_own(name));
        if all_own {
            return Ok(());
        }
        let detail = format_args!(
            "this server is not {host:?}; to reach it by that name, start it with that host allowed"
        );
        Err(Refusal::new(421, "other_host", detail))
    }

    fn check_site(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let is_own = |origin: &HeaderValue| {
            let origin = origin.to_str().unwrap_or_default();
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            host.is_some_and(|host| self.is_own(host))
        };
        let cross_site = headers.get_all("sec-fetch-site").iter().any(|site| site == "cross-site");
        if !cross_site && headers.get_all(header::ORIGIN).iter().all(is_own) {
            return Ok(());
        }
        Err(Refusal::new(403, "cross_site", "a web page of another site may not use this server"))
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.config.token else {
            return Ok(());
        };
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        if let (Some(given), None) = (given.next(), given.next())
            && let Some((scheme, given)) = given.as_bytes().split_at_checked("Bearer ".len())
            && scheme.eq_ignore_ascii_case(b"Bearer ")
            && token.is(given)
        {
            return Ok(());
        }
        let refusal = Refusal::new(
            401,
            "token_required",
            "send `Authorization: Bearer <token>` with the engine's token",
        );
        Err(refusal.with(header::WWW_AUTHENTICATE, "Bearer"))
    }

    /// Whether a host, with its port, is one of ours.
    fn is_own(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let is_extra = |extra: &String| *extra == host || extra == without_port(&host);
        self.names.contains(&host) || self.config.hosts.iter().any(is_extra)
    }

    /// The whole body.
    async fn read(&self, mut body: Incoming, deadline: Instant) -> Result<Bytes, Refusal> {
        let bytes_max = self.config.body_bytes_max;
        let too_large = || Refusal { problem: Problem::body_too_large(bytes_max).into(), header: None };
        if usize::try_from(body.size_hint().lower()).is_ok_and(|bytes| bytes <= bytes_max) {
            let whole = async {
                let mut whole = Vec::new();
                while let Some(frame) = body.frame().await {
                    let cut = |_| {
                        Refusal::new(400, "body_cut_off", "the body ended too early or is not well-formed")
                    };
                    let Ok(data) = frame.map_err(cut)?.into_data() else {
                        continue;
                    };
                    if data.len() > bytes_max - whole.len() {
                        return Err(too_large());
                    }
                    whole.extend_from_slice(&data);
                }
                Ok(Bytes::from(whole))
            };
            let slow = |_| {
                let limit = self.config.read_timeout;
                Refusal::new(
                    408,
                    "request_too_slow",
                    format_args!("the request was not read to its end within {limit:?}"),
                )
            };
            return timeout_at(deadline, whole).await.map_err(slow)?;
        }
        Err(too_large())
    }

    /// The headers a handler gets: those in UTF-8, without the token, which is no handler's business.
    fn readable(&self, headers: &HeaderMap) -> BTreeMap<String, String> {
        let is_token = |name: &HeaderName| self.config.token.is_some() && name == header::AUTHORIZATION;
        let readable = headers.iter().filter(|(name, _)| !is_token(name)).filter_map(|(name, value)| {
            let value = std::str::from_utf8(value.as_bytes()).ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        });
        readable.collect()
    }
}

/// A host without its port. An IPv6 address stands in brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// A response as hyper writes it, which adds the length.
fn written(response: Response) -> hyper::Response<Full<Bytes>> {
    let mut written = hyper::Response::new(Full::from(response.body));
    // Below 200 it would be no final answer.
    let status = StatusCode::from_u16(response.status).ok().filter(|status| !status.is_informational());
    *written.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_str(response.content_type);
    let headers = written.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    for (name, value) in response.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read as _, Write as _},
        net::{Shutdown, TcpStream as Client},
    };
    use tokio::{sync::Notify, task::JoinHandle};

    const SECRET: &str = "0123456789abcdef";

    /// Answers with what it was asked; `/hang` never does, `/held` when it is let go.
    #[derive(Clone, Debug, Default)]
    struct Echo {
        asked: Arc<Notify>,
        let_go: Arc<Notify>,
    }

    impl Service for Echo {
        async fn respond(&self, method: &str, path: &str, request: Request) -> Response {
            self.asked.notify_one();
            match path {
                "/hang" => std::future::pending().await,
                "/held" => self.let_go.notified().await,
                "/panic" => panic!("as asked"),
                _ => {}
            }
            let body = String::from_utf8_lossy(&request.body);
            Response::json(200, &(method, path, &request.query, &request.headers, body))
        }
    }

    struct Running {
        address: SocketAddr,
        echo: Echo,
        stop: Arc<Notify>,
        server: JoinHandle<()>,
    }

    async fn start(configure: impl FnOnce(&mut ServerConfig)) -> Running {
        let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
        configure(&mut config);
        let (echo, stop) = (Echo::default(), Arc::new(Notify::new()));
        let server = Server::bind(config, echo.clone()).await.unwrap();
        let address = server.local_addr();
        let stopped = Arc::clone(&stop);
        let server = tokio::spawn(server.run(async move { stopped.notified().await }));
        Running { address, echo, stop, server }
    }

    impl Running {
        fn connect(&self) -> Client {
            let client = Client::connect(self.address).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            client
        }

        /// Sends `HOST` replaced by the server's address, and reads until the server closes.
        fn exchange(&self, request: &str) -> String {
            let mut client = self.connect();
            client.write_all(request.replace("HOST", &self.address.to_string()).as_bytes()).unwrap();
            rest(&mut client)
        }
    }

    fn rest(client: &mut Client) -> String {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    /// One answer of a connection that stays open.
    fn next(client: &mut Client) -> String {
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n") {
            client.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let mut answer = String::from_utf8(answer).unwrap();
        let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let mut body = vec![0; length.parse().unwrap()];
        client.read_exact(&mut body).unwrap();
        answer.push_str(std::str::from_utf8(&body).unwrap());
        answer
    }

    #[track_caller]
    fn assert_problem(answer: &str, status: u16, name: &str) {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
        assert!(answer.contains(&format!(r#""type":"/problems/{name}""#)), "{answer}");
    }

    macro_rules! server_test {
        ($name:ident, $running:ident = $configure:expr, $body:block) => {
            // The clients block the test's thread; the server has its own.
            #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $name() {
                let $running = start($configure).await;
                $body
                $running.stop.notify_one();
                $running.server.await.unwrap();
            }
        };
    }

    server_test!(a_request_is_handed_over_as_it_was_sent, running = |_| {}, {
        let answer = running.exchange(
            "POST /orders/a%2Fb?x=%20&y HTTP/1.1\r\nHost: HOST\r\nX-One: 1\r\nX-Two: é\r\nConnection: close\r\n\
             Content-Length: 4\r\n\r\nbody",
        );
        let host = running.address;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        for header in
            ["content-type: application/json", "cache-control: no-store", "x-content-type-options: nosniff"]
        {
            assert!(answer.contains(&format!("{header}\r\n")), "{answer}");
        }
        let body = format!(
            r#"["POST","/orders/a%2Fb","x=%20&y",{{"connection":"close","content-length":"4","host":"{host}","x-one":"1","x-two":"é"}},"body"]"#
        );
        assert!(answer.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
    });

    server_test!(connections_are_kept_and_requests_pipelined, running = |_| {}, {
        let mut client = running.connect();
        let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", running.address);
        client.write_all(request("/1").as_bytes()).unwrap();
        assert!(next(&mut client).contains(r#"["GET","/1""#));
        client.write_all((request("/2") + &request("/3")).as_bytes()).unwrap();
        assert!(next(&mut client).contains(r#"["GET","/2""#));
        assert!(next(&mut client).contains(r#"["GET","/3""#));
        let chunked = "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
        client
            .write_all(
                (request("/post").replace("GET", "POST").trim_end().to_owned() + "\r\n" + chunked).as_bytes(),
            )
            .unwrap();
        assert!(next(&mut client).ends_with("\"body\"]"));
        // A refusal of a request that was read to its end ends no connection.
        client.write_all(request("/4").replace("Host: ", "Host: not.").as_bytes()).unwrap();
        assert_problem(&next(&mut client), 421, "other_host");
        client.write_all(request("/5").as_bytes()).unwrap();
        assert!(next(&mut client).contains(r#"["GET","/5""#));
    });

    server_test!(a_head_is_a_get_without_the_body, running = |_| {}, {
        let answer = running.exchange("HEAD /x HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(!answer.contains("content-length: 0\r\n") && answer.contains("content-length: "), "{answer}");
    });

    server_test!(every_method_is_the_services_to_answer, running = |_| {}, {
        for method in ["PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            let answer =
                running.exchange(&format!("{method} / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"));
            assert!(answer.contains(&format!(r#"["{method}","/""#)), "{answer}");
        }
    });

    server_test!(
        only_its_own_hosts_are_served,
        running = |config| config.hosts = vec!["Demo.test".into(), "x:1".into()],
        {
            let port = running.address.port();
            let ask = |host: &str| {
                running.exchange(&format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
            };
            for host in ["127.0.0.1", "localhost", "LocalHost", "[::1]"] {
                assert!(ask(&format!("{host}:{port}")).starts_with("HTTP/1.1 200 "), "{host}");
            }
            for host in ["demo.test", "DEMO.test:8443", "x:1"] {
                assert!(ask(host).starts_with("HTTP/1.1 200 "), "{host}");
            }
            let others = [
                "evil.test",
                "localhost",
                "127.0.0.1:1",
                "",
                "x",
                "x:2",
                "demo.test.evil.test",
                "evil.test:demo.test",
            ];
            for host in others {
                assert_problem(&ask(host), 421, "other_host");
            }
            assert_problem(&ask(&format!("evil@localhost:{port}")), 421, "other_host");
            // The request line's own host counts, whatever the header says.
            let answer =
                running.exchange("GET http://evil.test/ HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
            assert_problem(&answer, 421, "other_host");
            let answer =
                running.exchange("GET http://HOST/y HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
            assert!(answer.contains(r#"["GET","/y""#), "{answer}");
            assert_problem(
                &running.exchange("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"),
                400,
                "host_required",
            );
            let twice = "GET / HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\nConnection: close\r\n\r\n";
            assert_problem(&running.exchange(twice), 400, "host_required");
        }
    );

    server_test!(web_pages_of_other_sites_are_refused, running = |_| {}, {
        let ask = |header: &str| {
            running
                .exchange(&format!("POST / HTTP/1.1\r\nHost: HOST\r\n{header}\r\nConnection: close\r\n\r\n"))
        };
        let own = ["Origin: http://HOST", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"];
        for header in own {
            assert!(ask(header).starts_with("HTTP/1.1 200 "), "{header}");
        }
        let others = [
            "Origin: https://evil.test",
            "Origin: null",
            "Origin: http://127.0.0.1",
            "Origin: http://HOST.evil.test",
        ];
        for header in
            others.into_iter().chain(["Sec-Fetch-Site: cross-site", "Origin: http://HOST\r\nOrigin: null"])
        {
            assert_problem(&ask(header), 403, "cross_site");
        }
    });

    server_test!(
        the_token_is_asked_for,
        running = |config| config.token = Some(Token::new(SECRET.into()).unwrap()),
        {
            let ask = |request: &str, header: &str| {
                running.exchange(&format!(
                    "{request} HTTP/1.1\r\nHost: HOST\r\n{header}Connection: close\r\n\r\n"
                ))
            };
            let shown = format!("Authorization: Bearer {SECRET}\r\n");
            let answer = ask("GET /", &shown);
            // The handler does not get it.
            assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains(SECRET), "{answer}");
            assert!(ask("GET /", &shown.replace("Bearer", "bearer")).starts_with("HTTP/1.1 200 "));
            assert!(ask("GET /healthz", "").starts_with("HTTP/1.1 200 "));
            assert!(ask("HEAD /healthz", "").starts_with("HTTP/1.1 200 "));
            for wrong in [
                String::new(),
                shown.replace("f\r", "g\r"),
                shown.replace("f\r", "\r"),
                shown.replace("\r", "f\r"),
                shown.replace("Bearer", "Basic"),
                shown.repeat(2),
                "Authorization: Bearer\r\n".into(),
            ] {
                let answer = ask("GET /", &wrong);
                assert_problem(&answer, 401, "token_required");
                assert!(answer.contains("www-authenticate: Bearer\r\n"), "{answer}");
            }
            assert_problem(&ask("POST /healthz", ""), 401, "token_required");
            assert_problem(&ask("GET /healthz/../orders", ""), 401, "token_required");
        }
    );

    #[test]
    fn a_token_is_checked_and_never_printed() {
        assert_eq!(format!("{:?}", Token::new(SECRET.into()).unwrap()), "Token(…)");
        for wrong in [
            "0123456789abcde".to_owned(),
            "x".repeat(4_097),
            "0123456789 abcdef".into(),
            "0123456789abcdefé".into(),
        ] {
            assert_eq!(Token::new(wrong).unwrap_err(), TokenError);
        }
    }

    server_test!(a_body_over_the_limit_is_refused, running = |config| config.body_bytes_max = 100_000, {
        let post = "POST / HTTP/1.1\r\nHost: HOST\r\n";
        // At once, from the length that is announced.
        assert_problem(
            &running.exchange(&format!("{post}Content-Length: 100001\r\n\r\n")),
            413,
            "body_too_large",
        );
        // While it is read.
        let chunk = format!("186A1\r\n{}\r\n", "x".repeat(100_001));
        let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunk}");
        assert_problem(&running.exchange(&chunked), 413, "body_too_large");
        // A client that sends all before it reads still sees the answer.
        let all = "x".repeat(8_000_000);
        let answer = running.exchange(&format!("{post}Content-Length: {}\r\n\r\n{all}", all.len()));
        assert_problem(&answer, 413, "body_too_large");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        // As much as is allowed.
        let most = "x".repeat(100_000);
        let request = format!("{post}Connection: close\r\nContent-Length: 100000\r\n\r\n{most}");
        assert!(running.exchange(&request).ends_with(&format!("{most}\"]")));
    });

    server_test!(a_client_may_ask_before_it_sends, running = |config| config.body_bytes_max = 10, {
        let mut client = running.connect();
        let head = format!("POST / HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\n", running.address);
        client.write_all(format!("{head}Content-Length: 4\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(next(&mut client), "HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"body").unwrap();
        assert!(next(&mut client).ends_with("\"body\"]"));
        client.write_all(format!("{head}Content-Length: 11\r\n\r\n").as_bytes()).unwrap();
        assert_problem(&next(&mut client), 413, "body_too_large");
        assert_eq!(rest(&mut client), "");
    });

    server_test!(
        a_slow_request_is_given_up,
        running = |config| config.read_timeout = Duration::from_millis(200),
        {
            let started = Instant::now();
            let mut slow = running.connect();
            let head = format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 10\r\n\r\nb", running.address);
            slow.write_all(head.as_bytes()).unwrap();
            let mut headless = running.connect();
            headless.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
            let mut silent = running.connect();
            assert_problem(&rest(&mut slow), 408, "request_too_slow");
            assert_eq!(rest(&mut headless), "");
            assert_eq!(rest(&mut silent), "");
            assert!(started.elapsed() < Duration::from_secs(5));
            assert!(running.echo.asked.notified().now_or_never().is_none());
        }
    );

    server_test!(a_body_that_is_cut_off_reaches_no_handler, running = |_| {}, {
        let bodies = ["Content-Length: 10\r\n\r\nbody", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"];
        for body in bodies {
            let mut client = running.connect();
            client
                .write_all(format!("POST / HTTP/1.1\r\nHost: {}\r\n{body}", running.address).as_bytes())
                .unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let answer = rest(&mut client);
            assert!(answer.is_empty() || answer.contains("body_cut_off"), "{answer}");
        }
        let malformed = "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n";
        assert_problem(&running.exchange(malformed), 400, "body_cut_off");
        assert!(running.echo.asked.notified().now_or_never().is_none());
    });

    server_test!(a_header_is_bounded, running = |_| {}, {
        let large = format!("GET / HTTP/1.1\r\nHost: HOST\r\nX: {}\r\n\r\n", "x".repeat(1_000_000));
        assert!(running.exchange(&large).starts_with("HTTP/1.1 431 "));
        let many = format!("GET / HTTP/1.1\r\nHost: HOST\r\n{}\r\n", "X: x\r\n".repeat(1_000));
        assert!(running.exchange(&many).starts_with("HTTP/1.1 431 "));
        assert!(running.exchange("nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
        let smuggled = "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx";
        assert!(running.exchange(smuggled).starts_with("HTTP/1.1 400 "));
        assert!(running.echo.asked.notified().now_or_never().is_none());
    });

    server_test!(a_panic_is_answered, running = |_| {}, {
        let answer = running.exchange("GET /panic HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
        assert_problem(&answer, 500, "panicked");
    });

    server_test!(connections_beyond_the_bound_wait, running = |config| config.connections_max = 1, {
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", running.address);
        let mut first = running.connect();
        first.write_all(request.as_bytes()).unwrap();
        next(&mut first);
        let mut second = running.connect();
        second.write_all(request.as_bytes()).unwrap();
        second.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(second.read(&mut [0]).is_err());
        drop(first);
        second.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(next(&mut second).starts_with("HTTP/1.1 200 "));
    });

    server_test!(
        a_client_that_takes_no_answer_is_let_go,
        running = |config| {
            config.read_timeout = Duration::from_millis(200);
            config.connections_max = 1;
            config.body_bytes_max = 8 << 20;
        },
        {
            let mut deaf = running.connect();
            let body = vec![b'x'; 8 << 20];
            let head = format!(
                "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
                running.address,
                body.len()
            );
            deaf.write_all(head.as_bytes()).unwrap();
            // Whether all of it is read in time or not, the only seat is free again soon.
            let _ = deaf.write_all(&body);
            let answer = running.exchange("GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    );

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn stopping_finishes_what_is_in_hand() {
        let running = start(|_| {}).await;
        let idle = running.connect();
        let mut kept = running.connect();
        kept.write_all(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", running.address).as_bytes()).unwrap();
        next(&mut kept);
        running.echo.asked.notified().await;
        let mut held = running.connect();
        held.write_all(format!("GET /held HTTP/1.1\r\nHost: {}\r\n\r\n", running.address).as_bytes())
            .unwrap();
        running.echo.asked.notified().await;
        running.stop.notify_one();
        // Those that wait for nothing end at once, while the one in hand goes on.
        assert_eq!(rest(&mut kept), "");
        assert!(!running.server.is_finished());
        running.echo.let_go.notify_one();
        let answer = rest(&mut held);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("/held"), "{answer}");
        running.server.await.unwrap();
        assert!(Client::connect(running.address).is_err());
        drop(idle);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn stopping_waits_for_nobody_longer_than_the_grace() {
        let running = start(|config| config.grace = Duration::from_millis(50)).await;
        let mut hanging = running.connect();
        hanging
            .write_all(format!("GET /hang HTTP/1.1\r\nHost: {}\r\n\r\n", running.address).as_bytes())
            .unwrap();
        running.echo.asked.notified().await;
        running.stop.notify_one();
        running.server.await.unwrap();
        assert_eq!(rest(&mut hanging), "");
    }

    #[tokio::test]
    async fn an_address_that_can_not_be_had_is_an_error_with_a_way_out() {
        let server =
            Server::bind(ServerConfig::new(([127, 0, 0, 1], 0).into()), Echo::default()).await.unwrap();
        let error = Server::bind(ServerConfig::new(server.local_addr()), Echo::default()).await.unwrap_err();
        assert!(matches!(error, ServerError::AddressInUse { .. }), "{error}");
        let open: SocketAddr = ([0, 0, 0, 0], 0).into();
        let error = Server::bind(ServerConfig::new(open), Echo::default()).await.unwrap_err();
        assert!(matches!(error, ServerError::TokenRequired { .. }), "{error}");
        let token = Some(Token::new(SECRET.into()).unwrap());
        Server::bind(ServerConfig { token, ..ServerConfig::new(open) }, Echo::default()).await.unwrap();
    }

    #[test]
    fn the_default_port_may_be_left_out() {
        let door = Door::new(
            ([127, 0, 0, 1], 80).into(),
            ServerConfig::new(([127, 0, 0, 1], 80).into()),
            Echo::default(),
        );
        for host in ["localhost", "localhost:80", "127.0.0.1", "[::1]", "[::1]:80"] {
            assert!(door.is_own(host), "{host}");
        }
        assert!(!door.is_own("localhost:8080") && !door.is_own("::1") && !door.is_own("[:"));
    }
}
